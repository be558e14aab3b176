package gate

import (
	"context"
	"errors"
	goflag "flag"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
	"seckill/internal/stack"
)

func TestMain(m *testing.M) {
	// A commit to disk is behind every step of a property: a few checks are
	// enough each time. go test -rapid.checks=1000 looks harder.
	goflag.Set("rapid.checks", "25")
	goflag.Set("rapid.nofailfile", "true")
	stack.Main(leaktest{m})
}

// leaktest fails a run that leaves goroutines behind.
type leaktest struct{ *testing.M }

func (m leaktest) Run() int {
	code := m.M.Run()
	if code == 0 {
		if err := goleak.Find(
			goleak.IgnoreAnyFunction("seckill/internal/stack.spawn.func1"),
			// The client closes connections of a cluster's old layout some seconds later.
			goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		); err != nil {
			fmt.Println("goroutines are left behind:", err)
			code = 1
		}
	}
	return code
}

// conforming is what every gate offers, whatever it is made of.
type conforming interface {
	Outbox
	Now() time.Time
	Ping(ctx context.Context) error
	Over(id seckill.SaleID) bool
	Abandon(id seckill.SaleID)
	Reserve(ctx context.Context, id seckill.SaleID, buyer string, quantity int) (seckill.Answer, error)
	Find(ctx context.Context, id seckill.SaleID, buyer, ticket string) (seckill.Progress, error)
	Wait(ctx context.Context, id seckill.SaleID, buyer, ticket string)
	Left(id seckill.SaleID) (left int64, ok bool)
	Finish(ctx context.Context, outcomes []seckill.Outcome) error
	Release(ctx context.Context, r seckill.Return) error
	Move(ctx context.Context, m seckill.Move) (applied bool, err error)
	Apply(ctx context.Context, sale seckill.Sale) error
	Cut(ctx context.Context, id seckill.SaleID) (seckill.Cut, error)
	Shut(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID][]seckill.Ticket, error)
	Load(ctx context.Context, snapshots []seckill.Snapshot) error
	Stale(ctx context.Context, sales []seckill.Sale) ([]seckill.SaleID, error)
	Belong(ctx context.Context, store string) error
	Lost() <-chan struct{}
}

// subject is one gate under test.
type subject struct {
	conforming
	clock *clock
	// outlives says that the gate's state is not in the node: a restart of the node
	// finds it as it was.
	outlives bool
	// reopen stops the gate properly and opens another one on the same data.
	reopen func(t testing.TB) subject
	// crash opens another gate on the data as a kill would leave it now.
	crash func(t testing.TB) subject
}

// clock is the gate's clock under test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

func (c *clock) advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.at = c.at.Add(d) }

// ledger plays the store: it keeps the first outcome of every ticket, and a gate
// is rebuilt from what it says.
type ledger struct {
	mu    sync.Mutex
	sales map[seckill.SaleID]*books
}

// books are the ledger's pages of one sale.
type books struct {
	sale     seckill.Sale
	outcomes map[string]seckill.Reason
	active   map[string]seckill.Ticket
	returns  map[string]seckill.Ticket
	growing  map[string]int64
}

func (l *ledger) create(sale seckill.Sale) {
	l.sales[sale.ID] = &books{sale: sale, outcomes: map[string]seckill.Reason{}, active: map[string]seckill.Ticket{},
		returns: map[string]seckill.Ticket{}, growing: map[string]int64{}}
}

// settle writes one outcome for each ticket: placed, or refused for the reason.
// The first one stands.
func (l *ledger) settle(reason seckill.Reason, tickets ...seckill.Ticket) (outcomes []seckill.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tickets {
		b := l.sales[t.Sale]
		stands, known := b.outcomes[t.ID]
		if !known {
			stands = reason
			if reason == seckill.ReasonNone && b.sale.Sold+int64(t.Quantity) > b.sale.Total {
				stands = seckill.ReasonSoldOut
			}
			b.outcomes[t.ID], b.sale.Seq = stands, max(b.sale.Seq, t.Seq)
			if stands == seckill.ReasonNone {
				b.active[t.ID], b.sale.Sold = t, b.sale.Sold+int64(t.Quantity)
			}
		}
		outcomes = append(outcomes, seckill.Outcome{Ticket: t, Reason: stands})
	}
	return outcomes
}

// end ends the orders of tickets: their units are on their way back.
func (l *ledger) end(tickets ...seckill.Ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tickets {
		b := l.sales[t.Sale]
		delete(b.active, t.ID)
		b.returns[t.ID], b.sale.Sold = t, b.sale.Sold-int64(t.Quantity)
	}
}

// returned forgets returns that the gate of that epoch has applied.
func (l *ledger) returned(sale seckill.SaleID, epoch int64, tickets ...seckill.Ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tickets {
		if b := l.sales[sale]; b.sale.Epoch == epoch {
			delete(b.returns, t.ID)
		}
	}
}

func (l *ledger) all() []seckill.SaleID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.sales))
}

