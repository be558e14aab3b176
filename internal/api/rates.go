package api

import (
	"sync"
	"time"

	"seckill"
)

// Limits of measuring how fast a sale's tickets become outcomes.
const (
	pacedSales = 1024                   // sales that are measured at once
	paceStep   = 500 * time.Millisecond // between two looks
	paceLife   = 30 * time.Second       // after which an old look says nothing
	longest    = time.Hour              // a longer wait is not shown
)

// rates knows how fast the tickets of a sale become outcomes, from the positions in the
// queue that this node answers with anyway.
type rates struct {
	mu    sync.Mutex
	sales map[seckill.SaleID]*progress
}

// progress is one sale's: the last ticket that was finished, when that was seen, and
// the tickets per second since the look before.
type progress struct {
	finished int64
	at       time.Time
	rate     float64
}

func newRates() *rates { return &rates{sales: map[seckill.SaleID]*progress{}} }

// wait estimates how long the ticket with the number seq at the given position still
// waits; 0 when that cannot be told yet.
func (r *rates) wait(sale seckill.SaleID, seq, position int64, now time.Time) time.Duration {
	finished := seq - position
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sales[sale]
	switch {
	case s == nil:
		if len(r.sales) >= pacedSales {
			clear(r.sales)
		}
		s = &progress{finished: finished, at: now}
		r.sales[sale] = s
	case now.Sub(s.at) > paceLife || finished < s.finished:
		// The last look is too old; or fewer are finished than at the last look, because a
		// rebuild has begun to count anew. A ticket at the very front has position 1, never 0,
		// so its finished is one too low: a step back by one is no rebuild.
		if finished < s.finished-1 || now.Sub(s.at) > paceLife {
			*s = progress{finished: finished, at: now}
		}
	case now.Sub(s.at) >= paceStep:
		rate := float64(finished-s.finished) / now.Sub(s.at).Seconds()
		if s.rate > 0 {
			rate = (rate + s.rate) / 2
		}
		*s = progress{finished: finished, at: now, rate: rate}
	}
	if s.rate <= 0 {
		return 0
	}
	seconds := float64(position) / s.rate
	if seconds > longest.Seconds() {
		return 0
	}
	return max(time.Millisecond, time.Duration(seconds*float64(time.Second)))
}
