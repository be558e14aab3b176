// Package browser is a person in front of Chromium, for tests of pages.
//
// Everything is asked in the page that is open at that moment, by selector, and again
// when that page gives way to another one: a test holds no handle of an element, which
// would end with its page. What a person could not do yet (press a button that is
// disabled, covered or still moving, or whose page has not run its scripts) waits.
package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/css"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/chromedp"

	"seckill/internal/stack/stacktest"
)

const (
	// patience is how long a person waits for a page to be as expected. It bounds what
	// hangs, and is far more than a busy machine needs.
	patience  = time.Minute
	askAgain  = 5 * time.Second // with the same question, when nobody has answered it
	lookAgain = 20 * time.Millisecond
	startTime = 2 * time.Minute // for Chromium to come up or go away

	width, height = 1280, 900 // of a tab
)

// Browser is a running Chromium.
type Browser struct {
	t         testing.TB // with which it ends
	ctx       context.Context
	listeners sync.WaitGroup // to the consoles of tabs that are kept
}

// program finds Chromium. That without windows comes first: it draws and runs pages with the
// same engine and takes a third of the processor time.
func program() string {
	for _, name := range []string{"chromium-headless-shell", "chromium"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// Start starts Chromium, which ends with the test. Where it is not installed the test is
// skipped; with SECKILL_REQUIRE=1 in the environment it fails.
func Start(t testing.TB) *Browser {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(stacktest.LeaveOutVariable), ","), "chromium") {
		t.Skipf(stacktest.LeftOut+"chromium (%s)", stacktest.LeaveOutVariable)
	}
	path := program()
	if path == "" {
		if os.Getenv("SECKILL_REQUIRE") == "1" {
			t.Fatal("SECKILL_REQUIRE=1, but there is no browser: apt-get install -y chromium-headless-shell, or chromium")
		}
		t.Skip("NOT TESTED: no browser: apt-get install -y chromium-headless-shell, or chromium (SECKILL_REQUIRE=1 makes this a failure)")
	}
	dir := t.TempDir()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		// Chromium keeps a renderer ready for a tab that may be opened, which takes as long to start
		// as one that is used: a fifth of the processor time of a test of pages.
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,SpareRendererForSitePerProcess,MediaRouter,OptimizationHints"),
		chromedp.Flag("disable-component-update", true),
		// What moves for show is drawn sixty times a second: a seventh of the processor time of a
		// test of pages. Who wants it asks for prefers-reduced-motion: no-preference.
		chromedp.Flag("force-prefers-reduced-motion", true),
		// Pages under test are too short for code to be worth its optimization: axe takes a
		// quarter less without.
		chromedp.Flag("js-flags", "--max-lazy --no-maglev --no-turbofan"),
		// Chromium without windows takes these from here, that with windows from its surroundings.
		chromedp.Flag("lang", "en-US"), chromedp.Flag("accept-lang", "en-US"), chromedp.WindowSize(width, height),
		chromedp.WSURLReadTimeout(startTime),
		// The profile is a new temporary directory, which chromedp removes. What
		// else the browser leaves behind, it leaves in ours.
		chromedp.Env("TMPDIR="+dir, "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	b := &Browser{t: t, ctx: ctx}
	t.Cleanup(func() {
		defer b.listeners.Wait()
		ctx, cancel := context.WithTimeout(ctx, startTime)
		defer cancel()
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("stop the browser: %v", err)
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return b
}

// Tab is one person's tab, with cookies of its own, in front of one site.
type Tab struct {
	URL   string // of the site, without a slash at the end
	Words string // more declarations in JavaScript that conditions may use

	t       testing.TB
	owner   testing.TB // with which the tab ends
	ctx     context.Context
	close   context.CancelFunc
	console *console
}

// Tab opens a tab for a test. What the pages complain of in the console, failed requests
// aside, fails the test.
func (b *Browser) Tab(t testing.TB, url string) *Tab {
	t.Helper()
	var listeners sync.WaitGroup
	tab := b.open(t, url, &listeners)
	t.Cleanup(func() {
		tab.close()
		listeners.Wait()
	})
	return tab
}

func (b *Browser) open(t testing.TB, url string, listeners *sync.WaitGroup) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	// Nothing here asks chromedp for nodes or styles, of which Chromium tells it each change.
	if err := chromedp.Do(ctx, tell(css.Disable, cdp.Empty{}), tell(dom.Disable, cdp.Empty{})); err != nil {
		cancel()
		t.Fatalf("open a tab: %v", err)
	}
	c := &console{t: t}
	messages := chromedp.Console(ctx)
	listeners.Go(func() { c.listen(messages) })
	return &Tab{URL: url, t: t, owner: t, ctx: ctx, close: cancel, console: c}
}

// Do takes steps of chromedp. Those that look an element up hold on to it, and fail when
// the page changes meanwhile: they are not for tests.
func (b *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v\n%s", err, b.Screen())
	}
}

// Open goes to a path of the site and waits until it is loaded.
func (b *Tab) Open(path string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(b.URL + path))
}

// words are what conditions and expressions are written in.
const words = `
	const node = (s) => document.querySelector(s);
	const text = (s) => node(s)?.textContent.trim();
	const shown = (s) => Boolean(node(s)?.checkVisibility({ visibilityProperty: true }));
	const was = (s, t) => (window.rememberedByTest?.[s] ?? []).includes(t);
	const scripted = () => performance.getEntriesByType('navigation')[0]?.domContentLoadedEventEnd > 0;
`

// Await waits until a condition in JavaScript holds, over navigations. It may use node,
// text and shown, each with a selector, and was, see Remember. It looks at every change of
// the page, but what came and went before it began is gone: that is what Remember is for.
func (b *Tab) Await(condition string) {
	b.t.Helper()
	await[bool](b, condition, fmt.Sprintf(`() => { %s; %s; return Boolean(%s); }`, words, b.Words, condition))
}

