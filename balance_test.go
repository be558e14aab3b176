package seckill

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// weighed is a sale of 10 as sums: 5 at the gate, 1 pending, 1 refused, 3 active.
func weighed() (Cut, Weights) {
	cut := Cut{Open: true, Left: 5, Seq: 6, Epoch: 1, Outbox: []Ticket{held("p", "pia", 1, 5), held("r", "rob", 1, 6)}}
	w := Weights{Sale: Sale{ID: 1, Total: 10, Sold: 3, Seq: 4, Epoch: 1}, Unpaid: 1, Paid: 2, Settled: 3, Outcomes: map[string]Reason{"r": ReasonLimit}}
	return cut, w
}

func TestWeighNamesTheInvariantThatIsBroken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		moving bool
		change func(cut *Cut, w *Weights)
		want   []string
	}{
		{name: "everything holds", change: func(*Cut, *Weights) {}},
		{
			name:   "more active units than the total",
			change: func(cut *Cut, w *Weights) { w.Sale.Total, cut.Left, cut.Outbox = 2, 0, nil },
			want:   []string{"no oversell", "gate never over-promises"},
		},
		{name: "sold is not the sum of the rows", change: func(cut *Cut, w *Weights) { w.Sale.Sold = 4 }, want: []string{"counter"}},
		{name: "a unit too many at the gate is named once", change: func(cut *Cut, w *Weights) { cut.Left++ }, want: []string{"gate never over-promises"}},
		{name: "the same while things move", moving: true, change: func(cut *Cut, w *Weights) { cut.Left++ }, want: []string{"gate never over-promises"}},
		{name: "a unit is lost", change: func(cut *Cut, w *Weights) { cut.Left-- }, want: []string{"conservation"}},
		{name: "a unit is not at the gate while things move", moving: true, change: func(cut *Cut, w *Weights) { cut.Left-- }},
		{name: "what was admitted after the cut is in neither", change: func(cut *Cut, w *Weights) { w.Unpaid, w.Sale.Sold = 3, 5 }},
		{name: "a placed ticket that the gate has not heard of counts as settled only", change: func(cut *Cut, w *Weights) {
			cut.Outbox = append(cut.Outbox, held("a", "ann", 1, 1))
			w.Outcomes["a"] = ReasonNone
		}},
		{name: "a promise that was destroyed leaves a hole that is no loss", change: func(cut *Cut, w *Weights) { w.Outcomes["r"] = ReasonSoldOut }},
		{name: "an outbox that is not read hides what waits in it", change: func(cut *Cut, w *Weights) { cut.Outbox, cut.Partial = nil, true }},
		{
			name:   "and not what is too many without it",
			change: func(cut *Cut, w *Weights) { cut.Outbox, cut.Partial, cut.Left = nil, true, 8 },
			want:   []string{"gate never over-promises"},
		},
		{name: "units come back although the order is active", change: func(cut *Cut, w *Weights) { w.Stray = []string{"a"} }, want: []string{"release once"}},
		{name: "money that nothing explains", change: func(cut *Cut, w *Weights) { w.Money = []Money{{Currency: "CNY", Captured: 1}} }, want: []string{"money"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cut, w := weighed()
			tt.change(&cut, &w)
			_, breaches, _ := w.Weigh(&cut, !tt.moving)
			var rules []string
			for _, b := range breaches {
				rules = append(rules, b.Rule)
				assert.NotEmpty(t, b.Says)
			}
			assert.Equal(t, tt.want, rules)
		})
	}
}

func TestWeighReportsTheUnits(t *testing.T) {
	t.Parallel()
	cut, w := weighed()
	w.Returning, w.Growing = 2, 1
	pending := int64(1)
	s, _, whole := w.Weigh(&cut, false)
	require.False(t, whole)
	require.Equal(t, Sums{Total: 10, Gate: 5, Pending: &pending, Unpaid: 1, Paid: 2, Returning: 4}, s)
	cut.Partial, cut.Outbox = true, nil
	s, _, _ = w.Weigh(&cut, false)
	require.Nil(t, s.Pending)
}

