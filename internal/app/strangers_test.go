package app

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

// Of many who want to know the secrets of other nodes one asks the store. While it hangs each
// of them leaves when their own time is over, and nobody waits again at once.
func TestNobodyWaitsForTheSecretsOfOtherNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		hangs := true
		s := &strangers{other: func(ctx context.Context) (string, error) {
			asked.Add(1)
			if hangs {
				<-ctx.Done()
				return "", seckill.ErrUnavailable
			}
			return "another", nil
		}}
		began := time.Now()
		for range 20 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
				defer cancel()
				_, err := s.there(ctx)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, 800*time.Millisecond, time.Since(began))
			}()
		}
		time.Sleep(strangersTime)
		synctest.Wait()
		require.EqualValues(t, 1, asked.Load())
		_, err := s.there(t.Context())
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		require.Equal(t, strangersTime, time.Since(began), "who comes after a failure is told so")
		hangs = false
		time.Sleep(strangersLife)
		are, err := s.there(t.Context())
		require.NoError(t, err)
		require.True(t, are)
		require.EqualValues(t, 2, asked.Load())
	})
}
