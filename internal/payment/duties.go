package payment

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
)

const (
	refundLease = "refunds"
	retakeLease = "late payments"
	endLease    = "payments of ended orders"
	auditLease  = "audit of money"
	dutyTime    = 15 * time.Second // of a lease: how long others wait for a dead node
	dutyCheck   = time.Second      // between looks
	dutyBatch   = 100

	refundTime    = 20 * time.Second // for one call to the provider
	refundPause   = 2 * time.Second  // before the second try; doubles
	refundLongest = 10 * time.Minute
)

// Refunder asks the provider for every refund that is due, with the same id until it
// confirms. One node does at a time.
type Refunder struct{ *Payments }

// Run does so until ctx is done.
func (p Refunder) Run(ctx context.Context) error {
	return p.leased(ctx, refundLease, p.due, p.giveBack)
}

// giveBack asks for the refunds that are due now and returns how many were asked
// for. One that fails stops no other.
func (p *Payments) giveBack(ctx context.Context) (int, error) {
	if err := p.early(ctx); err != nil {
		return 0, err
	}
	refunds, err := p.Store.DueRefunds(ctx, dutyBatch)
	if err != nil {
		return 0, err
	}
	for _, r := range refunds {
		crash.Here("15-before-refund", true)
		confirmed, why := p.refund(ctx, r)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if confirmed {
			crash.Here("15-before-confirm", true)
		}
		pause := min(refundPause<<min(r.Tries, 10), refundLongest)
		if why != nil {
			p.metrics.refunds.WithLabelValues("failed").Inc()
			p.Log.Warn("payment: a refund has to wait", "refund", r.ID, "order", r.Order, "provider", r.Provider, "tries", r.Tries+1, "pause", pause, "error", why)
		} else if confirmed {
			p.metrics.refunds.WithLabelValues("confirmed").Inc()
		} else {
			p.metrics.refunds.WithLabelValues("asked").Inc()
		}
		text := ""
		if why != nil {
			text = why.Error()
		}
		if err := p.Store.RefundTried(ctx, r, confirmed, pause, text); err != nil {
			return 0, err
		}
	}
	return len(refunds), nil
}

// early enters the refunds that were told in the same moment as their payments, and
// missed them.
func (p *Payments) early(ctx context.Context) error {
	all, err := p.Store.EarlyRefunds(ctx, dutyBatch)
	for _, c := range all {
		r, wrong := p.Store.TakeEarly(ctx, c)
		if wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		p.came(c, r)
	}
	return err
}

func (p *Payments) refund(ctx context.Context, r seckill.Refund) (confirmed bool, err error) {
	provider := p.Provider
	switch r.Provider {
	case provider.Name():
	case seckill.ProviderTest:
		provider = Test{}
	default:
		return false, fmt.Errorf("it was paid at %q, and payment.provider is %q: give it back there and tell us with a callback, or set the provider again", r.Provider, provider.Name())
	}
	ctx, cancel := context.WithTimeout(ctx, refundTime)
	defer cancel()
	return provider.Refund(ctx, r)
}

// Retaker takes units again for payments that came after their order had ended. One
// node does at a time.
type Retaker struct{ *Payments }

// Run does so until ctx is done.
func (p Retaker) Run(ctx context.Context) error {
	return p.leased(ctx, retakeLease, p.late, p.retake)
}

// retake gives late payments their end: an order that the gate and the store placed
// for it as for any buyer, or the way back. It may be repeated from the start: the
// gate names the same ticket to the same buyer as long as that is active.
func (p *Payments) retake(ctx context.Context) (done int, failed error) {
	late, err := p.Store.LatePayments(ctx, dutyBatch)
	if err != nil {
		return 0, err
	}
	for _, pay := range late {
		order, why, err := p.units(ctx, pay)
		if err != nil {
			failed = errors.Join(failed, err) // it keeps no other waiting
			continue
		}
		if order == "" && why == "" {
			continue // its ticket has no outcome yet
		}
		crash.Here("14-before-retake", true)
		paid, err := p.Store.Retake(ctx, pay, order, why)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		done++
		if paid {
			p.Log.Info("payment: a late payment took units again", "reference", pay.Reference, "order", pay.Order, "new_order", order)
		} else {
			p.Log.Info("payment: a late payment goes back", "reference", pay.Reference, "order", pay.Order, "reason", why)
			p.due.Send()
		}
	}
	return done, failed
}

