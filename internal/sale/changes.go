package sale

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
)

// ChangeStore is what the changes need of the store.
type ChangeStore interface {
	CreateSale(ctx context.Context, sale seckill.Sale) (seckill.Sale, error)
	Sale(ctx context.Context, id seckill.SaleID) (seckill.Sale, error)
	// UpdateSale MUST raise the version, and write nothing when change fails.
	UpdateSale(ctx context.Context, id seckill.SaleID, change func(*seckill.Sale) error) (seckill.Sale, error)
	BeginMove(ctx context.Context, m seckill.Move) (seckill.Move, error)
	OpenMoves(ctx context.Context) ([]seckill.Move, error)
}

// Changes are what an administrator does to sales. Each is in force at the gate when it
// returns without an error.
type Changes struct {
	store   ChangeStore
	clock   interface{ Now() time.Time } // the gate's
	catalog *Catalog
	keeper  *Keeper
	notice  func(id seckill.SaleID, version int64) // nil: nobody hears
	inForce func(ctx context.Context, fresh bool)  // nil: nobody keeps rules
	states  func(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error)
	totals  sync.Mutex // one change of a total at a time
}

// Create makes a sale and opens it at the gate. When the store has it and the
// gate cannot be reached, the error wraps seckill.ErrUnavailable and the keeper
// opens it later.
func (c *Changes) Create(ctx context.Context, sale seckill.Sale) (seckill.Sale, error) {
	sale.OpensAt, sale.ClosesAt = sale.OpensAt.UTC().Truncate(time.Millisecond), sale.ClosesAt.UTC().Truncate(time.Millisecond)
	sale.Access = sale.Access.Complete()
	sale.Paused = sale.Shelf == seckill.Draft
	if err := sale.Validate(); err != nil {
		return sale, err
	}
	sale, err := c.store.CreateSale(ctx, sale)
	if err != nil {
		return sale, err
	}
	if sale.Epoch > 0 { // made by an earlier request with the same key, and opened
		return c.catalog.show(sale, time.Now()), nil
	}
	c.changed(sale)
	c.ruled(ctx, sale, true)
	crash.Here("10-before-open", true)
	err = c.keeper.Rebuild(ctx, sale.ID)
	if errors.Is(err, seckill.ErrClosed) {
		err = c.keeper.opened(ctx, sale.ID, err)
	}
	if err != nil {
		c.keeper.changed.Send()
		return sale, fmt.Errorf("sale %s is created and will open when the gate is back: %w", sale.ID, err)
	}
	return c.catalog.show(sale, time.Now()), nil
}

// Edit is what one change does to a sale. It fails where the sale does not allow it.
type Edit func(sale *seckill.Sale, now time.Time) error

// Try tells why the edit would be refused, and changes nothing.
func (e Edit) Try(sale seckill.Sale, now time.Time) error { return e.make(&sale, now) }

// make makes the edit. What the sale had before, and no edit could set today, is not the
// edit's fault.
func (e Edit) make(sale *seckill.Sale, now time.Time) error {
	was := *sale
	if err := e(sale, now); err != nil {
		return err
	}
	sale.OpensAt, sale.ClosesAt = sale.OpensAt.UTC().Truncate(time.Millisecond), sale.ClosesAt.UTC().Truncate(time.Millisecond)
	sale.Access = sale.Access.Complete()
	// Stock moves may have brought the total to 0, which no new sale may have.
	valid := *sale
	valid.Total = max(1, valid.Total)
	return valid.ValidateChange(&was)
}

// Change applies change to the sale and puts the new version in force at the
// gate before it returns. change sees the sale as stored and the gate's time.
func (c *Changes) Change(ctx context.Context, id seckill.SaleID, change Edit) (seckill.Sale, error) {
	bring := c.keeper.apply
	sale, err := c.store.UpdateSale(ctx, id, func(sale *seckill.Sale) error {
		if sale.Retired { // the gate has forgotten its buyers; a rebuild brings them back
			bring = func(ctx context.Context, sale seckill.Sale) error { return c.keeper.Rebuild(ctx, sale.ID) }
		}
		// The time is read here, while the sale is locked in the store, and not before the
		// wait for that lock: the sale may have opened meanwhile, which forbids some changes.
		return change.make(sale, c.clock.Now())
	})
	if err != nil {
		return sale, err
	}
	c.changed(sale)
	c.ruled(ctx, sale, false)
	if err := bring(ctx, sale); err != nil {
		c.keeper.changed.Send()
		return sale, notInForce{fmt.Errorf("sale %s is changed and the change will be in force when the gate is back: %w", id, err)}
	}
	return c.catalog.show(sale, time.Now()), nil
}

// ruled puts the rules that the store has now in force. Of a fresh sale without any, the
// other nodes learn when they are asked for it.
func (c *Changes) ruled(ctx context.Context, sale seckill.Sale, fresh bool) {
	if c.inForce != nil {
		c.inForce(ctx, fresh && sale.Access != (seckill.Access{}))
	}
}

// Resume opens a paused sale again. An emergency stop comes to the store before that, so
// that no node tells it afterwards. While the gate does not answer, which may have one, the
// sale stays as it is.
func (c *Changes) Resume(ctx context.Context, id seckill.SaleID) (sale seckill.Sale, err error) {
	if _, err = c.states(ctx, []seckill.SaleID{id}); err == nil {
		err = c.keeper.learnStops(ctx, id)
	}
	if err == nil {
		err = c.forgetUnsealed(ctx, id)
	}
	if err != nil {
		return sale, fmt.Errorf("sale %s is not resumed, since it is not known whether it was stopped while the store was away: %w", id, err)
	}
	return c.Change(ctx, id, Resuming)
}

// Resuming is the edit of Resume.
func Resuming(sale *seckill.Sale, _ time.Time) error {
	if sale.Shelf == seckill.Draft {
		return fmt.Errorf("sale %s is a draft: publish it: %w", sale.ID, seckill.ErrState)
	}
	sale.Paused = false
	return notEnded(sale)
}

func notEnded(sale *seckill.Sale) error {
	if sale.Ended {
		return fmt.Errorf("sale %s has been ended: %w", sale.ID, seckill.ErrState)
	}
	return nil
}

// Renew rebuilds one sale because an administrator asks for it. While another node holds the
// lease of rebuilds it waits, for up to twice the lease's life.
func (c *Changes) Renew(ctx context.Context, id seckill.SaleID) (sale seckill.Sale, err error) {
	if sale, err = c.store.Sale(ctx, id); err != nil {
		return sale, err
	}
	// That the sale is closed is why somebody rebuilds it. A stop stays in force then.
	if err := c.keeper.learnStops(ctx, id); err != nil && !errors.Is(err, seckill.ErrClosed) {
		return sale, err
	}
	end, err := c.keeper.lead(ctx)
	for until := time.Now().Add(2 * rebuildTime); err != nil && time.Now().Before(until); end, err = c.keeper.lead(ctx) {
		if err := duty.Rest(ctx, keeperGap); err != nil {
			return sale, err
		}
	}
	if err != nil {
		return sale, err
	}
	defer end()
	err = c.keeper.Rebuild(ctx, id)
	return c.catalog.show(sale, time.Now()), err
}

// changed makes this node and the others read a sale again that was changed in the store.
func (c *Changes) changed(sale seckill.Sale) {
	c.catalog.Forget(sale.ID)
	if c.notice != nil {
		c.notice(sale.ID, sale.Version)
	}
}
