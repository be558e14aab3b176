// Package load is the load generator: a crowd of buyers from outside. It sends real HTTP to
// one or more servers, many buyers at once, takes every buyer to a final outcome, and then
// compares its own log of what each buyer was told with the sale, the orders and the
// server's audit.
//
// A run has these parts, in this order:
//
//	mint     tokens for all buyers, outside of the measured time
//	passes   for all buyers, where the sale asks for them, outside of it too
//	buy      every buyer buys: at most Concurrency of them at once, the next one
//	         when one has its verdict (closed loop), or at a rate of arrivals
//	         whatever the answers (open loop); those who were told "queued" ask
//	         for their outcome meanwhile
//	result   with Phases only, and then nobody asks before: every buyer asks for
//	         its ticket, in the same loop
//	sell out buyers whose last answer was sold_out ask again while the gate
//	         holds units that would fit: that answer is a hint with a short life
//	check    the invariants that a client can see, each with its findings
package load

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill"
	"seckill/internal/duty"
)

// run is the state of one Run.
type run struct {
	c        Config
	client   *pool
	paths    paths
	buyers   []*buyer
	progress progress

	sale   seckill.Sale
	before *seckill.Report // nil without an admin token

	arrivals *arrivals // nil in the closed loop
	ops      *caller   // of the operations listeners
	series   *series
	unwatch  func() // ends the series

	started       time.Time
	bought, asked phase  // what was measured of the two phases
	buyLines      []Line // of the buy phase, with Phases only
	askLines      []Line
	lastNews      atomic.Int64 // unix ns of the last verdict, or the last answer about a pass, that anybody got
	late, latest  atomic.Int64 // arrivals that started late, and the largest lateness, ns
	failovers     atomic.Int64
	streak        atomic.Int64 // the longest row of failures of one buyer

	buys, results latencies
	failures      failures
	found         findings
}

// Run does one run and reports it. The error is about the run itself: a wrong
// configuration, a server that cannot be used, a cancelled context. What does
// not add up is no error but in the report's Findings.
func Run(ctx context.Context, c Config) (*Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &run{c: c, paths: salePaths(c.Sale)}
	r.progress = progress{w: c.Progress, live: func() string {
		if r.series == nil {
			return ""
		}
		return r.series.live()
	}}
	if c.Rate > 0 || c.Burst > 0 {
		r.arrivals = &arrivals{burst: c.Burst, rate: c.Rate, ramp: c.Ramp}
	}
	repeats := c.Repeats
	if c.Misbehave[Parallel] > 0 {
		repeats = max(repeats, parallelBuys)
	}
	r.client, err = newPool(ctx, c.Servers, 2*c.Concurrency*repeats+3, c.Timeout, c.dial)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer r.client.close()
	defer context.AfterFunc(ctx, r.client.close)()
	ops, err := newPool(ctx, c.Ops, 1, c.Timeout, c.dial)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer ops.close()
	r.ops, r.unwatch = &caller{c: ops}, func() {}
	defer func() { r.unwatch() }()

	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"minting tokens", r.mint},
		{"looking at the sale", r.preflight},
		{"fetching passes", r.passes},
		{"buying", r.buyPhase},
		{"asking", r.resultPhase},
		{"clearing doubts", r.clearDoubts},
	} {
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("load: %s: %w", step.name, err)
		}
	}
	r.unwatch()
	after, err := r.sellOut(ctx)
	if err != nil {
		return nil, fmt.Errorf("load: waiting for the sale to come to rest: %w", err)
	}
	// Buyers who never ask have an outcome too; the check asks for it.
	if !c.BuyOnly {
		if err := r.settle(ctx, r.buyers); err != nil {
			return nil, fmt.Errorf("load: asking for those who never ask: %w", err)
		}
	}
	rep, err := r.check(ctx, after)
	if err != nil {
		return nil, fmt.Errorf("load: checking: %w", err)
	}
	return rep, nil
}

