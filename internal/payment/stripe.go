package payment

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stripe/stripe-go/v84"
	"github.com/stripe/stripe-go/v84/webhook"
	"golang.org/x/sync/errgroup"

	"seckill"
)

// Stripe is the provider Stripe Checkout. Everything of its library is in this file.
type Stripe struct {
	client *stripe.Client
	secret string
	back   string // where a buyer comes back to: {order} is filled in

	mu   sync.Mutex
	keys map[string]string // idempotency keys of refunds whose first one is used up, by our id
}

const (
	stripeCall    = 15 * time.Second // for one call to Stripe, with the library's own repeats
	stripeSession = time.Hour        // how long a checkout can be paid; Stripe takes an end that is half an hour away at least
	stripeEdge    = time.Minute      // before that: for what is under way, and clocks
	stripeAtOnce  = 8                // questions about single payments
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
	return &Stripe{client: stripe.NewClient(key, stripe.WithBackends(backends)), secret: secret, back: back, keys: map[string]string{}}, nil
}

// Name is part of Provider.
func (*Stripe) Name() seckill.Provider { return seckill.ProviderStripe }

// stripeRatios are the currencies in which Stripe counts other minor units than ISO 4217:
// theirs of Stripe's are ours of ours. Amounts must be multiples of step of ours. Checked
// against docs.stripe.com/currencies: MGA has no digits there, ISK and UGX have two, and of
// three digits the last one must be 0.
var stripeRatios = map[string]struct{ theirs, ours, step int64 }{
	"ISK": {100, 1, 1}, "UGX": {100, 1, 1}, "MGA": {1, 100, 100},
	"BHD": {1, 1, 10}, "JOD": {1, 1, 10}, "KWD": {1, 1, 10}, "OMR": {1, 1, 10}, "TND": {1, 1, 10},
}

// Step is part of Stepped.
func (s *Stripe) Step(currency string) int64 {
	if r, ok := stripeRatios[currency]; ok {
		return r.step
	}
	return 1
}

// toStripe returns an amount in Stripe's minor units.
func toStripe(amount int64, currency string) (int64, error) {
	r, ok := stripeRatios[currency]
	if !ok {
		return amount, nil
	}
	if amount%r.step != 0 {
		return 0, fmt.Errorf("Stripe moves multiples of %s only, not %s", seckill.FormatMoney(r.step, currency), seckill.FormatMoney(amount, currency))
	}
	return amount / r.ours * r.theirs, nil
}

// fromStripe returns an amount of Stripe's in ours.
func fromStripe(amount int64, currency string) int64 {
	if r, ok := stripeRatios[currency]; ok {
		return amount * r.ours / r.theirs
	}
	return amount
}

// Lasts is part of Lasting.
func (s *Stripe) Lasts() (start, pay time.Duration) {
	return stripeSession/2 - stripeEdge, stripeSession - stripeEdge
}

// Start is part of Provider: the checkout's id is the idempotency key, and all parameters
// follow from it and the order, because Stripe wants the same ones with the same key. An
// error of Stripe's is kept with the key too: the next try is another checkout.
func (s *Stripe) Start(ctx context.Context, o seckill.Order, checkout string) (url, session string, err error) {
	price, err := toStripe(o.Price, o.Currency)
	if err != nil {
		return "", "", err
	}
	back := strings.ReplaceAll(s.back, "{order}", o.ID)
	p := &stripe.CheckoutSessionCreateParams{
		Mode:              stripe.String(string(stripe.CheckoutSessionModePayment)),
		ClientReferenceID: stripe.String(o.ID),
		SuccessURL:        stripe.String(back),
		CancelURL:         stripe.String(back),
		ExpiresAt:         stripe.Int64(seckill.TicketTime(checkout).Add(stripeSession).Unix()),
		LineItems: []*stripe.CheckoutSessionCreateLineItemParams{{
			Quantity: stripe.Int64(int64(o.Quantity)),
			PriceData: &stripe.CheckoutSessionCreateLineItemPriceDataParams{
				Currency:    stripe.String(strings.ToLower(o.Currency)),
				UnitAmount:  stripe.Int64(price),
				ProductData: &stripe.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: stripe.String(o.Title)},
			},
		}},
		Metadata:          map[string]string{stripeOrder: o.ID},
		PaymentIntentData: &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: map[string]string{stripeOrder: o.ID}},
	}
	p.SetIdempotencyKey(checkout)
	v, err := s.client.V1CheckoutSessions.Create(ctx, p)
	if keptError(err) {
		return "", "", fmt.Errorf("%w: %w", errRefused, err)
	}
	if err != nil {
		return "", "", err
	}
	return v.URL, v.ID, nil
}

