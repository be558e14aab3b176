package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"seckill"
)

// browserTest is something that is done in a real browser.
type browserTest struct {
	name string
	test func(*testing.T, *buyer)
}

// TestBrowser drives the pages in a real browser against a scripted API.
func TestBrowser(t *testing.T) {
	t.Parallel()
	all := newPlaces(t)
	for _, c := range slices.Concat(purchaseTests, truthTests, orderTests, listTests, peopleTests, passTests, deskTests) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newBuyer(t, all))
		})
	}
}

// purchaseTests are about the way from the sale to the order.
var purchaseTests = []browserTest{
	{"the countdown becomes the buy button at the opening by the server's clock", testCountdown},
	{"queued, placed, dialog, yes, order, paid", testPurchase},
	{"no keeps the page, with a link to the order", testDialogNo},
	{"every verdict is a sentence", testVerdicts},
	{"a refusal is a sentence", testRefused},
	{"503 to the buy, and the ticket is found", testUnknownFound},
	{"a lost answer to the buy, and there is no ticket", testUnknownNone},
	{"a full queue is tried again by itself", testBusy},
	{"who does not want to try again stops it", testBusyStopped},
	{"polling goes on through failures", testPollingGoesOn},
	{"a new order is asked for with patience", testOrderWithPatience},
	{"a reload finds the place in the queue", testReloadWhileQueued},
	{"after a reload the dialog names what was bought", testReloadBoughtThree},
	{"an active order takes the place of the button", testExistingOrder},
	{"a cancelled order's ticket is no answer to a new request", testBuyAgain},
	{"the quantity stays within the limit and is sent", testQuantity},
	{"401 leads to the login, and the purchase goes on after it", testLogin},
	{"a link cannot press the button", testNoForeignPress},
	{"the login's errors are sentences", testLoginErrors},
	{"registration is a form of its own", testRegister},
	{"the login leads nowhere else", testNext},
	{"log out", testLogout},
}

func testCountdown(t *testing.T, b *buyer) {
	// An hour between the clocks: whoever trusts the local one opens too late.
	b.shop.skew = time.Hour
	const wait = 2500 * time.Millisecond
	b.shop.opensAfterFirstLook(wait)
	b.login()
	b.Open("/sale/1")
	b.Await(`shown('#countdown') && shown('#buy') && !can('#buy') && text('#buy') === 'Not open yet' && text('[data-part=countdown-label]') === 'Opens in'`)
	place := b.Eval(`String(Math.round(node('#buy').getBoundingClientRect().height))`)
	b.Await(`can('#buy') && text('#buy') === 'Buy now'`)
	// The page knows the shop's clock to within half of the way there and back. What it sends
	// is on its way as long, so a press is never too early.
	const doubt = 500 * time.Millisecond
	now, opens := b.shop.now(), b.shop.opening()
	if now.Before(opens.Add(-doubt)) {
		t.Errorf("the button came %v before the opening", opens.Sub(now))
	}
	b.Equal(`String(Math.round(node('#buy').getBoundingClientRect().height))`, place)
	b.Await(`text('[data-part=countdown-label]') === 'Ends in'`)
}

func testPurchase(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", none,
		reply(200, `{"status":"queued","ticket":"%s","position":12,"wait_ms":8000}`, anOrder),
		reply(200, `{"status":"queued","ticket":"%s","position":12,"wait_ms":8000}`, anOrder),
		reply(200, `{"status":"queued","ticket":"%s","position":3}`, anOrder),
		placed)
	b.login()
	b.speak("zh-CN")
	b.Open("/sale/1")
	b.awaitTicket()
	b.Remember("#buy")
	b.Remember("#status")
	b.Remember("#position")
	b.Remember("title")
	b.Click("#buy")
	b.Await(`node('#dialog').open`)
	b.saw("提交中…", "排队中…", "已进入队列。可以离开本页，结果会出现在“我的订单”里。", "排在第 12 位，预计还需约 8 秒", "【第 12 位】 机械键盘 · 秒杀")
	b.Await(`document.title === '【抢到了】 机械键盘 · 秒杀'`)
	b.Equal(`text('#dialog-text')`, "恭喜你，秒杀成功！查看订单?")
	b.Equal(`text('#dialog-no') + text('#dialog-yes')`, "否是")
	b.Equal(`[...document.querySelectorAll('#dialog-facts li')].map((e) => e.textContent).join('|')`, "机械键盘 × 1|应付 ¥99.00|请在 15 分钟内支付")
	b.Click("#dialog-yes")
	b.Await(`location.pathname === '/order/detail/` + anOrder + `' && text('#order-state') === '待支付'`)
	b.Equal(`text('#order-id')`, anOrder)
	b.Equal(`text('[data-part=amount]')`, "¥99.00")
	b.Equal(`text('#order-item')`, "机械键盘")
	b.Await(`shown('#countdown') && /^1[45]:\d\d$/.test(text('[data-part=clock]'))`)
	b.Click("#pay")
	b.Await(`text('#order-state') === '已支付' && text('#pay') === '我的订单' && !shown('#cancel') && !shown('#countdown')`)
	if got := b.shop.bodies("POST /api/sales/1/ticket"); len(got) != 1 || got[0] != `{"quantity":1}` {
		t.Errorf("the buy requests were %q", got)
	}
}

