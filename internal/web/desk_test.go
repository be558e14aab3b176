package web

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"strings"
	"time"

	"github.com/pquerna/otp"
)

// operated makes a shop that answers what the console asks, for a person of a role.
func operated(role string) func(*shop) {
	return func(s *shop) {
		now := s.now()
		s.script("GET /api/me", reply(200, `{"buyer":"u1","name":"zhou.min","role":"%s","second_factor":false}`, role))
		s.script("GET /api/openapi.json", reply(200, `{"paths":%s}`, deskRoutes))
		sales := []map[string]any{
			aDeskSale("1", "机械键盘 87 键 · Mechanical keyboard", now.Add(-20*time.Minute), now.Add(100*time.Minute), "open", ""),
			aDeskSale("2", "降噪耳机 · Noise-cancelling headphones", now.Add(3*time.Hour), now.Add(5*time.Hour), "scheduled", "hidden"),
			aDeskSale("3", "手冲咖啡壶 · Pour-over kettle", now.Add(3*time.Hour+4*time.Minute), now.Add(6*time.Hour), "scheduled", "draft"),
			aDeskSale("4", "登山背包 40 升 · Mountain backpack, 40 litres", now.Add(-26*time.Hour), now.Add(-24*time.Hour), "ended", ""),
			aDeskSale("5", "城市自行车 · City bicycle", now.Add(-2*time.Hour), now.Add(30*time.Hour), "paused", ""),
			aDeskSale("6", "茶具 · Tea set", now.Add(50*time.Hour), now.Add(60*time.Hour), "scheduled", ""),
		}
		sales[0]["left"] = 320
		s.script("GET /api/admin/sales", reply(200, `{"items":%s}`, asJSON(sales)))
		for _, v := range sales {
			path := "/api/admin/sales/" + v["id"].(string)
			s.script("GET "+path, reply(200, `%s`, asJSON(v)))
			s.script("GET "+path+"/preflight", reply(200, `%s`, checks(true)))
			s.script("GET "+path+"/balance", reply(200, `%s`, aBalance))
			s.script("GET "+path+"/after", anAfter)
			for _, verb := range strings.Fields("pause resume end hide publish stock notice extend holds undo") {
				s.script("POST "+path+"/"+verb, inForce(v, 3, 3))
				s.script("POST "+path+"/"+verb+"?preview=1", reply(200, aPreview))
			}
		}
		s.script("GET /api/admin/balance", reply(200, `{"items":[%s,%s,%s]}`, balanceOf("1", aBalance), balanceOf("5", oldBalance), balanceOf("4", aBalance)))
		s.script("GET /api/admin/live", streamed(aLive))
		s.script("GET /api/admin/orders", reply(200, `{"items":[%s,%s,%s,%s]}`, deskOrder(now, "A", "unpaid"), deskOrder(now, "B", "paid"), deskOrder(now, "C", "expired"), deskOrder(now, "D", "refunded")))
		s.script("GET /api/admin/refunds", reply(200, `{"items":[{"id":"r1","order":"%s","provider":"stripe","reference":"pi_1","amount":9900,"currency":"CNY","units":1,"restock":true,"by":"sun.yue","state":"due","made_at":"%s","tries":7,"error":"the refund re_1 at Stripe is failed (expired_or_canceled_card)"}]}`,
			anOrder[:25]+"D", now.Add(-3*time.Hour).Format(time.RFC3339)))
		for n, state := range map[string]string{"A": "unpaid", "B": "paid"} {
			path := "/api/admin/orders/" + anOrder[:25] + n
			s.script("GET "+path, reply(200, `%s`, wholeOrder(now, n, state)))
			s.script("POST "+path+"/refund?preview=1", reply(200, `{"preview":{"sale":"1","what":"orders.refund","numbers":[{"name":"amount","value":"99.00 CNY"},{"name":"units","value":1}],"undo":false,"ask":"confirm"}}`))
		}
		s.script("GET /api/admin/people", reply(200, `{"items":[{"name":"zhou.min","role":"admin","second_factor":true,"blocked":false},{"name":"li.wei","role":"operator","second_factor":false,"blocked":false},{"name":"sun.yue","blocked":true,"second_factor":false}]}`))
		s.script("GET /api/admin/access", reply(200, `{"items":[{"list":"block","network":"203.0.113.0/24","note":"a farm","by":"zhou.min","created_at":"%[1]s"},{"list":"allow","buyer":"b42","sale":"1","by":"li.wei","created_at":"%[1]s"}]}`, now.Format(time.RFC3339)))
		s.script("GET /api/admin/engines", reply(200, `{"parts":%s,"nodes":%s,"listeners":[],"dead_letters":true,"rabbitmq_console":"https://mq.example:15671/"}`, partsUp, deskNodes(now, partsUp)))
		s.script("GET /api/admin/nodes", reply(200, `{"items":%s}`, deskNodes(now, partsUp)))
		s.script("GET /api/admin/dead-letters", reply(200, `{"waiting":0,"more":10,"items":[{"id":"d1","at":"%[1]s","sale":"1","ticket":"%[2]s","buyer":"b7","reason":"poison","says":"quantity 0","deaths":1,"sealed":false},{"id":"d2","at":"%[1]s","sale":"1","ticket":"%[2]s","reason":"delivery_limit","deaths":5,"sealed":true}]}`, now.Add(-time.Hour).Format(time.RFC3339), anOrder))
		s.script("GET /api/admin/log", reply(200, `{"items":[
			{"id":"9","at":"%[1]s","who":"zhou.min","role":"admin","from":"192.0.2.7","what":"sales.pause","sale":"1","result":"done","before":{"paused":false},"after":{"paused":true},"request_id":"R1"},
			{"id":"8","at":"%[2]s","who":"li.wei","role":"operator","from":"192.0.2.8","what":"sales.stock","sale":"1","intent":"POST /api/admin/sales/1/stock {\"delta\":50}","result":"unavailable","before":{"total":500},"after":{"total":550},"request_id":"R2"},
			{"id":"7","at":"%[2]s","who":"sun.yue","role":"","from":"198.51.100.9","what":"login","result":"unauthorized","request_id":"R3"}],"next":"7"}`,
			now.Add(-5*time.Minute).Format(time.RFC3339), now.Add(-15*time.Minute).Format(time.RFC3339)))
	}
}

