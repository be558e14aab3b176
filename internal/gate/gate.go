// Package gate is stage 2 of a purchase: it says yes or no to a buyer in one
// atomic step, and remembers every yes until its outcome is known.
//
// A request looks at the over flag first (flag.go). Reserve decides: is the sale
// open by the gate's own clock, does this buyer hold an active ticket, is there
// stock, is there room in the outbox. A yes writes the ticket to the outbox in
// the same step, and is answered only when that is durable. The relay (relay.go)
// takes tickets from the outbox to the queue, and Finish brings their outcomes
// back.
//
// memory.go is the embedded gate: one lock per sale, journalled to SQLite in
// group commits (journal.go). redis.go is the gate that several nodes share: one
// Lua script for each decision (lua/), the outbox as streams (redis_outbox.go).
package gate

import (
	"context"
	"fmt"
	"sync"

	"seckill"
)

// closed says that a sale's state at the gate is unknown until it is rebuilt.
func closed(id seckill.SaleID) error { return fmt.Errorf("gate: sale %s: %w", id, seckill.ErrClosed) }

// stale says that something was read before the gate's state of the sale was made.
func stale(id seckill.SaleID) error { return fmt.Errorf("gate: sale %s: %w", id, seckill.ErrStale) }

// nobody says that a gate's state of a sale has no hold of a buyer. The first one
// was made with the sale and has everybody who ever had a ticket; one that was
// rebuilt lacks those whose tickets were over by then.
func nobody(epoch int64) error {
	if epoch == 1 {
		return seckill.ErrNoTicket
	}
	return seckill.ErrNotFound
}

// waiters are the requests that wait for the outcome of a ticket on this node.
type waiters struct {
	mu sync.Mutex
	by map[string]*waiter
}

type waiter struct {
	done chan struct{}
	n    int
}

// wait returns when wake was called for the ticket, or ctx is done. look is
// asked after the waiter is registered, so that no wake is missed; when it says
// true there is nothing to wait for.
func (w *waiters) wait(ctx context.Context, ticket string, look func() bool) {
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

// wake lets those go on who wait for one of the tickets.
func (w *waiters) wake(outcomes []seckill.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.by) == 0 {
		return
	}
	for _, o := range outcomes {
		w.final(o.Ticket.ID)
	}
}

// hear does the same for tickets that another node has finished.
func (w *waiters) hear(tickets []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ticket := range tickets {
		w.final(ticket)
	}
}

func (w *waiters) final(ticket string) {
	if own := w.by[ticket]; own != nil {
		close(own.done)
		delete(w.by, ticket)
	}
}
