// Package order is what happens to an order after its purchase: it is paid,
// cancelled, refunded, or expires, and its units go back to the gate: step 9 of the path
// of a purchase.
//
// The change of state and the note that units are on their way are one
// transaction of the store; the returner brings them to the gate, at least once
// and counted once.
package order

import (
	"context"
	"log/slog"
	"time"

	"seckill"
	"seckill/internal/duty"
)

// Store is what the package needs of the store.
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
	returned duty.Signal // there may be units to bring back
}

// New returns the orders of a store and a gate.
func New(store Store, gate Gate, log *slog.Logger) *Orders {
	return &Orders{store: store, gate: gate, log: log, returned: duty.NewSignal()}
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
		o.returned.Send()
	}
	return order, err
}
