package queue

import (
	"context"
	"crypto/rand"
	"encoding/json"

	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
)

const (
	noticeVersion  = 1
	noticesWaiting = 64 // to be sent; more than that are dropped
)

// notice tells the other nodes that a sale has changed. It hastens what they
// find out anyway within a second, so it is neither kept nor confirmed.
type notice struct {
	V       int            `json:"v"`
	Sale    seckill.SaleID `json:"sale"`
	Version int64          `json:"version"`
}

// notices is the sale exchange as one node uses it: it sends notices and hears
// everybody's, its own included.
type notices struct {
	queue *AMQP
	out   chan notice
	hear  func(sale seckill.SaleID, version int64)
}

// Notice tells all nodes that a sale has changed, some time soon or never. It
// does not wait.
func (q *AMQP) Notice(sale seckill.SaleID, version int64) {
	select {
	case q.notices.out <- notice{noticeVersion, sale, version}:
	default:
	}
}

// HearNotices sets what is done at every notice. It is called before Run.
func (q *AMQP) HearNotices(hear func(sale seckill.SaleID, version int64)) { q.notices.hear = hear }

// serve is a session, until it is lost. The queue is gone with it: what was said
// meanwhile is not heard later.
func (n *notices) serve(ctx context.Context, session *session) error {
	ch, err := session.conn.Channel()
	if err != nil {
		return err
	}
	name := noticeQueue + rand.Text()
	if _, err := ch.QueueDeclare(name, false, true, true, false, nil); err != nil {
		return err
	}
	if err := ch.QueueBind(name, "", SaleExchange, false, nil); err != nil {
		return err
	}
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	cancels := ch.NotifyCancel(make(chan string, 1))
	heard, err := ch.Consume(name, "", true, true, false, false, nil)
	if err != nil {
		return err
	}
	session.ready()
	for {
		select {
		case d, open := <-heard:
			if !open {
				return whyEnded("the queue of notices", closes, cancels)
			}
			var v notice
			if json.Unmarshal(d.Body, &v) == nil && v.V == noticeVersion && n.hear != nil {
				n.hear(v.Sale, v.Version)
				n.queue.metrics.heard.Inc()
			}
		case v := <-n.out:
			body, err := json.Marshal(v)
			if err != nil {
				return err
			}
			if err := ch.Publish(SaleExchange, "", false, false, amqp.Publishing{ContentType: "application/json", Type: "sale.changed", Body: body}); err != nil {
				return err
			}
			n.queue.metrics.noticed.Inc()
		case err := <-session.lost:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}
