package redisgate

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"seckill"
)

// Weak says which of Redis' settings are weaker than the promise needs.
func (g *Gate) Weak(ctx context.Context) (weak []string, err error) {
	client := g.client.Load()
	if client == nil {
		_, err := g.up(0)
		return nil, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	for address, node := range (*client).Nodes() {
		for _, want := range [][2]string{{"appendonly", "yes"}, {"appendfsync", "always"}, {"no-appendfsync-on-rewrite", "no"}, {"maxmemory-policy", "noeviction"}} {
			have, err := node.Do(ctx, node.B().ConfigGet().Parameter(want[0]).Build()).AsStrMap()
			if e, answered := rueidis.IsRedisErr(err); answered && !refuses(e) {
				weak = append(weak, fmt.Sprintf("the settings of Redis at %s cannot be checked (%v): give its user +config|get, or see by hand that appendonly is yes, appendfsync always, no-appendfsync-on-rewrite no and maxmemory-policy noeviction", address, e))
				break
			}
			if err != nil {
				return nil, fmt.Errorf("gate: Redis at %s: %w: %w", address, seckill.ErrUnavailable, err)
			}
			if have[want[0]] != want[1] {
				weak = append(weak, fmt.Sprintf("Redis at %s has %s %s; the promise needs %s %s", address, want[0], have[want[0]], want[0], want[1]))
			}
		}
	}
	return weak, nil
}
