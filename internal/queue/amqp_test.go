package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
	"seckill/internal/stack"
)

func TestMain(m *testing.M) { stack.Main(leaktest{m}) }

// leaktest fails a run that leaves goroutines behind.
type leaktest struct{ *testing.M }

func (m leaktest) Run() int {
	code := m.M.Run()
	if code == 0 {
		err := goleak.Find(
			goleak.IgnoreAnyFunction("seckill/internal/stack.spawn.func1"), // waits for a shared engine, until Main ends it
			// A wire that was cut while it carried something stays behind.
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
		)
		if err != nil {
			fmt.Println("goroutines are left behind:", err)
			code = 1
		}
	}
	return code
}

// patience is how long a test waits for something that happens at once on a
// machine that is not busy.
const patience = time.Minute

// fresh returns settings for a virtual host of the test's own.
func fresh(t testing.TB) RabbitMQ {
	t.Helper()
	return at(t, stack.Shared(t, stack.KindRabbitMQ).Fresh(t))
}

func at(t testing.TB, url string) RabbitMQ {
	t.Helper()
	s := DefaultRabbitMQ()
	require.NoError(t, s.ParseURL(url))
	return s
}

// run opens a queue and runs the given ends until the test is over.
func run(t testing.TB, s RabbitMQ, uses ...End) *AMQP {
	t.Helper()
	return runs(t, made(t, s), uses...)
}

// made is a queue that does not run yet.
func made(t testing.TB, s RabbitMQ) *AMQP {
	t.Helper()
	require.NoError(t, s.Check())
	return NewAMQP(s, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// runs runs the given ends until the test is over.
func runs(t testing.TB, q *AMQP, uses ...End) *AMQP {
	t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		q.Run(context.Background(), uses...)
	}()
	t.Cleanup(func() {
		q.Close()
		<-over
	})
	return q
}

// connected waits until all ends of the queue are.
func connected(t testing.TB, q *AMQP) *AMQP {
	t.Helper()
	eventually(t, func() error { return q.Ping(t.Context()) })
	return q
}

// eventually asks until there is no error.
func eventually(t testing.TB, ask func() error) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not within %v: %v", patience, err)
		}
	}
}

// dial is a connection of the test's own.
func dial(t testing.TB, s RabbitMQ) *amqp.Connection {
	t.Helper()
	c, err := amqp.DialConfig("amqp://"+s.addr(), amqp.Config{Vhost: s.VirtualHost, SASL: []amqp.Authentication{&amqp.PlainAuth{Username: s.Username, Password: string(s.Password)}}})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// fill puts n tickets into the queue.
func fill(t testing.TB, s RabbitMQ, n int) []seckill.Ticket {
	t.Helper()
	s.ConfirmWindow = 4096
	q := connected(t, run(t, s, Publishing))
	tickets := some(n)
	for i := 0; i < n; i += 4096 {
		part := tickets[i:min(n, i+4096)]
		confirmed, err := q.Publish(t.Context(), part)
		require.NoError(t, err)
		require.Len(t, confirmed, len(part))
	}
	require.NoError(t, q.Close())
	return tickets
}

// look tells how many messages wait in a queue, and how many listeners it has.
func look(ch *amqp.Channel, queue string) (amqp.Queue, error) {
	return ch.QueueDeclarePassive(queue, true, false, false, false, nil)
}

// waits until the queue at the broker is as the test wants it.
func waits(t testing.TB, ch *amqp.Channel, queue string, ready, consumers int) {
	t.Helper()
	eventually(t, func() error {
		q, err := look(ch, queue)
		if err == nil && (q.Messages != ready || q.Consumers != consumers) {
			err = fmt.Errorf("%s has %d tickets and %d consumers, want %d and %d", queue, q.Messages, q.Consumers, ready, consumers)
		}
		return err
	})
}

// holds waits until the queue has at least so many messages.
func holds(t testing.TB, ch *amqp.Channel, queue string, least int) {
	t.Helper()
	eventually(t, func() error {
		q, err := look(ch, queue)
		if err == nil && q.Messages < least {
			err = fmt.Errorf("%s has %d tickets, want %d", queue, q.Messages, least)
		}
		return err
	})
}

// channel is one of the test's own.
func channel(t testing.TB, s RabbitMQ) *amqp.Channel {
	t.Helper()
	ch, err := dial(t, s).Channel()
	require.NoError(t, err)
	return ch
}

// far is what tickets are received from: the queue, or its dead letters.
type far interface {
	Receive(ctx context.Context, max int) ([]seckill.Ticket, func(bool) error, error)
}

// receive receives, and fails the test when nothing comes.
func receive(t testing.TB, q far, max int) ([]seckill.Ticket, func(bool) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tickets, done, err := q.Receive(ctx, max)
	require.NoError(t, err)
	require.NotEmpty(t, tickets)
	return tickets, done
}

// collect receives and settles until every one of the tickets has come.
func collect(t testing.TB, q far, tickets []seckill.Ticket) {
	t.Helper()
	missing := map[string]bool{}
	for _, ticket := range tickets {
		missing[ticket.ID] = true
	}
	for len(missing) > 0 {
		got, done := receive(t, q, 100)
		for _, ticket := range got {
			delete(missing, ticket.ID)
		}
		require.NoError(t, done(true))
	}
}

// publish publishes tickets, all of which must be confirmed.
func publish(t testing.TB, q *AMQP, tickets ...seckill.Ticket) {
	t.Helper()
	confirmed, err := q.Publish(t.Context(), tickets)
	require.NoError(t, err)
	require.Equal(t, tickets, confirmed)
}

// wire is a connection that a test can cut.
type wire struct{ *toxiproxy.Proxy }

// cuttable puts a wire between the queue and its broker.
func cuttable(t testing.TB, s *RabbitMQ) wire {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", s.addr())
	require.NoError(t, p.Start())
	t.Cleanup(p.Stop)
	_, err := fmt.Sscanf(p.Listen, "127.0.0.1:%d", &s.Port)
	require.NoError(t, err)
	return wire{p}
}

// cut ends every connection. None is made until mend.
func (w wire) cut() { w.Stop() }

func (w wire) mend(t testing.TB) {
	t.Helper()
	// The port is free again, but the kernel may be late to know.
	eventually(t, func() error {
		if err := w.Start(); err != nil && !errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
			return err
		}
		return nil
	})
}

