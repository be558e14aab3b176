package seckill

import "time"

// Course is how a sale went, for its report.
type Course struct {
	Sale      Sale
	After     Aftermath
	Balance   Balance          // the last count
	Verdicts  map[string]int64 // answers of the nodes since they started
	Admission *Spread          // of the last seconds in which somebody was admitted; nil: not known
	Steps     []Step
}

// Spread is how long something took, in milliseconds.
type Spread struct{ P50, P99 float64 }

// Step is what was settled in one interval of a sale.
type Step struct {
	At                     time.Time // its beginning
	Width                  time.Duration
	Placed, Refused, Units int64
}
