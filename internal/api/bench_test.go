package api

import (
	"fmt"
	"net/http"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/account"
)

// BenchmarkBuy measures an admission from ServeHTTP to the last byte written,
// with 2,000 buyers at once, who share commits of the journal. net/http is not in
// it, and nothing is settled. Most of the time is waiting for commits: cpu-ns is
// what counts.
//
//	go test -run '^$' -bench Buy -cpu 1 -benchtime 100000x -count 5 ./internal/api
func BenchmarkBuy(b *testing.B) { benchmarkBuy(b, false) }

// BenchmarkBuyWithPass is BenchmarkBuy at a sale that asks for a pass. Run both in
// alternation: -bench 'Buy' with -count.
func BenchmarkBuyWithPass(b *testing.B) { benchmarkBuy(b, true) }

func benchmarkBuy(b *testing.B, pass bool) {
	s := newSystem(b, func(c *Config) { c.MaxInFlight = 1 << 20 })
	b.Cleanup(s.settling.hold())
	sale := s.create(saleBody{"total": seckill.MaxTotal, "limit_per_buyer": 1, "pass": pass})
	requests := make([]*http.Request, b.N)
	for i := range requests {
		t, err := account.Mint([]byte(theSecret), fmt.Sprintf("r0-%d", i), "", time.Hour)
		require.NoError(b, err)
		requests[i], err = http.NewRequest("POST", ticketPath(sale.ID), nil)
		require.NoError(b, err)
		requests[i].Header.Set("Authorization", "Bearer "+t)
		if pass {
			v, _, _, err := s.guard.Pass(b.Context(), sale, access.Asker{Buyer: fmt.Sprintf("r0-%d", i)}, access.Solution{})
			require.NoError(b, err)
			requests[i].Header.Set(passHeader, v)
		}
	}
	var next, failed atomic.Int64
	runtime.GC()
	before := processor(b)
	b.ReportAllocs()
	b.SetParallelism(2000)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		w := &discard{header: http.Header{}}
		for pb.Next() {
			clear(w.header)
			s.api.ServeHTTP(w, requests[next.Add(1)-1])
			if w.status != http.StatusAccepted {
				failed.Add(1)
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
	require.Zero(b, failed.Load())
}

// processor is the time that this process has spent on processors.
func processor(t testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
