package payment

import (
	"context"
	"crypto/rand"
	"time"

	"seckill"
	"seckill/internal/duty"
)

// Limits of the auditor.
const (
	auditLease = "audit of money"
	watchCheck = 15 * time.Second // between two looks at what waits, and two rounds of the audit
	auditTime  = 3 * watchCheck   // of the lease: how long nobody counts after the counting node was killed
	countPage  = 200              // sales: in one round the newest, and as many of those before them
)

// Auditor counts the money that waits, on every node, and holds the money of all sales
// against their orders, which one node does at a time.
type Auditor struct{ *Payments }

// Run does so until ctx is done.
func (p Auditor) Run(ctx context.Context) error {
	lease := &duty.Lease{Leases: p.Store, Name: auditLease, Owner: rand.Text(), Life: auditTime, Standby: dutyCheck}
	defer lease.Release(ctx)
	var t tally
	for ctx.Err() == nil {
		if m, err := p.Store.MoneyState(ctx); err == nil {
			p.waiting(m)
		}
		if held, err := lease.Held(ctx); held {
			counting, cancel := context.WithDeadline(ctx, lease.Until())
			p.count(counting, &t)
			cancel()
		} else if err == nil {
			t = tally{} // another node counts
		}
		p.unexplained(&t)
		duty.Rest(ctx, watchCheck)
	}
	return nil
}

// waiting shows what waits.
func (p *Payments) waiting(m seckill.MoneyState) {
	age := func(since time.Time) float64 {
		if since.IsZero() {
			return 0
		}
		return max(0, m.Now.Sub(since).Seconds())
	}
	p.metrics.aside.Set(float64(m.Aside))
	p.metrics.late.Set(float64(m.Late))
	p.metrics.due.Set(float64(m.Due))
	p.metrics.dueAge.Set(age(m.OldestDue))
	p.metrics.earlyAge.Set(age(m.OldestEarly))
}

// tally is how far the audit is.
type tally struct {
	wrong map[seckill.SaleID]map[string]int64 // money that is not explained, by sale and currency
	older seckill.SaleID                      // sales before it come next; 0: it begins again behind the newest
}

// count is one round: what no order is known for, the newest sales, and some of the older
// ones, so that all of them come by, retired ones too. Each is counted as of one moment. A
// difference stays until its sale comes by again and has none.
func (p *Payments) count(ctx context.Context, t *tally) {
	if t.wrong == nil {
		t.wrong = map[seckill.SaleID]map[string]int64{}
	}
	if !p.countSale(ctx, t, 0) {
		return
	}
	last, more := p.countPage(ctx, t, 0)
	switch {
	case !more:
		t.older = 0
	case t.older == 0:
		t.older = last
	default:
		if t.older, more = p.countPage(ctx, t, t.older); !more {
			t.older = 0
		}
	}
}

// countPage counts the sales before one, and returns the last of them and whether there
// are more.
func (p *Payments) countPage(ctx context.Context, t *tally, before seckill.SaleID) (last seckill.SaleID, more bool) {
	sales, err := p.Store.Sales(ctx, before, countPage)
	if err != nil {
		return before, true
	}
	for _, s := range sales {
		if !p.countSale(ctx, t, s.ID) {
			return before, true
		}
		before = s.ID
	}
	return before, len(sales) == countPage
}

// countSale counts the money of one sale, or, of sale 0, what no order is known for.
func (p *Payments) countSale(ctx context.Context, t *tally, id seckill.SaleID) bool {
	all, err := p.Store.Money(ctx, id)
	if err != nil {
		return false
	}
	wrong := map[string]int64{}
	for _, m := range all {
		if n := m.Unexplained(); n != 0 {
			wrong[m.Currency] = max(n, -n)
			if t.wrong[id][m.Currency] != wrong[m.Currency] {
				p.Log.Error("payment: money of a sale is not explained", "sale", id, "currency", m.Currency, "unexplained", n)
			}
		}
	}
	if delete(t.wrong, id); len(wrong) > 0 {
		t.wrong[id] = wrong
	}
	return true
}

// unexplained shows what the audit has found.
func (p *Payments) unexplained(t *tally) {
	sums := map[string]int64{"": 0}
	for _, wrong := range t.wrong {
		delete(sums, "")
		for currency, n := range wrong {
			sums[currency] += n
		}
	}
	p.metrics.unexplained.Reset()
	for currency, n := range sums {
		p.metrics.unexplained.WithLabelValues(currency).Set(float64(n))
	}
}
