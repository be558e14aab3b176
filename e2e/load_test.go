package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"seckill/e2e/node"
	"seckill/internal/load"
)

// 10,000 buyers, 2,000 at once, want 1,000 units: exactly 1,000 get an order, and
// everybody else is told sold_out.
func TestCrowdSellsExactlyWhatThereIs(t *testing.T) {
	n := start(t, node.Config{})
	rep := startLoad(t, n.URL, "--buyers", "10000", "--concurrency", "2000", "--units", "1000").report()
	if want := map[string]int{"placed": 1000, "sold_out": 9000}; !maps.Equal(rep.Final, want) {
		t.Errorf("the buyers ended as %v, want %v", rep.Final, want)
	}
	if rep.Units != 1000 || rep.Audit.Total != 1000 || rep.Audit.Active != 1000 || rep.Audit.Gate != 0 {
		t.Errorf("%d units placed, audit %+v, want 1000 of 1000", rep.Units, rep.Audit)
	}
	if len(rep.Failures) > 0 {
		t.Errorf("requests failed: %v", rep.Failures)
	}
	sale := admin(t, n).does("GET", "/api/sales/"+rep.Sale.String(), nil, 200)
	if sale.State != "sold_out" || sale.Left != 0 {
		t.Errorf("the sale shows %+v, want sold_out", sale)
	}
}

// With one to three units for each buyer no unit is left while a buyer who wants
// one is turned away.
func TestCrowdWithQuantitiesLeavesNothing(t *testing.T) {
	n := start(t, node.Config{})
	rep := startLoad(t, n.URL, "--buyers", "8000", "--concurrency", "2000", "--units", "1000", "--quantity", "1-3").report()
	if rep.Units != 1000 || rep.Audit.Active != 1000 || rep.Audit.Gate != 0 {
		t.Errorf("%d units placed, audit %+v, want 1000 of 1000", rep.Units, rep.Audit)
	}
	if placed := rep.Final["placed"]; placed < 334 || placed > 1000 || placed+rep.Final["sold_out"] != 8000 {
		t.Errorf("the buyers ended as %v", rep.Final)
	}
}

// Everybody clicks 50 times at once, and holds one ticket.
func TestFiftyClicksAreOneTicket(t *testing.T) {
	n := start(t, node.Config{})
	rep := startLoad(t, n.URL, "--buyers", "200", "--concurrency", "40", "--repeats", "50", "--units", "200").report()
	// On a busy machine a few clicks get no answer in time. They were clicks all the same.
	var unanswered int64
	for _, n := range rep.Failures {
		unanswered += n
	}
	if rep.BuyRequests+unanswered < 10_000 || unanswered > 100 {
		t.Errorf("%d answers and %d clicks without one (%v), want 10,000 and at most 100", rep.BuyRequests, unanswered, rep.Failures)
	}
	if rep.Final["placed"] != 200 || rep.Units != 200 || rep.Audit.Active != 200 {
		t.Errorf("the buyers ended as %v with %d units, audit %+v: want one ticket and one unit for each of 200", rep.Final, rep.Units, rep.Audit)
	}
}

