package gate

import (
	"context"
	"math"

	"seckill"
)

// Cut looks at the gate's state of a sale as of one moment. The outbox is read after it, a
// few tickets at a time, so that no buyer waits for a long one; what was admitted since is left
// out by its number. A ticket that gets its outcome meanwhile may be missing: whoever reads the
// store after this finds it there.
func (m *Memory) Cut(ctx context.Context, id seckill.SaleID) (c seckill.Cut, err error) {
	return m.Glance(ctx, id, math.MaxInt)
}

// Glance is Cut without an outbox of more than most tickets.
func (m *Memory) Glance(_ context.Context, id seckill.SaleID, most int) (c seckill.Cut, err error) {
	s, err := m.locked(id)
	if err != nil {
		return c, err
	}
	c = seckill.Cut{Open: true, Left: s.left, Seq: s.seq, Epoch: s.sale.Epoch, Freed: s.freed, Aside: m.journal.kept.Load()}
	s.mu.Unlock()
	if c.Partial = m.pending.Load() > int64(most); c.Partial {
		return c, nil
	}
	m.journal.outbox(func(t seckill.Ticket, _ slot) {
		if t.Sale == id && t.Seq <= c.Seq {
			c.Outbox = append(c.Outbox, t)
		}
	})
	return c, nil
}

// Holds returns what this gate holds for buyers of a sale.
func (m *Memory) Holds(_ context.Context, id seckill.SaleID, buyers []string) (map[string]seckill.Hold, error) {
	s, err := m.locked(id)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	all := make(map[string]seckill.Hold, len(buyers))
	for _, buyer := range buyers {
		if h := s.holds[buyer]; h != nil {
			all[buyer] = h.asHold(id, buyer)
		}
	}
	return all, nil
}

// ScanHolds returns up to max holds of a sale. Of more it is some of them, others each
// time; the cursor means nothing here.
func (m *Memory) ScanHolds(_ context.Context, id seckill.SaleID, _ uint64, max int) (all []seckill.Hold, next uint64, err error) {
	s, err := m.locked(id)
	if err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	for buyer, h := range s.holds {
		if len(all) == max {
			break
		}
		all = append(all, h.asHold(id, buyer))
	}
	return all, 0, nil
}

// asHold is a hold as others read it.
func (h *hold) asHold(id seckill.SaleID, buyer string) seckill.Hold {
	return seckill.Hold{Ticket: seckill.Ticket{ID: h.ticket, Sale: id, Buyer: buyer, Quantity: int(h.quantity), Seq: h.seq}, State: h.state}
}
