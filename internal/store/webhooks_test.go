package store

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func init() {
	behaviours = append(behaviours, []struct {
		name string
		test func(t *testing.T, s *shop)
	}{
		{"events become deliveries once, and are kept only where they are wanted", testSpread},
		{"a receiver gets the events of an order in their order, and other orders meanwhile", testDeliveries},
		{"deliveries are given up, sent again and forgotten", testReplay},
		{"every part that an order gives back is an event of its own", testManyParts},
		{"an event that cannot become deliveries is put aside and stops no other", testUnspreadable},
	}...)
}

func (s *shop) spread(receivers ...string) {
	s.t.Helper()
	_, err := s.SpreadEvents(s.t.Context(), 100, func(string) []string { return receivers })
	require.NoError(s.t, err)
}

// due is what is due, such as "1-1 2-1": the events of the tickets of that place.
func (s *shop) due(receiver string, max int, tickets ...seckill.Ticket) string {
	s.t.Helper()
	all, err := s.DueDeliveries(s.t.Context(), receiver, max)
	require.NoError(s.t, err)
	var names []string
	for _, d := range all {
		for i, v := range tickets {
			if step, ok := strings.CutPrefix(d.Event, v.ID); ok {
				names = append(names, string(rune('1'+i))+step)
			}
		}
	}
	return strings.Join(names, " ")
}

func (s *shop) tried(receiver string, state seckill.DeliveryState, events ...string) {
	s.t.Helper()
	var tries []seckill.DeliveryTry
	for _, e := range events {
		tries = append(tries, seckill.DeliveryTry{Event: e, State: state, Pause: 10 * time.Second, Code: 500, Error: "it answered 500"})
	}
	require.NoError(s.t, s.DeliveriesTried(s.t.Context(), receiver, tries))
}

func (s *shop) rowsOf(table string) (n int) {
	s.t.Helper()
	require.NoError(s.t, s.r.QueryRowContext(s.t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n))
	return n
}

func testSpread(t *testing.T, s *shop) {
	sale := s.open(100)
	v := s.place(sale.ID, "ann", 1)
	require.Zero(t, s.rowsOf("webhook_events")+s.rowsOf("events"), "nobody wants any")
	s.settings.HookTypes = []string{"order.paid"}
	w := s.place(sale.ID, "bob", 1)
	require.Zero(t, s.rowsOf("webhook_events")+s.rowsOf("events"), "nobody wants those of placed orders")
	s.become(seckill.Paid, v)
	require.Equal(t, 1, s.rowsOf("webhook_events"))
	s.settings.KeepEvents = true
	s.become(seckill.Paid, w)
	require.Equal(t, []int{2, 1}, []int{s.rowsOf("webhook_events"), s.rowsOf("events")}, "the broker and the receivers forget theirs apart")

	var both sync.WaitGroup
	for range 4 { // nodes that all believe that they hold the lease
		both.Go(func() { _, _ = s.SpreadEvents(t.Context(), 100, func(string) []string { return []string{"a", "b"} }) })
	}
	both.Wait()
	s.spread("a", "b")
	require.Equal(t, []int{0, 1, 4}, []int{s.rowsOf("webhook_events"), s.rowsOf("events"), s.rowsOf("webhook_deliveries")})
	all, err := s.Deliveries(t.Context(), seckill.DeliveryFilter{Receiver: "b", Order: v.ID, Max: 10})
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, []any{v.ID + "-2", "order.paid", v.ID, seckill.DeliveryWaiting}, []any{all[0].Event, all[0].Type, all[0].Order, all[0].State})
	for _, part := range []string{`"id":"` + v.ID + `-2"`, `"buyer":"ann"`, `"payment":{"provider":"test"`, `"changed":{"from":"unpaid","to":"paid"}`, `"title":"a sale"`} {
		require.Contains(t, string(all[0].Body), part)
	}
}

