package gate

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
)

func TestRedis(t *testing.T) {
	t.Parallel()
	testGate(t, openTestRedis)
}

func TestRedisModel(t *testing.T) {
	t.Parallel()
	testModel(t, openFastRedis(t))
}

func TestRedisLinear(t *testing.T) {
	t.Parallel()
	testLinear(t, openFastRedis(t))
}

// A request that Redis sees only after its caller was told that nothing is known
// decides nothing: the buyer may have learned since that there is no ticket.
func TestALateReserveDecidesNothing(t *testing.T) {
	t.Parallel()
	e := stack.Own(t, stack.KindRedis)
	g := runRedis(t, e.URL(), "seckill:", 10)
	g.patience = 300 * time.Millisecond
	ctx := context.Background()
	sale := onSale(t, g, 5)
	_, err := g.Reserve(ctx, sale.ID, "zoe", 1) // now Redis knows the script
	require.NoError(t, err)

	admin := administers(t, e)
	// Redis keeps writes waiting for twice as long as anybody waits for them.
	require.NoError(t, admin.Do(ctx, admin.B().ClientPause().Timeout(2*g.patience.Milliseconds()).Write().Build()).Error())
	_, err = g.Reserve(ctx, sale.ID, "ada", 1)
	require.ErrorIs(t, err, seckill.ErrUnavailable)

	until(t, "Redis takes writes again", func() bool {
		a, err := g.Reserve(ctx, sale.ID, "bob", 1)
		return err == nil && a.Verdict == seckill.Queued
	})
	_, err = g.Find(ctx, sale.ID, "ada", "")
	require.ErrorIs(t, err, seckill.ErrNotFound)
	cut, err := g.Cut(ctx, sale.ID)
	require.NoError(t, err)
	require.EqualValues(t, 3, cut.Left)
}

// What a stopping node has taken from the outbox and not sent is another's at
// once; what a dead one has, when it has been silent for outboxClaim.
func TestAStoppingNodeHandsBackWhatItHasTaken(t *testing.T) {
	t.Parallel()
	url, prefix := stack.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":"
	other := runRedis(t, url, prefix, 10)
	stopping, err := OpenRedis(url, 10, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	stopping.prefix = prefix
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); stopping.Run(ctx) }()
	until(t, "connected", func() bool { return stopping.Ping(ctx) == nil })
	require.NoError(t, stopping.Belong(ctx, "ours"))

	sale := onSale(t, stopping, 5)
	a, err := stopping.Reserve(ctx, sale.ID, "ann", 1)
	require.NoError(t, err)
	taken, err := stopping.Unsent(ctx, 10)
	require.NoError(t, err)
	require.Equal(t, a.Ticket, taken[0].ID)
	claimed, err := other.claim(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, claimed, "it may be on its way")
	stop()
	<-over
	claimed, err = other.claim(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, taken, claimed)
}