// Differences from the embedded queue. The broker refuses a ticket some time after
// its queue is full, and what listeners hold is not in the queue any more: the
// limit is one of the queue's size, not of the number of tickets under way.
const memoryOnly = "a full queue takes no more than its limit, and says which it took"

func TestAMQP(t *testing.T) {
	t.Parallel()
	for _, b := range behaviours {
		if b.name == memoryOnly {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			s := fresh(t)
			s.DeliveryLimit = 1_000_000
			b.test(&line{t: t, conforming: connected(t, run(t, s, Publishing, Consuming))})
		})
	}
}

func TestATicketIsAMessageThatAnybodyCanRead(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	q := connected(t, run(t, s, Publishing))
	ticket := some(1)[0]
	publish(t, q, ticket)
	m, ok, err := channel(t, s).Get(TicketQueue, true)
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, ticket.ID, m.MessageId)
	assert.Equal(t, "application/json", m.ContentType)
	assert.EqualValues(t, amqp.Persistent, m.DeliveryMode)
	assert.Equal(t, ticket.At.Unix(), m.Timestamp.Unix())
	assert.JSONEq(t, fmt.Sprintf(`{"id":%q,"sale":"7","buyer":"买家 0","quantity":1,"seq":0,"at":%q}`, ticket.ID, ticket.At.Format(time.RFC3339Nano)), string(m.Body))
}

func TestAnUnroutableTicketIsNotConfirmedAndTheBindingComesBack(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	q := connected(t, run(t, s, Publishing))
	ch := channel(t, s)
	require.NoError(t, ch.QueueUnbind(TicketQueue, TicketQueue, TicketExchange, nil))
	tickets := some(50)
	confirmed, err := q.Publish(t.Context(), tickets)
	require.ErrorIs(t, err, ErrUnroutable)
	require.NotErrorIs(t, err, seckill.ErrUnavailable, "it would be the same at once")
	require.Empty(t, confirmed)
	eventually(t, func() error {
		confirmed, err = q.Publish(t.Context(), tickets)
		return err
	})
	require.Equal(t, tickets, confirmed)
	waits(t, ch, TicketQueue, 50, 0)
}

