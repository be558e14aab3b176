package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/order"
	"seckill/internal/payment"
)

const shopSecret = "whsec_c2hvcC1zZWNyZXQtb2YtdGhlc2UtdGVzdHM="

// newShop is a system whose money is taken by a shop.
func newShop(t testing.TB, refunds string, options ...func(*payment.Config)) *system {
	t.Helper()
	return newSystem(t, func(c *Config) {
		shop, err := payment.NewShop(shopSecret, "https://shop.example/pay?order={order}&payment={payment}&amount={amount}", refunds, "")
		require.NoError(t, err)
		p := payment.Config{Store: c.Money.(payment.Store), Gate: c.Gate, Orders: c.Orders, Provider: shop, Grace: 2 * time.Minute, Log: c.Log, Metrics: noMetrics()}
		for _, o := range options {
			o(&p)
		}
		c.Payments = payment.New(p)
	})
}

var _ payment.Orders = (*order.Orders)(nil)

// message is what a shop says, as JSON.
func message(event string, kind seckill.CallbackType, order, reference string, amount int64, currency string) string {
	b, _ := json.Marshal(seckill.Callback{Event: event, Type: kind, Order: order, Reference: reference, Amount: amount, Currency: currency, At: time.Now()})
	return string(b)
}

// signed is a request of the shop.
func signed(t testing.TB, secret, body string, at time.Time) call {
	t.Helper()
	hook, err := webhooks.NewWebhook(secret)
	require.NoError(t, err)
	signature, err := hook.Sign("msg-1", at, []byte(body))
	require.NoError(t, err)
	return call{method: "POST", path: "/api/payments/shop", body: body, header: []string{"webhook-id", "msg-1", "webhook-timestamp", fmt.Sprint(at.Unix()), "webhook-signature", signature}}
}

func (s *system) tells(body string) *answer {
	s.t.Helper()
	return s.do(signed(s.t, shopSecret, body, time.Now()))
}

func (s *system) captured(event, order, reference string, amount int64) {
	s.t.Helper()
	s.tells(message(event, seckill.Captured, order, reference, amount, "CNY")).is(200)
}

// whole is what an administrator sees of an order.
type whole struct {
	seckill.Order
	Buyer    string            `json:"buyer"`
	Payments []seckill.Payment `json:"payments"`
	Refunds  []seckill.Refund  `json:"refunds"`
	History  []seckill.Entry   `json:"history"`
}

func (s *system) whole(order string) (w whole) {
	s.t.Helper()
	s.admin("GET", "/api/admin/orders/"+order, "").is(200).into(&w)
	return w
}

func (w whole) told() (all []string) {
	for _, e := range w.History {
		all = append(all, e.What)
	}
	return all
}

// money is the audit of a sale's money, in one currency.
func (s *system) money(id seckill.SaleID) seckill.Money {
	s.t.Helper()
	var r struct {
		OK    bool            `json:"ok"`
		Money []seckill.Money `json:"money"`
	}
	s.admin("GET", "/api/admin/sales/"+id.String()+"/audit", "").is(200).into(&r)
	require.True(s.t, r.OK)
	require.NotEmpty(s.t, r.Money)
	return r.Money[0]
}

type paid struct {
	seckill.Order
	Payment *seckill.Checkout `json:"payment"`
}

func (s *system) startsToPay(buyer, order string) (p paid) {
	s.t.Helper()
	s.as(buyer, "POST", "/api/orders/"+order+"/pay", "").is(200).into(&p)
	return p
}

