package redisgate

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// Redis' clock opens the sales: that it is apart from a node's is shown and warned of once,
// on a cluster that of any master.
func TestAClockOfRedisThatIsApartIsToldOf(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	g, err := Open(Settings{Address: "redis://127.0.0.1:1", Log: slog.New(slog.NewTextHandler(&said, nil))})
	require.NoError(t, err)
	r := prometheus.NewRegistry()
	g.Register(r)
	shows := func(seconds string) {
		t.Helper()
		require.NoError(t, testutil.GatherAndCompare(r, strings.NewReader("# HELP seckill_gate_clock_skew_seconds How far Redis' clock, which opens and closes sales, is ahead of this node's; of a cluster, that of the master that is furthest away.\n"+
			"# TYPE seckill_gate_clock_skew_seconds gauge\nseckill_gate_clock_skew_seconds "+seconds+"\n"), "seckill_gate_clock_skew_seconds"))
	}
	shows("0")
	g.breakers[0].offset.Store(int64(-skewWarn))
	shows("-1")
	require.False(t, g.warnOfSkew(false))
	require.Empty(t, said.String())
	g.breakers[0].offset.Store(int64(4 * time.Minute))
	shows("240")
	require.True(t, g.warnOfSkew(false))
	require.True(t, g.warnOfSkew(true))
	require.Equal(t, 1, strings.Count(said.String(), "redis_ahead_by=4m0s"), said.String())

	g.breakers[0].offset.Store(0)
	g.breakers[5].offset.Store(int64(-time.Hour))
	shows("0") // one Redis has one clock
	g.cluster.Store(true)
	shows("-3600")
	require.True(t, g.warnOfSkew(false))
	require.Contains(t, said.String(), "redis_ahead_by=-1h0m0s")
}
