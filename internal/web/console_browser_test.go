package web

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// deskTests are about the console.
var deskTests = []browserTest{
	{"console: a role is offered what it may do, and nothing else", testDeskRoles},
	{"console: nobody is sent to its login and back, with a second factor", testDeskLogin},
	{"console: what can be undone is done at once, with a receipt and a way back", testDeskPause},
	{"console: the end asks for the title, and shows what it means before", testDeskEnd},
	{"console: a node without previews is asked for none", testDeskNoPreview},
	{"console: a second try of a stock move is the same move", testDeskStock},
	{"console: stock, notice and end are taken back by what was before", testDeskBack},
	{"console: who comes late sees the minutes before", testDeskPast},
	{"console: go without a red check, or with a reason", testDeskGo},
	{"console: the live figures come by the stream, and it is said when it is lost", testDeskLive},
	{"console: what is unknown is never a zero", testDeskUnknown},
	{"console: a copy says how old it is, and a lost answer is no figure", testDeskAges},
	{"console: a route that is not there is said to be none", testDeskAbsent},
	{"console: a sale is created once, in minor units", testDeskCreate},
	{"console: a change sends what was changed", testDeskEdit},
	{"console: an order is found by its number in any case", testDeskOrders},
	{"console: a refund is a part with an id of its own", testDeskRefund},
	{"console: a wrong price is undone in steps that can be stopped", testDeskUndo},
	{"console: a second press is no press of the tool that comes next", testDeskTwice},
	{"console: a change that is taken back is sent", testDeskTakenBack},
	{"console: a lost description takes nothing away", testDeskUndescribed},
	{"console: a late answer stays out of the next question", testDeskLateAnswer},
	{"console: an undo that runs keeps its stop", testDeskUndoStop},
	{"console: a second notice begins with the first", testDeskNotice},
	{"console: the same role begins nothing anew", testDeskSameRole},
	{"console: a lost preview says nothing of the change", testDeskLostPreview},
	{"console: more is one page, and the last search counts", testDeskMore},
	{"console: a second factor is confirmed once", testDeskFactorOnce},
	{"console: a part that is down is named on every page", testDeskParts},
	{"console: by keyboard", testDeskKeyboard},
	{"console: the language changes while it goes on", testDeskLanguage},
	{"console: nothing is wider than a phone, or too small for a thumb", testDeskNarrow},
}

func testDeskRoles(t *testing.T, b *buyer) {
	b.login()
	for _, c := range []struct{ role, tools, refund, people, log, accounts, find, csv string }{
		{"viewer", "", "", "", "", "", "", ""},
		{"support", "", "refund", "", "", "", "q", "csv"},
		{"operator", "pause stock extend notice holds undo end", "refund", "People", "", "", "q", "csv"},
		{"admin", "pause stock extend notice holds undo end", "refund", "People", "Log", "Accounts", "q", "csv"},
	} {
		operated(c.role)(b.shop)
		b.Open("/console/sale/1")
		b.Await(`text('#title') !== '#1' && text('#role') !== '' && shown('#live .tile')`)
		b.Equal(`[...document.querySelectorAll('#tools [data-tool]')].map((e) => e.dataset.tool).join(' ')`, c.tools)
		b.Equal(`[...document.querySelectorAll('.rooms a')].filter((e) => e.checkVisibility()).map((e) => e.textContent).join(' ')`, strings.Join(strings.Fields("Board Orders "+c.people+" Engines "+c.log), " "))
		b.Open("/console/order/" + anOrder[:25] + "B")
		b.Await(`shown('#whole') && text('#role') !== ''`)
		b.Equal(`[...document.querySelectorAll('#tools [data-tool]')].map((e) => e.dataset.tool).join(' ')`, c.refund)
		b.Open("/console/orders?q=ann")
		b.Await(`document.querySelectorAll('#orders tbody tr').length === 4`)
		b.Equal(`[...document.querySelectorAll('#find input, #find select, #find button')].filter((e) => e.checkVisibility()).map((e) => e.name || e.id || e.type).join(' ')`, strings.TrimSpace(c.find+" sale state submit "+c.csv))
		b.Equal(`document.activeElement.name`, strings.Fields(c.find + " sale")[0])
		b.Open("/console/people")
		b.Await(`text('#role') !== ''`)
		b.Equal(`shown('#accounts-heading') ? text('#accounts-heading') : ''`, c.accounts)
	}
}

