package web

import (
	"encoding/json"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// late answers once release was called.
func late(then answer) (waits answer, release func()) {
	told := make(chan struct{})
	return func(w responseWriter, s *shop) {
		select {
		case <-told:
		case <-s.closed:
		}
		then(w, s)
	}, sync.OnceFunc(func() { close(told) })
}

// asked waits until the shop was asked for it n times.
func (b *buyer) asked(what string, n int) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return b.shop.count(what) >= n }, time.Minute, 5*time.Millisecond)
}

// happens waits until a channel is closed.
func (b *buyer) happens(c <-chan struct{}) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}, time.Minute, 5*time.Millisecond)
}

// patient lets the page, until it is left, wait for answers as long as the test takes with what
// it does before it gives them.
func (b *buyer) patient() {
	b.t.Helper()
	b.Eval(`AbortSignal.timeout = null; ''`)
}

// The second click of two lands where the first one's button was, or is the repeat of a key.
func testDeskTwice(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	sale := aDeskSale("1", "x", b.shop.now().Add(-time.Hour), b.shop.now().Add(time.Hour), "open", "")
	paused := maps.Clone(sale)
	paused["state"], paused["title"] = "paused", "y"
	b.shop.script("GET /api/admin/sales/1", reply(200, "%s", asJSON(sale)))
	const pause, resume = "POST /api/admin/sales/1/pause", "POST /api/admin/sales/1/resume"
	answer, release := late(inForce(paused, 3, 3))
	b.shop.script(pause, answer)
	b.login()
	b.Open("/console/sale/1")
	b.patient()
	b.Await(`can('[data-tool=pause]')`)
	// The next tool is pressed as soon as it is there.
	b.Eval(`new MutationObserver(() => node('[data-tool=resume]')?.click()).observe(node('#tools'), { childList: true }); ''`)
	b.Eval(`const tool = node('[data-tool=pause]'); tool.focus(); tool.click(); tool.click(); ''`)
	b.asked(pause, 1)
	// The pause is seen before its press is answered.
	b.shop.script("GET /api/admin/sales/1", reply(200, "%s", asJSON(paused)))
	b.wake()
	b.Await(`text('#title') === 'y'`)
	b.Equal(`String(shown('[data-tool=pause]') && !shown('[data-tool=resume]'))`, "true")
	release()
	b.Await(`shown('[data-tool=resume]') && text('.receipt p')?.startsWith('Paused.')`)
	b.Equal(`document.activeElement.id`, "tools")
	b.Click("[data-tool=resume]")
	b.Await(`text('.receipt p')?.startsWith('Resumed.')`)
	require.Equal(t, 1, b.shop.count(pause))
	require.Equal(t, 1, b.shop.count(resume))
	// What takes back the way back stands where that stood.
	const stop, start = "POST /api/admin/listeners/stop", "POST /api/admin/listeners/start"
	b.shop.script(stop, reply(200, `{}`))
	b.shop.script(start, reply(200, `{}`))
	b.Open("/console/engines")
	b.Click("[data-tool=listeners_stop]")
	b.Await(`can('.receipt .button')`)
	b.Eval(`new MutationObserver(() => node('.receipt .button')?.click()).observe(node('#receipts'), { childList: true }); ''`)
	b.Click(".receipt .button")
	b.Await(`can('.receipt .button')`)
	require.Equal(t, 1, b.shop.count(stop))
	require.Equal(t, 1, b.shop.count(start))
}

func testDeskTakenBack(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	const patch = "PATCH /api/admin/sales/2"
	sale := aDeskSale("2", "x", b.shop.now().Add(time.Hour), b.shop.now().Add(2*time.Hour), "scheduled", "hidden")
	b.shop.script(patch, inForce(sale, 1, 1), inForce(sale, 1, 1), problem(503, "unavailable"), inForce(sale, 1, 1))
	b.login()
	b.Open("/console/sale/2#edit")
	save := func(price string, n int) {
		b.Fill("#sale-price", price)
		b.Click(".sale-form [type=submit]")
		b.asked(patch, n)
		b.Await(`can('.sale-form [type=submit]')`)
	}
	save("1.00", 1)
	save("99.00", 2)
	b.Click(".sale-form [type=submit]")
	b.Await(`text('.sale-form .status') === 'Nothing was changed.'`)
	// Nobody knows whether the price is 2.00 now, so 99.00 is sent.
	save("2.00", 3)
	save("99.00", 4)
	require.Equal(t, []string{`{"price":100}`, `{"price":9900}`, `{"price":200}`, `{"price":9900}`}, b.shop.bodies(patch))
}

