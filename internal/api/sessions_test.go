package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/color"
	"image/png"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/store"
)

// login logs in and returns the token; with another status than 200 the answer.
func (s *system) login(name, password, code string) (token string, a *answer) {
	s.t.Helper()
	body := map[string]string{"name": name, "password": password}
	if code != "" {
		body["code"] = code
	}
	b, err := json.Marshal(body)
	require.NoError(s.t, err)
	a = s.anybody("POST", "/api/login", string(b))
	var v struct{ Token string }
	if a.status == http.StatusOK {
		a.into(&v)
	}
	return v.Token, a
}

// with sends a request with a token.
func (s *system) with(token, method, path, body string) *answer {
	s.t.Helper()
	return s.do(call{method: method, path: path, body: body, token: token})
}

// freshNode is another node in the same process, which has read nothing yet, and its sessions.
func (s *system) freshNode() (*system, *account.Sessions) {
	s.t.Helper()
	c := s.api.Config
	sessions := account.NewSessions(s.store, account.MaxLife, slog.New(slog.DiscardHandler))
	tokens, err := account.NewVerifier(account.Checks{Sessions: sessions}, []byte(theSecret))
	require.NoError(s.t, err)
	c.Tokens, c.Metrics = tokens, noMetrics()
	sub := *s
	sub.api = New(c)
	return &sub, sessions
}

// secondNode is another node on the same store: what it knows it reads there.
func (s *system) secondNode() *system {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var seq int
	var name, file string
	require.NoError(s.t, s.commits.QueryRow("PRAGMA database_list").Scan(&seq, &name, &file))
	other, err := store.Open(ctx, "sqlite:"+filepath.Clean(file), store.Settings{})
	require.NoError(s.t, err)
	sessions := account.NewSessions(other, account.MaxLife, slog.New(slog.DiscardHandler))
	tokens, err := account.NewVerifier(account.Checks{Sessions: sessions}, []byte(theSecret))
	require.NoError(s.t, err)
	c := s.api.Config
	c.Store, c.Money, c.People, c.Lists, c.Tokens, c.Metrics = other, other, other, other, tokens, noMetrics()
	done := make(chan error, 1)
	go func() { done <- sessions.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		require.NoError(s.t, <-done)
		require.NoError(s.t, other.Close())
	})
	<-sessions.Loaded()
	sub := *s
	sub.api = New(c)
	return &sub
}

// A blocked administrator is out on every node within a second, and so is whoever lost a
// role, got another password or was logged out.
func TestWhoIsBlockedIsOutOnEveryNode(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting)
	there := s.secondNode()
	for what, body := range map[string]string{"block": "", "role": `{"role":"viewer"}`, "password": `{"password":"another ` + goodPassword + `"}`, "logout": ""} {
		name := "boss " + what
		_, err := s.accounts.Register(t.Context(), name, goodPassword, seckill.RoleAdmin)
		require.NoError(t, err)
		mine, _ := s.login(name, goodPassword, "")
		for _, node := range []*system{s, there} {
			node.with(mine, "GET", "/api/admin/people", "").is(200)
			node.with(mine, "GET", "/api/me", "").is(200)
		}
		s.admin("POST", "/api/admin/people/boss%20"+what+"/"+what, body).is(200)
		s.with(mine, "GET", "/api/me", "").is(401) // here at once
		began := time.Now()
		require.Eventually(t, func() bool {
			return there.raw(call{method: "GET", path: "/api/admin/people", token: mine}).Code == 401
		}, 20*time.Second, 5*time.Millisecond)
		t.Logf("%s: in force on the other node after %s", what, time.Since(began)) // 250 ms and a look on a machine at rest
		there.with(mine, "POST", "/api/admin/sales/"+s.open.ID.String()+"/pause", "").is(401)
		s.awaitLog("", func(e seckill.LogEntry) bool {
			return e.What == "sales.pause" && e.Result == "unauthorized" && e.Subject == name
		})
	}
	_, a := s.login("boss block", goodPassword, "")
	a.is(403)
	s.awaitLog("&what=login", func(e seckill.LogEntry) bool { return e.Subject == "boss block" && e.Result == "forbidden" })
	s.admin("POST", "/api/admin/people/boss%20block/unblock", "").is(200)
	token, _ := s.login("boss block", goodPassword, "")
	there.with(token, "GET", "/api/admin/people", "").is(200)
	s.admin("DELETE", "/api/admin/people/boss%20block", "").is(204)
	s.admin("DELETE", "/api/admin/people/boss%20block", "").is(404)
	s.with(token, "GET", "/api/me", "").is(401)
}

