package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"seckill"
	"seckill/internal/client"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp lets it sleep until the connections that it watched are old.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

func mustRun(t *testing.T, c Config) *Report {
	t.Helper()
	rep, err := Run(t.Context(), c)
	require.NoError(t, err)
	return rep
}

func TestAnHonestServerHasNoFindings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		units  int64
		breaks breaks
		change func(*Config)
		want   map[string]int // nil: not looked at
	}{
		{name: "more buyers than units", units: 25, want: map[string]int{"placed": 25, "sold_out": 35}},
		{name: "more units than buyers", units: 100, want: map[string]int{"placed": 60}},
		{name: "several units each", units: 40, change: func(c *Config) { c.Quantity = [2]int{1, 3} }},
		{name: "two units each of an odd number", units: 41, change: func(c *Config) { c.Quantity = [2]int{2, 2} }, want: map[string]int{"placed": 20, "sold_out": 40}},
		{name: "repeats", units: 25, change: func(c *Config) { c.Repeats = 5 }, want: map[string]int{"placed": 25, "sold_out": 35}},
		{name: "refusals whose units are sold again", units: 25, breaks: breaks{refuses: 5}},
		{name: "paused", units: 25, breaks: breaks{paused: true}, want: map[string]int{"paused": 60}},
		{name: "one buyer", units: 1, change: func(c *Config) { c.Buyers = 1 }, want: map[string]int{"placed": 1}},
		{name: "no admin token", units: 25, change: func(c *Config) { c.AdminToken = "" }, want: map[string]int{"placed": 25, "sold_out": 35}},
		{name: "buys only", units: 25, change: func(c *Config) { c.BuyOnly = true }, want: map[string]int{"queued": 25, "sold_out": 35}},
		{name: "open loop", units: 25, change: func(c *Config) { c.Rate, c.Burst, c.Ramp = 100, 10, 200*time.Millisecond }, want: map[string]int{"placed": 25, "sold_out": 35}},
		{name: "open loop, all at once", units: 25, change: func(c *Config) { c.Burst = 60 }, want: map[string]int{"placed": 25, "sold_out": 35}},
		{name: "phases", units: 25, change: func(c *Config) { c.Phases = true }, want: map[string]int{"placed": 25, "sold_out": 35}},
		{name: "phases in the open loop", units: 25, change: func(c *Config) { c.Phases, c.Rate = true, 50 }, want: map[string]int{"placed": 25, "sold_out": 35}},
		{name: "phases, slow to settle", units: 25, breaks: breaks{settleIn: 15 * time.Second}, change: func(c *Config) { c.Phases = true }, want: map[string]int{"placed": 25, "sold_out": 35}},
		{name: "misbehaving buyers", units: 25, change: func(c *Config) { c.Misbehave = Shares{0, 0.2, 0.2, 0.2, 0.2} }, want: map[string]int{"placed": 25, "sold_out": 35}},
		{name: "misbehaving buyers, all admitted, in phases", units: 60, change: func(c *Config) { c.Phases, c.Misbehave = true, Shares{0, 0.25, 0.25, 0.25, 0.25} }, want: map[string]int{"placed": 60}},
		{name: "misbehaving buyers who only buy", units: 60, change: func(c *Config) { c.BuyOnly, c.Misbehave = true, Shares{0, 0.25, 0.25, 0.25, 0.25} }, want: map[string]int{"queued": 60}},
		{name: "slow to settle", units: 25, breaks: breaks{settleIn: 15 * time.Second}, want: map[string]int{"placed": 25, "sold_out": 35}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, tt.units, tt.breaks, func(t *testing.T, f *fake, c Config) {
				if tt.change != nil {
					tt.change(&c)
				}
				rep := mustRun(t, c)
				assert.Empty(t, rep.Findings)
				assert.Empty(t, rep.Failures)
				if tt.want != nil {
					assert.Equal(t, tt.want, rep.Final)
				}
				assert.Len(t, rep.Checks, 13, "every rule is in the report")
			})
		})
	}
}

