package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// forged are addresses that a client claims to come from.
const forged = "203.0.113."

// Three nodes on real engines behind nginx, as "seckill stack up" starts them: a
// crowd loses nobody while a node is killed and while all are restarted, and
// Ctrl-C leaves nothing behind.
func TestNginx(t *testing.T) {
	t.Parallel()
	s := startStack(t, []string{"SECKILL_HTTP_ADDRESS_TRIES=4"}, "--nodes", "3", "--nginx")
	root := s.caller(t, "admin", seckill.RoleAdmin)

	// Somebody buys, through nginx alone.
	sale := root.creates(3, 1)
	ada := s.caller(t, "ada", "")
	ticket := ada.buys(sale, 1)
	got := ada.outcome(sale)
	if got.Status != "placed" || got.Ticket != ticket {
		t.Fatalf("ada holds %s and is told %+v", ticket, got)
	}
	ada.does("GET", "/api/orders/"+got.Order, nil, http.StatusOK)
	ada.does("POST", "/api/orders/"+got.Order+"/pay", nil, http.StatusOK)
	for path, want := range map[string]string{"/order/detail/" + got.Order: "text/html", "/sale/" + sale: "text/html", "/": "text/html"} {
		res, body := get(t, s.url+path)
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), want) || len(body) < 1000 {
			t.Errorf("GET %s: %s, %d bytes of %s", path, res.Status, len(body), res.Header.Get("Content-Type"))
		}
	}

	t.Run("nginx and a node refuse alike", func(t *testing.T) { testRefusals(t, s) })
	t.Run("forged addresses", func(t *testing.T) { testForgedAddresses(t, s, root) })
	t.Run("a node is killed under load and comes back", func(t *testing.T) {
		c := s.crowd(t, root)
		c.served(200)
		s.restart(2, syscall.SIGKILL)
		c.served(200)
		eventually(t, "the node is asked again", func() bool {
			_, metrics := get(t, s.ops[1]+"/metrics")
			return regexp.MustCompile(`(?m)^seckill_verdicts_total{by="gate",verdict="queued"} [1-9]`).MatchString(metrics)
		})
		c.ends()
	})
	t.Run("a node that starts answers when it can", func(t *testing.T) {
		sale := root.creates(1, 1)
		for range 4 {
			s.restart(1, syscall.SIGKILL, func() {
				eager := s.caller(t, "eager", "")
				eager.url = s.nodes[0]
				for late := time.Now().Add(patience); ; { // no pause: the first answer counts
					status, a, err := eager.try("POST", "/api/sales/"+sale+"/ticket", nil)
					if err != nil && time.Now().Before(late) {
						continue
					}
					if err != nil || status != http.StatusAccepted {
						t.Errorf("its first answer is %d %+v %v", status, a, err)
					}
					return
				}
			})
		}
	})
	t.Run("a rolling restart under load", func(t *testing.T) {
		c := s.crowd(t, root)
		for i := range 3 {
			c.served(100)
			s.restart(i+1, syscall.SIGTERM)
		}
		c.served(100)
		c.ends()
	})

	must(t, s.cmd.Process.Signal(syscall.SIGINT))
	s.ends()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("Ctrl-C ends the stack with status %d:\n%s", code, s.all())
	}
	for _, part := range []string{"nginx", "node 1", "node 2", "node 3", "redis", "rabbitmq", "mariadb"} {
		s.says(1, "^"+part+" +ended$")
	}
	if left := mentioning(s.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What nginx refuses by itself looks like what a node refuses.
func testRefusals(t *testing.T, s *stackProcess) {
	big := strings.NewReader(strings.Repeat(" ", 9<<10))
	for _, c := range []struct{ name, nginx, node string }{
		{"not found", "/metrics", "/api/nowhere"},
		{"body too large", "/api/login", "/api/login"},
	} {
		var problems [2]map[string]any
		for i, url := range []string{s.url + c.nginx, s.nodes[0] + c.node} {
			req, err := http.NewRequest("POST", url, io.NewSectionReader(big, 0, big.Size()))
			must(t, err)
			req.Header.Set("Content-Type", "application/json")
			res, err := http.DefaultClient.Do(req)
			must(t, err)
			defer res.Body.Close()
			must(t, json.NewDecoder(res.Body).Decode(&problems[i]))
			if id := res.Header.Get("X-Request-Id"); id == "" || id != problems[i]["request_id"] || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %s with the request id %q: %v", url, res.Header.Get("Content-Type"), id, problems[i])
			}
			delete(problems[i], "request_id")
		}
		if a, b := fmt.Sprint(problems[0]), fmt.Sprint(problems[1]); a != b {
			t.Errorf("%s: nginx says %s, a node %s", c.name, a, b)
		}
	}
}

