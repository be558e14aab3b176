package redisgate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// forgedHolds are holds of the buyer vic, of whom no gate has admitted any, which can be
// read; own is a hold of another buyer that the gate has written.
func forgedHolds(t testing.TB, own string) map[string]string {
	id := seckill.NewTicketID(time.Now())
	ticket := seckill.Ticket{ID: id, Sale: 1, Buyer: "vic", Quantity: 1}
	stranger := sealsOf(t, "another secret").Make(&ticket)
	_, others, err := parseHold(own)
	require.NoError(t, err)
	return map[string]string{
		"placed, of the first form":      "o" + id + ",1,5,-",
		"pending, of the first form":     "p" + id + ",1,5,1764230400000-0",
		"pending, without an entry":      "p" + id + ",1,5,-",
		"pending, another's entry":       "p" + id + ",1,1," + entryOf(own),
		"another's ticket":               "p" + strings.TrimPrefix(own, holdForm+"p")[:strings.LastIndex(own, ",")-2],
		"placed, by another secret":      hold(placed, &ticket, noEntry, stranger),
		"pending, by another secret":     hold(pending, &ticket, "1764230400000-0", stranger),
		"placed, with another's seal":    hold(placed, &ticket, noEntry, others.Seal),
		"another's, as it is":            own,
		"another's, as if it was placed": strings.Replace(own, "2p", "2o", 1),
	}
}

// Somebody may write to Redis and has not the secret: a hold that they write keeps nobody
// from a ticket, is told to nobody, and rings the alarm once.
func TestAForgedHoldIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name := range forgedHolds(t, "2p06FQ3C5TSABCDEFGHIJKLMNOPQ,1,1,1764230400000-0,AAAAAAAAAAAAAAAAAAAAAA") {
		for _, reader := range []string{"reserve", "find", "audit", "count"} {
			t.Run(name+"/"+reader, func(t *testing.T) {
				t.Parallel()
				unknown := fmt.Errorf("no such ticket: %w", seckill.ErrNotFound)
				g := freshGateOf(t, Settings{Outbox: 100,
					Outcome: func(context.Context, seckill.SaleID, string, string) (seckill.Outcome, error) {
						return seckill.Outcome{}, unknown
					},
					Strangers: func(context.Context) (bool, error) { return false, nil }})
				sale := onSale(t, g, 50)
				ann := admit(t, g, sale.ID, "ann")
				own, err := do(t, g, "HGET", g.holdsKey(sale.ID), "ann").ToString()
				require.NoError(t, err)
				forged := forgedHolds(t, own)[name]
				require.NoError(t, do(t, g, "HSET", g.holdsKey(sale.ID), "vic", forged).Error())
				switch reader {
				case "find":
					_, err := g.Find(t.Context(), sale.ID, "vic", "")
					require.ErrorIs(t, err, seckill.ErrNotFound)
				case "audit":
					holds, err := g.Holds(t.Context(), sale.ID, []string{"ann", "vic"})
					require.NoError(t, err)
					require.Len(t, holds, 1)
				case "count":
					holds, _, err := g.ScanHolds(t.Context(), sale.ID, 0, 10)
					require.NoError(t, err)
					require.Len(t, holds, 1)
					require.Equal(t, ann, holds[0].ID)
				}
				ticket := admit(t, g, sale.ID, "vic")
				require.NotContains(t, forged, ticket)
				require.EqualValues(t, 1, asides(t, g, "holds"))
				kept, err := do(t, g, "LLEN", g.asideKey(bucket(sale.ID))).AsInt64()
				require.NoError(t, err)
				require.EqualValues(t, 1, kept)
				a, err := g.Reserve(t.Context(), sale.ID, "vic", 1)
				require.NoError(t, err)
				require.Equal(t, ticket, a.Ticket, "a repeat is the ticket that the gate has given")
				a, err = g.Reserve(t.Context(), sale.ID, "vic", 2)
				require.NoError(t, err)
				require.Equal(t, seckill.Limit, a.Verdict)
				tickets, err := g.Unsent(t.Context(), 10)
				require.NoError(t, err)
				require.Len(t, tickets, 2)
			})
		}
	}
}