// snapshots raises the epochs of sales and reads their books.
func (l *ledger) snapshots(ids []seckill.SaleID, outbox map[seckill.SaleID][]seckill.Ticket) (all []seckill.Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		b := l.sales[id]
		b.sale.Epoch++
		v := seckill.Snapshot{Sale: b.sale, Outbox: outbox[id], Outcomes: map[string]seckill.Reason{}}
		if !b.sale.Retired {
			v.Active = slices.Collect(maps.Values(b.active))
		}
		for _, t := range b.returns {
			v.Returning += int64(t.Quantity)
		}
		for _, delta := range b.growing {
			v.Growing += delta
		}
		for _, t := range v.Outbox {
			if reason, ok := b.outcomes[t.ID]; ok {
				v.Outcomes[t.ID] = reason
			}
		}
		all = append(all, v)
	}
	return all
}

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
}

// world is a gate, the store behind it, and sale 1.
type world struct {
	subject
	t     tester
	tb    testing.TB // the test that owns what is opened
	store *ledger
	sale  seckill.Sale // as it was opened
}

const saleID seckill.SaleID = 1

// newWorld opens sale 1 at the gate: 10 units, 3 for each buyer, open for an hour.
func newWorld(t tester, s subject, change func(*seckill.Sale)) *world {
	t.Helper()
	now := s.clock.now()
	sale := seckill.Sale{ID: saleID, Title: "a sale", Currency: "CNY", Total: 10, LimitPerBuyer: 3, HoldSeconds: 60,
		OpensAt: now, ClosesAt: now.Add(time.Hour), Version: 1}
	if change != nil {
		change(&sale)
	}
	tb, _ := t.(testing.TB)
	w := &world{t: t, tb: tb, subject: s, sale: sale, store: &ledger{sales: map[seckill.SaleID]*books{}}}
	w.store.create(sale)
	w.rebuild()
	return w
}

// rebuild makes the gate's state of sales (none: all) anew.
func (w *world) rebuild(ids ...seckill.SaleID) {
	w.t.Helper()
	if len(ids) == 0 {
		ids = w.store.all()
	}
	outbox, err := w.Shut(context.Background(), ids)
	require.NoError(w.t, err)
	require.NoError(w.t, w.Load(context.Background(), w.store.snapshots(ids, outbox)))
}

// restart replaces the gate by the one that is found after a stop or a kill.
func (w *world) restart(open func(testing.TB) subject) {
	w.t.Helper()
	w.subject = open(w.tb)
}

func (w *world) ask(buyer string, quantity int) seckill.Answer {
	w.t.Helper()
	a, err := w.Reserve(context.Background(), saleID, buyer, quantity)
	require.NoError(w.t, err, "%s asks for %d", buyer, quantity)
	return a
}

// told asserts the verdict that the buyer gets.
func (w *world) told(want seckill.Verdict, buyer string, quantity int) {
	w.t.Helper()
	require.Equal(w.t, want.String(), w.ask(buyer, quantity).Verdict.String(), "%s asks for %d", buyer, quantity)
}

// admit returns the ticket that the buyer gets.
func (w *world) admit(buyer string, quantity int) seckill.Ticket {
	w.t.Helper()
	a := w.ask(buyer, quantity)
	require.Equal(w.t, seckill.Queued.String(), a.Verdict.String(), "%s asks for %d", buyer, quantity)
	return seckill.Ticket{ID: a.Ticket, Sale: saleID, Buyer: buyer, Quantity: quantity}
}

func (w *world) hasLeft(units int64) {
	w.t.Helper()
	left, ok := w.Left(saleID)
	require.True(w.t, ok, "the gate cannot tell what is left")
	require.Equal(w.t, units, left, "units left at the gate")
}

// hasOutbox asserts the tickets whose outcome the gate does not know.
func (w *world) hasOutbox(tickets ...seckill.Ticket) {
	w.t.Helper()
	cut, err := w.Cut(context.Background(), saleID)
	require.NoError(w.t, err)
	require.ElementsMatch(w.t, ids(tickets), ids(cut.Outbox), "the outbox")
}

// settle brings tickets to an outcome and tells the gate.
func (w *world) settle(reason seckill.Reason, tickets ...seckill.Ticket) []seckill.Outcome {
	w.t.Helper()
	outcomes := w.store.settle(reason, tickets...)
	require.NoError(w.t, w.Finish(context.Background(), outcomes))
	return outcomes
}

// release brings the units of ended orders back.
func (w *world) release(tickets ...seckill.Ticket) {
	w.t.Helper()
	r := w.read(tickets...)
	require.NoError(w.t, w.Release(context.Background(), r))
	w.store.returned(saleID, r.Epoch, tickets...)
}

// read is what the store says now about units on their way back.
func (w *world) read(tickets ...seckill.Ticket) seckill.Return {
	return seckill.Return{Sale: saleID, Epoch: w.store.sales[saleID].sale.Epoch, Tickets: tickets}
}

// move makes a stock move, at both ends, and reports whether the gate took it.
func (w *world) move(id string, delta int64) bool {
	w.t.Helper()
	applied, err := w.Move(context.Background(), seckill.Move{Sale: saleID, ID: id, Delta: delta, Epoch: w.store.sales[saleID].sale.Epoch})
	require.NoError(w.t, err)
	return applied
}

// version puts a change of the sale in force.
func (w *world) version(version int64, change func(*seckill.Sale)) {
	w.t.Helper()
	sale := w.sale
	sale.Version = version
	change(&sale)
	require.NoError(w.t, w.Apply(context.Background(), sale))
}

