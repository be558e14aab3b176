// Command drill breaks parts of the system at random moments and checks that
// nobody notices.
//
//	go run ./e2e/drill --kills 200 --out docs/drills.md
//	go run ./e2e/drill --engines --rounds 20 --out docs/drills.md
//	go run ./e2e/drill --engines --routes --rounds 20 --out docs/drills.md
//	go run ./e2e/drill --defended --kills 200 --out docs/drills.md
//
// The first kills a node with everything embedded (kills.go). The second kills,
// cuts off, delays and resets each part of two nodes on Redis, RabbitMQ and MariaDB
// (faults.go). The third lets each engine hang, be slow and be full, while visitors ask
// every route of a page with a bound on the time (routes.go). In all, a crowd of buyers and an administrator (package crowd) works
// on new sales meanwhile; then everything stays up, the crowd drives what it began
// to its end, and its log is compared with the nodes.
//
// The seed decides who buys what and what breaks when; the machine decides what the
// nodes are doing at that moment, so a seed is a scenario and not a replay.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	c := config{units: crowdUnits, log: io.Discard}
	flag.Uint64Var(&c.seed, "seed", 1, "what decides when something breaks")
	flag.StringVar(&c.out, "out", "", "markdown `file` that takes the report (default: the standard output only)")
	flag.DurationVar(&c.duration, "duration", 0, "go on for so long, whatever the counts say")
	flag.IntVar(&c.kills, "kills", 200, "how often a node with everything embedded is killed")
	engines := flag.Bool("engines", false, "break Redis, RabbitMQ, MariaDB and the nodes on them instead")
	flag.BoolVar(&c.routes, "routes", false, "with --engines: let every engine hang, be slow and be full instead, while visitors ask every route of a page")
	flag.IntVar(&c.rounds, "rounds", 20, "with --engines: how often each kind of fault happens")
	flag.IntVar(&c.lanes, "lanes", 2, "with --engines: how many sets of engines and nodes there are, side by side")
	flag.StringVar(&c.only, "only", "", "with --engines: only these `kinds`, with commas between; redis-cut/7 is the one round of that number")
	flag.BoolVar(&c.money, "money", false, "kill only while payers pay, at the moments of money and of webhooks")
	flag.BoolVar(&c.defended, "defended", false, "the sales ask for a pass, with a picture and a proof of work, and count unpaid orders")
	flag.Parse()
	if c.routes {
		c.leeway = time.Second // without routes nothing is added to the bounds
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := drillKills
	if *engines {
		run = drillEngines
	}
	if err := run(ctx, c, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(1)
	}
}

type config struct {
	seed     uint64
	out      string
	binary   string        // that is there already; empty: the drill builds its own
	duration time.Duration // 0: the counts say how long
	log      io.Writer     // also gets what the nodes say, and the end of an engine's log after a round with violations

	kills int

	rounds, lanes int
	defended      bool
	money         bool // all rounds of kills are of payers, not one of some
	only          string
	routes        bool
	leeway        time.Duration // see round
	times         int           // see round
	units         int64         // of each sale, or twice as many
}

// publish writes a report to w and, with --out, into the file: between the lines
// that bear the report's name, in the place of the last one. What is around them is
// kept.
func (c config) publish(w io.Writer, name, report string) error {
	fmt.Fprint(w, report)
	if c.out == "" {
		return nil
	}
	begin, end := marks(name + c.variant(" "))
	b, err := os.ReadFile(c.out)
	if errors.Is(err, os.ErrNotExist) {
		b, err = []byte("# Drills\n\n"+begin+end), nil
	}
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the report: put the lines %q and %q there", c.out, begin, end)
	}
	return os.WriteFile(c.out, []byte(before+begin+report+end+after), 0o644)
}

// variant is what the command line asks for beside the counts, each word after the sign:
// for a report's name, and for the command that makes it.
func (c config) variant(sign string) (v string) {
	if c.defended {
		v += sign + "defended"
	}
	if c.money {
		v += sign + "money"
	}
	return v
}

func marks(name string) (begin, end string) {
	return "<!-- " + name + ": begin -->\n", "<!-- " + name + ": end -->\n"
}
