package app

import (
	"context"

	"seckill"
	"seckill/internal/event"
	"seckill/internal/queue/rabbitmq"
	"seckill/internal/rabbit"
)

// messaging is what a node has on RabbitMQ: tickets in transit, events of orders, and
// notices of changed sales. On the embedded queue there is nobody to tell, and no events
// are kept.
type messaging struct {
	broker  *rabbit.Broker
	queue   *rabbitmq.Queue
	events  *event.Publisher
	notices *event.Notices
	ends    []rabbit.End // those that the roles of this node take
}

// newMessaging builds it; Run connects.
func (n *Node) newMessaging() *messaging {
	c := n.config
	b := rabbit.New(c.RabbitMQ, n.log, n.metrics)
	m := &messaging{
		broker: b, queue: rabbitmq.New(b, n.metrics), events: event.NewPublisher(b, n.metrics),
		notices: event.NewNotices(b, func(id seckill.SaleID, _ int64) { n.sales.Forget(id) }, n.metrics),
	}
	for _, end := range []struct {
		rabbit.End
		wanted bool
	}{
		{rabbit.Publishing, c.has(RoleRelay)},
		{rabbit.Consuming, c.has(RoleSettle)},
		{rabbit.DeadLetters, c.has(RoleSettle)},
		{rabbit.Parking, c.has(RoleSettle)},
		{rabbit.Announcing, c.has(RoleRelay) && c.RabbitMQ.Events},
		{rabbit.Noticing, true},
	} {
		if end.wanted {
			m.ends = append(m.ends, end.End)
		}
	}
	return m
}

// Run keeps the connections until ctx is done.
func (m *messaging) Run(ctx context.Context) error { return m.broker.Run(ctx, m.ends...) }