// Buyers arrive at their pace, whatever the node does, every fifth of them
// misbehaves, and asking is measured apart from buying: the rules hold, and both
// forms of the report are there.
func TestOpenLoopWithMisbehavingBuyers(t *testing.T) {
	n := start(t, node.Config{})
	dir := t.TempDir()
	page, data := filepath.Join(dir, "run.html"), filepath.Join(dir, "run.json")
	rep := startLoad(t, n.URL, "--buyers", "6000", "--units", "500", "--burst", "500", "--rate", "3000", "--ramp", "1s",
		"--misbehave", "0.2", "--phases", "--ops", n.Ops, "--report", page, "--report", data).report()
	if want := map[string]int{"placed": 500, "sold_out": 5500}; !maps.Equal(rep.Final, want) {
		t.Errorf("the buyers ended as %v, want %v", rep.Final, want)
	}
	if len(rep.Failures) > 0 {
		t.Errorf("requests failed: %v", rep.Failures)
	}
	for _, habit := range []string{"duplicates", "parallel", "never-asks", "hangs-up"} {
		if got := rep.Misbehaved[habit]; got < 290 || got > 310 {
			t.Errorf("%d buyers are of the kind %s, want 300", got, habit)
		}
	}
	// 1 s of growth to the rate, half of it on average, then the rate.
	if wanted := time.Second + 4000*time.Second/3000; rep.BuyTime < wanted-100*time.Millisecond {
		t.Errorf("everybody had bought after %v, and the last was to arrive after %v", rep.BuyTime, wanted)
	}
	if asked := int64(6000 - rep.Misbehaved["never-asks"]); rep.ResultRequests != asked {
		t.Errorf("%d results, want one for each of %d", rep.ResultRequests, asked)
	}
	if rep.BuyEffort.Load <= 0 || rep.BuyEffort.Servers <= 0 || rep.ResultEffort.Servers <= 0 {
		t.Errorf("processor time %+v and %+v", rep.BuyEffort, rep.ResultEffort)
	}
	html, err := os.ReadFile(page)
	must(t, err)
	if !bytes.Contains(html, []byte("everything adds up")) || !bytes.Contains(html, []byte("<svg")) {
		t.Errorf("the page is no report:\n%s", tail(string(html)))
	}
	raw, err := os.ReadFile(data)
	must(t, err)
	var saved load.Report
	must(t, json.Unmarshal(raw, &saved))
	if saved.Prefix != rep.Prefix || len(saved.Series) == 0 {
		t.Errorf("the saved report is of %q, with %d points; want that of %q", saved.Prefix, len(saved.Series), rep.Prefix)
	}
}

// A server that lies is found out: the exit status is 1, and a finding says why.
func TestLyingServerIsFoundOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, rule string
		lie        func() func(*http.Response, map[string]any)
	}{
		{"it says nothing but the truth", "", func() func(*http.Response, map[string]any) { return nil }},
		{"a lost ticket", "no lost accept", func() func(*http.Response, map[string]any) {
			var mu sync.Mutex
			var victim string
			return func(res *http.Response, said map[string]any) {
				mu.Lock()
				defer mu.Unlock()
				if said["ticket"] != nil && victim == "" {
					victim = said["ticket"].(string)
				}
				if said["ticket"] == victim && res.Request.Method == "GET" {
					res.StatusCode = 404
					clear(said)
					said["code"] = "not_found"
				}
			}
		}},
		{"one order for two", "distinct ids", func() func(*http.Response, map[string]any) {
			return func(_ *http.Response, said map[string]any) {
				if said["order"] != nil {
					said["order"] = "01JD0000000000000000000000"
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := start(t, node.Config{})
			behind, err := url.Parse(n.URL)
			must(t, err)
			proxy := httputil.NewSingleHostReverseProxy(behind)
			if lie := tt.lie(); lie != nil {
				proxy.ModifyResponse = func(res *http.Response) error {
					var said map[string]any
					body, err := io.ReadAll(res.Body)
					if err != nil {
						return err
					}
					if strings.HasSuffix(res.Request.URL.Path, "/ticket") && json.Unmarshal(body, &said) == nil {
						lie(res, said)
						if body, err = json.Marshal(said); err != nil {
							return err
						}
					}
					res.Body = io.NopCloser(bytes.NewReader(body))
					res.ContentLength = int64(len(body))
					res.Header.Set("Content-Length", strconv.Itoa(len(body)))
					return nil
				}
			}
			front := httptest.NewServer(proxy)
			defer front.Close()

			args := []string{"--buyers", "200", "--concurrency", "20", "--units", "50"}
			if tt.rule == "" {
				startLoad(t, front.URL, args...).report()
				return
			}
			r := startLoad(t, front.URL, append(args, "--settle", "5s")...) // what a liar holds back does not come later either
			select {
			case <-r.done:
			case <-time.After(patience):
				t.Fatalf("the load does not end:\n%s", tail(r.log.String()))
			}
			var exit *exec.ExitError
			if !errors.As(r.failed, &exit) || exit.ExitCode() != 1 {
				t.Errorf("the load ended with %v, want the status 1", r.failed)
			}
			var rep load.Report
			must(t, json.Unmarshal(r.out.Bytes(), &rep))
			if !slices.ContainsFunc(rep.Findings, func(f string) bool { return strings.HasPrefix(f, tt.rule+": ") }) {
				t.Errorf("no finding is about %q: %q", tt.rule, rep.Findings)
			}
		})
	}
}
