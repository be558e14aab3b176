package browser

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

const cleanTime = 20 * time.Second // for a tab to become clean; it takes a tenth of a second

// Keep opens a tab that outlives the test, for other tests that look at the same site one
// after the other: Clean it after each, and give it to the next with For. A page of the site
// that was there before opens in the same renderer, with less than half of the processor
// time that it takes in a new tab. The tab ends with the browser, or by Close.
func (b *Browser) Keep(t testing.TB, url string) *Tab {
	t.Helper()
	tab := b.open(t, url, &b.listeners)
	tab.owner = b.t
	return tab
}

// For is a tab that was cleaned, or not used yet, for another test.
func (b *Tab) For(t testing.TB) *Tab {
	b.console.belongs(t)
	return &Tab{URL: b.URL, t: t, owner: b.owner, ctx: b.ctx, close: b.close, console: b.console}
}

// Close closes a tab that is kept.
func (b *Tab) Close() {
	b.console.belongs(b.owner)
	b.close()
}

// Clean ends a test's use of the tab, and takes back what the test has done to it: pages,
// cookies, stores, history, viewport, media, and where the mouse is. The path is that of an
// empty page of the site. What is cached stays, see Forget, and so does what else a test has
// asked of the browser by its protocol: such a tab is to be closed, as is one whose Clean
// fails. All that the test's pages have complained of has failed it once Clean returns.
func (b *Tab) Clean(empty string) error {
	ctx, cancel := context.WithTimeout(b.ctx, cleanTime)
	defer cancel()
	mark, heard := b.console.mark()
	err := chromedp.Do(ctx,
		chromedp.Navigate(b.URL+empty),
		tell(network.ClearBrowserCookies, cdp.Empty{}),
		tell(storage.ClearDataForOrigin, storage.ClearDataForOriginParams{Origin: b.URL, StorageTypes: "all"}),
		tell(page.ResetNavigationHistory, cdp.Empty{}),
		tell(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{}),
		tell(input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: "mouseMoved", X: -1, Y: -1}),
		chromedp.EmulateViewport(width, height), // to take back the override would leave the window as it is
	)
	if err != nil {
		return err
	}
	_, err = chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf(`sessionStorage.clear(); window.name = ''; console.log(%q); ''`, mark)))
	if err != nil {
		return err
	}
	select {
	case <-heard:
		b.console.belongs(b.owner)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the console of the tab: %w", ctx.Err())
	}
}

// Forget empties the caches of the tab.
func (b *Tab) Forget() {
	b.t.Helper()
	b.Do(
		tell(network.ClearBrowserCache, cdp.Empty{}),
		tell(network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true}), // drops what the renderer has in its memory, too
		tell(network.SetCacheDisabled, network.SetCacheDisabledParams{}),
	)
}

func tell[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// console hears what the pages of a tab complain of, for the test that uses it.
type console struct {
	mu    sync.Mutex
	t     testing.TB
	text  string        // is no complaint: the end of a test's use
	heard chan struct{} // is closed with it
	marks int
}

// belongs says whose complaints are heard from now on: a test that has ended cannot fail.
func (c *console) belongs(t testing.TB) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

// mark makes a text, and a channel that is closed once the pages have said it.
func (c *console) mark() (string, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks++
	c.text, c.heard = fmt.Sprintf("the end of test %d in this tab", c.marks), make(chan struct{})
	return c.text, c.heard
}

func (c *console) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return
		}
		c.hear(m)
	}
}

func (c *console) hear(m chromedp.ConsoleMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.text != "" && m.Text == c.text:
		close(c.heard)
		c.text = ""
	case m.Source != "network":
		c.t.Errorf("the page complains: %s", m)
	}
}
