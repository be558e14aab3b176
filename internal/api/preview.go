package api

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"seckill"
	"seckill/internal/live"
	"seckill/internal/sale"
)

// Shop is what the routes of the console ask of the store.
type Shop interface {
	Steps(ctx context.Context, id seckill.SaleID, width time.Duration) ([]seckill.Step, error)
	Account(ctx context.Context, name string) (seckill.Account, error)
	ExtendHolds(ctx context.Context, id seckill.SaleID, key string, more time.Duration) (orders int64, err error)
	Weigh(ctx context.Context, id seckill.SaleID, seq int64, outbox []seckill.Ticket) (seckill.Weights, error)
}

// What a change asks of the person before it is done. What can be undone asks nothing.
const (
	askNothing = "none"
	askConfirm = "confirm"
	askTitle   = "title" // the sale's title must be typed
)

// previews are the changes that can be looked at before they are done, with ?preview=1:
// whether they can be undone, and what they ask.
var previews = map[string]struct {
	undo bool
	ask  string
}{
	"sales.pause": {true, askNothing}, "sales.resume": {true, askNothing}, "sales.stock": {true, askNothing}, "sales.end": {false, askTitle},
	"sales.rebuild": {false, askConfirm}, "sales.publish": {true, askNothing}, "sales.hide": {true, askNothing}, "sales.delete": {false, askConfirm},
	"sales.notice": {true, askNothing}, "sales.extend": {true, askNothing}, "sales.holds": {false, askConfirm}, "sales.undo": {false, askTitle},
}

// preview says in numbers what a change would do.
type preview struct {
	Sale    seckill.SaleID `json:"sale"`
	What    string         `json:"what"`
	Numbers []number       `json:"numbers"`
	Undo    bool           `json:"undo"`
	Ask     string         `json:"ask"`
}

// number is one of them; a null value is not known.
type number struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

// edits are what the switches of a sale do to it. One that is not here has nothing that
// would refuse it.
var edits = map[string]sale.Edit{
	"pause": sale.Pausing, "resume": sale.Resuming, "hide": sale.Shelf(seckill.Unlisted), "publish": sale.Shelf(seckill.Published),
}

// previewing reports whether the request only wants to know what it would do. It is an
// error where nobody can say: then nothing may be done either.
func (r *request) previewing() (bool, error) {
	q := r.URL.Query()
	if !q.Has("preview") {
		return false, nil
	}
	if _, ok := previews[action(r.Method, r.Pattern)]; !ok || q.Get("preview") != "1" {
		return false, &seckill.FieldError{Field: "preview", Must: "must be 1, and is there for changes of a sale only"}
	}
	return true, nil
}

// previewed answers with what a change would do to a sale, beside the numbers that are
// its own.
func (a *API) previewed(w http.ResponseWriter, r *request, id seckill.SaleID, own ...number) error {
	v, err := a.Sales.Get(r.Context(), id)
	if err != nil {
		return err
	}
	s := a.stands(r.Context(), v)
	if action(r.Method, r.Pattern) == "sales.undo" {
		own = append(own, s.undone()...)
	}
	return writePreview(w, r, id, append(own, s.numbers()...))
}

// tried answers like previewed, unless the sale would not take the change.
func (a *API) tried(w http.ResponseWriter, r *request, id seckill.SaleID, edit sale.Edit) error {
	v, err := a.Sales.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if edit != nil {
		if err := edit.Try(v, v.ServerNow); err != nil {
			return err
		}
	}
	return a.previewed(w, r, id)
}

