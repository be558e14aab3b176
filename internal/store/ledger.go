package store

import (
	"context"
	"time"
	"unicode/utf8"

	"seckill"
)

// What the entries of the ledger are about, beside "order." and the new state.
const (
	entryStarted  = "payment.started"
	entryFailed   = "payment.failed"
	entryCaptured = "payment.captured"
	entryAside    = "payment.aside"
	entryConflict = "payment.conflict" // a message that contradicts an earlier one; it changes nothing
	entryLate     = "payment.late"
	entryRetaken  = "payment.retaken"
	entryDue      = "refund.due"
	entryDone     = "refund.done"
	entryStock    = "stock.moved"
	entryOutage   = "outage"
)

// enter adds entries to the ledger. There is no other statement that writes it.
func (t *tx) enter(ctx context.Context, now time.Time, entries ...seckill.Entry) error {
	for len(entries) > 0 {
		some := entries[:min(len(entries), t.s.dialect.chunk)]
		entries = entries[len(some):]
		args := make([]any, 0, 9*len(some))
		for _, e := range some {
			args = append(args, ms(now), e.Order, int64(e.Sale), e.What, e.Units, e.Amount, e.Currency, e.Who, cut(e.Why, 300))
		}
		if _, err := t.exec(ctx, "INSERT INTO ledger (at, order_id, sale, what, units, amount, currency, who, why) VALUES "+list(len(some), 9), args...); err != nil {
			return err
		}
	}
	return nil
}

// cut shortens a text to at most n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}

// History returns the entries of an order, oldest first, at most max.
func (s *Store) History(ctx context.Context, order string, max int) (entries []seckill.Entry, err error) {
	err = s.ask(ctx, "history", func(t *tx) error {
		entries = nil
		return t.rows(ctx, "SELECT id, at, order_id, sale, what, units, amount, currency, who, why FROM ledger WHERE order_id = ? ORDER BY id LIMIT ?", []any{order, max}, func(r scanner) error {
			var e seckill.Entry
			var at int64
			err := r.Scan(&e.ID, &at, &e.Order, &e.Sale, &e.What, &e.Units, &e.Amount, &e.Currency, &e.Who, &e.Why)
			e.At = fromMS(at)
			entries = append(entries, e)
			return err
		})
	})
	return entries, err
}
