package sale

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"seckill"
)

// stopWait is how long a pause or an end waits for the store. Then the gate stops the
// sale by itself, and the store learns of it when it is back.
const stopWait = 3 * time.Second

// gateWait is how long the gate is waited for when the store has taken a pause or an end, and
// has left it no time.
const gateWait = time.Second

// noteWait is how long the gate is waited for while a sale is locked in the store.
const noteWait = 200 * time.Millisecond

// StopGate has emergency stops in force while the store cannot take them.
type StopGate interface {
	// Stop MUST have the stop in force when it returns, and keep it, over every change, a
	// rebuild and a restart of any node, until it is Learned. A closed sale is seckill.ErrClosed.
	Stop(ctx context.Context, stop seckill.Stop) error
	// Stops returns those that the store has not learned of: those of some sales, or all of them,
	// as far as they can be read. It MUST fail if it cannot tell now for one of the sales named.
	Stops(ctx context.Context, of ...seckill.SaleID) ([]seckill.Stop, error)
	// Noted reports whether the store still has to learn of a stop. It MUST be quick, since a
	// sale is locked in the store meanwhile.
	Noted(ctx context.Context, stop seckill.Stop) (bool, error)
	// Learned MUST NOT forget another stop of the sale.
	Learned(ctx context.Context, stop seckill.Stop) error
}

// Pause stops a sale until Resume. A repeat changes nothing. While the store cannot take it, it
// is an emergency stop.
func (c *Changes) Pause(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	return c.stop(ctx, id, false)
}

// End closes a sale for ever: an open one closes now. Tickets that were admitted
// are honoured. While the store cannot take it, it is an emergency stop.
func (c *Changes) End(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	return c.stop(ctx, id, true)
}

// Pausing is the edit of Pause.
func Pausing(sale *seckill.Sale, _ time.Time) error {
	sale.Paused = true
	return notEnded(sale)
}

// ending is the edit of End.
func ending(sale *seckill.Sale, now time.Time) error {
	if now = now.Truncate(time.Millisecond); !sale.Ended && now.After(sale.OpensAt) && now.Before(sale.ClosesAt) {
		sale.ClosesAt = now
	}
	sale.Ended = true
	return nil
}

// notInForce is a change that the store has, and the gate does not have yet.
type notInForce struct{ error }

// Unwrap returns why.
func (e notInForce) Unwrap() error { return e.error }

// stop has the store make the change, or else the gate stop the sale: the store may be away, or
// cannot read the sale's row. A store that takes the change and answers late does not keep it
// from the gate.
func (c *Changes) stop(ctx context.Context, id seckill.SaleID, end bool) (seckill.Sale, error) {
	soon, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	sale, err := c.Change(soon, id, stopping(end))
	if errors.As(err, new(notInForce)) {
		soon, cancel := context.WithTimeout(ctx, gateWait)
		defer cancel()
		if c.keeper.apply(soon, sale) != nil {
			return sale, err
		}
		return c.catalog.show(sale, time.Now()), nil
	}
	if err == nil || unstoppable(err) {
		return sale, err
	}
	stop := seckill.Stop{Sale: id, End: end, At: c.clock.Now().UTC()}
	stop.By, _ = seckill.ActorOf(ctx)
	if c.keeper.gate.Stop(ctx, stop) != nil {
		return sale, err
	}
	c.keeper.log.Warn("sale: the store cannot take the stop, so the gate has stopped the sale by itself; the store will learn of it", "sale", id, "end", end, "by", stop.By.Who, "error", err)
	c.keeper.changed.Send() // the store may be there after all, and only be slow
	return c.catalog.stopped(id, end), nil
}

// unstoppable reports whether err says that there is nothing to stop, or nobody who waits for it.
func unstoppable(err error) bool {
	return errors.Is(err, seckill.ErrNotFound) || errors.Is(err, seckill.ErrState) || errors.As(err, new(*seckill.FieldError)) || errors.Is(err, context.Canceled)
}

// stopping is the edit of a stop.
func stopping(end bool) Edit {
	if end {
		return ending
	}
	return Pausing
}