// Some of a batch are confirmed and some are returned: the binding goes while
// they are on their way. Exactly those in the queue may be confirmed.
func TestAReturnBelongsToItsTicket(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.PublishRetry.Enabled = false
	q := connected(t, run(t, s, Publishing))
	conn := dial(t, s)
	ch, err := conn.Channel()
	require.NoError(t, err)
	got := map[string]bool{}
	confirmed := map[string]bool{}
	for round := 0; round < 30 && (len(confirmed) == 0 || len(confirmed) == 1000*round); round++ {
		var sending sync.WaitGroup
		sending.Go(func() {
			tickets, _ := q.Publish(t.Context(), some(1000))
			for _, ticket := range tickets {
				confirmed[ticket.ID] = true
			}
		})
		eventually(t, func() error {
			if state, err := look(ch, TicketQueue); err != nil || state.Messages == 0 {
				return fmt.Errorf("nothing there yet: %w", err)
			}
			return nil
		})
		require.NoError(t, ch.QueueUnbind(TicketQueue, TicketQueue, TicketExchange, nil))
		sending.Wait()
		for {
			m, ok, err := ch.Get(TicketQueue, true)
			require.NoError(t, err)
			if !ok {
				break
			}
			got[m.MessageId] = true
		}
		eventually(t, func() error { return q.Ping(t.Context()) })
	}
	for id := range confirmed {
		require.True(t, got[id], "ticket %s was confirmed and is nowhere", id)
	}
}

func TestAFullQueueConfirmsNothingAndTakesTicketsAgainWhenItIsDrained(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.MaxLength = 10
	q := connected(t, run(t, s, Publishing))
	var in []seckill.Ticket
	var err error
	for err == nil {
		var confirmed []seckill.Ticket
		sent := some(5)
		confirmed, err = q.Publish(t.Context(), sent)
		require.Subset(t, sent, confirmed)
		in = append(in, confirmed...)
		require.Less(t, len(in), 1000, "a limit of 10 has to stop somewhere")
	}
	require.ErrorIs(t, err, ErrFull)
	require.ErrorContains(t, err, "rabbitmq.max_length")
	require.NotErrorIs(t, err, seckill.ErrUnavailable, "a full queue is not asked three times")
	require.GreaterOrEqual(t, len(in), 10)
	eventually(t, func() error {
		if n := q.Depth(); n != len(in) {
			return fmt.Errorf("depth %d, want %d", n, len(in))
		}
		return nil
	})
	far := connected(t, run(t, s, Consuming))
	collect(t, far, in)
	more := some(1)
	eventually(t, func() error { // the broker tells its channels when there is room again
		_, err := q.Publish(t.Context(), more)
		return err
	})
	collect(t, far, more)
}

// acknowledgements in another order than the deliveries, over two listeners: each
// hits its own tickets and no others.
func TestBatchesAreDoneInAnyOrder(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Listener = Listener{Concurrency: 2, MaxConcurrency: 2, Prefetch: 100, AutoStartup: true, DefaultRequeueRejected: true}
	q := connected(t, run(t, s, Publishing, Consuming))
	tickets := some(60)
	publish(t, q, tickets...)
	type held struct {
		tickets []seckill.Ticket
		done    func(bool) error
	}
	var batches []held
	for n := 0; n < len(tickets); {
		got, done := receive(t, q, 4)
		batches, n = append(batches, held{got, done}), n+len(got)
	}
	rand.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	var all sync.WaitGroup
	var back []seckill.Ticket
	for i, b := range batches {
		if i%3 == 0 {
			back = append(back, b.tickets...)
		}
		all.Go(func() { assert.NoError(t, b.done(i%3 != 0)) })
	}
	all.Wait()
	require.ErrorContains(t, batches[0].done(true), "once")
	var again []seckill.Ticket
	for len(again) < len(back) {
		got, done := receive(t, q, 100)
		again = append(again, got...)
		require.NoError(t, done(true))
	}
	require.ElementsMatch(t, back, again)
	require.NoError(t, q.Close())
	ch := channel(t, s)
	waits(t, ch, TicketQueue, 0, 0)
	waits(t, ch, DeadQueue, 0, 0)
}

