package redisgate

import (
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func TestOnceIsOnceOnAllNodes(t *testing.T) {
	t.Parallel()
	a := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	b := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), a.prefix, 10)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var firsts atomic.Int64
	var g errgroup.Group
	for i := range 40 {
		node := []*Gate{a, b}[i%2]
		g.Go(func() error {
			first, err := node.Once(ctx, "formula x", time.Minute)
			if first {
				firsts.Add(1)
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, firsts.Load())
	first, err := b.Once(t.Context(), "formula y", 20*time.Millisecond)
	require.NoError(t, err)
	require.True(t, first, "another name")
	require.Eventually(t, func() bool {
		first, err := a.Once(t.Context(), "formula y", time.Minute)
		return err == nil && first
	}, 20*time.Second, 10*time.Millisecond, "what is over may come again")
}

// Whoever does not hear the answer asks again, and has not been there before. Somebody else has.
func TestWhoAsksAgainHasNotTriedBefore(t *testing.T) {
	t.Parallel()
	a := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	b := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), a.prefix, 10)
	tried := func(g *Gate, name, by string) bool {
		before, err := g.Tried(t.Context(), name, by, time.Minute)
		require.NoError(t, err)
		return before
	}
	for range 2 {
		require.False(t, tried(a, "dead letter x", "a"))
		require.True(t, tried(b, "dead letter x", "b"))
		require.False(t, tried(b, "dead letter y", "b"))
	}
	first, err := a.Once(t.Context(), "dead letter z", time.Minute) // as earlier versions noted it
	require.NoError(t, err)
	require.True(t, first)
	require.True(t, tried(a, "dead letter z", "a"))
	require.NoError(t, do(t, a, "SADD", a.onceKey(nameBucket("dead letter s"), "dead letter s"), "x").Error())
	require.True(t, tried(a, "dead letter s", "a"), "whatever is there")
}

func TestWhoWaitsWaitsOnAllNodes(t *testing.T) {
	t.Parallel()
	a := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	b := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), a.prefix, 10)
	left := func(name string, wait time.Duration) time.Duration {
		left, err := b.Delay(t.Context(), name, wait)
		require.NoError(t, err)
		return left
	}
	require.Zero(t, left("ann", 0))
	_, err := a.Delay(t.Context(), "ann", time.Minute)
	require.NoError(t, err)
	require.InDelta(t, time.Minute, left("ann", 0), float64(30*time.Second))
	require.Zero(t, left("bob", 0))
	left("ann", 20*time.Millisecond)
	require.Eventually(t, func() bool { return left("ann", 0) == 0 }, 20*time.Second, 10*time.Millisecond, "it is over")
}

func TestAllNodesCountTheDifferentOnes(t *testing.T) {
	t.Parallel()
	a := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	b := runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), a.prefix, 10)
	count := func(g *Gate, name, member string) int {
		n, err := g.Distinct(t.Context(), name, member, time.Minute)
		require.NoError(t, err)
		return n
	}
	require.Equal(t, 1, count(a, "crowd x", "ann"))
	require.Equal(t, 1, count(b, "crowd x", "ann"))
	require.Equal(t, 2, count(b, "crowd x", "bob"))
	require.Equal(t, 2, count(a, "crowd x", ""), "nobody new")
	require.Zero(t, count(a, "crowd y", ""))
	_, err := a.Distinct(t.Context(), "crowd z", "ann", 20*time.Millisecond)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, err := b.Distinct(t.Context(), "crowd z", "", time.Minute)
		return err == nil && n == 0
	}, 20*time.Second, 30*time.Millisecond, "it is over")
}
