package sale

import (
	"context"
	"maps"
	"slices"
	"time"

	"seckill"
)

// look is one look of the balancer at a sale.
type look struct {
	*Balancer
	sale     seckill.SaleID
	suspects []seckill.Breach // whose orders and holds are asked for
	place    *place           // how far the count of the sale is
	slice    *place           // the next slice of orders and holds is read too, and the place moves on; nil: none
	cost     time.Duration    // of what was read
}

func (l *look) read(rows int, each time.Duration) { l.cost += time.Duration(rows) * each }

// look counts the sums, and compares orders with holds.
func (l *look) look(ctx context.Context) (c seckill.Balance, err error) {
	ctx, cancel := context.WithTimeout(ctx, balanceTime)
	defer cancel()
	l.cost = balanceBase
	before, err := l.Store.Sale(ctx, l.sale)
	if err != nil {
		return c, err
	}
	if before.Shelf == seckill.Deleted {
		return c, seckill.ErrNotFound
	}
	c = seckill.Balance{Sale: l.sale, At: l.Gate.Now().UTC().Truncate(time.Millisecond)}
	cut, err := l.Gate.Glance(ctx, l.sale, balanceOutbox)
	if err != nil {
		return c, err
	}
	moves, err := l.Store.OpenMoves(ctx)
	if err != nil {
		return c, err
	}
	w, err := l.Store.Weigh(ctx, l.sale, cut.Seq, cut.Outbox)
	if err != nil {
		return c, err
	}
	after, err := l.Gate.Glance(ctx, l.sale, 0)
	if err != nil {
		return c, err
	}
	l.read(2*len(cut.Outbox), balanceRow)
	l.read(int(w.Unpaid+w.Paid), balanceSum) // units: at least as many as orders
	moving := w.Returning > 0 || w.Growing > 0 || before.Total != w.Sale.Total || cut.Freed != after.Freed ||
		slices.ContainsFunc(moves, func(m seckill.Move) bool { return m.Sale == l.sale })
	sums, breaches, whole := w.Weigh(&cut, !moving)
	c.Sums, c.Money = &sums, w.Money
	if cut.Epoch != w.Sale.Epoch || cut.Epoch != after.Epoch {
		// A rebuild is under way: what the gate has is counted again just now.
		breaches = slices.DeleteFunc(breaches, func(v seckill.Breach) bool { return v.Rule != "counter" && v.Rule != "money" })
		c.Violations, c.Partial, c.Says = breaches, true, "the gate is being rebuilt: its units are not compared meanwhile"
		return c, nil
	}
	if whole {
		l.place.weighed = c.At
	}
	switch {
	case cut.Partial:
		c.Partial, c.Says = true, "too many tickets wait for their outcome to be counted one by one"
	case c.At.Sub(l.place.weighed) > balanceMoving: // a return is stuck, or a move hangs
		c.Partial, c.Says = true, "units are on their way all the time, so it was not checked whether all of them are there"
		if !l.place.weighed.IsZero() {
			c.Says += " since " + l.place.weighed.Format(time.RFC3339)
		}
	}
	if c.Violations = breaches; w.Sale.Retired {
		return c, nil // the gate has forgotten its buyers
	}
	held, err := l.byTicket(ctx, &cut, c.At)
	c.Violations = append(c.Violations, held...)
	return c, err
}

// byTicket compares orders with the gate's holds, ticket by ticket:
// those of the suspects, and a slice of the others.
func (l *look) byTicket(ctx context.Context, cut *seckill.Cut, now time.Time) (all []seckill.Breach, err error) {
	add := func(some []seckill.Breach) {
		for _, v := range some {
			if !slices.ContainsFunc(all, same(v)) {
				all = append(all, v)
			}
		}
	}
	if buyers := l.suspected(); len(buyers) > 0 {
		orders, err := l.Store.ActiveOf(ctx, l.sale, buyers)
		if err != nil {
			return nil, err
		}
		some, err := l.orders(ctx, orders)
		if err != nil {
			return nil, err
		}
		add(some)
		holds, err := l.Gate.Holds(ctx, l.sale, buyers)
		if err != nil {
			return nil, err
		}
		some, err = l.fates(ctx, slices.Collect(maps.Values(holds)), cut)
		if err != nil {
			return nil, err
		}
		add(some)
	}
	p := l.slice
	if p == nil {
		return all, nil
	}
	for read := 0; read < balanceSlice; {
		orders, err := l.Store.ActiveAfter(ctx, l.sale, p.buyer, balancePage)
		if err != nil {
			return nil, err
		}
		some, err := l.orders(ctx, orders)
		if err != nil {
			return nil, err
		}
		add(some)
		if p.buyer == "" {
			p.began = now
		}
		read += len(orders)
		if p.buyer = ""; len(orders) < balancePage {
			p.walked = p.began
			break
		}
		p.buyer = orders[len(orders)-1].Buyer
	}
	holds, next, err := l.Gate.ScanHolds(ctx, l.sale, p.cursor, balanceHolds)
	if err != nil {
		return nil, err
	}
	p.cursor = next
	some, err := l.fates(ctx, holds, cut)
	add(some)
	return all, err
}

// suspected are the buyers of the suspects, each once.
func (l *look) suspected() (buyers []string) {
	for _, v := range l.suspects {
		if v.Buyer != "" {
			buyers = append(buyers, v.Buyer)
		}
	}
	slices.Sort(buyers)
	return slices.Compact(buyers)
}

// orders compares active orders with what the gate has of their buyers.
func (l *look) orders(ctx context.Context, active []seckill.Ticket) (breaches []seckill.Breach, err error) {
	l.read(2*len(active), balanceRow)
	buyers := make([]string, len(active))
	for i := range active {
		buyers[i] = active[i].Buyer
	}
	holds, err := l.Gate.Holds(ctx, l.sale, buyers)
	if err != nil {
		return nil, err
	}
	given, err := l.Gate.Glance(ctx, l.sale, 0)
	if err != nil {
		return nil, err
	}
	for _, order := range active {
		h, held := holds[order.Buyer]
		if v, wrong := seckill.Mismatch(order, h, held); wrong {
			breaches = append(breaches, v)
		} else if order.Seq > given.Seq {
			breaches = append(breaches, seckill.Breach{Rule: "only the gate admits", Ticket: order.ID, Buyer: order.Buyer, Says: "its number is beyond the last one that the gate has given"})
		}
	}
	return breaches, nil
}

// fates asks the store what became of holds that wait or are placed.
func (l *look) fates(ctx context.Context, holds []seckill.Hold, cut *seckill.Cut) (breaches []seckill.Breach, err error) {
	holds = slices.DeleteFunc(holds, func(h seckill.Hold) bool {
		return !h.State.Active() || h.State == seckill.HoldPending && (cut.Partial || h.Seq > cut.Seq)
	})
	l.read(2*len(holds), balanceRow)
	waits := make(map[string]bool, len(cut.Outbox))
	for _, t := range cut.Outbox {
		waits[t.ID] = true
	}
	for some := range slices.Chunk(holds, balancePage) {
		ids := make([]string, len(some))
		for i := range some {
			ids[i] = some[i].ID
		}
		fates, err := l.Store.Fates(ctx, ids)
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
