package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"seckill"
	"seckill/internal/crash"
)

// maxWait is how long a request may wait for an outcome.
const maxWait = 30 * time.Second

// outcomeBound is the longest wait for the store, for what the gate does not know.
const outcomeBound = 2 * time.Second

// ticket shows the caller where their newest ticket in the sale stands, or the
// one they name; with wait it waits for the outcome first.
func (a *API) ticket(w http.ResponseWriter, r *request) error {
	sale, err := r.saleID()
	if err != nil {
		return err
	}
	ticket, wait := "", time.Duration(0)
	if r.URL.RawQuery != "" {
		q := r.URL.Query()
		if ticket = q.Get("ticket"); q.Has("ticket") && !seckill.ValidTicketID(ticket) {
			return seckill.ErrNotFound
		}
		if q.Has("wait") {
			if wait, err = time.ParseDuration(q.Get("wait")); err != nil || wait < 0 || wait > maxWait {
				return &seckill.FieldError{Field: "wait", Must: "must be a duration of at most 30s, such as 20s"}
			}
		}
	}
	p, err := a.find(r, sale, ticket)
	if err == nil && !p.Final && wait > 0 {
		p, err = a.await(r, p, wait)
	}
	if err != nil {
		return err
	}
	crash.Here("8-before-result", p.Final)
	b := make([]byte, 0, 160)
	b = append(b, `{"status":"`...)
	switch {
	case !p.Final:
		b = append(b, `queued","ticket":"`...)
		b = append(b, p.Ticket.ID...)
		b = append(b, `","position":`...)
		b = strconv.AppendInt(b, p.Position, 10)
		if wait := a.rates.wait(sale, p.Ticket.Seq, p.Position, time.Now()); wait > 0 {
			b = append(b, `,"wait_ms":`...)
			b = strconv.AppendInt(b, wait.Milliseconds(), 10)
		}
	case p.Placed():
		b = append(b, `placed","ticket":"`...)
		b = append(b, p.Ticket.ID...)
		b = append(b, `","order":"`...)
		b = append(b, p.Order()...)
		b = append(b, '"')
	default:
		b = append(b, `refused","ticket":"`...)
		b = append(b, p.Ticket.ID...)
		b = append(b, `","reason":`...)
		reason, _ := json.Marshal(p.Reason)
		b = append(b, reason...)
	}
	b = append(b, '}')
	w.Header()["Content-Type"] = jsonType
	w.Write(b)
	return nil
}

// find asks the gate, and the store for what the gate does not know.
func (a *API) find(r *request, sale seckill.SaleID, ticket string) (seckill.Progress, error) {
	p, err := a.Gate.Find(r.Context(), sale, r.who.Buyer, ticket)
	if err == nil || errors.Is(err, seckill.ErrNoTicket) {
		return p, err
	}
	if errors.Is(err, seckill.ErrUnavailable) {
		// Whether there is such a sale is remembered, and who asks at once shares a query: ids that
		// no sale has must not cost one for an outcome each.
		if unknown := a.unknownSale(r, sale, err); errors.Is(unknown, seckill.ErrNotFound) {
			return p, unknown
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), outcomeBound)
	defer cancel()
	o, serr := a.Store.Outcome(ctx, sale, r.who.Buyer, ticket)
	if serr == nil && ticket == "" && !errors.Is(err, seckill.ErrNotFound) {
		// The gate cannot tell, and may know of a newer ticket: only while this one's
		// order is active can there be none.
		order, oerr := a.Store.Order(ctx, o.Ticket.ID, r.who.Buyer)
		if oerr != nil || !order.State.Active() {
			return p, err
		}
	}
	switch {
	case serr == nil:
		return seckill.Progress{Outcome: o, Final: true}, nil
	case errors.Is(serr, seckill.ErrNotFound) && errors.Is(err, seckill.ErrNotFound):
		return p, seckill.ErrNotFound
	case errors.Is(serr, seckill.ErrNotFound):
		return p, err // the gate may know of a ticket that the store has not seen
	}
	return p, serr
}

// await waits for the outcome of p, until the time is up or the node stops.
func (a *API) await(r *request, p seckill.Progress, wait time.Duration) (seckill.Progress, error) {
	if a.rooms.waits.Enter() != nil {
		return p, nil // answer what is: the client asks again
	}
	defer a.rooms.waits.Leave()
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	defer context.AfterFunc(a.Stopping, cancel)()
	for {
		a.Gate.Wait(ctx, p.Ticket.Sale, r.who.Buyer, p.Ticket.ID)
		next, err := a.find(r, p.Ticket.Sale, p.Ticket.ID)
		if err != nil || next.Final || ctx.Err() != nil {
			return next, err
		}
	}
}
