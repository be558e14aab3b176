package store

import (
	"context"
	"slices"

	"seckill"
)

// strayMost is the most stray returns that a count names.
const strayMost = 10

// Weigh reads the sums of a sale as of one moment, and locks nothing: what was admitted
// with a number up to seq is counted as settled, and outbox are tickets whose outcomes are
// wanted.
func (s *Store) Weigh(ctx context.Context, id seckill.SaleID, seq int64, outbox []seckill.Ticket) (w seckill.Weights, err error) {
	err = s.read(ctx, "balance", func(t *tx) (err error) {
		w = seckill.Weights{}
		err = t.one(ctx, "SELECT "+saleColumns+" FROM sales WHERE id = ?", []any{id}, func(r scanner) (err error) {
			w.Sale, err = t.scanSale(r)
			return err
		})
		if err != nil {
			return err
		}
		var paid int64 // in money
		for _, sum := range []struct {
			query string
			args  []any
			into  []any
		}{
			{`SELECT COALESCE(SUM(CASE WHEN state = 'unpaid' THEN quantity ELSE 0 END), 0), COALESCE(SUM(CASE WHEN state = 'paid' THEN quantity ELSE 0 END), 0),
				COALESCE(SUM(CASE WHEN seq <= ? THEN quantity ELSE 0 END), 0), COALESCE(SUM(CASE WHEN state = 'paid' THEN amount ELSE 0 END), 0),
				COALESCE(SUM(CASE WHEN state = 'unpaid' THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN state = 'paid' THEN 1 ELSE 0 END), 0) FROM tickets WHERE sale = ? AND ` + t.s.dialect.active + " IS NOT NULL",
				[]any{seq, id}, []any{&w.Unpaid, &w.Paid, &w.Settled, &paid, &w.UnpaidOrders, &w.PaidOrders}},
			{"SELECT COALESCE(SUM(quantity), 0) FROM returns WHERE sale = ?", []any{id}, []any{&w.Returning}},
			{"SELECT COALESCE(SUM(delta), 0) FROM moves WHERE sale = ? AND done = 0 AND delta > 0", []any{id}, []any{&w.Growing}},
		} {
			if err := t.one(ctx, sum.query, sum.args, func(r scanner) error { return r.Scan(sum.into...) }); err != nil {
				return err
			}
		}
		parts, err := t.givenUp(ctx, id)
		if err != nil {
			return err
		}
		if err := t.giveUp(ctx, &w, parts, seq); err != nil {
			return err
		}
		err = t.rows(ctx, "SELECT r.ticket FROM returns r JOIN tickets t ON t.id = r.ticket WHERE r.sale = ? AND t.state IN ('unpaid', 'paid') LIMIT ?", []any{id, strayMost}, func(r scanner) error {
			var ticket string
			err := r.Scan(&ticket)
			w.Stray = append(w.Stray, ticket)
			return err
		})
		if err != nil {
			return err
		}
		tickets := make([]any, len(outbox))
		for i := range outbox {
			tickets[i] = outbox[i].ID
		}
		if w.Outcomes, err = t.outcomes(ctx, tickets); err != nil {
			return err
		}
		w.Money, err = t.moneyBeside(ctx, map[string]int64{w.Sale.Currency: paid}, id)
		return err
	})
	return w, err
}

// giveUp takes off what paid orders gave back in parts.
func (t *tx) giveUp(ctx context.Context, w *seckill.Weights, parts map[string]int, seq int64) error {
	for order, units := range parts {
		w.Paid -= int64(units)
		err := t.one(ctx, "SELECT seq FROM tickets WHERE id = ?", []any{order}, func(r scanner) error {
			var of int64
			if err := r.Scan(&of); err != nil {
				return err
			}
			if of <= seq {
				w.Settled -= int64(units)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ActiveAfter returns up to max tickets of a sale's active orders, by buyer, behind the
// buyer given.
func (s *Store) ActiveAfter(ctx context.Context, id seckill.SaleID, buyer string, max int) (all []seckill.Ticket, err error) {
	query := "SELECT id, buyer, quantity, seq FROM tickets WHERE sale = ? AND " + s.dialect.active + " > ? ORDER BY " + s.dialect.activeBuyer + " LIMIT ?"
	err = s.ask(ctx, "active orders", func(t *tx) error {
		all, err = readable(ctx, t, "tickets", query, []any{id, buyer, max}, activeTicket(id))
		return err
	})
	return all, err
}

// ActiveOf returns the active orders of buyers of a sale, as tickets.
func (s *Store) ActiveOf(ctx context.Context, id seckill.SaleID, buyers []string) (all []seckill.Ticket, err error) {
	err = s.ask(ctx, "active orders", func(t *tx) error {
		all = nil
		for some := range slices.Chunk(buyers, s.dialect.chunk) {
			args := []any{id}
			for _, buyer := range some {
				args = append(args, buyer)
			}
			query := "SELECT id, buyer, quantity, seq FROM tickets WHERE sale = ? AND " + s.dialect.active + " IN (" + list(len(some), 1) + ")"
			of, err := readable(ctx, t, "tickets", query, args, activeTicket(id))
			if err != nil {
				return err
			}
			all = append(all, of...)
		}
		return nil
	})
	return all, err
}

func activeTicket(sale seckill.SaleID) func(scanner) (seckill.Ticket, error) {
	return func(r scanner) (seckill.Ticket, error) {
		a := seckill.Ticket{Sale: sale}
		err := r.Scan(&a.ID, &a.Buyer, &a.Quantity, &a.Seq)
		return a, err
	}
}

// Fates returns what became of tickets, those that have an outcome.
func (s *Store) Fates(ctx context.Context, tickets []string) (all map[string]seckill.Fate, err error) {
	err = s.read(ctx, "fates", func(t *tx) error {
		all = make(map[string]seckill.Fate, len(tickets))
		for some := range slices.Chunk(tickets, t.s.dialect.chunk) {
			args := make([]any, len(some))
			for i := range some {
				args[i] = some[i]
			}
			query := "SELECT t.id, t.sale, t.buyer, t.quantity, t.state, (SELECT COUNT(*) FROM returns r WHERE r.ticket = t.id) FROM tickets t WHERE t.id IN (" + list(len(some), 1) + ")"
			err := t.rows(ctx, query, args, func(r scanner) error {
				var f seckill.Fate
				var state string
				var returning int
				err := r.Scan(&f.ID, &f.Sale, &f.Buyer, &f.Quantity, &state, &returning)
				f.Active, f.Refused, f.Returning = seckill.OrderState(state).Active(), state == stateRefused, returning > 0
				all[f.ID] = f
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}
