package rabbitmq

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"seckill"
	"seckill/internal/rabbit"
)

// parkedLook is the most parked messages that one Desk takes. Nobody else sees them
// meanwhile.
const parkedLook = 10_000

// Parked is a message that waits for a person to look at it: one that is no ticket, a copy
// of a ticket that was refused as poison, or a ticket that killed each node that took it,
// even to refuse it.
type Parked struct {
	ID     string // the message's; if it has none, # and a hash of its body
	Ticket *seckill.Ticket
	Wrong  error  // why it is no ticket, nil if it is one
	Reason string // why it is here: refused, or what made it leave its queue: rejected, delivery_limit, …
	Cause  string // of a refusal, in the words of who refused
	Deaths int64  // how often it left a queue
	Body   []byte
	At     time.Time // when it was parked, zero if unknown

	delivery rabbit.Delivery
}

// Desk has the parked messages that a person looks at. Close puts back those that were
// neither replayed nor dropped.
type Desk struct {
	Parked  []Parked
	Waiting int // dead letters that settle has still to try alone
	More    int // parked messages that were left in the queue

	settings rabbit.Settings
	visit    *rabbit.Visit
}

// Look takes up to parkedLook parked messages.
func Look(ctx context.Context, s rabbit.Settings) (*Desk, error) { return lookAt(ctx, s, parkedLook) }

func lookAt(ctx context.Context, s rabbit.Settings, most int) (_ *Desk, err error) {
	visit, err := s.Visit(ctx, "dead-letters")
	if err != nil {
		return nil, err
	}
	d := &Desk{settings: s, visit: visit}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", s, err)
			d.Close()
		}
	}()
	if d.Waiting, err = visit.Messages(rabbit.DeadQueue); err != nil {
		return nil, err
	}
	for len(d.Parked) < most && ctx.Err() == nil {
		m, left, ok, err := visit.Get(rabbit.ParkedQueue)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		d.Parked, d.More = append(d.Parked, readParked(m)), left
	}
	return d, ctx.Err()
}

func readParked(m rabbit.Delivery) Parked {
	p := Parked{ID: m.ID, Body: m.Body, delivery: m}
	if p.ID == "" {
		sum := sha256.Sum256(m.Body)
		p.ID = "#" + hex.EncodeToString(sum[:6])
	}
	if t, err := decode(m.Body); err != nil {
		p.Wrong = err
	} else {
		p.Ticket = &t
	}
	var latest rabbit.Death
	latest, p.Deaths = m.Deaths()
	p.Reason, p.At = latest.Reason, latest.At
	if cause, refused := m.Headers[causeHeader].(string); refused {
		p.Reason, p.Cause, p.At = "refused", cause, m.At
	}
	return p
}

// Sealed reports whether the message is a ticket with a gate's seal. Whether the seal is
// genuine is found by who settles it.
func (p *Parked) Sealed() bool { return p.Ticket != nil && p.Ticket.Seal != seckill.Seal{} }

// errUnsealed is why a ticket is not replayed.
var errUnsealed = errors.New("it carries no seal of a gate, and would be put aside again; what a gate has admitted is in its outbox and is sent from there")

// Replay sends a message to the ticket queue, and takes it away when that queue
// has confirmed it. The broker counts its deliveries from 0 again.
func (d *Desk) Replay(ctx context.Context, p Parked) error {
	if p.Ticket != nil && !p.Sealed() {
		return d.failed("replay", p, errUnsealed)
	}
	m := p.delivery.Afresh()
	delete(m.Headers, causeHeader)
	m.Exchange, m.Key = rabbit.TicketExchange, rabbit.TicketQueue
	err := d.visit.Send(ctx, rabbit.TicketQueue, m)
	if err == nil {
		err = d.visit.Ack(p.delivery.Tag)
	}
	return d.failed("replay", p, err)
}

// Drop throws a message away.
func (d *Desk) Drop(p Parked) error { return d.failed("drop", p, d.visit.Ack(p.delivery.Tag)) }

func (d *Desk) failed(what string, p Parked, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s %s: %w", d.settings, what, p.ID, err)
}

// Close puts back every message that was neither replayed nor dropped.
func (d *Desk) Close() error { return d.visit.Close() }
