package api

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/order"
	"seckill/internal/sale"
	"seckill/internal/store"
)

// Each role meets exactly its rights: every route, asked with every role.
func TestEachRoleMeetsExactlyItsRights(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	roles := append([]string{"", "Admin", "root"}, seckill.Roles()...)
	for _, r := range s.api.routes {
		if r.audience < viewers {
			continue
		}
		for _, role := range roles {
			may := slices.Index(seckill.Roles(), role) >= int(r.audience-viewers)
			// A body that nobody takes, so that who may changes nothing either.
			c := s.good(r).withBody("{")
			if r.method == "GET" {
				c = s.good(r)
			}
			if strings.HasSuffix(r.path, "/differences") {
				c.path = r.path // 422
			}
			a := s.do(c.withToken(token(t, "a person", role)))
			require.Equal(t, !may, a.status == 403, "%s %s as %q: %s", r.method, r.path, role, a)
			if !may {
				require.Contains(t, string(a.body), `"code":"forbidden"`)
				require.Contains(t, string(a.body), `"detail":"needs the role `+leastRole[r.audience]+`"`)
			}
		}
	}
}

// The page lists under each role exactly the routes that the table gives to it.
func TestThePageSaysWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/http-api.md")
	require.NoError(t, err)
	want, said := map[string][]string{}, map[string][]string{}
	for _, r := range New(Config{Metrics: noMetrics()}).routes {
		if r.audience >= viewers {
			want[leastRole[r.audience]] = append(want[leastRole[r.audience]], r.method+" "+r.path)
		}
	}
	for _, role := range seckill.Roles() {
		row := regexp.MustCompile("(?m)^\\| `" + role + "` \\| [^|]*\\| ([^|]*)\\|$").FindSubmatch(page)
		require.NotNil(t, row, "there is no row of %s", role)
		for _, route := range regexp.MustCompile("`([^`]+)`").FindAllSubmatch(row[1], -1) {
			said[role] = append(said[role], string(route[1]))
		}
		require.ElementsMatch(t, want[role], said[role], "the row of %s", role)
	}
}

// log reads the whole log as an administrator, newest first.
func (s *system) readLog(query string) (items []seckill.LogEntry) {
	s.t.Helper()
	var v struct{ Items []seckill.LogEntry }
	a := s.admin("GET", "/api/admin/log?limit=100"+query, "").is(200)
	require.NoError(s.t, json.Unmarshal(a.body, &v))
	return v.Items
}

// awaitLog waits for an entry that is noted and not written with a change.
func (s *system) awaitLog(query string, is func(seckill.LogEntry) bool) (e seckill.LogEntry) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		items := s.readLog(query)
		i := slices.IndexFunc(items, is)
		if i >= 0 {
			e = items[i]
		}
		return i >= 0
	}, 20*time.Second, 5*time.Millisecond, "the log never had it")
	return e
}

// noting makes the API note what belongs to no change.
func noting(c *Config) { c.Notes = account.NewNotes(c.Store.(*store.Store), c.Log) }

// Every change that somebody of the shop makes stands in the log with the request that
// asked for it.
func TestEveryChangeStandsInTheLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting)
	_, err := s.accounts.Register(t.Context(), takenName, goodPassword, "")
	require.NoError(t, err)
	other := s.bought(otherName, s.open.ID, 2)
	s.refunds(theRefund, s.bought("gives back", s.open.ID, 1))
	s.as(otherName, "POST", "/api/orders/"+other+"/pay", "").is(200)
	logged := map[string]bool{}
	for _, r := range s.api.routes {
		if r.audience < viewers || r.method == "GET" {
			continue
		}
		c := s.good(r)
		switch r.path {
		case "/api/admin/access/remove":
			s.admin("POST", "/api/admin/access", `{"list":"allow","buyer":"a listed one"}`).is(200)
		case "/api/admin/orders/{order}/refund":
			c.path = strings.Replace(r.path, "{order}", other, 1)
		case "/api/admin/sales/{sale}/pause", "/api/admin/sales/{sale}/end":
			// A sale of its own: later routes need the open one.
			c.path = strings.Replace(r.path, "{sale}", s.create(saleBody{"title": r.path}).ID.String(), 1)
			if strings.HasSuffix(r.path, "/end") {
				c.body = fmt.Sprintf(`{"title":%q}`, r.path)
			}
		}
		c.token = token(t, "somebody", leastRole[r.audience])
		a := s.do(c)
		require.Less(t, a.status, 300, "%s %s: %s", r.method, r.path, a)
		what := action(r.method, r.path)
		logged[what] = true
		e := s.awaitLog("&who=somebody&what="+what, func(e seckill.LogEntry) bool { return e.RequestID == a.header.Get("X-Request-Id") })
		require.Equal(t, leastRole[r.audience], e.Role)
		require.Equal(t, "192.0.2.1", e.From)
		require.Equal(t, seckill.LogDone, e.Result, what)
		require.True(t, strings.HasPrefix(e.Intent, r.method+" "+c.path), e.Intent)
		require.WithinDuration(t, time.Now(), e.At, time.Minute)
	}
	require.Greater(t, len(logged), 10)
	e := s.readLog("&what=sales.pause")[0]
	require.JSONEq(t, `{"paused":false,"version":1}`, string(e.Before))
	require.JSONEq(t, `{"paused":true,"version":2}`, string(e.After))
	require.JSONEq(t, `{"state":"unpaid"}`, string(s.readLog("&what=orders.cancel")[0].Before))
	require.Empty(t, s.readLog("&who="+otherName), "buyers are not in it")
	require.Len(t, s.readLog("&what=sales.pause&sale="+s.paused.ID.String()), 1)
}

