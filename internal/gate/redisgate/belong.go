package redisgate

import (
	"context"
	"fmt"

	"seckill"
)

// Belong ties this Redis database to a store, the first one that is named. Another
// one is an error, of this call and of every other: its sales have the same ids. Each
// part of a cluster is tied by itself; a part that is gone now is tied when it is back.
func (g *Gate) Belong(ctx context.Context, store string) (err error) {
	g.foreign.Store(nil) // somebody may have mended it
	ctx, cancel := g.bound(ctx)
	defer cancel()
	for b := range bucketCount {
		client, gone := g.up(b)
		if gone != nil {
			err = gone
			continue
		}
		key := g.storeKey(b)
		answers := client.DoMulti(ctx, client.B().Setnx().Key(key).Value(store).Build(), client.B().Get().Key(key).Build())
		tied, gone := answers[1].ToString()
		if gone != nil {
			err = g.fail(b, gone)
			continue
		}
		if tied != store {
			err := fmt.Errorf("gate: Redis at %s holds the sales of another store: give each --store a --gate of its own, or empty this one: %w", g.where, seckill.ErrUnavailable)
			g.foreign.Store(&err)
			return err
		}
		g.tied.Store(true)
	}
	if g.tied.Load() {
		return nil
	}
	return err
}
