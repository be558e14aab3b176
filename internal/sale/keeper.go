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
)

// Keep is the resident duty of the package: it rebuilds what the gate has lost,
// and brings to the gate the changes and stock moves that it did not hear of.
// ready is called once everything has been loaded for the first time.
func (s *Sales) Keep(ctx context.Context, ready func()) error {
	tick := time.NewTicker(keeperPause)
	defer tick.Stop()
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
			s.log.Error("sale: the gate lost its state; every sale is closed until it is rebuilt")
			s.stale.Store(true)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Sales) keep(ctx context.Context) error {
	if s.stale.Load() {
		if err := s.Rebuild(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, keeperTry)
	defer cancel()
	return s.catchUp(ctx)
}

func (s *Sales) catchUp(ctx context.Context) error {
	var errs []error
	sales, err := s.store.Unapplied(ctx)
	errs = append(errs, err)
	for _, sale := range sales {
		if _, open := s.gate.Left(sale.ID); !open {
			errs = append(errs, s.Rebuild(ctx, sale.ID))
			continue
		}
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
