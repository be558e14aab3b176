package event

import (
	"context"
	"encoding/json"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"seckill"
	"seckill/internal/rabbit"
)

const (
	noticeVersion  = 1
	noticesWaiting = 64 // to be sent; more than that are dropped
)

// notice tells the other nodes that a sale has changed. They would find out by themselves
// within a second, so a notice is neither kept nor confirmed.
type notice struct {
	V       int            `json:"v"`
	Sale    seckill.SaleID `json:"sale"`
	Version int64          `json:"version"`
}

// Notices is the exchange of changed sales as one node uses it: it sends notices and
// hears everybody's, its own included.
type Notices struct {
	out         chan notice
	hear        func(sale seckill.SaleID, version int64)
	sent, heard prometheus.Counter
}

// NewNotices returns the notices on a broker, and serves its end Noticing. hear is called
// at every notice, by one goroutine. r is where the metrics are registered; nil: nobody
// reads them.
func NewNotices(b *rabbit.Broker, hear func(sale seckill.SaleID, version int64), r prometheus.Registerer) *Notices {
	counter := func(name, help string) prometheus.Counter {
		return promauto.With(r).NewCounter(prometheus.CounterOpts{Name: "seckill_notices_" + name + "_total", Help: help})
	}
	n := &Notices{out: make(chan notice, noticesWaiting), hear: hear,
		sent:  counter("sent", "Notices of changed sales sent to the other nodes."),
		heard: counter("heard", "Notices of changed sales heard, this node's own included."),
	}
	b.Serve(rabbit.Noticing, n.serve)
	return n
}

// Send tells all nodes that a sale has changed. It does not wait, and drops the notice while
// noticesWaiting others wait to be sent.
func (n *Notices) Send(sale seckill.SaleID, version int64) {
	select {
	case n.out <- notice{noticeVersion, sale, version}:
	default:
	}
}

// serve sends and hears notices until the session is lost. The node's queue goes with the
// session, so notices that others send meanwhile are not heard later.
func (n *Notices) serve(ctx context.Context, session *rabbit.Session) error {
	heard, err := session.Hear(rabbit.SaleExchange, rabbit.NoticeQueue)
	if err != nil {
		return err
	}
	session.Go(func() {
		heard.Each(noticesWaiting, n.take)
		session.Fail(heard.Why())
	})
	session.Ready()
	for {
		select {
		case v := <-n.out:
			body, err := json.Marshal(v)
			if err != nil {
				return err
			}
			if err := heard.Publish(rabbit.Message{Exchange: rabbit.SaleExchange, Transient: true, Type: "sale.changed", Body: body}); err != nil {
				return err
			}
			n.sent.Inc()
		case err := <-session.Lost():
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// take hears deliveries. What is no notice of this version is ignored.
func (n *Notices) take(came []rabbit.Delivery) {
	for _, d := range came {
		var v notice
		if json.Unmarshal(d.Body, &v) == nil && v.V == noticeVersion {
			n.hear(v.Sale, v.Version)
			n.heard.Inc()
		}
	}
}
