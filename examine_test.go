package seckill

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func held(id, buyer string, quantity int, seq int64) Ticket {
	return Ticket{ID: id, Sale: 1, Buyer: buyer, Quantity: quantity, Seq: seq}
}

// healthy is a sale of 10: 4 at the gate, 1 pending, 3 active, 1 + 1 on their way.
func healthy() (Cut, Snapshot) {
	cut := Cut{Open: true, Left: 4, Seq: 5, Epoch: 1, Outbox: []Ticket{held("p", "pia", 1, 5)}}
	v := Snapshot{Sale: Sale{ID: 1, Total: 10, Sold: 3, Seq: 4, Epoch: 1}, Returning: 1, Growing: 1,
		Active: []Ticket{held("a", "ann", 2, 1), held("b", "bob", 1, 2)}, Outcomes: map[string]Reason{}}
	return cut, v
}

func TestExamineNamesTheInvariantThatIsBroken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		moving bool
		change func(cut *Cut, v *Snapshot)
		want   []string
	}{
		{name: "everything holds", change: func(*Cut, *Snapshot) {}},
		{
			name: "more active units than the total",
			change: func(cut *Cut, v *Snapshot) {
				v.Sale.Total, v.Sale.Sold, cut.Left, cut.Outbox, v.Returning, v.Growing = 2, 3, 0, nil, 0, 0
			},
			want: []string{"no oversell", "gate never over-promises", "conservation"},
		},
		{
			name:   "sold is not the sum of the rows",
			change: func(cut *Cut, v *Snapshot) { v.Sale.Sold = 4 },
			want:   []string{"counter"},
		},
		{
			name:   "a unit too many at the gate",
			change: func(cut *Cut, v *Snapshot) { cut.Left++ },
			want:   []string{"gate never over-promises", "conservation"},
		},
		{
			name:   "a unit too many at the gate while things move",
			moving: true,
			change: func(cut *Cut, v *Snapshot) { cut.Left += 3 },
			want:   []string{"gate never over-promises"},
		},
		{
			name:   "units that the gate has and the store lists as on their way, while things move",
			moving: true,
			change: func(cut *Cut, v *Snapshot) { cut.Left += 2 },
		},
		{
			name:   "the same at rest",
			change: func(cut *Cut, v *Snapshot) { cut.Left += 2 },
			want:   []string{"gate never over-promises", "conservation"},
		},
		{
			name:   "a unit is lost",
			change: func(cut *Cut, v *Snapshot) { cut.Left-- },
			want:   []string{"conservation"},
		},
		{
			name:   "a unit is not at the gate while things move",
			moving: true,
			change: func(cut *Cut, v *Snapshot) { cut.Left-- },
		},
		{
			name:   "the gate owes more than is on its way",
			change: func(cut *Cut, v *Snapshot) { cut.Left = -3; v.Sale.Total = 3 },
			want:   []string{"gate"},
		},
		{
			name:   "the gate owes what is on its way",
			change: func(cut *Cut, v *Snapshot) { cut.Left = -2; v.Sale.Total = 4 },
		},
		{
			name: "a buyer with two orders",
			change: func(cut *Cut, v *Snapshot) {
				v.Active = append(v.Active, held("c", "ann", 1, 3))
				v.Sale.Sold++
				cut.Left--
			},
			want: []string{"one per buyer"},
		},
		{
			name: "a buyer with an order and a pending ticket",
			change: func(cut *Cut, v *Snapshot) {
				cut.Outbox = append(cut.Outbox, held("c", "ann", 1, 3))
				cut.Left--
			},
			want: []string{"one per buyer"},
		},
		{
			name: "a buyer with two pending tickets",
			change: func(cut *Cut, v *Snapshot) {
				cut.Outbox = append(cut.Outbox, held("c", "pia", 1, 3))
				cut.Left--
			},
			want: []string{"one per buyer"},
		},
		{
			name: "a placed ticket that the gate has not heard of counts as active only",
			change: func(cut *Cut, v *Snapshot) {
				cut.Outbox = append(cut.Outbox, held("a", "ann", 2, 1))
				v.Outcomes["a"] = ReasonNone
			},
		},
		{
			name:   "a refused ticket that the gate has not heard of is on its way",
			change: func(cut *Cut, v *Snapshot) { v.Outcomes["p"] = ReasonLimit },
		},
		{
			name:   "a promise that was destroyed is not on its way",
			change: func(cut *Cut, v *Snapshot) { v.Outcomes["p"] = ReasonSoldOut },
			want:   []string{"conservation"},
		},
		{
			name: "a ticket admitted and settled after the cut is in nobody's promise yet",
			change: func(cut *Cut, v *Snapshot) {
				v.Active, v.Sale.Sold = append(v.Active, held("z", "zoe", 4, 6)), 7
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cut, v := healthy()
			tt.change(&cut, &v)
			r := Examine(&cut, &v, !tt.moving)
			kinds := []string{}
			for _, violation := range r.Violations {
				kinds = append(kinds, Broken(violation))
				assert.Contains(t, violation, ": ", "it says what was seen")
			}
			if tt.want == nil {
				tt.want = []string{}
			}
			assert.Equal(t, tt.want, kinds)
		})
	}
}

