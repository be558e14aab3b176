package rabbitmq

import (
	"context"
	"errors"
	"time"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/rabbit"
)

// ticketType is the type of a ticket's message with its form: in the second one tickets
// are sealed. The first form was called "ticket".
const ticketType = "ticket/2"

// packTicket is what a ticket looks like at the broker.
func packTicket(t seckill.Ticket) (rabbit.Message, error) {
	body, err := encode(t)
	return rabbit.Message{Exchange: rabbit.TicketExchange, Key: rabbit.TicketQueue, Mandatory: true, ID: t.ID, At: t.At, Type: ticketType, Body: body}, err
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
		tickets = without(tickets, confirmed)
		more, err = send(ctx, tickets)
		confirmed = append(confirmed, more...)
	}
	return confirmed, err
}

// without returns tickets less those confirmed.
func without(tickets, confirmed []seckill.Ticket) (left []seckill.Ticket) {
	if len(confirmed) == 0 {
		return tickets
	}
	sent := make(map[string]bool, len(confirmed))
	for _, t := range confirmed {
		sent[t.ID] = true
	}
	for _, t := range tickets {
		if !sent[t.ID] {
			left = append(left, t)
		}
	}
	return left
}
