package sale

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"seckill"
)

// whole drives the embedded gate and store by random steps, as the stages do,
// with every one of them interrupted now and then.
type whole struct {
	*house
	sale     seckill.SaleID
	queue    map[string]seckill.Ticket  // delivered or not, more than once
	unheard  map[string]seckill.Outcome // committed, and the gate has not been told
	queued   map[string]seckill.Ticket  // every ticket that a buyer was told
	outcomes map[string]seckill.Reason  // every outcome that was ever heard
	slow     *seckill.Return            // read by a node that is in no hurry
	serial   int
}

var ctx = context.Background()

func key[V any](t *rapid.T, from map[string]V) string {
	if len(from) == 0 {
		t.Skip("nothing to choose from")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(from))).Draw(t, "which")
}

func (w *whole) buy(t *rapid.T) {
	buyer := rapid.SampledFrom([]string{"ann", "bob", "cid", "dan", "eve"}).Draw(t, "buyer")
	quantity := rapid.IntRange(1, 3).Draw(t, "quantity")
	a, err := w.gate.Reserve(ctx, w.sale, buyer, quantity)
	require.NoError(t, err)
	if a.Verdict == seckill.Queued {
		v := seckill.Ticket{ID: a.Ticket, Sale: w.sale, Buyer: buyer, Quantity: quantity}
		w.queue[a.Ticket], w.queued[a.Ticket] = v, v
	}
	if a.Verdict == seckill.SoldOut {
		left, _ := w.gate.Left(w.sale)
		require.Less(t, left, int64(quantity), "no undersell")
	}
}

// settle brings tickets to their outcome, new ones and old ones again.
func (w *whole) settle(t *rapid.T) {
	var batch []seckill.Ticket
	for range rapid.IntRange(1, 3).Draw(t, "tickets") {
		v := w.queue[key(t, w.queue)]
		cut, err := w.gate.Cut(ctx, w.sale)
		require.NoError(t, err)
		for _, o := range cut.Outbox { // as the relay has it: with its admission number
			if o.ID == v.ID {
				v = o
			}
		}
		batch = append(batch, v)
	}
	outcomes, err := w.store.Settle(ctx, batch)
	require.NoError(t, err)
	for _, o := range outcomes {
		w.heard(t, o)
		w.unheard[o.Ticket.ID] = o
	}
}

// refuse is what happens to a ticket that fails alone.
func (w *whole) refuse(t *rapid.T) {
	o, err := w.store.Refuse(ctx, w.queue[key(t, w.queue)], seckill.ReasonPoison)
	require.NoError(t, err)
	w.heard(t, o)
	w.unheard[o.Ticket.ID] = o
}

func (w *whole) heard(t *rapid.T, o seckill.Outcome) {
	if was, ok := w.outcomes[o.Ticket.ID]; ok {
		require.Equal(t, was, o.Reason, "stable outcome")
	}
	require.NotEqual(t, seckill.ReasonSoldOut, o.Reason, "the gate promised what the store does not have")
	require.NotEqual(t, seckill.ReasonLimit, o.Reason, "the gate admitted a buyer who has an order")
	w.outcomes[o.Ticket.ID] = o.Reason
}

func (w *whole) finish(t *rapid.T) {
	o := w.unheard[key(t, w.unheard)]
	require.NoError(t, w.gate.Finish(ctx, []seckill.Outcome{o}))
	if rapid.Bool().Draw(t, "acknowledged") {
		delete(w.unheard, o.Ticket.ID)
		delete(w.queue, o.Ticket.ID)
	}
}

func (w *whole) change(t *rapid.T) {
	to := rapid.SampledFrom([]seckill.OrderState{seckill.Paid, seckill.Cancelled, seckill.Cancelled, seckill.Refunded}).Draw(t, "to")
	_, _ = w.store.TransitionBy(ctx, key(t, w.queued), "", to, "administrator", "")
}

// giveBack releases units; the store may not hear of it.
func (w *whole) giveBack(t *rapid.T) {
	returns, err := w.store.Returns(ctx, rapid.IntRange(1, 3).Draw(t, "max"))
	require.NoError(t, err)
	if len(returns) == 0 {
		t.Skip("nothing is on its way")
	}
	r := returns[0] // one sale's
	if w.slow == nil || rapid.Bool().Draw(t, "another node reads the same") {
		w.slow = &r
	}
	require.NoError(t, w.gate.Release(ctx, r))
	if rapid.Bool().Draw(t, "rebuilt meanwhile") {
		require.NoError(t, w.Rebuild(ctx, w.sale))
	}
	if rapid.Bool().Draw(t, "noted") {
		require.NoError(t, w.store.Returned(ctx, r))
	}
}

// giveBackLate is what a slow node read a while ago.
func (w *whole) giveBackLate(t *rapid.T) {
	if w.slow == nil {
		t.Skip("no node is slow")
	}
	r := *w.slow
	w.slow = nil
	if err := w.gate.Release(ctx, r); !errors.Is(err, seckill.ErrStale) {
		require.NoError(t, err)
		require.NoError(t, w.store.Returned(ctx, r))
	}
}