// Who is refused stands in the log, and cannot fill it.
func TestRefusalsAreInTheLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting)
	s.do(call{method: "POST", path: "/api/admin/sales/" + s.open.ID.String() + "/pause", token: token(t, "a viewer", seckill.RoleViewer)}).is(403)
	// The first use of a token is noted too, in an entry of its own.
	e := s.awaitLog("&what=sales.pause", func(e seckill.LogEntry) bool { return e.Who == "a viewer" })
	require.Equal(t, "forbidden", e.Result)
	require.Equal(t, "sales.pause", e.What)
	require.Equal(t, s.open.ID, e.Sale)
	s.admin("POST", "/api/admin/sales/"+s.ended.ID.String()+"/end", "").is(200)
	s.admin("POST", "/api/admin/sales/"+s.ended.ID.String()+"/resume", "").is(409)
	s.awaitLog("&sale="+s.ended.ID.String(), func(e seckill.LogEntry) bool { return e.What == "sales.resume" && e.Result == "state" })
	for range 5 * refusalsOfOne {
		s.as("a buyer", "GET", "/api/admin/sales", "").is(403)
	}
	s.do(call{method: "GET", path: "/api/admin/log", token: token(t, "the last", seckill.RoleOperator)}).is(403)
	s.awaitLog("", func(e seckill.LogEntry) bool { return e.Who == "the last" && e.Result == "forbidden" })
	require.LessOrEqual(t, len(s.readLog("&who=a%20buyer")), 2*refusalsOfOne)
	t.Log("however many buyers are refused")
	for i := range refusalsOfAll/refusalsOfOne + 10 {
		for range refusalsOfOne {
			s.as(fmt.Sprint("buyer ", i), "GET", "/api/admin/sales", "").is(403)
		}
	}
	s.do(call{method: "POST", path: "/api/admin/sales", token: token(t, "a curious one", seckill.RoleViewer)}).is(403)
	s.awaitLog("", func(e seckill.LogEntry) bool {
		return e.Who == "a curious one" && e.Result == "forbidden" && strings.HasPrefix(e.Intent, "POST /api/admin/sales") // and not that there was one more
	})
}

// A token with a role that no login has made stands in the log at its first use.
func TestANewTokenIsInTheLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting)
	there := s.secondNode()
	minted := token(t, "a script", seckill.RoleViewer)
	for range 3 {
		s.with(minted, "GET", "/api/admin/sales", "").is(200)
		there.with(minted, "GET", "/api/admin/sales", "").is(200)
	}
	e := s.awaitLog("&what=token&who=a%20script", func(e seckill.LogEntry) bool { return e.Subject == fingerprint(minted) })
	require.Equal(t, seckill.RoleViewer, e.Role)
	s.with(token(t, "another script", seckill.RoleAdmin), "GET", "/api/admin/sales", "").is(200)
	s.awaitLog("&what=token", func(e seckill.LogEntry) bool { return e.Who == "another script" })
	require.Len(t, s.readLog("&what=token&who=a%20script"), 1, "once, for all nodes")
	_, err := s.accounts.Register(t.Context(), "boss", goodPassword, seckill.RoleAdmin)
	require.NoError(t, err)
	in, _ := s.login("boss", goodPassword, "")
	s.with(in, "GET", "/api/admin/sales", "").is(200)
	s.awaitLog("&what=login", func(e seckill.LogEntry) bool { return e.Subject == "boss" })
	for _, e := range s.readLog("&what=token") {
		require.NotEqual(t, "boss", e.Subject)
	}
}

