// Package payment is the money of an order: a provider takes it, says so, and gives
// it back. These are steps 13 to 16 of docs/ORDER-CYCLE.md.
//
// Nothing here believes a buyer. POST …/pay starts a payment at the provider; a
// signed callback of the provider (Callback) is what makes an order paid, in one
// transaction of the store that compares it with the order first. Every captured
// payment has one end: it pays the order, takes units again for one that had ended
// (the retaker), goes back (the refunder), or is put aside for a person.
package payment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
	"seckill/internal/room"
)

// Errors of callbacks.
var (
	// ErrSignature says that a callback is not the provider's, or too old.
	ErrSignature = errors.New("the signature is missing, wrong or too old")
	// ErrBody says that a callback with the right signature cannot be read.
	ErrBody = errors.New("the callback cannot be read")
)

// Provider takes money and gives it back.
type Provider interface {
	Name() seckill.Provider
	// Start begins the payment of an order and returns where its buyer pays, and the
	// provider's own name of it if it is an Ending one. The same checkout MUST be the same
	// payment, however often it is started.
	Start(ctx context.Context, o seckill.Order, checkout string) (url, session string, err error)
	// Verify MUST return an error that wraps ErrSignature for whatever the provider
	// did not sign, or signed long ago.
	Verify(h http.Header, body []byte) (seckill.Callback, error)
	// Refund gives money back, once for each id of a refund. given is the provider's own
	// id of it once it has; else a callback says so, or Refund is called again.
	Refund(ctx context.Context, r seckill.Refund) (given string, err error)
	// Statement lists what the provider took and gave back from from until before to.
	Statement(ctx context.Context, from, to time.Time) ([]seckill.Booking, error)
}

// Former is who is believed beside the provider: one that took money before, or the
// provider by a secret that is being changed. It takes no new money.
type Former interface {
	Name() seckill.Provider
	Verify(h http.Header, body []byte) (seckill.Callback, error)
}

// NewFormer returns who signs callbacks with a secret that was the provider's before.
func NewFormer(provider seckill.Provider, secret string) (Former, error) {
	switch provider {
	case seckill.ProviderShop:
		return NewShop(secret, "", "", "")
	case seckill.ProviderStripe:
		return &Stripe{secret: secret}, nil
	}
	return nil, fmt.Errorf("%q signs no callbacks: it must be shop or stripe", provider)
}

// errRefused says that the provider has answered with an error. It may give the same answer
// for as long as it remembers the request: the next try is another one.
var errRefused = errors.New("the provider refused")

// Lasting is a provider whose checkouts end by themselves, counted from their ids: they can
// be started for start, and paid for pay.
type Lasting interface {
	Lasts() (start, pay time.Duration)
}

// Stepped is a provider that takes some amounts only: multiples of Step minor units.
type Stepped interface {
	Step(currency string) int64
}

// Takes returns a *seckill.FieldError if the provider cannot move an amount.
func (p *Payments) Takes(field string, amount int64, currency string) error {
	s, ok := p.Provider.(Stepped)
	if !ok {
		return nil
	}
	if step := s.Step(currency); amount%step != 0 {
		return &seckill.FieldError{Field: field, Must: fmt.Sprintf("must be a multiple of %d (%s): the payment provider %s moves no less", step, seckill.FormatMoney(step, currency), p.Provider.Name())}
	}
	return nil
}

// Shared is a provider whose account may have payments of others.
type Shared interface {
	// Ours reports whether a payment was started here.
	Ours(ctx context.Context, reference string) (bool, error)
}

// Singles is a provider that can be asked for single payments: a statement of weeks takes it
// minutes.
type Singles interface {
	// StatementOf MUST list what the provider took for these payments, and gave back of them,
	// whenever that was.
	StatementOf(ctx context.Context, references []string) ([]seckill.Booking, error)
}

// Ending is a provider that can end a payment which was started.
type Ending interface {
	// End MUST return nil once nobody can pay there any more.
	End(ctx context.Context, session string) error
}

