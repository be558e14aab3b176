package api

import (
	"hash/maphash"
	"math"
	"math/bits"
	"net/http"
	"sync"
	"time"

	"seckill"
)

// Limits of counting who waits for an opening.
const (
	watchedSales = 256             // sales that are counted at once; of others nothing is said
	watchWindow  = 6 * time.Minute // longer than the longest pause of a page that waits
	watchFresh   = time.Second     // a figure is shown for so long
	registers    = 1024            // of an estimate: 3 % off, 1 KiB
)

// Watchers count how many wait for a sale's opening: those who have asked this node
// for the sale within the last one to two windows. It is an estimate that costs a
// hash for each question (HyperLogLog), whatever the number of people.
type Watchers struct {
	seed  maphash.Seed
	mu    sync.Mutex
	sales map[seckill.SaleID]*crowd
}

// crowd is who waits for one sale: in this window, and in the one before.
type crowd struct {
	now, before [registers]uint8
	since       time.Time // begin of this window
	figure      int64
	counted     time.Time
}

// NewWatchers returns a count of nobody.
func NewWatchers() *Watchers {
	return &Watchers{seed: maphash.MakeSeed(), sales: map[seckill.SaleID]*crowd{}}
}

// seen notes that who waits for the sale, and returns how many do; 0 for one alone.
func (w *Watchers) seen(sale seckill.SaleID, who string, now time.Time) int64 {
	h := maphash.String(w.seed, who)
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.sales[sale]
	if c == nil {
		if len(w.sales) >= watchedSales {
			w.forget(now)
			if len(w.sales) >= watchedSales {
				return 0
			}
		}
		c = &crowd{since: now}
		w.sales[sale] = c
	}
	if age := now.Sub(c.since); age >= watchWindow {
		c.before = c.now
		if age >= 2*watchWindow {
			clear(c.before[:])
		}
		clear(c.now[:])
		c.since = now
	}
	r := &c.now[h%registers]
	*r = max(*r, uint8(bits.LeadingZeros64(h|registers-1))+1)
	if now.Sub(c.counted) >= watchFresh {
		if c.figure, c.counted = c.estimate(), now; c.figure < 2 {
			c.figure = 0
		}
	}
	return c.figure
}

// Waiting is how many wait for the sale, as it was counted last, and when that was.
func (w *Watchers) Waiting(sale seckill.SaleID) (n int64, counted time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.sales[sale]; c != nil && time.Since(c.since) < 2*watchWindow {
		return c.figure, c.counted
	}
	return 0, time.Time{}
}

// forget drops the sales for which nobody waits any more.
func (w *Watchers) forget(now time.Time) {
	for id, c := range w.sales {
		if now.Sub(c.since) >= 2*watchWindow {
			delete(w.sales, id)
		}
	}
}

// estimate is that of Flajolet and others, with linear counting for small crowds.
func (c *crowd) estimate() int64 {
	sum, empty := 0.0, 0
	for i := range c.now {
		n := max(c.now[i], c.before[i])
		sum += math.Ldexp(1, -int(n))
		if n == 0 {
			empty++
		}
	}
	const m = float64(registers)
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && empty > 0 {
		e = m * math.Log(m/float64(empty))
	}
	return int64(math.Round(e))
}

// watcher tells people apart as well as a node can: by the session, or else by
// address and browser. Many who look alike count as one.
func (a *API) watcher(r *http.Request) string {
	if t := bearer(r); t != "" {
		return t
	}
	return a.client(r).String() + " " + r.UserAgent()
}
