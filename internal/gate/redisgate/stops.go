package redisgate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// Stops returns the stops that the store has not learned of: those of some sales, or of all
// masters that can be reached; the sales of the others are closed. For a sale that is named, a
// note that cannot be judged now is an error: nobody may resume that sale.
func (g *Gate) Stops(ctx context.Context, of ...seckill.SaleID) (all []seckill.Stop, err error) {
	for _, id := range of {
		note, err := g.stopNote(ctx, id)
		if err == nil && note != "" {
			var waits bool
			if all, waits, err = g.judge(ctx, all, bucket(id), id.String(), note); waits {
				err = fmt.Errorf("gate: sale %s was stopped by a node with another secret: ask that one to resume it: %w", id, seckill.ErrUnavailable)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if len(of) > 0 || len(g.broken()) == bucketCount {
		return all, nil
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
			var unknown error
			all, _, unknown = g.judge(ctx, all, b, id, note)
			bad = errors.Join(bad, unknown)
		}
		return nil
	})
	return all, errors.Join(err, bad)
}

// judge adds the stop of a note to others. What no gate has made is put aside. The note of a
// node with the next secret waits for that node, which learns of it.
func (g *Gate) judge(ctx context.Context, all []seckill.Stop, b int, id, note string) (_ []seckill.Stop, waits bool, err error) {
	stop, why := g.seals.ReadNote([]byte(note))
	if errors.Is(why, seckill.ErrUnsealed) && g.strangers != nil {
		if waits, err = g.strangers(ctx); err != nil || waits {
			return all, waits, err
		}
	}
	if why == nil && (stop.Sale.String() != id || bucket(stop.Sale) != b) {
		why = errors.New("it is the note of another sale")
	}
	if errors.Is(why, seckill.ErrUnsealed) && stop.Sale.String() == id && bucket(stop.Sale) == b && !strings.Contains(note, `"seal":`) {
		if stop.Unsealed, err = g.stoppedBy(ctx, stop); err != nil {
			return all, false, err
		}
		if stop.Unsealed {
			g.ringUnsealed(stop, note)
			return append(all, stop), false, nil
		}
	}
	if why != nil {
		return all, false, g.putStopAside(ctx, b, id, note, why)
	}
	return append(all, stop), false, nil
}

// stoppedBy reports whether a sale has at the gate what a stop sets.
func (g *Gate) stoppedBy(ctx context.Context, stop seckill.Stop) (bool, error) {
	client, err := g.up(bucket(stop.Sale))
	if err != nil {
		return false, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	set, err := client.Do(ctx, client.B().Hget().Key(g.saleKey(stop.Sale)).Field(stopField(stop)).Build()).ToString()
	if rueidis.IsRedisNil(err) || mistyped(err) {
		return false, nil
	}
	return set == bit(true), g.fail(bucket(stop.Sale), err)
}

// ringUnsealed rings, once on this node, for a note that a node of an earlier version has left.
func (g *Gate) ringUnsealed(stop seckill.Stop, note string) {
	g.mu.Lock()
	rung := g.unsealed[stop.Sale] == note
	if len(g.unsealed) >= formedMost {
		clear(g.unsealed)
	}
	g.unsealed[stop.Sale] = note
	g.mu.Unlock()
	if !rung {
		g.asides["stops"].Inc()
		g.log.Error("gate: a sale is stopped, and the note of it has no seal: a node of an earlier version made it while the store was away. The sale stays stopped until somebody pauses or ends it again, or resumes it, at a node of this version", "sale", stop.Sale, "end", stop.End, "by", stop.By.Who, "stopped_at", stop.At)
	}
}

// stopNote reads the note of a stop of one sale; empty: there is none.
func (g *Gate) stopNote(ctx context.Context, id seckill.SaleID) (string, error) {
	client, err := g.up(bucket(id))
	if err != nil {
		return "", err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	note, err := client.Do(ctx, client.B().Hget().Key(g.stopsKey(bucket(id))).Field(id.String()).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		return "", nil
	}
	return note, g.fail(bucket(id), err)
}

// Noted reports whether the store still has to learn of a stop.
func (g *Gate) Noted(ctx context.Context, stop seckill.Stop) (bool, error) {
	note, err := g.stopNote(ctx, stop.Sale)
	if err != nil || note == "" {
		return false, err
	}
	is, err := g.seals.ReadNote([]byte(note))
	return err == nil && is == stop, nil // another note, or one without a seal, is judged by Stops
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
