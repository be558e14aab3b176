package redisgate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

// This file is what stands in Redis: the keys, the fields of a sale's hash, the
// states of a hold, and the forms of a hold and of an outbox entry. lua/prelude.lua
// reads and writes the same two forms for the scripts. docs/redis.md is the same for
// people who operate a Redis.

// bucketCount is the number of hash tags, and of outbox streams.
const bucketCount = 16

// bucket is where the keys of a sale are.
func bucket(id seckill.SaleID) int { return int(id % bucketCount) }

// tag begins the keys of a bucket; what stands in braces decides where a cluster
// keeps them.
func (g *Gate) tag(bucket int) string { return g.prefix + "{" + strconv.Itoa(bucket) + "}:" }

// key names something of one sale.
func (g *Gate) key(what string, id seckill.SaleID) string {
	return g.tag(bucket(id)) + what + ":" + id.String()
}

// The keys of a sale.
func (g *Gate) saleKey(id seckill.SaleID) string     { return g.key("sale", id) }     // hash: the fields below
func (g *Gate) holdsKey(id seckill.SaleID) string    { return g.key("holds", id) }    // hash: a hold by buyer
func (g *Gate) releasedKey(id seckill.SaleID) string { return g.key("released", id) } // set: tickets whose units came back in this epoch
func (g *Gate) movesKey(id seckill.SaleID) string    { return g.key("moves", id) }    // hash: applied or refused, by delta:id, in this epoch

// newHoldsKey is a hash of holds that a rebuild writes and then puts in the place of the
// old ones. It ends by itself if that node dies.
func (g *Gate) newHoldsKey(id seckill.SaleID, token string) string {
	return g.holdsKey(id) + ":" + token
}

// The keys of a bucket.
func (g *Gate) outboxKey(bucket int) string { return g.tag(bucket) + "outbox" } // stream: tickets without an outcome
func (g *Gate) storeKey(bucket int) string  { return g.tag(bucket) + "store" }  // string: the store whose sales these are
func (g *Gate) asideKey(bucket int) string  { return g.tag(bucket) + "aside" }  // list: what was put aside, the newest first
func (g *Gate) stopsKey(bucket int) string  { return g.tag(bucket) + "stops" }  // hash: by sale: an emergency stop that the store has not learned of
func (g *Gate) probeKey(bucket int) string  { return g.tag(bucket) + "probe" }  // string: written to see whether writing works

// nodesKey is a hash in bucket 0: by node, what it tells of itself. It ends by itself when
// no node tells anything.
func (g *Gate) nodesKey() string { return g.tag(0) + "nodes" }

// onceKey is a string that ends by itself: what has happened once on some node.
func (g *Gate) onceKey(bucket int, name string) string { return g.tag(bucket) + "once:" + name }

// delayKey is a string that ends by itself: somebody has to wait until it does.
func (g *Gate) delayKey(bucket int, name string) string { return g.tag(bucket) + "hold:" + name }

// distinctKey is a HyperLogLog that ends by itself: what nodes have seen of a kind.
func (g *Gate) distinctKey(bucket int, name string) string { return g.tag(bucket) + "distinct:" + name }

// sweeperKey is a string in bucket 0: the node that sweeps now, for as long as its
// lease lasts.
func (g *Gate) sweeperKey() string { return g.tag(0) + "sweeper" }

// finalChannel is not a key: on it nodes tell one another which tickets of a bucket
// have their outcomes, as a list of ids with commas.
func (g *Gate) finalChannel(bucket int) string { return g.tag(bucket) + "final" }

