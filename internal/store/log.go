package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"time"

	"seckill"
)

// Limits of an entry of the log, in characters. What is longer is cut: before and after
// then are a text and no longer an object.
const (
	maxIntent = 1000
	maxState  = 4000
)

// logged writes the entry of what an administrator changes in this transaction: in a
// context without one (see seckill.WithActor) it does nothing. what is such as
// sales.stock, or empty for what the actor came for. before and after are the
// thing before and after the change, as JSON; of two objects only the fields that differ
// are kept.
func (t *tx) logged(ctx context.Context, what string, sale seckill.SaleID, subject string, before, after any) error {
	return t.loggedAs(ctx, seckill.LogDone, what, sale, subject, before, after)
}

// loggedAs is logged for a change whose end is decided elsewhere, see ended.
func (t *tx) loggedAs(ctx context.Context, result, what string, sale seckill.SaleID, subject string, before, after any) error {
	actor, ok := seckill.ActorOf(ctx)
	if !ok {
		return nil
	}
	now, err := t.clock(ctx)
	if err != nil {
		return err
	}
	actor.What = cmp.Or(what, actor.What)
	e := seckill.LogEntry{At: now, Actor: actor, Sale: sale, Subject: subject, Result: result}
	if e.Before, e.After, err = differences(before, after); err != nil {
		return err
	}
	return t.log(ctx, e)
}

// loggedOrder is logged for an order.
func (t *tx) loggedOrder(ctx context.Context, what string, before, after seckill.Order) error {
	state := func(o seckill.Order) any {
		return struct {
			State    seckill.OrderState `json:"state"`
			Refunded int64              `json:"refunded_amount"`
			Returned int                `json:"returned_units"`
		}{o.State, o.RefundedAmount, o.ReturnedUnits}
	}
	return t.logged(ctx, what, after.Sale, after.ID, state(before), state(after))
}

// ended notes the result of a change that was logged as begun.
func (t *tx) ended(ctx context.Context, what string, sale seckill.SaleID, subject, result string) error {
	_, err := t.exec(ctx, "UPDATE admin_log SET result = ? WHERE what = ? AND subject = ? AND sale = ? AND result = ?", result, what, subject, sale, seckill.LogBegun)
	return err
}

func (t *tx) log(ctx context.Context, e seckill.LogEntry) error {
	_, err := t.exec(ctx, "INSERT INTO admin_log (at, who, role, origin, request, what, sale, subject, intent, result, was, became) VALUES "+list(1, 12),
		ms(e.At), cut(e.Who, 64), cut(e.Role, 16), cut(e.From, 64), cut(e.RequestID, 64), cut(e.What, 64), int64(e.Sale), cut(e.Subject, 64),
		cut(e.Intent, maxIntent), cut(e.Result, 32), short(e.Before), short(e.After))
	return err
}

// short keeps JSON that is too long as a text of its beginning.
func short(v json.RawMessage) string {
	if text := cut(string(v), maxState); len(text) < len(v) {
		b, _ := json.Marshal(text)
		return string(b)
	}
	return string(v)
}

// differences returns two values as JSON; of two objects only the fields that differ.
func differences(before, after any) (was, became json.RawMessage, err error) {
	if was, err = asJSON(before); err != nil {
		return nil, nil, err
	}
	if became, err = asJSON(after); err != nil {
		return nil, nil, err
	}
	var old, fresh map[string]json.RawMessage
	if json.Unmarshal(was, &old) != nil || json.Unmarshal(became, &fresh) != nil {
		return was, became, nil
	}
	for k, v := range old {
		if bytes.Equal(v, fresh[k]) {
			delete(old, k)
			delete(fresh, k)
		}
	}
	was, _ = json.Marshal(old)
	became, _ = json.Marshal(fresh)
	return was, became, nil
}

func asJSON(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}

// Log adds entries that belong to no change of the store: logins, refusals, new tokens.
// Of those that name a token the first one counts.
func (s *Store) Log(ctx context.Context, entries ...seckill.LogEntry) error {
	return s.write(ctx, "log", func(t *tx) error {
		for _, e := range entries {
			if e.What == seckill.LogToken {
				err := t.one(ctx, "SELECT 1 FROM admin_log WHERE what = ? AND subject = ? LIMIT 1", []any{e.What, e.Subject}, func(scanner) error { return nil })
				if err == nil {
					continue
				}
				if err != seckill.ErrNotFound {
					return err
				}
			}
			if err := t.log(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// LogEntries returns entries of the log, newest first.
func (s *Store) LogEntries(ctx context.Context, f seckill.LogFilter) (entries []seckill.LogEntry, err error) {
	where, args := "1 = 1", []any{}
	and := func(condition string, values ...any) { where, args = where+" AND "+condition, append(args, values...) }
	if f.Before > 0 {
		and("id < ?", f.Before)
	}
	if f.Who != "" {
		and("who = ?", f.Who)
	}
	if f.What != "" {
		and("(what = ? OR what >= ? AND what < ?)", f.What, f.What+".", f.What+"/") // "/" follows "."
	}
	if f.Sale != 0 {
		and("sale = ?", f.Sale)
	}
	err = s.ask(ctx, "log", func(t *tx) error {
		entries, err = readable(ctx, t, "admin_log", "SELECT id, at, who, role, origin, request, what, sale, subject, intent, result, was, became FROM admin_log WHERE "+where+" ORDER BY id DESC LIMIT ?",
			append(args, f.Max), func(r scanner) (e seckill.LogEntry, err error) {
				var at int64
				var was, became string
				err = r.Scan(&e.ID, &at, &e.Who, &e.Role, &e.From, &e.RequestID, &e.What, &e.Sale, &e.Subject, &e.Intent, &e.Result, &was, &became)
				e.At, e.Before, e.After = time.UnixMilli(at).UTC(), raw(was), raw(became)
				return e, err
			})
		return err
	})
	return entries, err
}

// raw is what was kept as JSON. What is none any more is told as a text, or nobody could
// read the list that it stands in.
func raw(s string) json.RawMessage {
	switch {
	case s == "":
		return nil
	case !json.Valid([]byte(s)):
		b, _ := json.Marshal(s)
		return b
	}
	return json.RawMessage(s)
}

// TrimLog removes entries that are older than keep by the store's clock, of the first max
// that there are, and returns how many it removed. It reads and locks no more than those.
// Entries are read in the order of their ids. An entry that had to wait while the store was
// away has a higher id than its age suggests, and is removed a little later.
func (s *Store) TrimLog(ctx context.Context, keep time.Duration, max int) (removed int, err error) {
	err = s.write(ctx, "trim the log", func(t *tx) error {
		removed = 0
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		var old []any
		err = t.rows(ctx, "SELECT id, at FROM admin_log ORDER BY id LIMIT ?", []any{max}, func(r scanner) error {
			var id, at int64
			err := r.Scan(&id, &at)
			if at < ms(now.Add(-keep)) {
				old = append(old, id)
			}
			return err
		})
		if err != nil || len(old) == 0 {
			return err
		}
		removed = len(old)
		_, err = t.exec(ctx, "DELETE FROM admin_log WHERE id IN ("+list(removed, 1)+")", old...)
		return err
	})
	return removed, err
}
