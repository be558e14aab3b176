// Package monitoring_test shows each alert what it is for.
package monitoring_test

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The expressions of the alerts are evaluated by Prometheus' own engine: each rings when
// what it is for happens, and not while everything is well.
func TestTheAlertsRingWhenTheyShould(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("SECKILL_REQUIRE") == "1" {
			t.Fatalf("promtool is required and missing: %v: apt-get install -y prometheus", err)
		}
		t.Skipf("NOT TESTED: %v: apt-get install -y prometheus", err)
	}
	out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", "alerts.yaml").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.CommandContext(t.Context(), promtool, "test", "rules", "alerts_test.yaml").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// Every rule about an outage is shown both.
func TestEveryOutageHasItsExample(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("alerts.yaml")
	require.NoError(t, err)
	tests, err := os.ReadFile("alerts_test.yaml")
	require.NoError(t, err)
	at := regexp.MustCompile(`(?m)^  - name: seckill-outages$`).FindIndex(rules)
	require.NotNil(t, at)
	names := regexp.MustCompile(`(?m)^      - alert: (\w+)$`).FindAllSubmatch(rules[at[0]:], -1)
	require.Len(t, names, 19)
	for _, name := range names {
		n := len(regexp.MustCompile(`alertname: `+string(name[1])+`\b`).FindAll(tests, -1))
		require.GreaterOrEqual(t, n, 2, "%s rings, and does not ring", name[1])
	}
}
