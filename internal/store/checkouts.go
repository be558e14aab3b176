package store

import (
	"context"
	"time"

	"seckill"
	"seckill/internal/crash"
)

// Checkout starts the payment of the buyer's order at provider, or returns the one
// that is open: a repeat is the same one. The first one of an order keeps it for
// grace more. An order that is paid, or that costs nothing and is paid hereby, has
// none. id names a new checkout.
func (s *Store) Checkout(ctx context.Context, order, buyer string, provider seckill.Provider, id string, grace time.Duration) (o seckill.Order, c *seckill.Checkout, err error) {
	err = s.reckoned(ctx, "checkout", func(t *tx) error {
		c = nil
		found, err := t.lockOrders(ctx, []any{order})
		if err != nil {
			return err
		}
		if len(found) == 0 || found[0].Buyer != buyer {
			return seckill.ErrNotFound
		}
		o = found[0]
		now, err := t.awake(ctx)
		if err != nil {
			return err
		}
		if changed, err := o.Become(seckill.Paid, now); err != nil || !changed {
			return err
		}
		if o.Amount == 0 {
			o.State = seckill.Paid
			return t.change(ctx, change{to: seckill.Paid, by: buyer}, []seckill.Order{o}, now)
		}
		open, all := "", 0
		err = t.rows(ctx, "SELECT id, url, closed, provider FROM checkouts WHERE order_id = ? ORDER BY at", []any{order}, func(r scanner) error {
			var id, url, by string
			var closed bool
			err := r.Scan(&id, &url, &closed, &by)
			if all++; !closed && by == provider {
				open, c = id, &seckill.Checkout{ID: id, URL: url}
			}
			return err
		})
		if err != nil || open != "" {
			return err
		}
		c = &seckill.Checkout{ID: id}
		if _, err := t.exec(ctx, "INSERT INTO checkouts (id, order_id, provider, at) VALUES (?, ?, ?, ?)", id, order, provider, ms(now)); err != nil {
			return err
		}
		if all == 0 {
			o.ExpiresAt = o.ExpiresAt.Add(grace)
			if _, err := t.exec(ctx, "UPDATE tickets"+t.s.dialect.byKey+" SET expires_at = ? WHERE id = ?", ms(o.ExpiresAt), order); err != nil {
				return err
			}
		}
		err = t.enter(ctx, now, seckill.Entry{Order: order, Sale: o.Sale, What: entryStarted, Amount: o.Amount, Currency: o.Currency, Who: buyer, Why: provider + " " + id})
		crash.Here("13-start-before-commit", err == nil)
		return err
	})
	return o, c, err
}

// CheckoutAt notes where the buyer pays, and the provider's own name of the checkout,
// empty where it cannot be ended there.
func (s *Store) CheckoutAt(ctx context.Context, id, url, session string) error {
	return s.write(ctx, "checkout", func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE checkouts SET url = ?, session = ? WHERE id = ?", url, session, id)
		return err
	})
}

// EndedCheckouts lists up to max checkouts that are open at provider although their
// orders can no longer be paid, by their ids, behind after.
func (s *Store) EndedCheckouts(ctx context.Context, provider seckill.Provider, after string, max int) (all []seckill.Checkout, err error) {
	err = s.ask(ctx, "checkouts", func(t *tx) error {
		all, err = readable(ctx, t, "checkouts", "SELECT c.id, c.url, c.session FROM checkouts c JOIN tickets t ON t.id = c.order_id WHERE c.closed = 0 AND c.session <> '' AND c.provider = ? AND t.state <> 'unpaid' AND c.id > ? ORDER BY c.id LIMIT ?",
			[]any{provider, after, max}, func(r scanner) (c seckill.Checkout, err error) {
				err = r.Scan(&c.ID, &c.URL, &c.Session)
				return c, err
			})
		return err
	})
	return all, err
}

// CheckoutClosed notes that nothing can be paid at a checkout any more.
func (s *Store) CheckoutClosed(ctx context.Context, id string) error {
	return s.write(ctx, "checkout", func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE checkouts SET closed = 1 WHERE id = ?", id)
		return err
	})
}
