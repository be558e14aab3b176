package sale

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"seckill"
	"seckill/internal/duty"
)

// Limits of the balancer. The rest after a count goes by what it has read, and not by how
// long it took: on a busy machine a fault is found as soon as on a quiet one. A sale is
// counted a fiftieth of the time at most, all sales together a twenty-fifth, where a row
// takes balanceRow. Where a store is slower, a sale is counted a twentieth of the time at
// most, and all sales together a sixth. What follows for the time in
// which a fault is found stands in docs/INVARIANTS.md, and TestTheLawOfSizes holds it.
const (
	balanceEvery   = time.Second     // between the beginnings of two counts of an open sale, at least
	balanceIdle    = 4 * time.Second // and of one that is not open
	balanceShare   = 50              // after a count a sale is left for so many times its estimated cost
	balanceOthers  = 25              // and no other sale is counted for so many times that cost
	balanceLeast   = 5               // at least so many times what the count took
	balanceOwn     = 20              // and for the sale itself so many times the quickest of its last three counts
	balanceRest    = time.Minute     // never longer than this
	balanceBase    = 2 * time.Millisecond
	balanceSum     = 500 * time.Nanosecond // a row that the store adds up
	balanceRow     = 3 * time.Microsecond  // a row that is read, of the store or of the gate
	balanceTime    = 10 * time.Second      // of one look
	balanceOutbox  = 20_000                // tickets without an outcome, beyond which they are not read
	balanceSlice   = 5_000                 // active orders compared with the gate in one count; the others follow in the next ones
	balanceHolds   = 1_000                 // holds of the gate compared with the store in one count
	balancePage    = 1_000                 // rows of one question
	balanceFound   = 100                   // tickets that break a rule and are asked for again in each count
	balanceKept    = 256                   // counts that are told
	balancePlaces  = 1_024                 // sales of which it is known how far they are counted
	balanceMoving  = 2 * time.Minute       // units may move without a moment's rest: longer than the unpaid orders of a minute's rush take to expire one after another
	balanceLife    = 15 * time.Second
	balanceStandby = 2 * time.Second
)

// BalanceStore is what the balancer needs of the store.
type BalanceStore interface {
	Sale(ctx context.Context, id seckill.SaleID) (seckill.Sale, error)
	Sales(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error)
	OpenMoves(ctx context.Context) ([]seckill.Move, error)
	// Weigh MUST read as of one moment, and MUST lock nothing.
	Weigh(ctx context.Context, id seckill.SaleID, seq int64, outbox []seckill.Ticket) (seckill.Weights, error)
	ActiveAfter(ctx context.Context, id seckill.SaleID, buyer string, max int) ([]seckill.Ticket, error)
	ActiveOf(ctx context.Context, id seckill.SaleID, buyers []string) ([]seckill.Ticket, error)
	Fates(ctx context.Context, tickets []string) (map[string]seckill.Fate, error)
	duty.Leases
}

// BalanceGate is what the balancer needs of the gate. None of it may keep a buyer waiting.
type BalanceGate interface {
	Now() time.Time
	Glance(ctx context.Context, id seckill.SaleID, most int) (seckill.Cut, error)
	Holds(ctx context.Context, id seckill.SaleID, buyers []string) (map[string]seckill.Hold, error)
	ScanHolds(ctx context.Context, id seckill.SaleID, cursor uint64, max int) ([]seckill.Hold, uint64, error)
}

// Balancer is the resident that counts the units of every sale, all the time, on one node
// at a time. It writes nothing.
type Balancer struct {
	Store BalanceStore
	Gate  BalanceGate
	// Watched are the sales that are counted all the time. Of the others one is in its turn.
	Watched func(ctx context.Context) ([]seckill.Sale, time.Time, error)
	Node    string // among those that want the duty
	Only    bool   // there is no other node
	Log     *slog.Logger

	metrics balanceMetrics
	older   seckill.SaleID // the last of the others that was counted
	others  time.Time      // when one of them is due
	places  map[seckill.SaleID]*place
	asking  duty.Complaint // which sales are watched

	mu     sync.Mutex
	counts map[seckill.SaleID]seckill.Balance
}

// place is how far the count of a sale is. The sums are counted each time, its orders and
// holds in slices, one in each count.
type place struct {
	due     time.Time        // of the next count
	counted time.Time        // when it was last counted, or found among the watched
	buyer   string           // behind whom the next slice of orders begins
	cursor  uint64           // where the next slice of holds begins
	began   time.Time        // the pass over all orders that is under way
	walked  time.Time        // when the last whole pass began; zero: there was none
	weighed time.Time        // when all units were last added up, by the gate's clock: not while some are moving
	found   []seckill.Breach // of tickets; they are asked for again in each count until they are mended
	failing duty.Complaint
	took    [3]time.Duration // of the last counts: a busy machine makes one slow, and a slow store all
}

type balanceMetrics struct {
	red     prometheus.Gauge
	oldest  prometheus.Gauge
	seconds prometheus.Counter
}

