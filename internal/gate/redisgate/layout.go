package redisgate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

// bucketCount is the number of hash tags, and of outbox streams.
const bucketCount = 16

func bucket(id seckill.SaleID) int { return int(id % bucketCount) }

// tag begins the keys of a bucket; what stands in braces decides where a cluster
// keeps them.
func (g *Gate) tag(bucket int) string { return g.prefix + "{" + strconv.Itoa(bucket) + "}:" }

func (g *Gate) key(what string, id seckill.SaleID) string {
	return g.tag(bucket(id)) + what + ":" + id.String()
}

func (g *Gate) outbox(bucket int) string { return g.tag(bucket) + "outbox" }

// parseHold reads a hold: its state, then ticket, quantity, admission number and
// outbox entry.
func parseHold(s string) (state byte, t seckill.Ticket, err error) {
	if len(s) < 28 {
		return 0, t, fmt.Errorf("gate: %q is not a hold", s)
	}
	parts := strings.Split(s[1:], ",")
	if len(parts) < 3 {
		return 0, t, fmt.Errorf("gate: %q is not a hold", s)
	}
	t.ID = parts[0]
	t.Quantity, err = strconv.Atoi(parts[1])
	if err == nil {
		t.Seq, err = strconv.ParseInt(parts[2], 10, 64)
	}
	return s[0], t, err
}

// entry is where the outbox keeps a ticket.
type entry struct {
	bucket int
	id     string
}

// parseEntry reads an entry: ticket, sale, quantity, admission number, time (ms
// since 1970) and buyer, in one field, since every field costs whenever an entry
// is written or read.
func parseEntry(e rueidis.XRangeEntry) (t seckill.Ticket, err error) {
	f := strings.SplitN(e.FieldValues["t"], ",", 6)
	if len(f) != 6 {
		return t, fmt.Errorf("gate: outbox entry %s is no ticket: %q", e.ID, e.FieldValues)
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
	if err != nil {
		return t, fmt.Errorf("gate: outbox entry %s: %w", e.ID, err)
	}
	return t, nil
}
