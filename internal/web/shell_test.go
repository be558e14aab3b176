package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func theSale() seckill.Sale {
	opens := time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)
	return seckill.Sale{ID: 1, Title: `键盘 <b>"87"</b>`, Description: "Line one\nline <two>", Image: "https://shop.example/a.webp?x=1&y=2",
		Price: 9900, Currency: "CNY", Total: 10, LimitPerBuyer: 1, OpensAt: opens, ClosesAt: opens.Add(time.Hour), HoldSeconds: 900}
}

func aSale(_ context.Context, id seckill.SaleID) (seckill.Sale, error) {
	if id != 1 {
		return seckill.Sale{}, seckill.ErrNotFound
	}
	return theSale(), nil
}

func TestASharedLinkHasAPreview(t *testing.T) {
	t.Parallel()
	h := Handler(aSale)
	page := body(t, ask(t, h, "GET", "/sale/1", "Accept-Language", "en"))
	for _, want := range []string{
		`<html lang="en"`,
		`<title>键盘 &lt;b&gt;&#34;87&#34;&lt;/b&gt; · Seckill</title>`,
		`<meta name="description" content="Sale price 99.00 CNY · Line one line &lt;two&gt;">`,
		`<meta property="og:title" content="键盘 &lt;b&gt;&#34;87&#34;&lt;/b&gt;">`,
		`<meta property="og:image" content="https://shop.example/a.webp?x=1&amp;y=2">`,
		`<meta property="product:price:amount" content="99.00">`,
		`<meta property="product:price:currency" content="CNY">`,
		`<h1 data-part="title" dir="auto">键盘 &lt;b&gt;&#34;87&#34;&lt;/b&gt;</h1>`,
		`data-part="price">99.00 CNY</strong>`,
		`<img src="https://shop.example/a.webp?x=1&amp;y=2" alt="" decoding="async">`,
	} {
		require.Contains(t, page, want)
	}
	for _, target := range []string{"/sale/2", "/"} {
		page := body(t, ask(t, h, "GET", target))
		require.Contains(t, page, `<meta name="description" content="数量有限，准点开抢，先到先得。">`)
		require.Contains(t, page, `<meta property="og:title" content="`)
		require.NotContains(t, page, "og:image")
	}
}

// The page is there while the sale cannot be read, and does not wait long for it.
func TestTheSalesPageDoesNotNeedTheSale(t *testing.T) {
	t.Parallel()
	down := Handler(func(context.Context, seckill.SaleID) (seckill.Sale, error) {
		return seckill.Sale{}, errors.New("the store is down")
	})
	r := ask(t, down, "GET", "/sale/1")
	require.Equal(t, 200, r.StatusCode)
	require.Contains(t, body(t, r), `<article id="sale" class="sale loading"`)
	hangs := Handler(func(ctx context.Context, _ seckill.SaleID) (seckill.Sale, error) {
		<-ctx.Done()
		return seckill.Sale{}, ctx.Err()
	})
	require.Equal(t, 200, ask(t, hangs, "GET", "/sale/1").StatusCode)
}

func TestASalesPageFollowsTheSale(t *testing.T) {
	t.Parallel()
	var title atomic.Value
	title.Store("before")
	h := Handler(func(_ context.Context, id seckill.SaleID) (seckill.Sale, error) {
		s := theSale()
		s.ID, s.Title = id, title.Load().(string)
		return s, nil
	})
	first := ask(t, h, "GET", "/sale/1")
	require.Contains(t, body(t, first), "before")
	require.Equal(t, 304, ask(t, h, "GET", "/sale/1", "If-None-Match", first.Header.Get("ETag")).StatusCode)
	title.Store("after")
	second := ask(t, h, "GET", "/sale/1", "If-None-Match", first.Header.Get("ETag"))
	require.Equal(t, 200, second.StatusCode)
	require.Contains(t, body(t, second), "after")
	for id := range 2 * shellsKept {
		require.Equal(t, 200, ask(t, h, "GET", fmt.Sprintf("/sale/%d", id+1)).StatusCode)
	}
}

func TestTheReadersLanguage(t *testing.T) {
	t.Parallel()
	h := Handler(nil)
	for _, c := range []struct{ wishes, cookie, want string }{
		{"", "", "zh-CN"}, {"zh-CN,zh;q=0.9,en;q=0.8", "", "zh-CN"}, {"zh-TW", "", "zh-CN"}, {"en-US,en;q=0.9,zh;q=0.8", "", "en"}, {"EN", "", "en"},
		{"fr,zh;q=0.5", "", "zh-CN"}, {"fr,de", "", "en"}, {"*", "", "en"}, {"zhx", "", "en"},
		{"zh-CN", "en", "en"}, {"en", "zh-CN", "zh-CN"}, {"en", "fr", "en"}, {"", "fr", "en"}, {"en", `"><script>`, "en"},
	} {
		header := []string{"Accept-Language", c.wishes}
		if c.wishes == "" {
			header = nil
		}
		if c.cookie != "" {
			header = append(header, "Cookie", "seckill_lang="+c.cookie)
		}
		r := ask(t, h, "GET", "/", header...)
		require.Contains(t, body(t, r), `<html lang="`+c.want+`"`, "%+v", c)
		require.Equal(t, "Accept-Language, Cookie, Accept-Encoding", r.Header.Get("Vary"))
	}
}

