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
	"strings"
	"time"

	"seckill/e2e/crowd"
	"seckill/e2e/node"
	"seckill/e2e/payers"
	"seckill/internal/stack"
)

const (
	roundKills   = 5  // kills in one round
	dirRounds    = 8  // rounds on the same data; then a node starts on nothing again
	units        = 12 // of a sale, or twice as many: buyers who cancel sell to those who wait
	moneyRounds  = 3  // one in so many rounds is of payers, on data of its own
	payersAtOnce = 6
	paymentsMade = "payments"
	roundTime    = 3 * time.Minute // for one round, or everybody is stuck
	readyTime    = 70 * time.Millisecond
	lifeTime     = 900 * time.Millisecond // of a node that is killed at a random time
	stayTime     = 300 * time.Millisecond // at a chosen moment, while others go on
	momentTime   = 3 * time.Second        // to come to a chosen moment, or it dies where it is
)

// killsReport is the name of the report.
const killsReport = "drill"

// run is one drill of kills.
type run struct {
	config
	random   *mathrand.Rand
	folder   string
	progress io.Writer
	started  time.Time

	killed   int
	rounds   int
	starts   int
	folders  int // of data: the first start in each is on nothing
	wheres   map[string]int
	counts   map[string]int64
	findings []string
}

// drillKills kills a node with everything embedded, some times in each round, and
// writes its report. A violation is an error.
func drillKills(ctx context.Context, c config, report, progress io.Writer) (err error) {
	if c.kills < 1 {
		return errors.New("--kills must be at least 1")
	}
	folder, err := os.MkdirTemp("", "seckill-drill-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil || ctx.Err() != nil {
			os.RemoveAll(folder)
			return
		}
		fmt.Fprintf(progress, "the data and the log of the node are in %s\n", folder)
	}()
	if c.binary == "" {
		if c.binary, err = node.Build(folder, "crash"); err != nil {
			return err
		}
	}
	r := &run{
		config: c, random: mathrand.New(mathrand.NewPCG(c.seed, 0)), folder: folder, progress: progress,
		started: time.Now(), wheres: map[string]int{}, counts: map[string]int64{},
	}
	more := func() bool {
		if c.duration > 0 {
			return time.Since(r.started) < c.duration
		}
		return r.killed < r.kills
	}
	for more() && len(r.findings) == 0 {
		round := r.round
		if r.config.money || r.rounds%moneyRounds == moneyRounds-1 {
			round = r.payers
		}
		if err := round(ctx); err != nil {
			return fmt.Errorf("round %d: %w", r.rounds, err)
		}
	}
	if err := c.publish(report, killsReport, r.report()); err != nil {
		return err
	}
	if len(r.findings) > 0 {
		return fmt.Errorf("%d violations in round %d", len(r.findings), r.rounds)
	}
	return nil
}

// round kills the node some times under one crowd, and checks.
func (r *run) round(ctx context.Context) error {
	r.rounds++
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	address, err := stack.Address()
	if err != nil {
		return err
	}
	c := node.Config{Binary: r.binary, Dir: filepath.Join(r.folder, fmt.Sprintf("data-%d", (r.rounds-1)/dirRounds)), Listen: address, Log: r.log}
	switch err := os.Mkdir(c.Dir, 0o700); {
	case err == nil:
		r.folders++
	case !errors.Is(err, os.ErrExist):
		return err
	}
	people := crowd.New(crowd.Config{URL: "http://" + address, Secret: node.Secret, Seed: r.seedOfRound(), Units: units, Defended: r.defended})
	started := make(chan error, 1)
	go func() { started <- people.Start(ctx) }()

	var log []string
	defer func() {
		if len(r.findings) > 0 {
			os.WriteFile(filepath.Join(r.folder, "log"), []byte(strings.Join(log, "\n--- killed ---\n")), 0o600)
		}
	}()
	for range r.killsOfRound() {
		n, where, err := r.life(ctx, c, node.Purchases)
		if err != nil {
			return err
		}
		log = append(log, n.Log())
		r.wheres[where]++
		r.killed++
	}

	forged, err := forgeJournal(ctx, c.Dir)
	if err != nil {
		return err
	}
	n, err := node.Start(c)
	if err != nil {
		return err
	}
	defer n.Kill()
	r.starts++
	if err := n.Ready(); err != nil {
		return err
	}
	alarmed, err := n.Metric(ctx, `seckill_aside_total{where="journal"}`)
	if err != nil {
		return err
	}
	if r.counts[forgedRows] += int64(len(forged)); int(alarmed) < len(forged) {
		r.findings = append(r.findings, fmt.Sprintf("%d rows of the journal were forged, and the alarm counted %v", len(forged), alarmed))
	}
	if err := <-started; err != nil {
		return err
	}
	people.Stop()
	r.findings = append(r.findings, people.Finish(ctx, n.Ops)...)
	if err := n.Stop(); err != nil {
		r.findings = append(r.findings, err.Error())
	}
	if err := keptAside(ctx, c.Dir, forged); err != nil {
		r.findings = append(r.findings, err.Error())
	}
	log = append(log, n.Log())
	for _, life := range log {
		for line := range strings.Lines(life) {
			if strings.Contains(line, `"level":"ERROR"`) && !strings.Contains(line, "a part of the journal is put aside") {
				r.findings = append(r.findings, "the node complains: "+strings.TrimSpace(line))
			}
		}
	}
	for name, count := range people.Stats.Counts() {
		r.counts[name] += count
	}
	fmt.Fprintf(r.progress, "round %d: %d of %d kills, %d sales, %d buyers, %d tickets, %v: %d violations\n",
		r.rounds, r.killed, r.kills, r.counts["sales"], r.counts["buyers"], r.counts["tickets"], time.Since(r.started).Round(time.Second), len(r.findings))
	for _, finding := range r.findings {
		fmt.Fprintln(r.progress, "  "+finding)
	}
	return nil
}

