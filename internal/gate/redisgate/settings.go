package redisgate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/rueidis"

	"seckill"
)

// wanted are the settings that the promise needs.
var wanted = [][2]string{{"appendonly", "yes"}, {"appendfsync", "always"}, {"no-appendfsync-on-rewrite", "no"}, {"maxmemory-policy", "noeviction"}}

// Weak says which of Redis' settings are weaker than the promise needs. A member of a cluster
// that does not answer is one line, and the others are told all the same; when none answers
// it is an error.
func (g *Gate) Weak(ctx context.Context) (weak []string, err error) {
	client := g.client.Load()
	if client == nil {
		_, err := g.up(0)
		return nil, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	return weakOf(ctx, (*client).Nodes())
}

func weakOf(ctx context.Context, nodes map[string]rueidis.Client) (weak []string, err error) {
	answered := false
	for _, address := range slices.Sorted(maps.Keys(nodes)) {
		says, gone := weakMember(ctx, address, nodes[address])
		if gone != nil {
			err = errors.Join(err, fmt.Errorf("gate: Redis at %s: %w: %w", address, seckill.ErrUnavailable, gone))
			says = []string{fmt.Sprintf("the settings of Redis at %s cannot be checked: it does not answer", address)}
		} else {
			answered = true
		}
		weak = append(weak, says...)
	}
	if !answered {
		return nil, err
	}
	return weak, nil
}

func weakMember(ctx context.Context, address string, member rueidis.Client) (weak []string, err error) {
	for _, want := range wanted {
		have, err := member.Do(ctx, member.B().ConfigGet().Parameter(want[0]).Build()).AsStrMap()
		if e, answered := rueidis.IsRedisErr(err); answered && !refuses(e) {
			return []string{fmt.Sprintf("the settings of Redis at %s cannot be checked (%v): give its user +config|get, or see by hand that appendonly is yes, appendfsync always, no-appendfsync-on-rewrite no and maxmemory-policy noeviction", address, e)}, nil
		}
		if err != nil {
			return nil, err
		}
		if have[want[0]] != want[1] {
			weak = append(weak, fmt.Sprintf("Redis at %s has %s %s; the promise needs %s %s", address, want[0], have[want[0]], want[0], want[1]))
		}
	}
	return weak, nil
}