// Store is what the package needs of the store, by who asks.
type Store interface {
	CheckoutStore
	RefundStore
	LateStore
	ClockStore
	AuditStore
	BookStore
	duty.Leases // of the duties that one node has at a time
}

// CheckoutStore keeps the payments that were started and takes what is said of them, for Payments;
// the ender closes those that have ended.
type CheckoutStore interface {
	// Checkout MUST return the open checkout of an order instead of a second one.
	Checkout(ctx context.Context, order, buyer string, provider seckill.Provider, id string, grace time.Duration) (seckill.Order, *seckill.Checkout, error)
	CheckoutAt(ctx context.Context, id, url, session string) error
	EndedCheckouts(ctx context.Context, provider seckill.Provider, after string, max int) ([]seckill.Checkout, error)
	CheckoutClosed(ctx context.Context, id string) error
	// Receive MUST change something once for each event id and for each payment.
	Receive(ctx context.Context, c seckill.Callback) (seckill.Received, error)
}

// RefundStore is what the refunder works on.
type RefundStore interface {
	// EarlyRefunds MUST list only those whose payments are known by now.
	EarlyRefunds(ctx context.Context, max int) ([]seckill.Callback, error)
	TakeEarly(ctx context.Context, c seckill.Callback) (seckill.Received, error)
	DueRefunds(ctx context.Context, max int) ([]seckill.Refund, error)
	// DueRefund MUST return one of them as it is now, or an error that wraps
	// seckill.ErrNotFound once it is not to be asked for.
	DueRefund(ctx context.Context, id string) (seckill.Refund, error)
	RefundTried(ctx context.Context, r seckill.Refund, confirmed bool, pause time.Duration, why string) error
}

// LateStore is what the retaker works on: payments that came when the order had ended.
type LateStore interface {
	LatePayments(ctx context.Context, after seckill.PaymentCursor, max int) ([]seckill.Payment, error)
	Retake(ctx context.Context, late seckill.Payment, order, why string) (paid bool, err error)
	Outcome(ctx context.Context, sale seckill.SaleID, buyer, ticket string) (seckill.Outcome, error)
}

// ClockStore is what the pulse looks at.
type ClockStore interface {
	Pulse(ctx context.Context) (time.Time, error)
	// Clock and Pulse MUST measure Skew.
	Clock(ctx context.Context) (time.Time, error)
	Skew() time.Duration
}

// AuditStore is what the auditor of money reads.
type AuditStore interface {
	MoneyState(ctx context.Context) (seckill.MoneyState, error)
	Money(ctx context.Context, sale seckill.SaleID) ([]seckill.Money, error)
	Sales(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error)
}

// BookStore is what the books and the comparison with a statement read.
type BookStore interface {
	Bookings(ctx context.Context, from, to time.Time, each func(seckill.Booking) error) error
	// BookingsOf MUST leave out no line of a reference.
	BookingsOf(ctx context.Context, provider seckill.Provider, references []string, each func(seckill.Booking) error) error
	// Books MUST read the bookings, the sums before them and the audit of all money as of
	// one moment.
	Books(ctx context.Context, from, to time.Time, each func(seckill.Booking) error) (before, total []seckill.Money, err error)
}

// Gate gives units for a late payment.
type Gate interface {
	Reserve(ctx context.Context, sale seckill.SaleID, buyer string, quantity int) (seckill.Answer, error)
	// Find MUST return the buyer's newest ticket, whether or not the sale is open.
	Find(ctx context.Context, sale seckill.SaleID, buyer, ticket string) (seckill.Progress, error)
}

// Orders are paid by their buyers' word where the provider is "test".
type Orders interface {
	Pay(ctx context.Context, id, buyer string) (seckill.Order, error)
	// Wake says that units may be on their way back.
	Wake()
}