// units asks the gate for a late payment's units. It returns the new order, or why
// there is none, or neither while that is not known.
func (p *Payments) units(ctx context.Context, pay seckill.Payment) (order, why string, err error) {
	if p.Gate.Over(pay.Sale) {
		return "", "the sale gives no units: sold_out", nil
	}
	a, err := p.Gate.Reserve(ctx, pay.Sale, pay.Buyer, pay.Quantity)
	var field *seckill.FieldError
	switch {
	case errors.As(err, &field):
		return "", "the sale allows fewer units for a buyer now", nil
	case err != nil:
		return "", "", err
	case a.Verdict == seckill.Busy:
		return "", "", fmt.Errorf("the gate is busy: %w", seckill.ErrUnavailable)
	case a.Verdict == seckill.Limit:
		return "", "the buyer has another order in this sale", nil
	case a.Verdict != seckill.Queued:
		return "", "the sale gives no units: " + a.Verdict.String(), nil
	}
	crash.Here("14-after-reserve", true)
	o, err := p.Store.Outcome(ctx, pay.Sale, pay.Buyer, a.Ticket)
	if errors.Is(err, seckill.ErrNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	if !o.Placed() {
		return "", "no units: " + string(o.Reason), nil
	}
	return o.Order(), "the buyer's other order in this sale is paid or costs another amount", nil
}

// Ender ends the payments that were started for orders which can no longer be paid, at
// providers where that is possible: nobody pays for an order that has ended. One node does
// at a time.
type Ender struct{ *Payments }

// Run does so until ctx is done.
func (p Ender) Run(ctx context.Context) error {
	return p.leased(ctx, endLease, nil, p.end)
}

func (p *Payments) end(ctx context.Context) (done int, err error) {
	provider, ok := p.Provider.(Ending)
	if !ok {
		return 0, nil
	}
	open, err := p.Store.EndedCheckouts(ctx, p.Provider.Name(), dutyBatch)
	for _, c := range open {
		if err := p.endOne(ctx, provider, c); err != nil {
			return done, err
		}
		done++
	}
	return done, err
}

func (p *Payments) endOne(ctx context.Context, provider Ending, c seckill.Checkout) error {
	call, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := provider.End(call, c.Session); err != nil {
		return fmt.Errorf("payment provider %s: %w", p.Provider.Name(), err)
	}
	return p.Store.CheckoutClosed(ctx, c.ID)
}

// leased does work where this node holds the lease for it, until ctx is done.
func (p *Payments) leased(ctx context.Context, name string, wake duty.Signal, do func(context.Context) (int, error)) error {
	lease := &duty.Lease{Leases: p.Store, Name: name, Owner: rand.Text(), Life: dutyTime, Standby: dutyCheck}
	defer lease.Release(ctx)
	var complaint duty.Complaint
	for ctx.Err() == nil {
		n, err := func() (int, error) {
			held, err := lease.Held(ctx)
			if err != nil || !held {
				return 0, err
			}
			ctx, cancel := context.WithDeadline(ctx, lease.Until())
			defer cancel()
			return do(ctx)
		}()
		if complaint.New(err) && ctx.Err() == nil {
			p.Log.Warn("payment: "+name+" have to wait; trying again until it works", "error", err)
		}
		if err != nil || n == 0 {
			duty.RestOr(ctx, dutyCheck, wake)
		}
	}
	return nil
}

const (
	pulseCheck = time.Second
	skewWarn   = time.Second
)

// Pulse runs on every node that takes payments: it tells the store that buyers can
// pay, so that an outage is noticed and given back, and holds the two clocks against
// each other.
type Pulse struct{ *Payments }

// Run does so until ctx is done.
func (p Pulse) Run(ctx context.Context) error {
	warned := false
	for ctx.Err() == nil {
		if _, err := p.Store.Pulse(ctx); err == nil {
			skew := p.Store.Skew()
			p.metrics.skew.Set(skew.Seconds())
			if far := skew.Abs() > skewWarn; far != warned {
				if warned = far; far {
					p.Log.Warn("payment: this node's clock differs from the store's, which decides how long orders can be paid; check the time service (chrony, ntp)", "store_ahead_by", skew)
				}
			}
		}
		duty.Rest(ctx, pulseCheck)
	}
	return nil
}