// payers is a round of those who pay, on data of its own: the moments at which the node dies are those of money and of
// webhooks.
func (r *run) payers(ctx context.Context) error {
	r.rounds++
	r.folders++
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	address, err := stack.Address()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(r.folder, "money-")
	if err != nil {
		return err
	}
	p, err := payers.New("http://"+address, node.Secret, payersAtOnce, r.seedOfRound())
	if err != nil {
		return err
	}
	defer p.Close()
	c := node.Config{Binary: r.binary, Dir: dir, Listen: address, Env: p.Env(), Log: r.log}
	started := make(chan error, 1)
	go func() { started <- p.Start(ctx) }()
	for range r.killsOfRound() {
		_, where, err := r.life(ctx, c, node.Payments)
		if err != nil {
			return err
		}
		r.wheres[where]++
		r.killed++
	}
	n, err := node.Start(c)
	if err != nil {
		return err
	}
	defer n.Kill()
	r.starts++
	if err := errors.Join(n.Ready(), <-started); err != nil {
		return err
	}
	p.Stop()
	r.findings = append(r.findings, p.Finish(ctx)...)
	if err := n.Stop(); err != nil {
		r.findings = append(r.findings, err.Error())
	}
	r.counts[paymentsMade] += p.Captured.Load()
	fmt.Fprintf(r.progress, "round %d, of money: %d of %d kills, %v: %d violations\n", r.rounds, r.killed, r.kills, p, len(r.findings))
	for _, finding := range r.findings {
		fmt.Fprintln(r.progress, "  "+finding)
	}
	return nil
}

func (r *run) seedOfRound() uint64 { return r.seed*1_000_000 + uint64(r.rounds) }

// killsOfRound is how many kills the next round has.
func (r *run) killsOfRound() int {
	if r.duration == 0 {
		return min(roundKills, r.kills-r.killed)
	}
	return roundKills
}

// life starts a node and kills it, at one of the moments or at any time, and returns where
// it died.
func (r *run) life(ctx context.Context, c node.Config, moments []node.Moment) (n *node.Node, where string, err error) {
	var moment string
	var after time.Duration // the start, or ready
	dice := r.random.IntN(10)
	switch {
	case dice < 3:
		moment = moments[r.random.IntN(len(moments))].Name
		after = momentTime
		stay := time.Duration(r.random.Int64N(int64(stayTime))) * time.Duration(r.random.IntN(2))
		c.Env = append(c.Env, fmt.Sprintf("SECKILL_CRASH=%s:%d:%v", moment, 1+r.random.IntN(12), stay))
	case dice < 5:
		after = time.Duration(r.random.Int64N(int64(readyTime)))
	default:
		after = time.Duration(r.random.Int64N(int64(lifeTime)))
	}
	if n, err = node.Start(c); err != nil {
		return nil, "", err
	}
	r.starts++
	defer n.Kill()
	if dice >= 5 {
		if err := n.Ready(); err != nil {
			return nil, "", err
		}
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
		ready := n.IsReady()
		n.Kill()
		if ready {
			return n, whereReady, nil
		}
		return n, whereStart, nil
	case <-n.Done():
		if !n.Killed() {
			return nil, "", fmt.Errorf("the node ended by itself:\n%s", n.Log())
		}
		return n, moment, nil
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

// Where a node died when no mark says it.
const (
	whereStart = "at a random time, before it was ready"
	whereReady = "at a random time, at work"
)

// report is the markdown of the drill.
func (r *run) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "```sh\ngo run ./e2e/drill%s --seed %d --kills %d\n```\n\n", r.variant(" --"), r.seed, r.killed)
	fmt.Fprintf(&b, "| | |\n|---|---|\n| seed | %d |\n| kills (SIGKILL) | %d |\n| restarts on the same data | %d |\n| rounds | %d |\n", r.seed, r.killed, r.starts-r.folders, r.rounds)
	for _, name := range order {
		fmt.Fprintf(&b, "| %s | %d |\n", name, r.counts[name])
	}
	fmt.Fprintf(&b, "| %s | %d |\n| %s | %d |\n", forgedRows, r.counts[forgedRows], paymentsMade, r.counts[paymentsMade])
	fmt.Fprintf(&b, "| **violations** | **%d** |\n| duration | %v |\n\n", len(r.findings), time.Since(r.started).Round(time.Second))
	b.WriteString("Where it died:\n\n| moment | kills |\n|---|---:|\n")
	named := slices.Collect(maps.Keys(r.wheres))
	rank := func(where string) int {
		return slices.IndexFunc(node.Moments, func(m node.Moment) bool { return m.Name == where })
	}
	slices.SortFunc(named, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, where := range named {
		name := where
		if rank(where) >= 0 {
			name = "`" + where + "`"
		}
		fmt.Fprintf(&b, "| %s | %d |\n", name, r.wheres[where])
	}
	for i, finding := range r.findings {
		if i == 0 {
			b.WriteString("\nViolations:\n\n")
		}
		fmt.Fprintf(&b, "- %s\n", finding)
	}
	return b.String()
}

// order is that of the counts in the report.
var order = []string{"sales", "buyers", "passes", "buy requests", "tickets", "orders paid", "orders cancelled", "orders expired", "orders refunded",
	"stock moves up", "stock moves down", "stock moves down refused", "pauses", "audits"}
