// Package queuetest is the suite that every queue passes, and what tests of queues share.
package queuetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

// Queue is what every queue offers.
type Queue interface {
	Publish(ctx context.Context, tickets []seckill.Ticket) (confirmed []seckill.Ticket, err error)
	Receive(ctx context.Context, max int) (tickets []seckill.Ticket, done func(settled bool) error, err error)
}

// Limit is how many tickets the queue under test holds.
const Limit = 20

// Bounded is the name of a behaviour that only a queue with an exact limit has. RabbitMQ
// refuses a ticket some time after its queue is full, and what listeners hold is not in
// the queue any more: its limit is one of the queue's size, not of the number of tickets
// under way.
const Bounded = "a full queue takes no more than its limit, and says which it took"

// Many is the name of a behaviour whose senders give up soon, before three disks can
// have confirmed.
const Many = "many senders and receivers lose nothing, whatever is returned or given up"

// Behaviours yields what every queue does: a name, and a test that gets an empty queue of
// Limit tickets.
func Behaviours(yield func(name string, test func(t *testing.T, q Queue)) bool) {
	for _, b := range behaviours {
		if !yield(b.name, func(t *testing.T, q Queue) { b.test(&line{t: t, Queue: q}) }) {
			return
		}
	}
}

// line is a queue under test.
type line struct {
	Queue
	t *testing.T
}

func (q *line) publish(tickets ...seckill.Ticket) {
	q.t.Helper()
	Publish(q.t, q, tickets...)
}

func (q *line) receive(max int) ([]seckill.Ticket, func(bool) error) {
	q.t.Helper()
	tickets, done := Receive(q.t, q, max)
	require.LessOrEqual(q.t, len(tickets), max)
	return tickets, done
}

// over waits for the end of goroutines.
func (q *line) over(all *sync.WaitGroup) {
	q.t.Helper()
	ctx, cancel := context.WithTimeout(q.t.Context(), 4*patience)
	defer cancel()
	go func() {
		defer cancel()
		all.Wait()
	}()
	<-ctx.Done()
	require.ErrorIs(q.t, ctx.Err(), context.Canceled, "they do not end")
}

// drain receives n tickets and settles them.
func (q *line) drain(n int) (all []seckill.Ticket) {
	q.t.Helper()
	for len(all) < n {
		tickets, done := q.receive(n)
		require.NoError(q.t, done(true))
		all = append(all, tickets...)
	}
	return all
}

// drains receives until each of the tickets has come.
func (q *line) drains(tickets []seckill.Ticket) {
	q.t.Helper()
	missing := map[string]bool{}
	for _, t := range tickets {
		missing[t.ID] = true
	}
	for len(missing) > 0 {
		for _, t := range q.drain(1) {
			delete(missing, t.ID)
		}
	}
}

// empty asserts that nothing is handed out.
func (q *line) empty() {
	q.t.Helper()
	ctx, cancel := context.WithTimeout(q.t.Context(), 50*time.Millisecond)
	defer cancel()
	tickets, _, err := q.Receive(ctx, 1)
	require.ErrorIs(q.t, err, context.DeadlineExceeded)
	require.Empty(q.t, tickets)
}

// Some returns n tickets that differ.
func Some(n int) (tickets []seckill.Ticket) {
	at := time.UnixMilli(1_800_000_000_000).UTC()
	for i := range n {
		tickets = append(tickets, seckill.Ticket{ID: seckill.NewTicketID(at), Sale: 7, Buyer: fmt.Sprint("买家 ", i), Quantity: 1 + i%3, Seq: int64(i), At: at, Seal: seckill.Seal{1, byte(i)}})
	}
	return tickets
}

