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
// long it took: on a busy machine a fault is found as soon as on a quiet one. It works a
// fiftieth of the time where a row takes balanceRow, and a sixth of it at most anywhere.
const (
	balanceShare   = 50                   // a count is followed by a rest that is so many times as long as its rows take
	balanceRow     = 4 * time.Microsecond // of the store or of the gate
	balanceBase    = 500                  // rows that a count costs without reading any
	balanceLeast   = 5                    // and at least so many times as long as it took
	balanceRest    = time.Minute          // and is no longer than this
	balanceEvery   = time.Second          // between two counts of the same sale, at least
	balanceTime    = 10 * time.Second
	balanceOutbox  = 20_000 // tickets without an outcome, beyond which they are not read
	balanceActive  = 20_000 // active orders held against the gate in one count; the others follow in the next
	balanceHolds   = 5_000  // holds of the gate held against the store in one count
	balancePage    = 1_000  // rows of one question
	balanceKept    = 64     // counts that are told
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
	// Watched are the sales that are counted in every turn. Of the others one is.
	Watched func(ctx context.Context) ([]seckill.Sale, time.Time, error)
	Node    string // among those that want the duty
	Only    bool   // there is no other node
	Log     *slog.Logger

	metrics balanceMetrics
	older   seckill.SaleID // the last of the others that was counted
	places  map[seckill.SaleID]place
	rows    int64 // that the last count has read

	mu     sync.Mutex
	counts map[seckill.SaleID]seckill.Balance
}

// place is how far the orders and the holds of a sale have been held against one another.
type place struct {
	buyer  string
	cursor uint64
}

type balanceMetrics struct {
	red     prometheus.Gauge
	counted prometheus.Gauge
	seconds prometheus.Counter
}

// Register makes the balancer's metrics. It is called before Run.
func (b *Balancer) Register(r prometheus.Registerer) {
	f := promauto.With(r)
	b.metrics = balanceMetrics{
		red:     f.NewGauge(prometheus.GaugeOpts{Name: "seckill_balance_red", Help: "Sales whose units do not add up, at the node that counts; 0 at the others."}),
		counted: f.NewGauge(prometheus.GaugeOpts{Name: "seckill_balance_counted_timestamp_seconds", Help: "When this node last counted a sale; 0: it has not had the duty."}),
		seconds: f.NewCounter(prometheus.CounterOpts{Name: "seckill_balance_seconds_total", Help: "Time that counting took."}),
	}
}

// Run counts until ctx is done.
func (b *Balancer) Run(ctx context.Context) error {
	lease := &duty.Lease{Leases: b.Store, Name: "balance", Owner: b.Node, Life: balanceLife, Standby: balanceStandby}
	defer lease.Release(ctx)
	b.places = map[seckill.SaleID]place{}
	var complaint duty.Complaint
	for ctx.Err() == nil {
		began := time.Now()
		mine := b.Only
		if !mine {
			held, err := lease.Held(ctx)
			if mine = held && err == nil; !mine {
				b.forget(err)
			}
		}
		if mine {
			if err := b.turn(ctx); ctx.Err() == nil && complaint.New(err) {
				b.Log.Warn("balance: not every sale can be counted", "error", err)
			}
		}
		_ = duty.Rest(ctx, max(balanceEvery-time.Since(began), balanceEvery/10))
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
		b.counts = nil
		return
	}
	for id, c := range b.counts {
		c.Says = err.Error()
		b.counts[id] = c
	}
}

