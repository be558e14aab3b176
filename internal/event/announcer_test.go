package event

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
)

func TestMain(m *testing.M) { rabbittest.Main(m) }

// messages is what is sent of events.
func messages(events ...seckill.Event) (messages []seckill.EventMessage) {
	for _, e := range events {
		body, _ := json.Marshal(e)
		messages = append(messages, seckill.EventMessage{ID: e.ID, Type: e.Type, Order: e.Order.ID, At: e.At, Body: body})
	}
	return messages
}

// apart keeps every event in a row of its own.
func apart(events []seckill.Event) (rows []seckill.EventRow) {
	for _, m := range messages(events...) {
		rows = append(rows, seckill.EventRow{ID: m.ID, Events: []seckill.EventMessage{m}})
	}
	return rows
}

// together keeps the first events of up to n orders in one row, as the store does.
func together(events []seckill.Event, n int) (rows []seckill.EventRow) {
	events = slices.SortedFunc(slices.Values(events), func(a, b seckill.Event) int { return strings.Compare(a.ID, b.ID) })
	var placed, later []seckill.Event
	for _, e := range events {
		if e.Type == "order.placed" {
			placed = append(placed, e)
		} else {
			later = append(later, e)
		}
	}
	for some := range slices.Chunk(placed, n) {
		rows = append(rows, seckill.EventRow{ID: some[0].ID, Events: messages(some...)})
	}
	rows = append(rows, apart(later)...)
	slices.SortFunc(rows, func(a, b seckill.EventRow) int { return strings.Compare(a.ID, b.ID) })
	return rows
}

// announces runs the duty until the function that it returns is called.
func announces(t testing.TB, p *Publisher, store Events) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		NewAnnouncer(p, store, slog.New(slog.NewTextHandler(t.Output(), nil))).Run(ctx)
	}()
	stop = func() {
		cancel()
		<-over
	}
	t.Cleanup(stop)
	return stop
}

// subscribe binds a durable queue to the events.
func subscribe(t testing.TB, ch *amqp.Channel, key string, args amqp.Table) string {
	t.Helper()
	name := "seckill.test." + t.Name()[len(t.Name())-5:] + key
	_, err := ch.QueueDeclare(name, true, false, false, false, args)
	require.NoError(t, err)
	rabbittest.Eventually(t, func() error { // the exchange may not be there yet
		return ch.QueueBind(name, key, rabbit.EventExchange, false, nil)
	})
	return name
}

// ids takes everything out of a queue.
func ids(t testing.TB, ch *amqp.Channel, queue string) (got []string) {
	t.Helper()
	for {
		m, ok, err := ch.Get(queue, true)
		require.NoError(t, err)
		if !ok {
			return got
		}
		got = append(got, m.MessageId)
	}
}

