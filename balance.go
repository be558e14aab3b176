package seckill

import (
	"fmt"
	"time"
)

// BalanceFresh is how old a count may be to say something about now. The console has the
// same limit (balance.js).
const BalanceFresh = 15 * time.Second

// BalanceState is how a count stands for who reads it: it says that everything adds up only
// when it is fresh and whole. The console judges by the same rule (balance.js).
type BalanceState uint8

// The states of a count.
const (
	BalanceUnknown BalanceState = iota // not counted yet
	BalanceBad                         // something is broken
	BalanceOld                         // it did add up
	BalancePartly                      // it adds up, and not all of it was counted
	BalanceOK
)

// State judges a count that is so old.
func (b *Balance) State(age time.Duration) BalanceState {
	switch {
	case b.OK == nil:
		return BalanceUnknown
	case !*b.OK:
		return BalanceBad
	case age > BalanceFresh:
		return BalanceOld
	case b.Partial || b.Sums != nil && b.Pending == nil:
		return BalancePartly
	}
	return BalanceOK
}

// Balance is one count of a sale, on one cut: where its units are, and whether they add
// up. All numbers are units. The sums are absent while nothing has been counted.
type Balance struct {
	Sale    SaleID    `json:"sale"`
	OK      *bool     `json:"ok"`                 // nothing is broken, as of At; nil: not counted yet
	At      time.Time `json:"at,omitzero"`        // of the last count, by the gate's clock
	Walked  time.Time `json:"walked_at,omitzero"` // since when each active order has been compared with the gate; zero: not all have been
	Partial bool      `json:"partial,omitempty"`  // something was left out, as Says says
	Says    string    `json:"says,omitempty"`     // why there is no newer count, or no whole one
	*Sums             // nil: not counted yet

	Violations []Breach `json:"violations"`
	Money      []Money  `json:"money,omitempty"`
}

// Sums are the places of a sale's units.
type Sums struct {
	Total     int64  `json:"total"`
	Gate      int64  `json:"gate"`
	Pending   *int64 `json:"pending"` // admitted, without an outcome; nil: too many to count
	Unpaid    int64  `json:"unpaid"`
	Paid      int64  `json:"paid"`
	Returning int64  `json:"returning"` // on their way back to the gate, stock moves included
}

// Breach is a rule that does not hold, and the ticket that breaks it, where one does.
type Breach struct {
	Rule   string `json:"rule"` // of docs/INVARIANTS.md
	Ticket string `json:"ticket,omitempty"`
	Buyer  string `json:"buyer,omitempty"` // at the gate
	Says   string `json:"says"`
}

// Weights are what the store says of a sale's units at one moment, as sums, for a count
// that must not read every order.
type Weights struct {
	Sale         Sale
	Unpaid, Paid int64             // of active orders, without what they gave back in parts
	UnpaidOrders int64             // active orders, and not their units
	PaidOrders   int64             // as UnpaidOrders
	Settled      int64             // of those units, what was admitted before the cut
	Returning    int64             // on their way back
	Growing      int64             // of unfinished growth
	Outcomes     map[string]Reason // of the outbox
	Stray        []string          // tickets whose units are on their way back although the order is active
	Money        []Money
}

// Hold is a buyer's newest ticket, as the gate has it.
type Hold struct {
	Ticket
	State HoldState
}

// HoldState is how the gate sees a hold.
type HoldState uint8

// The states of a hold.
const (
	HoldPending  HoldState = iota // admitted, no outcome yet
	HoldPlaced                    // its order is active, as far as the gate knows
	HoldReleased                  // placed, and its units are back
	HoldRefused                   // the store knows why
)

// Active reports whether the hold keeps its buyer from another ticket.
func (s HoldState) Active() bool { return s == HoldPending || s == HoldPlaced }

func (s HoldState) String() string {
	return [...]string{"pending", "placed", "released", "refused"}[s]
}

// Fate is what the store says of one ticket.
type Fate struct {
	Ticket
	Active    bool // its order is unpaid or paid
	Refused   bool
	Returning bool // its units are on their way back
}

