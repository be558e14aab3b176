package gate

import (
	"context"

	"seckill"
)

// Outdated returns those of the sales whose state at this gate must be rebuilt.
func (m *Memory) Outdated(_ context.Context, sales []seckill.Sale) (ids []seckill.SaleID, err error) {
	broken := m.journal.err() != nil // then nobody can be admitted, even to a sale that is open
	for i := range sales {
		sale, state := &sales[i], seckill.GateState{}
		if s, err := m.locked(sale.ID); err == nil {
			state = seckill.GateState{Open: true, Epoch: s.sale.Epoch, Seq: s.seq, Version: s.sale.Version, Retired: s.sale.Retired}
			s.mu.Unlock()
		}
		if broken || state.Outdated(sale) {
			ids = append(ids, sale.ID)
		}
	}
	return ids, nil
}

// States returns what this gate says of the sales that it has open.
func (m *Memory) States(_ context.Context, ids []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error) {
	all := make(map[seckill.SaleID]seckill.GateState, len(ids))
	for _, id := range ids {
		if s, err := m.locked(id); err == nil {
			all[id] = seckill.GateState{Open: true, Epoch: s.sale.Epoch, Seq: s.seq, Version: s.sale.Version, Retired: s.sale.Retired,
				Left: s.left, Finished: s.finished, Paused: s.sale.Paused, Ended: s.sale.Ended}
			s.mu.Unlock()
		}
	}
	return all, nil
}

// Shut closes sales for a rebuild and returns what the outbox holds for them.
func (m *Memory) Shut(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID][]seckill.Ticket, error) {
	wanted := map[seckill.SaleID]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	m.shut(func(id seckill.SaleID) bool { return wanted[id] })
	if err := m.journal.settle(ctx); err != nil {
		return nil, err
	}
	if err := m.journal.recover(ctx); err != nil {
		return nil, err
	}
	outbox := map[seckill.SaleID][]seckill.Ticket{}
	m.journal.outbox(func(t seckill.Ticket, _ slot) {
		if wanted[t.Sale] {
			outbox[t.Sale] = append(outbox[t.Sale], t)
		}
	})
	return outbox, nil
}

func (m *Memory) shut(wanted func(seckill.SaleID) bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for id, s := range m.sales {
		if wanted(id) {
			s.mu.Lock()
			s.open = false
			s.mu.Unlock()
		}
	}
}

// Load opens sales with the state that the snapshots say. Tickets without an
// outcome are sent to the queue again. A snapshot with less than nothing left makes a
// gate with a count below 0: units that come back raise it to 0 first, and only what
// comes back beyond that is sold.
func (m *Memory) Load(_ context.Context, snapshots []seckill.Snapshot) error {
	slots := map[string]slot{}
	m.journal.outbox(func(t seckill.Ticket, p slot) { slots[t.ID] = p })
	ids := make([]seckill.SaleID, len(snapshots))
	for i := range snapshots {
		ids[i] = snapshots[i].Sale.ID
	}
	m.flags.Add(ids...)
	var final []slot
	for i := range snapshots {
		v := &snapshots[i]
		pending := v.Pending()
		s := &memorySale{
			open: true, sale: v.Sale, left: v.Left(), seq: v.Sale.Seq,
			holds:    make(map[string]*hold, len(v.Active)+len(pending)),
			released: map[string]struct{}{}, moves: map[moveKey]bool{},
		}
		for _, t := range v.Active {
			s.holds[t.Buyer] = &hold{ticket: t.ID, seq: t.Seq, quantity: int32(t.Quantity), state: seckill.HoldPlaced}
		}
		for _, t := range v.Outbox {
			s.seq = max(s.seq, t.Seq)
			if _, known := v.Outcomes[t.ID]; known {
				final = append(final, slots[t.ID])
				continue
			}
			s.holds[t.Buyer] = &hold{ticket: t.ID, seq: t.Seq, quantity: int32(t.Quantity), slot: slots[t.ID]}
		}
		s.finished = v.Sale.Seq
		m.stops.keep(&s.sale) // the sale is shut, so no other stop comes meanwhile
		m.mu.Lock()
		old := m.sales[v.Sale.ID]
		if old != nil {
			old.mu.Lock()
			if old.sale.Epoch >= v.Sale.Epoch {
				old.mu.Unlock()
				m.mu.Unlock()
				continue // the state in force is newer than this snapshot
			}
			for _, h := range old.holds {
				if h.state == seckill.HoldPending {
					m.pending.Add(-1)
				}
			}
			old.open = false
			old.mu.Unlock()
		}
		m.pending.Add(int64(len(pending)))
		m.sales[v.Sale.ID] = s
		m.mu.Unlock()
		m.flags.Clear(v.Sale.ID)
		m.closed.Open(v.Sale.ID)
		m.journal.send(pending)
	}
	m.journal.finish(final)
	return nil
}
