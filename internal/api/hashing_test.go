package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/store"
)

// Logins have a room of their own: bounded, and busy beyond it, at once.
func TestACrowdThatLogsInIsBoundedAndBuyersGoOn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, func(c *Config) {
		c.MaxInFlight, c.Hashes = 300, 1
		c.Accounts = account.New(c.People.(*store.Store), []byte(theSecret), tokenLife) // whose hashes take their time
	})
	s.enter("register", takenName, goodPassword).is(201)
	var in, busy, slow, other atomic.Int64
	var g sync.WaitGroup
	for i := range 2000 {
		g.Go(func() {
			w := httptest.NewRecorder()
			began := time.Now()
			s.api.ServeHTTP(w, call{method: "POST", path: "/api/login", body: fmt.Sprintf(`{"name":"somebody %d","password":%q}`, i, goodPassword), from: fmt.Sprintf("192.0.%d.%d:1", i/200, i%200)}.request())
			switch w.Code {
			case 401:
				in.Add(1)
			case 503:
				busy.Add(1)
				if !strings.Contains(w.Body.String(), `"code":"busy"`) || w.Header().Get("Retry-After") == "" {
					other.Add(1)
				}
			default:
				other.Add(1)
			}
			// What it waits for has a bound, loginWait (TestAllThatALoginWaitsForHasOneBound); the
			// rest is this machine, with the race detector. The bench's -logins says what it is without.
			if time.Since(began) > 10*time.Second {
				slow.Add(1)
			}
		})
	}
	for range 100 {
		require.Equal(t, 202, s.as(otherName, "POST", ticketPath(s.open.ID), "").status)
	}
	g.Wait()
	require.Zero(t, other.Load())
	require.Zero(t, slow.Load())
	require.Positive(t, in.Load())
	require.Positive(t, busy.Load())
}

func (h hanging) Account(ctx context.Context, name string) (seckill.Account, error) {
	if err := h.wait(ctx); err != nil {
		return seckill.Account{}, err
	}
	return h.Store.Account(ctx, name)
}

// Few passwords are hashed at once. Who waits for the store has no such place.
func TestALoginThatWaitsForTheStoreHasNoPlaceOfHashing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h hanging
		s := newSystem(t, func(c *Config) {
			h = hanging{c.Store.(*store.Store), new(atomic.Bool)}
			c.Accounts = account.NewCheap(h, []byte(theSecret), tokenLife)
			c.Hashes, c.Patience = 1, storePatience
		})
		h.hangs.Store(true)
		var g sync.WaitGroup
		for i := range 5 {
			g.Go(func() { s.enter("login", fmt.Sprint("somebody ", i), goodPassword).problem(503, "unavailable") })
			g.Go(func() { s.enter("register", fmt.Sprint("newcomer ", i), goodPassword).problem(503, "unavailable") })
		}
		pass(time.Second)
		began := time.Now()
		leave, err := s.api.limits.hashing.all.Enter(t.Context(), "192.0.2.9/32")
		require.NoError(t, err)
		require.Zero(t, time.Since(began), "the place is free")
		leave(0)
		g.Wait()
	})
}

// Whoever comes from ever new networks keeps nobody out: an IPv6 site counts as one side, and a
// browser that has logged in with the name before has places that nobody else can take.
func TestADeviceGetsInBesideACrowdFromManyNetworks(t *testing.T) {
	t.Parallel()
	for crowd, from := range map[string]string{"of one site": "[2001:db8:0:%x::1]:1", "from anywhere": "[2001:db8:%x::1]:1"} {
		synctest.Test(t, func(t *testing.T) {
			offTheMinute()
			s := newSystem(t, func(c *Config) { c.Hashes, c.AddressTries, c.DeviceSecrets = 1, 2, [][]byte{[]byte(theSecret)} })
			known := (&http.Response{Header: s.enter("register", takenName, goodPassword).is(201).header}).Cookies()
			leave, err := s.api.limits.hashing.all.Enter(t.Context(), "a hash that takes long")
			require.NoError(t, err)
			var g sync.WaitGroup
			for i := range 2 * hashWaiting {
				g.Go(func() {
					body := fmt.Sprintf(`{"name":"somebody %d","password":"wrong horse battery"}`, i)
					s.do(call{method: "POST", path: "/api/login", body: body, from: fmt.Sprintf(from, i+1)}).problem(503, "busy")
				})
			}
			synctest.Wait()
			began := time.Now()
			c := call{method: "POST", path: "/api/login", body: fmt.Sprintf(`{"name":%q,"password":%q}`, takenName, goodPassword)}
			for _, k := range known {
				if k.Name == deviceCookie {
					c.header = []string{"Cookie", k.Name + "=" + k.Value}
				}
			}
			s.do(c).is(200)
			require.Zero(t, time.Since(began), "%s: at once", crowd)

			s.enter("register", newcomer, goodPassword).problem(503, "busy")
			require.Equal(t, crowd == "of one site", time.Since(began) > 0, "%s: whoever comes from elsewhere has a turn", crowd)
			g.Wait()
			leave(0)
			s.enter("register", newcomer, goodPassword).is(201) // a try that ended as busy was none
		})
	}
}

// While buyers come in numbers a place of hashing rests, and never for long.
func TestTheRestOfAPlaceOfHashingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		for took, want := range map[time.Duration]time.Duration{50 * time.Millisecond: 300 * time.Millisecond, 3 * time.Second: restMost} {
			s.api.hash(func(rest time.Duration) { require.Equal(t, want, rest) }, func() {
				pass(took)
				s.api.metrics.over.Add(1e9) // a rush
			})
		}
	})
}

// A login waits for its lane and for a place, and for both together less than a second.
func TestAllThatALoginWaitsForHasOneBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		offTheMinute()
		s := newSystem(t, func(c *Config) { c.Hashes, c.LoginTries = 1, 1 })
		for range 2 { // from here on it has to take the slow lane
			s.enter("login", takenName, goodPassword)
		}
		leave, err := s.api.limits.hashing.all.Enter(t.Context(), "somebody else")
		require.NoError(t, err)
		began := time.Now()
		s.enter("login", takenName, goodPassword).problem(503, "busy")
		require.Equal(t, loginWait, time.Since(began))
		leave(0)
	})
}
