package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/crash"
)

// buy is the row of the route table. Requests on the exact path come by
// ServeHTTP, which has looked at the over flag; only ids that name no sale end
// up here.
func (a *API) buy(w http.ResponseWriter, r *request) error { return seckill.ErrNotFound }

// buySale asks the gate for units of the sale. reached is set once the gate has
// been asked.
func (a *API) buySale(w http.ResponseWriter, r *request, sale seckill.SaleID, reached *bool) error {
	if err := a.Access.Request(r.who.Buyer); err != nil {
		return err
	}
	// A price is not among the fields: the client has no say in it.
	var body struct {
		Quantity *int   `json:"quantity"`
		Pass     string `json:"pass"`
	}
	if err := decode(w, r.Request, &body, true); err != nil {
		return err
	}
	quantity := 1
	if body.Quantity != nil {
		quantity = *body.Quantity
	}
	if quantity < 1 || quantity > seckill.MaxQuantity {
		return &seckill.FieldError{Field: "quantity", Must: "must be at least 1 and within the sale's limit"}
	}
	if err := a.admitted(r, sale, body.Pass); errors.Is(err, access.ErrPaused) {
		a.metrics.verdicts[seckill.Paused].Inc()
		verdictAnswers[seckill.Paused].write(w)
		return nil
	} else if err != nil {
		return a.unknownSale(r, sale, err)
	}
	*reached = true
	began := time.Now()
	answer, err := a.Gate.Reserve(r.Context(), sale, r.who.Buyer, quantity)
	if err != nil {
		return a.unknownSale(r, sale, err)
	}
	a.metrics.verdicts[answer.Verdict].Inc()
	a.Tally.Answered(sale, answer.Verdict)
	if answer.Verdict != seckill.Queued {
		verdictAnswers[answer.Verdict].write(w)
		return nil
	}
	a.Tally.Admitted(sale, time.Since(began))
	crash.Here("3-before-answer", true)
	b := make([]byte, 0, 96)
	b = append(b, `{"status":"queued","ticket":"`...)
	b = append(b, answer.Ticket...)
	b = append(b, `","poll_after_ms":`...)
	b = append(b, a.pollAfter...)
	b = append(b, '}')
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(http.StatusAccepted)
	w.Write(b)
	return nil
}

// unknownSale turns "the gate has no state of it", or this node no rules, into not found when the store
// says that there is no such sale.
func (a *API) unknownSale(r *request, sale seckill.SaleID, err error) error {
	if !errors.Is(err, seckill.ErrUnavailable) {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), unknownWait)
	defer cancel()
	if a.Sales.Missing(ctx, sale) {
		return seckill.ErrNotFound
	}
	return err
}

// buyRoute reads the sale's id from the path of the buy route. Anything that is
// not exactly that path is the business of the mux.
func buyRoute(path string) (seckill.SaleID, bool) {
	id, ok := strings.CutPrefix(path, "/api/sales/")
	if !ok {
		return 0, false
	}
	if id, ok = strings.CutSuffix(id, "/ticket"); !ok {
		return 0, false
	}
	sale, err := seckill.ParseSaleID(id)
	return sale, err == nil
}
