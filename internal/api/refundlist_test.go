package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/payment"
)

func (s *system) listed(query string) (all []seckill.Refund) {
	s.t.Helper()
	for _, page := range pages[seckill.Refund](s, call{method: "GET", path: "/api/admin/refunds" + query, token: token(s.t, adminName, seckill.RoleAdmin)}, 2) {
		all = append(all, page...)
	}
	return all
}

// paidRefund is an order that was paid at the shop, with a refund of it that is due.
func (s *system) paidRefund(buyer, body string) (order string, due seckill.Refund) {
	s.t.Helper()
	order = s.bought(buyer, s.open.ID, 1)
	s.captured("paid "+buyer, order, "pay "+buyer, thePrice)
	s.admin("POST", "/api/admin/orders/"+order+"/refund", body).is(200)
	return order, s.whole(order).Refunds[0]
}

func TestWhatIsDueIsListed(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	var due []string
	for i := range 5 {
		_, f := s.paidRefund(fmt.Sprint("b", i), "")
		due = append([]string{f.ID}, due...)
	}
	s.tells(message("back", seckill.GivenBack, "x", due[2], thePrice, "CNY")).is(200)
	ids := func(all []seckill.Refund) (ids []string) {
		for _, f := range all {
			ids = append(ids, f.ID)
		}
		return ids
	}
	require.ElementsMatch(t, due, ids(s.listed("")))
	require.ElementsMatch(t, append(due[:2:2], due[3:]...), ids(s.listed("?state=due")))
	require.Equal(t, due[2:3], ids(s.listed("?state=done")))
	require.Empty(t, s.listed("?provider=stripe"))
	for _, bad := range []string{"?state=gone", "?cursor=x", "?cursor=1_", "?limit=101", "?provider=" + strings.Repeat("x", 17)} {
		s.admin("GET", "/api/admin/refunds"+bad, "").problem(422, "invalid_field")
	}
}

// Money that a person gave back by another way is no longer due; if the provider gives it
// back too, somebody hears of it.
func TestARefundCanBeDoneByHand(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	order, due := s.paidRefund("ann", "")
	path := "/api/admin/refunds/" + due.ID + "/done"
	s.admin("POST", path, `{"reason":""}`).problem(422, "invalid_field")
	for range 2 {
		var f seckill.Refund
		s.admin("POST", path, `{"reason":"a bank transfer"}`).is(200).into(&f)
		require.Equal(t, []any{seckill.RefundDone, seckill.ByHand}, []any{f.State, f.Given})
	}
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: thePrice, Refunded: thePrice}, s.money(s.open.ID))
	w := s.whole(order)
	last := w.History[len(w.History)-1]
	require.Equal(t, []string{"refund.done", adminName}, []string{last.What, last.Who})
	require.Contains(t, last.Why, "a bank transfer")
	s.tells(message("too", seckill.GivenBack, order, due.ID, thePrice, "CNY")).is(200)
	require.Contains(t, s.log.String(), "contradicts itself")
	require.Contains(t, s.whole(order).told(), "payment.conflict")
	s.admin("POST", "/api/admin/refunds/nobody/done", `{"reason":"x"}`).problem(404, "not_found")
}

// A person gives back a part at the provider of what is due as a whole: the rest is due.
func TestAPartGivenBackByHandIsOfWhatIsDue(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	order, due := s.paidRefund("ann", "")
	s.tells(message("part", seckill.GivenBack, order, "pay ann", 500, "CNY")).is(200)
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: thePrice, Refunded: 500, Due: thePrice - 500}, s.money(s.open.ID))
	refunds := s.whole(order).Refunds
	require.Len(t, refunds, 2)
	rest := refunds[0]
	if rest.ID == due.ID {
		rest = refunds[1]
	}
	require.Equal(t, []any{seckill.RefundDue, int64(thePrice - 500)}, []any{rest.State, rest.Amount})
	s.tells(message("rest", seckill.GivenBack, order, rest.ID, rest.Amount, "CNY")).is(200)
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: thePrice, Refunded: thePrice}, s.money(s.open.ID))
	s.tells(message("more", seckill.GivenBack, order, "pay ann", 500, "CNY")).is(200)
	require.Equal(t, 1, strings.Count(s.log.String(), "contradicts itself"))
}