func testDeskLogin(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	me := b.shop.hold("GET /api/me", problem(401, "unauthorized"), reply(200, `{"buyer":"u1","name":"zhou.min","role":"operator"}`))
	b.shop.script("POST /api/login", problem(401, "second_factor"), problem(401, "second_factor"), reply(200, `{"token":"t","buyer":"u1"}`))
	b.Open("/console/sale/1#after")
	b.Await(`location.pathname === '/console/login' && can('#login-submit')`)
	b.fill("zhou.min", "correct horse")
	b.Click("#login-submit")
	b.sentence("Enter the six digits of your authenticator app.")
	b.Await(`document.activeElement.name === 'code'`)
	b.keys("111111\r")
	b.sentence("That code is not right.")
	me()
	b.Fill("[name=code]", "222222")
	b.Click("#login-submit")
	b.Await(`location.pathname === '/console/sale/1' && text('#buyer') === 'zhou.min'`)
	bodies := b.shop.bodies("POST /api/login")
	require.Equal(t, `{"name":"zhou.min","password":"correct horse","code":"222222"}`, bodies[len(bodies)-1])
	// Who must have a second factor and has none is brought to where it is set up.
	b.shop.script("GET /api/me", reply(200, `{"buyer":"u1","name":"zhou.min","second_factor":false}`))
	b.shop.script("POST /api/login", reply(200, `{"token":"t","buyer":"u1","second_factor":"required"}`))
	b.Open("/console/login?next=/console/orders")
	b.fill("zhou.min", "correct horse")
	b.Click("#login-submit")
	b.Await(`location.pathname === '/console/me' && shown('#factor-begin')`)
	for _, next := range []string{"//evil.example/console/", "/login", "https://evil.example/console/", "/console/../login"} {
		b.Open("/console/login?next=" + next)
		require.Equal(t, `"/console/"`, b.module("login.js", `next('?next=`+next+`')`))
	}
}

func testDeskPause(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.login()
	b.Open("/console/sale/1")
	b.Click("[data-tool=pause]")
	b.Await(`text('.receipt p') === 'Paused. In force on 3 of 3 nodes after 400 ms.'`)
	b.Equal(`String(node('#press').open)`, "false")
	b.Click(".receipt .button")
	b.Await(`text('.receipt p')?.startsWith('Resumed.')`)
	require.Equal(t, 1, b.shop.count("POST /api/admin/sales/1/pause"))
	require.Equal(t, 1, b.shop.count("POST /api/admin/sales/1/resume"))
	// Not everywhere, nobody knows where, and not at all.
	for want, answer := range map[string]answer{
		"Paused. After 2 seconds in force on 2 of 3 nodes only; of the others it is unknown.":               reply(200, `{"id":"1","receipt":{"nodes":2,"of":3,"after_ms":2000}}`),
		"Paused. On how many nodes it is in force is unknown. no redis":                                     reply(200, `{"id":"1","receipt":{"nodes":null,"of":null,"after_ms":2000,"says":"no redis"}}`),
		"“Pause” did not work: A part of the system is down. It may be in force all the same: see the log.": problem(503, "unavailable"),
	} {
		b.shop.script("POST /api/admin/sales/1/pause", answer)
		b.Click("[data-tool=pause]")
		b.Await(`text('.receipt p') === ` + asJSON(want))
	}
	b.shop.script("POST /api/admin/sales/1/pause", hangUp)
	b.Click("[data-tool=pause]")
	b.Await(`text('.receipt p')?.includes('No answer came, so it may or may not be in force.')`)
}

