package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
)

const (
	announceRows  = 128                    // read and sent together: up to 7,680 events, some 4 MB
	announcePause = 200 * time.Millisecond // between looks for events while there are none

	announcerLease = "announcer" // at the store
	// announcerTime is how long nobody announces after the announcing node was
	// killed. It renews its lease three times as often; the others ask for it every
	// announcerStandby, and everybody how long events have waited.
	announcerTime    = 15 * time.Second
	announcerStandby = 2 * time.Second
	unleaseTime      = 2 * time.Second // for a stopping node to give it back
)

// errSubscriberFull is a nack: the only queues behind the exchange are those of
// subscribers, and a node may not look at them.
var errSubscriberFull = errors.New("a subscriber's queue refuses events: it is full (x-overflow), or has no leader now; until it is drained, or unbound, nobody gets newer ones in order")

// Events is where events wait until they are sent, in rows that are forgotten as a
// whole.
type Events interface {
	// Events MUST return the events of one order in the order of its states, and none
	// while an earlier one of its order is left out. max is rows; they are all in
	// memory at once, and MUST hold a limited number of events.
	Events(ctx context.Context, max int) ([]seckill.EventRow, error)
	// OldestEvent MUST return when the oldest event happened, zero without any.
	OldestEvent(ctx context.Context) (time.Time, error)
	// Sent MUST forget the rows. Others come from Events again.
	Sent(ctx context.Context, rows []string) error
	// Lease MUST be held by one owner at a time, for ttl.
	Lease(ctx context.Context, name, owner string, ttl time.Duration) (held bool, by string, err error)
	Unlease(ctx context.Context, name, owner string) error
}

// packEvent is what an event looks like at the broker. It is not mandatory:
// nobody has to subscribe.
func packEvent(e seckill.EventMessage) (parcel, error) {
	return parcel{EventExchange, e.Type, false, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: e.ID, Timestamp: e.At, Type: e.Type, Body: e.Body,
	}}, nil
}

// Announce sends events and returns those that the broker has confirmed: they are
// in the queue of every subscriber. The others are sent again by the caller.
func (q *AMQP) Announce(ctx context.Context, events []seckill.EventMessage) (confirmed []seckill.EventMessage, err error) {
	confirmed, err = q.events.send(ctx, events)
	if err != nil {
		err = fmt.Errorf("%s: announce: %w", q.settings, err)
	}
	return confirmed, err
}

// Announcer is the resident duty that tells others what became of orders: it
// takes events from the store to the broker, at least once. One node announces at
// a time, and of each order one event, so that the events of an order keep their
// order; the others stand by.
type Announcer struct {
	Queue *AMQP
	Store Events
	Log   *slog.Logger

	owner  string
	sent   map[string]bool // the events confirmed so far of the rows that were last read
	until  time.Time       // how long the lease is ours for sure
	asked  time.Time       // when it was last asked for
	looked time.Time       // when the oldest event was last asked for
}

// Run announces until ctx is done. What it could not send stays in the store.
func (a *Announcer) Run(ctx context.Context) error {
	a.owner = rand.Text()
	defer a.unlease(ctx)
	failing, said := minReconnectPause, ""
	for ctx.Err() == nil {
		sent, more, err := a.turn(ctx)
		pause := announcePause
		if sent > 0 || err == nil {
			failing = minReconnectPause
		}
		switch {
		case err != nil:
			// A broker that is away for an hour is one line, not a thousand.
			if text := err.Error(); text != said && ctx.Err() == nil {
				a.Log.Warn("announcer: events wait in the store; trying again until it works", "error", err)
				said = text
			}
			pause, failing = failing, min(2*failing, maxReconnectPause)
		case more:
			pause, said = 0, ""
		default:
			said = ""
		}
		if pause > 0 {
			rest(ctx, pause)
		}
	}
	return nil
}

// turn sends what some rows hold, if it is this node's turn. It returns how many
// events were confirmed, and whether more are known to wait. Of a row that is
// confirmed in part this node sends the rest the next time, another one all of it.
func (a *Announcer) turn(ctx context.Context) (n int, more bool, err error) {
	if err := a.look(ctx); err != nil {
		return 0, false, err
	}
	if a.Queue.links[Announcing].down() != nil {
		// Another node may be connected. The link itself says what it lacks.
		a.unlease(ctx)
		return 0, false, nil
	}
	if ours, err := a.lease(ctx); err != nil || !ours {
		return 0, false, err
	}
	held, cancel := context.WithDeadline(ctx, a.until)
	defer cancel()
	rows, err := a.Store.Events(held, announceRows)
	if err != nil {
		return 0, false, err
	}
	next, sent, all := firsts(rows, a.sent)
	confirmed, err := a.Queue.Announce(held, next)
	for _, e := range confirmed {
		sent[e.ID] = true
	}
	a.sent = sent
	var done []string
	for _, row := range rows {
		if !slices.ContainsFunc(row.Events, func(e seckill.EventMessage) bool { return !sent[e.ID] }) {
			done = append(done, row.ID)
		}
	}
	if len(done) > 0 { // whoever announces by now
		err = errors.Join(err, a.Store.Sent(ctx, done))
	}
	return len(confirmed), len(rows) == announceRows || !all, err
}

// look notes how long events have waited, whoever announces.
func (a *Announcer) look(ctx context.Context) error {
	now := time.Now()
	if now.Sub(a.looked) < announcerStandby {
		return nil
	}
	oldest, err := a.Store.OldestEvent(ctx)
	if err != nil {
		return err
	}
	a.looked = now
	lag := 0.0
	if !oldest.IsZero() {
		lag = max(0, time.Since(oldest).Seconds())
	}
	a.Queue.metrics.lag.Set(lag)
	return nil
}

// lease tells whether this node announces, and asks when it is time to.
func (a *Announcer) lease(ctx context.Context) (held bool, err error) {
	if now := time.Now(); now.Sub(a.asked) > announcerTime/3 || now.After(a.until) && now.Sub(a.asked) > announcerStandby {
		held, _, err := a.Store.Lease(ctx, announcerLease, a.owner, announcerTime)
		if err != nil {
			return false, err
		}
		a.asked, a.until = now, time.Time{}
		if held {
			a.until = now.Add(announcerTime)
		}
	}
	return time.Now().Before(a.until), nil
}

// unlease gives the lease back, if it may be ours. If that fails, it ends by itself.
func (a *Announcer) unlease(ctx context.Context) {
	if a.until.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unleaseTime)
	defer cancel()
	_ = a.Store.Unlease(ctx, announcerLease, a.owner)
	a.until, a.asked = time.Time{}, time.Time{}
}

// firsts returns the first event of each order of those that were not sent, which
// ones were, and whether that is all there is. Were two events of an order under way,
// the broker could refuse the first and take the second.
func firsts(rows []seckill.EventRow, was map[string]bool) (next []seckill.EventMessage, sent map[string]bool, all bool) {
	n := 0
	for _, row := range rows {
		n += len(row.Events)
	}
	seen := make(map[string]bool, n)
	next, sent, all = make([]seckill.EventMessage, 0, n), make(map[string]bool, n), true
	for _, row := range rows {
		for _, e := range row.Events {
			switch {
			case was[e.ID]:
				sent[e.ID] = true
			case seen[e.Order]:
				all = false
			default:
				seen[e.Order] = true
				next = append(next, e)
			}
		}
	}
	return next, sent, all
}