// Config is what payments are made of; everything but Former is required.
type Config struct {
	Store    Store
	Gate     Gate
	Orders   Orders
	Provider Provider
	Former   Former        // nil: nobody
	Grace    time.Duration // how much longer an unpaid order is kept once its first payment was started
	Log      *slog.Logger
	Metrics  prometheus.Registerer
}

// Payments moves the money of orders.
type Payments struct {
	Config
	metrics metrics

	due  duty.Signal // there may be a refund to ask for
	late duty.Signal // there may be a late payment

	lateAfter seckill.PaymentCursor // of the retaker: where its next turn begins
	endAfter  string                // of the ender: the same

	mu       sync.Mutex
	starts   map[string]*start // payments that are being started, by checkout
	starting *room.Room        // has a place for each of them
}

// start is one call to the provider, for all who ask for the same checkout.
type start struct {
	done chan struct{}
	url  string
	err  error
}

// New returns the payments of a store at a provider.
func New(c Config) *Payments {
	return &Payments{Config: c, metrics: newMetrics(c.Metrics), due: duty.NewSignal(), late: duty.NewSignal(), starts: map[string]*start{},
		starting: room.New("payment_starts", startsMost, room.NewMetrics(c.Metrics))}
}

// Limits of a call to a provider.
const (
	startTime  = 10 * time.Second
	startsMost = 256 // payments that are being started at once; beyond it the answer is busy
)

// ErrBusy says that too many payments are being started.
var ErrBusy = fmt.Errorf("the payment provider is busy: %w", seckill.ErrUnavailable)

// Pay starts the payment of the buyer's order and returns it with where to pay. A
// repeat is the same payment. An order that is paid, or that the provider "test" or
// a price of nothing makes paid, has no checkout.
func (p *Payments) Pay(ctx context.Context, id, buyer string) (seckill.Order, *seckill.Checkout, error) {
	if p.Provider.Name() == seckill.ProviderTest {
		o, err := p.Orders.Pay(ctx, id, buyer)
		return o, nil, err
	}
	checkout := func() (seckill.Order, *seckill.Checkout, error) {
		return p.Store.Checkout(ctx, id, buyer, p.Provider.Name(), seckill.NewTicketID(time.Now()), p.Grace)
	}
	o, c, err := checkout()
	if err == nil && c != nil && p.over(*c) {
		if err = p.Store.CheckoutClosed(ctx, c.ID); err == nil {
			o, c, err = checkout()
		}
	}
	if err != nil || c == nil || c.URL != "" {
		return o, c, err
	}
	c.URL, err = p.start(ctx, o, c.ID)
	return o, c, err
}

// over reports whether a checkout has ended by itself.
func (p *Payments) over(c seckill.Checkout) bool {
	l, ok := p.Provider.(Lasting)
	if !ok {
		return false
	}
	start, pay := l.Lasts()
	age := time.Since(seckill.TicketTime(c.ID))
	return age >= pay || c.URL == "" && age >= start
}

