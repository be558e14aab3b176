package api

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate"
	"seckill/internal/store"
)

// An administrator sees how a receiver of webhooks is served, and sends it again what it
// has missed.
func TestWebhooksAreSeenAndReplayed(t *testing.T) {
	t.Parallel()
	s := newSystemOf(t, gate.OutboxLimit, store.Settings{HookTypes: []string{"order.placed", "order.paid"}})
	_, err := s.store.SpreadEvents(t.Context(), 100, func(string) []string { return nil }) // nobody hears of the orders that the system began with
	require.NoError(t, err)
	order := s.bought(otherName, s.open.ID, 1)
	s.as(otherName, "POST", "/api/orders/"+order+"/pay", "").is(200)
	_, err = s.store.SpreadEvents(t.Context(), 100, func(string) []string { return []string{theReceiver} })
	require.NoError(t, err)

	at := "/api/admin/webhooks/" + theReceiver
	look := func() seckill.ReceiverState {
		t.Helper()
		var receivers struct{ Items []seckill.ReceiverState }
		s.admin("GET", "/api/admin/webhooks", "").is(200).into(&receivers)
		require.Len(t, receivers.Items, 1)
		return receivers.Items[0]
	}
	v := look()
	require.Equal(t, []any{theReceiver, "https://erp.shop.example/hooks?(hidden)", int64(2), int64(0)}, []any{v.Name, v.URL, v.Waiting, v.Failed})
	require.NotNil(t, v.Oldest)
	var one struct {
		Items []seckill.Delivery
		Next  string
	}
	s.admin("GET", at+"/deliveries?order="+order+"&limit=1", "").is(200).into(&one)
	require.Equal(t, order+"-2", one.Items[0].Event, "the newest first")
	require.Contains(t, string(one.Items[0].Body), `"buyer":"`+otherName+`"`)
	for role, shown := range map[string]bool{seckill.RoleViewer: false, seckill.RoleSupport: true, seckill.RoleOperator: true} {
		a := s.do(call{method: "GET", path: at + "/deliveries", token: token(t, "a "+role, role)}).is(200)
		require.Equal(t, shown, strings.Contains(string(a.body), otherName), "%s: buyers are named in the events", role)
		require.Equal(t, shown, strings.Contains(string(a.body), `"body"`), role)
		require.Contains(t, string(a.body), order+"-2", role)
	}
	s.admin("GET", at+"/deliveries?limit=1&cursor="+one.Next, "").is(200).into(&one)
	require.Equal(t, order+"-1", one.Items[0].Event)

	require.NoError(t, s.store.DeliveriesTried(t.Context(), theReceiver, []seckill.DeliveryTry{
		{Event: order + "-1", State: seckill.DeliveryFailed, Code: 500, Error: "it answered 500"}, {Event: order + "-2", State: seckill.DeliveryWaiting, Code: 410, Gone: true}}))
	v = look()
	require.Equal(t, []any{int64(1), int64(1)}, []any{v.Waiting, v.Failed})
	require.NotNil(t, v.Stopped)
	require.Contains(t, v.Why, "410")
	var said struct{ Replayed int }
	s.admin("POST", at+"/replay", "").is(200).into(&said)
	require.Equal(t, 1, said.Replayed, "what had been given up")
	v = look()
	require.Equal(t, []any{int64(2), int64(0)}, []any{v.Waiting, v.Failed})
	require.Nil(t, v.Stopped, "and it is started")
	s.admin("POST", at+"/replay", `{"event":"`+order+`-2"}`).is(200).into(&said)
	require.Equal(t, 1, said.Replayed)
	now := time.Now().UTC()
	s.admin("POST", at+"/replay", `{"from":"`+now.Add(-time.Hour).Format(time.RFC3339)+`","to":"`+now.Add(time.Hour).Format(time.RFC3339)+`"}`).is(200).into(&said)
	require.Equal(t, 2, said.Replayed)

	s.admin("POST", at+"/replay", `{"event":"nobody's"}`).problem(404, "not_found")
	for _, nobody := range []string{"other", "%2e%2e", "ERP"} {
		s.admin("GET", "/api/admin/webhooks/"+nobody+"/deliveries", "").problem(404, "not_found")
		s.admin("POST", "/api/admin/webhooks/"+nobody+"/replay", "").problem(404, "not_found")
	}
	for _, bad := range []string{"?state=lost", "?order=x", "?cursor=%0a", "?limit=0"} {
		s.admin("GET", at+"/deliveries"+bad, "").problem(422, "invalid_field")
	}
	for _, bad := range []string{`{"event":"\n"}`, `{"from":"2026-11-02T00:00:00Z"}`, `{"from":"2026-11-02T00:00:00Z","to":"2026-11-02T00:00:00Z"}`, `{"event":"x","to":"2026-11-02T00:00:00Z"}`} {
		s.admin("POST", at+"/replay", bad).problem(422, "invalid_field")
	}
}
