package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"seckill/internal/account"
)

func (s *system) enter(route, name, password string, header ...string) *answer {
	s.t.Helper()
	return s.do(call{method: "POST", path: "/api/" + route, body: fmt.Sprintf(`{"name":%q,"password":%q}`, name, password), header: header})
}

func (a *answer) session() (v account.Session) {
	a.t.Helper()
	a.into(&v)
	return v
}

func (a *answer) cookie() *http.Cookie {
	a.t.Helper()
	all := (&http.Response{Header: a.header}).Cookies()
	all = slices.DeleteFunc(all, func(c *http.Cookie) bool { return c.Name == deviceCookie })
	require.Len(a.t, all, 1, "%s", a)
	return all[0]
}

func TestRegisterLoginAndLogout(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	a := s.enter("register", takenName, goodPassword).is(201)
	registered := a.session()
	require.NotEmpty(t, registered.Buyer)
	c := a.cookie()
	require.Equal(t, "seckill_session", c.Name)
	require.Equal(t, registered.Token, c.Value)
	require.Equal(t, "/", c.Path)
	require.True(t, c.HttpOnly, "no script reads it")
	require.Equal(t, http.SameSiteLaxMode, c.SameSite, "no other site sends it along")
	require.Equal(t, int(tokenLife.Seconds()), c.MaxAge)
	require.False(t, c.Secure, "this was not TLS")

	t.Log("the token is good as a header and as a cookie")
	s.do(call{method: "POST", path: ticketPath(s.open.ID), token: registered.Token}).is(202)
	var v ticketAnswer
	s.do(call{method: "GET", path: ticketPath(s.open.ID) + "?wait=20s", header: []string{"Cookie", "seckill_session=" + registered.Token}}).is(200).into(&v)
	require.Equal(t, "placed", v.Status)
	s.do(call{method: "GET", path: "/api/orders/" + v.Order, header: []string{"Authorization", "bearer " + registered.Token}}).is(200)
	s.do(call{method: "GET", path: "/api/orders", token: "wrong", header: []string{"Cookie", "seckill_session=" + registered.Token}}).problem(401, "unauthorized")

	t.Log("whoever registers is a buyer and nothing more")
	s.do(call{method: "GET", path: "/api/admin/sales", token: registered.Token}).problem(403, "forbidden")

	t.Log("a login is a new token of the same buyer")
	s.enter("login", takenName, "wrong horse battery").problem(401, "unauthorized")
	a = s.enter("login", takenName, goodPassword).is(200)
	require.Equal(t, registered.Buyer, a.session().Buyer)
	require.Equal(t, a.session().Token, a.cookie().Value)
	s.do(call{method: "GET", path: "/api/orders/" + v.Order, token: a.session().Token}).is(200)

	t.Log("a logout takes the cookie away, with or without a session, as often as you like")
	for _, header := range [][]string{{"Cookie", "seckill_session=" + registered.Token}, nil, nil} {
		a := s.do(call{method: "POST", path: "/api/logout", header: header}).is(204)
		require.Empty(t, a.body)
		c := a.cookie()
		require.Empty(t, c.Value)
		require.Negative(t, c.MaxAge)
		require.True(t, c.HttpOnly)
		require.Equal(t, "/", c.Path)
	}
	s.do(call{method: "GET", path: "/api/orders", token: registered.Token}).is(200) // a copy lives on until it ends
}

