package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// BenchmarkSettleInto settles batches of the size that a node settles. used-us is
// the database server's own processor time for each order.
//
//	go test ./internal/store -run - -bench SettleInto -benchtime 100x
func BenchmarkSettleInto(b *testing.B) {
	const batch = 1024
	bench := func(s *Store, e *stack.Engine, keep bool) func(*testing.B) {
		return func(b *testing.B) {
			s.settings.KeepEvents = keep
			sale := aSale(b, s, seckill.MaxTotal)
			batches := make([][]seckill.Ticket, b.N)
			for i := range batches {
				batches[i] = someTickets(sale.ID, batch)
			}
			used := cpuTime(b, e)
			b.ResetTimer()
			for _, batch := range batches {
				mustSettle(b, s, batch...)
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "orders/s")
			if e != nil {
				b.ReportMetric((cpuTime(b, e)-used)/float64(b.N*batch)*1e6, "used-us/order")
			}
		}
	}
	lite, err := Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "s.db"), Settings{})
	require.NoError(b, err)
	defer lite.Close()
	e := stacktest.Own(b, stack.KindMariaDB)
	maria, _ := freshMySQL(b, e)
	b.Run("sqlite", bench(lite, nil, false))
	b.Run("mariadb", bench(maria, e, false))
	b.Run("mariadb-events", bench(maria, e, true))
}

// cpuTime is the processor time that an engine has used, in seconds.
func cpuTime(t testing.TB, e *stack.Engine) float64 {
	if e == nil {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.Pid()))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	var user, system float64
	fields := strings.Fields(rest)
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	require.NoError(t, err)
	return (user + system) / 100 // ticks: a hundredth of a second everywhere
}

// BenchmarkIdleLook is what a duty's look costs when there is nothing to do. It took 39
// to 56 µs instead of 25 to 29 while SQLite compiled each look anew (see steady).
//
//	go test ./internal/store -run - -bench IdleLook
func BenchmarkIdleLook(b *testing.B) {
	s, err := Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "s.db"), Settings{})
	require.NoError(b, err)
	defer s.Close()
	require.NoError(b, s.Prepare(b.Context()))
	for b.Loop() {
		all, err := s.DueRefunds(b.Context(), 100)
		require.NoError(b, err)
		require.Empty(b, all)
	}
}
