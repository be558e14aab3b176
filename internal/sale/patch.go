package sale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"seckill"
)

// Patch is a change of a sale's fields; nil leaves a field as it is.
type Patch struct {
	Title         *string              `json:"title"`
	Description   *string              `json:"description"`
	Image         *string              `json:"image"`
	Price         *int64               `json:"price"`
	ListPrice     *int64               `json:"list_price"`
	Currency      *string              `json:"currency"`
	Total         *int64               `json:"total"`
	LimitPerBuyer *int                 `json:"limit_per_buyer"`
	OpensAt       *time.Time           `json:"opens_at"`
	ClosesAt      *time.Time           `json:"closes_at"`
	HoldSeconds   *int                 `json:"hold_seconds"`
	LatePayment   *seckill.LatePayment `json:"late_payment"`
	Notice        *string              `json:"notice"` // where a sale stands is changed by Publish and Hide (shelf)

	Pass              *bool              `json:"pass"`
	Challenge         *seckill.Challenge `json:"challenge"`
	TriesPerBuyer     *int               `json:"tries_per_buyer"`
	CooldownSeconds   *int               `json:"cooldown_seconds"`
	Eligible          *seckill.Eligible  `json:"eligible"`
	AccountAgeSeconds *int64             `json:"account_age_seconds"`
}

// Patch changes fields of a sale: everything before it opens, and afterwards
// everything but the price, its currency and the total.
func (c *Changes) Patch(ctx context.Context, id seckill.SaleID, p Patch) (seckill.Sale, error) {
	if p.Total != nil {
		// A move that takes units out lowers the total when it ends. Until then the
		// difference to the wanted total is not known.
		c.totals.Lock()
		defer c.totals.Unlock()
		moves, err := c.store.OpenMoves(ctx)
		if err != nil {
			return seckill.Sale{}, err
		}
		if slices.ContainsFunc(moves, func(m seckill.Move) bool { return m.Sale == id }) {
			return seckill.Sale{}, fmt.Errorf("sale %s: units are being moved: %w", id, seckill.ErrUnavailable)
		}
	}
	var grow int64
	sale, err := c.Change(ctx, id, func(sale *seckill.Sale, now time.Time) error {
		if err := notEnded(sale); err != nil {
			return err
		}
		opened := !now.Before(sale.OpensAt)
		fixed := func(changes bool, field string) error {
			if changes && opened {
				return fmt.Errorf("%s cannot change once sale %s is open: %w", field, id, seckill.ErrState)
			}
			return nil
		}
		if p.Total != nil {
			grow = *p.Total - sale.Total
		}
		err := errors.Join(
			fixed(p.Price != nil && *p.Price != sale.Price, "price"),
			fixed(p.Currency != nil && *p.Currency != sale.Currency, "currency"),
			fixed(grow != 0, "total"),
			// A sale that opens again later could change its price, while buyers are queued
			// at the old one.
			fixed(p.OpensAt != nil && p.OpensAt.After(now), "opens_at, to a time to come,"))
		if err != nil {
			return err
		}
		set(&sale.Title, p.Title)
		set(&sale.Description, p.Description)
		set(&sale.Image, p.Image)
		set(&sale.Price, p.Price)
		set(&sale.ListPrice, p.ListPrice)
		set(&sale.Currency, p.Currency)
		set(&sale.LimitPerBuyer, p.LimitPerBuyer)
		set(&sale.OpensAt, p.OpensAt)
		set(&sale.ClosesAt, p.ClosesAt)
		set(&sale.HoldSeconds, p.HoldSeconds)
		if sale.Unreadable && p.rules() {
			// What was there is lost: nobody is let in because somebody has set one of several
			// rules.
			if p.Pass == nil && p.Challenge == nil || p.Eligible == nil {
				return &seckill.FieldError{Field: "eligible", Must: "and pass or challenge must be given: the rules of this sale cannot be read, and are all set anew"}
			}
			sale.Access = seckill.Access{}
		}
		if p.Pass != nil && !*p.Pass {
			sale.Challenge = seckill.ChallengeNone
		}
		set(&sale.Pass, p.Pass)
		set(&sale.Challenge, p.Challenge)
		set(&sale.TriesPerBuyer, p.TriesPerBuyer)
		set(&sale.CooldownSeconds, p.CooldownSeconds)
		set(&sale.Eligible, p.Eligible)
		set(&sale.AccountAgeSeconds, p.AccountAgeSeconds)
		set(&sale.LatePayment, p.LatePayment)
		set(&sale.Notice, p.Notice)
		if p.Total != nil && (*p.Total < 1 || *p.Total > seckill.MaxTotal) {
			return &seckill.FieldError{Field: "total", Must: fmt.Sprintf("must be 1 to %d units", seckill.MaxTotal)}
		}
		return nil
	})
	if err != nil || grow == 0 {
		return sale, err
	}
	// Changing the total means moving units, so it is done by a stock move.
	actor, _ := seckill.ActorOf(ctx)
	return c.Stock(ctx, seckill.Move{Sale: id, ID: fmt.Sprintf("total:%d", sale.Version), Delta: grow, By: actor.Who})
}

// rules reports whether the patch sets who may buy, or what asking costs.
func (p *Patch) rules() bool {
	return p.Pass != nil || p.Challenge != nil || p.TriesPerBuyer != nil || p.CooldownSeconds != nil || p.Eligible != nil || p.AccountAgeSeconds != nil
}

func set[T any](field *T, v *T) {
	if v != nil {
		*field = *v
	}
}