func TestTheCookieIsSecureUnderTLS(t *testing.T) {
	t.Parallel()
	s := newSystem(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	for _, c := range []struct {
		name, from, proto string
		tls, secure       bool
	}{
		{"TLS here", "192.0.2.1:1", "", true, true},
		{"TLS at a proxy of ours", "10.1.2.3:1", "https", false, true},
		{"none at a proxy of ours", "10.1.2.3:1", "http", false, false},
		{"somebody says so", "192.0.2.1:1", "https", false, false},
	} {
		r := call{method: "POST", path: "/api/logout", from: c.from, header: []string{"X-Forwarded-Proto", c.proto}}.request()
		if c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		w := httptest.NewRecorder()
		s.api.ServeHTTP(w, r)
		require.Equal(t, c.secure, w.Result().Cookies()[0].Secure, c.name)
	}
}

func TestANameIsTakenOnce(t *testing.T) {
	t.Parallel()
	s := newSystem(t, func(c *Config) { c.Hashes = 4 })
	var made, taken atomic.Int64
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			w := httptest.NewRecorder()
			s.api.ServeHTTP(w, call{method: "POST", path: "/api/register", body: fmt.Sprintf(`{"name":%q,"password":%q}`, newcomer, goodPassword)}.request())
			switch w.Code {
			case 201:
				made.Add(1)
			case 409:
				taken.Add(1)
			}
		})
	}
	g.Wait()
	require.EqualValues(t, 1, made.Load())
	require.EqualValues(t, 3, taken.Load())
	s.enter("register", newcomer, "another password").problem(409, "name_taken")
	s.enter("register", strings.ToUpper(newcomer), goodPassword).problem(409, "name_taken") // the same name
}

func TestNamesAndPasswordsAtTheirLimits(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for i, c := range [][2]string{
		{"a", "12345679"}, {strings.Repeat("字", 64), "密码很长也很好记"}, {"two words", strings.Repeat("x", 247) + "and so on"}, {"<script>", "<script>" + "1"},
	} {
		buyer := s.enter("register", c[0], c[1]).is(201).session().Buyer
		require.Equal(t, buyer, s.enter("login", c[0], c[1]).is(200).session().Buyer, "pair %d", i)
	}
}

func TestAnUnknownNameIsLikeAWrongPassword(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.enter("register", takenName, goodPassword).is(201)
	unknown := s.enter("login", newcomer, goodPassword).problem(401, "unauthorized")
	wrong := s.enter("login", takenName, "wrong horse battery").problem(401, "unauthorized")
	require.Equal(t, unknown.anonymous(), wrong.anonymous())
	require.Empty(t, wrong.header.Values("Set-Cookie"))
	unknown.header.Del("X-Request-Id")
	wrong.header.Del("X-Request-Id")
	require.Equal(t, unknown.header, wrong.header)
}

// offTheMinute starts a test somewhere within a minute of the clock: a bubble
// begins on the full one, where a limiter that mixes up two ways to count
// minutes would look right.
func offTheMinute() { pass(17*time.Second + 123*time.Millisecond) }

// Wrong passwords beyond the limit are slowed down, and the right one gets in.
func TestWhoTriesTooOftenIsSlowedDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		offTheMinute()
		s := newSystem(t, func(c *Config) { c.LoginTries = 3 })
		s.enter("register", takenName, goodPassword).is(201)
		s.enter("register", newcomer, goodPassword).is(201)
		for range 10 {
			s.enter("login", takenName, goodPassword).is(200)
		}
		before := s.world()
		for range 3 {
			s.enter("login", takenName, "wrong horse battery").problem(401, "unauthorized")
		}
		began := time.Now()
		for range 5 {
			a := s.enter("login", takenName, "wrong horse battery").problem(429, "too_many_requests")
			require.Equal(t, "60", a.header.Get("Retry-After"))
		}
		require.Equal(t, 5*pairPace, time.Since(began), "one after another, at a pace")
		s.enter("login", takenName, goodPassword).is(200)
		s.still(before)
		began = time.Now()
		s.enter("login", newcomer, goodPassword).is(200)
		require.Zero(t, time.Since(began), "nobody else is held up")
		s.rest()
		pass(2 * time.Minute)
		began = time.Now()
		s.enter("login", takenName, goodPassword).is(200)
		require.Zero(t, time.Since(began))
	})
}

