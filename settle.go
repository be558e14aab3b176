package seckill

// Settle decides what becomes of a ticket that has no outcome yet, by what the store
// says of its sale: whether it exists, whether the buyer holds an active order in it,
// and how many units are not sold. ReasonNone means that the ticket becomes an order
// and takes its units; the store writes both in one transaction.
//
// The gate has admitted the ticket, so it should always fit. Where the two differ the
// store is right: it is asked again here because a gate can lose its state.
func (t *Ticket) Settle(exists, active bool, left int64) Reason {
	switch {
	case !exists:
		return ReasonNoSale
	case active:
		return ReasonLimit
	case int64(t.Quantity) > left:
		return ReasonSoldOut
	}
	return ReasonNone
}
