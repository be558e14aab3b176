package access

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of this package.
type metrics struct {
	limited, wrong, passes prometheus.Counter
	work                   prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, age func() time.Duration) metrics {
	m := metrics{
		limited: prometheus.NewCounter(prometheus.CounterOpts{Name: "seckill_access_limited_total", Help: "Requests beyond the limits of a buyer or a network."}),
		wrong:   prometheus.NewCounter(prometheus.CounterOpts{Name: "seckill_access_wrong_total", Help: "Challenges with a wrong, old, foreign or used solution."}),
		passes:  prometheus.NewCounter(prometheus.CounterOpts{Name: "seckill_access_passes_total", Help: "Passes given."}),
		work: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "seckill_access_work_hashes", Help: "Hashes that a proof of work takes on average, by what was asked for.",
			Buckets: prometheus.ExponentialBuckets(10_000, 4, 9)}),
	}
	r.MustRegister(m.limited, m.wrong, m.passes, m.work, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_access_rules_age_seconds",
		Help: "How long ago this node last read whether the sales' rules and the lists have changed; it does not sell sales that are newer than that."}, func() float64 { return age().Seconds() }))
	return m
}
