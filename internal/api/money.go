package api

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"seckill"
	"seckill/internal/payment"
)

// maxCallback is the largest callback of a payment provider, in bytes.
const maxCallback = 256 << 10

// Money is what administrators read of orders and payments.
type Money interface {
	AllOrders(ctx context.Context, f seckill.OrderFilter) ([]seckill.Order, error)
	AnyOrder(ctx context.Context, id string) (seckill.Order, error)
	Payments(ctx context.Context, f seckill.PaymentFilter) ([]seckill.Payment, error)
	RefundsOf(ctx context.Context, order string) ([]seckill.Refund, error)
	Refunds(ctx context.Context, f seckill.RefundFilter) ([]seckill.Refund, error)
	// RefundDone MUST change nothing the second time.
	RefundDone(ctx context.Context, id, by, reason string) (seckill.Refund, error)
	History(ctx context.Context, order string, max int) ([]seckill.Entry, error)
	SaleHistory(ctx context.Context, sale seckill.SaleID, before int64, max int) ([]seckill.Entry, error)
	Aftermath(ctx context.Context, sale seckill.SaleID) (seckill.Aftermath, error)
}

// paying is an order that is being paid, as it is answered.
type paying struct {
	seckill.Order
	Payment *seckill.Checkout `json:"payment,omitempty"`
}

// pay starts the payment of an order, or makes it paid where the provider is "test".
func (a *API) pay(w http.ResponseWriter, r *request) error {
	id, err := r.orderID()
	if err != nil {
		return err
	}
	if err := decode(w, r.Request, &struct{}{}, true); err != nil {
		return err
	}
	o, c, err := a.Payments.Pay(r.Context(), id, r.who.Buyer)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, paying{a.shown(o), c})
}

// callbacks begins the paths of payment providers.
const callbacks = "/api/payments/"

// isCallback reports whether a path is that of a payment provider.
func isCallback(path string) bool { return strings.HasPrefix(path, callbacks) }

// isKnownCallback reports whether a request is one that a provider of this shop may send.
func (a *API) isKnownCallback(r *http.Request) bool {
	provider, ok := strings.CutPrefix(r.URL.Path, callbacks)
	return ok && r.Method == http.MethodPost && a.Payments.Knows(provider)
}

// callback takes what a payment provider tells.
func (a *API) callback(w http.ResponseWriter, r *request) error {
	if !a.Payments.Knows(r.PathValue("provider")) {
		return seckill.ErrNotFound // before the rest of its body, which nobody has read early
	}
	if r.Header.Get("Content-Encoding") != "" {
		return errMediaType
	}
	if r.ContentLength > maxCallback {
		return errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallback))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return errTooLarge
		}
		return fmt.Errorf("%w: the body ends early", errBadJSON)
	}
	if err := a.Payments.Callback(r.Context(), r.PathValue("provider"), r.Header, body); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Received bool `json:"received"`
	}{true})
}

// refundBody is what an administrator may say about a refund. Nothing means all.
type refundBody struct {
	ID      string `json:"id"`
	Amount  *int64 `json:"amount"`
	Units   *int   `json:"units"`
	Restock *bool  `json:"restock"`
	Reason  string `json:"reason"`
	Payment string `json:"payment"`
}

func (b *refundBody) check() error {
	switch {
	case len(b.ID) > 64 || b.ID != "" && !seckill.ValidBuyer(b.ID):
		return &seckill.FieldError{Field: "id", Must: "must be 1 to 64 printable characters"}
	case b.Amount != nil && (*b.Amount < 0 || *b.Amount > seckill.MaxPrice*seckill.MaxQuantity):
		return &seckill.FieldError{Field: "amount", Must: fmt.Sprintf("must be 0 to %d minor units", seckill.MaxPrice*seckill.MaxQuantity)}
	case b.Units != nil && (*b.Units < 0 || *b.Units > seckill.MaxQuantity):
		return &seckill.FieldError{Field: "units", Must: fmt.Sprintf("must be 0 to %d", seckill.MaxQuantity)}
	case b.Payment != "" && (b.Amount != nil || b.Units != nil || b.Restock != nil):
		return &seckill.FieldError{Field: "payment", Must: "must stand alone, with a reason: a payment that was put aside goes back whole"}
	case len(b.Payment) > seckill.MaxReference:
		return &seckill.FieldError{Field: "payment", Must: fmt.Sprintf("must be at most %d bytes", seckill.MaxReference)}
	}
	return checkReason(b.Reason)
}

