package store

import (
	"context"
	"time"

	"seckill"
)

// wave is the longest list of expiries, in minutes.
const wave = 24 * 60

// Aftermath counts the outcomes of a sale, as of one moment, and locks nothing. Ids of
// tickets begin with their time, so it reads those from the sale's first opening on: a ticket
// is made before it is admitted, by a clock that may be behind.
func (s *Store) Aftermath(ctx context.Context, id seckill.SaleID) (a seckill.Aftermath, err error) {
	err = s.read(ctx, "aftermath", func(t *tx) error {
		a = seckill.Aftermath{Sale: id, Expiries: []seckill.Expiry{}}
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		a.At = now.UTC()
		var opens int64
		if err := t.one(ctx, "SELECT COALESCE(w.opens, s.opens_at) FROM sales s LEFT JOIN terms w ON w.sale = s.id WHERE s.id = ?", []any{id}, func(r scanner) error { return r.Scan(&opens) }); err != nil {
			return err
		}
		first := seckill.NewTicketID(time.UnixMilli(max(0, opens-time.Hour.Milliseconds())))[:9]
		err = t.rows(ctx, "SELECT state, COUNT(*), COALESCE(SUM(quantity), 0) FROM tickets WHERE id >= ? AND sale = ? GROUP BY state", []any{first, id}, func(r scanner) error {
			var state string
			var n, units int64
			if err := r.Scan(&state, &n, &units); err != nil {
				return err
			}
			a.Count(state, n, units)
			return nil
		})
		if err != nil {
			return err
		}
		query := `SELECT expires_at - expires_at % 60000 AS minute, COUNT(*), SUM(quantity) FROM tickets WHERE sale = ? AND state = 'unpaid' AND ` + t.s.dialect.active +
			` IS NOT NULL GROUP BY minute ORDER BY minute LIMIT ?`
		return t.rows(ctx, query, []any{id, wave}, func(r scanner) error {
			var minute int64
			var e seckill.Expiry
			err := r.Scan(&minute, &e.Orders, &e.Units)
			e.At = time.UnixMilli(minute).UTC()
			a.Expiries = append(a.Expiries, e)
			return err
		})
	})
	return a, err
}
