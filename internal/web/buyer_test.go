package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"seckill/e2e/browser"
)

// places are addresses, each with a browser tab in front of it. One test after the other has
// its shop at an address: pages of one origin stay in one renderer, and to make another
// takes longer than most pages do.
type places struct {
	chromium *browser.Browser
	mu       sync.Mutex
	free     []*place
}

type place struct {
	server *httptest.Server
	tab    *browser.Tab

	mu       sync.RWMutex
	shop     http.Handler    // of the test that has the place
	requests *sync.WaitGroup // to that shop
}

// emptyPage is a page of each site on which nothing happens. It is isolated as all others
// are: else the browser would take another renderer for it.
const emptyPage = "/empty"

func newPlaces(t *testing.T) *places {
	t.Helper()
	all := &places{chromium: browser.Start(t)}
	t.Cleanup(func() {
		for _, s := range all.free {
			s.server.Close()
		}
	})
	return all
}

func (all *places) take(t *testing.T, shop http.Handler) *place {
	t.Helper()
	all.mu.Lock()
	var s *place
	if n := len(all.free); n > 0 {
		s, all.free = all.free[n-1], all.free[:n-1]
	}
	all.mu.Unlock()
	if s == nil {
		s = &place{}
		s.server = httptest.NewServer(s)
		s.tab = all.chromium.Keep(t, s.server.URL)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shop, s.requests = shop, &sync.WaitGroup{}
	return s
}

// leave ends the shop of a test. The place is for the next test, if the tab is clean.
func (all *places) leave(s *place, clean bool) {
	s.mu.Lock()
	s.shop = nil
	s.mu.Unlock()
	s.requests.Wait()
	if !clean {
		s.server.Close()
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	all.free = append(all.free, s)
}

func (s *place) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == emptyPage {
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		io.WriteString(w, "<!doctype html><title>nothing</title>")
		return
	}
	s.mu.RLock()
	shop, requests := s.shop, s.requests
	if shop != nil {
		requests.Add(1)
	}
	s.mu.RUnlock()
	if shop == nil {
		http.Error(w, "between two tests", http.StatusServiceUnavailable)
		return
	}
	defer requests.Done()
	shop.ServeHTTP(w, r)
}

// buyer is one browser tab with its own cookies, in front of its own shop.
type buyer struct {
	*browser.Tab
	t       *testing.T
	shop    *shop
	modules *gate
	changed bool // the tab, in a way that nobody takes back
}

func newBuyer(t *testing.T, all *places) *buyer {
	t.Helper()
	s, modules := newShop(), &gate{}
	mux := http.NewServeMux()
	mux.Handle("/api/", s)
	mux.Handle("/", Handler(s.sale))
	mux.Handle("/console/", Console())
	at := all.take(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".js") && !modules.pass(r.URL.Path) {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	b := &buyer{Tab: at.tab.For(t), t: t, shop: s, modules: modules}
	t.Cleanup(func() {
		clean := !b.changed && !t.Failed()
		if clean {
			if err := b.Clean(emptyPage); err != nil {
				t.Logf("the tab does not become clean: %v", err)
				clean = false
			}
		}
		if !clean || t.Failed() {
			clean = false
			b.Close()
		}
		close(s.closed)
		modules.open()
		all.leave(at, clean)
	})
	b.Words = `
		const buy = node('#buy');
		const can = (s) => shown(s) && !node(s).disabled && node(s).getAttribute('aria-disabled') !== 'true';
	`
	return b
}

// login logs in without the pages: it puts the cookie that the shop would set into the
// browser. Opening a page for it would take a fifth of the processor time of a test.
func (b *buyer) login() {
	b.t.Helper()
	hidden := true // from scripts
	passing(b, network.SetCookie, network.SetCookieParams{Name: "seckill_session", Value: "ada", URL: b.URL, HTTPOnly: &hidden})
}

// speak chooses the reader's language as the button of the pages does. The browser is
// told itself: what a page writes into its cookies as it goes may be lost with it.
func (b *buyer) speak(language string) {
	b.t.Helper()
	passing(b, network.SetCookie, network.SetCookieParams{Name: languageCookie, Value: language, URL: b.URL})
}

func (b *buyer) fill(name, password string) {
	b.t.Helper()
	b.Fill("[name=name]", name)
	b.Fill("[name=password]", password)
}

// keys presses keys on whatever has the focus.
func (b *buyer) keys(keys string) {
	b.t.Helper()
	b.Do(chromedp.KeyEvent(keys))
}

// focused demands where the focus is.
func (b *buyer) focused(id string) {
	b.t.Helper()
	b.Await(fmt.Sprintf(`document.activeElement?.id === %q`, id))
}

// sentence waits until the page says exactly this.
func (b *buyer) sentence(want string) {
	b.t.Helper()
	b.Await(fmt.Sprintf(`text('#status') === %q`, want))
}

// saw demands texts that one of the remembered elements has had.
func (b *buyer) saw(wants ...string) {
	b.t.Helper()
	for _, want := range wants {
		if all := b.Eval(fmt.Sprintf(`const all = Object.values(window.rememberedByTest).flat(); all.includes(%q) ? '' : all.join('\n')`, want)); all != "" {
			b.t.Errorf("the page never said %q, but\n%s", want, all)
		}
	}
}

// awaitTicket waits until the page has asked for the buyer's ticket.
func (b *buyer) awaitTicket() {
	b.t.Helper()
	b.Await(`performance.getEntriesByType('resource').some((e) => e.name.endsWith('/ticket'))`)
}

// wake makes the page look at everything at once, as when the tab is seen again.
func (b *buyer) wake() {
	b.t.Helper()
	b.Eval(`document.dispatchEvent(new Event('visibilitychange')); ''`)
}

// hurry makes the timers that the page sets from now on twenty times as fast.
func (b *buyer) hurry() {
	b.t.Helper()
	b.Eval(`const real = setTimeout; window.setTimeout = (f, ms) => real(f, ms / 20); ''`)
}

// leaves goes to a page and does not wait until it is loaded.
func (b *buyer) leaves(path string) {
	b.t.Helper()
	if b.Eval(`location.href`) == "about:blank" {
		b.Open("/static/x/favicon.svg")
	}
	b.Eval(fmt.Sprintf(`setTimeout(() => location.assign(%q)); ''`, b.URL+path))
	b.Await(fmt.Sprintf(`location.pathname === %q`, path))
}

// module returns, as JSON, what an expression over the functions of a module gives.
func (b *buyer) module(name, expression string) string {
	b.t.Helper()
	return b.Eval(fmt.Sprintf(`import(new URL('%s', node('script[type=module]').src)).then((m) => { with (m) return JSON.stringify(%s); })`, name, expression))
}

// fits demands that nothing is wider than the page.
func (b *buyer) fits(width int) {
	b.t.Helper()
	if w := b.Eval(fmt.Sprintf(`const { scrollWidth, clientWidth } = document.documentElement;
		innerWidth === %d && scrollWidth <= clientWidth ? '' : location.pathname + ' is ' + scrollWidth + ' of ' + clientWidth + ' pixels wide'`, width)); w != "" {
		b.t.Error(w)
	}
}

// command sends a command of the protocol to the tab, which no other test uses then.
func command[P, R any](b *buyer, c cdp.Command[P, R], params P) (result R) {
	b.t.Helper()
	b.changed = true
	return passing(b, c, params)
}

// passing sends a command of the protocol to the tab that changes what Clean takes back, or
// nothing.
func passing[P, R any](b *buyer, c cdp.Command[P, R], params P) (result R) {
	b.t.Helper()
	b.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) (err error) {
		r, err := cdp.Call(ctx, t, c, params)
		if err == nil {
			result = r
		}
		return err
	}))
	return result
}

