package rabbitmq

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
	"seckill/internal/queue/queuetest"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/settle"
	"seckill/internal/stack/stacktest"
)

// park brings tickets and other messages to the parked ones the way they come
// there: rejected from the tickets, and from the dead letters.
func park(t *testing.T, s rabbit.Settings, tickets []seckill.Ticket, bodies ...string) {
	t.Helper()
	s.Listener.DefaultRequeueRejected = false
	s.DeliveryLimit = 1
	q := connected(t, run(t, s))
	queuetest.Publish(t, q, tickets...)
	ch := rabbittest.Channel(t, s)
	for _, body := range bodies {
		require.NoError(t, ch.Publish(rabbit.TicketExchange, rabbit.TicketQueue, true, false, amqp.Publishing{Body: []byte(body)}))
	}
	for n := 0; n < len(tickets); {
		got, done := queuetest.Receive(t, q, 100)
		require.NoError(t, done(false))
		n += len(got)
	}
	for parked := 0; parked < len(tickets); {
		got, done := queuetest.Receive(t, q.Dead(), 1)
		if q.Dead().Last(got[0].ID) {
			parked++
		}
		require.NoError(t, done(false))
	}
	rabbittest.Waits(t, ch, rabbit.ParkedQueue, len(tickets)+len(bodies), 0)
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 0, s.Listener.Concurrency)
	require.NoError(t, q.Close())
}

func desk(t *testing.T, s rabbit.Settings) *Desk {
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
	s := rabbittest.Fresh(t)
	s.DeliveryLimit = 1
	tickets := queuetest.Some(3)
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

	ch := rabbittest.Channel(t, s)
	rabbittest.Waits(t, ch, rabbit.ParkedQueue, 2, 0)
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 1, 0)
	m, ok, err := ch.Get(rabbit.TicketQueue, true)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, tickets[1].ID, m.MessageId)
	require.Equal(t, ticketType, m.Type)
	require.NotContains(t, m.Headers, "x-death")
}

// What the ticket queue did not take is not acknowledged.
func TestAReplayThatIsNotConfirmedLosesNothing(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.DeliveryLimit = 1
	tickets := queuetest.Some(1)
	park(t, s, tickets)
	ch := rabbittest.Channel(t, s)
	require.NoError(t, ch.QueueUnbind(rabbit.TicketQueue, rabbit.TicketQueue, rabbit.TicketExchange, nil))
	d := desk(t, s)
	require.ErrorIs(t, d.Replay(t.Context(), d.Parked[0]), rabbit.ErrUnroutable)
	require.NoError(t, d.Close())
	rabbittest.Waits(t, ch, rabbit.ParkedQueue, 1, 0)
	require.NoError(t, ch.QueueBind(rabbit.TicketQueue, rabbit.TicketQueue, rabbit.TicketExchange, false, nil))
	d = desk(t, s)
	require.NoError(t, d.Replay(t.Context(), d.Parked[0]))
	require.NoError(t, d.Close())
	rabbittest.Waits(t, ch, rabbit.ParkedQueue, 0, 0)
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 1, 0)
}

// stage is a store and a gate for one settler.
type stage struct {
	mu       sync.Mutex
	settled  []string
	refused  []string
	finished []seckill.Outcome
	poison   error // what Settle says

	trying chan struct{} // not nil: Settle says so here, and ends when dead is closed
	dead   chan struct{}
	told   chan seckill.Outcome // not nil: has what Finish is told
}

func (s *stage) Settle(_ context.Context, tickets []seckill.Ticket) (outcomes []seckill.Outcome, err error) {
	if s.trying != nil {
		s.trying <- struct{}{}
		<-s.dead
	}
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
	for _, o := range outcomes {
		if s.told != nil {
			s.told <- o
		}
	}
	return nil
}

// tried are the dead letters that nodes have tried, as the gate remembers them.
var tried sync.Map

// settles runs a settler of dead letters as a node does.
func settles(t *testing.T, q *node, s *stage) {
	t.Helper()
	dead := q.Dead()
	settler := &settle.Settler{
		Queue: dead, Store: s, Gate: s, Poison: func(err error) bool { return errors.Is(err, errPoison) }, Batch: 1,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Last: dead.Last, Refused: q.Park,
		Tried: func(_ context.Context, ticket string) (bool, error) {
			_, before := tried.LoadOrStore(ticket, true)
			return before, nil
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); settler.Run(ctx) }()
	t.Cleanup(func() { cancel(); stacktest.Await(t, "the settler ends", over) })
}

var errPoison = errors.New("too long\x1b[2J")

