package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"seckill"
	"seckill/e2e/browser"
)

// TestBrowser drives the pages in a real browser against a scripted API.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chromium := browser.Start(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *buyer)
	}{
		{"the countdown becomes the buy button at the opening by the server's clock", testCountdown},
		{"queued, placed, dialog, yes, order, paid", testPurchase},
		{"no keeps the page, with a link to the order", testDialogNo},
		{"every verdict is a sentence", testVerdicts},
		{"a refusal is a sentence", testRefused},
		{"503 to the buy, and the ticket is found", testUnknownFound},
		{"a lost answer to the buy, and there is no ticket", testUnknownNone},
		{"busy keeps the button quiet for a moment", testBusy},
		{"polling goes on through failures", testPollingGoesOn},
		{"a reload finds the place in the queue", testReloadWhileQueued},
		{"an active order takes the place of the button", testExistingOrder},
		{"a cancelled order's ticket is no answer to a new request", testBuyAgain},
		{"the quantity stays within the limit and is sent", testQuantity},
		{"401 leads to the login and back", testLogin},
		{"the login's errors are sentences", testLoginErrors},
		{"the login leads nowhere else", testNext},
		{"log out", testLogout},
		{"the orders list and the order page", testOrders},
		{"more orders are loaded on demand", testMoreOrders},
		{"cancelling asks first", testCancel},
		{"an unpaid order expires before the reader's eyes", testExpiry},
		{"unknown sales and orders are met kindly", testMissing},
		{"the list has its groups and moves a sale that opens", testList},
		{"the language changes in place and is remembered", testLanguage},
		{"markup in a title is text", testMarkup},
		{"360 pixels are enough", testNarrow},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newBuyer(t, chromium))
		})
	}
}

func testCountdown(t *testing.T, b *buyer) {
	// An hour between the clocks: whoever trusts the local one opens too late.
	b.shop.skew = time.Hour
	const wait = 2500 * time.Millisecond
	b.shop.opensAfterFirstLook(wait)
	b.Open("/sale/1")
	b.Await(`shown('#countdown') && !shown('#buy') && text('[data-part=countdown-label]') === 'Opens in'`)
	b.Await(`shown('#buy') && !buy.disabled && text('#buy') === 'Buy now'`)
	now, opens := b.shop.now(), b.shop.opening()
	if now.Before(opens) {
		t.Errorf("the button came %v before the opening", opens.Sub(now))
	}
	b.Await(`text('[data-part=countdown-label]') === 'Ends in'`)
}

func testPurchase(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", none,
		reply(200, `{"status":"queued","ticket":"%s","position":12}`, anOrder),
		reply(200, `{"status":"queued","ticket":"%s","position":3}`, anOrder),
		placed)
	b.login()
	b.speak("zh-CN")
	b.Open("/sale/1")
	b.Await(`performance.getEntriesByType('resource').some((e) => e.name.endsWith('/ticket'))`)
	b.Click("#buy")
	b.Await(`text('#buy') === '排队中…' && buy.disabled && shown('.spinner')`)
	b.Await(`text('#position') === '排在第 12 位' || document.querySelector('#dialog').open`)
	b.Await(`document.querySelector('#dialog').open`)
	b.Equal(`text('#dialog-text')`, "恭喜你，秒杀成功！查看订单?")
	b.Equal(`text('#dialog-no') + text('#dialog-yes')`, "否是")
	b.Click("#dialog-yes")
	b.Await(`location.pathname === '/order/detail/` + anOrder + `' && text('#order-state') === '待付款'`)
	b.Equal(`text('#order-id')`, anOrder)
	b.Equal(`text('[data-part=amount]')`, "¥99.00")
	b.Equal(`text('#order-item')`, "机械键盘")
	b.Await(`shown('#countdown') && /^\d\d:\d\d:\d\d$/.test(text('[data-part=clock]'))`)
	b.Click("#pay")
	b.Await(`text('#order-state') === '已付款' && !shown('#pay') && !shown('#cancel') && !shown('#countdown')`)
	if got := b.shop.bodies("POST /api/sales/1/ticket"); len(got) != 1 || got[0] != `{"quantity":1}` {
		t.Errorf("the buy requests were %q", got)
	}
}