func idsOf(events []seckill.Event, kind string) (ids []string) {
	for _, e := range events {
		if kind == "" || e.Type == kind {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// inOrder asserts that no order was told to be paid before it was told to be placed.
func inOrder(t testing.TB, ids []string) {
	t.Helper()
	placed := map[string]bool{}
	for _, id := range ids {
		order, step, _ := strings.Cut(id, "-")
		placed[order] = placed[order] || step == "1"
		require.True(t, placed[order], "%s came before the first event of its order", id)
	}
}

func TestEventsReachEverySubscriberByTheirType(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	q := publisher(t, s)
	rabbittest.Eventually(t, q.down)
	ch := rabbittest.Channel(t, s)
	all, paid := subscribe(t, ch, "order.*", nil), subscribe(t, ch, "order.paid", nil)
	events := happened(600) // more than are read together
	box := &outbox{kept: together(events, 50)}
	rows := len(box.kept)
	announces(t, q, box)
	rabbittest.Eventually(t, box.empty)
	got := ids(t, ch, all)
	require.ElementsMatch(t, idsOf(events, ""), got, "all of them, once")
	inOrder(t, got)
	require.ElementsMatch(t, idsOf(events, "order.paid"), ids(t, ch, paid))
	require.Len(t, box.sent, rows)

	box.set(func() { box.kept = apart(happened(1)[:1]) })
	rabbittest.Eventually(t, box.empty)
	m, ok, err := ch.Get(all, true)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "order.placed", m.RoutingKey)
	require.EqualValues(t, amqp.Persistent, m.DeliveryMode)
	require.Equal(t, "application/json", m.ContentType)
	require.Regexp(t, `^\{"v":1,"id":"[^"]+-1","type":"order.placed","at":"[^"]+","order":\{"id":"[^"]+","sale":"7",.*"state":"unpaid"`, string(m.Body))
}

func TestEventsWithoutSubscribersAreSent(t *testing.T) {
	t.Parallel()
	q := publisher(t, rabbittest.Fresh(t))
	box := &outbox{kept: apart(happened(3))}
	announces(t, q, box)
	rabbittest.Eventually(t, box.empty)
}

// Nothing is lost while the broker or the store is away, and nothing is forgotten
// before the broker has it.
func TestEventsWaitWhileBrokerOrStoreIsAway(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	direct := s
	w := rabbittest.Cuttable(t, &s)
	q := publisher(t, s)
	rabbittest.Eventually(t, q.down)
	ch := rabbittest.Channel(t, direct)
	name := subscribe(t, ch, "#", nil)
	box := &outbox{}
	announces(t, q, box)
	w.Cut()
	rabbittest.Eventually(t, func() error {
		if q.down() == nil {
			return errors.New("still connected")
		}
		return nil
	})
	events := happened(20)
	box.set(func() { box.kept = together(events, 7) })
	_, err := q.Announce(t.Context(), messages(events...))
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.Empty(t, box.sent)
	box.set(func() { box.away = true })
	w.Mend(t)
	rabbittest.Eventually(t, q.down)
	require.Error(t, box.empty())
	box.set(func() { box.away = false })
	rabbittest.Eventually(t, box.empty)
	require.Subset(t, ids(t, ch, name), idsOf(events, ""))
}

func TestOneNodeAnnouncesAtATime(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	box := &outbox{}
	var stops []func()
	var queues []*Publisher
	var w rabbittest.Wire
	for i := range 2 {
		own := s
		if i == 0 {
			w = rabbittest.Cuttable(t, &own)
		}
		q := publisher(t, own)
		rabbittest.Eventually(t, q.down)
		queues = append(queues, q)
		stops = append(stops, announces(t, q, box))
		rabbittest.Eventually(t, func() error { // the first one has it
			box.mu.Lock()
			defer box.mu.Unlock()
			if box.owner == "" {
				return errors.New("nobody announces")
			}
			return nil
		})
	}
	ch := rabbittest.Channel(t, s)
	name := subscribe(t, ch, "#", nil)
	events := happened(100)
	box.set(func() { box.kept = together(events, 7) })
	rabbittest.Eventually(t, box.empty)
	require.ElementsMatch(t, idsOf(events, ""), ids(t, ch, name), "once each")
	// The one that is cut off from the broker lets the other one announce, though
	// its lease would last.
	more := happened(1)
	box.set(func() { box.kept = apart(more) })
	w.Cut()
	rabbittest.Eventually(t, box.empty)
	require.Subset(t, ids(t, ch, name), idsOf(more, ""))
	box.set(func() { require.Equal(t, 1, box.given) })
	require.NoError(t, queues[1].down())
	w.Mend(t)
	rabbittest.Eventually(t, queues[0].down)
	stops[1]() // it gives the lease back
	more = happened(1)
	box.set(func() { box.kept = apart(more) })
	rabbittest.Eventually(t, box.empty)
	require.Equal(t, idsOf(more, ""), ids(t, ch, name))
}

// Who is not sure to hold the lease sends nothing: what is under way ends with it.
func TestAnAnnouncerStopsWithItsLease(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.ConfirmTimeout = time.Hour
	w := rabbittest.Cuttable(t, &s)
	q := publisher(t, s)
	rabbittest.Eventually(t, q.down)
	_, err := w.Toxics.AddToxicJson(strings.NewReader(`{"name":"deaf","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`))
	require.NoError(t, err)
	box := &outbox{kept: apart(happened(1))}
	now := time.Now()
	a := NewAnnouncer(q, box, slog.New(slog.DiscardHandler))
	a.lease.Life = 300 * time.Millisecond
	sent, _, err := a.turn(t.Context())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, sent)
	require.Less(t, time.Since(now), rabbittest.Patience)
	box.set(func() { box.owner, box.ends = "another", now.Add(time.Hour) })
	sent, _, err = a.turn(t.Context())
	require.NoError(t, err)
	require.Zero(t, sent)
	require.Error(t, box.empty())
}

// How long events wait is known on every node that could announce, and an outage
// does not make it look well.
func TestTheLagIsThatOfTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewRegistry()
		q := NewPublisher(rabbit.New(rabbit.Defaults(), slog.New(slog.DiscardHandler), nil), r) // not connected
		box := &outbox{}
		a := NewAnnouncer(q, box, slog.New(slog.DiscardHandler))
		lag := func() float64 {
			_, _, _ = a.turn(t.Context())
			families, err := r.Gather()
			require.NoError(t, err)
			for _, f := range families {
				if f.GetName() == "seckill_events_lag_seconds" {
					return f.Metric[0].GetGauge().GetValue()
				}
			}
			t.Fatal("no such metric")
			return 0
		}
		require.Zero(t, lag())
		box.set(func() {
			box.ahead = -8 * time.Hour // events happen by the store's clock: a node's says nothing about their age
			box.kept = apart(happened(2))
			for i := range box.kept {
				box.kept[i].Events[0].At = box.Now().Add(time.Duration(-i) * time.Minute)
			}
		})
		time.Sleep(announcerStandby)
		require.InDelta(t, 182, lag(), 1)
		box.set(func() { box.away = true })
		time.Sleep(announcerStandby)
		require.InDelta(t, 182, lag(), 1, "kept")
		box.set(func() { box.away, box.kept = false, nil })
		require.Zero(t, lag())
	})
}