// deskRoutes is as much of the API's description as the console reads.
var deskRoutes = func() string {
	paths := map[string]map[string]any{}
	preview := map[string]any{"parameters": []map[string]string{{"name": "preview", "in": "query"}}}
	for _, verb := range strings.Fields("pause resume end hide publish stock notice extend holds undo rebuild") {
		paths["/api/admin/sales/{sale}/"+verb] = map[string]any{"post": preview}
	}
	paths["/api/admin/sales/{sale}/publish"]["post"] = map[string]any{"parameters": preview["parameters"],
		"requestBody": map[string]any{"content": map[string]any{"application/json": map[string]any{"schema": map[string]any{"properties": map[string]any{"preflight": map[string]any{}, "reason": map[string]any{}}}}}}}
	paths["/api/admin/orders"] = map[string]any{"get": map[string]any{"parameters": []map[string]string{{"name": "q"}}}}
	paths["/api/admin/refunds"] = map[string]any{"get": map[string]any{}}
	paths["/api/admin/orders/{order}/refund"] = map[string]any{"post": preview}
	return asJSON(paths)
}()

// aFactor answers with a second factor, its picture included.
func aFactor(w responseWriter, s *shop) {
	const url = "otpauth://totp/Seckill:zhou.min?secret=JBSWY3DPEHPK3PXP&issuer=Seckill"
	var picture bytes.Buffer
	if err := png.Encode(&picture, must(must(otp.NewKeyFromURL(url)).Image(240, 240))); err != nil {
		panic(err)
	}
	reply(200, `{"secret":"JBSWY3DPEHPK3PXP","url":"%s","picture":"data:image/png;base64,%s"}`, url, base64.StdEncoding.EncodeToString(picture.Bytes()))(w, s)
}