func testDialogNo(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`document.querySelector('#dialog').open`)
	b.Equal(`text('#dialog-text')`, "Congratulations, it is yours! View the order?")
	b.Click("#dialog-no")
	b.Await(`!document.querySelector('#dialog').open && shown('#view-order') && !shown('#buy') && location.pathname === '/sale/1'`)
	b.Equal(`document.querySelector('#view-order').pathname`, "/order/detail/"+anOrder)
}

func testVerdicts(t *testing.T, b *buyer) {
	for code, want := range map[string]string{
		"sold_out": "Sorry, sold out. Units that nobody pays for come back here.",
		"not_open": "Not open yet. Watch the countdown.",
		"ended":    "This sale has ended.",
		"paused":   "This sale is paused. You can buy when it resumes.",
		"limit":    "You already take part in this sale with another quantity. One order per buyer.",
	} {
		b.shop.script("POST /api/sales/1/ticket", problem(409, code))
		b.shop.script("GET /api/sales/1/ticket", none)
		b.Open("/sale/1")
		b.Click("#buy")
		b.Await(fmt.Sprintf(`text('#status') === %q`, want))
		if code == "sold_out" {
			// Not for ever: the sale is looked at again, and has units.
			b.Await(`!buy.disabled`)
		}
	}
}

func testRefused(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", reply(200, `{"status":"refused","ticket":"%s","reason":"sold_out"}`, anOrder))
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`text('#status') === 'Sorry, you did not get it: no unit was left.' && !buy.disabled`)
	b.shop.script("GET /api/sales/1/ticket", reply(200, `{"status":"refused","ticket":"%s","reason":"of_tomorrow"}`, anOrder))
	b.Click("#buy")
	b.Await(`text('#status') === 'Sorry, you did not get it.'`)
}

func testUnknownFound(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", problem(503, "unavailable"))
	b.shop.script("GET /api/sales/1/ticket", problem(503, "unavailable"), reply(502, `<h1>bad gateway</h1>`), queuedAt(5), placed)
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`document.querySelector('#dialog').open`)
	if n := len(b.shop.bodies("POST /api/sales/1/ticket")); n != 1 {
		t.Errorf("%d buy requests, want 1", n)
	}
}

func testUnknownNone(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", hangUp)
	b.shop.script("GET /api/sales/1/ticket", none)
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`text('#status') === 'You are not in the queue. Please try again.' && !buy.disabled`)
	if b.shop.count("GET /api/sales/1/ticket") == 0 {
		t.Error("the buyer was told to try again before anybody asked for the ticket")
	}
}

func testBusy(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", problem(503, "busy", "Retry-After", "1"))
	b.shop.script("GET /api/sales/1/ticket", none)
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`text('#status').startsWith('Too many buyers right now') && buy.disabled`)
	b.Await(`text('#status').startsWith('Too many buyers right now') && !buy.disabled`)
}

func testPollingGoesOn(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", problem(503, "unavailable", "Retry-After", "1"), reply(502, `<h1>bad gateway</h1>`),
		problem(429, "too_many_requests"), queuedAt(2), placed)
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`text('#status').includes('The connection is slow')`)
	b.Await(`document.querySelector('#dialog').open`)
}

func testReloadWhileQueued(t *testing.T, b *buyer) {
	b.shop.script("GET /api/sales/1/ticket", queuedAt(40), queuedAt(40), queuedAt(39), placed)
	b.login()
	b.Open("/sale/1")
	b.Await(`text('#buy') === 'Queued…' && buy.disabled`)
	b.Await(`document.querySelector('#dialog').open`)
	if n := len(b.shop.bodies("POST /api/sales/1/ticket")); n != 0 {
		t.Errorf("%d buy requests, want none", n)
	}
}

func testExistingOrder(t *testing.T, b *buyer) {
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.login()
	b.Open("/sale/1")
	b.Await(`shown('#view-order') && !shown('#buy') && text('#status') === 'You got one. Your order is waiting for payment.'`)
	if b.Eval(`String(document.querySelector('#dialog').open)`) != "false" {
		t.Error("the dialog congratulates on an old order")
	}
}

