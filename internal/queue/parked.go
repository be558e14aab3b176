package queue

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
)

// parkedLook is the most parked messages that are looked at together; whoever
// looks holds them meanwhile.
const parkedLook = 10_000

const (
	causeHeader    = "seckill-cause" // why a ticket was refused
	causeLimit     = 1000            // bytes of it
	refusedWaiting = 1000            // copies to be parked; more than that are dropped
)

// refused is a ticket that was refused as poison, and why.
type refused struct {
	ticket seckill.Ticket
	cause  string
	at     time.Time
}

// packRefused is what a copy of a refused ticket looks like at the broker.
func packRefused(r refused) (parcel, error) {
	p, err := packTicket(r.ticket)
	p.exchange, p.key = ParkedExchange, ParkedQueue
	p.message.Timestamp, p.message.Headers = r.at, amqp.Table{causeHeader: r.cause}
	return p, err
}

// parking brings copies of refused tickets to the parked ones. They are for people:
// the refusal itself is in the store.
type parking struct {
	publisher[refused]
	out chan refused
}

// Park puts a copy of a ticket that was refused as poison where people look for
// such, soon. It does not wait: while the broker is away copies wait in memory, and
// what does not fit, or cannot be sent before the process ends, is only in the log.
func (q *AMQP) Park(ticket seckill.Ticket, cause error) {
	text := cause.Error()
	r := refused{ticket, strings.ToValidUTF8(text[:min(len(text), causeLimit)], ""), time.Now()}
	select {
	case q.parking.out <- r:
	default:
		q.log.Warn("queue: too many refused tickets wait to be listed; this one is not", "ticket", ticket.ID)
	}
}

// run sends what is parked until ctx is done, and then for closeTime what waits.
// link keeps the connection meanwhile.
func (p *parking) run(ctx context.Context, link func(context.Context)) {
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	var g sync.WaitGroup
	g.Go(func() { link(linked) })
	defer g.Wait()
	defer unlink()
	defer context.AfterFunc(ctx, func() {
		rest(linked, closeTime)
		unlink()
	})()
	for {
		select {
		case r := <-p.out:
			p.insist(linked, r)
			continue
		default:
		}
		select {
		case r := <-p.out:
			p.insist(linked, r)
		case <-ctx.Done():
			return
		}
	}
}

// insist sends a copy until it is confirmed, refused, or ctx is done.
func (p *parking) insist(ctx context.Context, r refused) {
	pause := minReconnectPause
	for {
		sent, err := p.send(ctx, []refused{r})
		if len(sent) > 0 {
			return
		}
		if ctx.Err() != nil || err != nil && !errors.Is(err, seckill.ErrUnavailable) {
			p.queue.log.Warn("queue: a refused ticket is not listed among the dead letters", "ticket", r.ticket.ID, "error", err)
			return
		}
		rest(ctx, pause)
		pause = min(2*pause, maxReconnectPause)
	}
}

// Parked is a message that nobody could do anything with: no ticket, a copy of one
// that was refused as poison, or one that killed even who would have refused it.
type Parked struct {
	ID     string // the message's; if it has none, # and a hash of its body
	Ticket *seckill.Ticket
	Wrong  error  // why it is no ticket, nil if it is one
	Reason string // why it is here: refused, or what made it leave its queue: rejected, delivery_limit, …
	Cause  string // of a refusal, in the words of who refused
	Deaths int64  // how often it left a queue
	Body   []byte
	At     time.Time // when it was parked, zero if unknown

	delivery amqp.Delivery
}

// Desk is a person's look at the parked messages. They are held until Close,
// which puts back whatever was neither replayed nor dropped.
type Desk struct {
	Parked  []Parked
	Waiting int // dead letters that settle has still to try alone
	More    int // parked messages that are not in hand

	settings RabbitMQ
	conn     *amqp.Connection
	ch       *amqp.Channel
	returns  chan amqp.Return
}

// Look takes up to parkedLook parked messages in hand.
func Look(ctx context.Context, s RabbitMQ) (*Desk, error) { return lookAt(ctx, s, parkedLook) }

