package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"seckill"
	announce "seckill/internal/event"
	"seckill/internal/rabbit"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

func open(t *testing.T) *books {
	t.Helper()
	b, err := openBooks(filepath.Join(t.TempDir(), "books.db"))
	require.NoError(t, err)
	t.Cleanup(func() { b.db.Close() })
	return b
}

func (b *books) count(t *testing.T, query string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(query, args...).Scan(&n))
	return n
}

func TestAnEventCountsOnceAndALateOneChangesNothing(t *testing.T) {
	t.Parallel()
	b := open(t)
	body := func(step int, state string) []byte {
		return fmt.Appendf(nil, `{"v":1,"id":"A-%d","type":"order.%s","at":"2026-01-01T00:00:00Z","order":{"id":"A","state":%q,"amount":9900,"currency":"CNY"},"new":"field"}`, step, state, state)
	}
	for _, c := range []struct {
		body  []byte
		state string
		seen  int
	}{
		{body(2, "paid"), "paid", 1},
		{body(2, "paid"), "paid", 1},
		{body(1, "unpaid"), "paid", 2},
		{body(3, "refunded"), "refunded", 3},
		{body(2, "paid"), "refunded", 3},
	} {
		require.NoError(t, b.take(t.Context(), c.body))
		require.Equal(t, 1, b.count(t, "SELECT COUNT(*) FROM orders WHERE id = 'A' AND state = ? AND amount = 9900", c.state))
		require.Equal(t, c.seen, b.count(t, "SELECT COUNT(*) FROM seen"))
	}
	for _, bad := range []string{"", "x", "{}", `{"v":2,"id":"B-1","order":{"id":"B"}}`, `{"v":1,"id":"","order":{"id":"B"}}`} {
		require.ErrorIs(t, b.take(t.Context(), []byte(bad)), errUnreadable, bad)
	}
}

// The shop hears of what was announced while it was away, and repeats count once.
// Its own trouble costs no event, however long it lasts, and what is no event is
// put aside, not thrown away.
func TestTheShopFollowsABroker(t *testing.T) {
	t.Parallel()
	engine := stacktest.Shared(t, stack.KindRabbitMQ)
	url := stacktest.AsAdmin(engine, stacktest.Fresh(t, engine))
	s := rabbit.Defaults()
	require.NoError(t, s.ParseURL(url))
	broker := rabbit.New(s, slog.New(slog.NewTextHandler(t.Output(), nil)), nil)
	publisher := announce.NewPublisher(broker, nil)
	running := make(chan struct{})
	go func() { defer close(running); broker.Run(context.Background(), rabbit.Announcing) }()
	t.Cleanup(func() { broker.Close(); <-running })

	eventually := func(what string, ok func() bool) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !ok() {
			require.True(t, time.Now().Before(deadline), what)
			<-tick.C
		}
	}
	announce := func(events ...seckill.Event) {
		t.Helper()
		var messages []seckill.EventMessage
		for _, e := range events {
			body, err := json.Marshal(e)
			require.NoError(t, err)
			messages = append(messages, seckill.EventMessage{ID: e.ID, Type: e.Type, Order: e.Order.ID, At: e.At, Body: body})
		}
		eventually("announced", func() bool {
			confirmed, _ := publisher.Announce(t.Context(), messages)
			return len(confirmed) == len(messages)
		})
	}
	event := func(n, step int, state seckill.OrderState) seckill.Event {
		id := fmt.Sprintf("order-%03d", n)
		return seckill.Event{V: 1, ID: fmt.Sprintf("%s-%d", id, step), Type: "order." + string(state), At: time.Now().UTC(),
			Order: seckill.Order{ID: id, Sale: 1, Ticket: id, Quantity: 1, Amount: 9900, Currency: "CNY", State: state}}
	}
	b := open(t)
	b.from = []string{s.Username}
	follow := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		over := make(chan struct{})
		go func() {
			defer close(over)
			for ctx.Err() == nil { // the exchange may not be there yet
				b.follow(ctx, url)
			}
		}()
		return func() { cancel(); <-over }
	}
	stop := follow()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	defer conn.Close()
	eventually("it has bound its queue", func() bool {
		ch, err := conn.Channel()
		require.NoError(t, err)
		defer ch.Close()
		state, err := ch.QueueDeclarePassive("shop.orders", true, false, false, false, nil)
		return err == nil && state.Consumers == 1
	})
	announce(event(1, 1, seckill.Unpaid), event(2, 1, seckill.Unpaid))
	eventually("two orders", func() bool { return b.count(t, "SELECT COUNT(*) FROM orders WHERE state = 'unpaid'") == 2 })
	stop()
	announce(event(1, 2, seckill.Paid), event(1, 1, seckill.Unpaid), event(2, 1, seckill.Unpaid), event(3, 1, seckill.Unpaid))
	stop = follow()
	eventually("three orders, one of them paid", func() bool {
		return b.count(t, "SELECT COUNT(*) FROM orders") == 3 && b.count(t, "SELECT COUNT(*) FROM orders WHERE state = 'paid'") == 1
	})
	require.Equal(t, 4, b.count(t, "SELECT COUNT(*) FROM seen"))

	// The books fail oftener than an event may be handed back.
	ch, err := conn.Channel()
	require.NoError(t, err)
	stop()
	tries := make(chan struct{})
	b.rest = func(ctx context.Context) {
		select {
		case tries <- struct{}{}:
		case <-ctx.Done():
		}
	}
	exec := func(statement string) {
		t.Helper()
		_, err := b.db.Exec(statement)
		require.NoError(t, err)
	}
	exec("ALTER TABLE orders RENAME TO away")
	t.Cleanup(follow())
	announce(event(4, 1, seckill.Unpaid), event(5, 1, seckill.Unpaid))
	for range limit + 5 {
		<-tries
	}
	exec("ALTER TABLE away RENAME TO orders")
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			select {
			case <-tries:
			case <-over:
				return
			}
		}
	}()
	eventually("five orders", func() bool { return b.count(t, "SELECT COUNT(*) FROM orders") == 5 })

	require.NoError(t, ch.Publish("seckill.events", "order.odd", false, false, amqp.Publishing{MessageId: "odd", UserId: s.Username, Body: []byte("no event")}))
	announce(event(6, 1, seckill.Unpaid))
	eventually("six orders", func() bool { return b.count(t, "SELECT COUNT(*) FROM orders") == 6 })
	eventually("the odd one is put aside", func() bool {
		m, ok, err := ch.Get("shop.orders.dead", true)
		require.NoError(t, err)
		if ok {
			require.Equal(t, "odd", m.MessageId)
			require.Equal(t, "no event", string(m.Body))
		}
		return ok
	})
	state, err := ch.QueueDeclarePassive("shop.orders.dead", true, false, false, false, nil)
	require.NoError(t, err)
	require.Zero(t, state.Messages, "and nothing else")

	// Somebody else who may write to the exchange says that an order is paid.
	forged, err := json.Marshal(event(5, 9, seckill.Paid))
	require.NoError(t, err)
	require.NoError(t, ch.Publish("seckill.events", "order.paid", false, false, amqp.Publishing{MessageId: "forged", Body: forged}))
	eventually("the forged one is put aside", func() bool {
		m, ok, err := ch.Get("shop.orders.dead", true)
		require.NoError(t, err)
		if ok {
			require.Equal(t, "forged", m.MessageId)
		}
		return ok
	})
	require.Zero(t, b.count(t, "SELECT COUNT(*) FROM orders WHERE id = 'order-005' AND state = 'paid'"))
}
