package crowd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill/internal/app"
	"seckill/internal/duty"
	"seckill/internal/stack/stacktest"
)

// patience is how long a crowd of a test may take on a busy machine.
const patience = 2 * time.Minute

const secret = "a secret of more than thirty-two bytes, for tests"

// node is a real node of embedded parts in this process.
func node(t *testing.T) (url, ops string) {
	t.Helper()
	c := app.Defaults()
	c.DataDir, c.Listen, c.OpsListen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	c.Auth.Secret = secret
	n, err := app.Open(t.Context(), c, slog.New(slog.NewTextHandler(stacktest.Log(t, "the node"), nil)))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- n.Run(ctx, func(context.Context) { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, stacktest.Await(t, "the node stops", done))
	})
	stacktest.Await(t, "the node is ready", ready)
	return n.URL(), n.OpsURL()
}

// said is a JSON answer, and what a bug does with it: nil leaves it as it is.
type said map[string]any

// bug stands between the crowd and the node. forward asks the node.
type bug func(r *http.Request, forward func() (int, said)) (int, said)

// between serves the node's API with a bug in it.
func between(t *testing.T, node string, b bug) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		var raw []byte
		header := http.Header{}
		forward := func() (int, said) {
			req, err := http.NewRequestWithContext(r.Context(), r.Method, node+r.URL.RequestURI(), bytes.NewReader(body))
			assert.NoError(t, err)
			req.Header = r.Header.Clone()
			req.Header.Del("Accept-Encoding") // the transport unpacks what it has asked for itself
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				return http.StatusBadGateway, nil
			}
			defer res.Body.Close()
			header = res.Header
			raw, _ = io.ReadAll(res.Body)
			var a said
			_ = json.Unmarshal(raw, &a)
			return res.StatusCode, a
		}
		status, a := b(r, forward)
		if a != nil {
			raw, err = json.Marshal(a)
			assert.NoError(t, err)
		}
		for _, name := range []string{"Content-Type", "Retry-After"} {
			if v := header.Get(name); v != "" {
				w.Header().Set(name, v)
			}
		}
		w.WriteHeader(status)
		w.Write(raw)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// on bends the answers of one route: the request's method and the end of its path.
func on(method, end string, bend func(status int, a said) (int, said)) bug {
	return func(r *http.Request, forward func() (int, said)) (int, said) {
		status, a := forward()
		if r.Method == method && strings.HasSuffix(r.URL.Path, end) {
			return bend(status, a)
		}
		return status, a
	}
}

// first lets a bug happen n times in all.
func first(n int, bend func(status int, a said) (int, said)) func(status int, a said) (int, said) {
	var mu sync.Mutex
	return func(status int, a said) (int, said) {
		mu.Lock()
		defer mu.Unlock()
		if n == 0 {
			return status, a
		}
		before := fmt.Sprint(status, a)
		bent, b := bend(status, a)
		if fmt.Sprint(bent, b) != before {
			n--
		}
		return bent, b
	}
}

// small is a crowd that is soon done with its sales.
var small = Config{Buyers: 40, Workers: 8, Units: 8, Secret: []byte(secret)}

// come lets a crowd in, and returns what does not add up.
func come(t *testing.T, c Config, seed uint64, url, ops string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.URL, c.Seed = url, seed
	return comes(ctx, New(c), ops)
}

func comes(ctx context.Context, c *Crowd, ops string) []string {
	if err := c.Start(ctx); err != nil {
		return []string{err.Error()}
	}
	// Long enough for the administrator to have done everything once, whatever the seed.
	for ctx.Err() == nil && len(c.Findings()) == 0 && (c.Stats.Buyers.Load() < int64(c.Buyers) || c.Stats.Pauses.Load() < 3 || c.Stats.Grown.Load() < 3) {
		_ = duty.Rest(ctx, 5*time.Millisecond)
	}
	c.Stop()
	return c.Finish(ctx, ops)
}