func TestATicketThatFailsTooOftenIsTriedAloneAndThenParked(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.DeliveryLimit = 2
	q := connected(t, run(t, s))
	publish(t, q, some(3)...)
	for range 3 * 3 { // each fails once and then delivery_limit times
		_, done := receive(t, q, 1)
		require.NoError(t, done(false))
	}
	var last seckill.Ticket
	for alone := range 3 {
		dead, done := receive(t, q.Dead(), 100)
		require.Len(t, dead, 1, "one at a time")
		if last = dead[0]; alone < 2 {
			require.NoError(t, done(true))
			continue
		}
		tries := 1
		for ; !q.Dead().Last(last.ID); tries++ {
			require.NoError(t, done(false))
			dead, done = receive(t, q.Dead(), 1)
			require.Equal(t, last, dead[0])
		}
		require.NoError(t, done(false))
		require.Greater(t, tries, s.DeliveryLimit, "alone as often as with others")
		require.LessOrEqual(t, tries, s.deadLimit()+1)
	}
	ch := channel(t, s)
	waits(t, ch, ParkedQueue, 1, 0)
	waits(t, ch, DeadQueue, 0, 1)
	m, ok, err := ch.Get(ParkedQueue, true)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, last.ID, m.MessageId)
}

func TestWhatIsNoTicketIsPutAside(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	q := connected(t, run(t, s, Publishing, Consuming))
	ch := channel(t, s)
	ticket := some(1)[0]
	bodies := []string{"", "hello", "{}", `{"id":7}`, `{"id":"` + ticket.ID + `","sale":"0","buyer":"b","quantity":1}`,
		`{"id":"` + ticket.ID + `","sale":"1","buyer":"b","quantity":0}`, `{"id":"` + ticket.ID + `","sale":"1","buyer":"","quantity":1}`, strings.Repeat("x", 300_000)}
	for _, body := range bodies {
		require.NoError(t, ch.Publish(TicketExchange, TicketQueue, true, false, amqp.Publishing{Body: []byte(body)}))
	}
	publish(t, q, ticket)
	got, done := receive(t, q, 100)
	require.Equal(t, []seckill.Ticket{ticket}, got)
	require.NoError(t, done(true))
	waits(t, ch, TicketQueue, 0, s.Listener.Concurrency)
	waits(t, ch, DeadQueue, len(bodies), 0)
	// Whoever tries the dead letters cannot do more with them: they are kept for
	// a person.
	run(t, s, DeadLetters)
	waits(t, ch, DeadQueue, 0, 1)
	waits(t, ch, ParkedQueue, len(bodies), 0)
}

func TestABatchOfALostConnectionIsStaleAndComesAgain(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Listener = Listener{Concurrency: 1, MaxConcurrency: 1, Prefetch: 20, AutoStartup: true, DefaultRequeueRejected: true}
	tickets := fill(t, s, 20)
	direct := s
	w := cuttable(t, &s)
	q := connected(t, run(t, s, Consuming))
	old, stale := receive(t, q, 5)
	w.cut()
	eventually(t, func() error {
		if q.Ping(t.Context()) == nil {
			return errors.New("still connected")
		}
		return nil
	})
	require.ErrorIs(t, q.Ping(t.Context()), seckill.ErrUnavailable)
	_, cancelled, err := q.Receive(expired(t), 5)
	require.ErrorIs(t, err, context.DeadlineExceeded, "what was not handed out went with the connection")
	require.Nil(t, cancelled)
	w.mend(t)
	connected(t, q)

	// The new channel counts from 1 again. A stale acknowledgement of "all up to
	// 5" must not hit it.
	again, done := receive(t, q, 20)
	require.ErrorIs(t, stale(true), ErrStale)
	require.NoError(t, done(false))
	collect(t, q, tickets)
	require.NotEmpty(t, old)
	require.NotEmpty(t, again)
	require.NoError(t, q.Close())
	waits(t, channel(t, direct), TicketQueue, 0, 0)
}

// expired is a context that has ended.
func expired(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	t.Cleanup(cancel)
	return ctx
}

func TestATicketWhoseConfirmIsLostIsReportedAndSentAgain(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	direct := s
	s.PublishRetry.Enabled = false
	s.ConfirmTimeout = 300 * time.Millisecond
	w := cuttable(t, &s)
	q := connected(t, run(t, s, Publishing))
	// From now on the broker hears and is not heard.
	_, err := w.Toxics.AddToxicJson(strings.NewReader(`{"name":"deaf","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`))
	require.NoError(t, err)
	tickets := some(3)
	confirmed, err := q.Publish(t.Context(), tickets)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.ErrorContains(t, err, "rabbitmq.confirm_timeout")
	require.Empty(t, confirmed)
	ch := channel(t, direct)
	holds(t, ch, TicketQueue, 3)
	require.NoError(t, w.Toxics.RemoveToxic(t.Context(), "deaf"))
	w.cut()
	w.mend(t)
	eventually(t, func() error {
		confirmed, err = q.Publish(t.Context(), tickets)
		return err
	})
	require.Equal(t, tickets, confirmed)
	holds(t, ch, TicketQueue, 6) // each at least twice: an attempt that was given up may have arrived
}

