package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"seckill"
	"seckill/internal/crash"
)

// Refund gives money of a paid order back. That it is due is written together with
// what the order gives up; see DueRefunds. A repeat changes nothing. Of a payment that
// was put aside for an order that is not known, the order is empty.
func (s *Store) Refund(ctx context.Context, f seckill.RefundRequest) (o seckill.Order, err error) {
	err = errDuplicate // of the same refund at the same moment
	for try := 0; try < maxTries && errors.Is(err, errDuplicate); try++ {
		err = s.write(ctx, "refund", func(t *tx) error {
			o, err = t.refund(ctx, f)
			return err
		})
	}
	return o, err
}

func (t *tx) refund(ctx context.Context, f seckill.RefundRequest) (o seckill.Order, err error) {
	found, err := t.lockOrders(ctx, []any{f.Order})
	if err != nil {
		return o, err
	}
	now, err := t.clock(ctx)
	if err != nil {
		return o, err
	}
	if len(found) > 0 {
		o = found[0]
	}
	was := o
	if f.Payment != "" { // maybe of an order that is not known
		if err := t.refundAside(ctx, f, now); err != nil {
			return o, err
		}
		err := t.logged(ctx, refundLogged, o.Sale, f.Order, nil, map[string]string{"payment": f.Payment})
		crash.Here("15-aside-before-commit", err == nil)
		return o, err
	}
	if len(found) == 0 {
		return o, seckill.ErrNotFound
	}
	if f.ID != "" {
		known := false
		err := t.rows(ctx, "SELECT order_id, amount, units FROM refunds WHERE id = ?", []any{f.ID}, func(r scanner) error {
			var order string
			var amount int64
			var units int
			known = true
			if err := r.Scan(&order, &amount, &units); err != nil {
				return err
			}
			if f.Amount == nil && f.Units == nil && o.State != seckill.Refunded {
				return fmt.Errorf("refund %q was a part of order %s, and all of it is asked for: %w", f.ID, order, seckill.ErrState)
			}
			if order != f.Order || f.Amount != nil && *f.Amount != amount || f.Units != nil && *f.Units != units {
				return fmt.Errorf("refund %q was made for order %s with amount %d and %d units: %w", f.ID, order, amount, units, seckill.ErrState)
			}
			return nil
		})
		if err != nil || known {
			return o, err
		}
	}
	if changed, err := o.Become(seckill.Refunded, now); err != nil || !changed {
		if err == nil && o.Amount > 0 && f.ID != "" && (f.Amount != nil || f.Units != nil) { // of a free order there are no ids to tell a repeat by
			err = fmt.Errorf("order %s is refunded and holds nothing that could be given back: %w", o.ID, seckill.ErrState)
		}
		return o, err
	}
	money, units := o.Holds()
	amount, back := money, units
	whole := f.Amount == nil && f.Units == nil
	if f.Units != nil {
		back = *f.Units
		amount = min(money, int64(back)*o.Price)
		whole = back == units && (f.Amount == nil || *f.Amount == money)
		if whole {
			amount = money
		}
	} else if !whole {
		back = 0
	}
	if f.Amount != nil {
		amount = *f.Amount
	}
	switch {
	case back < 0 || amount < 0 || back == 0 && amount == 0 && !whole:
		return o, &seckill.FieldError{Field: "amount", Must: "must be positive, or units must be"}
	case amount > money:
		return o, fmt.Errorf("order %s holds %d, so %d cannot be given back: %w", o.ID, money, amount, seckill.ErrState)
	case back > units || back == units && !whole:
		return o, fmt.Errorf("order %s holds %d units and %d: give back fewer units, or all of it: %w", o.ID, units, money, seckill.ErrState)
	}
	p, err := t.kept(ctx, o, now)
	if err != nil {
		return o, err
	}
	id := cmp.Or(f.ID, seckill.NewTicketID(now))
	r := seckill.Refund{ID: id, Order: o.ID, Provider: p.Provider, Reference: p.Reference, Amount: amount, Currency: o.Currency, Units: back, Restock: f.Restock, Reason: f.Reason, By: f.By}
	if whole {
		// What the order gives up is in its change of state.
		if o.Amount > 0 {
			if err := t.owe(ctx, r, p.Sale, true, now); err != nil {
				return o, err
			}
			if p.State = seckill.PaymentReturned; o.RefundedAmount > 0 {
				p.Note = "given back in parts"
			}
			if err := t.become(ctx, p); err != nil {
				return o, err
			}
		}
		held := o
		held.State = seckill.Refunded
		err = t.change(ctx, change{to: seckill.Refunded, by: f.By, why: f.Reason, scrap: !f.Restock}, []seckill.Order{held}, now)
		o.State, o.RefundedAmount, o.ReturnedUnits = seckill.Refunded, o.Amount, o.Quantity
		if o.Amount == 0 {
			o.ReturnedUnits = held.ReturnedUnits
		}
		if err != nil {
			return o, err
		}
		err = t.loggedOrder(ctx, refundLogged, was, o)
		crash.Here("15-whole-before-commit", err == nil)
		return o, err
	}
	if err := t.owe(ctx, r, p.Sale, true, now); err != nil {
		return o, err
	}
	o.RefundedAmount += amount
	o.ReturnedUnits += back
	if err := t.writePartEvent(ctx, o, now); err != nil {
		return o, err
	}
	if back > 0 {
		if f.Restock {
			// A return of its own: it frees no buyer, who still has the order.
			if _, err := t.exec(ctx, "INSERT INTO returns (ticket, sale, buyer, quantity) VALUES (?, ?, '', ?)", seckill.NewTicketID(now), o.Sale, back); err != nil {
				return o, err
			}
		}
		if f.Restock {
			err = t.free(ctx, o.Sale, int64(back))
		} else {
			err = t.scrap(ctx, o.Sale, int64(back), f.By, o.ID, now)
		}
		if err != nil {
			return o, err
		}
	}
	if err := t.loggedOrder(ctx, refundLogged, was, o); err != nil {
		return o, err
	}
	crash.Here("15-before-commit", true)
	return o, nil
}