func TestACrowdAtANodeWithoutBugsFindsNothing(t *testing.T) {
	t.Parallel()
	url, ops := node(t)
	defended := small
	defended.Defended = true
	require.Empty(t, come(t, defended, 1, url, ops), "at sales that ask for something")
	through := between(t, url, func(_ *http.Request, forward func() (int, said)) (int, said) { return forward() })
	require.Empty(t, come(t, small, 2, through, ops), "nor does the wire that the bugs are in make any")
}

// A pause that is not in force shows only if somebody buys in its few milliseconds, so the
// log of such a purchase is written here.
func TestATicketThatWasAskedForAndNamedDuringAPauseIsFound(t *testing.T) {
	t.Parallel()
	from := time.Now()
	at := func(ms int) time.Time { return from.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		name        string
		asked, told time.Time
		found       bool
	}{
		{"asked before the pause", at(-1), at(10), false},
		{"told after it", at(10), at(31), false},
		{"asked and told during it", at(10), at(20), true},
		{"named by a question, so nobody knows when it was admitted", time.Time{}, at(20), false},
	} {
		crowd := New(small)
		s := &sale{id: 1, windows: [][2]time.Time{{at(-100), at(-50)}, {at(0), at(30)}}}
		crowd.buyers = []*buyer{{id: "b", sale: s, log: []*ticket{{id: "T", asked: c.asked, told: c.told}}}}
		crowd.checkWindows()
		require.Len(t, crowd.Findings(), map[bool]int{true: 1}[c.found], c.name)
		if c.found {
			require.Contains(t, crowd.Findings()[0], ruleWindow+": buyer b")
		}
	}
}