func testBuyAgain(t *testing.T, b *buyer) {
	b.shop.order.State = seckill.Cancelled
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.shop.script("POST /api/sales/1/ticket", hangUp)
	b.login()
	b.Open("/sale/1")
	b.Await(`performance.getEntriesByType('resource').some((e) => e.name.includes('/api/orders/'))`)
	b.Click("#buy")
	b.Await(`text('#status') === 'You are not in the queue. Please try again.'`)
}

func testQuantity(t *testing.T, b *buyer) {
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.LimitPerBuyer = 3 })
	b.shop.script("POST /api/sales/1/ticket", problem(409, "sold_out"))
	b.Open("/sale/1")
	b.Await(`shown('#quantity') && document.querySelector('#fewer').disabled`)
	b.Click("#more")
	b.Click("#more")
	b.Await(`text('#quantity-value') === '3' && document.querySelector('#more').disabled`)
	b.Click("#buy")
	// Fewer than three are left, yet one may still be: the sale is not over.
	b.Await(`text('#status').startsWith('Fewer than 3 units') && !buy.disabled`)
	if got := b.shop.bodies("POST /api/sales/1/ticket"); len(got) != 1 || got[0] != `{"quantity":3}` {
		t.Errorf("the buy requests were %q", got)
	}
}

func testLogin(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", problem(401, "unauthorized"))
	b.Open("/sale/1")
	b.Equal(`node('#login').search`, "?next=%2Fsale%2F1")
	b.Click("#buy")
	b.Await(`location.pathname === '/login' && location.search === '?next=%2Fsale%2F1'`)
	b.fill("ada", "correct horse")
	b.Click("#login-submit")
	b.Await(`location.pathname === '/sale/1' && !shown('#login') && shown('#logout') && text('#buyer') === 'ada'`)
	b.Await(`shown('#buy')`)
	if got := b.shop.bodies("POST /api/login"); len(got) != 1 || got[0] != `{"name":"ada","password":"correct horse"}` {
		t.Errorf("the login requests were %q", got)
	}
}

func testLoginErrors(t *testing.T, b *buyer) {
	b.Open("/login")
	b.Click("#login-submit")
	b.Await(`text('#status') === 'Please fill in a name and a password.'`)
	b.fill("ada", "secret")
	for code, want := range map[string]string{
		"unauthorized":      "Wrong name or password.",
		"too_many_requests": "Too many tries. Please wait a moment and try again.",
		"unavailable":       "The service is not available right now. Please try again shortly.",
	} {
		b.shop.script("POST /api/login", problem(401, code))
		b.Click("#login-submit")
		b.Await(fmt.Sprintf(`text('#status') === %q`, want))
	}
	for code, want := range map[string]string{
		"name_taken":    "This name is taken. Please choose another one.",
		"weak_password": "This password is too short or too simple. Please choose a longer one. (details)",
		"invalid_field": "That does not look right. Please check your input. (details)",
	} {
		b.shop.script("POST /api/register", problem(422, code))
		b.Click("#register-submit")
		b.Await(fmt.Sprintf(`text('#status') === %q`, want))
	}
	b.shop.script("POST /api/register", reply(201, `{"token":"t","buyer":"ada"}`))
	b.Click("#register-submit")
	b.Await(`location.pathname === '/' && text('#buyer') === 'ada'`)
}

func testNext(t *testing.T, b *buyer) {
	b.Open("/login")
	got := b.Eval(`(async () => {
		const { next } = await import(document.querySelector('script').src);
		const wishes = ['/orders', '/sale/1?a=b#c', '', 'orders', '//evil.example', '/\\evil.example', '/\t/evil.example',
			'/.//evil.example', 'https://evil.example/', 'javascript:alert(1)', '\\/evil.example', ' //evil.example'];
		return JSON.stringify(wishes.map((w) => {
			const to = new URL(next('?next=' + encodeURIComponent(w)), location.href);
			return to.origin === location.origin ? to.pathname + to.search + to.hash : to.href;
		}));
	})()`)
	const want = `["/orders","/sale/1?a=b#c","/","/","/","/","/","//evil.example","/","/","/","/"]`
	if got != want {
		t.Errorf("next leads to\n%s, want\n%s", got, want)
	}
}