func TestABuyerCannotMakeAnOrderPaid(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	first := s.startsToPay(ownerName, s.order)
	require.Equal(t, seckill.Unpaid, first.State)
	require.NotNil(t, first.Payment)
	require.Equal(t, "https://shop.example/pay?order="+s.order+"&payment="+first.Payment.ID+"&amount="+fmt.Sprint(first.Amount), first.Payment.URL)
	again := s.startsToPay(ownerName, s.order)
	require.Equal(t, first.Payment, again.Payment, "a repeat is the same payment")
	require.Equal(t, first.ExpiresAt, again.ExpiresAt, "and keeps the order no longer")
	require.Equal(t, seckill.Unpaid, s.orderOf(ownerName, s.order).State)
	s.as(otherName, "POST", "/api/orders/"+s.order+"/pay", "").problem(404, "not_found")

	s.captured("e1", s.order, "r1", first.Amount)
	require.Equal(t, seckill.Paid, s.orderOf(ownerName, s.order).State)
	require.Nil(t, s.startsToPay(ownerName, s.order).Payment, "nothing is left to pay")
	w := s.whole(s.order)
	require.Equal(t, []string{"order.placed", "payment.started", "payment.captured", "order.paid"}, w.told())
	require.Equal(t, ownerName, w.Buyer)
	require.Len(t, w.Payments, 1)
	require.Equal(t, seckill.PaymentKept, w.Payments[0].State)
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: first.Amount, Held: first.Amount}, s.money(s.open.ID))
}

func TestACallbackIsTheProvidersOrRefused(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	amount := s.orderOf(ownerName, s.order).Amount
	good := message("e1", seckill.Captured, s.order, "r1", amount, "CNY")
	now := time.Now()
	fine := signed(t, shopSecret, good, now)
	tampered := fine.withBody(strings.Replace(good, "r1", "r2", 1))
	longer := strings.TrimSuffix(good, "}") + `,"x":"` + strings.Repeat("x", maxCallback) + `"}`
	rows := []row{
		{"without headers", call{method: "POST", path: "/api/payments/shop", body: good}, 401, "unauthorized", nil},
		{"another secret", signed(t, "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlc2U=", good, now), 401, "unauthorized", nil},
		{"six minutes old", signed(t, shopSecret, good, now.Add(-6*time.Minute)), 401, "unauthorized", nil},
		{"six minutes ahead", signed(t, shopSecret, good, now.Add(6*time.Minute)), 401, "unauthorized", nil},
		{"another body", tampered, 401, "unauthorized", nil},
		{"an admin's token is no signature", call{method: "POST", path: "/api/payments/shop", body: good, token: token(t, adminName, seckill.RoleAdmin)}, 401, "unauthorized", nil},
		{"another provider", fine.withPath("/api/payments/stripe"), 404, "not_found", nil},
		{"the provider test", fine.withPath("/api/payments/test"), 404, "not_found", nil},
		{"no provider", fine.withPath("/api/payments/"), 404, "not_found", nil},
		{"cross-site", fine.withHeader("Origin", "https://evil.example"), 403, "forbidden", nil},
		{"too large", signed(t, shopSecret, longer, now), 413, "body_too_large", nil},
		{"compressed", fine.withHeader("Content-Encoding", "gzip"), 415, "unsupported_media_type", nil},
	}
	reference := func(r string) string { return strings.Replace(good, `"r1"`, `"`+r+`"`, 1) }
	for name, body := range map[string]string{"half a character": reference(`\ud800`), "no text": reference("r\xff"), "no JSON": "x", "cut short": good[:len(good)-1], "a list": "[]", "an amount that is no number": strings.Replace(good, fmt.Sprint(amount), `"1"`, 1)} {
		rows = append(rows, row{name, signed(t, shopSecret, body, now), 400, "bad_json", nil})
	}
	for name, c := range map[string]seckill.Callback{
		"no event":         {Type: seckill.Captured, Order: s.order, Reference: "r", Amount: 1, Currency: "CNY"},
		"no type":          {Event: "e", Order: s.order, Reference: "r", Amount: 1, Currency: "CNY"},
		"unknown type":     {Event: "e", Type: "taken", Order: s.order, Reference: "r", Amount: 1, Currency: "CNY"},
		"no order":         {Event: "e", Type: seckill.Captured, Reference: "r", Amount: 1, Currency: "CNY"},
		"no reference":     {Event: "e", Type: seckill.Captured, Order: s.order, Amount: 1, Currency: "CNY"},
		"nothing":          {Event: "e", Type: seckill.Captured, Order: s.order, Reference: "r", Currency: "CNY"},
		"less":             {Event: "e", Type: seckill.Captured, Order: s.order, Reference: "r", Amount: -1, Currency: "CNY"},
		"too much":         {Event: "e", Type: seckill.Captured, Order: s.order, Reference: "r", Amount: 1 << 60, Currency: "CNY"},
		"no currency":      {Event: "e", Type: seckill.Captured, Order: s.order, Reference: "r", Amount: 1},
		"control byte":     {Event: "e\x00", Type: seckill.Captured, Order: s.order, Reference: "r", Amount: 1, Currency: "CNY"},
		"a long refund":    {Event: "e", Type: seckill.Captured, Order: s.order, Reference: "r", Refund: strings.Repeat("r", 201), Amount: 1, Currency: "CNY"},
		"a refund's byte":  {Event: "e", Type: seckill.GivenBack, Order: s.order, Reference: "r", Refund: "r\n", Amount: 1, Currency: "CNY"},
		"a long reference": {Event: "e", Type: seckill.Captured, Order: s.order, Reference: strings.Repeat("r", 201), Amount: 1, Currency: "CNY"},
	} {
		b, err := json.Marshal(c)
		require.NoError(t, err)
		rows = append(rows, row{name, signed(t, shopSecret, string(b), now), 422, "invalid_field", nil})
	}
	for name, body := range map[string]string{"type is null": strings.Replace(good, `"captured"`, "null", 1), "null": "null"} {
		rows = append(rows, row{name, signed(t, shopSecret, body, now), 422, "invalid_field", nil})
	}
	s.refused(t, rows)
	s.do(fine).is(200)
	s.do(fine).is(200)
	// What is not read may be anything, as the title of an item that somebody has cut.
	s.do(signed(t, shopSecret, strings.Replace(good, "{", "{\"title\":\"\\ud83d \xff\",", 1), now)).is(200)
	require.Equal(t, seckill.Paid, s.orderOf(ownerName, s.order).State)
	require.Len(t, s.whole(s.order).Payments, 1, "a replay is the same payment")
}

