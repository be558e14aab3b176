package seckill

import "time"

// Balance is one count of a sale, on one cut: where its units are, and whether they add
// up. All numbers are units. The sums are absent while nothing has been counted.
type Balance struct {
	Sale  SaleID    `json:"sale"`
	OK    bool      `json:"ok"`             // nothing is broken, as of At
	At    time.Time `json:"at"`             // of the last count, by the gate's clock
	Says  string    `json:"says,omitempty"` // why there is no newer count
	*Sums           // nil: not counted yet

	Violations []Breach `json:"violations"`
	Money      []Money  `json:"money,omitempty"`
}

// Sums are the places of a sale's units.
type Sums struct {
	Total     int64 `json:"total"`
	Gate      int64 `json:"gate"`
	Pending   int64 `json:"pending"` // admitted, without an outcome
	Unpaid    int64 `json:"unpaid"`
	Paid      int64 `json:"paid"`
	Returning int64 `json:"returning"` // on their way back to the gate, stock moves included
}

// Breach is a rule that does not hold, and the ticket that breaks it, where one does.
type Breach struct {
	Rule   string `json:"rule"` // of docs/INVARIANTS.md
	Ticket string `json:"ticket,omitempty"`
	Says   string `json:"says"`
}
