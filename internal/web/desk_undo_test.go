package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testDeskBack(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.login()
	b.Open("/console/sale/1")
	type sent struct {
		ID, Text string
		Delta    int
		ClosesAt string `json:"closes_at"`
	}
	last := func(what string, n int) (v sent) {
		t.Helper()
		require.Eventually(t, func() bool { return b.shop.count(what) >= n }, time.Minute, 10*time.Millisecond)
		all := b.shop.bodies(what)
		require.NoError(t, json.Unmarshal([]byte(all[len(all)-1]), &v))
		return v
	}
	b.Click("[data-tool=stock]")
	b.Fill("#press-delta", "50")
	b.Click("#press-yes")
	b.Await(`text('.receipt p')?.startsWith('The stock was changed.')`)
	move := last("POST /api/admin/sales/1/stock", 1)
	b.Click(".receipt .button")
	back := last("POST /api/admin/sales/1/stock", 2)
	require.Equal(t, -50, back.Delta)
	require.NotEqual(t, move.ID, back.ID, "a move of its own")
	// A press after an answer is another change, one after a lost answer the same: also when
	// one was turned away since, and another number was pressed.
	b.shop.script("POST /api/admin/sales/1/holds", reply(503, `{"code":"unavailable","status":503}`), reply(429, "<html>"), reply(429, "<html>"), reply(200, `{"sale":"1","orders":3,"seconds":900}`))
	b.Click("[data-tool=holds]")
	var ids []string
	for n, seconds := range []string{"900", "900", "600", "900", "900"} {
		if n == 4 {
			b.Click("[data-tool=holds]")
		}
		b.Fill("#press-seconds", seconds)
		b.Click("#press-yes")
		ids = append(ids, last("POST /api/admin/sales/1/holds", n+1).ID)
		b.Await([]string{`can('#press-yes') && text('#press-error')?.includes('It may be in force')`, `can('#press-yes')`, `can('#press-yes')`, `!node('#press').open`, `!node('#press').open`}[n])
	}
	require.Equal(t, []string{ids[0], ids[0], ids[2], ids[0], ids[4]}, ids)
	require.NotContains(t, []string{ids[2], ids[4]}, ids[0])
	b.Click("[data-tool=notice]")
	b.Fill("#press-text", "sold by the pair")
	b.Click("#press-yes")
	b.Await(`text('.receipt p')?.startsWith('The notice was changed.')`)
	b.Click(".receipt .button")
	require.Empty(t, last("POST /api/admin/sales/1/notice", 2).Text)
	b.shop.script("PATCH /api/admin/sales/1", inForce(map[string]any{"id": "1"}, 3, 3))
	b.Click("[data-tool=extend]")
	b.Click("#press-yes")
	b.Await(`text('.receipt p')?.startsWith('The end was changed.')`)
	b.Click(".receipt .button")
	require.NotEmpty(t, last("PATCH /api/admin/sales/1", 1).ClosesAt)
}

// The first event of the stream is what the server remembers: ten minutes are drawn at once.
func testDeskPast(t *testing.T, b *buyer) {
	operated("viewer")(b.shop)
	b.shop.script("GET /api/admin/live", func(w http.ResponseWriter, s *shop) {
		w.Header().Set("Content-Type", "text/event-stream")
		rows := ""
		for n := range 600 {
			rows += fmt.Sprintf(`,[%d,%d,null,10,5,null]`, s.now().Add(time.Duration(n-600)*time.Second).UnixMilli(), 500-n/2)
		}
		fmt.Fprintf(w, "event: past\ndata: {\"sale\":\"1\",\"columns\":[\"at\",\"left\",\"waiting\",\"admitted_per_s\",\"admission_ms\",\"outcome_ms\"],\"rows\":[%s]}\n\n", rows[1:])
		streamed(aLive)(w, s)
	})
	b.login()
	b.Open("/console/sale/1")
	b.Await(`document.querySelectorAll('#live .chart').length === 3`)
	b.Await(`document.querySelectorAll('#live [data-part=nodes] tr').length === 3 && text('#live [data-part=nodes] tr')?.includes('shop-1:8080') && text('#live [data-part=nodes] tr')?.includes('14/s')`)
	const seconds = `[...document.querySelectorAll('#live .ends')[0].children].map((e) => e.textContent.split(':').reduce((n, v) => 60 * n + Number(v), 0))`
	b.Await(`((ends) => (ends[1] - ends[0] + 86400) % 86400 > 590)(` + seconds + `)`)
}

