package web

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// While the store is away a node shows a copy of ten minutes ago, and while the gate is, what
// the store has not sold is not taken for what is left. The stream is lost meanwhile: what
// the page asks for instead makes a step in the charts only when it is answered.
func testDeskAges(t *testing.T, b *buyer) {
	operated("operator")(b.shop)
	b.shop.script("GET /api/admin/live", none)
	sale := aDeskSale("1", "x", b.shop.now().Add(-time.Hour), b.shop.now().Add(time.Hour), "open", "")
	with := func(more map[string]any) string {
		now := b.shop.now().UTC()
		v := maps.Clone(sale)
		v["server_now"], v["as_of"] = now, now.Add(-10*time.Minute)
		maps.Copy(v, more)
		return asJSON(v)
	}
	answer := func(more map[string]any) {
		b.shop.script("GET /api/admin/sales/1", func(w responseWriter, s *shop) { reply(200, "%s", with(more))(w, s) })
		b.shop.script("GET /api/admin/sales", func(w responseWriter, s *shop) { reply(200, `{"items":[%s]}`, with(more))(w, s) })
	}
	answer(map[string]any{"left_from_store": true})
	b.login()
	b.Open("/console/")
	b.Await(`text('#age') === '10 minutes ago' && text('[data-sale="1"]')?.includes('500 in all, left unknown')`)
	b.Open("/console/sale/1")
	b.Await(`text('[data-part=stream]')?.startsWith('The live stream is lost') && text('#live [data-part=age]') === '10 minutes ago' && text('#facts .age') === '10 minutes ago'`)
	b.Equal(`[...node('#live .tile.big').children].map((e) => e.textContent).join('|')`, "Left|unknown|the gate does not say")
	b.Click("[data-tool=stock]")
	b.Await(`node('#press').open && text('#press-delta-hint') === 'How many the gate holds now is unknown'`)
	b.Click("#press-no")

	const line = `node('#live .series')?.getAttribute('d') ?? ''`
	answer(map[string]any{"left": 77})
	asked := func(n int) {
		was := b.shop.count("GET /api/admin/sales/1")
		require.Eventually(t, func() bool { b.wake(); return b.shop.count("GET /api/admin/sales/1") >= was+n }, time.Minute, 50*time.Millisecond)
	}
	b.Await(`text('#live .tile.big dd') === '77'`)
	asked(3)
	b.Await(`(` + line + `).length > 0`)
	b.Click("[data-tool=stock]") // the button was made when the number was unknown
	b.Await(`text('#press-delta-hint') === 'The gate holds 77 now'`)
	b.Click("#press-no")
	b.shop.breaks(true)
	asked(2)
	b.Await(`shown('#offline')`)
	drawn := b.Eval(line)
	asked(3)
	b.Await(`shown('#status')`)
	b.Equal(line, drawn)
	b.Equal(`text('#live [data-part=age]').startsWith('10 minutes') + ''`, "true")
}
