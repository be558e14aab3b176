package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dop251/goja"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/access"
)

// The worker's own SHA-256 finds what the library's would, over every length of salt
// around the ends of a block.
func TestTheWorkerSolvesAProofOfWork(t *testing.T) {
	t.Parallel()
	vm := goja.New()
	_, err := vm.RunString(`class TextEncoder { encode(s) { return new Uint8Array(Array.from(s, (c) => c.charCodeAt(0))); } }` + string(must(fs.ReadFile(storefront, "storefront/static/worker.js"))))
	require.NoError(t, err)
	for size := 20; size < 140; size += 7 {
		salt := fmt.Sprintf("%0*d?about=x&expires=1&", size, 7)
		sum := sha256.Sum256([]byte(salt + "123"))
		v, err := vm.RunString(fmt.Sprintf("solve({ salt: %q, challenge: %q, most: 200 })", salt, hex.EncodeToString(sum[:])))
		require.NoError(t, err)
		require.EqualValues(t, 123, v.ToInteger(), "a salt of %d", len(salt))
	}
	v, err := vm.RunString(fmt.Sprintf("solve({ salt: 'x', challenge: %q, most: 20 })", hex.EncodeToString(make([]byte, 32))))
	require.NoError(t, err)
	require.EqualValues(t, -1, v.ToInteger(), "there is none")
}

// passTests are about a sale that asks for a pass, and an account that costs a challenge.
var passTests = []browserTest{
	{"a pass is fetched before the opening, with the keyboard", testPassBeforeOpening},
	{"a wrong answer brings another picture, and digits can be heard", testWrongAnswer},
	{"a check that is begun stays while the sale is sold out", testCheckOutlivesSoldOut},
	{"a second check can be begun", testSecondCheck},
	{"a sale that asks for a pass since a moment leads to the check", testPassSinceAMoment},
	{"who presses first is led to the check, and the page goes on", testPressedFirst},
	{"a pass outlives a reload", testPassOutlivesAReload},
	{"who logs in to buy is led to the check, and the page goes on", testPressedBeforeLogin},
	{"a sale that is not for this buyer says so", testNotEligible},
	{"who has left too many orders unpaid hears that", testTriesUsed},
	{"a sale that is over or paused says so at the check", testCheckRefused},
	{"a new account may cost a challenge", testAccountCosts},
	{"a new account may need an invitation", testInvitation},
	{"a check that cannot be loaded at once is loaded later", testCheckComesLater},
}

const aSecret = "the secret of the browser's tests"

// checks lets a shop ask for passes, with the real challenges. answer is what the newest
// formula gives.
func (b *buyer) checks(kind seckill.Challenge, path, about string) (answer func() string) {
	b.t.Helper()
	settings := access.Defaults()
	settings.Remembered, settings.Work = 1024, 3000
	guard, err := access.New(access.Config{Settings: settings, Secrets: [][]byte{[]byte(aSecret)}, Now: time.Now})
	if err != nil {
		b.t.Fatal(err)
	}
	var mu sync.Mutex
	var newest string
	b.shop.script("POST "+path, func(w responseWriter, s *shop) {
		sound := ""
		if bodies := s.bodies("POST " + path); strings.Contains(bodies[len(bodies)-1], "en") {
			sound = "en"
		}
		p, err := guard.Puzzle(context.Background(), kind, about, access.Asker{Buyer: "b1"}, sound)
		if err != nil {
			b.t.Error(err)
		}
		mu.Lock()
		newest = p.Formula
		mu.Unlock()
		json.NewEncoder(w).Encode(p)
	})
	b.shop.solved = func(body string) error {
		var v struct{ Work, Formula, Answer string }
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			return err
		}
		return guard.Solved(context.Background(), kind, about, access.Asker{Buyer: "b1"}, access.Solution{Work: v.Work, Formula: v.Formula, Answer: v.Answer})
	}
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		text, err := access.Answer([]byte(aSecret), about, newest)
		if err != nil {
			b.t.Fatal(err)
		}
		return text
	}
}

func givePass(w responseWriter, s *shop) {
	bodies := s.bodies("POST /api/sales/1/pass")
	switch err := s.solved(bodies[len(bodies)-1]); {
	case err == nil:
		reply(200, `{"pass":"a pass","expires_at":"%s"}`, s.now().Add(time.Hour).UTC().Format(time.RFC3339))(w, s)
	default:
		problem(403, "challenge_failed")(w, s)
	}
}