func testDeskEnd(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.login()
	b.Open("/console/sale/1")
	b.Click("[data-tool=end]")
	b.Await(`node('#press').open && text('#press-effect')?.includes('Unpaid orders') && text('#press-effect')?.includes('103')`)
	b.keys("wrong\r")
	b.Await(`text('#press-error') === 'That is not the title.' && node('#press').open`)
	b.keys("\x1b")
	b.Await(`!node('#press').open && document.activeElement.dataset.tool === 'end'`)
	require.Zero(t, b.shop.count("POST /api/admin/sales/1/end"))
	b.Click("[data-tool=end]")
	b.Eval(`node('#press').dispatchEvent(new Event('close')); ''`) // that of the question before, late
	b.Fill("#press-typed", "机械键盘 87 键 · Mechanical keyboard")
	b.Click("#press-yes")
	b.Await(`!node('#press').open && text('.receipt p')?.includes('has ended.')`)
	b.Equal(`String(Boolean(node('.receipt .button')))`, "false") // no way back
	require.Equal(t, 1, b.shop.count("POST /api/admin/sales/1/end"))
}

func testDeskNoPreview(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.shop.script("GET /api/openapi.json", reply(200, `{"paths":{"/api/admin/sales/{sale}/end":{"post":{}}}}`))
	b.login()
	b.Open("/console/sale/1")
	b.Click("[data-tool=end]")
	b.Await(`node('#press').open && performance.getEntriesByType('resource').some((e) => e.name.endsWith('/openapi.json'))`)
	b.Await(`text('#press-effect')?.includes('Waiting')`) // what the page knows by itself
	b.Fill("#press-typed", "x")
	b.keys("y")
	b.Click("#press-no")
	require.Zero(t, b.shop.count("POST /api/admin/sales/1/end"))
	require.Zero(t, b.shop.count("POST /api/admin/sales/1/end?preview=1"))
}

func testDeskStock(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.shop.script("POST /api/admin/sales/1/stock", problem(503, "unavailable"), problem(503, "unavailable"), inForce(map[string]any{"id": "1"}, 3, 3))
	b.login()
	b.Open("/console/sale/1")
	b.Click("[data-tool=stock]")
	b.Fill("#press-delta", "0")
	b.Click("#press-yes")
	b.Await(`text('#press-error') === 'Please check what you have filled in.'`)
	// The preview of the move is answered after the move itself, and takes back nothing of
	// what was said of it.
	late, asked := make(chan struct{}), b.shop.count("POST /api/admin/sales/1/stock?preview=1")
	b.shop.script("POST /api/admin/sales/1/stock?preview=1", func(w responseWriter, s *shop) {
		<-late
		reply(200, aPreview)(w, s)
	})
	b.Fill("#press-delta", "50")
	require.Eventually(t, func() bool { return b.shop.count("POST /api/admin/sales/1/stock?preview=1") > asked }, time.Minute, 5*time.Millisecond)
	for i := range 2 {
		b.Await(`can('#press-yes')`)
		b.Click("#press-yes")
		b.Await(`text('#press-error').includes('It may be in force all the same') && can('#press-yes')`)
		if i == 0 {
			close(late)
			b.Await(`text('#press-effect').includes('238')`)
			b.Equal(`String(text('#press-error').includes('It may be in force all the same'))`, "true")
		}
	}
	b.Click("#press-yes")
	b.Await(`shown('.receipt')`)
	bodies := b.shop.bodies("POST /api/admin/sales/1/stock")
	require.GreaterOrEqual(t, len(bodies), 3)
	ids := map[string]bool{}
	for _, body := range bodies {
		var move struct {
			ID    string
			Delta int
		}
		require.NoError(t, json.Unmarshal([]byte(body), &move))
		require.Equal(t, 50, move.Delta)
		ids[move.ID] = true
	}
	require.Len(t, ids, 1)
}

