package e2e

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// A request goes to another node, and only if the first one did not answer in time and
// sending it twice does no harm. Three tries that fail at once are all.
func TestNginxTriesAnotherNodeOnce(t *testing.T) {
	t.Parallel()
	const buy, pay, register = "POST /api/sales/1/ticket", "POST /api/orders/A/pay", "POST /api/register"
	first := func(w http.ResponseWriter, hit int64) {
		if hit == 1 {
			breaks(w)
		}
	}
	always := func(w http.ResponseWriter, _ int64) { breaks(w) }
	frozen := func(w http.ResponseWriter, _ int64) { // until nginx gives it up
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}
	silent := func(w http.ResponseWriter, hit int64) {
		if hit == 1 {
			frozen(w, hit)
		}
	}
	busy := func(w http.ResponseWriter, _ int64) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	for _, c := range []struct {
		request, name string
		does          func(w http.ResponseWriter, hit int64)
		hits          int64
		status        int
		retryAfter    string
	}{
		{buy, "a node breaks off", first, 2, 200, ""},
		{pay, "a node breaks off", first, 2, 200, ""},
		{"GET /api/sales/1/ticket?wait=20s", "a node breaks off", first, 2, 200, ""},
		{"GET /api/sales", "a node breaks off", first, 2, 200, ""},
		{register, "a node breaks off", first, 1, 503, "1"},
		{"POST /api/admin/sales", "a node breaks off", first, 1, 503, "1"},
		{buy, "all nodes break off", always, 3, 503, "1"},
		{"GET /api/sales", "all nodes break off", always, 3, 503, "1"},
		{buy, "all nodes are frozen", frozen, 2, 503, "1"},
		{buy, "a node is frozen", silent, 2, 200, ""},
		{pay, "a node is frozen", silent, 2, 200, ""},
		{"POST /api/admin/sales/1/pause", "a node is frozen", silent, 2, 200, ""},
		{"GET /api/sales/1/ticket", "a node is frozen", silent, 2, 200, ""},
		{"GET /api/orders", "a node is frozen", silent, 2, 200, ""},
		{register, "a node is frozen", silent, 1, 503, "1"},
		{buy, "a node is busy", busy, 1, 503, "7"},
		{"GET /api/sales/1/ticket", "a node is busy", busy, 1, 503, "7"},
		{"GET /", "a node is busy", busy, 1, 503, "7"},
	} {
		t.Run(c.name+": "+c.request, func(t *testing.T) {
			t.Parallel()
			f := startFakes(t, 3, func(w http.ResponseWriter, _ *http.Request, hit int64) { c.does(w, hit) })
			n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses})
			method, path, _ := strings.Cut(c.request, " ")
			var body io.Reader
			if method == "POST" {
				body = strings.NewReader(`{"quantity":1}`)
			}
			req, err := http.NewRequest(method, n.URL()+path, body)
			must(t, err)
			res, err := http.DefaultClient.Do(req)
			must(t, err)
			b, err := io.ReadAll(res.Body)
			must(t, err)
			res.Body.Close()
			if res.StatusCode != c.status || res.Header.Get("Retry-After") != c.retryAfter || f.hits.Load() != c.hits {
				t.Errorf("%s, Retry-After %q, %d nodes were asked, want %d, %q, %d\n%s", res.Status, res.Header.Get("Retry-After"), f.hits.Load(), c.status, c.retryAfter, c.hits, b)
			}
			if c.retryAfter == "1" && !strings.Contains(string(b), `"code":"unavailable"`) {
				t.Errorf("nginx says %s", b)
			}
		})
	}
	t.Run("a node is gone", func(t *testing.T) {
		t.Parallel()
		f := startFakes(t, 1, func(http.ResponseWriter, *http.Request, int64) {})
		n := stacktest.OwnNginx(t, stack.Site{Nodes: append([]string{address(t)}, f.addresses...)})
		for range 10 { // nothing was sent to it, so this may be said to another
			res, err := http.Post(n.URL()+"/api/register", "application/json", strings.NewReader("{}"))
			must(t, err)
			res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Errorf("register: %s", res.Status)
			}
		}
		if f.hits.Load() != 10 {
			t.Errorf("the other node was asked %d times, want 10", f.hits.Load())
		}
	})
}

// In a quick rolling restart the last node that has not failed yet stops while the others, which
// are left alone for a second, are back already: one of them is asked, although the one that
// stops comes first a second time, as a backup.
func TestNginxAsksNodesThatAreBack(t *testing.T) {
	t.Parallel()
	var stops [3]atomic.Bool
	var hits [3]atomic.Int64
	var addresses []string
	for i := range stops {
		f := startFakes(t, 1, func(w http.ResponseWriter, _ *http.Request, _ int64) {
			if hits[i].Add(1); stops[i].Load() {
				breaks(w)
			}
		})
		addresses = append(addresses, f.addresses...)
	}
	n := stacktest.OwnNginx(t, stack.Site{Nodes: addresses})
	buy := func() int {
		res, err := http.Post(n.URL()+"/api/sales/1/ticket", "application/json", strings.NewReader(`{"quantity":1}`))
		must(t, err)
		res.Body.Close()
		return res.StatusCode
	}
	for range 10 {
		stops[1].Store(true)
		stops[2].Store(true)
		hits[1].Store(0)
		hits[2].Store(0)
		atOnce(t, "both have failed", func() bool { buy(); return hits[1].Load() > 0 && hits[2].Load() > 0 })
		for i := range stops {
			stops[i].Store(i == 0)
		}
		if status := buy(); status != http.StatusOK {
			t.Fatalf("a buyer is told %d", status)
		}
		stops[0].Store(false)
	}
}
