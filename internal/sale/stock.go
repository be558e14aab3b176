package sale

import (
	"context"
	"errors"
	"time"

	"seckill"
)

// Stock moves units into the sale or out of it, once for each id. Shrinking is
// all or nothing: more than the gate holds is seckill.ErrStock.
func (c *Changes) Stock(ctx context.Context, m seckill.Move) (seckill.Sale, error) {
	if err := m.Validate(); err != nil {
		return seckill.Sale{}, err
	}
	// A rebuild between the two steps makes the move stale, and it begins again. That is rare.
	for try := 1; ; try++ {
		begun, err := c.store.BeginMove(ctx, m)
		if err != nil {
			return seckill.Sale{}, err
		}
		c.catalog.Forget(m.Sale)
		err = c.keeper.move(ctx, begun)
		if err == nil {
			break
		}
		if try == 3 || !errors.Is(err, seckill.ErrStale) {
			c.keeper.changed.Send()
			return seckill.Sale{}, err
		}
	}
	c.catalog.Forget(m.Sale)
	sale, err := c.store.Sale(ctx, m.Sale)
	if err == nil {
		c.changed(sale)
	}
	return c.catalog.show(sale, time.Now()), err
}