func testDeskGo(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.login()
	b.Open("/console/sale/2")
	b.Await(`text('[data-part=says]') === 'Go: nothing is red.'`)
	b.Click("[data-go=true]")
	b.Await(`text('.receipt p')?.includes('is go.')`)
	require.Equal(t, []string{`{"preflight":true}`}, b.shop.bodies("POST /api/admin/sales/2/publish"))
	b.shop.script("GET /api/admin/sales/2/preflight", reply(200, `%s`, checks(false)))
	b.Await(`text('[data-part=says]') === 'No go: 2 checks have not passed.'`)
	b.Equal(`text('[data-check=disk] .unknown')`, "unknown")
	b.Click("[data-go=false]")
	b.Await(`node('#press').open`)
	b.Click("#press-yes")
	b.Await(`text('#press-error') !== '' && node('#press').open`)
	b.Fill("#press-reason", "the disk of n2 was looked at by hand")
	b.Click("#press-yes")
	b.Await(`!node('#press').open`)
	require.Equal(t, []string{`{"preflight":true}`, `{"preflight":true,"reason":"the disk of n2 was looked at by hand"}`}, b.shop.bodies("POST /api/admin/sales/2/publish"))
	// A check that turned red since the page has looked: the server refuses, and says which.
	b.shop.script("GET /api/admin/sales/2/preflight", reply(200, `%s`, checks(true)))
	b.shop.script("POST /api/admin/sales/2/publish", reply(409, `{"type":"about:blank","title":"t","status":409,"code":"state","detail":"not all checks have passed: disk (bad)"}`))
	b.Open("/console/sale/2")
	b.Await(`text('[data-part=says]') === 'Go: nothing is red.'`)
	b.Click("[data-go=true]")
	b.Await(`text('.receipt p')?.includes('disk (bad)')`)
	// No checks are no pass.
	b.shop.script("GET /api/admin/sales/2/preflight", problem(503, "unavailable"))
	b.Open("/console/sale/2")
	b.Await(`text('[data-part=says]') === 'The checks are unknown, which is not a pass.' && shown('[data-go=false]')`)
}

func testDeskLive(t *testing.T, b *buyer) {
	operated("viewer")(b.shop)
	b.login()
	lose := make(chan struct{})
	b.shop.script("GET /api/admin/live", func(w responseWriter, s *shop) {
		streamed(func(s *shop, n int) string {
			if n > 92 {
				select {
				case <-lose:
				case <-s.closed:
				}
				hangUp(w, s)
			}
			return aLive(s, n)
		})(w, s)
	})
	b.Open("/console/sale/1")
	b.Await(`text('[data-part=stream]') === 'Live, once a second' && document.querySelectorAll('#live .chart').length === 3 && shown('.mark.pressed')`)
	b.Await(`text('#live .tile.big dd') === '316'`)
	b.Equal(`[...document.querySelectorAll('#live [data-part=nodes] th')].map((e) => e.textContent).join(' ')`, "shop-1:8080 shop-2:8080 shop-3:8080")
	// It falls silent, and breaks off: what the sale's own route tells is shown instead.
	b.Await(`text('[data-part=stream]') === 'The live stream is lost; asking every 2 seconds instead'`)
	b.Await(`text('#live .tile.big dd') === '320'`)
	b.shop.script("GET /api/admin/live", streamed(aLive))
	close(lose)
	b.Await(`text('[data-part=stream]') === 'Live, once a second'`)
}

func testDeskUnknown(t *testing.T, b *buyer) {
	operated("viewer")(b.shop)
	b.login()
	b.shop.script("GET /api/admin/live", streamed(func(s *shop, n int) string {
		return `{"at":` + asJSON(s.now().UTC()) + `,"nodes":[],"parts":{"gate":{"ok":false,"since":"2026-11-27T12:00:00Z","says":"no answer"}},"sales":[{"id":"1","state":"open","left":null,"total":500,"queued":null,"waiting":null,"admitted_per_s":null,"verdicts":{},"admission_ms":null,"outcome_ms":null,"balance":null,"age_ms":400,"says":"the gate does not say what is left"}],"marks":[]}`
	}))
	b.Open("/console/sale/1")
	b.Await(`text('[data-part=stream]') === 'Live, once a second' && text('#live .tile.big dd') === 'unknown'`)
	b.Equal(`[...document.querySelectorAll('#live .tile')].filter((e) => e.querySelector('dd').textContent !== 'unknown').map((e) => e.textContent).join('|')`, "Nodes0")
	b.Equal(`[...document.querySelectorAll('#live .tile .why')].map((e) => e.textContent).filter((s) => s !== 'the gate does not say what is left').join('|')`, "")
	b.Await(`text('#parts')?.startsWith('Gate: down.') && text('#parts')?.endsWith('no answer')`)
	b.Equal(`String([...document.querySelectorAll('#live .chart-name')].some((e) => e.textContent === 'Admitted per second'))`, "false")
	b.shop.script("GET /api/admin/sales/1/after", problem(503, "unavailable"))
	b.shop.script("GET /api/admin/sales/1/balance", reply(200, `{"sale":"1","ok":null,"says":"not among the last counts","violations":[]}`))
	b.Click("#tab-after")
	b.Await(`document.querySelectorAll('#after .funnel .unknown').length === 8 && text('#after [data-part=balance]')?.includes('not among the last counts')`)
	b.Equal(`String(/(^|\D)0(\D|$)/.test(text('#after .funnel') + text('#after [data-part=balance]')))`, "false")
}

