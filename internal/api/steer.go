package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"seckill"
	"seckill/internal/sale"
)

// shelf reads the name of one; published is the empty one.
func shelf(name string) (seckill.Shelf, error) {
	switch s := seckill.Shelf(name); s {
	case seckill.Draft, seckill.Unlisted, seckill.Published:
		return s, nil
	case "published":
		return seckill.Published, nil
	}
	return "", &seckill.FieldError{Field: "shelf", Must: "must be published, hidden or draft"}
}

// idempotencyKey is the key with which somebody asks for a new sale or a refund: a repeat with
// it is the same one.
func (r *request) idempotencyKey() (string, error) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		return "", nil
	}
	if len(key) > 64 || !seckill.Printable(key) {
		return "", &seckill.FieldError{Field: "Idempotency-Key", Must: "must be 1 to 64 printable characters"}
	}
	return key, nil
}

// copySale makes a draft of a sale: the same item, with the same times.
func (a *API) copySale(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	if err := decode(w, r.Request, &struct{}{}, true); err != nil {
		return err
	}
	from, err := a.Sales.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if from.Access.Unreadable { // the copy would ask for nothing
		return fmt.Errorf("what sale %s asks of its buyers cannot be read: set it anew, then copy: %w", id, seckill.ErrState)
	}
	made, err := a.Sales.Create(r.Context(), seckill.Sale{
		Title: from.Title, Description: from.Description, Image: from.Image, Price: from.Price, ListPrice: from.ListPrice, Currency: from.Currency,
		Total: max(1, from.Total), LimitPerBuyer: from.LimitPerBuyer, OpensAt: from.OpensAt, ClosesAt: from.ClosesAt, HoldSeconds: from.HoldSeconds,
		LatePayment: from.LatePayment, Access: from.Access, Shelf: seckill.Draft,
	})
	if err != nil {
		return err
	}
	a.changed(r, "copy", made, "from", id)
	w.Header().Set("Location", "/api/sales/"+made.ID.String())
	return a.receipt(w, r, http.StatusCreated, "copy", made, sale.Warnings(made, made.ServerNow)...)
}

// deleteSale shows a sale that nobody has bought to nobody any more.
func (a *API) deleteSale(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	if err := decode(w, r.Request, &struct{}{}, true); err != nil {
		return err
	}
	if only, err := r.previewing(); err != nil {
		return err
	} else if only {
		if err := a.Sales.TryDelete(r.Context(), id); err != nil {
			return err
		}
		return a.previewed(w, r, id)
	}
	gone, err := a.Sales.Delete(r.Context(), id)
	if err != nil {
		return err
	}
	a.changed(r, "delete", gone)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// notice tells the buyers of a sale something.
func (a *API) notice(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	var body struct {
		Text string `json:"text"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	if only, err := r.previewing(); err != nil {
		return err
	} else if only {
		return a.tried(w, r, id, sale.Noticing(body.Text))
	}
	return a.switched(w, r, id, "notice", func(s *sale.Sales, ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
		return s.Notice(ctx, id, body.Text)
	})
}

// extend closes a sale later.
func (a *API) extend(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	var body struct {
		ClosesAt time.Time `json:"closes_at"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	if only, err := r.previewing(); err != nil {
		return err
	} else if only {
		return a.tried(w, r, id, sale.Extending(body.ClosesAt))
	}
	return a.switched(w, r, id, "extend", func(s *sale.Sales, ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
		return s.Extend(ctx, id, body.ClosesAt)
	})
}

// holds gives the unpaid orders of a sale more time, after an outage. A repeat with the same
// id is the same extension; without one it gives as much again.
func (a *API) holds(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	var body struct {
		ID      *string `json:"id"`
		Seconds int64   `json:"seconds"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	if body.Seconds < 1 || body.Seconds > seckill.MaxHoldSeconds {
		return &seckill.FieldError{Field: "seconds", Must: "must be 1 to 86400"}
	}
	key := ""
	if body.ID != nil {
		if key = *body.ID; !seckill.ValidBuyer(key) || len(key) > 64 {
			return &seckill.FieldError{Field: "id", Must: "must be 1 to 64 printable characters"}
		}
	}
	if only, err := r.previewing(); err != nil {
		return err
	} else if only {
		return a.previewed(w, r, id, number{"seconds", body.Seconds})
	}
	v, err := a.Sales.Get(r.Context(), id)
	if err != nil {
		return err
	}
	n, err := a.Shop.ExtendHolds(r.Context(), id, key, time.Duration(body.Seconds)*time.Second)
	if err != nil {
		return err
	}
	a.changed(r, "holds", v, "extension", key, "orders", n, "seconds", body.Seconds)
	return writeJSON(w, http.StatusOK, map[string]any{"sale": id, "orders": n, "seconds": body.Seconds})
}