func asJSON(v any) string { return string(must(json.Marshal(v))) }

func aDeskSale(id, title string, opens, closes time.Time, state, shelf string) map[string]any {
	v := map[string]any{"id": id, "title": title, "price": 9900, "list_price": 29900, "currency": "CNY", "total": 500, "left": 120, "waiting": 37, "limit_per_buyer": 1, "hold_seconds": 900,
		"opens_at": opens.UTC().Format(time.RFC3339), "closes_at": closes.UTC().Format(time.RFC3339), "state": state, "server_now": time.Now().UTC().Format(time.RFC3339Nano), "late_payment": "refund", "eligible": "everybody", "challenge": "none"}
	if shelf != "" {
		v["shelf"] = shelf
	}
	return v
}

// checks are a preflight as the server sends it.
func checks(go_ bool) string {
	all := `{"name":"nodes","state":"ok","value":"3 of 3","age_ms":800,"code":"ready","with":{"ready":3,"of":3}},{"name":"same version","state":"ok","value":1,"limit":1,"age_ms":800},
		{"name":"same settings","state":"ok","value":1,"limit":1,"age_ms":800},{"name":"clocks","state":"ok","value":12,"limit":500,"age_ms":900,"says":"milliseconds between a node's clock and the gate's","code":"skew"},
		{"name":"engines durable","state":"ok","value":0,"limit":0,"age_ms":null},{"name":"balance","state":"ok","value":0,"limit":0,"age_ms":2000},
		{"name":"price","state":"warn","value":"29.00 CNY","limit":"299.00 CNY","age_ms":100,"says":"it is less than a tenth of the list price","code":"tenth"},
		{"name":"opening","state":"ok","value":"2026-11-27 12:00:00 UTC, 20:00 Asia/Shanghai, 13:00 Europe/Berlin, 07:00 America/New_York","age_ms":100,"says":"it opens in 3h0m0s and is open for 2h0m0s","code":"opens","with":{"in_s":10800,"for_s":7200}},
		{"name":"gate","state":"ok","value":500,"limit":1,"age_ms":null,"says":"units that it can sell","code":"units"},{"name":"other openings","state":"ok","value":0,"age_ms":null}`
	if go_ {
		return `{"go":true,"checks":[` + all + `]}`
	}
	return `{"go":false,"checks":[` + all + `,{"name":"disk","state":"unknown","value":null,"age_ms":null,"says":"statfs /var/lib/seckill: no such file or directory","code":"unasked"},
		{"name":"role settle","state":"bad","value":0,"limit":1,"age_ms":700,"says":"no node has it","code":"no_role"},
		{"name":"payment","state":"warn","value":"test","age_ms":null,"says":"nobody takes the money: whoever asks has paid","code":"test_payment"}]}`
}

const aBalance = `{"ok":true,"total":500,"gate":120,"pending":37,"unpaid":103,"paid":238,"returning":2,"at":"2026-11-27T12:00:00Z","walked_at":"2026-11-27T11:59:48Z","age_ms":900,"violations":[],"money":[{"currency":"CNY","captured":2356200,"refunded":9900,"held":2346300,"due":0,"late":0,"aside":0}]}`

// balanceOf is the balance of a sale in the list of them.
func balanceOf(sale, balance string) string { return `{"sale":"` + sale + `",` + balance[1:] }

// oldBalance added up when it was counted last, partBalance left something out.
var (
	oldBalance  = strings.Replace(aBalance, `"age_ms":900`, `"age_ms":95000,"says":"dial tcp 192.0.2.5:6379: connection refused"`, 1)
	partBalance = strings.NewReplacer(`"pending":37`, `"pending":null`, `"age_ms":900`, `"age_ms":900,"says":"too many tickets wait for their outcome to be counted one by one"`).Replace(aBalance)
)

