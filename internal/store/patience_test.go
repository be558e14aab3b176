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
		people := seckill.WithPatience(t.Context(), seckill.Patience{Who: "a viewer"})
		end, errs := make(chan struct{}), make(chan error, 64)
		connections := s.r.Stats().MaxOpenConnections
		for range 2 * connections {
			go func() {
				errs <- s.read(people, "search", func(*tx) error { <-end; return nil })
			}()
		}
		synctest.Wait()
		require.Equal(t, max(2, connections/patientShare), s.r.Stats().InUse)
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

// Audits of many people keep nobody from a list, and of those who search each person has their
// turn.
func TestAnAuditKeepsNobodyFromAList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openTestSQLite(t)
		as := func(who string, long bool, f func()) (err chan error) {
			err = make(chan error, 1)
			go func() {
				err <- s.read(seckill.WithPatience(t.Context(), seckill.Patience{Who: who, Long: long}), "search", func(*tx) error { f(); return nil })
			}()
			synctest.Wait()
			return err
		}
		end := make(chan struct{})
		var audits []chan error
		for _, who := range []string{"ada", "bob", "cleo"} {
			audits = append(audits, as(who, true, func() { <-end }))
		}
		require.NoError(t, <-as("dan", false, func() {}))

		t.Log("ten searches of one person, then one of another")
		next, turns := make(chan struct{}), make(chan string, 11)
		for range 10 {
			as("ada", false, func() { <-next; turns <- "ada" })
		}
		dan := as("dan", false, func() { turns <- "dan" })
		next <- struct{}{}
		next <- struct{}{}
		require.NoError(t, <-dan)
		require.Equal(t, []string{"ada", "ada", "dan"}, []string{<-turns, <-turns, <-turns})
		close(next)
		close(end)
		for _, err := range audits {
			require.NoError(t, <-err)
		}
		synctest.Wait()
	})
}
