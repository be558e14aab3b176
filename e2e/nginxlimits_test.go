package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// Pages and their parts are kept for a moment, and shown while no node answers;
// what belongs to somebody, and whatever changes, never.
func TestNginxCaches(t *testing.T) {
	t.Parallel()
	hits := &sync.Map{}
	f := startFakes(t, 2, func(w http.ResponseWriter, r *http.Request, _ int64) {
		n, _ := hits.LoadOrStore(r.Method+" "+r.URL.Path, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		kept := "public, max-age=600"
		if r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, "/sale/") || strings.Contains(r.URL.Path, "/other/") {
			kept = "no-cache" // as our nodes do
		}
		w.Header().Set("Cache-Control", kept)
		w.Header().Set("X-Request-Id", "of the node")
		if strings.HasSuffix(r.URL.Path, "/cookie") {
			w.Header().Set("Set-Cookie", "seckill_session=somebody")
		}
		if r.URL.Path == "/sale/slow" {
			<-time.After(200 * time.Millisecond) // so that a crowd comes meanwhile
		}
		fmt.Fprint(w, "an answer")
	})
	n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses, Unlimited: []string{"127.0.0.1/32"}})
	count := func(key string) int64 {
		n, ok := hits.Load(key)
		if !ok {
			return 0
		}
		return n.(*atomic.Int64).Load()
	}
	const asked = 12
	for _, c := range []struct {
		request string
		kept    bool
	}{
		{"GET /", true},
		{"GET /sale/1", true},
		{"GET /static/v/sale.js", true},
		{"GET /static/other/sale.js", false}, // of another version than the node's
		{"GET /sale/cookie", false},
		{"GET /login", false},
		{"GET /orders", false},
		{"GET /order/detail/A", false},
		{"GET /api/sales", false}, // the gate's clock is in it
		{"GET /api/sales/1", false},
		{"GET /api/sales/1/ticket", false},
		{"POST /api/sales/1/ticket", false},
		{"GET /api/orders", false},
		{"GET /api/orders/A", false},
		{"GET /api/admin/sales", false},
		{"GET /api/admin/sales/1/audit", false},
		{"POST /api/login", false},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		ids := map[string]bool{}
		states := map[string]int{}
		began := time.Now()
		for range asked {
			req, err := http.NewRequest(method, n.URL()+path, nil)
			must(t, err)
			res, err := http.DefaultClient.Do(req)
			must(t, err)
			res.Body.Close()
			ids[res.Header.Get("X-Request-Id")] = true
			states[res.Header.Get("X-Cache-Status")]++
		}
		got, seconds := count(c.request), int64(time.Since(began)/time.Second)
		switch {
		case c.kept && (got < 1 || got > 2+seconds || states["HIT"] == 0 || len(ids) != asked):
			t.Errorf("%s: asked %d times, a node %d times, %v, %d request ids: want it kept", c.request, asked, got, states, len(ids))
		case !c.kept && (got != asked || states["HIT"] > 0):
			t.Errorf("%s: asked %d times, a node %d times, %v: want it never kept", c.request, asked, got, states)
		}
	}
	began := time.Now()
	for i := range asked {
		get(t, fmt.Sprintf("%s/sale/77?fbclid=%d", n.URL(), i))
	}
	if got, seconds := count("GET /sale/77"), int64(time.Since(began)/time.Second); got > 2+seconds {
		t.Errorf("%d links of a campaign to one page made a node answer %d times", asked, got)
	}
	var crowd sync.WaitGroup
	began = time.Now()
	for range 50 {
		crowd.Go(func() {
			if res, err := http.Get(n.URL() + "/sale/slow"); err == nil {
				res.Body.Close()
			}
		})
	}
	crowd.Wait()
	if got, seconds := count("GET /sale/slow"), int64(time.Since(began)/time.Second); got > 2+seconds {
		t.Errorf("50 at once made a node answer %d times", got)
	}
	for _, s := range f.servers {
		s.Close()
	}
	for path, want := range map[string]int{"/": 200, "/static/v/sale.js": 200, "/login": 503, "/api/sales": 503} {
		if res, body := get(t, n.URL()+path); res.StatusCode != want {
			t.Errorf("without any node, GET %s: %s %s, want %d", path, res.Status, body, want)
		}
	}
}