// A ticket that nobody who takes it survives has an outcome at last: it is refused
// without being tried once more, and listed.
func TestATicketThatEndsWhoeverTriesItIsRefused(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 2} {
		s := rabbittest.Fresh(t)
		s.DeliveryLimit = limit
		// When a connection dies its channels do one by one, and the broker may deliver
		// to a second one of them meanwhile.
		s.Listener.Concurrency, s.Listener.MaxConcurrency = 1, 1
		ticket := queuetest.Some(1)[0]
		queuetest.Publish(t, connected(t, run(t, s, rabbit.Publishing)), ticket)
		for range limit + 1 {
			own := s
			w := rabbittest.Cuttable(t, &own)
			q := connected(t, run(t, own, rabbit.Consuming))
			got, stale := queuetest.Receive(t, q, 1)
			require.Equal(t, []seckill.Ticket{ticket}, got)
			// It comes back no more, and its connection goes with the ticket in hand.
			closed := make(chan struct{})
			go func() { defer close(closed); q.Close() }()
			rabbittest.Eventually(t, func() error {
				if _, _, err := q.Receive(rabbittest.Expired(t), 1); !errors.Is(err, errEnded) {
					return fmt.Errorf("not closing yet: %w", err)
				}
				return nil
			})
			w.Cut()
			stacktest.Await(t, "it closes", closed)
			require.ErrorIs(t, stale(true), ErrLost)
		}
		ch := rabbittest.Channel(t, s)
		rabbittest.Waits(t, ch, rabbit.DeadQueue, 1, 0)
		alone := 0
		for diesAlone(t, s) {
			alone++
		}
		require.Greater(t, alone, limit, "tried alone as often as with others")
		require.LessOrEqual(t, alone, s.DeadLimit())
		rabbittest.Waits(t, ch, rabbit.ParkedQueue, 1, 0)
		rabbittest.Waits(t, ch, rabbit.DeadQueue, 0, 0) // acknowledged, not handed back
		d := desk(t, s)
		require.Equal(t, "refused", d.Parked[0].Reason)
		require.Equal(t, &ticket, d.Parked[0].Ticket)
		require.Contains(t, d.Parked[0].Cause, "never settled")
		require.NoError(t, d.Close())
	}
}

// diesAlone is a node that dies while it tries a dead letter; false if it refused
// the dead letter instead, without trying it.
func diesAlone(t *testing.T, s rabbit.Settings) bool {
	t.Helper()
	own := s
	w := rabbittest.Cuttable(t, &own)
	q := connected(t, run(t, own, rabbit.DeadLetters, rabbit.Parking))
	node := stage{trying: make(chan struct{}, 1), dead: make(chan struct{}), told: make(chan seckill.Outcome, 1)}
	settles(t, q, &node)
	defer close(node.dead)
	closed := make(chan struct{})
	select {
	case <-node.trying:
		go func() { defer close(closed); q.Close() }()
		rabbittest.Eventually(t, func() error {
			if _, _, err := q.Dead().Receive(rabbittest.Expired(t), 1); !errors.Is(err, errEnded) {
				return fmt.Errorf("not closing yet: %w", err)
			}
			return nil
		})
		w.Cut()
		stacktest.Await(t, "it closes", closed)
		return true
	case o := <-node.told:
		require.Equal(t, seckill.ReasonPoison, o.Reason)
		rabbittest.Waits(t, rabbittest.Channel(t, s), rabbit.ParkedQueue, 1, 0)
		require.NoError(t, q.Close())
		return false
	}
}

// A good ticket among the dead letters, which nodes held that died of another one, is
// placed when it is tried alone: at once, whatever count it brings along.
func TestAGoodDeadLetterIsPlaced(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.DeliveryLimit = 2
	s.Listener.Concurrency, s.Listener.MaxConcurrency = 1, 1
	good := queuetest.Some(3)
	queuetest.Publish(t, connected(t, run(t, s, rabbit.Publishing)), good...)
	ch := rabbittest.Channel(t, s)
	rabbittest.Eventually(t, func() error { // nodes take all of them and die
		dead, err := rabbittest.Channel(t, s).QueueDeclarePassive(rabbit.DeadQueue, true, false, false, false, nil)
		if err != nil || dead.Messages == len(good) {
			return err
		}
		holder := rabbittest.Channel(t, s)
		deliveries, err := holder.Consume(rabbit.TicketQueue, "", false, false, false, false, nil)
		require.NoError(t, err)
		select {
		case <-deliveries:
		case <-t.Context().Done():
		case <-time.After(time.Second): // they have moved on, or do now
		}
		require.NoError(t, holder.Close())
		return errors.New("not all of them are dead letters yet")
	})
	q := connected(t, run(t, s, rabbit.DeadLetters))
	var node stage
	settles(t, q, &node)
	rabbittest.Waits(t, ch, rabbit.DeadQueue, 0, 1)
	rabbittest.Eventually(t, func() error {
		node.mu.Lock()
		defer node.mu.Unlock()
		if len(node.finished) < len(good) {
			return fmt.Errorf("%d of %d have an outcome", len(node.finished), len(good))
		}
		return nil
	})
	node.mu.Lock()
	defer node.mu.Unlock()
	require.Empty(t, node.refused)
	for _, o := range node.finished {
		require.True(t, o.Placed())
	}
}

