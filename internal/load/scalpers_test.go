package load

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAFarmIsReadFromAText(t *testing.T) {
	t.Parallel()
	f, err := ParseFarm("accounts=1000,networks=50,solver=2s,cores=8")
	require.NoError(t, err)
	require.Equal(t, Farm{Accounts: 1000, Networks: 50, Solver: 2 * time.Second, Solvers: 10, Cores: 8, Hashes: 5e6, Age: time.Hour}, f)
	f, err = ParseFarm("accounts=7, solvers=3, hashes=2e6, age=2160h")
	require.NoError(t, err)
	require.Equal(t, Farm{Accounts: 7, Networks: 50, Solver: 2 * time.Second, Solvers: 3, Cores: 8, Hashes: 2e6, Age: 90 * 24 * time.Hour}, f)
	for _, bad := range []string{"", "accounts", "accounts=0", "networks=-1", "solver=2", "cores=x", "speed=9", "accounts=1000000"} {
		_, err := ParseFarm(bad)
		require.Error(t, err, bad)
	}
}

func TestTheTableOfFairnessComparesWithNoDefence(t *testing.T) {
	t.Parallel()
	r := FairReport{Farm: Farm{Accounts: 10, Networks: 2, Solvers: 1, Cores: 1, Hashes: 1}, People: 100, Seed: 7,
		Rows: []Fair{{Defence: "none", Units: 20, Farm: 10, People: 10}, {Defence: "all", Units: 20, Farm: 1, People: 19, Alarms: 2, Ineligible: 1, Passless: 1, Passes: 3, Pictures: 4, Seconds: 5}}}
	var b strings.Builder
	require.NoError(t, r.WriteText(&b))
	require.Contains(t, b.String(), "seed 7")
	require.Contains(t, b.String(), "| none | 20 | 10 (50 %) | 100 % | 10 | 0 (0.0 %) | 0 | 0 | 0 | 0 | 0 | 0 |\n")
	require.Contains(t, b.String(), "| all | 20 | 1 (5 %) | 10 % | 19 | 2 (2.0 %) | 1 | 1 | 0 | 3 | 4 | 5 |\n")
}
