package web

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// orderTests are about the order's page and the list of orders.
var orderTests = []browserTest{
	{"the orders list and the order page", testOrders},
	{"more orders are loaded on demand", testMoreOrders},
	{"tickets without an order are among the orders", testTicketsAmongOrders},
	{"a ticket that is settled while the list is asked for is in it once", testSettledMeanwhile},
	{"the list of orders changes while it is looked at", testOrdersChange},
	{"a ticket gets the name of its sale, and an order has its own", testTicketName},
	{"the name of a ticket's sale is not written over an order", testTicketNameLate},
	{"cancelling asks first", testCancel},
	{"an unpaid order expires before the reader's eyes", testExpiry},
	{"the order is drawn from its own answer", testOrderAlone},
	{"the time left is right with a wrong clock", testWrongClock},
	{"the time left is right after a sleep", testSleep},
	{"the answer to a payment is lost, and it is paid", testLostPayment},
	{"an answer of the time before a payment is not shown after it", testOldAnswer},
	{"a payment that a provider takes leads there", testProvider},
	{"a payment that a provider takes in its app leaves the page alive", testProviderApp},
}

func testOrders(t *testing.T, b *buyer) {
	b.login()
	b.Open("/orders")
	b.Await(`text('#orders [data-part=title]') === '机械键盘' && text('#orders .badge') === 'Unpaid' && /^Time left to pay 1[45]:\d\d$/.test(text('#orders [data-part=note]'))`)
	b.Click("#orders a")
	b.Await(`text('#order-id') === '` + anOrder + `' && can('#pay') && can('#cancel')`)
	// The time to pay has ended on the server while the page still showed it.
	b.shop.script("POST /api/orders/"+anOrder+"/pay", func(w responseWriter, s *shop) {
		s.setOrder(seckill.Expired)
		problem(409, "state")(w, s)
	})
	b.Click("#pay")
	b.Await(`text('#order-state') === 'Closed' && text('#status') === 'It was not paid in time, so the order was closed.' && text('#pay') === 'Back to the item'`)
	b.focused("pay")
	b.Equal(`document.title`, "Closed 机械键盘 · Seckill")
}

func testMoreOrders(t *testing.T, b *buyer) {
	const order = `{"id":"%s%d","sale":"1","title":"t%[2]d","price":9900,"quantity":1,"amount":9900,"currency":"CNY","state":"paid","created_at":"2026-11-11T12:00:0%[2]dZ"}`
	line := func(n int) string { return fmt.Sprintf(order, anOrder[:25], n) }
	first := reply(200, `{"items":[%s,%s],"next":"2/3"}`, line(3), line(2))
	b.shop.script("GET /api/orders", first, first, reply(200, `{"items":[%s]}`, line(1)))
	b.login()
	b.Open("/orders")
	b.Await(`document.querySelectorAll('#orders li').length === 2 && text('#orders li:nth-child(2) strong') === 't2'`)
	b.Click("#more")
	b.Await(`document.querySelectorAll('#orders li').length === 3 && !shown('#more')`)
	b.Await(`performance.getEntriesByType('resource').some((e) => e.name.endsWith('/api/orders?cursor=2%2F3'))`)
}

func testTicketsAmongOrders(t *testing.T, b *buyer) {
	b.shop.put(seckill.Sale{ID: 2, Title: "wanted"})
	b.shop.script("GET /api/tickets", reply(200, `{"items":[
		{"status":"queued","ticket":"%[1]sQ","sale":"2","quantity":2,"at":"2026-11-11T12:00:00Z","position":7},
		{"status":"refused","ticket":"%[1]sR","sale":"2","quantity":1,"at":"2026-11-11T11:00:00Z","reason":"sold_out"},
		{"status":"placed","ticket":"%[1]sP","sale":"1","quantity":1,"at":"2026-11-11T10:00:00Z","order":"%[1]sP"}]}`, anOrder[:25]))
	b.login()
	b.Open("/orders")
	b.Await(`[...document.querySelectorAll('#orders .badge')].map((e) => e.textContent).join() === 'In the queue,Unpaid,Not won'`)
	b.Await(`text('#orders li:nth-child(1) strong') === 'wanted' && text('#orders li:nth-child(1) [data-part=note]') === 'Your place in the queue: 7'`)
	b.Equal(`text('#orders li:nth-child(3) [data-part=note]')`, "Sorry, you did not get it: no unit was left.")
	b.Equal(`node('#orders li:nth-child(1) a').pathname`, "/sale/2")
	// It becomes an order while the buyer looks at the list.
	b.shop.unscript("GET /api/tickets")
	b.Await(`[...document.querySelectorAll('#orders .badge')].map((e) => e.textContent).join() === 'Unpaid'`)
}

