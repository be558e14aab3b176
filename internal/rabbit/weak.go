package rabbit

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Weak says which queues were made in another way than this program makes them: one that
// drops its oldest message, or keeps its messages on one disk, loses tickets. A node that
// declares (rabbitmq.declare) refuses to work with such a queue, so only one that does not
// has to look. A user who may not declare cannot see it, which is said once.
func (b *Broker) Weak(ctx context.Context) (weak []string, err error) {
	if b.Settings.Declare {
		return nil, nil
	}
	if err := b.Ping(ctx); err != nil {
		return nil, err
	}
	conn, err := b.Settings.visit(ctx, "look at the queues")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for _, name := range []string{TicketQueue, DeadQueue, ParkedQueue} {
		err := b.Settings.sameQueue(conn, name, 0)
		if kept := keptDeadLimit(err); kept > 0 { // of an earlier version: it is used as it is
			err = b.Settings.sameQueue(conn, name, kept)
		}
		e, answered := errors.AsType[*amqp.Error](err)
		switch {
		case err == nil || answered && e.Code == amqp.NotFound: // its connection says that it is missing
		case answered && e.Code == amqp.PreconditionFailed:
			weak = append(weak, fmt.Sprintf("RabbitMQ: %v", b.Settings.explain(err)))
		case answered && e.Code == amqp.AccessRefused:
			b.unseen.Do(func() {
				b.Log.Info("queue: rabbitmq.declare is false, and the user may not see how the queues were made; that they are as deploy/rabbitmq/definitions.json has them is for who made them: rabbitmqctl list_queues name type arguments")
			})
			return nil, nil
		default:
			return nil, err
		}
	}
	return weak, nil
}

// sameQueue compares a queue with how this program would make it. It makes none.
func (s Settings) sameQueue(conn *amqp.Connection, name string, kept int64) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if _, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err != nil {
		return err
	}
	_, err = ch.QueueDeclare(name, true, false, false, false, s.arguments(name, kept))
	return err
}
