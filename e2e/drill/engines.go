package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill/e2e/crowd"
	"seckill/e2e/node"
	"seckill/internal/duty"
	"seckill/internal/stack"
)

const (
	enginesReport = "engines" // the name of the report

	crowdUnits   = 150   // of each of the crowd's sales, or twice as many; buyers who cancel sell to those who wait
	crowdWorkers = 48    // buyers at once
	visitUnits   = 2_000 // of the sale in which single nodes are asked
	visitPause   = 25 * time.Millisecond
	longPause    = 250 * time.Millisecond // between visits while a part is away for a minute

	roundLimit  = 3 * time.Minute  // for one round beside its fault, or everybody is stuck
	beginLimit  = 20 * time.Second // for the crowd to have the tickets after which something happens
	healLimit   = 30 * time.Second // from the end of a fault until buyers are admitted by every node
	lossTime    = time.Second      // after the loss of Redis every answer comes at once
	atOnce      = 50 * time.Millisecond
	fewLate     = 10 // one of so many answers may be later than that: the machine has more to do
	mostFailed  = 5  // rounds with violations, after which the drill ends
	seedResidue = 6  // visitors who have their order before something happens
)

// enginesDrill is one drill of two nodes on real engines, in some lanes.
type enginesDrill struct {
	config
	binary   string
	folder   string
	progress io.Writer
	started  time.Time

	mu      sync.Mutex
	long    []plan // still to come
	short   []plan
	endless bool
	results []result
	failed  int
	counts  map[string]int64
}

