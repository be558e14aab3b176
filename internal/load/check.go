package load

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	"seckill"
	"seckill/internal/client"
)

// The rules that a run checks, in the order of the report. The names are those
// of the invariants where there is one.
const (
	ruleAnswered     = "every buyer answered"
	ruleContract     = "answers as promised"
	ruleNoLostAccept = "no lost accept"
	ruleOneTicket    = "one ticket per buyer"
	ruleDistinctIDs  = "distinct ids"
	ruleStable       = "stable outcome"
	ruleOwnOrder     = "own orders readable"
	ruleOwnerOnly    = "owner only"
	ruleNoOversell   = "no oversell"
	ruleNoUndersell  = "no undersell"
	ruleAudit        = "audit"
	ruleConservation = "conservation"
	ruleActive       = "active orders"
)

// check compares the log of the run with the servers and makes the report.
// after is the audit at rest, nil without an admin token.
func (r *run) check(ctx context.Context, after *seckill.Report) (*Report, error) {
	// From here on an unpaid order of this run may have expired, and its units
	// may have been sold again.
	expiry := time.Since(r.started) >= time.Duration(r.sale.HoldSeconds)*time.Second

	var queued, final, placed []*buyer
	var units int64
	for _, b := range r.buyers {
		if b.ticket != "" {
			queued = append(queued, b)
		}
		if b.status == statusPlaced || b.status == statusRefused {
			final = append(final, b)
		}
		if b.status == statusPlaced {
			placed = append(placed, b)
			units += int64(b.quantity)
		}
	}

	rep := &Report{
		Servers: r.c.Servers, Sale: r.c.Sale, Started: r.started.UTC(),
		Buyers: r.c.Buyers, Concurrency: r.c.Concurrency, Repeats: r.c.Repeats, Prefix: r.c.Prefix,
		Loop: "closed", Rate: r.c.Rate, Burst: r.c.Burst, Ramp: r.c.Ramp, Phases: r.c.Phases,
		Units: units, Audit: after, Findings: []string{},
	}
	checked := func(rule, detail string, args ...any) {
		found := r.found.list(rule)
		rep.Findings = append(rep.Findings, found...)
		rep.Checks = append(rep.Checks, Check{Name: rule, OK: len(found) == 0, Detail: fmt.Sprintf(detail, args...)})
	}
	skipped := func(rule, why string) {
		// What was found on the way stands, whatever was left out afterwards.
		if found := r.found.list(rule); len(found) > 0 {
			checked(rule, "%s", why)
			return
		}
		rep.Checks = append(rep.Checks, Check{Name: rule, Skipped: true, Detail: why})
	}

	r.checkAnswered()
	r.checkDistinct(queued)
	var recheck, own, others []*buyer
	if !r.c.BuyOnly {
		r.checkLost(queued)
		recheck, own, others = sampleOf(final), sampleOf(placed), sample(placed, ownerOnlyTest)
		if len(r.buyers) == 1 {
			others = nil
		}
		var done atomic.Int64
		end := r.progress.stage("checks", len(recheck)+len(own)+len(others), &done)
		for _, c := range []struct {
			buyers []*buyer
			check  func(context.Context, *caller, *buyer)
		}{{recheck, r.checkStable}, {own, r.checkOwnOrder}, {others, r.checkOwnerOnly}} {
			if err := r.each(ctx, c.buyers, nil, func(cl *caller, b *buyer) {
				c.check(ctx, cl, b)
				done.Add(1)
			}); err != nil {
				end()
				return nil, err
			}
		}
		end()
	}

	checked(ruleAnswered, "%d buyers", len(r.buyers))
	checked(ruleContract, "%d answers to buys, %d to queries", r.buys.count(), r.results.count())
	const noOutcomes = "not asked: the run was for the buy route alone"
	if r.c.BuyOnly {
		skipped(ruleNoLostAccept, noOutcomes)
	} else {
		checked(ruleNoLostAccept, "%d queued, %d with an outcome", len(queued), len(final))
	}
	if r.c.Repeats > 1 {
		checked(ruleOneTicket, "%d tickets, each asked for %d times at once", len(queued), r.c.Repeats)
	} else {
		checked(ruleOneTicket, "%d tickets", len(queued))
	}
	checked(ruleDistinctIDs, "%d tickets, %d orders", len(queued), len(placed))
	if r.c.BuyOnly {
		for _, rule := range []string{ruleStable, ruleOwnOrder, ruleOwnerOnly} {
			skipped(rule, noOutcomes)
		}
	} else {
		checked(ruleStable, "%d of %d outcomes asked again", len(recheck), len(final))
		checked(ruleOwnOrder, "%d of %d orders read", len(own), len(placed))
		checked(ruleOwnerOnly, "%d tickets and orders asked for by another buyer", len(others))
	}
	r.checkSale(after, units, expiry, checked, skipped)

	rep.BuyRequests, rep.BuyTime, rep.BuyRate, rep.BuyEffort = r.bought.requests, r.bought.took, r.bought.rate(), r.bought.effort
	rep.ResultRequests, rep.ResultTime, rep.ResultRate, rep.ResultEffort = r.asked.requests, r.asked.took, r.asked.rate(), r.asked.effort
	rep.Buys, rep.Results = r.buyLines, r.askLines
	if !r.c.Phases {
		rep.Buys, rep.Results = r.buys.lines(verdicts()...), r.results.lines(statuses...)
	}
	rep.Final, rep.Failures = r.final(), r.failures.byName
	if r.arrivals != nil {
		rep.Loop, rep.LateStarts, rep.LatestStart = "open", r.late.Load(), time.Duration(r.latest.Load())
	}
	for _, b := range r.buyers {
		if b.habit != WellBehaved {
			if rep.Misbehaved == nil {
				rep.Misbehaved = make(map[string]int)
			}
			rep.Misbehaved[b.habit.String()]++
		}
	}
	rep.Failovers, rep.FailedInARow = r.failovers.Load(), r.streak.Load()
	rep.Series = r.series.points
	return rep, nil
}

