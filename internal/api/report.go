package api

import (
	"bytes"
	"net/http"
	"time"

	"seckill"
)

// reportSteps is how many steps the chart of a report has at most.
const reportSteps = 600

// report is how a sale went, as one page that needs nothing else.
func (a *API) report(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	leave, err := a.rooms.audits.Enter(r.Context(), r.who.Buyer)
	if err != nil {
		return err
	}
	defer leave(0)
	c := &seckill.Course{}
	if c.Sale, err = a.Sales.Get(r.Context(), id); err != nil {
		return err
	}
	if c.After, err = a.Money.Aftermath(r.Context(), id); err != nil {
		return err
	}
	width := max(time.Second, c.Sale.ClosesAt.Sub(c.Sale.OpensAt)/reportSteps).Truncate(time.Second)
	if c.Steps, err = a.Shop.Steps(r.Context(), id, width); err != nil {
		return err
	}
	c.Balance = a.Live.Balances(r.Context())[id].Balance
	c.After = c.After.With(c.Balance)
	for _, s := range a.Live.Picture(r.Context()).Sales {
		if s.ID != id {
			continue
		}
		c.Verdicts = s.Verdicts
	}
	told, _ := a.Live.Hear(r.Context())
	c.Admission, c.Outcome = a.Live.Whole(told, id)
	c.Paces, c.Node, c.Nodes = a.Live.Paces(id), a.Live.Teller.Node.Name, max(1, len(told))
	var page bytes.Buffer
	if err := a.Report(&page, c, a.Live.Teller.Source.Now()); err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = []string{"text/html; charset=utf-8"}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Content-Disposition", `inline; filename="sale-`+id.String()+`.html"`)
	w.WriteHeader(http.StatusOK)
	_, _ = page.WriteTo(w)
	return nil
}
