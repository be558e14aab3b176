package gate

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"seckill"
)

// With 60,000 tickets in the outbox somebody looks at the sale without a pause, as the
// audit does: nobody who buys meanwhile is turned away. The balance does not read so many.
func TestWhoLooksAtALongOutboxTurnsNobodyAway(t *testing.T) {
	t.Parallel()
	const tickets, buyers = 60_000, 2000
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	m, err := OpenMemory(ctx, filepath.Join(t.TempDir(), "gate.db"), 0)
	require.NoError(t, err)
	defer m.Close()
	sale := seckill.Sale{ID: 1, Total: seckill.MaxTotal, LimitPerBuyer: 1, OpensAt: time.Now().Add(-time.Minute), ClosesAt: time.Now().Add(time.Hour), Version: 1, Epoch: 1}
	require.NoError(t, m.Load(ctx, []seckill.Snapshot{{Sale: sale}}))
	buy := func(from, to int) {
		var g errgroup.Group
		next := atomic.Int64{}
		next.Store(int64(from))
		for range buyers {
			g.Go(func() error {
				for {
					n := next.Add(1)
					if n > int64(to) {
						return nil
					}
					a, err := m.Reserve(ctx, 1, fmt.Sprint("b", n), 1)
					if err != nil || a.Verdict != seckill.Queued {
						return fmt.Errorf("buyer %d hears %v: %w", n, a.Verdict, err)
					}
				}
			})
		}
		require.NoError(t, g.Wait())
	}
	buy(0, tickets)
	looking, stop := context.WithCancel(ctx)
	looks := make(chan int)
	go func() {
		n := 0
		for ; looking.Err() == nil; n++ {
			c, err := m.Cut(looking, 1)
			if err != nil {
				n--
			} else if len(c.Outbox) < tickets {
				n = -1 << 30 // it has not seen them
			}
		}
		looks <- n
	}()
	buy(tickets, tickets+20_000)
	stop()
	require.Positive(t, <-looks, "somebody looked, and saw them all")
	glance, err := m.Glance(ctx, 1, 20_000)
	require.NoError(t, err)
	require.True(t, glance.Partial, "the balance does not read so many")
}

// Who reads a long outbox does so a few tickets at a time: meanwhile others are admitted, and get
// their outcomes. What waits from before until after is read, once and in its order.
func TestALongOutboxIsReadPieceByPiece(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	j, err := openJournal(ctx, filepath.Join(t.TempDir(), "gate.db"), 0, func() {}, trust{})
	require.NoError(t, err)
	defer j.close()
	add := func(n int64) slot {
		p, err := j.append(seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: 1, Buyer: "ann", Quantity: 1, Seq: n, At: time.Now()})
		assert.NoError(t, err)
		return p
	}
	var last slot
	for n := range int64(3 * outboxPiece) {
		last = add(n)
		if n%outboxPiece == outboxPiece-1 {
			require.NoError(t, j.settle(ctx))
		}
	}
	var seqs []int64
	j.outbox(func(ticket seckill.Ticket, _ slot) {
		if ticket.Seq < 3*outboxPiece { // what was admitted meanwhile may be there
			seqs = append(seqs, ticket.Seq)
		}
		if len(seqs) > 1 {
			return
		}
		soon, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		done := make(chan struct{})
		go func() { defer close(done); add(3 * outboxPiece); j.finish([]slot{last}) }()
		select {
		case <-done:
		case <-soon.Done():
			t.Error("nobody is admitted while the outbox is read")
		}
	})
	require.Equal(t, 3*outboxPiece-1, len(seqs), "what has its outcome before it is read is not read")
	for n, seq := range seqs {
		require.EqualValues(t, n, seq)
	}
}
