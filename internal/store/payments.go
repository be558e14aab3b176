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

// What a callback changed, as its row says.
const (
	becamePayment  = "payment"
	becameRefund   = "refund"
	becameFailed   = "failed"
	becameRepeat   = "repeat"   // of a payment that another message has told of
	becameEarly    = "early"    // a refund of a payment that is not known yet
	becameConflict = "conflict" // it contradicts an earlier message, and changes nothing
	becameBounced  = "bounced"  // of a refund that did not reach the buyer
	becameDisputed = "disputed"
	becameForeign  = "foreign" // it is about nothing of ours
)

// Receive takes a verified callback: once for each event id of its provider, and
// once for each payment. The order's row is held while the money finds its end, so
// that payments, expiry, cancelling and refunds of an order come one after another.
func (s *Store) Receive(ctx context.Context, c seckill.Callback) (r seckill.Received, err error) {
	err = errDuplicate
	// A duplicate is the same message, or another one about the same payment, at the
	// same moment: the second look finds it.
	for try := 0; try < maxTries && (errors.Is(err, errDuplicate) || errors.Is(err, errMoved)); try++ {
		err = s.write(ctx, "payment", func(t *tx) error {
			r = seckill.Received{}
			return t.receive(ctx, c, &r)
		})
	}
	return r, err
}

// errMoved says that a payment has become another order's while its order was locked.
var errMoved = errors.New("the payment has moved to another order")

func (t *tx) receive(ctx context.Context, c seckill.Callback, r *seckill.Received) error {
	held := c.Order
	payment, err := t.payment(ctx, c.Provider, c.Reference, "")
	if err != nil && err != seckill.ErrNotFound {
		return err
	}
	if c.Type != seckill.Captured && c.Type != seckill.Failed {
		if err == nil {
			held = payment.Order // by another name if it was retaken
		} else if f, err := t.refundNamed(ctx, c, ""); err == nil {
			held = f.Order
		} else if err != seckill.ErrNotFound {
			return err
		}
	}
	orders, err := t.lockOrders(ctx, []any{held})
	if err != nil {
		return err
	}
	if c.Type == seckill.GivenBack { // it was read before its order was locked
		if now, err := t.payment(ctx, c.Provider, c.Reference, t.lock); err == nil && now.Order != held {
			return errMoved
		} else if err != nil && err != seckill.ErrNotFound {
			return err
		}
	}
	now, err := t.clock(ctx)
	if err != nil {
		return err
	}
	if c.At.IsZero() { // a shop need not say
		c.At = now
	}
	switch was, err := t.callback(ctx, c.Provider, c.Event); {
	case err == nil && was.Type == c.Type && was.Order == c.Order && was.Reference == c.Reference && was.Amount == c.Amount && was.Currency == c.Currency:
		r.Repeat = true
		return nil
	case err == nil:
		_, err = t.conflict(ctx, c, was.Order, now, r, fmt.Sprintf("event %s, %s of %d %s by %s for order %s, is told again as %s of %d %s by %s for order %s",
			c.Event, was.Type, was.Amount, was.Currency, was.Reference, was.Order, c.Type, c.Amount, c.Currency, c.Reference, c.Order))
		return err
	case err != seckill.ErrNotFound:
		return err
	}
	var became string
	switch c.Type {
	case seckill.Captured:
		became, err = t.captured(ctx, c, orders, now, r)
	case seckill.GivenBack:
		became, err = t.returned(ctx, &c, orders, now, r)
	case seckill.Bounced:
		became, err = t.bounced(ctx, c, payment, now, r)
	case seckill.Disputed:
		became, err = t.disputed(ctx, c, payment, now, r)
	default:
		became, err = becameFailed, t.failed(ctx, c, orders, now)
	}
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "INSERT INTO callbacks (provider, event, type, order_id, reference, amount, currency, at, seen_at, became, own) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		c.Provider, c.Event, string(c.Type), c.Order, c.Reference, c.Amount, c.Currency, ms(c.At), ms(now), became, cmp.Or(c.Own, c.Refund))
	if err != nil {
		return err
	}
	crash.Here("13-before-commit", r.Paid || r.Due || r.Late)
	return nil
}

