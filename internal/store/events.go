package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"seckill"
)

// tell leaves events about the new states of orders, if anybody wants them.
func (t *tx) tell(ctx context.Context, orders []seckill.Order, now time.Time) error {
	if !t.s.KeepEvents {
		return nil
	}
	for some := range slices.Chunk(orders, t.s.dialect.chunk) {
		args := make([]any, 0, 4*len(some))
		for _, o := range some {
			body, err := json.Marshal(o)
			if err != nil {
				return err
			}
			id, kind := eventID(o)
			args = append(args, id, kind, ms(now), string(body))
		}
		if _, err := t.exec(ctx, "INSERT INTO events (id, type, at, body) VALUES "+list(len(some), 4), args...); err != nil {
			return err
		}
	}
	return nil
}

// eventID names the event of an order's state. An order enters each state at
// most once, so the id needs no randomness; its last digit makes the events of
// an order sort in the order of its states.
func eventID(o seckill.Order) (id, kind string) {
	step := 2 // paid, cancelled, expired: one of them
	switch o.State {
	case seckill.Unpaid:
		return o.ID + "-1", "order.placed"
	case seckill.Refunded:
		step = 3
	}
	return fmt.Sprintf("%s-%d", o.ID, step), "order." + string(o.State)
}

// Events lists up to max events that have not been sent, those of older orders
// first and those of one order in the order of its states.
func (s *Store) Events(ctx context.Context, max int) (events []seckill.Event, err error) {
	err = s.ask(ctx, "events", func(t *tx) error {
		return t.rows(ctx, "SELECT id, type, at, body FROM events ORDER BY id LIMIT ?", []any{max}, func(r scanner) error {
			e := seckill.Event{V: seckill.EventVersion}
			var at int64
			var body []byte
			if err := r.Scan(&e.ID, &e.Type, &at, &body); err != nil {
				return err
			}
			e.At = fromMS(at)
			events = append(events, e)
			return json.Unmarshal(body, &events[len(events)-1].Order)
		})
	})
	return events, err
}

// OldestEvent returns when the oldest event that has not been sent happened, zero
// if there is none.
func (s *Store) OldestEvent(ctx context.Context) (at time.Time, err error) {
	err = s.ask(ctx, "oldest event", func(t *tx) error {
		return t.one(ctx, "SELECT COALESCE(MIN(at), 0) FROM events", nil, func(r scanner) error {
			var oldest int64
			err := r.Scan(&oldest)
			if oldest > 0 {
				at = fromMS(oldest)
			}
			return err
		})
	})
	return at, err
}

// Sent forgets events that others have received.
func (s *Store) Sent(ctx context.Context, ids []string) error {
	return s.write(ctx, "events sent", func(t *tx) error {
		for some := range slices.Chunk(ids, t.s.dialect.chunk) {
			args := make([]any, len(some))
			for i := range some {
				args[i] = some[i]
			}
			if _, err := t.exec(ctx, "DELETE FROM events WHERE id IN ("+list(len(some), 1)+")", args...); err != nil {
				return err
			}
		}
		return nil
	})
}