// Each kind of money that does not simply pay its order.
func TestEveryCapturedPaymentHasOneEnd(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	amount := int64(thePrice)
	order := func(buyer string) string { return s.bought(buyer, s.open.ID, 1) }

	doubled := order("doubled")
	s.captured("d1", doubled, "d", amount)
	s.captured("d2", doubled, "d", amount)
	require.Len(t, s.whole(doubled).Payments, 1, "one payment, however many messages tell of it")

	second := order("second")
	s.captured("s1", second, "s-a", amount)
	s.captured("s2", second, "s-b", amount)
	w := s.whole(second)
	require.Equal(t, seckill.Paid, w.State)
	require.Len(t, w.Refunds, 1)
	require.Equal(t, "s-b", w.Refunds[0].Reference)
	require.Zero(t, w.RefundedAmount, "the order keeps what it cost")

	late := order("late")
	s.as("late", "POST", "/api/orders/"+late+"/cancel", "").is(200)
	s.captured("l1", late, "l", amount)
	w = s.whole(late)
	require.Equal(t, seckill.Cancelled, w.State)
	require.Equal(t, seckill.PaymentReturned, w.Payments[0].State)
	require.Equal(t, seckill.RefundDue, w.Refunds[0].State)

	wrong := order("wrong")
	s.captured("w1", wrong, "w", amount-1)
	s.tells(message("w2", seckill.Captured, wrong, "w-usd", amount, "USD")).is(200)
	w = s.whole(wrong)
	require.Equal(t, seckill.Unpaid, w.State)
	for _, p := range w.Payments {
		require.Equal(t, seckill.PaymentAside, p.State)
		require.NotEmpty(t, p.Note)
	}
	require.Contains(t, s.log.String(), "money was put aside")

	unknown := strings.Repeat("9", seckill.TicketIDLen)
	s.captured("u1", unknown, "u", amount)
	var list struct {
		Items []seckill.Payment `json:"items"`
		Next  string            `json:"next"`
	}
	s.admin("GET", "/api/admin/payments?state=aside", "").is(200).into(&list)
	require.Len(t, list.Items, 3)

	contradicts := order("contradicts")
	s.captured("c1", contradicts, "d", amount) // another order's payment
	s.captured("c2", doubled, "d", amount+5)
	require.Equal(t, seckill.Unpaid, s.whole(contradicts).State)
	require.Contains(t, s.log.String(), "contradicts itself")

	reordered := order("reordered")
	s.tells(message("o2", seckill.GivenBack, reordered, "o", amount, "CNY")).is(200)
	require.Equal(t, seckill.Unpaid, s.whole(reordered).State)
	s.captured("o1", reordered, "o", amount)
	w = s.whole(reordered)
	require.Equal(t, seckill.Refunded, w.State, "a refund that was told before its payment")
	require.Equal(t, seckill.RefundDone, w.Refunds[0].State)

	failed := order("failed")
	one := s.startsToPay("failed", failed)
	s.tells(message("f1", seckill.Failed, failed, "f", amount, "CNY")).is(200)
	require.NotEqual(t, one.Payment.ID, s.startsToPay("failed", failed).Payment.ID, "another try is another payment")

	m := s.money(s.open.ID)
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: 6*amount - 1, Refunded: amount, Held: 2 * amount, Due: 2 * amount, Aside: amount - 1}, m)

	t.Log("what was put aside goes back when a person says so")
	s.admin("POST", "/api/admin/orders/"+wrong+"/refund", `{"payment":"w","reason":"a cent too little"}`).is(200)
	s.admin("POST", "/api/admin/orders/"+wrong+"/refund", `{"payment":"w"}`).is(200)
	require.Len(t, s.whole(wrong).Refunds, 1)
	s.admin("POST", "/api/admin/orders/"+doubled+"/refund", `{"payment":"d"}`).problem(409, "state")
	s.admin("POST", "/api/admin/orders/"+wrong+"/refund", `{"payment":"nope"}`).problem(404, "not_found")
}

