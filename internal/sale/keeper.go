package sale

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"seckill"
	"seckill/internal/duty"
)

const (
	keeperPause = time.Second     // between looks at what the gate has not heard of
	keeperTry   = 5 * time.Second // for one look
	keeperPage  = 1000            // sales looked at, and rebuilt, together
	keeperCheck = time.Minute     // between looks at every sale, for those to be retired

	keeperGap = 100 * time.Millisecond // between two looks that buyers of closed sales ask for

	rebuildLease = "rebuild"
	rebuildTime  = 5 * time.Second // of the lease, which is renewed meanwhile: how long others wait for a dead node
	rebuildSome  = 64              // sales shut at the same time
)

// errPart says that some sales could not be looked at, since a part of the gate is
// gone, for one. The others need not wait for them.
var errPart = errors.New("some sales have to wait")

// Keep is the resident duty of the package: it rebuilds what the gate has lost,
// and brings to the gate the changes and stock moves that it did not hear of.
// ready is called once everything has been loaded for the first time.
func (s *Sales) Keep(ctx context.Context, ready func()) error {
	tick, check := time.NewTicker(keeperPause), time.NewTicker(keeperCheck)
	defer tick.Stop()
	defer check.Stop()
	for {
		looked := time.Now()
		err := s.keep(ctx)
		if err == nil && ready != nil {
			ready()
			ready = nil
		}
		changed, lost := s.changed, s.gate.Lost()
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("sale: the gate is not up to date; trying again", "pause", keeperPause, "error", err)
			}
			changed, lost = nil, nil // at the pace of the ticker while something is down
		}
		select {
		case <-tick.C:
		case <-changed:
		case <-lost:
			// A crowd at a closed door asks without end.
			select {
			case <-time.After(keeperGap - time.Since(looked)):
			case <-ctx.Done():
			}
			s.unsure.Store(true)
		case <-check.C:
			s.unsure.Store(true)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Sales) keep(ctx context.Context) error {
	var failed error
	if s.unsure.Swap(false) {
		if failed = s.restore(ctx); failed != nil {
			s.unsure.Store(true)
			if !errors.Is(failed, errPart) {
				return failed
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, keeperTry)
	defer cancel()
	return errors.Join(failed, s.catchUp(ctx))
}

// restore rebuilds the sales whose state at the gate is not that of the store. One
// node at a time does; it would be right without the lease too (see Rebuild), but
// two that rebuild the same sales undo each other's work.
func (s *Sales) restore(ctx context.Context) error {
	if s.identity == "" {
		id, err := s.store.Identity(ctx)
		if err != nil {
			return err
		}
		s.identity = id
	}
	if err := s.gate.Belong(ctx, s.identity); err != nil {
		return err
	}
	r := restoring{Sales: s}
	defer func() {
		if r.end != nil {
			r.end()
		}
	}()
	var failed error
	for more := true; more; {
		var err error
		more, err = r.page(ctx)
		if more && err != nil {
			err = fmt.Errorf("%w: %w", errPart, err)
		}
		failed = cmp.Or(err, failed)
	}
	return failed
}

// restoring is one round of restore.
type restoring struct {
	*Sales
	before seckill.SaleID // what comes next
	end    func()         // gives the lease back; nil: it is not ours yet
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
		if r.end == nil {
			r.end, err = r.lead(ctx)
			return err == nil, err // another node may have done it all just now: look again
		}
		if stale = r.born(sales, stale); len(stale) < 1 {
			failed = errors.Join(failed, fmt.Errorf("sales are being created, they will be looked at again: %w", seckill.ErrUnavailable))
		} else {
			r.log.Info("sale: rebuilding what the gate does not have, or need not have any more", "sales", len(stale))
			for some := range slices.Chunk(stale, rebuildSome) {
				// What cannot be reached keeps no other sale shut.
				failed = errors.Join(failed, r.rebuild(ctx, some))
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

// lead takes the lease that lets one node rebuild, and keeps it until end. A node
// that is alone needs none.
func (s *Sales) lead(ctx context.Context) (end func(), err error) {
	if s.Alone {
		return func() {}, nil
	}
	lease := &duty.Lease{Leases: s.store, Name: rebuildLease, Owner: s.node, Life: rebuildTime}
	held, err := lease.Held(ctx)
	if err == nil && !held {
		err = fmt.Errorf("another node (%s) rebuilds sales: %w", lease.Holder(), seckill.ErrUnavailable)
	}
	if err != nil {
		return nil, err
	}
	// If it is lost another node rebuilds too, which is right, only slow.
	return lease.Keep(ctx), nil
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