// Whoever asks too often, or too much at once, is told so and when to come back;
// claiming other addresses does not help, and others are served.
func TestNginxLimits(t *testing.T) {
	t.Parallel()
	shipped, err := os.ReadFile("../deploy/nginx/seckill.conf")
	must(t, err)
	number := func(pattern string) int {
		m := regexp.MustCompile(pattern).FindSubmatch(shipped)
		if m == nil {
			t.Fatalf("no %s in seckill.conf", pattern)
		}
		n, err := strconv.Atoi(string(m[1]))
		must(t, err)
		return n
	}
	burst, connections := number(`burst=(\d+)`), number(`limit_conn seckill_connections (\d+)`)
	tooMany := func(t *testing.T, res *http.Response, body []byte) {
		t.Helper()
		var p struct {
			Type, Title, Code string
			Status            int
			RequestID         string `json:"request_id"`
		}
		if json.Unmarshal(body, &p) != nil || p.Type != "about:blank" || p.Title != "Too many requests" || p.Code != "too_many_requests" || p.Status != 429 || p.RequestID == "" ||
			p.RequestID != res.Header.Get("X-Request-Id") || res.Header.Get("Retry-After") != "1" || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("429 with %v\n%s", res.Header, body)
		}
	}
	send := func(client *http.Client, n int, url string) (*http.Response, []byte, error) {
		req, err := http.NewRequest("GET", url, nil)
		if err != nil {
			return nil, nil, err
		}
		forge(req, n)
		res, err := client.Do(req)
		if err != nil {
			return nil, nil, err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res, b, err
	}

	t.Run("too often", func(t *testing.T) {
		t.Parallel()
		var claimed atomic.Int64
		f := startFakes(t, 1, func(_ http.ResponseWriter, r *http.Request, _ int64) {
			addresses := r.Header.Values("X-Forwarded-For")
			if len(addresses) != 1 || !strings.HasPrefix(addresses[0], "127.0.0.") || r.Header.Get("X-Forwarded-Proto") != "http" || r.Header.Get("Forwarded")+r.Header.Get("X-Real-IP") != "" {
				claimed.Add(1)
			}
		})
		n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses})
		client := from(t, "127.0.0.3")
		began := time.Now()
		var told [2]atomic.Int64
		var wg sync.WaitGroup
		for w := range 20 {
			wg.Go(func() {
				// On a machine that is busy it takes longer to be too often.
				for i := 0; i < burst/10 || told[1].Load() == 0 && time.Since(began) < time.Minute; i++ {
					res, body, err := send(client, w*burst+i, n.URL()+"/api/sales")
					switch {
					case err != nil:
						t.Error(err)
						return
					case res.StatusCode == http.StatusTooManyRequests:
						told[1].Add(1)
						tooMany(t, res, body)
					case res.StatusCode == http.StatusOK:
						told[0].Add(1)
					default:
						t.Errorf("%s", res.Status)
					}
				}
			})
		}
		wg.Wait()
		most := int64(burst) + 1 + int64(float64(number(`rate=(\d+)r/s`))*(time.Since(began).Seconds()+1))
		if ok := told[0].Load(); ok < int64(burst) || ok > most || told[1].Load() == 0 || f.hits.Load() != ok {
			t.Errorf("%d served, %d told to wait, a node saw %d: want %d to %d served", ok, told[1].Load(), f.hits.Load(), burst, most)
		}
		if claimed.Load() > 0 {
			t.Errorf("%d requests reached a node with a claimed address", claimed.Load())
		}
		if res, _, err := send(from(t, "127.0.0.4"), 1, n.URL()+"/api/sales"); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("somebody else: %v %v", res, err)
		}
	})
	t.Run("logins and registrations", func(t *testing.T) {
		t.Parallel()
		f := startFakes(t, 1, func(http.ResponseWriter, *http.Request, int64) {})
		n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses})
		most := number(`zone=seckill_logins +burst=(\d+)`)
		for ip, routes := range map[string][2]string{"127.0.0.7": {"register", "login"}, "127.0.0.8": {"login", "register"}} {
			client := from(t, ip)
			served, began := 0, time.Now()
			for time.Since(began) < time.Minute {
				res, body, err := send(client, served, n.URL()+"/api/"+routes[0])
				must(t, err)
				if res.StatusCode == http.StatusTooManyRequests {
					tooMany(t, res, body)
					break
				}
				served++
			}
			if served < most || served >= burst || time.Since(began) > time.Minute {
				t.Errorf("%d of %s are served in %v, want %d and a few", served, routes[0], time.Since(began), most)
			}
			if res, body, err := send(client, 1, n.URL()+"/api/"+routes[1]); err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("%s beside a flood of %s from the same address: %v %v %s", routes[1], routes[0], res, err, body)
			}
		}
	})
	t.Run("too much at once", func(t *testing.T) {
		t.Parallel()
		all, release := make(chan struct{}), make(chan struct{})
		f := startFakes(t, 1, func(_ http.ResponseWriter, r *http.Request, hit int64) {
			if hit == int64(connections) {
				close(all)
			}
			if r.URL.Query().Has("wait") {
				select {
				case <-release:
				case <-r.Context().Done(): // the test has failed before
				}
			}
		})
		n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses})
		client := from(t, "127.0.0.5")
		var wg sync.WaitGroup
		for i := range connections {
			wg.Go(func() {
				res, body, err := send(client, i, n.URL()+"/api/sales/1/ticket?wait=20s")
				if err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("%v %v %s", res, err, body)
				}
			})
		}
		select {
		case <-all:
		case <-time.After(patience):
			t.Errorf("only %d of %d came through", f.hits.Load(), connections)
		}
		res, body, err := send(client, 1, n.URL()+"/api/sales")
		must(t, err)
		if res.StatusCode != http.StatusTooManyRequests {
			t.Errorf("one more: %s", res.Status)
		} else {
			tooMany(t, res, body)
		}
		if res, _, err := send(from(t, "127.0.0.6"), 1, n.URL()+"/api/sales"); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("somebody else: %v %v", res, err)
		}
		close(release)
		wg.Wait()
	})
}

