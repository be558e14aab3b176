// Package live is what the nodes of a cluster tell one another about themselves while
// they work, and what people who watch a sale are shown of it. It is no step of the
// path of a purchase: nothing here is needed to sell.
//
//	tally.go   what this node has answered and settled, counted on the way past
//	teller.go  the resident that tells all nodes twice a second how this one is
//	board.go   where they tell it: in the process, or on the gate's Redis
//	hub.go     what all of them have told, merged into one picture a second
//
// What is not known is absent, with its reason, and never 0; every figure has its age.
package live

import (
	"time"

	"seckill"
)

// Limits of what a node tells. They bound the message, and what Redis keeps of it.
const (
	every     = 500 * time.Millisecond // between two messages of a node
	Life      = 30 * time.Second       // a node that has told nothing for so long is gone
	mostSales = 256                    // in a message: more than internal/sale lets be watched
	mostMarks = 64                     // remembered by a node
	markLife  = 15 * time.Minute
)

// Node is one row of the table of nodes.
type Node struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"` // host and port, for people
	Version   string    `json:"version"`
	Settings  string    `json:"settings"` // fingerprint of what must be the same on all nodes
	Roles     []string  `json:"roles"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at"` // by the gate's clock
	AgeMS     int64     `json:"age_ms"`
	SkewMS    int64     `json:"clock_skew_ms"` // this node's clock less the gate's
	Degraded  []string  `json:"degraded"`
	Parts     Parts     `json:"parts"`
	Listeners *bool     `json:"listeners,omitempty"` // whether it takes tickets from a shared queue; absent: it has none
}

// Part is the gate, the queue or the store, as a node has it.
type Part struct {
	OK    bool      `json:"ok"`
	Since time.Time `json:"since"`          // when that began
	Says  string    `json:"says,omitempty"` // why it is not
}

// Parts are the gate, the queue and the store by these names.
type Parts map[string]Part

// Mark is something that happened at a moment, for the time line: a pressed button or an
// opening.
type Mark struct {
	At   time.Time      `json:"at"`
	What string         `json:"what"`
	Who  string         `json:"who,omitempty"`
	Sale seckill.SaleID `json:"sale,omitzero"`
}

// Figures are what one node tells of one sale. The counts are since the node started.
type Figures struct {
	Sale      seckill.SaleID     `json:"sale"`
	Title     string             `json:"title"`
	Total     int64              `json:"total"`
	OpensAt   time.Time          `json:"opens_at"`
	ClosesAt  time.Time          `json:"closes_at"`
	Paused    bool               `json:"paused"`
	Ended     bool               `json:"ended"`
	Version   int64              `json:"version"` // by which this node answers
	AgeMS     int64              `json:"age_ms"`  // since this node read the sale from the store
	Gate      *seckill.GateState `json:"gate"`    // nil: the gate does not say
	Waiting   *int64             `json:"waiting"` // for the opening, an estimate; nil: not counted any more
	Verdicts  map[string]int64   `json:"verdicts"`
	Admission Histogram          `json:"admission,omitempty"`
	Outcome   Histogram          `json:"outcome,omitempty"`
}

// Message is what a node tells.
type Message struct {
	Node     Node                       `json:"node"`
	At       time.Time                  `json:"at"`    // by the gate's clock
	Sales    []Figures                  `json:"sales"` // nil: SalesSay
	SalesSay string                     `json:"sales_say,omitempty"`
	Marks    []Mark                     `json:"marks,omitempty"`
	Balances map[seckill.SaleID]Balance `json:"balances,omitempty"` // of the node that has the duty
}

// Balance is the last count of a sale, and its age.
type Balance struct {
	seckill.Balance
	AgeMS int64 `json:"age_ms"`
}
