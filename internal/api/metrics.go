package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"seckill"
)

// metrics of this stage. Labels are fixed beforehand on the paths that matter.
type metrics struct {
	over     prometheus.Counter // sold out by the flag
	verdicts []prometheus.Counter
	problems *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	unlisted prometheus.Gauge // when a header of an unlisted proxy came last
}

func newMetrics(r prometheus.Registerer) metrics {
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "seckill_verdicts_total", Help: "Answers of the buy route, by verdict and by what gave it: the over flag or the gate."}, []string{"verdict", "by"})
	m := metrics{
		over:     verdicts.WithLabelValues(seckill.SoldOut.String(), "flag"),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "seckill_problems_total", Help: "Problem documents, verdicts aside, by code."}, []string{"code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "seckill_http_seconds", Help: "Time to serve a request, the buy route aside, by method and route.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"method", "route"}),
		unlisted: prometheus.NewGauge(prometheus.GaugeOpts{Name: "seckill_unlisted_proxy_timestamp_seconds",
			Help: "When a login or a registration last came with X-Forwarded-For from an address that http.trusted_proxies does not list; 0: never."}),
	}
	for _, code := range []string{"unavailable", "busy", "too_many_requests"} {
		m.problems.WithLabelValues(code) // alerts ask for their increase: they begin at 0
	}
	for _, v := range seckill.Verdicts() {
		m.verdicts = append(m.verdicts, verdicts.WithLabelValues(v.String(), "gate"))
	}
	r.MustRegister(verdicts, m.problems, m.seconds, m.unlisted)
	return m
}