// What a provider says again in other words is no repeat: nothing changes, and somebody
// hears of it.
func TestAContradictionIsNoRepeat(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	order := func(buyer string) string { return s.bought(buyer, s.open.ID, 1) }
	one, other := order("one"), order("other")
	s.captured("e1", one, "r1", thePrice)
	n := 0
	for name, body := range map[string]string{
		"the event with another type":                message("e1", seckill.Failed, one, "r1", thePrice, "CNY"),
		"the event for another order":                message("e1", seckill.Captured, other, "r1", thePrice, "CNY"),
		"the event with another reference":           message("e1", seckill.Captured, one, "r2", thePrice, "CNY"),
		"the event with another amount":              message("e1", seckill.Captured, one, "r1", thePrice+1, "CNY"),
		"the event in another currency":              message("e1", seckill.Captured, one, "r1", thePrice, "USD"),
		"the payment for another order":              message("e2", seckill.Captured, other, "r1", thePrice, "CNY"),
		"the payment for an order that is not known": message("e3", seckill.Captured, strings.Repeat("9", seckill.TicketIDLen), "r1", thePrice, "CNY"),
	} {
		s.tells(body).is(200)
		n++
		require.Equal(t, n, strings.Count(s.log.String(), "contradicts itself"), name)
		told := s.whole(one).told()
		require.Len(t, told, 3+n, name)
		require.Equal(t, "payment.conflict", told[2+n], name)
	}
	require.Equal(t, seckill.Unpaid, s.whole(other).State)
	require.Empty(t, s.whole(other).Payments)
	require.Len(t, s.whole(one).Payments, 1)
	s.captured("e1", one, "r1", thePrice)
	s.captured("e4", one, "r1", thePrice)
	require.Equal(t, n, strings.Count(s.log.String(), "contradicts itself"), "a repeat is none")
}

