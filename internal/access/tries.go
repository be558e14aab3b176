package access

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"seckill"
)

// Limits of what a node knows of orders that were left unpaid.
const (
	triesMost = 1_000_000        // buyers with unpaid ends; beyond it the oldest are forgotten
	triesBack = 10 * time.Second // of tries that are read again, since nodes' clocks differ
)

type triesKey struct {
	sale  seckill.SaleID
	buyer uint64
}

type tries struct {
	count int
	last  time.Time
}

// readTries reads the unpaid ends since the last look, where a sale asks for them.
func (g *Guard) readTries(ctx context.Context, sales map[seckill.SaleID]seckill.Access) error {
	r := &g.rules
	if !slices.ContainsFunc(slices.Collect(maps.Values(sales)), seckill.Access.CountsTries) {
		return nil
	}
	from := seckill.Tries{Changed: r.read.Add(-triesBack)}
	if r.read.IsZero() {
		from.Changed = time.UnixMilli(0) // few: the trimmer removes those of old sales
	}
	for {
		page, err := g.Store.TriesSince(ctx, from, pageSize)
		if err != nil {
			return err
		}
		r.mu.Lock()
		for _, t := range page {
			if sales[t.Sale].CountsTries() {
				g.noteTries(t)
			}
		}
		r.mu.Unlock()
		if len(page) > 0 {
			from = page[len(page)-1]
			if from.Changed.After(r.read) {
				r.read = from.Changed
			}
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

// noteTries keeps what a buyer has left unpaid. r.mu is locked.
func (g *Guard) noteTries(t seckill.Tries) {
	r := &g.rules
	if len(r.tries) >= triesMost {
		r.forgetTries()
	}
	key := triesKey{t.Sale, maphash.String(r.seed, t.Buyer)}
	if more := t.Count - r.tries[key].count; more > 0 {
		g.scores.dropped(t.Buyer, more, g.Store.Now().Sub(t.Last), g.Now())
	}
	r.tries[key] = tries{t.Count, t.Last}
}

// Tried reads what the buyer has left unpaid in the sale: an order of theirs has just ended
// here, and they may ask again at once. Where that takes longer than a look's pause, Run
// reads it.
func (g *Guard) Tried(ctx context.Context, sale seckill.SaleID, buyer string) {
	r := &g.rules
	if !r.now.Load().sales[sale].CountsTries() {
		return
	}
	defer g.Wake()
	ctx, cancel := context.WithTimeout(ctx, lookPause)
	defer cancel()
	// A look that has read an older count must not put it behind this one.
	if r.looking.Acquire(ctx, 1) != nil {
		return
	}
	defer r.looking.Release(1)
	t, err := g.Store.TriesOf(ctx, sale, buyer)
	if err != nil || t.Count == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	g.noteTries(t)
}

// forgetTries drops the older half of the tries.
func (r *rules) forgetTries() {
	times := make([]int64, 0, len(r.tries))
	for _, t := range r.tries {
		times = append(times, t.last.UnixMilli())
	}
	slices.Sort(times)
	middle := times[len(times)/2]
	maps.DeleteFunc(r.tries, func(_ triesKey, t tries) bool { return t.last.UnixMilli() <= middle })
}

func (r *rules) triesOf(sale seckill.SaleID, buyer string) (count int, last time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tries[triesKey{sale, maphash.String(r.seed, buyer)}]
	return t.count, t.last
}
