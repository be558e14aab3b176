package api

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
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
	e := s.awaitLog("", func(e seckill.LogEntry) bool { return e.Who == "a viewer" })
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
	s.awaitLog("", func(e seckill.LogEntry) bool { return e.Who == "the last" })
	require.LessOrEqual(t, len(s.readLog("&who=a%20buyer")), 2*refusalsOfOne)
}