// The fields of a sale's hash. Numbers are decimal, times ms since 1970, switches 0 or 1.
const (
	fieldOpen     = "open"     // 1: the state is known; anything else: closed until it is rebuilt
	fieldShut     = "shut"     // the token of the node that closed it for a rebuild
	fieldEpoch    = "epoch"    // of the rebuild that made this state
	fieldVersion  = "version"  // of the sale, in force
	fieldOpens    = "opens"    // when it admits from
	fieldCloses   = "closes"   // and until before when
	fieldPaused   = "paused"   // by an administrator
	fieldEnded    = "ended"    // by an administrator
	fieldLimit    = "limit"    // units per buyer
	fieldRetired  = "retired"  // its buyers are forgotten
	fieldForm     = "form"     // holdForm: of the holds that this state began with; a state of an earlier version has no such field
	fieldLeft     = "left"     // units; below 0 while units that were sold already are on their way here
	fieldSeq      = "seq"      // the last admission number given
	fieldFinished = "finished" // the highest admission number with an outcome
	fieldMissing  = "missing"  // 1: a hold was put aside since the last rebuild, so whoever has none may have a ticket; the sale is to be rebuilt
	fieldFreed    = "freed"    // counts what frees buyers: while it stands, a placed ticket is still its buyer's newest
)

// versionFields are the fields, and their values, that a version of a sale sets: what
// an administrator may change and the gate decides by.
func versionFields(s *seckill.Sale) []string {
	return []string{
		fieldVersion, decimal(s.Version), fieldOpens, decimal(s.OpensAt.UnixMilli()), fieldCloses, decimal(s.ClosesAt.UnixMilli()),
		fieldPaused, bit(s.Paused), fieldEnded, bit(s.Ended), fieldLimit, decimal(int64(s.LimitPerBuyer)),
	}
}

// openFields are the fields of a sale that was rebuilt, besides open itself.
func openFields(v *seckill.Snapshot, seq int64) []string {
	return append(versionFields(&v.Sale), fieldEpoch, decimal(v.Sale.Epoch), fieldLeft, decimal(v.Left()),
		fieldSeq, decimal(seq), fieldFinished, decimal(v.Sale.Seq), fieldRetired, bit(v.Sale.Retired), fieldForm, holdForm)
}

// lastSeq is the highest admission number from which a state goes on: one call admits
// maxAsks buyers at most, and the last of them has seckill.MaxSeq at most.
const lastSeq = seckill.LastSeq

const _ = uint(seckill.MaxSeq - lastSeq - maxAsks) // or this does not compile

// readable reports whether a field is a number, as number_read in lua/prelude.lua does.
func readable(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && s[0] != '+' && n <= seckill.MaxSeq && n >= -seckill.MaxSeq
}

// leftReadable reports whether a field is what a sale can have left, as left_read in
// lua/prelude.lua does.
func leftReadable(s string) bool { return readable(s) && number(s) <= seckill.MaxTotal }

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// number reads a field; a missing one is 0.
func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// The states of a hold, a buyer's newest ticket in a sale. The scripts know them by
// the same names.
const (
	pending  = "p" // admitted, no outcome yet
	placed   = "o" // its order is active, as far as the gate knows
	refused  = "x" // the store knows why
	released = "r" // placed, and its units are back
)

// noEntry stands in a hold whose ticket has its outcome, and so no place in the outbox.
const noEntry = "-"

// holdForm is the version of a hold, before its state. The first form ended behind the
// entry and had no such mark.
const holdForm = "2"

// hold writes a hold: its form and state, then ticket, quantity, admission number, outbox
// entry and the seal of what the buyer asked for, as in
// "2p06FQ3C5TSABCDEFGHIJKLMNOPQ,2,17,1764230400000-0,AQIDBAUGBwgJCgsMDQ4PEA".
func hold(state string, t *seckill.Ticket, entry string, asked seckill.Seal) string {
	seal, _ := asked.MarshalText() // never fails
	return holdForm + state + t.ID + "," + strconv.Itoa(t.Quantity) + "," + decimal(t.Seq) + "," + entry + "," + string(seal)
}

