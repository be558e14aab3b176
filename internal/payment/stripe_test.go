package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v84/webhook"

	"seckill"
)

const stripeSecret = "whsec_of_these_tests"

var anOrder = seckill.Order{ID: "1K757LBJ8K7QX2MZB4TWJ5RVCA", Title: "Mechanical keyboard", Price: 9900, Quantity: 2, Amount: 19800, Currency: "CNY"}

// fakeStripe keeps what Stripe keeps: refunds by payment, and idempotency keys until
// they are forgotten.
type fakeStripe struct {
	mu       sync.Mutex
	keys     map[string]string // idempotency key → answer, errors included
	fails    int               // so many new requests that make something are answered with 500
	params   map[string]string // idempotency key → what was asked
	ended    []string          // sessions
	away     bool
	refunds  []map[string]any
	sessions []url.Values
	status   string // of new refunds
	*httptest.Server
}

func newFakeStripe(t *testing.T) (*fakeStripe, *Stripe) {
	f := &fakeStripe{keys: map[string]string{}, params: map[string]string{}, status: "succeeded"}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	s, err := newStripe("sk_test_x", stripeSecret, "https://shop.example/order/detail/{order}", &f.URL)
	require.NoError(t, err)
	return f, s
}

func (f *fakeStripe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.ParseForm()
	w.Header().Set("Content-Type", "application/json")
	key := r.Header.Get("Idempotency-Key")
	if was, ok := f.keys[key]; ok && r.Method == http.MethodPost {
		if params := f.params[key]; params != r.PostForm.Encode() {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":{"type":"idempotency_error","message":"Keys for idempotent requests can only be used with the same parameters they were first used with."}}`)
			return
		}
		if strings.Contains(was, `"error"`) {
			w.WriteHeader(500)
		}
		fmt.Fprint(w, was)
		return
	}
	if r.Method == http.MethodPost && f.fails > 0 && !strings.HasSuffix(r.URL.Path, "/expire") {
		f.fails--
		f.keys[key], f.params[key] = `{"error":{"type":"api_error"}}`, r.PostForm.Encode()
		w.WriteHeader(500)
		fmt.Fprint(w, f.keys[key])
		return
	}
	var answer any
	switch r.Method + " " + r.URL.Path {
	case "POST /v1/checkout/sessions":
		f.sessions = append(f.sessions, r.PostForm)
		answer = map[string]any{"id": fmt.Sprint("cs_", len(f.sessions)), "object": "checkout.session", "url": fmt.Sprint("https://checkout.stripe.com/c/", len(f.sessions))}
	case "GET /v1/payment_intents/pi_1":
		answer = map[string]any{"id": "pi_1", "object": "payment_intent", "metadata": map[string]string{"seckill_order": anOrder.ID}}
	case "GET /v1/payment_intents/pi_2":
		answer = map[string]any{"id": "pi_2", "object": "payment_intent", "metadata": map[string]string{}}
	case "POST /v1/refunds":
		refund := map[string]any{"id": fmt.Sprint("re_", len(f.refunds)+1), "object": "refund", "status": f.status, "payment_intent": r.PostForm.Get("payment_intent"), "currency": "cny",
			"amount": json.Number(r.PostForm.Get("amount")), "created": time.Now().Unix(), "metadata": map[string]string{"seckill_refund": r.PostForm.Get("metadata[seckill_refund]"), "seckill_order": r.PostForm.Get("metadata[seckill_order]")}}
		f.refunds = append(f.refunds, refund)
		answer = refund
	case "GET /v1/refunds":
		var some []map[string]any
		for _, v := range f.refunds {
			if pi := r.Form.Get("payment_intent"); pi == "" || v["payment_intent"] == pi {
				some = append(some, v)
			}
		}
		answer = map[string]any{"object": "list", "data": some, "has_more": false, "url": "/v1/refunds"}
	case "GET /v1/charges":
		if r.Form.Get("payment_intent") == "pi_unknown" {
			w.WriteHeader(404)
			fmt.Fprint(w, `{"error":{"type":"invalid_request_error","code":"resource_missing"}}`)
			return
		}
		answer = map[string]any{"object": "list", "has_more": false, "url": "/v1/charges", "data": []map[string]any{
			{"id": "ch_1", "object": "charge", "captured": true, "status": "succeeded", "amount_captured": 19800, "currency": "cny", "created": time.Now().Unix(), "payment_intent": "pi_1", "metadata": map[string]string{"seckill_order": anOrder.ID}},
			{"id": "ch_2", "object": "charge", "captured": true, "status": "succeeded", "amount_captured": 5, "currency": "cny", "created": time.Now().Unix(), "payment_intent": "pi_2", "metadata": map[string]string{}},
		}}
	default:
		session, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v1/checkout/sessions/"), "/expire")
		switch {
		case !ok:
			w.WriteHeader(404)
			return
		case f.away:
			w.WriteHeader(503)
			fmt.Fprint(w, `{"error":{"type":"api_error"}}`)
			return
		case session == "cs_paid":
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":{"type":"invalid_request_error","message":"Only Checkout Sessions with a status in [\"open\"] can be expired."}}`)
			return
		}
		f.ended = append(f.ended, session)
		answer = map[string]any{"id": session, "object": "checkout.session", "status": "expired"}
	}
	b, _ := json.Marshal(answer)
	if key != "" {
		f.keys[key], f.params[key] = string(b), r.PostForm.Encode()
	}
	w.Write(b)
}

func TestStripeStartsOnePaymentForACheckout(t *testing.T) {
	t.Parallel()
	f, s := newFakeStripe(t)
	checkout := seckill.NewTicketID(time.Now().Add(-10 * time.Minute))
	for range 3 {
		at, session, err := s.Start(t.Context(), anOrder, checkout)
		require.NoError(t, err)
		require.Equal(t, "cs_1", session)
		require.Equal(t, "https://checkout.stripe.com/c/1", at)
	}
	require.Len(t, f.sessions, 1)
	got := f.sessions[0]
	require.Equal(t, []string{anOrder.ID, "payment", "2", "9900", "cny", anOrder.ID, "https://shop.example/order/detail/" + anOrder.ID}, []string{got.Get("client_reference_id"), got.Get("mode"),
		got.Get("line_items[0][quantity]"), got.Get("line_items[0][price_data][unit_amount]"), got.Get("line_items[0][price_data][currency]"), got.Get("payment_intent_data[metadata][seckill_order]"), got.Get("success_url")})
}

// A session has the same end however late it is started, at least half an hour away.
func TestAStripeSessionEndsWithinAnHour(t *testing.T) {
	t.Parallel()
	f, s := newFakeStripe(t)
	for _, ago := range []time.Duration{0, 15 * time.Minute, 29 * time.Minute} {
		began := time.Now()
		_, _, err := s.Start(t.Context(), anOrder, seckill.NewTicketID(began.Add(-ago)))
		require.NoError(t, err)
		var ends int64
		fmt.Sscan(f.sessions[len(f.sessions)-1].Get("expires_at"), &ends)
		left := time.Unix(ends, 0).Sub(began)
		require.True(t, left >= 30*time.Minute-time.Second && left <= time.Hour, "%v ago: %v left", ago, left)
	}
}

// Stripe answers a request with its first answer again, for a day and longer, also when
// that was an error.
func TestAnErrorOfStripeIsNotForEver(t *testing.T) {
	t.Parallel()
	f, s := newFakeStripe(t)
	f.fails = 1
	r := seckill.Refund{ID: "refund-1", Order: anOrder.ID, Reference: "pi_1", Amount: 500, Currency: "CNY"}
	_, err := s.Refund(t.Context(), r)
	require.Error(t, err)
	given, err := s.Refund(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, "re_1", given)
	require.Len(t, f.refunds, 1)

	f.mu.Lock()
	f.fails = 1
	f.mu.Unlock()
	store := &oneOrder{}
	p := New(Config{Store: store, Provider: s, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	_, _, err = p.Pay(t.Context(), anOrder.ID, "ann")
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	_, c, err := p.Pay(t.Context(), anOrder.ID, "ann")
	require.NoError(t, err)
	require.NotEmpty(t, c.URL)
	require.Len(t, store.all, 2, "the first checkout is closed, another one is made")
}

// A session that has ended at Stripe, or that Stripe would not start any more, is not
// handed out.
func TestADeadSessionIsNotHandedOut(t *testing.T) {
	t.Parallel()
	_, s := newFakeStripe(t)
	for _, c := range []struct {
		url  string
		age  time.Duration
		same bool
	}{{"https://checkout.stripe.com/c/0", 58 * time.Minute, true}, {"https://checkout.stripe.com/c/0", 60 * time.Minute, false}, {"", 28 * time.Minute, true}, {"", 30 * time.Minute, false}} {
		store := &oneOrder{all: []seckill.Checkout{{ID: seckill.NewTicketID(time.Now().Add(-c.age)), URL: c.url}}}
		p := New(Config{Store: store, Provider: s, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
		_, got, err := p.Pay(t.Context(), anOrder.ID, "ann")
		require.NoError(t, err)
		require.Equal(t, c.same, got.ID == store.all[0].ID, "%v", c)
	}
}

// oneOrder is a store of one order's checkouts.
type oneOrder struct {
	Store
	all    []seckill.Checkout
	closed []string
}

func (s *oneOrder) Checkout(_ context.Context, _, _ string, _ seckill.Provider, id string, _ time.Duration) (seckill.Order, *seckill.Checkout, error) {
	for _, c := range s.all {
		if !slices.Contains(s.closed, c.ID) {
			return anOrder, &c, nil
		}
	}
	c := seckill.Checkout{ID: id}
	s.all = append(s.all, c)
	return anOrder, &c, nil
}

func (s *oneOrder) CheckoutAt(context.Context, string, string, string) error { return nil }

func (s *oneOrder) CheckoutClosed(_ context.Context, id string) error {
	s.closed = append(s.closed, id)
	return nil
}

// checkouts is a store of ended orders whose checkouts are open.
type checkouts struct {
	Store
	open []seckill.Checkout
}

func (c *checkouts) EndedCheckouts(context.Context, seckill.Provider, string, int) ([]seckill.Checkout, error) {
	return slices.Clone(c.open), nil
}

func (c *checkouts) CheckoutClosed(_ context.Context, id string) error {
	c.open = slices.DeleteFunc(c.open, func(v seckill.Checkout) bool { return v.ID == id })
	return nil
}

// When its order has ended a session is ended at Stripe, however often that takes; one that
// was paid meanwhile is left.
func TestSessionsOfEndedOrdersAreEnded(t *testing.T) {
	t.Parallel()
	f, s := newFakeStripe(t)
	store := &checkouts{open: []seckill.Checkout{{ID: "a", Session: "cs_paid"}, {ID: "b", Session: "cs_1"}, {ID: "c", Session: "cs_2"}}}
	p := &Payments{Config: Config{Store: store, Provider: s}}
	f.away = true
	_, err := p.end(t.Context())
	require.Error(t, err)
	require.Len(t, store.open, 3)
	f.mu.Lock()
	f.away = false
	f.mu.Unlock()
	n, err := p.end(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, []string{"cs_1", "cs_2"}, f.ended)
	require.Empty(t, store.open)
	p.Provider = Test{}
	n, err = p.end(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestStripeGivesBackOnceForEachID(t *testing.T) {
	t.Parallel()
	f, s := newFakeStripe(t)
	r := seckill.Refund{ID: "refund-1", Order: anOrder.ID, Reference: "pi_1", Amount: 500, Currency: "CNY"}
	f.status = "pending"
	given, err := s.Refund(t.Context(), r)
	require.NoError(t, err)
	require.Empty(t, given, "a callback, or another look, says when it is done")
	f.mu.Lock()
	f.keys = map[string]string{} // Stripe forgets them
	f.refunds[0]["status"] = "succeeded"
	f.mu.Unlock()
	given, err = s.Refund(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, "re_1", given)
	require.Len(t, f.refunds, 1)
	f.refunds[0]["status"] = "failed"
	_, err = s.Refund(t.Context(), r)
	require.ErrorContains(t, err, "give the money back another way")

	all, err := s.Statement(t.Context(), time.Now().Add(-time.Hour), time.Now())
	require.NoError(t, err)
	require.Len(t, all, 1, "charges that are not for us are left out, and refunds that failed")
	f.mu.Lock()
	for i, order := range []string{anOrder.ID, ""} { // made at Stripe, of our payment and of somebody else's
		f.refunds = append(f.refunds, map[string]any{"id": fmt.Sprint("re_hand_", i), "object": "refund", "status": "succeeded", "payment_intent": fmt.Sprint("pi_", i+1), "currency": "cny", "amount": 5, "created": time.Now().Unix(),
			"charge": map[string]any{"id": fmt.Sprint("ch_", i+1), "object": "charge", "metadata": map[string]string{"seckill_order": order}}})
	}
	f.mu.Unlock()
	all, err = s.Statement(t.Context(), time.Now().Add(-time.Hour), time.Now())
	require.NoError(t, err)
	require.Len(t, all, 2, "and refunds of them")
	require.Equal(t, []any{"pi_1", anOrder.ID, int64(-5)}, []any{all[1].Reference, all[1].Order, all[1].Amount})
	singles, err := s.StatementOf(t.Context(), []string{"pi_1", "pi_unknown"})
	require.NoError(t, err)
	require.Len(t, singles, 2)
	for i := range singles {
		singles[i].At = all[i].At
	}
	require.Equal(t, all, singles)
	require.Equal(t, []any{"pi_1", anOrder.ID, int64(19800), "CNY"}, []any{all[0].Reference, all[0].Order, all[0].Amount, all[0].Currency})
}

func TestStripesEventsAreVerifiedAndRead(t *testing.T) {
	t.Parallel()
	_, s := newFakeStripe(t)
	signed := func(body string, at time.Time, secret string) http.Header {
		p := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: at})
		return http.Header{"Stripe-Signature": {p.Header}}
	}
	event := func(kind, object string) string {
		return fmt.Sprintf(`{"id":"evt_1","object":"event","type":%q,"created":1795355596,"data":{"object":%s}}`, kind, object)
	}
	session := `{"id":"cs_1","object":"checkout.session","client_reference_id":"` + anOrder.ID + `","payment_status":"paid","payment_intent":"pi_1","amount_total":19800,"currency":"cny"}`
	paid := event("checkout.session.completed", session)
	now := time.Now()
	c, err := s.Verify(signed(paid, now, stripeSecret), []byte(paid))
	require.NoError(t, err)
	require.Equal(t, seckill.Callback{Event: "evt_1", Type: seckill.Captured, Order: anOrder.ID, Reference: "pi_1", Session: "cs_1", Amount: 19800, Currency: "CNY", At: time.Unix(1795355596, 0).UTC()}, c)
	for name, h := range map[string]http.Header{"another secret": signed(paid, now, "whsec_x"), "old": signed(paid, now.Add(-6*time.Minute), stripeSecret), "none": {}, "another body": signed(paid+" ", now, stripeSecret)} {
		_, err := s.Verify(h, []byte(paid))
		require.ErrorIs(t, err, ErrSignature, name)
	}
	for kind, c := range map[string]struct {
		object string
		want   seckill.CallbackType
	}{
		"checkout.session.expired":                 {session, seckill.Failed},
		"checkout.session.async_payment_failed":    {session, seckill.Failed},
		"checkout.session.async_payment_succeeded": {session, seckill.Captured},
		"refund.failed":                            {`{"id":"re_1","object":"refund","status":"failed","payment_intent":"pi_1","amount":500,"currency":"cny","metadata":{"seckill_refund":"r1"}}`, seckill.Bounced},
		"charge.refund.updated":                    {`{"id":"re_1","object":"refund","status":"canceled","payment_intent":"pi_1","amount":500,"currency":"cny"}`, seckill.Bounced},
		"charge.dispute.created":                   {`{"id":"dp_1","object":"dispute","status":"needs_response","payment_intent":"pi_1","amount":500,"currency":"cny"}`, seckill.Disputed},
		"charge.dispute.funds_withdrawn":           {`{"id":"dp_1","object":"dispute","status":"needs_response","payment_intent":"pi_1","amount":500,"currency":"cny"}`, seckill.Disputed},
		"charge.dispute.closed":                    {`{"id":"dp_1","object":"dispute","status":"lost","payment_intent":"pi_1","amount":500,"currency":"cny"}`, seckill.Disputed},
		"charge.dispute.updated":                   {`{"id":"dp_1","object":"dispute","status":"under_review","payment_intent":"pi_1","amount":500,"currency":"cny"}`, seckill.Irrelevant},
		"refund.updated":                           {`{"id":"re_1","object":"refund","status":"succeeded","payment_intent":"pi_1","amount":500,"currency":"cny","metadata":{"seckill_refund":"r1"}}`, seckill.GivenBack},
		"refund.created":                           {`{"id":"re_1","object":"refund","status":"pending","payment_intent":"pi_1","amount":500,"currency":"cny"}`, seckill.Irrelevant},
		"customer.created":                         {`{"id":"cus_1","object":"customer"}`, seckill.Irrelevant},
	} {
		body := event(kind, c.object)
		got, err := s.Verify(signed(body, now, stripeSecret), []byte(body))
		require.NoError(t, err, kind)
		require.Equal(t, c.want, got.Type, kind)
		if got.Type != seckill.Irrelevant {
			require.NoError(t, got.Validate(), kind)
		}
	}
	unpaid := event("checkout.session.completed", strings.Replace(session, `"paid"`, `"unpaid"`, 1))
	got, err := s.Verify(signed(unpaid, now, stripeSecret), []byte(unpaid))
	require.NoError(t, err)
	require.Equal(t, seckill.Irrelevant, got.Type, "the money is not there yet")
	for name, object := range map[string]string{
		"another product's reference": strings.Replace(session, anOrder.ID, "invoice 7", 1),
		"metadata of another order":   strings.Replace(session, `"id"`, `"metadata":{"seckill_order":"another"},"id"`, 1),
	} {
		body := event("checkout.session.completed", object)
		got, err := s.Verify(signed(body, now, stripeSecret), []byte(body))
		require.NoError(t, err)
		require.Equal(t, seckill.Irrelevant, got.Type, name)
	}
	body := event("checkout.session.completed", strings.Replace(session, `"id"`, `"metadata":{"seckill_order":"`+anOrder.ID+`"},"id"`, 1))
	got, err = s.Verify(signed(body, now, stripeSecret), []byte(body))
	require.NoError(t, err)
	require.Equal(t, seckill.Captured, got.Type)
	for currency, amount := range map[string]int64{"JPY": 900, "CNY": 900, "KWD": 900, "ISK": 90000, "UGX": 90000, "MGA": 9} {
		got, err := toStripe(900, currency)
		require.NoError(t, err)
		require.Equal(t, amount, got, currency)
		require.EqualValues(t, 900, fromStripe(amount, currency), currency)
	}
	for currency, amount := range map[string]int64{"MGA": 950, "KWD": 905, "TND": 1, "BHD": 11, "JOD": 12, "OMR": 13} {
		_, err := toStripe(amount, currency)
		require.ErrorContains(t, err, "multiples", currency)
		require.NotZero(t, amount%s.Step(currency), currency)
	}
}

// taking is a store that takes whatever it is told.
type taking struct {
	Store
	took []seckill.Callback
}

func (s *taking) Receive(_ context.Context, c seckill.Callback) (seckill.Received, error) {
	s.took = append(s.took, c)
	return seckill.Received{}, nil
}

// A refund that another product of the same account has made is none of ours.
func TestRefundsOfOthersAreIrrelevant(t *testing.T) {
	t.Parallel()
	_, s := newFakeStripe(t)
	store := &taking{}
	p := New(Config{Store: store, Provider: s, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	tell := func(payment, metadata string) error {
		body := fmt.Sprintf(`{"id":"evt_1","object":"event","type":"refund.updated","created":1795355596,"data":{"object":{"id":"re_1","object":"refund","status":"succeeded","payment_intent":%q,"amount":500,"currency":"cny","metadata":{%s}}}}`, payment, metadata)
		signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: stripeSecret, Timestamp: time.Now()})
		return p.Callback(t.Context(), seckill.ProviderStripe, http.Header{"Stripe-Signature": {signed.Header}}, []byte(body))
	}
	require.NoError(t, tell("pi_1", ""))
	require.NoError(t, tell("pi_2", ""))
	require.NoError(t, tell("pi_2", `"seckill_refund":"r1"`))
	require.ErrorIs(t, tell("pi_3", ""), seckill.ErrUnavailable, "Stripe does not say: it tells again")
	require.Len(t, store.took, 2)
	require.Equal(t, []string{"pi_1", "r1"}, []string{store.took[0].Reference, store.took[1].Refund})
}

// What we ask is what Stripe's own description of its API takes.
func TestStripeMockTakesWhatWeAsk(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds stripe-mock")
	}
	dir := t.TempDir()
	const program = "github.com/stripe/stripe-mock@v0.203.0"
	build := exec.CommandContext(t.Context(), "go", "install", program)
	build.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil && os.Getenv("SECKILL_REQUIRE") == "1" {
		t.Fatalf("SECKILL_REQUIRE=1, but stripe-mock cannot be installed: %v\n%s", err, out)
	} else if err != nil {
		t.Skipf("NOT TESTED: go install %s: %v (SECKILL_REQUIRE=1 makes this a failure)\n%s", program, err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	mock := exec.Command(filepath.Join(dir, "stripe-mock"), "-http-addr", addr)
	mock.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, mock.Start())
	t.Cleanup(func() { mock.Process.Kill(); mock.Wait() })
	at := "http://" + addr
	s, err := newStripe("sk_test_123", stripeSecret, "https://shop.example/{order}", &at)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, time.Minute, 20*time.Millisecond)
	_, _, err = s.Start(t.Context(), anOrder, seckill.NewTicketID(time.Now()))
	require.NoError(t, err)
	// Its fixtures are of no order of ours: what counts is that it takes the questions.
	if _, err = s.Refund(t.Context(), seckill.Refund{ID: "r1", Order: anOrder.ID, Reference: "pi_1", Amount: 5, Currency: "CNY"}); err != nil {
		require.ErrorContains(t, err, "give the money back another way")
	}
	_, err = s.Statement(t.Context(), time.Now().Add(-time.Hour), time.Now())
	require.NoError(t, err)
	_, err = s.StatementOf(t.Context(), []string{"pi_1"})
	require.NoError(t, err)
	_, err = s.Ours(t.Context(), "pi_1")
	require.NoError(t, err)
}

func TestASecretMustBeOne(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64 at all, but long enough"} {
		_, err := NewShop(bad, "", "", "")
		require.ErrorContains(t, err, "whsec_ and at least 16 random bytes", bad)
	}
	_, err := NewShop("whsec_c2hvcC1zZWNyZXQtb2YtdGhlc2UtdGVzdHM=", "ftp://x", "", "")
	require.ErrorContains(t, err, "payment.url must be an http")
	_, err = NewStripe("sk", "whsec", "")
	require.ErrorContains(t, err, "payment.url")
	_, err = Test{}.Verify(nil, nil)
	require.True(t, errors.Is(err, ErrSignature))
	_, err = Test{}.Statement(context.Background(), time.Time{}, time.Time{})
	require.ErrorIs(t, err, errNoStatement)
}
