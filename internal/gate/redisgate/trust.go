package redisgate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

// asideMost is the most entries kept aside in each bucket; older ones go.
const asideMost = 10_000

// found is a ticket of the outbox and where it stands.
type found struct {
	seckill.Ticket
	entry  string
	number int64 // as the entry says. Seq is no higher than the last one that the gate has given
	// Only a node with another secret can tell whether the gate has made the entry: this one
	// neither sends its ticket nor puts it aside. Until then its units are not to be sold, and
	// its Seal is the one that stands in the entry.
	strange bool
}

// read reads entries of an outbox and seals their tickets for the queue. It puts aside an
// entry that it cannot read, and one that the gate has not made. An entry is the gate's if
// it carries the seal of its reservation. One without a seal is the gate's if its buyer's hold
// names it: a node of an earlier version wrote it. One whose seal is not known here is strange
// as long as other nodes have a secret that this one has not, or nobody can say whether they
// have: a hold, which Redis alone keeps, is no proof of it. seen has the entries read before, by ticket: if two entries have one
// ticket, the first is the gate's, since nobody can add an entry before another.
func (g *Gate) read(ctx context.Context, b int, entries []rueidis.XRangeEntry, seen map[string]string) (tickets []found, err error) {
	var doubtful []found
	for _, e := range entries {
		if len(e.FieldValues) == 0 {
			continue // deleted: it has its outcome
		}
		t, err := parseEntry(e)
		if err != nil {
			g.putAside(ctx, b, e.ID, fmt.Sprint(e.FieldValues), err)
			continue
		}
		switch before, twice := seen[t.ID]; {
		case twice && before != e.ID:
			g.putAside(ctx, b, e.ID, fmt.Sprintf("%+v", t), errors.New("the ticket is there twice"))
		case g.seals.Asked(t):
			tickets = append(tickets, found{Ticket: t, entry: e.ID, number: t.Seq})
			seen[t.ID] = e.ID
		default:
			if others, unknown := g.othersSeal(ctx, t.Seal); others || unknown != nil {
				tickets = append(tickets, found{Ticket: t, entry: e.ID, number: t.Seq, strange: true})
				seen[t.ID] = e.ID
				continue
			}
			doubtful = append(doubtful, found{Ticket: t, entry: e.ID, number: t.Seq})
		}
	}
	says, err := g.named(ctx, b, doubtful)
	if err != nil {
		return nil, err
	}
	for i, f := range doubtful {
		if f.strange = says[i] == untold; says[i] != named && !f.strange {
			g.putAside(ctx, b, f.entry, fmt.Sprintf("%+v", f.Ticket), errors.New("the ticket has no seal of the gate, and no hold names it"))
			continue
		}
		seen[f.ID] = f.entry
		tickets = append(tickets, f)
	}
	if err := g.given(ctx, b, tickets); err != nil {
		return nil, err
	}
	for i := range tickets {
		if !tickets[i].strange {
			tickets[i].Seal = g.seals.Make(&tickets[i].Ticket)
		}
	}
	return tickets, nil
}

