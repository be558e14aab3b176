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

// RefundDone notes that a person gave a refund that was due back by hand. A repeat changes
// nothing.
func (s *Store) RefundDone(ctx context.Context, id, by, reason string) (f seckill.Refund, err error) {
	err = s.write(ctx, "refund by hand", func(t *tx) error {
		if f, err = t.refundBy(ctx, "id = ?", id); err != nil {
			return err
		}
		if _, err := t.lockOrders(ctx, []any{f.Order}); err != nil {
			return err
		}
		was, err := t.refundBy(ctx, "id = ?", id)
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
