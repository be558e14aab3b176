package payment

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"seckill"
)

const (
	aSecret      = "whsec_c2hvcC1zZWNyZXQtb2YtdGhlc2UtdGVzdHM="
	beforeSecret = "whsec_dGhlIHNlY3JldCBvZiBiZWZvcmUgdGhpcw=="
)

// While a secret is changed what is sent has both signatures, and whoever knows either
// takes it.
func TestWhatIsSentIsSignedWithBothSecrets(t *testing.T) {
	t.Parallel()
	var taken [2]error
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(body)
		for i, secret := range []string{aSecret, beforeSecret} {
			hook, err := webhooks.NewWebhook(secret)
			taken[i] = errors.Join(err, hook.Verify(body, r.Header))
		}
	}))
	defer server.Close()
	shop, err := NewShop(aSecret, "", server.URL, "")
	require.NoError(t, err)
	former, err := NewFormer(seckill.ProviderShop, beforeSecret)
	require.NoError(t, err)
	ask := func() {
		t.Helper()
		_, err := shop.Refund(t.Context(), seckill.Refund{ID: "r", Order: anOrder.ID, Amount: 5, Currency: "CNY"})
		require.NoError(t, err)
	}
	ask()
	require.NoError(t, taken[0])
	require.Error(t, taken[1])
	shop, err = NewShop(aSecret, "", server.URL, "", former.(*Shop))
	require.NoError(t, err)
	ask()
	require.NoError(t, errors.Join(taken[:]...))
	_, err = NewSigners(aSecret, "whsec_short")
	require.Error(t, err)
	all, err := NewSigners(aSecret, "")
	require.NoError(t, err)
	require.Len(t, all.hooks, 1)
}

// A signed request is for the address that it was made for.
func TestAShopsRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	shop, err := NewShop(aSecret, "", server.URL, "")
	require.NoError(t, err)
	_, err = shop.Refund(t.Context(), seckill.Refund{ID: "r", Order: anOrder.ID, Amount: 5, Currency: "CNY"})
	require.ErrorContains(t, err, "307")
	require.Zero(t, elsewhere.Load())
}

// What cannot be called is not named with its whole address: that may carry a secret, and
// operators see why a refund waits.
func TestAShopThatIsAwayShowsNoSecret(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	shop, err := NewShop(aSecret, "", closed.URL+"/?key=hush", closed.URL+"/statement?key=hush")
	require.NoError(t, err)
	_, err = shop.Refund(t.Context(), seckill.Refund{ID: "r", Order: anOrder.ID, Amount: 5, Currency: "CNY"})
	require.ErrorContains(t, err, "the shop cannot be reached: dial tcp")
	require.NotContains(t, err.Error(), "hush")
	_, err = shop.Statement(t.Context(), time.Now(), time.Now())
	require.ErrorContains(t, err, "the shop cannot be reached: dial tcp")
	require.NotContains(t, err.Error(), "hush")
}

// What a spreadsheet would take for a formula is text, whoever wrote it.
func TestBooksHoldNoFormulas(t *testing.T) {
	t.Parallel()
	b := Books{Items: []seckill.Booking{{Kind: "refund", Reference: "=1", Refund: "=cmd|' /C calc'!A0", Order: "+1", Amount: -5, Currency: "CNY"}}}
	for _, field := range b.CSV()[1] {
		require.False(t, strings.HasPrefix(field, "=") || strings.HasPrefix(field, "+"), field)
	}
}

// lines is a store of late payments and of checkouts of ended orders.
type lines struct {
	Store
	late  []seckill.Payment
	open  []seckill.Checkout
	ended []string
}

func (l *lines) LatePayments(_ context.Context, after seckill.PaymentCursor, max int) ([]seckill.Payment, error) {
	from := 0
	if after.Reference != "" {
		from = 1 + slices.IndexFunc(l.late, func(p seckill.Payment) bool { return p.Reference == after.Reference })
	}
	return l.late[from:min(from+max, len(l.late))], nil
}

func (l *lines) Retake(_ context.Context, late seckill.Payment, order, _ string) (bool, error) {
	if order != "" {
		return false, seckill.ErrState
	}
	l.ended = append(l.ended, late.Reference)
	return false, nil
}

func (l *lines) Outcome(_ context.Context, _ seckill.SaleID, _, ticket string) (o seckill.Outcome, err error) {
	if ticket != "" {
		return o, seckill.ErrNotFound
	}
	return o, nil // the order that had ended
}

func (l *lines) EndedCheckouts(_ context.Context, _ seckill.Provider, after string, max int) (some []seckill.Checkout, err error) {
	for _, c := range l.open {
		if c.ID > after && len(some) < max {
			some = append(some, c)
		}
	}
	return some, nil
}