// Each rule is broken once on purpose, and the crowd says which.
func TestEachBrokenRuleIsFound(t *testing.T) {
	t.Parallel()
	url, _ := node(t)
	ticket := func(f func(status int, a said) (int, said)) bug { return on("GET", "/ticket", f) }
	for i, c := range []struct {
		name string
		rule string
		bug  bug
	}{
		{"a buy is answered with something else", ruleContract, on("POST", "/ticket", first(1, func(int, said) (int, said) { return 200, said{"hello": "nginx"} }))},
		{"a refusal is no problem document", ruleContract, on("POST", "/ticket", func(status int, a said) (int, said) {
			if status == 409 {
				a = said{"error": "no"}
			}
			return status, a
		})},
		{"a buyer is told that an open sale is not for them", ruleEligible, on("POST", "/ticket", first(1, func(status int, a said) (int, said) {
			if status == 202 {
				return 409, said{"status": 409, "code": notEligible}
			}
			return status, a
		}))},
		{"a buyer gets a ticket whom the sale is not for", ruleEligible, on("POST", "/challenge", first(1, func(status int, a said) (int, said) {
			if status == 409 && a["code"] == notEligible {
				return 202, said{"status": "queued", "ticket": "06FB7V9M5T3W2K8X1ZQ4R6Y8AC"}
			}
			return status, a
		}))},
		{"a queued ticket is forgotten", ruleLost, ticket(first(1, func(status int, a said) (int, said) {
			if status == 200 && a["status"] == "placed" {
				return 404, said{"code": "not_found"}
			}
			return status, a
		}))},
		{"a repeat gets a ticket of its own", ruleOneTicket, on("POST", "/ticket", func(status int, a said) (int, said) {
			if id, ok := a["ticket"].(string); ok && status == 202 {
				a["ticket"] = strings.ToUpper(fmt.Sprintf("%x", time.Now().UnixNano())) + id[16:]
			}
			return status, a
		})},
		{"an outcome changes", ruleStable, func() bug {
			var mu sync.Mutex
			asked := map[any]int{}
			return ticket(func(status int, a said) (int, said) {
				mu.Lock()
				defer mu.Unlock()
				if a["status"] == "placed" {
					if asked[a["ticket"]]++; asked[a["ticket"]] > 1 {
						return status, said{"status": "refused", "ticket": a["ticket"], "reason": "sold_out"}
					}
				}
				return status, a
			})
		}()},
		{"a queued buyer is refused", ruleKept, ticket(func(status int, a said) (int, said) {
			if a["status"] == "placed" {
				return status, said{"status": "refused", "ticket": a["ticket"], "reason": "sold_out"}
			}
			return status, a
		})},
		{"an order says another quantity", ruleOrders, on("POST", "/pay", func(status int, a said) (int, said) {
			if n, ok := a["quantity"].(float64); ok {
				a["quantity"] = n + 1
			}
			return status, a
		})},
		{"a buyer has an order and never heard of it", ruleOrders, on("GET", "/api/orders", func(status int, a said) (int, said) {
			items, _ := a["items"].([]any)
			a["items"] = append(items, map[string]any{"id": "ANOTHER", "sale": "1", "state": "paid"})
			return status, a
		})},
		{"anybody reads any ticket", ruleOwnerOnly, ticket(func(status int, a said) (int, said) {
			if status == 404 {
				return 200, said{"status": "queued", "ticket": "X"}
			}
			return status, a
		})},
		{"an audit does not hold", ruleAudit, on("GET", "/audit", func(status int, a said) (int, said) {
			a["ok"], a["violations"] = false, []string{"counter: sold 4, rows 5"}
			return status, a
		})},
		{"a unit vanishes at rest", ruleConserved, on("GET", "/audit", func(status int, a said) (int, said) {
			if active, _ := a["active"].(float64); active > 0 && a["gate"] == 0.0 && a["pending"] == 0.0 {
				a["active"] = active - 1
			}
			return status, a
		})},
		{"units are kept from buyers", ruleUndersell, on("POST", "/ticket", func() func(status int, a said) (int, said) {
			buys := 0
			var mu sync.Mutex
			return func(status int, a said) (int, said) {
				mu.Lock()
				defer mu.Unlock()
				if buys++; buys > 30 {
					return 409, said{"type": "about:blank", "title": "Sold out", "status": 409, "code": "sold_out"}
				}
				return status, a
			}
		}())},
		{"a stock move is not done", ruleMove, func(r *http.Request, forward func() (int, said)) (int, said) {
			if r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/stock") {
				return 200, said{"id": "1", "total": 1}
			}
			return forward()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			who := small
			who.Defended = strings.Contains(c.name, "whom the sale is not for")
			found := come(t, who, uint64(10+i), between(t, url, c.bug), "")
			require.Condition(t, func() bool {
				for _, f := range found {
					if strings.HasPrefix(f, c.rule+": ") {
						return true
					}
				}
				return false
			}, "nothing says %q: %q", c.rule, found)
		})
	}
	t.Run("a node never has an answer", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var asked atomic.Int64
		who := small
		who.Seed = 7
		who.URL = between(t, url, on("POST", "/pay", func(int, said) (int, said) {
			if asked.Add(1) == 20 { // they insist, and nobody has as much time as that
				cancel()
			}
			return 503, said{"type": "about:blank", "title": "Busy", "status": 503, "code": "busy"}
		}))
		found := comes(ctx, New(who), "")
		require.Condition(t, func() bool {
			return slices.ContainsFunc(found, func(f string) bool {
				return strings.HasPrefix(f, ruleAnswered+": ") && strings.Contains(f, "/pay: no answer in time")
			})
		}, "nothing says that a payment has no answer: %q", found)
	})
	t.Run("a node counts tickets as pending for ever", func(t *testing.T) {
		t.Parallel()
		ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "seckill_pending_tickets 3\n") }))
		defer ops.Close()
		require.Contains(t, come(t, small, 9, url, ops.URL), ruleForgetting+": seckill_pending_tickets 3")
	})
	t.Run("a node does not count them", func(t *testing.T) {
		t.Parallel()
		ops := httptest.NewServer(http.NotFoundHandler())
		defer ops.Close()
		require.Contains(t, come(t, small, 8, url, ops.URL), ruleForgetting+": the metric seckill_pending_tickets is gone")
	})
}
