package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"seckill"
)

// Limits of the counts of what became of a sale. They read every ticket of it, so all who
// look at the same sale share one.
const (
	afterFresh = 2 * time.Second
	afterKept  = 64               // sales
	afterTime  = 10 * time.Second // of a count
)

// aftermaths are the last counts of the store, by sale.
type aftermaths struct {
	counting singleflight.Group

	mu    sync.Mutex
	known map[seckill.SaleID]aftermath
}

type aftermath struct {
	seckill.Aftermath
	at time.Time
}

func (c *aftermaths) last(id seckill.SaleID) (seckill.Aftermath, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[id]
	return k.Aftermath, ok && time.Since(k.at) < afterFresh
}

func (c *aftermaths) keep(id seckill.SaleID, v seckill.Aftermath) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= afterKept {
		c.known = map[seckill.SaleID]aftermath{}
	}
	c.known[id] = aftermath{v, time.Now()}
}

// after says what became of a sale's tickets: the store's count, and beside it what the
// last balance knows of the gate.
func (a *API) after(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	v, ok := a.aftermaths.last(id)
	if !ok {
		counted, err, _ := a.aftermaths.counting.Do(id.String(), func() (any, error) {
			// Others wait for this count, so it goes on when its first caller goes.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), afterTime)
			defer cancel()
			leave, err := a.rooms.audits.Enter(ctx, r.who.Buyer)
			if err != nil {
				return nil, err
			}
			defer leave(0)
			v, err := a.Money.Aftermath(ctx, id)
			if err == nil {
				a.aftermaths.keep(id, v)
			}
			return v, err
		})
		if err != nil {
			return err
		}
		v = counted.(seckill.Aftermath)
	}
	return writeJSON(w, http.StatusOK, v.With(a.Live.Balances(r.Context())[id].Balance))
}
