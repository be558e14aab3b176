package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"seckill/e2e/browser"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// asks sends a GET with some headers: name, value, ….
func asks(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	must(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res, string(body)
}

// A page is kept by the language that a node would choose, for whatever follows the
// question mark, and compressed by nginx.
func TestNginxKeepsPagesByLanguage(t *testing.T) {
	t.Parallel()
	f := startFakes(t, 1, func(w http.ResponseWriter, r *http.Request, _ int64) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("a node is asked for a compressed answer, of which each browser would have its own copy")
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Vary", "Accept-Language, Cookie, Accept-Encoding")
		cookie, _ := r.Cookie("seckill_lang")
		fmt.Fprint(w, strings.Repeat(fmt.Sprintln("the page of", cookie, r.Header.Get("Accept-Language")), 100))
	})
	n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses, Unlimited: []string{"127.0.0.1/32"}})
	// Whoever is shown the same page reads the same language. The first one of each
	// list fills the cache under that list's own path.
	for i, same := range [][][2]string{ // cookie, Accept-Language
		{{"", "zh-CN,zh;q=0.9,en;q=0.8"}, {"", "zh"}, {"", "ZH-tw"}, {"", "fr, zh;q=0.5, en;q=0.4"}, {"zh-CN", "en"}, {"", ""}},
		{{"", "en"}, {"", "en-US,en;q=0.9,zh;q=0.8"}, {"", "fr"}, {"", "fr,en;q=0.5,zh;q=0.4"}, {"en", "zh-CN"}, {"", "zhx,*"}, {"", "*"}},
	} {
		var first string
		for j, wish := range same {
			header := []string{"Accept-Language", wish[1], "Cookie", "seckill_session=" + fmt.Sprint(j)}
			if wish[0] != "" {
				header[3] += "; seckill_lang=" + wish[0]
			}
			res, body := asks(t, fmt.Sprintf("%s/sale/%d?fbclid=%d", n.URL(), 7, j), header...)
			if j == 0 {
				first = body
			}
			if body != first && res.Header.Get("X-Cache-Status") == "HIT" {
				t.Errorf("list %d: who wishes %q is shown the page of %q", i, wish, same[0])
			}
			if res.Header.Get("X-Cache-Status") == "HIT" && !strings.HasPrefix(body, strings.SplitN(first, "\n", 2)[0]) {
				t.Errorf("list %d: %q", i, body)
			}
		}
	}
	for _, c := range []struct{ wishes, cookie, like string }{
		{"en", "", "en-GB"}, {"zh", "", "zh-HK"}, {"en", "zh-CN", "zh"}, {"zh", "en", "en"}, {"fr,zh", "", "zh"}, {"fr", "", "en"},
	} {
		path := fmt.Sprintf("%s/sale/%d", n.URL(), 100+len(c.wishes)*10+len(c.cookie)+len(c.like))
		_, body := asks(t, path, "Accept-Language", c.wishes, "Cookie", "seckill_lang="+c.cookie)
		res, again := asks(t, path+"?x=1", "Accept-Language", c.like)
		if res.Header.Get("X-Cache-Status") != "HIT" && res.Header.Get("X-Cache-Status") != "STALE" && res.Header.Get("X-Cache-Status") != "UPDATING" || body != again {
			t.Errorf("%+v: %s, %q and %q", c, res.Header.Get("X-Cache-Status"), body[:30], again[:30])
		}
	}
	res, _ := asks(t, n.URL()+"/sale/1", "Accept-Encoding", "gzip")
	if res.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("a page comes as %q", res.Header.Get("Content-Encoding"))
	}
}

// Whoever asks for a page while no node answers, or too often, gets one that tries
// again; programs get a problem document.
func TestPeopleGetPagesFromNginx(t *testing.T) {
	t.Parallel()
	f := startFakes(t, 1, func(w http.ResponseWriter, r *http.Request, _ int64) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><title>back</title>`)
	})
	n := stacktest.OwnNginx(t, stack.Site{Nodes: f.addresses, Unlimited: []string{"127.0.0.1/32"}})
	p := browser.Start(t).Tab(t, n.URL())
	f.servers[0].Close()

	const person = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for path, accept := range map[string]string{"/orders": person, "/login": person, "/order/detail/A": person, "/sale/1": person, "/": person} {
		res, body := asks(t, n.URL()+path, "Accept", accept)
		if res.StatusCode != 503 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") || !strings.Contains(body, "服务器有些忙") || !strings.Contains(body, "The server is busy.") {
			t.Errorf("%s: %s %s %q", path, res.Status, res.Header.Get("Content-Type"), body)
		}
		if again := res.Header.Get("Refresh"); !strings.Contains("4567", again) || len(again) != 1 || res.Header.Get("Retry-After") != "1" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s tries again after %q: %v", path, again, res.Header)
		}
	}
	for path, accept := range map[string]string{"/orders": "*/*", "/api/sales": "application/json", "/api/orders": person} {
		res, body := asks(t, n.URL()+path, "Accept", accept)
		var problem struct{ Code string }
		if res.StatusCode != 503 || json.Unmarshal([]byte(body), &problem) != nil || problem.Code != "unavailable" {
			t.Errorf("%s for a program: %s %q", path, res.Status, body)
		}
	}
	p.Open("/orders")
	p.Await(`text('h1') === '服务器有些忙' && document.compatMode === 'CSS1Compat'`)
}
