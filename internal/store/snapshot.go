package store

import (
	"context"
	"slices"

	"seckill"
)

// snapshots is how many sales one transaction of Snapshot locks.
const snapshots = 64

// Snapshot reads the given sales (none: all of them), each as of one moment, for
// a rebuild of their gate state: their epochs rise by one first, so that whatever
// an older gate state still has to say about returns and moves is ignored.
// outbox holds the tickets that the gate's outbox has for each sale, read
// before, while the gate was closed. The holders of a retired sale are left out.
//
// The moment is that of the epoch's change. It locks the sale's row, which every
// other transaction takes before it commits a change of what is read here (see
// lockSale): what is committed by then is read, and nothing else is committed
// until the transaction ends, even where each statement reads for itself.
func (s *Store) Snapshot(ctx context.Context, ids []seckill.SaleID, outbox map[seckill.SaleID][]seckill.Ticket) (all []seckill.Snapshot, err error) {
	if len(ids) == 0 {
		err := s.ask(ctx, "snapshot", func(t *tx) error {
			return t.rows(ctx, "SELECT id FROM sales ORDER BY id", nil, func(r scanner) error {
				var id seckill.SaleID
				err := r.Scan(&id)
				ids = append(ids, id)
				return err
			})
		})
		if err != nil {
			return nil, err
		}
	}
	// In order, as everybody who locks more than one.
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for some := range slices.Chunk(ids, snapshots) {
		var part []seckill.Snapshot
		err := s.write(ctx, "snapshot", func(t *tx) error {
			part = part[:0]
			for _, id := range some {
				if n, err := t.exec(ctx, "UPDATE sales SET epoch = epoch + 1, applied = version WHERE id = ?", id); err != nil {
					return err
				} else if n == 0 {
					return seckill.ErrNotFound
				}
				v, err := t.snapshot(ctx, id, outbox[id])
				if err != nil {
					return err
				}
				if v.Sale.Retired = v.Sale.Retired && len(v.Pending()) == 0; !v.Sale.Retired {
					if v.Active, err = t.holders(ctx, id); err != nil {
						return err
					}
				}
				part = append(part, v)
				if actor, _ := seckill.ActorOf(ctx); actor.What == rebuildLogged { // an administrator asked for it; a rebuild that the keeper does by itself is no entry of the log
					if err := t.logged(ctx, rebuildLogged, id, "", nil, map[string]int64{"epoch": v.Sale.Epoch}); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	return all, nil
}

// rebuildLogged is what the log calls a rebuild that somebody asked for.
const rebuildLogged = "sales.rebuild"

// Look reads what Snapshot reads of one sale, and raises no epoch. It is for the audit.
func (s *Store) Look(ctx context.Context, id seckill.SaleID, outbox []seckill.Ticket) (v seckill.Snapshot, err error) {
	err = s.read(ctx, "audit", func(t *tx) (err error) {
		if v, err = t.snapshot(ctx, id, outbox); err == nil {
			v.Active, err = t.holders(ctx, id)
		}
		if err == nil {
			v.GivenUp, err = t.givenUp(ctx, id)
		}
		if err == nil {
			v.Money, err = t.money(ctx, id)
		}
		return err
	})
	return v, err
}

// givenUp reads the units that active orders of a sale gave back in parts.
func (t *tx) givenUp(ctx context.Context, id seckill.SaleID) (map[string]int, error) {
	all := map[string]int{}
	q := "SELECT r.order_id, SUM(r.units) FROM refunds r JOIN tickets t ON t.id = r.order_id WHERE r.sale = ? AND r.held = 1 AND t.state = 'paid' GROUP BY r.order_id"
	err := t.rows(ctx, q, []any{id}, func(r scanner) error {
		var order string
		var units int
		err := r.Scan(&order, &units)
		all[order] = units
		return err
	})
	return all, err
}

func (t *tx) snapshot(ctx context.Context, id seckill.SaleID, outbox []seckill.Ticket) (v seckill.Snapshot, err error) {
	number := func(n *int64) func(scanner) error { return func(r scanner) error { return r.Scan(n) } }
	if v.Sale, err = t.lockSale(ctx, id); err != nil {
		return v, err
	}
	if err = t.one(ctx, "SELECT COALESCE(SUM(quantity), 0) FROM returns WHERE sale = ?", []any{id}, number(&v.Returning)); err != nil {
		return v, err
	}
	if err = t.one(ctx, "SELECT COALESCE(SUM(delta), 0) FROM moves WHERE sale = ? AND done = 0 AND delta > 0", []any{id}, number(&v.Growing)); err != nil {
		return v, err
	}
	v.Outbox = outbox
	tickets := make([]any, len(outbox))
	for i := range outbox {
		tickets[i] = outbox[i].ID
	}
	v.Outcomes, err = t.outcomes(ctx, tickets)
	return v, err
}

// holders reads the placed tickets of a sale's active orders.
func (t *tx) holders(ctx context.Context, id seckill.SaleID) (active []seckill.Ticket, err error) {
	q := "SELECT id, buyer, quantity, seq, created_at FROM tickets WHERE sale = ? AND " + t.s.dialect.active + " IS NOT NULL"
	return readable(ctx, t, "tickets", q, []any{id}, func(r scanner) (seckill.Ticket, error) {
		var created int64
		a := seckill.Ticket{Sale: id}
		err := r.Scan(&a.ID, &a.Buyer, &a.Quantity, &a.Seq, &created)
		a.At = fromMS(created)
		a.Seq = min(max(a.Seq, 0), seckill.MaxSeq) // v0.1.0 took any number, and a hold with another one cannot be read
		return a, err
	})
}