const badBalance = `{"age_ms":1200,"ok":false,"total":500,"gate":120,"pending":37,"unpaid":103,"paid":238,"returning":1,"violations":[{"rule":"conservation","ticket":"` + anOrder + `","says":"499 units are found of 500"}]}`

func anAfter(w responseWriter, s *shop) {
	var waves []string
	for i, n := range []int{3, 12, 31, 24, 9, 4, 1, 7, 12} {
		waves = append(waves, fmt.Sprintf(`{"at":"%s","orders":%d,"units":%d}`, s.now().Add(time.Duration(i)*time.Minute).UTC().Format(time.RFC3339), n, n))
	}
	reply(200, `{"at":"%s","tickets":412,"placed":378,"unpaid":103,"paid":238,"cancelled":6,"expired":31,"refunded":1,"sold_again":35,"left":120,"closed":false,"expiries":[%s]}`, s.now().UTC().Format(time.RFC3339), strings.Join(waves, ","))(w, s)
}

func deskOrder(now time.Time, n, state string) string {
	return fmt.Sprintf(`{"id":"%s","sale":"1","ticket":"%[1]s","title":"机械键盘","buyer":"b-%s","price":9900,"quantity":1,"amount":9900,"currency":"CNY","state":"%s","created_at":"%s","expires_at":"%s"}`,
		anOrder[:25]+n, strings.ToLower(n), state, now.Add(-7*time.Minute).UTC().Format(time.RFC3339), now.Add(8*time.Minute).UTC().Format(time.RFC3339))
}

func wholeOrder(now time.Time, n, state string) string {
	at := func(ago time.Duration) string { return now.Add(-ago).UTC().Format(time.RFC3339) }
	history := fmt.Sprintf(`{"id":"1","at":"%s","what":"order.placed","units":1,"who":"b-a"}`, at(7*time.Minute))
	payments := ""
	if state == "paid" {
		history += fmt.Sprintf(`,{"id":"2","at":"%s","what":"order.paid","amount":9900,"currency":"CNY","who":"stripe","why":"pi_3"}`, at(5*time.Minute))
		payments = fmt.Sprintf(`{"provider":"stripe","event":"evt_1","reference":"pi_3","order":"%s","amount":9900,"currency":"CNY","state":"kept","at":"%s","seen_at":"%[2]s"}`, anOrder, at(5*time.Minute))
	}
	return strings.TrimSuffix(deskOrder(now, n, state), "}") + fmt.Sprintf(`,"payments":[%s],"refunds":[],"history":[%s]}`, payments, history)
}

const partsUp = `{"gate":{"ok":true,"since":"2026-11-27T08:00:00Z"},"queue":{"ok":true,"since":"2026-11-27T08:00:00Z"},"store":{"ok":true,"since":"2026-11-27T08:00:00Z"}}`

// queueDown is what nodes say while the queue is away and the store does not say.
func queueDown(w responseWriter, s *shop) {
	nodes := deskNodes(s.now(), `{"gate":{"ok":true,"since":"2026-11-27T08:00:00Z"},"queue":{"ok":false,"since":"2026-11-27T12:00:00Z","says":"dial tcp 192.0.2.4:5672: connection refused"}}`)
	reply(200, `{"items":%[1]s,"nodes":%[1]s}`, nodes)(w, s)
}

func deskNodes(now time.Time, parts string) string {
	node := func(n int, degraded string) string {
		return fmt.Sprintf(`{"id":"1F3K9Q%d","name":"shop-%[1]d:8080","version":"1.4.0","settings":"5f3a9c10ee","roles":["api","relay","settle","expire"],"started_at":"%s","seen_at":"%s","age_ms":400,"clock_skew_ms":%d,"degraded":[%s],"listeners":true,"parts":%s}`,
			n, now.Add(-time.Hour).UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), 3*n, degraded, parts)
	}
	return "[" + node(1, "") + "," + node(2, "") + "," + node(3, "") + "]"
}

const aPreview = `{"preview":{"sale":"1","what":"x","numbers":[{"name":"left","value":120},{"name":"waiting","value":37},{"name":"unpaid","value":103},{"name":"paid","value":238}],"undo":false,"ask":"title"}}`

