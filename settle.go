package seckill

import "time"

// Terms are what a ticket is judged by: those of the version of its sale that admitted it.
// Of a ticket that names no version, or one that the store does not know, they are the
// widest that any version has had: nothing beyond them can have been admitted.
type Terms struct {
	Opens, Closes time.Time
	Limit         int // units per buyer
}

// Settle decides what becomes of a ticket that has no outcome yet, by what the store
// says of its sale: the terms for this ticket, nil if there is no such sale, whether the buyer holds an
// active order in it, and how many units are not sold. ReasonNone means that the ticket
// becomes an order and takes its units; the store writes both in one transaction.
//
// The gate has admitted the ticket, so it should always fit. Where the two differ the
// store is right: it is asked again here because a gate can lose its state, and because
// a message can be forged.
func (t *Ticket) Settle(terms *Terms, active bool, left int64) Reason {
	switch {
	case terms == nil:
		return ReasonNoSale
	case t.Quantity > terms.Limit, t.At.Before(terms.Opens), !t.At.Before(terms.Closes):
		return ReasonNotAdmitted
	case active:
		return ReasonLimit
	case int64(t.Quantity) > left:
		return ReasonSoldOut
	}
	return ReasonNone
}