func testDeskUndo(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.login()
	const undo = "POST /api/admin/sales/1/undo"
	step := make(chan struct{})
	b.shop.script(undo, inForce(aDeskSale("1", "x", time.Now(), time.Now(), "paused", ""), 3, 3),
		reply(200, `{"step":"cancel","done":25,"more":true}`), reply(200, `{"step":"cancel","done":3,"more":false}`),
		func(w responseWriter, s *shop) {
			select {
			case <-step:
			case <-s.closed:
			}
			reply(200, `{"step":"refund","done":25,"more":true}`)(w, s)
		})
	b.Open("/console/sale/1")
	b.Click("[data-tool=undo]")
	b.Await(`node('#press').open && text('#press-effect').includes('103') && text('#press-effect').includes('238')`)
	require.Equal(t, []string{`{"step":"pause","title":"机械键盘 87 键 · Mechanical keyboard"}`}, b.shop.bodies(undo+"?preview=1"))
	b.Fill("#press-typed", "机械键盘 87 键 · Mechanical keyboard")
	b.Click("#press-yes")
	b.Await(`text('.receipt')?.includes('cancelling unpaid orders: 28 done')`)
	// The first refunds are on their way: pressed earlier, the button would stop before them.
	require.Eventually(t, func() bool { return b.shop.count(undo) == 4 }, time.Minute, 10*time.Millisecond)
	b.Click(".receipt .button")
	close(step)
	b.Await(`text('.receipt p').startsWith('Stopped after 53 orders.')`)
	require.Equal(t, []string{`{"step":"pause","title":"机械键盘 87 键 · Mechanical keyboard"}`, `{"step":"cancel","batch":25}`, `{"step":"cancel","batch":25}`, `{"step":"refund","batch":25}`}, b.shop.bodies(undo))

	// What has ended is not paused, and orders that stay as they are are not tried for ever.
	const ended = "POST /api/admin/sales/4/undo"
	b.shop.script(ended, reply(200, `{"step":"cancel","done":2,"more":false}`), reply(200, `{"step":"refund","done":1,"more":true}`), reply(200, `{"step":"refund","done":0,"more":true}`),
		reply(200, `{"step":"cancel","done":0,"more":false}`), reply(200, `{"step":"refund","done":0,"more":true}`))
	b.Open("/console/sale/4")
	b.Click("[data-tool=undo]")
	b.Fill("#press-typed", "登山背包 40 升 · Mountain backpack, 40 litres")
	b.Click("#press-yes")
	b.Await(`text('.receipt p')?.startsWith('Interrupted after 3 orders')`)
	const first, cancel, refund = `{"step":"cancel","batch":25,"title":"登山背包 40 升 · Mountain backpack, 40 litres"}`, `{"step":"cancel","batch":25}`, `{"step":"refund","batch":25}`
	require.Equal(t, []string{first, refund, refund, cancel, refund}, b.shop.bodies(ended))

	// Tickets that wait become orders: it is done when there are none, and goes round until then.
	drained := make(chan struct{})
	b.shop.script(ended, reply(200, `{"step":"cancel","done":0,"more":true,"pending":2000}`), reply(200, `{"step":"refund","done":0,"more":true,"pending":2000}`),
		func(w responseWriter, s *shop) {
			select {
			case <-drained:
			case <-s.closed:
			}
			reply(200, `{"step":"cancel","done":7,"more":false,"pending":0}`)(w, s)
		}, reply(200, `{"step":"refund","done":0,"more":false,"pending":0}`))
	b.Open("/console/sale/4")
	b.Click("[data-tool=undo]")
	b.Fill("#press-typed", "登山背包 40 升 · Mountain backpack, 40 litres")
	b.Click("#press-yes")
	b.Await(`text('.receipt')?.includes('tickets that wait for their outcome: 2,000')`)
	close(drained)
	b.Await(`text('.receipt p')?.startsWith('The wrong price is undone: 7 orders.')`)
}
