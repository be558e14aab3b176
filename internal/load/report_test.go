package load

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReportText(t *testing.T) {
	t.Parallel()
	r := &Report{
		Servers: []string{"http://127.0.0.1:8080"}, Sale: 7, Buyers: 20000, Concurrency: 2000, Repeats: 1, Prefix: "k3",
		BuyRequests: 20000, BuyTime: 1904 * time.Millisecond, BuyRate: 10504.2,
		Buys: []Line{
			{"queued", 1000, 12100 * time.Microsecond, 33 * time.Millisecond, 120 * time.Millisecond, 1210 * time.Millisecond, 2 * time.Second, nil},
			{"sold_out", 19000, 99 * time.Microsecond, 2 * time.Millisecond, 3 * time.Millisecond, 4 * time.Millisecond, 5 * time.Millisecond, nil},
		},
		Results:  []Line{{"placed", 2000, time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond, 4 * time.Millisecond, 5 * time.Millisecond, nil}},
		Final:    map[string]int{"placed": 1000, "sold_out": 19000},
		Units:    1000,
		Failures: map[string]int64{"timeout": 2},
		Checks: []Check{
			{Name: ruleNoOversell, OK: true, Detail: "1000 units placed, 1000 in the sale"},
			{Name: ruleOwnerOnly, Detail: "100 tickets and orders asked for by another buyer"},
			{Name: ruleAudit, Skipped: true, Detail: "no admin token"},
		},
		Findings: []string{"owner only: buyer k3-0000001: buyer k3-0000002 asked and was answered 200"},
	}
	var b strings.Builder
	require.NoError(t, r.WriteText(&b))
	want := `Sale 7 on http://127.0.0.1:8080
20000 buyers (k3-…), 2000 at once
20000 verdicts in 1.904s: 10504 per second

buy, by verdict     count      p50      p90     p99   p99.9     max
  queued             1000  12.1 ms  33.0 ms  120 ms  1.21 s  2.00 s
  sold_out          19000    99 µs   2.0 ms  3.0 ms  4.0 ms  5.0 ms

result, by status   count      p50      p90     p99   p99.9     max
  placed             2000   1.0 ms   2.0 ms  3.0 ms  4.0 ms  5.0 ms

buyers    placed 1000, sold_out 19000  (1000 units placed)
failures  timeout 2

checks
  ✓ no oversell  1000 units placed, 1000 in the sale
  ✗ owner only   100 tickets and orders asked for by another buyer
  – audit        no admin token

findings
  owner only: buyer k3-0000001: buyer k3-0000002 asked and was answered 200
`
	assert.Equal(t, want, b.String())
}
