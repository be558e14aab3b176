package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"seckill"
)

// askedNoMore is the next_at of a refund that has come back: the provider would be asked
// for one that it has given, and gives each once. A person gives it back, or the provider
// tells that it has.
const askedNoMore = math.MaxInt64

// bounced takes a provider's word that a refund did not reach the buyer: it is due, for a
// person. The word is kept: the message that the refund was given back may be the later one
// of the two to come.
func (t *tx) bounced(ctx context.Context, c seckill.Callback, p seckill.Payment, now time.Time, r *seckill.Received) (became string, err error) {
	all, err := t.refundsOf(ctx, c)
	if err != nil {
		return "", err
	}
	var sum int64
	for _, f := range all {
		sum += f.Amount
	}
	if len(all) > 0 && (sum != c.Amount || all[0].Currency != c.Currency) {
		return t.conflict(ctx, c, all[0].Order, now, r, fmt.Sprintf("refund %s of %d %s comes back as %d %s", all[0].ID, sum, all[0].Currency, c.Amount, c.Currency))
	}
	name := c.Own
	if name == "" && len(all) > 0 {
		name = all[0].ID
	}
	if name == "" {
		return becameForeign, nil
	}
	if _, err := t.exec(ctx, "DELETE FROM bounces WHERE provider = ? AND own = ? AND at < ?", c.Provider, name, ms(c.At)); err != nil {
		return "", err
	}
	if back, err := t.cameBack(ctx, c.Provider, name, time.Time{}); err != nil {
		return "", err
	} else if !back {
		if _, err := t.exec(ctx, "INSERT INTO bounces (provider, own, at) VALUES (?, ?, ?)", c.Provider, name, ms(c.At)); err != nil {
			return "", err
		}
	}
	if len(all) == 0 && p.Reference == "" {
		return becameForeign, nil
	}
	if len(all) == 0 {
		r.Undone, r.Note = true, fmt.Sprintf("refund %s of payment %s, which is not known here, did not reach the buyer", c.Own, p.Reference)
		return becameBounced, t.enter(ctx, now, seckill.Entry{Order: p.Order, Sale: p.Sale, What: entryBounced, Amount: c.Amount, Currency: c.Currency, Who: c.Provider, Why: r.Note})
	}
	for _, f := range all {
		if over, err := t.overBy(ctx, c, f); err != nil {
			return "", err
		} else if over {
			continue
		}
		given := ""
		if f.State == seckill.RefundDone {
			given = ", given back as " + cmp.Or(f.Given, f.ID) + ","
		}
		r.Undone = true
		r.Note = fmt.Sprintf("refund %s of %d %s%s did not reach the buyer: it is due, give it back another way", f.ID, f.Amount, f.Currency, given)
		if err := t.undo(ctx, f, r.Note); err != nil {
			return "", err
		}
		if err := t.enter(ctx, now, seckill.Entry{Order: f.Order, Sale: f.Sale, What: entryBounced, Amount: f.Amount, Currency: f.Currency, Who: c.Provider, Why: r.Note}); err != nil {
			return "", err
		}
	}
	return becameBounced, nil
}

// overBy reports whether a refund has reached the buyer by another way than the one that
// bounced: by hand, as another refund of the provider's, or later.
func (t *tx) overBy(ctx context.Context, c seckill.Callback, f seckill.Refund) (over bool, err error) {
	if f.State != seckill.RefundDone {
		return false, nil
	}
	if f.Given == seckill.ByHand || c.Own != "" && f.Given != "" && f.Given != c.Own {
		return true, nil
	}
	if c.Own != "" {
		return false, nil
	}
	return t.told(ctx, f, c.At)
}

// told reports whether the provider has said that a refund was given back later than at after.
func (t *tx) told(ctx context.Context, f seckill.Refund, after time.Time) (told bool, err error) {
	err = t.rows(ctx, "SELECT 1 FROM callbacks WHERE provider = ? AND reference IN (?, ?) AND (reference = ? OR own = ?) AND type = ? AND became = ? AND at > ? LIMIT 1",
		[]any{f.Provider, f.ID, f.Reference, f.ID, f.ID, string(seckill.GivenBack), becameRefund, ms(after)}, func(scanner) error { told = true; return nil })
	return told, err
}

