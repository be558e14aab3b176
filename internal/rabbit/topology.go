package rabbit

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

// What Seckill has at the broker. All names begin with "seckill.", so that a
// user with rights on ^seckill\. can make and use them, and nothing else.
//
//	seckill.tickets ──▶ seckill.tickets        what settle takes
//	  (direct)             │ rejected, or failed delivery_limit times
//	                       ▼
//	seckill.dead ─────▶ seckill.tickets.dead   tried one ticket at a time
//	  (direct)             │ no ticket, or failed delivery_limit times alone
//	                       ▼
//	seckill.dead ─────▶ seckill.tickets.parked kept for a person to look at
//	                       ▲
//	seckill.parked ────────┘                   copies of tickets refused as poison
//	  (direct)
//
//	seckill.events ───▶ whatever subscribers bind: order.placed, order.paid, …
//	  (topic)
//	seckill.sales ────▶ one queue of each node, while it is connected
//	  (fanout)
//
// Beside the topology there is seckill.alone, an empty queue: a node with embedded
// parts holds it while it is connected, and keeps others of its kind off.
const (
	TicketExchange = "seckill.tickets"
	TicketQueue    = "seckill.tickets" // also the routing key
	DeadExchange   = "seckill.dead"
	DeadQueue      = "seckill.tickets.dead"   // also the routing key
	ParkedQueue    = "seckill.tickets.parked" // also the routing key
	// ParkedExchange leads to the parked tickets alone: who settles may write to it
	// and can bring no ticket to be settled by it.
	ParkedExchange = "seckill.parked"
	EventExchange  = "seckill.events" // topic: the routing key is the event's type
	SaleExchange   = "seckill.sales"  // fanout
	NoticeQueue    = "seckill.sales." // and something random: exclusive, gone with its node
	AloneQueue     = "seckill.alone"  // exclusive, gone with its node's connection
)

// exchanges are those of the topology, all durable, and their types.
var exchanges = map[string]string{
	TicketExchange: amqp.ExchangeDirect, DeadExchange: amqp.ExchangeDirect, ParkedExchange: amqp.ExchangeDirect,
	EventExchange: amqp.ExchangeTopic, SaleExchange: amqp.ExchangeFanout,
}

const (
	deliveryLimitArg = "x-delivery-limit"
	// parkedDeliveryLimit lets a person look at a parked message and put it back
	// as often as they like: nothing is behind that queue.
	parkedDeliveryLimit = 1_000_000
)

// DeadLimit is the delivery limit of the dead letters' queue. RabbitMQ 4 keeps the
// count of failed deliveries when it moves a message there: the first delivery in
// that queue can say DeliveryLimit + 1 already. So the limit is above that, and a
// ticket is tried alone at least as often as with others.
func (s Settings) DeadLimit() int { return 2*s.DeliveryLimit + 2 }

// lastTry reports whether a dead letter whose delivery failed so often is delivered
// for the last time: if it fails again, the broker parks it. kept is the limit of a
// queue that an earlier version has made, 0 for a queue with DeadLimit.
//
// On an older queue the last delivery says kept; a count beyond it was brought
// along, and the ticket has not been tried alone yet.
func (s Settings) lastTry(failed, kept int64) bool {
	if kept == 0 && !s.Declare { // somebody else declares the queue, so its limit cannot be known; earlier versions declared it with this one
		kept = int64(s.DeliveryLimit)
	}
	return kept > 0 && failed == kept || failed >= int64(s.DeadLimit())
}

// LastTry reports whether a delivery of DeadQueue is the last one: if it fails too, the
// broker parks the message.
func (b *Broker) LastTry(d *Delivery) bool {
	return b.Settings.lastTry(d.Failed, b.keptDeadLimit.Load())
}

var (
	inequivalent = regexp.MustCompile(`inequivalent arg '([^']+)' for (\w+) '([^']+)'.*?: received (.+) but current is (.+)$`)
	firstNumber  = regexp.MustCompile(`\d+`)
)

// keptDeadLimit reads from the broker's refusal to declare the dead letters' queue
// which delivery limit that queue has, 0 if the refusal is about something else.
func keptDeadLimit(err error) int64 {
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok || e.Code != amqp.PreconditionFailed {
		return 0
	}
	m := inequivalent.FindStringSubmatch(e.Reason)
	if m == nil || m[1] != deliveryLimitArg || m[3] != DeadQueue {
		return 0
	}
	n, _ := strconv.ParseInt(firstNumber.FindString(m[5]), 10, 64)
	return n
}

