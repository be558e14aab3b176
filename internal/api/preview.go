package api

import (
	"context"
	"net/http"
	"time"

	"seckill"
	"seckill/internal/live"
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
	sale, err := a.Sales.Get(r.Context(), id)
	if err != nil {
		return err
	}
	what := action(r.Method, r.Pattern)
	p := preview{Sale: id, What: what, Undo: previews[what].undo, Ask: previews[what].ask}
	p.Numbers = append(own, a.standing(r.Context(), sale)...)
	return writeJSON(w, http.StatusOK, map[string]preview{"preview": p})
}

// standing is where a sale stands: what a change of it meets.
func (a *API) standing(ctx context.Context, sale seckill.Sale) []number {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	n := []number{{"total", sale.Total}, {"left", nil}, {"queued", nil}, {"waiting", nil}, {"unpaid", nil}, {"paid", nil}}
	if sale.State == seckill.StateScheduled {
		n[3].Value, _ = a.watchers.waiting(sale.ID)
	}
	if states, err := a.Live.Teller.Source.States(ctx, []seckill.SaleID{sale.ID}); err == nil {
		if s, ok := states[sale.ID]; ok {
			n[1].Value, n[2].Value = max(0, s.Left), max(0, s.Seq-s.Finished)
		}
	}
	if w, err := a.Shop.Weigh(ctx, sale.ID, 0, nil); err == nil {
		n[4].Value, n[5].Value = w.Unpaid, w.Paid
	}
	return n
}

// receiptTime is how long the answer of a change waits for the other nodes.
const receiptTime = 3 * time.Second

// changedSale is the answer of a change: the sale, and on how many nodes that is in force.
type changedSale struct {
	seckill.Sale
	Receipt  live.Receipt `json:"receipt"`
	Warnings []string     `json:"warnings,omitempty"`
}

// receipt answers with a sale that was changed, and says on how many nodes it is in force.
func (a *API) receipt(w http.ResponseWriter, r *request, status int, what string, sale seckill.Sale, warnings ...string) error {
	inForce := func(f live.Figures) bool {
		switch g := f.Gate; {
		case g == nil:
			return false
		case what == "pause" && g.Paused, what == "end" && g.Ended: // also where the store has not heard of it
			return true
		case what == "stock":
			return f.Total == sale.Total
		default:
			return g.Version >= sale.Version && f.Version >= sale.Version
		}
	}
	return writeJSON(w, status, changedSale{sale, a.Live.InForce(r.Context(), receiptTime, sale.ID, inForce), warnings})
}
