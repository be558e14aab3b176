package rabbitmq

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/queue/queuetest"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack/stacktest"
)

func TestMain(m *testing.M) { rabbittest.Main(m) }

// node is the queue of one node, and its broker.
type node struct {
	*Queue
	broker *rabbit.Broker
}

func (n *node) Close() error { return n.broker.Close() }

// run opens a queue and runs the given ends until the test is over.
func run(t testing.TB, s rabbit.Settings, uses ...rabbit.End) *node {
	t.Helper()
	broker := rabbittest.New(t, s)
	return runs(t, &node{New(broker, nil), broker}, uses...)
}

// runs runs the given ends until the test is over.
func runs(t testing.TB, n *node, uses ...rabbit.End) *node {
	t.Helper()
	rabbittest.Run(t, n.broker, uses...)
	return n
}

// connected waits until all ends of the queue are.
func connected(t testing.TB, q *node) *node {
	t.Helper()
	rabbittest.Eventually(t, func() error { return q.Ping(t.Context()) })
	return q
}

// fill puts n tickets into the queue.
func fill(t testing.TB, s rabbit.Settings, n int) []seckill.Ticket {
	t.Helper()
	s.ConfirmWindow = 4096
	q := connected(t, run(t, s, rabbit.Publishing))
	tickets := queuetest.Some(n)
	for i := 0; i < n; i += 4096 {
		part := tickets[i:min(n, i+4096)]
		confirmed, err := q.Publish(t.Context(), part)
		require.NoError(t, err)
		require.Len(t, confirmed, len(part))
	}
	require.NoError(t, q.Close())
	return tickets
}

func TestQueue(t *testing.T) {
	t.Parallel()
	for name, test := range queuetest.Behaviours {
		if name == queuetest.Bounded {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := rabbittest.Fresh(t)
			s.DeliveryLimit = 1_000_000
			test(t, connected(t, run(t, s, rabbit.Publishing, rabbit.Consuming)))
		})
	}
}

func TestATicketIsAMessageThatAnybodyCanRead(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	q := connected(t, run(t, s, rabbit.Publishing))
	ticket := queuetest.Some(1)[0]
	queuetest.Publish(t, q, ticket)
	m, ok, err := rabbittest.Channel(t, s).Get(rabbit.TicketQueue, true)
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, ticket.ID, m.MessageId)
	assert.Equal(t, "application/json", m.ContentType)
	assert.EqualValues(t, amqp.Persistent, m.DeliveryMode)
	assert.Equal(t, ticket.At.Unix(), m.Timestamp.Unix())
	assert.Equal(t, "ticket/3", m.Type)
	assert.JSONEq(t, fmt.Sprintf(`{"id":%q,"sale":"7","buyer":"买家 0","quantity":1,"seq":0,"at":%q,"seal":"AQAAAAAAAAAAAAAAAAAAAA"}`, ticket.ID, ticket.At.Format(time.RFC3339Nano)), string(m.Body))
}

func TestAnUnroutableTicketIsNotConfirmedAndTheBindingComesBack(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	q := connected(t, run(t, s, rabbit.Publishing))
	ch := rabbittest.Channel(t, s)
	require.NoError(t, ch.QueueUnbind(rabbit.TicketQueue, rabbit.TicketQueue, rabbit.TicketExchange, nil))
	tickets := queuetest.Some(50)
	confirmed, err := q.Publish(t.Context(), tickets)
	require.ErrorIs(t, err, rabbit.ErrUnroutable)
	require.NotErrorIs(t, err, seckill.ErrUnavailable, "it would be the same at once")
	require.Empty(t, confirmed)
	rabbittest.Eventually(t, func() error {
		confirmed, err = q.Publish(t.Context(), tickets)
		return err
	})
	require.Equal(t, tickets, confirmed)
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 50, 0)
}

// Some of a batch are confirmed and some are returned: the binding goes while
// they are on their way. Exactly those in the queue may be confirmed.
func TestAReturnBelongsToItsTicket(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.PublishRetry.Enabled = false
	q := connected(t, run(t, s, rabbit.Publishing))
	conn := rabbittest.Dial(t, s)
	ch, err := conn.Channel()
	require.NoError(t, err)
	got := map[string]bool{}
	confirmed := map[string]bool{}
	for round := 0; round < 30 && (len(confirmed) == 0 || len(confirmed) == 1000*round); round++ {
		var sending sync.WaitGroup
		sending.Go(func() {
			tickets, _ := q.Publish(t.Context(), queuetest.Some(1000))
			for _, ticket := range tickets {
				confirmed[ticket.ID] = true
			}
		})
		rabbittest.Eventually(t, func() error {
			if state, err := rabbittest.Look(ch, rabbit.TicketQueue); err != nil || state.Messages == 0 {
				return fmt.Errorf("nothing there yet: %w", err)
			}
			return nil
		})
		require.NoError(t, ch.QueueUnbind(rabbit.TicketQueue, rabbit.TicketQueue, rabbit.TicketExchange, nil))
		stacktest.AwaitAll(t, "the sender hears of each ticket", &sending)
		for {
			m, ok, err := ch.Get(rabbit.TicketQueue, true)
			require.NoError(t, err)
			if !ok {
				break
			}
			got[m.MessageId] = true
		}
		rabbittest.Eventually(t, func() error { return q.Ping(t.Context()) })
	}
	for id := range confirmed {
		require.True(t, got[id], "ticket %s was confirmed and is nowhere", id)
	}
}

