package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"seckill"
	hooks "seckill/internal/event"
	"seckill/internal/stack/stacktest"
	"seckill/internal/store"
)

const secret = "whsec_YW4gZXhhbXBsZSBhbmQgbm90IGEgc2VjcmV0IQ=="

// The receiver of the documentation hears of an order as the store tells of it: each event
// once, in the order in which they happened, whatever it answers meanwhile.
func TestTheReceiverHearsOfAnOrder(t *testing.T) {
	t.Parallel()
	hook, err := webhooks.NewWebhook(secret)
	require.NoError(t, err)
	heard := make(chan string, 10)
	busy := true
	r := &receiver{hook: hook, seen: map[string]bool{}, take: func(e event) error {
		if busy = !busy; busy {
			return errors.New("the database is away")
		}
		heard <- e.Type + " " + e.Buyer + " " + e.Order.State
		return nil
	}}
	at := httptest.NewServer(r)
	defer at.Close()

	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "s.db"), store.Settings{HookTypes: seckill.EventTypes})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Prepare(t.Context()))
	now := time.Now()
	sale, err := s.CreateSale(t.Context(), seckill.Sale{Title: "a sale", Price: 100, Currency: "CNY", Total: 10, LimitPerBuyer: 5, OpensAt: now, ClosesAt: now.Add(time.Hour), HoldSeconds: 60})
	require.NoError(t, err)
	ticket := seckill.Ticket{ID: seckill.NewTicketID(now), Sale: sale.ID, Buyer: "alice", Quantity: 1, Seq: 1, At: time.Now()}
	_, err = s.Settle(t.Context(), []seckill.Ticket{ticket})
	require.NoError(t, err)
	_, err = s.TransitionBy(t.Context(), ticket.ID, "", seckill.Paid, "administrator", "")
	require.NoError(t, err)

	w := hooks.NewWebhooks([]hooks.Receiver{{Name: "books", URL: at.URL, Signer: hook}}, s, slog.New(slog.DiscardHandler), nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() { stop(); stacktest.Await(t, "nobody tells it any more", done) }()
	for _, want := range []string{"order.placed alice unpaid", "order.paid alice paid"} {
		require.Equal(t, want, stacktest.Await(t, "the receiver hears", heard))
	}
}

func TestTheReceiverRefusesWhatIsNotSigned(t *testing.T) {
	t.Parallel()
	hook, err := webhooks.NewWebhook(secret)
	require.NoError(t, err)
	taken := 0
	r := &receiver{hook: hook, seen: map[string]bool{}, take: func(event) error { taken++; return nil }}
	body := `{"v":1,"id":"A-1","type":"order.placed","order":{"id":"A"}}`
	ask := func(body string, at time.Time, signed string) int {
		signature, err := hook.Sign("A-1", at, []byte(signed))
		require.NoError(t, err)
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		req.Header.Set("webhook-id", "A-1")
		req.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		req.Header.Set("webhook-signature", signature)
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		_, _ = io.Copy(io.Discard, w.Body)
		return w.Code
	}
	now := time.Now()
	require.Equal(t, 200, ask(body, now, body))
	require.Equal(t, 200, ask(body, now, body), "a repeat")
	require.Equal(t, 1, taken)
	require.Equal(t, 401, ask(strings.Replace(body, "A-1", "A-2", 1), now, body), "another body")
	require.Equal(t, 401, ask(body, now.Add(-time.Hour), body), "an old one")
	require.Equal(t, 501, ask(strings.Replace(body, `"v":1`, `"v":2`, 1), now, strings.Replace(body, `"v":1`, `"v":2`, 1)), "a form that it does not know")
	require.Equal(t, 400, ask(strings.Repeat("x", 65<<10), now, "x"))
	require.Equal(t, 1, taken)
}
