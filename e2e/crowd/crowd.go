// Package crowd is everybody who meets a node that dies under them: buyers with
// quantities and repeats who pay, cancel, let expire and buy again, and an
// administrator who creates sales, pauses them and moves stock up and down.
//
// Everybody follows the contract: after an unknown outcome they ask, and repeat.
// Everybody keeps a log of what they were told, and Finish holds that log
// against what the node says at last.
package crowd

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/duty"
)

// The rules, named like the invariants where there is one.
const (
	ruleContract   = "answers as promised"
	ruleEligible   = "eligible" // a buyer has a ticket of a sale that is not for it, or is told so of one that is
	ruleAnswered   = "everybody answered"
	ruleLost       = "no lost accept"
	ruleOneTicket  = "one ticket"
	ruleStable     = "stable outcome"
	ruleKept       = "promise kept" // a queued buyer is refused: the gate had promised too much
	ruleOrders     = "orders"
	ruleOwnerOnly  = "owner only"
	ruleAudit      = "audit"
	ruleConserved  = "conservation"
	ruleUndersell  = "no undersell"
	ruleWindow     = "window"
	ruleMove       = "stock move"
	ruleForgetting = "nothing pending at rest"
)

const (
	tokenLife = 24 * time.Hour
	flagTime  = 2 * time.Second  // units that come back are sold again within it
	restTime  = 30 * time.Second // every promise is settled within it, once the node stays up
)

// Config says who comes. The zero value of a field is its default.
type Config struct {
	URL    string // where the node is, when it is up; of several nodes, with a comma between
	Secret []byte
	Seed   uint64
	Away   time.Duration // how long a part may be away while everybody waits

	Buyers  int   // at most; default 100,000
	Workers int   // buyers at once; default 16
	Units   int64 // of each sale; default 40

	// Defended lets the sales ask for what a sale can ask for against bots (see defences).
	Defended bool

	// Visits are the units of one more sale, for whoever Visit lets in: the others
	// leave it alone, and so does the administrator. 0: there is none.
	Visits int64
}

// Crowd is one run against one node.
type Crowd struct {
	Config
	client *asker
	admin  string
	tag    string // of this run, in buyers' ids and titles

	salesMu sync.Mutex
	sales   []*sale
	visited *sale // not among them

	buyersMu  sync.Mutex
	buyers    []*buyer
	nextBuyer atomic.Int64

	stop     chan struct{}
	stopOnce sync.Once
	running  sync.WaitGroup
	tickets  sync.Map // ticket id → buyer id
	Stats    Stats

	foundMu  sync.Mutex
	findings []string
}

// Stats count what was done, each when it was confirmed.
type Stats struct {
	Sales, Buyers, Passes, Requests, Tickets, Paid, Cancelled, Expired, Refunded, Grown, Shrunk, ShrinkRefused, Pauses, Audits atomic.Int64
}

// Each calls f for every count.
func (s *Stats) Each(f func(name string, n *atomic.Int64)) {
	f("sales", &s.Sales)
	f("buyers", &s.Buyers)
	f("passes", &s.Passes)
	f("buy requests", &s.Requests)
	f("tickets", &s.Tickets)
	f("orders paid", &s.Paid)
	f("orders cancelled", &s.Cancelled)
	f("orders expired", &s.Expired)
	f("orders refunded", &s.Refunded)
	f("stock moves up", &s.Grown)
	f("stock moves down", &s.Shrunk)
	f("stock moves down refused", &s.ShrinkRefused)
	f("pauses", &s.Pauses)
	f("audits", &s.Audits)
}

// sale is what the administrator's log says about a sale.
type sale struct {
	id    seckill.SaleID
	limit int
	short bool // its unpaid orders expire at once

	mu      sync.Mutex
	total   int64 // units: created with, and moved since
	windows [][2]time.Time
	moves   int
}

func (s *sale) path(rest string) string { return "/api/sales/" + s.id.String() + rest }
func (s *sale) adminPath(rest string) string {
	return "/api/admin/sales/" + s.id.String() + rest
}

// New prepares a crowd; nobody comes before Start.
func New(c Config) *Crowd {
	if c.Buyers == 0 {
		c.Buyers = 100_000
	}
	if c.Workers == 0 {
		c.Workers = 16
	}
	if c.Units == 0 {
		c.Units = 40
	}
	crowd := &Crowd{Config: c, stop: make(chan struct{}), tag: fmt.Sprintf("s%d", c.Seed)}
	crowd.client = newAsker(strings.Split(c.URL, ","), c.Seed, crowd.found)
	crowd.admin = crowd.token("admin", seckill.RoleAdmin)
	return crowd
}

func (c *Crowd) buyerID(n int64) string { return fmt.Sprintf("%s-%d", c.tag, n) }

func (c *Crowd) token(who, role string) string {
	token, err := account.Mint(c.Secret, who, role, tokenLife)
	if err != nil {
		panic(err) // the ids are made here
	}
	return token
}