func TestAFullQueueConfirmsNothingAndTakesTicketsAgainWhenItIsDrained(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.MaxLength = 10
	q := connected(t, run(t, s, rabbit.Publishing))
	var in []seckill.Ticket
	var err error
	for err == nil {
		var confirmed []seckill.Ticket
		sent := queuetest.Some(5)
		confirmed, err = q.Publish(t.Context(), sent)
		require.Subset(t, sent, confirmed)
		in = append(in, confirmed...)
		require.Less(t, len(in), 1000, "a limit of 10 has to stop somewhere")
	}
	require.ErrorIs(t, err, rabbit.ErrFull)
	require.ErrorContains(t, err, "rabbitmq.max_length")
	require.NotErrorIs(t, err, seckill.ErrUnavailable, "a full queue is not asked three times")
	require.GreaterOrEqual(t, len(in), 10)
	rabbittest.Eventually(t, func() error {
		if n := q.Depth(); n != len(in) {
			return fmt.Errorf("depth %d, want %d", n, len(in))
		}
		return nil
	})
	far := connected(t, run(t, s, rabbit.Consuming))
	queuetest.Collect(t, far, in)
	more := queuetest.Some(1)
	rabbittest.Eventually(t, func() error { // the broker tells its channels when there is room again
		_, err := q.Publish(t.Context(), more)
		return err
	})
	queuetest.Collect(t, far, more)
}

// acknowledgements in another order than the deliveries, over two listeners: each
// hits its own tickets and no others.
func TestBatchesAreDoneInAnyOrder(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.Listener = rabbit.Listener{Concurrency: 2, MaxConcurrency: 2, Prefetch: 100, AutoStartup: true, DefaultRequeueRejected: true}
	q := connected(t, run(t, s, rabbit.Publishing, rabbit.Consuming))
	tickets := queuetest.Some(60)
	queuetest.Publish(t, q, tickets...)
	type held struct {
		tickets []seckill.Ticket
		done    func(bool) error
	}
	var batches []held
	for n := 0; n < len(tickets); {
		got, done := queuetest.Receive(t, q, 4)
		batches, n = append(batches, held{got, done}), n+len(got)
	}
	rand.New(rand.NewPCG(stacktest.Seed(t), 0)).Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	var all sync.WaitGroup
	var back []seckill.Ticket
	for i, b := range batches {
		if i%3 == 0 {
			back = append(back, b.tickets...)
		}
		all.Go(func() { assert.NoError(t, b.done(i%3 != 0)) })
	}
	stacktest.AwaitAll(t, "all are done", &all)
	require.ErrorContains(t, batches[0].done(true), "once")
	var again []seckill.Ticket
	for len(again) < len(back) {
		got, done := queuetest.Receive(t, q, 100)
		again = append(again, got...)
		require.NoError(t, done(true))
	}
	require.ElementsMatch(t, back, again)
	require.NoError(t, q.Close())
	ch := rabbittest.Channel(t, s)
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, 0)
	rabbittest.Waits(t, ch, rabbit.DeadQueue, 0, 0)
}

func TestATicketThatFailsTooOftenIsTriedAloneAndThenParked(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.DeliveryLimit = 2
	q := connected(t, run(t, s))
	queuetest.Publish(t, q, queuetest.Some(3)...)
	for range 3 * 3 { // each fails once and then delivery_limit times
		_, done := queuetest.Receive(t, q, 1)
		require.NoError(t, done(false))
	}
	var last seckill.Ticket
	for alone := range 3 {
		dead, done := queuetest.Receive(t, q.Dead(), 100)
		require.Len(t, dead, 1, "one at a time")
		if last = dead[0]; alone < 2 {
			require.NoError(t, done(true))
			continue
		}
		tries := 1
		for ; !q.Dead().Last(last.ID); tries++ {
			require.NoError(t, done(false))
			dead, done = queuetest.Receive(t, q.Dead(), 1)
			require.Equal(t, last, dead[0])
		}
		require.NoError(t, done(false))
		require.Greater(t, tries, s.DeliveryLimit, "alone as often as with others")
		require.LessOrEqual(t, tries, s.DeadLimit()+1)
	}
	ch := rabbittest.Channel(t, s)
	rabbittest.Waits(t, ch, rabbit.ParkedQueue, 1, 0)
	rabbittest.Waits(t, ch, rabbit.DeadQueue, 0, 1)
	m, ok, err := ch.Get(rabbit.ParkedQueue, true)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, last.ID, m.MessageId)
}