// callback returns what a message of a provider said.
func (t *tx) callback(ctx context.Context, provider seckill.Provider, event string) (c seckill.Callback, err error) {
	c = seckill.Callback{Provider: provider, Event: event}
	err = t.one(ctx, "SELECT type, order_id, reference, amount, currency FROM callbacks WHERE provider = ? AND event = ?", []any{provider, event}, func(s scanner) error {
		return s.Scan(&c.Type, &c.Order, &c.Reference, &c.Amount, &c.Currency)
	})
	return c, err
}

// captured gives money that was taken its end.
func (t *tx) captured(ctx context.Context, c seckill.Callback, orders []seckill.Order, now time.Time, r *seckill.Received) (became string, err error) {
	switch was, err := t.payment(ctx, c.Provider, c.Reference, t.lock); {
	case err == nil:
		// A retaken one pays another order than the one that its first message names.
		first, err := t.callback(ctx, c.Provider, was.Event)
		if err == seckill.ErrNotFound {
			first.Order, err = was.Order, nil
		}
		if err != nil {
			return "", err
		}
		if was.Amount == c.Amount && was.Currency == c.Currency && first.Order == c.Order {
			return becameRepeat, nil
		}
		return t.conflict(ctx, c, was.Order, now, r, fmt.Sprintf("payment %s of %d %s for order %s is told again as %d %s for order %s", c.Reference, was.Amount, was.Currency, first.Order, c.Amount, c.Currency, c.Order))
	case err != seckill.ErrNotFound:
		return "", err
	}
	p := seckill.Payment{Provider: c.Provider, Event: c.Event, Reference: c.Reference, Order: c.Order, Amount: c.Amount, Currency: c.Currency, At: c.At, SeenAt: now}
	end := seckill.EndAside
	p.Note = "there is no such order"
	var o seckill.Order
	if len(orders) > 0 {
		o = orders[0]
		p.Sale = o.Sale
		end, p.Note = o.Take(c.Amount, c.Currency)
	}
	r.Note = p.Note
	entries := []seckill.Entry{capturedEntry(p)}
	because := func(what string) {
		entries = append(entries, seckill.Entry{Order: p.Order, Sale: p.Sale, What: what, Amount: p.Amount, Currency: p.Currency, Who: p.Provider, Why: p.Note})
	}
	switch end {
	case seckill.EndPays:
		p.State, r.Paid = seckill.PaymentKept, true
	case seckill.EndSecond:
		p.State, r.Due = seckill.PaymentReturned, true
	case seckill.EndLate:
		p.State, r.Due = seckill.PaymentReturned, true
		because(entryLate)
		retake := false
		err := t.rows(ctx, "SELECT 1 FROM retakes WHERE sale = ?", []any{o.Sale}, func(scanner) error { retake = true; return nil })
		if err != nil {
			return "", err
		}
		if retake && o.State != seckill.Refunded {
			p.State, r.Due, r.Late = seckill.PaymentLate, false, true
		}
	case seckill.EndAside:
		p.State, r.Aside = seckill.PaymentAside, true
		because(entryAside)
	}
	if err := t.keep1(ctx, p); err != nil {
		return "", err
	}
	if c.Session != "" { // nobody pays there twice; without one the provider cannot end it
		if err := t.closeCheckouts(ctx, c); err != nil {
			return "", err
		}
	}
	if err := t.enter(ctx, now, entries...); err != nil {
		return "", err
	}
	if r.Due {
		if err := t.due(ctx, p, p.Amount, p.Note, now); err != nil {
			return "", err
		}
	}
	if r.Paid {
		o.State = seckill.Paid
		if err := t.change(ctx, change{to: seckill.Paid, by: p.Provider, why: p.Reference}, []seckill.Order{o}, now); err != nil {
			return "", err
		}
	}
	return becamePayment, t.early(ctx, p, now, r)
}

