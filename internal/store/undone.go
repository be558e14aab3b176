package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"seckill"
)

// bounced takes a provider's word that a refund did not reach the buyer: it is due again.
func (t *tx) bounced(ctx context.Context, c seckill.Callback, now time.Time, r *seckill.Received) (became string, err error) {
	f, err := t.refundOf(ctx, c)
	if err == seckill.ErrNotFound {
		return becameForeign, nil
	}
	if err != nil {
		return "", err
	}
	if f.State != seckill.RefundDone || f.Given == seckill.ByHand || c.Own != "" && f.Given != "" && f.Given != c.Own {
		return becameBounced, nil // the money has not gone that way
	}
	r.Undone, r.Due = true, true
	r.Note = fmt.Sprintf("refund %s of %d %s, given back as %s, did not reach the buyer and is due again", f.ID, f.Amount, f.Currency, cmp.Or(f.Given, f.ID))
	if _, err := t.exec(ctx, "UPDATE refunds SET state = ?, done_at = 0, given = '', next_at = ?, failure = ? WHERE id = ?", string(seckill.RefundDue), ms(now), cut(r.Note, 200), f.ID); err != nil {
		return "", err
	}
	return becameBounced, t.enter(ctx, now, seckill.Entry{Order: f.Order, What: entryBounced, Amount: f.Amount, Currency: f.Currency, Who: c.Provider, Why: r.Note})
}

// refundOf is the refund that a message is about: by our id, or by the provider's own.
func (t *tx) refundOf(ctx context.Context, c seckill.Callback) (f seckill.Refund, err error) {
	err = seckill.ErrNotFound
	for _, by := range [][2]string{{"id", c.Refund}, {"id", c.Reference}, {"given", c.Own}} {
		if by[1] == "" {
			continue
		}
		args := []any{c.Provider, by[1]}
		where := "provider = ? AND " + by[0] + " = ?"
		if by[0] == "given" {
			where, args = where+" AND reference = ?", append(args, c.Reference)
		}
		if f, err = t.refundBy(ctx, where, args...); err != seckill.ErrNotFound {
			return f, err
		}
	}
	return f, err
}

// disputed notes that a buyer takes a payment back through the bank. Nothing changes: the
// provider decides it, and a person answers it there.
func (t *tx) disputed(ctx context.Context, c seckill.Callback, p seckill.Payment, now time.Time, r *seckill.Received) (became string, err error) {
	if p.Reference == "" {
		return becameForeign, nil
	}
	r.Undone, r.Note = true, fmt.Sprintf("payment %s of %d %s is disputed (%s)", p.Reference, p.Amount, p.Currency, c.Event)
	return becameDisputed, t.enter(ctx, now, seckill.Entry{Order: p.Order, Sale: p.Sale, What: entryDisputed, Amount: c.Amount, Currency: c.Currency, Who: c.Provider, Why: r.Note})
}