func TestWhatIsNoTicketIsPutAside(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	q := connected(t, run(t, s, rabbit.Publishing, rabbit.Consuming))
	ch := rabbittest.Channel(t, s)
	ticket := queuetest.Some(1)[0]
	bodies := []string{"", "hello", "{}", `{"id":7}`, `{"id":"` + ticket.ID + `","sale":"0","buyer":"b","quantity":1}`,
		`{"id":"` + ticket.ID + `","sale":"1","buyer":"b","quantity":0}`, `{"id":"` + ticket.ID + `","sale":"1","buyer":"","quantity":1}`, strings.Repeat("x", 300_000)}
	for _, body := range bodies {
		require.NoError(t, ch.Publish(rabbit.TicketExchange, rabbit.TicketQueue, true, false, amqp.Publishing{Body: []byte(body)}))
	}
	queuetest.Publish(t, q, ticket)
	got, done := queuetest.Receive(t, q, 100)
	require.Equal(t, []seckill.Ticket{ticket}, got)
	require.NoError(t, done(true))
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, s.Listener.Concurrency)
	rabbittest.Waits(t, ch, rabbit.DeadQueue, len(bodies), 0)
	// Whoever tries the dead letters cannot do more with them: they are kept for
	// a person.
	run(t, s, rabbit.DeadLetters)
	rabbittest.Waits(t, ch, rabbit.DeadQueue, 0, 1)
	rabbittest.Waits(t, ch, rabbit.ParkedQueue, len(bodies), 0)
}

func TestTheMetricsCountWhatHappens(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	r := prometheus.NewPedanticRegistry()
	broker := rabbit.New(s, slog.New(slog.NewTextHandler(t.Output(), nil)), r)
	q := runs(t, &node{New(broker, r), broker})
	connected(t, q)
	queuetest.Publish(t, q, queuetest.Some(5)...)
	_, done := queuetest.Receive(t, q, 1)
	require.NoError(t, done(false))
	queuetest.CollectN(t, q, 5)
	ch := rabbittest.Channel(t, s)
	require.NoError(t, ch.Publish(rabbit.TicketExchange, rabbit.TicketQueue, true, false, amqp.Publishing{Body: []byte("no ticket")}))
	rabbittest.Waits(t, ch, rabbit.ParkedQueue, 1, 0)
	require.NoError(t, ch.QueueUnbind(rabbit.TicketQueue, rabbit.TicketQueue, rabbit.TicketExchange, nil))
	_, err := q.Publish(t.Context(), queuetest.Some(2))
	require.ErrorIs(t, err, rabbit.ErrUnroutable)
	find := func(name, end string) (value float64, found bool) {
		families, err := r.Gather()
		require.NoError(t, err)
		for _, f := range families {
			for _, m := range f.Metric {
				if f.GetName() == name && (end == "" || m.Label[0].GetValue() == end) {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue(), true
				}
			}
		}
		return 0, false
	}
	value := func(name, end string) float64 {
		v, found := find(name, end)
		require.True(t, found, "no metric %s", name)
		return v
	}
	for name, want := range map[string]float64{"published": 7, "confirmed": 5, "returned": 2, "nacked": 0, "received": 6, "redelivered": 1, "dead_letters": 0, "unreadable": 2} {
		assert.Equal(t, want, value("seckill_queue_"+name+"_total", ""), name)
	}
	assert.EqualValues(t, s.Listener.Concurrency, value("seckill_queue_listeners", ""))
	assert.EqualValues(t, 1, value("seckill_queue_connected", "consume"))
	rabbittest.Eventually(t, func() error {
		parked, _ := find("seckill_queue_messages", rabbit.ParkedQueue)
		if alone, _ := find("seckill_queue_consumers", rabbit.DeadQueue); parked != 1 || alone != 1 {
			return fmt.Errorf("%v parked, %v consumers of the dead letters", parked, alone)
		}
		return nil
	})
	require.NoError(t, q.Close())
	for _, name := range []string{"seckill_queue_messages", "seckill_queue_consumers"} {
		_, found := find(name, "")
		assert.False(t, found, "nobody looks any more: %s", name)
	}
	assert.EqualValues(t, 0, value("seckill_queue_connected", "consume"))
	assert.EqualValues(t, 0, value("seckill_queue_listeners", ""))
}
