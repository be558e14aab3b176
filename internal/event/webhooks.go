package event

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"seckill"
	"seckill/internal/duty"
)

// Limits of the webhooks.
const (
	spreadRows = 16 // of events that become deliveries in one transaction: up to 960 events
	hookLook   = 500 * time.Millisecond
	hookLease  = 20 * time.Second // how long nobody delivers to a receiver after the delivering node was killed
	hookState  = 5 * time.Second  // between two looks of each node at how a receiver is served, for the metrics

	hookTogether = 16               // requests to one receiver at once, and the most of its connections
	hookTime     = 10 * time.Second // for one request, answer included
	hookAnswer   = 16 << 10         // bytes of an answer that are read

	hookPause   = 5 * time.Second // before the second try of a delivery; doubles, and half of it is random
	hookLongest = time.Hour
	hookRest    = time.Second // of a receiver that took nothing of a turn; doubles up to
	hookMost    = 30 * time.Second

	// hookGiveUp is how long an event is sent again before it is given up, and hookKeep how
	// long it stays in the log of deliveries after it was delivered or given up.
	hookGiveUp = 5 * 24 * time.Hour
	hookKeep   = 14 * 24 * time.Hour
	hookForget = 500         // deliveries in one transaction
	strayLook  = time.Minute // between two looks for receivers that are configured no more
)

// Signer signs what a receiver is sent, as Standard Webhooks has it.
type Signer interface {
	Sign(id string, at time.Time, body []byte) (string, error)
}

// Receiver is a server of the shop that is told of orders.
type Receiver struct {
	Name, URL string
	Types     []string // of events; empty: all
	Signer    Signer
}

func (r *Receiver) wants(kind string) bool {
	return len(r.Types) == 0 || slices.Contains(r.Types, kind)
}

// Deliveries is where events become deliveries, and where these wait.
type Deliveries interface {
	// SpreadEvents MUST make every delivery once, and with it forget the event.
	SpreadEvents(ctx context.Context, max int, to func(kind string) []string) (rows int, err error)
	// DueDeliveries MUST leave out whatever has an earlier event of its order waiting.
	DueDeliveries(ctx context.Context, receiver string, max int) ([]seckill.Delivery, error)
	DeliveriesTried(ctx context.Context, receiver string, tries []seckill.DeliveryTry) error
	// ForgetDeliveries MUST leave those that wait.
	ForgetDeliveries(ctx context.Context, receiver string, age time.Duration, max int) (int, error)
	StrayReceivers(ctx context.Context, known []string) ([]string, error)
	// ForgetReceiver MUST leave events that are younger than age: a node with another
	// configuration may know the receiver.
	ForgetReceiver(ctx context.Context, receiver string, age time.Duration, max int) (waiting, all int, err error)
	ReceiverState(ctx context.Context, receiver string) (seckill.ReceiverState, error)
	Deliveries(ctx context.Context, f seckill.DeliveryFilter) ([]seckill.Delivery, error)
	Replay(ctx context.Context, p seckill.Replay) (int, error)
	// Now MUST be the clock by which events happen, as far as it is known without asking.
	Now() time.Time
	duty.Leases
}

// Webhooks is the resident that tells the shop's servers of orders: each event at least
// once, and those of one order in the order of its states. Each receiver is served by one
// node at a time, by goroutines and connections of its own: one that is slow or away
// keeps no other waiting.
type Webhooks struct {
	receivers []Receiver
	store     Deliveries
	log       *slog.Logger
	transport http.RoundTripper // nil: each receiver has its own
	metrics   hookMetrics
}

type hookMetrics struct {
	tries                    *prometheus.CounterVec
	waiting, oldest, stopped *prometheus.GaugeVec
}

// NewWebhooks returns the webhooks of a store's events. r is where their metrics are
// registered; nil: nobody reads them.
func NewWebhooks(receivers []Receiver, store Deliveries, log *slog.Logger, r prometheus.Registerer) *Webhooks {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return promauto.With(r).NewGaugeVec(prometheus.GaugeOpts{Name: "seckill_webhook_" + name, Help: help + ", as a node with the role relay last saw it in the store."}, []string{"receiver"})
	}
	w := &Webhooks{receivers: receivers, store: store, log: log, metrics: hookMetrics{
		tries:   promauto.With(r).NewCounterVec(prometheus.CounterOpts{Name: "seckill_webhook_tries_total", Help: "Events sent to a receiver of webhooks: delivered, failed (it is sent again) or given_up."}, []string{"receiver", "result"}),
		waiting: gauge("waiting", "Deliveries that a receiver of webhooks has not taken"),
		oldest:  gauge("oldest_seconds", "Age of the oldest event that a receiver of webhooks has not taken"),
		stopped: gauge("stopped", "1 while a receiver of webhooks is stopped because it answered 410"),
	}}
	for _, v := range receivers { // each is there from the start: an alert asks how much it has grown
		for _, result := range []string{"delivered", "failed", "given_up"} {
			w.metrics.tries.WithLabelValues(v.Name, result)
		}
	}
	return w
}

