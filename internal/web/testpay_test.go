package web

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// The page says that nobody pays anything, in both languages and without a script, shows
// an order to its buyer only, and pays or lets the payment fail.
func TestTheTestProvidersPage(t *testing.T) {
	t.Parallel()
	id := seckill.NewTicketID(time.Now())
	o := seckill.Order{ID: id, Title: "<b>phone</b>", Quantity: 2, Amount: 19800, Currency: "CNY", State: seckill.Unpaid}
	var failed, paid int
	away, late := false, false
	h := WithTestPay(http.NotFoundHandler(), TestPay{
		Buyer: func(r *http.Request) (string, error) {
			if r.Header.Get("Who") == "" {
				return "", errors.New("nobody")
			}
			return r.Header.Get("Who"), nil
		},
		Order: func(_ context.Context, order, buyer string) (seckill.Order, error) {
			if away {
				return o, seckill.ErrUnavailable
			}
			if order != id || buyer != "ann" {
				return o, seckill.ErrNotFound
			}
			return o, nil
		},
		Pay: func(context.Context, string, string) (seckill.Order, error) {
			if late {
				return o, seckill.ErrState
			}
			paid++
			o.State = seckill.Paid
			return o, nil
		},
		Fail: func(context.Context, seckill.Order) error { failed++; return nil },
	})
	ask := func(method, who, order, form string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, testPayPath+order, strings.NewReader(form))
		if form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		r.Header.Set("Who", who)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := ask("GET", "ann", id, "")
	require.Equal(t, 200, w.Code)
	for _, part := range []string{"不会产生任何扣款", "198.00 CNY", "&lt;b&gt;phone", id, `value="pay"`, `value="fail"`, `method="post"`} {
		require.Contains(t, w.Body.String(), part)
	}
	require.NotContains(t, w.Body.String(), "<script")
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "form-action 'self'")
	require.Contains(t, ask("GET", "ann", id, "", "Accept-Language", "en").Body.String(), "nobody takes any money")

	w = ask("GET", "", id, "")
	require.Equal(t, 303, w.Code)
	require.Equal(t, "/login?next=%2Fpay%2Ftest%2F"+id, w.Header().Get("Location"))
	for _, bad := range []*httptest.ResponseRecorder{ask("GET", "bob", id, ""), ask("POST", "bob", id, "answer=pay"), ask("GET", "ann", "x", "")} {
		require.Equal(t, 404, bad.Code)
	}
	require.Equal(t, 403, ask("POST", "ann", id, "answer=pay", "Sec-Fetch-Site", "cross-site").Code)
	for _, form := range []string{"", "answer=", "answer=steal", "answer=pay" + strings.Repeat("x", 9<<10)} {
		require.Equal(t, 422, ask("POST", "ann", id, form).Code)
	}
	require.Equal(t, 404, ask("PUT", "ann", id, "").Code)
	require.Zero(t, paid+failed)

	w = ask("POST", "ann", id, "answer=fail")
	require.Equal(t, []int{200, 1}, []int{w.Code, failed})
	require.Contains(t, w.Body.String(), "支付失败，订单仍待支付")
	late = true
	w = ask("POST", "ann", id, "answer=pay")
	require.Equal(t, 409, w.Code)
	require.Contains(t, w.Body.String(), "支付时间已过")
	late = false
	w = ask("POST", "ann", id, "answer=pay")
	require.Equal(t, []any{303, "/order/detail/" + id, 1}, []any{w.Code, w.Header().Get("Location"), paid})
	w = ask("GET", "ann", id, "")
	require.NotContains(t, w.Body.String(), "<form")
	require.Equal(t, 200, ask("POST", "ann", id, "answer=fail").Code)
	require.Equal(t, 1, failed, "a paid order does not fail")
	away = true
	require.Equal(t, 503, ask("GET", "ann", id, "").Code)
}

func TestTheTestProvidersPageHasEveryWord(t *testing.T) {
	t.Parallel()
	zh, en := testPayWords["zh-CN"], testPayWords["en"]
	require.Len(t, en, len(zh))
	for key := range zh {
		require.NotEmpty(t, en[key], key)
	}
	for _, m := range regexp.MustCompile(`\.W\.(\w+)`).FindAllStringSubmatch(testPayText, -1) {
		require.NotEmpty(t, zh[m[1]], m[1])
	}
	for _, state := range []seckill.OrderState{seckill.Unpaid, seckill.Paid, seckill.Cancelled, seckill.Expired, seckill.Refunded} {
		require.NotEmpty(t, zh[string(state)], state)
	}
}
