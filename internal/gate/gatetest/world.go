package gatetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
}

// World is a gate, the store behind it, and sale 1.
type World struct {
	Subject
	t     tester
	tb    testing.TB // the test that owns what is opened
	Store *Store
	Sale  seckill.Sale // as it was opened
}

// SaleID is the sale that every world opens.
const SaleID seckill.SaleID = 1

// NewWorld opens sale 1 at the gate: 10 units, 3 for each buyer, open for an hour.
func NewWorld(t tester, s Subject, change func(*seckill.Sale)) *World {
	t.Helper()
	now := s.Clock.Now()
	sale := seckill.Sale{ID: SaleID, Title: "a sale", Currency: "CNY", Total: 10, LimitPerBuyer: 3, HoldSeconds: 60,
		OpensAt: now, ClosesAt: now.Add(time.Hour), Version: 1}
	if change != nil {
		change(&sale)
	}
	tb, _ := t.(testing.TB)
	w := &World{t: t, tb: tb, Subject: s, Sale: sale, Store: &Store{sales: map[seckill.SaleID]*books{}}}
	w.Store.create(sale)
	w.Rebuild()
	return w
}

// Rebuild makes the gate's state of sales (none: all) anew.
func (w *World) Rebuild(ids ...seckill.SaleID) {
	w.t.Helper()
	if len(ids) == 0 {
		ids = w.Store.all()
	}
	outbox, err := w.Shut(context.Background(), ids)
	require.NoError(w.t, err)
	require.NoError(w.t, w.Load(context.Background(), w.Store.snapshots(ids, outbox)))
}

// Restart replaces the gate by the one that is found after a stop or a kill.
func (w *World) Restart(open func(testing.TB) Subject) {
	w.t.Helper()
	w.Subject = open(w.tb)
}

// Ask returns what the buyer hears.
func (w *World) Ask(buyer string, quantity int) seckill.Answer {
	w.t.Helper()
	a, err := w.Reserve(context.Background(), SaleID, buyer, quantity)
	require.NoError(w.t, err, "%s asks for %d", buyer, quantity)
	return a
}

// Expect asserts the verdict that the buyer gets.
func (w *World) Expect(want seckill.Verdict, buyer string, quantity int) {
	w.t.Helper()
	require.Equal(w.t, want.String(), w.Ask(buyer, quantity).Verdict.String(), "%s asks for %d", buyer, quantity)
}

// Admit returns the ticket that the buyer gets.
func (w *World) Admit(buyer string, quantity int) seckill.Ticket {
	w.t.Helper()
	a := w.Ask(buyer, quantity)
	require.Equal(w.t, seckill.Queued.String(), a.Verdict.String(), "%s asks for %d", buyer, quantity)
	return seckill.Ticket{ID: a.Ticket, Sale: SaleID, Buyer: buyer, Quantity: quantity}
}

// HasLeft asserts the units left at the gate.
func (w *World) HasLeft(units int64) {
	w.t.Helper()
	left, ok := w.Left(SaleID)
	require.True(w.t, ok, "the gate cannot tell what is left")
	require.Equal(w.t, units, left, "units left at the gate")
}

// HasOutbox asserts the tickets whose outcome the gate does not know.
func (w *World) HasOutbox(tickets ...seckill.Ticket) {
	w.t.Helper()
	cut, err := w.Cut(context.Background(), SaleID)
	require.NoError(w.t, err)
	require.ElementsMatch(w.t, IDs(tickets), IDs(cut.Outbox), "the outbox")
}

// Settle brings tickets to an outcome and tells the gate.
func (w *World) Settle(reason seckill.Reason, tickets ...seckill.Ticket) []seckill.Outcome {
	w.t.Helper()
	outcomes := w.Store.Settle(reason, tickets...)
	require.NoError(w.t, w.Finish(context.Background(), outcomes))
	return outcomes
}

// BringBack brings the units of ended orders back.
func (w *World) BringBack(tickets ...seckill.Ticket) {
	w.t.Helper()
	r := w.read(tickets...)
	require.NoError(w.t, w.Release(context.Background(), r))
	w.Store.returned(SaleID, r.Epoch, tickets...)
}

