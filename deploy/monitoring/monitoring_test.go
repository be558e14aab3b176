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

// Every rule is shown both: what it rings for, and that it is quiet while everything is well.
func TestEveryAlertHasItsExample(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("alerts.yaml")
	require.NoError(t, err)
	tests, err := os.ReadFile("alerts_test.yaml")
	require.NoError(t, err)
	names := regexp.MustCompile(`(?m)^      - alert: (\w+)$`).FindAllSubmatch(rules, -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		rings := regexp.MustCompile(`alertname: ` + string(name[1]) + `\b[^\n]*\n\s+eval_time: \S+\n\s+exp_alerts: \[\{`)
		require.Regexp(t, rings, string(tests), "%s rings", name[1])
		require.Contains(t, string(tests), "{alertname: "+string(name[1])+", eval_time: 8m}", "it is quiet while everything is well")
	}
}
