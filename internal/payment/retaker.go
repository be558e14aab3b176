package payment

import (
	"context"
	"errors"
	"fmt"

	"seckill"
	"seckill/internal/crash"
)

const retakeLease = "late payments"

// Retaker takes units again for payments that came after their order had ended. One
// node does at a time.
type Retaker struct{ *Payments }

// Run does so until ctx is done.
func (p Retaker) Run(ctx context.Context) error {
	return p.leased(ctx, retakeLease, p.late, p.retake)
}

// retake gives late payments their end: an order that the gate and the store placed
// for it as for any buyer, or the way back. It may be repeated from the start: the
// gate names the same ticket to the same buyer as long as that is active, whatever has
// become of the sale.
func (p *Payments) retake(ctx context.Context) (done int, failed error) {
	late, err := p.Store.LatePayments(ctx, p.lateAfter, dutyBatch)
	if err != nil {
		return 0, err
	}
	// The next turn goes on behind these, and begins again after the last one: those that
	// cannot proceed keep no newer one waiting.
	if p.lateAfter = (seckill.PaymentCursor{}); len(late) == dutyBatch {
		last := late[len(late)-1]
		p.lateAfter = seckill.PaymentCursor{SeenAt: last.SeenAt, Reference: last.Reference}
	}
	for _, pay := range late {
		order, why, err := p.units(ctx, pay)
		if err != nil {
			failed = errors.Join(failed, err) // the other late payments have their turn all the same
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
		return p.given(ctx, pay, "the sale gives no units: "+a.Verdict.String())
	}
	crash.Here("14-after-reserve", true)
	return p.outcome(ctx, pay, a.Ticket)
}

// given is units where the sale has none for a new request. It may have given the ticket in
// an earlier turn: a sale that is paused or has ended names it to nobody who buys.
func (p *Payments) given(ctx context.Context, pay seckill.Payment, none string) (order, why string, err error) {
	own, err := p.Gate.Find(ctx, pay.Sale, pay.Buyer, "")
	if err != nil && !errors.Is(err, seckill.ErrNotFound) {
		return "", "", err
	}
	// Without a ticket at the gate: the newest that the store knows.
	order, why, err = p.outcome(ctx, pay, own.Ticket.ID)
	if order == pay.Order {
		return "", none, err
	}
	return order, why, err
}

// outcome is units once the gate has named the buyer's ticket.
func (p *Payments) outcome(ctx context.Context, pay seckill.Payment, ticket string) (order, why string, err error) {
	o, err := p.Store.Outcome(ctx, pay.Sale, pay.Buyer, ticket)
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