// turn counts the watched sales and one other, with a rest after each.
func (b *Balancer) turn(ctx context.Context) (failed error) {
	sales, _, err := b.Watched(ctx)
	if err != nil {
		failed = err // they are those of the last answer
	}
	if others, err := b.Store.Sales(ctx, b.older, 1); err == nil {
		if b.older = 0; len(others) > 0 {
			b.older = others[0].ID
			if !slices.ContainsFunc(sales, func(s seckill.Sale) bool { return s.ID == others[0].ID }) {
				sales = append(slices.Clone(sales), others[0])
			}
		}
	}
	for _, s := range sales {
		c, took, err := b.count(ctx, s.ID)
		if errors.Is(err, seckill.ErrNotFound) {
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			failed = err
		}
		b.keep(c, err)
		b.metrics.seconds.Add(took.Seconds())
		if duty.Rest(ctx, min(max(time.Duration(b.rows)*balanceRow*balanceShare, balanceLeast*took), balanceRest)) != nil {
			return nil
		}
	}
	return failed
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
		b.metrics.counted.SetToCurrentTime()
		if !*c.OK && (was.OK == nil || *was.OK) {
			b.Log.Error("balance: the units of a sale do not add up", "sale", c.Sale, "violations", c.Violations)
		}
		if *c.OK && was.OK != nil && !*was.OK {
			b.Log.Info("balance: the units of a sale add up again", "sale", c.Sale)
		}
	}
	red := 0
	for _, c := range b.counts {
		if c.OK != nil && !*c.OK {
			red++
		}
	}
	b.metrics.red.Set(float64(red))
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

// count counts one sale. A breach counts only when it stands on every look, as in the
// audit: gate and store are not read at the same moment. took is without the pauses.
func (b *Balancer) count(ctx context.Context, id seckill.SaleID) (c seckill.Balance, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, balanceTime)
	defer cancel()
	c.Sale, b.rows = id, balanceBase
	var standing []seckill.Breach
	from := b.places[id]
	for look := range auditLooks {
		if look > 0 {
			if err := duty.Rest(ctx, auditPause<<look); err != nil {
				return c, took, err
			}
		}
		next, began := from, time.Now()
		seen, err := b.look(ctx, id, &next, standing)
		took += time.Since(began)
		if err != nil {
			return seckill.Balance{Sale: id}, took, err
		}
		b.places[id] = next
		c = seen
		if look == 0 {
			standing = c.Violations
		}
		same := func(v seckill.Breach) func(seckill.Breach) bool {
			return func(o seckill.Breach) bool { return o.Rule == v.Rule && o.Ticket == v.Ticket }
		}
		standing = slices.DeleteFunc(slices.Clone(c.Violations), func(v seckill.Breach) bool { return !slices.ContainsFunc(standing, same(v)) })
		if len(standing) == 0 {
			break
		}
	}
	if c.Violations = standing; c.Violations == nil {
		c.Violations = []seckill.Breach{}
	}
	ok := len(c.Violations) == 0
	c.OK = &ok
	return c, took, nil
}

// look counts one sale once. suspects are the breaches of the look before; the holds of
// their buyers are checked again even if this part of the holds lacks them.
func (b *Balancer) look(ctx context.Context, id seckill.SaleID, from *place, suspects []seckill.Breach) (c seckill.Balance, err error) {
	before, err := b.Store.Sale(ctx, id)
	if err != nil {
		return c, err
	}
	c = seckill.Balance{Sale: id, At: b.Gate.Now().UTC().Truncate(time.Millisecond)}
	cut, err := b.Gate.Glance(ctx, id, balanceOutbox)
	if err != nil {
		return c, err
	}
	moves, err := b.Store.OpenMoves(ctx)
	if err != nil {
		return c, err
	}
	w, err := b.Store.Weigh(ctx, id, cut.Seq, cut.Outbox)
	if err != nil {
		return c, err
	}
	after, err := b.Gate.Glance(ctx, id, 0)
	if err != nil {
		return c, err
	}
	b.rows += int64(2*len(cut.Outbox)) + w.Unpaid + w.Paid // units: at least as many as orders
	moving := w.Returning > 0 || w.Growing > 0 || before.Total != w.Sale.Total || cut.Freed != after.Freed ||
		slices.ContainsFunc(moves, func(m seckill.Move) bool { return m.Sale == id })
	sums, breaches := w.Weigh(&cut, !moving)
	c.Sums, c.Money = &sums, w.Money
	if cut.Epoch != w.Sale.Epoch || cut.Epoch != after.Epoch {
		// A rebuild is under way: what the gate has is counted again just now.
		breaches = slices.DeleteFunc(breaches, func(v seckill.Breach) bool { return v.Rule != "counter" && v.Rule != "money" })
		c.Violations = breaches
		return c, nil
	}
	if cut.Partial {
		c.Says = "too many tickets wait for their outcome to be counted one by one"
	}
	if c.Violations = breaches; w.Sale.Retired {
		return c, nil // the gate has forgotten its buyers
	}
	held, err := b.heldAgainst(ctx, &w.Sale, &cut, from, suspects)
	c.Violations = append(c.Violations, held...)
	return c, err
}

