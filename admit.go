package seckill

import (
	"fmt"
	"time"
)

// Request is a buyer who asks for units of a sale, and what the gate knows at that moment.
type Request struct {
	Quantity    int       // units wanted
	Held        int       // units of the buyer's active ticket in this sale, 0: none
	Now         time.Time // by the gate's clock
	Left        int64     // units at the gate; below 0 while units that were sold already are on their way to it
	OutboxTakes bool      // the outbox takes another ticket
}

// Repeat reports whether the buyer asks for the ticket that it has.
func (r *Request) Repeat() bool { return r.Held > 0 && r.Held == r.Quantity }

// Admit decides what a buyer hears. Queued means the ticket that the buyer has, if the
// request is a repeat, and a new one otherwise: then the gate takes Quantity units from
// Left and writes the ticket to its outbox, in the same atomic step. The error is a
// *FieldError: the sale does not allow that quantity.
//
// This is the rule of every gate. The embedded gate calls it; the gate on Redis has it
// in Lua, in internal/gate/redisgate/lua/reserve.lua, since only Redis can decide for
// several nodes in one step. internal/gate/gatetest/admission.txt is a table of cases
// that holds for all three.
func (s *Sale) Admit(r *Request) (Verdict, error) {
	repeat := r.Repeat()
	// A limit that was lowered since does not take a buyer's ticket away.
	if r.Quantity < 1 || r.Quantity > s.LimitPerBuyer && !repeat {
		return 0, QuantityError(s.LimitPerBuyer)
	}
	window := s.Window(r.Now)
	switch {
	case window != Queued:
		return window, nil
	case repeat:
		return Queued, nil
	case r.Held > 0:
		return Limit, nil
	case r.Left < int64(r.Quantity):
		return SoldOut, nil
	case !r.OutboxTakes:
		return Busy, nil
	}
	return Queued, nil
}

// QuantityError says that a sale allows 1 to limit units per buyer.
func QuantityError(limit int) *FieldError {
	return &FieldError{Field: "quantity", Must: fmt.Sprintf("must be 1 to %d", limit)}
}
