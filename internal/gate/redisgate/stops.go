package redisgate

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"seckill"
)

// Stop stops a sale while the store is away: for all nodes, at once, also when Redis' memory
// is full. A rebuild leaves the note of it as it is, so that the store learns of it before a
// rebuild could open the sale again.
func (g *Gate) Stop(ctx context.Context, stop seckill.Stop) error {
	note, err := json.Marshal(stop)
	if err != nil {
		return err
	}
	field := fieldPaused
	if stop.End {
		field = fieldEnded
	}
	if err := g.stopScript(ctx, stop.Sale, string(note), field); err != nil {
		return err
	}
	g.flags.Clear(stop.Sale)
	return nil
}

// Stops returns the stops that the store has not learned of, of all masters that can be
// reached.
func (g *Gate) Stops(ctx context.Context) (all []seckill.Stop, err error) {
	ctx, cancel := g.bound(ctx)
	defer cancel()
	for b := range bucketCount {
		client, gone := g.up(b)
		if gone != nil {
			continue // its sales are closed
		}
		notes, gone := client.Do(ctx, client.B().Hgetall().Key(g.stopsKey(b)).Build()).AsStrMap()
		if gone != nil {
			err = errors.Join(err, g.fail(b, gone))
			continue
		}
		for id, note := range notes {
			var stop seckill.Stop
			if bad := json.Unmarshal([]byte(note), &stop); bad != nil || stop.Sale.String() != id {
				err = errors.Join(err, g.putStopAside(ctx, b, id, note))
				continue
			}
			all = append(all, stop)
		}
	}
	return all, err
}

// putStopAside keeps a note that cannot be read where a person finds it, with an alarm: it
// may be that of a stop, and no node would be ready while it waits for the store.
func (g *Gate) putStopAside(ctx context.Context, b int, id, note string) error {
	sale, content := strings.ToValidUTF8(id[:min(len(id), 100)], "?"), strings.ToValidUTF8(note[:min(len(note), 1000)], "?")
	kept, err := json.Marshal(map[string]string{"from": "stops", "entry": sale, "content": content, "why": "it is no note of a stop", "at": time.Now().UTC().Format(time.RFC3339)})
	if err != nil {
		return err
	}
	if first, err := g.disownScript(ctx, b, g.stopsKey(b), id, note, string(kept)); err != nil || !first {
		return err
	}
	g.asides["stops"].Inc()
	g.log.Error("gate: the note of an emergency stop cannot be read and is put aside; see whether that sale should be stopped", "bucket", b, "sale", sale, "content", content)
	return nil
}

// Learned forgets a stop that the store has learned of.
func (g *Gate) Learned(ctx context.Context, stop seckill.Stop) error {
	b := bucket(stop.Sale)
	client, err := g.up(b)
	if err != nil {
		return err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	if err := client.Do(ctx, client.B().Hdel().Key(g.stopsKey(b)).Field(stop.Sale.String()).Build()).Error(); err != nil {
		return g.fail(b, err)
	}
	return nil
}
