package redisgate

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/gate"
)

// Find returns where the buyer's newest ticket in the sale stands, or the one of
// the given id. seckill.ErrNotFound says that the gate does not know it: the
// store may, unless it is seckill.ErrNoTicket. A placed ticket is remembered on this node.
func (g *Gate) Find(ctx context.Context, id seckill.SaleID, buyer, ticket string) (p seckill.Progress, err error) {
	client, err := g.up(bucket(id))
	if err != nil {
		return p, err
	}
	if view := g.known(id); view != nil {
		if p, ok := view.final(buyer); ok && (ticket == "" || p.Ticket.ID == ticket) {
			view.refresh(g)
			return p, nil
		}
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	answers := client.DoMulti(ctx,
		client.B().Hmget().Key(g.saleKey(id)).Field(fieldOpen, fieldFinished, fieldFreed).Build(),
		client.B().Hget().Key(g.holdsKey(id)).Field(buyer).Build(),
		// Read after the holds, since a rebuild may replace them in between.
		client.B().Hmget().Key(g.saleKey(id)).Field(fieldEpoch, fieldMissing).Build())
	sale, err := answers[0].AsStrSlice()
	if err != nil {
		return p, g.failSale(ctx, id, err)
	}
	if sale[0] != "1" {
		if g.known(id) != nil {
			g.lost.Send()
		}
		return p, gate.Closed(id)
	}
	held, err := answers[1].ToString()
	if rueidis.IsRedisNil(err) {
		var epoch int64 // 0 when it cannot be told: the store is asked
		if now, err := answers[2].AsStrSlice(); err == nil && now[1] != "1" {
			epoch = number(now[0])
		}
		return p, gate.NoHold(epoch)
	}
	if err != nil {
		return p, g.failSale(ctx, id, err)
	}
	state, t, err := parseHold(held)
	if err != nil {
		g.damagedHold(ctx, id, buyer, held, false)
		return p, seckill.ErrNotFound // the store knows those that have an outcome
	}
	if state == refused || ticket != "" && t.ID != ticket {
		return p, seckill.ErrNotFound
	}
	t.Sale, t.Buyer = id, buyer
	is, err := g.believeFor(ctx, id, buyer, held, nil)
	switch {
	case err != nil:
		return p, err
	case is == forged:
		return p, seckill.ErrNotFound
	}
	p.Unproven = is == strange
	t.Seal = seckill.Seal{} // the hold's seal is over what the buyer asked for; it is not that of a ticket
	finished := number(sale[1])
	p.Ticket, p.Final, p.Position = t, state != pending, max(1, t.Seq-finished)
	if state == placed { // a released one does not keep its buyer from a newer ticket
		g.view(id).remember(buyer, p, sale[2])
	}
	if !p.Final {
		p.Ticket.At = admittedAt(held)
	}
	return p, nil
}

// Wait returns when the ticket's outcome may be known, or ctx is done, or 2 s are over.
// Nodes tell one another of outcomes by a channel of Redis, which loses messages: so the
// caller looks again after each Wait.
func (g *Gate) Wait(ctx context.Context, id seckill.SaleID, buyer, ticket string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	g.waiters.Wait(ctx, ticket, func() bool {
		p, err := g.Find(ctx, id, buyer, ticket)
		return err != nil || p.Final
	})
}

// listen wakes those who wait for tickets that became final on any node.
func (g *Gate) listen(ctx context.Context, client rueidis.Client) {
	for b := range bucketCount {
		go func() {
			for ctx.Err() == nil {
				err := client.Receive(ctx, client.B().Ssubscribe().Channel(g.finalChannel(b)).Build(), func(m rueidis.PubSubMessage) {
					g.waiters.Hear(strings.Split(m.Message, ","))
				})
				if errors.Is(err, rueidis.ErrClosing) {
					return
				}
				duty.Rest(ctx, time.Second)
			}
		}()
	}
}