func lookAt(ctx context.Context, s RabbitMQ, most int) (_ *Desk, err error) {
	conn, err := s.visit(ctx, "dead-letters")
	if err != nil {
		return nil, err
	}
	d := &Desk{settings: s, conn: conn}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", s, s.explain(err))
			d.Close()
		}
	}()
	if d.ch, err = conn.Channel(); err != nil {
		return nil, err
	}
	if err := d.ch.Confirm(false); err != nil {
		return nil, err
	}
	d.returns = d.ch.NotifyReturn(make(chan amqp.Return, 1))
	dead, err := d.ch.QueueDeclarePassive(DeadQueue, true, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	d.Waiting = dead.Messages
	for len(d.Parked) < most && ctx.Err() == nil {
		m, ok, err := d.ch.Get(ParkedQueue, false)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		d.Parked, d.More = append(d.Parked, readParked(m)), int(m.MessageCount)
	}
	return d, ctx.Err()
}

func readParked(m amqp.Delivery) Parked {
	p := Parked{ID: m.MessageId, Body: m.Body, delivery: m}
	if p.ID == "" {
		sum := sha256.Sum256(m.Body)
		p.ID = "#" + hex.EncodeToString(sum[:6])
	}
	if t, err := decode(m.Body); err != nil {
		p.Wrong = err
	} else {
		p.Ticket = &t
	}
	// The latest death comes first; the queue before this one is the dead letters'.
	deaths, _ := m.Headers["x-death"].([]any)
	for _, d := range deaths {
		death, _ := d.(amqp.Table)
		n, _ := death["count"].(int64)
		p.Deaths += n
		if p.Reason == "" {
			p.Reason, _ = death["reason"].(string)
			p.At, _ = death["time"].(time.Time)
		}
	}
	if cause, refused := m.Headers[causeHeader].(string); refused {
		p.Reason, p.Cause, p.At = "refused", cause, m.Timestamp
	}
	return p
}

// Replay sends a message to the ticket queue, and takes it away when that queue
// has confirmed it. Its deaths are forgotten.
func (d *Desk) Replay(ctx context.Context, p Parked) error {
	headers := amqp.Table{}
	for k, v := range p.delivery.Headers {
		if !slices.Contains([]string{causeHeader, "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason", "x-last-death-exchange", "x-last-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count"}, k) {
			headers[k] = v
		}
	}
	m := p.delivery
	confirm, err := d.ch.PublishWithDeferredConfirm(TicketExchange, TicketQueue, true, false, amqp.Publishing{
		Headers: headers, ContentType: m.ContentType, DeliveryMode: amqp.Persistent, MessageId: m.MessageId, Timestamp: m.Timestamp, Type: m.Type, Body: m.Body,
	})
	if err != nil {
		return d.failed("replay", p, err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.settings.ConfirmTimeout)
	defer cancel()
	ok, err := confirm.WaitContext(ctx)
	if err == nil && !ok {
		q, unknown := d.ch.QueueDeclarePassive(TicketQueue, true, false, false, false, nil)
		err = cmp.Or(whyRefused(TicketQueue, q.Messages, d.settings.MaxLength, false, unknown), ErrFull)
	}
	select {
	case <-d.returns:
		err = ErrUnroutable
	default:
	}
	if err == nil {
		err = d.ch.Ack(m.DeliveryTag, false)
	}
	return d.failed("replay", p, err)
}

// Drop throws a message away.
func (d *Desk) Drop(p Parked) error {
	return d.failed("drop", p, d.ch.Ack(p.delivery.DeliveryTag, false))
}

func (d *Desk) failed(what string, p Parked, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s %s: %w", d.settings, what, p.ID, d.settings.explain(err))
}

// Close puts back what is still in hand.
func (d *Desk) Close() error {
	var err error
	if d.ch != nil && !d.ch.IsClosed() {
		err = d.ch.Close() // after all acknowledgements, which a closed connection may overtake
	}
	return errors.Join(err, d.conn.Close())
}

// visit connects for a command of a person.
func (s RabbitMQ) visit(ctx context.Context, purpose string) (*amqp.Connection, error) {
	raw, conn, err := s.dial(ctx, purpose, new(int))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, s.explain(err))
	}
	// What nobody answers any more ends with the context.
	context.AfterFunc(ctx, func() { raw.Close() })
	return conn, nil
}
