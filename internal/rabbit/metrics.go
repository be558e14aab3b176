package rabbit

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics of the connections, and of the queues as the broker shows them.
type metrics struct{ connected, blocked, messages, consumers *prometheus.GaugeVec }

func newMetrics(r prometheus.Registerer) metrics {
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return promauto.With(r).NewGaugeVec(prometheus.GaugeOpts{Name: "seckill_queue_" + name, Help: help}, []string{label})
	}
	return metrics{
		connected: gauges("connected", "1 while the connection for this use stands.", "end"),
		blocked:   gauges("blocked", "1 while the broker blocks this publisher, for want of memory or disk.", "end"),
		messages:  gauges("messages", "Messages that wait in a queue at the broker, at the last look.", "queue"),
		consumers: gauges("consumers", "Consumers of a queue at the broker, those of all nodes, at the last look.", "queue"),
	}
}

// Counts is what became of the messages of one publisher. What is nil is not counted.
// A message that is sent again counts again.
type Counts struct{ Published, Confirmed, Returned, Nacked prometheus.Counter }

func count(c prometheus.Counter, n int) {
	if c != nil {
		c.Add(float64(n))
	}
}
