package web

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// truthTests are about sentences that have to go when their cause goes.
var truthTests = []browserTest{
	{"what the shop tells the buyers of a sale stands on its page", testNotice},
	{"an order that expires makes room again, on the sale's page", testExpiredOnSale},
	{"an order that is cancelled elsewhere too", testCancelledElsewhere},
	{"an order that was there before is asked for again", testAskedAgain},
	{"an order that was there before is asked for until somebody answers", testOrderAnsweredLater},
	{"a wake-up while the page asks is not lost", testWokenWhileAsking},
	{"a copy says how old it is, and a count of the store is no number of the gate", testCopy},
	{"units that come back are good news", testUnitsBack},
	{"the news of the opening goes with the opening", testOpenedThenGone},
	{"a pause that ends is good news", testPauseEnds},
	{"the buyer is known by the cookie, whoever has set it", testKnownByCookie},
	{"another account in another tab starts again", testAnotherAccount},
	{"while the connection is lost", testOffline},
	{"back at once when the server is there again", testServerBack},
	{"back soon when nobody says that the server is there again", testServerBackUnsaid},
	{"an old request that is lost is no lost connection", testOldRequestLost},
	{"before the opening", testBeforeTheOpening},
	{"a sale that is over leads on", testWayOn},
}

func testExpiredOnSale(t *testing.T, b *buyer) {
	b.login()
	b.shop.expiresAfterFirstLook(3 * time.Second)
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.Open("/sale/1")
	b.Await(`/^You got it! Pay within 0?0:0\d to keep it\.$/.test(text('#status')) && text('#view-order') === 'Go and pay' && text('[data-part=countdown-label]') === 'Time left to pay'`)
	b.Await(`text('#status') === 'The time to pay is over. Updating the order…'`)
	b.shop.setOrder(seckill.Expired)
	b.Await(`text('#status') === 'It was not paid in time, so the order was closed. You can buy again.' && can('#buy') && !shown('#view-order')`)
	b.Await(`text('[data-part=countdown-label]') === 'Ends in'`)
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", queuedAt(3))
	b.Click("#buy")
	b.Await(`text('#position') === 'Your place in the queue: 3'`)
}

func testCancelledElsewhere(t *testing.T, b *buyer) {
	b.login()
	b.speak("zh-CN")
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.Open("/sale/1")
	b.Await(`text('#view-order') === '去支付'`)
	b.shop.setOrder(seckill.Cancelled)
	b.wake()
	b.Await(`text('#status') === '订单已取消，可再次抢购。' && can('#buy')`)
	b.Equal(`document.title`, "【抢购中】 机械键盘 · 秒杀")
}

// Nobody wakes the page, and the end of the time to pay is far away. It asks twice at once, and
// then by its timer.
func testAskedAgain(t *testing.T, b *buyer) {
	b.login()
	in := func(state seckill.OrderState) answer {
		return func(w responseWriter, s *shop) {
			s.mu.Lock()
			o := *s.order
			s.mu.Unlock()
			o.State, o.ServerNow = state, s.now().UTC()
			reply(200, "%s", asJSON(o))(w, s)
		}
	}
	const ask = "GET /api/orders/" + anOrder
	second, release := late(in(seckill.Unpaid))
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.shop.script(ask, in(seckill.Unpaid), second, in(seckill.Cancelled))
	b.Open("/sale/1")
	b.Await(`text('#view-order') === 'Go and pay'`)
	b.asked(ask, 2)
	b.hurry()
	release()
	b.sentence("The order was cancelled. You can buy again.")
}

// Until then the page of a sale that is sold out would say that they have nothing.
func testOrderAnsweredLater(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].leave(0)
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.shop.script("GET /api/orders/"+anOrder, func(w responseWriter, s *shop) {
		s.unscript("GET /api/orders/" + anOrder)
		problem(503, "unavailable")(w, s)
	})
	b.Open("/sale/1")
	b.Await(`text('#view-order') === 'Go and pay'`)
}

// The answer that is on its way when the tab is seen again tells of the time before, and the
// page of an ended sale would not ask again for minutes.
func testWokenWhileAsking(t *testing.T, b *buyer) {
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Ended = true })
	b.Open("/sale/1")
	b.Await(`text('#status') === 'This sale has ended.'`)
	asked, free := make(chan struct{}), make(chan struct{})
	b.shop.script("GET /api/sales/1", func(w responseWriter, s *shop) {
		s.unscript("GET /api/sales/1")
		was := s.sales["1"].show(s.now())
		close(asked)
		select {
		case <-free:
		case <-s.closed:
		}
		reply(200, "%s", asJSON(was))(w, s)
	})
	b.wake()
	b.happens(asked)
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Ended = false })
	b.wake()
	close(free)
	b.Await(`text('#buy') === 'Buy now' && can('#buy')`)
}