// refundLogged is what the log calls a refund.
const refundLogged = "orders.refund"

// kept is the payment that a paid order holds. Nodes from before there were payments
// leave none: then the buyer's word paid for it.
func (t *tx) kept(ctx context.Context, o seckill.Order, now time.Time) (p seckill.Payment, err error) {
	err = t.one(ctx, "SELECT "+paymentColumns+" FROM payments WHERE order_id = ? AND state = ?", []any{o.ID, string(seckill.PaymentKept)}, func(r scanner) (err error) {
		p, err = scanPayment(r)
		return err
	})
	if err != seckill.ErrNotFound || o.Amount == 0 {
		if err == seckill.ErrNotFound {
			p.Sale, err = o.Sale, nil
		}
		return p, err
	}
	p = ofTest(o, now)
	p.Note = "from before there were payments"
	if err := t.keep1(ctx, p); err != nil {
		return p, err
	}
	return p, t.enter(ctx, now, capturedEntry(p))
}

// ofTest is the payment of an order by its buyer's word.
func ofTest(o seckill.Order, now time.Time) seckill.Payment {
	name := seckill.ProviderTest + "-" + o.ID
	return seckill.Payment{Provider: seckill.ProviderTest, Event: name, Reference: name, Order: o.ID, Sale: o.Sale, Amount: o.Amount, Currency: o.Currency,
		State: seckill.PaymentKept, At: now, SeenAt: now}
}

// refundAside gives back a payment that was put aside.
func (t *tx) refundAside(ctx context.Context, f seckill.RefundRequest, now time.Time) error {
	var p seckill.Payment
	err := t.one(ctx, "SELECT "+paymentColumns+" FROM payments WHERE order_id = ? AND reference = ?"+t.lock, []any{f.Order, f.Payment}, func(r scanner) (err error) {
		p, err = scanPayment(r)
		return err
	})
	if err != nil {
		return err
	}
	switch p.State {
	case seckill.PaymentReturned:
		return nil
	case seckill.PaymentAside:
		p.State = seckill.PaymentReturned
		if err := t.become(ctx, p); err != nil {
			return err
		}
		return t.owe(ctx, seckill.Refund{ID: seckill.NewTicketID(now), Order: p.Order, Provider: p.Provider, Reference: p.Reference, Amount: p.Amount, Currency: p.Currency,
			Reason: f.Reason, By: f.By}, p.Sale, false, now)
	}
	return fmt.Errorf("payment %s is not put aside but %s: %w", p.Reference, p.State, seckill.ErrState)
}

// due notes that a payment which no order holds goes back.
func (t *tx) due(ctx context.Context, p seckill.Payment, amount int64, why string, now time.Time) error {
	return t.owe(ctx, seckill.Refund{ID: seckill.NewTicketID(now), Order: p.Order, Provider: p.Provider, Reference: p.Reference, Amount: amount, Currency: p.Currency,
		Reason: why, By: "payments"}, p.Sale, false, now)
}