// Money for an order that nobody knows goes back like any other that was put aside.
func TestMoneyForAnUnknownOrderCanBeGivenBack(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	for _, order := range []string{strings.Repeat("9", seckill.TicketIDLen), "order 7"} {
		reference := "for " + order
		s.captured("event "+order, order, reference, thePrice)
		path := "/api/admin/orders/" + strings.ReplaceAll(order, " ", "%20") + "/refund"
		s.admin("POST", path, "").problem(404, "not_found")
		s.admin("POST", path, `{"payment":"another"}`).problem(404, "not_found")
		for range 2 {
			s.admin("POST", path, fmt.Sprintf(`{"payment":%q}`, reference)).is(200)
		}
		due := s.listed("?state=due")
		require.Equal(t, []any{order, reference, int64(thePrice)}, []any{due[0].Order, due[0].Reference, due[0].Amount})
	}
	require.Len(t, s.listed("?state=due"), 2)
}

// Who was the provider before, or signs with a secret that is being changed, is believed.
func TestAFormerSecretIsBelieved(t *testing.T) {
	t.Parallel()
	const before = "whsec_dGhlIHNlY3JldCBvZiBiZWZvcmUgdGhpcw=="
	former, err := payment.NewFormer(seckill.ProviderShop, before)
	require.NoError(t, err)
	s := newShop(t, "", func(c *payment.Config) { c.Former = former })
	body := message("e1", seckill.Captured, s.order, "r1", s.orderOf(ownerName, s.order).Amount, "CNY")
	s.do(signed(t, "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlc2U=", body, time.Now())).problem(401, "unauthorized")
	s.do(signed(t, before, body, time.Now().Add(-6*time.Minute))).problem(401, "unauthorized")
	s.do(signed(t, before, body, time.Now())).is(200)
	s.do(signed(t, shopSecret, body, time.Now())).is(200)
	require.Equal(t, seckill.Paid, s.orderOf(ownerName, s.order).State)

	s = newShop(t, "", func(c *payment.Config) { c.Former, c.Provider = former, stripeOf(t) })
	order := s.bought("ann", s.open.ID, 1)
	s.do(signed(t, before, message("e1", seckill.Captured, order, "r1", thePrice, "CNY"), time.Now())).is(200)
	require.Equal(t, "shop", s.whole(order).Payments[0].Provider)
	s.do(signed(t, before, body, time.Now()).withPath("/api/payments/stripe")).problem(401, "unauthorized")
	_, err = payment.NewFormer(seckill.ProviderTest, before)
	require.ErrorContains(t, err, "must be shop or stripe")
}

func stripeOf(t *testing.T) payment.Provider {
	s, err := payment.NewStripe("sk_test_x", "whsec_x", "https://shop.example/{order}")
	require.NoError(t, err)
	return s
}

// A refund that comes back is due again, and a payment that is disputed is told of: both
// raise an alarm, once.
func TestMoneyThatMovesAgainRaisesAnAlarm(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	order, due := s.paidRefund("ann", "")
	for range 2 {
		s.tells(message("e1", seckill.Bounced, order, due.ID, thePrice, "CNY")).is(200)
	}
	late := strings.Replace(message("e2", seckill.GivenBack, order, due.ID, thePrice, "CNY"), `"at":"`+fmt.Sprint(time.Now().UTC().Year()), `"at":"2020`, 1)
	s.tells(late).is(200)
	require.Equal(t, 1, strings.Count(s.log.String(), "moves again"))
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: thePrice, Due: thePrice}, s.money(s.open.ID))
	require.Equal(t, due.ID, s.listed("?state=due")[0].ID)
	require.Contains(t, s.listed("?state=due")[0].Error, "give it back another way")
	history := s.whole(order).History
	require.Equal(t, "refund.bounced", history[len(history)-1].What)
	require.Contains(t, history[len(history)-1].Why, "did not reach the buyer")
	s.admin("POST", "/api/admin/refunds/"+due.ID+"/done", `{"reason":"a bank transfer"}`).is(200)
	s.tells(message("e4", seckill.Bounced, order, due.ID, thePrice, "CNY")).is(200)
	require.Equal(t, seckill.RefundDone, s.whole(order).Refunds[0].State, "a transfer by hand does not bounce at the provider")

	disputed := s.bought("bob", s.open.ID, 1)
	s.captured("p1", disputed, "pay bob", thePrice)
	for range 2 {
		s.tells(message("d1", seckill.Disputed, disputed, "pay bob", thePrice, "CNY")).is(200)
	}
	s.tells(message("d2", seckill.Disputed, disputed, "somebody else's", thePrice, "CNY")).is(200)
	require.Equal(t, 2, strings.Count(s.log.String(), "moves again"))
	w := s.whole(disputed)
	require.Equal(t, "payment.disputed", w.told()[len(w.told())-1])
	require.Equal(t, "disputed: d1", w.Payments[0].Note)
	require.Equal(t, seckill.Paid, w.State, "a person decides")
}

