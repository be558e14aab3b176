package sale

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	r := restoring{Sales: s}
	defer r.end(ctx)
	var failed error
	for more := true; more; {
		if more, err = r.page(ctx); err != nil {
			failed = err
		}
	}
	return failed
}

// restoring is one round of restore.
type restoring struct {
	*Sales
	before  seckill.SaleID // what comes next
	leading bool           // the lease is ours
}

// page restores one page of sales, as far as the gate can be reached, and reports
// whether there are more. Nobody on this node opens a sale meanwhile, so what is
// stale stays so.
func (r *restoring) page(ctx context.Context) (more bool, err error) {
	r.rebuilding.Lock()
	defer r.rebuilding.Unlock()
	sales, err := r.store.Sales(ctx, r.before, keeperPage)
	if err != nil || len(sales) == 0 {
		return false, err
	}
	stale, failed := r.gate.Stale(ctx, sales)
	if len(stale) > 0 {
		held, by, err := r.store.Lease(ctx, rebuildLease, r.node, rebuildTime)
		if err != nil {
			return false, err
		}
		if !held {
			return false, fmt.Errorf("another node (%s) rebuilds sales: %w", by, seckill.ErrUnavailable)
		}
		if !r.leading {
			r.leading = true
			return true, nil // another node may have done it all just now: look again
		}
		if stale = r.born(sales, stale); len(stale) < 1 {
			failed = errors.Join(failed, fmt.Errorf("sales are being created, they will be looked at again: %w", seckill.ErrUnavailable))
		} else {
			r.log.Info("sale: rebuilding what the gate does not have, or need not have any more", "sales", len(stale))
			if err := r.rebuild(ctx, stale); err != nil {
				return false, err
			}
		}
	}
	r.before = sales[len(sales)-1].ID
	return true, failed
}

// born leaves out the sales that never had a state and are seen so for the first
// time: another node is about to open them.
func (r *restoring) born(sales []seckill.Sale, stale []seckill.SaleID) (old []seckill.SaleID) {
	for _, sale := range sales {
		if !slices.Contains(stale, sale.ID) {
			delete(r.newborn, sale.ID)
			continue
		}
		if sale.Epoch == 0 && !r.newborn[sale.ID] {
			r.newborn[sale.ID] = true
			continue
		}
		delete(r.newborn, sale.ID)
		old = append(old, sale.ID)
	}
	return old
}

func (r *restoring) end(ctx context.Context) {
	if r.leading {
		// If that fails the lease ends by itself.
		_ = r.store.Unlease(context.WithoutCancel(ctx), rebuildLease, r.node)
	}
}

func (s *Sales) catchUp(ctx context.Context) error {
	var errs []error
	sales, err := s.store.Unapplied(ctx)
	errs = append(errs, err)
	for _, sale := range sales {
		err := s.apply(ctx, sale)
		if errors.Is(err, seckill.ErrClosed) {
			// It may be about to open: whoever made it rebuilds it just now.
			s.unsure.Store(true)
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
