package seckill

import "time"

// Aftermath is what became of the tickets of a sale, as of At by the store's clock.
type Aftermath struct {
	Sale      SaleID    `json:"sale"`
	At        time.Time `json:"at"`
	Tickets   *int64    `json:"tickets"` // admitted by the gate; nil: what is still under way is not known
	Placed    int64     `json:"placed"`  // orders, whatever became of them
	Refused   int64     `json:"refused"` // tickets without an order
	Unpaid    int64     `json:"unpaid"`  // orders, as the four after it
	Paid      int64     `json:"paid"`
	Cancelled int64     `json:"cancelled"`
	Expired   int64     `json:"expired"`
	Refunded  int64     `json:"refunded"`
	Returned  int64     `json:"returned"`   // units that orders gave back whole
	SoldAgain *int64    `json:"sold_again"` // of those, what is not at the gate any more; nil: Left is not known
	Left      *int64    `json:"left"`       // units at the gate; nil: not known
	Expiries  []Expiry  `json:"expiries"`   // of unpaid orders, the next first
}

// Expiry is how much comes back in the minute that begins At, unless it is paid.
type Expiry struct {
	At     time.Time `json:"at"`
	Orders int64     `json:"orders"`
	Units  int64     `json:"units"`
}

// Count adds tickets of a state, and their units.
func (a *Aftermath) Count(state string, tickets, units int64) {
	switch OrderState(state) {
	case Unpaid:
		a.Unpaid += tickets
	case Paid:
		a.Paid += tickets
	case Cancelled:
		a.Cancelled += tickets
	case Expired:
		a.Expired += tickets
	case Refunded:
		a.Refunded += tickets
	default:
		a.Refused += tickets
		return
	}
	a.Placed += tickets
	if !OrderState(state).Active() {
		a.Returned += units
	}
}

// With completes the count of the store by the last balance of the sale.
func (a Aftermath) With(b Balance) Aftermath {
	if b.Sums == nil {
		return a
	}
	left := b.Gate
	again := max(0, a.Returned-left-b.Returning)
	a.Left, a.SoldAgain = &left, &again
	if b.Pending != nil {
		// Pending are units. Where a buyer may have only one they are tickets.
		tickets := a.Placed + a.Refused + *b.Pending
		a.Tickets = &tickets
	}
	return a
}
