package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/live"
)

// preflightChecks are the names of all checks, preflightCodes what they may say.
var (
	preflightChecks = []string{"nodes", "same version", "same settings", "clocks", "role api", "role relay", "role settle", "role expire", "listeners",
		"engines durable", "disk", "payment", "balance", "price", "opening", checkPublished, "gate", "backlog", "other openings"}
	preflightCodes = []string{"ready", "unheard", "skew", "no_role", "stopped", "unasked", "weak", "free", "test_payment", "not_counted", "broken", "old", "partly",
		"no_price", "not_above", "tenth", "ended", "opened", "opens", "draft", "hidden", "no_state", "units", "waiting", "near"}
)

func TestThePreflightSaysWhatIsNotReady(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	look := func(id seckill.SaleID) (bool, map[string]string) {
		var v struct {
			Go     bool
			Checks []check
		}
		s.admin("GET", "/api/admin/sales/"+id.String()+"/preflight", "").is(http.StatusOK).into(&v)
		states := map[string]string{}
		for _, c := range v.Checks {
			states[c.Name] = c.State
		}
		return v.Go, states
	}
	draft := s.create(saleBody{"title": "a draft", "shelf": "draft", "opens_at": s.gate.Now().Add(time.Hour), "closes_at": s.gate.Now().Add(2 * time.Hour)})
	goes, states := look(draft.ID)
	require.False(t, goes)
	require.Equal(t, checkBad, states["published"])
	require.Equal(t, checkUnknown, states["balance"])
	require.Equal(t, checkWarn, states["other openings"], "the scheduled sale opens with it: %v", states)
	require.Equal(t, checkOK, states["opening"])
	_, states = look(s.ended.ID)
	require.Equal(t, checkBad, states["opening"])
}

// What nobody knows is no pass: go is what publish would do, and both name what is unknown.
func TestThePreflightDoesNotPassWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all ready
		board := deaf{now: new(atomic.Bool)}
		s := newSystem(t, noting, func(c *Config) {
			teller := c.Live.Teller
			teller.Node.Roles = preflightRoles
			all = newReady(teller.Source.(figures))
			teller.Source = all
			board.Board = c.Live.Board
			c.Live.Board = board
		})
		all.counted.Store(true)
		v := s.create(saleBody{"title": "a draft", "shelf": "draft", "opens_at": s.gate.Now().Add(9 * time.Hour), "closes_at": s.gate.Now().Add(10 * time.Hour)})
		path := "/api/admin/sales/" + v.ID.String()
		look := func() (goes bool, checks map[string]check) {
			t.Helper()
			_ = duty.Rest(t.Context(), 2*time.Second) // what was heard before is asked for again
			var v struct {
				Go     bool
				Checks []check
			}
			s.admin("GET", path+"/preflight", "").is(200).into(&v)
			checks = map[string]check{}
			for _, c := range v.Checks {
				checks[c.Name] = c
				require.Contains(t, preflightChecks, c.Name)
				if c.Code != "" {
					require.Contains(t, preflightCodes, c.Code)
				}
			}
			return v.Go, checks
		}
		goes, checks := look()
		require.True(t, goes, "%+v", checks)
		require.Equal(t, checkBad, checks[checkPublished].State, "that it is a draft is no reason against publishing it")
		require.Nil(t, checks["gate"].AgeMS, "it was asked just now")
		for _, c := range []struct {
			name     string
			unknown  []string
			set, end func()
		}{
			{"the count is old", []string{"balance"}, func() { all.old.Store(16) }, func() { all.old.Store(0) }},
			{"the count is not whole", []string{"balance"}, func() { all.partly.Store(true) }, func() { all.partly.Store(false) }},
			{"the gate does not answer", []string{"gate"}, func() { all.away.Store(true) }, func() { all.away.Store(false) }},
			{"the other nodes are not heard", []string{"nodes", "same version", "same settings", "clocks"}, func() { board.now.Store(true) }, func() { board.now.Store(false) }},
		} {
			c.set()
			goes, checks = look()
			require.False(t, goes, c.name)
			for _, name := range c.unknown {
				require.Equal(t, checkUnknown, checks[name].State, "%s: %s", c.name, name)
				require.NotEmpty(t, checks[name].Says, "%s: %s", c.name, name)
			}
			a := s.admin("POST", path+"/publish", `{"preflight":true}`)
			a.problem(409, "state")
			require.Contains(t, string(a.body), c.unknown[0]+" (unknown)")
			c.end()
		}
		goes, _ = look()
		require.True(t, goes)
		s.admin("POST", path+"/publish", `{"preflight":true}`).is(200)
	})
}