// owe writes a refund that is due. held says that the order held the money. One
// without money is done.
func (t *tx) owe(ctx context.Context, r seckill.Refund, sale seckill.SaleID, held bool, now time.Time) error {
	state, done := seckill.RefundDue, int64(0)
	if r.Amount == 0 {
		state, done = seckill.RefundDone, ms(now)
	}
	_, err := t.exec(ctx, "INSERT INTO refunds (id, order_id, sale, provider, reference, amount, currency, units, restock, held, reason, who, state, made_at, done_at) VALUES "+list(1, 15),
		r.ID, r.Order, int64(sale), r.Provider, r.Reference, r.Amount, r.Currency, r.Units, r.Restock, held, cut(r.Reason, 200), r.By, string(state), ms(now), done)
	if err != nil {
		return err
	}
	return t.enter(ctx, now, seckill.Entry{Order: r.Order, Sale: sale, What: entryDue, Units: int64(r.Units), Amount: r.Amount, Currency: r.Currency, Who: r.By, Why: r.Reason})
}

// returned takes a provider's word that money went back: of a refund that is due, or
// of one that nobody here asked for. A message that names only the payment gets the id of
// the refund that it is taken for; one that names a refund that is none of ours keeps that.
func (t *tx) returned(ctx context.Context, c *seckill.Callback, orders []seckill.Order, now time.Time, r *seckill.Received) (became string, err error) {
	// By our own id, where the provider keeps it.
	f, err := t.refundNamed(ctx, *c, t.lock)
	if err == nil {
		if f.Amount != c.Amount || f.Currency != c.Currency {
			return t.conflict(ctx, *c, f.Order, now, r, fmt.Sprintf("refund %s of %d %s is told as %d %s", f.ID, f.Amount, f.Currency, c.Amount, c.Currency))
		}
		return t.confirmed(ctx, *c, f, f.ID, now, r)
	} else if err != seckill.ErrNotFound {
		return "", err
	}
	p, err := t.payment(ctx, c.Provider, c.Reference, t.lock)
	if err == seckill.ErrNotFound {
		return becameEarly, nil
	}
	if err != nil {
		return "", err
	}
	if p.Currency != c.Currency {
		return t.conflict(ctx, *c, p.Order, now, r, fmt.Sprintf("payment %s of %s is given back in %s", p.Reference, p.Currency, c.Currency))
	}
	if back, err := t.cameBack(ctx, c.Provider, c.Own, time.Time{}); err != nil || back {
		r.Undone, r.Note = back, fmt.Sprintf("refund %s of %d %s, which was made at the provider, did not reach the buyer", c.Own, c.Amount, c.Currency)
		return becameBounced, err
	}
	var again seckill.Refund
	if c.Own == "" && c.Refund == "" {
		if f, err = t.cameBackBefore(ctx, *c); err == nil {
			c.Refund = f.ID
			return t.confirmed(ctx, *c, f, f.ID, now, r)
		} else if err != seckill.ErrNotFound {
			return "", err
		}
		// Without any id of the refund it may be the word for one that the provider has answered
		// for, or once more for one of which it has told.
		done, err := readable(ctx, t, "refunds", "SELECT "+refundColumns+" FROM refunds WHERE provider = ? AND reference = ? AND amount = ? AND state = 'done' AND given IN (id, ?) ORDER BY made_at, id"+t.lock,
			[]any{c.Provider, c.Reference, c.Amount, seckill.ByHand}, scanRefund)
		if err != nil {
			return "", err
		}
		for _, again = range done {
			if told, err := t.told(ctx, again, time.Time{}); err != nil {
				return "", err
			} else if !told && again.Given == again.ID {
				c.Refund = again.ID
				return t.confirmed(ctx, *c, again, again.ID, now, r)
			}
		}
	}
	f, err = t.refundBy(ctx, "provider = ? AND reference = ? AND amount = ? AND state = 'due' ORDER BY next_at = ?, made_at, id LIMIT 1"+t.lock, c.Provider, c.Reference, c.Amount, int64(askedNoMore))
	if err == nil {
		c.Refund = cmp.Or(c.Refund, f.ID)
		return t.confirmed(ctx, *c, f, c.Refund, now, r)
	} else if err != seckill.ErrNotFound {
		return "", err
	}
	if again.ID != "" {
		return t.conflict(ctx, *c, p.Order, now, r, fmt.Sprintf("refund %s of %d %s is done, and a refund of as much of payment %s is told, without its id: it may be the same", again.ID, again.Amount, again.Currency, p.Reference))
	}
	// Nobody asked for it here: it was made at the provider.
	var gone, due int64
	if err := t.one(ctx, "SELECT COALESCE(SUM(amount), 0), COALESCE(SUM(CASE WHEN state = 'due' THEN amount ELSE 0 END), 0) FROM refunds WHERE provider = ? AND reference = ?"+t.lock,
		[]any{c.Provider, c.Reference}, func(s scanner) error { return s.Scan(&gone, &due) }); err != nil {
		return "", err
	}
	if gone+c.Amount > p.Amount {
		// Then it is a part of what is due already.
		part := min(due, c.Amount)
		if gone+c.Amount-part > p.Amount {
			return t.conflict(ctx, *c, p.Order, now, r, fmt.Sprintf("of payment %s, %d of %d is given back already or due, and now %d more", p.Reference, gone, p.Amount, c.Amount))
		}
		if err := t.givenInPart(ctx, *c, part, now); err != nil {
			return "", err
		}
		rest := *c
		if rest.Amount -= part; rest.Amount == 0 {
			return becameRefund, nil
		}
		return becameRefund, t.unasked(ctx, p, rest, orders, now, r)
	}
	return becameRefund, t.unasked(ctx, p, *c, orders, now, r)
}