func testDialogNo(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.login()
	b.shop.script("GET /api/sales/1/ticket", none, placed)
	b.Open("/sale/1")
	b.awaitTicket()
	b.Click("#buy")
	b.Await(`node('#dialog').open`)
	b.Equal(`text('#dialog-text')`, "Congratulations, it is yours! View the order?")
	b.Click("#dialog-no")
	b.Await(`!node('#dialog').open && shown('#view-order') && !shown('#buy') && location.pathname === '/sale/1'`)
	b.focused("view-order")
	b.Equal(`node('#view-order').pathname`, "/order/detail/"+anOrder)
}

func testVerdicts(t *testing.T, b *buyer) {
	b.login()
	i := b.shop.sales["1"]
	for code, c := range map[string]struct {
		then func() // what the sale is when it is looked at again
		want string
	}{
		"sold_out": {func() { i.leave(0) }, "Sold out. Units that nobody pays for come back, and this page will say so."},
		"ended":    {func() { i.update(func(s *seckill.Sale) { s.Ended = true }) }, "This sale has ended."},
		"paused":   {func() { i.update(func(s *seckill.Sale) { s.Paused = true }) }, "This sale is paused. You can buy when it resumes."},
		"limit":    {func() {}, "You already have an order in this sale. One order per buyer."},
		"tomorrow": {func() {}, "You cannot buy this right now."},
	} {
		i.update(func(s *seckill.Sale) { s.Ended, s.Paused = false, false })
		i.leave(120)
		b.shop.script("POST /api/sales/1/ticket", func(w responseWriter, s *shop) {
			c.then()
			problem(409, code)(w, s)
		})
		b.shop.script("GET /api/sales/1/ticket", none)
		b.Open("/sale/1")
		b.Click("#buy")
		b.sentence(c.want)
	}
}

func testRefused(t *testing.T, b *buyer) {
	b.login()
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", none, reply(200, `{"status":"refused","ticket":"%s","reason":"poison"}`, anOrder))
	b.Open("/sale/1")
	b.awaitTicket()
	b.Click("#buy")
	b.Await(`text('#status').startsWith('You did not get it: the request could not be processed.') && can('#buy')`)
	b.shop.script("GET /api/sales/1/ticket", reply(200, `{"status":"refused","ticket":"%s","reason":"of_tomorrow"}`, anOrder))
	b.Click("#buy")
	b.sentence("Sorry, you did not get it.")
}

func testUnknownFound(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", problem(503, "unavailable"))
	b.shop.script("GET /api/sales/1/ticket", problem(503, "unavailable"), reply(502, `<h1>bad gateway</h1>`), queuedAt(5), placed)
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`node('#dialog').open`)
	if n := len(b.shop.bodies("POST /api/sales/1/ticket")); n != 1 {
		t.Errorf("%d buy requests, want 1", n)
	}
}

func testUnknownNone(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", hangUp)
	b.shop.script("GET /api/sales/1/ticket", none)
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`text('#status') === 'You are not in the queue. Please try again.' && can('#buy')`)
	if b.shop.count("GET /api/sales/1/ticket") == 0 {
		t.Error("the buyer was told to try again before anybody asked for the ticket")
	}
}

func testBusy(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", problem(503, "busy", "Retry-After", "1"), problem(503, "busy"), queued)
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.Open("/sale/1")
	b.Await(`can('#buy')`)
	b.Remember("#status")
	b.Remember("#buy")
	b.Click("#buy")
	b.Await(`node('#dialog').open`)
	b.saw("Very many are buying. Trying again by itself (1)…", "Very many are buying. Trying again by itself (2)…", "Stop trying")
	if n := b.shop.count("POST /api/sales/1/ticket"); n != 3 {
		t.Errorf("%d buy requests, want 3", n)
	}
}

