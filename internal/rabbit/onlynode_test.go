package rabbit_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/queue/queuetest"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// everything is all that a node does with its queue.
var everything = []rabbit.End{rabbit.Publishing, rabbit.Consuming, rabbit.DeadLetters, rabbit.Announcing, rabbit.Noticing, rabbit.Parking}

// alone runs everything of a queue that is alone.
func alone(t testing.TB, s rabbit.Settings) *node {
	t.Helper()
	q := made(t, s)
	require.NoError(t, q.broker.OnlyNode(t.Context(), 0))
	return runs(t, q, everything...)
}

// all waits until every end works.
func all(t testing.TB, q *node) {
	t.Helper()
	for _, e := range everything {
		rabbittest.Eventually(t, downs(q, e))
	}
}

// stands waits until no end works for this reason.
func stands(t testing.TB, q *node, reason error) {
	t.Helper()
	rabbittest.Eventually(t, func() error {
		for _, e := range everything {
			if err := q.broker.Down(e); !errors.Is(err, reason) {
				return fmt.Errorf("%s: %w", e, err)
			}
		}
		return nil
	})
	require.ErrorIs(t, q.Ping(t.Context()), reason)
}

// taken makes rabbit.AloneQueue another one's, whenever it is free, and tells how to give
// it back.
func taken(t testing.TB, s rabbit.Settings) (giveBack func() error) {
	t.Helper()
	conn := rabbittest.Dial(t, s)
	rabbittest.Eventually(t, func() error {
		ch, err := conn.Channel()
		require.NoError(t, err)
		return rabbit.Own(ch, s)
	})
	return conn.Close
}

func TestASecondNodeThatIsAloneIsRefused(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	first := alone(t, s)
	all(t, first)
	second := made(t, s)
	err := second.broker.OnlyNode(t.Context(), 0)
	require.ErrorIs(t, err, rabbit.ErrInUse)
	require.ErrorContains(t, err, s.String())
	require.NoError(t, second.Close())

	third := made(t, s)
	waits := make(chan error, 1)
	go func() { waits <- third.broker.OnlyNode(t.Context(), rabbittest.Patience) }()
	rabbittest.Eventually(t, func() error { return rabbittest.Tried(third.broker.Down(rabbit.Owning)) })
	require.NoError(t, first.Close())
	require.NoError(t, stacktest.Await(t, "the first closes", waits), "once the first is closed there is room")
	all(t, runs(t, third, everything...))
}

func TestAClosingNodeIsAloneUntilItsLastBatchIsDone(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	first := alone(t, s)
	all(t, first)
	queuetest.Publish(t, first, queuetest.Some(1)...)
	_, done := queuetest.Receive(t, first, 1)
	closed := make(chan error, 1)
	go func() { closed <- first.Close() }()
	rabbittest.Eventually(t, func() error {
		if first.ListenersRunning() {
			return errStillThere
		}
		return nil
	})
	second := made(t, s)
	require.ErrorIs(t, second.broker.OnlyNode(t.Context(), 0), rabbit.ErrInUse)
	require.NoError(t, second.Close())
	require.NoError(t, done(true))
	require.NoError(t, stacktest.Await(t, "it closes", closed))
	all(t, alone(t, s))
}

// A node starts while its broker is away. So two may run that are both alone.
func TestANodeThatIsAlonePublishesAndTakesNothingBesideAnother(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	first := made(t, s)
	require.NoError(t, first.broker.OnlyNode(t.Context(), 0))
	connected(t, runs(t, first, rabbit.Publishing))
	tickets := queuetest.Some(3)
	queuetest.Publish(t, first, tickets...)

	far := s
	w := rabbittest.Cuttable(t, &far)
	w.Cut()
	second := alone(t, far)
	require.ErrorIs(t, second.Ping(t.Context()), seckill.ErrUnavailable)
	w.Mend(t)
	stands(t, second, rabbit.ErrInUse)
	confirmed, err := second.Publish(t.Context(), queuetest.Some(1))
	require.ErrorIs(t, err, rabbit.ErrInUse)
	require.ErrorIs(t, err, seckill.ErrUnavailable, "it is tried again later")
	require.Empty(t, confirmed)
	rabbittest.Waits(t, rabbittest.Channel(t, s), rabbit.TicketQueue, len(tickets), 0)

	require.NoError(t, first.Close())
	queuetest.Collect(t, connected(t, second), tickets)
}

