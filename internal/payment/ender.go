package payment

import (
	"context"
	"errors"
	"fmt"

	"seckill"
	"seckill/internal/crash"
)

const endLease = "payments of ended orders"

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
	open, err := p.Store.EndedCheckouts(ctx, p.Provider.Name(), p.endAfter, dutyBatch)
	if err != nil {
		return 0, err
	}
	for _, c := range open {
		if ctx.Err() != nil {
			break
		}
		p.endAfter = c.ID // whatever comes of it: the next turn goes on behind it
		if one := p.endOne(ctx, provider, c); one != nil {
			err = errors.Join(err, one)
			continue
		}
		done++
	}
	if len(open) < dutyBatch && ctx.Err() == nil {
		p.endAfter = "" // and begins again after the last one
	}
	return done, err
}

func (p *Payments) endOne(ctx context.Context, provider Ending, c seckill.Checkout) error {
	call, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := provider.End(call, c.Session); err != nil {
		return fmt.Errorf("payment provider %s: %w", p.Provider.Name(), err)
	}
	crash.Here("13-before-closed", true)
	return p.Store.CheckoutClosed(ctx, c.ID)
}