// Run tells the receivers until ctx is done. What they have not taken stays in the store.
func (w *Webhooks) Run(ctx context.Context) error {
	var all sync.WaitGroup
	var wakes []duty.Signal
	for i := range w.receivers {
		h := newHook(w, &w.receivers[i])
		wakes = append(wakes, h.wake)
		all.Go(func() { h.run(ctx) })
	}
	all.Go(func() { w.spread(ctx, wakes) })
	all.Wait()
	return nil
}

// spread makes deliveries of events, and forgets old ones. One node does at a time.
func (w *Webhooks) spread(ctx context.Context, wakes []duty.Signal) {
	lease := w.lease("webhooks")
	defer lease.Release(ctx)
	var complaint duty.Complaint
	var looked time.Time
	for ctx.Err() == nil {
		rows, err := 0, error(nil)
		held, err := lease.Held(ctx)
		if err == nil && held {
			rows, err = w.spreadOnce(ctx, lease.Until())
		}
		if err == nil && held && time.Since(looked) > strayLook {
			looked = time.Now()
			err = w.forgetStrays(ctx, lease.Until())
		}
		if complaint.New(err) && ctx.Err() == nil {
			w.log.Warn("webhooks: events wait in the store; trying again until it works", "error", err)
		}
		if rows > 0 {
			for _, wake := range wakes {
				wake.Send()
			}
		}
		if rows < spreadRows {
			duty.Rest(ctx, hookLook)
		}
	}
}

func (w *Webhooks) spreadOnce(ctx context.Context, until time.Time) (rows int, err error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return w.store.SpreadEvents(ctx, spreadRows, func(kind string) (names []string) {
		for i := range w.receivers {
			if w.receivers[i].wants(kind) {
				names = append(names, w.receivers[i].Name)
			}
		}
		return names
	})
}

// forgetStrays forgets what is old of receivers that are configured no more: nobody sends
// it.
func (w *Webhooks) forgetStrays(ctx context.Context, until time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	known := make([]string, len(w.receivers))
	for i, r := range w.receivers {
		known[i] = r.Name
	}
	strays, err := w.store.StrayReceivers(ctx, known)
	if err != nil {
		return err
	}
	for _, name := range strays {
		waiting, all, err := w.store.ForgetReceiver(ctx, name, hookKeep, hookForget)
		if err != nil {
			return err
		}
		if all > 0 {
			w.log.Warn("webhooks: what is old of a receiver that is not configured any more was forgotten", "receiver", name, "events", all, "not_delivered", waiting)
		}
	}
	return nil
}

func (w *Webhooks) lease(name string) *duty.Lease {
	return &duty.Lease{Leases: w.store, Name: name, Owner: rand.Text(), Life: hookLease, Standby: 2 * time.Second}
}

// known returns the receiver of that name.
func (w *Webhooks) known(name string) (*Receiver, error) {
	for i := range w.receivers {
		if w.receivers[i].Name == name {
			return &w.receivers[i], nil
		}
	}
	return nil, fmt.Errorf("webhook receiver %q: %w", name, seckill.ErrNotFound)
}

// Receivers tells how each receiver is served.
func (w *Webhooks) Receivers(ctx context.Context) ([]seckill.ReceiverState, error) {
	all := make([]seckill.ReceiverState, len(w.receivers))
	for i, r := range w.receivers {
		v, err := w.store.ReceiverState(ctx, r.Name)
		if err != nil {
			return nil, err
		}
		v.Name, v.URL, v.Types = r.Name, seckill.Endpoint(r.URL).String(), r.Types
		if len(v.Types) == 0 {
			v.Types = seckill.EventTypes
		}
		all[i] = v
	}
	return all, nil
}

// Deliveries lists what a receiver was sent or waits for it, the newest orders first.
func (w *Webhooks) Deliveries(ctx context.Context, f seckill.DeliveryFilter) ([]seckill.Delivery, error) {
	if _, err := w.known(f.Receiver); err != nil {
		return nil, err
	}
	return w.store.Deliveries(ctx, f)
}

// Replay sends a receiver again what p names, and returns how many events that are.
func (w *Webhooks) Replay(ctx context.Context, p seckill.Replay) (int, error) {
	if _, err := w.known(p.Receiver); err != nil {
		return 0, err
	}
	return w.store.Replay(ctx, p)
}