func testLogout(t *testing.T, b *buyer) {
	b.login()
	b.Open("/orders")
	b.Await(`document.querySelectorAll('#orders li').length === 1`)
	b.Click("#logout")
	b.Await(`location.pathname === '/' && shown('#login') && !shown('#logout')`)
	b.Open("/orders")
	b.Await(`location.pathname === '/login' && location.search === '?next=%2Forders'`)
}

func testOrders(t *testing.T, b *buyer) {
	b.login()
	b.Open("/orders")
	b.Await(`text('#orders [data-part=title]') === '机械键盘' && text('#orders .badge') === 'Unpaid'`)
	b.Click("#orders a")
	b.Await(`text('#order-id') === '` + anOrder + `' && shown('#pay') && shown('#cancel')`)
	// The time to pay has ended on the server while the page still showed it.
	b.shop.script("POST /api/orders/"+anOrder+"/pay", problem(409, "state"))
	b.shop.setOrder(seckill.Expired)
	b.Click("#pay")
	b.Await(`text('#order-state') === 'Expired' && text('#status').startsWith('The order has changed')`)
}

func testMoreOrders(t *testing.T, b *buyer) {
	const order = `{"id":"%s","sale":"%d","quantity":1,"amount":9900,"currency":"CNY","state":"paid","created_at":"2026-11-11T12:00:00Z"}`
	b.shop.script("GET /api/orders",
		reply(200, `{"items":[`+order+`,`+order+`],"next":"2/3"}`, anOrder, 1, anOrder, 404),
		reply(200, `{"items":[`+order+`]}`, anOrder, 1))
	b.login()
	b.Open("/orders")
	b.Await(`document.querySelectorAll('#orders li').length === 2 && text('#orders li:nth-child(2) strong') === 'Item #404'`)
	b.Click("#more")
	b.Await(`document.querySelectorAll('#orders li').length === 3 && !shown('#more')`)
	b.Await(`performance.getEntriesByType('resource').some((e) => e.name.endsWith('/api/orders?cursor=2%2F3'))`)
}

func testCancel(t *testing.T, b *buyer) {
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.Click("#cancel")
	b.Await(`document.querySelector('#dialog').open && document.activeElement.id === 'dialog-no'`)
	b.Click("#dialog-no")
	b.Await(`!document.querySelector('#dialog').open`)
	b.Equal(`text('#order-state')`, "Unpaid")
	b.Click("#cancel")
	b.Click("#dialog-yes")
	b.Await(`text('#order-state') === 'Cancelled' && !shown('#pay') && !shown('#cancel')`)
	if n := b.shop.count("POST /api/orders/" + anOrder + "/cancel"); n != 1 {
		t.Errorf("%d cancel requests, want 1", n)
	}
}

func testExpiry(t *testing.T, b *buyer) {
	b.shop.order.ExpiresAt = b.shop.now().Add(2 * time.Second)
	b.shop.script("GET /api/orders/"+anOrder, unpaidOrder, unpaidOrder, expiredOrder)
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.Await(`text('#status') === 'The time to pay is over. Updating the order…' && document.querySelector('#pay').disabled`)
	b.Await(`text('#order-state') === 'Expired' && text('#status') === ''`)
}

func testMissing(t *testing.T, b *buyer) {
	b.login()
	b.Open("/sale/404")
	b.Await(`shown('#missing') && !shown('#sale') && text('#missing h1') === 'This sale was not found'`)
	b.Open("/order/detail/" + strings.Repeat("0", 26))
	b.Await(`shown('#missing') && !shown('#order') && text('#missing h1') === 'This order was not found'`)
	b.Open("/nowhere")
	b.Await(`text('h1') === 'Page not found'`)
}

