package load

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPaceSaysWhoArrivesWhen(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		pace arrivals
		want map[int]time.Duration // by arrival
	}{
		"evenly":            {arrivals{rate: 100}, map[int]time.Duration{0: 0, 1: 10 * ms, 250: 2500 * ms}},
		"all at once":       {arrivals{burst: 1000}, map[int]time.Duration{0: 0, 999: 0}},
		"a burst first":     {arrivals{burst: 50, rate: 100}, map[int]time.Duration{0: 0, 49: 0, 50: 0, 51: 10 * ms, 150: 1000 * ms}},
		"less than one":     {arrivals{rate: 0.5}, map[int]time.Duration{1: 2000 * ms, 2: 4000 * ms}},
		"growing":           {arrivals{rate: 100, ramp: 2 * time.Second}, map[int]time.Duration{0: 0, 1: 200 * ms, 25: 1000 * ms, 100: 2000 * ms, 200: 3000 * ms}},
		"growing, a burst":  {arrivals{burst: 10, rate: 100, ramp: 2 * time.Second}, map[int]time.Duration{9: 0, 35: 1000 * ms, 110: 2000 * ms}},
		"growing all along": {arrivals{rate: 100, ramp: time.Hour}, map[int]time.Duration{50 * 3600 / 4: 1800 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i, want := range tt.want {
				assert.InDelta(t, want, tt.pace.at(i), float64(time.Microsecond), "arrival %d", i)
			}
			for i := range 500 {
				assert.LessOrEqual(t, tt.pace.at(i), tt.pace.at(i+1), "nobody overtakes")
			}
		})
	}
}

// Arrivals come at their time, whatever becomes of those before them.
func TestArrivalsKeepTheirPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &run{c: Config{Concurrency: 10}, client: &pool{}}
		buyers := make([]*buyer, 40)
		for i := range buyers {
			buyers[i] = &buyer{n: i}
		}
		start := time.Now()
		arrived := make([]time.Duration, len(buyers))
		err := r.each(t.Context(), buyers, &arrivals{burst: 10, rate: 10}, func(_ *caller, b *buyer) {
			arrived[b.n] = time.Since(start)
			if b.n == 15 {
				<-time.After(time.Minute)
			}
		})
		require.NoError(t, err)
		assert.Equal(t, 0*time.Second, arrived[9])
		assert.Equal(t, 600*time.Millisecond, arrived[16])
		assert.Equal(t, 2900*time.Millisecond, arrived[39])
		assert.Zero(t, r.late.Load())
	})
}

// A server that stands still for a second delays everybody who arrives in it. In
// the closed loop only those who happen to be waiting see it, and the p99 is fine.
func TestAStallShowsInTheOpenLoop(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		rate        float64
		concurrency int
		slow, late  bool
	}{
		{"closed loop", 0, 2, false, false},
		{"open loop, workers enough", 100, 300, true, false},
		{"open loop, too few workers", 100, 2, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, 400, breaks{stall: time.Second}, func(t *testing.T, f *fake, c Config) {
				c.Buyers, c.Concurrency, c.Rate = 400, tt.concurrency, tt.rate
				if tt.rate == 0 {
					f.slowBuy = 10 * time.Millisecond // or all of it is over within no time
				}
				rep := mustRun(t, c)
				assert.Empty(t, rep.Findings)
				queued := rep.Buys[0]
				require.EqualValues(t, 400, queued.Count)
				if tt.slow {
					assert.InDelta(t, time.Second, queued.P99, float64(50*time.Millisecond))
					assert.Less(t, queued.P50, 50*time.Millisecond)
				} else {
					assert.Less(t, queued.P99, 50*time.Millisecond)
				}
				assert.InDelta(t, time.Second, queued.Max, float64(50*time.Millisecond))
				if tt.late {
					assert.Greater(t, rep.LateStarts, int64(90))
					assert.InDelta(t, time.Second, rep.LatestStart, float64(50*time.Millisecond))
					assert.Contains(t, strings.Join(rep.about(), "\n"), "did not keep up")
				} else {
					assert.Zero(t, rep.LateStarts)
				}
			})
		})
	}
}

