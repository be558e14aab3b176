package gatetest

import (
	"maps"
	"slices"
	"sync"

	"seckill"
)

// Store plays the store: it keeps the first outcome of every ticket, and a gate
// is rebuilt from what it says.
type Store struct {
	mu    sync.Mutex
	sales map[seckill.SaleID]*books
}

// books is what the store knows of one sale.
type books struct {
	sale     seckill.Sale
	outcomes map[string]seckill.Reason
	active   map[string]seckill.Ticket
	returns  map[string]seckill.Ticket
	growing  map[string]int64
}

func (l *Store) create(sale seckill.Sale) {
	l.sales[sale.ID] = &books{sale: sale, outcomes: map[string]seckill.Reason{}, active: map[string]seckill.Ticket{},
		returns: map[string]seckill.Ticket{}, growing: map[string]int64{}}
}

// Settle writes one outcome for each ticket: placed, or refused for the reason.
// The first one stands.
func (l *Store) Settle(reason seckill.Reason, tickets ...seckill.Ticket) (outcomes []seckill.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tickets {
		b := l.sales[t.Sale]
		stands, known := b.outcomes[t.ID]
		if !known {
			stands = reason
			if reason == seckill.ReasonNone && b.sale.Sold+int64(t.Quantity) > b.sale.Total {
				stands = seckill.ReasonSoldOut
			}
			b.outcomes[t.ID], b.sale.Seq = stands, max(b.sale.Seq, t.Seq)
			if stands == seckill.ReasonNone {
				b.active[t.ID], b.sale.Sold = t, b.sale.Sold+int64(t.Quantity)
			}
		}
		outcomes = append(outcomes, seckill.Outcome{Ticket: t, Reason: stands})
	}
	return outcomes
}

// end ends the orders of tickets: their units are on their way back.
func (l *Store) end(tickets ...seckill.Ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tickets {
		b := l.sales[t.Sale]
		delete(b.active, t.ID)
		b.returns[t.ID], b.sale.Sold = t, b.sale.Sold-int64(t.Quantity)
	}
}

// returned forgets returns that the gate of that epoch has applied.
func (l *Store) returned(sale seckill.SaleID, epoch int64, tickets ...seckill.Ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range tickets {
		if b := l.sales[sale]; b.sale.Epoch == epoch {
			delete(b.returns, t.ID)
		}
	}
}

func (l *Store) all() []seckill.SaleID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.sales))
}

// snapshots raises the epochs of sales and reads their books.
func (l *Store) snapshots(ids []seckill.SaleID, outbox map[seckill.SaleID][]seckill.Ticket) (all []seckill.Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		b := l.sales[id]
		b.sale.Epoch++
		v := seckill.Snapshot{Sale: b.sale, Outbox: outbox[id], Outcomes: map[string]seckill.Reason{}}
		if !b.sale.Retired {
			v.Active = slices.Collect(maps.Values(b.active))
		}
		for _, t := range b.returns {
			v.Returning += int64(t.Quantity)
		}
		for _, delta := range b.growing {
			v.Growing += delta
		}
		for _, t := range v.Outbox {
			if reason, ok := b.outcomes[t.ID]; ok {
				v.Outcomes[t.ID] = reason
			}
		}
		all = append(all, v)
	}
	return all
}