// unsent takes n tickets from the outbox.
func (w *world) unsent(n int) (tickets []seckill.Ticket) {
	w.t.Helper()
	for len(tickets) < n {
		some, err := w.Unsent(context.Background(), n-len(tickets))
		require.NoError(w.t, err)
		tickets = append(tickets, some...)
	}
	return tickets
}

// nothingUnsent asserts that the relay has nothing to send.
func (w *world) nothingUnsent() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	some, err := w.Unsent(ctx, 10)
	require.ErrorIs(w.t, err, context.DeadlineExceeded)
	require.Empty(w.t, some)
}

func ids(tickets []seckill.Ticket) []string {
	all := make([]string, len(tickets))
	for i, t := range tickets {
		all[i] = t.ID
	}
	return all
}

// testGate holds a gate to the contract of stage 2. open returns a fresh gate
// that admits at most limit tickets without an outcome (0: its default).
func testGate(t *testing.T, open func(t testing.TB, limit int) subject) {
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.test(newWorld(t, open(t, b.limit), b.sale))
		})
	}
}

var behaviours = []struct {
	name  string
	limit int
	sale  func(*seckill.Sale)
	test  func(w *world)
}{
	{
		name: "a sale admits from opens_at until before closes_at, by the gate's clock",
		sale: func(s *seckill.Sale) {
			s.OpensAt, s.ClosesAt = s.OpensAt.Add(time.Minute), s.OpensAt.Add(2*time.Minute)
		},
		test: func(w *world) {
			w.told(seckill.NotOpen, "ann", 1)
			w.clock.advance(time.Minute - time.Millisecond)
			w.told(seckill.NotOpen, "ann", 1)
			w.clock.advance(time.Millisecond)
			w.told(seckill.Queued, "ann", 1)
			w.clock.advance(time.Minute - time.Millisecond)
			w.told(seckill.Queued, "bob", 1)
			w.clock.advance(time.Millisecond)
			w.told(seckill.Ended, "cid", 1)
			w.hasLeft(8)
			require.Equal(w.t, w.clock.now(), w.Now().UTC())
		},
	},
	{
		name: "a paused sale admits nobody until it is resumed, an ended one never",
		test: func(w *world) {
			w.version(2, func(s *seckill.Sale) { s.Paused = true })
			w.told(seckill.Paused, "ann", 1)
			w.version(3, func(s *seckill.Sale) {})
			w.told(seckill.Queued, "ann", 1)
			w.version(4, func(s *seckill.Sale) { s.Ended = true })
			w.told(seckill.Ended, "bob", 1)
			w.hasLeft(9)
		},
	},
	{
		name: "an earlier closing is in force once it is applied",
		test: func(w *world) {
			w.told(seckill.Queued, "ann", 1)
			w.version(2, func(s *seckill.Sale) { s.ClosesAt = w.clock.now() })
			w.told(seckill.Ended, "bob", 1)
		},
	},
	{
		name: "a version that is not newer is ignored",
		test: func(w *world) {
			w.version(3, func(s *seckill.Sale) { s.Paused = true })
			w.version(2, func(s *seckill.Sale) {})
			w.version(3, func(s *seckill.Sale) {})
			w.told(seckill.Paused, "ann", 1)
		},
	},
	{
		name: "a repeat is the same ticket and takes no units",
		test: func(w *world) {
			first := w.admit("ann", 2)
			require.True(w.t, seckill.ValidTicketID(first.ID))
			require.Equal(w.t, first, w.admit("ann", 2))
			w.settle(seckill.ReasonNone, first)
			require.Equal(w.t, first, w.admit("ann", 2), "even when its outcome is known")
			w.hasLeft(8)
		},
	},
	{
		name: "an answer says what was left when it was decided",
		test: func(w *world) {
			require.EqualValues(w.t, 8, w.ask("ann", 2).Left)
			require.EqualValues(w.t, 8, w.ask("ann", 2).Left)
			require.EqualValues(w.t, 5, w.ask("bob", 3).Left)
		},
	},
	{
		name: "an active ticket with another quantity is the limit",
		test: func(w *world) {
			first := w.admit("ann", 2)
			w.told(seckill.Limit, "ann", 1)
			w.settle(seckill.ReasonNone, first)
			w.told(seckill.Limit, "ann", 3)
			w.hasLeft(8)
		},
	},
	{
		name: "a quantity that the sale does not allow is the buyer's mistake",
		test: func(w *world) {
			for _, quantity := range []int{-1, 0, 4, 1 << 40} {
				_, err := w.Reserve(context.Background(), saleID, "ann", quantity)
				var field *seckill.FieldError
				require.ErrorAs(w.t, err, &field, "quantity %d", quantity)
				require.Equal(w.t, "quantity", field.Field)
				require.NotErrorIs(w.t, err, seckill.ErrUnavailable)
			}
			w.hasLeft(10)
			w.hasOutbox()
		},
	},
	{
		name: "a lowered limit does not harm a repeat",
		test: func(w *world) {
			first := w.admit("ann", 3)
			w.version(2, func(s *seckill.Sale) { s.LimitPerBuyer = 1 })
			require.Equal(w.t, first, w.admit("ann", 3))
			_, err := w.Reserve(context.Background(), saleID, "bob", 3)
			var field *seckill.FieldError
			require.ErrorAs(w.t, err, &field)
		},
	},
	{
		name: "the last unit is sold once",
		sale: func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *world) {
			w.told(seckill.Queued, "ann", 1)
			w.told(seckill.SoldOut, "bob", 1)
			w.told(seckill.SoldOut, "cid", 1)
			w.told(seckill.Queued, "ann", 1)
			w.hasLeft(0)
		},
	},
	{
		name: "two wanted and one left is sold out, and does not set the flag",
		sale: func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *world) {
			a := w.ask("ann", 2)
			require.Equal(w.t, seckill.SoldOut, a.Verdict)
			require.EqualValues(w.t, 1, a.Left)
			require.False(w.t, w.Over(saleID))
			w.told(seckill.Queued, "bob", 1)
		},
	},
	{
		name: "an answer that nothing is left sets the flag, returned units clear it",
		sale: func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *world) {
			first := w.admit("ann", 1)
			require.False(w.t, w.Over(saleID), "the last buyer may repeat")
			w.told(seckill.SoldOut, "bob", 1)
			require.True(w.t, w.Over(saleID))
			w.settle(seckill.ReasonLimit, first)
			require.False(w.t, w.Over(saleID))
			w.told(seckill.Queued, "bob", 1)
		},
	},
	{
		name:  "the gate is busy at its limit of tickets without an outcome, and has room again after one",
		limit: 2,
		test: func(w *world) {
			first := w.admit("ann", 1)
			second := w.admit("bob", 1)
			w.told(seckill.Busy, "cid", 1)
			require.Equal(w.t, second, w.admit("bob", 1), "a repeat needs no room")
			w.settle(seckill.ReasonNone, first)
			w.settle(seckill.ReasonNone, first)
			third := w.admit("cid", 1)
			w.told(seckill.Busy, "dan", 1)
			w.settle(seckill.ReasonPoison, second, third)
			w.told(seckill.Queued, "dan", 1)
			w.hasLeft(8)
		},
	},
	{
		name:  "room is the same after a rebuild",
		limit: 2,
		test: func(w *world) {
			first, _ := w.admit("ann", 1), w.admit("bob", 1)
			w.store.settle(seckill.ReasonNone, first)
			w.rebuild()
			w.rebuild()
			w.told(seckill.Queued, "cid", 1)
			w.told(seckill.Busy, "dan", 1)
		},
	},
	{
		name:  "sold out comes before busy",
		limit: 1,
		sale:  func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *world) {
			w.told(seckill.Queued, "ann", 1)
			w.told(seckill.SoldOut, "bob", 1)
		},
	},
	{
		name: "a ticket leaves the outbox with its outcome, however often that is told",
		test: func(w *world) {
			first, second := w.admit("ann", 1), w.admit("bob", 2)
			w.hasOutbox(first, second)
			for range 3 {
				w.settle(seckill.ReasonNone, first)
				w.hasOutbox(second)
			}
			w.settle(seckill.ReasonNone, second, first, second)
			w.hasOutbox()
			w.hasLeft(7)
		},
	},
	{
		name: "a refusal returns its units once and frees its buyer",
		test: func(w *world) {
			for i, reason := range []seckill.Reason{seckill.ReasonLimit, seckill.ReasonNoSale, seckill.ReasonPoison} {
				ticket := w.admit("ann", 3)
				w.hasLeft(7)
				outcomes := w.settle(reason, ticket)
				w.hasLeft(10)
				require.NoError(w.t, w.Finish(context.Background(), append(outcomes, outcomes...)))
				w.hasLeft(10)
				next := w.admit("ann", 1)
				require.NotEqual(w.t, ticket.ID, next.ID, "round %d", i)
				require.NoError(w.t, w.Finish(context.Background(), outcomes), "told late")
				w.hasLeft(9)
				w.settle(reason, next)
			}
		},
	},
	{
		name: "a refusal because the store had no unit returns nothing and frees its buyer",
		test: func(w *world) {
			ticket := w.admit("ann", 3)
			w.settle(seckill.ReasonSoldOut, ticket)
			w.settle(seckill.ReasonSoldOut, ticket)
			w.hasLeft(7)
			w.hasOutbox()
			require.NotEqual(w.t, ticket.ID, w.admit("ann", 3).ID)
		},
	},
	{
		name: "the first outcome stands",
		test: func(w *world) {
			ticket := w.admit("ann", 3)
			w.settle(seckill.ReasonNone, ticket)
			require.NoError(w.t, w.Finish(context.Background(), []seckill.Outcome{{Ticket: ticket, Reason: seckill.ReasonPoison}}))
			w.hasLeft(7)
			w.told(seckill.Limit, "ann", 1)
		},
	},
	{
		name: "outcomes of sales and tickets that the gate does not know change nothing",
		test: func(w *world) {
			mine := w.admit("ann", 1)
			require.NoError(w.t, w.Finish(context.Background(), []seckill.Outcome{
				{Ticket: seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: 99, Buyer: "ann", Quantity: 1}, Reason: seckill.ReasonNoSale},
				{Ticket: seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: saleID, Buyer: "ann", Quantity: 3}, Reason: seckill.ReasonLimit},
				{Ticket: seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: saleID, Buyer: "zoe", Quantity: 3}, Reason: seckill.ReasonLimit},
			}))
			w.hasLeft(9)
			w.hasOutbox(mine)
		},
	},
	{
		name: "a release returns units once and frees the buyer",
		test: func(w *world) {
			ticket := w.admit("ann", 2)
			w.settle(seckill.ReasonNone, ticket)
			w.store.end(ticket)
			require.Equal(w.t, ticket, w.admit("ann", 2), "before it a repeat is the old ticket")
			w.release(ticket)
			w.release(ticket, ticket)
			w.hasLeft(10)
			require.NotEqual(w.t, ticket.ID, w.admit("ann", 2).ID, "after it a repeat is a new one")
		},
	},
	{
		name: "a late release of an old ticket leaves the buyer's new one alone",
		test: func(w *world) {
			old := w.admit("ann", 2)
			w.settle(seckill.ReasonNone, old)
			w.store.end(old)
			w.rebuild() // frees the buyer, not the units
			w.hasLeft(8)
			fresh := w.admit("ann", 1)
			w.release(old)
			w.hasLeft(9)
			require.Equal(w.t, fresh, w.admit("ann", 1))
			w.release(old)
			w.hasLeft(9)
		},
	},
	{
		name:  "an order that ends before the gate hears of its outcome leaves nothing behind",
		limit: 1,
		test: func(w *world) {
			ticket := w.admit("ann", 2)
			outcomes := w.store.settle(seckill.ReasonNone, ticket)
			w.store.end(ticket)
			w.release(ticket)
			require.NoError(w.t, w.Finish(context.Background(), outcomes))
			w.hasLeft(10)
			w.hasOutbox()
			next := w.admit("ann", 2)
			require.NotEqual(w.t, ticket.ID, next.ID)
			require.NoError(w.t, w.Finish(context.Background(), outcomes))
			w.hasOutbox(next)
			w.hasLeft(8)
		},
	},
	{
		name: "units released in an epoch that a rebuild ended come back once",
		test: func(w *world) {
			ticket := w.admit("ann", 2)
			w.settle(seckill.ReasonNone, ticket)
			w.store.end(ticket)
			r := w.read(ticket)
			require.NoError(w.t, w.Release(context.Background(), r))
			w.hasLeft(10)
			w.rebuild() // the store has not heard of the release: the units are still to come
			w.hasLeft(8)
			w.store.returned(saleID, r.Epoch, ticket)
			w.release(ticket)
			w.hasLeft(10)
			w.rebuild()
			w.hasLeft(10)
		},
	},
	{
		name: "units that a slow node read before a rebuild do not come back twice",
		test: func(w *world) {
			ticket := w.admit("ann", 2)
			w.settle(seckill.ReasonNone, ticket)
			w.store.end(ticket)
			slow := w.read(ticket)
			w.release(ticket) // by another node, and the store has heard
			w.rebuild()
			w.hasLeft(10)
			require.ErrorIs(w.t, w.Release(context.Background(), slow), seckill.ErrStale)
			w.hasLeft(10)
		},
	},
	{
		name: "a stock move that a slow node read before a rebuild is not applied twice",
		test: func(w *world) {
			sale := &w.store.sales[saleID].sale
			slow := seckill.Move{Sale: saleID, ID: "a", Delta: 5, Epoch: sale.Epoch}
			require.True(w.t, w.move("a", 5)) // by another node
			sale.Total += 5                   // and the store has heard
			w.rebuild()
			w.hasLeft(15)
			_, err := w.Move(context.Background(), slow)
			require.ErrorIs(w.t, err, seckill.ErrStale)
			w.hasLeft(15)
		},
	},
	{
		name: "a retired sale forgets its buyers, answers ended, and still adds up",
		test: func(w *world) {
			ctx, sale := context.Background(), &w.store.sales[saleID].sale
			ann, bob := w.admit("ann", 2), w.admit("bob", 1)
			w.settle(seckill.ReasonNone, ann, bob)
			w.clock.advance(2 * time.Hour)
			retired := func() []seckill.SaleID {
				stale, err := w.Stale(ctx, []seckill.Sale{*sale})
				require.NoError(w.t, err)
				return stale
			}
			require.Empty(w.t, retired())
			sale.Retired = true
			require.Equal(w.t, []seckill.SaleID{saleID}, retired())
			w.rebuild(saleID)
			require.Empty(w.t, retired(), "once")
			_, err := w.Find(ctx, saleID, "ann", "")
			require.ErrorIs(w.t, err, seckill.ErrNotFound)
			w.told(seckill.Ended, "ann", 2)
			w.told(seckill.Ended, "cid", 1)
			w.hasLeft(7)
			w.store.end(bob) // a refund
			w.release(bob)
			w.hasLeft(8)
			require.NoError(w.t, w.Finish(ctx, []seckill.Outcome{{Ticket: ann}}), "a redelivery")
			w.hasLeft(8)

			// It opens again: not before its buyers are known.
			sale.Version, sale.ClosesAt, sale.Retired = sale.Version+1, w.clock.now().Add(time.Hour), false
			require.ErrorIs(w.t, w.Apply(ctx, *sale), seckill.ErrClosed)
			require.Equal(w.t, []seckill.SaleID{saleID}, retired(), "whoever did not get to rebuild it")
			w.rebuild(saleID)
			require.Equal(w.t, ann.ID, w.admit("ann", 2).ID)
			w.told(seckill.Queued, "bob", 1)
			w.hasLeft(7)
		},
	},
	{
		name: "a stock move is applied once for each id",
		test: func(w *world) {
			require.True(w.t, w.move("a", 5))
			require.True(w.t, w.move("a", 5))
			w.hasLeft(15)
			require.True(w.t, w.move("b", -7))
			require.True(w.t, w.move("b", -7))
			w.hasLeft(8)
		},
	},
	{
		name: "shrinking takes all or nothing, and what was decided stays",
		test: func(w *world) {
			w.told(seckill.Queued, "ann", 3)
			require.False(w.t, w.move("a", -8))
			w.hasLeft(7)
			require.True(w.t, w.move("b", -7))
			w.hasLeft(0)
			require.True(w.t, w.move("c", 100))
			require.False(w.t, w.move("a", -8), "it was refused")
			w.hasLeft(100)
		},
	},
	{
		name: "growth under the id of a refused move is a move of its own",
		test: func(w *world) {
			require.False(w.t, w.move("a", -11))
			require.True(w.t, w.move("a", 5))
			require.True(w.t, w.move("a", 5))
			w.hasLeft(15)
		},
	},
	{
		name: "a sale that was never loaded answers unavailable",
		test: func(w *world) { w.unavailable(99) },
	},
	{
		name: "a sale that is shut answers unavailable, and the others go on",
		test: func(w *world) {
			other := w.sale
			other.ID = 2
			w.store.create(other)
			w.rebuild(2)
			ticket := w.admit("ann", 1)
			_, err := w.Shut(context.Background(), []seckill.SaleID{saleID})
			require.NoError(w.t, err)
			w.unavailable(saleID)
			err = w.Finish(context.Background(), w.store.settle(seckill.ReasonNone, ticket))
			require.ErrorIs(w.t, err, seckill.ErrUnavailable, "the rebuild decides first")
			a, err := w.Reserve(context.Background(), 2, "ann", 1)
			require.NoError(w.t, err)
			require.Equal(w.t, seckill.Queued, a.Verdict)
		},
	},
	{
		name: "shut names the outbox of the sales that were asked for",
		test: func(w *world) {
			other := w.sale
			other.ID = 2
			w.store.create(other)
			w.rebuild(2)
			first := w.admit("ann", 2)
			_, err := w.Reserve(context.Background(), 2, "bob", 1)
			require.NoError(w.t, err)
			outbox, err := w.Shut(context.Background(), []seckill.SaleID{saleID})
			require.NoError(w.t, err)
			require.Len(w.t, outbox, 1)
			require.Equal(w.t, []string{first.ID}, ids(outbox[saleID]))
			got := outbox[saleID][0]
			require.Equal(w.t, []any{"ann", 2, int64(1)}, []any{got.Buyer, got.Quantity, got.Seq})
			require.WithinDuration(w.t, w.clock.now(), got.At, time.Millisecond)
			outbox, err = w.Shut(context.Background(), []seckill.SaleID{saleID, 2})
			require.NoError(w.t, err)
			require.Len(w.t, outbox, 2)
		},
	},
	{
		name: "a sale is stale when it is missing, shut, or of another epoch",
		test: func(w *world) {
			ctx := context.Background()
			stale := func(want ...seckill.SaleID) {
				w.t.Helper()
				missing := w.sale
				missing.ID = 99
				got, err := w.Stale(ctx, []seckill.Sale{w.store.sales[saleID].sale, missing})
				require.NoError(w.t, err)
				require.ElementsMatch(w.t, want, got)
			}
			stale(99)
			w.store.sales[saleID].sale.Epoch++ // a rebuild that did not come to its end
			stale(saleID, 99)
			w.rebuild()
			stale(99)
			_, err := w.Shut(ctx, w.store.all())
			require.NoError(w.t, err)
			stale(saleID, 99)
		},
	},
	{
		name: "a rebuild puts what is left at the gate: never the total again",
		test: func(w *world) {
			pending, placed, refused, gone, back := w.admit("pia", 1), w.admit("ann", 1), w.admit("bob", 2), w.admit("cid", 1), w.admit("dan", 2)
			w.settle(seckill.ReasonNone, placed)
			w.store.settle(seckill.ReasonLimit, refused) // and the gate has not heard
			w.store.settle(seckill.ReasonNone, gone)     // nor here
			w.settle(seckill.ReasonNone, back)
			w.store.end(back)
			w.store.sales[saleID].sale.Total += 5
			w.store.sales[saleID].growing["more"] = 5
			w.hasLeft(3)
			for range 3 {
				w.rebuild()
				w.hasLeft(10 - 1 - 1 - 1 - 2)
				w.hasOutbox(pending)
				require.Equal(w.t, pending, w.admit("pia", 1))
				require.Equal(w.t, placed, w.admit("ann", 1))
				require.Equal(w.t, gone, w.admit("cid", 1))
			}
			require.True(w.t, w.move("more", 5))
			w.release(back)
			w.settle(seckill.ReasonNone, pending)
			w.hasLeft(12)
			w.told(seckill.Queued, "bob", 1)
			w.told(seckill.Queued, "dan", 1)
		},
	},
	{
		name: "units that were sold again before a rebuild which still expects them are not sold twice",
		sale: func(s *seckill.Sale) { s.Total = 2 },
		test: func(w *world) {
			old := w.admit("ann", 2)
			w.settle(seckill.ReasonNone, old)
			w.store.end(old)
			require.NoError(w.t, w.Release(context.Background(), w.read(old))) // and the store does not hear of it
			w.told(seckill.Queued, "bob", 2)
			w.rebuild()
			w.hasLeft(0)
			w.told(seckill.SoldOut, "cid", 1)
			require.True(w.t, w.Over(saleID))
			w.release(old)
			w.hasLeft(0)
			w.told(seckill.SoldOut, "cid", 1)
		},
	},
	{
		name: "growth that was sold before a rebuild which still expects it is not sold twice",
		sale: func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *world) {
			w.store.sales[saleID].sale.Total, w.store.sales[saleID].growing["more"] = 3, 2
			require.True(w.t, w.move("more", 2))
			w.told(seckill.Queued, "ann", 3)
			w.rebuild()
			require.True(w.t, w.move("other", 1), "growth is never refused")
			require.True(w.t, w.move("more", 2))
			w.hasLeft(1)
		},
	},
	{
		name: "a gate that is rebuilt with more promised than exists has nothing until that is made good",
		sale: func(s *seckill.Sale) { s.Total = 3 },
		test: func(w *world) {
			ticket := w.admit("ann", 3)
			w.store.sales[saleID].sale.Total = 2
			w.rebuild()
			w.hasLeft(0)
			w.told(seckill.SoldOut, "bob", 1)
			w.settle(seckill.ReasonSoldOut, ticket)
			require.True(w.t, w.move("more", 1))
			w.hasLeft(1)
		},
	},
	{
		name: "a snapshot of an older epoch than the one in force is ignored",
		test: func(w *world) {
			ctx := context.Background()
			outbox, err := w.Shut(ctx, w.store.all())
			require.NoError(w.t, err)
			old := w.store.snapshots(w.store.all(), outbox)
			w.rebuild()
			ticket := w.admit("ann", 3)
			require.NoError(w.t, w.Load(ctx, old))
			w.hasLeft(7)
			require.Equal(w.t, ticket, w.admit("ann", 3))
			cut, err := w.Cut(ctx, saleID)
			require.NoError(w.t, err)
			require.Equal(w.t, w.store.sales[saleID].sale.Epoch, cut.Epoch)
		},
	},
	{
		name: "a rebuild hands out tickets without an outcome again",
		test: func(w *world) {
			first, second := w.admit("ann", 1), w.admit("bob", 1)
			require.ElementsMatch(w.t, ids([]seckill.Ticket{first, second}), ids(w.unsent(2)))
			w.nothingUnsent()
			w.settle(seckill.ReasonNone, first)
			w.rebuild()
			require.Equal(w.t, []string{second.ID}, ids(w.unsent(1)))
		},
	},
	{
		name: "the relay gets every ticket as it was admitted, in batches of at most max",
		test: func(w *world) {
			want := []string{w.admit("ann", 1).ID, w.admit("bob", 2).ID, w.admit("cid", 3).ID}
			var got []string
			for len(got) < 3 {
				some, err := w.Unsent(context.Background(), 2)
				require.NoError(w.t, err)
				require.LessOrEqual(w.t, len(some), 2)
				require.NoError(w.t, w.Sent(context.Background(), some))
				got = append(got, ids(some)...)
			}
			require.Equal(w.t, want, got)
			w.hasOutbox(seckill.Ticket{ID: want[0]}, seckill.Ticket{ID: want[1]}, seckill.Ticket{ID: want[2]})
		},
	},
	{
		name: "find tells where a buyer's newest ticket stands",
		test: func(w *world) {
			ctx := context.Background()
			_, err := w.Find(ctx, saleID, "ann", "")
			require.ErrorIs(w.t, err, seckill.ErrNotFound)
			first, second := w.admit("ann", 1), w.admit("bob", 2)
			p, err := w.Find(ctx, saleID, "bob", "")
			require.NoError(w.t, err)
			require.Equal(w.t, []any{second.ID, "bob", 2, false, int64(2)}, []any{p.Ticket.ID, p.Ticket.Buyer, p.Ticket.Quantity, p.Final, p.Position})
			w.settle(seckill.ReasonNone, first)
			p, err = w.Find(ctx, saleID, "bob", second.ID)
			require.NoError(w.t, err)
			require.EqualValues(w.t, 1, p.Position)
			p, err = w.Find(ctx, saleID, "ann", first.ID)
			require.NoError(w.t, err)
			require.True(w.t, p.Final && p.Placed())
			require.Equal(w.t, first.ID, p.Order())
			_, err = w.Find(ctx, saleID, "ann", second.ID)
			require.ErrorIs(w.t, err, seckill.ErrNotFound, "somebody else's")
			w.settle(seckill.ReasonLimit, second)
			_, err = w.Find(ctx, saleID, "bob", "")
			require.ErrorIs(w.t, err, seckill.ErrNotFound, "the store knows why it was refused")
		},
	},
	{
		name: "that a buyer never had a ticket is said by the state that was made with the sale, of buyers it has never seen",
		test: func(w *world) {
			finds := func(buyer, ticket string) error {
				_, err := w.Find(context.Background(), saleID, buyer, ticket)
				return err
			}
			require.ErrorIs(w.t, finds("ann", ""), seckill.ErrNoTicket)
			ann := w.admit("ann", 1)
			require.ErrorIs(w.t, finds("bob", ann.ID), seckill.ErrNoTicket, "somebody else's")
			require.NotErrorIs(w.t, finds("ann", seckill.NewTicketID(w.clock.now())), seckill.ErrNoTicket, "it may be an older one")
			w.settle(seckill.ReasonLimit, ann)
			require.NotErrorIs(w.t, finds("ann", ""), seckill.ErrNoTicket, "it was refused")
			bob := w.admit("bob", 1)
			w.settle(seckill.ReasonNone, bob)
			w.store.end(bob)
			w.release(bob)
			require.NotErrorIs(w.t, finds("bob", seckill.NewTicketID(w.clock.now())), seckill.ErrNoTicket)
			w.rebuild()
			for _, buyer := range []string{"ann", "bob", "cid"} {
				err := finds(buyer, "")
				require.ErrorIs(w.t, err, seckill.ErrNotFound)
				require.NotErrorIs(w.t, err, seckill.ErrNoTicket, "a gate that was rebuilt does not know whose tickets are over")
			}
		},
	},
	{
		name: "a state that has not come as far as what is settled has lost something, and is stale",
		test: func(w *world) {
			w.settle(seckill.ReasonNone, w.admit("ann", 1))
			w.admit("bob", 1) // the gate is ahead: that is not settled yet
			sale := w.store.sales[saleID].sale
			stale := func() []seckill.SaleID {
				ids, err := w.Stale(context.Background(), []seckill.Sale{sale})
				require.NoError(w.t, err)
				return ids
			}
			require.Empty(w.t, stale())
			sale.Seq = 3
			require.Equal(w.t, []seckill.SaleID{saleID}, stale())
		},
	},
	{
		name: "a wait ends with the outcome, for everybody who waits",
		test: func(w *world) {
			ticket := w.admit("ann", 1)
			done := make(chan struct{})
			for range 3 {
				go func() { w.Wait(context.Background(), saleID, "ann", ticket.ID); done <- struct{}{} }()
			}
			w.settle(seckill.ReasonNone, ticket)
			for range 3 {
				<-done
			}
			w.Wait(context.Background(), saleID, "ann", ticket.ID) // at once: it is known
		},
	},
	{
		name: "a wait ends with its context",
		test: func(w *world) {
			ticket := w.admit("ann", 1)
			ctx, cancel := context.WithCancel(context.Background())
			go cancel()
			w.Wait(ctx, saleID, "ann", ticket.ID)
		},
	},
	{
		name: "a gate belongs to one store",
		test: func(w *world) {
			belongs := func() {
				require.NoError(w.t, w.Belong(context.Background(), "ours"))
				require.NoError(w.t, w.Belong(context.Background(), "ours"))
				require.ErrorContains(w.t, w.Belong(context.Background(), "theirs"), "another store")
			}
			belongs()
			w.restart(w.reopen)
			belongs()
		},
	},
	{
		name: "a gate that was stopped and opened again is closed until it is rebuilt, and then adds up",
		test: func(w *world) { w.survives(w.reopen) },
	},
	{
		name: "a gate that was killed is closed until it is rebuilt, and then adds up",
		test: func(w *world) { w.survives(w.crash) },
	},
}