func TestPhasesAreMeasuredApart(t *testing.T) {
	t.Parallel()
	inBubble(t, 25, breaks{settleIn: 5 * time.Second}, func(t *testing.T, f *fake, c Config) {
		c.Phases, c.Rate = true, 10
		rep := mustRun(t, c)
		assert.Empty(t, rep.Findings)
		assert.EqualValues(t, 60, rep.BuyRequests)
		assert.EqualValues(t, 60, rep.ResultRequests, "everybody asks once")
		assert.InDelta(t, 10, rep.BuyRate, 0.3)
		assert.InDelta(t, 10, rep.ResultRate, 0.3)
		counts := map[string]int64{}
		for _, l := range append(rep.Buys, rep.Results...) {
			counts[l.Name] = l.Count
		}
		assert.Equal(t, map[string]int64{"queued": 25, "sold_out": 35, "placed": 25, "none": 35}, counts, "and the checks are no part of it")
		both := 0
		for _, p := range rep.Series {
			if p.Buys != nil && p.Results != nil {
				both++
			}
		}
		assert.LessOrEqual(t, both, 1, "nobody asks while others buy")
	})
}

func TestSharesOfMisbehaviour(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Shares{
		"":                                {},
		"0":                               {},
		"0.2":                             {0, 0.05, 0.05, 0.05, 0.05},
		"1":                               {0, 0.25, 0.25, 0.25, 0.25},
		"hangs-up=0.01":                   {0, 0, 0, 0, 0.01},
		"duplicates=0.5, never-asks=0.25": {0, 0.5, 0, 0.25, 0},
		"parallel=1":                      {0, 0, 1, 0, 0},
	} {
		s, err := ParseShares(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, s, text)

		const n = 10_000
		counts := map[Habit]int{}
		for i := range n {
			counts[s.of(i)]++
		}
		for h := Duplicates; h < habits; h++ {
			assert.InDelta(t, n*want[h], counts[h], 10, "%q: %v", text, h)
		}
		// Every part of the crowd has its share.
		for from := 0; from < n; from += 500 {
			some := 0
			for i := range 500 {
				if s.of(from+i) == NeverAsks {
					some++
				}
			}
			assert.InDelta(t, 500*want[NeverAsks], some, 5)
		}
	}
	for text, says := range map[string]string{
		"2": `no habit "2"`, "-0.1": "no habit", "NaN": "no habit", "duplicates": "needs a share of 0 to 1", "duplicates=2": "needs a share",
		"sleeps=0.1": `no habit "sleeps"`, "duplicates=0.6,parallel=0.6": "more than all buyers", "well-behaved=1": "no habit",
	} {
		_, err := ParseShares(text)
		require.ErrorContains(t, err, says, text)
		assert.ErrorContains(t, err, "never-asks=0.02", "it says what to give")
	}
}

func TestMisbehaviourIsCountedAndReachesTheServer(t *testing.T) {
	t.Parallel()
	for habit, buys := range map[Habit]int64{Duplicates: 60 * 4, Parallel: 60 * 5, NeverAsks: 60, HangsUp: 60} {
		t.Run(habit.String(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, 60, breaks{}, func(t *testing.T, f *fake, c Config) {
				c.Misbehave[habit] = 1
				rep := mustRun(t, c)
				assert.Empty(t, rep.Findings)
				assert.Empty(t, rep.Failures, "what a buyer does to itself is no failure")
				assert.Equal(t, map[string]int{habit.String(): 60}, rep.Misbehaved)
				assert.Equal(t, map[string]int{"placed": 60}, rep.Final)
				assert.Equal(t, buys, f.buys.Load())
				if habit == NeverAsks {
					assert.Zero(t, rep.ResultRequests)
				}
				if habit == HangsUp {
					assert.Zero(t, rep.BuyRequests, "nobody has seen an answer to a buy")
				}
			})
		})
	}
}

// While one of two servers is dead, its requests go on to the other at once and
// nobody notices.
func TestADeadServerIsPassedOver(t *testing.T) {
	t.Parallel()
	inBubble(t, 25, breaks{}, func(t *testing.T, f *fake, c Config) {
		var alive atomic.Int64
		dial := c.dial
		c.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, "two.") && alive.Add(-1) < 0 {
				return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
			}
			return dial(ctx, network, addr)
		}
		c.Misbehave[HangsUp] = 0.5
		rep := mustRun(t, c)
		assert.Empty(t, rep.Findings)
		assert.Empty(t, rep.Failures)
		assert.Positive(t, rep.Failovers)
		assert.Zero(t, rep.FailedInARow)
		assert.Equal(t, map[string]int{"placed": 25, "sold_out": 35}, rep.Final)
	})
}