// A hold and an entry that name each other and carry no seal make no ticket: before, the
// hold vouched for the entry, and the gate sealed it.
func TestAForgedHoldVouchesForNoEntry(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	ann := admit(t, g, sale.ID, "ann")
	id := seckill.NewTicketID(time.Now())
	entry, err := do(t, g, "XADD", g.outboxKey(bucket(sale.ID)), "*", "t", fmt.Sprintf("%s,1,2,7,%d,eve", id, time.Now().UnixMilli())).ToString()
	require.NoError(t, err)
	require.NoError(t, do(t, g, "HSET", g.holdsKey(sale.ID), "eve", fmt.Sprintf("p%s,2,7,%s", id, entry)).Error())
	tickets, err := g.Unsent(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, tickets, 1)
	require.Equal(t, ann, tickets[0].ID)
	require.EqualValues(t, 1, asides(t, g, "outbox"))
	require.EqualValues(t, 1, asides(t, g, "holds"))
}

// Somebody who writes over a buyer's hold takes no ticket away: the sweeper sends it again.
func TestAForgedHoldCostsNobodyATicket(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	ann := admit(t, g, sale.ID, "ann")
	require.NoError(t, do(t, g, "HSET", g.holdsKey(sale.ID), "ann", "o"+seckill.NewTicketID(time.Now())+",1,5,-").Error())
	again, err := swept(t, g, bucket(sale.ID))
	require.NoError(t, err)
	require.Len(t, again, 1)
	require.Equal(t, ann, again[0].ID)
	require.Zero(t, asides(t, g, "outbox"))
	require.EqualValues(t, 1, asides(t, g, "holds"))
}

// The units that a refusal brings back are those of the ticket, whatever the hold says.
func TestARefusalReturnsTheUnitsOfItsTicket(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	admit(t, g, sale.ID, "ann")
	tickets, err := g.Unsent(t.Context(), 10)
	require.NoError(t, err)
	own, err := do(t, g, "HGET", g.holdsKey(sale.ID), "ann").ToString()
	require.NoError(t, err)
	require.NoError(t, do(t, g, "HSET", g.holdsKey(sale.ID), "ann", strings.Replace(own, ",1,", ",999,", 1)).Error())
	require.NoError(t, g.Finish(t.Context(), []seckill.Outcome{{Ticket: tickets[0], Reason: seckill.ReasonLimit}}))
	cut, err := g.Cut(t.Context(), sale.ID)
	require.NoError(t, err)
	require.EqualValues(t, 50, cut.Left)
}

// A hold without a seal that is known here may be of an earlier version or of a node with
// the next secret: the store and the outbox say whether it is true. Nobody is told
// anything while they cannot be asked.
func TestAHoldIsCrossChecked(t *testing.T) {
	t.Parallel()
	var says error
	others := false
	g := freshGateOf(t, Settings{Outbox: 100,
		Outcome: func(_ context.Context, s seckill.SaleID, buyer, ticket string) (seckill.Outcome, error) {
			return seckill.Outcome{Ticket: seckill.Ticket{ID: ticket, Sale: s, Buyer: buyer, Quantity: 1}}, says
		},
		Strangers: func(context.Context) (bool, error) { return others, nil }})
	sale := onSale(t, g, 50)
	id := seckill.NewTicketID(time.Now())
	first := "o" + id + ",1,5,-"
	require.NoError(t, do(t, g, "HSET", g.holdsKey(sale.ID), "ann", first).Error())
	a, err := g.Reserve(t.Context(), sale.ID, "ann", 1)
	require.NoError(t, err)
	require.Equal(t, seckill.Answer{Verdict: seckill.Queued, Ticket: id, Left: 50}, a, "the store has it")
	says = errors.Join(errors.New("it is away"), seckill.ErrUnavailable)
	_, err = g.Reserve(t.Context(), sale.ID, "ann", 1)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.Zero(t, asides(t, g, "holds"))

	mine := g.seals
	g.seals = sealsOf(t, "the next secret")
	bob := admit(t, g, sale.ID, "bob")
	g.seals = mine
	others = true
	a, err = g.Reserve(t.Context(), sale.ID, "bob", 1)
	require.NoError(t, err)
	require.Equal(t, bob, a.Ticket, "of a node that the store knows of")
	require.Zero(t, asides(t, g, "holds"))
}

