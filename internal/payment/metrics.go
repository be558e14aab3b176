package payment

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// callbackResults is what a callback of a provider can become.
var callbackResults = []string{"captured", "failed", "refunded", "repeat", "late", "aside", "conflict", "irrelevant", "refused"}

type metrics struct {
	callbacks, refunds                       *prometheus.CounterVec
	aside, late, due, dueAge, skew, earlyAge prometheus.Gauge
	unexplained                              *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		r.MustRegister(g)
		return g
	}
	m := metrics{
		callbacks:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "seckill_payment_callbacks_total", Help: "Callbacks of the payment provider, by what they became: " + strings.Join(callbackResults, ", ") + "."}, []string{"result"}),
		refunds:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "seckill_refunds_total", Help: "Tries to give money back: confirmed, asked (the provider will tell) or failed."}, []string{"result"}),
		unexplained: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "seckill_money_unexplained", Help: "Money of all sales, and of no sale, in minor units, that neither orders nor refunds account for, as the node that counts it has found; 0 when all is well, and on the other nodes."}, []string{"currency"}),
		aside:       gauge("seckill_payments_aside", "Payments that fit no order and wait for a person."),
		late:        gauge("seckill_payments_late", "Payments of ended orders for which units are being asked for."),
		due:         gauge("seckill_refunds_due", "Refunds that the provider has not confirmed."),
		dueAge:      gauge("seckill_refunds_due_age_seconds", "How long the oldest refund that is not confirmed has been due."),
		earlyAge:    gauge("seckill_refunds_early_age_seconds", "How long ago the oldest refund was told whose payment the provider has not told of; 0 when there is none."),
		skew:        gauge("seckill_clock_skew_seconds", "How far the store's clock is ahead of this node's."),
	}
	r.MustRegister(m.callbacks, m.refunds, m.unexplained)
	// Each is there from the start, at 0: an alert asks how much it has grown, and would
	// miss the first one.
	for _, result := range callbackResults {
		m.callbacks.WithLabelValues(result)
	}
	return m
}
