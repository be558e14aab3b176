package redisgate

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate/gatetest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// sweeping is the sweeper of a node, and a queue that confirms what it is sent.
type sweeping struct {
	*testing.T
	gate  *Gate
	clock *gatetest.Clock // of the gate: by it entries are old
	queue queue
	room  int
}

// queue confirms what it is sent.
type queue struct{ got []seckill.Ticket }

func (q *queue) Publish(_ context.Context, tickets []seckill.Ticket) ([]seckill.Ticket, error) {
	q.got = append(q.got, tickets...)
	return tickets, nil
}

// room says that the queue can take n tickets.
func capacity(n int) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { return n, nil }
}

// newSweeping returns a node that sweeps, and how to get another one on the same
// state. The queues of both have room.
func newSweeping(t *testing.T) (s *sweeping, another func() *sweeping) {
	url, prefix := stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":"
	clock := gatetest.ClockAt(time.Now())
	another = func() *sweeping {
		g := runGate(t, url, prefix, 10, func(g *Gate) { g.clock = clock.Now })
		return &sweeping{T: t, gate: g, clock: clock, room: 1000}
	}
	return another(), another
}

// at sweeps once and returns the tickets that were sent again.
func (s *sweeping) at(now time.Time) []string {
	s.Helper()
	s.queue.got = nil
	sweeper := &Sweeper{Gate: s.gate, Queue: &s.queue, Capacity: capacity(s.room), Log: slog.New(slog.DiscardHandler)}
	require.NoError(s, sweeper.sweep(s.Context(), now))
	return gatetest.IDs(s.queue.got)
}

// redis returns what Redis answers to a command of the node.
func (s *sweeping) redis(command ...string) int64 {
	s.Helper()
	client, err := s.gate.up(0)
	require.NoError(s, err)
	n, err := client.Do(s.Context(), client.B().Arbitrary(command...).Build()).AsInt64()
	require.NoError(s, err)
	return n
}

// A ticket is sent again once its entry is old, then at a growing distance, and
// never after its outcome is known.
func TestTheSweeperSendsAgainAtAGrowingDistance(t *testing.T) {
	t.Parallel()
	s, _ := newSweeping(t)
	h := newHall(t, s.gate)
	sale := h.sales[1:2]
	tickets := h.buys("ann", sale)
	ann := slices.Collect(maps.Keys(tickets))
	var born int64 // in milliseconds since 1970, by Redis' clock
	require.NoError(t, s.gate.entries(t.Context(), bucket(sale[0].ID), "+", pageSize, 0, func(f *found) {
		ms, _, _ := strings.Cut(f.entry, "-")
		born, _ = strconv.ParseInt(ms, 10, 64)
	}))
	now := time.Now()
	s.clock.Advance(time.UnixMilli(born).Add(sweepAfter - time.Millisecond).Sub(s.clock.Now()))
	require.Empty(t, s.at(now), "it may still be on its way")
	s.clock.Advance(time.Millisecond)
	require.Equal(t, ann, s.at(now))
	for _, pause := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		require.Empty(t, s.at(now.Add(pause-1)), pause)
		now = now.Add(pause)
		require.Equal(t, ann, s.at(now), pause)
	}

	bob := h.buys("bob", sale)
	h.finishes(tickets)
	s.clock.Advance(time.Hour)
	require.Equal(t, slices.Collect(maps.Keys(bob)), s.at(now.Add(time.Hour)))
	h.finishes(bob)
	require.Empty(t, s.at(now.Add(2*time.Hour)))
	require.Empty(t, s.gate.tries, "what has its outcome is forgotten")
}