// declare makes the topology, or finds that it is as it should be. It is done at
// every connect: whatever was removed meanwhile comes back.
//
// Every argument that matters is explicit, since defaults differ by version:
// RabbitMQ 4 has a delivery limit of 20, 3.10 has none. The queues are quorum
// queues: a confirmed ticket is on the disks of a majority. They refuse when they are
// full instead of dropping their oldest. Dead letters move at least once, that
// is, they leave one queue when the next has confirmed them.
//
// With rabbitmq.declare false it only looks whether everything is there, for
// which a user needs no rights. kept is the limit of a dead letters' queue that an
// earlier version has made, 0 for none: such a queue is used as it is.
func declare(ch *amqp.Channel, s Settings, kept int64) error {
	exchange, queue := ch.ExchangeDeclare, ch.QueueDeclare
	if !s.Declare {
		exchange, queue = ch.ExchangeDeclarePassive, ch.QueueDeclarePassive
	}
	for name, kind := range exchanges {
		if err := exchange(name, kind, true, false, false, false, nil); err != nil {
			return s.explain(err)
		}
	}
	quorum := func(name, exchange string) error {
		if _, err := queue(name, true, false, false, false, s.arguments(name, kept)); err != nil || !s.Declare {
			return s.explain(err)
		}
		return s.explain(ch.QueueBind(name, name, exchange, false, nil))
	}
	// From the end to the beginning: no dead letter may find its queue missing.
	if err := quorum(ParkedQueue, DeadExchange); err != nil {
		return err
	}
	if s.Declare {
		if err := ch.QueueBind(ParkedQueue, ParkedQueue, ParkedExchange, false, nil); err != nil {
			return s.explain(err)
		}
	}
	if err := quorum(DeadQueue, DeadExchange); err != nil {
		return err
	}
	return quorum(TicketQueue, TicketExchange)
}

// deadLetters are where the messages of a queue go that failed too often.
var deadLetters = map[string]string{TicketQueue: DeadQueue, DeadQueue: ParkedQueue}

// arguments are those of a queue of the topology.
func (s Settings) arguments(name string, kept int64) amqp.Table {
	args := amqp.Table{
		amqp.QueueTypeArg:     amqp.QueueTypeQuorum,
		amqp.QueueMaxLenArg:   int64(s.MaxLength),
		amqp.QueueOverflowArg: amqp.QueueOverflowRejectPublish,
		deliveryLimitArg:      int64(parkedDeliveryLimit),
	}
	if to := deadLetters[name]; to != "" {
		args[deliveryLimitArg] = int64(s.DeliveryLimit)
		if name == DeadQueue {
			args[deliveryLimitArg] = cmp.Or(kept, int64(s.DeadLimit()))
		}
		args["x-dead-letter-exchange"] = DeadExchange
		args["x-dead-letter-routing-key"] = to
		args["x-dead-letter-strategy"] = "at-least-once"
	}
	return args
}

// settings that end up as arguments of the queues.
var argumentSettings = map[string]string{
	amqp.QueueMaxLenArg: "rabbitmq.max_length",
	deliveryLimitArg:    "rabbitmq.delivery_limit",
}

// explain adds to what the broker says what to do about it.
func (s Settings) explain(err error) error {
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case amqp.PreconditionFailed:
		m := inequivalent.FindStringSubmatch(e.Reason)
		if m == nil {
			return err
		}
		arg, kind, name := m[1], m[2], m[3]
		remedy := fmt.Sprintf("delete the %s when it is no longer used; it is made again", kind)
		if kind == "queue" {
			remedy = fmt.Sprintf("delete the queue when it is empty (rabbitmqctl delete_queue --vhost %s %s); it is made again", s.VirtualHost, name)
		}
		if key := argumentSettings[arg]; key != "" {
			remedy = fmt.Sprintf("set %s as it was, or %s", key, remedy)
		}
		return fmt.Errorf("the %s %s exists with another %s: wanted %s, it has %s; %s: %w", kind, name, arg, m[4], m[5], remedy, err)
	case amqp.NotFound:
		return fmt.Errorf("missing: a node with rabbitmq.declare makes it when it connects, or an administrator by importing deploy/rabbitmq/definitions.json: %w", err)
	case amqp.AccessRefused:
		return fmt.Errorf("refused: check rabbitmq.username and rabbitmq.password, and that the user may configure, write and read ^seckill\\. there, or less with rabbitmq.declare false: %w", err)
	case amqp.NotAllowed:
		return fmt.Errorf("not allowed: check that rabbitmq.virtual_host exists and that the user may use it: %w", err)
	}
	return err
}
