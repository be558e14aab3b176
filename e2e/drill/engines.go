package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill/e2e/node"
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
	routesLimit = 2 * time.Minute  // and until each route has been asked and answered as before
	lossTime    = time.Second      // after the loss of Redis every answer comes at once
	atOnce      = 50 * time.Millisecond
	fewLate     = 10 // one of so many answers may be later than that: the machine has more to do
	mostFailed  = 5  // rounds with violations, after which the drill ends
	seedResidue = 6  // visitors who have their order before something happens
)

// enginesDrill is one drill of two nodes on real engines, in some lanes.
type enginesDrill struct {
	config
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
	if d.binary == "" {
		if d.binary, err = node.Build(d.folder); err != nil {
			return err
		}
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
	name, text := enginesReport, d.report
	if c.routes {
		name, text = routesReport, d.routesReport
	}
	if err := c.publish(report, name, text()); err != nil {
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
		if !slices.ContainsFunc(faults, func(f fault) bool { return f.name == name && f.routes == d.routes }) {
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
		if f.routes != d.routes {
			continue
		}
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
			if l, err = openLane(ctx, d.binary, dir, d.log); err != nil {
				return err
			}
		}
		r := &round{lane: l, plan: p, units: d.units, defended: d.defended, leeway: d.leeway, times: d.times}
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
	fmt.Fprintf(d.progress, "  logs in %s; again: go run ./e2e/drill --engines%s --seed %d --only %s\n", dir, map[bool]string{true: " --routes"}[d.routes], d.seed, res.plan.String())
	for _, e := range l.stack.Engines() {
		fmt.Fprintf(d.log, "%s ends with:\n%s\n", e.LogFile(), e.LogTail())
	}
	return l.keep(dir, res.findings)
}

// report is the markdown of the drill.
func (d *enginesDrill) report() string {
	var b strings.Builder
	d.command(&b)
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
			len(first)+len(later), millis(longest(first)), millis(longest(later)), millis(median(later)), slower(later, atOnce), len(later), atOnce)
	}
	visits, unjudged, forged := 0, 0, 0
	for _, res := range d.results {
		visits, unjudged = visits+res.visits, unjudged+res.unjudged
		if res.plan.how == forge && len(res.findings) == 0 {
			forged += forgedMessages + forgedEntries + forgedHolds
		}
	}
	b.WriteString("\n| together | |\n|---|---:|\n")
	fmt.Fprintf(&b, "| messages, entries and holds that were forged, each counted by an alarm | %d |\n", forged)
	fmt.Fprintf(&b, "| visitors at a certain node | %d |\n| of them not judged: Redis, which nobody had touched, did not answer for %v | %d |\n", visits, stallTime, unjudged)
	for _, name := range order {
		fmt.Fprintf(&b, "| %s | %d |\n", name, d.counts[name])
	}
	fmt.Fprintf(&b, "| duration | %v |\n", time.Since(d.started).Round(time.Second))
	return b.String()
}

// command writes how the report was made.
func (d *enginesDrill) command(b *strings.Builder) {
	b.WriteString("```sh\ngo run ./e2e/drill --engines")
	if d.routes {
		b.WriteString(" --routes")
	}
	b.WriteString(d.variant(" --"))
	fmt.Fprintf(b, " --seed %d --lanes %d", d.seed, d.lanes)
	if d.duration > 0 {
		fmt.Fprintf(b, " --duration %v", d.duration)
	} else {
		fmt.Fprintf(b, " --rounds %d", d.rounds)
	}
	if d.only != "" {
		fmt.Fprintf(b, " --only %s", d.only)
	}
	b.WriteString("\n```\n\n")
}

func slower(all []time.Duration, bound time.Duration) (n int) {
	for _, d := range all {
		if d > bound {
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
