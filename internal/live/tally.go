package live

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
)

// tallied is the most sales that a node counts by themselves.
const tallied = 4096

// Tally counts what a node answers and settles, by sale. Counting costs a look into a
// map that nobody locks, and an addition.
type Tally struct {
	sales  atomic.Pointer[map[seckill.SaleID]*counts]
	adding sync.Mutex
}

type counts struct {
	verdicts           [16]atomic.Int64
	admission, outcome histogram
}

// NewTally returns a tally that has counted nothing.
func NewTally() *Tally {
	t := &Tally{}
	t.sales.Store(&map[seckill.SaleID]*counts{})
	return t
}

// Add makes the tally count a sale, unless it counts too many.
func (t *Tally) Add(id seckill.SaleID) {
	if all := *t.sales.Load(); all[id] != nil || len(all) >= tallied {
		return
	}
	t.adding.Lock()
	defer t.adding.Unlock()
	old := *t.sales.Load()
	if old[id] != nil || len(old) >= tallied {
		return
	}
	all := make(map[seckill.SaleID]*counts, len(old)+1)
	for id, c := range old {
		all[id] = c
	}
	all[id] = &counts{}
	t.sales.Store(&all)
}

// Answered counts an answer of the buy route. Only a sale that the gate knows gets a
// verdict, so invented ids are not counted.
func (t *Tally) Answered(id seckill.SaleID, v seckill.Verdict) {
	c := (*t.sales.Load())[id]
	if c == nil {
		t.Add(id)
		if c = (*t.sales.Load())[id]; c == nil {
			return
		}
	}
	c.verdicts[v&15].Add(1)
}

// Admitted counts how long the gate took to admit a buyer.
func (t *Tally) Admitted(id seckill.SaleID, took time.Duration) {
	if c := (*t.sales.Load())[id]; c != nil {
		c.admission.add(took)
	}
}

// Settled counts outcomes, by how long after their admission they came.
func (t *Tally) Settled(outcomes []seckill.Outcome, now time.Time) {
	all := *t.sales.Load()
	for i := range outcomes {
		if c := all[outcomes[i].Ticket.Sale]; c != nil {
			c.outcome.add(now.Sub(outcomes[i].Ticket.At))
		}
	}
}

// read fills in what was counted of a sale.
func (t *Tally) read(id seckill.SaleID, f *Figures) {
	f.Verdicts = map[string]int64{}
	c := (*t.sales.Load())[id]
	if c == nil {
		return
	}
	for _, v := range seckill.Verdicts() {
		if n := c.verdicts[v&15].Load(); n > 0 {
			f.Verdicts[v.String()] = n
		}
	}
	f.Admission, f.Outcome = c.admission.read(), c.outcome.read()
}

// Histogram counts durations by their class. A class is a quarter of a power of two of
// microseconds, so a quantile is at most a quarter too high.
type Histogram map[int]int64

type histogram [128]atomic.Int64

// class is the class of a duration.
func class(d time.Duration) int {
	us := uint64(max(4, d.Microseconds()))
	b := bits.Len64(us) - 1
	return min(127, b<<2|int(us>>(b-2)&3))
}

// top is the upper end of a class, in milliseconds.
func top(class int) float64 {
	b := class >> 2
	return float64(uint64(4+class&3+1)<<b>>2) / 1000
}

func (h *histogram) add(d time.Duration) { h[class(d)].Add(1) }

func (h *histogram) read() Histogram {
	all := Histogram{}
	for i := range h {
		if n := h[i].Load(); n > 0 {
			all[i] = n
		}
	}
	return all
}

// less is what was counted since another reading.
func (h Histogram) less(before Histogram) Histogram {
	since := Histogram{}
	for c, n := range h {
		if n -= before[c]; n > 0 {
			since[c] = n
		}
	}
	return since
}

// quantile is below which duration a share of what was counted was, in milliseconds; nil
// when nothing was counted.
func (h Histogram) quantile(share float64) *float64 {
	var all, seen int64
	for _, n := range h {
		all += n
	}
	if all == 0 {
		return nil
	}
	for c := range 128 {
		if seen += h[c]; float64(seen) >= share*float64(all) {
			ms := top(c)
			return &ms
		}
	}
	return nil
}
