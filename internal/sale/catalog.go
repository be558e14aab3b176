package sale

import (
	"context"
	"errors"
	"sync"
	"time"

	"seckill"
)

// catalogLife is how long a node shows a sale as it has read it from the store. While the
// store cannot be reached it goes on showing what it read last.
const catalogLife = time.Second

// catalogSize is the most sales that a node keeps. When there are more it forgets all of them
// and reads again what is asked for.
const catalogSize = 20_000

// CatalogStore is what the catalogue needs of the store.
type CatalogStore interface {
	Sale(ctx context.Context, id seckill.SaleID) (seckill.Sale, error)
	Sales(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error)
	// Shelf MUST decide by the place's moment on which shelf a sale stands.
	Shelf(ctx context.Context, p seckill.Place, max int) ([]seckill.Sale, error)
}

// CatalogGate is what the catalogue needs of the gate: its clock, and a hint of what is left.
type CatalogGate interface {
	Now() time.Time
	Left(id seckill.SaleID) (left int64, ok bool)
}

// Catalog shows sales to buyers, and to whoever runs the shop.
type Catalog struct {
	store CatalogStore
	gate  CatalogGate

	mu    sync.Mutex
	cache map[seckill.SaleID]cached
	lists map[listKey]cachedList
	// orders are the orders of the open sales that lists under way go on with, oldest first.
	orders []snapshot
}

type cached struct {
	sale seckill.Sale
	at   time.Time
}

type listKey struct {
	of     string // Shelves or Lively; empty: List
	cursor string
	before seckill.SaleID
	max    int
}

type cachedList struct {
	sales []seckill.Sale
	next  string // of Shelves
	at    time.Time
}

// Get shows one sale, with the units left at the gate and the gate's clock.
func (s *Catalog) Get(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	now := time.Now()
	s.mu.Lock()
	was, ok := s.cache[id]
	s.mu.Unlock()
	if ok && now.Sub(was.at) < catalogLife {
		return s.show(was.sale), nil
	}
	sale, err := s.store.Sale(ctx, id)
	if err != nil {
		if ok && !errors.Is(err, seckill.ErrNotFound) {
			return s.show(was.sale), nil
		}
		return sale, err
	}
	s.mu.Lock()
	if len(s.cache) >= catalogSize {
		clear(s.cache)
	}
	s.cache[id] = cached{sale, now}
	s.mu.Unlock()
	return s.show(sale), nil
}

// List shows up to max sales with ids below before (0: from the newest), newest
// first, to whoever runs the shop. Buyers read Shelves.
func (s *Catalog) List(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error) {
	now, key := time.Now(), listKey{before: before, max: max}
	s.mu.Lock()
	was, ok := s.lists[key]
	s.mu.Unlock()
	if !ok || now.Sub(was.at) >= catalogLife {
		sales, err := s.store.Sales(ctx, before, max)
		if err != nil && !ok {
			return nil, err
		}
		if err == nil {
			was = cachedList{sales: sales, at: now}
			s.mu.Lock()
			if len(s.lists) >= catalogSize/100 {
				clear(s.lists)
			}
			s.lists[key] = was
			s.mu.Unlock()
		}
	}
	shown := make([]seckill.Sale, len(was.sales))
	for i, sale := range was.sales {
		shown[i] = s.show(sale)
	}
	return shown, nil
}

func (s *Catalog) show(sale seckill.Sale) seckill.Sale {
	left, ok := s.gate.Left(sale.ID)
	if !ok {
		left = max(0, sale.Total-sale.Sold)
	}
	return sale.Show(s.gate.Now(), left)
}

// Forget makes this node read the sale from the store when it is asked for next.
func (s *Catalog) Forget(id seckill.SaleID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cache, id)
	clear(s.lists)
}
