package redisgate

import (
	"context"
	"sync"
	"time"

	"seckill"
)

// Limits of what a node remembers of a sale on Redis.
const (
	viewFresh = 200 * time.Millisecond // a look at the sale is not repeated sooner
	viewLife  = time.Second            // and is not used for longer
	lookWait  = 100 * time.Millisecond // the longest wait for a look
	viewSize  = 100_000                // placed tickets remembered of one sale
)

// view is what this node remembers of a sale: the units left, as a hint, and the
// newest tickets of buyers that were placed. A placed ticket stays its buyer's
// newest until it is freed; freed counts that, so as long as it has not changed
// the tickets are still the newest.
type view struct {
	id seckill.SaleID

	mu      sync.Mutex
	left    int64
	freed   string
	at      time.Time                   // of the last look; zero: never
	looking chan struct{}               // closed when the look under way is over; nil: there is none
	began   time.Time                   // of that look
	placed  map[string]seckill.Progress // by buyer
}

// known is the view of a sale if there is one: anybody may ask for any id.
func (g *Gate) known(id seckill.SaleID) *view {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.views[id]
}

func (g *Gate) view(id seckill.SaleID) *view {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.views[id]
	if v == nil {
		v = &view{id: id, placed: map[string]seckill.Progress{}}
		g.views[id] = v
	}
	return v
}

func (v *view) final(buyer string) (p seckill.Progress, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.at) > viewLife {
		return p, false
	}
	p, ok = v.placed[buyer]
	return p, ok
}

// remember keeps a placed ticket that was read together with freed.
func (v *view) remember(buyer string, p seckill.Progress, freed string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.see(freed)
	if len(v.placed) >= viewSize {
		clear(v.placed)
	}
	v.placed[buyer] = p
}

// see takes a look at freed; v.mu is held.
func (v *view) see(freed string) {
	if freed != v.freed {
		clear(v.placed)
	}
	v.freed, v.at = freed, time.Now()
}

func (v *view) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.placed)
}

// refresh looks at the sale in the background, unless that was done just now.
func (v *view) refresh(g *Gate) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.looking != nil || time.Since(v.at) < viewFresh {
		return
	}
	client, err := g.up(bucket(v.id))
	if err != nil {
		return
	}
	looked := make(chan struct{})
	v.looking, v.began = looked, time.Now()
	go func() {
		defer close(looked)
		ctx, cancel := context.WithTimeout(context.Background(), g.patience)
		defer cancel()
		s, err := client.Do(ctx, client.B().Hmget().Key(g.saleKey(v.id)).Field(fieldOpen, fieldFreed, fieldLeft).Build()).AsStrSlice()
		v.mu.Lock()
		defer v.mu.Unlock()
		v.looking = nil
		if err != nil || s[0] != "1" {
			v.at = time.Time{}
			return
		}
		v.see(s[1])
		v.left = number(s[2])
	}()
}

// Left returns the units that the gate held a moment ago; ok is false if it
// cannot tell. Where the last look is too old it waits for the next one, for
// lookWait at most: a page that is asked for once a minute shows what is left now,
// and not what the store had settled by then.
func (g *Gate) Left(id seckill.SaleID) (left int64, ok bool) {
	v := g.view(id)
	v.refresh(g)
	if looking, began := v.awaited(); looking != nil && time.Since(began) < lookWait { // who comes while Redis hangs does not wait again
		late := time.NewTimer(lookWait - time.Since(began))
		select {
		case <-looking:
		case <-late.C:
		}
		late.Stop()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.left, time.Since(v.at) < viewLife
}

// Refresh makes Left know of sales what it can within lookWait, for all of them together.
func (g *Gate) Refresh(ctx context.Context, ids []seckill.SaleID) {
	var looks []<-chan struct{}
	for _, id := range ids {
		v := g.view(id)
		v.refresh(g)
		if looking, began := v.awaited(); looking != nil && time.Since(began) < lookWait {
			looks = append(looks, looking)
		}
	}
	if len(looks) == 0 {
		return
	}
	late := time.NewTimer(lookWait)
	defer late.Stop()
	for _, looking := range looks {
		select {
		case <-looking:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// awaited is the look that is under way, and when it began, where the last one is too old;
// nil: there is nothing to wait for.
func (v *view) awaited() (looking <-chan struct{}, began time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.at) < viewLife {
		return nil, began
	}
	return v.looking, v.began
}
