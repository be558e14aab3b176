package redisgate

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"seckill"
	"seckill/internal/gate"
)

// Cut looks at the gate's state of a sale as of one moment, which is that of the first
// command. The outbox is read after it, page by page, so that nobody waits for a long
// one; what was admitted since is left out by its number. A ticket that gets its outcome
// meanwhile may be missing: whoever reads the store after this finds it there.
func (g *Gate) Cut(ctx context.Context, id seckill.SaleID) (c seckill.Cut, err error) {
	return g.lookAt(ctx, id, math.MaxInt, lookRest)
}

// Glance is Cut without an outbox of more than most tickets, those of other sales in the
// same bucket included.
func (g *Gate) Glance(ctx context.Context, id seckill.SaleID, most int) (c seckill.Cut, err error) {
	return g.lookAt(ctx, id, most, 0)
}

// lookAt is Glance, and rests so long for each entry of a long outbox.
func (g *Gate) lookAt(ctx context.Context, id seckill.SaleID, most int, rest time.Duration) (c seckill.Cut, err error) {
	b := bucket(id)
	client, err := g.up(b)
	if err != nil {
		return c, err
	}
	asked, cancel := g.bound(ctx)
	began := time.Now()
	answers := client.DoMulti(asked,
		client.B().Hmget().Key(g.saleKey(id)).Field(fieldOpen, fieldLeft, fieldSeq, fieldEpoch, fieldFreed).Build(),
		client.B().Llen().Key(g.asideKey(b)).Build(),
		client.B().Xrevrange().Key(g.outboxKey(b)).End("+").Start("-").Count(1).Build(),
		client.B().Xlen().Key(g.outboxKey(b)).Build())
	trip := time.Since(began)
	cancel()
	sale, err := answers[0].ToArray()
	if err != nil {
		return c, g.failSale(ctx, id, err)
	}
	if open, _ := sale[0].ToString(); open != "1" {
		g.lost.Send()
		return c, gate.Closed(id)
	}
	c.Open = true
	for i, n := range []*int64{&c.Left, &c.Seq, &c.Epoch} {
		if *n, err = sale[i+1].AsInt64(); err != nil {
			return c, g.damagedSale(ctx, id)
		}
	}
	freed, _ := sale[4].ToString() // a state that nothing has freed has no such field
	c.Freed = number(freed)
	aside, aerr := answers[1].AsInt64()
	last, lerr := answers[2].AsXRange()
	waiting, werr := answers[3].AsInt64()
	if err := errors.Join(aerr, lerr, werr); err != nil {
		return c, g.fail(b, err)
	}
	c.Aside = aside
	if c.Partial = waiting > int64(most); c.Partial || len(last) == 0 {
		return c, nil
	}
	size := min(lookSize*(1+int(trip/lookTrip)), pageSize)
	pause := time.Duration(size) * restOf(ctx, rest, time.Duration(waiting))
	err = g.entries(ctx, b, last[0].ID, size, pause, func(t *found) {
		if t.Sale == id && t.Seq <= c.Seq {
			c.Outbox = append(c.Outbox, t.Ticket)
		}
	})
	return c, err
}

// restOf is how long to rest for each of so many entries, if it would be rest.
func restOf(ctx context.Context, rest, waiting time.Duration) time.Duration {
	if waiting <= restAfter {
		return 0
	}
	whole := min(rest*waiting, longestRest)
	if until, ok := ctx.Deadline(); ok {
		whole = min(whole, time.Until(until)/3)
	}
	return whole / waiting
}

// Holds returns what the gate holds for buyers of a sale. One that cannot be read, or
// that no gate has written, is left out.
func (g *Gate) Holds(ctx context.Context, id seckill.SaleID, buyers []string) (map[string]seckill.Hold, error) {
	all := make(map[string]seckill.Hold, len(buyers))
	for some := range slices.Chunk(buyers, pageSize) {
		texts, err := about(ctx, g, id, func(c rueidis.Client) rueidis.Completed {
			return c.B().Hmget().Key(g.holdsKey(id)).Field(some...).Build()
		}, func(r rueidis.RedisResult) ([]rueidis.RedisMessage, error) { return r.ToArray() })
		if err != nil {
			return nil, err
		}
		for i, text := range texts {
			if s, err := text.ToString(); err == nil {
				h, ok, err := g.readHold(ctx, id, some[i], s)
				if err != nil {
					return nil, err
				}
				if ok {
					all[some[i]] = h
				}
			}
		}
	}
	return all, nil
}

// ScanHolds returns about max holds of a sale behind a cursor, and the next one; 0 is the
// beginning, and the end.
func (g *Gate) ScanHolds(ctx context.Context, id seckill.SaleID, cursor uint64, max int) (all []seckill.Hold, next uint64, err error) {
	for len(all) < max {
		page, err := about(ctx, g, id, func(c rueidis.Client) rueidis.Completed {
			return c.B().Hscan().Key(g.holdsKey(id)).Cursor(cursor).Count(pageSize).Build()
		}, func(r rueidis.RedisResult) (rueidis.ScanEntry, error) { return r.AsScanEntry() })
		if err != nil {
			return nil, 0, err
		}
		for i := 0; i+1 < len(page.Elements); i += 2 {
			h, ok, err := g.readHold(ctx, id, page.Elements[i], page.Elements[i+1])
			if err != nil {
				return nil, 0, err
			}
			if ok {
				all = append(all, h)
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			break
		}
	}
	return all, cursor, nil
}

// about sends one command about a sale.
func about[T any](ctx context.Context, g *Gate, id seckill.SaleID, command func(rueidis.Client) rueidis.Completed, read func(rueidis.RedisResult) (T, error)) (v T, err error) {
	client, err := g.up(bucket(id))
	if err != nil {
		return v, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	if v, err = read(client.Do(ctx, command(client))); err != nil {
		return v, g.failSale(ctx, id, err)
	}
	return v, nil
}

// readHold is a hold as others read it; ok is false if it cannot be read, or is none of the
// gate's.
func (g *Gate) readHold(ctx context.Context, id seckill.SaleID, buyer, text string) (h seckill.Hold, ok bool, err error) {
	state, t, err := parseHold(text)
	if err != nil {
		g.damagedHold(ctx, id, buyer, text, false)
		return h, false, nil
	}
	if ok, err = g.believe(ctx, id, buyer, text); err != nil || !ok {
		return h, false, err
	}
	t.Sale, t.Buyer, t.Seal = id, buyer, seckill.Seal{}
	states := map[string]seckill.HoldState{pending: seckill.HoldPending, placed: seckill.HoldPlaced, refused: seckill.HoldRefused, released: seckill.HoldReleased}
	return seckill.Hold{Ticket: t, State: states[state]}, true, nil
}