// A node that has just started does not know yet whose sessions were ended. Until it does,
// nobody acts on it as a person of the shop or changes an account; buyers buy.
func TestANodeThatDoesNotKnowWhoIsOutLetsNobodySteer(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	_, err := s.accounts.Register(t.Context(), "boss", goodPassword, seckill.RoleAdmin)
	require.NoError(t, err)
	mine, _ := s.login("boss", goodPassword, "")
	s.admin("POST", "/api/admin/people/boss/block", "").is(200)
	there, sessions := s.freshNode()
	before := s.world()
	for _, request := range []string{"GET /api/admin/sales", "POST /api/admin/sales/" + s.open.ID.String() + "/end", "POST /api/me/logout-everywhere", "POST /api/me/second-factor"} {
		method, path, _ := strings.Cut(request, " ")
		there.with(mine, method, path, "").problem(503, "unavailable")
	}
	s.still(before)
	there.as("pia", "GET", "/api/me", "").is(200)
	there.as("pia", "POST", ticketPath(s.open.ID), "").is(202)
	require.NoError(t, sessions.Look(t.Context()))
	there.with(mine, "GET", "/api/admin/sales", "").is(401)
	there.admin("GET", "/api/admin/sales", "").is(200)
}

// A stream ends with the session of whoever reads it.
func TestAStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		_, err := s.accounts.Register(t.Context(), "boss", goodPassword, seckill.RoleViewer)
		require.NoError(t, err)
		mine, _ := s.login("boss", goodPassword, "")
		ended := make(chan *answer, 1)
		began := time.Now()
		go func() { ended <- s.with(mine, "GET", "/api/admin/live", "") }()
		time.Sleep(3 * time.Second) // of the bubble
		s.admin("POST", "/api/admin/people/boss/block", "").is(200)
		all := events(t, (<-ended).body)
		require.Less(t, time.Since(began), 5*time.Second)
		require.GreaterOrEqual(t, len(all), 2)
	})
}

// Buyers end their own sessions too.
func TestLogoutEverywhere(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	_, err := s.accounts.Register(t.Context(), takenName, goodPassword, "")
	require.NoError(t, err)
	phone, _ := s.login(takenName, goodPassword, "")
	desk, _ := s.login(takenName, goodPassword, "")
	a := s.with(desk, "POST", "/api/me/logout-everywhere", "").is(204)
	require.Contains(t, a.header.Get("Set-Cookie"), "Max-Age=0")
	for _, token := range []string{phone, desk} {
		s.with(token, "GET", "/api/orders", "").is(401)
		s.with(token, "POST", ticketPath(s.open.ID), "").is(401)
	}
	again, _ := s.login(takenName, goodPassword, "")
	s.with(again, "GET", "/api/orders", "").is(200)
	s.as(takenName, "POST", "/api/me/logout-everywhere", "").is(409) // a token that no login has made
	require.Empty(t, s.readLog("&what=me"), "buyers are not in the log")
}

// Whoever knows the old password sets another one, and is the only one who stays in.
func TestOnesOwnPassword(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting, func(c *Config) { c.LoginTries = 5 })
	_, err := s.accounts.Register(t.Context(), "ann", goodPassword, seckill.RoleSupport)
	require.NoError(t, err)
	desk, _ := s.login("ann", goodPassword, "")
	phone, _ := s.login("ann", goodPassword, "")
	change := func(token, old, next string) *answer {
		return s.with(token, "POST", "/api/me/password", `{"password":"`+old+`","new_password":"`+next+`"}`)
	}
	change(desk, "wrong horse battery", "another "+goodPassword).is(401)
	change(desk, goodPassword, "12345678").is(422)
	change(token(t, "a script", ""), goodPassword, "another "+goodPassword).is(409)
	s.with(phone, "GET", "/api/me", "").is(200)
	change(desk, goodPassword, "another "+goodPassword).is(200).into(&struct{ Token *string }{&desk})
	s.with(desk, "GET", "/api/admin/sales", "").is(200)
	s.with(phone, "GET", "/api/me", "").is(401)
	_, a := s.login("ann", goodPassword, "")
	a.is(401)
	s.awaitLog("&what=me.password", func(e seckill.LogEntry) bool { return e.Subject == "ann" })
	require.Eventually(t, func() bool { return change(desk, "guess", "another "+goodPassword).status == 429 }, 60*time.Second, time.Millisecond)
}