// Wrong passwords for a name do not keep its owner out, from wherever they come.
func TestTheOwnerGetsInWhoeverElseTries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		offTheMinute()
		s := newSystem(t, func(c *Config) {
			c.LoginTries, c.DeviceSecrets = 3, [][]byte{[]byte(theSecret), []byte(previousSecret)}
		})
		login := func(from, password string, cookies ...*http.Cookie) *answer {
			c := call{method: "POST", path: "/api/login", body: fmt.Sprintf(`{"name":%q,"password":%q}`, takenName, password), from: from}
			for _, k := range cookies {
				c.header = append(c.header, "Cookie", k.Name+"="+k.Value)
			}
			return s.do(c)
		}
		device := func(a *answer) *http.Cookie {
			for _, c := range (&http.Response{Header: a.header}).Cookies() {
				if c.Name == deviceCookie {
					require.True(t, c.HttpOnly)
					require.Equal(t, "/api/login", c.Path)
					return c
				}
			}
			t.Fatal("no cookie of a device")
			return nil
		}
		known := device(s.enter("register", takenName, goodPassword).is(201))
		for try := range 4 {
			login("198.51.100.1:1", fmt.Sprint("guess ", try))
		}
		began := time.Now()
		login("192.0.2.2:1", goodPassword).is(200)
		require.Zero(t, time.Since(began), "from another address at once")

		t.Log("from many addresses: by a device that has logged in before at once, by another one after its turn")
		for i := range 26 {
			login(fmt.Sprintf("198.51.100.%d:1", i), "wrong horse battery")
		}
		login("198.51.100.99:1", "wrong horse battery").problem(429, "too_many_requests")
		began = time.Now()
		known = device(login("192.0.2.3:1", goodPassword, known).is(200))
		require.Zero(t, time.Since(began))
		login("192.0.2.4:1", goodPassword).is(200)
		require.LessOrEqual(t, time.Since(began), namePace)

		t.Log("and also while others try without end, each from a network of its own")
		trying, enough := context.WithCancel(t.Context())
		var others sync.WaitGroup
		for i := range 32 {
			others.Go(func() {
				for try := 0; trying.Err() == nil; try++ {
					login(fmt.Sprintf("[2001:db8:0:%x::1]:1", try<<5|i), "wrong horse battery")
					pass(time.Second) // most are told at once to come again then
				}
			})
		}
		pass(10 * time.Second)
		for range 3 {
			began = time.Now()
			login("192.0.2.5:1", goodPassword).is(200)
			require.LessOrEqual(t, time.Since(began), 2*namePace)
		}
		enough()
		others.Wait()

		t.Log("a cookie that is forged, of another name or too old says nothing")
		for _, c := range []*http.Cookie{
			{Name: deviceCookie, Value: "x"}, {Name: deviceCookie, Value: known.Value + "x"}, {Name: deviceCookie, Value: "9" + known.Value},
		} {
			r := call{method: "POST", path: "/api/login", header: []string{"Cookie", c.Name + "=" + c.Value}}.request()
			require.Empty(t, s.api.limits.devices.knows(r, takenName), c.Value)
		}
		r := call{method: "POST", path: "/api/login", header: []string{"Cookie", deviceCookie + "=" + known.Value}}.request()
		require.NotEmpty(t, s.api.limits.devices.knows(r, strings.ToUpper(takenName)))
		require.Empty(t, s.api.limits.devices.knows(r, newcomer))
		past := strconv.FormatInt(time.Now().Unix()-1, 10)
		r = call{method: "POST", path: "/api/login", header: []string{"Cookie", deviceCookie + "=" + past + ".1." + sign(s.api.limits.devices.keys[0], takenName, past, "1")}}.request()
		require.Empty(t, s.api.limits.devices.knows(r, takenName))
	})
}

func TestFailedLoginsOfAnUnknownNameAreLimitedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		offTheMinute()
		s := newSystem(t, func(c *Config) { c.LoginTries = 3 })
		before := s.world()
		for range 3 {
			s.enter("login", newcomer, goodPassword).problem(401, "unauthorized")
		}
		s.enter("login", newcomer, goodPassword).problem(429, "too_many_requests")
		s.still(before)
	})
}

func TestOfManyTriesTenAreGuesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		offTheMinute()
		s := newSystem(t) // with the limits that are shipped
		s.enter("register", takenName, goodPassword).is(201)
		before := s.world()
		for try := range 25 {
			a := s.enter("login", takenName, fmt.Sprint("guess ", try))
			if try < 10 {
				a.problem(401, "unauthorized")
			} else {
				a.problem(429, "too_many_requests")
			}
		}
		s.still(before)
	})
}

