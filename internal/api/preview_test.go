package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/live"
)

func TestAPreviewSaysWhatWouldHappenAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	paid := s.bought("pia", s.open.ID, 3)
	s.as("pia", "POST", "/api/orders/"+paid+"/pay", "").is(200)
	s.bought("sol", s.open.ID, 2)
	before := s.world()
	path := "/api/admin/sales/" + s.open.ID.String()
	for what, want := range map[string]struct {
		body, ask string
		undo      bool
	}{
		"pause": {"", "none", true}, "resume": {"", "none", true}, "end": {`{"title":"open"}`, "title", false},
		"stock": {`{"id":"x","delta":7}`, "none", true}, "rebuild": {"", "confirm", false}, "undo": {`{"step":"cancel","title":"open"}`, "title", false},
	} {
		var v struct{ Preview preview }
		s.admin("POST", path+"/"+what+"?preview=1", want.body).is(200).into(&v)
		require.Equal(t, "sales."+what, v.Preview.What)
		require.Equal(t, want.ask, v.Preview.Ask, what)
		require.Equal(t, want.undo, v.Preview.Undo, what)
		numbers := map[string]any{}
		for _, n := range v.Preview.Numbers {
			numbers[n.Name] = n.Value
		}
		require.EqualValues(t, openUnits-6, numbers["left"])
		require.EqualValues(t, 2, numbers["unpaid"], "orders, and not their units")
		require.EqualValues(t, 1, numbers["paid"])
		require.EqualValues(t, 0, numbers["queued"])
		require.Nil(t, numbers["waiting"], "it has opened")
		switch what {
		case "stock":
			require.EqualValues(t, openUnits+7, numbers["total_after"])
			require.EqualValues(t, openUnits-6+7, numbers["left_after"])
		case "undo":
			require.Equal(t, []any{2.0, 1.0, "297.00 CNY"}, []any{numbers["cancelled"], numbers["refunded"], numbers["refunded_amount"]})
		}
	}
	s.still(before)
	// What would be refused is refused before, with the same words.
	over := "/api/admin/sales/" + s.create(saleBody{"title": "over"}).ID.String()
	draft := "/api/admin/sales/" + s.create(saleBody{"title": "a draft", "shelf": "draft"}).ID.String()
	s.admin("POST", over+"/end", "").is(200)
	before = s.world()
	for _, c := range []struct{ method, path, body, code string }{
		{"POST", path + "/stock", `{"id":"x","delta":-95}`, "stock"}, {"POST", path + "/stock", `{"id":"x","delta":0}`, "invalid_field"},
		{"POST", path + "/stock", `{"id":"x","delta":10000000}`, "invalid_field"}, {"POST", path + "/extend", `{"closes_at":"2020-01-01T00:00:00Z"}`, "invalid_field"},
		{"POST", path + "/notice", `{"text":"\u0007"}`, "invalid_field"}, {"DELETE", path, "", "state"},
		{"POST", over + "/pause", "", "state"}, {"POST", over + "/undo", `{"step":"pause"}`, "state"}, {"POST", draft + "/resume", "", "state"},
		{"POST", draft + "/publish", `{"preflight":true}`, "state"},
	} {
		status := map[string]int{"invalid_field": 422}[c.code]
		s.admin(c.method, c.path+"?preview=1", c.body).problem(max(status, 409), c.code)
	}
	s.still(before)
	s.admin("POST", "/api/admin/orders/"+s.order+"/cancel?preview=1", "").problem(422, "invalid_field")
	require.Equal(t, seckill.Unpaid, s.orderOf(ownerName, s.order).State, "what cannot be looked at before is not done either")
}

func TestTheAnswerOfAChangeHasAReceipt(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	path := "/api/admin/sales/" + s.open.ID.String()
	for _, c := range []struct{ method, path, body string }{
		{"POST", path + "/pause", ""}, {"POST", path + "/resume", ""}, {"POST", path + "/stock", `{"id":"x","delta":7}`}, {"PATCH", path, `{"title":"another"}`}, {"POST", path + "/end", `{"title":"another"}`},
	} {
		var v struct{ Receipt live.Receipt }
		s.admin(c.method, c.path, c.body).is(200).into(&v)
		require.NotNil(t, v.Receipt.Nodes, c.path)
		require.Equal(t, 1, *v.Receipt.Nodes, c.path)
		require.Equal(t, 1, *v.Receipt.Of, c.path)
	}
	s.admin("POST", "/api/admin/sales/"+s.paused.ID.String()+"/end", `{"title":"not this"}`).problem(422, "invalid_field")
}