// Weigh compares a cut of the gate with the sums of the store that were read after it, as
// Examine does ticket by ticket. steady says that nothing was moved between the two: no
// units came back, no stock moved, no rebuild began. Then the units add up although the
// sale goes on: what was admitted before the cut is pending or settled. whole says that the
// units were added up: where something moves they are not, and one may be missing.
func (w *Weights) Weigh(cut *Cut, steady bool) (s Sums, breaches []Breach, whole bool) {
	s = Sums{Total: w.Sale.Total, Gate: cut.Left, Unpaid: w.Unpaid, Paid: w.Paid, Returning: w.Returning + w.Growing}
	var pending, refused int64
	for _, t := range cut.Outbox {
		switch reason, final := w.Outcomes[t.ID]; {
		case !final:
			pending += int64(t.Quantity)
		case reason.Returns():
			refused += int64(t.Quantity) // and the gate has not heard
		case reason != ReasonNone:
			steady = false // the promise was destroyed, and the gate has not heard
		}
	}
	s.Returning += refused
	if !cut.Partial {
		s.Pending = &pending
	}
	units := where{total: w.Sale.Total, sold: w.Sale.Sold, gate: cut.Left, pending: pending, uncounted: cut.Partial, active: w.Unpaid + w.Paid, settled: w.Settled, returning: refused}
	whole = steady && !cut.Partial
	// A sum that is too high is named once.
	breaches = units.breaches(whole && units.promised() <= units.total)
	for _, id := range w.Stray {
		breaches = append(breaches, Breach{Rule: "release once", Ticket: id, Says: "its units are on their way back, and its order is active"})
	}
	return s, append(breaches, unexplained(w.Money)...), whole
}

// Mismatch is what is wrong between what the gate holds for the buyer of an active order,
// and that order; ok is false if nothing is. held is false where the gate has no hold.
func Mismatch(order Ticket, h Hold, held bool) (b Breach, ok bool) {
	b.Ticket, b.Buyer = order.ID, order.Buyer
	switch {
	case !held:
		b.Rule, b.Says = "only the gate admits", fmt.Sprintf("the order of buyer %q is active, and the gate holds nothing for that buyer", order.Buyer)
	case h.ID != order.ID && h.State.Active():
		b.Rule, b.Says = "one per buyer", fmt.Sprintf("the order of buyer %q is active, and the gate holds the ticket %s for that buyer", order.Buyer, h.ID)
	case h.ID != order.ID:
		b.Rule, b.Says = "only the gate admits", fmt.Sprintf("the order of buyer %q is active, and the gate's last ticket of that buyer is %s, which has ended", order.Buyer, h.ID)
	case !h.State.Active():
		b.Rule, b.Says = "release once", fmt.Sprintf("the order is active, and the gate has it as %s", h.State)
	case h.Quantity != order.Quantity:
		b.Rule, b.Says = "only the gate admits", fmt.Sprintf("the order has %d units, the gate has admitted %d", order.Quantity, h.Quantity)
	default:
		return b, false
	}
	return b, true
}

// Mislaid is what is wrong with a ticket that the gate holds as pending or placed, by what
// the store says of it; ok is false if nothing is. waits reports whether the ticket is in
// the outbox.
func Mislaid(h Hold, f Fate, known, waits bool) (b Breach, ok bool) {
	b.Ticket, b.Buyer = h.ID, h.Buyer
	switch {
	case h.State == HoldPending && !known && !waits:
		b.Rule, b.Says = "no lost accept", fmt.Sprintf("the gate has admitted buyer %q, and neither the outbox nor the store has the ticket", h.Buyer)
	case h.State == HoldPlaced && !known:
		b.Rule, b.Says = "stable outcome", fmt.Sprintf("the gate has it as placed for buyer %q, and the store does not have it", h.Buyer)
	case h.State == HoldPlaced && !f.Active && !f.Refused && !f.Returning:
		b.Rule, b.Says = "conservation", "its order has ended, and its units are not on their way back"
	case h.State == HoldPlaced && f.Refused:
		b.Rule, b.Says = "stable outcome", "the gate has it as placed, the store as refused"
	case known && (f.Buyer != h.Buyer || f.Quantity != h.Quantity):
		b.Rule, b.Says = "only the gate admits", fmt.Sprintf("the gate has admitted %d for buyer %q, the store has %d for %q", h.Quantity, h.Buyer, f.Quantity, f.Buyer)
	default:
		return b, false
	}
	return b, true
}