// unavailable asserts that a closed sale says so, whatever it is asked.
func (w *world) unavailable(id seckill.SaleID) {
	w.t.Helper()
	ctx := context.Background()
	_, reserve := w.Reserve(ctx, id, "zoe", 1)
	release := w.Release(ctx, seckill.Return{Sale: id, Tickets: []seckill.Ticket{{ID: "x", Sale: id, Buyer: "zoe", Quantity: 1}}})
	_, move := w.Move(ctx, seckill.Move{Sale: id, ID: "x", Delta: 1})
	_, cut := w.Cut(ctx, id)
	sale := w.sale
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
func (w *world) survives(open func(testing.TB) subject) {
	w.t.Helper()
	var tickets []seckill.Ticket
	for i := range 5 {
		tickets = append(tickets, w.admit(fmt.Sprint("buyer", i), 1))
	}
	w.settle(seckill.ReasonNone, tickets[0])
	w.settle(seckill.ReasonLimit, tickets[1])
	w.store.settle(seckill.ReasonNone, tickets[2]) // the gate has not heard
	w.store.settle(seckill.ReasonLimit, tickets[3])
	w.restart(open)
	if !w.outlives {
		w.unavailable(saleID)
	}
	w.rebuild()
	w.hasLeft(7)
	w.hasOutbox(tickets[4])
	for _, i := range []int{0, 2, 4} {
		require.Equal(w.t, tickets[i], w.admit(tickets[i].Buyer, 1), "what was told stays true")
	}
	for _, i := range []int{1, 3} {
		require.NotEqual(w.t, tickets[i].ID, w.admit(tickets[i].Buyer, 1).ID)
	}
	require.Equal(w.t, tickets[4].ID, w.unsent(1)[0].ID, "it is sent again")
	for _, o := range w.store.settle(seckill.ReasonNone, tickets...) {
		require.NoError(w.t, w.Finish(context.Background(), []seckill.Outcome{o}), "the queue delivers again")
	}
	w.hasLeft(5)
}
