package gate

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"seckill"
)

// With 300,000 tickets in the outbox somebody looks at the sale without a pause, as the
// audit does: nobody who buys meanwhile is turned away. The balance does not read so many.
func TestWhoLooksAtALongOutboxTurnsNobodyAway(t *testing.T) {
	t.Parallel()
	const tickets, buyers = 300_000, 2000
	ctx := t.Context()
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
			if err == nil && len(c.Outbox) < tickets {
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
