package event

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"time"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/rabbit"
)

const (
	announceRows  = 128                    // read and sent together: up to 7,680 events, some 4 MB
	announcePause = 200 * time.Millisecond // between looks for events while there are none
	announceRest  = 500 * time.Millisecond // at most, between two turns while there are more

	announcerLease = "announcer" // at the store
	// announcerTime is how long nobody announces after the announcing node was killed: it is
	// the life of the lease. The node that announces renews it after a third of that; the
	// others ask for it every announcerStandby. Each node asks every announcerStandby how
	// long the oldest event has waited, for the metric.
	announcerTime    = 15 * time.Second
	announcerStandby = 2 * time.Second
)

// Events is where events wait until they are sent, in rows that are forgotten as a
// whole.
type Events interface {
	// Events MUST return the events of one order in the order of its states, and none
	// while an earlier one of its order is left out. max is rows; they are all in
	// memory at once, and MUST hold a limited number of events.
	Events(ctx context.Context, max int) ([]seckill.EventRow, error)
	// OldestEvent MUST return when the oldest event happened, zero without any.
	OldestEvent(ctx context.Context) (time.Time, error)
	// Now MUST be the clock by which events happen, as far as it is known without asking.
	Now() time.Time
	// Sent MUST forget the rows. Others come from Events again.
	Sent(ctx context.Context, rows []string) error
	duty.Leases
}

// Announcer is the resident that sends the store's events of orders to the broker, each at
// least once. One node announces at a time, and sends the next event of an order only when
// the one before is confirmed, so that subscribers get an order's events in the order in
// which they happened.
type Announcer struct {
	queue *Publisher
	store Events
	log   *slog.Logger

	lease  duty.Lease
	sent   map[string]bool // the events confirmed so far of the rows that were last read
	looked time.Time       // when the oldest event was last asked for
}

// NewAnnouncer returns the announcer of a store's events.
func NewAnnouncer(p *Publisher, store Events, log *slog.Logger) *Announcer {
	return &Announcer{queue: p, store: store, log: log,
		lease: duty.Lease{Leases: store, Name: announcerLease, Owner: rand.Text(), Life: announcerTime, Standby: announcerStandby}}
}

// Run announces until ctx is done. What it could not send stays in the store.
func (a *Announcer) Run(ctx context.Context) error {
	defer a.lease.Release(ctx)
	failing, complaint := duty.Backoff{First: rabbit.MinPause, Most: rabbit.MaxPause}, duty.Complaint{}
	for ctx.Err() == nil {
		began := time.Now()
		sent, more, err := a.turn(ctx)
		if sent > 0 || err == nil {
			failing.Reset()
		}
		if complaint.New(err) && ctx.Err() == nil {
			a.log.Warn("announcer: events wait in the store; trying again until it works", "error", err)
		}
		switch {
		case err != nil:
			duty.Rest(ctx, failing.Next())
		case !more:
			duty.Rest(ctx, announcePause)
		default:
			// On a busy machine events are sent half of the time at most: settling orders
			// is more urgent than telling of them.
			duty.Rest(ctx, min(time.Since(began), announceRest))
		}
	}
	return nil
}

// turn sends the events of some rows if this node holds the lease. It returns how many
// events were confirmed, and whether more are known to wait. When only a part of a row was
// confirmed, this node sends the missing events the next time; another node, which does not
// know, sends the whole row again.
func (a *Announcer) turn(ctx context.Context) (n int, more bool, err error) {
	if err := a.look(ctx); err != nil {
		return 0, false, err
	}
	if a.queue.down() != nil {
		// Another node may be connected. The connection itself says what it lacks.
		a.lease.Release(ctx)
		return 0, false, nil
	}
	if ours, err := a.lease.Held(ctx); err != nil || !ours {
		return 0, false, err
	}
	held, cancel := context.WithDeadline(ctx, a.lease.Until())
	defer cancel()
	rows, err := a.store.Events(held, announceRows)
	if err != nil {
		return 0, false, err
	}
	next, sent, all := firsts(rows, a.sent)
	confirmed, err := a.queue.Announce(held, next)
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
	if len(done) > 0 { // also if another node announces by now: these were confirmed
		err = errors.Join(err, a.store.Sent(ctx, done))
	}
	return len(confirmed), len(rows) == announceRows || !all, err
}

// look sets the metric of how long the oldest event has waited, on every node.
func (a *Announcer) look(ctx context.Context) error {
	now := time.Now()
	if now.Sub(a.looked) < announcerStandby {
		return nil
	}
	oldest, err := a.store.OldestEvent(ctx)
	if err != nil {
		return err
	}
	a.looked = now
	lag := 0.0
	if !oldest.IsZero() {
		lag = max(0, a.store.Now().Sub(oldest).Seconds())
	}
	a.queue.lag.Set(lag)
	return nil
}

// firsts returns the first event of each order that was not sent yet, which events of the
// rows were sent, and whether nothing is left besides next. Two events of one order are
// never on their way together: the broker could refuse the first and take the second.
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