func TestASecondFactorAtTheLogin(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting, func(c *Config) { c.LoginTries, c.DeviceSecrets = 5, [][]byte{[]byte(theSecret)} })
	_, err := s.accounts.Register(t.Context(), "boss", goodPassword, seckill.RoleAdmin)
	require.NoError(t, err)
	token, _ := s.login("boss", goodPassword, "")
	var key struct{ Secret, URL, Picture string }
	s.with(token, "POST", "/api/me/second-factor", "").is(200).into(&key)
	picture, found := strings.CutPrefix(key.Picture, "data:image/png;base64,")
	require.True(t, found, key.Picture)
	seen, err := png.Decode(base64.NewDecoder(base64.StdEncoding, strings.NewReader(picture)))
	require.NoError(t, err)
	of, err := otp.NewKeyFromURL(key.URL)
	require.NoError(t, err)
	want, err := of.Image(seen.Bounds().Dx(), seen.Bounds().Dy())
	require.NoError(t, err)
	for x := range seen.Bounds().Dx() {
		for y := range seen.Bounds().Dy() {
			require.Equal(t, color.GrayModel.Convert(want.At(x, y)), color.GrayModel.Convert(seen.At(x, y)), "the picture holds the URL")
		}
	}
	at := func(steps int) string {
		code, err := totp.GenerateCode(key.Secret, time.Now().Add(time.Duration(steps)*30*time.Second))
		require.NoError(t, err)
		return code
	}
	a := s.with(token, "POST", "/api/me/second-factor/confirm", `{"code":"000000"}`).is(401)
	require.Contains(t, string(a.body), `"code":"second_factor"`)
	s.with(token, "POST", "/api/me/second-factor/confirm", `{"code":"`+at(-1)+`"}`).is(200).into(&struct{ Token *string }{&token})
	var me struct {
		Role         string
		SecondFactor bool `json:"second_factor"`
	}
	s.with(token, "GET", "/api/me", "").is(200).into(&me)
	require.True(t, me.SecondFactor)
	require.Equal(t, seckill.RoleAdmin, me.Role)
	s.with(token, "POST", "/api/me/second-factor", "").is(409)

	_, a = s.login("boss", goodPassword, "")
	a.is(401)
	require.Contains(t, string(a.body), `"code":"second_factor"`)
	code := at(0) // the same all the time: half a minute later there is another one
	_, a = s.login("boss", "wrong horse battery", code)
	a.is(401)
	require.Contains(t, string(a.body), `"code":"unauthorized"`)
	in, _ := s.login("boss", goodPassword, code)
	s.with(in, "GET", "/api/admin/people", "").is(200)
	s.awaitLog("&what=login", func(e seckill.LogEntry) bool { return e.Subject == "boss" && e.Result == seckill.LogDone })
	_, a = s.login("boss", goodPassword, code)
	a.is(401) // it was used

	t.Log("who tries codes is turned away, also with a right one")
	tries := 0
	require.Eventually(t, func() bool {
		tries++
		_, a := s.login("boss", goodPassword, fmt.Sprintf("%06d", tries))
		return a.status == http.StatusTooManyRequests
	}, 60*time.Second, time.Millisecond)
	require.LessOrEqual(t, tries, 30)
	until := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	a = s.do(call{method: "POST", path: "/api/login", body: fmt.Sprintf(`{"name":"boss","password":%q,"code":"000000"}`, goodPassword),
		header: []string{"Cookie", deviceCookie + "=" + until + ".1." + sign(s.api.limits.devices.keys[0], "boss", until, "1")}})
	require.Contains(t, string(a.is(401).body), `"code":"second_factor"`, "a browser that has logged in before is not kept out by others")
	s.awaitLog("&what=login", func(e seckill.LogEntry) bool { return e.Result == "second_factor" })
	s.admin("POST", "/api/admin/people/boss/password", `{"password":"`+goodPassword+`2","remove_second_factor":true}`).is(200)
	require.NotContains(t, string(s.admin("GET", "/api/admin/log", "").is(200).body), goodPassword, "no password is in the log")
	require.Eventually(t, func() bool { // it may be slowed down still
		token, _ = s.login("boss", goodPassword+"2", "")
		return token != ""
	}, 90*time.Second, 100*time.Millisecond)
	s.with(token, "GET", "/api/admin/people", "").is(200)
}

func TestPeopleAreFoundByName(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for name, role := range map[string]string{"Ann": seckill.RoleViewer, "anna": "", "bob": seckill.RoleAdmin, "an/other": ""} {
		_, err := s.accounts.Register(t.Context(), name, goodPassword, role)
		require.NoError(t, err)
	}
	names := func(query string) (all []string) {
		for _, p := range pages[account.Person](s, call{method: "GET", path: "/api/admin/people" + query, token: token(t, adminName, seckill.RoleAdmin)}, 1) {
			for _, v := range p {
				all = append(all, v.Name)
			}
		}
		return all
	}
	require.Equal(t, []string{"Ann", "bob"}, names(""), "who has a role")
	require.Equal(t, []string{"an/other", "Ann", "anna"}, names("?q=AN"))
	require.Empty(t, names("?q=c"))
	var p account.Person
	s.admin("POST", "/api/admin/people/an%2Fother/role", `{"role":"support"}`).is(200).into(&p)
	require.Equal(t, "an/other", p.Name)
	require.Equal(t, seckill.RoleSupport, p.Role)
	s.admin("POST", "/api/admin/people/nobody/role", `{"role":"support"}`).is(404)
	s.admin("POST", "/api/admin/people/bob/role", `{"role":"root"}`).is(422)
	s.admin("POST", "/api/admin/people/bob/role", `{}`).is(422)
	s.admin("POST", "/api/admin/people/bob/password", `{"password":"12345678"}`).is(422)
	s.admin("GET", "/api/admin/people?q=%00", "").is(422)
}
