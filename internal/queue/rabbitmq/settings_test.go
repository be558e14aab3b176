package rabbitmq

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/queue/queuetest"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack/stacktest"
)

// The attempts of one send, and the pauses between them, by a clock that does
// not depend on the machine.
func TestPublishRetry(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, c := range []struct {
		name  string
		retry rabbit.PublishRetry
		fails error
		at    []time.Duration // of the attempts
	}{
		{"the notes", rabbittest.Notes().PublishRetry, seckill.ErrUnavailable, []time.Duration{0, s, 2 * s}},
		{"attempts", rabbit.PublishRetry{Enabled: true, InitialInterval: s, MaxAttempts: 5, MaxInterval: 10 * s, Multiplier: 1}, seckill.ErrUnavailable, []time.Duration{0, s, 2 * s, 3 * s, 4 * s}},
		{"multiplier", rabbit.PublishRetry{Enabled: true, InitialInterval: s, MaxAttempts: 4, MaxInterval: 10 * s, Multiplier: 3}, seckill.ErrUnavailable, []time.Duration{0, s, 4 * s, 13 * s}},
		{"longest pause", rabbit.PublishRetry{Enabled: true, InitialInterval: s, MaxAttempts: 5, MaxInterval: 2 * s, Multiplier: 10}, seckill.ErrUnavailable, []time.Duration{0, s, 3 * s, 5 * s, 7 * s}},
		{"first pause", rabbit.PublishRetry{Enabled: true, InitialInterval: 5 * s, MaxAttempts: 2, MaxInterval: 10 * s, Multiplier: 1}, seckill.ErrUnavailable, []time.Duration{0, 5 * s}},
		{"disabled", rabbit.PublishRetry{Enabled: false, InitialInterval: s, MaxAttempts: 5, MaxInterval: 10 * s, Multiplier: 1}, seckill.ErrUnavailable, []time.Duration{0}},
		{"an answer", rabbit.PublishRetry{Enabled: true, InitialInterval: s, MaxAttempts: 5, MaxInterval: 10 * s, Multiplier: 1}, rabbit.ErrFull, []time.Duration{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, at := time.Now(), []time.Duration(nil)
				tickets := queuetest.Some(len(c.at) + 1)
				confirmed, err := try(t.Context(), c.retry, tickets, func(_ context.Context, left []seckill.Ticket) ([]seckill.Ticket, error) {
					require.Equal(t, tickets[len(at):], left, "what is confirmed is not sent again")
					at = append(at, time.Since(began))
					return left[:1], fmt.Errorf("scripted: %w", c.fails)
				})
				require.ErrorIs(t, err, c.fails)
				require.Equal(t, c.at, at)
				require.Equal(t, tickets[:len(c.at)], confirmed, "the rest stays in the outbox")
			})
		})
	}
	t.Run("success ends it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			attempts, tickets := 0, queuetest.Some(2)
			confirmed, err := try(t.Context(), rabbittest.Notes().PublishRetry, tickets, func(_ context.Context, left []seckill.Ticket) ([]seckill.Ticket, error) {
				if attempts++; attempts == 1 {
					return left[:1], seckill.ErrUnavailable
				}
				return left, nil
			})
			require.NoError(t, err)
			require.Equal(t, tickets, confirmed)
			require.Equal(t, 2, attempts)
		})
	})
	t.Run("and so does the caller", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			attempts := 0
			_, err := try(ctx, rabbittest.Notes().PublishRetry, queuetest.Some(1), func(context.Context, []seckill.Ticket) ([]seckill.Ticket, error) {
				attempts++
				return nil, seckill.ErrUnavailable
			})
			require.ErrorIs(t, err, seckill.ErrUnavailable)
			require.Equal(t, 2, attempts)
		})
	})
}

func TestPublishRetryIsThatOfASend(t *testing.T) {
	t.Parallel()
	s := rabbit.Defaults()
	s.PublishRetry = rabbit.PublishRetry{Enabled: true, InitialInterval: time.Hour, MaxAttempts: 2, MaxInterval: time.Hour, Multiplier: 1}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	broker := rabbit.New(s, slog.New(slog.DiscardHandler), nil)
	q := New(broker, nil)
	_, err := q.Publish(ctx, queuetest.Some(1)) // without Run there is no connection
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.Error(t, ctx.Err(), "it waited for the second attempt")
	require.ErrorContains(t, q.Ping(t.Context()), "not started")
	require.NoError(t, broker.Close())
}

func TestConcurrencyIsTheNumberOfConsumers(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		s := rabbittest.Fresh(t)
		s.Listener.Concurrency, s.Listener.MaxConcurrency = n, n
		run(t, s, rabbit.Publishing, rabbit.Consuming)
		connected(t, run(t, s, rabbit.Publishing))
		rabbittest.Waits(t, rabbittest.Channel(t, s), rabbit.TicketQueue, 0, n)
	}
}

