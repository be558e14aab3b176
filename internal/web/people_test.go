package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"

	"seckill"
)

// peopleTests are about people: who use a keyboard, enlarge the page, hear it, hold
// their phone sideways, live elsewhere, or come for the first time.
var peopleTests = []browserTest{
	{"the focus stays on the button", testFocus},
	{"enlarged four times, and on a phone held sideways", testLowScreens},
	{"the accessibility tree says the place in the queue", testTree},
	{"durations and plurals", testDurations},
	{"currencies can be told apart", testCurrencies},
	{"times are those of the reader, with the zone where it differs", testZones},
	{"the bar fills with what is gone, and does not move at first", testBar},
	{"a picture is shown whole, over a drawing that waits with it", testPicture},
	{"errors and focus are not the brand's red", testColours},
	{"a reader's own colours", testForcedColours},
	{"text from right to left, marks without end, and long titles", testStrangeTitles},
	{"without JavaScript", testNoScript},
	{"a first visit is small", testFirstVisit},
	{"the first paint waits for no module", testFirstPaint},
}

func testFocus(t *testing.T, b *buyer) {
	b.login()
	release := b.shop.hold("GET /api/sales/1/ticket", none, none)
	release()
	b.Open("/sale/1")
	b.awaitTicket()
	b.Await(`can('#buy') && node('#buy').focus() === undefined`)
	b.shop.script("POST /api/sales/1/ticket", queued)
	release = b.shop.hold("GET /api/sales/1/ticket", queuedAt(3), placed)
	b.keys("\r")
	b.Await(`text('#position') === 'Your place in the queue: 3'`)
	b.focused("buy") // it cannot be pressed now, and keeps the focus
	b.keys("\r")
	release()
	b.Await(`node('#dialog').open`)
	b.focused("dialog-yes")
	b.keys("\x1b")
	b.Await(`!node('#dialog').open`)
	b.focused("view-order")
	if n := b.shop.count("POST /api/sales/1/ticket"); n != 1 {
		t.Errorf("%d buy requests, want 1", n)
	}
	// The order goes, and the button takes the focus back.
	b.shop.setOrder(seckill.Cancelled)
	b.wake()
	b.Await(`can('#buy')`)
	b.focused("buy")
}

func testLowScreens(t *testing.T, b *buyer) {
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.LimitPerBuyer, s.Description = 3, strings.Repeat("words ", 300) })
	b.login()
	const stuck = `[...document.querySelectorAll('*')].filter((e) => ['sticky', 'fixed'].includes(getComputedStyle(e).position) && e.checkVisibility()).map((e) => e.className).join()`
	for _, c := range []struct {
		width, height int64
		stuck         string
	}{
		{320, 256, ""}, // 1280 by 1024 at 400 %
		{844, 390, ""}, // a phone held sideways
		{390, 844, "top,action"},
	} {
		b.viewport(c.width, c.height)
		for page, ready := range map[string]string{"/sale/1": `can('#buy')`, "/": `node('[data-sale="1"]')`, "/orders": `node('#orders li')`, "/order/detail/" + anOrder: `can('#pay')`, "/register": `shown('#login-form')`} {
			b.Open(page)
			b.Await(ready)
			b.fits(int(c.width))
			want := strings.TrimSuffix(c.stuck, ",action")
			if page == "/sale/1" {
				want = c.stuck
			}
			b.Equal(stuck, want)
		}
	}
}

// tree is what a screen reader is given: role, name, description and value of each
// node that is not ignored.
func (b *buyer) tree() (lines []string) {
	b.t.Helper()
	text := func(v *accessibility.Value) string {
		var s any
		if v == nil || json.Unmarshal(v.Value, &s) != nil {
			return ""
		}
		return fmt.Sprint(s)
	}
	for _, n := range command(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if !n.Ignored {
			lines = append(lines, strings.Join([]string{text(n.Role), text(n.Name), text(n.Description)}, "|"))
		}
	}
	return lines
}

