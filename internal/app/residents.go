package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/event"
	"seckill/internal/gate"
	"seckill/internal/gate/redisgate"
	"seckill/internal/order"
	"seckill/internal/payment"
	"seckill/internal/settle"
	"seckill/internal/store"
)

// resident is a row of the table of what a node runs until it stops. A resident that
// fails stops the node.
type resident struct {
	name string
	// role is what the node must be there for (--run); empty: every node runs it.
	role string
	// needs is what it needs of the configuration, as a person reads it, and present says
	// whether this node has it. Without needs every configuration has it.
	needs   string
	present bool
	// lasting residents keep a connection that others need until their last batch: they
	// are stopped after all others have returned.
	lasting bool
	// stored residents begin when the store has been reached for the first time: before
	// that they could do nothing but complain.
	stored bool
	// exclusive says of which work of the resident only one node at a time does it: that node holds a
	// lease. Empty: all nodes with the role do it beside each other.
	exclusive string
	run       func(ctx context.Context) error
}

// residents is the table.
func (n *Node) residents() []resident {
	redis, rabbit, only := n.redis != nil, n.rabbit != nil, n.only != nil
	return []resident{
		{name: "Redis connection", needs: "--gate redis", present: redis, lasting: true, run: n.redis.Run},
		{name: "RabbitMQ connections", needs: "--queue amqp", present: rabbit, lasting: true, run: n.rabbit.Run},
		{name: "store preparer", run: (&preparer{store: n.store, log: n.log, checks: n.checks(), weak: n.weak}).Run},
		{name: "only node's lease", needs: "--store mysql beside embedded parts", present: only, exclusive: "all", run: n.only.Run},
		{name: "keeper of sales", stored: true, exclusive: "rebuilding sales", run: n.sales.Keeper.Run},
		{name: "teller of figures", run: n.teller.Run},
		{name: "picture of all nodes", role: RoleAPI, run: n.hub.Run},
		{name: "reader of the rules of access", role: RoleAPI, stored: true, run: n.access.Run},
		{name: "reader of ended sessions", role: RoleAPI, stored: true, run: n.tokens.Sessions().Run},
		{name: "reader of the issuer's keys", role: RoleAPI, needs: "auth.issuer.jwks_url", present: n.issuer.JWKS(), run: n.issuer.Run},
		{name: "writer of the log", role: RoleAPI, run: n.notes.Run},
		{name: "trimmer of the log", role: RoleExpire, needs: "limits.log_retention", present: n.config.Limits.LogRetention > 0, stored: true, exclusive: "all",
			run: (&duty.Trimmer{Leases: n.store, What: "old entries of the log", Keep: n.config.Limits.LogRetention, Trim: n.store.TrimLog, Log: n.log}).Run},
		{name: "trimmer of the rules of access", role: RoleExpire, stored: true, exclusive: "all",
			run: (&duty.Trimmer{Leases: n.store, What: "lists of buyers and tries of old sales", Keep: n.config.Limits.Retention, Trim: n.store.TrimAccess, Log: n.log}).Run},
		{name: "relay", role: RoleRelay, run: (&gate.Relay{Outbox: n.gate, Queue: n.queue, Log: n.log}).Run},
		{name: "sweeper of the outbox", role: RoleRelay, needs: "--gate redis", present: redis, exclusive: "all",
			run: (&redisgate.Sweeper{Gate: n.redis, Queue: n.queue, Capacity: n.capacity, Log: n.log}).Run},
		{name: "settler", role: RoleSettle, stored: true, run: n.settler().Run},
		{name: "settler of dead letters", role: RoleSettle, needs: "--queue amqp", present: rabbit, stored: true, run: n.deadSettler().Run},
		{name: "announcer of events", role: RoleRelay, needs: "--queue amqp and rabbitmq.events", present: rabbit && n.config.RabbitMQ.Events, stored: true, exclusive: "all", run: n.announcer().Run},
		{name: "webhooks", role: RoleRelay, needs: "webhooks", present: len(n.config.Webhooks) > 0, stored: true, exclusive: "sending to one receiver", run: n.webhooks.Run},
		{name: "expirer of orders", role: RoleExpire, stored: true, run: order.Expirer{Orders: n.orders}.Run},
		{name: "returner of units", role: RoleExpire, stored: true, run: order.Returner{Orders: n.orders}.Run},
		{name: "pulse of the store", run: payment.Pulse{Payments: n.payments, Pays: n.config.has(RoleAPI)}.Run},
		{name: "refunder", role: RoleExpire, stored: true, exclusive: "all", run: payment.Refunder{Payments: n.payments}.Run},
		{name: "retaker of late payments", role: RoleExpire, stored: true, exclusive: "all", run: payment.Retaker{Payments: n.payments}.Run},
		{name: "balancer of sales", role: RoleExpire, stored: true, exclusive: "all", run: n.balancer.Run},
		{name: "ender of payments", role: RoleExpire, needs: "payment.provider stripe", present: n.config.Payment.Provider == seckill.ProviderStripe, stored: true, exclusive: "all", run: payment.Ender{Payments: n.payments}.Run},
		{name: "auditor of money", role: RoleExpire, stored: true, exclusive: "all", run: payment.Auditor{Payments: n.payments}.Run},
	}
}

