package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

// conforming is what every queue offers.
type conforming interface {
	Publish(ctx context.Context, tickets []seckill.Ticket) (confirmed []seckill.Ticket, err error)
	Receive(ctx context.Context, max int) (tickets []seckill.Ticket, done func(settled bool) error, err error)
}

// testQueue holds a queue to the contract of stage 3. open returns an empty queue
// that holds at most limit tickets.
func testQueue(t *testing.T, open func(t testing.TB, limit int) conforming) {
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.test(&line{t: t, conforming: open(t, limit)})
		})
	}
}

const limit = 20 // tickets

// line is a queue under test.
type line struct {
	conforming
	t *testing.T
}

func (q *line) publish(tickets ...seckill.Ticket) {
	q.t.Helper()
	confirmed, err := q.Publish(q.t.Context(), tickets)
	require.NoError(q.t, err)
	require.Equal(q.t, tickets, confirmed, "all are confirmed")
}

func (q *line) receive(max int) ([]seckill.Ticket, func(bool) error) {
	q.t.Helper()
	tickets, done, err := q.Receive(q.t.Context(), max)
	require.NoError(q.t, err)
	require.NotEmpty(q.t, tickets)
	require.LessOrEqual(q.t, len(tickets), max)
	return tickets, done
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

func some(n int) (tickets []seckill.Ticket) {
	at := time.UnixMilli(1_800_000_000_000).UTC()
	for i := range n {
		tickets = append(tickets, seckill.Ticket{ID: seckill.NewTicketID(at), Sale: 7, Buyer: fmt.Sprint("买家 ", i), Quantity: 1 + i%3, Seq: int64(i), At: at})
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
			sent := some(limit)
			q.publish(sent...)
			first, done := q.receive(3)
			require.NoError(q.t, done(true))
			require.ElementsMatch(q.t, sent, append(first, q.drain(limit-len(first))...))
			q.empty()
		},
	},
	{
		name: "a batch that was not settled comes again, together with the rest",
		test: func(q *line) {
			sent := some(6)
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
			sent := some(5)
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
			q.publish(some(4)...)
			q.drain(4)
			q.empty()
		},
	},
	{
		name: "who waits for tickets gets one that comes later, or comes again",
		test: func(q *line) {
			got := make(chan []seckill.Ticket)
			wait := func() {
				tickets, done, err := q.Receive(q.t.Context(), 10)
				if assert.NoError(q.t, err) {
					assert.NoError(q.t, done(false))
				}
				got <- tickets
			}
			sent := some(1)
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
			sent := some(limit)
			q.publish(sent...)
			cancel()
			waiting.Wait()
			q.drains(sent)
		},
	},
	{
		name: "a full queue takes no more than its limit, and says which it took",
		test: func(q *line) {
			ctx, cancel := context.WithTimeout(q.t.Context(), 100*time.Millisecond)
			defer cancel()
			sent := some(limit + 5)
			confirmed, err := q.Publish(ctx, sent)
			require.Error(q.t, err)
			require.LessOrEqual(q.t, len(confirmed), limit)
			require.Subset(q.t, sent, confirmed)
			q.drains(confirmed) // what was confirmed is there
			q.publish(sent[limit:]...)
			q.drains(sent[limit:])
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
		name: "many senders and receivers lose nothing, whatever is returned or given up",
		test: func(q *line) {
			const senders, each = 4, 100
			var want, got sync.Map
			var left sync.WaitGroup
			left.Add(senders * each)
			receivers, stop := context.WithCancel(q.t.Context())
			var all sync.WaitGroup
			for r := range 4 {
				own := rand.New(rand.NewPCG(uint64(r), 7))
				all.Go(func() {
					for receivers.Err() == nil {
						ctx, cancel := context.WithTimeout(receivers, time.Duration(own.IntN(2000))*time.Microsecond)
						tickets, done, err := q.Receive(ctx, 1+own.IntN(7))
						cancel()
						if err != nil {
							continue
						}
						settled := own.IntN(3) > 0
						if settled {
							for _, t := range tickets {
								if _, again := got.LoadOrStore(t.ID, true); !again {
									left.Done()
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
					for rest := some(each); len(rest) > 0; {
						ctx, cancel := context.WithTimeout(q.t.Context(), time.Duration(1+own.IntN(patience))*time.Millisecond)
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
			left.Wait() // every ticket came out, or the test hangs here
			stop()
			all.Wait()
			want.Range(func(id, _ any) bool {
				_, ok := got.Load(id)
				return assert.True(q.t, ok, "ticket %s was confirmed and lost", id)
			})
		},
	},
}

func TestMemory(t *testing.T) {
	t.Parallel()
	testQueue(t, func(t testing.TB, limit int) conforming { return NewMemory(limit) })
}

func TestAFullMemoryQueueMakesItsSenderWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(2)
		sent := false
		go func() {
			confirmed, err := q.Publish(t.Context(), some(3))
			assert.NoError(t, err)
			assert.Len(t, confirmed, 3)
			sent = true
		}()
		synctest.Wait()
		require.False(t, sent)
		require.Equal(t, 2, q.Depth())
		tickets, done, err := q.Receive(t.Context(), 10)
		require.NoError(t, err)
		synctest.Wait()
		require.True(t, sent, "there is room for the third")
		require.NoError(t, done(false))
		require.Equal(t, 3, q.Depth(), "what is returned counts, whether there is room or not")
		require.NotEmpty(t, tickets)
	})
}

// Every receiver that waits is woken when there is enough for all of them.
func TestNobodyWaitsWhileReturnedTicketsLie(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(0)
		_, err := q.Publish(t.Context(), some(4))
		require.NoError(t, err)
		batch, done, err := q.Receive(t.Context(), 4)
		require.NoError(t, err)
		require.Len(t, batch, 4)
		got := make(chan int, 4)
		for range 4 {
			go func() {
				tickets, _, err := q.Receive(t.Context(), 1)
				assert.NoError(t, err)
				got <- len(tickets)
			}()
		}
		synctest.Wait()
		require.NoError(t, done(false))
		for range 4 {
			require.Equal(t, 1, <-got) // or the bubble is deadlocked
		}
	})
}

func TestAMemoryQueueHasALimitByDefault(t *testing.T) {
	t.Parallel()
	assert.Equal(t, MemoryLimit, cap(NewMemory(0).tickets))
}