// A lost description of the node is not a node without what is described.
func testDeskUndescribed(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.shop.script("GET /api/openapi.json", problem(503, "unavailable"))
	b.shop.script("POST /api/admin/sales", reply(201, `{"id":"2","title":"x"}`))
	const described = `performance.getEntriesByType('resource').some((e) => e.name.endsWith('/openapi.json'))`
	b.login()
	b.Open("/console/new?copy=1")
	b.Await(`shown('.sale-form') && ` + described)
	b.Fill("#sale-opens_at", "2030-01-02T20:00")
	b.Fill("#sale-closes_at", "2030-01-02T21:00")
	b.Click(".sale-form [type=submit]")
	b.Await(`location.pathname === '/console/sale/2'`)
	require.Contains(t, b.shop.bodies("POST /api/admin/sales")[0], `"shelf":"draft"`)
	b.Await(`shown('[data-go=true]') && ` + described)
	b.Click("[data-go=true]")
	b.Await(`text('.receipt p')?.includes('is go.')`)
	require.Equal(t, []string{`{"preflight":true}`}, b.shop.bodies("POST /api/admin/sales/2/publish"))
	b.Open("/console/orders?q=zhou")
	b.Await(`document.querySelectorAll('#orders tbody tr').length === 4 && shown('#due')`)
	b.Await(`performance.getEntriesByType('resource').some((e) => e.name.includes('/api/admin/orders?q=zhou'))`)
}

// The answer to one question comes when the next one is open.
func testDeskLateAnswer(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.login()
	b.Open("/console/sale/1")
	b.patient()
	const stock = "POST /api/admin/sales/1/stock"
	for i, c := range []struct {
		answer answer
		says   string
	}{
		{problem(503, "unavailable"), "It may be in force all the same: see the log."},
		{inForce(map[string]any{"id": "1"}, 3, 3), "The stock was changed."},
	} {
		answer, release := late(c.answer)
		b.shop.script(stock, answer)
		b.Click("[data-tool=stock]")
		b.Fill("#press-delta", "50")
		b.Click("#press-yes")
		b.asked(stock, i+1)
		b.Click("#press-no")
		b.Click("[data-tool=end]")
		b.Fill("#press-typed", "half of it")
		release()
		b.Await(`text('.receipt p')?.includes(` + asJSON(c.says) + `)`)
		b.Equal(`[node('#press').open, node('#press-typed').value, text('#press-error'), can('#press-yes')].join('|')`, "true|half of it||true")
		b.Click("#press-no")
		b.Await(`!node('#press').open`)
	}
}

// Other receipts leave the button that stops an undo where it is.
func testDeskUndoStop(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	const undo, title = "POST /api/admin/sales/1/undo", "机械键盘 87 键 · Mechanical keyboard"
	answer, release := late(reply(200, `{"step":"cancel","done":25,"more":true}`))
	b.shop.script(undo, inForce(map[string]any{"id": "1"}, 3, 3), answer)
	b.login()
	b.Open("/console/sale/1")
	b.patient()
	b.Click("[data-tool=undo]")
	b.Fill("#press-typed", title)
	b.Click("#press-yes")
	b.asked(undo, 2)
	b.Click("[data-tool=notice]")
	b.Fill("#press-text", "we refund you")
	b.Click("#press-yes")
	b.Await(`text('#receipts')?.includes('The notice was changed.')`)
	b.Equal(`String(document.querySelectorAll('#receipts .receipt').length + document.querySelectorAll('#receipts .close').length)`, "3")
	// It runs once: who wants it again is brought to the button.
	b.Click("[data-tool=undo]")
	b.Await(`document.activeElement.textContent === 'Stop' && !node('#press').open`)
	b.Eval(`node('[data-tool=pause]').click(); ''`) // its receipt comes while the button has the focus
	b.Await(`text('.receipt p').startsWith('Paused.')`)
	b.Equal(`document.activeElement.textContent`, "Stop")
	b.keys("\r")
	release()
	b.Await(`text('#receipts .receipt p').startsWith('Stopped after 25 orders.') && document.querySelectorAll('#receipts .receipt').length === 1`)
	require.Equal(t, 2, b.shop.count(undo))
}

func testDeskNotice(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	const set = "POST /api/admin/sales/1/notice"
	sale := aDeskSale("1", "x", b.shop.now().Add(-time.Hour), b.shop.now().Add(time.Hour), "open", "")
	last := func() string {
		var sent struct{ Text string }
		if all := b.shop.bodies(set); len(all) > 0 {
			require.NoError(t, json.Unmarshal([]byte(all[len(all)-1]), &sent))
		}
		return sent.Text
	}
	b.shop.script("GET /api/admin/sales/1", func(w responseWriter, s *shop) {
		v := maps.Clone(sale)
		v["notice"] = last()
		reply(200, "%s", asJSON(v))(w, s)
	})
	b.login()
	b.Open("/console/sale/1")
	was := ""
	for _, text := range []string{"10 min late", "20 min late"} {
		b.Click("[data-tool=notice]")
		b.Await(`node('#press').open`)
		b.Equal(`node('#press-text').value`, was)
		b.Fill("#press-text", text)
		b.Click("#press-yes")
		b.Await(`text('#facts')?.includes(` + asJSON(text) + `)`)
		was = text
	}
	b.Click(".receipt .button")
	b.asked(set, 3)
	require.Equal(t, "10 min late", last())
}

