package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"seckill"
)

// listRefunds shows what goes back, newest first; with state=due what the provider has not
// confirmed.
func (a *API) listRefunds(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	q := r.URL.Query()
	f := seckill.RefundFilter{State: seckill.RefundState(q.Get("state")), Provider: q.Get("provider"), Max: limit + 1}
	switch f.State {
	case "", seckill.RefundDue, seckill.RefundDone, seckill.RefundEarly:
	default:
		return &seckill.FieldError{Field: "state", Must: "must be due, done or early"}
	}
	if len(f.Provider) > 16 {
		return &seckill.FieldError{Field: "provider", Must: "must be test, shop or stripe"}
	}
	if cursor != "" {
		ms, id, ok := strings.Cut(cursor, "_")
		n, err := strconv.ParseInt(ms, 10, 64)
		if !ok || err != nil || !validRefundID(id) {
			return &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
		}
		f.Before = seckill.RefundCursor{MadeAt: time.UnixMilli(n), ID: id}
	}
	all, err := a.Money.Refunds(r.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, newList(all, limit, func(f seckill.Refund) string { return fmt.Sprintf("%d_%s", f.MadeAt.UnixMilli(), f.ID) }))
}

// validRefundID reports whether s can be the id of a refund: ours, an administrator's, or, of one
// that was told without its payment, its event.
func validRefundID(s string) bool {
	return s != "" && len(s) <= seckill.MaxReference && seckill.Printable(s)
}

// refundDone notes that somebody gave a refund back by another way than the provider.
func (a *API) refundDone(w http.ResponseWriter, r *request) error {
	id := r.PathValue("refund")
	var b struct {
		Reason string `json:"reason"`
	}
	if err := decode(w, r.Request, &b, false); err != nil {
		return err
	}
	if !validRefundID(id) {
		return seckill.ErrNotFound
	}
	if err := checkReason(b.Reason); err != nil {
		return err
	}
	if b.Reason == "" {
		return &seckill.FieldError{Field: "reason", Must: "must say how the money was given back"}
	}
	f, err := a.Money.RefundDone(r.Context(), id, r.who.Buyer, b.Reason)
	if err != nil {
		return err
	}
	a.Log.Info("admin: refund by hand", "request_id", r.id, "by", r.who.Buyer, "from", a.client(r.Request), "refund", id, "order", f.Order, "reason", b.Reason)
	return writeJSON(w, http.StatusOK, f)
}
