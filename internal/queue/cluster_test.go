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

	amqp "github.com/rabbitmq/amqp091-go"
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

// Between two leaders a queue refuses whatever comes first on a channel. That is told
// as a broker that is away, at once, and not as a queue that is full.
func TestAQueueBetweenTwoLeadersIsUnavailableAndNotFull(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.PublishRetry.Enabled = false
	q := connected(t, run(t, s, Publishing)) // its channel has carried nothing yet
	elect := leaderless(t, s, TicketQueue)
	tickets := some(3)
	confirmed, err := q.Publish(t.Context(), tickets)
	require.Empty(t, confirmed)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.NotErrorIs(t, err, ErrFull)
	elect()
	insist(t, q, tickets)
}

// leaderless takes the leader from a quorum queue, until elect is called.
func leaderless(t testing.TB, s RabbitMQ, queue string) (elect func()) {
	t.Helper()
	leader, broker := fmt.Sprintf("{'%s_%s', node()}", s.VirtualHost, queue), stack.Shared(t, stack.KindRabbitMQ)
	ctl(t, broker, "eval", "ok = ra:stop_server(quorum_queues, "+leader+").")
	return func() {
		t.Helper()
		ctl(t, broker, "eval", "ok = ra:restart_server(quorum_queues, "+leader+").")
	}
}

// Nobody may look at a subscriber's queue. Events that it refuses from the first on
// are sent on another channel after a while: this one may be refused for ever.
func TestEventsGoOnWhenASubscribersQueueHasALeaderAgain(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	ch := channel(t, s)
	const name = "seckill.subscriber"
	_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	require.NoError(t, err)
	q := run(t, s, Announcing)
	eventually(t, q.links[Announcing].down)
	require.NoError(t, ch.QueueBind(name, "#", EventExchange, false, nil))
	elect := leaderless(t, s, name)
	events := messages(happened(1)...)
	_, err = q.Announce(t.Context(), events)
	require.ErrorIs(t, err, errSubscriberFull)
	require.ErrorContains(t, err, "no leader")
	first := q.events.now.Load()
	first.session.began = first.session.began.Add(-renewAfter)
	_, err = q.Announce(t.Context(), events)
	require.ErrorIs(t, err, errSubscriberFull)
	elect()
	eventually(t, func() error {
		if now := q.events.now.Load(); now == nil || now == first {
			return errStillThere
		}
		_, err := q.Announce(t.Context(), events)
		return err
	})
}

func TestWhyAQueueRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		waiting, limit int
		proven         bool
		unknown        error
		full           bool
	}{
		{"full", 100, 100, true, nil, true},
		{"full, and others have taken some since", 80, 100, false, nil, true},
		{"full at a lower limit of the broker's", 10, 100, true, nil, true},
		{"nobody leads it", 0, 100, false, nil, false},
		{"nobody leads it any more", 0, 100, true, nil, false},
		{"led again, but this channel does not know", 10, 100, false, nil, false},
		{"nobody answers", 0, 100, true, errors.New("no answer"), false},
	} {
		err := whyRefused("q", c.waiting, c.limit, c.proven, c.unknown)
		require.Equal(t, c.full, err == nil, c.name)
		require.True(t, c.full || errors.Is(err, seckill.ErrUnavailable), c.name)
		if c.unknown != nil {
			require.ErrorIs(t, err, c.unknown, c.name)
		}
	}
}
