// Package rabbitmq is the queue on RabbitMQ: step 4 of the path of a purchase puts
// tickets into it, step 5 takes them out and step 7 acknowledges them.
//
// A ticket that is confirmed is on the disks of a majority. A ticket that fails too
// often in batches is tried alone, as a dead letter (Dead); what fails alone is refused
// by who settles, and a copy is parked for a person to look at (Park, Desk).
package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/rabbit"
)

// ErrLost is in the error of done when the connection on which the batch came is lost. Its
// tickets are delivered again.
var ErrLost = errors.New("the connection is gone, and the batch with it")

// Queue is the tickets in transit on a broker. Until the broker runs and is connected,
// and whenever it is away, Publish confirms nothing and Receive waits.
type Queue struct {
	broker    *rabbit.Broker
	metrics   metrics
	publisher *rabbit.Publisher[seckill.Ticket]
	tickets   consumer
	dead      consumer
	parking   *parking
}

// New returns the queue on a broker, and serves the broker's ends Publishing, Consuming,
// DeadLetters and Parking. When Run of the broker ends, no more tickets are taken, and
// the batches at hand are waited for, drainTime at most. r is where its metrics are
// registered; nil: nobody reads them.
func New(b *rabbit.Broker, r prometheus.Registerer) *Queue {
	set := b.Settings
	q := &Queue{broker: b, metrics: newMetrics(r)}
	q.publisher = rabbit.NewPublisher(b, rabbit.Publishing, rabbit.Kind[seckill.Ticket]{
		ID: func(t seckill.Ticket) string { return t.ID }, Pack: packTicket, Counts: q.metrics.tickets,
		Target: rabbit.TicketQueue,
		Full:   fmt.Errorf("%w; rabbitmq.max_length is %d", rabbit.ErrFull, set.MaxLength),
		Lost:   fmt.Errorf("%w: %s is not bound to %s", rabbit.ErrUnroutable, rabbit.TicketQueue, rabbit.TicketExchange),
	})
	q.parking = newParking(q)
	q.tickets.init(q, rabbit.Consuming, rabbit.TicketQueue, set.Listener)
	q.tickets.gauge = q.metrics.listeners
	// One ticket at a time, so that a failure is that ticket's own.
	q.dead.init(q, rabbit.DeadLetters, rabbit.DeadQueue, rabbit.Listener{
		Concurrency: 1, MaxConcurrency: 1, Prefetch: 1,
		AutoStartup: set.Listener.AutoStartup, DefaultRequeueRejected: true,
	})
	return q
}

// Publish sends tickets and returns those that the broker has confirmed: they are on the
// disks of a majority. A ticket that is not returned may be in the queue all
// the same, and is sent again by the caller. The error wraps
//
//	seckill.ErrUnavailable  no connection, no answer, the broker blocks publishers, or the queue has no leader now
//	rabbit.ErrFull          the queue is full
//	rabbit.ErrUnroutable    no queue is bound; the topology is made again at once
//
// The first is tried again as PublishRetry says before it is returned. The others are
// answers of the broker: an immediate repeat would get the same answer.
func (q *Queue) Publish(ctx context.Context, tickets []seckill.Ticket) (confirmed []seckill.Ticket, err error) {
	confirmed, err = try(ctx, q.broker.Settings.PublishRetry, tickets, q.publisher.Send)
	if err != nil {
		err = fmt.Errorf("%s: publish: %w", q.broker.Settings, err)
	}
	return confirmed, err
}

// Receive waits for a ticket and returns up to max of those that the listeners
// hold. done MUST be called once: with true it acknowledges them, with false it
// gives them back as DefaultRequeueRejected says. An error of done means that
// some of them may be delivered again.
func (q *Queue) Receive(ctx context.Context, max int) (tickets []seckill.Ticket, done func(settled bool) error, err error) {
	return q.tickets.receive(ctx, max)
}

// Dead returns the dead letters: tickets that were rejected, or delivered too often without
// an acknowledgement. With a prefetch above 1 most of them are good tickets that a node
// held when it died of another one.
func (q *Queue) Dead() *Dead { return &Dead{&q.dead} }