func TestRowsOfFailuresAreCounted(t *testing.T) {
	t.Parallel()
	inBubble(t, 1, breaks{busyFirst: 4}, func(t *testing.T, f *fake, c Config) {
		c.Buyers = 1
		rep := mustRun(t, c)
		assert.Equal(t, map[string]int64{"HTTP 503 unavailable": 2}, rep.Failures)
		assert.EqualValues(t, 2, rep.FailedInARow, "busy is an answer, and none that helps")
	})
}

func TestSeriesHasALimitAndLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := new(run)
		s := &series{r: r, start: time.Now(), width: interval}
		const cuts = 2*maxPoints + 7
		for i := range cuts {
			<-time.After(interval)
			r.buys.record("queued", time.Duration(i)*time.Millisecond)
			if i == 10 {
				left := int64(42)
				s.left.Store(&left)
			}
			s.cut()
		}
		s.end()
		assert.LessOrEqual(t, len(s.points), maxPoints)
		var n int64
		var width, at, slowest time.Duration
		var lefts int
		for _, p := range s.points {
			n += p.Buys["queued"]
			width += p.Width
			assert.Greater(t, p.At, at)
			at, slowest = p.At, max(slowest, p.BuyLatency.Max)
			if p.Left != nil {
				lefts++
			}
		}
		assert.EqualValues(t, cuts, n)
		assert.Equal(t, cuts*interval, width, "no gap")
		assert.Equal(t, width, at)
		assert.InDelta(t, time.Duration(cuts-1)*time.Millisecond, slowest, float64(20*time.Millisecond))
		assert.Equal(t, 1, lefts)
		assert.Regexp(t, `^queued 10/s, p99 1\.\d\d s$`, s.live())
	})
}

func TestReportShowsTheSaleOverTime(t *testing.T) {
	t.Parallel()
	inBubble(t, 300, breaks{settleIn: 2 * time.Second}, func(t *testing.T, f *fake, c Config) {
		c.Buyers, c.Rate = 400, 100
		rep := mustRun(t, c)
		assert.Empty(t, rep.Findings)
		var verdicts, results int64
		var lefts, depths []int64
		for _, p := range rep.Series {
			for _, n := range p.Buys {
				verdicts += n
			}
			for _, n := range p.Results {
				results += n
			}
			if p.Left != nil {
				lefts = append(lefts, *p.Left)
			}
			if p.Stock != nil {
				depths = append(depths, p.Stock.Pending)
			}
		}
		assert.Equal(t, rep.BuyRequests, verdicts)
		assert.Equal(t, rep.ResultRequests, results)
		assert.InDelta(t, 300, lefts[0], 20)
		assert.Zero(t, lefts[len(lefts)-1])
		assert.True(t, slices.IsSortedFunc(lefts, func(a, b int64) int { return int(b - a) }), "the stock only falls: %v", lefts)
		assert.GreaterOrEqual(t, len(depths), 4, "about once a second")
		assert.InDelta(t, 200, slices.Max(depths), 20, "two seconds of a hundred a second: %v", depths)
	})
}

// A script that reads the report finds these names.
func TestReportJSON(t *testing.T) {
	t.Parallel()
	inBubble(t, 25, breaks{dropBefore: 7}, func(t *testing.T, f *fake, c Config) {
		c.Rate, c.Burst, c.Ramp, c.Misbehave[Parallel], c.Phases = 100, 5, 100*time.Millisecond, 0.5, true
		var out bytes.Buffer
		require.NoError(t, mustRun(t, c).WriteJSON(&out))
		var rep map[string]any
		require.NoError(t, json.Unmarshal(out.Bytes(), &rep))
		assert.Equal(t, strings.Fields(`audit burst buy_effort buy_ns buy_per_second buy_requests buyers buys checks concurrency
			failed_in_a_row failovers failures final findings late_starts latest_start_ns loop misbehaved phases prefix ramp_ns rate repeats
			result_effort result_ns result_per_second result_requests results sale series servers started units`), sortedKeys(rep))
		line := rep["buys"].([]any)[0].(map[string]any)
		assert.Equal(t, strings.Fields("count curve max_ns name p50_ns p90_ns p999_ns p99_ns"), sortedKeys(line))
		curve := line["curve"].([]any)
		assert.Equal(t, map[string]any{"p": 100.0, "at_ns": line["max_ns"]}, curve[len(curve)-1])
		names := map[string]bool{}
		for _, p := range rep["series"].([]any) {
			for name := range p.(map[string]any) {
				names[name] = true
			}
		}
		assert.Equal(t, strings.Fields("at_ns buy_latency buys failures left result_latency results stock width_ns"), slices.Sorted(maps.Keys(names)))
	})
}

