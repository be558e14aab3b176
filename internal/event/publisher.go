// Package event is what others hear of, step 17 of docs/ORDER-CYCLE.md:
//
//	publisher.go  announcer.go   events of orders for whoever subscribes at RabbitMQ
//	webhooks.go   hook.go        the same events by HTTP, for the receivers of webhooks
//	notices.go                   changed sales, between the nodes; a notice only hastens
//	                             what a node finds out anyway
//
// The store writes an event in the transaction of the change that it tells of. From there
// it is sent at least once, in the order of each order's states.
package event

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"seckill"
	"seckill/internal/rabbit"
)

// errSubscriberFull is a nack: the only queues behind the exchange are those of
// subscribers, and a node may not look at them.
var errSubscriberFull = errors.New("a subscriber's queue refuses events: it is full (x-overflow), or has no leader now; until it is drained, or unbound, nobody gets newer ones in order")

// Publisher sends order events.
type Publisher struct {
	broker *rabbit.Broker
	events *rabbit.Publisher[seckill.EventMessage]
	lag    prometheus.Gauge
}

// NewPublisher returns the publisher of events on a broker, and serves its end
// Announcing. r is where its metrics are registered; nil: nobody reads them.
func NewPublisher(b *rabbit.Broker, r prometheus.Registerer) *Publisher {
	counter := func(name, help string) prometheus.Counter {
		return promauto.With(r).NewCounter(prometheus.CounterOpts{Name: "seckill_events_" + name + "_total", Help: help})
	}
	return &Publisher{broker: b, events: rabbit.NewPublisher(b, rabbit.Announcing, rabbit.Kind[seckill.EventMessage]{
		ID: func(e seckill.EventMessage) string { return e.ID }, Full: errSubscriberFull,
		Pack: func(e seckill.EventMessage) (rabbit.Message, error) { return packEvent(e, b.Settings.Username) },
		Counts: rabbit.Counts{
			Published: counter("published", "Order events sent to the broker."),
			Confirmed: counter("confirmed", "Order events that the broker has given to all subscribers' queues."),
			Nacked:    counter("nacked", "Order events that a subscriber's full queue refused."),
		},
	}), lag: promauto.With(r).NewGauge(prometheus.GaugeOpts{Name: "seckill_events_lag_seconds",
		Help: "Age of the oldest order event that waits to be sent, as a node with the role relay last saw it in the store; 0 while none waits, and on other nodes."})}
}

// packEvent is what an event looks like at the broker. It is not mandatory:
// nobody has to subscribe. The broker vouches for the user that it is from, so that a
// subscriber knows events of nodes from those of anybody else.
func packEvent(e seckill.EventMessage, user string) (rabbit.Message, error) {
	return rabbit.Message{Exchange: rabbit.EventExchange, Key: e.Type, ID: e.ID, At: e.At, Type: e.Type, User: user, Body: e.Body}, nil
}

// Announce sends events and returns those that the broker has confirmed: they are
// in the queue of every subscriber. The others are sent again by the caller.
func (p *Publisher) Announce(ctx context.Context, events []seckill.EventMessage) (confirmed []seckill.EventMessage, err error) {
	confirmed, err = p.events.Send(ctx, events)
	if err != nil {
		err = fmt.Errorf("%s: announce: %w", p.broker.Settings, err)
	}
	return confirmed, err
}

// down tells why nothing can be announced, nil if it can.
func (p *Publisher) down() error { return p.broker.Down(rabbit.Announcing) }