// heldAgainst holds a part of the orders and of the gate's holds against one another,
// ticket by ticket.
func (b *Balancer) heldAgainst(ctx context.Context, sale *seckill.Sale, cut *seckill.Cut, from *place, suspects []seckill.Breach) (breaches []seckill.Breach, err error) {
	id := sale.ID
	for read := 0; read < balanceActive; {
		active, err := b.Store.ActiveAfter(ctx, id, from.buyer, balancePage)
		if err != nil {
			return nil, err
		}
		buyers := make([]string, len(active))
		for i := range active {
			buyers[i] = active[i].Buyer
		}
		holds, err := b.Gate.Holds(ctx, id, buyers)
		if err != nil {
			return nil, err
		}
		given, err := b.Gate.Glance(ctx, id, 0)
		if err != nil {
			return nil, err
		}
		for _, order := range active {
			h, held := holds[order.Buyer]
			if v, wrong := seckill.Mismatch(order, h, held); wrong {
				breaches = append(breaches, v)
			} else if order.Seq > given.Seq {
				breaches = append(breaches, seckill.Breach{Rule: "only the gate admits", Ticket: order.ID, Says: "its number is beyond the last one that the gate has given"})
			}
		}
		read += len(active)
		b.rows += int64(2 * len(active))
		if from.buyer = ""; len(active) < balancePage {
			break
		}
		from.buyer = active[len(active)-1].Buyer
	}
	holds, next, err := b.Gate.ScanHolds(ctx, id, from.cursor, balanceHolds)
	if err != nil {
		return nil, err
	}
	from.cursor = next
	b.rows += int64(2 * len(holds))
	var again []string
	for _, v := range suspects {
		again = append(again, v.Buyer)
	}
	suspected, err := b.Gate.Holds(ctx, id, again)
	if err != nil {
		return nil, err
	}
	for _, h := range suspected {
		if !slices.ContainsFunc(holds, func(o seckill.Hold) bool { return o.ID == h.ID }) {
			holds = append(holds, h)
		}
	}
	more, err := b.fates(ctx, holds, cut)
	return append(breaches, more...), err
}

// fates asks the store what became of holds that wait or are placed.
func (b *Balancer) fates(ctx context.Context, holds []seckill.Hold, cut *seckill.Cut) (breaches []seckill.Breach, err error) {
	holds = slices.DeleteFunc(holds, func(h seckill.Hold) bool {
		return !h.State.Active() || h.State == seckill.HoldPending && (cut.Partial || h.Seq > cut.Seq)
	})
	waits := make(map[string]bool, len(cut.Outbox))
	for _, t := range cut.Outbox {
		waits[t.ID] = true
	}
	for some := range slices.Chunk(holds, balancePage) {
		ids := make([]string, len(some))
		for i := range some {
			ids[i] = some[i].ID
		}
		fates, err := b.Store.Fates(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, h := range some {
			f, known := fates[h.ID]
			if v, wrong := seckill.Mislaid(h, f, known, waits[h.ID]); wrong {
				breaches = append(breaches, v)
			}
		}
	}
	return breaches, nil
}
