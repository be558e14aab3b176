package event

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
)

// hook delivers to one receiver.
type hook struct {
	to     *Receiver
	store  Deliveries
	log    *slog.Logger
	client *http.Client
	count  hookMetrics
	lease  *duty.Lease
	wake   duty.Signal // there may be something to deliver

	failing duty.Backoff // of the receiver as a whole
	ill     bool         // the receiver accepted nothing last turn, so the next turn sends one delivery
	looked  time.Time
}

func newHook(w *Webhooks, to *Receiver) *hook {
	transport := w.transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxConnsPerHost, own.MaxIdleConnsPerHost, own.MaxResponseHeaderBytes = hookTogether, hookTogether, hookAnswer
		transport = own
	}
	return &hook{
		to: to, store: w.store, log: w.log.With("receiver", to.Name), count: w.metrics, lease: w.lease("webhooks/" + to.Name), wake: duty.NewSignal(),
		client: &http.Client{Transport: transport, Timeout: hookTime,
			// What is signed for one address is not carried to another.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		failing: duty.Backoff{First: hookRest, Most: hookMost, Spread: true},
	}
}

func (h *hook) run(ctx context.Context) {
	defer h.client.CloseIdleConnections()
	defer h.lease.Release(ctx)
	var complaint duty.Complaint
	for ctx.Err() == nil {
		sent, err := h.turn(ctx)
		if complaint.New(err) && ctx.Err() == nil {
			h.log.Warn("webhooks: deliveries wait in the store; trying again until it works", "error", err)
		}
		switch {
		case sent > 0 && h.ill:
			duty.Rest(ctx, h.failing.Next())
		case err != nil || sent == 0:
			duty.RestOr(ctx, hookLook, h.wake)
		}
	}
}

// turn sends what is due if this node holds the lease, and returns how much. A receiver
// that took nothing of the last turn is asked with one request, until it takes one.
func (h *hook) turn(ctx context.Context) (sent int, err error) {
	if err := h.look(ctx); err != nil {
		return 0, err
	}
	was := h.ill
	if held, err := h.lease.Held(ctx); err != nil || !held {
		return 0, err
	}
	held, cancel := context.WithDeadline(ctx, h.lease.Until())
	defer cancel()
	together := hookTogether
	if was {
		together = 1
	}
	due, err := h.store.DueDeliveries(held, h.to.Name, together)
	if err != nil {
		return 0, err
	}
	tries := h.send(held, due)
	if len(tries) == 0 { // nothing is due, or this node stops, or has lost the lease
		return 0, held.Err()
	}
	taken := 0
	for _, t := range tries {
		if t.State == seckill.DeliveryDelivered {
			taken++
		}
	}
	if h.ill = taken == 0; !h.ill {
		h.failing.Reset()
	}
	if taken > 0 {
		crash.Here("17-before-delivered", true)
	}
	// Also if this node stops, or another delivers by now: they were sent.
	noted, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTime)
	defer cancel()
	if err := h.store.DeliveriesTried(noted, h.to.Name, tries); err != nil {
		return len(tries), err
	}
	h.report(tries, was)
	return len(tries), nil
}

// report says what came of deliveries, in the log and the metrics.
func (h *hook) report(tries []seckill.DeliveryTry, was bool) {
	for _, t := range tries {
		switch {
		case t.State == seckill.DeliveryDelivered:
			h.count.tries.WithLabelValues(h.to.Name, "delivered").Inc()
		case t.State == seckill.DeliveryFailed:
			h.count.tries.WithLabelValues(h.to.Name, "given_up").Inc()
			h.log.Error("webhooks: an event was given up: seckill webhooks replay sends it again", "event", t.Event, "error", t.Error)
		default:
			h.count.tries.WithLabelValues(h.to.Name, "failed").Inc()
		}
		if t.Gone {
			h.looked = time.Time{}
			h.log.Error("webhooks: the receiver answered 410, it wants no more: nothing is sent to it until seckill webhooks replay", "event", t.Event)
		}
	}
	switch {
	case h.ill && !was:
		h.log.Warn("webhooks: the receiver takes nothing; trying again, less and less often", "event", tries[0].Event, "error", tries[0].Error)
	case !h.ill && was:
		h.log.Info("webhooks: the receiver takes events again")
	}
}

// look sets the metrics of the receiver, on every node, and forgets old deliveries.
func (h *hook) look(ctx context.Context) error {
	now := time.Now()
	if now.Sub(h.looked) < hookState {
		return nil
	}
	v, err := h.store.ReceiverState(ctx, h.to.Name)
	if err != nil {
		return err
	}
	h.looked = now
	age, stopped := 0.0, 0.0
	if v.Oldest != nil {
		age = max(0, h.store.Now().Sub(*v.Oldest).Seconds())
	}
	if v.Stopped != nil {
		stopped = 1
	}
	h.count.waiting.WithLabelValues(h.to.Name).Set(float64(v.Waiting))
	h.count.oldest.WithLabelValues(h.to.Name).Set(age)
	h.count.stopped.WithLabelValues(h.to.Name).Set(stopped)
	_, err = h.store.ForgetDeliveries(ctx, h.to.Name, hookKeep, hookForget)
	return err
}

// send sends deliveries at the same moment; they are of different orders. Those that
// ended with ctx are left out: nothing is known of them.
func (h *hook) send(ctx context.Context, due []seckill.Delivery) []seckill.DeliveryTry {
	tries := make([]seckill.DeliveryTry, len(due))
	var all sync.WaitGroup
	for i, d := range due {
		all.Go(func() { tries[i] = h.try(ctx, d) })
	}
	all.Wait()
	if ctx.Err() == nil {
		return tries
	}
	known := tries[:0]
	for _, t := range tries {
		if t.Code != 0 {
			known = append(known, t)
		}
	}
	return known
}

// try sends a delivery once.
func (h *hook) try(ctx context.Context, d seckill.Delivery) seckill.DeliveryTry {
	code, err := h.post(ctx, d)
	t := seckill.DeliveryTry{Event: d.Event, State: seckill.DeliveryDelivered, Code: code}
	if err == nil {
		return t
	}
	t.State, t.Error, t.Gone = seckill.DeliveryWaiting, err.Error(), code == http.StatusGone
	t.Pause = duty.Backoff{First: hookPause, Most: hookLongest, Spread: true}.After(d.Tries)
	if d.Age > hookGiveUp {
		t.State, t.Pause = seckill.DeliveryFailed, 0
	}
	return t
}

// post sends the event, signed anew: receivers refuse an old signature. code is 0 without
// an answer.
func (h *hook) post(ctx context.Context, d seckill.Delivery) (code int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.to.URL, bytes.NewReader(d.Body))
	if err != nil {
		return 0, seckill.HideEndpoint(err)
	}
	now := time.Now()
	signature, err := h.to.Signer.Sign(d.Event, now, d.Body)
	if err != nil {
		return 0, err
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "User-Agent": "seckill", "webhook-id": d.Event,
		"webhook-timestamp": strconv.FormatInt(now.Unix(), 10), "webhook-signature": signature} {
		r.Header.Set(name, value)
	}
	resp, err := h.client.Do(r)
	if err != nil {
		return 0, seckill.HideEndpoint(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, hookAnswer) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return resp.StatusCode, fmt.Errorf("it answered %s", resp.Status)
	}
	return resp.StatusCode, nil
}
