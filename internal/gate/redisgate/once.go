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
	_, noted, err := g.note(ctx, name, "1", ttl)
	return err == nil && !noted, err
}

// Tried notes for ttl that what has that name is tried by somebody, and reports whether it was
// noted of somebody else before. So an answer that got lost may be asked for again. While Redis
// is full nothing can be noted: then it says what was noted before.
func (g *Gate) Tried(ctx context.Context, name, by string, ttl time.Duration) (before bool, err error) {
	was, noted, err := g.note(ctx, name, by, ttl)
	if err == nil || !says(err, "OOM ") {
		return noted && was != by, err
	}
	b := nameBucket(name)
	client, err := g.up(b)
	if err != nil {
		return false, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	was, err = client.Do(ctx, client.B().Get().Key(g.onceKey(b, name)).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	return err == nil && was != by, g.fail(b, err)
}

// note keeps a value under a name for ttl, unless there is one: was is that one.
func (g *Gate) note(ctx context.Context, name, value string, ttl time.Duration) (was string, noted bool, err error) {
	b := nameBucket(name)
	client, err := g.up(b)
	if err != nil {
		return "", false, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	was, err = client.Do(ctx, client.B().Set().Key(g.onceKey(b, name)).Value(value).Nx().Get().PxMilliseconds(max(1, ttl.Milliseconds())).Build()).ToString()
	switch {
	case rueidis.IsRedisNil(err):
		return "", false, nil
	case mistyped(err): // somebody else's key: it is there
		return "", true, nil
	default:
		return was, err == nil, g.fail(b, err)
	}
}

// nameBucket is where that is which has a name and belongs to no sale.
func nameBucket(name string) int { return int(crc32.ChecksumIEEE([]byte(name)) % bucketCount) }

// Delay makes whoever has that name wait on all nodes for so long, if wait is not 0, and
// returns how long they have to wait now.
func (g *Gate) Delay(ctx context.Context, name string, wait time.Duration) (left time.Duration, err error) {
	b := nameBucket(name)
	client, err := g.up(b)
	if err != nil {
		return 0, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	key := g.delayKey(b, name)
	if wait > 0 {
		err := client.Do(ctx, client.B().Set().Key(key).Value("1").PxMilliseconds(max(1, wait.Milliseconds())).Build()).Error()
		return wait, g.fail(b, err)
	}
	ms, err := client.Do(ctx, client.B().Pttl().Key(key).Build()).AsInt64()
	if err != nil {
		return 0, g.fail(b, err)
	}
	return time.Duration(max(0, ms)) * time.Millisecond, nil // below 0: there is none
}

// Distinct adds the member, unless it is empty, to those of that name, and returns about how
// many different ones all nodes have added. They are forgotten ttl after the last one.
func (g *Gate) Distinct(ctx context.Context, name, member string, ttl time.Duration) (n int, err error) {
	b := nameBucket(name)
	client, err := g.up(b)
	if err != nil {
		return 0, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	key := g.distinctKey(b, name)
	var commands rueidis.Commands
	if member != "" {
		commands = append(commands, client.B().Pfadd().Key(key).Element(member).Build(), client.B().Pexpire().Key(key).Milliseconds(max(1, ttl.Milliseconds())).Build())
	}
	commands = append(commands, client.B().Pfcount().Key(key).Build())
	for _, answer := range client.DoMulti(ctx, commands...) {
		count, err := answer.AsInt64()
		if err != nil {
			return 0, g.fail(b, err)
		}
		n = int(count) // the last command counts
	}
	return n, nil
}