// A wrong password for the account of somebody of the shop stands in the log, with the
// account and from where; of a buyer's account and of nobody's it does not.
func TestWrongPasswordsOfPeopleOfTheShopAreInTheLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting)
	for name, role := range map[string]string{"boss": seckill.RoleViewer, takenName: ""} {
		_, err := s.accounts.Register(t.Context(), name, goodPassword, role)
		require.NoError(t, err)
	}
	guess := func(name string) {
		s.do(call{method: "POST", path: "/api/login", body: `{"name":"` + name + `","password":"not ` + goodPassword + `"}`, from: "203.0.113.9:1234"}).problem(401, "unauthorized")
	}
	guess(takenName)
	guess("nobody")
	guess("boss")
	e := s.awaitLog("&what=login", func(e seckill.LogEntry) bool { return e.Subject == "boss" })
	require.Equal(t, "unauthorized", e.Result)
	require.Equal(t, "203.0.113.9", e.From)
	require.Equal(t, seckill.RoleViewer, e.Role)
	require.NotContains(t, fmt.Sprintf("%+v", e), goodPassword)
	require.Len(t, s.readLog("&what=login"), 1)

	in, _ := s.login("boss", goodPassword, "")
	s.with(in, "POST", "/api/me/password", `{"password":"a wrong one","new_password":"another good password"}`).problem(401, "unauthorized")
	s.awaitLog("&what=me.password", func(e seckill.LogEntry) bool { return e.Subject == "boss" && e.Result == "unauthorized" })
}

// patchy is a store that is away, or whose replies to changes are lost once it has made them.
type patchy struct {
	*store.Store
	away, lost atomic.Bool
}

func (p *patchy) change(do func() error) error {
	if p.away.Load() {
		return seckill.ErrUnavailable
	}
	err := do()
	if err == nil && p.lost.Load() {
		return seckill.ErrUnavailable
	}
	return err
}

func (p *patchy) UpdateSale(ctx context.Context, id seckill.SaleID, change func(*seckill.Sale) error) (v seckill.Sale, err error) {
	err = p.change(func() error { v, err = p.Store.UpdateSale(ctx, id, change); return err })
	return v, err
}

func (p *patchy) BeginMove(ctx context.Context, m seckill.Move) (v seckill.Move, err error) {
	err = p.change(func() error { v, err = p.Store.BeginMove(ctx, m); return err })
	return v, err
}

func (p *patchy) Refund(ctx context.Context, f seckill.RefundRequest) (v seckill.Order, err error) {
	err = p.change(func() error { v, err = p.Store.Refund(ctx, f); return err })
	return v, err
}

func (p *patchy) TransitionBy(ctx context.Context, id, buyer string, to seckill.OrderState, by, why string) (v seckill.Order, err error) {
	err = p.change(func() error { v, err = p.Store.TransitionBy(ctx, id, buyer, to, by, why); return err })
	return v, err
}

func (p *patchy) SetAccessEntry(ctx context.Context, e seckill.AccessEntry, remove bool) (v seckill.AccessEntry, err error) {
	err = p.change(func() error { v, err = p.Store.SetAccessEntry(ctx, e, remove); return err })
	return v, err
}

// A change that was answered 503 and is in force after all stands in the log: with the
// request that asked for it, once.
func TestAChangeOfUnknownOutcomeIsInTheLogIfItIsInForce(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting)
	paid := s.bought(otherName, s.open.ID, 1)
	s.as(otherName, "POST", "/api/orders/"+paid+"/pay", "").is(200)
	p := &patchy{Store: s.store}
	c := s.api.Config
	c.Sales = sale.New(p, s.gate, c.Log, sale.Options{OnlyNode: true})
	c.Orders, c.Lists, c.Metrics = order.New(p, s.gate, c.Log), p, noMetrics()
	there := s.in(t)
	there.api = New(c)

	id := s.open.ID.String()
	for _, change := range []struct{ method, path, body, what string }{
		{"PATCH", "/api/admin/sales/" + id, `{"title":"another title"}`, "sales.change"},
		{"POST", "/api/admin/sales/" + id + "/stock", `{"id":"more","delta":5}`, "sales.stock"},
		{"POST", "/api/admin/sales/" + id + "/stock", `{"id":"less","delta":-5}`, "sales.stock"},
		{"POST", "/api/admin/orders/" + paid + "/refund", `{"reason":"broken"}`, "orders.refund"},
		{"POST", "/api/admin/orders/" + s.order + "/cancel", "", "orders.cancel"},
		{"POST", "/api/admin/access", `{"list":"block","buyer":"a farmer"}`, "access.create"},
	} {
		p.lost.Store(true)
		a := there.with(token(t, "somebody", seckill.RoleOperator), change.method, change.path, change.body).is(503)
		p.lost.Store(false)
		e := s.awaitLog("&what="+change.what, func(e seckill.LogEntry) bool {
			return e.RequestID == a.header.Get("X-Request-Id") && e.Result == seckill.LogDone
		})
		require.Equal(t, "somebody", e.Who)
		require.Contains(t, e.Intent, change.body, "what was asked for")
		p.away.Store(true)
		a = there.with(token(t, "somebody", seckill.RoleOperator), change.method, strings.Replace(change.path, id, s.paused.ID.String(), 1), change.body).is(503)
		p.away.Store(false)
		for _, e := range s.readLog("&what=" + change.what) {
			require.NotEqual(t, a.header.Get("X-Request-Id"), e.RequestID, "what never happened is not in the log")
		}
	}
	require.Equal(t, "another title", s.sale(s.open.ID).Title)
}