// Faults of the network and of a busy server are no findings: the buyers live
// through them, and the report counts them.
func TestFaultsAreLivedThroughAndCounted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		breaks  breaks
		repeats int
		failure string
	}{
		{"503 first", breaks{busyFirst: 50}, 1, "HTTP 503 unavailable"},
		{"requests that never arrive", breaks{dropBefore: 3}, 1, "connection closed"},
		{"answers that get lost", breaks{dropAfter: 3}, 1, "connection closed"},
		{"answers that get lost, with repeats", breaks{dropAfter: 3}, 4, "connection closed"},
		{"an admission that shows up late", breaks{swallows: true}, 1, "HTTP 503 unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, 25, tt.breaks, func(t *testing.T, f *fake, c Config) {
				c.Repeats = tt.repeats
				rep := mustRun(t, c)
				assert.Empty(t, rep.Findings)
				assert.Positive(t, rep.Failures[tt.failure], "failures: %v", rep.Failures)
				assert.Equal(t, 25, rep.Final["placed"])
			})
		})
	}
}

func TestEachBrokenRuleIsFound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		breaks breaks
		change func(*Config)
		rule   string
		says   string
	}{
		{"oversells", breaks{oversells: true}, nil, ruleNoOversell, "60 units were placed in this run, and the sale has 25"},
		{"forgets a ticket", breaks{losesTicket: true}, nil, ruleNoLostAccept, "404 not_found"},
		{"never settles a ticket", breaks{neverSettles: true}, nil, ruleNoLostAccept, "no outcome 20s after the last buy"},
		{"two tickets for one buyer", breaks{twoTickets: true}, func(c *Config) { c.Repeats = 3 }, ruleOneTicket, "another answer names"},
		{"one ticket for two buyers", breaks{sharesTicket: true}, nil, ruleDistinctIDs, "has the same ticket"},
		{"one order for two buyers", breaks{sharesOrder: true}, nil, ruleDistinctIDs, "has the same order"},
		{"two tickets for one who buys twice", breaks{twoTickets: true}, func(c *Config) { c.Misbehave[Duplicates] = 1 }, ruleOneTicket, "another answer names"},
		{"two tickets for one who clicks twice", breaks{twoTickets: true}, func(c *Config) { c.Misbehave[Parallel] = 1 }, ruleOneTicket, "another answer names"},
		{"forgets a ticket that nobody asks for", breaks{losesTicket: true}, func(c *Config) { c.Misbehave[NeverAsks] = 1 }, ruleNoLostAccept, "404 not_found"},
		{"one ticket for two who hang up", breaks{sharesTicket: true}, func(c *Config) { c.Misbehave[HangsUp] = 1 }, ruleDistinctIDs, "has the same ticket"},
		{"forgets a ticket, and buying comes first", breaks{losesTicket: true}, func(c *Config) { c.Phases = true }, ruleNoLostAccept, "404 not_found"},
		{"changes an outcome", breaks{changes: true}, nil, ruleStable, "and later 200 refused sold_out"},
		{"shows orders to others", breaks{showsOrders: true}, nil, ruleOwnerOnly, "was answered 200"},
		{"an order with another quantity", breaks{wrongOrder: true}, nil, ruleOwnOrder, "quantity 2"},
		{"keeps units unsold", breaks{stuckFlag: true}, nil, ruleNoUndersell, "the gate holds 24"},
		{"an audit that is not ok", breaks{auditSad: true}, nil, ruleAudit, "counter: sold 4, rows 5"},
		{"an audit that never rests", breaks{auditRestless: true}, nil, ruleAudit, "1 units pending"},
		{"a unit that vanished", breaks{auditLeaks: true}, nil, ruleConservation, "and the total is 25"},
		{"an order that vanished", breaks{auditForgets: true}, nil, ruleActive, "the audit counts 24 active units"},
		{"an answer outside of the contract", breaks{html: true}, nil, ruleContract, "200 with a body that is not the promised JSON"},
		{"never a verdict", breaks{unavailable: true}, nil, ruleAnswered, "got no verdict"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, 25, tt.breaks, func(t *testing.T, f *fake, c Config) {
				if tt.change != nil {
					tt.change(&c)
				}
				rep := mustRun(t, c)
				var found []string
				for _, line := range rep.Findings {
					if strings.HasPrefix(line, tt.rule+": ") {
						found = append(found, line)
					}
				}
				require.NotEmpty(t, found, "all findings: %q", rep.Findings)
				assert.LessOrEqual(t, len(found), maxShown+1, "a flood of findings is a number")
				assert.Contains(t, strings.Join(found, "\n"), tt.says)
				for _, check := range rep.Checks {
					if check.Name == tt.rule {
						assert.False(t, check.OK || check.Skipped)
					}
				}
			})
		})
	}
}

