package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/queue/queuetest"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func TestABatchOfALostConnectionIsStaleAndComesAgain(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.Listener = rabbit.Listener{Concurrency: 1, MaxConcurrency: 1, Prefetch: 20, AutoStartup: true, DefaultRequeueRejected: true}
	tickets := fill(t, s, 20)
	direct := s
	w := rabbittest.Cuttable(t, &s)
	q := connected(t, run(t, s, rabbit.Consuming))
	old, stale := queuetest.Receive(t, q, 5)
	w.Cut()
	rabbittest.Eventually(t, func() error {
		if q.Ping(t.Context()) == nil {
			return errors.New("still connected")
		}
		return nil
	})
	require.ErrorIs(t, q.Ping(t.Context()), seckill.ErrUnavailable)
	_, cancelled, err := q.Receive(rabbittest.Expired(t), 5)
	require.ErrorIs(t, err, context.DeadlineExceeded, "what was not handed out went with the connection")
	require.Nil(t, cancelled)
	w.Mend(t)
	connected(t, q)

	// The new channel counts from 1 again. A stale acknowledgement of "all up to
	// 5" must not hit it.
	again, done := queuetest.Receive(t, q, 20)
	require.ErrorIs(t, stale(true), ErrLost)
	require.NoError(t, done(false))
	queuetest.Collect(t, q, tickets)
	require.NotEmpty(t, old)
	require.NotEmpty(t, again)
	require.NoError(t, q.Close())
	rabbittest.Waits(t, rabbittest.Channel(t, direct), rabbit.TicketQueue, 0, 0)
}

func TestATicketWhoseConfirmIsLostIsReportedAndSentAgain(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	direct := s
	s.PublishRetry.Enabled = false
	s.ConfirmTimeout = 300 * time.Millisecond
	w := rabbittest.Cuttable(t, &s)
	q := connected(t, run(t, s, rabbit.Publishing))
	// From now on the broker hears and is not heard.
	_, err := w.Toxics.AddToxicJson(strings.NewReader(`{"name":"deaf","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`))
	require.NoError(t, err)
	tickets := queuetest.Some(3)
	confirmed, err := q.Publish(t.Context(), tickets)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.ErrorContains(t, err, "rabbitmq.confirm_timeout")
	require.Empty(t, confirmed)
	ch := rabbittest.Channel(t, direct)
	rabbittest.Holds(t, ch, rabbit.TicketQueue, 3)
	require.NoError(t, w.Toxics.RemoveToxic(t.Context(), "deaf"))
	w.Cut()
	w.Mend(t)
	rabbittest.Eventually(t, func() error {
		confirmed, err = q.Publish(t.Context(), tickets)
		return err
	})
	require.Equal(t, tickets, confirmed)
	rabbittest.Holds(t, ch, rabbit.TicketQueue, 6) // each at least twice: an attempt that was given up may have arrived
}

func TestAStoppingConsumerWaitsForTheBatchAtHand(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	fill(t, s, 10)
	q := connected(t, run(t, s, rabbit.Consuming))
	var dones []func(bool) error
	for n := 0; n < 7; {
		got, done := queuetest.Receive(t, q, 7-n)
		n, dones = n+len(got), append(dones, done)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		q.Close()
	}()
	rabbittest.Eventually(t, func() error { // closing has begun: nothing is handed out any more
		_, done, err := q.Receive(rabbittest.Expired(t), 1)
		if err == nil {
			return errors.Join(errors.New("handing out"), done(false))
		}
		if !errors.Is(err, errEnded) {
			return fmt.Errorf("handing out: %w", err)
		}
		return nil
	})
	for _, done := range dones {
		require.NoError(t, done(true))
	}
	stacktest.Await(t, "it stops", closed)
	rabbittest.Waits(t, rabbittest.Channel(t, s), rabbit.TicketQueue, 3, 0)
	_, _, err := q.Receive(t.Context(), 1)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	_, err = q.Publish(t.Context(), queuetest.Some(1))
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.Error(t, q.Ping(t.Context()))
	require.NoError(t, q.broker.Run(t.Context()), "a closed queue does not run")
}

