package queue

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
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
		if err := goleak.Find(goleak.IgnoreAnyFunction("seckill/internal/stack.spawn.func1")); err != nil {
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
	require.NoError(t, s.Check())
	q := NewAMQP(s, slog.New(slog.NewTextHandler(t.Output(), nil)))
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
					began := time.Now()
					if who == "bare" {
						drainBare(b, s, n)
					} else {
						drainQueue(b, s, n)
					}
					b.ReportMetric(float64(n)/time.Since(began).Seconds(), "tickets/s")
				}
			})
		}
	}
}

func drainQueue(b *testing.B, s RabbitMQ, n int) {
	q := run(b, s, Consuming)
	for got := 0; got < n; {
		tickets, done, err := q.Receive(b.Context(), 1024)
		require.NoError(b, err)
		require.NoError(b, done(true))
		got += len(tickets)
	}
	b.StopTimer()
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