func testPassBeforeOpening(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeBoth })
	open := b.shop.sales["1"].opensWhenTold(b.shop.now)
	answer := b.checks(seckill.ChallengeBoth, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", givePass)
	b.viewport(390, 844)
	b.Open("/sale/1")
	b.Await(`shown('#pass') && text('#pass-heading') === 'Check in before the opening'`)
	b.Eval(`(node('#pass [data-part=start]').focus(), '')`)
	b.keys("\r")
	b.Await(`shown('#pass form') && node('#pass img').naturalWidth > 0 && document.activeElement === node('#pass [data-part=answer]')`)
	b.Equal(`node('#pass img').getAttribute('aria-label')`, "A picture of a sum. Ask for another one if it is hard to read, or listen to digits instead")
	b.fits(390)
	// A screen reader is told what the picture is, what to write and what else there is.
	tree := strings.Join(b.tree(), "\n") + "\n"
	for _, want := range []string{
		"heading|Check in before the opening|", "image|A picture of a sum. Ask for another one if it is hard to read, or listen to digits instead|",
		"textbox|The result|", "button|Confirm|", "button|Another picture|", "button|Listen instead|",
	} {
		require.Contains(t, tree, want)
	}
	b.Fill("#pass [data-part=answer]", answer())
	b.keys("\r")
	b.Await(`!shown('#pass') && text('#status') === 'You are checked in. When it opens, one press is enough.'`)
	open()
	b.wake()
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", queuedAt(3))
	b.Await(`can('#buy')`)
	b.Click("#buy")
	b.Await(`text('#position') === 'Your place in the queue: 3'`)
	bodies := b.shop.bodies("POST /api/sales/1/ticket")
	require.JSONEq(t, `{"quantity":1,"pass":"a pass"}`, bodies[len(bodies)-1])
}

func testWrongAnswer(t *testing.T, b *buyer) {
	b.login()
	b.speak("zh-CN")
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeFormula })
	answer := b.checks(seckill.ChallengeFormula, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", givePass)
	b.Open("/sale/1")
	b.Await(`text('#status') === '先完成下面的验证，就可以抢购。' && text('#buy') === '先完成验证'`)
	b.Click("#pass [data-part=start]")
	b.Await(`shown('#pass form')`)
	b.Click("#pass [type=submit]")
	b.Await(`text('#pass [data-part=note]') === '请先填写结果。'`)
	b.Fill("#pass [data-part=answer]", "9999")
	b.Click("#pass [type=submit]")
	b.Await(`text('#pass [data-part=note]') === '答案不对或已过期，请再试一次。' && shown('#pass form') && node('#pass [data-part=answer]').value === ''`)
	b.shop.script("POST /api/sales/1/pass", givePass)
	b.Fill("#pass [data-part=answer]", answer())
	b.Click("#pass [type=submit]")
	b.Await(`!shown('#pass') && can('#buy') && text('#buy') === '立即抢购'`)
}

func testCheckOutlivesSoldOut(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeFormula })
	answer := b.checks(seckill.ChallengeFormula, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", givePass)
	b.Open("/sale/1")
	b.Await(`shown('#pass')`)
	b.Click("#pass [data-part=start]")
	b.Await(`shown('#pass form')`) // before that there is no formula to answer
	b.Fill("#pass [data-part=answer]", answer())
	b.shop.sales["1"].leave(0)
	b.wake()
	b.Await(`text('#buy') === 'Sold out' && !shown('#pass')`)
	b.shop.sales["1"].leave(1)
	b.wake()
	b.Await(`shown('#pass form')`)
	b.Click("#pass [type=submit]")
	b.Await(`!shown('#pass') && text('#buy') === 'Buy now'`)
}

// The pass ends while the sale is paused, when no press on the button leads to the check.
func testSecondCheck(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge, s.Paused = true, seckill.ChallengeWork, true })
	b.checks(seckill.ChallengeWork, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", givePass) // for an hour
	b.Open("/sale/1")
	b.Await(`shown('#pass')`)
	b.Click("#pass [data-part=start]")
	b.Await(`!shown('#pass')`)
	b.shop.script("GET /api/sales/1", func(w responseWriter, s *shop) {
		reply(200, "%s", asJSON(s.sales["1"].show(s.now().Add(2*time.Hour))))(w, s)
	})
	b.wake()
	b.Await(`shown('#pass [data-part=start]')`)
}

