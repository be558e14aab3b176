package redisgate

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func TestTheBreakerOpensWhenNobodyIsAnsweredAnyMore(t *testing.T) {
	t.Parallel()
	g := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10, patient(time.Hour))
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

// A caller whose time is over opens no breaker: it would turn away all buyers.
func TestACallerWithoutTimeOpensNoBreaker(t *testing.T) {
	t.Parallel()
	g := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10, patient(time.Hour))
	sale := onSale(t, g, 5)
	b := bucket(sale.ID)
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for name, call := range map[string]func(){
		"find":   func() { _, _ = g.Find(late, sale.ID, "ann", "") },
		"states": func() { _, _ = g.States(late, []seckill.SaleID{sale.ID}) },
		"cut":    func() { _, _ = g.Cut(late, sale.ID) },
		"finish": func() {
			_ = g.Finish(late, []seckill.Outcome{{Ticket: seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: sale.ID, Buyer: "ann", Quantity: 1, Seq: 1}}})
		},
		"once":     func() { _, _ = g.Once(late, "a formula", time.Minute) },
		"unsent":   func() { _, _ = g.Unsent(late, 10) },
		"delay":    func() { _, _ = g.Delay(late, "ann", 0) },
		"distinct": func() { _, _ = g.Distinct(late, "a network", "ann", time.Minute) },
	} {
		for i := range bucketCount {
			g.breaker(i).heard.Store(time.Now().Add(-2 * time.Hour).UnixNano())
		}
		call()
		for i := range bucketCount {
			_, err := g.up(i)
			require.NoError(t, err, "%s, bucket %d of %d", name, i, b)
		}
	}
}

