package payment

import (
	"context"
	"time"

	"seckill/internal/duty"
)

// Limits of the pulse.
const (
	pulseCheck = time.Second
	skewWarn   = time.Second
)

// Pulse runs on every node and compares its clock with the store's. A node that takes
// payments also tells the store that buyers can pay, so that an outage is noticed and given
// back.
type Pulse struct {
	*Payments
	Pays bool // buyers can pay at this node
}

// Run does so until ctx is done.
func (p Pulse) Run(ctx context.Context) error {
	warned := false
	for ctx.Err() == nil {
		look := p.Store.Clock
		if p.Pays {
			look = p.Store.Pulse
		}
		if _, err := look(ctx); err == nil {
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