// early takes up the refunds of a payment that came before it.
func (t *tx) early(ctx context.Context, p seckill.Payment, now time.Time, r *seckill.Received) error {
	var early []seckill.Callback
	err := t.rows(ctx, "SELECT event, order_id, amount, currency, at, own FROM callbacks WHERE provider = ? AND reference = ? AND type = ? AND became IN (?, ?)",
		[]any{p.Provider, p.Reference, string(seckill.GivenBack), becameEarly, becameForeign}, func(s scanner) error {
			c := seckill.Callback{Provider: p.Provider, Type: seckill.GivenBack, Reference: p.Reference}
			var at int64
			err := s.Scan(&c.Event, &c.Order, &c.Amount, &c.Currency, &at, &c.Own)
			c.At = fromMS(at)
			early = append(early, c)
			return err
		})
	if err != nil {
		return err
	}
	for _, c := range early {
		orders, err := t.lockOrders(ctx, []any{p.Order})
		if err != nil {
			return err
		}
		became, err := t.returned(ctx, &c, orders, now, r)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE callbacks SET became = ?, own = ? WHERE provider = ? AND event = ?", became, cmp.Or(c.Own, c.Refund), c.Provider, c.Event); err != nil {
			return err
		}
	}
	return nil
}

// EarlyRefunds lists up to max refunds that were told before their payments and are still
// not entered although those are known, oldest first: the two came at the same moment,
// and held different orders.
func (s *Store) EarlyRefunds(ctx context.Context, max int) (all []seckill.Callback, err error) {
	err = s.ask(ctx, "early refunds", func(t *tx) error {
		all = nil
		return t.rows(ctx, `SELECT c.provider, c.event, c.order_id, c.reference, c.amount, c.currency FROM callbacks c JOIN payments p ON p.provider = c.provider AND p.reference = c.reference
			WHERE c.became = '`+becameEarly+`' ORDER BY c.seen_at LIMIT ?`, []any{max}, func(r scanner) error {
			c := seckill.Callback{Type: seckill.GivenBack}
			err := r.Scan(&c.Provider, &c.Event, &c.Order, &c.Reference, &c.Amount, &c.Currency)
			all = append(all, c)
			return err
		})
	})
	return all, err
}

// TakeEarly enters the refunds that were told before the payment of c.
func (s *Store) TakeEarly(ctx context.Context, c seckill.Callback) (r seckill.Received, err error) {
	err = errMoved
	for try := 0; try < maxTries && errors.Is(err, errMoved); try++ {
		err = s.write(ctx, "early refund", func(t *tx) error {
			r = seckill.Received{}
			p, err := t.payment(ctx, c.Provider, c.Reference, "")
			if err != nil {
				return err
			}
			if _, err := t.lockOrders(ctx, []any{p.Order}); err != nil {
				return err
			}
			if now, err := t.payment(ctx, c.Provider, c.Reference, t.lock); err != nil || now.Order != p.Order {
				return cmp.Or(err, errMoved)
			}
			now, err := t.clock(ctx)
			if err != nil {
				return err
			}
			return t.early(ctx, p, now, &r)
		})
	}
	return r, err
}

// closeCheckouts closes the checkout that a message is about, or all of its order where it
// names none. Another one may be open, and has to be ended with its order.
func (t *tx) closeCheckouts(ctx context.Context, c seckill.Callback) error {
	q, args := "UPDATE checkouts SET closed = 1 WHERE order_id = ? AND provider = ?", []any{c.Order, c.Provider}
	if c.Session != "" {
		q, args = q+" AND session = ?", append(args, c.Session)
	}
	_, err := t.exec(ctx, q, args...)
	return err
}