// triedMove says what a stock move would leave, unless it would be refused.
func (a *API) triedMove(w http.ResponseWriter, r *request, m seckill.Move) error {
	v, err := a.Sales.Get(r.Context(), m.Sale)
	if err != nil {
		return err
	}
	if err := cmp.Or(m.Validate(), m.Fits(v.Total)); err != nil {
		return err
	}
	s := a.stands(r.Context(), v)
	var left *int64
	if s.left != nil {
		after := *s.left + m.Delta
		if left = &after; m.Delta < 0 && after < 0 {
			return m.Refused()
		}
	}
	own := []number{{"delta", m.Delta}, {"total_after", v.Total + m.Delta}, {"left_after", left}}
	return writePreview(w, r, m.Sale, append(own, s.numbers()...))
}

func writePreview(w http.ResponseWriter, r *request, id seckill.SaleID, numbers []number) error {
	what := action(r.Method, r.Pattern)
	p := preview{Sale: id, What: what, Numbers: numbers, Undo: previews[what].undo, Ask: previews[what].ask}
	return writeJSON(w, http.StatusOK, map[string]preview{"preview": p})
}

// stands is where a sale stands: what a change of it meets. What is nil is not known.
type stands struct {
	total        int64
	left, queued *int64 // units at the gate, tickets without an outcome
	waiting      *int64 // for the opening, at all nodes
	unpaid, paid *int64 // orders
	held         int64  // by the paid orders, in minor units
	currency     string
}

func (a *API) stands(ctx context.Context, v seckill.Sale) stands {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s := stands{total: v.Total, currency: v.Currency}
	if v.State == seckill.StateScheduled {
		s.waiting = a.Live.Waiting(ctx, v.ID)
	}
	if states, err := a.Live.Teller.Source.States(ctx, []seckill.SaleID{v.ID}); err == nil {
		if g, ok := states[v.ID]; ok {
			left, queued := max(0, g.Left), max(0, g.Seq-g.Finished)
			s.left, s.queued = &left, &queued
		}
	}
	if w, err := a.Shop.Weigh(ctx, v.ID, 0, nil); err == nil {
		s.unpaid, s.paid = &w.UnpaidOrders, &w.PaidOrders
		for _, m := range w.Money {
			if m.Currency == s.currency {
				s.held = m.Held
			}
		}
	}
	return s
}

func (s *stands) numbers() []number {
	return []number{{"total", s.total}, {"left", s.left}, {"queued", s.queued}, {"waiting", s.waiting}, {"unpaid", s.unpaid}, {"paid", s.paid}}
}

// undone is what all steps of undoing a wrong price would do to the orders of now, and the
// money that would go back.
func (s *stands) undone() []number {
	back := number{"refunded_amount", nil}
	if s.paid != nil {
		back.Value = seckill.FormatMoney(s.held, s.currency)
	}
	return []number{{"cancelled", s.unpaid}, {"refunded", s.paid}, back}
}

// receiptTime is how long the answer of a change waits for the other nodes.
const receiptTime = 3 * time.Second

// changedSale is the answer of a change: the sale, and on how many nodes that is in force.
type changedSale struct {
	seckill.Sale
	Receipt  live.Receipt `json:"receipt"`
	Warnings []string     `json:"warnings,omitempty"`
	Codes    []string     `json:"warning_codes,omitempty"` // of the warnings, in their order
}

// receipt answers with a sale that was changed, and says on how many nodes it is in force.
func (a *API) receipt(w http.ResponseWriter, r *request, status int, what string, changed seckill.Sale, warnings ...sale.Warning) error {
	inForce := func(f live.Figures) bool {
		switch g := f.Gate; {
		case g == nil:
			return false
		case what == "pause" && g.Paused, what == "end" && g.Ended: // also where the store has not heard of it
			return true
		case what == "stock":
			return f.Total == changed.Total
		default:
			return g.Version >= changed.Version && f.Version >= changed.Version
		}
	}
	answer := changedSale{Sale: changed, Receipt: a.Live.InForce(r.Context(), receiptTime, changed.ID, inForce)}
	for _, warning := range warnings {
		answer.Warnings, answer.Codes = append(answer.Warnings, warning.Says), append(answer.Codes, warning.Code)
	}
	return writeJSON(w, status, answer)
}
