// Package gatetest holds every gate to one contract, whatever it is made of. A
// backend's own test calls Run (what a gate answers, case by case), RunModel (random
// steps against a model) and RunHistories (concurrent callers against a sale in which
// one thing happens after another). The models are written down here on their own
// and use none of the rules that the gates decide by.
package gatetest

import (
	"context"
	"flag"
	"slices"
	"sync"
	"testing"
	"time"

	"seckill"
)

// patience bounds what hangs.
const patience = 2 * time.Minute

// Gate is what every gate offers, whatever it is made of.
type Gate interface {
	Unsent(ctx context.Context, max int) ([]seckill.Ticket, error)
	Sent(ctx context.Context, tickets []seckill.Ticket) error
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
	Glance(ctx context.Context, id seckill.SaleID, most int) (seckill.Cut, error)
	States(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error)
	Holds(ctx context.Context, id seckill.SaleID, buyers []string) (map[string]seckill.Hold, error)
	ScanHolds(ctx context.Context, id seckill.SaleID, cursor uint64, max int) ([]seckill.Hold, uint64, error)
	Shut(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID][]seckill.Ticket, error)
	Load(ctx context.Context, snapshots []seckill.Snapshot) error
	Outdated(ctx context.Context, sales []seckill.Sale) ([]seckill.SaleID, error)
	Belong(ctx context.Context, store string) error
	Stop(ctx context.Context, stop seckill.Stop) error
	Stops(ctx context.Context, of ...seckill.SaleID) ([]seckill.Stop, error)
	Noted(ctx context.Context, stop seckill.Stop) (bool, error)
	Learned(ctx context.Context, stop seckill.Stop) error
	Lost() <-chan struct{}
}

// Subject is one gate under test, and what the suite needs to know of its backend.
type Subject struct {
	Gate
	Clock *Clock
	// Outlives says that the gate's state is not in the node: a restart of the node
	// finds it as it was.
	Outlives bool
	// Reopen stops the gate properly and opens another one on the same data.
	Reopen func(t testing.TB) Subject
	// Crash opens another gate on the data as a kill would leave it now.
	Crash func(t testing.TB) Subject
}

// Clock is the gate's clock under test.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

func NewClock() *Clock { return ClockAt(time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)) }

// ClockAt returns a clock that stands still at a time until it is advanced.
func ClockAt(at time.Time) *Clock { return &Clock{at: at} }

// Now is the time on the clock.
func (c *Clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.at = c.at.Add(d) }

// FewChecks makes a run look at 25 random sequences instead of 100: behind every
// step is a commit to disk. It is for TestMain; -rapid.checks=1000 looks harder.
func FewChecks() {
	_ = flag.Set("rapid.checks", "25")
	_ = flag.Set("rapid.nofailfile", "true")
}

// behaviour is one thing that every gate does.
type behaviour struct {
	name  string
	limit int                 // of tickets without an outcome, 0: the gate's default
	sale  func(*seckill.Sale) // changes the sale that the world opens
	test  func(w *World)
}

// Run holds a gate to what every gate must do. open returns a fresh gate that
// admits at most limit tickets without an outcome (0: its default).
func Run(t *testing.T, open func(t testing.TB, limit int) Subject) {
	for _, b := range slices.Concat(admission, outcomes, units, rebuilds, stops, lookups, looks) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.test(NewWorld(t, open(t, b.limit), b.sale))
		})
	}
}
