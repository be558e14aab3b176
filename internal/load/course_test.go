package load

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func TestTheReportOfASaleIsOnePage(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)
	ok := true
	c := &seckill.Course{Sale: seckill.Sale{ID: 7, Title: "<b>keyboard</b>", Price: 9900, Currency: "CNY", Total: 500, OpensAt: at, ClosesAt: at.Add(time.Hour)},
		After: seckill.Aftermath{Placed: 300, Paid: 200}, Balance: seckill.Balance{OK: &ok, At: at}, Verdicts: map[string]int64{"queued": 300, "sold_out": 9000},
		Steps: []seckill.Step{{At: at, Width: time.Second, Placed: 200, Units: 200}, {At: at.Add(time.Second), Width: time.Second, Placed: 100, Refused: 3, Units: 100}}}
	var page strings.Builder
	require.NoError(t, WriteCourse(&page, c, at))
	for _, part := range []string{"&lt;b&gt;keyboard", "everything adds up", "Results per second", "9,000", "sold again –"} {
		require.Contains(t, page.String(), part)
	}
	require.NotContains(t, page.String(), "http://", "it needs nothing else")
	require.NotContains(t, page.String(), "Latency of an", "nobody has measured any")
	page.Reset()
	c.Node, c.Nodes = "n1", 3
	c.Paces = []seckill.Pace{{At: at.Add(-time.Second), Width: time.Second, Admission: &seckill.Spread{P50: 1, P90: 2, P99: 4, Max: 9}},
		{At: at, Width: time.Second, Admission: &seckill.Spread{P50: 1, P90: 2, P99: 4, Max: 9}, Outcome: &seckill.Spread{P50: 60, P90: 80, P99: 120, Max: 300}},
		{At: at.Add(time.Second), Width: time.Second, Outcome: &seckill.Spread{P50: 60, P90: 80, P99: 120, Max: 300}}}
	require.NoError(t, WriteCourse(&page, c, at))
	for _, part := range []string{"Latency of an admission", "Latency of an outcome", "of 3 nodes since n1 started"} {
		require.Contains(t, page.String(), part)
	}
	// A count that is old, or not whole, is not green.
	page.Reset()
	require.NoError(t, WriteCourse(&page, c, at.Add(90*time.Second)))
	require.Contains(t, page.String(), `verdict warn">– it added up when it was counted last, 1m30s before this report`)
	c.Balance.Partial, c.Balance.Says = true, "too many tickets wait"
	page.Reset()
	require.NoError(t, WriteCourse(&page, c, at.Add(time.Second)))
	require.Contains(t, page.String(), `verdict warn">– what was counted adds up, and not all of it was counted`)
	require.Contains(t, page.String(), "as of 2026-11-11T12:00:00Z: too many tickets wait")
	require.NotContains(t, page.String(), "everything adds up")
	broken := false
	c.Balance.OK, c.Balance.Violations = &broken, []seckill.Breach{{Rule: "counter", Says: "sold is 3"}}
	page.Reset()
	require.NoError(t, WriteCourse(&page, c, at))
	require.Contains(t, page.String(), "it does not add up")
}