func testList(t *testing.T, b *buyer) {
	b.shop.put(seckill.Sale{ID: 2, Title: "soon", OpensAt: b.shop.now().Add(time.Hour)})
	b.shop.put(seckill.Sale{ID: 3, Title: "over", ClosesAt: b.shop.now().Add(-time.Minute)})
	b.shop.put(seckill.Sale{ID: 4, Title: "opening"})
	b.shop.sales["4"].opensAfterFirstLook(2500*time.Millisecond, b.shop.now)
	b.Open("/")
	b.Await(`document.querySelector('[data-group=soon] [data-sale="4"]')`)
	b.Await(`document.querySelector('[data-group=now] [data-sale="1"] .badge[data-state=open]')`)
	b.Await(`document.querySelector('[data-group=soon] [data-sale="2"]') && document.querySelector('[data-group=over] [data-sale="3"]')`)
	b.Equal(`text('[data-sale="1"] [data-part=left]')`, "120 of 500 left")
	b.Equal(`text('[data-sale="1"] [data-part=price]') + text('[data-sale="1"] s')`, "¥99¥299")
	b.Await(`/^Opens in \d\d:\d\d:\d\d$/.test(text('[data-sale="2"] [data-part=clock]'))`)
	b.Await(`document.querySelector('[data-group=now] [data-sale="4"] .badge[data-state=open]')`)
	b.Click(`[data-sale="1"]`)
	b.Await(`location.pathname === '/sale/1' && text('h1') === '机械键盘'`)
}

func testLanguage(t *testing.T, b *buyer) {
	b.Open("/sale/1")
	b.Await(`document.documentElement.lang === 'en' && text('#buy') === 'Buy now' && text('#lang') === '中文'`)
	b.Click("#lang")
	b.Await(`document.documentElement.lang === 'zh-CN' && text('#buy') === '立即抢购' && text('#lang') === 'English' && document.title === '机械键盘 · 秒杀'`)
	b.Open("/")
	b.Await(`document.documentElement.lang === 'zh-CN' && text('h1') === '全部秒杀' && text('.badge') === '抢购中'`)
	b.Click("#lang")
	b.Await(`document.documentElement.lang === 'en' && text('.badge') === 'On sale' && text('nav a') === 'Orders'`)
	b.Equal(`document.querySelector('nav').getAttribute('aria-label')`, "Main")
}

func testMarkup(t *testing.T, b *buyer) {
	const title = `<img src=x onerror="document.title=1"><script>document.title=1</script>`
	b.shop.sales["1"].update(func(s *seckill.Sale) {
		s.Title, s.Description, s.Image = title, title, "/static/nothing.svg"
	})
	b.Open("/sale/1")
	b.Await(fmt.Sprintf(`text('h1') === %q && text('[data-part=description]') === %q`, title, title))
	b.Await(`document.querySelector('.picture .placeholder')`) // the image does not exist
	b.Open("/")
	b.Await(fmt.Sprintf(`text('[data-sale="1"] h3') === %q`, title))
}

func testNarrow(t *testing.T, b *buyer) {
	b.shop.sales["1"].update(func(s *seckill.Sale) {
		s.Title = strings.Repeat("Supercalifragilisticexpialidocious", 3)
		s.LimitPerBuyer, s.Price, s.ListPrice = 5, seckill.MaxPrice, seckill.MaxPrice+1
	})
	b.shop.put(seckill.Sale{ID: 2, OpensAt: b.shop.now().Add(400 * time.Hour)})
	b.login()
	b.Do(chromedp.EmulateViewport(360, 740))
	for _, language := range []string{"en", "zh-CN"} {
		b.speak(language)
		for page, ready := range map[string]string{
			"/":                        `document.querySelector('[data-sale="2"]')`,
			"/sale/1":                  `shown('#buy')`,
			"/sale/2":                  `shown('#countdown')`,
			"/login":                   `shown('#login-form')`,
			"/orders":                  `document.querySelector('#orders li')`,
			"/order/detail/" + anOrder: `shown('#pay')`,
			"/nowhere":                 `shown('h1')`,
		} {
			b.Open(page)
			b.Await(ready)
			if w := b.Eval(`const { scrollWidth, clientWidth } = document.documentElement;
				innerWidth === 360 && scrollWidth <= clientWidth ? '' : scrollWidth + ' of ' + clientWidth`); w != "" {
				t.Errorf("%s in %s is %s pixels wide", page, language, w)
			}
			if small := b.Eval(`[...document.querySelectorAll('a, button, input')]
				.filter((e) => e.checkVisibility() && !e.classList.contains('skip') && Math.min(e.offsetHeight, e.offsetWidth) < 44)
				.map((e) => e.outerHTML).join('\n')`); small != "" {
				t.Errorf("%s in %s has small targets:\n%s", page, language, small)
			}
		}
	}
}

