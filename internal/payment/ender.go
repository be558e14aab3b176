package payment

import (
	"context"
	"fmt"

	"seckill"
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