func TestAStoppingConsumerWaitsForTheBatchAtHand(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	fill(t, s, 10)
	q := connected(t, run(t, s, Consuming))
	var dones []func(bool) error
	for n := 0; n < 7; {
		got, done := receive(t, q, 7-n)
		n, dones = n+len(got), append(dones, done)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		q.Close()
	}()
	eventually(t, func() error { // closing has begun: nothing is handed out any more
		_, done, err := q.Receive(expired(t), 1)
		if err == nil {
			return errors.Join(errors.New("handing out"), done(false))
		}
		if !errors.Is(err, errEnded) {
			return fmt.Errorf("handing out: %w", err)
		}
		return nil
	})
	for _, done := range dones {
		require.NoError(t, done(true))
	}
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("it does not stop")
	}
	waits(t, channel(t, s), TicketQueue, 3, 0)
	_, _, err := q.Receive(t.Context(), 1)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	_, err = q.Publish(t.Context(), some(1))
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.Error(t, q.Ping(t.Context()))
	require.NoError(t, q.Run(t.Context()), "a closed queue does not run")
}

// What the broker has confirmed survives its death at any moment, and whoever is
// connected comes back by itself.
func TestConfirmedTicketsSurviveKillsOfTheBroker(t *testing.T) {
	t.Parallel()
	broker := stack.Own(t, stack.KindRabbitMQ)
	s := at(t, broker.URL())
	require.NoError(t, broker.Stop())

	// It starts while the broker is down, and says so.
	near, far := run(t, s, Publishing), run(t, s, Consuming)
	eventually(t, func() error {
		if err := near.Ping(t.Context()); !strings.Contains(fmt.Sprint(err), "refused") {
			return fmt.Errorf("not tried yet: %w", err)
		}
		return nil
	})
	err := near.Ping(t.Context())
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	for _, part := range []string{broker.Addr(), s.VirtualHost, "--queue"} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), string(s.Password))
	confirmed, err := near.Publish(t.Context(), some(1))
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.NotContains(t, err.Error(), string(s.Password))
	require.Empty(t, confirmed)

	missing := map[string]bool{}
	for range 2 {
		require.NoError(t, broker.Start(t.Context()))
		connected(t, near)
		require.NoError(t, broker.Settle(t.Context()))
		killed := make(chan error)
		published, err := 0, error(nil)
		for err == nil || errors.Is(err, ErrFull) {
			var confirmed []seckill.Ticket
			confirmed, err = near.Publish(t.Context(), some(200))
			for _, ticket := range confirmed {
				missing[ticket.ID] = true
			}
			if before := published; before < 3000 && before+len(confirmed) >= 3000 {
				go func() { killed <- broker.Kill() }()
			}
			published += len(confirmed)
		}
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		require.NoError(t, <-killed)
	}
	require.NoError(t, broker.Start(t.Context()))
	for len(missing) > 0 {
		got, done := receive(t, far, 1000)
		for _, ticket := range got {
			delete(missing, ticket.ID)
		}
		if err := done(true); err != nil {
			require.ErrorIs(t, err, ErrStale)
		}
	}
}

// A broker without memory stops reading from whoever publishes. A publisher
// must notice instead of hanging.
func TestABrokerThatBlocksPublishersIsUnavailable(t *testing.T) {
	t.Parallel()
	broker := stack.Own(t, stack.KindRabbitMQ)
	s := at(t, broker.URL())
	s.PublishRetry.Enabled = false
	q := connected(t, run(t, s, Publishing, Consuming))
	publish(t, q, some(1)...)
	collectN(t, q, 1)
	watermark(t, broker, "0")
	tickets := some(5)
	_, err := q.Publish(t.Context(), tickets)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.ErrorContains(t, err, "blocks publishers")
	_, err = q.Publish(t.Context(), tickets)
	require.ErrorContains(t, err, "blocks publishers", "and it is known at once")
	watermark(t, broker, "0.4")
	eventually(t, func() error {
		_, err := q.Publish(t.Context(), tickets)
		return err
	})
	// Those of the first try were on their way; while it blocked, nothing was sent.
	// An attempt that was given up may have arrived too.
	collectN(t, q, 2*len(tickets))
	require.NoError(t, q.Close())
}

