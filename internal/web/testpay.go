package web

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"

	"seckill"
)

// testPayPath is where the buyer of an order pays while nobody takes money.
const testPayPath = "/pay/test/"

// TestPay is the page of the payment provider "test": it says that nothing is paid, and
// lets a buyer pay or lets the payment fail. It works without JavaScript. All of it is
// required.
type TestPay struct {
	Buyer func(*http.Request) (string, error)
	Order func(ctx context.Context, id, buyer string) (seckill.Order, error)
	Pay   func(ctx context.Context, id, buyer string) (seckill.Order, error)
	Fail  func(ctx context.Context, o seckill.Order) error
}

//go:embed testpay.html
var testPayText string

var testPayTemplate = template.Must(template.New("testpay").Parse(testPayText))

// testPayWords are the page's; buyers of a real shop never load them.
var testPayWords = map[string]map[string]string{
	"zh-CN": {
		"title": "测试支付 · 秒杀", "heading": "测试支付", "what": "这是用来试用的支付页面：不会产生任何扣款，点“支付成功”后订单就算已支付。",
		"item": "商品", "quantity": "数量", "amount": "金额", "number": "订单编号", "pay": "支付成功", "fail": "支付失败", "back": "返回订单",
		"unpaid": "订单待支付，请选择支付结果。", "failed": "支付失败，订单仍待支付，可以再试一次。", "paid": "订单已支付。", "cancelled": "订单已取消，不能再支付。",
		"expired": "超时未支付，订单已关闭。", "refunded": "订单已退款。", "over": "支付时间已过，不能再支付。", "away": "服务器有些忙，请稍后再试。",
	},
	"en": {
		"title": "Test payment · Seckill", "heading": "Test payment", "what": "This page is for trying things out: nobody takes any money, and whoever presses the first button has paid.",
		"item": "Item", "quantity": "Quantity", "amount": "Amount", "number": "Order no.", "pay": "Pay", "fail": "Let the payment fail", "back": "Back to the order",
		"unpaid": "The order is unpaid. Choose how the payment ends.", "failed": "The payment failed. The order is still unpaid, and you can try again.", "paid": "The order is paid.",
		"cancelled": "The order was cancelled and cannot be paid.", "expired": "It was not paid in time, so the order was closed.", "refunded": "The order was refunded.",
		"over": "The time to pay is over.", "away": "The server is busy. Please try again.",
	},
}

// WithTestPay serves the page beside pages.
func WithTestPay(pages http.Handler, t TestPay) http.Handler {
	mux := http.NewServeMux()
	page := protected(http.HandlerFunc(t.serve))
	mux.Handle("GET "+testPayPath+"{order}", page)
	mux.Handle("POST "+testPayPath+"{order}", page)
	mux.Handle("/", pages)
	return mux
}

func (t *TestPay) serve(w http.ResponseWriter, r *http.Request) {
	lang := language(r)
	words := testPayWords[lang]
	buyer, err := t.Buyer(r)
	if err != nil {
		http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.Path), http.StatusSeeOther)
		return
	}
	id := r.PathValue("order")
	o, err := seckill.Order{}, seckill.ErrNotFound
	if seckill.ValidTicketID(id) {
		o, err = t.Order(r.Context(), id, buyer)
	}
	if err != nil {
		t.trouble(w, r, err, lang)
		return
	}
	says, tone, status := words[string(o.State)], "", http.StatusOK
	if r.Method == http.MethodPost {
		if http.NewCrossOriginProtection().Check(r) != nil {
			http.Error(w, "a page of another site sent this", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
		switch answer := r.PostFormValue("answer"); {
		case answer == "pay":
			if _, err := t.Pay(r.Context(), id, buyer); err == nil {
				http.Redirect(w, r, "/order/detail/"+id, http.StatusSeeOther)
				return
			} else if !errors.Is(err, seckill.ErrState) {
				t.trouble(w, r, err, lang)
				return
			}
			says, tone, status = words["over"], "bad", http.StatusConflict
			if o.State != seckill.Unpaid {
				says = words[string(o.State)]
			}
		case answer == "fail" && o.State == seckill.Unpaid:
			if err := t.Fail(r.Context(), o); err != nil {
				t.trouble(w, r, err, lang)
				return
			}
			says, tone = words["failed"], "bad"
		case answer != "fail":
			http.Error(w, "answer must be pay or fail", http.StatusUnprocessableEntity)
			return
		}
	}
	var b bytes.Buffer
	if err := testPayTemplate.Execute(&b, struct {
		Lang, Static, Says, Tone, Amount string
		W                                map[string]string
		Order                            seckill.Order
	}{lang, "/static/" + theBundle().version, says, tone, seckill.FormatMoney(o.Amount, o.Currency), words, o}); err != nil {
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", html)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// trouble answers for an order that is not the buyer's, or while the store is away.
func (t *TestPay) trouble(w http.ResponseWriter, r *http.Request, err error, lang string) {
	if errors.Is(err, seckill.ErrNotFound) {
		theBundle().shells[lang][missingPage].missing(w, r)
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, testPayWords[lang]["away"], http.StatusServiceUnavailable)
}