func testTree(t *testing.T, b *buyer) {
	b.login()
	b.shop.script("GET /api/sales/1/ticket", reply(200, `{"status":"queued","ticket":"%s","position":12,"wait_ms":8000}`, anOrder))
	b.Open("/sale/1")
	b.Await(`text('#position') === 'Your place in the queue: 12, about 8 seconds to go'`)
	const sentence = "You are in the queue. You may leave: the result will be under Orders."
	tree := strings.Join(b.tree(), "\n")
	for _, want := range []string{
		"heading|机械键盘|",
		"button|In the queue|" + sentence + " Your place in the queue: 12, about 8 seconds to go\n", // said whenever the button is reached
		"StaticText|Your place in the queue: 12, about 8 seconds to go|",
		"status||", // where it is said when it changes
	} {
		if !strings.Contains(tree, want) {
			t.Errorf("no %q in\n%s", want, tree)
		}
	}
	b.shop.unscript("GET /api/sales/1/ticket")
	b.Open("/order/detail/" + anOrder)
	b.Await(`can('#pay')`)
	tree = strings.Join(b.tree(), "\n")
	for _, want := range []string{"heading|Unpaid|", "button|Pay now|Pay before the countdown ends, or the order is closed.", "link|机械键盘|", "timer|"} {
		if !strings.Contains(tree, want) {
			t.Errorf("no %q in\n%s", want, tree)
		}
	}
}

func testDurations(t *testing.T, b *buyer) {
	const all = `[1, 12, 60, 90, 119, 120, 150, 900, 5400, 7199, 7200, 9000, 86400, 90000, 172800, 180000].map(duration)`
	for lang, want := range map[string]string{
		"en":    `["1 second","12 seconds","60 seconds","90 seconds","119 seconds","2 minutes","2 minutes 30 seconds","15 minutes","90 minutes","119 minutes 59 seconds","2 hours","2 hours 30 minutes","24 hours","25 hours","2 days","2 days 2 hours"]`,
		"zh-CN": `["1 秒","12 秒","60 秒","90 秒","119 秒","2 分钟","2 分钟 30 秒","15 分钟","90 分钟","119 分钟 59 秒","2 小时","2 小时 30 分钟","24 小时","25 小时","2 天","2 天 2 小时"]`,
	} {
		b.speak(lang)
		b.Open("/")
		if got := b.module("i18n.js", all); got != want {
			t.Errorf("durations are\n%s, want\n%s", got, want)
		}
	}
	b.speak("zh-CN")
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.HoldSeconds = 12 })
	b.Open("/sale/1")
	b.Await(`text('[data-part=hold]') === '抢到后请在 12 秒内支付' && text('[data-part=limit]') === '每人限 1 单，1 件'`)
}

func testCurrencies(t *testing.T, b *buyer) {
	const all = `['CNY', 'JPY', 'USD', 'HKD', 'TWD', 'EUR', 'KWD', 'RSD', 'IQD', 'LAK'].map((c) => money(123456, c)).concat(money(9900, 'RSD', true), money(9950, 'RSD', true))`
	for lang, want := range map[string]string{
		"en":    `["CN¥1,234.56","JP¥123,456","US$1,234.56","HK$1,234.56","NT$1,234.56","€1,234.56","KWD 123.456","RSD 1,234.56","IQD 123.456","LAK 1,234.56","RSD 99","RSD 99.50"]`,
		"zh-CN": `["¥1,234.56","JP¥123,456","US$1,234.56","HK$1,234.56","NT$1,234.56","€1,234.56","KWD 123.456","RSD 1,234.56","IQD 123.456","LAK 1,234.56","RSD 99","RSD 99.50"]`,
	} {
		b.speak(lang)
		b.Open("/")
		if got := strings.ReplaceAll(b.module("i18n.js", all), "\u00a0", " "); got != want {
			t.Errorf("amounts are\n%s, want\n%s", got, want)
		}
	}
}

