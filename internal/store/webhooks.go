package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"seckill"
	"seckill/internal/crash"
)

// errSpread says that another node has spread the same events at the same moment.
var errSpread = errors.New("another node makes the same deliveries")

// SpreadEvents turns up to max rows of events into deliveries, one of each event for
// each receiver that to names for its type, and forgets the rows, in one transaction.
// It returns how many rows there were.
func (s *Store) SpreadEvents(ctx context.Context, max int, to func(kind string) []string) (n int, err error) {
	waits := false
	err = s.ask(ctx, "webhook events", func(t *tx) error {
		return t.rows(ctx, "SELECT id FROM webhook_events WHERE type <> ? LIMIT 1", []any{unreadable}, func(r scanner) error { waits = true; return nil })
	})
	if err != nil || !waits {
		return 0, err
	}
	err = s.passingBad(ctx, func() error {
		err := s.spreadEvents(ctx, "", max, to, &n)
		if unspreadable(err) {
			return s.spreadEach(ctx, max, to, &n)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// unspreadable says that the database will not have the deliveries of some event: another
// has its id, or it rejects what is in it.
func unspreadable(err error) bool { return errors.Is(err, errDuplicate) || errors.Is(err, ErrTicket) }

// spreadEach spreads the rows one by one, and names those of which that cannot be done.
func (s *Store) spreadEach(ctx context.Context, max int, to func(kind string) []string, n *int) error {
	var ids []string
	err := s.ask(ctx, "webhook events", func(t *tx) error {
		ids = nil
		return t.rows(ctx, "SELECT id FROM webhook_events WHERE type <> ? ORDER BY id LIMIT ?", []any{unreadable, max}, func(r scanner) error {
			var id string
			err := r.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	if err != nil {
		return err
	}
	done := 0
	bad := &badEvents{table: webhookEvents}
	for _, id := range ids {
		one := 0
		err := s.spreadEvents(ctx, id, 1, to, &one)
		switch {
		case unspreadable(err):
			bad.ids, bad.why = append(bad.ids, id), err
		case err != nil:
			return err
		}
		done += one
	}
	if *n = done; len(bad.ids) > 0 {
		return bad
	}
	return nil
}

// spreadEvents spreads the first rows, or the one of that id.
func (s *Store) spreadEvents(ctx context.Context, id string, max int, to func(kind string) []string, n *int) error {
	return s.write(ctx, "webhook events", func(t *tx) error {
		if id != "" && t.lock != "" { // lock the row: another node that spreads the same event has either committed or not begun
			if err := t.rows(ctx, "SELECT id FROM webhook_events WHERE id = ?"+t.lock, []any{id}, func(scanner) error { return nil }); err != nil {
				return err
			}
		}
		rows, err := t.eventRows(ctx, webhookEvents, id, max)
		if err != nil {
			return err
		}
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		var deliveries, ids []any
		for _, row := range rows {
			ids = append(ids, row.ID)
			for _, e := range row.Events {
				for _, receiver := range to(e.Type) {
					deliveries = append(deliveries, receiver, e.ID, e.Type, e.Order, ms(e.At), string(e.Body), string(seckill.DeliveryWaiting), 0, ms(now), ms(now), 0, 0, "")
				}
			}
		}
		for some := range slices.Chunk(deliveries, 13*t.s.dialect.chunk) {
			_, err := t.exec(ctx, "INSERT INTO webhook_deliveries (receiver, event, type, order_id, at, body, state, tries, since, next_at, tried_at, status, error) VALUES "+list(len(some)/13, 13), some...)
			if err != nil {
				return err
			}
		}
		for some := range slices.Chunk(ids, t.s.dialect.chunk) {
			gone, err := t.exec(ctx, "DELETE FROM webhook_events WHERE id IN ("+list(len(some), 1)+")", some...)
			if err != nil {
				return err
			}
			if gone != int64(len(some)) {
				return errSpread
			}
		}
		*n = len(rows)
		crash.Here("17-before-commit", *n > 0)
		return nil
	})
}

const deliveryColumns = "event, type, order_id, at, state, tries, since, next_at, tried_at, status, error, body"

func scanDelivery(r scanner) (d seckill.Delivery, err error) {
	var at, since, next, tried int64
	var body []byte
	err = r.Scan(&d.Event, &d.Type, &d.Order, &at, &d.State, &d.Tries, &since, &next, &tried, &d.Code, &d.Error, &body)
	if err == nil && !json.Valid(body) {
		err = &damaged{fmt.Errorf("the delivery of %s holds no JSON", d.Event)}
	}
	d.At, d.Since, d.Body = fromMS(at), fromMS(since), body
	if d.State == seckill.DeliveryWaiting {
		d.Next = moment(next)
	}
	d.Tried = moment(tried)
	return d, err
}

// moment is a time that may be missing.
func moment(n int64) *time.Time {
	if n == 0 {
		return nil
	}
	at := fromMS(n)
	return &at
}

// DueDeliveries lists up to max deliveries of a receiver whose time has come, those that
// have waited longest first: none while an earlier event of the same order waits, and
// none while the receiver is stopped.
func (s *Store) DueDeliveries(ctx context.Context, receiver string, max int) (all []seckill.Delivery, err error) {
	err = s.ask(ctx, "deliveries", func(t *tx) error {
		all = nil
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		all, err = readable(ctx, t, "webhook_deliveries", "SELECT "+deliveryColumns+` FROM webhook_deliveries d WHERE receiver = ? AND state = 'waiting' AND next_at <= ?
			AND NOT EXISTS (SELECT 1 FROM webhook_stops s WHERE s.receiver = d.receiver)
			AND NOT EXISTS (SELECT 1 FROM webhook_deliveries e WHERE e.receiver = d.receiver AND e.event >= d.order_id AND e.event < d.event AND e.state = 'waiting')
			ORDER BY next_at, event LIMIT ?`, []any{receiver, ms(now), max}, func(r scanner) (seckill.Delivery, error) {
			d, err := scanDelivery(r)
			d.Age = now.Sub(d.Since)
			return d, err
		})
		return err
	})
	return all, err
}

// DeliveriesTried notes what came of sending deliveries. A receiver that is gone is
// stopped.
func (s *Store) DeliveriesTried(ctx context.Context, receiver string, tries []seckill.DeliveryTry) error {
	return s.write(ctx, "deliveries", func(t *tx) error {
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		for _, d := range tries {
			_, err := t.exec(ctx, "UPDATE webhook_deliveries SET state = ?, tries = tries + 1, next_at = ?, tried_at = ?, status = ?, error = ? WHERE receiver = ? AND event = ? AND state = 'waiting'",
				string(d.State), ms(now.Add(d.Pause)), ms(now), d.Code, cut(d.Error, 300), receiver, d.Event)
			if err != nil {
				return err
			}
		}
		if i := slices.IndexFunc(tries, func(d seckill.DeliveryTry) bool { return d.Gone }); i >= 0 {
			_, err := t.exec(ctx, "DELETE FROM webhook_stops WHERE receiver = ?", receiver)
			if err != nil {
				return err
			}
			_, err = t.exec(ctx, "INSERT INTO webhook_stops (receiver, at, why) VALUES (?, ?, ?)", receiver, ms(now), fmt.Sprintf("it answered event %s with %d: it wants no more", tries[i].Event, tries[i].Code))
			return err
		}
		return nil
	})
}

// Deliveries lists up to f.Max deliveries of a receiver, those of the newest orders first.
func (s *Store) Deliveries(ctx context.Context, f seckill.DeliveryFilter) (all []seckill.Delivery, err error) {
	where, args := "receiver = ?", []any{f.Receiver}
	if f.Order != "" { // "." comes after "-", which follows the order in the ids of its events
		where, args = where+" AND event >= ? AND event < ?", append(args, f.Order, f.Order+".")
	}
	if f.State != "" {
		where, args = where+" AND state = ?", append(args, string(f.State))
	}
	if f.Before != "" {
		where, args = where+" AND event < ?", append(args, f.Before)
	}
	err = s.ask(ctx, "deliveries", func(t *tx) error {
		all, err = readable(ctx, t, "webhook_deliveries", "SELECT "+deliveryColumns+" FROM webhook_deliveries WHERE "+where+" ORDER BY event DESC LIMIT ?", append(args, f.Max), scanDelivery)
		return err
	})
	return all, err
}

const (
	countedMost = 100_000 // deliveries of a receiver that are counted, waiting and given up: with more the count stops here
	oldestAmong = 1000    // events that wait to become deliveries, in the order of their ids: the oldest is looked for among the first so many
)

// ReceiverState returns how a receiver is served: all but its name, address and types.
// Events that have not become deliveries yet are nobody's: they make each receiver late.
func (s *Store) ReceiverState(ctx context.Context, receiver string) (v seckill.ReceiverState, err error) {
	err = s.read(ctx, "receiver", func(t *tx) error {
		v = seckill.ReceiverState{}
		oldest, last, unspread := int64(0), int64(0), int64(0)
		q := `SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM webhook_deliveries WHERE receiver = ? AND state = 'waiting' LIMIT ?) w),
			(SELECT COUNT(*) FROM (SELECT 1 FROM webhook_deliveries WHERE receiver = ? AND state = 'failed' LIMIT ?) f),
			COALESCE((SELECT at FROM webhook_deliveries WHERE receiver = ? AND state = 'waiting' ORDER BY at LIMIT 1), 0),
			COALESCE((SELECT next_at FROM webhook_deliveries WHERE receiver = ? AND state = 'delivered' ORDER BY next_at DESC LIMIT 1), 0),
			COALESCE((SELECT MIN(at) FROM (SELECT at FROM webhook_events WHERE type <> ? ORDER BY id LIMIT ?) e), 0)`
		args := []any{receiver, countedMost, receiver, countedMost, receiver, receiver, unreadable, oldestAmong}
		err := t.one(ctx, q, args, func(r scanner) error { return r.Scan(&v.Waiting, &v.Failed, &oldest, &last, &unspread) })
		if err != nil {
			return err
		}
		if oldest == 0 || unspread > 0 && unspread < oldest {
			oldest = unspread
		}
		v.Oldest, v.Last = moment(oldest), moment(last)
		return t.rows(ctx, "SELECT at, why FROM webhook_stops WHERE receiver = ?", []any{receiver}, func(r scanner) error {
			var at int64
			err := r.Scan(&at, &v.Why)
			v.Stopped = moment(at)
			return err
		})
	})
	return v, err
}

// replayTogether is how many deliveries one transaction of a replay puts to wait again.
const replayTogether = 500

// Replay puts deliveries to wait again, and starts a receiver that was stopped. It
// returns how many; none with an event that the log does not have is not found. What has
// waited while the receiver was stopped is tried as long as if it were new.
func (s *Store) Replay(ctx context.Context, p seckill.Replay) (n int, err error) {
	if err := s.renew(ctx, p.Receiver); err != nil {
		return 0, err
	}
	where, args := "receiver = ?", []any{p.Receiver}
	switch {
	case p.Event != "":
		where, args = where+" AND event = ?", append(args, p.Event)
	case !p.From.IsZero():
		where, args = where+" AND at >= ? AND at < ?", append(args, ms(p.From), ms(p.To))
	default:
		where += " AND state = 'failed'"
	}
	for after, more := "", true; more; {
		var events []any
		err := s.write(ctx, "replay", func(t *tx) error {
			events = nil
			err := t.rows(ctx, "SELECT event FROM webhook_deliveries WHERE "+where+" AND event > ? ORDER BY event LIMIT ?", slices.Concat(args, []any{after, replayTogether}), func(r scanner) error {
				var event string
				err := r.Scan(&event)
				events = append(events, event)
				return err
			})
			if err != nil {
				return err
			}
			now, err := t.clock(ctx)
			if err != nil {
				return err
			}
			for some := range slices.Chunk(events, t.s.dialect.chunk) {
				_, err := t.exec(ctx, "UPDATE webhook_deliveries SET state = 'waiting', tries = 0, since = ?, next_at = ? WHERE receiver = ? AND event IN ("+list(len(some), 1)+")",
					slices.Concat([]any{ms(now), ms(now), p.Receiver}, some)...)
				if err != nil {
					return err
				}
			}
			if p.Event != "" && len(events) == 0 {
				return seckill.ErrNotFound
			}
			if _, err = t.exec(ctx, "DELETE FROM webhook_stops WHERE receiver = ?", p.Receiver); err != nil {
				return err
			}
			if len(events) == 0 && n > 0 { // they were a whole number of transactions
				return nil
			}
			return t.logged(ctx, "", 0, p.Receiver, nil, map[string]any{"event": p.Event, "from": p.From, "to": p.To, "deliveries": len(events)})
		})
		if err != nil {
			return n, err
		}
		n += len(events)
		if more = len(events) == replayTogether; more {
			after = events[len(events)-1].(string)
		}
	}
	return n, nil
}

// renew lets the deliveries that wait for a receiver which is stopped be as if they had
// begun to wait now.
func (s *Store) renew(ctx context.Context, receiver string) error {
	for after, more := "", true; more; {
		err := s.write(ctx, "replay", func(t *tx) error {
			more = false
			var events []any
			q := "SELECT event FROM webhook_deliveries WHERE receiver = ? AND state = 'waiting' AND event > ? AND EXISTS (SELECT 1 FROM webhook_stops s WHERE s.receiver = ?) ORDER BY event LIMIT ?"
			err := t.rows(ctx, q, []any{receiver, after, receiver, replayTogether}, func(r scanner) error {
				var event string
				err := r.Scan(&event)
				events = append(events, event)
				return err
			})
			if err != nil || len(events) == 0 {
				return err
			}
			now, err := t.clock(ctx)
			if err != nil {
				return err
			}
			for some := range slices.Chunk(events, t.s.dialect.chunk) {
				_, err := t.exec(ctx, "UPDATE webhook_deliveries SET since = ? WHERE receiver = ? AND state = 'waiting' AND event IN ("+list(len(some), 1)+")", slices.Concat([]any{ms(now), receiver}, some)...)
				if err != nil {
					return err
				}
			}
			after, more = events[len(events)-1].(string), len(events) == replayTogether
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ForgetDeliveries deletes up to max deliveries of a receiver that were delivered or given
// up longer than age ago, and returns how many. Those that wait stay, however old.
func (s *Store) ForgetDeliveries(ctx context.Context, receiver string, age time.Duration, max int) (n int, err error) {
	for _, state := range []seckill.DeliveryState{seckill.DeliveryDelivered, seckill.DeliveryFailed} {
		some, err := s.forget(ctx, receiver, age, "state = '"+string(state)+"'", "next_at", max-n)
		if n += some; err != nil || n >= max {
			return n, err
		}
	}
	return n, nil
}

// forget deletes up to max deliveries of a receiver of where whose moment, a column, is
// longer ago than age, oldest first.
func (s *Store) forget(ctx context.Context, receiver string, age time.Duration, where, moment string, max int) (n int, err error) {
	var old []any
	err = s.ask(ctx, "deliveries", func(t *tx) error {
		old = nil
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		q := "SELECT event FROM webhook_deliveries WHERE receiver = ? AND " + where + " AND " + moment + " < ? ORDER BY " + moment + " LIMIT ?"
		return t.rows(ctx, q, []any{receiver, ms(now.Add(-age)), max}, func(r scanner) error {
			var event string
			err := r.Scan(&event)
			old = append(old, event)
			return err
		})
	})
	if err != nil || len(old) == 0 {
		return 0, err
	}
	err = s.write(ctx, "deliveries", func(t *tx) error {
		n = 0
		for some := range slices.Chunk(old, t.s.dialect.chunk) {
			// Unless a replay has put them to wait since.
			gone, err := t.exec(ctx, "DELETE FROM webhook_deliveries WHERE receiver = ? AND "+where+" AND event IN ("+list(len(some), 1)+")", append([]any{receiver}, some...)...)
			if err != nil {
				return err
			}
			n += int(gone)
		}
		return nil
	})
	return n, err
}

// StrayReceivers lists receivers of which there is something and which are not known.
func (s *Store) StrayReceivers(ctx context.Context, known []string) (strays []string, err error) {
	err = s.read(ctx, "receivers", func(t *tx) error {
		strays = nil
		for last, more := "", true; more; { // one question for each receiver: there are few of them, and each may have very many deliveries
			more = false
			q := `SELECT receiver FROM (SELECT * FROM (SELECT receiver FROM webhook_deliveries WHERE receiver > ? ORDER BY receiver LIMIT 1) d
				UNION SELECT receiver FROM webhook_stops WHERE receiver > ?) r ORDER BY receiver LIMIT 1`
			err := t.rows(ctx, q, []any{last, last}, func(r scanner) error { more = true; return r.Scan(&last) })
			if err != nil {
				return err
			}
			if more && !slices.Contains(known, last) {
				strays = append(strays, last)
			}
		}
		return nil
	})
	return strays, err
}

// ForgetReceiver deletes deliveries of a receiver whose events are older than age, up to
// max at a time, and in the end that it was stopped. It returns how many of them had not
// been delivered, and how many there were.
func (s *Store) ForgetReceiver(ctx context.Context, receiver string, age time.Duration, max int) (waiting, all int, err error) {
	for _, state := range []seckill.DeliveryState{seckill.DeliveryWaiting, seckill.DeliveryDelivered, seckill.DeliveryFailed} {
		for more := true; more; {
			n, err := s.forget(ctx, receiver, age, "state = '"+string(state)+"'", "at", max)
			if err != nil {
				return waiting, all, err
			}
			if all += n; state == seckill.DeliveryWaiting {
				waiting += n
			}
			more = n == max
		}
	}
	err = s.write(ctx, "receiver", func(t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM webhook_stops WHERE receiver = ? AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.receiver = ?)", receiver, receiver)
		return err
	})
	return waiting, all, err
}
