package seckill

import "time"

// DeadLetter is a message that waits for a person: one that is no ticket, a copy of a
// ticket that was refused, or a ticket that killed each node that took it.
type DeadLetter struct {
	ID     string    `json:"id"`
	Ticket string    `json:"ticket,omitempty"` // empty: it is none
	Sale   SaleID    `json:"sale,omitzero"`
	Buyer  string    `json:"buyer,omitempty"`
	Reason string    `json:"reason"` // refused, or what made it leave its queue: rejected, delivery_limit, …
	Says   string    `json:"says,omitempty"`
	Deaths int64     `json:"deaths"` // how often it left a queue
	At     time.Time `json:"at,omitzero"`
	Sealed bool      `json:"sealed"` // it carries a gate's seal; without one it is not replayed
}
