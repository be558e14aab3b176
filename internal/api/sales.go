package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"seckill"
	"seckill/internal/live"
	"seckill/internal/sale"
)

// listSales is the buyers' list, by what matters to them.
func (a *API) listSales(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	sales, next, err := a.Sales.Sections(r.Context(), cursor, limit)
	if err != nil {
		return err
	}
	age(w, sales...)
	return writeList(w, r, list[seckill.Sale]{Items: sales, Next: next})
}

// listAllSales is the list of those who run the shop, newest first.
func (a *API) listAllSales(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	var before seckill.SaleID
	if cursor != "" {
		if before, err = seckill.ParseSaleID(cursor); err != nil {
			return &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
		}
	}
	sales, err := a.Sales.List(r.Context(), before, limit+1)
	if err != nil {
		return err
	}
	age(w, sales...)
	return writeList(w, r, newList(sales, limit, func(s seckill.Sale) string { return s.ID.String() }))
}

// age says how old a copy is that is shown while the store does not answer.
func age(w http.ResponseWriter, sales ...seckill.Sale) {
	if len(sales) > 0 && sales[0].AsOf != nil {
		w.Header().Set("Age", strconv.Itoa(int(time.Since(*sales[0].AsOf)/time.Second)))
	}
}

func (a *API) getSale(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	get := a.Sales.Public
	if r.who.Buyer != "" { // who runs the shop sees drafts too
		get = a.Sales.Get
	}
	sale, err := get(r.Context(), id)
	if err != nil {
		return err
	}
	if sale.State == seckill.StateScheduled && r.who.Buyer == "" { // not of who runs the shop
		sale.Waiting = a.Watchers.seen(id, a.watcher(r.Request), time.Now())
	}
	age(w, sale)
	return writeJSON(w, http.StatusOK, sale)
}