// What the broker has confirmed survives its death at any moment, and whoever is
// connected comes back by itself.
func TestConfirmedTicketsSurviveKillsOfTheBroker(t *testing.T) {
	t.Parallel()
	broker := stacktest.OwnStopped(t, stack.KindRabbitMQ)
	s := rabbittest.At(t, broker.URL())

	// It starts while the broker is down, and says so.
	near, far := run(t, s, rabbit.Publishing), run(t, s, rabbit.Consuming)
	rabbittest.Eventually(t, func() error {
		if err := near.Ping(t.Context()); !strings.Contains(fmt.Sprint(err), "refused") {
			return fmt.Errorf("not tried yet: %w", err)
		}
		return nil
	})
	err := near.Ping(t.Context())
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	for _, part := range []string{broker.Addr(), s.VirtualHost, "--queue"} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), string(s.Password))
	confirmed, err := near.Publish(t.Context(), queuetest.Some(1))
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.NotContains(t, err.Error(), string(s.Password))
	require.Empty(t, confirmed)

	missing := map[string]bool{}
	for range 2 {
		require.NoError(t, broker.Start(t.Context()))
		connected(t, near)
		require.NoError(t, broker.Settle(t.Context()))
		killed := make(chan error)
		published, err := 0, error(nil)
		for err == nil || errors.Is(err, rabbit.ErrFull) {
			var confirmed []seckill.Ticket
			confirmed, err = near.Publish(t.Context(), queuetest.Some(200))
			for _, ticket := range confirmed {
				missing[ticket.ID] = true
			}
			if before := published; before < 3000 && before+len(confirmed) >= 3000 {
				go func() { killed <- broker.Kill() }()
			}
			published += len(confirmed)
		}
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		require.NoError(t, stacktest.Await(t, "the broker is killed", killed))
	}
	require.NoError(t, broker.Start(t.Context()))
	for len(missing) > 0 {
		got, done := queuetest.Receive(t, far, 1000)
		for _, ticket := range got {
			delete(missing, ticket.ID)
		}
		if err := done(true); err != nil {
			require.ErrorIs(t, err, ErrLost)
		}
	}
}

// A broker without memory stops reading from whoever publishes. A publisher
// must notice instead of hanging.
func TestABrokerThatBlocksPublishersIsUnavailable(t *testing.T) {
	t.Parallel()
	broker := stacktest.Own(t, stack.KindRabbitMQ)
	s := rabbittest.At(t, broker.URL())
	s.PublishRetry.Enabled = false
	r := prometheus.NewRegistry()
	b := rabbit.New(s, slog.New(slog.NewTextHandler(t.Output(), nil)), r)
	q := connected(t, runs(t, &node{New(b, nil), b}, rabbit.Publishing, rabbit.Consuming))
	// blocked is what the alarm about it asks for.
	blocked := func() (value float64) {
		families, err := r.Gather()
		require.NoError(t, err)
		for _, f := range families {
			for _, m := range f.Metric {
				if f.GetName() == "seckill_queue_blocked" && m.Label[0].GetValue() == "publish" {
					value = m.GetGauge().GetValue()
				}
			}
		}
		return value
	}
	queuetest.Publish(t, q, queuetest.Some(1)...)
	queuetest.CollectN(t, q, 1)
	require.Zero(t, blocked())
	rabbittest.Watermark(t, broker, 0)
	tickets := queuetest.Some(5)
	tries := 0
	rabbittest.Eventually(t, func() error { // RabbitMQ tells its connections a moment after it said that the alarm is set
		tries++
		_, err := q.Publish(t.Context(), tickets)
		if err == nil {
			return errors.New("it takes tickets")
		}
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		require.ErrorContains(t, err, "blocks publishers")
		return nil
	})
	_, err := q.Publish(t.Context(), tickets)
	require.ErrorContains(t, err, "blocks publishers", "and it is known at once")
	require.EqualValues(t, 1, blocked())
	rabbittest.Watermark(t, broker, 0.4)
	rabbittest.Eventually(t, func() error {
		_, err := q.Publish(t.Context(), tickets)
		return err
	})
	require.Zero(t, blocked())
	// Those of the first tries were on their way; while it blocked, nothing was sent.
	// An attempt that was given up may have arrived too.
	queuetest.CollectN(t, q, (tries+1)*len(tickets))
	require.NoError(t, q.Close())
}

