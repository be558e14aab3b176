package rabbit

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Message is what is sent, or was delivered.
type Message struct {
	Exchange, Key string
	Mandatory     bool // it comes back if no queue is bound
	Transient     bool // the broker may keep it in memory only
	ID            string
	Type          string
	ContentType   string // empty: application/json
	At            time.Time
	User          string // whom the broker says that it is from: it refuses another than who is logged in; empty: nobody
	Headers       map[string]any
	Body          []byte
}

func (m *Message) publishing() amqp.Publishing {
	p := amqp.Publishing{ContentType: m.ContentType, DeliveryMode: amqp.Persistent, MessageId: m.ID, Type: m.Type, Timestamp: m.At, UserId: m.User, Headers: m.Headers, Body: m.Body}
	if p.ContentType == "" {
		p.ContentType = "application/json"
	}
	if m.Transient {
		p.DeliveryMode = amqp.Transient
	}
	return p
}

// Delivery is a message that the broker has delivered.
type Delivery struct {
	Message
	Tag         uint64 // rising on one subscription, from 1
	Redelivered bool
	Failed      int64 // deliveries before this one that failed, as far as the broker counts them
}

func delivered(d *amqp.Delivery) Delivery {
	// The broker counts the deliveries that failed, and gives up when they are more
	// than the queue's limit.
	failed, _ := d.Headers["x-delivery-count"].(int64)
	return Delivery{
		Message: Message{
			Exchange: d.Exchange, Key: d.RoutingKey, ID: d.MessageId, Type: d.Type, ContentType: d.ContentType, At: d.Timestamp, Headers: d.Headers, Body: d.Body,
		},
		Tag: d.DeliveryTag, Redelivered: d.Redelivered, Failed: failed,
	}
}

// Subscription is one consumer of a queue, on a channel of its own. The broker counts
// deliveries from 1 on each channel, so what an earlier channel has delivered must not be
// acknowledged on this one.
type Subscription struct {
	ch         *amqp.Channel
	queue, tag string
	deliveries <-chan amqp.Delivery
	closes     <-chan *amqp.Error
	cancels    <-chan string
}

// Subscribe takes deliveries of a queue, of which at most prefetch are not acknowledged.
// The broker shows the consumer by its tag.
func (s *Session) Subscribe(queue, tag string, prefetch int) (*Subscription, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return nil, err
	}
	return subscribe(ch, queue, tag, false)
}

// Hear takes everything that is sent to a fanout exchange while the session lasts, by
// an exclusive queue whose name begins with queue. Nothing is acknowledged.
func (s *Session) Hear(exchange, queue string) (*Subscription, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	name := queue + rand.Text()
	if _, err := ch.QueueDeclare(name, false, true, true, false, nil); err != nil {
		return nil, err
	}
	if err := ch.QueueBind(name, "", exchange, false, nil); err != nil {
		return nil, err
	}
	return subscribe(ch, name, "", true)
}

func subscribe(ch *amqp.Channel, queue, tag string, autoAck bool) (*Subscription, error) {
	s := &Subscription{ch: ch, queue: queue, tag: tag, closes: ch.NotifyClose(make(chan *amqp.Error, 1)), cancels: ch.NotifyCancel(make(chan string, 1))}
	deliveries, err := ch.Consume(queue, tag, autoAck, autoAck, false, false, nil)
	s.deliveries = deliveries
	return s, err
}

// Each calls take with deliveries until the channel ends. It waits for the first one and
// adds those that have arrived already, up to most in all. take MUST NOT keep the slice.
func (s *Subscription) Each(most int, take func([]Delivery)) {
	held := make([]Delivery, 0, most)
	for d := range s.deliveries {
		held = append(held[:0], delivered(&d))
		for more := true; more && len(held) < most; {
			select {
			case d, open := <-s.deliveries:
				if more = open; open {
					held = append(held, delivered(&d))
				}
			default:
				more = false
			}
		}
		take(held)
	}
}

// Why returns, after Each, the reason why the deliveries ended. It MUST NOT be called after
// Cancel or Close, which are no such reason.
func (s *Subscription) Why() error { return whyEnded(s.queue, s.closes, s.cancels) }

// whyEnded reads the reason from the two notifications. The client library closes both Go
// channels when the AMQP channel is closed, and sends on cancels only when the queue was
// deleted.
func whyEnded(queue string, closes <-chan *amqp.Error, cancels <-chan string) error {
	if _, cancelled := <-cancels; cancelled {
		return fmt.Errorf("the broker cancelled a listener of %s: is the queue gone?", queue)
	}
	return closeReason(<-closes)
}

// closeReason reads why a channel was closed from its notification.
func closeReason(e *amqp.Error) error {
	if e == nil {
		return amqp.ErrClosed
	}
	return e
}

// Ack acknowledges a delivery; with multiple all up to it.
func (s *Subscription) Ack(tag uint64, multiple bool) error { return s.ch.Ack(tag, multiple) }

