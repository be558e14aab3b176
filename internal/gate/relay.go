package gate

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"seckill"
	"seckill/internal/crash"
)

// Outbox is what the relay reads.
type Outbox interface {
	// Unsent MUST wait until there are tickets to send or ctx is done, and MUST
	// NOT return a ticket before it is durable.
	Unsent(ctx context.Context, max int) ([]seckill.Ticket, error)
	// Sent notes tickets that the queue has confirmed. Tickets that were not
	// noted MUST come from Unsent again, after a restart at the latest.
	Sent(ctx context.Context, tickets []seckill.Ticket) error
}

// Publisher is the queue's near end.
type Publisher interface {
	// Publish sends tickets and returns those that the queue has confirmed; the
	// others are sent again later. A full queue waits, or confirms none.
	Publish(ctx context.Context, tickets []seckill.Ticket) (confirmed []seckill.Ticket, err error)
}

const (
	relayBatch    = 512 // tickets
	relayMinPause = 10 * time.Millisecond
	relayMaxPause = 2 * time.Second
)

// Relay carries tickets from the outbox to the queue, outside of any request.
type Relay struct {
	Outbox Outbox
	Queue  Publisher
	Log    *slog.Logger
}

// Run relays until ctx is done. What it could not send stays in the outbox.
func (r *Relay) Run(ctx context.Context) error {
	pause := relayMinPause
	for ctx.Err() == nil {
		tickets, err := r.Outbox.Unsent(ctx, relayBatch)
		for len(tickets) > 0 && err == nil && ctx.Err() == nil {
			var confirmed []seckill.Ticket
			crash.Here("4-before-publish", true)
			confirmed, err = r.Queue.Publish(ctx, tickets)
			crash.Here("4-before-confirm", len(confirmed) > 0)
			if len(confirmed) > 0 {
				pause = relayMinPause
				err = errors.Join(err, r.Outbox.Sent(context.WithoutCancel(ctx), confirmed)) // a stopping node too
				tickets = without(tickets, confirmed)
			}
			if (err != nil || len(confirmed) == 0) && ctx.Err() == nil {
				r.Log.Warn("relay: tickets stay in the outbox", "tickets", len(tickets), "pause", pause, "error", err)
				sleep(ctx, pause)
				pause, err = min(2*pause, relayMaxPause), nil
			}
		}
		if err != nil && ctx.Err() == nil {
			r.Log.Warn("relay: the outbox cannot be read", "pause", pause, "error", err)
			sleep(ctx, pause)
			pause = min(2*pause, relayMaxPause)
		}
	}
	return nil
}

func without(tickets, confirmed []seckill.Ticket) (rest []seckill.Ticket) {
	if len(confirmed) == len(tickets) {
		return nil
	}
	sent := make(map[string]bool, len(confirmed))
	for _, t := range confirmed {
		sent[t.ID] = true
	}
	for _, t := range tickets {
		if !sent[t.ID] {
			rest = append(rest, t)
		}
	}
	return rest
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