// confirmed takes the provider's word for a refund. own is its id of it, where the message
// has none: once a refund has one, another one is money that went back twice.
func (t *tx) confirmed(ctx context.Context, c seckill.Callback, f seckill.Refund, own string, now time.Time, r *seckill.Received) (became string, err error) {
	since := c.At
	if c.Own != "" {
		since = time.Time{} // what has an id of its own comes back once
	}
	if back, err := t.cameBack(ctx, c.Provider, cmp.Or(c.Own, f.ID), since); err != nil {
		return "", err
	} else if back {
		return becameBounced, t.leave(ctx, f)
	}
	if own = cmp.Or(c.Own, own); f.State == seckill.RefundDone && f.Given != "" && f.Given != own {
		return t.conflict(ctx, c, f.Order, now, r, twice(f, own))
	}
	return becameRefund, t.done(ctx, f, own, now)
}

func twice(f seckill.Refund, own string) string {
	return fmt.Sprintf("refund %s of %d %s was given back as %s, and now as %s too", f.ID, f.Amount, f.Currency, f.Given, own)
}

// givenInPart takes from the refunds of a payment that are due what was given back at the
// provider without being asked for: the oldest first. What is left of one is due as a
// refund of its own, because the provider knows the first one's amount.
func (t *tx) givenInPart(ctx context.Context, c seckill.Callback, amount int64, now time.Time) error {
	type refund struct {
		seckill.Refund
		held bool
	}
	var due []refund
	err := t.rows(ctx, "SELECT id, order_id, amount, currency, who, sale, held FROM refunds WHERE provider = ? AND reference = ? AND state = 'due' ORDER BY made_at, id"+t.lock, []any{c.Provider, c.Reference}, func(s scanner) error {
		f := refund{Refund: seckill.Refund{Provider: c.Provider, Reference: c.Reference}}
		err := s.Scan(&f.ID, &f.Order, &f.Amount, &f.Currency, &f.By, &f.Sale, &f.held)
		due = append(due, f)
		return err
	})
	if err != nil {
		return err
	}
	for _, f := range due {
		if amount == 0 {
			break
		}
		part, rest := min(amount, f.Amount), f.Refund
		if amount -= part; part < f.Amount {
			if _, err := t.exec(ctx, "UPDATE refunds SET amount = ? WHERE id = ?", part, f.ID); err != nil {
				return err
			}
			if err := t.enter(ctx, now, seckill.Entry{Order: f.Order, Sale: f.Sale, What: entryDue, Amount: part - f.Amount, Currency: f.Currency, Who: c.Provider, Why: "split: of refund " + f.ID + " only a part was given back at the provider"}); err != nil {
				return err
			}
			rest.ID, rest.Amount, rest.Reason = seckill.NewTicketID(now), f.Amount-part, "the rest of refund "+f.ID
			if err := t.owe(ctx, rest, f.Sale, f.held, now); err != nil {
				return err
			}
		}
		f.Amount = part
		if err := t.done(ctx, f.Refund, cmp.Or(c.Own, c.Event), now); err != nil {
			return err
		}
	}
	return nil
}

