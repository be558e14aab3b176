package sale

import (
	"context"
	"errors"
	"time"

	"seckill"
)

const (
	keeperPause = time.Second     // between looks at what the gate has not heard of
	keeperTry   = 5 * time.Second // for one look
	keeperPage  = 1000            // sales looked at, and rebuilt, together
	keeperCheck = time.Minute     // between looks at every sale, for those to be retired
)

// Keep is the resident duty of the package: it rebuilds what the gate has lost,
// and brings to the gate the changes and stock moves that it did not hear of.
// ready is called once everything has been loaded for the first time.
func (s *Sales) Keep(ctx context.Context, ready func()) error {
	tick, check := time.NewTicker(keeperPause), time.NewTicker(keeperCheck)
	defer tick.Stop()
	defer check.Stop()
	for {
		err := s.keep(ctx)
		if err == nil && ready != nil {
			ready()
			ready = nil
		}
		changed := s.changed
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("sale: the gate is not up to date; trying again", "pause", keeperPause, "error", err)
			}
			changed = nil // at the pace of the ticker while something is down
		}
		select {
		case <-tick.C:
		case <-changed:
		case <-s.gate.Lost():
			s.unsure.Store(true)
		case <-check.C:
			s.unsure.Store(true)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Sales) keep(ctx context.Context) error {
	if s.unsure.Swap(false) {
		if err := s.restore(ctx); err != nil {
			s.unsure.Store(true)
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, keeperTry)
	defer cancel()
	return s.catchUp(ctx)
}

// restore rebuilds the sales whose state at the gate is not that of the store.
func (s *Sales) restore(ctx context.Context) error {
	for before := seckill.SaleID(0); ; {
		sales, err := s.store.Sales(ctx, before, keeperPage)
		if err != nil || len(sales) == 0 {
			return err
		}
		stale, err := s.gate.Stale(ctx, sales)
		if err != nil {
			return err
		}
		if len(stale) > 0 {
			s.log.Info("sale: rebuilding what the gate does not have, or need not have any more", "sales", len(stale))
			if err := s.rebuild(ctx, stale); err != nil {
				return err
			}
		}
		before = sales[len(sales)-1].ID
	}
}

func (s *Sales) catchUp(ctx context.Context) error {
	var errs []error
	sales, err := s.store.Unapplied(ctx)
	errs = append(errs, err)
	for _, sale := range sales {
		errs = append(errs, s.apply(ctx, sale))
	}
	moves, err := s.store.OpenMoves(ctx)
	errs = append(errs, err)
	for _, m := range moves {
		if err := s.move(ctx, m); !errors.Is(err, seckill.ErrStock) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