// Nack gives a delivery back, or with multiple all up to it: to the queue, or without
// requeue to its dead letters.
func (s *Subscription) Nack(tag uint64, multiple, requeue bool) error {
	return s.ch.Nack(tag, multiple, requeue)
}

// Cancel takes no more deliveries. Those that are there remain to be acknowledged.
func (s *Subscription) Cancel() error { return s.ch.Cancel(s.tag, false) }

// Close ends the channel after all its acknowledgements. What was not acknowledged is
// delivered again.
func (s *Subscription) Close() error { return s.ch.Close() }

// Publish sends a message on the subscription's channel, without a confirm.
func (s *Subscription) Publish(m Message) error {
	return s.ch.Publish(m.Exchange, m.Key, m.Mandatory, false, m.publishing())
}

// Visit is the connection of a command, such as seckill mq dead-letters. It sends and takes
// one message at a time.
type Visit struct {
	settings Settings
	conn     *amqp.Connection
	ch       *amqp.Channel
	returns  chan amqp.Return
}

// Visit connects for a purpose that the broker shows.
func (s Settings) Visit(ctx context.Context, purpose string) (*Visit, error) {
	conn, err := s.visit(ctx, purpose)
	if err != nil {
		return nil, err
	}
	v := &Visit{settings: s, conn: conn, returns: make(chan amqp.Return, 1)}
	if v.ch, err = conn.Channel(); err == nil {
		err = v.ch.Confirm(false)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", s, s.explain(err))
	}
	v.ch.NotifyReturn(v.returns)
	return v, nil
}

// visit connects and has the connection closed when ctx ends.
func (s Settings) visit(ctx context.Context, purpose string) (*amqp.Connection, error) {
	raw, conn, err := s.dial(ctx, purpose, new(int))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, s.explain(err))
	}
	// The client library waits without a context.
	context.AfterFunc(ctx, func() { raw.Close() })
	return conn, nil
}

func (v *Visit) explain(err error) error { return v.settings.explain(err) }

// Messages returns how many messages wait in a queue.
func (v *Visit) Messages(queue string) (int, error) {
	q, err := v.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	return q.Messages, v.explain(err)
}

// Get takes one message from a queue without acknowledging it, and returns how many are
// left there. ok is false when the queue is empty.
func (v *Visit) Get(queue string) (d Delivery, left int, ok bool, err error) {
	m, ok, err := v.ch.Get(queue, false)
	return delivered(&m), int(m.MessageCount), ok, v.explain(err)
}

// Ack removes a message that Get has returned.
func (v *Visit) Ack(tag uint64) error { return v.explain(v.ch.Ack(tag, false)) }

// Send sends a message to a queue and waits for its confirm, for ConfirmTimeout at most.
// The error wraps ErrFull if the queue is full, seckill.ErrUnavailable if it has no leader
// now, ErrUnroutable if it is not bound.
func (v *Visit) Send(ctx context.Context, queue string, m Message) error {
	confirm, err := v.ch.PublishWithDeferredConfirm(m.Exchange, m.Key, true, false, m.publishing())
	if err != nil {
		return v.explain(err)
	}
	ctx, cancel := context.WithTimeout(ctx, v.settings.ConfirmTimeout)
	defer cancel()
	ok, err := confirm.WaitContext(ctx)
	if err == nil && !ok {
		q, unknown := v.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		err = cmp.Or(whyRefused(queue, q.Messages, v.settings.MaxLength, false, unknown), ErrFull)
	}
	select {
	case <-v.returns:
		err = ErrUnroutable
	default:
	}
	return v.explain(err)
}

// Close puts back every message that was taken and not acknowledged.
func (v *Visit) Close() error {
	var err error
	if !v.ch.IsClosed() {
		err = v.ch.Close() // first, because closing the connection could overtake the acknowledgements
	}
	return errors.Join(err, v.conn.Close())
}

// Death is an entry of the header x-death: why a message left a queue.
type Death struct {
	Reason string // rejected, delivery_limit, …
	At     time.Time
}

// Deaths returns the latest death of a message, and how often it left a queue.
func (d Delivery) Deaths() (latest Death, count int64) {
	// The latest comes first.
	deaths, _ := d.Headers["x-death"].([]any)
	for _, d := range deaths {
		death, _ := d.(amqp.Table)
		n, _ := death["count"].(int64)
		count += n
		if latest.Reason == "" {
			latest.Reason, _ = death["reason"].(string)
			latest.At, _ = death["time"].(time.Time)
		}
	}
	return latest, count
}

// Afresh returns the message without the headers in which the broker counts its deaths and
// deliveries, so that it can be sent again and counts from 0.
func (d Delivery) Afresh() Message {
	m := d.Message
	m.Headers = map[string]any{}
	for k, v := range d.Headers {
		switch k {
		case "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason", "x-last-death-exchange", "x-last-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count":
		default:
			m.Headers[k] = v
		}
	}
	return m
}
