package redisgate

import (
	"context"
	"hash/crc32"
	"time"

	"github.com/redis/rueidis"
)

// Once returns true for the first caller with that name within ttl, on any node, and
// false for every other one. It is not about tickets: what must happen once among the
// nodes, and may be forgotten after ttl, is kept here and not in the store.
func (g *Gate) Once(ctx context.Context, name string, ttl time.Duration) (first bool, err error) {
	b := int(crc32.ChecksumIEEE([]byte(name)) % bucketCount)
	client, err := g.up(b)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	answer := client.Do(ctx, client.B().Set().Key(g.onceKey(b, name)).Value("1").Nx().PxMilliseconds(max(1, ttl.Milliseconds())).Build())
	switch err := answer.Error(); {
	case err == nil:
		return true, nil
	case rueidis.IsRedisNil(err):
		return false, nil
	default:
		return false, g.fail(b, err)
	}
}