// read is what the store says now about units on their way back.
func (w *World) read(tickets ...seckill.Ticket) seckill.Return {
	return seckill.Return{Sale: SaleID, Epoch: w.Store.sales[SaleID].sale.Epoch, Tickets: tickets}
}

// MoveStock makes a stock move, at both ends, and reports whether the gate took it.
func (w *World) MoveStock(id string, delta int64) bool {
	w.t.Helper()
	applied, err := w.Move(context.Background(), seckill.Move{Sale: SaleID, ID: id, Delta: delta, Epoch: w.Store.sales[SaleID].sale.Epoch})
	require.NoError(w.t, err)
	return applied
}

// PutVersion puts a change of the sale in force.
func (w *World) PutVersion(version int64, change func(*seckill.Sale)) {
	w.t.Helper()
	sale := w.Sale
	sale.Version = version
	change(&sale)
	require.NoError(w.t, w.Apply(context.Background(), sale))
}

// Take takes n tickets from the outbox.
func (w *World) Take(n int) (tickets []seckill.Ticket) {
	w.t.Helper()
	for len(tickets) < n {
		some, err := w.Unsent(context.Background(), n-len(tickets))
		require.NoError(w.t, err)
		tickets = append(tickets, some...)
	}
	return tickets
}

// nothingUnsent asserts that the relay has nothing to send.
func (w *World) nothingUnsent() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	some, err := w.Unsent(ctx, 10)
	require.ErrorIs(w.t, err, context.DeadlineExceeded)
	require.Empty(w.t, some)
}

// IDs are the ids of tickets, in their order.
func IDs(tickets []seckill.Ticket) []string {
	all := make([]string, len(tickets))
	for i, t := range tickets {
		all[i] = t.ID
	}
	return all
}

// Unavailable asserts that a closed sale says so, whatever it is asked.
func (w *World) Unavailable(id seckill.SaleID) {
	w.t.Helper()
	ctx := context.Background()
	_, reserve := w.Reserve(ctx, id, "zoe", 1)
	release := w.Release(ctx, seckill.Return{Sale: id, Tickets: []seckill.Ticket{{ID: "x", Sale: id, Buyer: "zoe", Quantity: 1}}})
	_, move := w.Move(ctx, seckill.Move{Sale: id, ID: "x", Delta: 1})
	_, cut := w.Cut(ctx, id)
	sale := w.Sale
	sale.ID, sale.Version = id, 99
	for what, err := range map[string]error{"reserve": reserve, "release": release, "move": move, "cut": cut, "apply": w.Apply(ctx, sale)} {
		assert.ErrorIs(w.t, err, seckill.ErrUnavailable, what)
	}
	_, ok := w.Left(id)
	assert.False(w.t, ok)
	_, err := w.Find(ctx, id, "zoe", "")
	assert.True(w.t, errors.Is(err, seckill.ErrUnavailable) || errors.Is(err, seckill.ErrNotFound), "%v", err)
}

// survives asserts that every ticket that was told is there after open.
func (w *World) survives(open func(testing.TB) Subject) {
	w.t.Helper()
	var tickets []seckill.Ticket
	for i := range 5 {
		tickets = append(tickets, w.Admit(fmt.Sprint("buyer", i), 1))
	}
	w.Settle(seckill.ReasonNone, tickets[0])
	w.Settle(seckill.ReasonLimit, tickets[1])
	w.Store.Settle(seckill.ReasonNone, tickets[2]) // the gate has not heard
	w.Store.Settle(seckill.ReasonLimit, tickets[3])
	w.Restart(open)
	if !w.Outlives {
		w.Unavailable(SaleID)
	}
	w.Rebuild()
	w.HasLeft(7)
	w.HasOutbox(tickets[4])
	for _, i := range []int{0, 2, 4} {
		require.Equal(w.t, tickets[i], w.Admit(tickets[i].Buyer, 1), "what was told stays true")
	}
	for _, i := range []int{1, 3} {
		require.NotEqual(w.t, tickets[i].ID, w.Admit(tickets[i].Buyer, 1).ID)
	}
	require.Equal(w.t, tickets[4].ID, w.Take(1)[0].ID, "it is sent again")
	for _, o := range w.Store.Settle(seckill.ReasonNone, tickets...) {
		require.NoError(w.t, w.Finish(context.Background(), []seckill.Outcome{o}), "the queue delivers again")
	}
	w.HasLeft(5)
}