// Register makes the balancer's metrics. It is called before Run.
func (b *Balancer) Register(r prometheus.Registerer) {
	f := promauto.With(r)
	b.metrics = balanceMetrics{
		red:     f.NewGauge(prometheus.GaugeOpts{Name: "seckill_balance_red", Help: "Sales whose units do not add up, at the node that counts; 0 at the others."}),
		oldest:  f.NewGauge(prometheus.GaugeOpts{Name: "seckill_balance_counted_timestamp_seconds", Help: "Since when every open, coming or just ended sale has been counted: the time of the oldest of their counts, at the node that counts; 0 at the others."}),
		seconds: f.NewCounter(prometheus.CounterOpts{Name: "seckill_balance_seconds_total", Help: "Time that counting took."}),
	}
}

// Run counts until ctx is done.
func (b *Balancer) Run(ctx context.Context) error {
	lease := &duty.Lease{Leases: b.Store, Name: "balance", Owner: b.Node, Life: balanceLife, Standby: balanceStandby}
	defer lease.Release(ctx)
	for ctx.Err() == nil {
		mine, rest := b.Only, balanceEvery
		if !mine {
			held, err := lease.Held(ctx)
			if mine = held && err == nil; !mine {
				b.forget(err)
			}
		}
		if mine {
			rest = b.turn(ctx)
		}
		_ = duty.Rest(ctx, rest)
	}
	return nil
}

// forget drops the counts: another node has the duty. While nobody can tell who has it,
// the last counts stand, with their age.
func (b *Balancer) forget(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.metrics.red.Set(0)
	if err == nil {
		b.counts, b.places = nil, nil
		b.metrics.oldest.Set(0)
		return
	}
	for id, c := range b.counts {
		c.Says = err.Error()
		b.counts[id] = c
	}
}

// turn counts the sale that has been due for the longest time, if one is, and returns how
// long to rest before the next.
func (b *Balancer) turn(ctx context.Context) (rest time.Duration) {
	sales, _, err := b.Watched(ctx)
	if ctx.Err() == nil && b.asking.New(err) { // the sales are those of the last answer
		b.Log.Warn("balance: the sales that are open cannot be asked for", "error", err)
	}
	now := time.Now()
	all := append(b.red(sales), sales...)
	b.limit(all)
	var id seckill.SaleID
	due, every := now.Add(balanceEvery), balanceIdle
	for _, s := range all {
		if p := b.place(s.ID, now); p.due.Before(due) {
			id, due, every = s.ID, p.due, balanceIdle
			if at := b.Gate.Now(); !at.Before(s.OpensAt) && at.Before(s.ClosesAt) {
				every = balanceEvery
			}
		}
	}
	if b.others.Before(due) {
		id, due = 0, b.others
	}
	if due.After(now) {
		b.setOldest(sales)
		return due.Sub(now)
	}
	other := id == 0
	if other {
		b.others = now.Add(balanceEvery)
		if id = b.other(ctx, sales); id == 0 {
			return 0
		}
	}
	p := b.place(id, now)
	c, cost, took, err := b.count(ctx, id, p)
	if ctx.Err() != nil {
		return 0
	}
	b.metrics.seconds.Add(took.Seconds())
	p.took[0], p.took[1], p.took[2] = took, p.took[0], p.took[1]
	p.due = later(now.Add(every), time.Now().Add(min(max(cost*balanceShare, balanceLeast*took, balanceOwn*slices.Min(p.took[:])), balanceRest)))
	if other { // they share what one sale may cost
		b.others = p.due
	}
	switch {
	case errors.Is(err, seckill.ErrNotFound):
		p.counted = now // there is nothing to count
		b.drop(id)
	default:
		if p.failing.New(err) {
			b.Log.Warn("balance: a sale cannot be counted", "sale", id, "error", err)
		}
		if b.keep(c, err); err == nil {
			p.counted = now
		}
	}
	b.setOldest(sales)
	return min(max(cost*balanceOthers, balanceLeast*took), balanceRest)
}

// red are the sales that do not add up and that nobody watches any more: until they add up,
// or are gone, they are counted as if somebody did.
func (b *Balancer) red(watched []seckill.Sale) (sales []seckill.Sale) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, c := range b.counts {
		if c.OK != nil && !*c.OK && !slices.ContainsFunc(watched, func(s seckill.Sale) bool { return s.ID == id }) {
			sales = append(sales, seckill.Sale{ID: id})
		}
	}
	return sales
}

// drop forgets the count of a sale that is gone.
func (b *Balancer) drop(id seckill.SaleID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.counts, id)
	b.setRed()
}

