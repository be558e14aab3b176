package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"seckill"
	"seckill/internal/stack"
)

// TestAClusterOfThree drives RabbitMQ as it should be run: three nodes, each queue
// on all of them, one address after the other.
func TestAClusterOfThree(t *testing.T) {
	t.Parallel()
	c := stack.OwnCluster(t, stack.KindRabbitMQ)
	t.Run("behaves as one", func(t *testing.T) {
		s := at(t, c.URL())
		s.Addresses = c.Addrs()
		for _, b := range behaviours {
			if b.name == memoryOnly || strings.HasPrefix(b.name, "many senders") {
				continue // the latter give up before three disks can have confirmed
			}
			t.Run(b.name, func(t *testing.T) {
				q := run(t, s, Publishing, Consuming)
				b.test(&line{t: t, conforming: connected(t, q)})
				require.NoError(t, q.Close())
				_, err := channel(t, s).QueuePurge(TicketQueue, false)
				require.NoError(t, err)
			})
		}
	})
	t.Run("goes on without its leader and waits without a majority", func(t *testing.T) {
		s := at(t, c.URL())
		s.Addresses = c.Addrs()
		s.ConfirmTimeout, s.ConnectTimeout = 3*time.Second, 3*time.Second
		// The leader is the first address, so it is killed with the connections to it.
		require.NoError(t, connected(t, run(t, s, Publishing)).Close())
		var leader int
		eventually(t, func() error {
			leads, members, err := c.Leader(t.Context(), TicketQueue)
			leader = slices.Index(c.Members, leads)
			if err == nil && members != len(c.Members) {
				err = fmt.Errorf("%s has %d members", TicketQueue, members)
			}
			return err
		})
		s.Addresses = append(s.Addresses[leader:], s.Addresses[:leader]...)
		q := NewAMQP(s, slog.New(slog.NewTextHandler(t.Output(), nil)))
		for _, l := range q.links {
			l.next = 0
		}
		over := make(chan struct{})
		go func() { defer close(over); q.Run(context.Background(), Publishing, Consuming) }()
		t.Cleanup(func() { q.Close(); <-over })
		connected(t, q)
		all := relay(t, q, 200)
		require.NoError(t, c.Settle(t.Context()))

		first := c.Members[leader]
		began := time.Now()
		require.NoError(t, first.Kill())
		all = append(all, relay(t, q, 200)...)
		t.Logf("confirmed %v after the leader was killed", time.Since(began).Round(time.Millisecond))
		received := map[string]bool{}
		drainInto(t, q, received, all)

		// A second one: what is left is no majority, and says so.
		second := c.Members[(leader+1)%len(c.Members)]
		require.NoError(t, second.Kill())
		began = time.Now()
		waiting := some(100)
		eventually(t, func() error {
			confirmed, err := q.Publish(t.Context(), waiting[:1])
			require.True(t, len(confirmed) == 0 || err == nil)
			if len(confirmed) > 0 {
				return errStillThere // the node has not noticed
			}
			require.ErrorIs(t, err, seckill.ErrUnavailable)
			return nil
		})
		eventually(t, func() error {
			if q.Ping(t.Context()) == nil {
				return errStillThere
			}
			return nil
		})
		t.Logf("unavailable %v after the second was killed", time.Since(began).Round(time.Millisecond))

		back(t, second, c.Members[(leader+2)%len(c.Members)])
		began = time.Now()
		insist(t, q, waiting)
		t.Logf("confirmed %v after it was back", time.Since(began).Round(time.Millisecond))
		drainInto(t, q, received, waiting)
		require.NoError(t, first.Start(t.Context()))
		connected(t, q)
		last := relay(t, q, 100)
		drainInto(t, q, received, last)
	})
}

// back starts a member while another one waits for company. RabbitMQ 3.10 can end the
// waiting one for good when it looks for features just as the other starts
// (incompatible_feature_flags): then both are started, as whoever operates them would.
func back(t *testing.T, member, waiting *stack.Engine) {
	t.Helper()
	soon, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	if err := member.Start(soon); err == nil {
		return
	}
	require.NoError(t, waiting.Kill())
	var both errgroup.Group
	for _, m := range []*stack.Engine{member, waiting} {
		both.Go(func() error { return m.Start(t.Context()) })
	}
	require.NoError(t, both.Wait())
}

var errStillThere = errors.New("it is still there")

// relay sends n new tickets as a relay does: those that are not confirmed again.
func relay(t testing.TB, q *AMQP, n int) []seckill.Ticket {
	t.Helper()
	tickets := some(n)
	insist(t, q, tickets)
	return tickets
}

func insist(t testing.TB, q *AMQP, tickets []seckill.Ticket) {
	t.Helper()
	eventually(t, func() error {
		confirmed, err := q.Publish(t.Context(), tickets)
		tickets = without(tickets, confirmed)
		return err
	})
	require.Empty(t, tickets)
}

// drainInto receives until each of the tickets has come; some come twice.
func drainInto(t testing.TB, q far, received map[string]bool, tickets []seckill.Ticket) {
	t.Helper()
	for _, ticket := range tickets {
		for !received[ticket.ID] {
			some, done := receive(t, q, 100)
			if err := done(true); err != nil {
				require.ErrorIs(t, err, ErrStale)
				continue
			}
			for _, got := range some {
				received[got.ID] = true
			}
		}
	}
}