// While the store or the gate is away.
func testCopy(t *testing.T, b *buyer) {
	b.Open("/sale/1")
	b.Await(`can('#buy') && text('#left') === '120 of 500 left' && shown('progress') && !shown('[data-part=as-of]')`)
	at := b.shop.now().Add(-10 * time.Minute)
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.AsOf, s.LeftFromStore = &at, true })
	b.wake()
	b.Await(`/^Last updated .*\d\d:\d\d/.test(text('[data-part=as-of]')) && text('#left') === '500 units' && !shown('progress')`)
	b.Click("#lang")
	b.Await(`/^信息更新于.*\d\d:\d\d/.test(text('[data-part=as-of]')) && text('#left') === '共 500 件'`)
	b.Open("/")
	b.Await(`/^信息更新于.*\d\d:\d\d/.test(text('[data-part=as-of]')) && text('[data-sale="1"] [data-part=left]') === '共 500 件' && !shown('[data-sale="1"] progress')`)
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.AsOf, s.LeftFromStore = nil, false })
	b.wake()
	b.Await(`!shown('[data-part=as-of]') && text('[data-sale="1"] [data-part=left]') === '剩余 120 / 500 件' && shown('[data-sale="1"] progress')`)
}

func testUnitsBack(t *testing.T, b *buyer) {
	b.login()
	b.speak("zh-CN")
	b.shop.script("POST /api/sales/1/ticket", func(w responseWriter, s *shop) {
		s.sales["1"].leave(0)
		problem(409, "sold_out")(w, s)
	})
	b.Open("/sale/1")
	b.Click("#buy")
	b.Await(`text('#status') === '已抢光。如有人未支付，库存会释放，本页会立即提示。' && text('#buy') === '已抢光' && !can('#buy') && shown('#browse')`)
	b.shop.sales["1"].leave(1)
	b.wake()
	b.Await(`text('#status') === '有库存了，可再次抢购。' && node('#status').dataset.tone === 'good' && can('#buy') && !shown('#browse')`)
	b.Equal(`document.title`, "【有库存】 机械键盘 · 秒杀")
	b.shop.sales["1"].leave(0)
	b.wake()
	b.Await(`text('#status').startsWith('已抢光。') && !can('#buy')`)
}

func testOpenedThenGone(t *testing.T, b *buyer) {
	b.login()
	b.shop.opensAfterFirstLook(time.Second)
	b.Open("/sale/1")
	b.Await(`text('#status') === 'It is open!' && can('#buy')`)
	b.shop.sales["1"].leave(0)
	b.wake()
	b.Await(`text('#status').startsWith('Sold out.') && !can('#buy')`)
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Ended = true })
	b.wake()
	b.Await(`text('#status') === 'This sale has ended.' && !can('#buy')`)
}

func testPauseEnds(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Paused = true })
	b.Open("/sale/1")
	b.Await(`text('#status') === 'This sale is paused. You can buy when it resumes.' && !can('#buy')`)
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Paused = false })
	b.wake()
	b.Await(`text('#status') === 'The sale goes on. You can buy now.' && can('#buy')`)
}

func testKnownByCookie(t *testing.T, b *buyer) {
	b.login() // no page of ours has seen the name
	b.Open("/")
	b.Await(`text('#buyer') === 'ada' && !shown('#login') && shown('#logout')`)
	b.Equal(`JSON.stringify([localStorage.length, sessionStorage.length])`, "[0,0]")
	b.shop.sales["1"].leave(0)
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.Open("/sale/1")
	b.Await(`shown('#view-order') && text('#status').startsWith('You got it!') && text('#buyer') === 'ada'`)
}

func testAnotherAccount(t *testing.T, b *buyer) {
	b.login()
	b.shop.script("GET /api/sales/1/ticket", placed)
	b.Open("/sale/1")
	b.Await(`shown('#view-order')`)
	b.shop.script("GET /api/sales/1/ticket", none)
	b.shop.script("GET /api/me", reply(200, `{"buyer":"b2","name":"bob"}`))
	b.Eval(`new BroadcastChannel('seckill').postMessage('me'); ''`) // as another tab's login does
	b.Await(`text('#buyer') === 'bob' && can('#buy') && !shown('#view-order')`)
}

func testOffline(t *testing.T, b *buyer) {
	b.login()
	b.Open("/sale/1")
	b.Await(`can('#buy') && !shown('#offline')`)
	b.shop.breaks(true)
	b.offline(true)
	b.Await(`text('#offline') === 'You are offline. This page goes on by itself when the connection is back.' && !can('#buy')`)
	b.shop.sales["1"].leave(0)
	b.shop.breaks(false)
	b.offline(false)
	b.Await(`!shown('#offline') && text('#status').startsWith('Sold out.')`)
}