func TestAStartedPaymentKeepsItsOrderForTheGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, "")
		id := s.create(saleBody{"hold_seconds": 30}).ID
		started, not := s.bought("started", id, 1), s.bought("not", id, 1)
		before := s.orderOf("started", started).ExpiresAt
		pass(20 * time.Second)
		o := s.startsToPay("started", started)
		require.Equal(t, before.Add(2*time.Minute), o.ExpiresAt)
		pass(12 * time.Second)
		require.Equal(t, seckill.Expired, s.orderOf("not", not).State)
		s.as("not", "POST", "/api/orders/"+not+"/pay", "").problem(409, "state")
		require.Equal(t, seckill.Unpaid, s.orderOf("started", started).State)
		s.captured("e", started, "r", thePrice)
		require.Equal(t, seckill.Paid, s.orderOf("started", started).State)
	})
}

func TestALatePaymentTakesUnitsAgainOrGoesBack(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	id := s.create(saleBody{"total": 2, "late_payment": "retake", "tries_per_buyer": 5}).ID
	require.Equal(t, seckill.LateRetake, s.sale(id).LatePayment)
	late := func(buyer string) string {
		order := s.bought(buyer, id, 1)
		s.as(buyer, "POST", "/api/orders/"+order+"/cancel", "").is(200)
		return order
	}
	one, two := late("one"), late("two")
	s.captured("e1", one, "r1", thePrice) // its units may still be on their way
	require.Eventually(t, func() bool {
		orders := s.ordersOf("one")
		return len(orders) == 2 && orders[0].State == seckill.Paid
	}, 20*time.Second, 10*time.Millisecond)
	newer := s.ordersOf("one")[0]
	require.Equal(t, seckill.Cancelled, s.whole(one).State, "an outcome is final: the units are another order's")
	require.Equal(t, []string{"order.placed", "payment.retaken", "order.paid"}, s.whole(newer.ID).told())
	require.Contains(t, s.whole(one).told(), "payment.retaken")
	s.captured("e1", one, "r1", thePrice) // a repeat
	s.captured("e1 again", one, "r1", thePrice)

	s.atTheGate(id, 1)
	s.bought("somebody", id, 1)
	s.captured("e2", two, "r2", thePrice)
	require.Eventually(t, func() bool { return len(s.whole(two).Refunds) == 1 }, 20*time.Second, 10*time.Millisecond)
	require.Contains(t, s.whole(two).Payments[0].Note, "sold_out")
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: 2 * thePrice, Held: thePrice, Due: thePrice}, s.money(id))

	tries, err := s.store.TriesSince(t.Context(), seckill.Tries{Changed: s.store.Now().Add(-time.Hour)}, 10)
	require.NoError(t, err)
	counts := map[string]int{}
	for _, v := range tries {
		counts[v.Buyer] = v.Count
	}
	require.Equal(t, map[string]int{"one": 0, "two": 1}, counts, "what was paid for in the end was not left unpaid")

	s.admin("PATCH", s.adminPath(id, ""), `{"late_payment":"refund"}`).is(200)
	require.Empty(t, s.sale(id).LatePayment)
}

// A late payment takes the last unit while others ask for it all the time: its own ticket is
// why nothing is left.
func TestALatePaymentTakesTheLastUnit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, "")
		id := s.create(saleBody{"total": 1, "late_payment": "retake"}).ID
		order := s.bought("one", id, 1)
		s.as("one", "POST", "/api/orders/"+order+"/cancel", "").is(200)
		s.atTheGate(id, 1)
		pass(time.Millisecond) // the store hears of the unit after the gate
		s.captured("e1", order, "r1", thePrice)
		for range 30 {
			pass(100 * time.Millisecond)
			s.as("somebody", "POST", ticketPath(id), `{"quantity":1}`)
		}
		require.Empty(t, s.whole(order).Refunds)
		require.Equal(t, seckill.Paid, s.ordersOf("one")[0].State)
	})
}