// Who is asked for again when a tab is seen is mostly the same person in the same role.
func testDeskSameRole(t *testing.T, b *buyer) {
	operated("admin")(b.shop)
	b.login()
	again := func(name, role string) {
		b.shop.script("GET /api/me", reply(200, `{"buyer":"u1","name":"%s","role":"%s","second_factor":false}`, name, role))
		b.Eval(`new BroadcastChannel('seckill').postMessage('me'); ''`)
		b.Await(`text('#buyer') === ` + asJSON(name))
	}
	b.Open("/console/")
	b.Await(`document.querySelectorAll('.line').length === 6`)
	// Whatever asks again and again looks when the tab is seen.
	b.Eval(`window.begun = 0; const add = document.addEventListener;
		document.addEventListener = function (type, ...rest) { window.begun += type === 'visibilitychange'; return add.call(this, type, ...rest); }; ''`)
	again("li.wei", "admin")
	again("sun.yue", "support")
	b.Equal(`String(window.begun)`, "0")
	operated("admin")(b.shop)
	b.Open("/console/people")
	b.Await(`document.querySelectorAll('#accounts tbody tr').length === 3`)
	b.Fill("#find [name=q]", "zho")
	b.Eval(`window.asked = []; const ask = window.fetch; window.fetch = (path, ...rest) => { window.asked.push(path); return ask(path, ...rest); }; ''`)
	again("li.wei", "admin")
	b.Equal(`window.asked.filter((path) => path.includes('/people')).join()`, "")
	// A refund whose answer was lost stays the same refund.
	id := anOrder[:25] + "B"
	refund := "POST /api/admin/orders/" + id + "/refund"
	b.shop.script(refund, problem(503, "unavailable"))
	b.Open("/console/order/" + id)
	for i, name := range []string{"sun.yue", "zhou.min"} {
		b.Click("[data-tool=refund]")
		b.Click("#press-yes")
		b.asked(refund, i+1)
		b.Await(`can('#press-yes')`)
		b.Click("#press-no")
		again(name, "admin")
	}
	require.Equal(t, b.shop.bodies(refund)[0], b.shop.bodies(refund)[1])
}

func testDeskLostPreview(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.login()
	b.Open("/console/sale/1")
	b.Click("[data-tool=stock]")
	b.Fill("#press-delta", "50")
	b.Await(`text('#press-effect').includes('238')`)
	b.Fill("#press-delta", "0") // nothing that can be foreseen
	b.Await(`text('#press-effect').includes('320') && !text('#press-effect').includes('238')`)
	b.Click("#press-no")
	b.shop.script("POST /api/admin/sales/1/end?preview=1", problem(503, "unavailable"))
	b.Click("[data-tool=end]")
	b.Await(`text('#press-error') === 'What it would change cannot be told right now.'`)
}

// More asked for twice is one page more, and an answer to an earlier search is none to a later one.
func testDeskMore(t *testing.T, b *buyer) {
	operated("admin")(b.shop)
	b.login()
	b.Open("/console/log")
	b.Await(`document.querySelectorAll('#log tbody tr').length === 3 && can('#more')`)
	const pages = `performance.getEntriesByType('resource').filter((e) => e.name.includes('before=7'))`
	b.Fill("#find [name=who]", "nobody") // typed, and not searched for
	b.Eval(`node('#more').click(); node('#more').click(); ''`)
	b.Await(`document.querySelectorAll('#log tbody tr').length > 3 && ` + pages + `.length === 2`)
	b.Equal(`document.querySelectorAll('#log tbody tr').length + ' ' + `+pages+`.some((e) => e.name.includes('nobody'))`, "6 false")
	b.Open("/console/people")
	b.patient()
	b.Await(`document.querySelectorAll('#accounts tbody tr').length === 3`)
	answer, release := late(reply(200, `{"items":[{"name":"adam"}]}`))
	b.shop.script("GET /api/admin/people?q=a", answer)
	b.shop.script("GET /api/admin/people?q=ab", reply(200, `{"items":[{"name":"abel"}]}`))
	for _, q := range []string{"a", "ab"} {
		b.Fill("#find [name=q]", q)
		b.Click("#find [type=submit]")
		b.asked("GET /api/admin/people?q="+q, 1)
	}
	b.Await(`text('#accounts tbody th') === 'abel'`)
	release()
	b.Await(`performance.getEntriesByType('resource').some((e) => e.name.endsWith('/people?q=a'))`)
	b.Eval(`fetch('/api/me').then(() => '')`) // by the end of which the page has taken the late answer
	b.Equal(`text('#accounts tbody th')`, "abel")
}

func testDeskFactorOnce(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	const confirm = "POST /api/me/second-factor/confirm"
	b.shop.script("POST /api/me/second-factor", aFactor)
	b.shop.script(confirm, reply(200, `{}`), problem(409, "state"))
	b.login()
	b.Open("/console/me")
	b.Click("#factor-begin")
	b.Fill("#code", "123456")
	b.Eval(`node('#factor').requestSubmit(); node('#factor').requestSubmit(); ''`)
	b.Await(`!shown('#factor')`)
	b.sentence("The second factor is on.")
	require.Equal(t, 1, b.shop.count(confirm))
}
