package stacktest

import (
	"context"
	"sync"
	"time"

	"seckill/internal/duty"
)

// Pulse says by how much this machine is late. A test that wants something done within a time
// takes from what it took what a pulse beside it was late: then the bound is about the product.
type Pulse struct {
	beat time.Duration

	mu   sync.Mutex
	last time.Time
	late time.Duration
}

// Beats lets a pulse beat until the test is over. At each beat it asks something small, which
// must have nothing to do with what the test measures, and what is late of that is late of the
// pulse. With nothing to ask it only tells when the processors are busy.
func Beats(t T, beat time.Duration, ask func(ctx context.Context)) *Pulse {
	p := &Pulse{beat: beat, last: time.Now()}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		for duty.Rest(ctx, beat) == nil {
			if ask != nil {
				ask(ctx)
			}
			p.mu.Lock()
			now := time.Now()
			p.late += max(0, now.Sub(p.last)-beat)
			p.last = now
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() { stop(); <-over })
	return p
}

// LateBy is by how much the pulse was late so far.
func (p *Pulse) LateBy() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.late + max(0, time.Since(p.last)-p.beat)
}
