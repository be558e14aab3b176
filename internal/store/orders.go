package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"seckill"
	"seckill/internal/crash"
)

const orderColumns = `t.id, t.sale, t.buyer, t.quantity, t.amount, s.currency, t.state, t.created_at, t.expires_at, ` + bought + `, ` + givenBack + `
	FROM tickets t JOIN sales s ON s.id = t.sale WHERE t.state <> 'refused'`

// bought is what the sale was called when the ticket was bought: the title and image that
// the first change after the ticket's admission replaced, or today's if there was none.
const bought = `COALESCE((SELECT v.title FROM titles v WHERE v.sale = t.sale AND v.seq >= t.seq ORDER BY v.seq LIMIT 1), s.title),
	COALESCE((SELECT v.image FROM titles v WHERE v.sale = t.sale AND v.seq >= t.seq ORDER BY v.seq LIMIT 1), s.image)`

// givenBack is what of a paid order has gone back: money and units.
const givenBack = `(SELECT COALESCE(SUM(r.amount), 0) FROM refunds r WHERE r.order_id = t.id AND r.held = 1),
	(SELECT COALESCE(SUM(r.units), 0) FROM refunds r WHERE r.order_id = t.id AND r.held = 1)`

func scanOrder(r scanner) (o seckill.Order, err error) {
	var created, expires int64
	err = r.Scan(&o.ID, &o.Sale, &o.Buyer, &o.Quantity, &o.Amount, &o.Currency, &o.State, &created, &expires, &o.Title, &o.Image, &o.RefundedAmount, &o.ReturnedUnits)
	if err == nil && o.Quantity < 1 {
		err = &damaged{fmt.Errorf("the order %s is of %d units", o.ID, o.Quantity)}
	}
	if err != nil {
		return o, err
	}
	o.Ticket, o.CreatedAt, o.ExpiresAt = o.ID, fromMS(created), fromMS(expires)
	o.Price = o.Amount / int64(o.Quantity) // exact: the amount was made from it
	return o, nil
}

