package redisgate

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate/gatetest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// What a stopping node has taken from the outbox and not sent is another's at
// once; what a dead one has, when it has been silent for outboxClaim.
func TestAStoppingNodeHandsBackWhatItHasTaken(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":"
	other := runGate(t, url, prefix, 10)
	stopping, err := Open(Settings{Address: url, Outbox: 10, Seals: sealsOf(t, "the tests' secret"), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	stopping.prefix = prefix
	patient(time.Minute)(stopping)
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
	stacktest.Await(t, "it stops", over)
	claimed, err = other.claim(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, taken, claimed)
}

// An answer that was lost on the way had taken entries from the outbox: they are
// this node's, and nobody else sends them before it is believed dead.
func TestEntriesOfALostAnswerAreReadAgain(t *testing.T) {
	t.Parallel()
	g := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	ctx := t.Context()
	sale := onSale(t, g, 5)
	a, err := g.Reserve(ctx, sale.ID, "ann", 1)
	require.NoError(t, err)
	b := bucket(sale.ID)
	client, err := g.up(b)
	require.NoError(t, err)
	// Redis hands them out, and nobody hears of it.
	require.NoError(t, g.groups(ctx, []int{b}))
	require.NoError(t, client.Do(ctx, client.B().Xreadgroup().Group(outboxGroup, g.node).Count(9).Streams().Key(g.outboxKey(b)).Id(">").Build()).Error())
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
	g := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
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
		return gatetest.IDs(tickets)
	}
	taken := take()
	require.Equal(t, admitted[:2], taken)
	b := bucket(sale.ID)
	client, err := g.up(b)
	require.NoError(t, err)
	require.NoError(t, client.Do(ctx, client.B().Xreadgroup().Group(outboxGroup, g.node).Count(4).Streams().Key(g.outboxKey(b)).Id(">").Build()).Error())
	g.noteLostAnswer(b, context.DeadlineExceeded)
	for len(taken) < len(admitted) {
		taken = append(taken, take()...)
	}
	require.Equal(t, admitted, taken, "each once")
}

// The relay may hold what it has read for longer than a dead node is waited for,
// while the broker is away. It does not claim that from itself; others may.
func TestARelayClaimsNothingFromItself(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":"
	g, other := runGate(t, url, prefix, 10), runGate(t, url, prefix, 10)
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

// A part that answers every read with an error keeps no other bucket's tickets from
// the queue.
func TestABucketThatCannotBeReadKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 10)
	ctx := t.Context()
	client, err := g.up(0)
	require.NoError(t, err)
	require.NoError(t, client.Do(ctx, client.B().Set().Key(g.outboxKey(5)).Value("no stream").Build()).Error())
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

// A node that was killed and is back under its name takes at once what it had in hand:
// nobody waits until the dead one is believed dead.
func TestANodeThatIsBackTakesItsOwnAtOnce(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":"
	named := func(name string) *Gate {
		return runGateOf(t, Settings{Address: url, Outbox: 10, Node: name}, prefix)
	}
	killed := named("the node") // it lives on, and does nothing any more
	ctx := t.Context()
	sale := onSale(t, killed, 5)
	var admitted []string
	for _, buyer := range []string{"ann", "bob", "cid"} {
		a, err := killed.Reserve(ctx, sale.ID, buyer, 1)
		require.NoError(t, err)
		admitted = append(admitted, a.Ticket)
	}
	taken, err := killed.Unsent(ctx, 10)
	require.NoError(t, err)
	require.Len(t, taken, 3)

	back := named("the node")
	again, err := back.take(ctx, 10)
	require.NoError(t, err)
	require.Equal(t, admitted, gatetest.IDs(again))
	// Another one waits for its claim.
	other := named("another node")
	none, err := other.take(ctx, 10)
	require.NoError(t, err)
	require.Empty(t, none)
	claimed, err := other.claim(ctx, 10)
	require.NoError(t, err)
	require.Empty(t, claimed)
}

// The gate's metric counts the tickets that wait in Redis, whoever has admitted them.
func TestTheOutboxIsAMetric(t *testing.T) {
	t.Parallel()
	url, prefix := stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":"
	g, other := runGate(t, url, prefix, 10), runGate(t, url, prefix, 10)
	sale := onSale(t, g, 5)
	for _, buyer := range []string{"ann", "bob", "cid"} {
		_, err := g.Reserve(t.Context(), sale.ID, buyer, 1)
		require.NoError(t, err)
	}
	r := prometheus.NewRegistry()
	other.Register(r)
	metric := func(name string) float64 {
		all, err := r.Gather()
		require.NoError(t, err)
		for _, family := range all {
			if family.GetName() == name {
				return family.Metric[0].Gauge.GetValue()
			}
		}
		return -1
	}
	until(t, "the other node counts them too", func() bool {
		return metric("seckill_pending_tickets") == 3 && metric("seckill_pending_oldest_seconds") > 0
	})
	cut, err := g.Cut(t.Context(), sale.ID)
	require.NoError(t, err)
	var outcomes []seckill.Outcome
	for _, ticket := range cut.Outbox {
		outcomes = append(outcomes, seckill.Outcome{Ticket: ticket})
	}
	require.NoError(t, g.Finish(t.Context(), outcomes))
	until(t, "nobody waits any more", func() bool {
		return metric("seckill_pending_tickets") == 0 && metric("seckill_pending_oldest_seconds") == 0
	})
}

// Somebody who looks at a long outbox rests for each entry, never longer than is good for an
// answer, and leaves most of the time of who asked for reading.
func TestALookRestsWithinTheTimeOfWhoAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		soon, cancel := context.WithTimeout(ctx, 6*time.Second)
		defer cancel()
		for _, tt := range []struct {
			ctx     context.Context
			waiting time.Duration
			all     time.Duration
		}{
			{ctx, 0, 0}, // the last entry went between two questions
			{ctx, restAfter, 0},
			{ctx, 100_000, 100_000 * lookRest},
			{ctx, 10_000_000, longestRest},
			{soon, 25_000, 25_000 * lookRest},
			{soon, 300_000, 2 * time.Second},
		} {
			rest := restOf(tt.ctx, lookRest, tt.waiting)
			require.InDelta(t, tt.all, rest*tt.waiting, float64(tt.waiting), "%d wait", tt.waiting)
		}
	})
}
