package sale

import (
	"context"
	"fmt"
	"slices"
	"time"

	"seckill"
)

// Report is the audit of one sale. All numbers are units.
type Report struct {
	OK         bool     `json:"ok"`
	Total      int64    `json:"total"`
	Gate       int64    `json:"gate"`      // G: at the gate
	Pending    int64    `json:"pending"`   // P: admitted, without an outcome
	Active     int64    `json:"active"`    // A: of active orders
	Returning  int64    `json:"returning"` // L: on their way back to the gate
	Violations []string `json:"violations"`
}

const (
	auditLooks = 3
	auditPause = 50 * time.Millisecond
)

// Audit holds the gate and the store against each other: one cut of the gate,
// then one snapshot of the store. Only what stands on every look is reported,
// since the two are not read at the same moment.
func (s *Sales) Audit(ctx context.Context, id seckill.SaleID) (r Report, err error) {
	var standing []string
	for look := range auditLooks {
		if look > 0 {
			select {
			case <-time.After(auditPause << look):
			case <-ctx.Done():
				return r, ctx.Err()
			}
		}
		// A sale that does not exist is not found, whatever the gate says.
		if _, err = s.store.Sale(ctx, id); err != nil {
			return r, err
		}
		cut, err := s.gate.Cut(ctx, id)
		if err != nil {
			return r, err
		}
		moves, err := s.store.OpenMoves(ctx)
		if err != nil {
			return r, err
		}
		v, err := s.store.Look(ctx, id, cut.Outbox)
		if err != nil {
			return r, err
		}
		after, err := s.gate.Cut(ctx, id)
		if err != nil {
			return r, err
		}
		// What is on its way between store and gate may be counted at both ends, or
		// at none.
		moving := v.Returning > 0 || v.Growing > 0 || slices.ContainsFunc(moves, func(m seckill.Move) bool { return m.Sale == id })
		atRest := len(cut.Outbox)+len(after.Outbox) == 0 && !moving && cut.Left == after.Left && cut.Seq == after.Seq && cut.Epoch == after.Epoch
		r = examine(cut, v, atRest)
		kinds := make([]string, 0, len(r.Violations))
		for _, violation := range r.Violations {
			kinds = append(kinds, kind(violation))
		}
		if look == 0 {
			standing = kinds
		}
		standing = slices.DeleteFunc(standing, func(k string) bool { return !slices.Contains(kinds, k) })
		if len(standing) == 0 {
			break
		}
	}
	r.Violations = slices.DeleteFunc(r.Violations, func(v string) bool { return !slices.Contains(standing, kind(v)) })
	r.OK = len(r.Violations) == 0
	return r, nil
}

// kind is the name of the invariant, before the colon.
func kind(violation string) string {
	for i, c := range violation {
		if c == ':' {
			return violation[:i]
		}
	}
	return violation
}

// examine is the rule of the audit, without storage: cut was taken before v, and
// v.Outcomes holds those of the cut's outbox. atRest says that the gate did not
// change from before v until after it.
func examine(cut seckill.Cut, v seckill.Snapshot, atRest bool) Report {
	r := Report{Total: v.Sale.Total, Gate: cut.Left, Returning: v.Returning + v.Growing, Violations: []string{}}
	broken := func(format string, args ...any) { r.Violations = append(r.Violations, fmt.Sprintf(format, args...)) }

	// What was admitted after the cut is in nobody's promise yet.
	var settledBefore int64
	buyers := make(map[string]string, len(v.Active))
	for _, t := range v.Active {
		r.Active += int64(t.Quantity)
		if t.Seq <= cut.Seq {
			settledBefore += int64(t.Quantity)
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
		case reason != seckill.ReasonNone && reason != seckill.ReasonSoldOut:
			r.Returning += int64(t.Quantity) // refused, and the gate has not heard
		}
	}
	if r.Active > r.Total {
		broken("no oversell: active orders have %d units of %d", r.Active, r.Total)
	}
	if r.Active != v.Sale.Sold {
		broken("counter: sold is %d, the active orders have %d units", v.Sale.Sold, r.Active)
	}
	// A gate owes units that it had sold again when it was rebuilt, before the store
	// had noted their return: they are still to come, and pay for it.
	if cut.Left+r.Returning < 0 {
		broken("gate: it holds %d units", cut.Left)
	}
	promised := cut.Left + r.Pending + r.Returning + settledBefore
	if !atRest {
		// Units may be at the gate already while the store has not noted it.
		promised -= v.Returning + v.Growing
	}
	if promised > r.Total {
		broken("gate never over-promises: gate %d + pending %d + returning %d + active %d exceed the total of %d", cut.Left, r.Pending, r.Returning, settledBefore, r.Total)
	}
	if sum := cut.Left + r.Pending + r.Returning + r.Active; atRest && settledBefore == r.Active && sum != r.Total {
		broken("conservation: gate %d + pending %d + active %d + returning %d is %d, the total is %d", cut.Left, r.Pending, r.Active, r.Returning, sum, r.Total)
	}
	return r
}