// What the queue has no room for waits, is sent before anything is sent once more,
// and costs no other ticket its pause.
func TestTheSweeperSendsNoMoreThanTheQueueHasRoomFor(t *testing.T) {
	t.Parallel()
	s, _ := newSweeping(t)
	h := newHall(t, s.gate)
	all := map[string]seckill.Ticket{}
	for _, buyer := range []string{"ann", "bob", "cid"} {
		maps.Copy(all, h.buys(buyer, h.sales[1:3])) // of two buckets
	}
	s.clock.Advance(time.Minute)
	now := time.Now()
	for _, s.room = range []int{0, -1} {
		require.Empty(t, s.at(now), "a backlog is no loss")
	}
	down := errors.New("the store is down")
	failing := &Sweeper{Gate: s.gate, Queue: &s.queue, Capacity: func(context.Context) (int, error) { return 1, down }, Log: slog.New(slog.DiscardHandler)}
	require.ErrorIs(t, failing.sweep(t.Context(), now), down)
	require.Empty(t, s.queue.got, "nobody knows whether there is room")

	var sent []string
	for _, c := range []struct{ room, sent int }{{2, 2}, {3, 3}, {3, 1}, {3, 0}} {
		s.room = c.room
		some := s.at(now)
		require.Len(t, some, c.sent)
		sent = append(sent, some...)
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(all)), sent, "each once")

	now = now.Add(sweepAfter)
	s.room = 1000
	require.Len(t, s.at(now), len(all))
	dan := h.buys("dan", h.sales[:1])
	s.clock.Advance(time.Minute)
	s.room = 1
	require.Equal(t, slices.Collect(maps.Keys(dan)), s.at(now.Add(sweepAfter)))
	s.room = 1000
	require.Empty(t, s.at(now.Add(sweepAfter)), "their second pause is twice as long")
}

// One node sweeps. Another one does when that one has not for the time of its
// lease.
func TestOneNodeSweeps(t *testing.T) {
	t.Parallel()
	first, another := newSweeping(t)
	second := another()
	tickets := newHall(t, first.gate).buys("ann", []seckill.Sale{{ID: bucketCount}})
	ann := slices.Collect(maps.Keys(tickets))
	first.clock.Advance(time.Minute)
	now, lease := time.Now(), first.gate.tag(0)+"sweeper"
	require.Equal(t, ann, first.at(now))
	require.Empty(t, second.at(now))
	require.Empty(t, second.at(now.Add(time.Hour)))
	now = now.Add(sweepAfter)
	require.Equal(t, ann, first.at(now), "it goes on")

	soon := strconv.FormatInt(sweepLease.Milliseconds()/2, 10)
	require.EqualValues(t, 1, first.redis("PEXPIRE", lease, soon))
	first.at(now)
	require.Greater(t, first.redis("PTTL", lease), sweepLease.Milliseconds()/2, "each sweep renews the lease")
	require.LessOrEqual(t, first.redis("PTTL", lease), sweepLease.Milliseconds(), "which ends")

	require.EqualValues(t, 1, first.redis("PEXPIRE", lease, "1"))
	until(t, "the other node sweeps", func() bool { return slices.Equal(ann, second.at(now)) })
	require.Empty(t, first.at(now.Add(time.Hour)))
}

// A lease that does not end, or is another kind of key, would keep every node from sweeping
// for ever.
func TestALeaseThatDoesNotEndStopsNoSweeper(t *testing.T) {
	t.Parallel()
	for name, leaves := range map[string][]string{"without an end": {"SET", "", "gone"}, "with a far end": {"SET", "", "gone", "PX", "86400000"}, "another type": {"SADD", "", "gone"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := newSweeping(t)
			leaves[1] = s.gate.sweeperKey()
			require.NoError(t, do(t, s.gate, leaves...).Error())
			sweeper := &Sweeper{Gate: s.gate, Queue: &s.queue, Capacity: capacity(0), Log: slog.New(slog.DiscardHandler)}
			for range 2 {
				if err := sweeper.sweep(t.Context(), time.Now()); err != nil {
					require.ErrorIs(t, err, seckill.ErrUnavailable)
				}
			}
			until(t, "it is counted", func() bool { return asides(t, s.gate, "keys") == 1 })
			ends := s.redis("PTTL", s.gate.sweeperKey())
			require.LessOrEqual(t, ends, sweepLease.Milliseconds())
			require.NotEqual(t, int64(-1), ends)
		})
	}
}
