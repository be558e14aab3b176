package store

import (
	"context"
	"slices"
	"time"

	"seckill"
	"seckill/internal/crash"
)

const orderColumns = `t.id, t.sale, t.buyer, t.quantity, t.amount, s.currency, t.state, t.created_at, t.expires_at
	FROM tickets t JOIN sales s ON s.id = t.sale WHERE t.state <> 'refused'`

func scanOrder(r scanner) (o seckill.Order, err error) {
	var created, expires int64
	err = r.Scan(&o.ID, &o.Sale, &o.Buyer, &o.Quantity, &o.Amount, &o.Currency, &o.State, &created, &expires)
	o.Ticket, o.CreatedAt, o.ExpiresAt = o.ID, fromMS(created), fromMS(expires)
	return o, err
}

// Order returns one order of the buyer. Somebody else's is not found.
func (s *Store) Order(ctx context.Context, id, buyer string) (o seckill.Order, err error) {
	err = s.read(ctx, "order", func(t *tx) error {
		return t.one(ctx, "SELECT "+orderColumns+" AND t.id = ? AND t.buyer = ?", []any{id, buyer}, func(r scanner) (err error) {
			o, err = scanOrder(r)
			return err
		})
	})
	return o, err
}

// Orders returns up to max orders of the buyer with ids below before ("": from
// the newest), newest first.
func (s *Store) Orders(ctx context.Context, buyer, before string, max int) (orders []seckill.Order, err error) {
	if before == "" {
		before = "~"
	}
	err = s.read(ctx, "orders", func(t *tx) error {
		orders = nil
		return t.rows(ctx, "SELECT "+orderColumns+" AND t.buyer = ? AND t.id < ? ORDER BY t.id DESC LIMIT ?", []any{buyer, before, max}, func(r scanner) error {
			o, err := scanOrder(r)
			orders = append(orders, o)
			return err
		})
	})
	return orders, err
}

// Outcome returns the outcome of the buyer's newest ticket in the sale, or of
// the ticket with the given id. None, or somebody else's, is not found.
func (s *Store) Outcome(ctx context.Context, sale seckill.SaleID, buyer, ticket string) (o seckill.Outcome, err error) {
	where, args := "", []any{buyer, sale}
	if ticket != "" {
		where, args = " AND id = ?", append(args, ticket)
	}
	err = s.read(ctx, "outcome", func(t *tx) error {
		return t.one(ctx, "SELECT id, quantity, seq, reason FROM tickets WHERE buyer = ? AND sale = ?"+where+" ORDER BY id DESC LIMIT 1", args, func(r scanner) error {
			o.Ticket.Sale, o.Ticket.Buyer = sale, buyer
			return r.Scan(&o.Ticket.ID, &o.Ticket.Quantity, &o.Ticket.Seq, &o.Reason)
		})
	})
	return o, err
}

// Transition changes an order's state by the rule of seckill.Order.Become. An
// empty buyer is an administrator. When the order stops being active its units
// are on their way back to the gate in the same transaction.
func (s *Store) Transition(ctx context.Context, id, buyer string, to seckill.OrderState) (o seckill.Order, err error) {
	now := s.now()
	err = s.write(ctx, "order "+string(to), func(t *tx) error {
		err := t.one(ctx, "SELECT "+orderColumns+" AND t.id = ?"+t.s.dialect.lock, []any{id}, func(r scanner) (err error) {
			o, err = scanOrder(r)
			return err
		})
		if err != nil {
			return err
		}
		if buyer != "" && o.Buyer != buyer {
			return seckill.ErrNotFound
		}
		changed, err := o.Become(to, now)
		if err != nil || !changed {
			return err
		}
		o.State = to
		return t.change(ctx, to, []seckill.Order{o})
	})
	return o, err
}

// Expire ends up to max unpaid orders whose time to pay is over, and returns how
// many.
func (s *Store) Expire(ctx context.Context, max int) (n int, err error) {
	now := s.now()
	err = s.write(ctx, "expire", func(t *tx) error {
		var due []seckill.Order
		q := "SELECT " + orderColumns + " AND t.state = 'unpaid' AND t.expires_at <= ? ORDER BY t.expires_at LIMIT ?" + t.s.dialect.lock
		err := t.rows(ctx, q, []any{ms(now), max}, func(r scanner) error {
			o, err := scanOrder(r)
			if changed, _ := o.Become(seckill.Expired, now); changed {
				due = append(due, o)
			}
			return err
		})
		if err != nil {
			return err
		}
		n = len(due)
		return t.change(ctx, seckill.Expired, due)
	})
	return n, err
}

// NextExpiry returns when the next unpaid order expires; the zero time if none.
func (s *Store) NextExpiry(ctx context.Context) (at time.Time, err error) {
	err = s.read(ctx, "next expiry", func(t *tx) error {
		return t.rows(ctx, "SELECT expires_at FROM tickets WHERE state = 'unpaid' ORDER BY expires_at LIMIT 1", nil, func(r scanner) error {
			var n int64
			err := r.Scan(&n)
			at = fromMS(n)
			return err
		})
	})
	return at, err
}

// change writes the new state of orders that were decided in this transaction.
func (t *tx) change(ctx context.Context, to seckill.OrderState, orders []seckill.Order) error {
	freed := map[seckill.SaleID]int64{}
	for _, o := range orders {
		if _, err := t.exec(ctx, "UPDATE tickets SET state = ? WHERE id = ?", string(to), o.ID); err != nil {
			return err
		}
		if to.Active() {
			continue
		}
		freed[o.Sale] += int64(o.Quantity)
		if _, err := t.exec(ctx, "INSERT INTO returns (ticket, sale, buyer, quantity) VALUES (?, ?, ?, ?)", o.ID, o.Sale, o.Buyer, o.Quantity); err != nil {
			return err
		}
	}
	for _, sale := range sorted(freed) {
		if _, err := t.exec(ctx, "UPDATE sales SET sold = sold - ? WHERE id = ?", freed[sale], sale); err != nil {
			return err
		}
	}
	crash.Here("9-before-commit", len(freed) > 0)
	return nil
}

// Returns lists up to max tickets whose units are on their way back to the gate.
func (s *Store) Returns(ctx context.Context, max int) (tickets []seckill.Ticket, err error) {
	err = s.read(ctx, "returns", func(t *tx) error {
		tickets = nil
		return t.rows(ctx, "SELECT ticket, sale, buyer, quantity FROM returns LIMIT ?", []any{max}, func(r scanner) error {
			var v seckill.Ticket
			err := r.Scan(&v.ID, &v.Sale, &v.Buyer, &v.Quantity)
			tickets = append(tickets, v)
			return err
		})
	})
	return tickets, err
}

// Returned forgets the returns of one sale that the gate has applied in the
// given epoch. If the gate was rebuilt since they stay, since that rebuild has
// counted them as still to come.
func (s *Store) Returned(ctx context.Context, sale seckill.SaleID, epoch int64, tickets []string) error {
	return s.write(ctx, "returned", func(t *tx) error {
		now, err := t.lockSale(ctx, sale)
		if err != nil || now.Epoch != epoch {
			return err
		}
		ids := make([]any, len(tickets))
		for i := range tickets {
			ids[i] = tickets[i]
		}
		for some := range slices.Chunk(ids, chunk) {
			if _, err := t.exec(ctx, "DELETE FROM returns WHERE ticket IN ("+list(len(some), 1)+")", some...); err != nil {
				return err
			}
		}
		return nil
	})
}
