package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"seckill"
	"seckill/internal/crash"
)

// Limits of the refunder.
const (
	refundLease   = "refunds"
	refundTime    = 10 * time.Second // for one call to the provider; less than a lease, which bounds a turn
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
// for. One that fails, or that cannot be entered or noted, stops no other.
func (p *Payments) giveBack(ctx context.Context) (done int, failed error) {
	failed = p.early(ctx)
	refunds, err := p.Store.DueRefunds(ctx, dutyBatch)
	if err != nil {
		return 0, errors.Join(failed, err)
	}
	for i, r := range refunds {
		if until, ok := ctx.Deadline(); ok && i > 0 && time.Until(until) < refundTime {
			return done, failed // the next turn has time for it
		}
		// The ones before it have taken their time: it may have been given back meanwhile.
		if r, err = p.Store.DueRefund(ctx, r.ID); err != nil {
			if !errors.Is(err, seckill.ErrNotFound) {
				failed = errors.Join(failed, err)
			}
			continue
		}
		crash.Here("15-before-refund", true)
		given, why := p.refund(ctx, r)
		if ctx.Err() != nil {
			return done, ctx.Err()
		}
		confirmed := given != ""
		if r.Given = given; confirmed {
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
		switch err := p.Store.RefundTried(ctx, r, confirmed, pause, text); {
		case errors.Is(err, seckill.ErrState):
			p.metrics.callbacks.WithLabelValues("conflict").Inc()
			p.Log.Error("payment: money went back twice", "refund", r.ID, "order", r.Order, "provider", r.Provider, "reason", err)
		case err != nil:
			failed = errors.Join(failed, err)
			continue
		}
		done++
	}
	return done, failed
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

func (p *Payments) refund(ctx context.Context, r seckill.Refund) (given string, err error) {
	provider := p.Provider
	switch r.Provider {
	case provider.Name():
	case seckill.ProviderTest:
		provider = Test{}
	default:
		return "", fmt.Errorf("it was paid at %q, and payment.provider is %q: give it back there and say so with a callback (payment.previous_provider) or POST /api/admin/refunds/{refund}/done, or set the provider again", r.Provider, provider.Name())
	}
	ctx, cancel := context.WithTimeout(ctx, refundTime)
	defer cancel()
	return provider.Refund(ctx, r)
}