// verdicts and statuses are the answers of the two routes in the order of the
// report.
func verdicts() (names []string) {
	for _, v := range seckill.Verdicts() {
		names = append(names, v.String())
	}
	return names
}

var statuses = []string{seckill.Queued.String(), statusPlaced, statusRefused, statusNone}

// phase is what was measured of one of the two routes.
type phase struct {
	requests int64 // with an answer
	took     time.Duration
	effort   Effort
}

func (p phase) rate() float64 {
	if p.took <= 0 {
		return 0
	}
	return float64(p.requests) / p.took.Seconds()
}

func (r *run) checkAnswered() {
	for _, b := range r.buyers {
		switch {
		case b.verdict == "" && b.ticket == "":
			r.found.add(ruleAnswered, "%v got no verdict; the servers gave none to anybody for %v", b, r.c.Settle)
		case b.doubt && b.ticket == "":
			r.found.add(ruleAnswered, "%v lost an answer, and no server could tell whether it holds a ticket", b)
		}
	}
}

func (r *run) checkLost(queued []*buyer) {
	for _, b := range queued {
		switch {
		case b.status != "":
		case b.lost:
			r.found.add(ruleNoLostAccept, "%v was queued and has no outcome: at last the server knew no such ticket", b)
		default:
			r.found.add(ruleNoLostAccept, "%v was queued and has no outcome %v after the last buy", b, r.c.Settle)
		}
	}
}

func (r *run) checkDistinct(queued []*buyer) {
	tickets, orders := make(map[string]*buyer, len(queued)), make(map[string]*buyer, len(queued))
	for _, b := range queued {
		if other := tickets[b.ticket]; other != nil {
			r.found.add(ruleDistinctIDs, "%v: buyer %s has the same ticket", b, other.id)
		}
		tickets[b.ticket] = b
		if b.order == "" {
			continue
		}
		if other := orders[b.order]; other != nil {
			r.found.add(ruleDistinctIDs, "%v, order %s: buyer %s has the same order", b, b.order, other.id)
		}
		orders[b.order] = b
	}
}

func (r *run) checkStable(ctx context.Context, cl *caller, b *buyer) {
	a, err := r.insist(ctx, r.c.Settle, func() (reply, error) { return r.ask(cl, b) })
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.found.add(ruleStable, "%v could not be asked again: %v", b, err)
	case a.status != 200 || a.Ticket != b.ticket || string(a.Said.Status) != b.status || a.Order != b.order || a.Reason != b.reason:
		first := reply{status: 200, Said: client.Said{Status: client.Word(b.status), Ticket: b.ticket, Order: b.order, Reason: b.reason}}
		r.found.add(ruleStable, "%v was told %v, and later %v", b, first, a)
	}
}

func (r *run) checkOwnOrder(ctx context.Context, cl *caller, b *buyer) {
	var o seckill.Order
	a, err := r.insist(ctx, r.c.Settle, func() (reply, error) {
		o = seckill.Order{}
		return r.get(cl, r.nextServer(b), orderPath(b.order), b.auth, &o)
	})
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.found.add(ruleOwnOrder, "%v, order %s could not be read: %v", b, b.order, err)
	case a.status != 200 || a.broken:
		r.found.add(ruleOwnOrder, "%v, order %s: its owner was answered %v", b, b.order, a)
	case o.ID != b.order || o.Ticket != b.ticket || o.Sale != r.c.Sale || o.Quantity != b.quantity:
		r.found.add(ruleOwnOrder, "%v, order %s, sale %s, quantity %d: the order says id %s, ticket %s, sale %s, quantity %d",
			b, b.order, r.c.Sale, b.quantity, o.ID, o.Ticket, o.Sale, o.Quantity)
	}
}

