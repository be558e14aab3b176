package api

import (
	"context"
	"net/http"
	"time"

	"seckill"
)

func (a *API) listOrders(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	if cursor != "" && !seckill.ValidTicketID(cursor) {
		return &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
	}
	orders, err := a.Store.Orders(r.Context(), r.who.Buyer, cursor, limit+1)
	if err != nil {
		return err
	}
	for i := range orders {
		orders[i] = a.shown(orders[i])
	}
	return writeList(w, r, newList(orders, limit, func(o seckill.Order) string { return o.ID }))
}

func (a *API) getOrder(w http.ResponseWriter, r *request) error {
	id, err := r.orderID()
	if err != nil {
		return err
	}
	o, err := a.Store.Order(r.Context(), id, r.who.Buyer)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a.shown(o))
}

// shown is an order as it is answered: with the clock that decides how long it can
// be paid.
func (a *API) shown(o seckill.Order) seckill.Order {
	o.ServerNow = a.Store.Now().UTC().Truncate(time.Millisecond)
	return o
}

func (a *API) cancel(w http.ResponseWriter, r *request) error {
	return a.turn(w, r, func(ctx context.Context, id, buyer string) (seckill.Order, error) {
		o, err := a.Orders.Cancel(ctx, id, buyer)
		if err == nil {
			a.Access.Tried(ctx, o.Sale, buyer)
		}
		return o, err
	})
}

// turn changes the state of an order.
func (a *API) turn(w http.ResponseWriter, r *request, do func(ctx context.Context, id, buyer string) (seckill.Order, error)) error {
	id, err := r.orderID()
	if err != nil {
		return err
	}
	if err := decode(w, r.Request, &struct{}{}, true); err != nil {
		return err
	}
	o, err := do(r.Context(), id, r.who.Buyer)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a.shown(o))
}