// keptError reports whether Stripe keeps an error as the answer of its idempotency key, for
// a day at least. What it answers while it is busy with the same key, or with too much, it
// does not keep.
func keptError(err error) bool {
	var said *stripe.Error
	return errors.As(err, &said) && said.HTTPStatusCode != http.StatusConflict && said.HTTPStatusCode != http.StatusTooManyRequests
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
	case stripe.EventTypeRefundCreated, stripe.EventTypeRefundUpdated, stripe.EventTypeRefundFailed, stripe.EventTypeChargeRefundUpdated:
		var r stripe.Refund
		if err := json.Unmarshal(e.Data.Raw, &r); err != nil {
			return c, fmt.Errorf("%w: %w", ErrBody, err)
		}
		switch {
		case r.PaymentIntent == nil:
			return c, nil
		case r.Status == stripe.RefundStatusSucceeded:
			c.Type = seckill.GivenBack
		case r.Status == stripe.RefundStatusFailed, r.Status == stripe.RefundStatusCanceled:
			c.Type = seckill.Bounced
		default:
			return c, nil
		}
		c.Reference, c.Refund, c.Own = r.PaymentIntent.ID, r.Metadata[stripeRefund], r.ID
		if c.Order = r.Metadata[stripeOrder]; c.Order == "" {
			c.Order = c.Reference // made at Stripe: the payment names the order
		}
		c.Currency = strings.ToUpper(string(r.Currency))
		c.Amount = fromStripe(r.Amount, c.Currency)
		// Of one refund Stripe tells more than once, under other event ids.
		if c.Event = "refund " + r.ID; c.Type == seckill.Bounced {
			c.Event += " failed"
		}
	case stripe.EventTypeChargeDisputeCreated, stripe.EventTypeChargeDisputeFundsWithdrawn, stripe.EventTypeChargeDisputeFundsReinstated, stripe.EventTypeChargeDisputeClosed:
		var d stripe.Dispute
		if err := json.Unmarshal(e.Data.Raw, &d); err != nil {
			return c, fmt.Errorf("%w: %w", ErrBody, err)
		}
		if d.PaymentIntent == nil {
			return c, nil
		}
		c.Type, c.Reference, c.Order = seckill.Disputed, d.PaymentIntent.ID, d.PaymentIntent.ID // the payment names the order
		c.Event = fmt.Sprintf("%s %s %s", d.ID, strings.TrimPrefix(string(e.Type), "charge.dispute."), d.Status)
		c.Currency = strings.ToUpper(string(d.Currency))
		c.Amount = fromStripe(d.Amount, c.Currency)
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
	// Another product of the same account has references of its own. Sessions from before
	// ours had metadata have the order's id only.
	if order := v.Metadata[stripeOrder]; order != v.ClientReferenceID && (order != "" || !seckill.ValidTicketID(v.ClientReferenceID)) {
		return c, nil
	}
	c.Type, c.Order, c.Reference, c.Session = kind, v.ClientReferenceID, v.ID, v.ID
	if v.PaymentIntent != nil {
		c.Reference = v.PaymentIntent.ID
	}
	c.Currency = strings.ToUpper(string(v.Currency))
	c.Amount = fromStripe(v.AmountTotal, c.Currency)
	return c, nil
}

// Ours is part of Shared.
func (s *Stripe) Ours(ctx context.Context, reference string) (bool, error) {
	p, err := s.client.V1PaymentIntents.Retrieve(ctx, reference, nil)
	if err != nil {
		return false, err
	}
	return p.Metadata[stripeOrder] != "", nil
}