// --- the buyer: one browser tab with its own cookies, in front of its own shop

type buyer struct {
	*browser.Tab
	t    *testing.T
	shop *shop
}

func newBuyer(t *testing.T, chromium *browser.Browser) *buyer {
	t.Helper()
	s := newShop()
	mux := http.NewServeMux()
	mux.Handle("/api/", s)
	pages := Handler()
	for _, pattern := range Routes() {
		mux.Handle(pattern, pages)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b := &buyer{chromium.Tab(t, server.URL), t, s}
	b.Words = `const buy = node('#buy');`
	return b
}

func (b *buyer) fill(name, password string) {
	b.t.Helper()
	b.Fill("[name=name]", name)
	b.Fill("[name=password]", password)
}

// login logs in without the pages.
func (b *buyer) login() {
	b.t.Helper()
	b.Open("/nowhere")
	b.Eval(`fetch('/api/login', { method: 'POST', body: '{}' }).then(() => localStorage.setItem('seckill.buyer', 'ada')).then(() => '')`)
}

func (b *buyer) speak(language string) {
	b.t.Helper()
	b.Open("/nowhere")
	b.Eval(fmt.Sprintf(`localStorage.setItem('seckill.lang', '%s'); ''`, language))
}

// --- the shop: a fake of the JSON API ----------------------------------------

// shop keeps the contract for what a test does not script: sales, one order,
// login. A cookie's presence is its authentication.
type shop struct {
	skew time.Duration // how far its clock is ahead

	mu      sync.Mutex
	sales   map[string]*item
	order   *seckill.Order
	scripts map[string][]answer
	log     map[string][]string // method and path → bodies
}

type answer func(w http.ResponseWriter, s *shop)

func newShop() *shop {
	s := &shop{sales: map[string]*item{}, scripts: map[string][]answer{}, log: map[string][]string{}}
	s.put(seckill.Sale{ID: 1, Title: "机械键盘"})
	now := s.now()
	s.order = &seckill.Order{
		ID: anOrder, Sale: 1, Ticket: anOrder, Quantity: 1, Amount: 9900, Currency: "CNY",
		State: seckill.Unpaid, CreatedAt: now, ExpiresAt: now.Add(15 * time.Minute),
	}
	return s
}

func (s *shop) now() time.Time { return time.Now().Add(s.skew) }

// item is a sale on the shelf.
type item struct {
	mu   sync.Mutex
	sale seckill.Sale
	left int64
	wait time.Duration // opens so long after somebody first looks at it
	now  func() time.Time
}

func (s *shop) put(sale seckill.Sale) {
	now := s.now()
	if sale.Title == "" {
		sale.Title = "item"
	}
	if sale.OpensAt.IsZero() {
		sale.OpensAt = now.Add(-time.Hour)
	}
	if sale.ClosesAt.IsZero() {
		sale.ClosesAt = sale.OpensAt.Add(72 * time.Hour)
	}
	sale.Price, sale.ListPrice, sale.Currency = 9900, 29900, "CNY"
	sale.Total, sale.LimitPerBuyer, sale.HoldSeconds = 500, 1, 900
	s.sales[sale.ID.String()] = &item{sale: sale, left: 120}
}

func (i *item) update(change func(*seckill.Sale)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.sale)
}

// opensAfterFirstLook keeps a slow machine from missing the countdown.
func (i *item) opensAfterFirstLook(wait time.Duration, now func() time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.wait, i.now = wait, now
	i.sale.OpensAt = now().Add(24 * time.Hour)
	i.sale.ClosesAt = now().Add(48 * time.Hour)
}