// The provider gave a refund back as two refunds of its own.
func TestARefundGivenBackTwiceRaisesAnAlarm(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	order, due := s.paidRefund("ann", `{"amount":500}`)
	tell := func(c seckill.Callback) seckill.Received {
		t.Helper()
		c.Provider, c.Type, c.Order, c.Amount, c.Currency, c.At = "shop", seckill.GivenBack, order, 500, "CNY", time.Now()
		r, err := s.store.Receive(t.Context(), c)
		require.NoError(t, err)
		return r
	}
	require.False(t, tell(seckill.Callback{Event: "by hand", Reference: "pay ann", Own: "re_1"}).Conflict, "the amount fits what is due")
	require.False(t, tell(seckill.Callback{Event: "again", Reference: "pay ann", Refund: due.ID, Own: "re_1"}).Conflict)
	require.True(t, tell(seckill.Callback{Event: "asked for", Reference: "pay ann", Refund: due.ID, Own: "re_2"}).Conflict)
	due.Given = "re_3"
	require.ErrorIs(t, s.store.RefundTried(t.Context(), due, true, 0, ""), seckill.ErrState)
	due.Given = "re_1"
	require.NoError(t, s.store.RefundTried(t.Context(), due, true, 0, ""))
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: thePrice, Refunded: 500, Held: thePrice - 500}, s.money(s.open.ID))
}

// Prices that the provider cannot move are refused before anybody can buy.
func TestAPriceThatTheProviderCannotMoveIsRefused(t *testing.T) {
	t.Parallel()
	s := newShop(t, "", func(c *payment.Config) { c.Provider = stripeOf(t) })
	make := func(price int64, currency string) *answer {
		return s.admin("POST", "/api/admin/sales", s.newSale(saleBody{"price": price, "currency": currency, "opens_at": time.Now().Add(time.Hour), "closes_at": time.Now().Add(2 * time.Hour)}))
	}
	for _, currency := range []string{"MGA", "KWD", "BHD", "JOD", "OMR", "TND"} {
		require.Contains(t, string(make(1205, currency).problem(422, "invalid_field").body), "stripe moves no less", currency)
		make(1200, currency).is(201)
	}
	make(1205, "JPY").is(201)
	var sale seckill.Sale
	make(1205, "CNY").is(201).into(&sale)
	s.admin("PATCH", s.adminPath(sale.ID, ""), `{"currency":"KWD"}`).problem(422, "invalid_field")
	s.admin("PATCH", s.adminPath(sale.ID, ""), `{"currency":"KWD","price":1200}`).is(200)
}

// A repeat of a part with the same key is the same refund; without one it is another.
func TestTheSameKeyIsTheSameRefund(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	order := s.bought("ann", s.open.ID, 1)
	s.captured("paid", order, "pay", thePrice)
	refund := func(key, body string) *answer {
		return s.do(call{method: "POST", path: "/api/admin/orders/" + order + "/refund", body: body, token: token(t, adminName, seckill.RoleAdmin), header: []string{"Content-Type", jsonHeader, "Idempotency-Key", key}})
	}
	for range 2 {
		refund("key 1", `{"amount":5}`).is(200)
	}
	require.Len(t, s.whole(order).Refunds, 1)
	refund("key 1", `{"amount":6}`).problem(409, "state")
	refund("key 1", `{"amount":5,"id":"another"}`).problem(422, "invalid_field")
	refund("key 2", `{"amount":5,"id":"key 2"}`).is(200)
	require.Len(t, s.whole(order).Refunds, 2)
}

// A refund that was told without its payment is listed and can be ended; if the payment is
// told after all, it is entered.
func TestARefundOfNoPaymentCanBeEnded(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	order := s.bought("ann", s.open.ID, 1)
	for i := range 3 {
		s.tells(message(fmt.Sprint("early ", i), seckill.GivenBack, order, fmt.Sprint("pay ", i), thePrice, "CNY")).is(200)
	}
	require.Empty(t, s.listed(""))
	early := s.listed("?state=early")
	require.Len(t, early, 3)
	i := slices.IndexFunc(early, func(f seckill.Refund) bool { return f.ID == "early 0" })
	require.Equal(t, []any{"pay 0", order, int64(thePrice), seckill.RefundEarly}, []any{early[i].Reference, early[i].Order, early[i].Amount, early[i].State})
	for range 2 {
		var f seckill.Refund
		s.admin("POST", "/api/admin/refunds/early%200/done", `{"reason":"of another shop"}`).is(200).into(&f)
		require.Equal(t, seckill.RefundForeign, f.State)
	}
	require.Len(t, s.listed("?state=early"), 2)
	s.captured("paid", order, "pay 0", thePrice)
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: thePrice, Refunded: thePrice}, s.money(s.open.ID))
	s.admin("POST", "/api/admin/refunds/early%200/done", `{"reason":"again"}`).problem(404, "not_found")
}