// Dead hands out dead letters, one at a time.
type Dead struct{ consumer *consumer }

// Last reports whether a ticket that was received and is not done yet was delivered for
// the last time. If it fails once more the broker parks it, and it would have no outcome.
func (d *Dead) Last(ticket string) bool {
	d.consumer.mu.Lock()
	defer d.consumer.mu.Unlock()
	return d.consumer.last[ticket]
}

// Receive is that of the queue, except that it returns one ticket, however large
// max is. A ticket given back by done(false) comes again, up to DeliveryLimit times.
func (d *Dead) Receive(ctx context.Context, max int) (tickets []seckill.Ticket, done func(settled bool) error, err error) {
	return d.consumer.receive(ctx, 1)
}

// Depth returns how many tickets waited in the queue at the last look, at most
// about a second ago. Tickets that a node holds do not count.
func (q *Queue) Depth() int { return q.broker.Depth() }

// Ping reports whether the tickets' ends in use are connected and answered lately.
func (q *Queue) Ping(ctx context.Context) error { return q.broker.Ping(ctx) }

// StartListeners lets the node take tickets, at once or when it is connected.
func (q *Queue) StartListeners() { q.tickets.start(true); q.dead.start(true) }

// StopListeners lets the node take no more tickets. Those that it holds are still
// handed out.
func (q *Queue) StopListeners() { q.tickets.start(false); q.dead.start(false) }

// ListenersRunning reports whether the node takes tickets.
func (q *Queue) ListenersRunning() bool { return q.tickets.started() }

// metrics of the tickets in transit. Counters count messages, so a ticket that is sent
// or delivered again counts again. The depth is not among them: every queue has one, so
// whoever owns the queue registers it.
type metrics struct {
	tickets                                        rabbit.Counts
	received, redelivered, deadLetters, unreadable prometheus.Counter
	parked                                         prometheus.Counter
	listeners                                      prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) metrics {
	counter := func(name, help string) prometheus.Counter {
		return promauto.With(r).NewCounter(prometheus.CounterOpts{Name: "seckill_queue_" + name + "_total", Help: help})
	}
	return metrics{
		tickets: rabbit.Counts{
			Published: counter("published", "Tickets sent to the broker."),
			Confirmed: counter("confirmed", "Tickets that the broker has stored."),
			Returned:  counter("returned", "Tickets that the broker returned: no queue was bound."),
			Nacked:    counter("nacked", "Tickets that the broker refused: the queue was full."),
		},
		received:    counter("received", "Tickets delivered, dead letters included."),
		redelivered: counter("redelivered", "Tickets delivered that had been delivered before."),
		deadLetters: counter("dead_letters", "Dead letters delivered."),
		unreadable:  counter("unreadable", "Messages that were no tickets and were put aside."),
		parked:      counter("parked", "Copies of tickets refused as poison that the parked queue has stored."),
		listeners:   promauto.With(r).NewGauge(prometheus.GaugeOpts{Name: "seckill_queue_listeners", Help: "Listeners that take tickets."}),
	}
}

// try sends tickets in up to MaxAttempts attempts, and returns those confirmed.
func try(ctx context.Context, r rabbit.PublishRetry, tickets []seckill.Ticket, send func(context.Context, []seckill.Ticket) ([]seckill.Ticket, error)) ([]seckill.Ticket, error) {
	confirmed, err := send(ctx, tickets)
	pause := min(r.InitialInterval, r.MaxInterval)
	for attempt := 1; r.Enabled && attempt < r.MaxAttempts && errors.Is(err, seckill.ErrUnavailable) && ctx.Err() == nil; attempt++ {
		duty.Rest(ctx, pause)
		if ctx.Err() != nil {
			break
		}
		pause = min(time.Duration(float64(pause)*r.Multiplier), r.MaxInterval)
		var more []seckill.Ticket
		tickets = seckill.Without(tickets, confirmed)
		more, err = send(ctx, tickets)
		confirmed = append(confirmed, more...)
	}
	return confirmed, err
}
