package redisgate

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/rueidis"

	"seckill"
	"seckill/internal/gate"
)

// Somebody who can write to Redis could put another kind of key in the place of one, or text
// in the place of a number. The scripts decide nothing by such a state, and what no gate has
// written goes, with an alarm: a sale is closed and rebuilt, and no other sale waits for it.

// mistyped reports whether Redis says that a key is of another type than gates make.
func mistyped(err error) bool { return says(err, "WRONGTYPE ") }

// says reports whether an error is an answer of Redis of one of these kinds.
func says(err error, kinds ...string) bool {
	var e *rueidis.RedisError
	if !errors.As(err, &e) {
		return false
	}
	for _, kind := range kinds {
		if strings.HasPrefix(e.Error(), kind) {
			return true
		}
	}
	return false
}

// ofScript reports whether a script failed in its middle, as by a number that is too large.
// Redis names the line of the script then. The client leaves out the kind ERR: what begins
// with another one, in capitals, is about Redis or a key, and so is a script that Redis cannot read.
func ofScript(err error) bool {
	var e *rueidis.RedisError
	if !errors.As(err, &e) || !strings.Contains(e.Error(), "user_script:") || strings.HasPrefix(e.Error(), "Error compiling script") {
		return false
	}
	kind, _, _ := strings.Cut(e.Error(), " ")
	return kind != strings.ToUpper(kind)
}

// failSale is fail for a command about a sale: if a key of it is of another type, the sale
// is closed and rebuilt.
func (g *Gate) failSale(ctx context.Context, id seckill.SaleID, err error) error {
	if mistyped(err) {
		return g.damagedSale(ctx, id)
	}
	return g.fail(bucket(id), err)
}

// damagedSale closes a sale whose state no gate has written, has it rebuilt, and returns
// that it is closed.
func (g *Gate) damagedSale(ctx context.Context, id seckill.SaleID) error {
	keys := []string{g.saleKey(id), g.holdsKey(id), g.releasedKey(id), g.movesKey(id)}
	first, found, err := g.damagedScript(ctx, bucket(id), id, keys, []string{"hash", "hash", "set", "hash"})
	if err != nil {
		return err
	}
	if first {
		g.asides["keys"].Inc()
		g.log.Error("gate: the state of a sale is put aside, since no gate has written it; it is rebuilt", "sale", id, "found", found)
	}
	g.lost.Send()
	return gate.Closed(id)
}

// mendKeys puts aside those keys of a bucket, not of its sales, that no gate has written.
func (g *Gate) mendKeys(ctx context.Context, b int) error {
	keys := []string{g.outboxKey(b), g.stopsKey(b), g.storeKey(b)}
	types := []string{"stream", "hash", "string"}
	if b == bucket(0) {
		keys, types = append(keys, g.nodesKey(), g.sweeperKey()), append(types, "hash", "string")
	}
	first, found, err := g.damagedScript(ctx, b, 0, keys, types)
	if err != nil || !first {
		return err
	}
	g.asides["keys"].Inc()
	g.log.Error("gate: a key is put aside, since no gate has written it", "bucket", b, "found", found)
	return nil
}