// inForce is the answer to a change: the sale, and the receipt.
func inForce(sale map[string]any, nodes, of int) answer {
	return reply(200, `%s,"receipt":{"nodes":%d,"of":%d,"after_ms":400}}`, strings.TrimSuffix(asJSON(sale), "}"), nodes, of)
}

// aLive is one second of the stream: the n-th.
func aLive(s *shop, n int) string {
	now := s.now().UTC()
	return fmt.Sprintf(`{"at":"%s","nodes":%s,"parts":{"gate":{"ok":true},"queue":{"ok":true},"store":{"ok":true}},"sales":[{"id":"1","title":"x","state":"open","left":%d,"total":500,"queued":41,"waiting":%d,
		"admitted_per_s":%d,"verdicts":{"queued":380,"sold_out":0,"limit":12,"busy":3},"admission_ms":{"p50":1.8,"p99":%d},"outcome_ms":{"p50":64,"p99":%d},"nodes":[{"id":"1F3K9Q1","admitted_per_s":14,"admission_ms":{"p50":1.7,"p99":4.1},"outcome_ms":{"p50":60,"p99":140}},{"id":"1F3K9Q2","admitted_per_s":16.2,"admission_ms":{"p50":1.9,"p99":5.2},"outcome_ms":null},{"id":"1F3K9Q3","admitted_per_s":0,"admission_ms":null,"outcome_ms":null}],
		"balance":{"ok":true,"age_ms":1200},"age_ms":300}],
		"marks":[{"at":"%s","what":"pause","who":"zhou.min"},{"at":"%s","what":"resume","who":"zhou.min"}]}`,
		now.Format(time.RFC3339Nano), deskNodes(now, partsUp), 500-n*2, 20+(n*7)%30, 30+(n*13)%25, 4+n%5, 120+(n*31)%90,
		now.Add(-time.Duration(n)*time.Second+20*time.Second).Format(time.RFC3339), now.Add(-time.Duration(n)*time.Second+26*time.Second).Format(time.RFC3339))
}

// liveWith is aLive with another balance.
func liveWith(balance string) func(s *shop, n int) string {
	return func(s *shop, n int) string {
		return strings.Replace(aLive(s, n), `"balance":{"ok":true,"age_ms":1200}`, `"balance":`+balance, 1)
	}
}

// streamed sends a minute of the past at once, then a step each second until the test is over.
func streamed(step func(s *shop, n int) string) answer {
	return func(w http.ResponseWriter, s *shop) {
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		past := &shop{}
		for n := 0; ; n++ {
			from := s
			if n < 90 {
				past.skew = s.skew - time.Duration(90-n)*time.Second
				from = past
			}
			fmt.Fprintf(w, "event: live\ndata: %s\n\n", strings.Join(strings.Fields(step(from, n)), " "))
			if n < 90 {
				continue
			}
			if flush.Flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-s.closed:
				return
			}
		}
	}
}

func both(setups ...func(*shop)) func(*shop) {
	return func(s *shop) {
		for _, f := range setups {
			f(s)
		}
	}
}

// scripts sets answers on top of what the console is answered otherwise.
func scripts(what string, answers ...answer) func(*shop) {
	return func(s *shop) { s.script(what, answers...) }
}

func toTheSum(b *buyer) {
	b.Await(`shown('#after .sum')`)
	b.Eval(`node('#after .sum').scrollIntoView(); ''`)
}

