package sale

import (
	"context"
	"slices"
	"time"

	"seckill"
)

// Limits of Watched, beside those of Lively.
const watchedSoon = 50 // sales that open next

// Watched returns the sales that somebody who runs the shop may watch: those of Lively
// and those that open next, and when they were read. While the store is away it is the
// last answer, with the error.
func (s *Catalog) Watched(ctx context.Context) (sales []seckill.Sale, at time.Time, err error) {
	now, key := time.Now(), listKey{of: "watched"}
	s.mu.Lock()
	was, ok := s.lists[key]
	if !ok {
		was = s.watched // a change has cleared the lists
	}
	s.mu.Unlock()
	if ok && !was.changed && now.Sub(was.at) < catalogLife {
		return was.sales, was.at, nil
	}
	read, err := ask(s, ctx, "watched", !was.at.IsZero(), func(ctx context.Context) ([]seckill.Sale, error) {
		at := s.gate.Now().UTC()
		var all []seckill.Sale
		for _, section := range []struct {
			of  seckill.Section
			max int
		}{{seckill.SectionOpen, livelyOpen}, {seckill.SectionSoon, watchedSoon}, {seckill.SectionOver, livelyOver}} {
			some, err := s.store.Section(ctx, seckill.Place{Section: section.of, At: at, Time: time.UnixMilli(0).UTC(), All: true}, section.max)
			if err != nil {
				return nil, err
			}
			all = append(all, slices.DeleteFunc(some, func(sale seckill.Sale) bool {
				return section.of == seckill.SectionOver && (sale.OpensAt.After(at) || sale.ClosesAt.Add(livelyAfter).Before(at))
			})...)
		}
		return all, nil
	})
	if err != nil {
		return was.sales, was.at, err
	}
	s.mu.Lock()
	s.watched = cachedList{sales: read, at: now}
	s.lists[key] = s.watched
	s.mu.Unlock()
	return read, now, nil
}

// Known is the copy of a sale that this node answers from, and when it was read; ok is
// false for one that has changed since.
func (s *Catalog) Known(id seckill.SaleID) (sale seckill.Sale, at time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, ok := s.cache[id]
	return was.sale, was.at, ok && !was.changed
}
