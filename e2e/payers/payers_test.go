package payers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/app"
	"seckill/internal/stack/stacktest"
)

const (
	patience = 2 * time.Minute  // for a run, on a busy machine
	soon     = 20 * time.Second // for what never ends, once all have paid
	secret   = "a secret of more than thirty-two bytes, for tests"
)

// call is a request on its way, from the payers to the node or from the node to the shop.
type call struct {
	p    *Payers
	r    *http.Request
	body []byte
	to   string
}

// pass lets it arrive.
func (c *call) pass() (status int, body []byte) {
	req, err := http.NewRequestWithContext(c.r.Context(), c.r.Method, c.to+c.r.URL.RequestURI(), bytes.NewReader(c.body))
	if err != nil {
		return http.StatusBadGateway, nil
	}
	req.Header = c.r.Header.Clone()
	req.Header.Del("Accept-Encoding") // the transport unpacks what it has asked for itself
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return http.StatusBadGateway, nil
	}
	defer resp.Body.Close()
	body, _ = io.ReadAll(resp.Body)
	return resp.StatusCode, body
}

// as is the same call with another id and body, signed as the node signs.
func (c *call) as(id string, body any) *call {
	b, _ := json.Marshal(body)
	now := time.Now()
	signature, _ := c.p.hook.Sign(id, now, b)
	r := c.r.Clone(c.r.Context())
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", fmt.Sprint(now.Unix()))
	r.Header.Set("webhook-signature", signature)
	return &call{c.p, r, b, c.to}
}

// bug is what somebody does with a call; honest lets it pass.
type bug func(c *call) (status int, body []byte)

func honest(c *call) (int, []byte) { return c.pass() }

func between(t *testing.T, p *Payers, to string, b bug) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // who asked is gone
		}
		status, answer := b(&call{p, r, body, to})
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		w.Write(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// pays lets a few buyers pay, with bugs between them and a real node, and returns what the
// payers have found.
func pays(t *testing.T, ofNode, ofShop bug, finish, hears time.Duration) []string {
	t.Helper()
	p, err := New("", []byte(secret), 6, stacktest.Seed(t))
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	p.Most, p.Hears = 30, hears
	shop := between(t, p, p.at, ofShop)
	c := app.Defaults()
	c.DataDir, c.Listen, c.OpsListen, c.Auth.Secret = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0", secret
	c.Payment.Provider, c.Payment.Secret, c.Payment.RefundURL = seckill.ProviderShop, Secret, seckill.Endpoint(shop+"/refunds")
	c.Webhooks = []app.Webhook{{Name: "books", URL: seckill.Endpoint(shop + "/hooks"), Secret: Secret}}
	n, err := app.Open(t.Context(), c, slog.New(slog.NewTextHandler(stacktest.Log(t, "the node"), nil)))
	require.NoError(t, err)
	running, stop := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- n.Run(running, func(context.Context) { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, stacktest.Await(t, "the node stops", done))
	})
	stacktest.Await(t, "the node is ready", ready)
	p.URL = between(t, p, n.URL(), ofNode)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, p.Start(ctx))
	p.Wait()
	require.NoError(t, ctx.Err())
	end, cancel := context.WithTimeout(t.Context(), finish)
	defer cancel()
	return p.Finish(end)
}

func TestPayersFindNothingWhereNothingIsWrong(t *testing.T) {
	t.Parallel()
	require.Empty(t, pays(t, honest, honest, patience, 0))
}

// once is true for the first name that it is asked for, again and again, and for no other.
func once() func(name string) bool {
	var mu sync.Mutex
	var first string
	return func(name string) bool {
		mu.Lock()
		defer mu.Unlock()
		if first == "" {
			first = name
		}
		return first == name
	}
}

// audit bends the node's audit.
func audit(bend func(r *seckill.Report)) bug {
	return func(c *call) (int, []byte) {
		status, body := c.pass()
		var r seckill.Report
		if strings.HasSuffix(c.r.URL.Path, "/audit") && json.Unmarshal(body, &r) == nil && len(r.Money) > 0 {
			bend(&r)
			body, _ = json.Marshal(r)
		}
		return status, body
	}
}

// books bends what the node's books say of all money.
func books(bend func(all []seckill.Money)) bug {
	return func(c *call) (int, []byte) {
		status, body := c.pass()
		var b struct {
			Money []seckill.Money `json:"money"`
		}
		if c.r.URL.Path == "/api/admin/books" && json.Unmarshal(body, &b) == nil && len(b.Money) > 0 {
			bend(b.Money)
			body, _ = json.Marshal(b)
		}
		return status, body
	}
}

