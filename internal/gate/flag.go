package gate

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
)

// FlagLife is how long an over flag stands before one request is let through to
// look again. It bounds how long returned units stay unseen on a node.
const FlagLife = 300 * time.Millisecond

// Flags are the over flags of a node: one per sale, in memory, looked at before
// a request is parsed. A flag is a hint, never the truth. When its life is over
// it lets one request through (the probe); only an answer "0 left" sets or
// renews it.
type Flags struct {
	sales atomic.Pointer[map[seckill.SaleID]*flag]
	mu    sync.Mutex // held to add sales
	start time.Time
}

// flag is 0 when down; the time at which its life ends when up, counted in
// nanoseconds from Flags.start; the negative of it while a probe is under way.
type flag struct{ atomic.Int64 }

const flagExpired = 1

func NewFlags() *Flags {
	f := &Flags{start: time.Now()}
	f.sales.Store(&map[seckill.SaleID]*flag{})
	return f
}

func (f *Flags) now() int64 { return int64(time.Since(f.start)) + flagExpired + 1 }

// Add makes flags for sales, so that looking at one never takes a lock.
func (f *Flags) Add(ids ...seckill.SaleID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	have := *f.sales.Load()
	ids = slices.DeleteFunc(slices.Clone(ids), func(id seckill.SaleID) bool { return have[id] != nil })
	if len(ids) == 0 {
		return
	}
	next := maps.Clone(have)
	for _, id := range ids {
		next[id] = new(flag)
	}
	f.sales.Store(&next)
}

// Over reports whether the sale's flag is up. False means that this request must
// go on to Reserve, or say Abandon.
func (f *Flags) Over(id seckill.SaleID) bool {
	flag := (*f.sales.Load())[id]
	if flag == nil {
		return false
	}
	v := flag.Load()
	if v == 0 {
		return false
	}
	now := f.now()
	if now < max(v, -v) {
		return true
	}
	return !flag.CompareAndSwap(v, -(now + int64(FlagLife)))
}

// Abandon says that a request which Over let through did not reach the gate: if
// it was the probe, the next request is.
func (f *Flags) Abandon(id seckill.SaleID) {
	if flag := (*f.sales.Load())[id]; flag != nil {
		if v := flag.Load(); v < 0 {
			flag.CompareAndSwap(v, flagExpired)
		}
	}
}

// Learn takes the gate's answer to a request.
func (f *Flags) Learn(id seckill.SaleID, verdict seckill.Verdict, left int64) {
	flag := (*f.sales.Load())[id]
	if flag == nil {
		return
	}
	v := flag.Load()
	probing := v < 0
	switch {
	case left == 0 && (verdict == seckill.SoldOut || probing && verdict == seckill.Queued):
		flag.Store(f.now() + int64(FlagLife))
	case probing:
		flag.CompareAndSwap(v, 0)
	}
}

// Clear takes the flag down: units came back, or the sale changed, on this node.
func (f *Flags) Clear(id seckill.SaleID) {
	if flag := (*f.sales.Load())[id]; flag != nil && flag.Load() != 0 {
		flag.Store(0)
	}
}
