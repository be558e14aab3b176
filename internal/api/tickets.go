package api

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill"
)

// askedAtOnce bounds the questions to the gate that one list of tickets asks at a time.
const askedAtOnce = 16

// held is a ticket in the caller's list: as the ticket's own route shows it, with its
// sale, its quantity and the time of its admission.
type held struct {
	Status   string         `json:"status"`
	Ticket   string         `json:"ticket"`
	Sale     seckill.SaleID `json:"sale"`
	Quantity int            `json:"quantity"`
	At       time.Time      `json:"at"`
	Position int64          `json:"position,omitempty"`
	Wait     int64          `json:"wait_ms,omitempty"`
	Order    string         `json:"order,omitempty"`
	Reason   seckill.Reason `json:"reason,omitempty"`
}

// listTickets shows the caller's tickets, newest first. Those with an outcome come
// from the store; the first page begins with those that still wait for one, of the
// sales that are open or were a short while ago.
func (a *API) listTickets(w http.ResponseWriter, r *request) error {
	limit, cursor, err := r.page()
	if err != nil {
		return err
	}
	if cursor != "" && !seckill.ValidTicketID(cursor) {
		return &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
	}
	var queued []held
	if cursor == "" {
		// Before the store: a ticket that gets its outcome in between is met twice
		// rather than not at all.
		if queued, err = a.queued(r); err != nil {
			return err
		}
	}
	settled, err := a.Store.Outcomes(r.Context(), r.who.Buyer, cursor, limit+1)
	if err != nil {
		return err
	}
	l := newList(settled, limit, func(o seckill.Outcome) string { return o.Ticket.ID })
	all := list[held]{Items: []held{}, Next: l.Next}
	for _, q := range queued {
		if !slices.ContainsFunc(settled, func(o seckill.Outcome) bool { return o.Ticket.ID == q.Ticket }) {
			all.Items = append(all.Items, q)
		}
	}
	for _, o := range l.Items {
		h := held{Ticket: o.Ticket.ID, Sale: o.Ticket.Sale, Quantity: o.Ticket.Quantity, At: seckill.TicketTime(o.Ticket.ID), Status: "placed", Order: o.Order()}
		if !o.Placed() {
			h.Status, h.Reason = "refused", o.Reason
		}
		all.Items = append(all.Items, h)
	}
	return writeList(w, r, all)
}

// queued asks the gate for the caller's tickets without an outcome.
func (a *API) queued(r *request) (all []held, err error) {
	sales, err := a.Sales.Lively(r.Context())
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(r.Context())
	g.SetLimit(askedAtOnce)
	for _, id := range sales {
		g.Go(func() error {
			p, err := a.Gate.Find(ctx, id, r.who.Buyer, "")
			if errors.Is(err, seckill.ErrNotFound) || err == nil && p.Final {
				return nil
			}
			if err != nil {
				return err
			}
			t := p.Ticket
			h := held{Status: "queued", Ticket: t.ID, Sale: id, Quantity: t.Quantity, At: seckill.TicketTime(t.ID), Position: p.Position}
			h.Wait = a.rates.wait(id, t.Seq, p.Position, time.Now()).Milliseconds()
			mu.Lock()
			defer mu.Unlock()
			all = append(all, h)
			return nil
		})
	}
	err = g.Wait()
	slices.SortFunc(all, func(a, b held) int { return cmp.Compare(b.Ticket, a.Ticket) })
	return all, err
}