var behaviours = []struct {
	name string
	test func(q *line)
}{
	{
		name: "every ticket comes out as it went in, in batches of at most max",
		test: func(q *line) {
			sent := Some(Limit)
			q.publish(sent...)
			first, done := q.receive(3)
			require.NoError(q.t, done(true))
			require.ElementsMatch(q.t, sent, append(first, q.drain(Limit-len(first))...))
			q.empty()
		},
	},
	{
		name: "a batch that was not settled comes again, together with the rest",
		test: func(q *line) {
			sent := Some(6)
			q.publish(sent...)
			for range 3 {
				_, done := q.receive(4)
				require.NoError(q.t, done(false))
			}
			require.ElementsMatch(q.t, sent, q.drain(6))
			q.empty()
		},
	},
	{
		name: "a batch that comes again is handed out in parts when that is asked for",
		test: func(q *line) {
			sent := Some(5)
			q.publish(sent...)
			var all []seckill.Ticket
			var dones []func(bool) error
			for len(all) < 5 {
				tickets, done := q.receive(5)
				all, dones = append(all, tickets...), append(dones, done)
			}
			for _, done := range dones {
				require.NoError(q.t, done(false))
			}
			first, done := q.receive(2)
			require.NoError(q.t, done(true))
			require.ElementsMatch(q.t, sent, append(first, q.drain(5-len(first))...))
			q.empty()
		},
	},
	{
		name: "a settled batch does not come again",
		test: func(q *line) {
			q.publish(Some(4)...)
			q.drain(4)
			q.empty()
		},
	},
	{
		name: "who waits for tickets gets one that comes later, or comes again",
		test: func(q *line) {
			got := make(chan []seckill.Ticket)
			wait := func() {
				ctx, cancel := context.WithTimeout(q.t.Context(), patience)
				defer cancel()
				tickets, done, err := q.Receive(ctx, 10)
				if assert.NoError(q.t, err) {
					assert.NoError(q.t, done(false))
				}
				got <- tickets
			}
			sent := Some(1)
			go wait()
			q.publish(sent...)
			require.Equal(q.t, sent, <-got)
			go wait()
			require.Equal(q.t, sent, <-got)
		},
	},
	{
		name: "a receiver that gives up takes nothing with it",
		test: func(q *line) {
			ctx, cancel := context.WithCancel(q.t.Context())
			var waiting sync.WaitGroup
			for range 4 {
				waiting.Go(func() {
					for ctx.Err() == nil {
						_, done, err := q.Receive(ctx, 3)
						if err != nil {
							assert.ErrorIs(q.t, err, context.Canceled)
							return
						}
						assert.NoError(q.t, done(false))
					}
				})
			}
			sent := Some(Limit)
			q.publish(sent...)
			cancel()
			q.over(&waiting)
			q.drains(sent)
		},
	},
	{
		name: Bounded,
		test: func(q *line) {
			ctx, cancel := context.WithTimeout(q.t.Context(), 100*time.Millisecond)
			defer cancel()
			sent := Some(Limit + 5)
			confirmed, err := q.Publish(ctx, sent)
			require.Error(q.t, err)
			require.LessOrEqual(q.t, len(confirmed), Limit)
			require.Subset(q.t, sent, confirmed)
			q.drains(confirmed) // what was confirmed is there
			q.publish(sent[Limit:]...)
			q.drains(sent[Limit:])
		},
	},
	{
		name: "publishing nothing is nothing",
		test: func(q *line) {
			q.publish()
			q.empty()
		},
	},
	{
		name: Many,
		test: func(q *line) {
			const senders, each = 4, 100
			var want, got sync.Map
			var left atomic.Int64 // that did not come out yet
			left.Store(senders * each)
			work, stop := context.WithTimeout(q.t.Context(), 3*patience)
			defer stop()
			var all sync.WaitGroup
			for r := range 4 {
				own := rand.New(rand.NewPCG(uint64(r), 7))
				all.Go(func() {
					for work.Err() == nil {
						ctx, cancel := context.WithTimeout(work, time.Duration(own.IntN(2000))*time.Microsecond)
						tickets, done, err := q.Receive(ctx, 1+own.IntN(7))
						cancel()
						if err != nil {
							continue
						}
						settled := own.IntN(3) > 0
						if settled {
							for _, t := range tickets {
								if _, again := got.LoadOrStore(t.ID, true); !again && left.Add(-1) == 0 {
									stop()
								}
							}
						}
						assert.NoError(q.t, done(settled))
					}
				})
			}
			for s := range senders {
				own := rand.New(rand.NewPCG(uint64(s), 8))
				all.Go(func() {
					patience := 5
					for rest := Some(each); len(rest) > 0 && work.Err() == nil; {
						ctx, cancel := context.WithTimeout(work, time.Duration(1+own.IntN(patience))*time.Millisecond)
						confirmed, _ := q.Publish(ctx, rest[:min(len(rest), 1+own.IntN(9))])
						cancel()
						if len(confirmed) == 0 { // it may be a slow disk
							patience = min(2*patience, 10_000)
						} else {
							patience = 5
						}
						sent := map[string]bool{}
						for _, t := range confirmed {
							want.Store(t.ID, true)
							sent[t.ID] = true
						}
						var unsent []seckill.Ticket
						for _, t := range rest {
							if !sent[t.ID] {
								unsent = append(unsent, t)
							}
						}
						rest = unsent
					}
				})
			}
			q.over(&all)
			require.Zero(q.t, left.Load(), "tickets never came out")
			want.Range(func(id, _ any) bool {
				_, ok := got.Load(id)
				return assert.True(q.t, ok, "ticket %s was confirmed and lost", id)
			})
		},
	},
}
