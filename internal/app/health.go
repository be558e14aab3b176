package app

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// healthFor is for how long an answer about the parts' health is good for the metrics.
const healthFor = time.Second

// registerHealth makes the metrics that alarms about lost parts ask for: seckill_up for
// each part, as this node sees it when it is asked, and how many settings of the engines
// are weaker than promised.
func (n *Node) registerHealth() {
	n.weak = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "seckill_weak_settings", Help: "Settings of the engines that are weaker than what is promised; the log names them. It is there once the engines have been asked."}, nil)
	n.metrics.MustRegister(n.weak)
	var mu sync.Mutex
	var at time.Time
	var parts map[string]string
	look := func(part string) float64 {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(at) > healthFor {
			ctx, cancel := context.WithTimeout(context.Background(), healthTime)
			parts = n.health(ctx)
			cancel()
			at = time.Now()
		}
		if parts[part] == "ok" {
			return 1
		}
		return 0
	}
	for _, part := range []string{"gate", "queue", "store", "node"} {
		n.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_up", ConstLabels: prometheus.Labels{"part": part},
			Help: "1 while this node reaches a part, and while it has its own state and is not stopping."}, func() float64 { return look(part) }))
	}
	roles := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "seckill_role", Help: "1 for each role that this node is there for."}, []string{"role"})
	for _, role := range n.config.Run {
		roles.WithLabelValues(role).Set(1)
	}
	n.metrics.MustRegister(roles, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_keeper_failing_seconds",
		Help: "For how long the gate has not been up to date with the store, as this node sees it: changes of sales, stock moves or rebuilds wait; 0 when it is."},
		func() float64 { return n.sales.Failing().Seconds() }))
}
