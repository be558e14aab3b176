package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v84"
	"github.com/stripe/stripe-go/v84/webhook"

	"seckill"
)

// Stripe is the provider Stripe Checkout. Everything of its library is in this file.
type Stripe struct {
	client *stripe.Client
	secret string
	back   string // where a buyer comes back to: {order} is filled in
}

const (
	stripeCall    = 15 * time.Second // for one call to Stripe, with the library's own repeats
	stripeSession = 30 * time.Minute // the shortest time that Stripe lets a checkout be paid
	stripeOrder   = "seckill_order"  // keys of metadata
	stripeRefund  = "seckill_refund"
)

// NewStripe returns the provider. key is Stripe's API key, secret the signing secret
// of the webhook (whsec_…) that points at /api/payments/stripe.
func NewStripe(key, secret, back string) (*Stripe, error) {
	return newStripe(key, secret, back, nil)
}

func newStripe(key, secret, back string, at *string) (*Stripe, error) {
	if u, err := url.Parse(strings.ReplaceAll(back, "{order}", "")); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("payment.url must be the address that Stripe sends buyers back to, such as https://shop.example/order/detail/{order}")
	}
	backends := stripe.NewBackendsWithConfig(&stripe.BackendConfig{URL: at, EnableTelemetry: stripe.Bool(false), MaxNetworkRetries: stripe.Int64(1),
		HTTPClient: &http.Client{Timeout: stripeCall}, LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull}})
	return &Stripe{client: stripe.NewClient(key, stripe.WithBackends(backends)), secret: secret, back: back}, nil
}

// Name is part of Provider.
func (*Stripe) Name() seckill.Provider { return seckill.ProviderStripe }

// stripeUnits is how many of Stripe's minor units one of ours is: Stripe counts two
// currencies in hundredths that have none by ISO 4217.
func stripeUnits(currency string) int64 {
	if currency == "ISK" || currency == "UGX" {
		return 100
	}
	return 1
}

// Start is part of Provider: the checkout's id is the idempotency key. Stripe wants the
// same parameters with the same key, so a repeat within half an hour names the same end.
func (s *Stripe) Start(ctx context.Context, o seckill.Order, checkout string) (url, session string, err error) {
	begun := seckill.TicketTime(checkout)
	late := max(0, time.Since(begun)/stripeSession)
	key := checkout
	if late > 0 {
		key = fmt.Sprint(checkout, "-", int64(late))
	}
	back := strings.ReplaceAll(s.back, "{order}", o.ID)
	p := &stripe.CheckoutSessionCreateParams{
		Mode:              stripe.String(string(stripe.CheckoutSessionModePayment)),
		ClientReferenceID: stripe.String(o.ID),
		SuccessURL:        stripe.String(back),
		CancelURL:         stripe.String(back),
		ExpiresAt:         stripe.Int64(begun.Add((late + 2) * stripeSession).Unix()),
		LineItems: []*stripe.CheckoutSessionCreateLineItemParams{{
			Quantity: stripe.Int64(int64(o.Quantity)),
			PriceData: &stripe.CheckoutSessionCreateLineItemPriceDataParams{
				Currency:    stripe.String(strings.ToLower(o.Currency)),
				UnitAmount:  stripe.Int64(o.Price * stripeUnits(o.Currency)),
				ProductData: &stripe.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: stripe.String(o.Title)},
			},
		}},
		PaymentIntentData: &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: map[string]string{stripeOrder: o.ID}},
	}
	p.SetIdempotencyKey(key)
	v, err := s.client.V1CheckoutSessions.Create(ctx, p)
	if err != nil {
		return "", "", err
	}
	return v.URL, v.ID, nil
}

// End is part of Ending. A session that has been paid or has expired cannot be ended, and
// needs not be.
func (s *Stripe) End(ctx context.Context, session string) error {
	_, err := s.client.V1CheckoutSessions.Expire(ctx, session, &stripe.CheckoutSessionExpireParams{})
	var refused *stripe.Error
	if errors.As(err, &refused) && (refused.HTTPStatusCode == http.StatusBadRequest || refused.HTTPStatusCode == http.StatusNotFound) {
		return nil
	}
	return err
}

// Verify is part of Provider.
func (s *Stripe) Verify(h http.Header, body []byte) (c seckill.Callback, err error) {
	e, err := webhook.ConstructEventWithOptions(body, h.Get("Stripe-Signature"), s.secret, webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true})
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	c.Event, c.At = e.ID, time.Unix(e.Created, 0).UTC()
	switch e.Type {
	case stripe.EventTypeCheckoutSessionCompleted, stripe.EventTypeCheckoutSessionAsyncPaymentSucceeded:
		return s.session(c, e.Data.Raw, seckill.Captured)
	case stripe.EventTypeCheckoutSessionAsyncPaymentFailed, stripe.EventTypeCheckoutSessionExpired:
		return s.session(c, e.Data.Raw, seckill.Failed)
	case stripe.EventTypeRefundCreated, stripe.EventTypeRefundUpdated:
		var r stripe.Refund
		if err := json.Unmarshal(e.Data.Raw, &r); err != nil {
			return c, fmt.Errorf("%w: %w", ErrBody, err)
		}
		if r.Status != stripe.RefundStatusSucceeded || r.PaymentIntent == nil {
			return c, nil
		}
		c.Type = seckill.GivenBack
		c.Reference, c.Refund = r.PaymentIntent.ID, r.Metadata[stripeRefund]
		if c.Order = r.Metadata[stripeOrder]; c.Order == "" {
			c.Order = c.Reference // made at Stripe: the payment names the order
		}
		c.Currency = strings.ToUpper(string(r.Currency))
		c.Amount = r.Amount / stripeUnits(c.Currency)
		// Of one refund Stripe tells more than once, under other event ids.
		c.Event = "refund " + r.ID
	}
	return c, nil
}

