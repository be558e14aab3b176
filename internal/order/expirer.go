package order

import (
	"context"
	"time"

	"seckill/internal/duty"
)

const (
	expireBatch = 500 // orders in one transaction
	expireCheck = time.Second
	expireAgain = 50 * time.Millisecond // after a look that found nothing to end, although something is due
)

// Expirer ends unpaid orders whose time to pay is over.
type Expirer struct{ *Orders }

// Run expires until ctx is done.
func (o Expirer) Run(ctx context.Context) error {
	var complaint duty.Complaint
	for ctx.Err() == nil {
		n, err := o.store.Expire(ctx, expireBatch)
		if err == nil && n > 0 {
			o.log.Info("order: unpaid orders expired", "orders", n)
			o.returned.Send()
		}
		if err == nil && n == expireBatch {
			continue
		}
		pause := expireCheck
		if err == nil {
			var next time.Duration
			var some bool
			if next, some, err = o.store.NextExpiry(ctx); err == nil && some {
				least := time.Millisecond
				if n == 0 && next <= 0 {
					least = expireAgain // an order is due and nothing could be expired, for instance because its row cannot be read: do not ask without a pause
				}
				pause = max(least, min(pause, next))
			}
		}
		if complaint.New(err) && ctx.Err() == nil {
			o.log.Warn("order: expiring has to wait", "pause", pause, "error", err)
		}
		duty.Rest(ctx, pause)
	}
	return nil
}
