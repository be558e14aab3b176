package duty

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// oldLog has entries that are too old, and one lease.
type oldLog struct {
	mu      sync.Mutex
	old     int
	fail    error
	batches []int
	keep    time.Duration
	owner   string
}

func (l *oldLog) trim(_ context.Context, keep time.Duration, max int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, l.fail
	}
	n := min(max, l.old)
	l.old, l.keep = l.old-n, keep
	l.batches = append(l.batches, n)
	return n, nil
}

func (l *oldLog) Lease(_ context.Context, _, owner string, _ time.Duration) (bool, string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == "" {
		l.owner = owner
	}
	return l.owner == owner, l.owner, nil
}

func (l *oldLog) Unlease(context.Context, string, string) error {
	l.set(func() { l.owner = "" })
	return nil
}

// set looks at the log, or changes it.
func (l *oldLog) set(f func()) { l.mu.Lock(); defer l.mu.Unlock(); f() }

// What is too old is removed in batches with rests between them, on one node at a time, and
// an outage of the store ends nothing.
func TestWhatIsOldIsRemovedInBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &oldLog{old: 2*trimBatch + 7, owner: "another node"}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		trimmer := &Trimmer{Leases: store, What: "old entries", Keep: 48 * time.Hour, Trim: store.trim, Log: slog.New(slog.DiscardHandler)}
		go func() { done <- trimmer.Run(ctx) }()
		synctest.Wait()
		store.set(func() { require.Empty(t, store.batches, "another node has the lease") })

		store.set(func() { store.owner = "" })
		began := time.Now()
		time.Sleep(trimCheck)
		synctest.Wait()
		store.set(func() { require.Equal(t, []int{trimBatch}, store.batches, "and then it rests") })
		time.Sleep(time.Minute)
		store.set(func() {
			require.Equal(t, []int{trimBatch, trimBatch, 7, 0}, store.batches)
			require.Equal(t, 48*time.Hour, store.keep)
			require.Empty(t, store.owner, "the lease is given back")
			store.fail, store.old = seckill.ErrUnavailable, 5
		})
		time.Sleep(2 * trimCheck)
		store.set(func() {
			require.Equal(t, 5, store.old)
			store.fail = nil
		})
		time.Sleep(2 * trimRetry)
		store.set(func() { require.Zero(t, store.old, "it is tried again long before the next look") })
		require.Less(t, time.Since(began), 4*trimCheck)
		stop()
		require.NoError(t, <-done)
	})
}