// mint makes the buyers and their tokens.
func (r *run) mint(ctx context.Context) error {
	bodies := make(map[int][]byte) // quantity 1 needs none
	for q := max(2, r.c.Quantity[0]); q <= r.c.Quantity[1]; q++ {
		bodies[q] = fmt.Appendf(nil, `{"quantity":%d}`, q)
	}
	r.buyers = make([]*buyer, r.c.Buyers)
	var done atomic.Int64
	defer r.progress.stage("tokens", r.c.Buyers, &done)()

	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			for i := w; i < len(r.buyers); i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				id := buyerID(r.c.Prefix, i)
				token, err := r.c.Token(id)
				if err != nil {
					return fmt.Errorf("buyer %s: %w", id, err)
				}
				q := r.c.Quantity[0] + mathrand.IntN(r.c.Quantity[1]-r.c.Quantity[0]+1)
				r.buyers[i] = &buyer{n: i, id: id, auth: "Bearer " + token, quantity: q, body: bodies[q], habit: r.c.Misbehave.of(i)}
				done.Add(1)
			}
			return nil
		})
	}
	return g.Wait()
}

// preflight finds out what would make the whole run useless before it starts.
func (r *run) preflight(ctx context.Context) error {
	cl := r.newCaller()
	for i := range r.c.Ops {
		if _, err := r.cpuSeconds(i); err != nil {
			return err
		}
	}
	a, err := r.insist(ctx, r.c.Settle, func() (reply, error) { return r.get(cl, 0, r.paths.sale, "", &r.sale) })
	switch {
	case err != nil:
		return err
	case a.status == 404:
		return fmt.Errorf("%s knows no sale %s: give the id of an existing sale or create a fresh one", r.c.Servers[0], r.c.Sale)
	case a.status != 200:
		return fmt.Errorf("%s answered %v for sale %s", r.c.Servers[0], a, r.c.Sale)
	case r.c.Quantity[1] > r.sale.LimitPerBuyer:
		return fmt.Errorf("a quantity of %d is above the limit of %d per buyer of sale %s: lower the quantity", r.c.Quantity[1], r.sale.LimitPerBuyer, r.c.Sale)
	}
	a, err = r.insist(ctx, r.c.Settle, func() (reply, error) { return r.get(cl, 0, r.paths.ticket, r.buyers[0].auth, nil) })
	switch {
	case err != nil:
		return err
	case a.status == 401 || a.status == 403:
		return fmt.Errorf("the server does not accept the buyers' tokens (%v): mint them with the server's own secret", a)
	}
	if r.c.AdminToken == "" {
		return nil
	}
	au, a, err := r.audit(ctx, cl, r.c.Settle)
	switch {
	case err != nil:
		return err
	case a.status == 401 || a.status == 403:
		return fmt.Errorf("the server does not accept the admin token (%v): mint it with the server's own secret and the role admin", a)
	case a.status != 200:
		return fmt.Errorf("the audit answered %v", a)
	}
	r.before = au
	return nil
}

// buyPhase takes all buyers through the sale and measures it. Where the results
// are asked for meanwhile, they are measured until the last outcome.
func (r *run) buyPhase(ctx context.Context) error {
	r.unwatch = r.watch(ctx)
	r.started = time.Now()
	effort := r.measure()
	err := r.round(ctx, r.buyers, "buying", r.arrivals, !r.c.BuyOnly && !r.c.Phases, func() {
		r.bought = phase{r.buys.count(), time.Since(r.started), effort()}
		r.buyLines = r.buys.lines(verdicts()...)
	})
	if !r.c.Phases {
		r.asked = phase{r.results.count(), time.Since(r.started), Effort{}}
	}
	return err
}

// resultPhase lets every buyer ask for its ticket, also those who were turned
// away, once, in the same loop as the buying; then those who are still queued go
// on until their outcome is final.
func (r *run) resultPhase(ctx context.Context) error {
	if !r.c.Phases {
		return nil
	}
	var who []*buyer
	for _, b := range r.buyers {
		if b.habit != NeverAsks {
			who = append(who, b)
		}
	}
	var done atomic.Int64
	endStage := r.progress.stage("asking", len(who), &done)
	start, before, effort := time.Now(), r.results.count(), r.measure()
	err := r.each(ctx, who, r.arrivals, func(cl *caller, b *buyer) {
		r.inquire(cl, b)
		done.Add(1)
	})
	endStage()
	r.asked = phase{r.results.count() - before, time.Since(start), effort()}
	r.askLines = r.results.lines(statuses...)
	if err != nil {
		return err
	}
	return r.settle(ctx, who)
}

