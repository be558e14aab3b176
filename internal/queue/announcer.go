package queue

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
)

const (
	announceBatch = 500                    // events read and sent together
	announcePause = 200 * time.Millisecond // between looks for events while there are none

	announcerLease = "announcer" // at the store
	// announcerTime is how long nobody announces after the announcing node was
	// killed. It renews its lease three times as often; the others ask for it every
	// announcerStandby.
	announcerTime    = 15 * time.Second
	announcerStandby = 2 * time.Second
	unleaseTime      = 2 * time.Second // for a stopping node to give it back
)

// errSubscriberFull is a nack: the only queues behind the exchange are those of
// subscribers.
var errSubscriberFull = errors.New("a subscriber's queue is full and refuses events (x-overflow); until it is drained, or unbound, nobody gets newer ones in order")

// Events is where events wait until they are sent.
type Events interface {
	// Events MUST return those of one order in the order of its states.
	Events(ctx context.Context, max int) ([]seckill.Event, error)
	// Sent MUST forget the events. Others come from Events again.
	Sent(ctx context.Context, ids []string) error
	// Lease MUST be held by one owner at a time, for ttl.
	Lease(ctx context.Context, name, owner string, ttl time.Duration) (held bool, by string, err error)
	Unlease(ctx context.Context, name, owner string) error
}

// packEvent is what an event looks like at the broker. It is not mandatory:
// nobody has to subscribe.
func packEvent(e seckill.Event) (parcel, error) {
	body, err := json.Marshal(e)
	return parcel{EventExchange, e.Type, false, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: e.ID, Timestamp: e.At, Type: e.Type, Body: body,
	}}, err
}

// Announce sends events and returns those that the broker has confirmed: they are
// in the queue of every subscriber. The others are sent again by the caller.
func (q *AMQP) Announce(ctx context.Context, events []seckill.Event) (confirmed []seckill.Event, err error) {
	confirmed, err = q.events.send(ctx, events)
	if err != nil {
		err = fmt.Errorf("%s: announce: %w", q.settings, err)
	}
	return confirmed, err
}

// Announcer is the resident duty that tells others what became of orders: it
// takes events from the store to the broker, at least once. One node announces at
// a time, so that the events of an order keep their order; the others stand by.
type Announcer struct {
	Queue *AMQP
	Store Events
	Log   *slog.Logger

	owner string
	until time.Time // how long the lease is ours for sure
	asked time.Time // when it was last asked for
}

// Run announces until ctx is done. What it could not send stays in the store.
func (a *Announcer) Run(ctx context.Context) error {
	a.owner = rand.Text()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unleaseTime)
		defer cancel()
		_ = a.Store.Unlease(ctx, announcerLease, a.owner) // it ends by itself
	}()
	failing, said := minReconnectPause, ""
	for ctx.Err() == nil {
		sent, err := a.turn(ctx)
		pause := announcePause
		switch {
		case err != nil:
			// A broker that is away for an hour is one line, not a thousand.
			if text := err.Error(); text != said && ctx.Err() == nil {
				a.Log.Warn("announcer: events wait in the store; trying again until it works", "error", err)
				said = text
			}
			pause, failing = failing, min(2*failing, maxReconnectPause)
		case sent == announceBatch:
			pause = 0
			fallthrough
		default:
			failing, said = minReconnectPause, ""
		}
		if pause > 0 {
			rest(ctx, pause)
		}
	}
	a.Queue.metrics.lag.Set(0)
	return nil
}

// turn sends one batch, if it is this node's turn, and returns how many were sent.
func (a *Announcer) turn(ctx context.Context) (sent int, err error) {
	if now := time.Now(); now.Sub(a.asked) > announcerTime/3 || now.After(a.until) && now.Sub(a.asked) > announcerStandby {
		held, _, err := a.Store.Lease(ctx, announcerLease, a.owner, announcerTime)
		if err != nil {
			return 0, err
		}
		a.asked, a.until = now, time.Time{}
		if held {
			a.until = now.Add(announcerTime)
		}
	}
	if time.Now().After(a.until) {
		a.Queue.metrics.lag.Set(0)
		return 0, nil
	}
	ctx, cancel := context.WithDeadline(ctx, a.until)
	defer cancel()
	events, err := a.Store.Events(ctx, announceBatch)
	if err != nil || len(events) == 0 {
		a.Queue.metrics.lag.Set(0)
		return 0, err
	}
	oldest := events[0].At
	for _, e := range events {
		if e.At.Before(oldest) {
			oldest = e.At
		}
	}
	a.Queue.metrics.lag.Set(max(0, time.Since(oldest).Seconds()))
	confirmed, err := a.Queue.Announce(ctx, events)
	if len(confirmed) > 0 {
		ids := make([]string, len(confirmed))
		for i, e := range confirmed {
			ids[i] = e.ID
		}
		err = errors.Join(err, a.Store.Sent(ctx, ids))
	}
	return len(confirmed), err
}
