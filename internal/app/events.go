package app

import (
	"seckill"
	"seckill/internal/queue"
)

// tellOthers wires what leaves the node by RabbitMQ beside tickets: order events
// to whoever subscribes, which is the relay's business, and notices of changed
// sales between all nodes. It returns the ends that this takes.
//
// On the embedded queue there is nobody to tell, and no events are kept.
func (n *Node) tellOthers(q *queue.AMQP) (ends []queue.End) {
	if n.config.RabbitMQ.Events {
		n.store.KeepEvents = true
		if n.config.has(RoleRelay) {
			ends = append(ends, queue.Announcing)
			n.duties = append(n.duties, (&queue.Announcer{Queue: q, Store: n.store, Log: n.log}).Run)
		}
	}
	n.notice = q.Notice
	q.HearNotices(func(id seckill.SaleID, _ int64) { n.sales.Forget(id) })
	return append(ends, queue.Noticing)
}
