package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"seckill"
)

// NewSale is what a sale is created from. Times are sent in UTC.
type NewSale struct {
	Title         string              `json:"title"`
	Description   string              `json:"description,omitempty"`
	Image         string              `json:"image,omitempty"`
	Price         int64               `json:"price"` // minor units
	ListPrice     int64               `json:"list_price,omitempty"`
	Currency      string              `json:"currency"`
	Total         int64               `json:"total"` // units
	LimitPerBuyer int                 `json:"limit_per_buyer"`
	OpensAt       time.Time           `json:"opens_at"`
	ClosesAt      time.Time           `json:"closes_at"`
	HoldSeconds   int                 `json:"hold_seconds"`
	LatePayment   seckill.LatePayment `json:"late_payment,omitempty"`
	Shelf         seckill.Shelf       `json:"shelf,omitempty"`
	Notice        string              `json:"notice,omitempty"`
	seckill.Access

	// Key is sent as Idempotency-Key: asked again with the same one, it is the same sale.
	// Empty: none.
	Key string `json:"-"`
}

// Created is a new sale, and what is allowed in it and probably not meant.
type Created struct {
	seckill.Sale
	Warnings []string `json:"warnings"`
}

// Said is everything that an answer on the ticket route, or a problem
// document, can say.
type Said struct {
	Status      Word   `json:"status"`
	Ticket      string `json:"ticket"`
	Order       string `json:"order"`
	Reason      string `json:"reason"`
	Code        string `json:"code"`
	Detail      string `json:"detail"`
	PollAfterMS int    `json:"poll_after_ms"`
}

// Word is a string; anything else is no word. A ticket's "status" is a word, a
// problem document's is a number.
type Word string

// UnmarshalJSON leaves the word empty for what is not a string.
func (w *Word) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return nil
	}
	return json.Unmarshal(b, (*string)(w))
}

// SalePath is the path of a sale, TicketPath that of its tickets, AdminPath what an
// administrator may do with it, such as pause or audit.
func SalePath(id string) string        { return "/api/sales/" + url.PathEscape(id) }
func TicketPath(id string) string      { return SalePath(id) + "/ticket" }
func AdminPath(id, what string) string { return "/api/admin/sales/" + url.PathEscape(id) + "/" + what }

// CreateSale creates a sale. It is buyable on every node when this returns.
func (c *Client) CreateSale(ctx context.Context, n NewSale) (made Created, err error) {
	keyed := *c
	if n.Key != "" {
		keyed.Header = http.Header{"Idempotency-Key": {n.Key}}
	}
	err = keyed.Call(ctx, "POST", "/api/admin/sales", n, &made)
	return made, err
}

// Sales reads all pages of an administrator's list, newest first.
func (c *Client) Sales(ctx context.Context) ([]seckill.Sale, error) {
	all := []seckill.Sale{}
	for cursor := ""; ; {
		var page struct {
			Items []seckill.Sale
			Next  string
		}
		if err := c.Call(ctx, "GET", "/api/admin/sales?limit=100&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// ChangeSale does what an administrator may do with a sale: pause, resume, end, rebuild.
func (c *Client) ChangeSale(ctx context.Context, id, what string, body any) (sale seckill.Sale, err error) {
	err = c.Call(ctx, "POST", AdminPath(id, what), body, &sale)
	return sale, err
}

// Audit is the report on a sale.
func (c *Client) Audit(ctx context.Context, id string) (r seckill.Report, err error) {
	err = c.Call(ctx, "GET", AdminPath(id, "audit"), nil, &r)
	return r, err
}

// Buy asks for a ticket of a sale, for quantity units.
func (c *Client) Buy(ctx context.Context, id string, quantity int) (t Said, err error) {
	err = c.Call(ctx, "POST", TicketPath(id), struct {
		Quantity int `json:"quantity"`
	}{quantity}, &t)
	return t, err
}

// Outcome asks what became of the newest ticket in a sale, and waits for it up to wait.
func (c *Client) Outcome(ctx context.Context, id string, wait time.Duration) (t Said, err error) {
	path := TicketPath(id)
	if wait > 0 {
		path += "?wait=" + wait.String()
	}
	err = c.Call(ctx, "GET", path, nil, &t)
	return t, err
}