// setRed says how many sales do not add up. It is called with the lock.
func (b *Balancer) setRed() {
	red := 0
	for _, c := range b.counts {
		if c.OK != nil && !*c.OK {
			red++
		}
	}
	b.metrics.red.Set(float64(red))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// other is the next sale that nobody watches, of all there are; 0: it is one that somebody
// does, or the end of them.
func (b *Balancer) other(ctx context.Context, watched []seckill.Sale) seckill.SaleID {
	others, err := b.Store.Sales(ctx, b.older, 1)
	if b.older = 0; err != nil || len(others) == 0 {
		return 0
	}
	b.older = others[0].ID
	if slices.ContainsFunc(watched, func(s seckill.Sale) bool { return s.ID == b.older }) {
		return 0
	}
	return b.older
}

func (b *Balancer) place(id seckill.SaleID, now time.Time) *place {
	p := b.places[id]
	if p == nil {
		if b.places == nil {
			b.places = map[seckill.SaleID]*place{}
		}
		p = &place{counted: now}
		b.places[id] = p
	}
	return p
}

// limit forgets the places of sales that nobody watches, when there are too many.
func (b *Balancer) limit(watched []seckill.Sale) {
	if len(b.places) < balancePlaces {
		return
	}
	kept := map[seckill.SaleID]*place{}
	for _, s := range watched {
		if p := b.places[s.ID]; p != nil {
			kept[s.ID] = p
		}
	}
	b.places = kept
}

// setOldest says how old the oldest count of the watched sales is.
func (b *Balancer) setOldest(watched []seckill.Sale) {
	oldest := time.Now()
	for _, s := range watched {
		if p := b.places[s.ID]; p != nil && p.counted.Before(oldest) {
			oldest = p.counted
		}
	}
	b.metrics.oldest.Set(float64(oldest.UnixMilli()) / 1000)
}

// keep notes a count. One that failed leaves the last one, and says why it is old.
func (b *Balancer) keep(c seckill.Balance, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.counts[c.Sale]
	if err != nil {
		says := err.Error()
		if errors.Is(err, seckill.ErrClosed) {
			says = "the gate has no state of the sale until it is rebuilt"
		}
		was.Sale, was.Says = c.Sale, says
		c = was
	}
	if b.counts == nil {
		b.counts = map[seckill.SaleID]seckill.Balance{}
	}
	b.counts[c.Sale] = c
	if err == nil {
		if !*c.OK && (was.OK == nil || *was.OK) {
			b.Log.Error("balance: the units of a sale do not add up", "sale", c.Sale, "violations", c.Violations)
		}
		if *c.OK && was.OK != nil && !*was.OK {
			b.Log.Info("balance: the units of a sale add up again", "sale", c.Sale)
		}
	}
	b.setRed()
	for len(b.counts) > balanceKept { // the oldest green one goes
		var oldest seckill.Balance
		for _, c := range b.counts {
			if (c.OK == nil || *c.OK) && (oldest.Sale == 0 || c.At.Before(oldest.At)) {
				oldest = c
			}
		}
		if oldest.Sale == 0 {
			break
		}
		delete(b.counts, oldest.Sale)
	}
}

// Balances are the last counts of this node, if it has the duty.
func (b *Balancer) Balances() map[seckill.SaleID]seckill.Balance {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[seckill.SaleID]seckill.Balance, len(b.counts))
	for id, c := range b.counts {
		all[id] = c
	}
	return all
}

// count counts one sale: its sums, and a slice of its orders and holds. A breach counts
// only when it stands on every look, as in the audit: gate and store are not read at the
// same moment. The tickets that break a rule are asked for again in the later looks, and in
// every count after this one until they are mended. cost is what it takes by the number of
// rows, took what it took, without the pauses.
func (b *Balancer) count(ctx context.Context, id seckill.SaleID, p *place) (c seckill.Balance, cost, took time.Duration, err error) {
	standing := p.found
	for n := range auditLooks {
		if n > 0 {
			if err := duty.Rest(ctx, auditPause<<n); err != nil {
				return c, cost, took, err
			}
		}
		began := time.Now()
		l := &look{Balancer: b, sale: id, suspects: standing, place: p}
		if n == 0 {
			l.slice = p
		}
		c, err = l.look(ctx)
		took, cost = took+time.Since(began), cost+l.cost
		if err != nil {
			return seckill.Balance{Sale: id}, cost, took, err
		}
		if n == 0 {
			standing = c.Violations
		}
		standing = slices.DeleteFunc(slices.Clone(c.Violations), func(v seckill.Breach) bool { return !slices.ContainsFunc(standing, same(v)) })
		if len(standing) == 0 {
			break
		}
	}
	if c.Violations = standing; c.Violations == nil {
		c.Violations = []seckill.Breach{}
	}
	p.found = slices.DeleteFunc(slices.Clone(standing), func(v seckill.Breach) bool { return v.Buyer == "" })
	p.found = p.found[:min(len(p.found), balanceFound)]
	ok := len(c.Violations) == 0
	c.OK, c.Walked = &ok, p.walked
	return c, cost, took, nil
}

func same(v seckill.Breach) func(seckill.Breach) bool {
	return func(o seckill.Breach) bool { return o.Rule == v.Rule && o.Ticket == v.Ticket }
}
