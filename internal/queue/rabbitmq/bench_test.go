package rabbitmq

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
)

// BenchmarkDrain drains a full queue: with Receive and done, and with nothing but
// the client, the same prefetch and an acknowledgement for many.
//
//	go test ./internal/queue/rabbitmq -run '^$' -bench Drain -benchtime 1x -count 5
func BenchmarkDrain(b *testing.B) {
	const full = 100_000
	for _, c := range []struct {
		name string
		of   rabbit.Settings
	}{{"shipped", rabbit.Defaults()}, {"notes", rabbittest.Notes()}} {
		n := full
		if c.name == "notes" {
			n = full / 5
		}
		for _, who := range []string{"bare", "queue"} {
			b.Run(c.name+"/"+who, func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					s := rabbittest.Fresh(b)
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

func drainQueue(b *testing.B, s rabbit.Settings, n int) {
	q := run(b, s, rabbit.Consuming)
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
func drainBare(b *testing.B, s rabbit.Settings, n int) {
	conn := rabbittest.Dial(b, s)
	got := make(chan int)
	stop := make(chan struct{})
	defer close(stop)
	for range s.Listener.MaxConcurrency {
		ch, err := conn.Channel()
		require.NoError(b, err)
		require.NoError(b, ch.Qos(s.Listener.Prefetch, 0, false))
		deliveries, err := ch.Consume(rabbit.TicketQueue, "", false, false, false, false, nil)
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
