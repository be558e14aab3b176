package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"seckill/e2e/crowd"
	"seckill/e2e/node"
	"seckill/internal/duty"
	"seckill/internal/stack"
)

// round is one fault in the middle of one crowd's sales.
type round struct {
	*lane
	plan
	units    int64
	defended bool
	leeway   time.Duration // beside the bounds on the time of an answer
	times    int           // as long as said is how long all wait for what must happen; 0 counts as 1
	people   *crowd.Crowd

	mu           sync.Mutex
	begun, ended time.Time // between them the part is broken
	visits       []visit
	results      []visit
	stalls       []span // of this machine
	damaged      span   // in which a forger damages sales, each of which is closed for a moment
}

// visit is one of a certain node.
type visit struct {
	crowd.Visit
	node int
}

// result is what came out of a round.
type result struct {
	plan         plan
	findings     []string
	counts       map[string]int64
	admitted     int64           // tickets, while the part was broken
	first, later []time.Duration // answers to visitors who bought meanwhile, in the first second and afterwards
	rest         time.Duration   // from the end of the fault until everything was at rest
	took         time.Duration
	visits       int
	unjudged     int             // visits while this machine stood still
	refused      int             // of the answers to who bought
	told         map[string]told // with --routes
	remark       string
}

func (r *result) String() string {
	took := slices.Concat(r.first, r.later)
	return fmt.Sprintf("%d visits, median %s, slowest %s, %d slow; %d admitted meanwhile; at rest after %s%s; %d tickets; %s: %d violations", len(took),
		millis(median(took)), millis(longest(took)), slower(took, atOnce), r.admitted, seconds(r.rest), r.remark, r.counts["tickets"], seconds(r.took), len(r.findings))
}

// run lets the fault happen, and checks. What keeps the round from its end is a
// violation too.
func (r *round) run(ctx context.Context) (res result) {
	from := time.Now()
	res.plan, res.counts = r.plan, map[string]int64{}
	ctx, cancel := context.WithTimeout(ctx, r.within(roundLimit+2*r.hold))
	defer cancel()
	for _, log := range r.logs {
		log.reset()
	}
	visits := int64(visitUnits)
	if r.routes { // each route is asked for again until it is answered as before, and visitors go on meanwhile
		visits *= 10
	}
	r.people = crowd.New(crowd.Config{URL: r.urls(), Secret: node.Secret, Seed: r.seed, Away: r.hold,
		Units: r.units, Workers: crowdWorkers, Visits: visits, Defended: r.defended})
	if err := r.scene(ctx, &res); err != nil {
		cancel()
		r.people.Stop()
		r.people.Rest(ctx) // nobody is left behind
		res.findings = append(append(res.findings, err.Error()), r.people.Findings()...)
	}
	if n := r.relaid(); n > 0 {
		res.remark = fmt.Sprintf(", %d connections had to be made anew", n)
	}
	if res.unjudged > 0 {
		res.remark += fmt.Sprintf(", %d visits not judged, since Redis stood still by itself", res.unjudged)
	}
	maps.Copy(res.counts, r.people.Stats.Counts())
	res.took = time.Since(from)
	return res
}

// scene is the round from the first buyer to the last check.
func (r *round) scene(ctx context.Context, res *result) error {
	if err := r.people.Start(ctx); err != nil {
		return err
	}
	residents, err := r.residents(ctx)
	if err != nil {
		return err
	}
	if err := until(ctx, r.within(beginLimit), func() bool { return r.people.Stats.Tickets.Load() >= r.after }); err != nil {
		return fmt.Errorf("the crowd does not come to %d tickets: %w", r.after, err)
	}

	var asked *inquiry
	if r.routes {
		if asked, err = r.inquire(ctx); err != nil {
			return err
		}
	}
	visiting, stop := context.WithCancel(ctx)
	defer stop()
	var visitors sync.WaitGroup
	if r.part != stack.KindRedis {
		visitors.Go(func() { r.stalls = r.lane.stalls(visiting) })
	}
	for i := range nodes {
		visitors.Go(func() { r.visit(visiting, i, residents[i]) })
	}
	if asked != nil {
		visitors.Go(func() { asked.run(visiting) })
	}
	happen := r.happen
	if r.how == forge {
		happen = r.forge
	}
	err = happen(ctx, &r.plan, func() { r.set(&r.begun) }, func() { r.set(&r.ended) })
	healed := time.Now()
	if err == nil {
		limit := healLimit
		if asked != nil {
			limit = routesLimit
		}
		err = until(ctx, r.within(limit), func() bool { return r.admittedSince(healed) && (asked == nil || len(asked.ill(healed)) == 0) })
		if err != nil {
			err = fmt.Errorf("not every node admits buyers again by itself: %w", err)
			if asked != nil {
				err = fmt.Errorf("%w; not as before: %s", err, strings.Join(asked.ill(healed), ", "))
			}
		}
	}
	stop()
	visitors.Wait()
	if err != nil {
		return err
	}
	r.judge(res)
	if asked != nil {
		var findings []string
		res.told, findings = asked.judge(&r.plan, r.begun, r.ended)
		res.findings = append(res.findings, findings...)
	}

	r.people.Stop()
	err = r.people.Rest(ctx)
	res.rest = time.Since(healed)
	if err != nil {
		return err
	}
	res.findings = append(res.findings, r.people.Finish(ctx, "")...)
	res.findings = append(res.findings, r.settled(ctx, r.within(checkTime), r.how == forge)...)
	res.admitted = r.people.Admitted(r.begun, r.ended)
	return nil
}

