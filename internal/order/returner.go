package order

import (
	"context"
	"errors"
	"time"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
)

const (
	returnBatch = 1000
	returnCheck = time.Second
)

// Returner brings units of ended orders back to the gate.
type Returner struct{ *Orders }

// Run gives units back until ctx is done.
func (o Returner) Run(ctx context.Context) error {
	var complaint duty.Complaint
	for ctx.Err() == nil {
		n, err := o.giveBack(ctx)
		if complaint.New(err) && ctx.Err() == nil {
			o.log.Warn("order: units on their way back have to wait", "pause", returnCheck, "error", err)
		}
		if err != nil || n == 0 {
			duty.RestOr(ctx, returnCheck, o.returned)
		}
	}
	return nil
}

// giveBack brings one batch of units back and returns how many tickets it was. A
// sale whose gate cannot be reached, or whose row cannot be read, keeps no other waiting,
// however much it has.
func (o Returner) giveBack(ctx context.Context) (done int, failed error) {
	var waiting []seckill.SaleID
	for done == 0 {
		returns, err := o.store.Returns(ctx, returnBatch, waiting...)
		if err != nil || len(returns) == 0 {
			return done, errors.Join(failed, err)
		}
		for _, r := range returns {
			crash.Here("9-before-release", true)
			if err := o.gate.Release(ctx, r); err != nil {
				failed, waiting = err, append(waiting, r.Sale)
				continue
			}
			crash.Here("9-after-release", true)
			if err := o.store.Returned(ctx, r); errors.Is(err, seckill.ErrUnavailable) {
				return done, err
			} else if err != nil {
				failed, waiting = err, append(waiting, r.Sale)
				continue
			}
			done += len(r.Tickets)
		}
	}
	return done, failed
}
