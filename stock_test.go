package seckill

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsLeftIsNeverTheTotalAgain(t *testing.T) {
	t.Parallel()
	ticket := func(id string, quantity int) Ticket { return Ticket{ID: id, Quantity: quantity} }
	for _, c := range []struct {
		name    string
		s       Snapshot
		left    int64
		pending []Ticket
	}{
		{"a new sale", Snapshot{Sale: Sale{Total: 10}}, 10, nil},
		{"some are sold", Snapshot{Sale: Sale{Total: 10, Sold: 4}}, 6, nil},
		{"one is pending", Snapshot{Sale: Sale{Total: 10, Sold: 4}, Outbox: []Ticket{ticket("a", 3)}}, 3, []Ticket{ticket("a", 3)}},
		{"the gate has not heard of a placed one", Snapshot{Sale: Sale{Total: 10, Sold: 4}, Outbox: []Ticket{ticket("a", 3)}, Outcomes: map[string]Reason{"a": ReasonNone}}, 6, nil},
		{"nor of a refused one", Snapshot{Sale: Sale{Total: 10}, Outbox: []Ticket{ticket("a", 3), ticket("b", 2)}, Outcomes: map[string]Reason{"a": ReasonLimit}}, 8, []Ticket{ticket("b", 2)}},
		{"the outcome of some other ticket", Snapshot{Sale: Sale{Total: 10}, Outbox: []Ticket{ticket("a", 3)}, Outcomes: map[string]Reason{"b": ReasonNone}}, 7, []Ticket{ticket("a", 3)}},
		{"units on their way back", Snapshot{Sale: Sale{Total: 10, Sold: 2}, Returning: 3}, 5, nil},
		{"growth on its way", Snapshot{Sale: Sale{Total: 15, Sold: 2}, Growing: 5}, 8, nil},
		{"everything at once", Snapshot{Sale: Sale{Total: 20, Sold: 5}, Outbox: []Ticket{ticket("a", 1), ticket("b", 2)}, Returning: 3, Growing: 4}, 5, []Ticket{ticket("a", 1), ticket("b", 2)}},
		{"more was promised than exists", Snapshot{Sale: Sale{Total: 1, Sold: 1}, Outbox: []Ticket{ticket("a", 2)}}, -2, []Ticket{ticket("a", 2)}},
	} {
		require.Equal(t, c.left, c.s.Left(), c.name)
		require.Equal(t, c.pending, c.s.Pending(), c.name)
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	require.Zero(t, Units(nil))
	require.EqualValues(t, 6, Units([]Ticket{{Quantity: 1}, {Quantity: 2}, {Quantity: 3}}))
}

func TestTicketsWithoutTheConfirmedOnes(t *testing.T) {
	t.Parallel()
	a, b, c, d := Ticket{ID: "a"}, Ticket{ID: "b"}, Ticket{ID: "c"}, Ticket{ID: "d"}
	require.Equal(t, []Ticket{a, b}, Without([]Ticket{a, b}, nil))
	require.Equal(t, []Ticket{b}, Without([]Ticket{a, b, c}, []Ticket{c, a}))
	require.Empty(t, Without([]Ticket{a, b}, []Ticket{b, a}))
	require.Equal(t, []Ticket{c, d}, Without([]Ticket{c, d}, []Ticket{a, b}), "as many are confirmed as there are, and they are others")
}

func TestWhenAGatesStateIsOutdated(t *testing.T) {
	t.Parallel()
	fine := func() (GateState, Sale) {
		return GateState{Open: true, Epoch: 2, Seq: 7, Version: 3}, Sale{Epoch: 2, Seq: 5, Version: 3}
	}
	for _, c := range []struct {
		name   string
		change func(g *GateState, s *Sale)
		want   bool
	}{
		{"the gate is ahead: that is not settled yet", func(*GateState, *Sale) {}, false},
		{"the sale has a newer version, which is applied without a rebuild", func(_ *GateState, s *Sale) { s.Version = 4 }, false},
		{"it is closed or missing", func(g *GateState, _ *Sale) { g.Open = false }, true},
		{"a rebuild did not come to its end", func(_ *GateState, s *Sale) { s.Epoch = 3 }, true},
		{"the gate is of a later epoch than the store", func(_ *GateState, s *Sale) { s.Epoch = 1 }, true},
		{"what is settled was admitted by a state that is lost", func(_ *GateState, s *Sale) { s.Seq = 8 }, true},
		{"the sale is to be retired", func(_ *GateState, s *Sale) { s.Retired = true }, true},
		{"it is retired", func(g *GateState, s *Sale) { g.Retired, s.Retired = true, true }, false},
		{"it was retired, and has changed", func(g *GateState, s *Sale) { g.Retired, s.Version = true, 4 }, true},
	} {
		g, s := fine()
		c.change(&g, &s)
		require.Equal(t, c.want, g.Outdated(&s), c.name)
	}
}