func (s *Stripe) session(c seckill.Callback, raw []byte, kind seckill.CallbackType) (seckill.Callback, error) {
	var v stripe.CheckoutSession
	if err := json.Unmarshal(raw, &v); err != nil {
		return c, fmt.Errorf("%w: %w", ErrBody, err)
	}
	if v.ClientReferenceID == "" || kind == seckill.Captured && (v.PaymentStatus != stripe.CheckoutSessionPaymentStatusPaid || v.PaymentIntent == nil) {
		return c, nil // not ours, or not paid yet: another event says so
	}
	c.Type, c.Order, c.Reference = kind, v.ClientReferenceID, v.ID
	if v.PaymentIntent != nil {
		c.Reference = v.PaymentIntent.ID
	}
	c.Currency = strings.ToUpper(string(v.Currency))
	c.Amount = v.AmountTotal / stripeUnits(c.Currency)
	return c, nil
}

// Refund is part of Provider. Stripe forgets idempotency keys after a day or so, and
// a refund may be asked for for longer: so the payment's refunds are looked at first.
func (s *Stripe) Refund(ctx context.Context, r seckill.Refund) (confirmed bool, err error) {
	list := &stripe.RefundListParams{PaymentIntent: stripe.String(r.Reference)}
	list.Limit = stripe.Int64(100)
	for known, err := range s.client.V1Refunds.List(ctx, list) {
		if err != nil {
			return false, err
		}
		if known.Metadata[stripeRefund] == r.ID {
			return refunded(known)
		}
	}
	p := &stripe.RefundCreateParams{PaymentIntent: stripe.String(r.Reference), Amount: stripe.Int64(r.Amount * stripeUnits(r.Currency)),
		Metadata: map[string]string{stripeRefund: r.ID, stripeOrder: r.Order}}
	p.SetIdempotencyKey(r.ID)
	made, err := s.client.V1Refunds.Create(ctx, p)
	if err != nil {
		return false, err
	}
	return refunded(made)
}

func refunded(r *stripe.Refund) (bool, error) {
	switch r.Status {
	case stripe.RefundStatusSucceeded:
		return true, nil
	case stripe.RefundStatusFailed, stripe.RefundStatusCanceled:
		return false, fmt.Errorf("the refund %s at Stripe is %s (%s): give the money back another way and tell us with a callback", r.ID, r.Status, r.FailureReason)
	}
	return false, nil
}

// Statement is part of Provider: the charges that were captured, and the refunds.
func (s *Stripe) Statement(ctx context.Context, from, to time.Time) (all []seckill.Booking, err error) {
	created := &stripe.RangeQueryParams{GreaterThanOrEqual: from.Unix(), LesserThan: to.Unix()}
	charges := &stripe.ChargeListParams{CreatedRange: created}
	charges.Limit = stripe.Int64(100)
	for c, err := range s.client.V1Charges.List(ctx, charges) {
		if err != nil {
			return nil, err
		}
		order := c.Metadata[stripeOrder]
		if !c.Captured || c.Status != stripe.ChargeStatusSucceeded || c.PaymentIntent == nil || order == "" {
			continue // not taken, or not for us
		}
		currency := strings.ToUpper(string(c.Currency))
		all = append(all, seckill.Booking{At: time.Unix(c.Created, 0).UTC(), Kind: "payment", Provider: seckill.ProviderStripe, Reference: c.PaymentIntent.ID,
			Order: order, Amount: c.AmountCaptured / stripeUnits(currency), Currency: currency})
	}
	refunds := &stripe.RefundListParams{CreatedRange: created}
	refunds.Limit = stripe.Int64(100)
	for r, err := range s.client.V1Refunds.List(ctx, refunds) {
		if err != nil {
			return nil, err
		}
		if r.Status != stripe.RefundStatusSucceeded || r.PaymentIntent == nil {
			continue
		}
		currency := strings.ToUpper(string(r.Currency))
		all = append(all, seckill.Booking{At: time.Unix(r.Created, 0).UTC(), Kind: "refund", Provider: seckill.ProviderStripe, Reference: r.PaymentIntent.ID,
			Refund: r.Metadata[stripeRefund], Order: r.Metadata[stripeOrder], Amount: -r.Amount / stripeUnits(currency), Currency: currency})
	}
	return all, nil
}