func collectN(t testing.TB, q far, n int) {
	t.Helper()
	for n > 0 {
		got, done := receive(t, q, n)
		require.NoError(t, done(true))
		n -= len(got)
	}
}

var epmdPort = regexp.MustCompile(`-erl_epmd_port \d+`)

// watermark sets how much of the machine's memory the broker may use.
func watermark(t testing.TB, broker *stack.Engine, part string) {
	t.Helper()
	ctl(t, broker, "set_vm_memory_high_watermark", part)
}

// ctl runs rabbitmqctl and returns what it prints.
func ctl(t testing.TB, broker *stack.Engine, args ...string) string {
	t.Helper()
	// Without epmd the tool has to be told where the broker listens.
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", broker.Pid()))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "/usr/lib/rabbitmq/bin/rabbitmqctl", append([]string{"-n", "rabbit@localhost"}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(broker.LogFile()), "LANG=C.UTF-8",
		"RABBITMQ_CTL_ERL_ARGS=-start_epmd false -dist_listen false " + epmdPort.FindString(string(environ)),
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// Two nodes publish, three consume, and again and again one of them loses its
// connections. Every ticket that was confirmed is settled.
func TestNothingIsLostWhateverHappensToConnections(t *testing.T) {
	t.Parallel()
	total, kills := 60_000, 60
	if testing.Short() {
		total, kills = 5_000, 10
	}
	s := fresh(t)
	s.DeliveryLimit = 5 // a few come as dead letters
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()

	var mu sync.Mutex
	missing := make(map[string]bool, total)
	seen := make(map[string]bool, total)
	progress := make(chan struct{}, 1)
	settled := make(chan struct{})
	var published bool
	finished := func() bool { return published && len(missing) == 0 }

	var wires []wire
	var nodes, publishers sync.WaitGroup
	open := func(uses ...End) *AMQP {
		own := s
		wires = append(wires, cuttable(t, &own))
		return run(t, own, uses...)
	}
	work, stop := context.WithCancel(ctx)
	consume := func(q far) {
		for {
			got, done, err := q.Receive(work, 500)
			if err != nil {
				return
			}
			if err := done(true); err != nil {
				assert.ErrorIs(t, err, ErrStale)
			}
			// Settled, whether the acknowledgement arrived or not: it may come again.
			mu.Lock()
			for _, ticket := range got {
				seen[ticket.ID] = true
				delete(missing, ticket.ID)
			}
			if finished() {
				stop()
			}
			mu.Unlock()
			signal(progress)
		}
	}
	for range 3 {
		q := open(Consuming, DeadLetters)
		nodes.Go(func() { consume(q) })
		nodes.Go(func() { consume(q.Dead()) })
	}
	for range 2 {
		q := open(Publishing)
		publishers.Go(func() {
			for left := some(total / 2); len(left) > 0 && ctx.Err() == nil; {
				confirmed, err := q.Publish(ctx, left[:min(512, len(left))])
				if err != nil && len(confirmed) == 0 {
					rest(ctx, 10*time.Millisecond)
				}
				mu.Lock()
				for _, ticket := range confirmed {
					if !seen[ticket.ID] {
						missing[ticket.ID] = true
					}
				}
				mu.Unlock()
				left = without(left, confirmed)
			}
		})
	}
	nodes.Go(func() {
		publishers.Wait()
		mu.Lock()
		defer mu.Unlock()
		if published = true; finished() {
			stop()
		}
	})
	nodes.Go(func() {
		<-work.Done()
		close(settled)
	})
	for range kills {
		for range rand.IntN(12) { // so that the kills are over before the tickets are
			select {
			case <-progress:
			case <-settled:
			}
		}
		w := wires[rand.IntN(len(wires))]
		w.cut()
		w.mend(t)
	}
	nodes.Wait()
	mu.Lock()
	defer mu.Unlock()
	require.NoError(t, ctx.Err(), "%d tickets are missing", len(missing))
	require.Empty(t, missing)
	require.Len(t, seen, total)
}

// Only a queue that goes is said to be gone: a lost connection has its own reason,
// though the client closes both channels with it.
func TestWhyDeliveriesEnd(t *testing.T) {
	t.Parallel()
	lost := &amqp.Error{Code: amqp.ConnectionForced, Reason: "scripted"}
	for range 20 {
		closes, cancels := make(chan *amqp.Error, 1), make(chan string, 1)
		closes <- lost
		close(closes)
		close(cancels)
		require.ErrorIs(t, whyEnded("q", closes, cancels), lost)
		closes, cancels = make(chan *amqp.Error, 1), make(chan string, 1)
		cancels <- "listener-1"
		require.ErrorContains(t, whyEnded("q", closes, cancels), "gone")
	}
}

func TestTheMetricsCountWhatHappens(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	q := run(t, s)
	r := prometheus.NewPedanticRegistry()
	q.Register(r)
	connected(t, q)
	publish(t, q, some(5)...)
	_, done := receive(t, q, 1)
	require.NoError(t, done(false))
	collectN(t, q, 5)
	ch := channel(t, s)
	require.NoError(t, ch.Publish(TicketExchange, TicketQueue, true, false, amqp.Publishing{Body: []byte("no ticket")}))
	waits(t, ch, ParkedQueue, 1, 0)
	require.NoError(t, ch.QueueUnbind(TicketQueue, TicketQueue, TicketExchange, nil))
	_, err := q.Publish(t.Context(), some(2))
	require.ErrorIs(t, err, ErrUnroutable)
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
	eventually(t, func() error {
		parked, _ := find("seckill_queue_messages", ParkedQueue)
		if alone, _ := find("seckill_queue_consumers", DeadQueue); parked != 1 || alone != 1 {
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

// BenchmarkDrain drains a full queue: with Receive and done, and with nothing but
// the client, the same prefetch and an acknowledgement for many.
//
//	go test ./internal/queue -run '^$' -bench Drain -benchtime 1x -count 5
func BenchmarkDrain(b *testing.B) {
	const full = 100_000
	for _, c := range []struct {
		name string
		of   RabbitMQ
	}{{"shipped", DefaultRabbitMQ()}, {"notes", NotesRabbitMQ()}} {
		n := full
		if c.name == "notes" {
			n = full / 5
		}
		for _, who := range []string{"bare", "queue"} {
			b.Run(c.name+"/"+who, func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					s := fresh(b)
					s.Listener = c.of.Listener
					s.MaxLength = 2 * full
					fill(b, s, n)
					b.StartTimer()
					began, used := time.Now(), cpu(b)
					if who == "bare" {
						drainBare(b, s, n)
					} else {
						drainQueue(b, s, n)
					}
					b.ReportMetric(float64(n)/time.Since(began).Seconds(), "tickets/s")
					b.ReportMetric(float64((cpu(b)-used).Nanoseconds())/float64(n), "cpu-ns/ticket")
				}
			})
		}
	}
}

// cpu is the time that this process has computed: unlike the clock, it does not
// depend on what else the machine does.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func drainQueue(b *testing.B, s RabbitMQ, n int) {
	q := run(b, s, Consuming)
	got, batches := 0, 0
	for got < n {
		tickets, done, err := q.Receive(b.Context(), 1024)
		require.NoError(b, err)
		require.NoError(b, done(true))
		got, batches = got+len(tickets), batches+1
	}
	b.StopTimer()
	b.ReportMetric(float64(n)/float64(batches), "tickets/batch")
	q.Close()
}

// drainBare has as many channels as the queue would come to.
func drainBare(b *testing.B, s RabbitMQ, n int) {
	conn := dial(b, s)
	got := make(chan int)
	stop := make(chan struct{})
	defer close(stop)
	for range s.Listener.MaxConcurrency {
		ch, err := conn.Channel()
		require.NoError(b, err)
		require.NoError(b, ch.Qos(s.Listener.Prefetch, 0, false))
		deliveries, err := ch.Consume(TicketQueue, "", false, false, false, false, nil)
		require.NoError(b, err)
		go func() {
			every := max(1, s.Listener.Prefetch/2)
			idle := time.NewTicker(10 * time.Millisecond)
			defer idle.Stop()
			var last uint64
			unacked := 0
			flush := func() {
				if unacked == 0 {
					return
				}
				ch.Ack(last, true)
				select {
				case got <- unacked:
				case <-stop:
				}
				unacked = 0
			}
			for {
				select {
				case d, ok := <-deliveries:
					if !ok {
						return
					}
					last = d.DeliveryTag
					if unacked++; unacked >= every {
						flush()
					}
				case <-idle.C:
					flush()
				}
			}
		}()
	}
	for total := 0; total < n; {
		total += <-got
	}
}
