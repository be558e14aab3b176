package redisgate

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// far is a Redis at the end of a long line. It counts the turns: how often somebody has
// asked after an answer.
type far struct {
	url   string
	turns atomic.Int64
	hangs chan struct{} // closed: no answer comes any more
}

// stop makes it hang until the test is over.
func (f *far) stop() { close(f.hangs) }

// farAway lends a Redis until the test is over.
func farAway(t testing.TB) *far {
	t.Helper()
	redis, err := url.Parse(stacktest.Shared(t, stack.KindRedis).URL())
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	there := redis.Host
	f := &far{hangs: make(chan struct{})}
	redis.Host = listener.Addr().String()
	f.url = redis.String()
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			end, err := net.Dial("tcp", there)
			if err != nil {
				near.Close()
				continue
			}
			var asks atomic.Bool
			asks.Store(true)
			context.AfterFunc(ctx, func() { near.Close(); end.Close() })
			running.Go(func() {
				defer end.Close()
				carry(end, near, func() {
					if !asks.Swap(true) {
						f.turns.Add(1)
					}
				})
			})
			running.Go(func() {
				defer near.Close()
				carry(near, end, func() {
					_ = duty.Rest(ctx, 10*time.Millisecond)
					asks.Store(false)
					select {
					case <-f.hangs:
						<-ctx.Done()
					default:
					}
				})
			})
		}
	})
	t.Cleanup(func() { stop(); listener.Close(); running.Wait() })
	return f
}

// carry copies what comes, and calls each before each piece of it.
func carry(to io.Writer, from io.Reader, each func()) {
	piece := make([]byte, 1<<16)
	for {
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		each()
		if _, err := to.Write(piece[:n]); err != nil {
			return
		}
	}
}

// Redis may be so far away that sixteen calls, one after the other, take longer than one may.
// What asks all buckets asks them together.
func TestAllBucketsAreAskedTogether(t *testing.T) {
	t.Parallel()
	f := farAway(t)
	prefix := "seckill:" + strings.ToLower(rand.Text()[:12]) + ":"
	g := runGateOf(t, Settings{Address: f.url, Outbox: 10}, prefix)
	ctx := t.Context()
	sale := onSale(t, g, 9)
	stop := seckill.Stop{Sale: sale.ID, At: time.Now().UTC().Truncate(time.Second)}
	for _, c := range []struct {
		name string
		ask  func() error
	}{
		{"stops", func() error {
			require.NoError(t, g.Stop(ctx, stop))
			stops, err := g.Stops(ctx)
			require.Equal(t, []seckill.Stop{stop}, stops)
			return err
		}},
		{"belong", func() error { return g.Belong(ctx, "ours") }},
		{"take", func() error { _, err := g.take(ctx, 10); return err }}, // which makes the groups of readers
		{"hand back", func() error {
			g.mu.Lock()
			for b := range bucketCount {
				g.sent[string(rune('a'+b))] = entry{b, "1-1"}
			}
			g.mu.Unlock()
			g.handBack(ctx)
			return nil
		}},
	} {
		before := f.turns.Load()
		require.NoError(t, c.ask(), c.name)
		require.Less(t, f.turns.Load()-before, int64(8), "turns of %s", c.name)
	}
}