func (a *API) createSale(w http.ResponseWriter, r *request) error {
	var body struct {
		Title         string              `json:"title"`
		Description   string              `json:"description"`
		Image         string              `json:"image"`
		Price         *int64              `json:"price"`
		ListPrice     int64               `json:"list_price"`
		Currency      string              `json:"currency"`
		Total         int64               `json:"total"`
		LimitPerBuyer int                 `json:"limit_per_buyer"`
		OpensAt       time.Time           `json:"opens_at"`
		ClosesAt      time.Time           `json:"closes_at"`
		HoldSeconds   int                 `json:"hold_seconds"`
		LatePayment   seckill.LatePayment `json:"late_payment"`

		seckill.Access

		Shelf  string `json:"shelf"`
		Notice string `json:"notice"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	if body.Price == nil {
		return &seckill.FieldError{Field: "price", Must: "must be given, in minor units"}
	}
	on, err := shelf(body.Shelf)
	if err != nil {
		return err
	}
	key, err := r.idempotencyKey()
	if err != nil {
		return err
	}
	if err := a.Payments.Takes("price", *body.Price, body.Currency); err != nil {
		return err
	}
	made, err := a.Sales.Create(r.Context(), seckill.Sale{
		Shelf: on, Notice: body.Notice, Key: key,
		Title: body.Title, Description: body.Description, Image: body.Image, Price: *body.Price, ListPrice: body.ListPrice, Currency: body.Currency,
		Total: body.Total, LimitPerBuyer: body.LimitPerBuyer, OpensAt: body.OpensAt, ClosesAt: body.ClosesAt, HoldSeconds: body.HoldSeconds, LatePayment: body.LatePayment, Access: body.Access,
	})
	if err != nil {
		return err
	}
	a.changed(r, "create", made)
	w.Header().Set("Location", "/api/sales/"+made.ID.String())
	return a.receipt(w, r, http.StatusCreated, "create", made, sale.Warnings(made, made.ServerNow)...)
}

func (a *API) patchSale(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	var patch sale.Patch
	if err := decode(w, r.Request, &patch, false); err != nil {
		return err
	}
	if patch.Price != nil || patch.Currency != nil {
		v, err := a.Sales.Get(r.Context(), id)
		if err != nil {
			return err
		}
		orOther(patch.Price, &v.Price)
		orOther(patch.Currency, &v.Currency)
		if err := a.Payments.Takes("price", v.Price, v.Currency); err != nil {
			return err
		}
	}
	changed, err := a.Sales.Patch(r.Context(), id, patch)
	if err != nil {
		return err
	}
	a.changed(r, "patch", changed)
	return a.receipt(w, r, http.StatusOK, "patch", changed, sale.Warnings(changed, changed.ServerNow)...)
}

// orOther sets v to what is wished, if anything is.
func orOther[T any](wish, v *T) {
	if wish != nil {
		*v = *wish
	}
}

func (a *API) moveStock(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	var body struct {
		ID    string `json:"id"`
		Delta int64  `json:"delta"`
	}
	if err := decode(w, r.Request, &body, false); err != nil {
		return err
	}
	move := seckill.Move{Sale: id, ID: body.ID, Delta: body.Delta, By: r.who.Buyer}
	if only, err := r.previewing(); err != nil {
		return err
	} else if only {
		return a.triedMove(w, r, move)
	}
	sale, err := a.Sales.Stock(r.Context(), move)
	if err != nil {
		return err
	}
	a.changed(r, "stock", sale, "move", body.ID, "delta", body.Delta)
	return a.receipt(w, r, http.StatusOK, "stock", sale)
}

// change serves a switch of a sale.
func (a *API) change(name string, do func(*sale.Sales, context.Context, seckill.SaleID) (seckill.Sale, error)) func(http.ResponseWriter, *request) error {
	return func(w http.ResponseWriter, r *request) error {
		id, err := r.saleID()
		if err != nil {
			return err
		}
		if err := decode(w, r.Request, &struct{}{}, true); err != nil {
			return err
		}
		return a.switched(w, r, id, name, do)
	}
}

// switched does what a switch of a sale says, or tells what it would do.
func (a *API) switched(w http.ResponseWriter, r *request, id seckill.SaleID, name string, do func(*sale.Sales, context.Context, seckill.SaleID) (seckill.Sale, error)) error {
	if only, err := r.previewing(); err != nil {
		return err
	} else if only {
		return a.tried(w, r, id, edits[name])
	}
	sale, err := do(a.Sales, r.Context(), id)
	if err != nil {
		return err
	}
	a.changed(r, name, sale)
	return a.receipt(w, r, http.StatusOK, name, sale)
}

// end closes a sale for ever. A request that names a title must name this sale's.
func (a *API) end(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	var body struct {
		Title *string `json:"title"`
	}
	if err := decode(w, r.Request, &body, true); err != nil {
		return err
	}
	if err := a.checkTitle(r, id, body.Title); err != nil {
		return err
	}
	return a.switched(w, r, id, "end", (*sale.Sales).End)
}

// titleWait is how long an end waits for the store to check its title: as long as the stop
// itself would.
const titleWait = 3 * time.Second

// checkTitle is for what must not happen to another sale than the person means, who has
// typed its title; a program may leave it out.
func (a *API) checkTitle(r *request, id seckill.SaleID, title *string) error {
	if title == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), titleWait)
	defer cancel()
	v, err := a.Sales.Get(ctx, id)
	if errors.Is(err, seckill.ErrNotFound) {
		return err
	}
	if err != nil { // the store is away, or cannot read the sale's row
		return fmt.Errorf("%w: %w", errTitle, err)
	}
	if v.Title != *title {
		return &seckill.FieldError{Field: "title", Must: "must be the title of the sale"}
	}
	return nil
}

// changed is the log of what administrators did.
func (a *API) changed(r *request, what string, sale seckill.Sale, more ...any) {
	a.Tally.Add(sale.ID)
	a.Live.Teller.Mark(live.Mark{At: a.Live.Teller.Source.Now().UTC().Truncate(time.Millisecond), What: what, Who: r.who.Buyer, Sale: sale.ID})
	a.Log.Info("admin: "+what, append([]any{"request_id", r.id, "by", r.who.Buyer, "from", a.client(r.Request), "sale", sale.ID, "version", sale.Version}, more...)...)
}
