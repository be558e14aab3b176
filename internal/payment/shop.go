package payment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"seckill"
)

// errNoStatement says that a provider gives none.
var errNoStatement = errors.New("this payment provider gives no statement")

// Shop is the provider of a shop that has a payment system of its own: its server
// says what was paid, in messages signed by Standard Webhooks.
type Shop struct {
	Pay        string // where buyers pay: {order}, {payment}, {amount} and {currency} are filled in
	Refunds    string // where refunds are asked for with POST; empty: the shop looks at the list of refunds
	Statements string // where GET gives what was moved; empty: nowhere

	hook   *webhooks.Webhook
	signer Signers
	client *http.Client
}

const (
	shopTime   = 10 * time.Second // for one call to the shop
	shopAnswer = 64 << 20         // bytes of a statement
	minSecret  = 16               // bytes of the shop's secret
)

// NewShop returns the provider "shop". secret is whsec_ and at least 16 bytes in
// base64, as Standard Webhooks has it. What the shop is sent is signed with the secrets of
// former shops too.
func NewShop(secret, pay, refunds, statement string, former ...*Shop) (*Shop, error) {
	hook, err := newHook(secret)
	if err != nil {
		return nil, err
	}
	for name, at := range map[string]string{"payment.url": pay, "payment.refund_url": refunds, "payment.statement_url": statement} {
		if u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(at)); at != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("%s must be an http:// or https:// address", name)
		}
	}
	signers := Signers{[]*webhooks.Webhook{hook}}
	for _, f := range former {
		signers.hooks = append(signers.hooks, f.hook)
	}
	return &Shop{Pay: pay, Refunds: refunds, Statements: statement, hook: hook, signer: signers,
		// A redirect is not followed: what is signed is for this address.
		client: &http.Client{Timeout: shopTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// newHook reads a secret of Standard Webhooks.
func newHook(secret string) (*webhooks.Webhook, error) {
	hook, err := webhooks.NewWebhook(secret)
	if err != nil || len(strings.TrimPrefix(secret, "whsec_")) < (minSecret*8+5)/6 {
		return nil, fmt.Errorf("the secret must be whsec_ and at least %d random bytes in base64, such as the output of: echo whsec_$(openssl rand -base64 32)", minSecret)
	}
	return hook, nil
}

// Signers sign with each of several secrets: a receiver knows one of them while they change.
type Signers struct{ hooks []*webhooks.Webhook }

// NewSigners reads secrets; empty ones are left out.
func NewSigners(secrets ...string) (all Signers, err error) {
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		hook, err := newHook(secret)
		if err != nil {
			return Signers{}, err
		}
		all.hooks = append(all.hooks, hook)
	}
	return all, nil
}

// Sign returns the signatures with spaces between, as Standard Webhooks has it.
func (s Signers) Sign(id string, at time.Time, body []byte) (string, error) {
	all := make([]string, len(s.hooks))
	for i, hook := range s.hooks {
		var err error
		if all[i], err = hook.Sign(id, at, body); err != nil {
			return "", err
		}
	}
	return strings.Join(all, " "), nil
}

// Name is part of Provider.
func (*Shop) Name() seckill.Provider { return seckill.ProviderShop }

// Start is part of Provider. The shop is not asked: it takes the payment's id from
// the address and knows the order.
func (s *Shop) Start(_ context.Context, o seckill.Order, checkout string) (url, session string, err error) {
	at := s.Pay
	if at == "" {
		at = "/order/detail/{order}"
	}
	return strings.NewReplacer("{order}", o.ID, "{payment}", checkout, "{amount}", fmt.Sprint(o.Amount), "{currency}", o.Currency).Replace(at), "", nil
}

// Verify is part of Provider. A field that is not known is ignored; a message without a
// type is refused, as one of an unknown type is.
func (s *Shop) Verify(h http.Header, body []byte) (c seckill.Callback, err error) {
	if err := s.hook.Verify(body, h); err != nil {
		return c, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return c, fmt.Errorf("%w: %w", ErrBody, err)
	}
	// Of bytes that are no UTF-8 and of half a character encoding/json makes U+FFFD: the ids
	// of two payments would be one.
	for _, read := range []string{c.Event, c.Order, c.Reference, c.Refund} {
		if strings.ContainsRune(read, utf8.RuneError) {
			return c, fmt.Errorf("%w: not UTF-8, or half of a character", ErrBody)
		}
	}
	return c, c.Validate()
}

// Refund is part of Provider: the shop is told, signed, and confirms by a callback
// of the type "refunded" with our id as reference or refund. It gets the same id in
// webhook-id however often it is told.
func (s *Shop) Refund(ctx context.Context, r seckill.Refund) (given string, err error) {
	if s.Refunds == "" {
		return "", nil
	}
	body, err := json.Marshal(struct {
		Refund    string    `json:"refund"`
		Order     string    `json:"order"`
		Reference string    `json:"reference"`
		Amount    int64     `json:"amount"`
		Currency  string    `json:"currency"`
		Reason    string    `json:"reason,omitempty"`
		MadeAt    time.Time `json:"made_at"`
	}{r.ID, r.Order, r.Reference, r.Amount, r.Currency, r.Reason, r.MadeAt})
	if err != nil {
		return "", err
	}
	answer, err := s.call(ctx, http.MethodPost, s.Refunds, r.ID, body)
	if err != nil {
		return "", err
	}
	// It may say at once that it is done.
	var said struct {
		Status string `json:"status"`
	}
	_ = json.Unmarshal(answer, &said)
	if said.Status == "refunded" {
		given = r.ID // it has no other
	}
	return given, nil
}

// Statement is part of Provider: the shop answers with a list of bookings,
// {"items":[{"at","kind":"payment | refund","reference","refund","order","amount","currency"}]}.
func (s *Shop) Statement(ctx context.Context, from, to time.Time) ([]seckill.Booking, error) {
	if s.Statements == "" {
		return nil, errNoStatement
	}
	u, err := url.Parse(s.Statements)
	if err != nil {
		return nil, seckill.HideEndpoint(err)
	}
	q := u.Query()
	q.Set("from", from.UTC().Format(time.RFC3339))
	q.Set("to", to.UTC().Format(time.RFC3339))
	u.RawQuery = q.Encode()
	answer, err := s.call(ctx, http.MethodGet, u.String(), seckill.NewTicketID(time.Now()), nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []seckill.Booking `json:"items"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("the shop's statement cannot be read: %w", err)
	}
	return list.Items, nil
}

// call asks the shop, signed.
func (s *Shop) call(ctx context.Context, method, at, id string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return nil, seckill.HideEndpoint(err)
	}
	if err := Sign(r, s.signer, id, body); err != nil {
		return nil, err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the shop cannot be reached: %w", seckill.HideEndpoint(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, shopAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("the shop answered %s", resp.Status)
	}
	return answer, nil
}

// Sign adds the headers of Standard Webhooks to a request.
func Sign(r *http.Request, hook Signers, id string, body []byte) error {
	now := time.Now()
	signature, err := hook.Sign(id, now, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(webhooks.HeaderWebhookID, id)
	r.Header.Set(webhooks.HeaderWebhookTimestamp, fmt.Sprint(now.Unix()))
	r.Header.Set(webhooks.HeaderWebhookSignature, signature)
	return nil
}
