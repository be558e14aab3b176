package redisgate

import (
	"context"
	"errors"

	"seckill"
	"seckill/internal/gate"
)

// Cut looks at the gate's state of a sale as of one moment, which is that of the first
// command. The outbox is read after it, page by page, so that nobody waits for a long
// one; what was admitted since is left out by its number. A ticket that gets its outcome
// meanwhile may be missing: whoever reads the store after this finds it there.
func (g *Gate) Cut(ctx context.Context, id seckill.SaleID) (c seckill.Cut, err error) {
	b := bucket(id)
	client, err := g.up(b)
	if err != nil {
		return c, err
	}
	asked, cancel := context.WithTimeout(ctx, g.patience)
	answers := client.DoMulti(asked,
		client.B().Hmget().Key(g.saleKey(id)).Field(fieldOpen, fieldLeft, fieldSeq, fieldEpoch).Build(),
		client.B().Llen().Key(g.asidesKey(b)).Build(),
		client.B().Xrevrange().Key(g.outboxKey(b)).End("+").Start("-").Count(1).Build())
	cancel()
	sale, err := answers[0].ToArray()
	if err != nil {
		return c, g.fail(b, err)
	}
	if open, _ := sale[0].ToString(); open != "1" {
		g.lost.Send()
		return c, gate.Closed(id)
	}
	c.Open = true
	for i, n := range []*int64{&c.Left, &c.Seq, &c.Epoch} {
		if *n, err = sale[i+1].AsInt64(); err != nil {
			return c, err
		}
	}
	aside, aerr := answers[1].AsInt64()
	last, lerr := answers[2].AsXRange()
	if err := errors.Join(aerr, lerr); err != nil {
		return c, g.fail(b, err)
	}
	c.Aside = aside
	if len(last) == 0 {
		return c, nil
	}
	err = g.entries(ctx, b, last[0].ID, func(_ string, t seckill.Ticket) {
		if t.Sale == id && t.Seq <= c.Seq {
			c.Outbox = append(c.Outbox, t)
		}
	})
	return c, err
}
