// Package order is what happens to an order after its purchase: it is paid,
// cancelled, refunded, or expires, and its units go back to the gate: step 9 of the path
// of a purchase. The money of an order (steps 13 to 16) is in package payment.
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
	// TransitionBy MUST write the units' way back in the same transaction.
	TransitionBy(ctx context.Context, id, buyer string, to seckill.OrderState, by, why string) (seckill.Order, error)
	// Refund MUST write the units' way back, and the money that is due, in the same
	// transaction.
	Refund(ctx context.Context, f seckill.RefundRequest) (seckill.Order, error)
	Expire(ctx context.Context, max int) (int, error)
	// NextExpiry MUST count by the clock by which Expire decides.
	NextExpiry(ctx context.Context) (wait time.Duration, some bool, err error)
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

// Pay makes the buyer's own unpaid order paid, by the buyer's word alone: that is
// the provider "test", see package payment.
func (o *Orders) Pay(ctx context.Context, id, buyer string) (seckill.Order, error) {
	return o.store.TransitionBy(ctx, id, buyer, seckill.Paid, buyer, seckill.ProviderTest)
}

// Cancel gives up the buyer's own unpaid order.
func (o *Orders) Cancel(ctx context.Context, id, buyer string) (seckill.Order, error) {
	return o.end(o.store.TransitionBy(ctx, id, buyer, seckill.Cancelled, buyer, ""))
}

// CancelFor ends somebody's unpaid order, for an administrator.
func (o *Orders) CancelFor(ctx context.Context, id, by, why string) (seckill.Order, error) {
	return o.end(o.store.TransitionBy(ctx, id, "", seckill.Cancelled, by, why))
}

// Refund gives a paid order back, or a part of it, for an administrator. The money
// is due from then on; see package payment.
func (o *Orders) Refund(ctx context.Context, f seckill.RefundRequest) (seckill.Order, error) {
	return o.end(o.store.Refund(ctx, f))
}

// Wake says that units may be on their way back to the gate.
func (o *Orders) Wake() { o.returned.Send() }

func (o *Orders) end(order seckill.Order, err error) (seckill.Order, error) {
	if err == nil {
		o.returned.Send()
	}
	return order, err
}
