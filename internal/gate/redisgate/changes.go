package redisgate

import (
	"context"
	"strconv"

	"seckill"
)

// Move applies a stock move, once for each id and delta. It reports whether it
// was applied: a shrinking move is refused when the gate holds fewer units. One
// that was read in another epoch is seckill.ErrStale.
func (g *Gate) Move(ctx context.Context, m seckill.Move) (applied bool, err error) {
	answer, err := g.call(ctx, m.Sale, scripts.move, []string{g.key("sale", m.Sale), g.key("moves", m.Sale)},
		[]string{m.ID, strconv.FormatInt(m.Delta, 10), strconv.FormatInt(m.Epoch, 10)})
	if err != nil {
		return false, err
	}
	g.back(m.Sale, answer[1])
	decided, _ := answer[0].ToString()
	return decided == "applied", nil
}

// Apply puts a sale's version in force; a lower one than the gate has is ignored.
// To a retired sale a new version is closed: it may open it again, and then its
// buyers must be known.
func (g *Gate) Apply(ctx context.Context, sale seckill.Sale) error {
	answer, err := g.call(ctx, sale.ID, scripts.apply, []string{g.key("sale", sale.ID)}, terms(sale))
	if err != nil {
		return err
	}
	g.back(sale.ID, answer[1])
	return nil
}

// terms are the fields of a sale that the gate decides by, as scripts take them.
func terms(s seckill.Sale) []string {
	return []string{strconv.FormatInt(s.Version, 10), strconv.FormatInt(s.OpensAt.UnixMilli(), 10), strconv.FormatInt(s.ClosesAt.UnixMilli(), 10),
		bit(s.Paused), bit(s.Ended), strconv.Itoa(s.LimitPerBuyer)}
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