// It is settled between the two questions of the page, whichever is the first.
func testSettledMeanwhile(t *testing.T, b *buyer) {
	var settled atomic.Bool
	turn := func(before, after answer) answer {
		return func(w responseWriter, s *shop) {
			if settled.Swap(true) {
				after(w, s)
			} else {
				before(w, s)
			}
		}
	}
	ticket := `{"items":[{"status":"%s","ticket":"` + anOrder + `","sale":"1","quantity":1,"at":"2026-11-11T12:00:00Z","order":"` + anOrder + `"}]}`
	b.shop.script("GET /api/tickets", turn(reply(200, ticket, "queued"), reply(200, ticket, "placed")))
	b.shop.script("GET /api/orders", turn(reply(200, `{"items":[]}`),
		reply(200, `{"items":[{"id":"%s","sale":"1","title":"t","price":9900,"quantity":1,"amount":9900,"currency":"CNY","state":"paid","created_at":"2026-11-11T12:00:00Z"}]}`, anOrder)))
	b.login()
	b.Open("/orders")
	b.Await(`node('#orders li') || shown('#empty')`)
	b.Equal(`[...document.querySelectorAll('#orders .badge')].map((e) => e.textContent).join()`, "Paid")
}

// The first answer about the sale is lost. An order has the title of its time.
func testTicketName(t *testing.T, b *buyer) {
	b.shop.put(seckill.Sale{ID: 2, Title: "wanted"})
	b.shop.script("GET /api/sales/2", func(w responseWriter, s *shop) {
		s.unscript("GET /api/sales/2")
		problem(503, "unavailable")(w, s)
	})
	b.shop.script("GET /api/orders", reply(200, `{"items":[]}`))
	b.shop.script("GET /api/tickets", reply(200, `{"items":[{"status":"queued","ticket":"%s","sale":"2","quantity":1,"at":"2026-11-11T12:00:00Z"}]}`, anOrder))
	b.login()
	b.Open("/orders")
	b.Await(`text('#orders strong') === 'wanted'`)
	b.shop.unscript("GET /api/tickets")
	b.shop.unscript("GET /api/orders")
	b.wake()
	b.Await(`text('#orders .badge') === 'Unpaid'`)
	b.Click("#lang")
	b.Await(`text('#orders .badge') === '待支付'`)
	b.Equal(`text('#orders strong')`, "机械键盘")
}

// One sale is slow to answer, and another one is gone.
func testTicketNameLate(t *testing.T, b *buyer) {
	slow, release := late(reply(200, `{"id":"2","title":"wanted"}`))
	b.shop.script("GET /api/sales/2", slow)
	ticket := func(id, sale string) string {
		return fmt.Sprintf(`{"status":"queued","ticket":"%s","sale":"%s","quantity":1,"at":"2026-11-11T12:00:00Z"}`, id, sale)
	}
	gone := ticket(anOrder[:25]+"B", "3")
	b.shop.script("GET /api/orders", reply(200, `{"items":[]}`))
	b.shop.script("GET /api/tickets", reply(200, `{"items":[%s,%s]}`, ticket(anOrder, "2"), gone))
	b.login()
	b.Open("/orders")
	b.patient()
	const came = `performance.getEntriesByType('resource').some((e) => e.name.endsWith('/sales/%d'))`
	b.Await(fmt.Sprintf(came, 3))
	b.asked("GET /api/sales/2", 1)
	b.shop.unscript("GET /api/orders")
	b.shop.script("GET /api/tickets", reply(200, `{"items":[%s]}`, gone))
	b.wake()
	const order = `text('#orders [data-order] strong')`
	b.Await(order + ` === '机械键盘'`)
	release()
	b.Await(fmt.Sprintf(came, 2))
	b.Eval(`fetch('/api/me').then(() => '')`) // by the end of which the page has taken the name
	b.Equal(order, "机械键盘")
	require.Equal(t, 1, b.shop.count("GET /api/sales/3"))
}

