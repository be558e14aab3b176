package redisgate

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"seckill"
)

// Belong ties this Redis database to a store, the first one that is named. Another
// one is an error, of this call and of every other: its sales have the same ids. Each
// part of a cluster is tied by itself; a part that is gone now is tied when it is back.
func (g *Gate) Belong(ctx context.Context, store string) (err error) {
	g.foreign.Store(nil) // somebody may have mended it
	ctx, cancel := g.bound(ctx)
	defer cancel()
	var commands rueidis.Commands
	var buckets []int
	var client rueidis.Client
	for b := range bucketCount {
		c, gone := g.up(b)
		if gone != nil {
			err = gone
			continue
		}
		client, buckets = c, append(buckets, b)
		commands = append(commands, c.B().Setnx().Key(g.storeKey(b)).Value(store).Build(), c.B().Get().Key(g.storeKey(b)).Build())
	}
	if len(commands) == 0 {
		return err
	}
	answers := client.DoMulti(ctx, commands...)
	for i, b := range buckets {
		tied, gone := answers[2*i+1].ToString()
		if gone != nil {
			err = g.failed(b, gone)
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