// Other nodes that are not alone are none of its business.
func TestWhoIsNotAloneAsksForNothing(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	require.NotNil(t, taken(t, s))
	all(t, runs(t, made(t, s), everything...))
}

func TestANodeThatIsNotAloneAnyMoreStopsAndComesBack(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	q := alone(t, s)
	all(t, q)
	broker := stacktest.Shared(t, stack.KindRabbitMQ)
	// Only the connection that holds the queue is lost, and another node is faster.
	rabbittest.Eventually(t, func() error {
		var connections []struct {
			Name, VHost string
			Properties  struct {
				Name string `json:"connection_name"`
			} `json:"client_properties"`
		}
		if err := rabbittest.Management(t, broker, "GET", "connections", nil, &connections); err != nil {
			return err
		}
		for _, c := range connections {
			if c.VHost == s.VirtualHost && strings.HasPrefix(c.Properties.Name, "seckill own ") {
				return rabbittest.Management(t, broker, "DELETE", "connections/"+url.PathEscape(c.Name), nil, nil)
			}
		}
		return errors.New("the connection is not listed yet")
	})
	giveBack := taken(t, s)
	stands(t, q, rabbit.ErrInUse)
	rabbittest.Waits(t, rabbittest.Channel(t, s), rabbit.TicketQueue, 0, 0)
	require.NoError(t, giveBack())
	all(t, q)
	tickets := queuetest.Some(3)
	queuetest.Publish(t, q, tickets...)
	queuetest.Collect(t, q, tickets)
}

func TestADeletedMarkIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	q := alone(t, s)
	all(t, q)
	_, lost := q.broker.Owned()
	rabbittest.Eval(t, stacktest.Shared(t, stack.KindRabbitMQ), fmt.Sprintf(`{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<%q>>, queue, <<%q>>)),
		{ok, _} = rabbit_amqqueue:delete(Q, false, false, <<"test">>).`, s.VirtualHost, rabbit.AloneQueue))
	stacktest.Await(t, "it is lost", lost)
	all(t, q)
	second := made(t, s)
	require.ErrorIs(t, second.broker.OnlyNode(t.Context(), 0), rabbit.ErrInUse)
	require.NoError(t, second.Close())
}

// The broker gives a silent connection up after two heartbeats at the earliest.
// Until then nobody else can be alone.
func TestANodeThatHearsNothingStopsBeforeAnotherMayBegin(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.Heartbeat = 4 * time.Second
	w := rabbittest.Cuttable(t, &s)
	q := alone(t, s)
	all(t, q)
	_, lost := q.broker.Owned()
	pulse := stacktest.Beats(t, 50*time.Millisecond, nil)
	began, before := time.Now(), pulse.LateBy()
	_, err := w.Toxics.AddToxicJson(strings.NewReader(`{"type": "timeout", "stream": "downstream", "attributes": {"timeout": 0}}`))
	require.NoError(t, err)
	stacktest.Await(t, "it is lost", lost)
	require.Less(t, time.Since(began)-(pulse.LateBy()-before), 2*s.Heartbeat)
	stands(t, q, seckill.ErrUnavailable)
}

// Without the right to it nobody is alone, and it is said which right is missing.
func testAloneRights(t *testing.T, as func(user string) rabbit.Settings) {
	all(t, alone(t, as("seckill")))
	q := alone(t, as("seckill-consumer"))
	var refusal *amqp.Error
	rabbittest.Eventually(t, func() error { // "not started" comes first
		if err := q.Ping(t.Context()); !errors.As(err, &refusal) {
			return fmt.Errorf("no refusal: %w", err)
		}
		return nil
	})
	require.Equal(t, amqp.AccessRefused, refusal.Code)
	require.ErrorContains(t, q.Ping(t.Context()), "to configure and to read "+rabbit.AloneQueue)
}