func TestFindingsOfAKindAreCapped(t *testing.T) {
	t.Parallel()
	inBubble(t, 60, breaks{wrongOrder: true}, func(t *testing.T, f *fake, c Config) {
		rep := mustRun(t, c)
		require.Len(t, rep.Findings, maxShown+1)
		assert.Equal(t, "own orders readable: 40 more of this kind, 60 in all", rep.Findings[maxShown])
	})
}

// Units that come back while the flag still says sold out are offered to those
// who were turned away: only what they then leave is an undersell.
func TestTurnedAwayBuyersAskAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, 25, breaks{refuses: 5}, func(t *testing.T, f *fake, c Config) {
		rep := mustRun(t, c)
		assert.Empty(t, rep.Findings)
		assert.Equal(t, 25, rep.Final["placed"])
		assert.Positive(t, rep.Final["refused: poison"])
		assert.Zero(t, rep.Audit.Gate)
	})
}

// Where the server trusts this machine each buyer is a network of its own, and nobody waits
// for a pass. Elsewhere all share one network's limit: the stage takes its time, longer than
// Settle, and goes on as long as anybody gets an answer.
func TestPassesAreFetchedForALargeCrowd(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]breaks{"trusted": {passRate: 2}, "not trusted": {passRate: 2, untrusting: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, 25, b, func(t *testing.T, f *fake, c Config) {
				c.Solve = func(seckill.SaleID, string, []byte) (map[string]string, int64, error) { return nil, 0, nil }
				c.Buyers, c.Settle = 30, 3*time.Second
				rep := mustRun(t, c)
				assert.Empty(t, rep.Findings)
				if b.untrusting {
					assert.Greater(t, time.Since(f.born), 15*time.Second)
				} else {
					assert.Empty(t, rep.Failures)
				}
			})
		})
	}
}

func TestAnExistingSaleMayHaveOtherBuyers(t *testing.T) {
	t.Parallel()
	inBubble(t, 25, breaks{}, func(t *testing.T, f *fake, c Config) {
		c.Buyers = 10
		first := mustRun(t, c)
		second := mustRun(t, c)
		assert.Empty(t, first.Findings)
		assert.Empty(t, second.Findings)
		assert.NotEqual(t, first.Prefix, second.Prefix)
		assert.EqualValues(t, 20, second.Audit.Active)
	})
}

// Orders whose hold has ended may have gone back to the sale: counting them as
// oversold or missing would be wrong.
func TestExpiredOrdersAreNotCompared(t *testing.T) {
	t.Parallel()
	inBubble(t, 25, breaks{settleIn: 5 * time.Second}, func(t *testing.T, f *fake, c Config) {
		f.sale.HoldSeconds = 3
		rep := mustRun(t, c)
		assert.Empty(t, rep.Findings)
		for _, check := range rep.Checks {
			if check.Name == ruleNoOversell || check.Name == ruleActive {
				assert.True(t, check.Skipped, check.Name)
			}
		}
	})
}

func TestOneUnitIsBoughtWithoutABody(t *testing.T) {
	t.Parallel()
	for quantity, want := range map[int]string{1: "none", 2: "application/json"} {
		inBubble(t, 25, breaks{}, func(t *testing.T, f *fake, c Config) {
			c.Buyers, c.Quantity = 1, [2]int{quantity, quantity}
			mustRun(t, c)
			assert.Equal(t, want, f.sent)
		})
	}
}

func TestRunRefusesToStartInVain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		breaks breaks
		change func(*Config)
		says   string
	}{
		{"unknown sale", breaks{}, func(c *Config) { c.Sale = 8 }, "knows no sale 8"},
		{"above the limit", breaks{}, func(c *Config) { c.Quantity = [2]int{1, 6} }, "limit of 5 per buyer"},
		{"foreign tokens", breaks{forbids: true}, nil, "mint them with the server's own secret"},
		{"not an admin", breaks{}, func(c *Config) { c.AdminToken = "somebody" }, "does not accept the admin token"},
		{"no token", breaks{}, func(c *Config) {
			c.Token = func(string) (string, error) { return "", errors.New("no entropy") }
		}, "no entropy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, 25, tt.breaks, func(t *testing.T, f *fake, c Config) {
				if tt.change != nil {
					tt.change(&c)
				}
				_, err := Run(t.Context(), c)
				require.ErrorContains(t, err, tt.says)
				assert.Zero(t, f.buys.Load(), "nobody bought")
			})
		})
	}
}