// offline takes the network away from the page, or gives it back.
func (b *buyer) offline(gone bool) {
	b.t.Helper()
	command(b, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: gone, DownloadThroughput: -1, UploadThroughput: -1})
}

func (b *buyer) viewport(width, height int64) {
	b.t.Helper()
	b.Do(chromedp.EmulateViewport(width, height))
}

// media emulates features of media, each a name and a value, and no others.
func (b *buyer) media(pairs ...string) {
	b.t.Helper()
	var features []*emulation.MediaFeature
	for pair := range slices.Chunk(pairs, 2) {
		features = append(features, &emulation.MediaFeature{Name: pair[0], Value: pair[1]})
	}
	passing(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
}

// scheme is that of a reader who wants the pages as they are drawn for most.
func (b *buyer) scheme(name string) {
	b.t.Helper()
	b.media("prefers-color-scheme", name, "prefers-reduced-motion", "no-preference")
}

// gate lets requests wait, and those for one file fail.
type gate struct {
	mu     sync.Mutex
	shut   chan struct{}
	broken string
}

// pass reports whether the path may be answered, when it may be.
func (g *gate) pass(path string) bool {
	g.mu.Lock()
	shut, broken := g.shut, g.broken
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
	return broken == "" || !strings.HasSuffix(path, "/"+broken)
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// holdModules lets every module wait until the function that it returns is called.
func (b *buyer) holdModules() (release func()) {
	b.t.Helper()
	b.Forget() // a module that is in the cache does not wait
	b.modules.mu.Lock()
	defer b.modules.mu.Unlock()
	b.modules.shut = make(chan struct{})
	return b.modules.open
}

// breakModule lets one module fail until the function that it returns is called.
func (b *buyer) breakModule(name string) (mend func()) {
	b.t.Helper()
	b.Forget()
	set := func(name string) {
		b.modules.mu.Lock()
		defer b.modules.mu.Unlock()
		b.modules.broken = name
	}
	set(name)
	return func() { set("") }
}

// press presses a key by its name.
func (b *buyer) press(key string) {
	b.t.Helper()
	for _, kind := range []input.DispatchKeyEventType{"keyDown", "keyUp"} {
		passing(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: key})
	}
}
