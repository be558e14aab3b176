package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	parkedTogether = 100             // copies that are sent together
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

// parking sends copies of refused tickets to the queue of parked messages, where people see
// them. The refusal itself is in the store and does not depend on the copy.
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

// Park has a copy of a ticket that was refused as poison sent to the parked messages. It
// does not wait. While the broker is away some refusedWaiting copies wait in memory; a
// copy beyond that, or one that cannot be sent before the process ends, is lost, and only
// the log names the ticket.
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
			p.insist(linked, p.waiting(r))
			continue
		default:
		}
		select {
		case r := <-p.out:
			p.insist(linked, p.waiting(r))
		case <-ctx.Done():
			return
		}
	}
}

// waiting is a copy and others that wait, to be sent together, because a stopping node has
// little time.
func (p *parking) waiting(first refused) []refused {
	some := []refused{first}
	for len(some) < parkedTogether {
		select {
		case r := <-p.out:
			some = append(some, r)
		default:
			return some
		}
	}
	return some
}

// insist sends copies until each is confirmed, the broker refuses them, or ctx is done.
func (p *parking) insist(ctx context.Context, copies []refused) {
	pause := duty.Backoff{First: rabbit.MinPause, Most: rabbit.MaxPause}
	for {
		sent, err := p.Send(ctx, copies)
		copies = slices.DeleteFunc(copies, func(r refused) bool {
			return slices.ContainsFunc(sent, func(s refused) bool { return s.ticket.ID == r.ticket.ID })
		})
		if len(copies) == 0 {
			return
		}
		if ctx.Err() != nil || err != nil && !errors.Is(err, seckill.ErrUnavailable) {
			for _, r := range copies {
				p.log.Warn("queue: a refused ticket is not listed among the dead letters", "ticket", r.ticket.ID, "error", err)
			}
			return
		}
		duty.Rest(ctx, pause.Next())
	}
}