// found notes that something does not add up.
func (c *Crowd) found(rule, format string, args ...any) {
	c.foundMu.Lock()
	defer c.foundMu.Unlock()
	c.findings = append(c.findings, rule+": "+fmt.Sprintf(format, args...))
}

func (c *Crowd) answered(err error) bool {
	if err != nil {
		c.found(ruleAnswered, "%v", err)
	}
	return err == nil
}

// Start creates the sales and lets everybody in. They come until Finish, however
// often the node dies meanwhile; ctx bounds all of it.
func (c *Crowd) Start(ctx context.Context) error {
	random := mathrand.New(mathrand.NewPCG(c.Seed, 0))
	if c.Defended {
		if err := c.list(ctx); err != nil {
			return err
		}
	}
	for _, s := range []*sale{{limit: 3}, {limit: 1}, {limit: 2, short: true}} {
		if err := c.create(ctx, s, c.Units+random.Int64N(c.Units)); err != nil {
			return err
		}
	}
	if c.Visits > 0 {
		c.visited = &sale{limit: visitedLimit}
		if err := c.create(ctx, c.visited, c.Visits); err != nil {
			return err
		}
	}
	for range c.Workers {
		c.running.Go(func() {
			for {
				n := c.nextBuyer.Add(1)
				if n > int64(c.Buyers) || c.stopped() {
					return
				}
				b := c.newBuyer(n)
				if !c.answered(c.live(ctx, b)) {
					return
				}
				c.breathe(ctx, b)
			}
		})
	}
	c.running.Go(func() { c.answered(c.administer(ctx, mathrand.New(mathrand.NewPCG(c.Seed, 1<<32)))) })
	return nil
}

// breathe waits a little before the next buyer comes after b: a crowd that is turned away
// in microseconds would only fill the log.
func (c *Crowd) breathe(ctx context.Context, b *buyer) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.random.Int64N(int64(40*time.Millisecond))))
	defer cancel()
	select {
	case <-c.stop:
	case <-ctx.Done():
	}
}

func (c *Crowd) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// openSales are those that everybody buys in.
func (c *Crowd) openSales() []*sale {
	c.salesMu.Lock()
	defer c.salesMu.Unlock()
	return slices.Clone(c.sales)
}

func (c *Crowd) allSales() []*sale {
	if c.visited == nil {
		return c.openSales()
	}
	return append(c.openSales(), c.visited)
}

// create makes a sale, exactly once: after a lost answer it looks for it.
func (c *Crowd) create(ctx context.Context, s *sale, units int64) error {
	hold := 6 * 3600
	if s.short {
		hold = 1
	}
	title := fmt.Sprintf("%s %d", c.tag, mathrand.Int64())
	now := time.Now().UTC()
	body := map[string]any{
		"title": title, "price": 9900, "currency": "CNY", "total": units, "limit_per_buyer": s.limit,
		"opens_at": now.Add(-time.Minute), "closes_at": now.Add(24 * time.Hour), "hold_seconds": hold,
	}
	if c.defends(s) {
		body["pass"], body["challenge"], body["tries_per_buyer"] = defences.Pass, defences.Challenge, defences.TriesPerBuyer
		body["eligible"], body["account_age_seconds"] = defences.Eligible, defences.AccountAgeSeconds
	}
	for {
		a, err := c.client.once(ctx, "POST", "/api/admin/sales", c.admin, body)
		var created seckill.Sale
		switch {
		case err == nil && a.Status == 201 && a.Says(&created):
		case err == nil && a.Usable():
			return fmt.Errorf("create a sale: %v", a)
		default:
			if duty.Rest(ctx, again) != nil {
				return fmt.Errorf("create a sale: no answer in time: %v %v", a, err)
			}
			a, err := c.client.insist(ctx, "GET", "/api/admin/sales?limit=100", c.admin, nil)
			if err != nil {
				return err
			}
			var list struct{ Items []seckill.Sale }
			if a.Status != 200 || !a.Says(&list) {
				return fmt.Errorf("list sales: %v", a)
			}
			i := slices.IndexFunc(list.Items, func(s seckill.Sale) bool { return s.Title == title })
			if i < 0 {
				continue
			}
			created = list.Items[i]
		}
		s.id, s.total = created.ID, units
		if s != c.visited {
			c.salesMu.Lock()
			c.sales = append(c.sales, s)
			c.salesMu.Unlock()
		}
		c.Stats.Sales.Add(1)
		return nil
	}
}

// defends reports whether buyers of the sale need a pass.
func (c *Crowd) defends(s *sale) bool { return c.Defended && s != c.visited }