// unasked enters a refund that was made at the provider: the order gives up the
// money, and if that was all of it, its units too.
func (t *tx) unasked(ctx context.Context, p seckill.Payment, c seckill.Callback, orders []seckill.Order, now time.Time, r *seckill.Received) error {
	const reason = "given back at the provider"
	f := seckill.Refund{ID: seckill.NewTicketID(now), Order: p.Order, Sale: p.Sale, Provider: p.Provider, Reference: p.Reference, Amount: c.Amount, Currency: c.Currency, Restock: true, Reason: reason, By: c.Provider}
	held := p.State == seckill.PaymentKept && len(orders) > 0 && orders[0].State == seckill.Paid
	if held {
		o := orders[0]
		if money, units := o.Holds(); c.Amount == money {
			f.Units = units
			o.State = seckill.Refunded
			p.State = seckill.PaymentReturned
			r.Returned = true
			if err := t.change(ctx, change{to: seckill.Refunded, by: c.Provider, why: reason}, []seckill.Order{o}, now); err != nil {
				return err
			}
		}
	} else if p.State == seckill.PaymentLate || p.State == seckill.PaymentAside {
		p.State = seckill.PaymentReturned
		if c.Amount < p.Amount {
			// The rest follows: no order holds this money.
			if err := t.due(ctx, p, p.Amount-c.Amount, "the rest of what was "+reason, now); err != nil {
				return err
			}
		}
	}
	if err := t.become(ctx, p); err != nil {
		return err
	}
	if err := t.owe(ctx, f, p.Sale, held, now); err != nil {
		return err
	}
	if held && f.Units == 0 {
		o := orders[0]
		o.RefundedAmount += c.Amount
		if err := t.writePartEvent(ctx, o, now); err != nil {
			return err
		}
	}
	return t.done(ctx, f, cmp.Or(c.Own, c.Event), now)
}

func (t *tx) conflict(ctx context.Context, c seckill.Callback, order string, now time.Time, r *seckill.Received, note string) (string, error) {
	r.Conflict, r.Note = true, note
	var sale seckill.SaleID // 0: of no order that we know
	if err := t.rows(ctx, "SELECT sale FROM tickets WHERE id = ?", []any{order}, func(s scanner) error { return s.Scan(&sale) }); err != nil {
		return "", err
	}
	return becameConflict, t.enter(ctx, now, seckill.Entry{Order: order, Sale: sale, What: entryConflict, Amount: c.Amount, Currency: c.Currency, Who: c.Provider, Why: note})
}

// done notes that the provider has confirmed a refund, and its own id of it. A repeat
// changes nothing.
func (t *tx) done(ctx context.Context, f seckill.Refund, own string, now time.Time) error {
	return t.doneBy(ctx, f, own, f.Provider, f.ID, now)
}

func (t *tx) doneBy(ctx context.Context, f seckill.Refund, own, who, why string, now time.Time) error {
	n, err := t.exec(ctx, "UPDATE refunds SET state = ?, done_at = ?, failure = '', given = ? WHERE id = ? AND state = ?", string(seckill.RefundDone), ms(now), own, f.ID, string(seckill.RefundDue))
	if err != nil || n == 0 {
		return err
	}
	crash.Here("16-before-commit", true)
	return t.enter(ctx, now, seckill.Entry{Order: f.Order, Sale: f.Sale, What: entryDone, Amount: f.Amount, Currency: f.Currency, Who: who, Why: why})
}

const refundColumns = "id, order_id, sale, provider, reference, amount, currency, units, restock, reason, who, state, made_at, done_at, tries, failure, given"

func scanRefund(r scanner) (f seckill.Refund, err error) {
	var made, done int64
	err = r.Scan(&f.ID, &f.Order, &f.Sale, &f.Provider, &f.Reference, &f.Amount, &f.Currency, &f.Units, &f.Restock, &f.Reason, &f.By, &f.State, &made, &done, &f.Tries, &f.Error, &f.Given)
	f.MadeAt = fromMS(made)
	if done > 0 {
		at := fromMS(done)
		f.DoneAt = &at
	}
	return f, err
}

func (t *tx) refundBy(ctx context.Context, where string, args ...any) (f seckill.Refund, err error) {
	err = t.one(ctx, "SELECT "+refundColumns+" FROM refunds WHERE "+where, args, func(r scanner) (err error) {
		f, err = scanRefund(r)
		return err
	})
	return f, err
}

// RefundsOf lists the refunds of an order, oldest first.
func (s *Store) RefundsOf(ctx context.Context, order string) (all []seckill.Refund, err error) {
	return s.refunds(ctx, "order_id = ? ORDER BY made_at, id", order)
}

func (s *Store) refunds(ctx context.Context, where string, args ...any) (all []seckill.Refund, err error) {
	err = s.ask(ctx, "refunds", func(t *tx) error {
		all, err = readable(ctx, t, "refunds", "SELECT "+refundColumns+" FROM refunds WHERE "+where, args, scanRefund)
		return err
	})
	return all, err
}