// The page holds the sale as it was before the pass was asked for.
func testPassSinceAMoment(t *testing.T, b *buyer) {
	b.login()
	b.checks(seckill.ChallengeWork, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", givePass)
	b.shop.script("POST /api/sales/1/ticket", func(w responseWriter, s *shop) {
		s.sales["1"].update(func(v *seckill.Sale) { v.Pass, v.Challenge = true, seckill.ChallengeWork })
		s.script("POST /api/sales/1/ticket", queued)
		problem(403, "pass_required")(w, s)
	})
	b.shop.script("GET /api/sales/1/ticket", none, queuedAt(3))
	b.Open("/sale/1")
	b.awaitTicket()
	b.Click("#buy")
	b.Await(`text('#position') === 'Your place in the queue: 3' && !shown('#pass')`)
}

func testPressedFirst(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeWork })
	b.checks(seckill.ChallengeWork, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", givePass)
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.Open("/sale/1")
	b.Await(`text('#buy') === 'Finish the check first' && can('#buy')`)
	b.awaitTicket()
	b.shop.script("GET /api/sales/1/ticket", queuedAt(3))
	b.Click("#buy")
	b.Await(`text('#position') === 'Your place in the queue: 3' && !shown('#pass')`)
}

// The module is asked for again until it comes, and a press in between is remembered.
func testCheckComesLater(t *testing.T, b *buyer) {
	b.login()
	b.speak("zh-CN")
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeWork })
	b.checks(seckill.ChallengeWork, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", givePass)
	b.shop.script("POST /api/sales/1/ticket", queued)
	comes := b.breakModule("challenge.js")
	b.Open("/sale/1")
	b.Await(`text('#buy') === '先完成验证' && can('#buy') && !shown('#pass')`)
	b.awaitTicket()
	b.shop.script("GET /api/sales/1/ticket", queuedAt(3))
	b.Click("#buy")
	b.Click("#lang")
	b.Await(`text('#buy') === 'Finish the check first'`)
	comes()
	b.Await(`text('#position') === 'Your place in the queue: 3' && !shown('#pass')`)
	b.Equal(`node('#pass-heading').textContent`, "Check in before the opening")
}

func testPassOutlivesAReload(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeWork })
	b.checks(seckill.ChallengeWork, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", givePass)
	b.Open("/sale/1")
	b.Await(`shown('#pass')`)
	b.Click("#pass [data-part=start]")
	b.Await(`!shown('#pass') && text('#buy') === 'Buy now'`)
	b.Open("/sale/1")
	b.Await(`!shown('#pass') && text('#buy') === 'Buy now' && can('#buy')`)
	b.shop.script("POST /api/sales/1/ticket", problem(403, "pass_required"))
	b.shop.script("POST /api/sales/1/challenge", problem(503, "unavailable"))
	b.Click("#buy")
	b.Await(`text('#status') === 'A new check is needed. Please finish it below, then you can buy.' && shown('#pass')`)
	b.Open("/sale/1")
	b.Await(`shown('#pass') && text('#buy') === 'Finish the check first'`)
}

func testPressedBeforeLogin(t *testing.T, b *buyer) {
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeWork })
	b.Open("/sale/1")
	b.Await(`can('#buy')`)
	b.Eval(`(sessionStorage.setItem('seckill.press.1', JSON.stringify({ quantity: 1, at: Date.now() })), '')`)
	b.login()
	b.checks(seckill.ChallengeWork, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", givePass)
	b.shop.script("POST /api/sales/1/ticket", queued)
	b.shop.script("GET /api/sales/1/ticket", problem(404, "not_found"), queuedAt(3))
	b.Open("/sale/1")
	b.Await(`text('#position') === 'Your place in the queue: 3' && !shown('#pass')`)
}

func testTriesUsed(t *testing.T, b *buyer) {
	b.login()
	b.speak("zh-CN")
	b.shop.script("POST /api/sales/1/ticket", reply(409, `{"status":409,"code":"not_eligible","reason":"tries"}`))
	b.Open("/sale/1")
	b.Await(`can('#buy')`)
	b.Click("#buy")
	b.Await(`text('#status') === '您在本场未支付的订单已达上限，不能再参与。'`)
}

