// Package duty holds what every resident of a node needs beside its own work: a rest
// between two turns, growing pauses while something is away, one line in the log for a
// long outage, a signal that wakes another resident, and a lease that lets one node work
// at a time.
//
// A resident is a value with Run(ctx) error. It works until ctx is done, finishes what
// is at hand and returns nil; an error of Run stops the whole node. internal/app lists
// all of them in one table.
package duty

import (
	"context"
	"math/rand/v2"
	"time"
)

// Rest waits for d, or until ctx is done, and returns the error of ctx.
func Rest(ctx context.Context, d time.Duration) error { return RestOr(ctx, d, nil) }

// RestOr waits for d, or until there is a signal, or until ctx is done, and returns the
// error of ctx.
func RestOr(ctx context.Context, d time.Duration, wake Signal) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// Signal tells one waiting goroutine that there is something to look at. It keeps one
// token: a signal that nobody waits for is not lost, and a second one adds nothing.
type Signal chan struct{}

// NewSignal returns a signal without a token.
func NewSignal() Signal { return make(Signal, 1) }

// Send leaves a token. It does not wait.
func (s Signal) Send() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Backoff is a pause that doubles from First to Most while attempts fail.
type Backoff struct {
	First, Most time.Duration
	// Spread makes half of each pause random, so that nodes which lost the same engine do
	// not come back in step.
	Spread bool

	next time.Duration
}

// Next returns the pause after another failed attempt.
func (b *Backoff) Next() time.Duration {
	pause := max(b.First, b.next)
	b.next = min(2*pause, b.Most)
	return b.spread(pause)
}

// After returns the pause after an attempt that failed, when so many before it had failed
// too: for those whose attempts are counted elsewhere.
func (b Backoff) After(failed int) time.Duration {
	pause := b.First
	for ; failed > 0 && pause < b.Most; failed-- {
		pause *= 2
	}
	return b.spread(min(pause, b.Most))
}

func (b *Backoff) spread(pause time.Duration) time.Duration {
	if b.Spread && pause > 1 {
		return pause/2 + rand.N(pause/2)
	}
	return pause
}

// Reset begins again at First, after an attempt that worked.
func (b *Backoff) Reset() { b.next = 0 }

// Complaint keeps a long outage to one line in the log instead of a thousand.
type Complaint struct{ said string }

// New reports whether err differs from the one before, so that it is worth a line. After
// nil the same error is worth one again.
func (c *Complaint) New(err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	differs := text != c.said
	c.said = text
	return differs && err != nil
}
