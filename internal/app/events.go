package app

import (
	"seckill"
	"seckill/internal/event"
	"seckill/internal/rabbit"
)

// tellOthers wires what leaves the node by RabbitMQ beside tickets: order events
// to whoever subscribes, which is the relay's business, and notices of changed
// sales between all nodes. It returns the ends that this takes.
//
// On the embedded queue there is nobody to tell, and no events are kept.
func (n *Node) tellOthers(broker *rabbit.Broker) (ends []rabbit.End) {
	publisher := event.NewPublisher(broker, n.metrics)
	if n.config.RabbitMQ.Events {
		n.store.KeepEvents = true
		if n.config.has(RoleRelay) {
			ends = append(ends, rabbit.Announcing)
			n.duties = append(n.duties, event.NewAnnouncer(publisher, n.store, n.log).Run)
		}
	}
	notices := event.NewNotices(broker, func(id seckill.SaleID, _ int64) { n.sales.Forget(id) }, n.metrics)
	n.notice = notices.Send
	return append(ends, rabbit.Noticing)
}