func (s *system) ordersOf(buyer string) []seckill.Order {
	s.t.Helper()
	var l struct{ Items []seckill.Order }
	s.as(buyer, "GET", "/api/orders", "").is(200).into(&l)
	return l.Items
}

func TestAFreeItemIsPaidFromTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, "")
		id := s.create(saleBody{"price": 0, "total": 5, "hold_seconds": 30}).ID
		order := s.bought("lucky", id, 1)
		require.Equal(t, seckill.Paid, s.orderOf("lucky", order).State)
		require.Nil(t, s.startsToPay("lucky", order).Payment)
		pass(time.Minute)
		require.Equal(t, seckill.Paid, s.orderOf("lucky", order).State)
		s.admin("POST", "/api/admin/orders/"+order+"/refund", "").is(200)
		s.atTheGate(id, 5)
	})
}

func TestAnAdministratorCancelsSomebodysUnpaidOrder(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	path := "/api/admin/orders/" + s.order + "/cancel"
	s.as(ownerName, "POST", path, "").problem(403, "forbidden")
	s.admin("POST", path, `{"reason":"`+strings.Repeat("x", 201)+`"}`).problem(422, "invalid_field")
	for range 2 {
		var o seckill.Order
		s.admin("POST", path, `{"reason":"a robot"}`).is(200).into(&o)
		require.Equal(t, seckill.Cancelled, o.State)
	}
	w := s.whole(s.order)
	require.Equal(t, []string{"order.placed", "order.cancelled"}, w.told())
	require.Equal(t, []string{adminName, "a robot"}, []string{w.History[1].Who, w.History[1].Why})
	paid := s.bought("paid", s.open.ID, 1)
	s.as("paid", "POST", "/api/orders/"+paid+"/pay", "").is(200)
	s.admin("POST", "/api/admin/orders/"+paid+"/cancel", "").problem(409, "state")
}

func TestAdministratorsSearchOrdersAndPayments(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var mine []string
	for i := range 5 {
		buyer := fmt.Sprint("b", i%2)
		sale := s.create(saleBody{"total": 5}).ID
		order := s.bought(buyer, sale, 1)
		mine = append([]string{order}, mine...)
		if i < 3 {
			s.as(buyer, "POST", "/api/orders/"+order+"/pay", "").is(200)
		}
	}
	search := func(query string) (ids []string) {
		t.Helper()
		for cursor := ""; ; {
			var l struct {
				Items []whole
				Next  string
			}
			s.admin("GET", "/api/admin/orders?limit=2&"+query+"&cursor="+cursor, "").is(200).into(&l)
			for _, o := range l.Items {
				ids = append(ids, o.ID)
			}
			if cursor = l.Next; cursor == "" {
				return ids
			}
		}
	}
	require.Equal(t, []string{mine[1], mine[3]}, search("buyer=b1"))
	require.Equal(t, []string{mine[0], mine[2], mine[4]}, search("buyer=b0"))
	require.Equal(t, mine[2:], search("state=paid")[:3])
	require.Equal(t, []string{mine[4]}, search("payment=test-"+mine[4]))
	require.Subset(t, search(""), mine)
	for _, bad := range []string{"?state=gone", "?sale=x", "?cursor=x", "?limit=0", "?buyer=%00"} {
		s.admin("GET", "/api/admin/orders"+bad, "").problem(422, "invalid_field")
	}
	for _, bad := range []string{"?state=gone", "?cursor=x", "?cursor=1_", "?limit=101"} {
		s.admin("GET", "/api/admin/payments"+bad, "").problem(422, "invalid_field")
	}
	n := 0
	for _, page := range pages[seckill.Payment](s, call{method: "GET", path: "/api/admin/payments", token: token(t, adminName, seckill.RoleAdmin)}, 2) {
		n += len(page)
	}
	require.Equal(t, 3, n)
}
