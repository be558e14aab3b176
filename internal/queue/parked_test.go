package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/settle"
)

// park brings tickets and other messages to the parked ones the way they come
// there: rejected from the tickets, and from the dead letters.
func park(t *testing.T, s RabbitMQ, tickets []seckill.Ticket, bodies ...string) {
	t.Helper()
	s.Listener.DefaultRequeueRejected = false
	s.DeliveryLimit = 1
	q := connected(t, run(t, s))
	publish(t, q, tickets...)
	ch := channel(t, s)
	for _, body := range bodies {
		require.NoError(t, ch.Publish(TicketExchange, TicketQueue, true, false, amqp.Publishing{Body: []byte(body)}))
	}
	for n := 0; n < len(tickets); {
		got, done := receive(t, q, 100)
		require.NoError(t, done(false))
		n += len(got)
	}
	for range 2 * len(tickets) { // each is tried delivery_limit times again
		_, done := receive(t, q.Dead(), 1)
		require.NoError(t, done(false))
	}
	waits(t, ch, ParkedQueue, len(tickets)+len(bodies), 0)
	waits(t, ch, TicketQueue, 0, s.Listener.Concurrency)
	require.NoError(t, q.Close())
}

func desk(t *testing.T, s RabbitMQ) *Desk {
	t.Helper()
	d, err := Look(t.Context(), s)
	require.NoError(t, err)
	return d
}

func parkedIDs(d *Desk) (ids []string) {
	for _, p := range d.Parked {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestDeadLettersAreListedReplayedAndDropped(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.DeliveryLimit = 1
	tickets := some(3)
	park(t, s, tickets, "hello")
	var ids []string
	for _, ticket := range tickets {
		ids = append(ids, ticket.ID)
	}
	ids = append(ids, "#2cf24dba5fb0") // of "hello"
	slices.Sort(ids)
	for range 30 { // looking changes nothing, however often: the limit of the others is 1
		d := desk(t, s)
		require.Equal(t, ids, parkedIDs(d))
		require.Zero(t, d.Waiting)
		require.NoError(t, d.Close())
	}
	d := desk(t, s)
	for _, p := range d.Parked {
		if p.ID == "#2cf24dba5fb0" {
			require.Nil(t, p.Ticket)
			require.Error(t, p.Wrong)
			require.Equal(t, "rejected", p.Reason)
			require.EqualValues(t, 2, p.Deaths)
			require.NoError(t, d.Drop(p))
			continue
		}
		require.NotNil(t, p.Ticket)
		require.Contains(t, tickets, *p.Ticket)
		require.Equal(t, "delivery_limit", p.Reason)
		require.EqualValues(t, 2, p.Deaths, "once with others, once alone")
		require.False(t, p.At.IsZero())
		if p.ID == tickets[1].ID {
			require.NoError(t, d.Replay(t.Context(), p))
		}
	}
	require.NoError(t, d.Close())

	ch := channel(t, s)
	waits(t, ch, ParkedQueue, 2, 0)
	waits(t, ch, TicketQueue, 1, 0)
	m, ok, err := ch.Get(TicketQueue, true)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, tickets[1].ID, m.MessageId)
	require.Equal(t, "ticket", m.Type)
	require.NotContains(t, m.Headers, "x-death")
}

// What the ticket queue did not take is not acknowledged.
func TestAReplayThatIsNotConfirmedLosesNothing(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.DeliveryLimit = 1
	tickets := some(1)
	park(t, s, tickets)
	ch := channel(t, s)
	require.NoError(t, ch.QueueUnbind(TicketQueue, TicketQueue, TicketExchange, nil))
	d := desk(t, s)
	require.ErrorIs(t, d.Replay(t.Context(), d.Parked[0]), ErrUnroutable)
	require.NoError(t, d.Close())
	waits(t, ch, ParkedQueue, 1, 0)
	require.NoError(t, ch.QueueBind(TicketQueue, TicketQueue, TicketExchange, false, nil))
	d = desk(t, s)
	require.NoError(t, d.Replay(t.Context(), d.Parked[0]))
	require.NoError(t, d.Close())
	waits(t, ch, ParkedQueue, 0, 0)
	waits(t, ch, TicketQueue, 1, 0)
}

// stage is a store and a gate for one settler.
type stage struct {
	mu       sync.Mutex
	settled  []string
	refused  []string
	finished []seckill.Outcome
	poison   error // what Settle says
}

func (s *stage) Settle(_ context.Context, tickets []seckill.Ticket) (outcomes []seckill.Outcome, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tickets {
		s.settled = append(s.settled, t.ID)
		outcomes = append(outcomes, seckill.Outcome{Ticket: t})
	}
	return outcomes, s.poison
}

func (s *stage) Refuse(_ context.Context, t seckill.Ticket, reason seckill.Reason) (seckill.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, t.ID)
	return seckill.Outcome{Ticket: t, Reason: reason}, nil
}

func (s *stage) Finish(_ context.Context, outcomes []seckill.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = append(s.finished, outcomes...)
	return nil
}