func checkReason(s string) error {
	if utf8.RuneCountInString(s) > seckill.MaxReason || s != "" && !seckill.Printable(s) {
		return &seckill.FieldError{Field: "reason", Must: fmt.Sprintf("must be at most %d printable characters", seckill.MaxReason)}
	}
	return nil
}

// refund gives a paid order back, whoever's it is, or a part of it.
func (a *API) refund(w http.ResponseWriter, r *request) error {
	id := r.PathValue("order")
	var b refundBody
	if err := decode(w, r.Request, &b, true); err != nil {
		return err
	}
	// A payment that was put aside names whatever its message named as the order.
	if !seckill.ValidTicketID(id) && (b.Payment == "" || len(id) > seckill.MaxReference || !seckill.Printable(id)) {
		return seckill.ErrNotFound
	}
	key, err := r.idempotencyKey()
	if err != nil {
		return err
	}
	if key != "" && b.ID != "" && key != b.ID {
		return &seckill.FieldError{Field: "id", Must: "must be the Idempotency-Key where there are both"}
	}
	b.ID = cmp.Or(b.ID, key)
	if err := b.check(); err != nil {
		return err
	}
	if b.Amount != nil {
		if o, err := a.Money.AnyOrder(r.Context(), id); err != nil {
			return err
		} else if err := a.Payments.Takes("amount", *b.Amount, o.Currency); err != nil {
			return err
		}
	}
	f := seckill.RefundRequest{ID: b.ID, Order: id, Amount: b.Amount, Units: b.Units, Restock: b.Restock == nil || *b.Restock, Reason: b.Reason, By: r.who.Buyer, Payment: b.Payment}
	o, err := a.Orders.Refund(r.Context(), f)
	if err != nil {
		return err
	}
	a.Payments.RefundIsDue()
	a.Log.Info("admin: refund", "request_id", r.id, "by", r.who.Buyer, "from", a.client(r.Request), "order", id, "reason", b.Reason)
	if o.ID == "" {
		return writeJSON(w, http.StatusOK, unknownOrder{Payment: b.Payment, State: seckill.PaymentReturned})
	}
	a.Sales.Forget(o.Sale) // its total may be another
	return writeJSON(w, http.StatusOK, a.shown(o))
}

// unknownOrder answers a refund of money for an order that is not known.
type unknownOrder struct {
	Payment string               `json:"payment"`
	State   seckill.PaymentState `json:"payment_state"`
}

// cancelFor ends somebody's unpaid order.
func (a *API) cancelFor(w http.ResponseWriter, r *request) error {
	id, err := r.orderID()
	if err != nil {
		return err
	}
	var b struct {
		Reason string `json:"reason"`
	}
	if err := decode(w, r.Request, &b, true); err != nil {
		return err
	}
	if err := checkReason(b.Reason); err != nil {
		return err
	}
	o, err := a.Orders.CancelFor(r.Context(), id, r.who.Buyer, b.Reason)
	if err != nil {
		return err
	}
	a.Log.Info("admin: cancel", "request_id", r.id, "by", r.who.Buyer, "from", a.client(r.Request), "order", id, "reason", b.Reason)
	return writeJSON(w, http.StatusOK, a.shown(o))
}

// anyOrder is an order as an administrator sees it.
type anyOrder struct {
	seckill.Order
	Buyer string `json:"buyer"`
}