func testDeliveries(t *testing.T, s *shop) {
	s.settings.HookTypes = seckill.EventTypes
	sale := s.open(100)
	v, w, x := s.place(sale.ID, "ann", 1), s.place(sale.ID, "bob", 1), s.place(sale.ID, "cid", 1)
	s.become(seckill.Paid, v)
	s.become(seckill.Paid, w)
	one, none := 0, int64(10)
	_, err := s.Refund(t.Context(), seckill.RefundRequest{ID: "part", Order: v.ID, Units: &one, Amount: &none, By: "root"})
	require.NoError(t, err)
	s.become(seckill.Refunded, v)
	s.spread("a", "b")
	due := func(receiver string) string { return s.due(receiver, 100, v, w, x) }
	require.Equal(t, "1-1 2-1 3-1", due("a"), "the first of each order")
	require.Equal(t, "1-1 2-1", s.due("a", 2, v, w, x))
	s.tried("a", seckill.DeliveryWaiting, v.ID+"-1")
	s.tried("a", seckill.DeliveryDelivered, w.ID+"-1")
	require.Equal(t, "2-2 3-1", due("a"), "one that has to wait holds back its own order only")
	require.Equal(t, "1-1 2-1 3-1", due("b"), "and no other receiver")
	s.advance(10 * time.Second)
	require.Equal(t, "2-2 3-1 1-1", due("a"), "what has waited longest first")
	for _, step := range []string{"-1", "-2", "-201", "-3"} {
		require.Equal(t, "1"+step, s.due("a", 100, v))
		s.tried("a", seckill.DeliveryDelivered, v.ID+step)
	}
	require.Equal(t, "2-2 3-1", due("a"))
	all, err := s.Deliveries(t.Context(), seckill.DeliveryFilter{Receiver: "a", Order: v.ID, Max: 1})
	require.NoError(t, err)
	require.Contains(t, string(all[0].Body), `"state":"refunded"`)
	require.Contains(t, string(all[0].Body), `"refunded_amount":100`)

	require.NoError(t, s.DeliveriesTried(t.Context(), "a", []seckill.DeliveryTry{{Event: x.ID + "-1", State: seckill.DeliveryWaiting, Code: 410, Gone: true}}))
	require.Empty(t, due("a"), "it wants no more")
	require.Equal(t, "1-1 2-1 3-1", due("b"))
	state, err := s.ReceiverState(t.Context(), "a")
	require.NoError(t, err)
	require.NotNil(t, state.Stopped)
	require.EqualValues(t, 2, state.Waiting)
	s.advance(time.Minute)
	s.become(seckill.Cancelled, x)
	s.spread("a", "b")
	require.Empty(t, due("a"))
	n, err := s.Replay(t.Context(), seckill.Replay{Receiver: "a"})
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, "2-2 3-1", due("a"), "nothing is lost meanwhile")
}

func testReplay(t *testing.T, s *shop) {
	s.settings.HookTypes = []string{"order.placed"}
	sale := s.open(seckill.MaxTotal)
	var tickets []seckill.Ticket
	for range replayTogether/64 + 2 {
		for range 64 {
			tickets = append(tickets, ticket(sale.ID, "b"+seckill.NewTicketID(noon), 1))
		}
		s.settle(tickets[len(tickets)-64:]...)
	}
	s.spread("a")
	first := tickets[0].ID + "-1"
	s.tried("a", seckill.DeliveryFailed, first)
	s.tried("a", seckill.DeliveryDelivered, tickets[1].ID+"-1", tickets[2].ID+"-1")
	replayed := func(p seckill.Replay) int {
		p.Receiver = "a"
		n, err := s.Replay(seckill.WithActor(t.Context(), seckill.Actor{Who: "root", What: "webhooks.replay"}), p)
		require.NoError(t, err)
		return n
	}
	logged := func() (deliveries []int) { // of the newest replays, the last one first
		entries, err := s.LogEntries(t.Context(), seckill.LogFilter{What: "webhooks.replay", Max: 100})
		require.NoError(t, err)
		for _, e := range entries {
			var v struct{ Deliveries int }
			require.NoError(t, json.Unmarshal(e.After, &v))
			deliveries = append(deliveries, v.Deliveries)
		}
		return deliveries
	}
	require.Equal(t, 1, replayed(seckill.Replay{}))
	require.Equal(t, 0, replayed(seckill.Replay{}))
	require.Equal(t, 1, replayed(seckill.Replay{Event: first}))
	_, err := s.Replay(t.Context(), seckill.Replay{Receiver: "b", Event: first})
	require.ErrorIs(t, err, seckill.ErrNotFound)
	require.Equal(t, []int{1, 0, 1}, logged())
	require.Equal(t, len(tickets), replayed(seckill.Replay{From: noon, To: noon.Add(time.Hour)}))
	require.Equal(t, []int{len(tickets) - replayTogether, replayTogether}, logged()[:2], "each transaction has its entry: a node may end between two")
	require.Equal(t, 0, replayed(seckill.Replay{From: noon.Add(-time.Hour), To: noon}))
	all, err := s.Deliveries(t.Context(), seckill.DeliveryFilter{Receiver: "a", State: seckill.DeliveryWaiting, Max: 1000})
	require.NoError(t, err)
	require.Len(t, all, len(tickets))
	require.Zero(t, all[0].Tries)

	done := len(tickets) - 2
	for i, v := range tickets[2:] {
		state := seckill.DeliveryDelivered
		if i < 3 {
			state = seckill.DeliveryFailed
		}
		s.tried("a", state, v.ID+"-1")
	}
	forget := func() int {
		n, err := s.ForgetDeliveries(t.Context(), "a", time.Hour, 100)
		require.NoError(t, err)
		return n
	}
	s.advance(time.Hour)
	require.Zero(t, forget())
	s.advance(11 * time.Second)
	require.Equal(t, 100, forget())
	for forget() > 0 {
	}
	require.Equal(t, len(tickets)-done, s.rowsOf("webhook_deliveries"), "those that wait stay, however old")
}