func (l *lines) CheckoutClosed(_ context.Context, id string) error {
	l.open = slices.DeleteFunc(l.open, func(c seckill.Checkout) bool { return c.ID == id })
	return nil
}

// stuckGate holds the units of sale 1 for ever, and sale 2 is over.
type stuckGate struct{}

func (stuckGate) Reserve(_ context.Context, sale seckill.SaleID, _ string, _ int) (seckill.Answer, error) {
	if sale == 2 {
		return seckill.Answer{Verdict: seckill.SoldOut}, nil
	}
	return seckill.Answer{Verdict: seckill.Queued, Ticket: "waits"}, nil
}

func (stuckGate) Find(context.Context, seckill.SaleID, string, string) (seckill.Progress, error) {
	return seckill.Progress{}, seckill.ErrNoTicket
}

// Late payments that cannot proceed, a batch of them, keep no newer one waiting.
func TestStuckLatePaymentsKeepNoOtherWaiting(t *testing.T) {
	t.Parallel()
	l := &lines{}
	for i := range dutyBatch {
		l.late = append(l.late, seckill.Payment{Reference: "stuck " + string(rune('!'+i)), Sale: 1, SeenAt: time.UnixMilli(int64(i))})
	}
	l.late = append(l.late, seckill.Payment{Reference: "newer", Sale: 2, SeenAt: time.UnixMilli(1000)})
	p := New(Config{Store: l, Gate: stuckGate{}, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	for range 2 {
		_, err := p.retake(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, []string{"newer"}, l.ended)
	require.Zero(t, p.lateAfter, "and those come again")
}

// changed is a sale that gave a late payment's buyer a ticket and has changed since.
type changed struct {
	Store
	says    seckill.Verdict // to a new request
	settled bool
	paid    string // the order that the late payment pays
	back    string // or why it goes back
}

var oneLate = seckill.Payment{Reference: "r", Order: "ended", Sale: 1, Buyer: "ann", Quantity: 1}

func (c *changed) LatePayments(context.Context, seckill.PaymentCursor, int) ([]seckill.Payment, error) {
	return []seckill.Payment{oneLate}, nil
}

func (c *changed) Reserve(context.Context, seckill.SaleID, string, int) (seckill.Answer, error) {
	return seckill.Answer{Verdict: c.says}, nil
}

func (c *changed) Find(context.Context, seckill.SaleID, string, string) (seckill.Progress, error) {
	return seckill.Progress{Outcome: seckill.Outcome{Ticket: seckill.Ticket{ID: "new"}}, Final: c.settled}, nil
}

func (c *changed) Outcome(_ context.Context, _ seckill.SaleID, _, ticket string) (o seckill.Outcome, err error) {
	if !c.settled {
		return o, seckill.ErrNotFound
	}
	o.Ticket.ID = ticket
	return o, nil
}

func (c *changed) Retake(_ context.Context, _ seckill.Payment, order, why string) (bool, error) {
	if c.paid = order; order == "" {
		c.back = why
	}
	return order != "", nil
}

// The ticket that the gate gave for a late payment is what pays, even if nobody gets one
// any more by the time its outcome is known.
func TestALatePaymentKeepsTheTicketThatItGot(t *testing.T) {
	t.Parallel()
	for _, says := range []seckill.Verdict{seckill.Paused, seckill.Ended, seckill.SoldOut} {
		c := &changed{says: says}
		p := New(Config{Store: c, Gate: c, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
		_, err := p.retake(t.Context())
		require.NoError(t, err)
		require.Empty(t, c.paid+c.back, "%s: it waits for the outcome", says)
		c.settled = true
		_, err = p.retake(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"new", ""}, []string{c.paid, c.back}, says.String())
	}
}

// endless is a provider at which one session cannot be ended.
type endless struct{ Provider }

func (endless) Name() seckill.Provider { return seckill.ProviderStripe }

func (endless) End(_ context.Context, session string) error {
	if session == "broken" {
		return errors.New("the provider does not know why")
	}
	return nil
}

func TestASessionThatCannotBeEndedKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	l := &lines{open: []seckill.Checkout{{ID: "a", Session: "broken"}, {ID: "b", Session: "cs_1"}}}
	p := New(Config{Store: l, Provider: endless{}, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	n, err := p.end(t.Context())
	require.Error(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []seckill.Checkout{{ID: "a", Session: "broken"}}, l.open)
	n, err = p.end(t.Context())
	require.Error(t, err, "it is tried again")
	require.Zero(t, n)
}

// A call to the provider fits into a lease: else one that is slow would be cut off before it
// is noted, and asked for again for ever.
func TestACallFitsIntoALease(t *testing.T) {
	t.Parallel()
	require.Less(t, refundTime, dutyTime)
	require.Less(t, startTime, dutyTime)
}
