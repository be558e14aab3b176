package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/live"
)

// figures is the source of the system's figures.
type figures struct{ *system }

func (f figures) Now() time.Time { return f.gate.Now() }
func (f figures) Parts(ctx context.Context) map[string]string {
	parts := map[string]string{"gate": "ok", "queue": "ok", "store": "ok"}
	if err := f.store.Ping(ctx); err != nil {
		parts["store"] = err.Error()
	}
	return parts
}
func (f figures) Degraded() []string { return nil }
func (f figures) Watched(ctx context.Context) ([]seckill.Sale, time.Time, error) {
	return f.sales.Watched(ctx)
}
func (f figures) Known(id seckill.SaleID) (seckill.Sale, time.Time, bool) { return f.sales.Known(id) }
func (f figures) States(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error) {
	return f.gate.States(ctx, ids)
}
func (f figures) Balances() map[seckill.SaleID]seckill.Balance { return nil }
func (f figures) Listeners() *bool                             { return nil }

// events are the pictures of a stream.
func events(t testing.TB, body []byte) (all []live.Picture) {
	t.Helper()
	for _, block := range strings.Split(string(body), "\n\n") {
		if data, ok := strings.CutPrefix(block, "event: live\ndata: "); ok {
			var p live.Picture
			require.NoError(t, json.Unmarshal([]byte(data), &p))
			all = append(all, p)
		}
	}
	return all
}

// of is a picture of one sale.
func of(t testing.TB, p live.Picture, id seckill.SaleID) live.Sale {
	t.Helper()
	for _, s := range p.Sales {
		if s.ID == id {
			return s
		}
	}
	t.Fatalf("sale %s is not in the picture: %+v", id, p)
	return live.Sale{}
}

func TestTheStreamShowsWhatHappens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.bought("pia", s.open.ID, 2)
		s.admin("POST", "/api/admin/sales/"+s.open.ID.String()+"/pause", "").is(200)
		all := events(t, s.admin("GET", "/api/admin/live?events=3", "").is(200).body)
		require.Len(t, all, 3)
		last := all[2]
		require.Equal(t, time.Second, last.At.Sub(all[1].At), "one each second")
		v := of(t, last, s.open.ID)
		require.Equal(t, seckill.StatePaused, v.State)
		require.EqualValues(t, openUnits, v.Total)
		require.EqualValues(t, openUnits-3, *v.Left)
		require.EqualValues(t, 0, *v.Queued)
		require.EqualValues(t, 2, v.Verdicts["queued"], "both buyers")
		require.NotNil(t, v.AdmittedPerS)
		require.Zero(t, *v.AdmittedPerS, "known to be none")
		require.Nil(t, v.Balance, "nobody has counted")
		require.True(t, last.Parts["store"].OK)
		require.Len(t, last.Nodes, 1)
		marks := map[string]int{}
		for _, m := range last.Marks {
			if m.Sale == s.open.ID {
				marks[m.What]++
			}
		}
		require.Equal(t, map[string]int{"create": 1, "opens": 1, "pause": 1}, marks)

		one := events(t, s.admin("GET", "/api/admin/live?events=1&sale="+s.paused.ID.String(), "").is(200).body)
		require.Len(t, one[0].Sales, 1)
		require.Equal(t, s.paused.ID, one[0].Sales[0].ID)
	})
}

func TestTheTableOfNodes(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var v list[live.Node]
	require.Eventually(t, func() bool {
		v = list[live.Node]{}
		s.admin("GET", "/api/admin/nodes", "").is(200).into(&v)
		return len(v.Items) == 1 && v.Items[0].Parts["gate"].OK
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, "this", v.Items[0].ID)
	require.Less(t, v.Items[0].AgeMS, int64(20_000))
}