func testOrdersChange(t *testing.T, b *buyer) {
	b.login()
	b.speak("zh-CN")
	b.shop.expiresAfterFirstLook(2 * time.Second)
	b.Open("/orders")
	b.Await(`text('#orders .badge') === '待支付'`)
	b.shop.setOrder(seckill.Expired)
	b.Await(`text('#orders .badge') === '已关闭' && !shown('#orders [data-part=note]')`)
}

func testCancel(t *testing.T, b *buyer) {
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.Click("#cancel")
	b.Await(`node('#dialog').open && document.activeElement.id === 'dialog-no'`)
	b.Equal(`text('#dialog-text')`, "Cancel this order? Its units go to other buyers, and you may not get one again.")
	b.Equal(`text('#dialog-no') + '|' + text('#dialog-yes')`, "Keep it|Cancel order")
	b.Click("#dialog-no")
	b.Await(`!node('#dialog').open`)
	b.Equal(`text('#order-state')`, "Unpaid")
	b.Remember("#cancel")
	b.Remember("#pay")
	b.Remember("#status")
	b.Click("#cancel")
	b.Click("#dialog-yes")
	b.Await(`text('#order-state') === 'Cancelled' && !shown('#cancel') && text('#status') === 'This order was cancelled. Its units went to other buyers.'`)
	b.saw("Cancelling…", "Your order is being cancelled.")
	b.Equal(`String(was('#pay', 'Paying…'))`, "false")
	if n := b.shop.count("POST /api/orders/" + anOrder + "/cancel"); n != 1 {
		t.Errorf("%d cancel requests, want 1", n)
	}
}

func testExpiry(t *testing.T, b *buyer) {
	b.login()
	b.shop.changeOrder(func(o *seckill.Order) { o.ExpiresAt = b.shop.now().Add(2 * time.Second) })
	b.Open("/order/detail/" + anOrder)
	b.Await(`text('#status') === 'The time to pay is over. Updating the order…' && !can('#pay') && !can('#cancel')`)
	b.shop.setOrder(seckill.Expired)
	b.Await(`text('#order-state') === 'Closed' && text('#status') === 'It was not paid in time, so the order was closed.'`)
}

// The sale's route may hang: the order does not need it.
func testOrderAlone(t *testing.T, b *buyer) {
	b.shop.script("GET /api/sales/1", hang)
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.Await(`text('#order-item') === '机械键盘' && text('[data-part=unit-price]') === 'CN¥99.00' && text('[data-part=amount]') === 'CN¥99.00' && can('#pay') && /^1[45]:\d\d$/.test(text('[data-part=clock]'))`)
	b.Equal(`String(performance.getEntriesByType('resource').filter((e) => e.name.includes('/api/sales')).length)`, "0")
}

func testWrongClock(t *testing.T, b *buyer) {
	b.shop.skew = -time.Hour // the reader's clock is an hour ahead
	b.shop.changeOrder(func(o *seckill.Order) { o.ExpiresAt = b.shop.now().Add(5 * time.Minute) })
	b.shop.script("GET /api/sales/1", hang)
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.Await(`can('#pay') && /^(04:\d\d|05:00)$/.test(text('[data-part=clock]'))`)
}

func testSleep(t *testing.T, b *buyer) {
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.Await(`/^1[45]:\d\d$/.test(text('[data-part=clock]'))`)
	// performance.now stands still while a machine sleeps, the clock on the wall does
	// not. First nobody answers: the page knows by itself.
	b.shop.script("GET /api/orders/"+anOrder, hang)
	b.Eval(`const wall = Date.now.bind(Date); Date.now = () => wall() + 200_000; ''`)
	b.Await(`/^1[01]:\d\d$/.test(text('[data-part=clock]')) && can('#pay')`)
	// Then the server says how late it is.
	b.shop.unscript("GET /api/orders/" + anOrder)
	b.shop.changeOrder(func(o *seckill.Order) { o.ExpiresAt = o.ExpiresAt.Add(-400 * time.Second) })
	b.wake()
	b.Await(`/^0[78]:\d\d$/.test(text('[data-part=clock]'))`)
}