// Somebody who can write there may send a copy of a ticket with a count of failed deliveries
// that they have made up: it is placed, whatever the count says.
func TestACountThatSomebodyMadeUpRefusesNobody(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	ticket := queuetest.Some(1)[0]
	q := connected(t, run(t, s, rabbit.DeadLetters))
	body, err := encode(ticket)
	require.NoError(t, err)
	ch := rabbittest.Channel(t, s)
	require.NoError(t, ch.Publish(rabbit.DeadExchange, rabbit.DeadQueue, true, false, amqp.Publishing{Body: body, Headers: amqp.Table{"x-delivery-count": int64(s.DeadLimit())}}))
	node := stage{told: make(chan seckill.Outcome, 1)}
	settles(t, q, &node)
	require.True(t, stacktest.Await(t, "the gate is told", node.told).Placed())
	require.Empty(t, node.refused)
}

// A dead letters' queue that an earlier version made keeps its limit: the node works
// with it, and a ticket that ends whoever tries it is still refused at last.
func TestAnOlderDeadLettersQueueIsUsedAsItIs(t *testing.T) {
	t.Parallel()
	for _, declares := range []bool{true, false} {
		s := rabbittest.Fresh(t)
		s.DeliveryLimit = 1
		connected(t, run(t, s, rabbit.Publishing)).Close()
		ch := rabbittest.Channel(t, s)
		_, err := ch.QueueDelete(rabbit.DeadQueue, false, false, false)
		require.NoError(t, err)
		_, err = ch.QueueDeclare(rabbit.DeadQueue, true, false, false, false, amqp.Table{
			amqp.QueueTypeArg: amqp.QueueTypeQuorum, amqp.QueueMaxLenArg: int64(s.MaxLength), amqp.QueueOverflowArg: amqp.QueueOverflowRejectPublish,
			"x-delivery-limit": int64(s.DeliveryLimit), "x-dead-letter-exchange": rabbit.DeadExchange, "x-dead-letter-routing-key": rabbit.ParkedQueue, "x-dead-letter-strategy": "at-least-once",
		})
		require.NoError(t, err)
		require.NoError(t, ch.QueueBind(rabbit.DeadQueue, rabbit.DeadQueue, rabbit.DeadExchange, false, nil))
		body, err := encode(queuetest.Some(1)[0])
		require.NoError(t, err)
		require.NoError(t, ch.Publish(rabbit.DeadExchange, rabbit.DeadQueue, true, false, amqp.Publishing{Body: body}))
		rabbittest.Waits(t, ch, rabbit.DeadQueue, 1, 0)
		s.Declare = declares
		alone := 0
		for diesAlone(t, s) {
			alone++
		}
		require.Equal(t, s.DeliveryLimit, alone)
	}
}

// What a database rejects is refused and, best effort, listed with what it said.
// Copies wait while the broker is away and harm nobody when they do not fit.
func TestRefusedTicketsAreListed(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	direct := s
	w := rabbittest.Cuttable(t, &s)
	q := run(t, s, rabbit.Parking)
	rabbittest.Up(t, q.broker, rabbit.Parking)
	tickets := queuetest.Some(refusedWaiting + 2*parkedTogether)
	w.Cut()
	rabbittest.Fails(t, q.broker, rabbit.Parking)
	began := time.Now()
	for _, ticket := range tickets {
		q.Park(ticket, errPoison)
	}
	require.Less(t, time.Since(began), rabbittest.Patience/10, "it waits for nobody")
	w.Mend(t)
	ch := rabbittest.Channel(t, direct)
	rabbittest.Holds(t, ch, rabbit.ParkedQueue, refusedWaiting)
	require.NoError(t, q.Close())
	d, err := lookAt(t.Context(), direct, 10)
	require.NoError(t, err)
	require.Len(t, d.Parked, 10)
	require.GreaterOrEqual(t, d.More, refusedWaiting-10)
	require.LessOrEqual(t, d.More, refusedWaiting+parkedTogether-10, "what did not fit is in the log alone")
	for i, p := range d.Parked {
		require.Equal(t, tickets[i], *p.Ticket)
		require.Equal(t, errPoison.Error(), p.Cause)
		require.WithinDuration(t, time.Now(), p.At, 2*rabbittest.Patience)
		require.NoError(t, d.Replay(t.Context(), p))
	}
	require.NoError(t, d.Close())
	rabbittest.Waits(t, ch, rabbit.TicketQueue, 10, 0)
	m, ok, err := ch.Get(rabbit.TicketQueue, true)
	require.NoError(t, err)
	require.True(t, ok)
	require.NotContains(t, m.Headers, causeHeader)
}

// A queue that is closed sends first what was parked just before.
func TestWhatIsParkedLastIsStillSent(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	q := run(t, s, rabbit.Parking)
	rabbittest.Up(t, q.broker, rabbit.Parking)
	for _, ticket := range queuetest.Some(50) {
		q.Park(ticket, errPoison)
	}
	require.NoError(t, q.Close())
	rabbittest.Waits(t, rabbittest.Channel(t, s), rabbit.ParkedQueue, 50, 0)
}
