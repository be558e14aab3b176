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
		require.EqualValues(t, openUnits-1, numbers["left"])
		require.EqualValues(t, 1, numbers["unpaid"])
		require.EqualValues(t, 0, numbers["queued"])
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
