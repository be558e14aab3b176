package sale

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"seckill"
	"seckill/internal/duty"
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
	// NewestSale MUST count a sale that cannot be read, too: its buyers must not hear that there
	// is no such sale.
	NewestSale(ctx context.Context) (seckill.SaleID, error)
	// Section MUST decide by the place's moment in which section a sale stands.
	Section(ctx context.Context, p seckill.Place, max int) ([]seckill.Sale, error)
}

// CatalogGate is what the catalogue needs of the gate: its clock, and a hint of what is left.
type CatalogGate interface {
	Now() time.Time
	Left(id seckill.SaleID) (left int64, ok bool)
	// Refresh is called before Left of several sales. It MUST wait for all of them together
	// no longer than Left may for one, and Left MUST NOT wait again.
	Refresh(ctx context.Context, ids []seckill.SaleID)
}

// Catalog shows sales to buyers, and to whoever runs the shop.
type Catalog struct {
	store  CatalogStore
	gate   CatalogGate
	asking singleflight.Group

	oneQuestion *semaphore.Weighted // for the newest sale, at a time
	asked       time.Time           // when the last one was

	mu    sync.Mutex
	cache map[seckill.SaleID]cached
	lists map[listKey]cachedList
	// watched is the last answer of Watched: it outlives the lists, which a change clears.
	watched cachedList
	// missing are ids below the newest that no sale has.
	missing      map[seckill.SaleID]time.Time
	nextQuestion *question // for the newest sale, not asked yet
	failed       failure   // of the last question for the newest sale
	// orders are the orders of the open sales that lists under way go on with, oldest first.
	orders []snapshot
}

type cached struct {
	sale  seckill.Sale
	at    time.Time // it was read
	tried time.Time // to read it again; zero: not since
	// changed says that the store has something newer: who asks waits for it. The copy is
	// shown only if the store does not answer.
	changed bool
}

type listKey struct {
	of     string // Sections or Lively; empty: List
	cursor string
	before seckill.SaleID
	max    int
}

type cachedList struct {
	sales []seckill.Sale
	next  string // of Sections
	at    time.Time
	tried time.Time
	// changed: see cached.changed.
	changed bool
}

// Limits of the catalogue's questions to the store. While the store hangs, one
// request a second waits for it; all others are shown the copy, with its age.
const (
	storeTime = 2 * time.Second        // for one question; then who has no copy is told that nothing is known
	copyWait  = 100 * time.Millisecond // for whom a copy is there
	newestGap = 20 * time.Millisecond  // between questions for the newest sale
	failedGap = 500 * time.Millisecond // after one that failed: meanwhile who asks is told so at once
)

// errHangs says that the store did not answer in time.
var errHangs = fmt.Errorf("the store does not answer in time: %w", seckill.ErrUnavailable)

// ask asks the store a question that all who have it meanwhile share, and does not
// wait for the answer without a bound. copied says that there is a copy to show. Buyers may
// share it, so it does not wait behind searches of whoever of the shop asked first.
func ask[T any](s *Catalog, ctx context.Context, key string, copied bool, f func(context.Context) (T, error)) (answer T, err error) {
	said := s.asking.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(seckill.WithoutPatience(context.WithoutCancel(ctx)), storeTime)
		defer cancel()
		return f(ctx)
	})
	wait := storeTime
	if copied {
		wait = copyWait
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case r := <-said:
		answer, _ = r.Val.(T)
		return answer, r.Err
	case <-late.C:
		return answer, errHangs
	case <-ctx.Done():
		return answer, ctx.Err()
	}
}

// Get shows one sale, with the units left at the gate and the gate's clock.
func (s *Catalog) Get(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	now := time.Now()
	s.mu.Lock()
	was, ok := s.cache[id]
	if ok && !was.changed && (now.Sub(was.at) < catalogLife || now.Sub(was.tried) < catalogLife) {
		s.mu.Unlock()
		return s.show(was.sale, was.at), nil
	}
	gone, known := s.missing[id]
	if ok && !was.changed {
		was.tried = now
		s.cache[id] = was
	}
	s.mu.Unlock()
	if !ok {
		if known && now.Sub(gone) < catalogLife {
			return seckill.Sale{}, seckill.ErrNotFound
		}
		newest, err := s.newest(ctx)
		if err != nil {
			return seckill.Sale{}, err
		}
		if id > newest {
			return seckill.Sale{}, seckill.ErrNotFound
		}
	}
	sale, err := ask(s, ctx, id.String(), ok && !was.changed, func(ctx context.Context) (seckill.Sale, error) { return s.store.Sale(ctx, id) })
	if err == nil && sale.Shelf == seckill.Deleted {
		err = seckill.ErrNotFound
	}
	switch {
	case errors.Is(err, seckill.ErrNotFound):
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.missing) >= catalogSize {
			clear(s.missing)
		}
		s.missing[id] = now
		return sale, err
	case err != nil && ok:
		s.mu.Lock()
		if c, ok := s.cache[id]; ok && ctx.Err() == nil && c.changed && c.at.Equal(was.at) {
			c.changed, c.tried = false, time.Now() // nobody else waits for it as long
			s.cache[id] = c
		}
		s.mu.Unlock()
		return s.show(was.sale, was.at), nil
	case err != nil:
		return sale, err
	}
	s.mu.Lock()
	if len(s.cache) >= catalogSize {
		clear(s.cache)
	}
	s.cache[id] = cached{sale: sale, at: now}
	s.mu.Unlock()
	return s.show(sale, now), nil
}