// event bends what the shop hears of one order.
func event(bend func(c *call, e seckill.Event) (int, []byte)) bug {
	mine := once()
	return func(c *call) (int, []byte) {
		var e seckill.Event
		if c.r.URL.Path == "/hooks" && json.Unmarshal(c.body, &e) == nil && mine(e.Order.ID) {
			return bend(c, e)
		}
		return c.pass()
	}
}

// stale is an event of the order that is older than its first one.
func stale(c *call, e seckill.Event) *call {
	e.ID = e.Order.ID + "-0"
	return c.as(e.ID, e)
}

// Each bug is planted alone, and the payers name it.
func TestPayersFindEachBug(t *testing.T) {
	if testing.Short() {
		t.Skip("twelve runs of payers, some of which wait for what never comes")
	}
	t.Parallel()
	lost, twice, bounced := once(), once(), once()
	for _, tt := range []struct {
		name   string
		node   bug
		shop   bug
		finish time.Duration
		hears  time.Duration // of the last events, once the money is at rest
		found  string
	}{
		{name: "a callback is answered and forgotten", node: func(c *call) (int, []byte) {
			var b seckill.Callback
			if strings.HasPrefix(c.r.URL.Path, "/api/payments/") && json.Unmarshal(c.body, &b) == nil && b.Type == seckill.Captured && lost(b.Reference) {
				return http.StatusOK, []byte("{}")
			}
			return c.pass()
		}, found: "the shop took"},
		{name: "a refund that came back is forgotten", node: func(c *call) (int, []byte) {
			var b seckill.Callback
			if strings.HasPrefix(c.r.URL.Path, "/api/payments/") && json.Unmarshal(c.body, &b) == nil && b.Type == seckill.Bounced && bounced(b.Reference) {
				return http.StatusOK, []byte("{}")
			}
			return c.pass()
		}, found: "came back"},
		{name: "a refund is asked for again with another id", shop: func(c *call) (int, []byte) {
			status, body := c.pass()
			var f map[string]any
			if c.r.URL.Path == "/refunds" && json.Unmarshal(c.body, &f) == nil && twice(fmt.Sprint(f["refund"])) {
				f["refund"] = "another one"
				c.as("another one", f).pass()
			}
			return status, body
		}, found: "the shop took"},
		{name: "the node's books have a payment that nobody made", node: audit(func(r *seckill.Report) { r.Money[0].Captured++ }), found: "the shop took"},
		{name: "the node's books lack what went back", node: audit(func(r *seckill.Report) { r.Money[0].Refunded-- }), found: "the shop took"},
		{name: "the node has money of no order that nobody paid", node: books(func(all []seckill.Money) { all[0].Captured++; all[0].Aside++ }), found: "with the money of no order"},
		{name: "money that was put aside is said to go back, and stays", node: func(c *call) (int, []byte) {
			if strings.HasSuffix(c.r.URL.Path, "/refund") && strings.Contains(string(c.body), `"payment"`) {
				return http.StatusOK, []byte("{}")
			}
			return c.pass()
		}, found: "is still put aside"},
		{name: "the audit finds something", node: audit(func(r *seckill.Report) { r.OK, r.Violations = false, []string{"money: planted"} }), found: "money: planted"},
		{name: "money is due for ever", node: audit(func(r *seckill.Report) { r.Money[0].Due++ }), finish: soon, found: "money still waits"},
		{name: "events of an order are taken and do not come", shop: event(func(*call, seckill.Event) (int, []byte) { return http.StatusNoContent, nil }), hears: soon / 4, found: "the last event that was heard"},
		{name: "an older event comes after a later one", shop: event(func(c *call, e seckill.Event) (int, []byte) {
			status, body := c.pass()
			stale(c, e).pass()
			return status, body
		}), found: "came after"},
		{name: "an order's first event is not the first that comes", shop: event(func(c *call, e seckill.Event) (int, []byte) {
			stale(c, e).pass()
			return c.pass()
		}), found: "came first of its order"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.node == nil {
				tt.node = honest
			}
			if tt.shop == nil {
				tt.shop = honest
			}
			if tt.finish == 0 {
				tt.finish = patience
			}
			require.Contains(t, strings.Join(pays(t, tt.node, tt.shop, tt.finish, tt.hears), "\n"), tt.found)
		})
	}
}
