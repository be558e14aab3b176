package store

import (
	"context"
	"time"

	"seckill"
)

// Steps returns what of a sale was settled in each interval of a width, the first one
// first; intervals without anything are left out.
func (s *Store) Steps(ctx context.Context, id seckill.SaleID, width time.Duration) (steps []seckill.Step, err error) {
	w := max(1, width.Milliseconds())
	err = s.ask(ctx, "steps", func(t *tx) error {
		steps = nil
		return t.rows(ctx, `SELECT created_at - created_at % ? AS step, SUM(CASE WHEN state = 'refused' THEN 0 ELSE 1 END), SUM(CASE WHEN state = 'refused' THEN 1 ELSE 0 END),
			SUM(CASE WHEN state = 'refused' THEN 0 ELSE quantity END) FROM tickets WHERE sale = ? GROUP BY step ORDER BY step`, []any{w, id}, func(r scanner) error {
			var at int64
			v := seckill.Step{Width: width}
			err := r.Scan(&at, &v.Placed, &v.Refused, &v.Units)
			v.At = fromMS(at)
			steps = append(steps, v)
			return err
		})
	})
	return steps, err
}