// checkOwnerOnly lets another buyer of the run ask for b's order and ticket.
func (r *run) checkOwnerOnly(ctx context.Context, cl *caller, b *buyer) {
	stranger := r.buyers[(b.n+1)%len(r.buyers)]
	for _, path := range []string{orderPath(b.order), r.paths.ticket + "?ticket=" + url.QueryEscape(b.ticket)} {
		a, err := r.insist(ctx, r.c.Settle, func() (reply, error) { return r.get(cl, r.nextServer(b), path, stranger.auth, nil) })
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.found.add(ruleOwnerOnly, "%v: buyer %s could not ask for %s: %v", b, stranger.id, path, err)
		case a.status != 404:
			r.found.add(ruleOwnerOnly, "%v: buyer %s asked for %s and was answered %v", b, stranger.id, path, a)
		}
	}
}

// checkSale compares the units placed in this run with the sale and the audit.
func (r *run) checkSale(after *seckill.Report, units int64, expiry bool, checked func(rule, detail string, args ...any), skipped func(rule, why string)) {
	total := r.sale.Total
	if after != nil {
		total = after.Total
	}
	expired := fmt.Sprintf("not compared: unpaid orders are held for %d s, and some of this run may have expired", r.sale.HoldSeconds)
	if expiry {
		skipped(ruleNoOversell, expired)
	} else {
		if units > total {
			r.found.add(ruleNoOversell, "%d units were placed in this run, and the sale has %d", units, total)
		}
		checked(ruleNoOversell, "%d units placed, %d in the sale", units, total)
	}

	if after == nil {
		why := "no admin token"
		if r.c.AdminToken != "" {
			why = "no audit was to be had"
		}
		for _, rule := range []string{ruleNoUndersell, ruleAudit, ruleConservation, ruleActive} {
			skipped(rule, why)
		}
		return
	}

	const restless = "not compared: the sale did not come to rest"
	switch {
	case r.c.BuyOnly:
		skipped(ruleNoUndersell, "not tried: the run was for the buy route alone")
	case !atRest(after):
		skipped(ruleNoUndersell, restless)
	default:
		for _, b := range r.turnedAway(after.Gate) {
			r.found.add(ruleNoUndersell, "%v was told sold_out for a quantity of %d at the last, and the gate holds %d", b, b.quantity, after.Gate)
		}
		checked(ruleNoUndersell, "%d units left at the gate", after.Gate)
	}

	if !after.OK || len(after.Violations) > 0 {
		r.found.add(ruleAudit, "the audit says ok %v, violations %v", after.OK, after.Violations)
	}
	if !atRest(after) {
		r.found.add(ruleAudit, "%d units pending and %d returning %v after the last buy", after.Pending, after.Returning, r.c.Settle)
	}
	checked(ruleAudit, "ok %v, %d violations", after.OK, len(after.Violations))

	if atRest(after) {
		if after.Gate+after.Active != after.Total {
			r.found.add(ruleConservation, "gate %d + active %d = %d, and the total is %d", after.Gate, after.Active, after.Gate+after.Active, after.Total)
		}
		checked(ruleConservation, "gate %d + active %d of %d", after.Gate, after.Active, after.Total)
	} else {
		skipped(ruleConservation, restless)
	}

	fresh := r.before.Active+r.before.Pending+r.before.Returning == 0
	switch {
	case r.c.BuyOnly:
		skipped(ruleActive, "not compared: the run was for the buy route alone")
	case expiry:
		skipped(ruleActive, expired)
	case fresh:
		if after.Active != units {
			r.found.add(ruleActive, "the audit counts %d active units, and this run, the first of the sale, placed %d", after.Active, units)
		}
		checked(ruleActive, "%d active, all of this run", after.Active)
	default:
		if after.Active < units {
			r.found.add(ruleActive, "the audit counts %d active units, and this run placed %d", after.Active, units)
		}
		checked(ruleActive, "%d active, %d of this run", after.Active, units)
	}
}

func orderPath(order string) string { return "/api/orders/" + url.PathEscape(order) }

// sampleOf returns all buyers if they are few, else a random sample.
func sampleOf(buyers []*buyer) []*buyer {
	if len(buyers) <= checkAll {
		return buyers
	}
	return sample(buyers, checkSample)
}

func sample(buyers []*buyer, n int) []*buyer {
	if len(buyers) <= n {
		return buyers
	}
	out := make([]*buyer, n)
	for i, at := range mathrand.Perm(len(buyers))[:n] {
		out[i] = buyers[at]
	}
	return out
}