// learn brings emergency stops to the store: those of some sales, or all of them.
func (c *Changes) learn(ctx context.Context, of ...seckill.SaleID) error {
	stops, failed := c.keeper.gate.Stops(ctx, of...)
	for _, stop := range stops {
		if err := c.tell(ctx, stop); err != nil {
			failed = errors.Join(failed, fmt.Errorf("sale %s was stopped while the store was away, which the store does not know yet: %w", stop.Sale, err))
		}
	}
	return failed
}

// errTold says that the gate has forgotten a stop, since another node has told the store.
var errTold = errors.New("the store knows of the stop")

// tell brings an emergency stop to the store, and has the gate forget it once the store's
// version with the stop is in force at the gate. A gate that is closed keeps the stop: an
// earlier rebuild, which knows nothing of it, may open the sale. Several nodes may do it: what
// the store knows already changes nothing there. But somebody may have resumed
// the sale since another node told the store. So each asks the gate, while the sale is
// locked in the store, whether the stop is still to be told: the gate forgets it before the
// sale can be resumed (Resume).
func (c *Changes) tell(ctx context.Context, stop seckill.Stop) error {
	ctx = seckill.WithActor(ctx, stop.By) // the log names whoever asked for the stop, and not this node
	sale, err := c.store.Sale(ctx, stop.Sale)
	switch {
	case err != nil:
	case sale.Ended || sale.Paused && !stop.End: // it has been told before: no further version is made
		err = c.keeper.apply(ctx, sale)
	case stop.Unsealed: // whoever made the note, it changes nothing in the store
		return nil
	default:
		sale, err = c.Change(ctx, stop.Sale, func(sale *seckill.Sale, now time.Time) error {
			ctx, cancel := context.WithTimeout(ctx, noteWait)
			defer cancel()
			if noted, err := c.keeper.gate.Noted(ctx, stop); !noted {
				return cmp.Or(err, errTold)
			}
			return stopping(stop.End)(sale, now)
		})
	}
	switch {
	case errors.Is(err, errTold):
		return nil
	case errors.Is(err, seckill.ErrNotFound), errors.Is(err, seckill.ErrClosed) && sale.Shelf == seckill.Deleted:
		// No rebuild opens such a sale.
	case err != nil:
		if errors.Is(err, seckill.ErrClosed) {
			c.keeper.unsure.Store(true) // it must be open before the gate can forget the stop
		}
		return err
	}
	if err := c.keeper.gate.Learned(ctx, stop); err != nil {
		return err
	}
	c.keeper.log.Info("sale: the store has learned of an emergency stop", "sale", stop.Sale, "end", stop.End, "by", stop.By.Who, "stopped_at", stop.At)
	return nil
}

// forgetUnsealed has the gate forget a stop that the store cannot learn of, since a person
// resumes the sale.
func (c *Changes) forgetUnsealed(ctx context.Context, id seckill.SaleID) error {
	stops, err := c.keeper.gate.Stops(ctx, id)
	for _, stop := range stops {
		if !stop.Unsealed {
			continue
		}
		if err := c.keeper.gate.Learned(ctx, stop); err != nil {
			return err
		}
		c.keeper.log.Info("sale: an emergency stop without a seal is over, since somebody resumes the sale", "sale", id, "end", stop.End, "stopped_at", stop.At)
	}
	return err
}

// stopped shows a sale that the gate has stopped, from this node's copy.
func (s *Catalog) stopped(id seckill.SaleID, end bool) seckill.Sale {
	s.mu.Lock()
	stop := func(sale *seckill.Sale) {
		sale.Paused, sale.Ended = sale.Paused || !end, sale.Ended || end
	}
	was, ok := s.cache[id]
	if ok {
		stop(&was.sale)
		s.cache[id] = was
	}
	for key, l := range s.lists {
		if i := slices.IndexFunc(l.sales, func(sale seckill.Sale) bool { return sale.ID == id }); i >= 0 {
			l.sales = slices.Clone(l.sales) // somebody may be reading them
			stop(&l.sales[i])
			s.lists[key] = l
		}
	}
	s.mu.Unlock()
	if ok {
		return s.show(was.sale, was.at)
	}
	sale := seckill.Sale{ID: id, State: seckill.StatePaused, ServerNow: s.gate.Now().UTC().Truncate(time.Millisecond)}
	if end {
		sale.State = seckill.StateEnded
	}
	return sale
}
