package seckill

import "time"

// Course is how a sale went, for its report.
type Course struct {
	Sale      Sale
	After     Aftermath
	Balance   Balance          // the last count
	Verdicts  map[string]int64 // answers of the nodes since they started
	Admission *Spread          // over all nodes, since they started; nil: nobody was admitted since
	Outcome   *Spread          // as Admission, from there to the order
	Steps     []Step
	Paces     []Pace // over all nodes, as the node has heard them that makes the report; nil: it was not there
	Node      string // its name
	Nodes     int    // of so many
}

// Spread is how long something took, in milliseconds. P90 and Max are 0 where they are not
// known.
type Spread struct{ P50, P90, P99, Max float64 }

// Pace is how long admissions and outcomes took in one interval of a sale; nil: there were
// none.
type Pace struct {
	At                 time.Time // its beginning
	Width              time.Duration
	Admission, Outcome *Spread
}

// Step is what was settled in one interval of a sale.
type Step struct {
	At                     time.Time // its beginning
	Width                  time.Duration
	Placed, Refused, Units int64
}
