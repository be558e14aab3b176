package app

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
)

// With the provider "test" a buyer pays at its page, or lets the payment fail, without a
// script; with another provider there is no such page.
func TestTheTestProvidersPageIsServed(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	c.Auth.Secret = "an-app-test-of-the-money-7KQ2XJ5ZB3M4N6P8"
	n, stop := node(t, c)
	ctx := t.Context()
	now := time.Now()
	sale, err := n.store.CreateSale(ctx, seckill.Sale{Title: "a sale", Price: 9900, Currency: "CNY", Total: 10, LimitPerBuyer: 5, OpensAt: now, ClosesAt: now.Add(time.Hour), HoldSeconds: 600})
	require.NoError(t, err)
	ticket := seckill.Ticket{ID: seckill.NewTicketID(now), Sale: sale.ID, Buyer: "ann", Quantity: 1, Seq: 1, At: time.Now()}
	_, err = n.store.Settle(ctx, []seckill.Ticket{ticket})
	require.NoError(t, err)
	token, err := account.Mint([]byte(c.Auth.Secret), "ann", "", time.Hour)
	require.NoError(t, err)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	at, err := url.Parse(n.URL())
	require.NoError(t, err)
	jar.SetCookies(at, []*http.Cookie{{Name: "seckill_session", Value: token}})
	browser := &http.Client{Jar: jar}
	page := n.URL() + "/pay/test/" + ticket.ID
	read := func(r *http.Response, err error) string {
		t.Helper()
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, 200, r.StatusCode, "%s", b)
		return string(b)
	}
	require.Contains(t, read(browser.Get(page)), "99.00 CNY")
	require.Contains(t, read(http.Get(page)), "data-t=\"title.login\"", "who is nobody logs in first")
	for range 2 {
		require.Contains(t, read(browser.PostForm(page, url.Values{"answer": {"fail"}})), "支付失败")
	}
	require.Contains(t, read(browser.PostForm(page, url.Values{"answer": {"pay"}})), "title.order", "and goes back to the order")
	o, err := n.store.AnyOrder(ctx, ticket.ID)
	require.NoError(t, err)
	require.Equal(t, seckill.Paid, o.State)
	history, err := n.store.History(ctx, ticket.ID, 10)
	require.NoError(t, err)
	var what []string
	for _, e := range history {
		what = append(what, e.What)
	}
	require.Equal(t, "payment.failed payment.captured order.paid", strings.Join(what, " "))
	require.NoError(t, stop())

	c = embedded(t)
	c.Payment.Provider, c.Payment.Secret = seckill.ProviderShop, "whsec_YW4gZXhhbXBsZSBhbmQgbm90IGEgc2VjcmV0IQ=="
	n, stop = node(t, c)
	require.Equal(t, 404, status(t, n.URL()+"/pay/test/"+ticket.ID))
	require.NoError(t, stop())
}

// Who took the money before, or the secret that is being changed, is believed in callbacks.
func TestAFormerProviderNeedsItsSecret(t *testing.T) {
	t.Parallel()
	const secret = "whsec_YW4gZXhhbXBsZSBhbmQgbm90IGEgc2VjcmV0IQ=="
	for _, c := range []struct {
		previous string
		secret   seckill.Secret
		want     string // the provider, empty for nobody, or what the error says
	}{
		{"", "", ""},
		{"", secret, seckill.ProviderShop},
		{seckill.ProviderShop, secret, seckill.ProviderShop},
		{seckill.ProviderStripe, "whsec_anything", seckill.ProviderStripe},
		{seckill.ProviderStripe, "", "payment.previous_secret (SECKILL_PAYMENT_PREVIOUS_SECRET) is not set"},
		{seckill.ProviderTest, secret, "must be shop or stripe"},
		{"", "short", "must be whsec_"},
	} {
		var config Config
		config.Payment.PreviousProvider, config.Payment.PreviousSecret = c.previous, c.secret
		former, err := config.former(seckill.ProviderShop)
		switch {
		case err != nil:
			require.ErrorContains(t, err, c.want)
			require.NotEmpty(t, c.want, "%v", err)
		case former == nil:
			require.Empty(t, c.want)
		default:
			require.Equal(t, c.want, former.Name())
		}
	}
}
