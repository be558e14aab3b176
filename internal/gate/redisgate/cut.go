package redisgate

import (
	"context"

	"seckill"
)

// Cut looks at the gate's state of a sale at one moment.
func (g *Gate) Cut(ctx context.Context, id seckill.SaleID) (c seckill.Cut, err error) {
	answer, err := g.cutScript(ctx, id)
	if err != nil {
		return c, err
	}
	c.Open = true
	for i, n := range []*int64{&c.Left, &c.Seq, &c.Epoch} {
		if *n, err = answer[i+1].AsInt64(); err != nil {
			return c, err
		}
	}
	entries, err := answer[4].AsXRange()
	if err != nil {
		return c, err
	}
	for _, e := range entries {
		t, err := parseEntry(e)
		if err != nil {
			return c, err
		}
		c.Outbox = append(c.Outbox, t)
	}
	return c, nil
}