// A state that an earlier version has made is rebuilt once, and has sealed holds then.
func TestAStateOfAnEarlierVersionIsRebuilt(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	outdated, err := g.Outdated(t.Context(), []seckill.Sale{sale})
	require.NoError(t, err)
	require.Empty(t, outdated)
	require.NoError(t, do(t, g, "HDEL", g.saleKey(sale.ID), fieldForm).Error())
	id := seckill.NewTicketID(time.Now())
	require.NoError(t, do(t, g, "HSET", g.holdsKey(sale.ID), "ann", "o"+id+",1,5,-").Error())
	outdated, err = g.Outdated(t.Context(), []seckill.Sale{sale})
	require.NoError(t, err)
	require.Equal(t, []seckill.SaleID{sale.ID}, outdated)
	_, err = g.Shut(t.Context(), outdated)
	require.NoError(t, err)
	sale.Epoch++
	active := seckill.Ticket{ID: id, Sale: sale.ID, Buyer: "ann", Quantity: 1, Seq: 5}
	require.NoError(t, g.Load(t.Context(), []seckill.Snapshot{{Sale: sale, Active: []seckill.Ticket{active}}}))
	a, err := g.Reserve(t.Context(), sale.ID, "ann", 1)
	require.NoError(t, err)
	require.Equal(t, id, a.Ticket)
	held, err := do(t, g, "HGET", g.holdsKey(sale.ID), "ann").ToString()
	require.NoError(t, err)
	require.Equal(t, hold(placed, &active, noEntry, g.asked(active)), held)
}

// A buyer whose hold must be compared with the store does not wait for a store that hangs.
func TestNobodyWaitsForTheStoreWithoutABound(t *testing.T) {
	t.Parallel()
	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, strangers := range map[string]func(context.Context) (bool, error){
		"which secrets there are": func(ctx context.Context) (bool, error) { return false, hangs(ctx) },
		"an outcome":              func(context.Context) (bool, error) { return false, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := runGateOf(t, Settings{Address: stacktest.Shared(t, stack.KindRedis).URL(), Outbox: 100, Strangers: strangers,
				Outcome: func(ctx context.Context, _ seckill.SaleID, _, _ string) (seckill.Outcome, error) {
					return seckill.Outcome{}, hangs(ctx)
				}}, "seckill:"+strings.ToLower(rand.Text()[:12])+":", patient(2*time.Second))
			sale := onSale(t, runGate(t, stacktest.Shared(t, stack.KindRedis).URL(), g.prefix, 100), 50)
			ticket := seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: sale.ID, Buyer: "vic", Quantity: 1}
			require.NoError(t, do(t, g, "HSET", g.holdsKey(sale.ID), "vic", hold(placed, &ticket, noEntry, sealsOf(t, "another secret").Make(&ticket))).Error())
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var asking sync.WaitGroup
			for range 20 {
				asking.Go(func() {
					_, err := g.Reserve(ctx, sale.ID, "vic", 1)
					assert.ErrorIs(t, err, seckill.ErrUnavailable)
				})
			}
			stacktest.AwaitAll(t, "everybody has an answer", &asking)
			require.NoError(t, ctx.Err(), "they have waited until the test lost its patience")
			require.Empty(t, g.broken(), "that says nothing about Redis")
		})
	}
}