func testServerBack(t *testing.T, b *buyer) {
	b.login()
	b.Open("/sale/1")
	b.Await(`can('#buy')`)
	b.shop.breaks(true)
	b.wake()
	b.Await(`text('#offline') === 'The server cannot be reached right now. Trying again…' && !can('#buy')`)
	b.shop.breaks(false)
	b.Eval(`window.dispatchEvent(new Event('online')); ''`)
	b.Await(`!shown('#offline') && can('#buy')`)

	// The banner is enough: the lists do not say it once more.
	for _, path := range []string{"/", "/orders"} {
		b.Open(path)
		b.Await(`node('[data-sale], [data-order]')`)
		b.Remember("#status")
		b.shop.breaks(true)
		b.wake()
		b.Await(`text('#offline') === 'The server cannot be reached right now. Trying again…'`)
		api := map[string]string{"/": "GET /api/sales", "/orders": "GET /api/orders"}[path]
		asked := b.shop.count(api)
		require.Eventually(t, func() bool { return b.shop.count(api) >= asked+2 }, 30*time.Second, 50*time.Millisecond)
		b.Equal(`Object.values(window.rememberedByTest).flat().filter((text) => text.trim()).join()`, "")
		b.shop.breaks(false)
	}
}

// A day before the opening the page rests for minutes between two questions.
func testServerBackUnsaid(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeWork })
	b.shop.sales["1"].opensWhenTold(b.shop.now)
	b.Open("/sale/1")
	b.Await(`shown('#pass') && !shown('#offline')`)
	// Its own question is lost.
	b.shop.script("GET /api/sales/1", hangUp)
	b.wake()
	b.Await(`shown('#offline')`)
	b.shop.unscript("GET /api/sales/1")
	b.Await(`!shown('#offline')`)
	// Another request is.
	b.shop.script("POST /api/sales/1/challenge", hangUp)
	b.Click("#pass [data-part=start]")
	b.Await(`text('#pass [data-part=note]').startsWith('No connection.') && !shown('#offline')`)
}

// The old one waits until one that was sent later is answered, and is lost then.
func testOldRequestLost(t *testing.T, b *buyer) {
	b.Open("/sale/1")
	b.Await(`can('#buy')`)
	free := make(chan struct{})
	b.shop.script("GET /api/old", func(w responseWriter, s *shop) {
		select {
		case <-free:
		case <-s.closed:
		}
		hangUp(w, s)
	})
	b.shop.script("POST /api/new", func(w responseWriter, s *shop) {
		close(free)
		reply(200, `{}`)(w, s)
	})
	b.Equal(`import(new URL('api.js', node('script[type=module]').src)).then(async ({ get, post }) => {
		const old = get('/api/old');
		await get('/api/sales/1');
		await post('/api/new');
		return (await old).status + ' ' + shown('#offline') + ' ' + can('#buy');
	})`, "0 false true")
}

func testBeforeTheOpening(t *testing.T, b *buyer) {
	b.shop.sales["1"].update(func(s *seckill.Sale) {
		s.LimitPerBuyer, s.Waiting = 3, 1234
		s.OpensAt = b.shop.now().Add(30 * time.Hour)
		s.ClosesAt = s.OpensAt.Add(time.Hour)
	})
	b.Open("/sale/1")
	b.Await(`text('#status') === 'Log in now, so that one press is enough at the opening.' && shown('#buy') && !can('#buy') && text('#buy') === 'Not open yet'`)
	b.Await(`shown('#before-login') && shown('#reminder') && text('#waiting') === 'About 1,200 people are waiting'`)
	b.Equal(`node('#before-login').search`, "?next=%2Fsale%2F1")
	b.Equal(`node('#reminder').pathname`, "/sale/1/opening.ics")
	b.Await(`can('#more')`)
	b.Click("#more")
	b.Await(`text('#quantity-value') === '2'`)
	b.Await(`text('[data-part=days]') === '1' && text('[data-part=days-unit]') === 'day' && text('[data-part=hours-unit]') === 'hours'`)
	b.login()
	b.Open("/sale/1")
	b.Await(`text('#status') === 'The button turns on by itself at the opening. No need to reload.' && !shown('#before-login') && shown('#reminder')`)
}

func testWayOn(t *testing.T, b *buyer) {
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Ended = true })
	b.Open("/sale/1")
	b.Await(`text('#status') === 'This sale has ended.' && shown('#browse a')`)
	b.Click("#browse a")
	b.Await(`location.pathname === '/' && node('[data-group=over] [data-sale="1"]')`)
}

func testNotice(t *testing.T, b *buyer) {
	b.Open("/sale/1")
	b.Await(`can('#buy') && !shown('[data-part=notice]')`)
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Notice = "Delivery takes a day longer. <b>" })
	b.wake()
	b.Await(`shown('[data-part=notice]') && text('[data-part=notice]') === 'Delivery takes a day longer. <b>'`)
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Notice = "" })
	b.wake()
	b.Await(`!shown('[data-part=notice]')`)
}