func TestFailedLoginsAndNewAccountsAreLimitedByAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		offTheMinute()
		s := newSystem(t, func(c *Config) {
			c.AddressTries = 4
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		})
		from := func(address, forwarded, route, name string) *answer {
			return s.do(call{method: "POST", path: "/api/" + route, body: fmt.Sprintf(`{"name":%q,"password":%q}`, name, goodPassword), from: address, header: []string{"X-Forwarded-For", forwarded}})
		}
		from("192.0.2.1:1", "", "register", takenName).is(201)
		for i := range 3 {
			from("192.0.2.1:1", "", "login", fmt.Sprint("nobody", i)).problem(401, "unauthorized")
		}
		before := s.world()
		from("192.0.2.1:1", "", "login", "yet another").problem(401, "unauthorized")
		began := time.Now()
		for range 3 {
			from("192.0.2.1:1", "", "login", "yet another").problem(429, "too_many_requests")
		}
		require.GreaterOrEqual(t, time.Since(began), 2*addressPace, "slowed down")
		for i := range 3 {
			from("192.0.2.1:2", "", "register", fmt.Sprint("one of a campus ", i)).is(201)
		}
		from("192.0.2.1:2", "", "register", newcomer).problem(429, "too_many_requests")
		s.still(before)

		t.Log("the right password gets in, also from there")
		began = time.Now()
		from("192.0.2.1:1", "", "login", takenName).is(200)
		require.LessOrEqual(t, time.Since(began), addressPace)
		from("192.0.2.2:1", "", "login", takenName).is(200)

		t.Log("behind a proxy of ours each client counts for itself, and saying so elsewhere does not help")
		for i := range 5 {
			from("10.0.0.1:1", "198.51.100.1", "login", fmt.Sprint("somebody", i))
			from("192.0.2.1:3", "198.51.100.7", "login", fmt.Sprint("somebody", i))
		}
		from("10.0.0.1:1", "198.51.100.1", "login", "yet another").problem(429, "too_many_requests")
		from("10.0.0.1:1", "1.2.3.4, 198.51.100.1", "login", "yet another").problem(429, "too_many_requests")
		from("10.0.0.1:1", "198.51.100.2", "login", "yet another").problem(401, "unauthorized")
		from("10.0.0.1:1", "198.51.100.7", "login", "yet another").problem(401, "unauthorized")
	})
}

// All guesses may arrive at once, before the first of them is counted: here each of them has
// been let past the slow lane and waits for a place of hashing.
func TestGuessesThatArriveAtOnceAreLimitedAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		offTheMinute()
		s := newSystem(t, func(c *Config) { c.LoginTries, c.Hashes = 3, 4 })
		s.enter("register", takenName, goodPassword).is(201)
		var taken []func(rest time.Duration)
		for range 4 {
			leave, err := s.api.limits.hashing.all.Enter(t.Context(), "hashes that take long")
			require.NoError(t, err)
			taken = append(taken, leave)
		}
		var guessed, refused atomic.Int64
		var g sync.WaitGroup
		for i := range 40 {
			g.Go(func() {
				w := httptest.NewRecorder()
				s.api.ServeHTTP(w, call{method: "POST", path: "/api/login", body: fmt.Sprintf(`{"name":%q,"password":"guess %d"}`, takenName, i)}.request())
				switch w.Code {
				case 401:
					guessed.Add(1)
				case 429, 503: // too many, or too many for the places of hashing
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		require.Zero(t, guessed.Load()+refused.Load(), "all of them wait")
		for _, leave := range taken {
			leave(0)
		}
		g.Wait()
		require.EqualValues(t, 40, guessed.Load()+refused.Load())
		require.LessOrEqual(t, guessed.Load(), int64(3+1), "the limit, and the first of the slow lane, which may be looked at before they have failed")
	})
}

func TestWhoseTokensAreAccepted(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for name, c := range map[string]struct {
		secret string
		claims jwt.MapClaims
	}{
		"another issuer with the same secret": {theSecret, jwt.MapClaims{"sub": "买家 7", "exp": time.Now().Add(time.Hour).Unix(), "iss": "https://shop.example", "aud": []string{"seckill"}, "iat": time.Now().Unix(), "jti": "x", "name": "Li Wei"}},
		"no more than it must have":           {theSecret, jwt.MapClaims{"sub": strings.Repeat("字", 64), "exp": time.Now().Add(time.Hour).Unix()}},
		"an end in fractions of a second":     {theSecret, jwt.MapClaims{"sub": "b", "exp": float64(time.Now().Add(time.Hour).UnixMilli()) / 1000}},
		"the secret before this one":          {previousSecret, jwt.MapClaims{"sub": "c", "exp": time.Now().Add(time.Hour).Unix()}},
	} {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c.claims).SignedString([]byte(c.secret))
		require.NoError(t, err)
		for range 2 { // the second time it is remembered
			s.do(call{method: "POST", path: ticketPath(s.open.ID), token: token}).is(202)
		}
		s.do(call{method: "GET", path: "/api/admin/sales", token: token}).problem(403, "forbidden")
		require.NotEmpty(t, name)
	}
}

func TestATokenEndsOnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		pass(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // a token ends on a full second
		token, err := account.Mint([]byte(theSecret), ownerName, "", time.Minute)
		require.NoError(t, err)
		c := call{method: "GET", path: "/api/orders", token: token}
		s.do(c).is(200)
		s.rest()
		pass(time.Minute - time.Millisecond)
		s.do(c).is(200)
		pass(time.Millisecond)
		s.do(c).problem(401, "unauthorized")
	})
}

func TestWhoseAddressCounts(t *testing.T) {
	t.Parallel()
	a := New(Config{Metrics: noMetrics(), Log: slog.New(slog.DiscardHandler), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}})
	for _, c := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:1234", nil, "192.0.2.1"},
		{"192.0.2.1:1234", []string{"198.51.100.1"}, "192.0.2.1"},              // not from a proxy of ours
		{"10.0.0.1:1234", nil, "10.0.0.1"},                                     // the proxy itself
		{"10.0.0.1:1234", []string{"198.51.100.1"}, "198.51.100.1"},            // one hop
		{"10.0.0.1:1234", []string{"198.51.100.1, 10.0.0.2"}, "198.51.100.1"},  // two proxies of ours
		{"10.0.0.1:1234", []string{"1.2.3.4, 198.51.100.1"}, "198.51.100.1"},   // what is left of it is the client's own tale
		{"10.0.0.1:1234", []string{"1.2.3.4", "198.51.100.1"}, "198.51.100.1"}, // in two headers
		{"10.0.0.1:1234", []string{"198.51.100.1,10.0.0.2", "10.0.0.3"}, "198.51.100.1"},
		{"10.0.0.1:1234", []string{"10.0.0.2, 10.0.0.3"}, "10.0.0.2"},   // ours all the way
		{"10.0.0.1:1234", []string{"1.2.3.4, unknown"}, "10.0.0.1"},     // nonsense is not believed
		{"10.0.0.1:1234", []string{"1.2.3.4, , 10.0.0.2"}, "10.0.0.2"},  // nor what stands behind it
		{"10.0.0.1:1234", []string{"198.51.100.1:443"}, "198.51.100.1"}, // some proxies add the port
		{"10.0.0.1:1234", []string{""}, "10.0.0.1"},
		{"[::ffff:10.0.0.1]:1234", []string{"198.51.100.1"}, "198.51.100.1"}, // the same address, written long
		{"10.0.0.1:1234", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"[fd00::1]:1234", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[2001:db8::2]:1234", []string{"2001:db8::1"}, "2001:db8::2"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		r.Header["X-Forwarded-For"] = c.forwarded
		require.Equal(t, c.want, a.client(r).String(), "%s says %q", c.remote, c.forwarded)
	}
	nobody := New(Config{Metrics: noMetrics(), Log: slog.New(slog.DiscardHandler)})
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("X-Forwarded-For", "198.51.100.1")
	require.Equal(t, "127.0.0.1", nobody.client(r).String(), "with no proxy listed no header counts")
}
