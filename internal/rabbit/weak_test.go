package rabbit_test

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
)

// A node that does not declare uses the queues as they are, and names one that loses tickets.
func TestAQueueThatSomebodyElseHasMadeWeakerIsNamed(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	weak, err := connected(t, run(t, s, rabbit.Publishing)).broker.Weak(t.Context())
	require.NoError(t, err)
	require.Empty(t, weak, "a node that declares does not work with a weaker one")

	user := s
	user.Declare = false
	n := made(t, user)
	b := n.broker
	_, err = b.Weak(t.Context())
	require.Error(t, err, "it is not connected")
	connected(t, runs(t, n, rabbit.Publishing))
	weak, err = b.Weak(t.Context())
	require.NoError(t, err)
	require.Empty(t, weak)

	ch := rabbittest.Channel(t, s)
	for name, args := range map[string]amqp.Table{
		rabbit.TicketQueue: {amqp.QueueTypeArg: amqp.QueueTypeQuorum, amqp.QueueMaxLenArg: int64(s.MaxLength), amqp.QueueOverflowArg: amqp.QueueOverflowDropHead, "x-delivery-limit": int64(s.DeliveryLimit),
			"x-dead-letter-exchange": rabbit.DeadExchange, "x-dead-letter-routing-key": rabbit.DeadQueue, "x-dead-letter-strategy": "at-least-once"},
		rabbit.DeadQueue: {amqp.QueueTypeArg: amqp.QueueTypeClassic},
	} {
		_, err = ch.QueueDelete(name, false, false, false)
		require.NoError(t, err)
		_, err = ch.QueueDeclare(name, true, false, false, false, args)
		require.NoError(t, err)
	}
	weak, err = b.Weak(t.Context())
	require.NoError(t, err)
	require.Len(t, weak, 2)
	require.Contains(t, weak[0], "the queue "+rabbit.TicketQueue+" exists with another x-overflow")
	require.Contains(t, weak[1], "the queue "+rabbit.DeadQueue+" exists with another ")
}