// drillEngines lets each kind of fault happen some times and writes its report. A
// violation is an error.
func drillEngines(ctx context.Context, c config, report, progress io.Writer) (err error) {
	d := &enginesDrill{config: c, progress: progress, started: time.Now(), counts: map[string]int64{}}
	if err := d.plan(); err != nil {
		return err
	}
	if d.folder, err = os.MkdirTemp("", "seckill-drill-"); err != nil {
		return err
	}
	defer func() {
		if d.failed == 0 {
			os.RemoveAll(d.folder)
		}
	}()
	if d.binary, err = node.Build(d.folder); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for n := range c.lanes {
		g.Go(func() error {
			if err := d.lane(gctx, n); err != nil {
				return fmt.Errorf("lane %d: %w", n, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := c.publish(report, enginesReport, d.report()); err != nil {
		return err
	}
	if d.failed > 0 {
		return fmt.Errorf("%d rounds with violations; their logs are in %s", d.failed, d.folder)
	}
	return nil
}

// plan decides what happens, by the seed.
func (d *enginesDrill) plan() error {
	if d.rounds < 1 || d.lanes < 1 {
		return errors.New("--rounds and --lanes must be at least 1")
	}
	only := map[string][]int{} // the rounds of a kind; none: all
	for name := range strings.SplitSeq(d.only, ",") {
		name, number, one := strings.Cut(strings.TrimSpace(name), "/")
		if name == "" {
			continue
		}
		if !slices.ContainsFunc(faults, func(f fault) bool { return f.name == name }) {
			return fmt.Errorf("--only: %q is no kind of fault", name)
		}
		if only[name] = append(only[name], []int{}...); one {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 {
				return fmt.Errorf("--only: %q is no number of a round", number)
			}
			only[name] = append(only[name], n)
		}
	}
	for n := range d.rounds {
		d.add(n+1, only)
	}
	d.endless = d.duration > 0 && len(only) == 0
	return nil
}

// add plans the round of a number for every kind.
func (d *enginesDrill) add(number int, only map[string][]int) {
	var short []plan
	for _, f := range faults {
		numbers, named := only[f.name]
		if len(only) > 0 && !named || len(numbers) > 0 && number > 1 {
			continue
		}
		if len(numbers) == 0 {
			numbers = []int{number}
		}
		for _, n := range numbers {
			if p := f.plan(d.seed, n, d.units); f.long() {
				d.long = append(d.long, p)
			} else {
				short = append(short, p)
			}
		}
	}
	random := mathrand.New(mathrand.NewPCG(d.seed, uint64(number)<<32))
	random.Shuffle(len(short), func(i, j int) { short[i], short[j] = short[j], short[i] })
	d.short = append(d.short, short...)
}

// next takes the next round for a lane. The first lane begins with the long ones,
// the others with the short ones.
func (d *enginesDrill) next(lane int) (p plan, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	over := d.duration > 0 && time.Since(d.started) > d.duration
	if over || d.failed >= mostFailed {
		return p, false
	}
	if d.endless && (len(d.short) == 0 || len(d.long) == 0) {
		d.rounds++
		d.add(d.rounds, nil)
	}
	from := []*[]plan{&d.short, &d.long}
	if lane == 0 {
		slices.Reverse(from)
	}
	for _, list := range from {
		if len(*list) > 0 {
			p, *list = (*list)[0], (*list)[1:]
			return p, true
		}
	}
	return p, false
}

// lane does rounds until there is none left. After one with violations it begins
// with new engines.
func (d *enginesDrill) lane(ctx context.Context, number int) (err error) {
	var l *lane
	defer func() {
		if l != nil {
			err = errors.Join(err, l.close())
		}
	}()
	for ctx.Err() == nil {
		p, ok := d.next(number)
		if !ok {
			break
		}
		if l == nil {
			dir := filepath.Join(d.folder, fmt.Sprintf("lane-%d", number))
			if l, err = openLane(ctx, d.binary, dir, nil); err != nil {
				return err
			}
		}
		r := &round{lane: l, plan: p, units: d.units}
		res := r.run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := d.note(number, &res, l); err != nil {
			return err
		}
		if len(res.findings) > 0 {
			l.close()
			l = nil
		}
	}
	if ctx.Err() == nil && l != nil {
		// Nobody may complain at the end either.
		last := l
		l = nil
		return last.stop()
	}
	return ctx.Err()
}

// note keeps a result, and says it.
func (d *enginesDrill) note(lane int, res *result, l *lane) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.results = append(d.results, *res)
	for name, n := range res.counts {
		d.counts[name] += n
	}
	fmt.Fprintf(d.progress, "%5.0fs lane %d %-16s %s: %s\n", time.Since(d.started).Seconds(), lane, res.plan.String(), res.plan.describe(), res)
	if len(res.findings) == 0 {
		return nil
	}
	d.failed++
	dir := filepath.Join(d.folder, strings.ReplaceAll(res.plan.String(), "/", "-"))
	for i, finding := range res.findings {
		if i == 20 {
			fmt.Fprintf(d.progress, "  and %d more\n", len(res.findings)-i)
			break
		}
		fmt.Fprintln(d.progress, "  "+finding)
	}
	fmt.Fprintf(d.progress, "  logs in %s; again: go run ./e2e/drill --engines --seed %d --only %s\n", dir, d.seed, res.plan.String())
	return l.keep(dir, res.findings)
}

// report is the markdown of the drill.
func (d *enginesDrill) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "```sh\ngo run ./e2e/drill --engines --seed %d --lanes %d", d.seed, d.lanes)
	if d.duration > 0 {
		fmt.Fprintf(&b, " --duration %v", d.duration)
	} else {
		fmt.Fprintf(&b, " --rounds %d", d.rounds)
	}
	if d.only != "" {
		fmt.Fprintf(&b, " --only %s", d.only)
	}
	b.WriteString("\n```\n\n")
	b.WriteString("| what happens in the middle of a sale | rounds | violations | admitted meanwhile | answer to a buyer: median | slowest | at rest again: median | longest |\n")
	b.WriteString("|---|---:|---:|---:|---:|---:|---:|---:|\n")
	violations := 0
	for _, f := range faults {
		var rests, took []time.Duration
		var rounds, found int
		var admitted int64
		for _, res := range d.results {
			if res.plan.name == f.name {
				rounds++
				found += len(res.findings)
				admitted += res.admitted
				rests = append(rests, res.rest)
				took = append(append(took, res.first...), res.later...)
			}
		}
		violations += found
		if rounds > 0 {
			fmt.Fprintf(&b, "| %s | %d | %d | %d | %s | %s | %s | %s |\n", f.says, rounds, found, admitted,
				millis(median(took)), millis(longest(took)), seconds(median(rests)), seconds(longest(rests)))
		}
	}
	fmt.Fprintf(&b, "| **all** | **%d** | **%d** | | | | | |\n", len(d.results), violations)
	var first, later []time.Duration
	for _, res := range d.results {
		if res.plan.part == stack.KindRedis && res.plan.gone() {
			first, later = append(first, res.first...), append(later, res.later...)
		}
	}
	if len(later) > 0 {
		fmt.Fprintf(&b, "\nWhile Redis was killed or cut off, each of %d buyers was answered 503 with `Retry-After`: in the first second after %s at most, "+
			"later after %s at most, the median %s, and %d of %d later than %v.\n",
			len(first)+len(later), millis(longest(first)), millis(longest(later)), millis(median(later)), slower(later), len(later), atOnce)
	}
	visits, unjudged := 0, 0
	for _, res := range d.results {
		visits, unjudged = visits+res.visits, unjudged+res.unjudged
	}
	b.WriteString("\n| together | |\n|---|---:|\n")
	fmt.Fprintf(&b, "| visitors at a certain node | %d |\n| of them not judged: Redis, which nobody had touched, did not answer for %v | %d |\n", visits, stallTime, unjudged)
	for _, name := range order {
		fmt.Fprintf(&b, "| %s | %d |\n", name, d.counts[name])
	}
	fmt.Fprintf(&b, "| duration | %v |\n", time.Since(d.started).Round(time.Second))
	return b.String()
}

func slower(all []time.Duration) (n int) {
	for _, d := range all {
		if d > atOnce {
			n++
		}
	}
	return n
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

func longest(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Max(all)
}

func millis(d time.Duration) string  { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// round is one fault in the middle of one crowd's sales.
type round struct {
	*lane
	plan
	units  int64
	people *crowd.Crowd

	mu           sync.Mutex
	begun, ended time.Time // between them the part is broken
	visits       []visit
	results      []visit
	stalls       []span // of this machine
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
	unjudged     int // visits while this machine stood still
	remark       string
}

func (r *result) String() string {
	took := slices.Concat(r.first, r.later)
	return fmt.Sprintf("%d visits, median %s, slowest %s, %d slow; %d admitted meanwhile; at rest after %s%s; %d tickets; %s: %d violations", len(took),
		millis(median(took)), millis(longest(took)), slower(took), r.admitted, seconds(r.rest), r.remark, r.counts["tickets"], seconds(r.took), len(r.findings))
}

// run lets the fault happen, and checks. What keeps the round from its end is a
// violation too.
func (r *round) run(ctx context.Context) (res result) {
	from := time.Now()
	res.plan, res.counts = r.plan, map[string]int64{}
	ctx, cancel := context.WithTimeout(ctx, roundLimit+2*r.hold)
	defer cancel()
	for _, log := range r.logs {
		log.reset()
	}
	r.people = crowd.New(crowd.Config{URL: r.urls(), Secret: node.Secret, Seed: r.seed, Away: r.hold,
		Units: r.units, Workers: crowdWorkers, Visits: visitUnits})
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
	if err := until(ctx, beginLimit, func() bool { return r.people.Stats.Tickets.Load() >= r.after }); err != nil {
		return fmt.Errorf("the crowd does not come to %d tickets: %w", r.after, err)
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
	err = r.happen(ctx, &r.plan, func() { r.set(&r.begun) }, func() { r.set(&r.ended) })
	healed := time.Now()
	if err == nil {
		err = until(ctx, healLimit, func() bool { return r.admittedSince(healed) })
		if err != nil {
			err = fmt.Errorf("not every node admits buyers again by itself: %w", err)
		}
	}
	stop()
	visitors.Wait()
	if err != nil {
		return err
	}
	r.judge(res)

	r.people.Stop()
	err = r.people.Rest(ctx)
	res.rest = time.Since(healed)
	if err != nil {
		return err
	}
	res.findings = append(res.findings, r.people.Finish(ctx, "")...)
	res.findings = append(res.findings, r.settled(ctx)...)
	res.admitted = r.people.Admitted(r.begun, r.ended)
	return nil
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
		err := until(ctx, beginLimit, func() bool {
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

// judge holds the visits against what is promised while a part is away.
func (r *round) judge(res *result) {
	res.visits = len(r.visits)
	found := func(what string, v visit) {
		res.findings = append(res.findings, fmt.Sprintf("what works while a part is down: %s: node %d, %v after it broke: %v",
			what, v.node, v.Sent.Sub(r.begun).Round(time.Millisecond), v.Visit))
	}
	stalled := func(v visit) bool {
		return slices.ContainsFunc(r.stalls, func(s span) bool { return v.Sent.Before(s.to) && v.Done.After(s.from) })
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
			case v.Took() > lossTime:
				found("a buyer is answered within a second of the loss", v)
			}
		case v.Status != 202:
			found("buyers are admitted", v)
		}
		if during && (r.part != stack.KindRedis || r.hits[v.node]) {
			if v.Sent.Sub(r.begun) < lossTime {
				res.first = append(res.first, v.Took())
			} else {
				res.later = append(res.later, v.Took())
			}
		}
	}
	if n := slower(res.later); r.part == stack.KindRedis && r.gone() && n > 1+len(res.later)/fewLate {
		res.findings = append(res.findings, fmt.Sprintf("what works while a part is down: %d of %d answers without Redis took longer than %v, the longest %v",
			n, len(res.later), atOnce, longest(res.later)))
	}
	for _, v := range r.results {
		switch {
		case r.part == "" && r.hits[v.node], stalled(v):
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