// The audit and the balance count one sale in two ways. Where they see the same they say
// the same of the units.
func TestWeighAndExamineAgree(t *testing.T) {
	t.Parallel()
	for left := int64(0); left <= 10; left++ {
		for sold := int64(2); sold <= 4; sold++ {
			cut, w := weighed()
			cut.Left, w.Sale.Sold = left, sold
			v := Snapshot{Sale: w.Sale, Active: []Ticket{held("a", "ann", 2, 1), held("b", "bob", 1, 2)}, Outcomes: w.Outcomes}
			r := Examine(&cut, &v, false)
			_, breaches, _ := w.Weigh(&cut, false)
			var says []string
			for _, b := range breaches {
				says = append(says, b.Rule+": "+b.Says)
			}
			require.ElementsMatch(t, r.Violations, says)
		}
	}
}

func TestMismatchNamesTheRule(t *testing.T) {
	t.Parallel()
	order := held("a", "ann", 2, 1)
	hold := func(id string, quantity int, s HoldState) Hold { return Hold{held(id, "ann", quantity, 1), s} }
	for _, tt := range []struct {
		name string
		hold Hold
		none bool
		want string
	}{
		{name: "placed", hold: hold("a", 2, HoldPlaced)},
		{name: "the gate has not heard that it is placed", hold: hold("a", 2, HoldPending)},
		{name: "nothing is held", none: true, want: "only the gate admits"},
		{name: "another ticket is pending", hold: hold("b", 2, HoldPending), want: "one per buyer"},
		{name: "another ticket is placed", hold: hold("b", 2, HoldPlaced), want: "one per buyer"},
		{name: "another ticket has ended", hold: hold("b", 2, HoldReleased), want: "only the gate admits"},
		{name: "its units are back", hold: hold("a", 2, HoldReleased), want: "release once"},
		{name: "it was refused", hold: hold("a", 2, HoldRefused), want: "release once"},
		{name: "another quantity", hold: hold("a", 1, HoldPlaced), want: "only the gate admits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, wrong := Mismatch(order, tt.hold, !tt.none)
			require.Equal(t, tt.want != "", wrong)
			require.Equal(t, []string{tt.want, "a", "ann"}, []string{b.Rule, b.Ticket, b.Buyer})
		})
	}
}

func TestMislaidNamesTheRule(t *testing.T) {
	t.Parallel()
	hold := func(s HoldState) Hold { return Hold{held("a", "ann", 2, 1), s} }
	of := func(f Fate) *Fate { f.Ticket = held("a", "ann", 2, 1); return &f }
	for _, tt := range []struct {
		name  string
		hold  Hold
		fate  *Fate // nil: the store does not know the ticket
		waits bool
		want  string
	}{
		{name: "it waits in the outbox", hold: hold(HoldPending), waits: true},
		{name: "the gate has not heard of its order", hold: hold(HoldPending), fate: of(Fate{Active: true})},
		{name: "the gate has not heard that it is refused", hold: hold(HoldPending), fate: of(Fate{Refused: true})},
		{name: "its order is active", hold: hold(HoldPlaced), fate: of(Fate{Active: true})},
		{name: "its units are on their way back", hold: hold(HoldPlaced), fate: of(Fate{Returning: true})},
		{name: "nobody has it", hold: hold(HoldPending), want: "no lost accept"},
		{name: "placed, and the store does not know it", hold: hold(HoldPlaced), want: "stable outcome"},
		{name: "placed, and the store has refused it", hold: hold(HoldPlaced), fate: of(Fate{Refused: true}), want: "stable outcome"},
		{name: "its order has ended, and nothing comes back", hold: hold(HoldPlaced), fate: of(Fate{}), want: "conservation"},
		{name: "another quantity", hold: hold(HoldPlaced), fate: &Fate{Ticket: held("a", "ann", 1, 1), Active: true}, want: "only the gate admits"},
		{name: "another buyer", hold: hold(HoldPending), fate: &Fate{Ticket: held("a", "bob", 2, 1), Active: true}, want: "only the gate admits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var f Fate
			if tt.fate != nil {
				f = *tt.fate
			}
			b, wrong := Mislaid(tt.hold, f, tt.fate != nil, tt.waits)
			require.Equal(t, tt.want != "", wrong)
			require.Equal(t, []string{tt.want, "a", "ann"}, []string{b.Rule, b.Ticket, b.Buyer})
		})
	}
}
