package queue

import (
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"seckill"
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
