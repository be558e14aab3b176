package api

import (
	"context"
	"net/http"
	"time"

	"seckill"
)

// Webhooks tell the shop's servers of orders. A receiver that is not configured is not
// found.
type Webhooks interface {
	Receivers(ctx context.Context) ([]seckill.ReceiverState, error)
	Deliveries(ctx context.Context, f seckill.DeliveryFilter) ([]seckill.Delivery, error)
	Replay(ctx context.Context, p seckill.Replay) (int, error)
}

// listReceivers shows how each receiver of webhooks is served.
func (a *API) listReceivers(w http.ResponseWriter, r *request) error {
	all, err := a.Webhooks.Receivers(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list[seckill.ReceiverState]{Items: some(all)})
}

// listDeliveries shows what a receiver was sent and what waits for it; the events
// themselves, which name buyers and payments, only to those who may see a whole order.
func (a *API) listDeliveries(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	q := r.URL.Query()
	f := seckill.DeliveryFilter{Receiver: r.PathValue("receiver"), State: seckill.DeliveryState(q.Get("state")), Order: q.Get("order"), Before: cursor, Max: limit + 1}
	switch {
	case f.State != "" && f.State != seckill.DeliveryWaiting && f.State != seckill.DeliveryDelivered && f.State != seckill.DeliveryFailed:
		return &seckill.FieldError{Field: "state", Must: "must be waiting, delivered or failed"}
	case f.Order != "" && !seckill.ValidTicketID(f.Order):
		return &seckill.FieldError{Field: "order", Must: "must be an order's id"}
	case !eventID(cursor) && cursor != "":
		return &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
	}
	all, err := a.Webhooks.Deliveries(r.Context(), f)
	if err != nil {
		return err
	}
	if !seckill.HasRole(r.who.Role, seckill.RoleSupport) {
		for i := range all {
			all[i].Body = nil
		}
	}
	return writeJSON(w, http.StatusOK, newList(some(all), limit, func(d seckill.Delivery) string { return d.Event }))
}

// eventID reports whether s can be the id of an event.
func eventID(s string) bool { return s != "" && len(s) <= 32 && seckill.Printable(s) }

// replay sends a receiver again what it had, or what had been given up for it, and starts
// one that was stopped.
func (a *API) replay(w http.ResponseWriter, r *request) error {
	var b struct {
		Event string    `json:"event"`
		From  time.Time `json:"from"`
		To    time.Time `json:"to"`
	}
	if err := decode(w, r.Request, &b, true); err != nil {
		return err
	}
	period := !b.From.IsZero() || !b.To.IsZero()
	switch {
	case b.Event != "" && !eventID(b.Event):
		return &seckill.FieldError{Field: "event", Must: "must be an event's id"}
	case b.Event != "" && period:
		return &seckill.FieldError{Field: "event", Must: "must stand alone"}
	case period && !b.From.Before(b.To):
		return &seckill.FieldError{Field: "to", Must: "must be after from"}
	}
	p := seckill.Replay{Receiver: r.PathValue("receiver"), Event: b.Event, From: b.From, To: b.To}
	n, err := a.Webhooks.Replay(r.Context(), p)
	if err != nil {
		return err
	}
	a.Log.Info("admin: replay of webhooks", "request_id", r.id, "by", r.who.Buyer, "from", a.client(r.Request), "receiver", p.Receiver, "event", b.Event, "events", n)
	return writeJSON(w, http.StatusOK, struct {
		Replayed int `json:"replayed"`
	}{n})
}