// deskStates are the console's pages in their states.
var deskStates = []pageState{
	{name: "console-board", path: "/console/", ready: `document.querySelectorAll('.line').length === 6 && shown('.badge[data-state=near]')`, setup: operated("admin")},
	{name: "console-board-red", path: "/console/", ready: `shown('[data-sale="5"] [data-balance=bad]') && shown('[data-sale="1"] [data-balance=partly]') && shown('[data-sale="2"] [data-balance=unknown]') && shown('#red a')`,
		setup: both(operated("admin"), scripts("GET /api/admin/balance", reply(200, `{"items":[%s,%s]}`, balanceOf("5", badBalance), balanceOf("1", partBalance))))},
	{name: "console-engines-red", path: "/console/engines", ready: `shown('#red a')`, setup: both(operated("admin"), scripts("GET /api/admin/balance", reply(200, `{"items":[%s]}`, balanceOf("5", badBalance))))},
	{name: "console-board-viewer", path: "/console/", ready: `document.querySelectorAll('.line').length === 6`, setup: operated("viewer")},
	{name: "console-board-empty", path: "/console/", ready: `shown('#empty')`, setup: both(operated("admin"), scripts("GET /api/admin/sales", reply(200, `{"items":[]}`)))},
	{name: "console-board-down", path: "/console/", ready: `shown('#status[data-tone=bad]') && shown('#parts')`, setup: both(operated("admin"), scripts("GET /api/admin/sales", problem(503, "unavailable")), scripts("GET /api/admin/nodes", queueDown))},
	{name: "console-no-role", path: "/console/", ready: `shown('#refused')`, setup: scripts("GET /api/me", reply(200, `{"buyer":"b1","name":"ada"}`))},

	{name: "console-preflight", path: "/console/sale/2", ready: `shown('[data-check=price]') && shown('[data-go=true]')`, setup: operated("admin")},
	{name: "console-preflight-red", path: "/console/sale/2", ready: `shown('[data-check=disk]') && shown('[data-go=false]')`, setup: both(operated("admin"), scripts("GET /api/admin/sales/2/preflight", reply(200, `%s`, checks(false))))},
	{name: "console-preflight-absent", path: "/console/sale/2", ready: `shown('#preflight [data-part=trouble]')`, setup: both(operated("admin"), scripts("GET /api/admin/sales/2/preflight", none))},
	{name: "console-live", path: "/console/sale/1", ready: `document.querySelectorAll('#live .chart').length === 3 && shown('#live .flag')`, setup: operated("admin")},
	{name: "console-live-lost", path: "/console/sale/1", ready: `shown('#live .lost') && shown('#live .unknown')`, setup: both(operated("admin"), scripts("GET /api/admin/live", none))},
	{name: "console-live-old", path: "/console/sale/1", ready: `shown('#live [data-balance=old]')`, setup: both(operated("admin"), scripts("GET /api/admin/live", streamed(liveWith(oldBalance))))},
	{name: "console-live-partly", path: "/console/sale/1", ready: `shown('#live [data-balance=partly]')`, setup: both(operated("admin"), scripts("GET /api/admin/live", streamed(liveWith(partBalance))))},
	{name: "console-live-red", path: "/console/sale/1", ready: `shown('#live [data-balance=bad]')`, setup: both(operated("admin"), scripts("GET /api/admin/live", streamed(liveWith(badBalance))))},
	{name: "console-live-viewer", path: "/console/sale/1", ready: `shown('#live .tile')`, setup: operated("viewer")},
	{name: "console-live-wall", path: "/console/sale/1", ready: `document.documentElement.hasAttribute('data-wall') && shown('#live .flag')`, setup: operated("admin"), then: clicks("#wall")},
	{name: "console-pause", path: "/console/sale/1", ready: `shown('.receipt')`, setup: operated("admin"), then: clicks("[data-tool=pause]")},
	{name: "console-end", path: "/console/sale/1", ready: `node('#press').open && shown('#press-effect dd')`, setup: operated("admin"), then: clicks("[data-tool=end]")},
	{name: "console-stock", path: "/console/sale/1", ready: `node('#press').open`, setup: operated("admin"), then: clicks("[data-tool=stock]")},
	{name: "console-after", path: "/console/sale/1#after", ready: `shown('#after .bar-fill') && shown('#after .sum')`, setup: operated("admin")},
	{name: "console-after-red", path: "/console/sale/4", ready: `shown('#after [data-tone=bad]') && shown('#after .sum')`, setup: both(operated("admin"), scripts("GET /api/admin/sales/4/balance", reply(200, badBalance))), then: toTheSum},
	{name: "console-after-old", path: "/console/sale/4", ready: `shown('#after [data-balance=old]')`, setup: both(operated("admin"), scripts("GET /api/admin/sales/4/balance", reply(200, "%s", oldBalance))), then: toTheSum},
	{name: "console-after-partly", path: "/console/sale/4", ready: `shown('#after [data-balance=partly]')`, setup: both(operated("admin"), scripts("GET /api/admin/sales/4/balance", reply(200, "%s", partBalance))), then: toTheSum},
	{name: "console-after-unknown", path: "/console/sale/4", ready: `document.querySelectorAll('#after .unknown').length > 3`, setup: both(operated("admin"), scripts("GET /api/admin/sales/4/balance", problem(503, "unavailable")), scripts("GET /api/admin/sales/4/after", problem(503, "unavailable")))},
	{name: "console-edit", path: "/console/sale/2#edit", ready: `shown('#edit form')`, setup: operated("admin")},
	{name: "console-new", path: "/console/new", ready: `shown('#form form')`, setup: operated("operator")},
	{name: "console-sale-missing", path: "/console/sale/99", ready: `shown('#status[data-tone]')`, setup: operated("admin")},

	{name: "console-orders", path: "/console/orders", ready: `document.querySelectorAll('#orders tbody tr').length === 4 && document.querySelectorAll('#refunds tbody tr').length === 1`, setup: operated("admin")},
	{name: "console-orders-none", path: "/console/orders?q=nobody", ready: `shown('#status')`, setup: both(operated("support"), scripts("GET /api/admin/orders", reply(200, `{"items":[]}`)))},
	{name: "console-order", path: "/console/order/" + anOrder[:25] + "B", ready: `shown('#whole') && shown('[data-tool=refund]')`, setup: operated("support")},
	{name: "console-refund", path: "/console/order/" + anOrder[:25] + "B", ready: `node('#press').open`, setup: operated("support"), then: clicks("[data-tool=refund]")},
	{name: "console-people", path: "/console/people", ready: `document.querySelectorAll('#accounts tbody tr').length === 3 && document.querySelectorAll('#access tbody tr').length === 2`, setup: operated("admin")},
	{name: "console-people-operator", path: "/console/people", ready: `document.querySelectorAll('#access tbody tr').length === 2`, setup: operated("operator")},
	{name: "console-engines", path: "/console/engines", ready: `document.querySelectorAll('#dead tbody tr').length === 2 && document.querySelectorAll('#nodes tbody tr').length === 3`, setup: operated("admin")},
	{name: "console-engines-down", path: "/console/engines", ready: `shown('.engine[data-state=bad]') && shown('.engine[data-state=unknown]')`, setup: both(operated("viewer"), scripts("GET /api/admin/engines", queueDown), scripts("GET /api/admin/dead-letters", problem(503, "unavailable")))},
	{name: "console-log", path: "/console/log", ready: `document.querySelectorAll('#log tbody tr').length === 3`, setup: operated("admin")},
	{name: "console-me", path: "/console/me", ready: `shown('#factor-begin')`, setup: operated("operator")},
	{name: "console-second-factor", path: "/console/me", ready: `shown('#code') && shown('#qr') && node('#qr').naturalWidth > 0`, setup: both(operated("operator"), scripts("POST /api/me/second-factor", aFactor)), then: clicks("#factor-begin")},
	{name: "console-login", path: "/console/login", nobody: true, ready: `can('#login-submit')`},
	{name: "console-login-code", path: "/console/login", nobody: true, ready: `shown('[name=code]')`, setup: scripts("POST /api/login", problem(401, "second_factor")), then: func(b *buyer) {
		b.fill("zhou.min", "correct horse")
		b.Click("#login-submit")
	}},
	{name: "console-nowhere", path: "/console/nowhere", ready: `shown('h1')`, setup: operated("admin")},
}