// An answer that was lost on the way had taken entries from the outbox: they are
// this node's, and nobody else sends them before it is believed dead.
func TestEntriesOfALostAnswerAreReadAgain(t *testing.T) {
	t.Parallel()
	g := runRedis(t, stack.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	ctx := t.Context()
	sale := onSale(t, g, 5)
	a, err := g.Reserve(ctx, sale.ID, "ann", 1)
	require.NoError(t, err)
	b := bucket(sale.ID)
	client, err := g.up(b)
	require.NoError(t, err)
	// Redis hands them out, and nobody hears of it.
	require.NoError(t, g.group(ctx, client, b))
	require.NoError(t, client.Do(ctx, client.B().Xreadgroup().Group(outboxGroup, g.node).Count(9).Streams().Key(g.outbox(b)).Id(">").Build()).Error())
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = g.Unsent(gone, 10)
	require.Error(t, err)
	soon, cancel := context.WithTimeout(ctx, outboxClaim/2) // then anybody could claim it
	defer cancel()
	taken, err := g.Unsent(soon, 10)
	require.NoError(t, err)
	require.Len(t, taken, 1)
	require.Equal(t, a.Ticket, taken[0].ID)
}

// An answer that held more than is read at once is read again page by page, and
// what the relay has meanwhile is not handed out a second time.
func TestALostAnswerIsReadAgainPageByPage(t *testing.T) {
	t.Parallel()
	g := runRedis(t, stack.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	ctx := t.Context()
	sale := onSale(t, g, 9)
	var admitted []string
	for _, buyer := range []string{"ann", "bob", "cid", "dan", "eve", "fay", "guy"} {
		a, err := g.Reserve(ctx, sale.ID, buyer, 1)
		require.NoError(t, err)
		admitted = append(admitted, a.Ticket)
	}
	soon, cancel := context.WithTimeout(ctx, outboxClaim/2) // then anybody could claim them
	defer cancel()
	take := func() (got []string) {
		tickets, err := g.Unsent(soon, 2)
		require.NoError(t, err)
		return ids(tickets)
	}
	taken := take()
	require.Equal(t, admitted[:2], taken)
	b := bucket(sale.ID)
	client, err := g.up(b)
	require.NoError(t, err)
	require.NoError(t, client.Do(ctx, client.B().Xreadgroup().Group(outboxGroup, g.node).Count(4).Streams().Key(g.outbox(b)).Id(">").Build()).Error())
	g.mishears(b, context.DeadlineExceeded)
	for len(taken) < len(admitted) {
		taken = append(taken, take()...)
	}
	require.Equal(t, admitted, taken, "each once")
}

// The relay may hold what it has read for longer than a dead node is waited for,
// while the broker is away. It does not claim that from itself; others may.
func TestARelayClaimsNothingFromItself(t *testing.T) {
	t.Parallel()
	url, prefix := stack.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":"
	g, other := runRedis(t, url, prefix, 10), runRedis(t, url, prefix, 10)
	ctx := t.Context()
	sale := onSale(t, g, 5)
	_, err := g.Reserve(ctx, sale.ID, "ann", 1)
	require.NoError(t, err)
	taken, err := g.Unsent(ctx, 10)
	require.NoError(t, err)
	require.Len(t, taken, 1)
	g.handBack(ctx) // as if it had been silent for long
	mine, err := g.claim(ctx, 10)
	require.NoError(t, err)
	require.Empty(t, mine)
	g.handBack(ctx)
	others, err := other.claim(ctx, 10)
	require.NoError(t, err)
	require.Equal(t, taken, others)
}

// What a rebuild writes aside is as large as the sale, and Redis gives up nothing
// by itself.
func TestARebuildThatDiesLeavesNothingForEver(t *testing.T) {
	t.Parallel()
	e := stack.Own(t, stack.KindRedis)
	g := runRedis(t, e.URL(), "seckill:", 10)
	ctx := t.Context()
	sale := onSale(t, g, 5)
	admin := administers(t, e)
	user, err := admin.Do(ctx, admin.B().Arbitrary("ACL", "USERS").Build()).AsStrSlice()
	require.NoError(t, err)
	require.Contains(t, user, "seckill")
	may := func(rules ...string) {
		require.NoError(t, admin.Do(ctx, admin.B().Arbitrary("ACL", "SETUSER", "seckill").Args(rules...).Build()).Error())
	}
	rebuild := func() error {
		outbox, err := g.Shut(ctx, []seckill.SaleID{sale.ID})
		require.NoError(t, err)
		sale.Epoch++
		held := seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: sale.ID, Buyer: "ann", Quantity: 1, Seq: 1}
		return g.Load(ctx, []seckill.Snapshot{{Sale: sale, Active: []seckill.Ticket{held}, Outbox: outbox[sale.ID]}})
	}
	lives := func(pattern string) (all []time.Duration) {
		keys, err := admin.Do(ctx, admin.B().Keys().Pattern(pattern).Build()).AsStrSlice()
		require.NoError(t, err)
		for _, key := range keys {
			ms, err := admin.Do(ctx, admin.B().Pttl().Key(key).Build()).AsInt64()
			require.NoError(t, err)
			all = append(all, time.Duration(ms)*time.Millisecond)
		}
		return all
	}
	may("-eval", "-evalsha")
	require.Error(t, rebuild(), "it writes the holds aside, and does not come to the step that opens")
	aside := lives("*holds*:*:*")
	require.Len(t, aside, 1)
	require.Positive(t, aside[0])
	require.LessOrEqual(t, aside[0], asideLife)
	may("+eval", "+evalsha")
	require.NoError(t, rebuild())
	require.Equal(t, []time.Duration{-time.Millisecond}, lives("*holds:1"), "the holds of an open sale stay")
}

func TestAnybodyMayAskForAnySale(t *testing.T) {
	t.Parallel()
	g := runRedis(t, stack.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	for i := range 100 {
		_, err := g.Find(t.Context(), seckill.SaleID(1000+i), "ann", "")
		require.ErrorIs(t, err, seckill.ErrClosed)
	}
	require.Empty(t, g.views, "of what does not exist nothing is remembered")
}

func TestTheBreakerOpensWhenNobodyIsAnsweredAnyMore(t *testing.T) {
	t.Parallel()
	g := runRedis(t, stack.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	g.patience = time.Hour
	late := fmt.Errorf("a call: %w", context.DeadlineExceeded)
	others := func(ago time.Duration) { g.breaker(7).heard.Store(time.Now().Add(-ago).UnixNano()) }
	others(g.patience / 4)
	require.Error(t, g.fail(7, late))
	_, err := g.up(7)
	require.NoError(t, err, "it is slow, not gone: others are answered")
	others(g.patience * 9 / 10)
	require.Error(t, g.fail(7, late))
	_, err = g.up(7)
	require.ErrorIs(t, err, seckill.ErrUnavailable, "they were answered while this call was sent")
}

// openFastRedis opens gates on a Redis that does not wait for its disk: thousands
// of random steps are about what is decided, not about what is durable.
func openFastRedis(t *testing.T) func(t testing.TB, limit int) subject {
	e := stack.Own(t, stack.KindRedis)
	admin := administers(t, e)
	require.NoError(t, admin.Do(context.Background(), admin.B().ConfigSet().ParameterValue().ParameterValue("appendfsync", "no").Build()).Error())
	return func(t testing.TB, limit int) subject {
		return redisAt(t, e.URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", limit, newClock())
	}
}

func openTestRedis(t testing.TB, limit int) subject {
	return redisAt(t, stack.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", limit, newClock())
}

// exactly is a gate whose hint of what is left is exact, as the suite wants it:
// what a node shows may be a moment old.
type exactly struct{ *Redis }

func (g exactly) Left(id seckill.SaleID) (int64, bool) {
	cut, err := g.Cut(context.Background(), id)
	return max(0, cut.Left), err == nil
}

// redisAt opens a gate with keys of its own and closes it after the test.
func redisAt(t testing.TB, url, prefix string, limit int, c *clock) subject {
	t.Helper()
	g := runRedis(t, url, prefix, limit)
	g.clock = c.now
	again := func(t testing.TB) subject { t.Helper(); return redisAt(t, url, prefix, limit, c) }
	return subject{conforming: exactly{g}, clock: c, outlives: true, reopen: again, crash: again}
}

// runRedis runs a gate until the test is over, and waits until it is connected.
func runRedis(t testing.TB, url, prefix string, limit int) *Redis {
	t.Helper()
	g, err := OpenRedis(url, limit, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	g.prefix, g.patience = prefix, time.Minute // the machine may be busy
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); g.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-over })
	until(t, "connected to Redis", func() bool { return len(g.broken()) == 0 })
	require.NoError(t, g.Belong(ctx, "ours"))
	return g
}

// onSale puts sale 1 on sale, two units for each buyer at most.
func onSale(t testing.TB, g *Redis, units int64) seckill.Sale {
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

// A part that answers every read with an error keeps no other bucket's tickets from
// the queue.
func TestABucketThatCannotBeReadKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	e := stack.Own(t, stack.KindRedis)
	g := runRedis(t, e.URL(), "seckill:", 10)
	ctx := t.Context()
	client, err := g.up(0)
	require.NoError(t, err)
	require.NoError(t, client.Do(ctx, client.B().Set().Key(g.outbox(5)).Value("no stream").Build()).Error())
	sale := onSale(t, g, 5)
	for i := range 3 {
		a, err := g.Reserve(ctx, sale.ID, string(rune('a'+i)), 1)
		require.NoError(t, err)
		soon, cancel := context.WithTimeout(ctx, outboxClaim/2)
		var taken []seckill.Ticket
		for len(taken) == 0 && soon.Err() == nil {
			taken, _ = g.Unsent(soon, 10)
		}
		cancel()
		require.Len(t, taken, 1)
		require.Equal(t, a.Ticket, taken[0].ID)
		require.NoError(t, g.Sent(ctx, taken))
	}
}

// A Redis that takes no writes opens the breaker, and closes it when it does.
func TestARedisThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	e := stack.Own(t, stack.KindRedis)
	g := runRedis(t, e.URL(), "seckill:", 10)
	ctx := t.Context()
	sale := onSale(t, g, 5)
	admin := administers(t, e)
	memory := func(limit string) {
		require.NoError(t, admin.Do(ctx, admin.B().ConfigSet().ParameterValue().ParameterValue("maxmemory", limit).Build()).Error())
	}
	memory("1")
	_, err := g.Reserve(ctx, sale.ID, "ann", 1)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.ErrorIs(t, g.Ping(ctx), seckill.ErrUnavailable)
	memory("0")
	until(t, "it sells again", func() bool {
		a, err := g.Reserve(ctx, sale.ID, "ann", 1)
		return err == nil && a.Verdict == seckill.Queued
	})
}

// Each setting that the promise needs is named while it is weaker, and only then.
func TestWeakerSettingsAreNamed(t *testing.T) {
	t.Parallel()
	e := stack.Own(t, stack.KindRedis)
	g := runRedis(t, e.URL(), "seckill:", 10)
	ctx := t.Context()
	admin := administers(t, e)
	weak := func() []string {
		weak, err := g.Weak(ctx)
		require.NoError(t, err)
		return weak
	}
	require.Empty(t, weak())
	for _, c := range []struct{ setting, weaker, strong string }{
		{"appendonly", "no", "yes"},
		{"appendfsync", "everysec", "always"},
		{"appendfsync", "no", "always"},
		{"no-appendfsync-on-rewrite", "yes", "no"},
		{"maxmemory-policy", "allkeys-lru", "noeviction"},
		{"maxmemory-policy", "volatile-ttl", "noeviction"},
	} {
		set := func(value string) {
			require.NoError(t, admin.Do(ctx, admin.B().ConfigSet().ParameterValue().ParameterValue(c.setting, value).Build()).Error())
		}
		set(c.weaker)
		require.Equal(t, []string{"Redis at " + e.Addr() + " has " + c.setting + " " + c.weaker + "; the promise needs " + c.setting + " " + c.strong}, weak())
		set(c.strong)
		require.Empty(t, weak(), c.setting)
	}
}