// inquire asks once for a buyer's ticket. Who was turned away and has one all the
// same is as good as admitted: a proxy may have asked two nodes.
func (r *run) inquire(cl *caller, b *buyer) {
	if b.ticket != "" {
		b.wait, _ = r.follow(cl, b)
		return
	}
	a, err := r.ask(cl, b)
	switch {
	case err != nil || a.again():
		r.failed(b, a, err)
	case a.status == 200:
		r.admitted(b, a)
	case a.status != 404:
		r.found.add(ruleContract, "%v: GET ticket answered %v", b, a)
	}
}

// clearDoubts asks once more for the tickets of buyers who lost an answer and
// were turned away afterwards: sold_out says nothing about an earlier ticket.
func (r *run) clearDoubts(ctx context.Context) error {
	var adopted []*buyer
	for _, b := range r.buyers {
		if b.doubt && b.ticket == "" {
			adopted = append(adopted, b)
		}
	}
	if err := r.each(ctx, adopted, nil, func(cl *caller, b *buyer) {
		a, err := r.insist(ctx, r.c.Settle, func() (reply, error) { return r.ask(cl, b) })
		if err == nil && a.status == 200 {
			r.admitted(b, a)
		} else if err == nil && a.status == 404 {
			b.doubt = false
		}
	}); err != nil {
		return err
	}
	if r.c.BuyOnly {
		return nil
	}
	return r.settle(ctx, adopted)
}

// sellOut lets buyers whom the gate told sold_out ask again for as long as it
// holds units that would fit them, and returns the audit at rest: nil without
// an admin token, and not at rest when that takes longer than Settle.
func (r *run) sellOut(ctx context.Context) (*seckill.Report, error) {
	if r.c.AdminToken == "" {
		return nil, nil
	}
	for round, fruitless := 0, 0; ; round++ {
		a, err := r.atRest(ctx)
		if err != nil || a == nil || !atRest(a) {
			return a, err
		}
		again := r.turnedAway(a.Gate)
		if r.c.BuyOnly || len(again) == 0 || round == maxRounds || fruitless == maxFruitless {
			return a, nil
		}
		if err := duty.Rest(ctx, flagLife); err != nil {
			return nil, err
		}
		if err := r.round(ctx, again, "asking again", nil, true, nil); err != nil {
			return nil, err
		}
		if err := r.clearDoubts(ctx); err != nil {
			return nil, err
		}
		fruitless++
		for _, b := range again {
			if b.ticket != "" {
				fruitless = 0
			}
		}
	}
}

// turnedAway returns buyers whose last answer is sold_out for a quantity that
// gate units would serve, no more of them than it takes to want every unit.
func (r *run) turnedAway(gate int64) []*buyer {
	var list []*buyer
	var units int64
	for _, b := range r.buyers {
		if units >= gate {
			break
		}
		if b.verdict == seckill.SoldOut.String() && int64(b.quantity) <= gate {
			list = append(list, b)
			units += int64(b.quantity)
		}
	}
	return list
}

// atRest asks for the audit until nothing is pending and nothing returning.
// After Settle it returns the last audit as it is, or nil if there is none.
func (r *run) atRest(ctx context.Context) (*seckill.Report, error) {
	cl := r.newCaller()
	deadline := time.Now().Add(r.c.Settle)
	var last *seckill.Report
	for {
		au, a, err := r.audit(ctx, cl, time.Until(deadline))
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			r.found.add(ruleAudit, "no audit: %v", err)
			return last, nil
		case a.status != 200:
			r.found.add(ruleAudit, "the audit answered %v", a)
			return last, nil
		}
		last = au
		if atRest(last) || time.Now().After(deadline) {
			return last, nil
		}
		if err := duty.Rest(ctx, auditPoll); err != nil {
			return nil, err
		}
	}
}

// audit asks for the audit, any server's, for at most patience.
func (r *run) audit(ctx context.Context, cl *caller, patience time.Duration) (*seckill.Report, reply, error) {
	var au seckill.Report
	server := 0
	a, err := r.insist(ctx, patience, func() (reply, error) {
		au = seckill.Report{}
		a, err := r.get(cl, server, r.paths.audit, "Bearer "+r.c.AdminToken, &au)
		server++
		return a, err
	})
	return &au, a, err
}

// atRest reports whether nothing is pending and nothing returning.
func atRest(a *seckill.Report) bool { return a.Pending == 0 && a.Returning == 0 }

// final counts the buyers by what became of them.
func (r *run) final() map[string]int {
	n := make(map[string]int)
	for _, b := range r.buyers {
		n[b.end()]++
	}
	return n
}