// A Redis whose memory is full admits nobody and says so; what frees memory goes on, so
// it sells again by itself.
func TestARedisThatIsFullDrains(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 10)
	ctx := t.Context()
	sale := onSale(t, g, 6)
	admin := administers(t, e)
	memory := func(limit string) {
		require.NoError(t, admin.Do(ctx, admin.B().ConfigSet().ParameterValue().ParameterValue("maxmemory", limit).Build()).Error())
	}
	admit(t, g, sale.ID, "dan") // and the relay has begun its work
	sent, err := g.Unsent(ctx, 10)
	require.NoError(t, err)
	require.NoError(t, g.Finish(ctx, []seckill.Outcome{{Ticket: sent[0]}}))
	for _, buyer := range []string{"ann", "bob", "eve"} {
		admit(t, g, sale.ID, buyer)
	}
	require.Empty(t, g.Degraded())
	_, err = g.Tried(ctx, "dead letter x", "a node that died", time.Minute)
	require.NoError(t, err)
	memory("1")
	_, err = g.Reserve(ctx, sale.ID, "cid", 1)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.ErrorContains(t, err, "maxmemory")
	require.Contains(t, g.Degraded(), "maxmemory")
	require.NoError(t, g.Ping(ctx), "it answers, and what makes room must go on")

	t.Log("no dead letter waits until there is room, and what was noted counts")
	for name, noted := range map[string]bool{"dead letter x": true, "dead letter y": false} {
		before, err := g.Tried(ctx, name, "this node", time.Minute)
		require.NoError(t, err)
		require.Equal(t, noted, before, name)
	}

	t.Log("what got lost is sent again, and a relay that finds no group of readers makes it")
	sweeper := &Sweeper{Gate: g, Queue: &queue{}, Capacity: capacity(10), Log: slog.New(slog.DiscardHandler)}
	require.NoError(t, sweeper.sweep(ctx, time.Now()))
	sweeps, err := do(t, g, "GET", g.sweeperKey()).ToString()
	require.NoError(t, err)
	require.Equal(t, g.node, sweeps)
	require.NoError(t, do(t, g, "XGROUP", "DESTROY", g.outboxKey(bucket(sale.ID)), outboxGroup).Error())

	t.Log("a sale with buyers can be rebuilt: their holds are written, and what has its outcome leaves the outbox")
	outbox, err := g.Shut(ctx, []seckill.SaleID{sale.ID})
	require.NoError(t, err)
	require.Len(t, outbox[sale.ID], 3)
	eve := outbox[sale.ID][2]
	require.Equal(t, "eve", eve.Buyer)
	sale.Epoch, sale.Sold, sale.Seq = 2, 2, eve.Seq
	require.NoError(t, g.Load(ctx, []seckill.Snapshot{{Sale: sale, Active: []seckill.Ticket{sent[0], eve}, Outbox: outbox[sale.ID], Outcomes: map[string]seckill.Reason{eve.ID: ""}}}))
	held, err := g.Holds(ctx, sale.ID, []string{"ann", "bob", "dan", "eve"})
	require.NoError(t, err)
	require.Len(t, held, 4)

	tickets, err := g.Unsent(ctx, 10)
	require.NoError(t, err)
	require.Len(t, tickets, 2)
	require.NoError(t, g.Sent(ctx, tickets))
	require.NoError(t, g.Finish(ctx, []seckill.Outcome{{Ticket: tickets[0]}, {Ticket: tickets[1], Reason: seckill.ReasonLimit}}))
	require.NoError(t, g.Release(ctx, seckill.Return{Sale: sale.ID, Epoch: sale.Epoch, Tickets: tickets[:1]}))
	applied, err := g.Move(ctx, seckill.Move{Sale: sale.ID, ID: "more", Delta: 2, Epoch: sale.Epoch})
	require.NoError(t, err)
	require.True(t, applied)
	sale.Version, sale.Paused = 2, true
	require.NoError(t, g.Apply(ctx, sale), "it can be paused")
	cut, err := g.Cut(ctx, sale.ID)
	require.NoError(t, err)
	require.Empty(t, cut.Outbox)
	require.EqualValues(t, 6, cut.Left)
	sale.Version, sale.Paused = 3, false
	require.NoError(t, g.Apply(ctx, sale))

	t.Log("it can be rebuilt without its buyers, which makes room")
	_, err = g.Shut(ctx, []seckill.SaleID{sale.ID})
	require.NoError(t, err)
	sale.Epoch, sale.Sold = 3, 2
	require.NoError(t, g.Load(ctx, []seckill.Snapshot{{Sale: sale}}))

	t.Log("and be stopped while the store is away too")
	stop := seckill.Stop{Sale: sale.ID, At: time.Now().UTC().Truncate(time.Millisecond), By: seckill.Actor{Who: "root"}}
	require.NoError(t, g.Stop(ctx, stop))
	ended := stop
	ended.End = true
	require.NoError(t, g.Stop(ctx, ended))
	require.NoError(t, g.Stop(ctx, stop))
	stops, err := g.Stops(ctx)
	require.NoError(t, err)
	require.Equal(t, []seckill.Stop{ended}, stops, "a pause does not hide an end")
	require.NoError(t, g.Learned(ctx, ended))
	stops, err = g.Stops(ctx)
	require.NoError(t, err)
	require.Empty(t, stops)
	sale.Version = 4
	require.NoError(t, g.Apply(ctx, sale))
	memory("0")
	a, err := g.Reserve(ctx, sale.ID, "cid", 1)
	require.NoError(t, err)
	require.Equal(t, seckill.Queued, a.Verdict)
}

// A Redis that takes no writes for another reason opens the breaker, and closes it when
// it does.
func TestARedisThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 10)
	ctx := t.Context()
	sale := onSale(t, g, 5)
	admin := administers(t, e)
	needs := func(replicas string) {
		require.NoError(t, admin.Do(ctx, admin.B().ConfigSet().ParameterValue().ParameterValue("min-replicas-to-write", replicas).Build()).Error())
	}
	needs("1")
	_, err := g.Reserve(ctx, sale.ID, "ann", 1)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.ErrorIs(t, g.Ping(ctx), seckill.ErrUnavailable)
	needs("0")
	until(t, "it sells again", func() bool {
		a, err := g.Reserve(ctx, sale.ID, "ann", 1)
		return err == nil && a.Verdict == seckill.Queued
	})
}

// A caller who goes away in the middle of a call says nothing about Redis: the
// breaker stays closed for everybody else.
func TestACallerWhoGoesAwaySaysNothingAboutRedis(t *testing.T) {
	t.Parallel()
	g := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 0)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"find":    func() error { _, err := g.Find(gone, 1, "ada", ""); return err },
		"reserve": func() error { _, err := g.Reserve(gone, 1, "ada", 1); return err },
		"cut":     func() error { _, err := g.Cut(gone, 1); return err },
	} {
		require.ErrorIs(t, call(), context.Canceled, name)
		require.Empty(t, g.broken(), "the breaker is open after %s", name)
	}
}
