package rabbit

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// Only a queue that goes is said to be gone: a lost connection has its own reason,
// though the client closes both channels with it.
func TestWhyDeliveriesEnd(t *testing.T) {
	t.Parallel()
	lost := &amqp.Error{Code: amqp.ConnectionForced, Reason: "scripted"}
	for range 20 {
		closes, cancels := make(chan *amqp.Error, 1), make(chan string, 1)
		closes <- lost
		close(closes)
		close(cancels)
		require.ErrorIs(t, whyEnded("q", closes, cancels), lost)
		closes, cancels = make(chan *amqp.Error, 1), make(chan string, 1)
		cancels <- "listener-1"
		require.ErrorContains(t, whyEnded("q", closes, cancels), "gone")
	}
}
