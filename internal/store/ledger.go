package store

import (
	"context"
	"slices"
	"strings"
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
	entryBounced  = "refund.bounced"
	entryDisputed = "payment.disputed"
	entryStock    = "stock.moved"
	entryHold     = "hold.extended" // units are milliseconds, as of an outage
	entryOutage   = "outage"
)

// enter adds entries to the ledger. Beside enterEach there is no other statement that
// writes it. One without an order is of the whole sale; an outage is of all sales.
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

// enterEach adds an entry for each order of where, with units as an expression over it.
func (t *tx) enterEach(ctx context.Context, now time.Time, e seckill.Entry, units string, unitArgs []any, where string, args ...any) error {
	q := "INSERT INTO ledger (at, order_id, sale, what, units, amount, currency, who, why) SELECT ?, id, sale, ?, " + units + ", 0, '', ?, ? FROM tickets WHERE " + where
	_, err := t.exec(ctx, q, slices.Concat([]any{ms(now), e.What}, unitArgs, []any{e.Who, cut(e.Why, 300)}, args)...)
	return err
}

// cut shortens a text to at most n characters. Bytes that are no text are left out: MariaDB
// refuses them, and others write what is kept here.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "")
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}

// History returns the entries of an order, oldest first, at most max.
func (s *Store) History(ctx context.Context, order string, max int) (entries []seckill.Entry, err error) {
	return s.entries(ctx, "order_id = ? ORDER BY id LIMIT ?", order, max)
}

// SaleHistory returns the entries of a sale as a whole with ids below before, newest
// first, at most max: its stock moves, the units that were not sold again, the longer
// holds, and the outages since it opened.
func (s *Store) SaleHistory(ctx context.Context, sale seckill.SaleID, before int64, max int) (entries []seckill.Entry, err error) {
	v, err := s.Sale(ctx, sale)
	if err != nil {
		return nil, err
	}
	entries, err = s.entries(ctx, "(order_id = '' AND sale = ? OR order_id = '"+entryOutage+"' AND at >= ?) AND id < ? ORDER BY id DESC LIMIT ?", int64(sale), ms(v.OpensAt), before, max)
	for i := range entries {
		if entries[i].What == entryOutage {
			entries[i].Order = ""
		}
	}
	return entries, err
}

func (s *Store) entries(ctx context.Context, where string, args ...any) (entries []seckill.Entry, err error) {
	err = s.ask(ctx, "history", func(t *tx) error {
		entries, err = readable(ctx, t, "ledger", "SELECT id, at, order_id, sale, what, units, amount, currency, who, why FROM ledger WHERE "+where, args, func(r scanner) (e seckill.Entry, err error) {
			var at int64
			err = r.Scan(&e.ID, &at, &e.Order, &e.Sale, &e.What, &e.Units, &e.Amount, &e.Currency, &e.Who, &e.Why)
			e.At = fromMS(at)
			return e, err
		})
		return err
	})
	return entries, err
}
