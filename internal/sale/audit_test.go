package sale

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"seckill"
)

func held(id, buyer string, quantity int, seq int64) seckill.Ticket {
	return seckill.Ticket{ID: id, Sale: 1, Buyer: buyer, Quantity: quantity, Seq: seq}
}

// healthy is a sale of 10: 4 at the gate, 1 pending, 3 active, 1 + 1 on their way.
func healthy() (seckill.Cut, seckill.Snapshot) {
	cut := seckill.Cut{Open: true, Left: 4, Seq: 5, Epoch: 1, Outbox: []seckill.Ticket{held("p", "pia", 1, 5)}}
	v := seckill.Snapshot{Sale: seckill.Sale{ID: 1, Total: 10, Sold: 3, Seq: 4, Epoch: 1}, Returning: 1, Growing: 1,
		Active: []seckill.Ticket{held("a", "ann", 2, 1), held("b", "bob", 1, 2)}, Outcomes: map[string]seckill.Reason{}}
	return cut, v
}

func TestExamineNamesTheInvariantThatIsBroken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		moving bool
		change func(cut *seckill.Cut, v *seckill.Snapshot)
		want   []string
	}{
		{name: "everything holds", change: func(*seckill.Cut, *seckill.Snapshot) {}},
		{
			name: "more active units than the total",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) {
				v.Sale.Total, v.Sale.Sold, cut.Left, cut.Outbox, v.Returning, v.Growing = 2, 3, 0, nil, 0, 0
			},
			want: []string{"no oversell", "gate never over-promises", "conservation"},
		},
		{
			name:   "sold is not the sum of the rows",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { v.Sale.Sold = 4 },
			want:   []string{"counter"},
		},
		{
			name:   "a unit too many at the gate",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { cut.Left++ },
			want:   []string{"gate never over-promises", "conservation"},
		},
		{
			name:   "a unit too many at the gate while things move",
			moving: true,
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { cut.Left += 3 },
			want:   []string{"gate never over-promises"},
		},
		{
			name:   "units that the gate has and the store lists as on their way, while things move",
			moving: true,
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { cut.Left += 2 },
		},
		{
			name:   "the same at rest",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { cut.Left += 2 },
			want:   []string{"gate never over-promises", "conservation"},
		},
		{
			name:   "a unit is lost",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { cut.Left-- },
			want:   []string{"conservation"},
		},
		{
			name:   "a unit is not at the gate while things move",
			moving: true,
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { cut.Left-- },
		},
		{
			name:   "the gate owes more than is on its way",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { cut.Left = -3; v.Sale.Total = 3 },
			want:   []string{"gate"},
		},
		{
			name:   "the gate owes what is on its way",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { cut.Left = -2; v.Sale.Total = 4 },
		},
		{
			name: "a buyer with two orders",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) {
				v.Active = append(v.Active, held("c", "ann", 1, 3))
				v.Sale.Sold++
				cut.Left--
			},
			want: []string{"one per buyer"},
		},
		{
			name: "a buyer with an order and a pending ticket",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) {
				cut.Outbox = append(cut.Outbox, held("c", "ann", 1, 3))
				cut.Left--
			},
			want: []string{"one per buyer"},
		},
		{
			name: "a buyer with two pending tickets",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) {
				cut.Outbox = append(cut.Outbox, held("c", "pia", 1, 3))
				cut.Left--
			},
			want: []string{"one per buyer"},
		},
		{
			name: "a placed ticket that the gate has not heard of counts as active only",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) {
				cut.Outbox = append(cut.Outbox, held("a", "ann", 2, 1))
				v.Outcomes["a"] = seckill.ReasonNone
			},
		},
		{
			name:   "a refused ticket that the gate has not heard of is on its way",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { v.Outcomes["p"] = seckill.ReasonLimit },
		},
		{
			name:   "a promise that was destroyed is not on its way",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) { v.Outcomes["p"] = seckill.ReasonSoldOut },
			want:   []string{"conservation"},
		},
		{
			name: "a ticket admitted and settled after the cut is in nobody's promise yet",
			change: func(cut *seckill.Cut, v *seckill.Snapshot) {
				v.Active, v.Sale.Sold = append(v.Active, held("z", "zoe", 4, 6)), 7
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cut, v := healthy()
			tt.change(&cut, &v)
			r := examine(cut, v, !tt.moving)
			kinds := []string{}
			for _, violation := range r.Violations {
				kinds = append(kinds, kind(violation))
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
	assert.Equal(t, Report{Total: 10, Gate: 4, Pending: 1, Active: 3, Returning: 2, Violations: []string{}}, examine(cut, v, true))
}

// Whatever a sale that adds up looks like, one unit more at the gate is found.
func TestExamineFindsEveryUnitTooMany(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.Int64Range(0, 5)
		cut := seckill.Cut{Open: true, Left: small.Draw(t, "left"), Seq: 100}
		v := seckill.Snapshot{Returning: small.Draw(t, "returning"), Growing: small.Draw(t, "growing"), Outcomes: map[string]seckill.Reason{}}
		for i := range rapid.IntRange(0, 4).Draw(t, "active") {
			v.Active = append(v.Active, held(string(rune('a'+i)), string(rune('a'+i)), rapid.IntRange(1, 3).Draw(t, "quantity"), int64(i)))
		}
		onTheWay := int64(0)
		for i := range rapid.IntRange(0, 4).Draw(t, "outbox") {
			p := held(string(rune('p'+i)), string(rune('p'+i)), rapid.IntRange(1, 3).Draw(t, "quantity"), int64(50+i))
			cut.Outbox = append(cut.Outbox, p)
			if rapid.Bool().Draw(t, "refused") {
				v.Outcomes[p.ID] = seckill.ReasonLimit
			}
			onTheWay += int64(p.Quantity)
		}
		v.Sale.Sold = seckill.Units(v.Active)
		v.Sale.Total = cut.Left + v.Sale.Sold + v.Returning + v.Growing + onTheWay
		require.Empty(t, examine(cut, v, true).Violations)
		require.Empty(t, examine(cut, v, false).Violations)
		cut.Left++
		require.Len(t, examine(cut, v, true).Violations, 2, "over-promise and conservation")
		cut.Left -= 2
		require.NotEmpty(t, examine(cut, v, true).Violations)
	})
}