// A store that is away is one line of the log, and is asked ever less often.
func TestAnAnnouncerWithoutStoreIsQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		q := NewPublisher(rabbit.New(rabbit.Defaults(), slog.New(slog.DiscardHandler), nil), nil)
		NewAnnouncer(q, &outbox{away: true}, slog.New(slog.NewTextHandler(&log, nil))).Run(ctx)
		require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	})
}

// A subscriber's full queue that refuses holds events back; one that drops its
// oldest does not.
func TestASubscriberThatRefusesHoldsEventsBack(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	q := publisher(t, s)
	rabbittest.Eventually(t, q.down)
	ch := rabbittest.Channel(t, s)
	name := subscribe(t, ch, "#", amqp.Table{amqp.QueueMaxLenArg: 2, amqp.QueueOverflowArg: amqp.QueueOverflowRejectPublish})
	events := happened(40)
	confirmed, err := q.Announce(t.Context(), messages(events...))
	require.ErrorIs(t, err, errSubscriberFull)
	require.Less(t, len(confirmed), len(events))
	ids(t, ch, name)
	box := &outbox{kept: together(events, 40)}
	announces(t, q, box)
	var got []string
	rabbittest.Eventually(t, func() error {
		got = append(got, ids(t, ch, name)...)
		return box.empty()
	})
	got = append(got, ids(t, ch, name)...)
	require.ElementsMatch(t, idsOf(events, ""), got, "what was confirmed of a row is not sent again")
	inOrder(t, got)
}

// A row stays until all its events are confirmed. Those that are do not hold back
// the next ones of their orders, and the others do.
func TestOfARowTheRestIsSent(t *testing.T) {
	t.Parallel()
	event := func(ids ...string) (row seckill.EventRow) {
		row.ID = ids[0]
		for _, id := range ids {
			order, _, _ := strings.Cut(id, "-")
			row.Events = append(row.Events, seckill.EventMessage{ID: id, Order: order})
		}
		return row
	}
	rows := []seckill.EventRow{event("a-1", "b-1", "c-1"), event("a-2"), event("a-3"), event("b-2", "d-2")}
	for _, c := range []struct {
		was, next string
		all       bool
	}{
		{"", "a-1 b-1 c-1 d-2", false},
		{"a-1", "b-1 c-1 a-2 d-2", false},
		{"c-1 d-2", "a-1 b-1", false},
		{"a-1 a-2 b-1", "c-1 a-3 b-2 d-2", true},
		{"a-1 b-1 c-1 a-2 a-3 b-2 d-2", "", true},
	} {
		was := map[string]bool{"of a row that is gone": true}
		for _, id := range strings.Fields(c.was) {
			was[id] = true
		}
		next, sent, all := firsts(rows, was)
		var ids []string
		for _, e := range next {
			ids = append(ids, e.ID)
		}
		require.Equal(t, c.next, strings.Join(ids, " "), c.was)
		require.Len(t, sent, len(was)-1, c.was)
		require.Equal(t, c.all, all, c.was)
	}
}

// A store that fails to forget has no event sent twice.
func TestWhatWasConfirmedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	q := publisher(t, s)
	rabbittest.Eventually(t, q.down)
	ch := rabbittest.Channel(t, s)
	name := subscribe(t, ch, "#", nil)
	events := happened(3)
	box := &outbox{kept: together(events, 3), keeps: true}
	a := NewAnnouncer(q, box, slog.New(slog.DiscardHandler))
	for _, want := range []int{3, 3, 0} {
		n, _, err := a.turn(t.Context())
		require.ErrorIs(t, err, errAway)
		require.Equal(t, want, n)
	}
	box.set(func() { box.keeps = false })
	n, more, err := a.turn(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.False(t, more)
	require.NoError(t, box.empty())
	got := ids(t, ch, name)
	require.ElementsMatch(t, idsOf(events, ""), got)
	inOrder(t, got)
}
