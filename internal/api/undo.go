package api

import (
	"errors"
	"net/http"

	"seckill"
	"seckill/internal/sale"
)

// Limits of a step that undoes a wrong price.
const (
	undoBatch  = 100
	undoMost   = 500    // orders in one request
	undoOutbox = 20_000 // tickets without an outcome, beyond which they are not counted
	undoWhy    = "the price was wrong"
)

// undo takes back a sale at a wrong price, in steps that can be stopped after each: pause
// it, cancel what is unpaid, refund what is paid, a batch in each request, again and again
// until there are no more. Orders that have ended meanwhile are passed over. Tickets that
// were admitted before the pause become orders at that price: while some wait for their
// outcome, or nobody knows, there may be more of both.
func (a *API) undo(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	var body struct {
		Step   string  `json:"step"`
		Batch  *int    `json:"batch"`
		Reason string  `json:"reason"`
		Title  *string `json:"title"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	batch := undoBatch
	if body.Batch != nil {
		batch = *body.Batch
	}
	if batch < 1 || batch > undoMost {
		return &seckill.FieldError{Field: "batch", Must: "must be 1 to 500 orders"}
	}
	if err := checkReason(body.Reason); err != nil {
		return err
	}
	if err := a.checkTitle(r, id, body.Title); err != nil {
		return err
	}
	if body.Reason == "" {
		body.Reason = undoWhy
	}
	end, state := a.Orders.CancelFor, seckill.Unpaid
	switch body.Step {
	case "pause":
		return a.switched(w, r, id, "pause", (*sale.Sales).Pause)
	case "cancel":
	case "refund":
		state = seckill.Paid
	default:
		return &seckill.FieldError{Field: "step", Must: "must be pause, cancel or refund"}
	}
	if only, err := r.previewing(); err != nil {
		return err
	} else if only {
		return a.previewed(w, r, id, number{"batch", batch})
	}
	v, err := a.Sales.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if v.State != seckill.StatePaused && v.State != seckill.StateEnded {
		return errors.Join(errors.New("pause the sale first: units that come back would be sold again at the same price"), seckill.ErrState)
	}
	pending := a.pending(r, id) // before the orders: what has its outcome by now is among them
	orders, err := a.Money.AllOrders(r.Context(), seckill.OrderFilter{Sale: id, State: state, Max: batch + 1})
	if err != nil {
		return err
	}
	more, done := len(orders) > batch || pending == nil || *pending > 0, 0
	for _, o := range orders[:min(len(orders), batch)] {
		if state == seckill.Paid {
			_, err = a.Orders.Refund(r.Context(), seckill.RefundRequest{Order: o.ID, Restock: true, Reason: body.Reason, By: r.who.Buyer})
		} else {
			_, err = end(r.Context(), o.ID, r.who.Buyer, body.Reason)
		}
		if errors.Is(err, seckill.ErrState) {
			continue // it has ended in another way, or was paid
		}
		if err != nil {
			return err // what was done is done; a repeat goes on
		}
		done++
	}
	if state == seckill.Paid {
		a.Payments.RefundIsDue()
	}
	a.changed(r, "undo "+body.Step, v, "orders", done)
	return writeJSON(w, http.StatusOK, struct {
		Step    string `json:"step"`
		Done    int    `json:"done"`
		More    bool   `json:"more"`
		Pending *int   `json:"pending"`
	}{body.Step, done, more, pending})
}

// pending is how many tickets of a sale wait for their outcome; nil: nobody knows.
func (a *API) pending(r *request, id seckill.SaleID) *int {
	cut, err := a.Gate.Glance(r.Context(), id, undoOutbox)
	if err != nil || cut.Partial {
		return nil
	}
	n := len(cut.Outbox)
	return &n
}
