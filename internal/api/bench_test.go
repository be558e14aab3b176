package api

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
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
//	go test -run '^$' -bench 'Buy$' -cpu 1 -benchtime 100000x -count 5 ./internal/api
func BenchmarkBuy(b *testing.B) {
	buy := admissions(b, false)
	var next atomic.Int64
	runtime.GC()
	before := processor(b)
	b.ReportAllocs()
	b.SetParallelism(2000)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		w := &discard{header: http.Header{}}
		for pb.Next() {
			buy(w, next.Add(1)-1)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkBuyWithPass measures what a pass adds to an admission: turns of 2,000 buyers, at
// once, at a sale that asks for nothing and at one that asks for a pass, in alternation. The
// figures are the medians of the turns, and of what a turn takes with a pass for each
// nanosecond of the turn beside it without one.
//
//	go test -run '^$' -bench BuyWithPass -cpu 1 -benchtime 200000x ./internal/api
func BenchmarkBuyWithPass(b *testing.B) {
	const turn = 2000
	shops := [2]func(*discard, int64){admissions(b, false), admissions(b, true)}
	var spent [2][]float64
	var ratio []float64
	b.ResetTimer()
	for begin := 0; begin < b.N; begin += turn {
		n := min(turn, b.N-begin)
		for k := range shops {
			which := (k + begin/turn) % 2 // each is the first as often as the other
			before := processor(b)
			var buyers sync.WaitGroup
			for i := range n {
				buyers.Go(func() { shops[which](&discard{header: http.Header{}}, int64(begin+i)) })
			}
			buyers.Wait()
			spent[which] = append(spent[which], float64(processor(b)-before)/float64(n))
		}
		last := len(spent[0]) - 1
		ratio = append(ratio, spent[1][last]/spent[0][last])
	}
	b.StopTimer()
	median := func(all []float64) float64 {
		slices.Sort(all)
		return all[len(all)/2]
	}
	b.ReportMetric(median(spent[0]), "open-cpu-ns/op")
	b.ReportMetric(median(spent[1]), "pass-cpu-ns/op")
	b.ReportMetric(median(ratio), "pass/open")
}

// admissions makes a sale that asks for a pass or for nothing, and b.N buyers who buy in it
// with their own requests.
func admissions(b *testing.B, pass bool) (buy func(w *discard, n int64)) {
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
	return func(w *discard, n int64) {
		clear(w.header)
		s.api.ServeHTTP(w, requests[n])
		if w.status != http.StatusAccepted {
			b.Errorf("buyer %d: %d", n, w.status)
		}
	}
}

// BenchmarkSoldOut answers a buyer of a sold-out sale, by turns at a shop whose sale asks
// for nothing and at one whose sale has all rules, with full lists of 100,000 entries:
// processor time of the handler, each alone.
//
//	go test -run '^$' -bench SoldOut -cpu 1 -benchtime 200000x -count 5 ./internal/api
func BenchmarkSoldOut(b *testing.B) {
	shops := []struct {
		name  string
		serve func()
		spent time.Duration
	}{{name: "open", serve: turnedAway(b, false)}, {name: "asks", serve: turnedAway(b, true)}}
	const turn = 1000
	b.ResetTimer()
	for done := 0; done < b.N; done += turn {
		for i := range shops {
			before := processor(b)
			for range turn {
				shops[i].serve()
			}
			shops[i].spent += processor(b) - before
		}
	}
	for _, s := range shops {
		b.ReportMetric(float64(s.spent)/float64((b.N+turn-1)/turn*turn), s.name+"-cpu-ns/op")
	}
}

// turnedAway sends a request to a shop whose sale is sold out, and has all rules or none.
func turnedAway(b *testing.B, asks bool) (serve func()) {
	s := newSystem(b)
	buyer := "li.wei"
	t, err := account.MintSince([]byte(theSecret), buyer, s.gate.Now().Add(-24*time.Hour), time.Hour)
	require.NoError(b, err)
	r, err := http.NewRequest("POST", ticketPath(s.soldOut.ID), nil)
	require.NoError(b, err)
	r.Header.Set("Authorization", "Bearer "+t)
	r.RemoteAddr = "203.0.113.7:4000"
	if asks {
		s.admin("PATCH", "/api/admin/sales/"+s.soldOut.ID.String(), `{"challenge":"both","tries_per_buyer":2,"cooldown_seconds":60,"eligible":"account_age","account_age_seconds":3600}`).is(200)
		_, err := s.commits.Exec(`INSERT INTO access_entries WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 50000)
			SELECT 0, 'b:blocked-'||i, 'block', '', 'root', 0 FROM n UNION ALL SELECT 0, 'n:10.'||(i/65536)||'.'||(i/256%256)||'.'||(i%256)||'/32', 'block', '', 'root', 0 FROM n`)
		require.NoError(b, err)
		_, err = s.commits.Exec("INSERT INTO access_state (name, version) VALUES ('entries', 1)")
		require.NoError(b, err)
		require.NoError(b, s.guard.Look(b.Context()))
		sale := s.sale(s.soldOut.ID)
		var p access.Puzzle
		s.do(call{method: "POST", path: challengePath(sale.ID), token: t}).is(200).into(&p)
		var v struct{ Pass string }
		s.do(call{method: "POST", path: passPath(sale.ID), token: t, body: solve(b, p, access.ForSale(sale.ID, buyer))}).is(200).into(&v)
		r.Header.Set(passHeader, v.Pass)
	}
	w := &discard{header: http.Header{}}
	return func() {
		clear(w.header)
		s.api.ServeHTTP(w, r)
		if w.status != http.StatusConflict {
			b.Fatal(w.status)
		}
	}
}

// processor is the time that this process has spent on processors.
func processor(t testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