// An order gives back two cents at a time: each part is told, in its place.
func testManyParts(t *testing.T, s *shop) {
	s.settings.HookTypes = []string{"order.paid", "order.partly_refunded", "order.refunded"}
	s.settings.KeepEvents = true
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 5)
	s.become(seckill.Paid, v)
	cents := int64(2)
	const parts = 103
	for i := range parts {
		_, err := s.Refund(t.Context(), seckill.RefundRequest{Order: v.ID, Amount: &cents, By: "root"})
		require.NoError(t, err, "part %d", i+1)
		s.spread("a")
	}
	s.become(seckill.Refunded, v)
	s.spread("a")
	all, err := s.Deliveries(t.Context(), seckill.DeliveryFilter{Receiver: "a", Order: v.ID, Max: 200})
	require.NoError(t, err)
	require.Len(t, all, parts+2)
	for i, d := range all { // the newest first
		o := seckill.Event{}
		require.NoError(t, json.Unmarshal(d.Body, &o))
		back := int64(2 * (len(all) - 1 - i))
		if i == 0 {
			back = 500 // all of it
		}
		require.Equal(t, back, o.Order.RefundedAmount, d.Event)
	}
	rows, err := s.Events(t.Context(), 200)
	require.NoError(t, err)
	require.Len(t, rows, parts+3, "the broker's too, and that of the placing")
}

func TestTheStepsOfPartsRise(t *testing.T) {
	t.Parallel()
	last := "-2"
	for n := int64(1); n < 200_000; n++ {
		step := partStep(n)
		if step <= last || step >= "-3" || len(step) > 6 { // an id is 32 characters at most
			t.Fatalf("part %d is %q, after %q", n, step, last)
		}
		last = step
	}
	require.Equal(t, []string{"-201", "-299", "-2a000", "-2b000", "-2zzzz"}, []string{partStep(1), partStep(99), partStep(100), partStep(100 + 36*36*36), partStep(1 << 40)})
}

func testUnspreadable(t *testing.T, s *shop) {
	s.settings.HookTypes = []string{"order.placed"}
	var aside []string
	s.settings.Aside = func(table, id string, why error) {
		require.ErrorIs(t, why, errDuplicate)
		aside = append(aside, table+" "+id)
	}
	sale := s.open(100)
	v, w := s.place(sale.ID, "ann", 1), s.place(sale.ID, "bob", 1)
	_, err := s.w.ExecContext(t.Context(), `INSERT INTO webhook_deliveries (receiver, event, type, order_id, at, body, state, tries, since, next_at, tried_at, status, error)
		VALUES ('a', ?, 'order.placed', ?, 1, '{}', 'delivered', 0, 1, 1, 0, 0, '')`, v.ID+"-1", v.ID)
	require.NoError(t, err)
	at := s.clock()
	s.advance(time.Hour)
	state, err := s.ReceiverState(t.Context(), "a")
	require.NoError(t, err)
	require.NotNil(t, state.Oldest, "who watches the receivers sees events that do not become deliveries")
	require.Equal(t, at.UTC(), *state.Oldest)
	s.spread("a", "b")
	require.Equal(t, []string{"webhook_events " + v.ID + "-1"}, aside)
	require.Equal(t, "2-1", s.due("a", 100, v, w), "the others are told")
	require.Equal(t, "2-1", s.due("b", 100, v, w))
	require.Equal(t, 1, s.rowsOf("webhook_events"), "a person finds it")
	x := s.place(sale.ID, "cid", 1)
	s.spread("a", "b")
	require.Len(t, aside, 1, "it is told of once")
	require.Equal(t, "2-1 3-1", s.due("a", 100, v, w, x))
}