func TestRunEndsWhenTheServerIsGone(t *testing.T) {
	t.Parallel()
	inBubble(t, 25, breaks{}, func(t *testing.T, f *fake, c Config) {
		f.gone.Store(true)
		start := time.Now()
		_, err := Run(t.Context(), c)
		require.ErrorContains(t, err, "connection closed")
		assert.LessOrEqual(t, time.Since(start), c.Settle+c.Timeout)
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{
		"while asking for outcomes": 2 * time.Second,
		"while waiting for a retry": 700 * time.Millisecond,
		"before the first request":  0,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, 25, breaks{settleIn: time.Hour, busyFirst: 30}, func(t *testing.T, f *fake, c Config) {
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				start := time.Now()
				_, err := Run(ctx, c)
				require.Error(t, err)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, after, time.Since(start), "at once")
			})
		})
	}
}

func TestFreshCreatesAnOpenSale(t *testing.T) {
	t.Parallel()
	inBubble(t, 25, breaks{}, func(t *testing.T, f *fake, c Config) {
		id, err := fresh(t.Context(), c.Servers[0], adminToken, 25, 3, time.Hour, seckill.Access{}, c.dial)
		require.NoError(t, err)
		assert.Equal(t, seckill.SaleID(7), id)

		raw, err := json.Marshal(f.created)
		require.NoError(t, err)
		var s seckill.Sale
		require.NoError(t, json.Unmarshal(raw, &s))
		require.NoError(t, s.Validate())
		assert.Equal(t, seckill.Queued, s.Window(time.Now()))
		assert.EqualValues(t, 25, s.Total)
		assert.Equal(t, 3, s.LimitPerBuyer)
		assert.Equal(t, 3600, s.HoldSeconds)

		_, err = fresh(t.Context(), c.Servers[0], "somebody", 25, 3, time.Hour, seckill.Access{}, c.dial)
		require.ErrorContains(t, err, "does not accept the admin token")
	})
}

// Over real connections, with no fake time: what the bubble cannot show.
func TestOverTheNetwork(t *testing.T) {
	t.Parallel()
	f := newFake(25, breaks{settleIn: time.Millisecond, dropAfter: 7})
	srv := httptest.NewServer(f)
	defer srv.Close()
	var progress bytes.Buffer
	rep := mustRun(t, Config{
		Servers: []string{srv.URL}, Sale: 7, Buyers: 60, Concurrency: 20, Repeats: 2,
		Token:      func(buyer string) (string, error) { return buyer, nil },
		AdminToken: adminToken, Settle: 20 * time.Second, Progress: &progress,
	})
	assert.Empty(t, rep.Findings)
	assert.Equal(t, 25, rep.Final["placed"])
	assert.Positive(t, rep.BuyRate)
	assert.Contains(t, progress.String(), "buying       60 of 60, ")
}

func TestARequestOnTheWayEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		cancel()
		<-req.Context().Done() // the client has gone
	}))
	defer srv.Close()
	_, err := Run(ctx, Config{
		Servers: []string{srv.URL}, Sale: 7, Buyers: 1, Concurrency: 1,
		Token: func(buyer string) (string, error) { return buyer, nil },
	})
	assert.ErrorIs(t, err, context.Canceled)
}

func TestFailuresHaveShortNames(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"timeout":            fasthttp.ErrTimeout,
		"connection closed":  fasthttp.ErrConnectionClosed,
		"connection refused": &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		"no such host":       errors.New("no such host"),
	} {
		assert.Equal(t, want, failure(err))
	}
}

func TestPollsSpreadAndSlowDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		asked    int // poll_after_ms
		polls    int
		from, to time.Duration
	}{
		{0, 0, 375 * time.Millisecond, 625 * time.Millisecond},
		{200, 0, 150 * time.Millisecond, 250 * time.Millisecond},
		{200, 1, 225 * time.Millisecond, 375 * time.Millisecond},
		{200, 100, maxPoll * 3 / 4, maxPoll * 5 / 4},
		{1, 0, minPoll * 3 / 4, minPoll * 5 / 4},
		{3_600_000, 0, maxPoll * 3 / 4, maxPoll * 5 / 4},
	} {
		for range 50 {
			got := pollAfter(reply{Said: client.Said{PollAfterMS: tt.asked}}, tt.polls)
			assert.GreaterOrEqual(t, got, tt.from)
			assert.LessOrEqual(t, got, tt.to)
		}
	}
}

func TestSamplesAreDistinct(t *testing.T) {
	t.Parallel()
	all := make([]*buyer, checkAll+1)
	for i := range all {
		all[i] = &buyer{n: i}
	}
	assert.Len(t, sampleOf(all[:checkAll]), checkAll, "few enough to ask all")
	some := make(map[*buyer]bool)
	for _, b := range sampleOf(all) {
		some[b] = true
	}
	assert.Len(t, some, checkSample)
}

func TestConfigSaysWhatToDo(t *testing.T) {
	t.Parallel()
	good := Config{
		Servers: []string{"http://127.0.0.1:8080"}, Sale: 1, Buyers: 10, Concurrency: 20,
		Token: func(string) (string, error) { return "", nil },
	}
	c, err := good.withDefaults()
	require.NoError(t, err)
	assert.Equal(t, [2]int{1, 1}, c.Quantity)
	assert.Equal(t, 1, c.Repeats)
	assert.Equal(t, 10, c.Concurrency, "never more than there are buyers")
	assert.True(t, seckill.ValidBuyer(buyerID(c.Prefix, 0)))

	for name, tt := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no server":            {func(c *Config) { c.Servers = nil }, "give at least one address"},
		"server without http":  {func(c *Config) { c.Servers = []string{"127.0.0.1:8080"} }, "give a base address such as"},
		"server with a query":  {func(c *Config) { c.Servers = []string{"http://a/?b=c"} }, "give a base address such as"},
		"no sale":              {func(c *Config) { c.Sale = 0 }, "create one with Fresh"},
		"no buyers":            {func(c *Config) { c.Buyers = 0 }, "give 1 to"},
		"too many buyers":      {func(c *Config) { c.Buyers = MaxBuyers + 1 }, "give 1 to"},
		"no concurrency":       {func(c *Config) { c.Concurrency = 0 }, "concurrency 0: give 1 or more"},
		"too many connections": {func(c *Config) { c.Buyers, c.Concurrency, c.Repeats = 1000, 1000, 100 }, "lower one of them"},
		"repeats":              {func(c *Config) { c.Repeats = -1 }, "-1 repeats"},
		"quantity upside down": {func(c *Config) { c.Quantity = [2]int{3, 1} }, "the lower number first"},
		"quantity too large":   {func(c *Config) { c.Quantity = [2]int{1, 1001} }, "within 1 to 1000"},
		"no token":             {func(c *Config) { c.Token = nil }, "set Token"},
		"long prefix":          {func(c *Config) { c.Prefix = strings.Repeat("x", 60) }, "stay within 64"},
		"unprintable prefix":   {func(c *Config) { c.Prefix = "a\nb" }, "printable"},
		"negative timeout":     {func(c *Config) { c.Timeout = -1 }, "timeout"},
		"negative rate":        {func(c *Config) { c.Rate = -1 }, "arrivals per second"},
		"a rate of nothing":    {func(c *Config) { c.Rate = math.NaN() }, "arrivals per second"},
		"negative burst":       {func(c *Config) { c.Burst = -1 }, "burst -1"},
		"burst and no more":    {func(c *Config) { c.Burst = 5 }, "give a rate too"},
		"ramp to nowhere":      {func(c *Config) { c.Ramp = time.Second }, "a rate to grow to"},
		"two kinds of phases":  {func(c *Config) { c.Phases, c.BuyOnly = true, true }, "choose one"},
		"operations listener":  {func(c *Config) { c.Ops = []string{"127.0.0.1:9090"} }, "give a base address such as"},
		"negative settle":      {func(c *Config) { c.Settle = -1 }, "settle"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good
			tt.change(&c)
			_, err := Run(t.Context(), c)
			require.ErrorContains(t, err, tt.says)
		})
	}
}
