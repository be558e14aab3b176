package e2e

import (
	"testing"

	"seckill/e2e/browser"
	"seckill/e2e/node"
)

// A person buys in a real browser from a real node: register, buy, wait in the
// queue, be congratulated, look at the order, pay.
func TestBrowserPurchase(t *testing.T) {
	t.Parallel()
	n := start(t, node.Config{})
	sale := admin(t, n).creates(5, 1)
	p := browser.Start(t).Tab(t, n.URL)

	p.Open("/sale/" + sale)
	p.Eval(`document.cookie = 'seckill_lang=zh-CN; path=/'; ''`)
	p.Open("/sale/" + sale)
	p.Click("#buy") // not logged in: this leads to the login, and back
	p.Await(`location.pathname === '/login'`)
	p.Click("#other")
	p.Await(`location.pathname === '/register'`)
	p.Fill("[name=name]", "小明")
	p.Fill("[name=password]", "correct horse battery")
	p.Click("#register-submit")
	p.Await(`location.pathname === '/sale/` + sale + `' && text('#buyer') === '小明'`)

	// The button was pressed before the login, so the purchase goes on by itself.
	p.Await(`document.querySelector('#dialog').open && text('#dialog-text') === '恭喜你，秒杀成功！查看订单?'`)
	p.Await(`text('#dialog-no') === '否' && text('#dialog-yes') === '是'`)
	p.Click("#dialog-yes")
	p.Await(`/^\/order\/detail\/[0-9A-Z]{26}$/.test(location.pathname) && text('#order-state') === '待支付'`)
	p.Await(`location.pathname.endsWith(text('#order-id'))`)
	p.Click("#pay")
	p.Await(`text('#order-state') === '已支付' && !shown('#cancel')`)

	if a := admin(t, n).audits(sale); a.Active != 1 || a.Gate != 4 {
		t.Errorf("after one purchase the audit is %+v", a)
	}
}