// stock makes a stock move that may be interrupted before or after the gate.
func (w *whole) stock(t *rapid.T) {
	w.serial++
	m := seckill.Move{Sale: w.sale, ID: fmt.Sprint(w.serial), Delta: rapid.Int64Range(-4, 4).Filter(func(n int64) bool { return n != 0 }).Draw(t, "delta")}
	call := rapid.SampledFrom([]string{"", "move", "finish move"}).Draw(t, "interrupted")
	took := rapid.Bool().Draw(t, "took effect")
	if call != "" {
		w.set(!took, call)
		w.lose(took, call)
	}
	_, _ = w.Stock(ctx, m)
	w.set(false, "move", "finish move")
	w.lose(false, "move")
	w.lose(false, "finish move")
}

func (w *whole) keep(t *rapid.T) { require.NoError(t, w.catchUp(ctx)) }

func (w *whole) rebuild(t *rapid.T) { require.NoError(t, w.Rebuild(ctx, w.sale)) }

func (w *whole) pause(t *rapid.T) {
	do := w.Pause
	if rapid.Bool().Draw(t, "resume") {
		do = w.Resume
	}
	_, err := do(ctx, w.sale)
	require.NoError(t, err)
}

// holds looks once: nothing happens meanwhile, so every suspicion is a violation.
func (w *whole) holds(t *rapid.T) {
	cut, err := w.gate.Cut(ctx, w.sale)
	require.NoError(t, err)
	v, err := w.store.Look(ctx, w.sale, cut.Outbox)
	require.NoError(t, err)
	require.Empty(t, seckill.Examine(&cut, &v, false).Violations)
	w.balances(t)
}

// balances looks as the balancer does, once: it is no less right while things are on their
// way, and nothing is forgiven by a second look.
func (w *whole) balances(t *rapid.T) {
	b := Balancer{Store: w.store, Gate: w.gate}
	p := &place{}
	l := &look{Balancer: &b, sale: w.sale, place: p, slice: p}
	c, err := l.look(ctx)
	require.NoError(t, err)
	require.Empty(t, c.Violations)
}

// rests ends everything that is under way, and counts.
func (w *whole) rests(t *rapid.T) {
	_, err := w.Resume(ctx, w.sale)
	require.NoError(t, err)
	require.NoError(t, w.catchUp(ctx))
	for id := range w.queued {
		outcomes, err := w.store.Settle(ctx, []seckill.Ticket{w.queued[id]})
		require.NoError(t, err)
		w.heard(t, outcomes[0])
		require.NoError(t, w.gate.Finish(ctx, outcomes))
	}
	returns, err := w.store.Returns(ctx, 1000)
	require.NoError(t, err)
	for _, r := range returns {
		require.NoError(t, w.gate.Release(ctx, r))
		require.NoError(t, w.store.Returned(ctx, r))
	}
	cut, err := w.gate.Cut(ctx, w.sale)
	require.NoError(t, err)
	v, err := w.store.Look(ctx, w.sale, cut.Outbox)
	require.NoError(t, err)
	require.Empty(t, cut.Outbox)
	require.Empty(t, seckill.Examine(&cut, &v, true).Violations)
	w.balances(t)
	require.Equal(t, v.Sale.Total, cut.Left+v.Sale.Sold, "at rest every unit is sold or at the gate")
	if cut.Left > 0 {
		a, err := w.gate.Reserve(ctx, w.sale, "zoe", int(min(3, cut.Left)))
		require.NoError(t, err)
		require.Equal(t, seckill.Queued, a.Verdict, "no undersell")
	}
}

// TestEverythingAddsUpWhateverIsInterrupted holds the gate and the store together
// to what docs/INVARIANTS.md says.
func TestEverythingAddsUpWhateverIsInterrupted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	rapid.Check(t, func(t *rapid.T) {
		d := draft()
		d.Total = rapid.Int64Range(1, 8).Draw(t, "total")
		d.ClosesAt = time.Now().Add(time.Hour)
		sale, err := h.Create(ctx, d)
		require.NoError(t, err)
		w := &whole{house: h, sale: sale.ID, queue: map[string]seckill.Ticket{}, unheard: map[string]seckill.Outcome{}, queued: map[string]seckill.Ticket{}, outcomes: map[string]seckill.Reason{}}
		t.Repeat(map[string]func(*rapid.T){
			"buy": w.buy, "buy again": w.buy, "settle": w.settle, "refuse": w.refuse, "finish": w.finish, "change": w.change, "give back": w.giveBack, "give back late": w.giveBackLate,
			"stock": w.stock, "keep": w.keep, "rebuild": w.rebuild, "pause": w.pause, "": w.holds,
		})
		w.rests(t)
	})
}
