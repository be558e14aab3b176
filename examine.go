package seckill

import (
	"fmt"
	"strings"
)

// Report is the audit of one sale. All numbers are units.
type Report struct {
	OK         bool     `json:"ok"`
	Total      int64    `json:"total"`
	Gate       int64    `json:"gate"`            // G: at the gate
	Pending    int64    `json:"pending"`         // P: admitted, without an outcome
	Active     int64    `json:"active"`          // A: of active orders
	Returning  int64    `json:"returning"`       // L: on their way back to the gate
	Aside      int64    `json:"aside,omitempty"` // no units: what the gate could not read or had not made, and put aside, until a person removes it; that of other sales in the same bucket, or journal, included
	Violations []string `json:"violations"`      // "name of the invariant: what was seen"

	Money []Money `json:"money,omitempty"` // of the sale, for each currency
}

// Broken is the name of the invariant that a violation of a report is about.
func Broken(violation string) string {
	name, _, _ := strings.Cut(violation, ":")
	return name
}

// Unadmitted names the active orders that no gate can have admitted: their numbers are
// beyond the last one that it has given since they were read. Examine leaves out what was
// admitted after its cut, by the number, so an order cannot hide from the audit behind a
// number that is too high.
func Unadmitted(active []Ticket, given int64) (violations []string) {
	for _, t := range active {
		if t.Seq > given {
			violations = append(violations, fmt.Sprintf("only the gate admits: the order %s has the number %d, the gate has given %d", t.ID, t.Seq, given))
		}
	}
	return violations
}

// where is where the units of a sale are, on one cut: what Examine adds up ticket by ticket,
// and Weigh takes from the sums of the store.
type where struct {
	total, sold int64
	gate        int64 // G
	pending     int64 // P
	uncounted   bool  // pending was not counted, and is 0
	active      int64 // A
	settled     int64 // of those, what was admitted before the cut
	returning   int64 // of L, what the gate cannot have yet; while things move, only refusals
}

// promised are the units that the gate has promised or can promise.
func (w *where) promised() int64 { return w.gate + w.pending + w.returning + w.settled }

// breaches are the rules of docs/INVARIANTS.md about units that do not hold. exact says that
// nothing moves, so that every unit must be somewhere.
func (w *where) breaches(exact bool) (all []Breach) {
	broken := func(rule, format string, args ...any) {
		all = append(all, Breach{Rule: rule, Says: fmt.Sprintf(format, args...)})
	}
	if w.active > w.total {
		broken("no oversell", "active orders have %d units of %d", w.active, w.total)
	}
	if w.active != w.sold {
		broken("counter", "sold is %d, the active orders have %d units", w.sold, w.active)
	}
	pending := fmt.Sprintf(" + pending %d", w.pending)
	if w.uncounted {
		pending = ""
	}
	if w.promised() > w.total {
		broken("gate never over-promises", "gate %d%s + returning %d + active %d exceed the total of %d", w.gate, pending, w.returning, w.settled, w.total)
	}
	if exact && w.promised() != w.total {
		broken("conservation", "gate %d%s + active %d + returning %d is %d, the total is %d", w.gate, pending, w.settled, w.returning, w.promised(), w.total)
	}
	return all
}

// unexplained is the money that nothing accounts for, of Examine and of Weigh.
func unexplained(money []Money) (all []Breach) {
	for _, m := range money {
		if m.Unexplained() != 0 {
			all = append(all, Breach{Rule: "money", Says: fmt.Sprintf("%s: captured %d − refunded %d is %d, but paid orders hold %d, %d is due, %d late and %d put aside",
				m.Currency, m.Captured, m.Refunded, m.Captured-m.Refunded, m.Held, m.Due, m.Late, m.Aside)})
		}
	}
	return all
}

// Examine compares a gate with the store, ticket by ticket: it is the rule of
// the audit. Weights.Weigh does it by sums, and shares its inequalities (where).
// cut was taken before v, and v.Outcomes holds those of the cut's outbox. atRest says
// that nothing was on its way and that the gate did not change from before v until
// after it. docs/INVARIANTS.md lists the invariants that it looks for.
func Examine(cut *Cut, v *Snapshot, atRest bool) Report {
	r := Report{Total: v.Sale.Total, Gate: cut.Left, Returning: v.Returning + v.Growing, Violations: []string{}}
	broken := func(format string, args ...any) { r.Violations = append(r.Violations, fmt.Sprintf(format, args...)) }

	// Orders admitted after the cut are in neither its count nor its outbox, so the sum
	// leaves them out.
	var settledBefore int64
	buyers := make(map[string]string, len(v.Active))
	for _, t := range v.Active {
		units := int64(t.Quantity - v.GivenUp[t.ID])
		r.Active += units
		if t.Seq <= cut.Seq {
			settledBefore += units
		}
		if other, twice := buyers[t.Buyer]; twice {
			broken("one per buyer: buyer %q holds the active tickets %s and %s", t.Buyer, other, t.ID)
		}
		buyers[t.Buyer] = t.ID
	}
	for _, t := range cut.Outbox {
		reason, final := v.Outcomes[t.ID]
		switch {
		case !final:
			r.Pending += int64(t.Quantity)
			if other := buyers[t.Buyer]; other != "" {
				broken("one per buyer: buyer %q holds the active tickets %s and %s", t.Buyer, other, t.ID)
			}
			buyers[t.Buyer] = t.ID
		case reason.Returns():
			r.Returning += int64(t.Quantity) // refused, and the gate has not heard
		}
	}
	// A rebuilt gate may be below 0: it sold units again whose return the store had not
	// noted. Those units are in Returning and bring it back to 0.
	if cut.Left+r.Returning < 0 {
		broken("gate: it holds %d units", cut.Left)
	}
	w := where{total: r.Total, sold: v.Sale.Sold, gate: cut.Left, pending: r.Pending, active: r.Active, settled: settledBefore, returning: r.Returning}
	if !atRest {
		// Units may be at the gate already while the store has not noted it.
		w.returning -= v.Returning + v.Growing
	}
	r.Money = v.Money
	for _, b := range append(w.breaches(atRest && settledBefore == r.Active), unexplained(v.Money)...) {
		broken("%s: %s", b.Rule, b.Says)
	}
	return r
}