func (i *item) show(now time.Time) seckill.Sale {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.wait > 0 {
		i.sale.OpensAt, i.wait = i.now().Add(i.wait), 0
	}
	return i.sale.Show(now, i.left)
}

func (s *shop) opensAfterFirstLook(wait time.Duration) { s.sales["1"].opensAfterFirstLook(wait, s.now) }

func (s *shop) opening() time.Time {
	i := s.sales["1"]
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sale.OpensAt
}

func (s *shop) setOrder(state seckill.OrderState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order.State = state
}

// script sets the answers to a method and path, one after the other; the last
// one stays.
func (s *shop) script(what string, answers ...answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[what] = answers
}

func (s *shop) bodies(what string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log[what]...)
}

func (s *shop) count(what string) int { return len(s.bodies(what)) }

func reply(status int, format string, args ...any) answer {
	return func(w http.ResponseWriter, _ *shop) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, format, args...)
	}
}

func problem(status int, code string, header ...string) answer {
	return func(w http.ResponseWriter, s *shop) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		reply(status, `{"type":"about:blank","title":"t","status":%d,"code":"%s","detail":"details"}`, status, code)(w, s)
	}
}

func queuedAt(position int) answer {
	return reply(200, `{"status":"queued","ticket":"%s","position":%d,"poll_after_ms":100}`, anOrder, position)
}

// hangUp closes the connection without an answer.
func hangUp(http.ResponseWriter, *shop) { panic(http.ErrAbortHandler) }

func orderIn(state seckill.OrderState) answer {
	return func(w http.ResponseWriter, s *shop) {
		s.mu.Lock()
		o := *s.order
		s.mu.Unlock()
		o.State = state
		json.NewEncoder(w).Encode(o)
	}
}

var (
	queued       = reply(202, `{"status":"queued","ticket":"%s","poll_after_ms":100}`, anOrder)
	placed       = reply(200, `{"status":"placed","ticket":"%s","order":"%s"}`, anOrder, anOrder)
	none         = problem(404, "not_found")
	unpaidOrder  = orderIn(seckill.Unpaid)
	expiredOrder = orderIn(seckill.Expired)
)

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := r.Method + " " + r.URL.Path
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.log[what] = append(s.log[what], string(body))
	var scripted answer
	if list := s.scripts[what]; len(list) > 0 {
		scripted = list[0]
		if len(list) > 1 {
			s.scripts[what] = list[1:]
		}
	}
	s.mu.Unlock()
	if scripted != nil {
		scripted(w, s)
		return
	}
	s.serve(w, r)
}

func (s *shop) serve(w http.ResponseWriter, r *http.Request) {
	send := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/"), "/")
	cookie, _ := r.Cookie("seckill_session")
	switch {
	case parts[0] == "login":
		http.SetCookie(w, &http.Cookie{Name: "seckill_session", Value: "x", Path: "/", HttpOnly: true})
		send(map[string]string{"token": "t", "buyer": "ada"})
	case parts[0] == "logout":
		http.SetCookie(w, &http.Cookie{Name: "seckill_session", Path: "/", MaxAge: -1})
		w.WriteHeader(http.StatusNoContent)
	case parts[0] == "sales" && len(parts) == 1:
		items := []seckill.Sale{}
		for _, i := range s.sales {
			items = append(items, i.show(s.now()))
		}
		send(map[string]any{"items": items})
	case parts[0] == "sales" && len(parts) == 2 && s.sales[parts[1]] != nil:
		send(s.sales[parts[1]].show(s.now()))
	case parts[0] == "sales" && len(parts) == 2:
		none(w, s)
	case cookie == nil:
		problem(401, "unauthorized")(w, s)
	case parts[0] == "orders":
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case len(parts) == 1:
			send(map[string]any{"items": []seckill.Order{*s.order}})
			return
		case parts[1] != s.order.ID:
			w.WriteHeader(http.StatusNotFound)
			return
		case len(parts) == 3 && parts[2] == "pay":
			s.order.State = seckill.Paid
		case len(parts) == 3 && parts[2] == "cancel":
			s.order.State = seckill.Cancelled
		}
		send(s.order)
	default:
		none(w, s)
	}
}
