package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/rabbit"
)

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
func packRefused(r refused) (rabbit.Message, error) {
	m, err := packTicket(r.ticket)
	m.Exchange, m.Key, m.At, m.Headers = rabbit.ParkedExchange, rabbit.ParkedQueue, r.at, map[string]any{causeHeader: r.cause}
	return m, err
}

// parking brings copies of refused tickets to the parked ones. They are for people:
// the refusal itself is in the store.
type parking struct {
	*rabbit.Publisher[refused]
	out chan refused
	log *slog.Logger
}

func newParking(q *Queue) *parking {
	p := &parking{out: make(chan refused, refusedWaiting), log: q.broker.Log, Publisher: rabbit.NewPublisher(q.broker, rabbit.Parking, rabbit.Kind[refused]{
		ID: func(r refused) string { return r.ticket.ID }, Pack: packRefused, Counts: rabbit.Counts{Confirmed: q.metrics.parked},
		Target: rabbit.ParkedQueue,
		Full:   fmt.Errorf("%w: %s", rabbit.ErrFull, rabbit.ParkedQueue),
		Lost:   fmt.Errorf("%w: %s is not bound to %s", rabbit.ErrUnroutable, rabbit.ParkedQueue, rabbit.ParkedExchange),
	})}
	q.broker.Around(rabbit.Parking, p.run)
	return p
}

// Park puts a copy of a ticket that was refused as poison where people look for
// such, soon. It does not wait: while the broker is away copies wait in memory, and
// what does not fit, or cannot be sent before the process ends, is only in the log.
func (q *Queue) Park(ticket seckill.Ticket, cause error) {
	text := cause.Error()
	r := refused{ticket, strings.ToValidUTF8(text[:min(len(text), causeLimit)], ""), time.Now()}
	select {
	case q.parking.out <- r:
	default:
		q.parking.log.Warn("queue: too many refused tickets wait to be listed; this one is not", "ticket", ticket.ID)
	}
}

// run sends what is parked until ctx is done, and then for rabbit.CloseTime what waits.
// keep keeps the connection meanwhile.
func (p *parking) run(ctx context.Context, keep func(context.Context)) {
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	var g sync.WaitGroup
	g.Go(func() { keep(linked) })
	defer g.Wait()
	defer unlink()
	defer context.AfterFunc(ctx, func() {
		duty.Rest(linked, rabbit.CloseTime)
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
	pause := duty.Backoff{First: rabbit.MinPause, Most: rabbit.MaxPause}
	for {
		sent, err := p.Send(ctx, []refused{r})
		if len(sent) > 0 {
			return
		}
		if ctx.Err() != nil || err != nil && !errors.Is(err, seckill.ErrUnavailable) {
			p.log.Warn("queue: a refused ticket is not listed among the dead letters", "ticket", r.ticket.ID, "error", err)
			return
		}
		duty.Rest(ctx, pause.Next())
	}
}
