package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"seckill"
	"seckill/internal/queue/queuetest"
	"seckill/internal/queue/rabbitmq"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// TestAClusterOfThree drives rabbit.Settings as it should be run: three nodes, each queue
// on all of them, one address after the other.
func TestAClusterOfThree(t *testing.T) {
	t.Parallel()
	c := stacktest.OwnCluster(t, stack.KindRabbitMQ)
	t.Run("behaves as one", func(t *testing.T) {
		s := rabbittest.At(t, c.URL())
		s.Addresses = c.Addrs()
		for name, test := range queuetest.Behaviours {
			if name == queuetest.Bounded || name == queuetest.Many {
				continue // the latter give up before three disks can have confirmed
			}
			t.Run(name, func(t *testing.T) {
				q := run(t, s, rabbit.Publishing, rabbit.Consuming)
				test(t, connected(t, q))
				require.NoError(t, q.Close())
				_, err := rabbittest.Channel(t, s).QueuePurge(rabbit.TicketQueue, false)
				require.NoError(t, err)
			})
		}
	})
	t.Run("goes on without its leader and waits without a majority", func(t *testing.T) {
		s := rabbittest.At(t, c.URL())
		s.Addresses = c.Addrs()
		s.ConfirmTimeout, s.ConnectTimeout = 3*time.Second, 3*time.Second
		// The leader is the first address, so it is killed with the connections to it.
		require.NoError(t, connected(t, run(t, s, rabbit.Publishing)).Close())
		var leader int
		rabbittest.Eventually(t, func() error {
			leads, members, err := c.Leader(t.Context(), rabbit.TicketQueue)
			leader = slices.Index(c.Members, leads)
			if err == nil && members != len(c.Members) {
				err = fmt.Errorf("%s has %d members", rabbit.TicketQueue, members)
			}
			return err
		})
		s.Addresses = append(s.Addresses[leader:], s.Addresses[:leader]...)
		q := made(t, s)
		q.broker.StartAtFirst()
		connected(t, runs(t, q, rabbit.Publishing, rabbit.Consuming))
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
		waiting := queuetest.Some(100)
		rabbittest.Eventually(t, func() error {
			confirmed, err := q.Publish(t.Context(), waiting[:1])
			require.True(t, len(confirmed) == 0 || err == nil)
			if len(confirmed) > 0 {
				return errStillThere // the node has not noticed
			}
			require.ErrorIs(t, err, seckill.ErrUnavailable)
			return nil
		})
		rabbittest.Eventually(t, func() error {
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

// back starts a member while another one waits for company. rabbit.Settings 3.10 can end the
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
func relay(t testing.TB, q *node, n int) []seckill.Ticket {
	t.Helper()
	tickets := queuetest.Some(n)
	insist(t, q, tickets)
	return tickets
}

func insist(t testing.TB, q *node, tickets []seckill.Ticket) {
	t.Helper()
	rabbittest.Eventually(t, func() error {
		confirmed, err := q.Publish(t.Context(), tickets)
		tickets = slices.DeleteFunc(slices.Clone(tickets), func(t seckill.Ticket) bool { return slices.Contains(confirmed, t) })
		return err
	})
	require.Empty(t, tickets)
}

// drainInto receives until each of the tickets has come; some come twice.
func drainInto(t testing.TB, q queuetest.Far, received map[string]bool, tickets []seckill.Ticket) {
	t.Helper()
	for _, ticket := range tickets {
		for !received[ticket.ID] {
			some, done := queuetest.Receive(t, q, 100)
			if err := done(true); err != nil {
				require.ErrorIs(t, err, rabbitmq.ErrLost)
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
	s := rabbittest.Fresh(t)
	s.PublishRetry.Enabled = false
	q := connected(t, run(t, s, rabbit.Publishing)) // its channel has carried nothing yet
	elect := leaderless(t, s, rabbit.TicketQueue)
	tickets := queuetest.Some(3)
	confirmed, err := q.Publish(t.Context(), tickets)
	require.Empty(t, confirmed)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.NotErrorIs(t, err, rabbit.ErrFull)
	elect()
	insist(t, q, tickets)
}

// leaderless takes the leader from a quorum queue, until elect is called.
func leaderless(t testing.TB, s rabbit.Settings, queue string) (elect func()) {
	t.Helper()
	leader, broker := fmt.Sprintf("{'%s_%s', node()}", s.VirtualHost, queue), stacktest.Shared(t, stack.KindRabbitMQ)
	rabbittest.Eval(t, broker, "ok = ra:stop_server(quorum_queues, "+leader+").")
	return func() {
		t.Helper()
		rabbittest.Eval(t, broker, "ok = ra:restart_server(quorum_queues, "+leader+").")
	}
}

// Nobody may look at a subscriber's queue. Events that it refuses from the first on
// are sent on another channel after a while: this one may be refused for ever.
func TestEventsGoOnWhenASubscribersQueueHasALeaderAgain(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	ch := rabbittest.Channel(t, s)
	const name = "seckill.subscriber"
	_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	require.NoError(t, err)
	refuses := errors.New("a subscriber refuses")
	broker := rabbittest.New(t, s)
	p := rabbit.NewPublisher(broker, rabbit.Announcing, rabbit.Kind[string]{
		ID: func(id string) string { return id },
		Pack: func(id string) (rabbit.Message, error) {
			return rabbit.Message{Exchange: rabbit.EventExchange, Key: "order.placed", ID: id}, nil
		},
		Full: refuses,
	})
	rabbittest.Run(t, broker, rabbit.Announcing)
	rabbittest.Up(t, broker, rabbit.Announcing)
	require.NoError(t, ch.QueueBind(name, "#", rabbit.EventExchange, false, nil))
	elect := leaderless(t, s, name)
	_, err = p.Send(t.Context(), []string{"a"})
	require.ErrorIs(t, err, refuses)
	first := rabbit.Aged(p)
	_, err = p.Send(t.Context(), []string{"a"})
	require.Error(t, err)
	if !errors.Is(err, refuses) { // the old channel was given up before Send had looked
		require.ErrorIs(t, err, seckill.ErrUnavailable)
	}
	elect()
	rabbittest.Eventually(t, func() error {
		if now := rabbit.Current(p); now == nil || now == first {
			return errStillThere
		}
		_, err := p.Send(t.Context(), []string{"a"})
		return err
	})
}