// failed closes the checkout of a payment that came to nothing, so that the buyer can start
// another one.
func (t *tx) failed(ctx context.Context, c seckill.Callback, orders []seckill.Order, now time.Time) error {
	if len(orders) == 0 {
		return nil
	}
	if err := t.closeCheckouts(ctx, c); err != nil {
		return err
	}
	return t.enter(ctx, now, seckill.Entry{Order: c.Order, Sale: orders[0].Sale, What: entryFailed, Amount: c.Amount, Currency: c.Currency, Who: c.Provider, Why: c.Reference})
}

const paymentColumns = "provider, event, reference, order_id, sale, amount, currency, state, note, at, seen_at"

func scanPayment(r scanner) (p seckill.Payment, err error) {
	var at, seen int64
	err = r.Scan(&p.Provider, &p.Event, &p.Reference, &p.Order, &p.Sale, &p.Amount, &p.Currency, &p.State, &p.Note, &at, &seen)
	p.At, p.SeenAt = fromMS(at), fromMS(seen)
	return p, err
}

// payment is one of a provider's. With t.lock, and behind the lock of its order, it stays as
// it is until the transaction ends, also where no order is known that everybody would lock.
func (t *tx) payment(ctx context.Context, provider seckill.Provider, reference, lock string) (p seckill.Payment, err error) {
	err = t.one(ctx, "SELECT "+paymentColumns+" FROM payments WHERE provider = ? AND reference = ?"+lock, []any{provider, reference}, func(r scanner) (err error) {
		p, err = scanPayment(r)
		return err
	})
	return p, err
}

// capturedEntry is the entry of the ledger of a payment.
func capturedEntry(p seckill.Payment) seckill.Entry {
	return seckill.Entry{Order: p.Order, Sale: p.Sale, What: entryCaptured, Amount: p.Amount, Currency: p.Currency, Who: p.Provider, Why: p.Reference}
}

// keep1 writes a payment.
func (t *tx) keep1(ctx context.Context, p seckill.Payment) error {
	_, err := t.exec(ctx, "INSERT INTO payments ("+paymentColumns+") VALUES "+list(1, 11), p.Provider, p.Event, p.Reference, p.Order, int64(p.Sale), p.Amount, p.Currency,
		string(p.State), cut(p.Note, 200), ms(p.At), ms(p.SeenAt))
	return err
}

// become moves a payment to a state and an order.
func (t *tx) become(ctx context.Context, p seckill.Payment) error {
	_, err := t.exec(ctx, "UPDATE payments SET state = ?, order_id = ?, note = ? WHERE provider = ? AND reference = ?", string(p.State), p.Order, cut(p.Note, 200), p.Provider, p.Reference)
	return err
}

// Payments lists payments, newest first.
func (s *Store) Payments(ctx context.Context, f seckill.PaymentFilter) (all []seckill.Payment, err error) {
	where, args := "1 = 1", []any{}
	and := func(clause string, v ...any) { where, args = where+" AND "+clause, append(args, v...) }
	if f.Order != "" {
		and("order_id = ?", f.Order)
	}
	if f.State != "" {
		and("state = ?", string(f.State))
	}
	if f.Provider != "" {
		and("provider = ?", f.Provider)
	}
	if f.Before.Reference != "" {
		and("(seen_at < ? OR seen_at = ? AND reference < ?)", ms(f.Before.SeenAt), ms(f.Before.SeenAt), f.Before.Reference)
	}
	err = s.ask(ctx, "payments", func(t *tx) error {
		all, err = readable(ctx, t, "payments", "SELECT "+paymentColumns+" FROM payments WHERE "+where+" ORDER BY seen_at DESC, reference DESC LIMIT ?", append(args, f.Max), scanPayment)
		return err
	})
	return all, err
}