func testBusyStopped(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", problem(503, "busy", "Retry-After", "3600"))
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`text('#buy') === 'Stop trying' && can('#buy')`)
	b.Click("#buy")
	b.Await(`text('#status') === 'Stopped. You can buy again.' && text('#buy') === 'Buy now' && can('#buy')`)
	if n := b.shop.count("POST /api/sales/1/ticket"); n != 1 {
		t.Errorf("%d buy requests, want 1", n)
	}
}

func testPollingGoesOn(t *testing.T, b *buyer) {
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", problem(503, "unavailable", "Retry-After", "1"), reply(502, `<h1>bad gateway</h1>`),
		problem(429, "too_many_requests"), queuedAt(2), placed)
	b.Open("/sale/1")
	b.Await(`can('#buy')`)
	b.Remember("#status")
	b.Click("#buy")
	b.Await(`node('#dialog').open`)
	b.saw("The server is busy. You are still in the queue and may leave: the result will be under Orders.")
}

// Very many have a new order at the same moment.
func testOrderWithPatience(t *testing.T, b *buyer) {
	release := b.shop.hold("GET /api/sales/1/ticket", queuedAt(40), placed)
	b.shop.script("GET /api/orders/"+anOrder, problem(503, "unavailable", "Retry-After", "3600"))
	b.login()
	b.Open("/sale/1")
	b.Await(`text('#position') === 'Your place in the queue: 40'`)
	b.Eval(`const real = setTimeout; window.rests = []; window.setTimeout = (f, ms) => { rests.push(ms); return real(f, ms); }; ''`)
	release()
	b.Await(`window.rests.some((ms) => ms >= 3_600_000)`)
	b.Equal(`text('#view-order')`, "View my order")
}

func testReloadWhileQueued(t *testing.T, b *buyer) {
	release := b.shop.hold("GET /api/sales/1/ticket", queuedAt(40), placed)
	b.login()
	b.Open("/sale/1")
	b.Await(`text('#buy') === 'In the queue' && !can('#buy') && text('#position') === 'Your place in the queue: 40'`)
	release()
	b.Await(`node('#dialog').open`)
	if n := len(b.shop.bodies("POST /api/sales/1/ticket")); n != 0 {
		t.Errorf("%d buy requests, want none", n)
	}
}

func testReloadBoughtThree(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.LimitPerBuyer = 3 })
	b.shop.changeOrder(func(o *seckill.Order) { o.Quantity, o.Amount = 3, 29700 })
	b.shop.script("GET /api/sales/1/ticket", queuedAt(40), placed)
	b.Open("/sale/1")
	b.Await(`node('#dialog').open`)
	b.Equal(`[...document.querySelectorAll('#dialog-facts li')].map((e) => e.textContent).join('|')`, "机械键盘 × 3|To pay: CN¥297.00|Pay within 15 minutes")
}

func testExistingOrder(t *testing.T, b *buyer) {
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.login()
	b.Open("/sale/1")
	b.Await(`shown('#view-order') && !shown('#buy') && /^You got it! Pay within 1[45]:\d\d to keep it\.$/.test(text('#status'))`)
	if b.Eval(`String(node('#dialog').open)`) != "false" {
		t.Error("the dialog congratulates on an old order")
	}
}

func testBuyAgain(t *testing.T, b *buyer) {
	b.shop.setOrder(seckill.Cancelled)
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.shop.script("POST /api/sales/1/ticket", hangUp)
	b.login()
	b.Open("/sale/1")
	b.sentence("The order was cancelled. You can buy again.")
	b.Click("#buy")
	b.sentence("You are not in the queue. Please try again.")
}

func testQuantity(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.LimitPerBuyer = 3 })
	b.shop.sales["1"].leave(2)
	b.shop.script("POST /api/sales/1/ticket", problem(409, "sold_out"))
	b.Open("/sale/1")
	b.Await(`shown('#quantity') && !can('#fewer') && text('[data-part=limit]') === 'One order per buyer, up to 3 units'`)
	b.Click("#more")
	b.Click("#more")
	b.Await(`text('#quantity-value') === '3' && !can('#more')`)
	b.focused("more") // it cannot be pressed any more, and keeps the focus
	b.Click("#buy")
	// Fewer than three are left, yet one may still be: the sale is not over.
	b.Await(`text('#status').startsWith('Fewer than 3 units') && can('#buy')`)
	if got := b.shop.bodies("POST /api/sales/1/ticket"); len(got) != 1 || got[0] != `{"quantity":3}` {
		t.Errorf("the buy requests were %q", got)
	}
}

