package redisgate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

// A hold says who has a ticket, and keeps its buyer from another one. Somebody who can write
// to Redis could write a hold too, so each carries a seal over buyer, sale, ticket and quantity.
// The node makes the seal before Redis decides. Everything in Go that reads a hold checks the
// seal here; when the script reserve.lua refuses a buyer because of a hold, it returns that hold,
// and the node checks it. The hold's state, number and entry are not sealed: only Redis knows them.

// formedMost is how many sales a node remembers to have sealed holds.
const formedMost = 100_000

// asked is the seal of what the buyer of a ticket asked for.
func (g *Gate) asked(t seckill.Ticket) seckill.Seal {
	t.Seq, t.At, t.Version = 0, time.Time{}, 0
	return g.seals.Make(&t)
}

// belief is what a hold is.
type belief uint8

const (
	forged  belief = iota // no gate has written it
	genuine               // it carries a seal of the gate, or what cannot be forged says the same
	strange               // its seal is not known here, and other nodes have a secret that is not known here either. It keeps its buyer from another ticket, and vouches for nothing
)

// believe reports whether a hold, which can be read, is the gate's or may be that of a node with
// another secret. One that is neither is put aside, with an alarm. The error says that nobody can
// tell now.
func (g *Gate) believe(ctx context.Context, id seckill.SaleID, buyer, hold string) (bool, error) {
	is, err := g.believeFor(ctx, id, buyer, hold, nil)
	return is != forged, err
}

// believeFor is believe for a hold whose entry in the outbox has been read; nil: it has not.
// Whom the store or Redis keeps waiting for too long is told that nothing is known.
func (g *Gate) believeFor(ctx context.Context, id seckill.SaleID, buyer, hold string, entry *found) (belief, error) {
	state, t, err := parseHold(hold)
	if err != nil {
		return forged, nil
	}
	t.Sale, t.Buyer = id, buyer
	if g.seals.Asked(t) {
		return genuine, nil
	}
	// It is of an earlier version, of a node with another secret, or forged.
	ctx, cancel := g.bound(ctx)
	defer cancel()
	ours, err := g.isFormed(ctx, id)
	if err != nil {
		return forged, err
	}
	if !ours {
		return genuine, nil
	}
	others, err := g.othersSeal(ctx, t.Seal)
	if err != nil {
		return forged, uncheckable(id, err)
	}
	if others {
		return strange, nil
	}
	believed, err := false, error(nil)
	if state == pending {
		believed, err = g.waits(ctx, &t, entryOf(hold), entry)
	} else {
		believed, err = g.settled(ctx, &t, state)
	}
	switch {
	case err != nil:
		return forged, err
	case believed:
		return genuine, nil
	}
	g.disown(ctx, id, buyer, hold, "no gate has written this hold", false)
	return forged, nil
}

// othersSeal reports whether a seal that is not known here may be that of a node with another
// secret, since there are such nodes.
func (g *Gate) othersSeal(ctx context.Context, seal seckill.Seal) (bool, error) {
	if seal == (seckill.Seal{}) || g.strangers == nil {
		return false, nil
	}
	return g.strangers(ctx)
}

// waits reports whether the outbox has the ticket of a pending hold, sealed.
func (g *Gate) waits(ctx context.Context, t *seckill.Ticket, at string, read *found) (bool, error) {
	b := bucket(t.Sale)
	if at == noEntry {
		return false, nil
	}
	if read == nil {
		client, err := g.up(b)
		if err != nil {
			return false, err
		}
		ctx, cancel := g.bound(ctx)
		defer cancel()
		page, err := client.Do(ctx, client.B().Xrange().Key(g.outboxKey(b)).Start(at).End(at).Build()).AsXRange()
		if err != nil {
			return false, g.fail(b, err)
		}
		if len(page) == 0 || len(page[0].FieldValues) == 0 {
			return false, nil
		}
		in, err := parseEntry(page[0])
		if err != nil {
			return false, nil
		}
		read = &found{Ticket: in, entry: at, number: in.Seq}
	}
	in := read.Ticket
	return in.ID == t.ID && in.Sale == t.Sale && in.Buyer == t.Buyer && in.Quantity == t.Quantity && read.number == t.Seq && g.seals.Asked(in), nil
}

// settled reports whether the store has the outcome that a hold says.
func (g *Gate) settled(ctx context.Context, t *seckill.Ticket, state string) (bool, error) {
	if g.outcome == nil {
		return false, nil
	}
	o, err := g.outcome(ctx, t.Sale, t.Buyer, t.ID)
	switch {
	case errors.Is(err, seckill.ErrNotFound):
		return false, nil
	case err != nil:
		return false, uncheckable(t.Sale, err)
	}
	return o.Placed() == (state != refused) && o.Ticket.Quantity == t.Quantity, nil
}

// uncheckable says that the store does not tell now whether a hold is the gate's.
func uncheckable(id seckill.SaleID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("gate: a hold of sale %s cannot be checked: %w: %w", id, seckill.ErrUnavailable, err)
}

// disown takes a hold away that cannot be read or that no gate has written, and keeps it
// where a person finds it. Several readers may find it at once: the first one counts it. If it has changed
// meanwhile it is somebody else's to check, unless this node has just written over it.
func (g *Gate) disown(ctx context.Context, id seckill.SaleID, buyer, hold, why string, over bool) {
	content := strings.ToValidUTF8(hold[:min(len(hold), 1000)], "?")
	kept, _ := json.Marshal(map[string]string{"from": "holds", "sale": id.String(), "buyer": buyer, "content": content, "why": why, "at": time.Now().UTC().Format(time.RFC3339)})
	if first, err := g.disownScript(ctx, bucket(id), g.holdsKey(id), buyer, hold, string(kept), over, g.saleKey(id)); err == nil && !first {
		return
	}
	g.asides["holds"].Inc()
	g.log.Error("gate: a hold is put aside", "sale", id, "buyer", buyer, "hold", strconv.QuoteToASCII(content[:min(len(content), 200)]), "error", why)
}

// isFormed reports whether a sale's state at the gate was made by a version that seals its
// holds. What a node has seen once it goes by, whatever Redis says later.
func (g *Gate) isFormed(ctx context.Context, id seckill.SaleID) (bool, error) {
	g.mu.Lock()
	_, seen := g.formed[id]
	g.mu.Unlock()
	if seen {
		return true, nil
	}
	client, err := g.up(bucket(id))
	if err != nil {
		return false, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	form, err := client.Do(ctx, client.B().Hget().Key(g.saleKey(id)).Field(fieldForm).Build()).ToString()
	if mistyped(err) { // no version has made it, so what has no seal in it is not believed
		if closed := g.damagedSale(ctx, id); !errors.Is(closed, seckill.ErrClosed) {
			return false, closed
		}
		return true, nil
	}
	if err != nil && !rueidis.IsRedisNil(err) {
		return false, g.fail(bucket(id), err)
	}
	if form == holdForm {
		g.noteFormed(id)
	}
	return form == holdForm, nil
}

func (g *Gate) noteFormed(id seckill.SaleID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.formed) >= formedMost {
		clear(g.formed)
	}
	g.formed[id] = struct{}{}
}