// settles runs a settler of dead letters as a node does.
func settles(t *testing.T, q *AMQP, s *stage) {
	t.Helper()
	dead := q.Dead()
	settler := &settle.Settler{
		Queue: dead, Store: s, Gate: s, Poison: func(err error) bool { return errors.Is(err, errPoison) }, Batch: 1,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Last: dead.Last, Refused: q.Park,
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); settler.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-over })
}

var errPoison = errors.New("too long\x1b[2J")

// A ticket that nobody who takes it survives has an outcome at last: it is refused
// without being tried once more, and listed.
func TestATicketThatEndsWhoeverTriesItIsRefused(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 2} {
		s := fresh(t)
		s.DeliveryLimit = limit
		// When a connection dies its channels do one by one, and the broker may deliver
		// to a second one of them meanwhile.
		s.Listener.Concurrency, s.Listener.MaxConcurrency = 1, 1
		ticket := some(1)[0]
		publish(t, connected(t, run(t, s, Publishing)), ticket)
		dies := func(as End) {
			own := s
			w := cuttable(t, &own)
			q := connected(t, run(t, own, as))
			var from far = q
			if as == DeadLetters {
				from = q.Dead()
			}
			got, stale := receive(t, from, 1)
			require.Equal(t, []seckill.Ticket{ticket}, got)
			require.False(t, q.Dead().Last(ticket.ID))
			// It comes back no more, and its connection goes with the ticket in hand.
			closed := make(chan struct{})
			go func() { defer close(closed); q.Close() }()
			eventually(t, func() error {
				if _, _, err := from.Receive(expired(t), 1); !errors.Is(err, errEnded) {
					return fmt.Errorf("not closing yet: %w", err)
				}
				return nil
			})
			w.cut()
			<-closed
			require.ErrorIs(t, stale(true), ErrStale)
		}
		for range limit + 1 {
			dies(Consuming)
		}
		for range limit {
			dies(DeadLetters)
		}
		q := connected(t, run(t, s, Consuming, DeadLetters, Parking))
		var node stage
		settles(t, q, &node)
		ch := channel(t, s)
		waits(t, ch, ParkedQueue, 1, 0)
		waits(t, ch, DeadQueue, 0, 1)
		waits(t, ch, TicketQueue, 0, s.Listener.Concurrency)
		node.mu.Lock()
		require.Empty(t, node.settled, "it was not tried once more")
		require.Equal(t, []string{ticket.ID}, node.refused)
		require.Equal(t, []seckill.Outcome{{Ticket: ticket, Reason: seckill.ReasonPoison}}, node.finished)
		node.mu.Unlock()
		require.False(t, q.Dead().Last(ticket.ID), "it is done")
		require.NoError(t, q.Close())
		waits(t, ch, DeadQueue, 0, 0) // acknowledged, not handed back
		waits(t, ch, ParkedQueue, 1, 0)
		d := desk(t, s)
		require.Equal(t, "refused", d.Parked[0].Reason)
		require.Equal(t, &ticket, d.Parked[0].Ticket)
		require.Contains(t, d.Parked[0].Cause, "never settled")
		require.NoError(t, d.Close())
	}
}

// What a database rejects is refused and, best effort, listed with what it said.
// Copies wait while the broker is away and harm nobody when they do not fit.
func TestRefusedTicketsAreListed(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	direct := s
	w := cuttable(t, &s)
	q := run(t, s, Parking)
	eventually(t, q.links[Parking].down)
	tickets := some(refusedWaiting + 5)
	w.cut()
	eventually(t, func() error {
		if q.links[Parking].down() == nil {
			return errors.New("still connected")
		}
		return nil
	})
	began := time.Now()
	for _, ticket := range tickets {
		q.Park(ticket, errPoison)
	}
	require.Less(t, time.Since(began), patience/10, "it waits for nobody")
	w.mend(t)
	ch := channel(t, direct)
	holds(t, ch, ParkedQueue, refusedWaiting)
	require.NoError(t, q.Close())
	d, err := lookAt(t.Context(), direct, 10)
	require.NoError(t, err)
	require.Len(t, d.Parked, 10)
	require.GreaterOrEqual(t, d.More, refusedWaiting-10)
	require.LessOrEqual(t, d.More, refusedWaiting-9, "what did not fit is in the log alone")
	for i, p := range d.Parked {
		require.Equal(t, tickets[i], *p.Ticket)
		require.Equal(t, errPoison.Error(), p.Cause)
		require.WithinDuration(t, time.Now(), p.At, 2*patience)
		require.NoError(t, d.Replay(t.Context(), p))
	}
	require.NoError(t, d.Close())
	waits(t, ch, TicketQueue, 10, 0)
	m, ok, err := ch.Get(TicketQueue, true)
	require.NoError(t, err)
	require.True(t, ok)
	require.NotContains(t, m.Headers, causeHeader)
}

// A queue that is closed sends first what was parked just before.
func TestWhatIsParkedLastIsStillSent(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	q := run(t, s, Parking)
	eventually(t, q.links[Parking].down)
	for _, ticket := range some(50) {
		q.Park(ticket, errPoison)
	}
	require.NoError(t, q.Close())
	waits(t, channel(t, s), ParkedQueue, 50, 0)
}
