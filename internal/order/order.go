// Package order is what happens to an order after its purchase: it is paid,
// cancelled, refunded, or expires, and its units go back to the gate.
//
// The change of state and the note that units are on their way are one
// transaction of the store; the returner brings them to the gate, at least once
// and counted once.
package order

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"seckill"
	"seckill/internal/crash"
)

// Store is what the package needs of stage 5.
type Store interface {
	// Transition MUST write the units' way back in the same transaction.
	Transition(ctx context.Context, id, buyer string, to seckill.OrderState) (seckill.Order, error)
	Expire(ctx context.Context, max int) (int, error)
	NextExpiry(ctx context.Context) (time.Time, error)
	// Returns MUST leave out the sales in without.
	Returns(ctx context.Context, max int, without ...seckill.SaleID) ([]seckill.Return, error)
	// Returned MUST do nothing when the sale's epoch is another.
	Returned(ctx context.Context, r seckill.Return) error
}

// Gate takes units back. Release MUST count each ticket once, and MUST take none
// that was read in another epoch.
type Gate interface {
	Release(ctx context.Context, r seckill.Return) error
}

// Orders changes orders.
type Orders struct {
	store    Store
	gate     Gate
	log      *slog.Logger
	returned chan struct{} // there may be units to bring back
}

// New returns the orders of a store and a gate.
func New(store Store, gate Gate, log *slog.Logger) *Orders {
	return &Orders{store: store, gate: gate, log: log, returned: make(chan struct{}, 1)}
}

// Pay, Cancel and Refund change an order by the rule of seckill.Order.Become;
// Pay and Cancel only the buyer's own.
func (o *Orders) Pay(ctx context.Context, id, buyer string) (seckill.Order, error) {
	return o.store.Transition(ctx, id, buyer, seckill.Paid)
}

// Cancel gives up an unpaid order.
func (o *Orders) Cancel(ctx context.Context, id, buyer string) (seckill.Order, error) {
	return o.end(o.store.Transition(ctx, id, buyer, seckill.Cancelled))
}

// Refund takes back a paid order, for an administrator.
func (o *Orders) Refund(ctx context.Context, id string) (seckill.Order, error) {
	return o.end(o.store.Transition(ctx, id, "", seckill.Refunded))
}

func (o *Orders) end(order seckill.Order, err error) (seckill.Order, error) {
	if err == nil {
		o.wake()
	}
	return order, err
}

func (o *Orders) wake() {
	select {
	case o.returned <- struct{}{}:
	default:
	}
}

const (
	expireBatch = 500 // orders in one transaction
	expireCheck = time.Second
	returnBatch = 1000
	returnCheck = time.Second
)

// RunExpirer is the resident duty that ends unpaid orders whose time to pay is
// over, until ctx is done.
func (o *Orders) RunExpirer(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := o.store.Expire(ctx, expireBatch)
		if err == nil && n > 0 {
			o.log.Info("order: unpaid orders expired", "orders", n)
			o.wake()
		}
		if err == nil && n == expireBatch {
			continue
		}
		pause := expireCheck
		if err == nil {
			var next time.Time
			if next, err = o.store.NextExpiry(ctx); err == nil && !next.IsZero() {
				pause = max(time.Millisecond, min(pause, time.Until(next)))
			}
		}
		if err != nil && ctx.Err() == nil {
			o.log.Warn("order: expiring has to wait", "pause", pause, "error", err)
		}
		sleep(ctx, pause, nil)
	}
	return nil
}

// RunReturner is the resident duty that brings units back to the gate, until ctx
// is done.
func (o *Orders) RunReturner(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := o.giveBack(ctx)
		if err != nil && ctx.Err() == nil {
			o.log.Warn("order: units on their way back have to wait", "pause", returnCheck, "error", err)
		}
		if err != nil || n == 0 {
			sleep(ctx, returnCheck, o.returned)
		}
	}
	return nil
}

// giveBack brings one batch of units back and returns how many tickets it was. A
// sale whose gate cannot be reached keeps no other waiting, however much it has.
func (o *Orders) giveBack(ctx context.Context) (done int, failed error) {
	var waiting []seckill.SaleID
	for done == 0 {
		returns, err := o.store.Returns(ctx, returnBatch, waiting...)
		if err != nil || len(returns) == 0 {
			return done, errors.Join(failed, err)
		}
		for _, r := range returns {
			crash.Here("9-before-release", true)
			if err := o.gate.Release(ctx, r); err != nil {
				failed, waiting = err, append(waiting, r.Sale)
				continue
			}
			crash.Here("9-after-release", true)
			if err := o.store.Returned(ctx, r); err != nil {
				return done, err
			}
			done += len(r.Tickets)
		}
	}
	return done, failed
}

func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}