func testDeskAbsent(t *testing.T, b *buyer) {
	operated("admin")(b.shop)
	b.login()
	for _, what := range strings.Fields("GET:/api/admin/people GET:/api/admin/log GET:/api/admin/nodes GET:/api/admin/engines GET:/api/admin/dead-letters GET:/api/admin/sales/2/preflight GET:/api/admin/sales/2/after GET:/api/admin/sales/2/balance GET:/api/admin/sales/2/audit GET:/api/admin/live") {
		b.shop.script(strings.Replace(what, ":", " ", 1), none)
	}
	for page, places := range map[string][]string{
		"/console/people":  {"#status"},
		"/console/log":     {"#status"},
		"/console/engines": {"#status", "#dead-status"},
		"/console/sale/2":  {"#preflight [data-part=trouble]"},
	} {
		b.Open(page)
		for _, place := range places {
			b.Await(`text('` + place + `') === 'Not available on this node.'`)
		}
	}
	b.Open("/console/sale/2")
	b.Click("#tab-after")
	b.Await(`text('#after [data-part=trouble]') === 'Not available on this node.' && text('#after [data-part=balance]')?.includes('Not available on this node.')`)
	b.Click("#tab-live")
	b.Await(`text('[data-part=stream]')?.startsWith('The live stream is lost') && text('#live .tile.big dd') === '120'`)
}

func testDeskCreate(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.shop.script("POST /api/admin/sales", problem(503, "unavailable"), problem(503, "unavailable"), reply(201, `{"id":"2","title":"x","warnings":["opens_at is in the past: buyers can buy at once"],"warning_codes":["opens_in_past"]}`))
	b.login()
	b.Open("/console/new?copy=1")
	b.Await(`node('#sale-title')?.value.startsWith('机械键盘') && node('#sale-price').value === '99.00' && node('#sale-opens_at').value === ''`)
	b.Fill("#sale-title", "Kettle")
	b.Fill("#sale-price", "12.345")
	b.Click(".sale-form [type=submit]")
	b.Await(`text('.sale-form .status') === 'Please check “Price”.' && document.activeElement.name === 'price' && document.activeElement.getAttribute('aria-invalid') === 'true'`)
	b.Fill("#sale-price", "12.3")
	b.Fill("#sale-list_price", "")
	b.Fill("#sale-opens_at", "2030-01-02T20:00")
	b.Fill("#sale-closes_at", "2030-01-02T19:00")
	b.Click(".sale-form [type=submit]")
	b.Await(`text('.sale-form .status') === 'Please check “Ends”.'`)
	b.Fill("#sale-closes_at", "2030-01-02T21:00")
	b.Click(".sale-form [type=submit]")
	for range 2 {
		b.Await(`text('.sale-form .status').includes('It may be in force all the same') && can('.sale-form [type=submit]')`)
		b.Click(".sale-form [type=submit]")
	}
	b.Await(`text('#form')?.includes('The opening is in the past')`)
	var body map[string]any
	require.NoError(t, json.Unmarshal([]byte(b.shop.bodies("POST /api/admin/sales")[0]), &body))
	require.EqualValues(t, 1230, body["price"])
	require.NotContains(t, body, "list_price")
	require.Equal(t, "draft", body["shelf"])
	require.NotContains(t, body, "id")
	keys := map[string]bool{}
	for _, key := range b.shop.bodies("Idempotency-Key") {
		keys[key] = true
	}
	require.Len(t, keys, 1, "each try of one form has the same key")
	b.Click("#form a")
	b.Await(`location.pathname === '/console/sale/2'`)
}

