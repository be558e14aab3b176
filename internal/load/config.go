package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"seckill"
)

// Limits of a run.
const (
	MaxBuyers      = 10_000_000
	MaxConnections = 50_000 // Concurrency × Repeats: the ports of one client address
	MaxRepeats     = 1_000  // identical requests of one buyer at once
	MaxRate        = 1_000_000
)

// The times of a run that are not configured.
const (
	flagLife     = 600 * time.Millisecond // longer than an over flag stands (gate.FlagLife): the request after it asks the gate itself
	maxRetryWait = 2 * time.Second        // cap of what Retry-After may ask for
	retryWait    = 200 * time.Millisecond // after a failure without Retry-After
	minPoll      = 50 * time.Millisecond
	maxPoll      = 3 * time.Second
	auditPoll    = 200 * time.Millisecond
)

// Bounds of the rounds in which sold-out buyers ask again.
const (
	maxRounds     = 20
	maxFruitless  = 3    // rounds in a row that admit nobody
	checkAll      = 5000 // up to so many outcomes are all asked again
	checkSample   = 1000 // of more, so many
	ownerOnlyTest = 100  // orders that another buyer tries to read
)

// Config says what a run does. Zero values are the defaults given here; what
// has none is required.
type Config struct {
	Servers     []string // base addresses such as http://127.0.0.1:8080; requests take turns
	Sale        seckill.SaleID
	Buyers      int
	Concurrency int    // buyers who buy at the same time
	Quantity    [2]int // units per buyer, from and to, both included; default 1, 1
	Repeats     int    // identical requests each buyer sends at once; default 1

	// Rate is the arrivals per second, Burst how many arrive at once at the
	// start, Ramp how long the rate takes to grow from 0. With a rate or a burst
	// the loop is open: Concurrency then only bounds the requests under way, and
	// latency counts from the intended start.
	Rate  float64
	Burst int
	Ramp  time.Duration

	// Phases keeps buying and asking apart: first everybody buys, then everybody
	// asks for its ticket.
	Phases bool
	// Misbehave is how many of the buyers do not behave well, and how.
	Misbehave Shares
	// Ops are the base addresses of the servers' operations listeners. With them
	// the report has the servers' processor time.
	Ops []string

	// Token mints the token of a buyer. It must be safe for concurrent use.
	Token func(buyer string) (string, error)
	// Solve solves the challenges of a sale that asks for a pass; nil: it must ask for none.
	Solve Solver
	// AdminToken opens the audit. Without it the checks against the audit
	// are skipped.
	AdminToken string
	// Prefix begins the id of every buyer. The default is random, so two runs
	// never share a buyer.
	Prefix string

	Timeout time.Duration // of one request; default 30 s
	// Settle bounds every wait for the server: outcomes after the last buy, a
	// rest without pending tickets, and tries while nobody gets an answer, nor a pass.
	// Default 2 min.
	Settle time.Duration

	// BuyOnly measures the buy route alone: nobody asks for an outcome, and
	// the checks that need outcomes are skipped.
	BuyOnly bool
	// Progress is where the progress goes, a bar on a terminal and a line
	// every two seconds elsewhere. Nil means nowhere.
	Progress io.Writer

	// dial replaces the network in tests.
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// withDefaults returns the effective configuration, or an error that says what
// to change.
func (c Config) withDefaults() (Config, error) {
	if c.Quantity == [2]int{} {
		c.Quantity = [2]int{1, 1}
	}
	if c.Repeats == 0 {
		c.Repeats = 1
	}
	if c.Prefix == "" {
		c.Prefix = strings.ToLower(rand.Text()[:10])
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Settle == 0 {
		c.Settle = 2 * time.Minute
	}
	if c.Buyers > 0 {
		c.Concurrency = min(c.Concurrency, c.Buyers)
	}

	var problems []error
	must := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf("load: "+format, args...))
		}
	}
	must(len(c.Servers) > 0, "no server: give at least one address such as http://127.0.0.1:8080")
	for _, s := range append(slices.Clone(c.Servers), c.Ops...) {
		_, err := parseServer(s)
		must(err == nil, "%v", err)
	}
	must(c.Sale > 0, "no sale: give the id of an existing sale, or create one with Fresh")
	must(c.Buyers >= 1 && c.Buyers <= MaxBuyers, "%d buyers: give 1 to %d", c.Buyers, MaxBuyers)
	must(c.Concurrency >= 1, "concurrency %d: give 1 or more", c.Concurrency)
	must(c.Repeats >= 1 && c.Repeats <= MaxRepeats, "%d repeats: give 1 to %d", c.Repeats, MaxRepeats)
	must(c.Concurrency <= MaxConnections && c.Concurrency*c.Repeats <= MaxConnections,
		"concurrency %d × repeats %d needs more than %d connections: lower one of them", c.Concurrency, c.Repeats, MaxConnections)
	must(c.Rate >= 0 && c.Rate <= MaxRate, "rate %g: give 0 to %d arrivals per second", c.Rate, MaxRate)
	must(c.Burst >= 0, "burst %d: give 0 or more", c.Burst)
	must(c.Rate > 0 || c.Burst == 0 || c.Burst >= c.Buyers, "a burst of %d leaves %d buyers without a time to arrive: give a rate too", c.Burst, c.Buyers-c.Burst)
	must(c.Ramp >= 0 && (c.Ramp == 0 || c.Rate > 0), "ramp %v: give a positive time, and a rate to grow to", c.Ramp)
	must(!c.Phases || !c.BuyOnly, "buying only and asking afterwards: choose one")
	must(c.Quantity[0] >= 1 && c.Quantity[0] <= c.Quantity[1] && c.Quantity[1] <= seckill.MaxQuantity,
		"quantity %d to %d: give a range within 1 to %d, the lower number first", c.Quantity[0], c.Quantity[1], seckill.MaxQuantity)
	must(c.Token != nil, "no way to mint tokens: set Token")
	must(seckill.ValidBuyer(buyerID(c.Prefix, MaxBuyers)), "prefix %q: use printable characters, few enough that the buyer ids stay within 64", c.Prefix)
	must(c.Timeout > 0, "timeout %v: give a positive time", c.Timeout)
	must(c.Settle > 0, "settle %v: give a positive time", c.Settle)
	return c, errors.Join(problems...)
}

func parseServer(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("server %q: give a base address such as http://127.0.0.1:8080", s)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func buyerID(prefix string, n int) string { return fmt.Sprintf("%s-%07d", prefix, n) }