func testZones(t *testing.T, b *buyer) {
	_, shop := time.Now().Zone()
	noon := func(days int) string {
		at := time.Now().UTC().AddDate(0, 0, days)
		return time.Date(at.Year(), at.Month(), at.Day(), 12, 0, 0, 0, time.UTC).Format(time.RFC3339)
	}
	zone := func(name string) {
		command(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name})
	}
	if shop == 0 {
		zone("UTC")
		b.speak("zh-CN")
		b.Open("/")
		if got := b.module("i18n.js", fmt.Sprintf(`[when('%s'), when('%s'), when('%s')]`, noon(0), noon(1), noon(-1))); got != `["今天 12:00","明天 12:00","昨天 12:00"]` {
			t.Errorf("the times are %s", got)
		}
	}
	zone("Asia/Kolkata") // has one zone for the whole year, which is nobody's server's
	b.speak("en")
	b.Open("/")
	if got := b.module("i18n.js", fmt.Sprintf(`when('%s')`, noon(5))); !strings.HasSuffix(got, ` 17:30 GMT+5:30"`) {
		t.Errorf("a time far from the shop is %s", got)
	}
}

func testBar(t *testing.T, b *buyer) {
	b.shop.sales["1"].leave(315)
	b.Open("/sale/1")
	b.Await(`text('#left') === '315 of 500 left'`)
	b.Equal(`text('.units .gone')`, "Taken 37%")
	b.Equal(`String(node('progress').position)`, "0.37")
	b.Await(`node('progress').classList.contains('moves')`)
	for left, want := range map[int64]string{500: "0%", 499: "1%", 1: "99%", 0: "100%"} {
		b.shop.sales["1"].leave(left)
		b.wake()
		b.Await(fmt.Sprintf(`text('.units [data-part=gone]') === '%s'`, want))
	}
}

func testPicture(t *testing.T, b *buyer) {
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Image = "/api/tall.svg" })
	b.shop.script("GET /api/tall.svg", hang)
	b.leaves("/sale/1")
	b.Await(`node('.picture .placeholder') && node('.picture img') && text('h1') === '机械键盘'`) // it hangs, and there is something to see
	b.shop.script("GET /api/tall.svg", func(w responseWriter, _ *shop) {
		w.Header().Set("Content-Type", "image/svg+xml")
		fmt.Fprint(w, `<svg xmlns="http://www.w3.org/2000/svg" width="100" height="400"><rect width="100" height="400" fill="teal"/></svg>`)
	})
	b.leaves("/")
	b.leaves("/sale/1")
	b.Await(`node('.picture img')?.naturalHeight === 400`)
	b.Equal(`getComputedStyle(node('.picture img')).objectFit`, "contain")
	b.Click("#zoom")
	b.Await(`node('#zoomed').open && node('#zoomed img').naturalHeight === 400`)
	b.keys("\x1b")
	b.Await(`!node('#zoomed').open`)
	b.focused("zoom")
}

// hue tells what a colour looks like: 0 red, 120 green, 240 blue.
const hue = `const hue = (css) => {
	const [r, g, b] = css.match(/[\d.]+/g).map(Number), max = Math.max(r, g, b), d = max - Math.min(r, g, b);
	const h = d === 0 ? 0 : max === r ? ((g - b) / d + 6) % 6 : max === g ? (b - r) / d + 2 : (r - g) / d + 4;
	return h * 60;
};`