// start runs the residents of the table that this node has, those that last or the
// others, in a group of which one that fails ends all.
func (n *Node) start(ctx context.Context, table []resident, lasting bool) *errgroup.Group {
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range table {
		if r.lasting != lasting || r.needs != "" && !r.present || r.role != "" && !n.config.has(r.role) {
			continue
		}
		g.Go(func() error {
			if r.stored {
				select {
				case <-n.store.Prepared():
				case <-ctx.Done():
					return nil
				}
			}
			if err := r.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			return nil
		})
	}
	return g
}

// settler settles what the queue brings, in batches.
func (n *Node) settler() *settle.Settler {
	s := &settle.Settler{Queue: n.queue, Store: n.store, Gate: n.gate, Log: n.log, Batch: n.config.Limits.Batch, Metrics: n.settled,
		Settled: n.tally.Settled, Now: n.gate.Now, Origin: n.origin, Damaged: store.DamagedSale, Poison: func(err error) bool { return errors.Is(err, store.ErrTicket) }}
	if n.rabbit != nil {
		s.Refused = n.rabbit.queue.Park
	}
	s.Resent = n.redis != nil // by the sweeper
	return s
}

// vouchTime is how long the gate may take to say whether it knows a ticket.
const vouchTime = 3 * time.Second

// origin says whether a gate admitted the ticket: its seal is valid, or the gate has the same
// ticket pending (0.1.0 sent it). If the gate may have it from a node with another secret, that
// node has to say so. While the gate is away the answer is no; genuine tickets come again from the
// outbox.
func (n *Node) origin(ctx context.Context, t *seckill.Ticket) settle.Origin {
	if n.seals.Genuine(t) {
		return settle.Admitted
	}
	ctx, cancel := context.WithTimeout(ctx, vouchTime)
	defer cancel()
	p, err := n.gate.Find(ctx, t.Sale, t.Buyer, t.ID)
	return vouched(&p, t, err)
}

// sameMoment is how far apart Redis' two readings of its clock may be when it admits.
const sameMoment = 50 * time.Millisecond

// vouched says what it means for a message without a valid seal that the gate holds a ticket. It
// must be the pending one of the message in everything that its outcome depends on, the time of
// admission included: somebody who has seen a message could send it again with another time, and
// so have it refused.
func vouched(p *seckill.Progress, t *seckill.Ticket, unknown error) settle.Origin {
	if unknown != nil {
		return settle.Forged
	}
	held := p.Ticket
	if held.At.IsZero() { // the embedded gate's: it takes id and time in one moment
		held.At = seckill.TicketTime(held.ID)
	}
	switch same := !p.Final && held.ID == t.ID && held.Quantity == t.Quantity && held.Seq == t.Seq && held.At.Sub(t.At).Abs() < sameMoment; {
	case !same:
		return settle.Forged
	case p.Unproven:
		return settle.Elsewhere
	}
	t.Version = 0 // the gate does not keep it, so the message's may be anything
	return settle.Admitted
}

// triedLife is how long it is remembered that a node has tried a dead letter: longer than all
// nodes may be away between two tries.
const triedLife = 7 * 24 * time.Hour

// deadSettler settles dead letters, one at a time; nil with the embedded queue.
func (n *Node) deadSettler() *settle.Settler {
	if n.rabbit == nil {
		return nil
	}
	s, dead := n.settler(), n.rabbit.queue.Dead()
	s.Queue, s.Batch, s.Last = dead, 1, dead.Last
	if n.redis != nil {
		life := rand.Text() // what this node has tried since its start it has not died of
		s.Tried = func(ctx context.Context, ticket string) (before bool, err error) {
			return n.redis.Tried(ctx, "dead letter "+ticket, life, triedLife)
		}
		s.Known = n.outcomeKnown
	} else {
		s.Tried = (&tries{file: filepath.Join(n.config.DataDir, "dead-letters.tried")}).tried
	}
	return s
}

// outcomeKnown reports whether the store has the outcome of a ticket.
func (n *Node) outcomeKnown(ctx context.Context, t seckill.Ticket) (bool, error) {
	_, err := n.store.Outcome(ctx, t.Sale, t.Buyer, t.ID)
	if errors.Is(err, seckill.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// announcer sends the store's events; nil with the embedded queue.
func (n *Node) announcer() *event.Announcer {
	if n.rabbit == nil {
		return nil
	}
	return event.NewAnnouncer(n.rabbit.events, n.store, n.log)
}