func TestExamineReportsTheUnits(t *testing.T) {
	t.Parallel()
	cut, v := healthy()
	assert.Equal(t, Report{Total: 10, Gate: 4, Pending: 1, Active: 3, Returning: 2, Violations: []string{}}, Examine(&cut, &v, true))
}

// Whatever a sale that adds up looks like, one unit more at the gate is found.
func TestExamineFindsEveryUnitTooMany(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Int64Range(0, 5)
		cut := Cut{Open: true, Left: small.Draw(t, "left"), Seq: 100}
		v := Snapshot{Returning: small.Draw(t, "returning"), Growing: small.Draw(t, "growing"), Outcomes: map[string]Reason{}}
		for i := range rapid.IntRange(0, 4).Draw(t, "active") {
			v.Active = append(v.Active, held(string(rune('a'+i)), string(rune('a'+i)), rapid.IntRange(1, 3).Draw(t, "quantity"), int64(i)))
		}
		onTheWay := int64(0)
		for i := range rapid.IntRange(0, 4).Draw(t, "outbox") {
			p := held(string(rune('p'+i)), string(rune('p'+i)), rapid.IntRange(1, 3).Draw(t, "quantity"), int64(50+i))
			cut.Outbox = append(cut.Outbox, p)
			if rapid.Bool().Draw(t, "refused") {
				v.Outcomes[p.ID] = ReasonLimit
			}
			onTheWay += int64(p.Quantity)
		}
		v.Sale.Sold = Units(v.Active)
		v.Sale.Total = cut.Left + v.Sale.Sold + v.Returning + v.Growing + onTheWay
		require.Empty(t, Examine(&cut, &v, true).Violations)
		require.Empty(t, Examine(&cut, &v, false).Violations)
		cut.Left++
		require.Len(t, Examine(&cut, &v, true).Violations, 2, "over-promise and conservation")
		cut.Left -= 2
		require.NotEmpty(t, Examine(&cut, &v, true).Violations)
	})
}

func TestEveryViolationHasAName(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "counter", Broken("counter: sold is 1: and so on"))
	assert.Equal(t, "no colon", Broken("no colon"))
	assert.False(t, strings.Contains(Broken("a: b"), ":"))
}

// An order whose ticket has a number that no gate has given is named, however well all
// units add up.
func TestTheAuditNamesOrdersThatNoGateAdmitted(t *testing.T) {
	t.Parallel()
	active := []Ticket{{ID: "a", Buyer: "ann", Quantity: 1, Seq: 7}, {ID: "b", Buyer: "bob", Quantity: 10, Seq: 8}}
	require.Empty(t, Unadmitted(active, 8))
	require.Equal(t, []string{"only the gate admits: the order b has the number 8, the gate has given 7"}, Unadmitted(active, 7))
}