// scripted answers the audit's looks one after another; the last one stands.
type scripted struct {
	Store
	Gate
	cuts  []seckill.Cut
	looks []seckill.Snapshot
	moves []seckill.Move
	asked int
}

func next[T any](all *[]T) T {
	v := (*all)[0]
	if len(*all) > 1 {
		*all = (*all)[1:]
	}
	return v
}

func (s *scripted) Sale(_ context.Context, id seckill.SaleID) (seckill.Sale, error) {
	if id != 1 {
		return seckill.Sale{}, seckill.ErrNotFound
	}
	return seckill.Sale{ID: id}, nil
}

func (s *scripted) Cut(context.Context, seckill.SaleID) (seckill.Cut, error) {
	return next(&s.cuts), nil
}

func (s *scripted) Look(context.Context, seckill.SaleID, []seckill.Ticket) (seckill.Snapshot, error) {
	s.asked++
	return next(&s.looks), nil
}

func (s *scripted) OpenMoves(context.Context) ([]seckill.Move, error) { return s.moves, nil }

func TestTheAuditReportsWhatStandsOnASecondLook(t *testing.T) {
	t.Parallel()
	fine, fineStore := healthy()
	moreAtGate, _ := healthy()
	moreAtGate.Left++
	_, oneSoldMore := healthy()
	oneSoldMore.Sale.Sold++
	_, twoOrders := healthy()
	twoOrders.Active = append(twoOrders.Active, held("c", "ann", 0, 3))
	// Nothing is at rest: the gate differs before and after each look.
	before, after := fine, fine
	after.Seq++

	for _, tt := range []struct {
		name  string
		cuts  []seckill.Cut
		looks []seckill.Snapshot
		want  []string
		asked int
	}{
		{"everything holds", []seckill.Cut{fine}, []seckill.Snapshot{fineStore}, nil, 1},
		{"it holds on the second look", []seckill.Cut{before, after, before, after}, []seckill.Snapshot{oneSoldMore, fineStore}, nil, 2},
		{"it holds on the third look", []seckill.Cut{fine}, []seckill.Snapshot{oneSoldMore, oneSoldMore, fineStore}, nil, 3},
		{"another one on each look", []seckill.Cut{fine}, []seckill.Snapshot{oneSoldMore, twoOrders}, nil, 2},
		{"it stands", []seckill.Cut{fine}, []seckill.Snapshot{oneSoldMore}, []string{"counter"}, 3},
		{"one stands and one does not", []seckill.Cut{fine}, []seckill.Snapshot{oneSoldMore, oneSoldMore, func() seckill.Snapshot { v := twoOrders; v.Sale.Sold++; return v }()}, []string{"counter"}, 3},
		{"a unit too many at the gate, always", []seckill.Cut{moreAtGate, moreAtGate}, []seckill.Snapshot{func() seckill.Snapshot { v := fineStore; v.Sale.Total = 7; return v }()}, []string{"gate never over-promises"}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				parts := &scripted{cuts: tt.cuts, looks: tt.looks}
				r, err := New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(t.Context(), 1)
				require.NoError(t, err)
				var kinds []string
				for _, v := range r.Violations {
					kinds = append(kinds, kind(v))
				}
				assert.Equal(t, tt.want, kinds)
				assert.Equal(t, len(tt.want) == 0, r.OK)
				assert.Equal(t, tt.asked, parts.asked)
				assert.NotNil(t, r.Violations, "a list in JSON, never null")
			})
		})
	}
}

// A stock move that is under way may be counted at one end, both, or none.
func TestTheAuditKnowsOfMovesThatAreUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cut := seckill.Cut{Open: true, Left: 7}
		v := seckill.Snapshot{Sale: seckill.Sale{ID: 1, Total: 10}}
		parts := &scripted{cuts: []seckill.Cut{cut}, looks: []seckill.Snapshot{v}, moves: []seckill.Move{{Sale: 1, ID: "less", Delta: -3}}}
		r, err := New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(t.Context(), 1)
		require.NoError(t, err)
		require.Empty(t, r.Violations, "the gate has given up three units, and the store does not know")
		parts.moves[0].Sale = 2
		r, err = New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(t.Context(), 1)
		require.NoError(t, err)
		require.Len(t, r.Violations, 1)
		require.Equal(t, "conservation", kind(r.Violations[0]), "a move of another sale is no excuse")
	})
}

func TestTheAuditEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cut, v := healthy()
		v.Sale.Sold++
		parts := &scripted{cuts: []seckill.Cut{cut}, looks: []seckill.Snapshot{v}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(ctx, 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestTheAuditOfASaleThatDoesNotExistIsNotFound(t *testing.T) {
	t.Parallel()
	parts := &scripted{}
	_, err := New(parts, parts, slog.New(slog.DiscardHandler), Options{}).Audit(t.Context(), 2)
	require.ErrorIs(t, err, seckill.ErrNotFound)
}

func TestEveryViolationHasAName(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "counter", kind("counter: sold is 1: and so on"))
	assert.Equal(t, "no colon", kind("no colon"))
	assert.False(t, strings.Contains(kind("a: b"), ":"))
}
