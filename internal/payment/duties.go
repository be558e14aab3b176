package payment

import (
	"context"
	"crypto/rand"
	"time"

	"seckill/internal/duty"
)

// Limits of the duties that one node has at a time: refunder.go, retaker.go, ender.go.
const (
	dutyTime  = 15 * time.Second // of a lease: how long others wait for a dead node
	dutyCheck = time.Second      // between looks
	dutyBatch = 100
)

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
