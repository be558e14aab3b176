package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"seckill"
)

// DueRefunds lists up to max refunds that the provider is to be asked for now.
func (s *Store) DueRefunds(ctx context.Context, max int) (all []seckill.Refund, err error) {
	err = s.ask(ctx, "due refunds", func(t *tx) error {
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		all, err = readable(ctx, t, "refunds", "SELECT "+refundColumns+" FROM refunds WHERE state = 'due' AND next_at <= ? ORDER BY next_at, id LIMIT ?", []any{ms(now), max}, scanRefund)
		return err
	})
	return all, err
}

// DueRefund is one of them, as it is now. It is not found once it is no longer to be asked
// for.
func (s *Store) DueRefund(ctx context.Context, id string) (f seckill.Refund, err error) {
	err = s.ask(ctx, "due refund", func(t *tx) error {
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		f, err = t.refundBy(ctx, "id = ? AND state = 'due' AND next_at <= ?", id, ms(now))
		return err
	})
	return f, err
}

// RefundTried notes what asking the provider for a refund came to: confirmed, as f.Given,
// or that it is to be asked again after pause, and why. One that has come back meanwhile
// stays as it is. The error wraps ErrState if the refund had been given back before, as
// something else.
func (s *Store) RefundTried(ctx context.Context, f seckill.Refund, confirmed bool, pause time.Duration, why string) error {
	note := ""
	err := s.write(ctx, "refund", func(t *tx) error {
		note = ""
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		if confirmed {
			if _, err := t.lockOrders(ctx, []any{f.Order}); err != nil {
				return err
			}
			own := cmp.Or(f.Given, f.ID)
			was, err := t.refundBy(ctx, "id = ?"+t.lock, f.ID)
			if err != nil {
				return err
			}
			// A bounce that was told while the provider was asked is the later word.
			if back, err := t.cameBack(ctx, f.Provider, own, time.Time{}); err != nil {
				return err
			} else if back {
				return t.leave(ctx, was)
			}
			if was.State == seckill.RefundDone && was.Given != "" && was.Given != own {
				note = twice(was, own)
				return t.enter(ctx, now, seckill.Entry{Order: f.Order, What: entryConflict, Amount: f.Amount, Currency: f.Currency, Who: f.Provider, Why: note})
			}
			return t.done(ctx, f, own, now)
		}
		_, err = t.exec(ctx, "UPDATE refunds SET tries = tries + 1, next_at = ?, failure = ? WHERE id = ? AND state = 'due' AND next_at < ?", ms(now.Add(pause)), cut(why, 200), f.ID, int64(askedNoMore))
		return err
	})
	if err == nil && note != "" {
		err = fmt.Errorf("%s: %w", note, seckill.ErrState)
	}
	return err
}
