package gate

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// BenchmarkReserve measures the decision, the commit aside: what it costs must
// not depend on the sale's size, on the number of sales, or on the tickets taken.
//
//	go test -run '^$' -bench Reserve -benchtime 200000x ./internal/gate
func BenchmarkReserve(b *testing.B) {
	for _, c := range []struct{ units, sales, taken int }{
		{1_000, 1_000, 1_000}, // from one sale to the next when it is sold out
		{1_000_000, 1, 1_000},
		{10_000_000, 1, 1_000},
		{1_000_000, 10_000, 1_000},
		{1_000_000, 1, 500_000},
		{3_000_000, 1, 1_000_000},
	} {
		b.Run(fmt.Sprintf("units=%d/sales=%d/taken=%d", c.units, c.sales, c.taken), func(b *testing.B) {
			m := benchGate(b, c.sales, int64(c.units))
			admit(b, m, "taken", c.taken)
			require.NoError(b, m.journal.settle(context.Background()))
			buyers := make([]string, b.N)
			for i := range buyers {
				buyers[i] = "buyer" + strconv.Itoa(i)
			}
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				sale := seckill.SaleID(1 + (i+c.taken)/c.units)
				if a, _, err := m.reserve(sale, buyers[i], 1); err != nil || a.Verdict != seckill.Queued {
					b.Fatal(a.Verdict, err)
				}
			}
		})
	}
}

// BenchmarkSoldOut measures the answer of a sale that has nothing left: by the
// flag, and by the gate.
func BenchmarkSoldOut(b *testing.B) {
	m := benchGate(b, 1, 1)
	admit(b, m, "first", 1)
	b.Run("gate", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if a, _, _ := m.reserve(1, "late", 1); a.Verdict != seckill.SoldOut {
				b.Fatal(a.Verdict)
			}
		}
	})
	b.Run("flag", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if !m.Over(1) {
				m.flags.Learn(1, seckill.SoldOut, 0)
			}
		}
	})
}

// BenchmarkMemory reports the bytes of memory that a ticket takes at the gate
// while it waits for its outcome, and after.
//
//	go test -run '^$' -bench Memory -benchtime 1x ./internal/gate
func BenchmarkMemory(b *testing.B) {
	const tickets = 500_000
	for range b.N {
		m := benchGate(b, 1, tickets)
		before := heap()
		admit(b, m, "buyer", tickets)
		require.NoError(b, m.journal.settle(context.Background()))
		b.ReportMetric(float64(heap()-before)/tickets, "B/waiting")
		for {
			taken, err := m.Unsent(context.Background(), 1000)
			require.NoError(b, err)
			outcomes := make([]seckill.Outcome, len(taken))
			for i, t := range taken {
				outcomes[i] = seckill.Outcome{Ticket: t}
			}
			require.NoError(b, m.Finish(context.Background(), outcomes))
			if m.pending.Load() == 0 {
				break
			}
		}
		m.journal.commit()
		b.ReportMetric(float64(heap()-before)/tickets, "B/placed")
		runtime.KeepAlive(m)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// benchGate opens a gate with so many sales; sale 1 has the units.
func benchGate(b *testing.B, sales int, units int64) *Memory {
	m, err := OpenMemory(context.Background(), filepath.Join(b.TempDir(), "gate.db"), 10_000_000)
	require.NoError(b, err)
	b.Cleanup(func() { m.Close() })
	now := time.Now()
	snapshots := make([]seckill.Snapshot, sales)
	for i := range snapshots {
		snapshots[i].Sale = seckill.Sale{ID: seckill.SaleID(i + 1), Total: units, LimitPerBuyer: 1, OpensAt: now.Add(-time.Hour), ClosesAt: now.Add(time.Hour), Version: 1, Epoch: 1}
	}
	require.NoError(b, m.Load(context.Background(), snapshots))
	return m
}

// admit takes tickets of sale 1, with no names kept but the gate's own.
func admit(b *testing.B, m *Memory, prefix string, n int) {
	for i := range n {
		if a, _, err := m.reserve(1, prefix+strconv.Itoa(i), 1); err != nil || a.Verdict != seckill.Queued {
			b.Fatal(a.Verdict, err)
		}
	}
}