// given lowers admission numbers that the gate has not given. The number of an entry is not
// under its seal, so who may write to Redis can invent it; the ticket is genuine all the same,
// and goes on with the last number that the gate has given.
func (g *Gate) given(ctx context.Context, b int, tickets []found) error {
	highest := map[seckill.SaleID]int64{}
	for _, f := range tickets {
		highest[f.Sale] = 0
	}
	if len(highest) == 0 {
		return nil
	}
	client, err := g.up(b)
	if err != nil {
		return err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	sales := slices.Collect(maps.Keys(highest))
	commands := make(rueidis.Commands, len(sales))
	for i, id := range sales {
		commands[i] = client.B().Hget().Key(g.saleKey(id)).Field(fieldSeq).Build()
	}
	for i, answer := range client.DoMulti(ctx, commands...) {
		last, err := answer.ToString()
		if err != nil && !rueidis.IsRedisNil(err) && !mistyped(err) {
			return g.fail(b, err)
		}
		if highest[sales[i]] = seckill.MaxSeq; readable(last) { // else nobody knows
			highest[sales[i]] = max(1, number(last))
		}
	}
	for i := range tickets {
		tickets[i].Seq = min(tickets[i].Seq, highest[tickets[i].Sale])
	}
	return nil
}

// What the hold of a ticket's buyer says about an entry of the outbox.
type naming uint8

const (
	unknown naming = iota // nothing: there is none, it cannot be read, or no gate has written it
	named                 // this entry waits for its outcome
	unnamed               // another entry or ticket does, or the ticket has its outcome
	untold                // only a node with another secret can tell who has written it
)

// named asks the holds about entries.
func (g *Gate) named(ctx context.Context, b int, of []found) (all []naming, err error) {
	if len(of) == 0 {
		return nil, nil
	}
	client, err := g.up(b)
	if err != nil {
		return nil, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	commands := make(rueidis.Commands, len(of))
	for i, f := range of {
		commands[i] = client.B().Hget().Key(g.holdsKey(f.Sale)).Field(f.Buyer).Build()
	}
	all = make([]naming, len(of))
	for i, answer := range client.DoMulti(ctx, commands...) {
		f := of[i]
		held, err := answer.ToString()
		if mistyped(err) { // of one sale: the others' entries do not wait for it
			if closed := g.damagedSale(ctx, f.Sale); !errors.Is(closed, seckill.ErrClosed) {
				return nil, closed
			}
			continue
		}
		if err != nil && !rueidis.IsRedisNil(err) {
			return nil, g.fail(b, err)
		}
		state, t, unreadable := parseHold(held)
		if unreadable != nil {
			continue
		}
		read := &f
		if entryOf(held) != f.entry {
			read = nil
		}
		is, err := g.believeFor(ctx, f.Sale, f.Buyer, held, read)
		switch {
		case err != nil:
			return nil, err
		case is == forged:
			continue // a forged hold takes nobody's ticket away either
		case is == strange:
			all[i] = untold
			continue
		}
		all[i] = unnamed
		if read != nil && state == pending && t.ID == f.ID && t.Quantity == f.Quantity && t.Seq == f.number {
			all[i] = named
		}
	}
	return all, nil
}

// putAside takes an entry out of the outbox and keeps it where a person finds it, with
// an alarm. Several readers may find it at once, on one node or on two: the first one
// counts it. If it cannot be kept, since Redis does not answer for one, the log has it.
func (g *Gate) putAside(ctx context.Context, b int, entry, content string, why error) {
	content = strings.ToValidUTF8(content[:min(len(content), 1000)], "?")
	kept, _ := json.Marshal(map[string]string{"from": "outbox", "entry": entry, "content": content, "why": why.Error(), "at": time.Now().UTC().Format(time.RFC3339)})
	if first, err := g.asideScript(ctx, b, entry, string(kept)); err == nil && !first {
		return
	}
	g.asides["outbox"].Inc()
	g.log.Error("gate: an entry of the outbox is put aside", "bucket", b, "entry", entry, "content", content, "error", why)
}

// damagedHolds puts holds aside that a script could not read: pairs of buyer and hold. The
// sale's next rebuild gives those buyers their holds back. over reports whether the script has
// written a new hold over that of a buyer.
func (g *Gate) damagedHolds(ctx context.Context, id seckill.SaleID, said rueidis.RedisMessage, over func(buyer string) bool) {
	pairs, err := said.AsStrSlice()
	if err != nil {
		return
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		g.damagedHold(ctx, id, pairs[i], pairs[i+1], over(pairs[i]))
	}
}

func (g *Gate) damagedHold(ctx context.Context, id seckill.SaleID, buyer, hold string, over bool) {
	g.disown(ctx, id, buyer, hold, "it cannot be read: rebuild the sale, which makes it anew", over)
}