// wholeOrder is everything about one order.
type wholeOrder struct {
	anyOrder
	Payments []seckill.Payment `json:"payments"`
	Refunds  []seckill.Refund  `json:"refunds"`
	History  []seckill.Entry   `json:"history"`
}

// listAllOrders shows everybody's orders, newest first.
func (a *API) listAllOrders(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	q := r.URL.Query()
	f := seckill.OrderFilter{Buyer: q.Get("buyer"), State: seckill.OrderState(q.Get("state")), Payment: q.Get("payment"), Before: cursor, Max: limit + 1}
	switch f.State {
	case "", seckill.Unpaid, seckill.Paid, seckill.Cancelled, seckill.Expired, seckill.Refunded:
	default:
		return &seckill.FieldError{Field: "state", Must: "must be unpaid, paid, cancelled, expired or refunded"}
	}
	if s := q.Get("sale"); s != "" {
		if f.Sale, err = seckill.ParseSaleID(s); err != nil {
			return &seckill.FieldError{Field: "sale", Must: "must be a sale's id"}
		}
	}
	switch {
	case cursor != "" && !seckill.ValidTicketID(cursor):
		return &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
	case f.Buyer != "" && !seckill.ValidBuyer(f.Buyer):
		return &seckill.FieldError{Field: "buyer", Must: "must be a buyer's id"}
	case len(f.Payment) > seckill.MaxReference:
		return &seckill.FieldError{Field: "payment", Must: "must be a provider's reference"}
	}
	if q.Has("q") {
		if err := a.searched(r, q.Get("q"), &f); err != nil {
			return err
		}
	}
	if wantsCSV(r.Request) {
		return a.ordersCSV(w, r, f)
	}
	orders, err := a.Money.AllOrders(r.Context(), f)
	if err != nil {
		return err
	}
	shown := make([]anyOrder, len(orders))
	for i, o := range orders {
		shown[i] = anyOrder{a.shown(o), o.Buyer}
	}
	return writeJSON(w, http.StatusOK, newList(shown, limit, func(o anyOrder) string { return o.ID }))
}

// historyMost is the most entries of an order's history that are shown.
const historyMost = 1000

// getAnyOrder shows everything about one order.
func (a *API) getAnyOrder(w http.ResponseWriter, r *request) error {
	id, err := r.orderID()
	if err != nil {
		return err
	}
	o, err := a.Money.AnyOrder(r.Context(), id)
	if err != nil {
		return err
	}
	v := wholeOrder{anyOrder: anyOrder{a.shown(o), o.Buyer}}
	if v.Payments, err = a.Money.Payments(r.Context(), seckill.PaymentFilter{Order: id, Max: historyMost}); err != nil {
		return err
	}
	if v.Refunds, err = a.Money.RefundsOf(r.Context(), id); err != nil {
		return err
	}
	if v.History, err = a.Money.History(r.Context(), id, historyMost); err != nil {
		return err
	}
	// The placing is the ticket's own row.
	placed := seckill.Entry{At: o.CreatedAt, Order: o.ID, Sale: o.Sale, What: "order.placed", Units: int64(o.Quantity), Amount: o.Amount, Currency: o.Currency, Who: o.Buyer}
	v.History = append([]seckill.Entry{placed}, v.History...)
	v.Payments, v.Refunds = some(v.Payments), some(v.Refunds)
	return writeJSON(w, http.StatusOK, v)
}

// saleLedger shows what changed a sale as a whole, newest first.
func (a *API) saleLedger(w http.ResponseWriter, r *request) error {
	id, err := r.saleID()
	if err != nil {
		return err
	}
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	before := int64(math.MaxInt64)
	if cursor != "" {
		if before, err = strconv.ParseInt(cursor, 10, 64); err != nil || before < 1 {
			return &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
		}
	}
	all, err := a.Money.SaleHistory(r.Context(), id, before, limit+1)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, newList(all, limit, func(e seckill.Entry) string { return strconv.FormatInt(e.ID, 10) }))
}