func testLostPayment(t *testing.T, b *buyer) {
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.Await(`can('#pay')`)
	b.Remember("#status")
	b.shop.script("POST /api/orders/"+anOrder+"/pay", hangUp)
	b.Click("#pay")
	b.Await(`text('#status') === 'The answer to your payment was lost, and the order is still unpaid. You can try again.' && can('#pay')`)
	b.shop.script("POST /api/orders/"+anOrder+"/pay", func(w responseWriter, s *shop) {
		s.setOrder(seckill.Paid)
		hangUp(w, s)
	})
	b.Click("#pay")
	b.Await(`text('#order-state') === 'Paid' && text('#status') === 'Payment received. Thank you.' && !shown('#offline')`)
	b.saw("Your payment is on its way.")
}

// paidAt answers to a payment with the address of a provider.
func paidAt(url string) answer {
	return func(w responseWriter, s *shop) {
		reply(200, `{"id":"%s","sale":"1","ticket":"%[1]s","title":"t","price":1,"quantity":1,"amount":1,"currency":"CNY","state":"unpaid","created_at":"%[2]s","expires_at":"%[3]s","server_now":"%[2]s","payment":{"id":"p1","url":"%[4]s"}}`,
			anOrder, s.now().UTC().Format(time.RFC3339), s.now().Add(time.Minute).UTC().Format(time.RFC3339), url)(w, s)
	}
}

func testOldAnswer(t *testing.T, b *buyer) {
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.patient()
	b.Await(`can('#pay')`)
	b.Remember("#order-state")
	const path = "/api/orders/" + anOrder
	asked, free := make(chan struct{}), make(chan struct{})
	b.shop.script("GET "+path, func(w responseWriter, s *shop) {
		s.unscript("GET " + path)
		s.mu.Lock()
		was := *s.order
		s.mu.Unlock()
		close(asked)
		select {
		case <-free:
		case <-s.closed:
		}
		was.ServerNow = s.now().UTC()
		reply(200, "%s", asJSON(was))(w, s)
	})
	b.wake()
	b.happens(asked)
	b.Click("#pay")
	b.Await(`text('#order-state') === 'Paid'`)
	n := b.shop.count("GET " + path)
	close(free)
	b.wake() // one more question, which waits for the old answer
	require.Eventually(t, func() bool { return b.shop.count("GET "+path) > n }, time.Minute, 10*time.Millisecond)
	b.Await(`text('#order-state') === 'Paid'`)
	b.Equal(`const all = rememberedByTest['#order-state']; String(all.lastIndexOf('Unpaid') < all.indexOf('Paid'))`, "true")
}

func testProvider(t *testing.T, b *buyer) {
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.shop.script("POST /api/orders/"+anOrder+"/pay", paidAt("/nowhere?pay=p1"))
	b.Click("#pay")
	b.Await(`location.search === '?pay=p1'`)
}

// An address that opens an app leaves the page where it is, as does one with an answer of 204.
func testProviderApp(t *testing.T, b *buyer) {
	b.login()
	b.Open("/order/detail/" + anOrder)
	b.Await(`can('#pay')`)
	b.Remember("#status")
	b.shop.script("POST /api/orders/"+anOrder+"/pay", paidAt("/api/app"))
	b.shop.script("GET /api/app", func(w responseWriter, _ *shop) { w.WriteHeader(http.StatusNoContent) })
	b.hurry() // it gives the app a moment
	b.Click("#pay")
	b.Await(`was('#status', 'Your payment is on its way.') && can('#pay') && can('#cancel')`)
	b.shop.setOrder(seckill.Paid)
	b.wake()
	b.Await(`text('#status') === 'Payment received. Thank you.'`)
}
