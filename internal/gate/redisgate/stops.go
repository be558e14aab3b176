package redisgate

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

// Stop stops a sale while the store is away: for all nodes, at once, also when Redis' memory
// is full. Until the store has learned of it, neither a change nor a rebuild opens the sale
// again.
func (g *Gate) Stop(ctx context.Context, stop seckill.Stop) error {
	note, err := g.seals.Note(stop)
	if err != nil {
		return err
	}
	if err := g.stopScript(ctx, stop, string(note)); err != nil {
		return err
	}
	g.flags.Clear(stop.Sale)
	return nil
}

// Stops returns the stops that the store has not learned of, of all masters that can be
// reached; the sales of the others are closed.
func (g *Gate) Stops(ctx context.Context) (all []seckill.Stop, err error) {
	if len(g.broken()) == bucketCount {
		return nil, nil
	}
	var bad error
	err = g.outboxes(ctx, func(c rueidis.Client, b int) rueidis.Completed {
		return c.B().Hgetall().Key(g.stopsKey(b)).Build()
	}, func(_ rueidis.Client, b int, answer rueidis.RedisResult) error {
		notes, gone := answer.AsStrMap()
		if gone != nil {
			return g.failed(b, gone)
		}
		for id, note := range notes {
			stop, why := g.seals.ReadNote([]byte(note))
			if errors.Is(why, seckill.ErrUnsealed) && g.strangers != nil {
				// A node with the next secret may have made it, and then learns of it.
				if others, unknown := g.strangers(ctx); unknown != nil || others {
					bad = errors.Join(bad, unknown)
					continue
				}
			}
			if why == nil && (stop.Sale.String() != id || bucket(stop.Sale) != b) {
				why = errors.New("it is the note of another sale")
			}
			if why != nil {
				bad = errors.Join(bad, g.putStopAside(ctx, b, id, note, why))
				continue
			}
			all = append(all, stop)
		}
		return nil
	})
	return all, errors.Join(err, bad)
}

// putStopAside keeps a note that cannot be read, or that no gate has made, where a person
// finds it, with an alarm: it may be that of a stop.
func (g *Gate) putStopAside(ctx context.Context, b int, id, note string, why error) error {
	sale, content := strings.ToValidUTF8(id[:min(len(id), 100)], "?"), strings.ToValidUTF8(note[:min(len(note), 1000)], "?")
	kept, err := json.Marshal(map[string]string{"from": "stops", "entry": sale, "content": content, "why": why.Error(), "at": time.Now().UTC().Format(time.RFC3339)})
	if err != nil {
		return err
	}
	if first, err := g.disownScript(ctx, b, g.stopsKey(b), id, note, string(kept), false); err != nil || !first {
		return err
	}
	g.asides["stops"].Inc()
	g.log.Error("gate: the note of an emergency stop cannot be read, or no gate has made it, and is put aside; see whether that sale should be stopped", "bucket", b, "sale", sale, "content", content, "error", why)
	return nil
}

// Learned forgets a stop that the store has learned of.
func (g *Gate) Learned(ctx context.Context, stop seckill.Stop) error {
	return g.learnedScript(ctx, stop)
}
