package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// People of the shop who search, and whose searches are slow, take a part of the connections:
// buyers go on reading.
func TestSlowSearchesLeaveConnectionsToBuyers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openTestSQLite(t)
		people := seckill.WithPatience(t.Context())
		end, errs := make(chan struct{}), make(chan error, 64)
		connections := s.r.Stats().MaxOpenConnections
		for range 2 * connections {
			go func() {
				errs <- s.read(people, "search", func(*tx) error { <-end; return nil })
			}()
		}
		synctest.Wait()
		require.Equal(t, max(1, connections/patientShare), s.r.Stats().InUse)
		_, err := s.Order(t.Context(), "nobody's", "a buyer")
		require.ErrorIs(t, err, seckill.ErrNotFound)

		t.Log("who does not come on is told so within the bound of the request")
		ctx, cancel := context.WithTimeout(people, time.Second)
		defer cancel()
		began := time.Now()
		_, err = s.Order(ctx, "nobody's", "a buyer")
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		require.Equal(t, time.Second, time.Since(began))
		close(end)
		for range 2 * connections {
			require.NoError(t, <-errs)
		}
	})
}
