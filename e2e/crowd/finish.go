package crowd

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
	nodes "seckill/e2e/node"
	"seckill/internal/duty"
)

// Stop asks everybody to come to an end. It may be repeated.
func (c *Crowd) Stop() { c.stopOnce.Do(func() { close(c.stop) }) }

// Finish waits for everybody, drives what they began to its end, and returns
// everything that does not add up. The node must stay up. ops is the address of
// its operations listener, empty where a node does not count what is pending. Stop
// must have been called, and nobody visits any more.
func (c *Crowd) Finish(ctx context.Context, ops string) []string {
	defer c.client.http.CloseIdleConnections()
	c.running.Wait()
	for _, step := range []func(context.Context) error{
		c.askAgain,
		c.payAll,
		c.sellOut,
		c.checkAll,
		func(ctx context.Context) error { return c.checkNothingPending(ctx, ops) },
	} {
		if !c.answered(step(ctx)) {
			break
		}
	}
	c.checkWindows()
	return c.Findings()
}

// each calls f for buyers, some at once.
func (c *Crowd) each(buyers []*buyer, f func(*buyer) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for range c.Workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(buyers) || failed.Load() != nil {
					return
				}
				if err := f(buyers[i]); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Rest waits until everybody has come to an end, after Stop, and until nothing of
// any sale is pending or on its way back.
func (c *Crowd) Rest(ctx context.Context) error {
	c.running.Wait()
	for _, s := range c.allSales() {
		if _, err := c.rest(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// askAgain lets those buy again who do not know whether they have a ticket.
func (c *Crowd) askAgain(ctx context.Context) error {
	var back []*buyer
	for _, b := range c.buyers {
		if b.last == unknown {
			back = append(back, b)
		}
	}
	return c.each(back, func(b *buyer) error { return c.buy(ctx, b) })
}

// payAll takes every ticket to its outcome and every unpaid order to its end.
func (c *Crowd) payAll(ctx context.Context) error { return c.each(c.buyers, c.paying(ctx)) }

func (c *Crowd) paying(ctx context.Context) func(*buyer) error {
	return func(b *buyer) error {
		t := b.newest()
		if t == nil {
			return nil
		}
		if t.status == "" {
			if err := c.await(ctx, b, t); err != nil {
				return err
			}
		}
		if t.state != seckill.Unpaid {
			return nil
		}
		return c.turn(ctx, b, t, "pay", seckill.Paid)
	}
}

// rest waits until nothing of the sale is pending or on its way back.
func (c *Crowd) rest(ctx context.Context, s *sale) (r seckill.Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, restTime)
	defer cancel()
	for {
		if r, err = c.audit(ctx, s); err != nil || r.Pending+r.Returning == 0 {
			return r, err
		}
		if duty.Rest(ctx, again) != nil {
			return r, fmt.Errorf("sale %s does not come to rest: %+v", s.id, r)
		}
	}
}

// sellOut lets buyers who were turned away ask again for as long as the gate
// holds units that fit them, then latecomers, until none is left: then they must
// get them.
func (c *Crowd) sellOut(ctx context.Context) error {
	for _, s := range c.allSales() {
		for {
			r, err := c.rest(ctx, s)
			if err != nil {
				return err
			}
			var back []*buyer
			left := r.Gate
			for _, b := range c.buyers {
				if b.sale == s && !b.newest().active() && (b.last == seckill.SoldOut.String() || b.last == heldStill) && int64(b.quantity) <= left {
					back = append(back, b)
					left -= int64(b.quantity)
				}
			}
			if len(back) == 0 {
				back = c.latecomers(s, r.Gate)
			}
			if len(back) == 0 {
				break
			}
			before := len(c.Findings())
			if err := c.each(back, func(b *buyer) error { return c.buyWhatIsLeft(ctx, b) }); err != nil {
				return err
			}
			if err := c.each(back, c.paying(ctx)); err != nil {
				return err
			}
			if len(c.Findings()) > before {
				break
			}
		}
	}
	return nil
}

// latecomers are new buyers who together want what the sale has left.
func (c *Crowd) latecomers(s *sale, left int64) (late []*buyer) {
	for left > 0 {
		n := c.nextBuyer.Add(1)
		b := &buyer{id: c.buyerID(n), sale: s, quantity: int(min(left, int64(s.limit))), repeats: 1, random: mathrand.New(mathrand.NewPCG(c.Seed, uint64(n)))}
		if c.comes(b, n); b.barred {
			continue
		}
		late, left = append(late, b), left-int64(b.quantity)
	}
	return late
}

// buyWhatIsLeft buys units that the gate has for this buyer. An over flag may
// hide them for a moment.
func (c *Crowd) buyWhatIsLeft(ctx context.Context, b *buyer) error {
	for start := time.Now(); ; {
		asked := time.Now() // the answer to an earlier question may just be late
		if err := c.buyOnce(ctx, b); err != nil || b.newest().active() || b.last == notEligible {
			return err
		}
		if asked.Sub(start) > flagTime {
			c.found(ruleUndersell, "%v is told %q at rest, and the gate holds its units", b, b.last)
			return nil
		}
		if duty.Rest(ctx, again) != nil {
			return ctx.Err()
		}
	}
}

// checkAll compares the logs with what the node says at rest.
func (c *Crowd) checkAll(ctx context.Context) error {
	active := map[*sale]int64{}
	for _, b := range c.buyers {
		for _, t := range b.log {
			if t.status == "" {
				c.found(ruleLost, "%v has no outcome for %v", b, t)
			}
			if t.active() {
				active[b.sale] += int64(b.quantity)
			}
		}
	}
	for _, s := range c.allSales() {
		r, err := c.rest(ctx, s)
		if err != nil {
			return err
		}
		if r.Total != s.total {
			c.found(ruleMove, "sale %s has %d units, and by the log of its moves %d", s.id, r.Total, s.total)
		}
		if r.Active != active[s] {
			c.found(ruleOrders, "sale %s counts %d active units, and its buyers hold %d", s.id, r.Active, active[s])
		}
		if r.Gate+r.Active != r.Total {
			c.found(ruleConserved, "sale %s: gate %d + active %d is not the total of %d", s.id, r.Gate, r.Active, r.Total)
		}
		if r.Active != r.Total {
			c.found(ruleUndersell, "sale %s: everybody who wanted one has bought, and %d of %d units are sold", s.id, r.Active, r.Total)
		}
	}
	return c.each(c.buyers, func(b *buyer) error { return c.check(ctx, b) })
}

// check asks for everything of one buyer again.
func (c *Crowd) check(ctx context.Context, b *buyer) error {
	for _, t := range b.log {
		if err := c.await(ctx, b, t); err != nil {
			return err
		}
	}
	a, err := c.client.insist(ctx, "GET", "/api/orders?limit=100", b.token, nil)
	if err != nil {
		return err
	}
	var list struct{ Items []seckill.Order }
	if a.Status != http.StatusOK || !a.Says(&list) {
		c.found(ruleOrders, "%v: GET orders answered %v", b, a)
		return nil
	}
	orders := map[string]seckill.Order{}
	for _, o := range list.Items {
		if orders[o.ID] = o; b.known(o.ID) == nil {
			c.found(ruleOrders, "%v has the order %+v and never heard of it", b, o)
		}
	}
	for _, t := range b.log {
		o, ok := orders[t.id]
		if t.status == "placed" && (!ok || o.State != t.state || o.Quantity != b.quantity || o.Sale != b.sale.id) {
			c.found(ruleOrders, "%v was told %v, and the order is %+v", b, t, o)
		}
	}
	t := b.newest()
	if t == nil {
		return nil
	}
	// Buying again gives the same ticket, unless a flag answers before the gate.
	if t.active() {
		a, err := c.client.insist(ctx, "POST", b.sale.path("/ticket"), b.token, b.request())
		if err != nil {
			return err
		}
		var said struct{ Ticket string }
		if a.Code != seckill.SoldOut.String() && (a.Code != notEligible || !c.mayHear(b)) && (a.Status != http.StatusAccepted || !a.Says(&said) || said.Ticket != t.id) {
			c.found(ruleOneTicket, "%v holds %v, buys again and is answered %v", b, t, a)
		}
	}
	stranger := c.token("stranger", "")
	for _, path := range []string{"/api/orders/" + t.id, b.sale.path("/ticket?ticket=" + t.id)} {
		a, err := c.client.insist(ctx, "GET", path, stranger, nil)
		if err != nil {
			return err
		}
		if a.Status != http.StatusNotFound {
			c.found(ruleOwnerOnly, "a stranger asks for %s of %v and is answered %v", path, b, a)
		}
	}
	return nil
}

// checkWindows compares the times of admission with those at which the sale was
// paused: it is somewhere between the request and its answer. A ticket's id has the
// time at which a node made it, which may have waited for the gate.
func (c *Crowd) checkWindows() {
	for _, b := range c.buyers {
		for _, t := range b.log {
			for _, w := range b.sale.windows {
				if t.asked.After(w[0]) && t.told.Before(w[1]) {
					c.found(ruleWindow, "%v asked at %v and was told %v at %v, and the sale was paused from %v to %v", b, t.asked, t, t.told, w[0], w[1])
				}
			}
		}
	}
}

// Admitted is how many tickets were asked for after from, and named before to. The
// crowd must have come to its end.
func (c *Crowd) Admitted(from, to time.Time) (n int64) {
	for _, b := range c.buyers {
		for _, t := range b.log {
			if t.asked.After(from) && t.told.Before(to) {
				n++
			}
		}
	}
	return n
}

// checkNothingPending asks the node's own count of tickets without an outcome:
// what it forgets to count off would fill the outbox in the end.
func (c *Crowd) checkNothingPending(ctx context.Context, ops string) error {
	if ops == "" {
		return nil
	}
	const metric = "seckill_pending_tickets"
	found, err := nodes.ReadMetrics(ctx, ops, metric)
	if err != nil {
		return err
	}
	if n, there := found[metric]; !there {
		c.found(ruleForgetting, "the metric %s is gone", metric)
	} else if n != 0 {
		c.found(ruleForgetting, "%s %v", metric, n)
	}
	return nil
}