// Missing reports whether there is no such sale. Where there is one, and the gate has
// nothing of it, it wakes who rebuilds.
func (s *Sales) Missing(ctx context.Context, id seckill.SaleID) bool {
	_, err := s.Get(ctx, id)
	if err == nil {
		s.Keeper.look()
	}
	return errors.Is(err, seckill.ErrNotFound)
}

// newest reads the highest sale id. All who ask for unknown ids at the same time share one
// query, made after they asked. Once one has failed, nobody waits for a moment.
func (s *Catalog) newest(ctx context.Context) (seckill.SaleID, error) {
	s.mu.Lock()
	if f := s.failed; f.err != nil && time.Since(f.at) < failedGap {
		s.mu.Unlock()
		return 0, f.err
	}
	q := s.nextQuestion
	if q == nil {
		q = &question{answered: make(chan struct{})}
		s.nextQuestion = q
		go s.askNewest(q)
	}
	s.mu.Unlock()
	select {
	case <-q.answered:
		return q.id, q.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// question is one for the newest sale. Whoever comes after it was asked shares the
// next one.
type question struct {
	answered chan struct{}
	id       seckill.SaleID
	err      error
}

func (s *Catalog) askNewest(q *question) {
	defer close(q.answered)
	_ = s.oneQuestion.Acquire(context.Background(), 1) // bounded: each of them is
	defer s.oneQuestion.Release(1)
	_ = duty.Rest(context.Background(), newestGap-time.Since(s.asked))
	s.mu.Lock()
	s.nextQuestion = nil
	s.mu.Unlock()
	s.asked = time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	q.id, q.err = s.store.NewestSale(ctx)
	s.mu.Lock()
	s.failed = failure{q.err, time.Now()}
	s.mu.Unlock()
}

// failure is that of a question for the newest sale, and when it came.
type failure struct {
	err error // nil: it was answered
	at  time.Time
}

// list shows a list that is read by f, or its copy.
func (s *Catalog) list(ctx context.Context, key listKey, f func(context.Context) (cachedList, error)) ([]seckill.Sale, string, error) {
	now := time.Now()
	s.mu.Lock()
	was, ok := s.lists[key]
	read := !ok || was.changed || now.Sub(was.at) >= catalogLife && now.Sub(was.tried) >= catalogLife
	if read && ok && !was.changed {
		was.tried = now
		s.lists[key] = was
	}
	s.mu.Unlock()
	if read {
		l, err := ask(s, ctx, fmt.Sprintf("%+v", key), ok && !was.changed, f)
		var field *seckill.FieldError
		switch {
		case err != nil && (!ok || errors.As(err, &field)):
			return nil, "", err
		case err == nil:
			was = l
			was.at = now
			s.mu.Lock()
			if len(s.lists) >= catalogSize/100 {
				// The first pages stay: they are what everybody looks at.
				maps.DeleteFunc(s.lists, func(k listKey, _ cachedList) bool { return k.cursor != "" || k.before != 0 })
			}
			s.lists[key] = was
			s.mu.Unlock()
		default:
			s.mu.Lock()
			if l, ok := s.lists[key]; ok && ctx.Err() == nil && l.changed && l.at.Equal(was.at) {
				l.changed, l.tried = false, time.Now()
				s.lists[key] = l
			}
			s.mu.Unlock()
		}
	}
	return s.showAll(ctx, was.sales, was.at), was.next, nil
}

// List shows up to max sales with ids below before (0: from the newest), newest
// first, to whoever runs the shop. Buyers read Sections.
func (s *Catalog) List(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error) {
	sales, _, err := s.list(ctx, listKey{before: before, max: max}, func(ctx context.Context) (cachedList, error) {
		sales, err := s.store.Sales(ctx, before, max)
		return cachedList{sales: sales}, err
	})
	return sales, err
}

// showAll is show for several sales.
func (s *Catalog) showAll(ctx context.Context, sales []seckill.Sale, at time.Time) []seckill.Sale {
	ids := make([]seckill.SaleID, len(sales))
	for i := range sales {
		ids[i] = sales[i].ID
	}
	s.gate.Refresh(ctx, ids)
	shown := make([]seckill.Sale, len(sales))
	for i := range sales {
		shown[i] = s.show(sales[i], at)
	}
	return shown
}

// show fills in what the gate knows. A copy that is older than it should be says of
// when it is.
func (s *Catalog) show(sale seckill.Sale, at time.Time) seckill.Sale {
	left, ok := s.gate.Left(sale.ID)
	if !ok {
		left = max(0, sale.Total-sale.Sold)
	}
	sale = sale.Show(s.gate.Now(), left)
	sale.LeftFromStore = !ok
	if time.Since(at) >= 2*catalogLife {
		at = at.UTC().Truncate(time.Millisecond)
		sale.AsOf = &at
	}
	return sale
}

// Forget makes this node read the sale from the store when it is asked for next. The
// copies stay, for the time in which the store does not answer.
func (s *Catalog) Forget(id seckill.SaleID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.cache[id]; ok {
		c.changed = true
		s.cache[id] = c
	}
	delete(s.missing, id)
	for key, l := range s.lists {
		l.changed = true
		s.lists[key] = l
	}
}