func testColours(t *testing.T, b *buyer) {
	b.Open("/login")
	for _, scheme := range []string{"light", "dark"} {
		b.media("prefers-color-scheme", scheme)
		b.Click("#login-submit")
		b.Await(`text('#status') !== ''`)
		for _, what := range []string{`getComputedStyle(node('#status')).color`, `getComputedStyle(node('#status')).backgroundColor`, `(node('#login-submit').focus({ focusVisible: true }), getComputedStyle(node('#login-submit')).outlineColor)`} {
			if got := b.Eval(hue + `const h = hue(` + what + `), red = hue(getComputedStyle(node('#login-submit')).backgroundColor); Math.min(Math.abs(h - red), 360 - Math.abs(h - red)) > 25 ? '' : String([h, red])`); got != "" {
				t.Errorf("%s in %s is the brand's red: %s", what, scheme, got)
			}
		}
	}
}

func testForcedColours(t *testing.T, b *buyer) {
	b.media("forced-colors", "active")
	b.Open("/sale/1")
	b.Await(`shown('progress') && can('#buy')`)
	b.Equal(`const bar = getComputedStyle(node('progress')); [bar.borderTopWidth, bar.borderTopStyle].join()`, "1px,solid")
	b.Equal(`getComputedStyle(node('#buy')).borderTopStyle`, "solid")
}

func testStrangeTitles(t *testing.T, b *buyer) {
	zalgo := "Z" + strings.Repeat("\u0315\u035c\u0347\u0353\u0300\u0301", 30)
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Title, s.Description = zalgo, "لوحة مفاتيح" })
	b.shop.put(seckill.Sale{ID: 2, Title: "لوحة مفاتيح ميكانيكية"})
	b.shop.changeOrder(func(o *seckill.Order) { o.Title = strings.Repeat("字", 200) })
	b.login()
	b.viewport(390, 844)
	b.Open("/")
	b.Await(`node('[data-sale="2"]')`)
	b.Equal(`getComputedStyle(node('[data-sale="2"] h3')).direction + getComputedStyle(node('[data-sale="1"] h3')).direction`, "rtlltr")
	b.Equal(`getComputedStyle(node('[data-sale="1"] h3')).overflowY`, "hidden") // what sticks out does not cover the badge
	b.Open("/sale/1")
	b.Await(`can('#buy')`)
	b.Equal(`getComputedStyle(node('[data-part=description]')).direction + getComputedStyle(node('h1')).overflowY`, "rtlhidden")
	b.Open("/order/detail/" + anOrder)
	b.Await(`can('#pay')`)
	b.Equal(`String(node('#pay').getBoundingClientRect().bottom < 844)`, "true") // on the first screen
}

func testNoScript(t *testing.T, b *buyer) {
	script := func(off bool) {
		command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: off})
	}
	for page, want := range map[string]string{
		"/":        "", // no ghosts
		"/sale/1":  "机械键盘",
		"/login":   "",
		"/orders":  "",
		"/nowhere": "",
	} {
		script(true)
		b.Open(page)
		// The document stays as it was painted; only now may somebody ask it.
		script(false)
		b.Await(`text('noscript p, main > .status[data-tone=bad]') === 'Please enable JavaScript: the countdown, buying and the queue need it.'`)
		b.Equal(`[...document.querySelectorAll('.ghost, form, #buy, .spinner')].filter((e) => e.checkVisibility()).length + (text('h1') && shown('h1') && location.pathname === '/sale/1' ? text('h1') : '')`, "0"+want)
	}
}

// What the node alone sends to somebody who has never been here: at most 13 requests
// and 35 KB.
func testFirstVisit(t *testing.T, b *buyer) {
	b.Forget()
	b.Open("/sale/1")
	b.Await(`can('#buy')`)
	b.Await(`performance.getEntriesByType('resource').some((e) => e.name.endsWith('/api/me'))`)
	var visit struct {
		Names []string
		Bytes int
	}
	got := b.Eval(`const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
		JSON.stringify({ names: all.map((e) => new URL(e.name).pathname), bytes: all.reduce((n, e) => n + e.transferSize, 0) })`)
	if err := json.Unmarshal([]byte(got), &visit); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range visit.Names {
		names[name] = true
	}
	t.Logf("a first visit of the sale's page: %d requests, %d bytes", len(names), visit.Bytes)
	for _, name := range visit.Names {
		if strings.Contains(name, "challenge") || strings.Contains(name, "worker") {
			t.Errorf("the sale asks for no check, but %s is loaded", name)
		}
	}
	if len(names) > 13 || visit.Bytes > 35_000 {
		t.Errorf("a first visit takes %d requests and %d bytes: %v", len(names), visit.Bytes, visit.Names)
	}
}

