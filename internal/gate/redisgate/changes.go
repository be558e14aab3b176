package redisgate

import (
	"context"

	"seckill"
)

// Move applies a stock move, once for each id and delta. It reports whether it
// was applied: a shrinking move is refused when the gate holds fewer units. One
// that was read in another epoch is seckill.ErrStale.
func (g *Gate) Move(ctx context.Context, m seckill.Move) (applied bool, err error) {
	answer, err := g.moveScript(ctx, m)
	if err != nil {
		return false, err
	}
	g.back(m.Sale, answer[1])
	decided, _ := answer[0].ToString()
	return decided == "applied", nil
}

// Apply puts a sale's version in force; a lower one than the gate has is ignored.
// A retired sale does not take a new version: Apply returns ErrClosed, so the sale is
// rebuilt first. The new version may open it again, and by then the gate must know its
// buyers, whom it forgot when the sale retired.
func (g *Gate) Apply(ctx context.Context, sale seckill.Sale) error {
	answer, err := g.applyScript(ctx, &sale)
	if err != nil {
		return err
	}
	g.back(sale.ID, answer[1])
	return nil
}