// The console has a word for each check and each code in both languages, and no others.
func TestTheConsoleHasWordsForTheChecks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../web/console/words/en/pages.json")
	require.NoError(t, err)
	words := map[string]string{}
	require.NoError(t, json.Unmarshal(text, &words))
	var checks, codes []string
	for word := range words {
		if name, ok := strings.CutPrefix(word, "checks."); ok {
			checks = append(checks, strings.ReplaceAll(name, "_", " "))
		}
		if code, ok := strings.CutPrefix(word, "check_says."); ok {
			codes = append(codes, code)
		}
	}
	require.ElementsMatch(t, preflightChecks, checks)
	require.ElementsMatch(t, preflightCodes, codes)
}

// ready are the options of a node at which every check passes, as soon as the sale's units
// are counted.
type ready struct {
	figures
	counted *atomic.Bool
	old     *atomic.Int64 // how long ago, in seconds
	partly  *atomic.Bool
	away    *atomic.Bool // the gate
}

func newReady(f figures) ready {
	return ready{f, new(atomic.Bool), new(atomic.Int64), new(atomic.Bool), new(atomic.Bool)}
}

func (r ready) States(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error) {
	if r.away.Load() {
		return nil, errors.New("the gate is away")
	}
	return r.figures.States(ctx, ids)
}

// deaf is a board that other nodes cannot be heard from, while it is.
type deaf struct {
	live.Board
	now *atomic.Bool
}

func (d deaf) Hear(ctx context.Context) (map[string][]byte, error) {
	if d.now.Load() {
		return nil, errors.New("nobody is heard")
	}
	return d.Board.Hear(ctx)
}

func (r ready) Balances() map[seckill.SaleID]seckill.Balance {
	ok, all := r.counted.Load(), map[seckill.SaleID]seckill.Balance{}
	says := map[bool]string{true: "too many wait"}[r.partly.Load()]
	for id := range seckill.SaleID(20) {
		all[id] = seckill.Balance{OK: &ok, At: r.Now().Add(-time.Duration(r.old.Load()) * time.Second), Says: says, Partial: says != "", Violations: []seckill.Breach{{Rule: "conservation", Says: "a unit is missing"}}[:map[bool]int{false: 1}[ok]]}
	}
	return all
}

func TestTheServerGoesWithoutARedCheckOrWithAReason(t *testing.T) {
	t.Parallel()
	var all ready
	s := newSystem(t, noting, func(c *Config) {
		teller := c.Live.Teller
		teller.Node.Roles = preflightRoles
		all = newReady(teller.Source.(figures))
		teller.Source = all
	})
	adds := all.counted
	draft := func() (seckill.Sale, string) {
		v := s.create(saleBody{"title": "a draft", "shelf": "draft", "opens_at": s.gate.Now().Add(9 * time.Hour), "closes_at": s.gate.Now().Add(10 * time.Hour)})
		return v, "/api/admin/sales/" + v.ID.String()
	}
	v, path := draft()
	refused := func(body string) {
		t.Helper()
		a := s.admin("POST", path+"/publish", body)
		a.problem(409, "state")
		require.Contains(t, string(a.body), "balance (bad)")
		require.NotContains(t, string(a.body), "published (", "that it is a draft is no reason against publishing it")
		var still seckill.Sale
		s.admin("GET", path, "").is(200).into(&still)
		require.Equal(t, seckill.Draft, still.Shelf)
	}
	awaitCheck := func(name, state string) {
		t.Helper()
		require.Eventually(t, func() bool {
			var v struct{ Checks []check }
			s.admin("GET", path+"/preflight", "").is(200).into(&v)
			return slices.ContainsFunc(v.Checks, func(c check) bool { return c.Name == name && c.State == state })
		}, 20*time.Second, 5*time.Millisecond)
	}
	awaitCheck("balance", checkBad)
	refused(`{"preflight":true}`)
	refused(`{"preflight":true,"reason":"  "}`)
	s.admin("POST", path+"/publish", `{"preflight":true,"reason":"`+strings.Repeat("x", 201)+`"}`).problem(422, "invalid_field")
	s.awaitLog("&what=sales.publish", func(e seckill.LogEntry) bool { return e.Result == "state" && e.Sale == v.ID })

	s.admin("POST", path+"/publish", `{"preflight":true,"reason":"counted by hand"}`).is(200)
	e := s.awaitLog("&what=sales.publish", func(e seckill.LogEntry) bool { return e.Result == seckill.LogDone && e.Sale == v.ID }) // the last refusal may be noted after it
	require.Contains(t, e.Intent, `"reason":"counted by hand"`)
	s.admin("POST", path+"/publish", `{"preflight":true}`).is(200) // a repeat

	_, path = draft()
	s.admin("POST", path+"/publish", "").is(200) // as programs do that know nothing of checks

	adds.Store(true)
	_, path = draft()
	awaitCheck("balance", checkOK)
	s.admin("POST", path+"/publish", `{"preflight":true}`).is(200)
}