// Who sends or takes too slowly is disconnected; who waits for an outcome or
// listens to events is not, and gets every piece at once.
func TestNginxSlowClients(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte("x"), 1<<20)
	ended, second := make(chan time.Duration, 1), make(chan struct{})
	f := startFakes(t, 1, func(w http.ResponseWriter, r *http.Request, _ int64) {
		switch r.URL.Path {
		case "/big":
			began := time.Now()
			for time.Since(began) < patience {
				if _, err := w.Write(big); err != nil {
					break
				}
			}
			ended <- time.Since(began)
		case "/api/events":
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: one\n\n")
			w.(http.Flusher).Flush()
			select {
			case <-second:
			case <-r.Context().Done(): // the test has failed before
				return
			}
			fmt.Fprint(w, "data: two\n\n")
		case "/api/sales/1/ticket":
			<-time.After(4 * time.Second)
			fmt.Fprint(w, `{"status":"queued"}`)
		}
	})
	n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses})
	dial := func(t *testing.T, text string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", n.Addr())
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		_, err = io.WriteString(conn, text)
		must(t, err)
		return conn
	}
	for name, begin := range map[string]string{
		"a header that does not end": "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"a body that does not come":  "POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"nothing at all":             "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, begin)
			began := time.Now()
			must(t, conn.SetReadDeadline(began.Add(patience)))
			b, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > 15*time.Second {
				t.Errorf("still connected after %v", time.Since(began))
			}
			if strings.Contains(string(b), "200 OK") {
				t.Errorf("answered: %s", b)
			}
		})
	}
	t.Run("an answer that is not taken", func(t *testing.T) {
		t.Parallel()
		dial(t, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
		if took := stacktest.Await(t, "it is disconnected", ended); took > 30*time.Second {
			t.Errorf("disconnected after %v", took)
		}
	})
	t.Run("a wait", func(t *testing.T) {
		t.Parallel()
		if res, body := get(t, n.URL()+"/api/sales/1/ticket?wait=4s"); res.StatusCode != http.StatusOK || body != `{"status":"queued"}` {
			t.Errorf("%s %s", res.Status, body)
		}
	})
	t.Run("events", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", n.URL()+"/api/events", nil)
		must(t, err)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		if !lines.Scan() || lines.Text() != "data: one" {
			t.Errorf("the first event is %q, %v", lines.Text(), lines.Err())
		}
		close(second) // only now: the first one did not wait for it
		rest := ""
		for lines.Scan() {
			rest += lines.Text()
		}
		if rest != "data: two" {
			t.Errorf("then %q, %v", rest, lines.Err())
		}
	})
}