// administer changes sales until everybody is asked to stop.
func (c *Crowd) administer(ctx context.Context, random *mathrand.Rand) error {
	for created := 0; !c.stopped(); {
		sales := c.openSales()
		s := sales[random.IntN(len(sales))]
		var err error
		switch random.IntN(8) {
		case 0, 1:
			err = c.move(ctx, s, 1+random.Int64N(8), random.IntN(3) == 0)
		case 2, 3:
			err = c.move(ctx, s, -1-random.Int64N(8), random.IntN(3) == 0)
		case 4, 5:
			err = c.pauseSale(ctx, s, time.Duration(random.IntN(60))*time.Millisecond)
		case 6:
			err = c.describe(ctx, s, random.Int64())
		default:
			if created < 3 {
				created++
				err = c.create(ctx, &sale{limit: 2}, 10+random.Int64N(20))
			}
		}
		if err == nil {
			_, err = c.audit(ctx, s)
		}
		if err != nil {
			return err
		}
		if duty.Rest(ctx, time.Duration(random.IntN(20))*time.Millisecond) != nil {
			return ctx.Err()
		}
	}
	return nil
}

// move moves stock, once, and with twice set says so again.
func (c *Crowd) move(ctx context.Context, s *sale, delta int64, twice bool) error {
	s.moves++
	body := map[string]any{"id": fmt.Sprintf("move-%d", s.moves), "delta": delta}
	a, err := c.client.insist(ctx, "POST", s.adminPath("/stock"), c.admin, body)
	if err != nil {
		return err
	}
	switch {
	case a.Status == 200:
	case a.Status == 409 && a.Code == "stock" && delta < 0:
		c.Stats.ShrinkRefused.Add(1)
		return nil
	default:
		c.found(ruleMove, "sale %s, delta %d: %v", s.id, delta, a)
		return nil
	}
	s.mu.Lock()
	s.total += delta
	s.mu.Unlock()
	if delta > 0 {
		c.Stats.Grown.Add(1)
	} else {
		c.Stats.Shrunk.Add(1)
	}
	if twice {
		a, err := c.client.insist(ctx, "POST", s.adminPath("/stock"), c.admin, body)
		if err != nil {
			return err
		}
		var now seckill.Sale
		if a.Status != 200 || !a.Says(&now) || now.Total != s.total {
			c.found(ruleMove, "sale %s, total %d, the move %v again: %v", s.id, s.total, body, a)
		}
	}
	return nil
}

// pauseSale pauses a sale for a while and notes the time in which it was: nobody
// may have been admitted then.
func (c *Crowd) pauseSale(ctx context.Context, s *sale, d time.Duration) error {
	a, err := c.client.insist(ctx, "POST", s.adminPath("/pause"), c.admin, nil)
	if err != nil {
		return err
	}
	from := time.Now()
	var now seckill.Sale
	if a.Status != 200 || !a.Says(&now) || now.State != seckill.StatePaused {
		c.found(ruleContract, "pause sale %s: %v", s.id, a)
	}
	duty.Rest(ctx, d)
	s.mu.Lock()
	s.windows = append(s.windows, [2]time.Time{from, time.Now()})
	s.mu.Unlock()
	a, err = c.client.insist(ctx, "POST", s.adminPath("/resume"), c.admin, nil)
	if err == nil && (a.Status != 200 || !a.Says(&now) || now.State == seckill.StatePaused) {
		c.found(ruleContract, "resume sale %s: %v", s.id, a)
	}
	c.Stats.Pauses.Add(1)
	return err
}

// describe changes what the gate does not decide by: a version like any other.
func (c *Crowd) describe(ctx context.Context, s *sale, n int64) error {
	text := fmt.Sprintf("described as %d", n)
	a, err := c.client.insist(ctx, "PATCH", s.adminPath(""), c.admin, map[string]any{"description": text})
	var now seckill.Sale
	if err == nil && (a.Status != 200 || !a.Says(&now) || now.Description != text) {
		c.found(ruleContract, "describe sale %s: %v", s.id, a)
	}
	return err
}

// audit asks for the audit, which must hold at any time.
func (c *Crowd) audit(ctx context.Context, s *sale) (r seckill.Report, err error) {
	a, err := c.client.insist(ctx, "GET", s.adminPath("/audit"), c.admin, nil)
	if err != nil {
		return r, err
	}
	if a.Status != 200 || !a.Says(&r) || !r.OK || len(r.Violations) > 0 {
		c.found(ruleAudit, "sale %s: %v", s.id, a)
	}
	c.Stats.Audits.Add(1)
	return r, nil
}

// Findings are what does not add up so far.
func (c *Crowd) Findings() []string {
	c.foundMu.Lock()
	defer c.foundMu.Unlock()
	return slices.Clone(c.findings)
}

// String describes the sales, for the message of a failure.
func (c *Crowd) String() string {
	var b strings.Builder
	for _, s := range c.allSales() {
		s.mu.Lock()
		fmt.Fprintf(&b, "sale %s: %d units by the log, limit %d\n", s.id, s.total, s.limit)
		s.mu.Unlock()
	}
	return b.String()
}

// Counts are the statistics by name.
func (s *Stats) Counts() map[string]int64 {
	m := map[string]int64{}
	s.Each(func(name string, n *atomic.Int64) { m[name] = n.Load() })
	return m
}
