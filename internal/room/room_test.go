package room

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"seckill"
)

func TestARoomHasItsPlacesAndNoMore(t *testing.T) {
	t.Parallel()
	r := New("pages", 3, NewMetrics(prometheus.NewRegistry()))
	for range 3 {
		require.NoError(t, r.Enter())
	}
	err := r.Enter()
	require.ErrorIs(t, err, seckill.ErrBusy)
	require.ErrorContains(t, err, `"pages"`)
	require.EqualValues(t, 1, testutil.ToFloat64(r.busy))
	r.Leave()
	require.NoError(t, r.Enter())
}

// Beside a side that sends without end, another one has every second turn, and
// never more than one wait.
func TestEachSideHasItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := NewFair("logins", 1, 100, time.Hour, NewMetrics(prometheus.NewRegistry()))
		leave, err := f.Enter(t.Context(), "flood")
		require.NoError(t, err)
		order := make(chan string, 100)
		var all sync.WaitGroup
		enter := func(side string) {
			all.Go(func() {
				leave, err := f.Enter(t.Context(), side)
				if err == nil {
					order <- side
					leave(0)
				}
			})
			synctest.Wait()
		}
		for range 50 {
			enter("flood")
		}
		enter("a")
		enter("b")
		enter("a")
		leave(0)
		all.Wait()
		var first []string
		for range 6 {
			first = append(first, <-order)
		}
		require.Equal(t, []string{"flood", "a", "b", "flood", "a", "flood"}, first)
		require.Zero(t, f.taken)
		require.Zero(t, f.queued)
		require.Empty(t, f.turns)
	})
}

// A full queue turns away the last one of the side that has the most in it.
func TestAFullQueueHasRoomForAnotherSide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := NewFair("logins", 1, 4, time.Minute, NewMetrics(prometheus.NewRegistry()))
		leave, err := f.Enter(t.Context(), "flood")
		require.NoError(t, err)
		var in, busy atomic.Int64
		var all sync.WaitGroup
		enter := func(side string) {
			all.Go(func() {
				leave, err := f.Enter(t.Context(), side)
				if err != nil {
					busy.Add(1)
					return
				}
				in.Add(1)
				leave(0)
			})
			synctest.Wait()
		}
		for range 4 {
			enter("flood")
		}
		require.True(t, f.Full("flood"))
		require.False(t, f.Full("a"))
		enter("flood")
		require.EqualValues(t, 1, busy.Load(), "at once")
		enter("a")
		require.EqualValues(t, 2, busy.Load(), "one of the flood has gone for it")
		enter("a")
		enter("b")
		leave(0)
		all.Wait()
		require.EqualValues(t, 4, in.Load())
		require.Zero(t, f.taken)
	})
}

func TestAWaitHasItsBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := NewFair("logins", 1, 10, 800*time.Millisecond, NewMetrics(prometheus.NewRegistry()))
		leave, err := f.Enter(t.Context(), "a")
		require.NoError(t, err)
		began := time.Now()
		_, err = f.Enter(t.Context(), "b")
		require.ErrorIs(t, err, seckill.ErrBusy)
		require.Equal(t, 800*time.Millisecond, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = f.Enter(ctx, "b")
		require.ErrorIs(t, err, context.DeadlineExceeded)

		t.Log("a place that rests is nobody's")
		leave(500 * time.Millisecond)
		began = time.Now()
		leave, err = f.Enter(t.Context(), "b")
		require.NoError(t, err)
		require.Equal(t, 500*time.Millisecond, time.Since(began))
		leave(0)
	})
}

// Whatever comes together, no place is lost and none is given twice.
func TestNoPlaceIsLost(t *testing.T) {
	t.Parallel()
	f := NewFair("logins", 3, 8, time.Millisecond, NewMetrics(prometheus.NewRegistry()))
	var inside, most atomic.Int64
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*200*time.Microsecond)
				if leave, err := f.Enter(ctx, fmt.Sprint(i%7)); err == nil {
					n := inside.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					inside.Add(-1)
					leave(0)
				}
				cancel()
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, most.Load(), int64(3))
	require.Zero(t, f.taken)
	require.Zero(t, f.queued)
	require.Empty(t, f.sides)
	require.Empty(t, f.turns)
}
