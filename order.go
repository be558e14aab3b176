package seckill

import (
	"fmt"
	"time"
)

// OrderState is the state of an order. Unpaid and paid orders are active: they
// hold units and keep their buyer from another ticket.
type OrderState string

// The states of an order.
const (
	Unpaid    OrderState = "unpaid"
	Paid      OrderState = "paid"
	Cancelled OrderState = "cancelled"
	Expired   OrderState = "expired"
	Refunded  OrderState = "refunded"
)

// Active reports whether the order holds its units.
func (s OrderState) Active() bool { return s == Unpaid || s == Paid }

// Order is what a placed ticket is. Amount is Quantity times Price, in minor units
// of Currency. Title, Price and Image are those of the sale when it was bought.
type Order struct {
	ID        string     `json:"id"`
	Sale      SaleID     `json:"sale"`
	Ticket    string     `json:"ticket"`
	Buyer     string     `json:"-"`
	Title     string     `json:"title"`
	Image     string     `json:"image,omitempty"`
	Price     int64      `json:"price"`
	Quantity  int        `json:"quantity"`
	Amount    int64      `json:"amount"`
	Currency  string     `json:"currency"`
	State     OrderState `json:"state"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	// ServerNow is the clock that decides about ExpiresAt, filled in by whoever shows
	// the order.
	ServerNow time.Time `json:"server_now,omitzero"`

	// Of a paid order of which a part was given back: the money that has gone back or
	// is about to, and the units that it has given up.
	RefundedAmount int64 `json:"refunded_amount,omitempty"`
	ReturnedUnits  int   `json:"returned_units,omitempty"`
}

// Holds is the money that a paid order holds, and the units.
func (o *Order) Holds() (amount int64, units int) {
	return o.Amount - o.RefundedAmount, o.Quantity - o.ReturnedUnits
}

// Become decides the change of an order's state at the time now. It returns
// whether anything changes: a repeat does not, and is no error. An impossible
// change is an error that wraps ErrState.
//
//	unpaid → paid        before ExpiresAt
//	unpaid → cancelled
//	unpaid → expired     at or after ExpiresAt
//	paid   → refunded
func (o *Order) Become(to OrderState, now time.Time) (changed bool, err error) {
	if o.State == to {
		return false, nil
	}
	late := !now.Before(o.ExpiresAt)
	switch {
	case o.State == Unpaid && to == Paid && !late,
		o.State == Unpaid && to == Cancelled,
		o.State == Unpaid && to == Expired && late,
		o.State == Paid && to == Refunded:
		return true, nil
	case o.State == Unpaid && to == Paid:
		return false, fmt.Errorf("order %s: the time to pay ended at %s: %w", o.ID, o.ExpiresAt.UTC().Format(time.RFC3339), ErrState)
	}
	return false, fmt.Errorf("order %s is %s and cannot become %s: %w", o.ID, o.State, to, ErrState)
}
