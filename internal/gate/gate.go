// Package gate says yes or no to a buyer in one atomic step, and remembers every yes
// until its outcome is known. Of the path of a purchase it is
//
//	step 1   the over flag, which a request looks at first (flag.go)
//	step 2   Reserve: is the sale open by the gate's own clock, does this buyer hold an
//	         active ticket, is there stock, is there room in the outbox; a yes writes the
//	         ticket to the outbox in the same step, and is answered when that is durable
//	step 4   the relay, which takes tickets from the outbox to the queue (relay.go)
//	step 6   Finish, which learns their outcomes
//	step 9   Release, which takes back the units of ended orders
//	step 10  Apply, which puts a sale's new version in force
//	step 11  Move, which moves stock
//	step 12  Shut and Load, between which a sale's state is counted again
//
// memory.go is the embedded gate: one lock per sale, journalled to SQLite in
// group commits (journal.go). The package redisgate below is the gate that several
// nodes share. The package gatetest below holds both of them to the same contract.
package gate

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"seckill"
)

// Closed is the error for a sale whose state at the gate is unknown until it is rebuilt.
func Closed(id seckill.SaleID) error { return fmt.Errorf("gate: sale %s: %w", id, seckill.ErrClosed) }

// Stale is the error for something that was read from the store in an earlier epoch than
// that of the gate's state of the sale.
func Stale(id seckill.SaleID) error { return fmt.Errorf("gate: sale %s: %w", id, seckill.ErrStale) }

// closedMost is how long the outcomes of a closed sale keep those of all others waiting. Its
// rebuild takes a moment, after which the sale can be told.
const closedMost = 5 * time.Second

// closedNoted is how many closed sales a gate remembers; beyond it all are forgotten, and
// are waited for again.
const closedNoted = 10_000

// Closings notes since when outcomes have found sales closed, so that one that nobody can
// rebuild holds no other for long. Its outcomes are in the store, where the rebuild reads
// them; what that did not see yet is pending again, and the gate is told of it later.
type Closings struct {
	mu   sync.Mutex
	most time.Duration
	by   map[seckill.SaleID]*closing
}

type closing struct {
	since time.Time
	said  bool
}

// NewClosings notes closed sales and waits for each for so long; 0: closedMost.
func NewClosings(most time.Duration) *Closings {
	return &Closings{most: cmp.Or(most, closedMost), by: map[seckill.SaleID]*closing{}}
}

// Over notes that a sale is closed, and reports whether it has been for too long to wait for
// it; first says that this is the first time since it was open.
func (c *Closings) Over(id seckill.SaleID) (over, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.by[id]
	if v == nil {
		if len(c.by) >= closedNoted {
			clear(c.by)
		}
		v = &closing{since: time.Now()}
		c.by[id] = v
	}
	if time.Since(v.since) < c.most {
		return false, false
	}
	first, v.said = !v.said, true
	return true, first
}

// Open notes that a sale is open.
func (c *Closings) Open(id seckill.SaleID) {
	c.mu.Lock()
	delete(c.by, id)
	c.mu.Unlock()
}

// NoHold is the error when the gate has no ticket of a buyer. In epoch 1 nothing was
// dropped yet, so there never was one (ErrNoTicket). After a rebuild an ended ticket may be
// missing, so the store must be asked (ErrNotFound).
func NoHold(epoch int64) error {
	if epoch == 1 {
		return seckill.ErrNoTicket
	}
	return seckill.ErrNotFound
}

// Waiters are the requests that wait for the outcome of a ticket on this node.
type Waiters struct {
	mu sync.Mutex
	by map[string]*waiter
}

type waiter struct {
	done chan struct{}
	n    int
}

// Wait returns when Wake was called for the ticket, or ctx is done. look is
// asked after the waiter is registered, so that no wake is missed; when it says
// true there is nothing to wait for.
func (w *Waiters) Wait(ctx context.Context, ticket string, look func() bool) {
	w.mu.Lock()
	if w.by == nil {
		w.by = map[string]*waiter{}
	}
	own := w.by[ticket]
	if own == nil {
		own = &waiter{done: make(chan struct{})}
		w.by[ticket] = own
	}
	own.n++
	w.mu.Unlock()
	if !look() {
		select {
		case <-own.done:
		case <-ctx.Done():
		}
	}
	w.mu.Lock()
	if own.n--; own.n == 0 && w.by[ticket] == own {
		delete(w.by, ticket)
	}
	w.mu.Unlock()
}

// Wake lets those go on who wait for one of the tickets.
func (w *Waiters) Wake(outcomes []seckill.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.by) == 0 {
		return
	}
	for _, o := range outcomes {
		w.final(o.Ticket.ID)
	}
}

// Hear does the same for tickets that another node has finished.
func (w *Waiters) Hear(tickets []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ticket := range tickets {
		w.final(ticket)
	}
}

func (w *Waiters) final(ticket string) {
	if own := w.by[ticket]; own != nil {
		close(own.done)
		delete(w.by, ticket)
	}
}
