package redisgate

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
	"seckill/internal/gate/gatetest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func TestMain(m *testing.M) {
	gatetest.FewChecks()
	stacktest.Main(leaktest{m})
}

// leaktest fails a run that leaves goroutines behind.
type leaktest struct{ *testing.M }

func (m leaktest) Run() int {
	code := m.M.Run()
	if code == 0 {
		if err := goleak.Find(
			goleak.IgnoreAnyFunction("seckill/internal/stack.spawn.func1"),
			// The client closes connections of a cluster's old layout some seconds later.
			goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"),
		); err != nil {
			fmt.Println("goroutines are left behind:", err)
			code = 1
		}
	}
	return code
}

func TestConforms(t *testing.T) {
	t.Parallel()
	gatetest.Run(t, openTest)
}

func TestAdmitsByTheRule(t *testing.T) {
	t.Parallel()
	gatetest.RunAdmission(t, openFast(t))
}

func TestAgreesWithItsModel(t *testing.T) {
	t.Parallel()
	gatetest.RunModel(t, openFast(t))
}

func TestIsLinearizable(t *testing.T) {
	t.Parallel()
	gatetest.RunHistories(t, openFast(t))
}

// openFast opens gates on a Redis that does not wait for its disk: thousands
// of random steps are about what is decided, not about what is durable.
func openFast(t *testing.T) func(t testing.TB, limit int) gatetest.Subject {
	e := stacktest.Own(t, stack.KindRedis)
	admin := administers(t, e)
	require.NoError(t, admin.Do(context.Background(), admin.B().ConfigSet().ParameterValue().ParameterValue("appendfsync", "no").Build()).Error())
	return func(t testing.TB, limit int) gatetest.Subject {
		return gateAt(t, e.URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", limit, gatetest.NewClock())
	}
}

func openTest(t testing.TB, limit int) gatetest.Subject {
	return gateAt(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", limit, gatetest.NewClock())
}

// exactLeft is a gate whose hint of what is left is exact, as the suite wants it:
// what a node shows may be a moment old.
type exactLeft struct{ *Gate }

func (g exactLeft) Left(id seckill.SaleID) (int64, bool) {
	cut, err := g.Cut(context.Background(), id)
	return max(0, cut.Left), err == nil
}

// gateAt opens a gate with keys of its own and closes it after the test.
func gateAt(t testing.TB, url, prefix string, limit int, c *gatetest.Clock) gatetest.Subject {
	t.Helper()
	g := runGate(t, url, prefix, limit, func(g *Gate) { g.clock = c.Now })
	again := func(t testing.TB) gatetest.Subject { t.Helper(); return gateAt(t, url, prefix, limit, c) }
	return gatetest.Subject{Gate: exactLeft{g}, Clock: c, Outlives: true, Reopen: again, Crash: again}
}

// runGate runs a gate until the test is over, and waits until it is connected. What a
// test sets otherwise is set before Run, which reads it.
func runGate(t testing.TB, url, prefix string, limit int, set ...func(*Gate)) *Gate {
	t.Helper()
	return runGateOf(t, Settings{Address: url, Outbox: limit}, prefix, set...)
}

// runGateOf is runGate with other settings. Its log and its seals are the tests'.
func runGateOf(t testing.TB, s Settings, prefix string, set ...func(*Gate)) *Gate {
	t.Helper()
	s.Log, s.Seals = slog.New(slog.DiscardHandler), sealsOf(t, "the tests' secret")
	g, err := Open(s)
	require.NoError(t, err)
	g.prefix = prefix
	patient(time.Minute)(g) // the machine may be busy
	for _, f := range set {
		f(g)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); g.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-over })
	until(t, "connected to Redis", func() bool { return len(g.broken()) == 0 })
	until(t, "Redis is tied to the test's store", func() bool { return g.Belong(ctx, "ours") == nil })
	return g
}

func sealsOf(t testing.TB, secrets ...string) *seckill.Seals {
	t.Helper()
	var all [][]byte
	for _, secret := range secrets {
		all = append(all, []byte(secret))
	}
	s, err := seckill.NewSeals(all...)
	require.NoError(t, err)
	return s
}

// patient sets how long one call of a gate may take, also to its client.
func patient(d time.Duration) func(*Gate) {
	return func(g *Gate) {
		g.patience, g.options.ConnWriteTimeout, g.options.Dialer.Timeout = d, d, d
	}
}

// onSale puts sale 1 on sale, two units for each buyer at most.
func onSale(t testing.TB, g *Gate, units int64) seckill.Sale {
	t.Helper()
	sale := seckill.Sale{ID: 1, Version: 1, Epoch: 1, Total: units, LimitPerBuyer: 2, OpensAt: time.Now().Add(-time.Hour), ClosesAt: time.Now().Add(time.Hour)}
	_, err := g.Shut(context.Background(), []seckill.SaleID{sale.ID})
	require.NoError(t, err)
	require.NoError(t, g.Load(context.Background(), []seckill.Snapshot{{Sale: sale}}))
	return sale
}

