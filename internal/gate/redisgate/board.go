package redisgate

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// nodesLife is how long the hash of the nodes outlives the last node that told anything.
const nodesLife = time.Minute

// Tell keeps what a node tells of itself in the place of what it has told before; no text
// says that it stops. It is for people who watch: no decision depends on it.
func (g *Gate) Tell(ctx context.Context, node string, text []byte) error {
	client, err := g.up(0)
	if err != nil {
		return err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	if text == nil {
		return g.failed(0, client.Do(ctx, client.B().Hdel().Key(g.nodesKey()).Field(node).Build()).Error())
	}
	for _, answer := range client.DoMulti(ctx,
		client.B().Hset().Key(g.nodesKey()).FieldValue().FieldValue(node, rueidis.BinaryString(text)).Build(),
		client.B().Pexpire().Key(g.nodesKey()).Milliseconds(nodesLife.Milliseconds()).Build()) {
		if err := answer.Error(); err != nil {
			return g.failed(0, err)
		}
	}
	return nil
}

// Hear returns what every node has told last. Those that are gone are in it until
// somebody has them forgotten by Tell.
func (g *Gate) Hear(ctx context.Context) (map[string][]byte, error) {
	client, err := g.up(0)
	if err != nil {
		return nil, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	told, err := client.Do(ctx, client.B().Hgetall().Key(g.nodesKey()).Build()).AsStrMap()
	if err != nil {
		return nil, g.failed(0, err)
	}
	all := make(map[string][]byte, len(told))
	for node, text := range told {
		all[node] = []byte(text)
	}
	return all, nil
}
