package sale

import (
	"context"
	"slices"
	"time"

	"seckill"
	"seckill/internal/duty"
)

// AuditStore is what the audit needs of the store.
type AuditStore interface {
	Sale(ctx context.Context, id seckill.SaleID) (seckill.Sale, error)
	OpenMoves(ctx context.Context) ([]seckill.Move, error)
	Look(ctx context.Context, id seckill.SaleID, outbox []seckill.Ticket) (seckill.Snapshot, error)
}

// AuditGate is what the audit needs of the gate.
type AuditGate interface {
	Cut(ctx context.Context, id seckill.SaleID) (seckill.Cut, error)
	Glance(ctx context.Context, id seckill.SaleID, most int) (seckill.Cut, error)
}

// Auditor compares what the gate has with what the store has.
type Auditor struct {
	store AuditStore
	gate  AuditGate
}

const (
	auditLooks = 3
	auditPause = 50 * time.Millisecond
)

// Audit takes a cut of the gate and then a snapshot of the store, and compares them by
// seckill.Examine. The two are not read at the same moment, so it looks up to auditLooks
// times and reports only the violations that it has seen every time.
func (s *Auditor) Audit(ctx context.Context, id seckill.SaleID) (r seckill.Report, err error) {
	var standing []string
	for look := range auditLooks {
		if look > 0 {
			if err := duty.Rest(ctx, auditPause<<look); err != nil {
				return r, err
			}
		}
		// The gate may still know a sale that the store does not have.
		if _, err = s.store.Sale(ctx, id); err != nil {
			return r, err
		}
		cut, err := s.gate.Cut(ctx, id)
		if err != nil {
			return r, err
		}
		moves, err := s.store.OpenMoves(ctx)
		if err != nil {
			return r, err
		}
		v, err := s.store.Look(ctx, id, cut.Outbox)
		if err != nil {
			return r, err
		}
		// Whether nothing moves is asked again. With a ticket in the outbox something does:
		// then a long outbox is not read twice.
		again := s.gate.Cut
		if len(cut.Outbox) > 0 {
			again = func(ctx context.Context, id seckill.SaleID) (seckill.Cut, error) { return s.gate.Glance(ctx, id, 0) }
		}
		after, err := again(ctx, id)
		if err != nil {
			return r, err
		}
		// Units that move between store and gate at this moment may be counted at both, or
		// at neither.
		moving := v.Returning > 0 || v.Growing > 0 || slices.ContainsFunc(moves, func(m seckill.Move) bool { return m.Sale == id })
		atRest := len(cut.Outbox)+len(after.Outbox) == 0 && !moving && cut.Left == after.Left && cut.Seq == after.Seq && cut.Epoch == after.Epoch
		r = seckill.Examine(&cut, &v, atRest)
		r.Aside = after.Aside
		if cut.Epoch == after.Epoch {
			r.Violations = append(r.Violations, seckill.Unadmitted(v.Active, after.Seq)...)
		}
		kinds := make([]string, 0, len(r.Violations))
		for _, violation := range r.Violations {
			kinds = append(kinds, seckill.Broken(violation))
		}
		if look == 0 {
			standing = kinds
		}
		standing = slices.DeleteFunc(standing, func(k string) bool { return !slices.Contains(kinds, k) })
		if len(standing) == 0 {
			break
		}
	}
	r.Violations = slices.DeleteFunc(r.Violations, func(v string) bool { return !slices.Contains(standing, seckill.Broken(v)) })
	r.OK = len(r.Violations) == 0
	return r, nil
}
