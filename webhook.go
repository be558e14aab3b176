package seckill

import (
	"encoding/json"
	"time"
)

// EventTypes are the types of events, as Event lists them.
var EventTypes = []string{"order.placed", "order.paid", "order.cancelled", "order.expired", "order.partly_refunded", "order.refunded"}

// DeliveryState says how far a delivery is.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryWaiting   DeliveryState = "waiting"   // it is sent until the receiver takes it
	DeliveryDelivered DeliveryState = "delivered" // the receiver has taken it
	DeliveryFailed    DeliveryState = "failed"    // given up after days; a replay sends it again
)

// Delivery is one event on its way to one receiver of webhooks.
type Delivery struct {
	Event string          `json:"event"` // its id, which is the webhook-id of every try
	Type  string          `json:"type"`
	Order string          `json:"order"`
	At    time.Time       `json:"at"` // of the event
	State DeliveryState   `json:"state"`
	Tries int             `json:"tries"`              // since it was made, or last replayed
	Since time.Time       `json:"since"`              // when that was
	Next  *time.Time      `json:"next_at,omitempty"`  // of the next try
	Tried *time.Time      `json:"tried_at,omitempty"` // the last try
	Code  int             `json:"status,omitempty"`   // HTTP status of the last try's answer
	Error string          `json:"error,omitempty"`    // why the last try failed
	Body  json.RawMessage `json:"body,omitempty"`     // what is sent; a viewer is not shown it

	Age time.Duration `json:"-"` // since Since by the store's clock, of one that is due
}

// DeliveryTry is what came of sending a delivery once.
type DeliveryTry struct {
	Event string
	State DeliveryState
	Pause time.Duration // before the next try
	Code  int
	Error string
	Gone  bool // the receiver answered that it wants no more: nothing is sent to it
}

// DeliveryFilter says which deliveries of a receiver are wanted; empty fields want all.
type DeliveryFilter struct {
	Receiver string
	State    DeliveryState
	Order    string
	Before   string // the event's id
	Max      int
}

// Replay says what a receiver is sent again: one event, whatever happened from From until
// before To, or, with nothing named, what had been given up. It also starts a receiver
// that was stopped.
type Replay struct {
	Receiver string
	Event    string
	From, To time.Time
}

// ReceiverState is how a receiver of webhooks is served.
type ReceiverState struct {
	Name    string     `json:"name"`
	URL     string     `json:"url"`
	Types   []string   `json:"types"`
	Waiting int64      `json:"waiting"`                // deliveries
	Oldest  *time.Time `json:"oldest_at,omitempty"`    // when the oldest waiting event happened
	Failed  int64      `json:"failed"`                 // deliveries that were given up
	Last    *time.Time `json:"delivered_at,omitempty"` // when it last took one
	Stopped *time.Time `json:"stopped_at,omitempty"`   // nothing is sent until a replay
	Why     string     `json:"why,omitempty"`          // it was stopped
}
