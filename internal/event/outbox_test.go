package event

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"seckill"
	"seckill/internal/queue/queuetest"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
)

// publisher is one whose broker runs until the test is over.
func publisher(t testing.TB, s rabbit.Settings) *Publisher {
	t.Helper()
	broker := rabbittest.New(t, s)
	p := NewPublisher(broker, nil)
	rabbittest.Run(t, broker, rabbit.Announcing)
	return p
}

// outbox is where the events of a test wait: a store that can be away.
type outbox struct {
	mu    sync.Mutex
	kept  []seckill.EventRow
	owner string
	ends  time.Time // of the lease
	given int       // times that it was given back
	sent  []string  // rows
	away  bool
	keeps bool          // it fails to forget
	ahead time.Duration // its clock, of this process's
}

func (o *outbox) Now() time.Time { return time.Now().Add(o.ahead) }

var errAway = fmt.Errorf("scripted: %w", seckill.ErrUnavailable)

func (o *outbox) set(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *outbox) Events(_ context.Context, max int) ([]seckill.EventRow, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away {
		return nil, errAway
	}
	return slices.Clone(o.kept[:min(max, len(o.kept))]), nil
}

func (o *outbox) OldestEvent(context.Context) (oldest time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away {
		return oldest, errAway
	}
	for _, row := range o.kept {
		if at := row.Events[0].At; oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	return oldest, nil
}

func (o *outbox) Sent(_ context.Context, rows []string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away || o.keeps {
		return errAway
	}
	o.sent = append(o.sent, rows...)
	o.kept = slices.DeleteFunc(o.kept, func(r seckill.EventRow) bool { return slices.Contains(rows, r.ID) })
	return nil
}

func (o *outbox) Lease(_ context.Context, name, owner string, ttl time.Duration) (bool, string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away {
		return false, "", errAway
	}
	now := time.Now()
	if o.owner == owner || now.After(o.ends) {
		o.owner, o.ends = owner, now.Add(ttl)
	}
	return o.owner == owner, o.owner, nil
}

func (o *outbox) Unlease(_ context.Context, _, owner string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.owner == owner {
		o.owner, o.ends = "", time.Time{}
		o.given++
	}
	return nil
}

func (o *outbox) empty() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.kept); n > 0 {
		return fmt.Errorf("%d rows wait", n)
	}
	return nil
}

// happened returns events of n orders: each was placed, and then paid.
func happened(n int) (events []seckill.Event) {
	for i, t := range queuetest.Some(n) {
		o := seckill.Order{ID: t.ID, Sale: 7, Ticket: t.ID, Quantity: 1, Amount: 9900, Currency: "CNY", State: seckill.Unpaid, CreatedAt: t.At, ExpiresAt: t.At}
		events = append(events, seckill.Event{V: 1, ID: fmt.Sprintf("%s-%d", t.ID, 1), Type: "order.placed", At: t.At, Order: o})
		o.State = seckill.Paid
		events = append(events, seckill.Event{V: 1, ID: fmt.Sprintf("%s-%d", t.ID, 2), Type: "order.paid", At: t.At.Add(time.Duration(i)), Order: o})
	}
	return events
}
