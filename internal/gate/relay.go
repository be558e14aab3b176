package gate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
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
	relayBatch    = 2048 // tickets
	relayMinPause = 10 * time.Millisecond
	relayMaxPause = 2 * time.Second
)

// errNoneConfirmed is that the queue has taken nothing and has not said why.
var errNoneConfirmed = errors.New("the queue has confirmed none")

// Relay carries tickets from the outbox to the queue, outside of any request.
type Relay struct {
	Outbox Outbox
	Queue  Publisher
	Log    *slog.Logger
}

// Run relays until ctx is done. What it could not send stays in the outbox. While one
// batch is sent, the next is already read and the one before is noted as sent, because on
// a busy machine each of these three waits long.
func (r *Relay) Run(ctx context.Context) error {
	batches := make(chan []seckill.Ticket)
	go r.read(ctx, batches)
	var noting sync.WaitGroup
	for tickets := range batches {
		r.send(ctx, tickets, &noting)
	}
	noting.Wait()
	return nil
}

func (r *Relay) read(ctx context.Context, batches chan<- []seckill.Ticket) {
	defer close(batches)
	pause := duty.Backoff{First: relayMinPause, Most: relayMaxPause}
	var complaint duty.Complaint
	for ctx.Err() == nil {
		tickets, err := r.Outbox.Unsent(ctx, relayBatch)
		if len(tickets) > 0 {
			pause.Reset()
			select {
			case batches <- tickets:
			case <-ctx.Done():
			}
		}
		if complaint.New(err) && ctx.Err() == nil {
			r.Log.Warn("relay: the outbox cannot be read; trying again", "error", err)
		}
		if err != nil {
			duty.Rest(ctx, pause.Next())
		}
	}
}

// send sends tickets until the queue has confirmed all of them, or ctx is done.
func (r *Relay) send(ctx context.Context, tickets []seckill.Ticket, noting *sync.WaitGroup) {
	pause := duty.Backoff{First: relayMinPause, Most: relayMaxPause}
	var complaint duty.Complaint
	for len(tickets) > 0 && ctx.Err() == nil {
		crash.Here("4-before-publish", true)
		confirmed, err := r.Queue.Publish(ctx, tickets)
		crash.Here("4-before-confirm", len(confirmed) > 0)
		if len(confirmed) > 0 {
			pause.Reset()
			tickets = seckill.Without(tickets, confirmed)
			noting.Wait()
			noting.Go(func() {
				if err := r.Outbox.Sent(context.WithoutCancel(ctx), confirmed); err != nil { // a stopping node too
					r.Log.Warn("relay: tickets that the queue has are sent again, since that could not be noted", "tickets", len(confirmed), "error", err)
				}
			})
		}
		if (err != nil || len(confirmed) == 0) && ctx.Err() == nil {
			if err == nil {
				err = errNoneConfirmed
			}
			if complaint.New(err) {
				r.Log.Warn("relay: tickets stay in the outbox; trying again", "tickets", len(tickets), "error", err)
			}
			duty.Rest(ctx, pause.Next())
		}
	}
}
