package sale

import (
	"context"
	"errors"
	"time"

	"seckill"
)

// catalogLife is how long a node shows a sale as it was read; while the store is
// down, the last one read is shown for as long as it takes.
const catalogLife = time.Second

// catalogSize bounds what a node keeps: beyond it everything is read anew.
const catalogSize = 20_000

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
func (s *Sales) Get(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
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
func (s *Sales) List(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error) {
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

func (s *Sales) show(sale seckill.Sale) seckill.Sale {
	left, ok := s.gate.Left(sale.ID)
	if !ok {
		left = max(0, sale.Total-sale.Sold)
	}
	return sale.Show(s.gate.Now(), left)
}

// Forget makes this node read the sale again, instead of within a second.
func (s *Sales) Forget(id seckill.SaleID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cache, id)
	clear(s.lists)
}

// tell lets the other nodes know that the store has a newer sale, if it can.
func (s *Sales) tell(sale seckill.Sale) {
	if s.Notice != nil {
		s.Notice(sale.ID, sale.Version)
	}
}