// Two nodes publish, three consume, and again and again one of them loses its
// connections. Every ticket that was confirmed is settled.
func TestNothingIsLostWhateverHappensToConnections(t *testing.T) {
	t.Parallel()
	total, kills := 10_000, 40
	if testing.Short() {
		total, kills = 5_000, 10
	}
	s := rabbittest.Fresh(t)
	s.DeliveryLimit = 5 // a few come as dead letters
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()

	var mu sync.Mutex
	missing := make(map[string]bool, total)
	seen := make(map[string]bool, total)
	progress := duty.NewSignal()
	settled := make(chan struct{})
	var published bool
	finished := func() bool { return published && len(missing) == 0 }

	var wires []rabbittest.Wire
	var nodes, publishers sync.WaitGroup
	open := func(uses ...rabbit.End) *node {
		own := s
		wires = append(wires, rabbittest.Cuttable(t, &own))
		return run(t, own, uses...)
	}
	work, stop := context.WithCancel(ctx)
	consume := func(q queuetest.Far) {
		for {
			got, done, err := q.Receive(work, 160)
			if err != nil {
				return
			}
			if err := done(true); err != nil {
				assert.ErrorIs(t, err, ErrLost)
			}
			// Settled, whether the acknowledgement arrived or not: it may come again.
			mu.Lock()
			for _, ticket := range got {
				seen[ticket.ID] = true
				delete(missing, ticket.ID)
			}
			if finished() {
				stop()
			}
			mu.Unlock()
			progress.Send()
		}
	}
	for range 3 {
		q := open(rabbit.Consuming, rabbit.DeadLetters)
		nodes.Go(func() { consume(q) })
		nodes.Go(func() { consume(q.Dead()) })
	}
	for range 2 {
		q := open(rabbit.Publishing)
		publishers.Go(func() {
			for left := queuetest.Some(total / 2); len(left) > 0 && ctx.Err() == nil; {
				batch := left[:min(160, len(left))]
				confirmed, err := q.Publish(ctx, batch)
				if err != nil && len(confirmed) == 0 {
					duty.Rest(ctx, 10*time.Millisecond)
				}
				mu.Lock()
				for _, ticket := range confirmed {
					if !seen[ticket.ID] {
						missing[ticket.ID] = true
					}
				}
				mu.Unlock()
				left = left[len(batch):]
				if again := seckill.Without(batch, confirmed); len(again) > 0 { // Publish may still look at the batch
					left = slices.Concat(again, left)
				}
			}
		})
	}
	nodes.Go(func() {
		publishers.Wait()
		mu.Lock()
		defer mu.Unlock()
		if published = true; finished() {
			stop()
		}
	})
	nodes.Go(func() {
		<-work.Done()
		close(settled)
	})
	lots := rand.New(rand.NewPCG(stacktest.Seed(t), 0))
	for range kills {
		for range lots.IntN(12) { // so that the kills are over before the tickets are
			select {
			case <-progress:
			case <-settled:
			}
		}
		w := wires[lots.IntN(len(wires))]
		w.Cut()
		w.Mend(t)
	}
	nodes.Wait()
	mu.Lock()
	defer mu.Unlock()
	require.NoError(t, ctx.Err(), "%d tickets are missing", len(missing))
	require.Empty(t, missing)
	require.Len(t, seen, total)
}