// An address that a client claims neither opens a new account of failures, nor is
// it written down as the client's.
func testForgedAddresses(t *testing.T, s *stackProcess, root caller) {
	told := map[int]int{}
	for i := range 40 {
		body := strings.NewReader(fmt.Sprintf(`{"name":"nobody%d","password":"a guess or two"}`, i))
		req, err := http.NewRequest("POST", s.url+"/api/login", body)
		must(t, err)
		req.Header.Set("Content-Type", "application/json")
		forge(req, i)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		res.Body.Close()
		told[res.StatusCode]++
	}
	// Four failures on each node. Where the minute ends meanwhile, a few more.
	if told[401] < 4 || told[401] > 24 || told[401]+told[429] != 40 {
		t.Errorf("40 wrong logins from 40 claimed addresses were answered %v, want 401 for the first 12 and then 429", told)
	}
	req, err := http.NewRequest("POST", s.url+"/api/admin/sales/1/pause", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+root.token)
	forge(req, 1)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("pause: %s", res.Status)
	}
	eventually(t, "nginx has written its log", func() bool { return strings.Contains(s.log(t, "nginx/data/access.log"), "/api/admin/sales/1/pause") })
	all := s.log(t, "nginx/data/access.log") + s.log(t, "node-*/engine.log")
	if strings.Contains(all, forged) {
		t.Errorf("a claimed address is in a log")
	}
	if !strings.Contains(all, `"from":"127.0.0.1"`) || !strings.Contains(all, `"client":"127.0.0.1"`) {
		t.Errorf("the client's address is in no log")
	}
}

// forge makes a request claim that it comes from elsewhere.
func forge(req *http.Request, n int) {
	address := forged + strconv.Itoa(n%250+1)
	req.Header.Set("X-Forwarded-For", address)
	req.Header.Set("X-Real-IP", address)
	req.Header.Set("Forwarded", "for="+address)
	req.Header.Set("X-Forwarded-Proto", "https")
}

// --- nginx before nodes that are not ours ----------------------------------------

// What is too large, and what the public does not reach, never gets to a node.
func TestNginxRefuses(t *testing.T) {
	t.Parallel()
	f := startFakes(t, 1, func(http.ResponseWriter, *http.Request, int64) {})
	n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses})
	chunked := struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 9000))} // of unknown length
	for _, c := range []struct {
		name, method, path string
		header             string
		body               io.Reader
		status             int
		code               string
	}{
		{"metrics", "GET", "/metrics", "", nil, 404, "not_found"},
		{"profiles", "GET", "/debug/pprof/heap", "", nil, 404, "not_found"},
		{"profiles, in disguise", "GET", "/x/..//debug/%70prof/", "", nil, 404, "not_found"},
		{"health", "GET", "/healthz", "", nil, 404, "not_found"},
		{"readiness", "GET", "/readyz", "", nil, 404, "not_found"},
		{"a large body", "POST", "/api/login", "", strings.NewReader(strings.Repeat("x", 9000)), 413, "body_too_large"},
		{"a large body in chunks", "POST", "/api/sales/1/ticket", "", chunked, 413, "body_too_large"},
		{"a large header", "GET", "/api/sales", strings.Repeat("x", 9000), nil, 431, "headers_too_large"},
	} {
		req, err := http.NewRequest(c.method, n.URL()+c.path, c.body)
		must(t, err)
		if c.header != "" {
			req.Header.Set("X-Large", c.header)
		}
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		var p struct{ Code string }
		err = json.NewDecoder(res.Body).Decode(&p)
		res.Body.Close()
		if err != nil || res.StatusCode != c.status || p.Code != c.code || strings.Contains(res.Header.Get("Server"), "/") {
			t.Errorf("%s: %s %+v %v, Server %q", c.name, res.Status, p, err, res.Header.Get("Server"))
		}
	}
	if f.hits.Load() != 0 {
		t.Errorf("%d requests reached a node", f.hits.Load())
	}
}
