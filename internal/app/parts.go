package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"seckill/internal/api"
	"seckill/internal/gate"
	"seckill/internal/gate/redisgate"
	"seckill/internal/order"
	"seckill/internal/queue"
	"seckill/internal/queue/rabbitmq"
	"seckill/internal/rabbit"
	"seckill/internal/sale"
	"seckill/internal/settle"
	"seckill/internal/store"
)

// gateway is what the rest of a node needs of a gate.
type gateway interface {
	api.Gate
	sale.Gate
	order.Gate
	settle.Gate
	gate.Outbox
	Ping(ctx context.Context) error
	Register(r prometheus.Registerer)
}

// transit is what the rest of a node needs of a queue.
type transit interface {
	gate.Publisher
	settle.Queue
	Depth() int
	Ping(ctx context.Context) error
}

// duty is something that a node does until its context is done.
type duty func(ctx context.Context) error

const (
	prepareTry   = 20 * time.Second // for one try to connect to the store and to migrate it
	preparePause = time.Second

	aloneLease = "only node"
	aloneTime  = 15 * time.Second
)

// openParts opens the gate, the queue and the store that the configuration names,
// and notes the duties that they bring along.
func (n *Node) openParts(ctx context.Context) (err error) {
	c := n.config
	if err := c.keepPrivate(); err != nil {
		return err
	}
	if n.store, err = store.Open(ctx, c.storeURL(), c.Embedded()); err != nil {
		return err
	}
	n.store.Retention = c.Limits.Retention
	n.duties = append(n.duties, n.prepareStore)
	if c.Embedded() && !c.Store.embedded() {
		if err := n.alone(ctx); err != nil {
			return err
		}
	}

	switch {
	case c.Gate.embedded():
		m, err := gate.OpenMemory(ctx, filepath.Join(c.DataDir, "gate.db"), c.Limits.Outbox)
		if err != nil {
			return err
		}
		n.gate, n.closers = m, append(n.closers, m.Close)
	default:
		g, err := redisgate.Open(string(c.Gate), c.Limits.Outbox, n.log)
		if err != nil {
			return err
		}
		n.gate, n.links = g, append(n.links, g.Run)
		n.checks = append(n.checks, g.Weak)
	}

	switch {
	case c.Queue.embedded():
		n.queue = queue.NewMemory(c.Limits.Queue)
	default:
		broker := rabbit.New(c.RabbitMQ, n.log, n.metrics)
		q := rabbitmq.New(broker, n.metrics)
		var ends []rabbit.End
		if c.has(RoleRelay) {
			ends = append(ends, rabbit.Publishing)
		}
		if c.has(RoleSettle) {
			ends = append(ends, rabbit.Consuming, rabbit.DeadLetters, rabbit.Parking)
			n.listeners, n.refused = q, q.Park
			dead := q.Dead()
			alone := n.settler(dead, 1)
			alone.Last = dead.Last
			n.duties = append(n.duties, alone.Run)
		}
		n.queue = q
		ends = append(ends, n.tellOthers(broker)...)
		n.links = append(n.links, func(ctx context.Context) error { return broker.Run(ctx, ends...) })
		n.closers = append(n.closers, broker.Close)
		if c.Embedded() {
			if err := broker.Alone(ctx, aloneTime); err != nil {
				return err
			}
		}
	}
	if g, shared := n.gate.(*redisgate.Gate); shared && c.has(RoleRelay) {
		s := &redisgate.Sweeper{Gate: g, Queue: n.queue, Room: n.room, Log: n.log}
		n.duties = append(n.duties, s.Run)
	}
	return nil
}

// room is how many tickets the queue can take. While it holds a backlog nothing
// in it is lost, it is only late.
func (n *Node) room(context.Context) (int, error) {
	limit := n.config.Limits.Queue
	if !n.config.Queue.embedded() {
		limit = n.config.RabbitMQ.MaxLength
	}
	depth := n.queue.Depth()
	if depth > n.config.Limits.Batch {
		return 0, nil
	}
	return limit - depth, nil
}

// prepareStore connects and migrates a store that was not there at the start,
// however long that takes, then says which settings are weaker than promised.
func (n *Node) prepareStore(ctx context.Context) error {
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, prepareTry)
		err := n.store.Prepare(try)
		cancel()
		if err == nil {
			n.checkSettings(ctx)
			return nil
		}
		if ctx.Err() == nil {
			n.log.Warn("the store is not ready; trying again", "pause", preparePause, "error", err)
		}
		sleep(ctx, preparePause)
	}
	return nil
}

// alone takes the lease that keeps a second node off a shared store while a part
// of this one is embedded, and notes the duty to hold it. Such a node does not
// start without its store.
func (n *Node) alone(ctx context.Context) error {
	if err := n.store.Prepare(ctx); err != nil {
		return fmt.Errorf("with an embedded part (--gate, --queue) the store must be there at the start: %w", err)
	}
	owner := rand.Text()
	take := func(ctx context.Context) error {
		held, by, err := n.store.Lease(ctx, aloneLease, owner, aloneTime)
		if err == nil && !held {
			err = fmt.Errorf("the store is in use by another node (%s), and embedded parts (--gate, --queue) belong to one process: stop it first, or use shared engines for all parts", by)
		}
		return err
	}
	// A node that was killed holds the lease until its time is over.
	err := take(ctx)
	for until := time.Now().Add(aloneTime + preparePause); err != nil && ctx.Err() == nil && time.Now().Before(until); err = take(ctx) {
		n.log.Warn("waiting for the lease of the store", "pause", preparePause, "error", err)
		sleep(ctx, preparePause)
	}
	if err != nil {
		return err
	}
	n.duties = append(n.duties, func(ctx context.Context) error {
		defer n.store.Unlease(context.WithoutCancel(ctx), aloneLease, owner)
		for until := time.Now().Add(aloneTime); ; {
			sleep(ctx, aloneTime/5)
			if ctx.Err() != nil {
				return nil
			}
			asked := time.Now()
			if err := take(ctx); err == nil {
				until = asked.Add(aloneTime)
			} else if time.Now().After(until) {
				return fmt.Errorf("the lease of the store is lost, so this node stops: %w", err)
			}
		}
	})
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// checkSettings names what is weaker than the promise needs. It asks again while
// a part is away.
func (n *Node) checkSettings(ctx context.Context) {
	for _, check := range append(n.checks, n.store.Weak) {
		for {
			weak, err := check(ctx)
			if err == nil {
				for _, w := range weak {
					n.log.Warn("weaker than promised: " + w)
				}
				break
			}
			if sleep(ctx, preparePause); ctx.Err() != nil {
				return
			}
		}
	}
}
