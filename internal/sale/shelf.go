package sale

import (
	"context"
	"fmt"
	"time"

	"seckill"
)

// Public shows a sale to buyers, who do not see drafts.
func (s *Catalog) Public(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	sale, err := s.Get(ctx, id)
	if err == nil && sale.Shelf == seckill.Draft {
		return seckill.Sale{}, seckill.ErrNotFound
	}
	return sale, err
}

// Publish shows a sale to everybody; a draft can be bought from then on, within its times.
func (c *Changes) Publish(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	return c.Change(ctx, id, Shelf(seckill.Published))
}

// Hide takes a sale out of the list. Whoever has its address may buy it.
func (c *Changes) Hide(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	return c.Change(ctx, id, Shelf(seckill.Unlisted))
}

// Shelf is the edit that puts a sale on a shelf, as Publish and Hide do.
func Shelf(to seckill.Shelf) Edit {
	return func(sale *seckill.Sale, _ time.Time) error {
		if sale.Shelf == seckill.Deleted {
			return seckill.ErrNotFound
		}
		if sale.Shelf == seckill.Draft {
			sale.Paused = false
		}
		sale.Shelf = to
		return nil
	}
}

// Delete ends a sale in which nobody has bought, and shows it to nobody any more. The gate is
// asked twice whether anybody has bought: before the sale is ended, so that one with buyers
// stays as it is, and after, since a buyer may have come in between.
func (c *Changes) Delete(ctx context.Context, id seckill.SaleID) (sale seckill.Sale, err error) {
	if err := c.TryDelete(ctx, id); err != nil {
		return sale, err
	}
	if _, err := c.End(ctx, id); err != nil {
		return sale, err
	}
	if err := c.untouched(ctx, id); err != nil {
		return sale, err
	}
	return c.Change(ctx, id, func(sale *seckill.Sale, _ time.Time) error {
		if sale.Seq > 0 || sale.Sold > 0 {
			return bought(id)
		}
		sale.Shelf = seckill.Deleted
		return nil
	})
}

// TryDelete tells why Delete would be refused, and changes nothing.
func (c *Changes) TryDelete(ctx context.Context, id seckill.SaleID) error {
	sale, err := c.catalog.Get(ctx, id)
	if err != nil {
		return err
	}
	if sale.State == seckill.StateOpen {
		return fmt.Errorf("sale %s is open: pause or end it first: %w", id, seckill.ErrState)
	}
	return c.untouched(ctx, id)
}

func bought(id seckill.SaleID) error {
	return fmt.Errorf("sale %s has been bought: it can be ended and hidden: %w", id, seckill.ErrState)
}

// untouched is an error where the gate has admitted anybody, or does not say.
func (c *Changes) untouched(ctx context.Context, id seckill.SaleID) error {
	states, err := c.states(ctx, []seckill.SaleID{id})
	if err != nil {
		return err
	}
	switch state, ok := states[id]; {
	case !ok:
		return fmt.Errorf("sale %s: %w", id, seckill.ErrClosed)
	case state.Seq > 0:
		return bought(id)
	}
	return nil
}

// Notice tells the buyers of a sale something; an empty text takes it back.
func (c *Changes) Notice(ctx context.Context, id seckill.SaleID, text string) (seckill.Sale, error) {
	return c.Change(ctx, id, Noticing(text))
}

// Noticing is the edit of Notice.
func Noticing(text string) Edit {
	return func(sale *seckill.Sale, _ time.Time) error {
		sale.Notice = text
		return nil
	}
}

// Extend closes a sale later than it would.
func (c *Changes) Extend(ctx context.Context, id seckill.SaleID, closes time.Time) (seckill.Sale, error) {
	return c.Change(ctx, id, Extending(closes))
}

// Extending is the edit of Extend.
func Extending(closes time.Time) Edit {
	return func(sale *seckill.Sale, now time.Time) error {
		if err := notEnded(sale); err != nil {
			return err
		}
		if !closes.After(sale.ClosesAt) || !closes.After(now) {
			return &seckill.FieldError{Field: "closes_at", Must: "must be later than the sale closes now, and in the future"}
		}
		sale.ClosesAt = closes
		return nil
	}
}

// Warning is what is allowed in a sale and probably not meant. A page has words of its own
// for the code.
type Warning struct{ Code, Says string }

// Warnings are those of a sale.
func Warnings(sale seckill.Sale, now time.Time) (all []Warning) {
	if !now.Before(sale.ClosesAt) {
		all = append(all, Warning{"closes_in_past", "closes_at is in the past: nobody can buy"})
	} else if now.Sub(sale.OpensAt) > time.Minute {
		all = append(all, Warning{"opens_in_past", "opens_at is in the past: buyers can buy at once"})
	}
	if sale.Price == 0 {
		all = append(all, Warning{"free", "price is 0: every order is paid at once"})
	}
	if sale.ListPrice > 0 && sale.ListPrice <= sale.Price {
		all = append(all, Warning{"price_above_list", "list_price is not above the price"})
	}
	if sale.HoldSeconds < 60 {
		all = append(all, Warning{"short_hold", "hold_seconds is below a minute: hardly anybody pays in time"})
	}
	return all
}