func (p *patchy) UpdateAccount(ctx context.Context, name string, change func(*seckill.Account) error) (v seckill.Account, err error) {
	err = p.change(func() error { v, err = p.Store.UpdateAccount(ctx, name, change); return err })
	return v, err
}

// What people of the shop do to their own accounts stands in the log in the same way; what
// buyers do to theirs does not.
func TestAChangeOfOnesOwnAccountIsInTheLogIfItIsInForce(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting)
	p := &patchy{Store: s.store}
	c := s.api.Config
	c.Accounts = account.NewCheap(p, []byte(theSecret), tokenLife)
	var err error
	c.Tokens, err = account.NewVerifier(account.Checks{}, []byte(theSecret)) // it ends no sessions: one is used on and on
	require.NoError(t, err)
	c.Metrics = noMetrics()
	there := s.in(t)
	there.api = New(c)
	sessions := map[string]string{}
	for name, role := range map[string]string{"boss": seckill.RoleAdmin, takenName: ""} {
		session, err := s.accounts.Register(t.Context(), name, goodPassword, role)
		require.NoError(t, err)
		sessions[name] = session.Token
	}
	for name, mine := range sessions {
		var key struct{ Secret string }
		there.with(mine, "POST", "/api/me/second-factor", "").is(200).into(&key)
		code, err := totp.GenerateCode(key.Secret, time.Now())
		require.NoError(t, err)
		for _, change := range []struct{ what, path, body string }{
			{"me.second-factor", "/api/me/second-factor/confirm", `{"code":"` + code + `"}`},
			{"me.logout-everywhere", "/api/me/logout-everywhere", ""},
			{"me.password", "/api/me/password", `{"password":"` + goodPassword + `","new_password":"another ` + goodPassword + `"}`},
		} {
			p.lost.Store(true)
			a := there.with(mine, "POST", change.path, change.body).is(503)
			p.lost.Store(false)
			entries := slices.DeleteFunc(s.readLog("&what="+change.what), func(e seckill.LogEntry) bool { return e.RequestID != a.header.Get("X-Request-Id") })
			if name != "boss" {
				require.Empty(t, entries, "%s of a buyer", change.what)
				continue
			}
			require.Len(t, entries, 1, change.what)
			require.Equal(t, []string{"boss", seckill.RoleAdmin, seckill.LogDone}, []string{entries[0].Subject, entries[0].Role, entries[0].Result})
			require.NotContains(t, fmt.Sprintf("%+v", entries[0]), goodPassword)
		}
	}
}

// An emergency stop is in the log as soon as the store learns of it, under the name of
// whoever pressed the button.
func TestAnEmergencyStopIsInTheLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t, noting)
	p := &patchy{Store: s.store}
	c := s.api.Config
	c.Sales, c.Metrics = sale.New(p, s.gate, c.Log, sale.Options{OnlyNode: true}), noMetrics()
	there := s.in(t)
	there.api = New(c)
	there.anybody("GET", "/api/sales/"+s.open.ID.String(), "").is(200) // the copy that it answers from
	p.away.Store(true)
	a := there.with(token(t, "somebody", seckill.RoleOperator), "POST", "/api/admin/sales/"+s.open.ID.String()+"/pause", "").is(200)
	e := s.awaitLog("&what=sales.pause&sale="+s.open.ID.String(), func(e seckill.LogEntry) bool { return e.RequestID == a.header.Get("X-Request-Id") })
	require.Equal(t, "somebody", e.Who)
	require.Equal(t, "192.0.2.1", e.From)
	require.JSONEq(t, `{"paused":true,"version":2}`, string(e.After))
}
