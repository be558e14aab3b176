package seckill

import "time"

// EventVersion is the form of events. A reader ignores fields it does not know;
// only a change that it could misread raises the version.
const EventVersion = 1

// Event tells others what became of an order. It is written in the transaction
// that made it true and delivered at least once: readers drop an id that they
// have seen. The ids of one order rise with its states.
type Event struct {
	V     int       `json:"v"`
	ID    string    `json:"id"`
	Type  string    `json:"type"` // order.placed, order.paid, order.cancelled, order.expired, order.partly_refunded, order.refunded
	At    time.Time `json:"at"`
	Order Order     `json:"order"`

	Buyer   string        `json:"buyer"`             // the order's buyer
	Payment *EventPayment `json:"payment,omitempty"` // once there is one
	Changed EventChange   `json:"changed"`
}

// EventPayment names the payment of an order at its provider.
type EventPayment struct {
	Provider  Provider `json:"provider"`
	Reference string   `json:"reference"`
}

// EventChange is what an event changed: the order's state, From empty for a new
// order, or of a part that was given back nothing but the order's refunded_amount
// and returned_units.
type EventChange struct {
	From OrderState `json:"from,omitempty"`
	To   OrderState `json:"to"`
}

// EventMessage is an event that is ready to be sent.
type EventMessage struct {
	ID, Type string
	Order    string // the order's id
	At       time.Time
	Body     []byte // the Event in JSON
}

// EventRow is events that are kept together until each has been sent: of one type
// and moment, and of different orders.
type EventRow struct {
	ID     string
	Events []EventMessage
}