// start asks the provider where the buyer pays, once for all who ask at the same
// time. The call goes on when the buyer goes away: the next request finds its end.
func (p *Payments) start(ctx context.Context, o seckill.Order, checkout string) (string, error) {
	p.mu.Lock()
	s := p.starts[checkout]
	if s == nil {
		if p.starting.Enter() != nil {
			p.mu.Unlock()
			return "", ErrBusy
		}
		s = &start{done: make(chan struct{})}
		p.starts[checkout] = s
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime)
			defer cancel()
			var session string
			s.url, session, s.err = p.Provider.Start(ctx, o, checkout)
			if s.err == nil {
				crash.Here("13-start-before-url", true)
				s.err = p.Store.CheckoutAt(ctx, checkout, s.url, session)
			} else {
				if errors.Is(s.err, errRefused) { // close it, so that the next request makes another one
					s.err = errors.Join(s.err, p.Store.CheckoutClosed(ctx, checkout))
				}
				s.err = fmt.Errorf("payment provider %s: %w: %w", p.Provider.Name(), seckill.ErrUnavailable, s.err)
			}
			p.mu.Lock()
			delete(p.starts, checkout)
			p.starting.Leave()
			p.mu.Unlock()
			close(s.done)
		}()
	}
	p.mu.Unlock()
	select {
	case <-s.done:
		return s.url, s.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Knows reports whether a provider of that name may tell something.
func (p *Payments) Knows(provider string) bool {
	return provider != seckill.ProviderTest && (provider == p.Provider.Name() || p.Former != nil && provider == p.Former.Name())
}

// Callback takes what a provider tells. A repeat changes nothing. An error that
// wraps ErrSignature or ErrBody is the caller's; any other asks for a repeat.
func (p *Payments) Callback(ctx context.Context, provider string, h http.Header, body []byte) error {
	now, before := provider == p.Provider.Name(), p.Former != nil && provider == p.Former.Name()
	if !p.Knows(provider) {
		return fmt.Errorf("payment provider %q: %w", provider, seckill.ErrNotFound)
	}
	var c seckill.Callback
	err := ErrSignature
	if now {
		c, err = p.Provider.Verify(h, body)
	}
	if before && errors.Is(err, ErrSignature) {
		c, err = p.Former.Verify(h, body)
	}
	if err != nil {
		p.metrics.callbacks.WithLabelValues("refused").Inc()
		return err
	}
	if now {
		if err := p.ofOthers(ctx, &c); err != nil {
			return err
		}
	}
	if c.Type == seckill.Irrelevant {
		p.metrics.callbacks.WithLabelValues("irrelevant").Inc()
		return nil
	}
	c.Provider = provider
	if err := c.Validate(); err != nil {
		p.metrics.callbacks.WithLabelValues("refused").Inc()
		return err
	}
	r, err := p.Store.Receive(ctx, c)
	if err != nil {
		return err
	}
	p.came(c, r)
	return nil
}

// ofOthers makes a message irrelevant that is about a refund of somebody else's payment at the
// same provider. Only one that was not asked for here may be: it names no refund of ours.
func (p *Payments) ofOthers(ctx context.Context, c *seckill.Callback) error {
	shared, ok := p.Provider.(Shared)
	if !ok || c.Refund != "" || c.Type != seckill.GivenBack && c.Type != seckill.Bounced {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	ours, err := shared.Ours(ctx, c.Reference)
	if err != nil {
		return fmt.Errorf("payment provider %s: %w: %w", p.Provider.Name(), seckill.ErrUnavailable, err)
	}
	if !ours {
		c.Type = seckill.Irrelevant
	}
	return nil
}

// came says what became of a message, in the log and the metrics, and wakes whoever goes
// on with it.
func (p *Payments) came(c seckill.Callback, r seckill.Received) {
	result := string(c.Type)
	switch {
	case r.Repeat:
		result = "repeat"
	case r.Undone:
		result = "conflict"
		p.Log.Error("payment: money that had found its end moves again, a person must look", "provider", c.Provider, "event", c.Event, "order", c.Order, "reason", r.Note)
	case r.Conflict:
		result = "conflict"
		p.Log.Error("payment: the provider contradicts itself: compare its statement with the books", "provider", c.Provider, "event", c.Event, "order", c.Order, "reason", r.Note)
	case r.Aside:
		result = "aside"
		p.Log.Error("payment: money was put aside, a person must decide", "provider", c.Provider, "reference", c.Reference, "order", c.Order, "amount", c.Amount, "currency", c.Currency, "reason", r.Note)
	case r.Due || r.Late:
		result = "late"
		p.Log.Warn("payment: money came that its order does not hold", "provider", c.Provider, "reference", c.Reference, "order", c.Order, "reason", r.Note)
	}
	p.metrics.callbacks.WithLabelValues(result).Inc()
	if r.Due {
		p.due.Send()
	}
	if r.Late {
		p.late.Send()
	}
	if r.Returned {
		p.Orders.Wake()
	}
}

// RefundIsDue says that there is a refund to ask the provider for.
func (p *Payments) RefundIsDue() { p.due.Send() }
