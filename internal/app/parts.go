package app

import (
	"context"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"seckill/internal/api"
	"seckill/internal/gate"
	"seckill/internal/gate/redisgate"
	"seckill/internal/order"
	"seckill/internal/queue"
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

// openParts opens the gate, the queue and the store that the configuration names,
// and notes how they are closed.
func (n *Node) openParts(ctx context.Context) (err error) {
	c := n.config
	if err := c.keepPrivate(); err != nil {
		return err
	}
	if n.store, err = store.Open(ctx, c.storeURL(), c.Embedded()); err != nil {
		return err
	}
	n.store.Retention, n.store.Credit = c.Limits.Retention, c.Payment.OutageCredit
	if c.Embedded() && !c.Store.embedded() {
		if n.only, err = takeStore(ctx, n.store, n.log); err != nil {
			return err
		}
	}

	switch {
	case c.Gate.embedded():
		m, err := gate.OpenMemory(ctx, filepath.Join(c.DataDir, "gate.db"), c.Limits.Outbox, gate.Sealed(n.seals, n.log))
		if err != nil {
			return err
		}
		n.gate, n.closers = m, append(n.closers, m.Close)
	default:
		g, err := redisgate.Open(string(c.Gate), c.Limits.Outbox, n.log)
		if err != nil {
			return err
		}
		g.Sealed(n.seals)
		n.gate, n.redis = g, g
	}

	switch {
	case c.Queue.embedded():
		n.queue = queue.NewMemory(c.Limits.Queue)
	default:
		n.rabbit = n.newMessaging()
		n.queue, n.closers = n.rabbit.queue, append(n.closers, n.rabbit.broker.Close)
		n.store.KeepEvents = c.RabbitMQ.Events
		if c.Embedded() {
			if err := n.rabbit.broker.OnlyNode(ctx, onlyTime); err != nil {
				return err
			}
		}
	}
	return nil
}

// checks name what is weaker than the promise needs, in the settings of the engines.
func (n *Node) checks() (checks []func(context.Context) ([]string, error)) {
	if n.redis != nil {
		checks = append(checks, n.redis.Weak)
	}
	return append(checks, n.store.Weak)
}

// room is how many tickets the sweeper may put into the queue. While the queue holds more than
// a batch, tickets are late and not lost, so nothing needs to be sent again.
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