func testDeskEdit(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.shop.script("PATCH /api/admin/sales/1", inForce(map[string]any{"id": "1", "title": "x"}, 1, 1))
	b.login()
	b.Open("/console/sale/1#edit")
	b.Await(`shown('#edit form') && node('#sale-price').readOnly && node('#sale-total').readOnly && !node('#sale-title').readOnly`)
	b.Fill("#sale-title", "Keyboard")
	b.Fill("#sale-hold_seconds", "600")
	b.Click(".sale-form [type=submit]")
	b.Await(`text('.receipt p')?.startsWith('Saved. In force on 1 of 1 nodes')`)
	require.Equal(t, []string{`{"title":"Keyboard","hold_seconds":600}`}, b.shop.bodies("PATCH /api/admin/sales/1"))
	b.Open("/console/sale/2")
	require.Equal(t, `["¥",99,9900,0,null,null,99,"0.05","990",9900,9950,9900000,null,9900,"99.00","9.900","0.99"]`, b.module("edit.js", `["¥", minor("99","JPY"), minor("99","CNY"), minor("0.00","CNY"), minor("1.234","CNY"), minor("-1","CNY"), minor("0.99","EUR"), major(5,"CNY"), major(990,"JPY"),
		minor("99","RSD"), minor("99.50","LAK"), minor("9900","IQD"), minor("1.2345","IQD"), minor("9.9","IQD"), major(9900,"RSD"), major(9900,"IQD"), major(99,"LAK")]`))
}

func testDeskOrders(t *testing.T, b *buyer) {
	operated("admin")(b.shop)
	b.login()
	id := anOrder[:25] + "B"
	b.Open("/console/orders?q=" + strings.ToLower(id))
	b.Await(`document.querySelectorAll('#orders tbody tr').length === 1 && text('#orders tbody th') === '` + id + `'`)
	b.Fill("#q", "zhou")
	b.keys("\r")
	b.Await(`document.querySelectorAll('#orders tbody tr').length === 4 && shown('#found-people')`)
	b.Equal(`location.search`, "?q=zhou")
	b.shop.script("GET /api/admin/orders", problem(422, "invalid_field"))
	b.Click("#find [type=submit]")
	b.Await(`text('#status')?.startsWith('That cannot be searched for')`)
	b.Open("/console/order/" + strings.ToLower(id))
	b.Await(`text('#id') === '` + id + `' && text('#life') .includes('placed') && text('#life')?.includes('paid') && text('#money')?.includes('pi_3')`)
}

func testDeskRefund(t *testing.T, b *buyer) {
	operated("support")(b.shop)
	b.login()
	id := anOrder[:25] + "B"
	b.shop.script("POST /api/admin/orders/"+id+"/refund", problem(503, "unavailable"), reply(200, `{"id":"%s"}`, id))
	b.shop.script("POST /api/admin/orders/"+id+"/refund?preview=1", problem(422, "invalid_field"))
	b.Open("/console/order/" + id)
	b.Click("[data-tool=refund]")
	b.Fill("#press-amount", "100.00") // more than it cost
	b.Click("#press-yes")
	b.Await(`text('#press-error') === 'Please check what you have filled in.'`)
	b.Fill("#press-amount", "40.50")
	b.Fill("#press-units", "0")
	b.Fill("#press-reason", "scratched")
	b.Click("#press-yes")
	b.Await(`text('#press-error')?.includes('It may be in force all the same')`)
	b.Click("#press-yes")
	b.Await(`text('.receipt p')?.startsWith('The refund is on its way.')`)
	bodies := b.shop.bodies("POST /api/admin/orders/" + id + "/refund")
	require.Len(t, bodies, 2)
	require.Equal(t, bodies[0], bodies[1], "the second try is the same refund")
	require.Contains(t, bodies[0], `"amount":4050,"units":0,"restock":true,"reason":"scratched"`)
}

