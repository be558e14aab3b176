package sale

import (
	"context"
	"errors"
	"fmt"
	"time"

	"seckill"
)

const (
	keeperPause = time.Second     // between looks at what the gate has not heard of
	keeperTry   = 5 * time.Second // for one look
	keeperPage  = 1000            // sales looked at, and rebuilt, together
	keeperCheck = time.Minute     // between looks at every sale, for those to be retired

	rebuildLease = "rebuild"
	rebuildTime  = 15 * time.Second // of the lease; renewed with every page
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

// restore rebuilds the sales whose state at the gate is not that of the store. One
// node at a time does; it would be right without the lease too (see Rebuild), but
// two that rebuild the same sales undo each other's work.
func (s *Sales) restore(ctx context.Context) error {
	id, err := s.store.Identity(ctx)
	if err != nil {
		return err
	}
	if err := s.gate.Belong(ctx, id); err != nil {
		return err
	}
	leading := false
	defer func() {
		if leading {
			// If that fails the lease ends by itself.
			_ = s.store.Unlease(context.WithoutCancel(ctx), rebuildLease, s.node)
		}
	}()
	var failed error
	for before := seckill.SaleID(0); ; {
		sales, err := s.store.Sales(ctx, before, keeperPage)
		if err != nil || len(sales) == 0 {
			return errors.Join(err, failed)
		}
		stale, err := s.gate.Stale(ctx, sales)
		if err != nil {
			failed = err // for some of them
		}
		if len(stale) > 0 {
			held, by, err := s.store.Lease(ctx, rebuildLease, s.node, rebuildTime)
			if err != nil {
				return err
			}
			if !held {
				return fmt.Errorf("another node (%s) rebuilds sales: %w", by, seckill.ErrUnavailable)
			}
			if !leading {
				leading = true
				continue // it may all have been done by another node just now
			}
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
		err := s.apply(ctx, sale)
		if errors.Is(err, seckill.ErrClosed) {
			err = s.Rebuild(ctx, sale.ID)
		}
		errs = append(errs, err)
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
