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
	broken := false
	c.Balance.OK, c.Balance.Violations = &broken, []seckill.Breach{{Rule: "counter", Says: "sold is 3"}}
	page.Reset()
	require.NoError(t, WriteCourse(&page, c, at))
	require.Contains(t, page.String(), "it does not add up")
}