func testFirstPaint(t *testing.T, b *buyer) {
	release := b.holdModules()
	b.leaves("/sale/1")
	b.Await(`text('h1') === '机械键盘' && text('[data-part=price]') === '99.00 CNY' && shown('#buy') && !can('#buy') && performance.getEntriesByType('paint').length > 0`)
	if n := b.shop.count("GET /api/sales/1"); n != 0 {
		t.Errorf("a module has run: %d requests to the API", n)
	}
	release()
	b.Await(`can('#buy') && text('[data-part=price]') === 'CN¥99'`)
}

func testLoginErrors(t *testing.T, b *buyer) {
	b.Open("/login")
	b.Click("#login-submit")
	b.sentence("Please fill in your name.")
	b.Await(`document.activeElement.name === 'name' && document.activeElement.getAttribute('aria-invalid') === 'true'`)
	b.fill("ada", "secret")
	for code, want := range map[string]string{
		"unauthorized": "Wrong name or password.",
		"unavailable":  "The service is not available right now. Please try again shortly.",
		"busy":         "The server is busy. Please try again shortly.",
	} {
		b.shop.script("POST /api/login", problem(401, code))
		b.Click("#login-submit")
		b.sentence(want)
	}
	b.shop.script("POST /api/login", problem(429, "too_many_requests", "Retry-After", "60"))
	b.Click("#login-submit")
	b.sentence("Too many tries. Please try again in 60 seconds.")
	b.shop.script("POST /api/login", problem(401, "unauthorized"))
	b.Await(`node('[name=password]').focus() === undefined`)
	b.keys("\r") // Enter logs in, and nothing else
	b.sentence("Wrong name or password.")
	if n := b.shop.count("POST /api/register"); n != 0 {
		t.Errorf("%d registrations, want none", n)
	}
	b.Await(`!shown('[name=code]')`)
	b.shop.script("POST /api/login", problem(401, "second_factor"), reply(200, `{"token":"t","buyer":"u1"}`))
	b.Click("#login-submit")
	b.sentence("Enter the six digits that your authenticator shows now.")
	b.Await(`shown('[name=code]') && document.activeElement.name === 'code'`)
	b.keys("123456\r")
	b.Await(`location.pathname === '/'`)
	if all := b.shop.bodies("POST /api/login"); all[len(all)-1] != `{"name":"ada","password":"secret","code":"123456"}` {
		t.Errorf("the code is sent as %s", all[len(all)-1])
	}
}

func testRegister(t *testing.T, b *buyer) {
	b.Open("/login?next=%2Forders")
	b.Click("#other")
	b.Await(`location.pathname === '/register' && location.search === '?next=%2Forders' && text('#password-hint') === 'At least 8 characters'`)
	b.fill("ada", "1234567")
	b.Click("#register-submit")
	b.sentence("The password needs at least 8 characters and must not be too simple.")
	b.fill("ada", "correct horse")
	for code, want := range map[string]string{
		"name_taken":    "This name is taken. Please choose another one.",
		"weak_password": "The password needs at least 8 characters and must not be too simple. (details)",
		"invalid_field": "That does not look right. Please check your input. (details)",
	} {
		b.shop.script("POST /api/register", problem(422, code))
		b.Click("#register-submit")
		b.sentence(want)
	}
	b.shop.unscript("POST /api/register")
	b.Await(`node('[name=password]').focus() === undefined`)
	b.keys("\r")
	b.Await(`location.pathname === '/orders' && text('#buyer') === 'ada'`)
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
