package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"seckill/e2e/node"
)

// A person buys in a real browser from a real node: register, buy, wait in the
// queue, be congratulated, look at the order, pay.
func TestBrowserPurchase(t *testing.T) {
	t.Parallel()
	n := start(t, node.Config{})
	sale := admin(t, n).creates(5, 1)
	p := openBrowser(t, n.URL)

	p.open("/sale/" + sale)
	p.await(`localStorage.setItem('seckill.lang', 'zh-CN') === undefined`)
	p.open("/sale/" + sale)
	p.click("#buy") // not logged in: this leads to the login, and back
	p.await(`location.pathname === '/login' && document.readyState === 'complete' && shown('[name=password]')`)
	p.do(chromedp.SetValue(chromedp.CSS(`[name=name]`), "小明"), chromedp.SetValue(chromedp.CSS(`[name=password]`), "correct horse battery"))
	p.click("#register-submit")
	p.await(`location.pathname === '/sale/` + sale + `' && text('#buyer') === '小明'`)

	p.click("#buy")
	p.await(`text('#buy') === '排队中…'`)
	p.await(`document.querySelector('#dialog').open && text('#dialog-text') === '恭喜你，秒杀成功！查看订单?'`)
	p.await(`text('#dialog-no') === '否' && text('#dialog-yes') === '是'`)
	p.click("#dialog-yes")
	p.await(`/^\/order\/detail\/[0-9A-Z]{26}$/.test(location.pathname) && text('#order-state') === '待付款'`)
	p.await(`location.pathname.endsWith(text('#order-id'))`)
	p.click("#pay")
	p.await(`text('#order-state') === '已付款' && !shown('#pay')`)

	if a := admin(t, n).audits(sale); a.Active != 1 || a.Gate != 4 {
		t.Errorf("after one purchase the audit is %+v", a)
	}
}

// person is somebody in front of a browser.
type person struct {
	t   *testing.T
	ctx context.Context
	url string
}

// openBrowser starts Chromium, or skips the test, loudly, where there is none.
// With SECKILL_REQUIRE=1 its absence is a failure.
func openBrowser(t *testing.T, url string) *person {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("SECKILL_REQUIRE") == "1" {
			t.Fatalf("chromium is required and missing: %v", err)
		}
		t.Skip("\n*** NO BROWSER: the purchase in a real browser is NOT tested. Install chromium. ***")
	}
	dir := t.TempDir()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en-US"),
		chromedp.Env("TMPDIR="+dir, "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("stop the browser: %v", err)
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return &person{t, ctx, url}
}

func (p *person) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%v\n%s", err, p.screen())
	}
}

func (p *person) open(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.url + path))
}

func (p *person) click(selector string) {
	p.t.Helper()
	p.await(fmt.Sprintf(`shown('%s') && !document.querySelector('%s').disabled`, selector, selector))
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

// await waits until the condition holds, over navigations.
func (p *person) await(condition string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	predicate := fmt.Sprintf(`() => {
		const text = (s) => document.querySelector(s)?.textContent.trim();
		const shown = (s) => Boolean(document.querySelector(s)?.checkVisibility({ visibilityProperty: true }));
		return Boolean(%s);
	}`, condition)
	for {
		_, err := chromedp.Run(ctx, chromedp.PollFunction[bool](predicate,
			chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(0)))
		if err == nil {
			return
		}
		var thrown *chromedp.ExceptionError
		if ctx.Err() != nil || errors.As(err, &thrown) {
			p.t.Fatalf("waited for %s: %v\n%s", condition, err, p.screen())
		}
		// The page went away under the question: ask the next one.
	}
}

// screen is what the person sees, for a failure's message.
func (p *person) screen() string {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + '\n' + document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}