func testNotEligible(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeWork })
	b.shop.script("POST /api/sales/1/challenge", problem(409, "not_eligible"))
	b.Open("/sale/1")
	b.Await(`shown('#pass')`)
	b.Click("#pass [data-part=start]")
	b.Await(`text('#status') === 'This sale is not open to your account.' && text('#buy') === 'Not open to you' && !can('#buy') && !shown('#pass')`)
}

func testCheckRefused(t *testing.T, b *buyer) {
	b.login()
	b.shop.sales["1"].update(func(s *seckill.Sale) { s.Pass, s.Challenge = true, seckill.ChallengeWork })
	b.checks(seckill.ChallengeWork, "/api/sales/1/challenge", access.ForSale(1, "b1"))
	b.shop.script("POST /api/sales/1/pass", problem(409, "ended"))
	b.Open("/sale/1")
	b.Await(`shown('#pass')`)
	b.Click("#pass [data-part=start]")
	b.Await(`text('#pass [data-part=note]') === 'This sale has ended.'`)
	b.shop.script("POST /api/sales/1/challenge", problem(409, "paused"))
	b.Click("#pass [data-part=start]")
	b.Await(`text('#pass [data-part=note]') === 'This sale is paused. You can buy when it resumes.'`)
}

func testInvitation(t *testing.T, b *buyer) {
	b.shop.script("POST /api/register", reply(403, `{"status":403,"code":"forbidden","reason":"not_invited"}`))
	b.Open("/register")
	b.Await(`can('#register-submit') && !shown('#invite-label')`)
	b.fill("ada", "correct horse battery")
	b.Click("#register-submit")
	b.Await(`text('#status') === 'Registering needs an invitation. Please fill in its code.' && document.activeElement === node('[name=invite]')`)
	b.Fill("[name=invite]", "7Q2M")
	b.Click("#register-submit")
	b.Await(`text('#status') === 'This invitation is wrong, used up or over.'`)
	b.shop.unscript("POST /api/register")
	b.Open("/register?invite=N6TZ&next=%2Forders")
	b.Await(`can('#register-submit') && node('[name=invite]').value === 'N6TZ' && shown('#invite-label')`)
	b.fill("ada", "correct horse battery")
	b.Click("#register-submit")
	b.Await(`location.pathname === '/orders'`)
	bodies := b.shop.bodies("POST /api/register")
	require.JSONEq(t, `{"name":"ada","password":"correct horse battery","invite":"N6TZ"}`, bodies[len(bodies)-1])
	b.shop.script("POST /api/register", reply(403, `{"status":403,"code":"forbidden","reason":"closed"}`))
	b.speak("zh-CN")
	b.Open("/register")
	b.Await(`can('#register-submit')`)
	b.fill("ada", "correct horse battery")
	b.Click("#register-submit")
	b.Await(`text('#status') === '本店的账号由店家开通，不能在此注册。'`)
}

func testAccountCosts(t *testing.T, b *buyer) {
	answer := b.checks(seckill.ChallengeFormula, "/api/challenge", "an account")
	b.shop.script("POST /api/register", func(w responseWriter, s *shop) {
		bodies := s.bodies("POST /api/register")
		if s.solved(bodies[len(bodies)-1]) != nil {
			problem(403, "challenge_required")(w, s)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "seckill_session", Value: "ada", Path: "/", HttpOnly: true})
		reply(201, `{"token":"t","buyer":"ada"}`)(w, s)
	})
	b.Open("/register")
	b.fill("ada", "correct horse battery")
	b.Click("#register-submit")
	b.Await(`shown('#pass form') && node('#pass img').naturalWidth > 0`)
	b.Click("#pass [data-part=listen]")
	b.Await(`shown('#pass audio') && !shown('#pass img') && text('#pass [data-part=question]') === 'The four digits you hear'`)
	b.Click("#pass [data-part=another]")
	b.Await(`shown('#pass img') && !shown('#pass audio')`)
	b.Fill("#pass [data-part=answer]", answer())
	b.Click("#pass [type=submit]")
	b.Await(`location.pathname === '/'`)
}