// Order returns one order of the buyer. Somebody else's is not found.
func (s *Store) Order(ctx context.Context, id, buyer string) (o seckill.Order, err error) {
	err = s.ask(ctx, "order", func(t *tx) error {
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
	err = s.ask(ctx, "orders", func(t *tx) error {
		orders, err = readable(ctx, t, "tickets", "SELECT "+orderColumns+" AND t.buyer = ? AND t.id < ? ORDER BY t.id DESC LIMIT ?", []any{buyer, before, max}, scanOrder)
		return err
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
	err = s.ask(ctx, "outcome", func(t *tx) error {
		return t.one(ctx, "SELECT id, quantity, seq, reason FROM tickets WHERE buyer = ? AND sale = ?"+where+" ORDER BY id DESC LIMIT 1", args, func(r scanner) error {
			o.Ticket.Sale, o.Ticket.Buyer = sale, buyer
			return r.Scan(&o.Ticket.ID, &o.Ticket.Quantity, &o.Ticket.Seq, &o.Reason)
		})
	})
	return o, err
}

// Outcomes returns the outcomes of up to max tickets of the buyer with ids below
// before ("": from the newest), newest first.
func (s *Store) Outcomes(ctx context.Context, buyer, before string, max int) (all []seckill.Outcome, err error) {
	if before == "" {
		before = "~"
	}
	err = s.ask(ctx, "outcomes", func(t *tx) error {
		all, err = readable(ctx, t, "tickets", "SELECT id, sale, quantity, seq, reason FROM tickets WHERE buyer = ? AND id < ? ORDER BY id DESC LIMIT ?", []any{buyer, before, max}, func(r scanner) (seckill.Outcome, error) {
			o := seckill.Outcome{Ticket: seckill.Ticket{Buyer: buyer}}
			err := r.Scan(&o.Ticket.ID, &o.Ticket.Sale, &o.Ticket.Quantity, &o.Ticket.Seq, &o.Reason)
			return o, err
		})
		return err
	})
	return all, err
}

// TransitionBy changes an order's state by the rule of seckill.Order.Become; the
// ledger says by whom, and why. An empty buyer is an administrator. When the order
// stops being active its units are on their way back to the gate in the same
// transaction.
//
// It becomes paid by the word of its buyer, which is the provider "test", and refunded
// as a whole. See Receive and Refund.
func (s *Store) TransitionBy(ctx context.Context, id, buyer string, to seckill.OrderState, by, why string) (o seckill.Order, err error) {
	if to == seckill.Refunded {
		return s.Refund(ctx, seckill.RefundRequest{Order: id, Restock: true, By: by, Reason: why})
	}
	err = s.reckoned(ctx, "order "+string(to), func(t *tx) error {
		found, err := t.lockOrders(ctx, []any{id})
		if err != nil {
			return err
		}
		if len(found) == 0 || buyer != "" && found[0].Buyer != buyer {
			return seckill.ErrNotFound
		}
		o = found[0]
		now, err := t.awake(ctx)
		if err != nil {
			return err
		}
		changed, err := o.Become(to, now)
		if err != nil || !changed {
			return err
		}
		c := change{to: to, by: by, why: why}
		if to == seckill.Paid && o.Amount > 0 {
			p := ofTest(o, now)
			if err := t.keep1(ctx, p); err != nil {
				return err
			}
			c.first = []seckill.Entry{capturedEntry(p)}
		}
		was := o
		o.State = to
		if err := t.change(ctx, c, []seckill.Order{o}, now); err != nil {
			return err
		}
		return t.loggedOrder(ctx, "", was, o)
	})
	return o, err
}

// Expire ends up to max unpaid orders whose time to pay is over, and returns how
// many.
func (s *Store) Expire(ctx context.Context, max int) (n int, err error) {
	err = s.reckoned(ctx, "expire", func(t *tx) error {
		n = 0
		now, err := t.awake(ctx)
		if err != nil {
			return err
		}
		ids, err := readable(ctx, t, "tickets", t.s.dialect.due, []any{ms(now), max}, func(r scanner) (any, error) {
			var id string
			var at int64
			err := r.Scan(&id, &at)
			return id, err
		})
		if err != nil {
			return err
		}
		orders, err := t.lockOrders(ctx, ids)
		if err != nil {
			return err
		}
		var due []seckill.Order
		for _, o := range orders {
			if changed, _ := o.Become(seckill.Expired, now); changed {
				o.State = seckill.Expired
				due = append(due, o)
			}
		}
		n = len(due)
		return t.change(ctx, change{to: seckill.Expired, by: "expiry"}, due, now)
	})
	return n, err
}

// ExtendHolds gives the unpaid orders of a sale more time to be paid, and returns how many
// there are. A repeat with the same key is the same extension; without one it gives as much
// again.
func (s *Store) ExtendHolds(ctx context.Context, id seckill.SaleID, key string, more time.Duration) (orders int64, err error) {
	err = s.write(ctx, "extend holds", func(t *tx) error {
		if _, err := t.lockSale(ctx, id); err != nil {
			return err
		}
		if given, err := t.extended(ctx, id, key, more); err != seckill.ErrNotFound {
			orders = given
			return err
		}
		unpaid := "sale = ? AND " + t.s.dialect.active + " IS NOT NULL AND state = 'unpaid'"
		if orders, err = t.exec(ctx, "UPDATE tickets SET expires_at = expires_at + ? WHERE "+unpaid, more.Milliseconds(), id); err != nil {
			return err
		}
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		actor, _ := seckill.ActorOf(ctx)
		e := seckill.Entry{What: entryHold, Who: cmp.Or(actor.Who, "administrator"), Why: "milliseconds were added to the time to pay"}
		if err := t.enterEach(ctx, now, e, "?", []any{more.Milliseconds()}, unpaid, id); err != nil {
			return err
		}
		e.Sale, e.Units, e.Why = id, more.Milliseconds(), fmt.Sprintf("%s of %d unpaid orders", e.Why, orders)
		if err := t.enter(ctx, now, e); err != nil {
			return err
		}
		if key != "" {
			if _, err := t.exec(ctx, "INSERT INTO hold_extensions (sale, id, added, orders) VALUES (?, ?, ?, ?)", id, key, more.Milliseconds(), orders); err != nil {
				return err
			}
		}
		return t.logged(ctx, "", id, key, nil, map[string]any{"orders": orders, "seconds": int64(more / time.Second)})
	})
	return orders, err
}

// extended is how many orders were given more time under the key; seckill.ErrNotFound if
// none were yet.
func (t *tx) extended(ctx context.Context, id seckill.SaleID, key string, more time.Duration) (orders int64, err error) {
	if key == "" {
		return 0, seckill.ErrNotFound
	}
	err = t.one(ctx, "SELECT added, orders FROM hold_extensions WHERE sale = ? AND id = ?", []any{id, key}, func(r scanner) error {
		var added int64
		if err := r.Scan(&added, &orders); err != nil {
			return err
		}
		if added != more.Milliseconds() {
			return fmt.Errorf("the id %q was used for %d seconds: %w", key, added/1000, seckill.ErrState)
		}
		return nil
	})
	return orders, err
}

// NextExpiry returns how long it is until the next unpaid order expires, by the
// store's clock; some is false if there is none.
func (s *Store) NextExpiry(ctx context.Context) (wait time.Duration, some bool, err error) {
	err = s.ask(ctx, "next expiry", func(t *tx) error {
		some = false
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		return t.rows(ctx, t.s.dialect.due, []any{int64(math.MaxInt64), 1}, func(r scanner) error {
			var id string
			var n int64
			err := r.Scan(&id, &n)
			wait, some = fromMS(n).Sub(now), true
			return err
		})
	})
	return wait, some, err
}

// lockOrders reads orders that nobody else changes until the transaction ends.
func (t *tx) lockOrders(ctx context.Context, ids []any) (orders []seckill.Order, err error) {
	// In order of id, as everybody who locks more than one.
	slices.SortFunc(ids, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	for some := range slices.Chunk(ids, t.s.dialect.chunk) {
		in := " IN (" + list(len(some), 1) + ")"
		// Locked by itself: with the join below the sales would be locked too, and
		// before other tickets.
		if t.lock != "" {
			q := "SELECT id FROM tickets" + t.s.dialect.byKey + " WHERE id" + in + " ORDER BY id" + t.lock
			if err := t.rows(ctx, q, some, func(scanner) error { return nil }); err != nil {
				return nil, err
			}
		}
		held, err := readable(ctx, t, "tickets", "SELECT "+orderColumns+" AND t.id"+in, some, scanOrder)
		if err != nil {
			return nil, err
		}
		orders = append(orders, held...)
	}
	return orders, nil
}

// change is what happens to orders that become to.
type change struct {
	to      seckill.OrderState
	by, why string // for the ledger
	scrap   bool   // units of refunded orders are not sold again: they leave the sale

	first []seckill.Entry // of the ledger, before those of the change
}

// change writes the new state of orders that this transaction holds. Tickets
// first, then sales in order of id: the order in which everybody locks.
func (t *tx) change(ctx context.Context, c change, orders []seckill.Order, now time.Time) error {
	freed := map[seckill.SaleID]int64{}
	entries := slices.Grow(c.first, len(orders))
	for some := range slices.Chunk(orders, t.s.dialect.chunk) {
		args, returns := []any{string(c.to)}, []any{}
		for _, o := range some {
			amount, units := o.Holds()
			entries = append(entries, seckill.Entry{Order: o.ID, Sale: o.Sale, What: "order." + string(c.to), Units: int64(units), Amount: amount, Currency: o.Currency, Who: c.by, Why: c.why})
			args = append(args, o.ID)
			back := units
			if c.scrap {
				back = 0 // the return only frees the buyer
			}
			returns = append(returns, o.ID, o.Sale, o.Buyer, back)
		}
		if _, err := t.exec(ctx, "UPDATE tickets"+t.s.dialect.byKey+" SET state = ? WHERE id IN ("+list(len(some), 1)+")", args...); err != nil {
			return err
		}
		if c.to.Active() {
			continue
		}
		for _, o := range some {
			_, units := o.Holds()
			freed[o.Sale] += int64(units)
		}
		if _, err := t.exec(ctx, "INSERT INTO returns (ticket, sale, buyer, quantity) VALUES "+list(len(some), 4), returns...); err != nil {
			return err
		}
	}
	if err := t.enter(ctx, now, entries...); err != nil {
		return err
	}
	if err := t.writeEvents(ctx, orders, now); err != nil {
		return err
	}
	if err := t.noteTries(ctx, c, orders, now); err != nil {
		return err
	}
	for _, sale := range sorted(freed) {
		if !c.scrap {
			err := t.free(ctx, sale, freed[sale])
			if err != nil {
				return err
			}
			continue
		}
		if err := t.scrap(ctx, sale, freed[sale], c.by, orders[0].ID, now); err != nil { // of refunds, which come alone
			return err
		}
	}
	crash.Here("9-before-commit", len(freed) > 0)
	return nil
}

// free takes units from what a sale has sold.
func (t *tx) free(ctx context.Context, sale seckill.SaleID, units int64) error {
	_, err := t.exec(ctx, "UPDATE sales SET sold = sold - ? WHERE id = ?", units, sale)
	return err
}

// scrap does so with units that are not sold again: they leave the total too.
func (t *tx) scrap(ctx context.Context, sale seckill.SaleID, units int64, by, order string, now time.Time) error {
	if _, err := t.exec(ctx, "UPDATE sales SET sold = sold - ?, total = total - ? WHERE id = ?", units, units, sale); err != nil {
		return err
	}
	return t.enter(ctx, now, seckill.Entry{Sale: sale, What: entryStock, Units: -units, Who: by, Why: "order " + order + " gave them back, and they are not sold again"})
}

// Returns lists up to max tickets whose units are on their way back to the gate,
// by sale, each with the sale's epoch at that moment. Those of the sales in
// without are left out.
func (s *Store) Returns(ctx context.Context, max int, without ...seckill.SaleID) (all []seckill.Return, err error) {
	where, args := "", make([]any, 0, len(without)+1)
	for _, id := range without {
		args = append(args, id)
	}
	if len(without) > 0 {
		where = " WHERE r.sale NOT IN (" + list(len(without), 1) + ")"
	}
	err = s.ask(ctx, "returns", func(t *tx) error {
		all = nil
		type back struct {
			seckill.Ticket
			epoch int64
		}
		rows, err := readable(ctx, t, "returns", "SELECT r.ticket, r.sale, r.buyer, r.quantity, s.epoch FROM returns r JOIN sales s ON s.id = r.sale"+where+" LIMIT ?", append(args, max), func(r scanner) (v back, err error) {
			err = r.Scan(&v.ID, &v.Sale, &v.Buyer, &v.Quantity, &v.epoch)
			return v, err
		})
		for _, v := range rows {
			i := slices.IndexFunc(all, func(r seckill.Return) bool { return r.Sale == v.Sale })
			if i < 0 {
				i, all = len(all), append(all, seckill.Return{Sale: v.Sale, Epoch: v.epoch})
			}
			all[i].Tickets = append(all[i].Tickets, v.Ticket)
		}
		return err
	})
	return all, err
}

// Returned forgets returns that the gate has taken. If the gate was rebuilt since
// they were read they stay: that rebuild has counted them as still to come.
func (s *Store) Returned(ctx context.Context, r seckill.Return) error {
	return s.write(ctx, "returned", func(t *tx) error {
		now, err := t.lockSale(ctx, r.Sale)
		if err != nil || now.Epoch != r.Epoch {
			return err
		}
		ids := make([]any, len(r.Tickets))
		for i := range r.Tickets {
			ids[i] = r.Tickets[i].ID
		}
		for some := range slices.Chunk(ids, t.s.dialect.chunk) {
			if _, err := t.exec(ctx, "DELETE FROM returns WHERE ticket IN ("+list(len(some), 1)+")", some...); err != nil {
				return err
			}
		}
		return nil
	})
}