func testLogin(t *testing.T, b *buyer) {
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.LimitPerBuyer = 3 })
	b.shop.script("POST /api/sales/1/ticket", problem(401, "unauthorized"), queued)
	b.shop.script("GET /api/sales/1/ticket", none, placed)
	b.Open("/sale/1")
	b.sentence("Buying needs a login. After it this page goes on by itself.")
	b.Equal(`node('#login').search`, "?next=%2Fsale%2F1")
	b.Click("#more")
	b.Click("#buy")
	b.Await(`location.pathname === '/login' && location.search === '?next=%2Fsale%2F1'`)
	b.fill("ada", "correct horse")
	b.Click("#login-submit")
	b.Await(`location.pathname === '/sale/1' && !shown('#login') && shown('#logout') && text('#buyer') === 'ada'`)
	b.Await(`node('#dialog').open`) // without another press
	if got := b.shop.bodies("POST /api/login"); len(got) != 1 || got[0] != `{"name":"ada","password":"correct horse"}` {
		t.Errorf("the login requests were %q", got)
	}
	if got := b.shop.bodies("POST /api/sales/1/ticket"); len(got) != 2 || got[1] != `{"quantity":2}` {
		t.Errorf("the buy requests were %q", got)
	}
}

// Nothing in an address makes the page buy.
func testNoForeignPress(t *testing.T, b *buyer) {
	b.login()
	b.Open("/sale/1?buy=1&press=1#buy")
	b.awaitTicket()
	b.Await(`can('#buy')`)
	if n := b.shop.count("POST /api/sales/1/ticket"); n != 0 {
		t.Errorf("%d buy requests, want none", n)
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

// listTests are about the list of sales, and the language.
var listTests = []browserTest{
	{"the list has its groups and moves a sale that opens", testList},
	{"the list keeps the server's order", testListOrder},
	{"the language changes in place and is remembered", testLanguage},
	{"markup in a title is text", testMarkup},
	{"unknown sales and orders are met kindly", testMissing},
	{"360 pixels are enough", testNarrow},
}

func testMissing(t *testing.T, b *buyer) {
	b.login()
	b.Open("/sale/404")
	b.Await(`shown('#missing') && !shown('#sale') && text('#missing h1') === 'This sale was not found'`)
	b.Open("/order/detail/" + strings.Repeat("0", 26))
	b.Await(`shown('#missing') && !shown('#order') && text('#missing h1') === 'This order was not found' && !shown('#status')`)
	b.Open("/nowhere")
	b.Await(`text('h1') === 'Page not found'`)
	b.Open("/sale/1/")
	b.Await(`location.pathname === '/sale/1' && text('h1') === '机械键盘'`)
}

func testList(t *testing.T, b *buyer) {
	b.shop.put(seckill.Sale{ID: 2, Title: "soon", OpensAt: b.shop.now().Add(time.Hour)})
	b.shop.put(seckill.Sale{ID: 3, Title: "over", ClosesAt: b.shop.now().Add(-time.Minute)})
	b.shop.put(seckill.Sale{ID: 4, Title: "opening"})
	b.shop.put(seckill.Sale{ID: 5, Title: "gone"})
	b.shop.sales["5"].leave(0)
	release := b.shop.sales["4"].opensWhenTold(b.shop.now)
	b.Open("/")
	b.Await(`node('[data-group=soon] [data-sale="4"]')`)
	b.Await(`node('[data-group=now] [data-sale="1"] .badge[data-state=open]')`)
	b.Await(`node('[data-group=soon] .hero [data-sale="2"]') && node('[data-group=over] [data-sale="3"]') && node('[data-group=gone] [data-sale="5"]')`)
	b.Equal(`text('[data-sale="1"] [data-part=left]')`, "120 of 500 left")
	b.Equal(`text('[data-sale="1"] .gone')`, "Taken 76%")
	b.Equal(`String(Math.round(node('[data-sale="1"] progress').position * 100))`, "76")
	b.Equal(`text('[data-sale="1"] [data-part=price]') + text('[data-sale="1"] s')`, "CN¥99CN¥299")
	b.Await(`/^Opens in (59:\d\d|1:00:00)$/.test(text('[data-sale="2"] [data-part=clock]'))`)
	b.Await(`/^Opens (today|tomorrow) \d\d:\d\d$/.test(text('[data-sale="2"] [data-part=time]'))`)
	release()
	b.wake()
	b.Await(`node('[data-group=now] [data-sale="4"] .badge[data-state=open]')`)
	b.Click(`[data-sale="1"]`)
	b.Await(`location.pathname === '/sale/1' && text('h1') === '机械键盘'`)
}

func testListOrder(t *testing.T, b *buyer) {
	now := b.shop.now()
	line := func(id int, state string, opens, closes time.Duration) string {
		stamp := func(d time.Duration) string { return now.Add(d).UTC().Format(time.RFC3339) }
		return fmt.Sprintf(`{"id":"%d","title":"s%d","price":1,"currency":"CNY","total":9,"left":%d,"limit_per_buyer":1,"opens_at":"%s","closes_at":"%s","hold_seconds":60,"state":"%s","server_now":"%s"}`,
			id, id, map[bool]int{true: 0, false: 5}[state == "sold_out"], stamp(opens), stamp(closes), state, stamp(0))
	}
	b.shop.script("GET /api/sales", reply(200, `{"items":[%s,%s,%s],"next":"n"}`, line(7, "open", -time.Hour, time.Hour), line(3, "open", -time.Hour, 9*time.Hour), line(9, "scheduled", time.Hour, 2*time.Hour)),
		reply(200, `{"items":[%s,%s,%s],"next":"n"}`, line(7, "open", -time.Hour, time.Hour), line(3, "open", -time.Hour, 9*time.Hour), line(9, "scheduled", time.Hour, 2*time.Hour)),
		reply(200, `{"items":[%s,%s,%s]}`, line(2, "scheduled", 3*time.Hour, 4*time.Hour), line(8, "sold_out", -time.Hour, time.Hour), line(1, "ended", -3*time.Hour, -2*time.Hour)))
	const shown = `[...document.querySelectorAll('a.card')].map((a) => a.dataset.sale).join()`
	b.Open("/")
	b.Await(shown + ` === '7,3,9'`)
	b.Click("#more")
	b.Await(shown + ` === '7,3,9,2,8,1'`)
	if got := b.Eval(`performance.getEntriesByType('resource').map((e) => new URL(e.name)).filter((u) => u.searchParams.has('cursor')).map((u) => u.searchParams.get('cursor')).join()`); got != "n" {
		t.Errorf("the cursors were %q", got)
	}
}

func testLanguage(t *testing.T, b *buyer) {
	b.Open("/sale/1")
	b.Await(`document.documentElement.lang === 'en' && text('#buy') === 'Buy now' && text('#lang') === '中文'`)
	b.Click("#lang")
	b.Await(`document.documentElement.lang === 'zh-CN' && text('#buy') === '立即抢购' && text('#lang') === 'English' && document.title === '【抢购中】 机械键盘 · 秒杀'`)
	b.Open("/")
	b.Await(`document.documentElement.lang === 'zh-CN' && text('h1') === '全部秒杀' && text('.badge') === '抢购中'`)
	b.Click("#lang")
	b.Await(`document.documentElement.lang === 'en' && text('.badge') === 'On sale' && text('nav a') === 'Orders'`)
	b.Equal(`document.querySelector('nav').getAttribute('aria-label')`, "Main")
}

func testMarkup(t *testing.T, b *buyer) {
	const title = `<img src=x onerror="document.title=1"><script>document.title=1</script>`
	b.shop.sales["1"].update(func(s *seckill.Sale) {
		s.Title, s.Description, s.Image, s.Notice = title, title, "/static/nothing.svg", title
	})
	b.Open("/sale/1")
	b.Await(fmt.Sprintf(`text('h1') === %q && text('[data-part=description]') === %q && shown('[data-part=notice]') && text('[data-part=notice]') === %q`, title, title, title))
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
	b.viewport(360, 740)
	for _, language := range []string{"en", "zh-CN"} {
		b.speak(language)
		for page, ready := range map[string]string{
			"/":                        `node('[data-sale="2"]')`,
			"/sale/1":                  `can('#buy')`,
			"/sale/2":                  `shown('#countdown')`,
			"/login":                   `shown('#login-form')`,
			"/register":                `shown('#login-form')`,
			"/orders":                  `node('#orders li')`,
			"/order/detail/" + anOrder: `shown('#pay')`,
			"/nowhere":                 `shown('h1')`,
		} {
			b.Open(page)
			b.Await(ready)
			b.fits(360)
			if small := b.Eval(`[...document.querySelectorAll('a, button, input')]
				.filter((e) => e.checkVisibility() && !e.classList.contains('skip') && Math.min(e.offsetHeight, e.offsetWidth) < 44)
				.map((e) => e.outerHTML).join('\n')`); small != "" {
				t.Errorf("%s in %s has small targets:\n%s", page, language, small)
			}
		}
	}
}