// administers returns a client that may do everything, until the test is over.
func administers(t testing.TB, e *stack.Engine) rueidis.Client {
	t.Helper()
	options, err := rueidis.ParseURL(e.AdminURL())
	require.NoError(t, err)
	options.DisableCache = true
	admin, err := rueidis.NewClient(options)
	require.NoError(t, err)
	t.Cleanup(admin.Close)
	return admin
}

// until waits for something that happens at once on a machine that is not busy.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick, patience := time.NewTicker(5*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-patience:
			require.FailNow(t, "did not happen", what)
		}
	}
}

func TestAnybodyMayAskForAnySale(t *testing.T) {
	t.Parallel()
	g := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	for i := range 100 {
		_, err := g.Find(t.Context(), seckill.SaleID(1000+i), "ann", "")
		require.ErrorIs(t, err, seckill.ErrClosed)
	}
	require.Empty(t, g.views, "of what does not exist nothing is remembered")
}

// A node has as many connections to Redis as it is told, whoever calls at once, and a
// few more for very long calls.
func TestConnectionsAreAsManyAsSaid(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 8} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			name := "seckill-" + strings.ToLower(rand.Text()[:8])
			redis := stacktest.Shared(t, stack.KindRedis)
			g := runGateOf(t, Settings{Address: redis.URL(), Outbox: 10, Connections: n}, "seckill:"+name+":", func(g *Gate) { g.options.ClientName = name })
			count := func() int {
				list, err := redis.AskRedis(t.Context(), "CLIENT", "LIST")
				require.NoError(t, err)
				return strings.Count(list, "name="+name+" ")
			}
			client, err := g.up(0)
			require.NoError(t, err)
			var asking sync.WaitGroup
			for i := range 400 {
				asking.Go(func() {
					client.Do(t.Context(), client.B().Get().Key(g.prefix+strconv.Itoa(i)).Build())
				})
			}
			stacktest.AwaitAll(t, "Redis answers", &asking)
			require.Equal(t, n, count())
			for range 3 * longPool {
				asking.Go(func() {
					long := make(rueidis.Commands, 2000)
					for i := range long {
						long[i] = client.B().Get().Key(g.prefix + strconv.Itoa(i)).Build()
					}
					client.DoMulti(t.Context(), long...)
				})
			}
			stacktest.AwaitAll(t, "Redis answers", &asking)
			require.LessOrEqual(t, count(), n+longPool)
		})
	}
}

// A page that nobody has asked a node for in minutes shows what the gate holds now, and
// not what it held then or what the store has settled since.
func TestWhatIsLeftIsKnownHoweverSeldomItIsAsked(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":"
	g, other := runGate(t, url, prefix, 10), runGate(t, url, prefix, 10)
	sale := onSale(t, g, 3)
	left, ok := other.Left(sale.ID)
	require.True(t, ok)
	require.EqualValues(t, 3, left)
	for _, buyer := range []string{"ann", "bob", "cid"} {
		admit(t, g, sale.ID, buyer) // no outcome: settling is behind
	}
	v := other.view(sale.ID)
	until(t, "nothing is left", func() bool { // a look may take longer than anybody waits for it
		v.mu.Lock()
		v.at = time.Now().Add(-5 * time.Minute)
		v.mu.Unlock()
		left, ok = other.Left(sale.ID)
		return ok && left == 0
	})
}

// While Redis hangs, who asks for many sales waits once, and not for each of them.
func TestManySalesAreLookedAtTogether(t *testing.T) {
	t.Parallel()
	hangs := farAway(t)
	g := runGateOf(t, Settings{Address: hangs.url, Outbox: 10}, "seckill:"+strings.ToLower(rand.Text()[:12])+":",
		func(g *Gate) { g.options.ConnWriteTimeout = callTimeout }) // so soon it gives up what hangs, when the test is over
	sale := onSale(t, g, 3)
	ids := make([]seckill.SaleID, 100)
	for i := range ids {
		ids[i] = seckill.SaleID(i + 1)
	}
	left := func() (known int) {
		g.Refresh(t.Context(), ids)
		for _, id := range ids {
			if left, ok := g.Left(id); ok && id == sale.ID && left == 3 {
				known++
			}
		}
		return known
	}
	until(t, "it is known what is left", func() bool { return left() == 1 })
	hangs.stop()
	for _, id := range ids {
		v := g.view(id)
		v.mu.Lock()
		v.at = time.Time{}
		v.mu.Unlock()
	}
	began := time.Now()
	require.Zero(t, left())
	require.Less(t, time.Since(began), time.Duration(len(ids))*lookWait/4)
}