// some makes nothing an empty list in JSON.
func some[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// listPayments shows what providers took, newest first.
func (a *API) listPayments(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	q := r.URL.Query()
	f := seckill.PaymentFilter{Order: q.Get("order"), State: seckill.PaymentState(q.Get("state")), Provider: q.Get("provider"), Max: limit + 1}
	switch f.State {
	case "", seckill.PaymentKept, seckill.PaymentLate, seckill.PaymentReturned, seckill.PaymentAside:
	default:
		return &seckill.FieldError{Field: "state", Must: "must be kept, late, returned or aside"}
	}
	if len(f.Order) > seckill.MaxReference || len(f.Provider) > 16 {
		return &seckill.FieldError{Field: "order", Must: "must be an order's id"}
	}
	if cursor != "" {
		ms, reference, ok := strings.Cut(cursor, "_")
		n, err := strconv.ParseInt(ms, 10, 64)
		if !ok || err != nil || reference == "" || len(reference) > seckill.MaxReference {
			return &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
		}
		f.Before = seckill.PaymentCursor{SeenAt: time.UnixMilli(n), Reference: reference}
	}
	all, err := a.Money.Payments(r.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, newList(all, limit, func(p seckill.Payment) string { return fmt.Sprintf("%d_%s", p.SeenAt.UnixMilli(), p.Reference) }))
}

// period reads from, to and zone: days of the zone, to included, or moments.
func (r *request) period() (from, to time.Time, zone *time.Location, err error) {
	q := r.URL.Query()
	if zone, err = time.LoadLocation(q.Get("zone")); err != nil || q.Get("zone") == "Local" {
		return from, to, nil, &seckill.FieldError{Field: "zone", Must: "must be a time zone such as Asia/Shanghai"}
	}
	read := func(name string, last bool) time.Time {
		if day, e := time.Parse(time.DateOnly, q.Get(name)); e == nil {
			if last {
				day = day.AddDate(0, 0, 1)
			}
			return beginning(day, zone)
		}
		t, e := time.Parse(time.RFC3339, q.Get(name))
		if e != nil && err == nil {
			err = &seckill.FieldError{Field: name, Must: "must be a day such as 2026-11-11, or RFC 3339"}
		}
		return t
	}
	from, to = read("from", false), read("to", true)
	if err == nil && (!from.Before(to) || to.Sub(from) > payment.BooksMost) {
		err = &seckill.FieldError{Field: "to", Must: "must be after from, and at most 366 days"}
	}
	return from, to, zone, err
}

// beginning is when a day begins in a zone. Where the clocks go forward at midnight the day has
// none, and time.Date may return a moment of the day before.
func beginning(day time.Time, zone *time.Location) time.Time {
	t := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	if t.Day() != day.Day() {
		_, t = t.ZoneBounds()
	}
	return t
}

// books shows payments and refunds by their own dates.
func (a *API) books(w http.ResponseWriter, r *request) error {
	from, to, zone, err := r.period()
	if err != nil {
		return err
	}
	b, err := a.Payments.Books(r.Context(), from, to, zone)
	if err != nil {
		return err
	}
	switch r.URL.Query().Get("format") {
	case "", "json":
		return writeJSON(w, http.StatusOK, b)
	case "csv":
	default:
		return &seckill.FieldError{Field: "format", Must: "must be json or csv"}
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h["Cache-Control"] = noStore
	c := csv.NewWriter(w)
	for _, row := range b.CSV() {
		if err := c.Write(row); err != nil {
			return nil // the client is gone
		}
	}
	c.Flush()
	return nil
}

// differences compares the provider's statement with the books.
func (a *API) differences(w http.ResponseWriter, r *request) error {
	from, to, _, err := r.period()
	if err != nil {
		return err
	}
	d, err := a.Payments.Differences(r.Context(), from, to)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list[payment.Difference]{Items: some(d)})
}