func TestListenersGrowUnderBacklogAndGoHomeAfterIt(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.Listener = rabbit.Listener{Concurrency: 1, MaxConcurrency: 5, Prefetch: 2, AutoStartup: true}
	tickets := fill(t, s, 30)
	ch := rabbittest.Channel(t, s)
	broker := rabbittest.New(t, s)
	q := &node{New(broker, nil), broker}
	q.tickets.calm = 10 * time.Millisecond
	runs(t, q, rabbit.Consuming)
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 20, 5) // nothing is received: each holds its two
	queuetest.Collect(t, q, tickets)
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, 1)
	// Who went home has taken nothing along.
	require.NoError(t, q.Close())
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, 0)
}

func TestPrefetchBoundsWhatAListenerHolds(t *testing.T) {
	t.Parallel()
	for _, prefetch := range []int{1, 7} {
		s := rabbittest.Fresh(t)
		s.Listener = rabbit.Listener{Concurrency: 2, MaxConcurrency: 2, Prefetch: prefetch, AutoStartup: true}
		fill(t, s, 30)
		q := run(t, s, rabbit.Consuming)
		ch := rabbittest.Channel(t, s)
		rabbittest.Waits(t, ch, rabbit.TicketQueue, 30-2*prefetch, 2)
		var dones []func(bool) error
		for n := 0; n < 2*prefetch; {
			got, done := queuetest.Receive(t, q, 100)
			n, dones = n+len(got), append(dones, done)
		}
		_, _, err := q.Receive(rabbittest.Expired(t), 100)
		require.Error(t, err, "no more than that is held")
		for _, done := range dones {
			require.NoError(t, done(true))
		}
		_, done := queuetest.Receive(t, q, 1)
		require.NoError(t, done(true))
	}
}

func TestAutoStartupFalseLeavesListenersToTheAdministrator(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.Listener.AutoStartup = false
	s.Listener.Concurrency, s.Listener.MaxConcurrency = 2, 2
	fill(t, s, 5)
	q := connected(t, run(t, s, rabbit.Consuming, rabbit.DeadLetters))
	ch := rabbittest.Channel(t, s)
	require.False(t, q.ListenersRunning())
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 5, 0)
	rabbittest.Waits(t, ch, rabbit.DeadQueue, 0, 0)
	_, _, err := q.Receive(rabbittest.Expired(t), 1)
	require.Error(t, err)

	q.StartListeners()
	require.True(t, q.ListenersRunning())
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, 2)
	rabbittest.Waits(t, ch, rabbit.DeadQueue, 0, 1)
	_, done := queuetest.Receive(t, q, 1)
	require.NoError(t, done(true))

	q.StopListeners()
	require.False(t, q.ListenersRunning())
	rabbittest.Waits(t, ch, rabbit.DeadQueue, 0, 0)
	queuetest.CollectN(t, q, 4) // what is held is still handed out
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, 0)
	q.StartListeners()
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, 2)
	require.NoError(t, q.Close())
	require.False(t, q.ListenersRunning())
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, 0)
}

func TestDefaultRequeueRejectedFalseSendsToTheDeadLetters(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.Listener.DefaultRequeueRejected = false
	tickets := fill(t, s, 3)
	q := connected(t, run(t, s, rabbit.Consuming, rabbit.DeadLetters))
	var dones []func(bool) error
	for n := 0; n < 3; {
		got, done := queuetest.Receive(t, q, 3)
		n, dones = n+len(got), append(dones, done)
	}
	for _, done := range dones {
		require.NoError(t, done(false))
	}
	queuetest.Collect(t, q.Dead(), tickets)
	ch := rabbittest.Channel(t, s)
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, s.Listener.Concurrency)
	rabbittest.Waits(t, ch, rabbit.DeadQueue, 0, 1)
}

// No more than confirm_window tickets are on their way: the broker is heard by
// nobody, so the first answers never come.
func TestConfirmWindow(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	direct := s
	s.ConfirmWindow = 4
	w := rabbittest.Cuttable(t, &s)
	q := connected(t, run(t, s, rabbit.Publishing))
	_, err := w.Toxics.AddToxicJson(strings.NewReader(`{"name":"deaf","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := q.Publish(ctx, queuetest.Some(50))
			sent <- err
		}()
	}
	rabbittest.Waits(t, rabbittest.Channel(t, direct), rabbit.TicketQueue, 4, 0)
	cancel()
	for range 2 {
		require.ErrorIs(t, stacktest.Await(t, "who sends is told", sent), context.Canceled)
	}
	rabbittest.Waits(t, rabbittest.Channel(t, direct), rabbit.TicketQueue, 4, 0)
}