// parseHold reads a hold, with the seal of what was asked for if it has one. Buyer and
// sale are where it was found.
func parseHold(s string) (state string, t seckill.Ticket, err error) {
	text, sealed := strings.CutPrefix(s, holdForm)
	parts := strings.Split(text, ",")
	if sealed && len(parts) == 5 {
		if t.Seal.UnmarshalText([]byte(parts[4])) != nil {
			return "", seckill.Ticket{}, fmt.Errorf("gate: %q is not a hold", s)
		}
		parts, sealed = parts[:4], false
	}
	if sealed || len(parts) != 4 || len(parts[0]) != 1+seckill.TicketIDLen {
		return "", seckill.Ticket{}, fmt.Errorf("gate: %q is not a hold", s)
	}
	state, t.ID = parts[0][:1], parts[0][1:]
	if t.Quantity, err = strconv.Atoi(parts[1]); err == nil {
		t.Seq, err = strconv.ParseInt(parts[2], 10, 64)
	}
	if err == nil && (!strings.Contains(pending+placed+refused+released, state) || t.Quantity < 1 || t.Quantity > seckill.MaxQuantity || t.Seq < 0 || t.Seq > seckill.MaxSeq || parts[3] == "") {
		err = fmt.Errorf("gate: %q is not a hold", s)
	}
	return state, t, err
}

// entryOf is the outbox entry of a hold that can be read.
func entryOf(hold string) string {
	parts := strings.Split(strings.TrimPrefix(hold, holdForm), ",")
	return parts[3]
}

// admittedAt is the time at which a pending hold's ticket was admitted: that of its entry,
// which Redis has numbered in the same moment. The zero time: it cannot be told.
func admittedAt(hold string) time.Time {
	entry, _, _ := strings.Cut(entryOf(hold), "-")
	ms, err := strconv.ParseInt(entry, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// entry is where the outbox keeps a ticket.
type entry struct {
	bucket int
	id     string
}

// The fields of an outbox entry, few, since every field costs whenever an entry is
// written or read. An entry of another form has both of them too, and a seal that is not
// known here.
const (
	entryField = "t" // ticket, sale, quantity, admission number, time (ms since 1970) and buyer, with commas
	sealField  = "s" // entryForm, the seal of what the buyer asked for, a comma, and the version of the sale that admitted it
)

// entryForm is the version of an entry, before its seal. The second form ended behind the
// seal, the first one had no such field.
const (
	entryForm       = "3"
	secondEntryForm = "2"
)

// sealText is a seal as it stands in an entry.
func sealText(s seckill.Seal) string {
	text, _ := s.MarshalText() // never fails
	return entryForm + string(text)
}

// parseEntry reads an entry. Only reserve.lua writes entries.
func parseEntry(e rueidis.XRangeEntry) (t seckill.Ticket, err error) {
	f := strings.SplitN(e.FieldValues[entryField], ",", 6)
	if len(f) != 6 {
		return t, fmt.Errorf("gate: outbox entry %s is no ticket", e.ID)
	}
	t.ID, t.Buyer = f[0], f[5]
	if t.Sale, err = seckill.ParseSaleID(f[1]); err == nil {
		if t.Quantity, err = strconv.Atoi(f[2]); err == nil {
			if t.Seq, err = strconv.ParseInt(f[3], 10, 64); err == nil {
				var ms int64
				ms, err = strconv.ParseInt(f[4], 10, 64)
				t.At = time.UnixMilli(ms).UTC()
			}
		}
	}
	if err == nil {
		err = t.Check()
	}
	if err != nil {
		return t, fmt.Errorf("gate: outbox entry %s: %w", e.ID, err)
	}
	// What is no seal is not genuine.
	if text, known := strings.CutPrefix(e.FieldValues[sealField], entryForm); known {
		seal, version, _ := strings.Cut(text, ",")
		_ = t.Seal.UnmarshalText([]byte(seal))
		if t.Version, err = strconv.ParseInt(version, 10, 64); err == nil {
			err = t.Check()
		}
		if err != nil {
			return t, fmt.Errorf("gate: outbox entry %s: the version of its sale: %w", e.ID, err)
		}
	} else if text, known := strings.CutPrefix(e.FieldValues[sealField], secondEntryForm); known {
		_ = t.Seal.UnmarshalText([]byte(text))
	}
	return t, nil
}
