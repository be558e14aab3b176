package rabbitmq

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/event"
	"seckill/internal/queue/queuetest"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// BenchmarkCost is what messages cost in processor time, which depends less than
// rates do on what else the machine does: at the broker and in this process.
//
// "pipe" is a pipeline at work: tickets are sent and taken at the same time, and each
// is followed by an event that nobody subscribes to.
func BenchmarkCost(b *testing.B) {
	const n = 100_000
	theirs := func(b *testing.B) time.Duration { return familyTime(b, stacktest.Shared(b, stack.KindRabbitMQ).Pid()) }
	for _, c := range []struct {
		name string
		uses []rabbit.End
		cost func(b *testing.B, q *messenger)
	}{
		{"publish512", []rabbit.End{rabbit.Publishing}, func(b *testing.B, q *messenger) { publishAll(b, q, n, 512) }},
		{"publish4096", []rabbit.End{rabbit.Publishing}, func(b *testing.B, q *messenger) { publishAll(b, q, n, 4096) }},
		{"drain", []rabbit.End{rabbit.Consuming}, func(b *testing.B, q *messenger) { drainAll(b, q, n, func(int) {}) }},
		{"events", []rabbit.End{rabbit.Announcing}, func(b *testing.B, q *messenger) { announceAll(b, q, n) }},
		{"pipe", []rabbit.End{rabbit.Publishing, rabbit.Consuming, rabbit.Announcing}, func(b *testing.B, q *messenger) { pipe(b, q, n) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				s := rabbittest.Fresh(b)
				s.MaxLength, s.ConfirmWindow = 2*n, 4096
				if c.name == "drain" {
					fill(b, s, n)
				}
				broker := rabbittest.New(b, s)
				q := &messenger{&node{New(broker, nil), broker}, event.NewPublisher(broker, nil)}
				runs(b, q.node, c.uses...)
				for _, e := range c.uses {
					rabbittest.Up(b, broker, e)
				}
				b.StartTimer()
				began, ours, before := time.Now(), cpu(b), theirs(b)
				c.cost(b, q)
				b.StopTimer()
				each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) }
				b.ReportMetric(each(theirs(b)-before), "broker-µs/ticket")
				b.ReportMetric(each(cpu(b)-ours), "node-µs/ticket")
				b.ReportMetric(float64(n)/time.Since(began).Seconds(), "tickets/s")
				b.ReportMetric(0, "ns/op")
				require.NoError(b, q.Close())
			}
		})
	}
}

// messenger is a node that sends events beside its tickets.
type messenger struct {
	*node
	events *event.Publisher
}

func publishAll(b *testing.B, q *messenger, n, batch int) {
	tickets := queuetest.Some(n)
	for i := 0; i < n; i += batch {
		_, err := q.Publish(b.Context(), tickets[i:min(n, i+batch)])
		assert.NoError(b, err)
	}
}

func drainAll(b *testing.B, q *messenger, n int, each func(got int)) {
	for got := 0; got < n; {
		tickets, done, err := q.Receive(b.Context(), 1024)
		require.NoError(b, err)
		require.NoError(b, done(true))
		got += len(tickets)
		each(got)
	}
}

// announced is the events that are sent together.
const announced = 500

func announceAll(b *testing.B, q *messenger, n int) {
	tickets := queuetest.Some(announced)
	events := make([]seckill.EventMessage, announced)
	for sent := 0; sent < n; sent += announced {
		for i, t := range tickets {
			body, err := json.Marshal(seckill.Event{ID: t.ID, Type: "order.placed", At: t.At, Order: seckill.Order{ID: t.ID, Sale: t.Sale, Quantity: t.Quantity}})
			assert.NoError(b, err)
			events[i] = seckill.EventMessage{ID: t.ID, Type: "order.placed", Order: t.ID, At: t.At, Body: body}
		}
		_, err := q.events.Announce(b.Context(), events)
		assert.NoError(b, err)
	}
}

func pipe(b *testing.B, q *messenger, n int) {
	settled := make(chan int, n)
	var others sync.WaitGroup
	others.Go(func() { publishAll(b, q, n, 512) })
	others.Go(func() {
		for k := range settled {
			announceAll(b, q, k)
		}
	})
	said := 0
	drainAll(b, q, n, func(got int) {
		for ; got-said >= announced; said += announced {
			settled <- announced
		}
	})
	close(settled)
	others.Wait()
}

// familyTime is the processor time of a process and of everything that it started.
func familyTime(b *testing.B, pid int) time.Duration {
	dir, err := os.ReadDir("/proc")
	require.NoError(b, err)
	children, used := map[int][]int{}, map[int]int{}
	for _, d := range dir {
		id, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 12 {
			parent, _ := strconv.Atoi(f[1])
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			children[parent] = append(children[parent], id)
			used[id] = user + system
		}
	}
	var all func(int) int
	all = func(pid int) int {
		sum := used[pid]
		for _, c := range children[pid] {
			sum += all(c)
		}
		return sum
	}
	return time.Duration(all(pid)) * 10 * time.Millisecond
}