// LatePayments lists up to max payments whose orders had ended and whose units are
// to be taken again, oldest first, behind after, each with its order's sale, buyer and
// quantity. One whose buyer has units of that sale on their way back to the gate waits until
// they are there: the gate would still name the ticket that they were.
func (s *Store) LatePayments(ctx context.Context, after seckill.PaymentCursor, max int) (all []seckill.Payment, err error) {
	from := int64(-1)
	if after.Reference != "" {
		from = ms(after.SeenAt)
	}
	err = s.ask(ctx, "late payments", func(t *tx) error {
		all, err = readable(ctx, t, "payments", "SELECT p.provider, p.reference, p.order_id, p.sale, p.amount, p.currency, p.seen_at, t.buyer, t.quantity FROM payments p JOIN tickets t ON t.id = p.order_id WHERE p.state = ? AND (p.seen_at > ? OR p.seen_at = ? AND p.reference > ?) AND NOT EXISTS ("+onTheirWay+" AND o.buyer = t.buyer AND o.sale = t.sale) ORDER BY p.seen_at, p.reference LIMIT ?",
			[]any{string(seckill.PaymentLate), from, from, after.Reference, max}, func(r scanner) (seckill.Payment, error) {
				p := seckill.Payment{State: seckill.PaymentLate}
				var seen int64
				err := r.Scan(&p.Provider, &p.Reference, &p.Order, &p.Sale, &p.Amount, &p.Currency, &seen, &p.Buyer, &p.Quantity)
				p.SeenAt = fromMS(seen)
				return p, err
			})
		return err
	})
	return all, err
}

// onTheirWay finds an order o whose units the gate has not taken back yet.
const onTheirWay = "SELECT 1 FROM tickets o JOIN returns r ON r.ticket = o.id WHERE 1 = 1"

// Retake ends a late payment: it pays the order that its buyer has got for it, if
// that is unpaid and costs as much; else, and without an order, it goes back.
func (s *Store) Retake(ctx context.Context, late seckill.Payment, order, why string) (paid bool, err error) {
	err = s.write(ctx, "retake", func(t *tx) error {
		paid = false
		ids := []any{late.Order}
		if order != "" {
			ids = append(ids, order)
		}
		orders, err := t.lockOrders(ctx, ids)
		if err != nil {
			return err
		}
		p, err := t.payment(ctx, late.Provider, late.Reference, t.lock)
		if err != nil || p.State != seckill.PaymentLate {
			return err // somebody else has ended it
		}
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		first := p.Order
		for _, o := range orders {
			if end, _ := o.Take(p.Amount, p.Currency); o.ID != order || o.Buyer != late.Buyer || end != seckill.EndPays {
				continue
			}
			p.State, p.Order, p.Note, paid = seckill.PaymentKept, order, "retaken: it was paid for order "+first, true
			if err := t.become(ctx, p); err != nil {
				return err
			}
			if err := t.enter(ctx, now, seckill.Entry{Order: first, Sale: p.Sale, What: entryRetaken, Amount: p.Amount, Currency: p.Currency, Who: "late payments", Why: "it pays order " + order},
				seckill.Entry{Order: order, Sale: p.Sale, What: entryRetaken, Amount: p.Amount, Currency: p.Currency, Who: "late payments", Why: p.Note}); err != nil {
				return err
			}
			o.State = seckill.Paid
			if err := t.change(ctx, change{to: seckill.Paid, by: p.Provider, why: p.Reference}, []seckill.Order{o}, now); err != nil {
				return err
			}
			if err := t.unnoteTry(ctx, first, o.Sale, o.Buyer, now); err != nil {
				return err
			}
		}
		if !paid && order != "" {
			// It has ended since it was listed: once the gate has its units, they may be
			// taken again.
			waits := false
			err := t.rows(ctx, onTheirWay+" AND o.id = ?", []any{order}, func(scanner) error { waits = true; return nil })
			if err != nil {
				return err
			}
			if waits {
				return fmt.Errorf("the units of order %s are on their way back to the gate: %w", order, seckill.ErrUnavailable)
			}
		}
		if !paid {
			p.State, p.Note = seckill.PaymentReturned, cut(p.Note+"; "+why, 200)
			if err := t.become(ctx, p); err != nil {
				return err
			}
			if err := t.due(ctx, p, p.Amount, p.Note, now); err != nil {
				return err
			}
		}
		crash.Here("14-before-commit", true)
		return nil
	})
	return paid, err
}
