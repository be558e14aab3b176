package api

import (
	"context"
	"encoding/csv"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"seckill"
)

// Limits of orders as CSV.
const (
	csvPage = 1000
	csvMost = 100_000 // orders; the last line says when there are more
)

// searched makes what somebody has typed into the one search field the filter of a list:
// an order's id in any case, or a buyer by id or by the name of the account.
func (a *API) searched(r *request, q string, f *seckill.OrderFilter) error {
	if !seckill.HasRole(r.who.Role, seckill.RoleSupport) {
		return needsRole(seckill.RoleSupport)
	}
	q = strings.TrimSpace(q)
	if id := strings.ToUpper(q); seckill.ValidTicketID(id) {
		f.Order = id
		return nil
	}
	if len(q) > 256 {
		return &seckill.FieldError{Field: "q", Must: "must be an order's id, or a buyer"}
	}
	switch account, err := a.Shop.Account(r.Context(), q); {
	case err == nil:
		f.Buyer = account.Buyer
	case !errors.Is(err, seckill.ErrNotFound):
		return err
	case seckill.ValidBuyer(q):
		f.Buyer = q
	default:
		return &seckill.FieldError{Field: "q", Must: "must be an order's id, or a buyer"}
	}
	return nil
}

// wantsCSV reports whether the caller asks for CSV instead of JSON.
func wantsCSV(r *http.Request) bool {
	return strings.HasPrefix(strings.TrimSpace(r.Header.Get("Accept")), "text/csv")
}

// ordersCSV writes orders as CSV, page by page, so that nobody holds all of them. The time
// that an audit may take is that of a page, which may wait for one: a large sale has many pages. Who
// reads too slowly or goes is noticed at the next write.
func (a *API) ordersCSV(w http.ResponseWriter, r *request, f seckill.OrderFilter) error {
	if !seckill.HasRole(r.who.Role, seckill.RoleSupport) {
		return needsRole(seckill.RoleSupport)
	}
	f.Max = csvPage
	page := func() ([]seckill.Order, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), heavyBound)
		defer cancel()
		defer context.AfterFunc(a.Stopping, cancel)()
		return a.Money.AllOrders(ctx, f)
	}
	orders, err := page()
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = []string{"text/csv; charset=utf-8"}
	w.Header().Set("Content-Disposition", `attachment; filename="orders.csv"`)
	w.WriteHeader(http.StatusOK)
	deadline := http.NewResponseController(w)
	out := csv.NewWriter(w)
	_ = out.Write([]string{"order", "sale", "title", "buyer", "quantity", "amount", "currency", "state", "created_at", "expires_at", "refunded_amount", "returned_units", "amount_decimal", "refunded_decimal"})
	for written := 0; len(orders) > 0; {
		_ = deadline.SetWriteDeadline(time.Now().Add(streamWrite))
		for _, o := range orders {
			_ = out.Write([]string{o.ID, o.Sale.String(), plain(o.Title), plain(o.Buyer), strconv.Itoa(o.Quantity), strconv.FormatInt(o.Amount, 10), o.Currency, string(o.State),
				o.CreatedAt.UTC().Format(time.RFC3339), o.ExpiresAt.UTC().Format(time.RFC3339), strconv.FormatInt(o.RefundedAmount, 10), strconv.Itoa(o.ReturnedUnits),
				seckill.FormatDecimal(o.Amount, o.Currency), seckill.FormatDecimal(o.RefundedAmount, o.Currency)})
		}
		written += len(orders)
		if out.Flush(); out.Error() != nil || len(orders) < csvPage {
			break
		}
		if written >= csvMost {
			_ = out.Write([]string{"there are more: ask for one sale, or one state"})
			break
		}
		f.Before = orders[len(orders)-1].ID
		if orders, err = page(); err != nil {
			// The status has been sent: a half file must not look like a whole one.
			panic(http.ErrAbortHandler)
		}
	}
	out.Flush()
	return nil
}

// plain keeps a text that a spreadsheet would take for a formula a text.
func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