func TestReportPageStandsAlone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config, *fake){
		"closed": func(*Config, *fake) {},
		"open":   func(c *Config, _ *fake) { c.Rate, c.Misbehave[Duplicates] = 50, 0.5 },
		"phases": func(c *Config, _ *fake) { c.Phases = true },
		"buys":   func(c *Config, _ *fake) { c.BuyOnly = true },
		"lies":   func(_ *Config, f *fake) { f.sharesOrder = true },
		"nobody": func(c *Config, f *fake) { f.unavailable, c.AdminToken = true, "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, 25, breaks{}, func(t *testing.T, f *fake, c Config) {
				change(&c, f)
				rep := mustRun(t, c)
				rep.Findings = append(rep.Findings, `<script src="http://evil.test">`)
				var b strings.Builder
				require.NoError(t, rep.WriteHTML(&b))
				html := b.String()
				for _, outside := range []string{"<script", "<link", "<img", "<iframe", "src=\"", "href=", "url(", "@import", "NaN", "Inf", "ZgotmplZ"} {
					assert.NotContains(t, html, outside)
				}
				assert.NotContains(t, strings.ReplaceAll(html, "&lt;script src=&#34;http://evil.test", ""), "http://")
				assert.Contains(t, html, "one.test")

				dec := xml.NewDecoder(strings.NewReader(html))
				dec.Strict, dec.AutoClose, dec.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
				seen := map[string]int{}
				for {
					token, err := dec.Token()
					if errors.Is(err, io.EOF) {
						break
					}
					require.NoError(t, err)
					if e, ok := token.(xml.StartElement); ok {
						seen[e.Name.Local]++
						for _, a := range e.Attr {
							if a.Name.Local == "d" {
								assert.Regexp(t, `^(M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)+Z?)+$`, a.Value)
							}
						}
					}
				}
				assert.Equal(t, seen["figure"], seen["svg"])
				assert.GreaterOrEqual(t, seen["figure"], map[string]int{"nobody": 0, "buys": 1, "open": 6}[name])
			})
		})
	}
}

// Their processor time is read from the operations listeners, and compared with
// the load's own.
func TestEffortOfBothSides(t *testing.T) {
	t.Parallel()
	f := newFake(25, breaks{settleIn: time.Millisecond})
	srv := httptest.NewServer(f)
	defer srv.Close()
	var seconds atomic.Int64
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "# HELP process_cpu_seconds_total Time.\nprocess_cpu_seconds_total "+string(rune('0'+seconds.Add(1)))+".5e-03\n")
	}))
	defer ops.Close()
	c := Config{
		Servers: []string{srv.URL}, Ops: []string{ops.URL}, Sale: 7, Buyers: 60, Concurrency: 20,
		Token:      func(buyer string) (string, error) { return buyer, nil },
		AdminToken: adminToken, Settle: 20 * time.Second,
	}
	rep := mustRun(t, c)
	assert.Equal(t, time.Millisecond, rep.BuyEffort.Servers.Round(time.Microsecond))
	assert.GreaterOrEqual(t, rep.BuyEffort.Requests, int64(60))
	assert.Positive(t, rep.BuyEffort.Load)
	assert.Zero(t, rep.ResultEffort)
	assert.Contains(t, strings.Join(rep.about(), "\n"), "at the servers")

	c.Ops = []string{srv.URL}
	_, err := Run(t.Context(), c)
	require.ErrorContains(t, err, "give the operations listener of each server")
}