// within is a limit on what must happen, with what a test has more than the command.
func (r *round) within(limit time.Duration) time.Duration {
	return limit * time.Duration(max(1, r.times))
}

func (r *round) set(t *time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*t = time.Now()
}

// residents are visitors who have their orders, some for each node to ask for.
func (r *round) residents(ctx context.Context) (all [nodes][]*crowd.Visitor, err error) {
	for i := range seedResidue {
		v := r.people.Visitor()
		// Bought at one node, asked for at the other, which has to look it up. What
		// the round before has left may still close a new sale for a moment.
		var last crowd.Visit
		err := until(ctx, r.within(beginLimit), func() bool {
			last = v.Buy(ctx, r.url((i+1)%nodes))
			return last.Status == 202
		})
		if err != nil {
			return all, fmt.Errorf("before anything happened %v is answered %v", v, last)
		}
		if err := v.Await(ctx); err != nil {
			return all, err
		}
		all[i%nodes] = append(all[i%nodes], v)
	}
	return all, nil
}

// visit lets visitors buy at a node, one after the other, and asks for results of
// residents and of the visitor.
func (r *round) visit(ctx context.Context, i int, residents []*crowd.Visitor) {
	pause := visitPause
	if r.long() {
		pause = longPause
	}
	for n := 0; ctx.Err() == nil; n++ {
		v := r.people.Visitor()
		bought := v.Buy(ctx, r.url(i))
		resident := residents[n%len(residents)]
		result, placed := resident.Result(ctx, r.url(i))
		if result.Status == 200 && !placed {
			result.Status = 0 // its order is gone
		}
		var own crowd.Visit
		if bought.Status == 202 {
			own, _ = v.Result(ctx, r.url(i))
		}
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		r.visits = append(r.visits, visit{bought, i})
		r.results = append(r.results, visit{result, i})
		if bought.Status == 202 && r.part != stack.KindRedis {
			r.results = append(r.results, visit{own, i})
		}
		r.mu.Unlock()
		duty.Rest(ctx, pause)
	}
}

// admittedSince reports whether every node has admitted somebody who came after t.
func (r *round) admittedSince(t time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var yes [nodes]bool
	for _, v := range r.visits {
		if v.Sent.After(t) && v.Status == 202 {
			yes[v.node] = true
		}
	}
	return !slices.Contains(yes[:], false)
}

// judge compares the visits with what is promised while a part is away.
func (r *round) judge(res *result) {
	res.visits = len(r.visits)
	most := lossTime + r.leeway
	if r.routes { // the visitors are many more
		most = buyBound + r.leeway
	}
	found := func(what string, v visit) {
		res.findings = append(res.findings, fmt.Sprintf("what works while a part is down: %s: node %d, %v after it broke: %v",
			what, v.node, v.Sent.Sub(r.begun).Round(time.Millisecond), v.Visit))
	}
	stalled := func(v visit) bool {
		return slices.ContainsFunc(r.stalls, func(s span) bool { return v.Sent.Before(s.to) && v.Done.After(s.from) })
	}
	closed := func(v visit) bool {
		return v.Status == 503 && v.RetryAfter != "" && v.Sent.Before(r.damaged.to) && v.Done.After(r.damaged.from)
	}
	for _, v := range r.visits {
		if stalled(v) {
			res.unjudged++
			continue
		}
		during := v.Sent.After(r.begun) && v.Sent.Before(r.ended)
		switch {
		case r.part == "" && r.hits[v.node]:
			continue // it is dead, or starts
		case r.part == stack.KindRedis && r.hits[v.node]:
			refused := v.Status == 503 && v.RetryAfter != ""
			switch {
			case during && r.gone() && v.Done.Before(r.ended) && !refused:
				found("without Redis nobody is admitted, and told so with 503 and Retry-After", v)
			case v.Status != 202 && !refused:
				found("a buyer is admitted, or told 503 with Retry-After", v)
			case v.Took() > most:
				found(fmt.Sprintf("a buyer is answered within %v of the loss", most), v)
			}
		case closed(v):
		case v.Status != 202:
			found("buyers are admitted", v)
		case r.routes && v.Took() > most:
			found(fmt.Sprintf("buyers are admitted within %v", most), v)
		}
		if during && (r.part != stack.KindRedis || r.hits[v.node]) {
			if v.Status == 503 {
				res.refused++
			}
			if v.Sent.Sub(r.begun) < lossTime {
				res.first = append(res.first, v.Took())
			} else {
				res.later = append(res.later, v.Took())
			}
		}
	}
	soon := atOnce + r.leeway/10 // less than a node waits for an answer of Redis, also in a test
	if n := slower(res.later, soon); r.part == stack.KindRedis && r.gone() && !r.routes && n > 1+len(res.later)/fewLate {
		res.findings = append(res.findings, fmt.Sprintf("what works while a part is down: %d of %d answers without Redis took longer than %v, the longest %v",
			n, len(res.later), soon, longest(res.later)))
	}
	for _, v := range r.results {
		switch {
		case r.part == "" && r.hits[v.node], stalled(v), closed(v):
		case v.Status != 200:
			found("a result can be asked for", v)
		}
	}
}

// until waits for a condition, at most for so long.
func until(ctx context.Context, limit time.Duration, condition func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !condition() {
		if err := duty.Rest(ctx, 2*time.Millisecond); err != nil {
			return fmt.Errorf("not within %v", limit)
		}
	}
	return nil
}
