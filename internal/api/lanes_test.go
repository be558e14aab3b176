package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"seckill/internal/room"
)

// Whoever attacks many names leaves places of the room `accounts` to the others: a browser that has
// logged in with an attacked name before, and whoever has a name that nobody attacks, get in at
// once, and the owner of an attacked name in turn.
func TestAFloodOfManyNamesKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		offTheMinute()
		s := newSystem(t, func(c *Config) { c.LoginTries, c.DeviceSecrets = 2, [][]byte{[]byte(theSecret)} })
		var known []string
		for _, k := range (&http.Response{Header: s.enter("register", takenName, goodPassword).is(201).header}).Cookies() {
			if k.Name == deviceCookie {
				known = []string{"Cookie", k.Name + "=" + k.Value}
			}
		}
		s.enter("register", newcomer, goodPassword).is(201)
		ctx, enough := context.WithCancel(t.Context())
		var g sync.WaitGroup
		var turns []func(time.Duration)
		for i := range 20 {
			name := fmt.Sprint("somebody ", i)
			if i == 0 {
				name = takenName
			}
			for range 2 * nameFactor { // so many wrong passwords came from elsewhere
				s.api.limits.names.count(pair(name, "", ""))
			}
			leave, err := s.api.limits.lane(name, "2001:db8::/64", "").Enter(ctx, "somebody has the turn")
			require.NoError(t, err)
			turns = append(turns, leave)
			for n := range accountPlaces/20 + 1 {
				g.Go(func() {
					c := call{method: "POST", path: "/api/login", body: fmt.Sprintf(`{"name":%q,"password":"wrong horse battery"}`, name), from: fmt.Sprintf("[2001:db8:0:%x::1]:1", n+1), context: ctx}
					s.api.ServeHTTP(httptest.NewRecorder(), c.request())
				})
			}
			synctest.Wait()
		}
		began := time.Now()
		s.enter("login", takenName, goodPassword, known...).is(200)
		s.enter("login", newcomer, goodPassword).is(200)
		require.Zero(t, time.Since(began))
		time.AfterFunc(namePace, func() { turns[0](0) })
		s.enter("login", takenName, goodPassword).is(200)
		require.Equal(t, 2*namePace, time.Since(began), "one of the flood was before it")
		enough()
		g.Wait()
	})
}

// However many names are attacked, and however many cores a node has, all who may wait for
// something fit into the room `accounts`; only known devices wait beside the bound of the lanes.
func TestWhoWaitsToLogInFitsIntoTheRoom(t *testing.T) {
	t.Parallel()
	for _, hashes := range []int{1, 64} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimits(Config{Hashes: hashes}, room.NewMetrics(prometheus.NewRegistry()))
			ctx, enough := context.WithCancel(t.Context())
			var waiting atomic.Int64
			var g sync.WaitGroup
			wait := func(enter func() error) {
				waiting.Add(1)
				g.Go(func() {
					if enter() != nil && ctx.Err() == nil {
						waiting.Add(-1)
					}
				})
			}
			for i := range accountPlaces {
				lane := l.lanes.of(fmt.Sprint("name ", i/nameQueue), "", namePace, nameWait, nameQueue)
				wait(func() error { return lane.turn(ctx, fmt.Sprint(i)) })
			}
			synctest.Wait()
			known := l.lanes.of("name 1 on a known device", "it", pairPace, laneWait, 1)
			require.NoError(t, known.turn(ctx, "it"))
			for _, place := range []*room.Fair{l.reading.all, l.reading.known, l.hashing.all, l.hashing.known} {
				for i := range accountPlaces {
					wait(func() error { _, err := place.Enter(ctx, fmt.Sprint(i)); return err })
				}
				synctest.Wait()
			}
			require.Less(t, waiting.Load(), int64(accountPlaces), "%d places of hashing", hashes)
			enough()
			g.Wait()
		})
	}
}