// cameBack reports whether a refund, by the provider's own id of it or else by ours, is known
// to have come back, at since or later.
func (t *tx) cameBack(ctx context.Context, provider seckill.Provider, name string, since time.Time) (back bool, err error) {
	err = t.rows(ctx, "SELECT at FROM bounces WHERE provider = ? AND own = ?", []any{provider, name}, func(s scanner) error {
		var at int64
		err := s.Scan(&at)
		back = since.IsZero() || at >= ms(since)
		return err
	})
	return back, err
}

// cameBackBefore is the refund that a message is the word for when it names only the payment
// and is later than the bounce: the provider, which is asked no more, gave it back another way.
func (t *tx) cameBackBefore(ctx context.Context, c seckill.Callback) (seckill.Refund, error) {
	waiting, err := readable(ctx, t, "refunds", "SELECT "+refundColumns+" FROM refunds WHERE provider = ? AND reference = ? AND amount = ? AND state = 'due' AND next_at = ? ORDER BY made_at, id"+t.lock,
		[]any{c.Provider, c.Reference, c.Amount, int64(askedNoMore)}, scanRefund)
	if err != nil {
		return seckill.Refund{}, err
	}
	for _, f := range waiting {
		if later, err := t.cameBack(ctx, c.Provider, f.ID, c.At); err != nil || !later {
			return f, err
		}
	}
	return seckill.Refund{}, seckill.ErrNotFound
}

// refundNamed is the refund that a message names by our id.
func (t *tx) refundNamed(ctx context.Context, c seckill.Callback, lock string) (f seckill.Refund, err error) {
	err = seckill.ErrNotFound
	for _, id := range []string{c.Refund, c.Reference} {
		if id == "" || err != seckill.ErrNotFound {
			continue
		}
		f, err = t.refundBy(ctx, "id = ? AND provider = ?"+lock, id, c.Provider)
	}
	return f, err
}

// leave leaves a refund that has come back to a person, unless it has reached the buyer
// another way.
func (t *tx) leave(ctx context.Context, f seckill.Refund) error {
	if f.State != seckill.RefundDue {
		return nil
	}
	return t.undo(ctx, f, cmp.Or(f.Error, "it did not reach the buyer: give it back another way"))
}

func (t *tx) undo(ctx context.Context, f seckill.Refund, why string) error {
	_, err := t.exec(ctx, "UPDATE refunds SET state = ?, done_at = 0, given = '', next_at = ?, failure = ? WHERE id = ?", string(seckill.RefundDue), int64(askedNoMore), cut(why, 200), f.ID)
	return err
}

// refundsOf are the refunds that a message is about: the one with our id, or those that
// were given back as the provider's own.
func (t *tx) refundsOf(ctx context.Context, c seckill.Callback) (all []seckill.Refund, err error) {
	switch f, err := t.refundNamed(ctx, c, t.lock); {
	case err == nil:
		return []seckill.Refund{f}, nil
	case err != seckill.ErrNotFound:
		return nil, err
	case c.Own == "":
		return nil, nil
	}
	return readable(ctx, t, "refunds", "SELECT "+refundColumns+" FROM refunds WHERE provider = ? AND reference = ? AND given = ?"+t.lock, []any{c.Provider, c.Reference, c.Own}, scanRefund)
}

// disputed notes that a buyer takes a payment back through the bank. Nothing changes but the
// payment's note: the provider decides it, and a person answers it there.
func (t *tx) disputed(ctx context.Context, c seckill.Callback, p seckill.Payment, now time.Time, r *seckill.Received) (became string, err error) {
	if p.Reference == "" {
		return becameForeign, nil
	}
	r.Undone, r.Note = true, fmt.Sprintf("payment %s of %d %s is disputed (%s)", p.Reference, p.Amount, p.Currency, c.Event)
	if _, err := t.exec(ctx, "UPDATE payments SET note = ? WHERE provider = ? AND reference = ?", cut("disputed: "+c.Event, 200), p.Provider, p.Reference); err != nil {
		return "", err
	}
	return becameDisputed, t.enter(ctx, now, seckill.Entry{Order: p.Order, Sale: p.Sale, What: entryDisputed, Amount: c.Amount, Currency: c.Currency, Who: c.Provider, Why: r.Note})
}
