package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"seckill"
)

// Where events are kept: for the broker, and for the receivers of webhooks. Each row is
// forgotten by one resident.
const (
	brokerEvents  = "events"
	webhookEvents = "webhook_events"
)

// keeps reports whether anybody wants events.
func (s *Store) keeps() bool { return s.settings.KeepEvents || len(s.settings.HookTypes) > 0 }

// keptIn lists where events of a type are kept.
func (s *Store) keptIn(kind string) (tables []string) {
	if s.settings.KeepEvents {
		tables = append(tables, brokerEvents)
	}
	if slices.Contains(s.settings.HookTypes, kind) {
		tables = append(tables, webhookEvents)
	}
	return tables
}

// eventsTogether is the most events in one row. What it holds of them must fit into
// its 2,000 bytes.
const eventsTogether = 60

// writeEvents writes events about the new state of orders, the same of all, if anybody
// wants them. Those of orders that differ in nothing but their ids, as most that are
// settled together, share a row: it holds one of the orders in JSON, which the row is
// named after, and then the ids of the others, each on a line.
//
// Rows are read in the order of their names, and the events of an order must come in
// the order of its states. So a row of first events is named after its first order,
// and one of last events after its last; an event between those has its own row.
func (t *tx) writeEvents(ctx context.Context, orders []seckill.Order, now time.Time) error {
	if !t.s.keeps() || len(orders) == 0 {
		return nil
	}
	slices.SortFunc(orders, func(a, b seckill.Order) int {
		return cmp.Or(cmp.Compare(a.Sale, b.Sale), cmp.Compare(a.Quantity, b.Quantity), a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	state := orders[0].State
	for i := range orders {
		if o := &orders[i]; state == seckill.Refunded && o.Amount > 0 { // the event says of a refund what GET of the order says
			o.RefundedAmount, o.ReturnedUnits = o.Amount, o.Quantity
		}
	}
	step, kind := eventStep(state)
	return t.writeEventsAs(ctx, step, kind, orders, now)
}

// writePartEvent leaves an event about a part of a paid order that was given back. Its id
// comes between those of the order's paying and of its end.
func (t *tx) writePartEvent(ctx context.Context, o seckill.Order, now time.Time) error {
	if !t.s.keeps() {
		return nil
	}
	parts := int64(0)
	err := t.one(ctx, "SELECT COUNT(*) FROM refunds WHERE order_id = ? AND held = 1", []any{o.ID}, func(r scanner) error { return r.Scan(&parts) })
	if err != nil {
		return err
	}
	return t.writeEventsAs(ctx, partStep(parts), "order.partly_refunded", []seckill.Order{o}, now)
}

// partStep is what follows the order's id in the id of the event of its n-th part, in four
// characters at most: "-201" to "-299", and then "-2a000" to "-2zzzz", whose three last
// are a number of base 36. They rise with n, and come between "-2" and "-3".
func partStep(n int64) string {
	const base, rest = 36, 36 * 36 * 36
	if n < 100 {
		return fmt.Sprintf("-2%02d", n)
	}
	n = min(n-100, 26*rest-1)                    // of 1.2 million parts
	tail := strconv.FormatInt(rest+n%rest, base) // rest puts a digit in front, which keeps the zeros behind it and is cut off below
	return "-2" + string(rune('a'+n/rest)) + tail[1:]
}

func (t *tx) writeEventsAs(ctx context.Context, step, kind string, orders []seckill.Order, now time.Time) error {
	tables := t.s.keptIn(kind)
	if len(tables) == 0 {
		return nil
	}
	state := orders[0].State
	for i := range orders {
		// They would not fit, and are read with the event.
		orders[i].Title, orders[i].Image = "", ""
	}
	var args []any
	for len(orders) > 0 {
		n := 1
		for state != seckill.Paid && n < min(len(orders), eventsTogether) && alike(orders[0], orders[n]) {
			n++
		}
		row, others := orders[n-1], orders[:n-1]
		if state == seckill.Unpaid {
			row, others = orders[0], orders[1:n]
		}
		orders = orders[n:]
		body, err := json.Marshal(row)
		if err != nil {
			return err
		}
		for _, o := range others {
			body = append(append(body, '\n'), o.ID...)
		}
		args = append(args, row.ID+step, kind, ms(now), string(body))
	}
	for _, table := range tables {
		for some := range slices.Chunk(args, 4*t.s.dialect.chunk) {
			if _, err := t.exec(ctx, "INSERT INTO "+table+" (id, type, at, body) VALUES "+list(len(some)/4, 4), some...); err != nil {
				return err
			}
		}
	}
	return nil
}

// alike reports whether orders differ in nothing but their ids, as far as an event
// tells of them.
func alike(a, b seckill.Order) bool {
	a.ID, a.Ticket, a.Buyer, a.Title, a.Image = b.ID, b.Ticket, b.Buyer, b.Title, b.Image
	return a == b
}

// eventStep is what follows the order's id in the id of the event of its state,
// and the event's type. An order enters each state at most once, so the id needs no
// randomness; the step makes the events of an order sort in the order of its states.
func eventStep(state seckill.OrderState) (step, kind string) {
	switch state {
	case seckill.Unpaid:
		return "-1", "order.placed"
	case seckill.Refunded:
		return "-3", "order." + string(state)
	}
	return "-2", "order." + string(state) // paid, cancelled, expired: one of them
}

// Events lists up to max rows of events that have not been sent, those of one order
// in the order of its states. A row holds up to 60 of them: that many times max are
// in memory at once, each of some 500 bytes.
func (s *Store) Events(ctx context.Context, max int) (rows []seckill.EventRow, err error) {
	err = s.passingBad(ctx, func() error {
		return s.read(ctx, "events", func(t *tx) error {
			rows, err = t.eventRows(ctx, brokerEvents, "", max)
			return err
		})
	})
	return rows, err
}

// unreadable is the type of a row of events that was put aside. It stays in its table,
// where a person finds it, and is read no more.
const unreadable = "unreadable"

// badEvents are rows that hold no event.
type badEvents struct {
	table string
	ids   []any
	why   error
}

func (e *badEvents) Error() string { return e.why.Error() }

// passingBad calls read, which may find rows that hold no event. They are put aside, each
// with an alarm, and the others are read: one of them would keep all events waiting.
func (s *Store) passingBad(ctx context.Context, read func() error) error {
	for {
		var bad *badEvents
		if err := read(); !errors.As(err, &bad) {
			return err
		}
		err := s.write(ctx, "events put aside", func(t *tx) error {
			for some := range slices.Chunk(bad.ids, t.s.dialect.chunk-1) {
				if _, err := t.exec(ctx, "UPDATE "+bad.table+" SET type = ? WHERE id IN ("+list(len(some), 1)+")", append([]any{unreadable}, some...)...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range bad.ids {
			if s.settings.Aside != nil {
				s.settings.Aside(bad.table, fmt.Sprint(id), bad.why)
			}
		}
	}
}

// eventRows reads the first rows of a table of events, or the one of that id.
func (t *tx) eventRows(ctx context.Context, table, id string, max int) (rows []seckill.EventRow, err error) {
	var kept []keptEvents
	var ids, paid []any
	bad := &badEvents{table: table}
	where, args := "type <> ?", []any{unreadable}
	if id != "" {
		where, args = where+" AND id = ?", append(args, id)
	}
	err = t.rows(ctx, "SELECT id, type, at, body FROM "+table+" WHERE "+where+" ORDER BY id LIMIT ?", append(args, max), func(r scanner) error {
		var k keptEvents
		var at int64
		var body []byte
		if err := r.Scan(&k.id, &k.kind, &at, &body); err != nil {
			return err
		}
		k.at = fromMS(at)
		if err := k.decode(body); err != nil {
			bad.ids, bad.why = append(bad.ids, k.id), err
			return nil
		}
		for _, id := range k.orders {
			ids = append(ids, id)
			if k.paid() {
				paid = append(paid, id)
			}
		}
		kept = append(kept, k)
		return nil
	})
	if err == nil && len(bad.ids) > 0 {
		err = bad
	}
	if err != nil {
		return nil, err
	}
	known, err := t.about(ctx, ids, paid)
	if err != nil {
		return nil, err
	}
	for _, k := range kept {
		row, err := k.row(known)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// keptEvents is one row of events: of the orders, which differ from order in
// nothing but what is asked for when the events are sent.
type keptEvents struct {
	id, kind string
	at       time.Time
	order    seckill.Order
	orders   []string
}

// paid reports whether a payment holds the orders, or held them.
func (k *keptEvents) paid() bool {
	return k.order.State == seckill.Paid || k.order.State == seckill.Refunded
}

func (k *keptEvents) decode(body []byte) error {
	order, others, shared := bytes.Cut(body, []byte("\n"))
	if err := json.Unmarshal(order, &k.order); err != nil {
		return fmt.Errorf("event %s: %w", k.id, err)
	}
	if !seckill.ValidTicketID(k.order.ID) || !strings.HasPrefix(k.id, k.order.ID) {
		return fmt.Errorf("event %s: it is of no order", k.id)
	}
	k.order.Price = k.order.Amount / int64(max(1, k.order.Quantity)) // rows of older versions lack it
	k.orders = []string{k.order.ID}
	if shared {
		for id := range bytes.SplitSeq(others, []byte("\n")) {
			k.orders = append(k.orders, string(id))
		}
	}
	return nil
}

// row makes the events of a row.
func (k *keptEvents) row(about map[string]*about) (row seckill.EventRow, err error) {
	row.ID = k.id
	step := strings.TrimPrefix(k.id, k.order.ID)
	var same eventForm
	for _, id := range k.orders {
		e := seckill.Event{V: seckill.EventVersion, ID: id + step, Type: k.kind, At: k.at, Order: k.order}
		e.Order.ID, e.Order.Ticket = id, id
		if known := about[id]; known != nil {
			e.Order.Title, e.Order.Image, e.Buyer, e.Payment = known.title, known.image, known.buyer, known.payment
		}
		if !k.paid() {
			e.Payment = nil // of a later event of the order
		}
		e.Changed = changed(k.kind, e.Order.State)
		body, err := same.encode(e)
		if err != nil {
			return row, err
		}
		row.Events = append(row.Events, seckill.EventMessage{ID: e.ID, Type: e.Type, Order: id, At: e.At, Body: body})
	}
	return row, nil
}

// eventForm encodes the events of a row, which mostly differ in the order's id and the
// buyer alone: it encodes the first and fills in those two for the others.
type eventForm struct {
	title, image  string
	before, after [][]byte // of the buyer; an id comes between any two parts
}

const buyerKey = `"buyer":` // of an event in JSON. Inside a string its quotes would be escaped.

func (f *eventForm) encode(e seckill.Event) ([]byte, error) {
	if e.Payment != nil {
		return json.Marshal(e)
	}
	id, buyer := e.Order.ID, e.Buyer
	if f.before == nil || f.title != e.Order.Title || f.image != e.Order.Image {
		e.Buyer = ""
		body, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		before, after, _ := bytes.Cut(body, []byte(buyerKey+`""`))
		f.title, f.image = e.Order.Title, e.Order.Image
		f.before, f.after = bytes.Split(before, []byte(id)), bytes.Split(after, []byte(id))
	}
	text, err := json.Marshal(buyer)
	if err != nil {
		return nil, err
	}
	body := bytes.Join(f.before, []byte(id))
	body = append(append(body, buyerKey...), text...)
	return append(body, bytes.Join(f.after, []byte(id))...), nil
}

// changed is what an event of that type says of the order's state.
func changed(kind string, state seckill.OrderState) seckill.EventChange {
	switch {
	case kind == "order.placed":
		return seckill.EventChange{To: state}
	case kind == "order.partly_refunded", state == seckill.Refunded:
		return seckill.EventChange{From: seckill.Paid, To: state}
	}
	return seckill.EventChange{From: seckill.Unpaid, To: state}
}

// about is what the events of an order say beside what their row holds.
type about struct {
	buyer        string
	title, image string                // as bought
	payment      *seckill.EventPayment // the one that the order holds, or held
	sale         seckill.SaleID
	seq          int64
}

// about reads that for orders; the payment only for those that were paid. All placed
// orders come by here, so it reads no more of each than that.
func (t *tx) about(ctx context.Context, ids, paid []any) (map[string]*about, error) {
	all := make(map[string]*about, len(ids))
	sales := map[seckill.SaleID]any{}
	for some := range slices.Chunk(ids, t.s.dialect.chunk) {
		_, err := readable(ctx, t, "tickets", "SELECT id, sale, seq, buyer FROM tickets WHERE id IN ("+list(len(some), 1)+")", some, func(r scanner) (*about, error) {
			var id string
			a := &about{}
			err := r.Scan(&id, &a.sale, &a.seq, &a.buyer)
			if err == nil {
				all[id], sales[a.sale] = a, a.sale
			}
			return a, err
		})
		if err != nil {
			return nil, err
		}
	}
	for some := range slices.Chunk(slices.Collect(maps.Values(sales)), t.s.dialect.chunk) {
		if err := t.names(ctx, some, all); err != nil {
			return nil, err
		}
	}
	for some := range slices.Chunk(paid, t.s.dialect.chunk) {
		// The payment that the order holds, and of one that gave money back that which it
		// held then. Others came for the same order and went back, or were put aside.
		in := " IN (" + list(len(some), 1) + ")"
		err := t.rows(ctx, "SELECT order_id, provider, reference FROM payments WHERE order_id"+in+` AND state = 'kept'
			UNION SELECT order_id, provider, reference FROM refunds WHERE order_id`+in+" AND held = 1 AND provider <> ''", slices.Concat(some, some), func(r scanner) error {
			var id string
			var p seckill.EventPayment
			err := r.Scan(&id, &p.Provider, &p.Reference)
			if a := all[id]; a != nil {
				a.payment = &p
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// names adds the title and the image as bought to orders of those sales, as the columns
// bought do for one order: those that the first change after the order replaced, or
// today's if there was none. Today's are read first, so a change in between is one that
// replaced them.
func (t *tx) names(ctx context.Context, sales []any, all map[string]*about) error {
	type name struct {
		seq          int64 // the last ticket that was bought under it
		title, image string
	}
	today, before := map[seckill.SaleID]name{}, map[seckill.SaleID][]name{}
	in := " IN (" + list(len(sales), 1) + ")"
	err := t.rows(ctx, "SELECT id, title, image FROM sales WHERE id"+in, sales, func(r scanner) error {
		var id seckill.SaleID
		var n name
		err := r.Scan(&id, &n.title, &n.image)
		today[id] = n
		return err
	})
	if err != nil {
		return err
	}
	err = t.rows(ctx, "SELECT sale, seq, title, image FROM titles WHERE sale"+in+" ORDER BY sale, seq", sales, func(r scanner) error {
		var id seckill.SaleID
		var n name
		err := r.Scan(&id, &n.seq, &n.title, &n.image)
		before[id] = append(before[id], n)
		return err
	})
	if err != nil {
		return err
	}
	for _, a := range all {
		n, ok := today[a.sale]
		if i := slices.IndexFunc(before[a.sale], func(n name) bool { return n.seq >= a.seq }); i >= 0 {
			n = before[a.sale][i]
		}
		if ok {
			a.title, a.image = n.title, n.image
		}
	}
	return nil
}

// OldestEvent returns when the oldest event that has not been sent happened, zero
// if there is none.
func (s *Store) OldestEvent(ctx context.Context) (at time.Time, err error) {
	err = s.ask(ctx, "oldest event", func(t *tx) error {
		return t.one(ctx, "SELECT COALESCE(MIN(at), 0) FROM events WHERE type <> ?", []any{unreadable}, func(r scanner) error {
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

// Sent forgets rows of events that others have received.
func (s *Store) Sent(ctx context.Context, rows []string) error {
	return s.write(ctx, "events sent", func(t *tx) error {
		for some := range slices.Chunk(rows, t.s.dialect.chunk) {
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
