package store

import (
	"context"

	"seckill"
)

// Refunds lists refunds, newest first.
func (s *Store) Refunds(ctx context.Context, f seckill.RefundFilter) (all []seckill.Refund, err error) {
	where, args := "1 = 1", []any{}
	and := func(clause string, v ...any) { where, args = where+" AND "+clause, append(args, v...) }
	switch f.State {
	case seckill.RefundEarly:
		return s.waiting(ctx, f)
	case "":
	case seckill.RefundDue:
		and("state = 'due'") // few, by the index of states
	default:
		and("state <> 'due'") // nearly all: by the index of the list
	}
	if f.Provider != "" {
		and("provider = ?", f.Provider)
	}
	if f.Before.ID != "" {
		and("(made_at < ? OR made_at = ? AND id < ?)", ms(f.Before.MadeAt), ms(f.Before.MadeAt), f.Before.ID)
	}
	return s.refunds(ctx, where+" ORDER BY made_at DESC, id DESC LIMIT ?", append(args, f.Max)...)
}

// RefundDone notes that a person gave a refund that was due back by hand, or, of one that was
// told without its payment, by its event, that there is no such payment. A repeat changes
// nothing.
func (s *Store) RefundDone(ctx context.Context, id, by, reason string) (f seckill.Refund, err error) {
	err = s.write(ctx, "refund by hand", func(t *tx) error {
		f, err = t.refundBy(ctx, "id = ?", id)
		if err == seckill.ErrNotFound {
			f, err = t.disown(ctx, id)
			return err
		}
		if err != nil {
			return err
		}
		if _, err := t.lockOrders(ctx, []any{f.Order}); err != nil {
			return err
		}
		was, err := t.refundBy(ctx, "id = ?"+t.lock, id)
		if err != nil {
			return err
		}
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		if err := t.doneBy(ctx, was, seckill.ByHand, by, cut("by hand, refund "+id+": "+reason, 200), now); err != nil {
			return err
		}
		if f, err = t.refundBy(ctx, "id = ?", id); err != nil {
			return err
		}
		state := func(f seckill.Refund) any {
			return struct {
				State seckill.RefundState `json:"state"`
				Given string              `json:"given,omitempty"`
			}{f.State, f.Given}
		}
		return t.logged(ctx, "refunds.done", f.Sale, f.ID, state(was), state(f))
	})
	return f, err
}

// waiting lists refunds that were told without their payments, newest first, by their events.
func (s *Store) waiting(ctx context.Context, f seckill.RefundFilter) (all []seckill.Refund, err error) {
	where, args := "became = '"+becameEarly+"'", []any{}
	and := func(clause string, v ...any) { where, args = where+" AND "+clause, append(args, v...) }
	if f.Provider != "" {
		and("provider = ?", f.Provider)
	}
	if f.Before.ID != "" {
		and("(seen_at < ? OR seen_at = ? AND event < ?)", ms(f.Before.MadeAt), ms(f.Before.MadeAt), f.Before.ID)
	}
	err = s.ask(ctx, "early refunds", func(t *tx) error {
		all, err = readable(ctx, t, "callbacks", "SELECT "+callbackColumns+" FROM callbacks WHERE "+where+" ORDER BY seen_at DESC, event DESC LIMIT ?", append(args, f.Max), scanCallback)
		return err
	})
	return all, err
}

const callbackColumns = "event, provider, order_id, reference, amount, currency, seen_at, became"

// scanCallback reads a callback as a refund.
func scanCallback(r scanner) (f seckill.Refund, err error) {
	var at int64
	err = r.Scan(&f.ID, &f.Provider, &f.Order, &f.Reference, &f.Amount, &f.Currency, &at, &f.State)
	f.MadeAt, f.By = fromMS(at), f.Provider
	return f, err
}

// disown notes that a refund which was told without its payment is of none of ours. If that
// payment is told after all, the refund is entered with it.
func (t *tx) disown(ctx context.Context, event string) (f seckill.Refund, err error) {
	err = t.one(ctx, "SELECT "+callbackColumns+" FROM callbacks WHERE provider IN ('shop', 'stripe') AND event = ? AND type = 'refunded' AND became IN ('"+becameEarly+"', '"+becameForeign+"')"+t.lock,
		[]any{event}, func(r scanner) (err error) {
			f, err = scanCallback(r)
			return err
		})
	if err != nil || f.State == seckill.RefundForeign {
		return f, err
	}
	was := f
	f.State = seckill.RefundForeign
	if _, err := t.exec(ctx, "UPDATE callbacks SET became = ? WHERE provider = ? AND event = ?", becameForeign, f.Provider, event); err != nil {
		return f, err
	}
	return f, t.logged(ctx, "refunds.done", 0, event, map[string]any{"state": was.State}, map[string]any{"state": f.State})
}
