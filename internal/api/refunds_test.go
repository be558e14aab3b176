package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"seckill"
)

// shopServer is a shop that is asked for refunds.
type shopServer struct {
	mu    sync.Mutex
	asked map[string]int // how often, by the refund's id
	fail  int            // so many answers first are 500
	*httptest.Server
}

func newShopServer(t testing.TB) *shopServer {
	s := &shopServer{asked: map[string]int{}}
	hook, err := webhooks.NewWebhook(shopSecret)
	require.NoError(t, err)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Refund string }
		b := make([]byte, 4096)
		n, _ := r.Body.Read(b)
		if hook.Verify(b[:n], r.Header) != nil || json.Unmarshal(b[:n], &body) != nil || body.Refund != r.Header.Get("webhook-id") {
			w.WriteHeader(401)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked[body.Refund]++
		if s.fail--; s.fail >= 0 {
			w.WriteHeader(500)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestRefundsWholeAndInPart(t *testing.T) {
	t.Parallel()
	shop := newShopServer(t)
	shop.fail = 1
	s := newShop(t, shop.URL)
	id := s.create(saleBody{"total": 10, "limit_per_buyer": 3}).ID
	buy := func(buyer string) string {
		order := s.bought(buyer, id, 3)
		s.captured("paid "+order, order, "pay "+order, 3*thePrice)
		return order
	}
	refund := func(order, body string) (o seckill.Order) {
		t.Helper()
		s.admin("POST", "/api/admin/orders/"+order+"/refund", body).is(200).into(&o)
		return o
	}
	part := buy("part")
	s.atTheGate(id, 7)
	o := refund(part, `{"id":"one","units":1,"reason":"broken"}`)
	require.Equal(t, []any{seckill.Paid, int64(thePrice), 1}, []any{o.State, o.RefundedAmount, o.ReturnedUnits})
	refund(part, `{"id":"one","units":1}`) // a repeat
	s.admin("POST", "/api/admin/orders/"+part+"/refund", `{"id":"one","units":2}`).problem(409, "state")
	s.admin("POST", "/api/admin/orders/"+part+"/refund", `{"id":"one"}`).problem(409, "state")
	s.atTheGate(id, 8)
	o = refund(part, `{"id":"scrapped","units":1,"restock":false}`)
	require.Equal(t, 2, o.ReturnedUnits)
	s.atTheGate(id, 8)
	require.EqualValues(t, 9, s.sale(id).Total, "a unit that is not sold again leaves the sale")
	o = refund(part, `{"id":"sorry","amount":100}`)
	require.Equal(t, []any{int64(2*thePrice + 100), 2}, []any{o.RefundedAmount, o.ReturnedUnits})
	s.admin("POST", "/api/admin/orders/"+part+"/refund", fmt.Sprintf(`{"amount":%d}`, thePrice)).problem(409, "state")
	s.as("part", "POST", ticketPath(id), `{"quantity":3}`).is(202) // the same ticket still
	o = refund(part, "")
	require.Equal(t, []any{seckill.Refunded, int64(3 * thePrice), 3}, []any{o.State, o.RefundedAmount, o.ReturnedUnits})
	s.atTheGate(id, 9)

	scrapped := buy("scrapped")
	s.atTheGate(id, 6)
	refund(scrapped, `{"restock":false,"reason":"lost"}`)
	require.EqualValues(t, 6, s.sale(id).Total)
	require.Eventually(t, func() bool { return s.as("scrapped", "POST", ticketPath(id), "").status == 202 }, 20*time.Second, 10*time.Millisecond, "the buyer is free again")
	require.NotEqual(t, scrapped, s.outcome("scrapped", id).Order)
	require.JSONEq(t, `{"ok":true,"total":6,"gate":5,"pending":0,"active":1,"returning":0,"violations":[]}`, s.audit(id))

	var ledger struct {
		Items []seckill.Entry
		Next  string
	}
	s.admin("GET", s.adminPath(id, "ledger?limit=1"), "").is(200).into(&ledger)
	require.Equal(t, []any{"stock.moved", int64(-3), id}, []any{ledger.Items[0].What, ledger.Items[0].Units, ledger.Items[0].Sale})
	require.Contains(t, ledger.Items[0].Why, scrapped)
	s.admin("GET", s.adminPath(id, "ledger?cursor="+ledger.Next), "").is(200).into(&ledger)
	require.Len(t, ledger.Items, 1)
	require.EqualValues(t, -1, ledger.Items[0].Units)
	for _, bad := range []string{"?cursor=x", "?cursor=0", "?limit=0"} {
		s.admin("GET", s.adminPath(id, "ledger"+bad), "").problem(422, "invalid_field")
	}
	s.admin("GET", s.adminPath(99999, "ledger"), "").problem(404, "not_found")

	t.Log("the shop is asked until it confirms, with the same id")
	w := s.whole(part)
	require.Len(t, w.Refunds, 4)
	require.Eventually(t, func() bool {
		shop.mu.Lock()
		defer shop.mu.Unlock()
		return len(shop.asked) == 5
	}, 20*time.Second, 10*time.Millisecond)
	for _, r := range append(w.Refunds, s.whole(scrapped).Refunds...) {
		require.Equal(t, seckill.RefundDue, r.State)
		s.tells(message("back "+r.ID, seckill.GivenBack, r.Order, r.ID, r.Amount, "CNY")).is(200)
		s.tells(message("back again "+r.ID, seckill.GivenBack, r.Order, r.ID, r.Amount, "CNY")).is(200)
	}
	require.Equal(t, seckill.Money{Currency: "CNY", Captured: 6 * thePrice, Refunded: 6 * thePrice}, s.money(id))
	require.Equal(t, []string{"order.placed", "payment.captured", "order.paid", "refund.due", "refund.due", "refund.due", "refund.due", "order.refunded", "refund.done", "refund.done", "refund.done", "refund.done"}, s.whole(part).told())
}