func testDeskParts(t *testing.T, b *buyer) {
	operated("admin")(b.shop)
	b.shop.script("GET /api/admin/nodes", queueDown)
	b.shop.script("GET /api/admin/engines", queueDown)
	b.login()
	for _, page := range strings.Fields("/console/ /console/orders /console/log /console/me /console/people /console/engines /console/new /console/sale/2") {
		b.Open(page)
		b.Await(`text('#parts')?.startsWith('Queue: down.') && text('#parts')?.includes('connection refused')`)
	}
	b.shop.breaks(true)
	b.Await(`text('#offline')?.startsWith('The server does not answer')`)
	b.Equal(`text('#title')`, "降噪耳机 · Noise-cancelling headphones")
	b.shop.breaks(false)
	b.Await(`!shown('#offline')`)
}

func testDeskKeyboard(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.login()
	b.Open("/console/sale/1")
	b.Await(`node('#tab-live').tabIndex === 0`)
	b.Await(`node('#tab-live').focus() === undefined && document.activeElement.id === 'tab-live'`)
	for key, tab := range map[string]string{"ArrowRight": "after"} {
		b.press(key)
		b.Await(`document.activeElement.id === 'tab-` + tab + `' && shown('#` + tab + `') && !shown('#live') && location.hash === '#` + tab + `'`)
	}
	b.press("End")
	b.Await(`document.activeElement.id === 'tab-edit' && shown('#edit')`)
	b.press("ArrowRight")
	b.Await(`document.activeElement.id === 'tab-preflight'`)
	b.press("ArrowLeft")
	b.press("Home")
	b.Await(`document.activeElement.id === 'tab-preflight'`)
	// Enter presses; in the question the focus begins in its field.
	b.Await(`node('[data-tool=stock]').focus() === undefined && document.activeElement.dataset.tool === 'stock'`)
	b.keys("\r")
	b.Await(`node('#press').open && document.activeElement.id === 'press-delta'`)
	b.keys("25\r")
	b.Await(`!node('#press').open && text('.receipt p')?.startsWith('The stock was changed.')`)
	b.Equal(`document.activeElement.dataset.tool ?? document.activeElement.tagName`, "stock")
	// The board is redrawn every few seconds, and the focus stays.
	b.Open("/console/")
	b.Await(`node('[data-key=sale-1]')?.focus() === undefined && document.activeElement.dataset.key === 'sale-1'`)
	b.Eval(`window.before = node('[data-key=sale-1]'); window.dispatchEvent(new Event('resize')); ''`)
	b.Await(`node('[data-key=sale-1]') !== window.before && document.activeElement.dataset.key === 'sale-1'`)
}

func testDeskLanguage(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.login()
	b.Open("/console/sale/1")
	b.Await(`document.querySelectorAll('#live .chart').length === 3`)
	b.Click("#lang")
	b.Await(`text('[data-part=stream]') === '实时数据，每秒一次' && text('#tab-live') === '实时' && text('[data-tool=pause]') === '暂停'`)
	b.Click("[data-tool=pause]")
	b.Await(`text('.receipt p') === '已暂停。 已在 3/3 个节点生效，用时 400 毫秒。'`)
	b.Click("#lang")
	b.Await(`text('.receipt p') === 'Paused. In force on 3 of 3 nodes after 400 ms.'`)
}

func testDeskNarrow(t *testing.T, b *buyer) {
	b.login()
	b.viewport(360, 740)
	for _, language := range languages {
		b.speak(language)
		for _, p := range deskStates {
			if p.nobody || p.then != nil {
				continue
			}
			p.setup(b.shop)
			b.Open(p.path)
			b.Await(p.ready)
			b.fits(360)
			b.Equal(`[...document.querySelectorAll('.scroll')].filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth).map((e) => e.ariaLabel).join()`, "")
			if small := b.Eval(`[...document.querySelectorAll('a, button, input, select, summary')]
				.filter((e) => e.checkVisibility() && !e.classList.contains('skip') && Math.min(e.offsetHeight, e.offsetWidth) < 44)
				.map((e) => e.outerHTML).join('\n')`); small != "" {
				t.Errorf("%s in %s has small targets:\n%s", p.name, language, small)
			}
		}
	}
}
