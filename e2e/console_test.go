package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"seckill/e2e/browser"
	"seckill/e2e/node"
)

// An operator takes a sale through its opening in a real browser, on a real node, while
// "seckill load" buys: create, check, publish, watch, pause, top up, resume, end, look back.
func TestConsoleOpening(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := start(t, node.Config{Dir: dir})
	const password = "correct horse battery"
	account := exec.Command(binary(t), "account", "create", "zhou.min", "--role", "admin", "--password-stdin", "--data-dir", dir)
	account.Stdin = strings.NewReader(password)
	if out, err := account.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := browser.Start(t).Tab(t, n.URL)

	p.Open("/console/")
	p.Await(`location.pathname === '/console/login'`)
	p.Fill("[name=name]", "zhou.min")
	p.Fill("[name=password]", password)
	p.Click("#login-submit")
	p.Await(`location.pathname === '/console/' && shown('#empty') && text('#role') === 'Admin'`)

	// A draft, which opened a minute ago by its times.
	p.Click("[href='/console/new']")
	p.Await(`location.pathname === '/console/new' && shown('#sale-shelf')`)
	local := func(d time.Duration) string { return time.Now().Add(d).Format("2006-01-02T15:04") } // the browser is in the same zone
	for field, value := range map[string]string{"title": "Keyboard", "price": "99.00", "list_price": "299", "total": "3000", "opens_at": local(-time.Minute), "closes_at": local(time.Hour)} {
		p.Fill("#sale-"+field, value)
	}
	p.Click(".sale-form [type=submit]")
	p.Await(`shown('#form a') || location.pathname.startsWith('/console/sale/')`)
	if p.Eval(`location.pathname`) == "/console/new" { // warned of the opening
		p.Click("#form a")
	}
	p.Await(`location.pathname.startsWith('/console/sale/') && text('#title') === 'Keyboard' && text('#facts').includes('Draft')`)
	sale := p.Eval(`location.pathname.split('/')[3]`)

	// Its checks, and Go. On a busy machine a check may be unknown: then with a reason.
	p.Await(`shown('#preflight [data-check=price]') && shown('#preflight [data-check=disk]') && shown('[data-go]')`)
	p.Click("[data-go]")
	p.Await(`node('#press').open || shown('.receipt')`)
	if p.Eval(`String(node('#press').open)`) == "true" {
		p.Fill("#press-reason", "a test on one machine")
		p.Click("#press-yes")
	}
	p.Await(`text('.receipt p')?.includes('is go') && text('.receipt p').includes('In force on 1 of 1 nodes') && !text('#facts').includes('Draft')`)

	// Live, while buyers come.
	p.Click("#tab-live")
	p.Await(`text('#live [data-part=stream]') === 'Live, once a second'`)
	startLoad(t, n.URL, "--sale", sale, "--buyers", "4000", "--rate", "100", "--concurrency", "200")
	const left = `Number(text('#live .tile.big dd').replace(/\D/g, ''))`
	p.Await(left + ` < 2990 && shown('#live .chart') && shown('#live .series-0')`)
	p.Await(`Number(text('#live [data-part=verdicts]').match(/queued(\d+)/)?.[1]) > 10`)

	p.Click("[data-tool=pause]")
	p.Await(`text('.receipt p').startsWith('Paused. In force on 1 of 1 nodes') && shown('.badge[data-state=paused]')`)
	p.Await(`text('#live [data-part=marks]').includes('Pause') && shown('#live .mark.pressed')`)
	p.Await(`shown('[data-tool=resume]')`)
	held := admin(t, n).audits(sale)
	p.Click("[data-tool=stock]")
	p.Fill("#press-delta", "500")
	p.Click("#press-yes")
	p.Await(`text('.receipt p').startsWith('The stock was changed. In force on 1 of 1 nodes') && text('#facts').includes('3,500')`)
	p.Click("[data-tool=resume]")
	p.Await(`text('.receipt p').startsWith('Resumed.') && shown('.badge[data-state=open]')`)
	eventually(t, "buyers buy again", func() bool { return admin(t, n).audits(sale).Active > held.Active })

	p.Click("[data-tool=end]")
	p.Await(`text('#press-effect').includes('Left')`)
	p.Fill("#press-typed", "Keyboard")
	p.Click("#press-yes")
	p.Await(`text('.receipt p').includes('has ended.') && shown('.badge[data-state=ended]') && !shown('[data-tool=end]')`)

	// What became of it: nothing is on its way any more, every unit is somewhere.
	p.Click("#tab-after")
	p.Await(`Number(text('#after [data-step=placed] b').replace(/\D/g, '')) > 10 && shown('#after .bar-fill') && text('#after [data-part=closed]').includes('nobody can buy')`)
	eventually(t, "the tickets have their outcomes", func() bool { return admin(t, n).audits(sale).Pending == 0 })
	a := admin(t, n).audits(sale)
	if !a.OK || a.Total != 3500 || a.Gate+a.Active+a.Returning != 3500 {
		t.Errorf("after the sale the audit is %+v", a)
	}
	p.Await(fmt.Sprintf(`Number(text('#after [data-step=placed] b').replace(/\D/g, '')) === %d`, a.Active))

	// The report is one page that needs nothing else.
	report := p.Eval(`node('#report').href`)
	p.Open(strings.TrimPrefix(report, n.URL))
	p.Await(`document.title.includes('Keyboard') || document.body.textContent.includes('Keyboard')`)

	// The log has all of it, by whom.
	p.Open("/console/log?sale=" + sale)
	p.Await(`document.querySelectorAll('#log tbody tr').length >= 5`)
	log := strings.Fields(p.Eval(`[...document.querySelectorAll('#log tbody b')].map((e) => e.textContent).join(' ')`))
	for _, act := range strings.Fields("Create Publish Pause Stock Resume End") {
		if !slices.Contains(log, act) {
			t.Errorf("the log has no %q: %v", act, log)
		}
	}
}
