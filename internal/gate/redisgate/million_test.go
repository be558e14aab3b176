package redisgate

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

var million = flag.Bool("million", false, "fill an outbox with a million tickets instead of 60,000; that takes most of a minute")

// With a million tickets in an outbox no command of the gate keeps Redis as long as
// reading all of it would: what a script or a read costs is bounded by what it was
// asked, not by what stands there.
func TestAMillionTicketsInAnOutbox(t *testing.T) {
	all := 60_000
	if *million {
		all = 1_000_000
	}
	redis := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, redis.URL(), "seckill:", 4*all)
	sale := onSale(t, g, int64(2*all))
	admin := administers(t, redis)
	fillOutbox(t, g, admin, sale.ID, all)

	b, ctx := bucket(sale.ID), t.Context()
	require.NoError(t, admin.Do(ctx, admin.B().ConfigSet().ParameterValue().ParameterValue("slowlog-log-slower-than", "0").ParameterValue("slowlog-max-len", "100000").Build()).Error())
	// slowest is the longest that f kept Redis with one command.
	slowest := func(f func()) (d time.Duration, what string) {
		require.NoError(t, admin.Do(ctx, admin.B().SlowlogReset().Build()).Error())
		f()
		entries, err := admin.Do(ctx, admin.B().SlowlogGet().Count(-1).Build()).ToArray()
		require.NoError(t, err)
		for _, e := range entries {
			fields, err := e.ToArray()
			require.NoError(t, err)
			us, _ := fields[2].AsInt64()
			words, _ := fields[3].AsStrSlice()
			if took := time.Duration(us) * time.Microsecond; took > d && words[0] != "SLOWLOG" {
				d, what = took, strings.Join(words[:min(len(words), 4)], " ")
			}
		}
		return d, what
	}
	whole, _ := slowest(func() {
		require.NoError(t, admin.Do(ctx, admin.B().Xrange().Key(g.outboxKey(b)).Start("-").End("+").Build()).Error())
	})
	t.Logf("reading all of it keeps Redis for %v", whole)
	// A busy machine may let any command wait: only what is slow each time is slow. A command
	// that read all of it would take longer than whole.
	quick := func(what string, f func()) {
		var d time.Duration
		var command string
		for range 3 {
			if d, command = slowest(f); d < whole/4 {
				t.Logf("%s: %v at most", what, d)
				return
			}
		}
		t.Errorf("%s: %.80q keeps Redis for %v", what, command, d)
	}
	late, waiting, version := 0, all, int64(1)
	quick("reserve", func() {
		for range 100 {
			admit(t, g, sale.ID, fmt.Sprint("late ", late))
			late, waiting = late+1, waiting+1
		}
	})
	quick("relay, finish and release", func() {
		tickets, err := g.Unsent(ctx, 200)
		require.NoError(t, err)
		require.NoError(t, g.Sent(ctx, tickets))
		outcomes := make([]seckill.Outcome, len(tickets))
		for i := range outcomes {
			outcomes[i].Ticket = tickets[i]
		}
		require.NoError(t, g.Finish(ctx, outcomes))
		require.NoError(t, g.Release(ctx, seckill.Return{Sale: sale.ID, Epoch: sale.Epoch, Tickets: tickets}))
		waiting -= len(tickets)
	})
	quick("apply", func() {
		for _, paused := range []bool{true, false} {
			version++
			next := sale
			next.Version, next.Paused = version, paused
			require.NoError(t, g.Apply(ctx, next))
		}
	})
	quick("the audit, and what is forged", func() {
		for range 100 {
			require.NoError(t, admin.Do(ctx, admin.B().Arbitrary("XADD").Keys(g.outboxKey(b)).Args("*", "x", "y").Build()).Error())
		}
		cut, err := g.Cut(ctx, sale.ID)
		require.NoError(t, err)
		require.Len(t, cut.Outbox, waiting)
	})
	quick("the rebuild", func() {
		outbox, err := g.Shut(ctx, []seckill.SaleID{sale.ID})
		require.NoError(t, err)
		require.Len(t, outbox[sale.ID], waiting)
		sale.Epoch, version = sale.Epoch+1, version+1
		sale.Version = version
		require.NoError(t, g.Load(ctx, []seckill.Snapshot{{Sale: sale, Outbox: outbox[sale.ID], Outcomes: map[string]seckill.Reason{}}}))
	})
}

// fillOutbox writes tickets as reserve.lua does, many at once.
func fillOutbox(t *testing.T, g *Gate, admin rueidis.Client, sale seckill.SaleID, all int) {
	t.Helper()
	now := time.Now()
	outbox, holds := g.outboxKey(bucket(sale)), g.holdsKey(sale)
	for from := 0; from < all; from += 1000 {
		entries := make(rueidis.Commands, 0, 1000)
		waiting := make([]seckill.Ticket, 0, 1000)
		for i := from; i < min(from+1000, all); i++ {
			asked := seckill.Ticket{ID: seckill.NewTicketID(now), Sale: sale, Buyer: "buyer " + strconv.Itoa(i), Quantity: 1}
			seal := sealText(g.seals.Make(&asked)) + ",1"
			asked.Seq, asked.At = int64(i+1), now
			waiting = append(waiting, asked)
			text := fmt.Sprintf("%s,%s,1,%d,%d,%s", asked.ID, sale, asked.Seq, now.UnixMilli(), asked.Buyer)
			entries = append(entries, admin.B().Arbitrary("XADD").Keys(outbox).Args("*", entryField, text, sealField, seal).Build())
		}
		set := admin.B().Hset().Key(holds).FieldValue()
		for i, answer := range admin.DoMulti(t.Context(), entries...) {
			entry, err := answer.ToString()
			require.NoError(t, err)
			set = set.FieldValue(waiting[i].Buyer, hold(pending, &waiting[i], entry, g.asked(waiting[i])))
		}
		require.NoError(t, admin.Do(t.Context(), set.Build()).Error())
	}
	require.NoError(t, admin.Do(t.Context(), admin.B().Hset().Key(g.saleKey(sale)).FieldValue().FieldValue(fieldSeq, strconv.Itoa(all)).FieldValue(fieldLeft, strconv.Itoa(all)).Build()).Error())
}