// Refund is part of Provider. Stripe forgets idempotency keys after a day or so, and
// a refund may be asked for for longer: so the payment's refunds are looked at first.
// Until then it keeps errors with their keys: after one the refund gets another key.
func (s *Stripe) Refund(ctx context.Context, r seckill.Refund) (given string, err error) {
	list := &stripe.RefundListParams{PaymentIntent: stripe.String(r.Reference)}
	list.Limit = stripe.Int64(100)
	for known, err := range s.client.V1Refunds.List(ctx, list) {
		if err != nil {
			return "", err
		}
		if known.Metadata[stripeRefund] == r.ID {
			return refunded(known)
		}
	}
	amount, err := toStripe(r.Amount, r.Currency)
	if err != nil {
		return "", err
	}
	p := &stripe.RefundCreateParams{PaymentIntent: stripe.String(r.Reference), Amount: stripe.Int64(amount),
		Metadata: map[string]string{stripeRefund: r.ID, stripeOrder: r.Order}}
	s.mu.Lock()
	p.SetIdempotencyKey(cmp.Or(s.keys[r.ID], r.ID))
	s.mu.Unlock()
	made, err := s.client.V1Refunds.Create(ctx, p)
	s.mu.Lock()
	if err == nil {
		delete(s.keys, r.ID)
	} else if keptError(err) {
		s.keys[r.ID] = r.ID + "-" + rand.Text()
	}
	s.mu.Unlock()
	if err != nil {
		return "", err
	}
	return refunded(made)
}

func refunded(r *stripe.Refund) (given string, err error) {
	switch r.Status {
	case stripe.RefundStatusSucceeded:
		return r.ID, nil
	case stripe.RefundStatusFailed, stripe.RefundStatusCanceled:
		return "", fmt.Errorf("the refund %s at Stripe is %s (%s): give the money back another way, and say so with POST /api/admin/refunds/{refund}/done", r.ID, r.Status, r.FailureReason)
	}
	return "", nil
}

// Statement is part of Provider: the charges that were captured, and the refunds.
func (s *Stripe) Statement(ctx context.Context, from, to time.Time) ([]seckill.Booking, error) {
	created := &stripe.RangeQueryParams{GreaterThanOrEqual: from.Unix(), LesserThan: to.Unix()}
	return s.moved(ctx, &stripe.ChargeListParams{CreatedRange: created}, &stripe.RefundListParams{CreatedRange: created})
}

// StatementOf is part of Singles.
func (s *Stripe) StatementOf(ctx context.Context, references []string) ([]seckill.Booking, error) {
	all := make([][]seckill.Booking, len(references))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(stripeAtOnce)
	for i, reference := range references {
		g.Go(func() (err error) {
			all[i], err = s.moved(ctx, &stripe.ChargeListParams{PaymentIntent: stripe.String(reference)}, &stripe.RefundListParams{PaymentIntent: stripe.String(reference)})
			var said *stripe.Error
			if errors.As(err, &said) && said.Code == stripe.ErrorCodeResourceMissing {
				return nil // there is no such payment
			}
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(all...), err
}

// moved lists the charges that were captured, and the refunds.
func (s *Stripe) moved(ctx context.Context, charges *stripe.ChargeListParams, refunds *stripe.RefundListParams) (all []seckill.Booking, err error) {
	charges.Limit = stripe.Int64(100)
	for c, err := range s.client.V1Charges.List(ctx, charges) {
		if err != nil {
			return nil, err
		}
		order := c.Metadata[stripeOrder]
		if !c.Captured || c.Status != stripe.ChargeStatusSucceeded || c.PaymentIntent == nil || order == "" {
			continue // no money was captured, or it names no order of ours
		}
		currency := strings.ToUpper(string(c.Currency))
		all = append(all, seckill.Booking{At: time.Unix(c.Created, 0).UTC(), Kind: "payment", Provider: seckill.ProviderStripe, Reference: c.PaymentIntent.ID,
			Order: order, Amount: fromStripe(c.AmountCaptured, currency), Currency: currency})
	}
	refunds.Limit = stripe.Int64(100)
	refunds.AddExpand("data.charge")
	for r, err := range s.client.V1Refunds.List(ctx, refunds) {
		if err != nil {
			return nil, err
		}
		// One that was made at Stripe has no order of its own, but its charge has.
		order := r.Metadata[stripeOrder]
		if order == "" && r.Charge != nil {
			order = r.Charge.Metadata[stripeOrder]
		}
		if r.Status != stripe.RefundStatusSucceeded || r.PaymentIntent == nil || order == "" {
			continue // not given back, or not for us
		}
		currency := strings.ToUpper(string(r.Currency))
		all = append(all, seckill.Booking{At: time.Unix(r.Created, 0).UTC(), Kind: "refund", Provider: seckill.ProviderStripe, Reference: r.PaymentIntent.ID,
			Refund: r.Metadata[stripeRefund], Order: order, Amount: -fromStripe(r.Amount, currency), Currency: currency})
	}
	return all, nil
}