func TestANodeAlonePacksItsPages(t *testing.T) {
	t.Parallel()
	h := Handler(aSale)
	for _, target := range []string{"/", "/sale/1", "/nowhere", "/static/x/words.js", "/static/x/style.css"} {
		plain := ask(t, h, "GET", target)
		want := body(t, plain)
		r := ask(t, h, "GET", target, "Accept-Encoding", "gzip, br")
		require.Equal(t, "gzip", r.Header.Get("Content-Encoding"), target)
		packed := body(t, r)
		require.Equal(t, fmt.Sprint(len(packed)), r.Header.Get("Content-Length"))
		require.Less(t, len(packed), len(want)/2, target)
		z, err := gzip.NewReader(strings.NewReader(packed))
		require.NoError(t, err)
		got, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		if etag := r.Header.Get("ETag"); etag != "" {
			require.NotEqual(t, plain.Header.Get("ETag"), etag, "they are different bytes")
			again := ask(t, h, "GET", target, "Accept-Encoding", "gzip", "If-None-Match", `"other", W/`+etag)
			require.Equal(t, 304, again.StatusCode)
			require.Empty(t, again.Header.Get("Content-Encoding"))
		}
	}
	require.Empty(t, ask(t, h, "GET", "/static/x/favicon.svg", "Accept-Encoding", "gzip").Header.Get("Content-Encoding"), "too small")
}

func TestTheReminderIsACalendar(t *testing.T) {
	t.Parallel()
	sale := theSale()
	sale.Title = strings.Repeat("很长的标题; 带, 标点\\", 8)
	h := Handler(func(context.Context, seckill.SaleID) (seckill.Sale, error) { return sale, nil })
	r := ask(t, h, "GET", "/sale/1/opening.ics")
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "text/calendar; charset=utf-8", r.Header.Get("Content-Type"))
	file := body(t, r)
	for line := range strings.SplitSeq(strings.TrimSuffix(file, "\r\n"), "\r\n") {
		require.LessOrEqual(t, len(line), 75, "a line has at most 75 bytes")
		require.NotContains(t, line, "\n")
		require.True(t, strings.ToValidUTF8(line, "") == line, "no character is broken: %q", line)
	}
	whole := strings.ReplaceAll(file, "\r\n ", "")
	for _, want := range []string{
		"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n", "UID:sale-1@seckill\r\n", "DTSTART:20261111T120000Z\r\nDTEND:20261111T130000Z\r\n", "TRIGGER:-PT5M\r\n",
		"SUMMARY:秒杀: " + strings.Repeat(`很长的标题\; 带\, 标点\\`, 8) + "\r\n", "END:VEVENT\r\nEND:VCALENDAR\r\n",
	} {
		require.Contains(t, whole, want)
	}
	require.Equal(t, 404, ask(t, Handler(aSale), "GET", "/sale/2/opening.ics").StatusCode)
	require.Equal(t, 404, ask(t, Handler(aSale), "GET", "/sale/x/opening.ics").StatusCode)
}

func TestASlashTooManyLeadsOn(t *testing.T) {
	t.Parallel()
	h := Handler(nil)
	for from, to := range map[string]string{
		"/sale/1/": "/sale/1", "/sale/1/?fbclid=1": "/sale/1?fbclid=1", "/orders/": "/orders", "/login/?next=%2Forders": "/login?next=%2Forders",
		"/order/detail/" + anOrder + "/": "/order/detail/" + anOrder,
	} {
		r := ask(t, h, "GET", from)
		require.Equal(t, 301, r.StatusCode, from)
		require.Equal(t, to, r.Header.Get("Location"), from)
	}
	for _, target := range []string{"/nowhere/", "/static/x/words.js/", "/order/detail/"} {
		require.Equal(t, 404, ask(t, h, "GET", target).StatusCode, target)
	}
	// Never to another site, whatever stands in front.
	r := httptest.NewRequest("GET", "/", nil)
	r.URL.Path = "//evil.example/"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.NotContains(t, w.Header().Get("Location"), "//evil.example")
}

// A page asks for all its modules at once, and for none that it does not need.
func TestPagesPreloadWhatTheirScriptsImport(t *testing.T) {
	t.Parallel()
	imports := regexp.MustCompile(`(?m)^import (?:[^']* from )?'\./([\w.]+)';$`)
	s := theBundle()
	for _, p := range pages {
		need := map[string]bool{}
		var follow func(name string)
		follow = func(name string) {
			for _, m := range imports.FindAllSubmatch(s.static[name].body, -1) {
				if !need[string(m[1])] {
					need[string(m[1])] = true
					follow(string(m[1]))
				}
			}
		}
		script := or(p.script, p.name) + ".js"
		follow(script)
		var want []string
		for name := range need {
			want = append(want, name)
		}
		got := s.shell(p.name, "en").Modules
		slices.Sort(want)
		slices.Sort(got)
		require.Equal(t, want, got, p.name)
	}
}

// withoutComments may empty a line only where it is a comment: no module has a text
// of several lines.
func TestModulesHaveNoTextOfSeveralLines(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(storefront, "storefront/static")
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".js") {
			continue
		}
		module := must(fs.ReadFile(storefront, "storefront/static/"+e.Name()))
		require.Equal(t, bytes.Count(module, []byte("\n")), bytes.Count(withoutComments(module), []byte("\n")), "the lines keep their numbers")
		for i, line := range strings.Split(string(module), "\n") {
			if !strings.HasPrefix(strings.TrimSpace(line), "//") {
				require.Zero(t, strings.Count(line, "`")%2, "%s:%d", e.Name(), i+1)
			}
		}
		require.NotContains(t, string(module), "/*", e.Name())
	}
}