// await asks a function of the page, at every change of it and every few milliseconds,
// until its value is true in JavaScript's sense, and returns that value.
func await[V any](b *Tab, what, function string, args ...any) (v V) {
	b.t.Helper()
	given, err := json.Marshal(append([]any{}, args...))
	if err != nil {
		b.t.Fatal(err)
	}
	question := chromedp.Evaluate[V](ask(function, given), chromedp.EvalAwaitPromise)
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		once, cancel := context.WithTimeout(ctx, askAgain) // a page that went away may not answer
		v, err = chromedp.Run(once, question)
		cancel()
		if err == nil {
			return v
		}
		var thrown *chromedp.ExceptionError
		if ctx.Err() != nil || errors.As(err, &thrown) {
			b.t.Fatalf("waited for %s: %v%s\n%s", what, err, b.stumbled(), b.Screen())
		}
		// The page went away under the question: ask the next one.
	}
}

// stumbled is where the last question threw until its time was over.
func (b *Tab) stumbled() (at string) {
	ctx, cancel := context.WithTimeout(b.ctx, askAgain)
	defer cancel()
	at, _ = chromedp.Run(ctx, chromedp.Evaluate[string](`window.askedByTest?.threw ? ', which threw ' + window.askedByTest.threw : ''`)) // a page that does not answer says nothing
	return at
}

// ask is await's question in JavaScript: a promise of the function's value, given in JSON what
// it takes. An element that is not there yet is null, and what reads it throws a TypeError: it
// is looked at again. A tab has one question at a time: one that was given up, since its answer did not
// come, ends with the next one. It would press a button or fill a field once more, later.
func ask(function string, given []byte) string {
	return fmt.Sprintf(`new Promise((resolve, reject) => {
		const mine = window.askedByTest = {};
		const look = () => {
			if (window.askedByTest !== mine) return stop(resolve, null);
			try {
				const value = (%s)(...%s);
				if (value) stop(resolve, value);
				mine.threw = null;
			} catch (error) {
				if (error instanceof TypeError) mine.threw = error;
				else stop(reject, error);
			}
		};
		const stop = (end, value) => { changes.disconnect(); clearInterval(tick); end(value); };
		const changes = new MutationObserver(look);
		changes.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
		const tick = setInterval(look, %d);
		look();
	})`, function, given, lookAgain.Milliseconds())
}

// Remember keeps every text that an element has from now on, as long as the page is open:
// was(selector, text) reports whether it had that one.
func (b *Tab) Remember(selector string) {
	b.t.Helper()
	await[bool](b, "to watch "+selector, fmt.Sprintf(`(selector) => {
		%s
		if (!scripted() || !node(selector)) return false;
		const texts = ((window.rememberedByTest ??= {})[selector] ??= [text(selector)]);
		new MutationObserver(() => texts.push(text(selector))).observe(document, { childList: true, characterData: true, subtree: true });
		return true;
	}`, words), selector)
}

// Click presses a button or a link, when a person could: it is shown, enabled, in one
// place, and not covered. If it moves away at that very moment, before the mouse is down or
// before it is up again, it is pressed again.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	missed := func() bool { // a page that the click has left may be gone, and the next one knows of no miss
		return await[string](b, "the click on "+selector, `() => window.hitByTest === false ? 'missed' : 'hit'`) == "missed"
	}
	for b.press(selector); missed(); b.press(selector) {
	}
}

func (b *Tab) press(selector string) {
	b.t.Helper()
	at := await[[]float64](b, "to click "+selector, fmt.Sprintf(`(selector) => {
		%s
		const e = node(selector);
		if (!scripted() || !shown(selector) || e.disabled || e.ariaDisabled === 'true') return null;
		e.scrollIntoView({ block: 'nearest', inline: 'nearest', behavior: 'instant' });
		const box = e.getClientRects()[0];
		if (!box) return null;
		const at = [box.x + box.width / 2, box.y + box.height / 2];
		const now = performance.now(), last = e.seenByTest;
		if (last?.at !== String(at)) e.seenByTest = { at: String(at), since: now };
		if (last?.at !== String(at) || now < last.since + %d || !e.contains(document.elementFromPoint(...at))) return null;
		window.hitByTest = false;
		document.addEventListener('click', (event) => { window.hitByTest = e.contains(event.target); }, { capture: true, once: true });
		return at;
	}`, words, lookAgain.Milliseconds()), selector)
	b.Do(chromedp.MouseClickXY(at[0], at[1]))
}

// Fill writes into a field, when a person could, in place of what it holds.
func (b *Tab) Fill(selector, value string) {
	b.t.Helper()
	await[bool](b, "to fill "+selector, fmt.Sprintf(`(selector, value) => {
		%s
		const e = node(selector);
		if (!scripted() || !shown(selector) || e.disabled || e.readOnly) return false;
		e.focus();
		e.value = value;
		for (const name of ['input', 'change']) e.dispatchEvent(new Event(name, { bubbles: true }));
		return true;
	}`, words), selector, value)
}

// Eval returns the text that an expression or a promise in JavaScript gives. It may use
// what Await may use.
func (b *Tab) Eval(expression string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf(`{ %s; %s; %s }`, words, b.Words, expression), chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", expression, err, b.Screen())
	}
	return v
}

// Equal checks the text of an expression, see Eval.
func (b *Tab) Equal(expression, want string) {
	b.t.Helper()
	if got := b.Eval(expression); got != want {
		b.t.Errorf("%s is %q, want %q", expression, got, want)
	}
}

// Screen is what the reader sees, for a failure's message.
func (b *Tab) Screen() string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + '\n' + document.body?.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}
