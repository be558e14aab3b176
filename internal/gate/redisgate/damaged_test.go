package redisgate

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate"
)

// damages are what somebody who can write to Redis does to a sale: one command each.
func damages(g *Gate, id seckill.SaleID) map[string][]string {
	sale := g.saleKey(id)
	all := map[string][]string{
		"a negative number":          {"HSET", sale, "seq", "-5"},
		"a negative version":         {"HSET", sale, "version", "-1"},
		"the end of the numbers":     {"HSET", sale, "seq", strconv.FormatInt(seckill.MaxSeq, 10)},
		"more units than any sale":   {"HSET", sale, "left", "100000000000000"},
		"the sale's type":            {"SET", sale, "x"},
		"the holds' type":            {"SET", g.holdsKey(id), "x"},
		"the released tickets' type": {"SET", g.releasedKey(id), "x"},
		"the moves' type":            {"SET", g.movesKey(id), "x"},
	}
	for _, field := range []string{"version", "opens", "closes", "limit", "left", "seq", "finished"} {
		all["no "+field] = []string{"HDEL", sale, field}
		all[field+" is text"] = []string{"HSET", sale, field, "abc"}
	}
	return all
}

// mend does what the keeper does when it looks at sales, and returns those that it rebuilt.
func mend(t testing.TB, g *Gate, sales ...*seckill.Sale) []seckill.SaleID {
	t.Helper()
	var all []seckill.Sale
	for _, sale := range sales {
		all = append(all, *sale)
	}
	stale, err := g.Outdated(t.Context(), all)
	require.NoError(t, err)
	for _, id := range stale {
		outbox, err := g.Shut(t.Context(), []seckill.SaleID{id})
		require.NoError(t, err)
		for _, sale := range sales {
			if sale.ID == id {
				sale.Epoch++
				require.NoError(t, g.Load(t.Context(), []seckill.Snapshot{{Sale: *sale, Outbox: outbox[id]}}))
			}
		}
	}
	return stale
}

// Whoever meets a sale that somebody has damaged has it rebuilt, with one alarm, and decides
// nothing by what stands there. The outcomes of the other sales do not wait for it.
func TestADamagedSaleIsRebuiltAndStopsNoOther(t *testing.T) {
	t.Parallel()
	whoever := []string{"the keeper", "a buyer", "a return", "a move", "a version", "an audit", "a poll", "an outcome"}
	for _, turn := range []string{"an outcome", "each in turn"} {
		t.Run(turn, func(t *testing.T) {
			t.Parallel()
			g := freshGate(t, 1000)
			sale := onSale(t, g, 1000)
			other := sale
			other.ID = 17
			mend(t, g, &sale, &other)
			for n, name := range slices.Sorted(maps.Keys(damages(g, sale.ID))) {
				first := turn
				if turn == "each in turn" {
					first = whoever[n%len(whoever)]
				}
				what := name + ": " + first
				ann := "ann " + strconv.Itoa(n)
				admit(t, g, sale.ID, ann)
				admit(t, g, other.ID, ann)
				tickets, err := g.Unsent(t.Context(), 100)
				require.NoError(t, err)
				tickets = slices.DeleteFunc(tickets, func(t seckill.Ticket) bool { return t.Buyer != ann })
				require.Len(t, tickets, 2)
				meets := map[string]func() error{
					"the keeper": func() error { return nil },
					"a buyer": func() error {
						_, err := g.Reserve(t.Context(), sale.ID, "bob", 1)
						return err
					},
					"an outcome": func() error {
						return g.Finish(t.Context(), []seckill.Outcome{{Ticket: tickets[0]}, {Ticket: tickets[1]}})
					},
					"a return": func() error {
						return g.Release(t.Context(), seckill.Return{Sale: sale.ID, Epoch: sale.Epoch, Tickets: []seckill.Ticket{{ID: seckill.NewTicketID(g.Now()), Buyer: "cid", Quantity: 1}}})
					},
					"a move": func() error {
						_, err := g.Move(t.Context(), seckill.Move{Sale: sale.ID, ID: ann, Delta: 1, Epoch: sale.Epoch})
						return err
					},
					"a version": func() error { return g.Apply(t.Context(), sale) },
					"an audit": func() error {
						_, err := g.Cut(t.Context(), sale.ID)
						return err
					},
					"a poll": func() error {
						_, err := g.Find(t.Context(), sale.ID, ann, "")
						if errors.Is(err, seckill.ErrNotFound) { // it had its outcome before a rebuild
							return nil
						}
						return err
					},
				}
				require.NoError(t, do(t, g, damages(g, sale.ID)[name]...).Error(), what)
				if err := meets[first](); err != nil {
					require.ErrorIs(t, err, seckill.ErrClosed, what)
				}
				if first == "an outcome" {
					p, err := g.Find(t.Context(), other.ID, ann, "")
					require.NoError(t, err, what)
					require.True(t, p.Final, what)
				}
				for closed := true; closed; { // some keys only one of them needs
					closed = false
					mend(t, g, &sale, &other)
					for _, who := range whoever {
						if err := meets[who](); err != nil {
							require.ErrorIs(t, err, seckill.ErrClosed, what)
							closed = true
						}
					}
				}
				require.Empty(t, mend(t, g, &sale, &other), what)
				require.EqualValues(t, n+1, asides(t, g, "keys"), what)
				require.EqualValues(t, 2, other.Epoch)
			}
			kept, err := do(t, g, "LLEN", g.asideKey(bucket(sale.ID))).AsInt64()
			require.NoError(t, err)
			require.EqualValues(t, len(damages(g, sale.ID)), kept)
		})
	}
}

// A script that fails for one sale keeps the outcomes of no other sale waiting. One that fails for
// all sales of a batch of several may fail for every sale: none of the batch counts as told.
func TestAScriptThatFailsForOneSaleStopsNoOther(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	other := sale
	other.ID = 17
	mend(t, g, &sale, &other)
	fails := func(id seckill.SaleID, buyer string) seckill.Outcome {
		ticket := seckill.Ticket{ID: admit(t, g, id, buyer), Sale: id, Buyer: buyer, Quantity: math.MaxInt}
		return seckill.Outcome{Ticket: ticket, Reason: seckill.ReasonLimit}
	}
	ann := seckill.Ticket{ID: admit(t, g, other.ID, "ann"), Sale: other.ID, Buyer: "ann", Quantity: 1}
	require.NoError(t, g.Finish(t.Context(), []seckill.Outcome{fails(sale.ID, "ann"), {Ticket: ann}}))
	p, err := g.Find(t.Context(), other.ID, "ann", ann.ID)
	require.NoError(t, err)
	require.True(t, p.Final)
	require.NoError(t, g.Finish(t.Context(), []seckill.Outcome{fails(sale.ID, "bob")}), "nor does it stop what comes after it")
	require.EqualValues(t, 2, asides(t, g, "keys"))
	require.ErrorIs(t, g.Finish(t.Context(), []seckill.Outcome{fails(sale.ID, "cid"), fails(other.ID, "cid")}), seckill.ErrUnavailable)
	require.EqualValues(t, 2, asides(t, g, "keys"))
}

// A sale that nobody can rebuild does not keep the outcomes of the others waiting. It is told
// its own when it is open, although the rebuild has not read them and nobody sends the ticket again.
func TestASaleThatStaysClosedHoldsNoOutcomesOfOthers(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	other := sale
	other.ID = 17
	mend(t, g, &sale, &other)
	outcomes := []seckill.Outcome{
		{Ticket: seckill.Ticket{ID: admit(t, g, sale.ID, "ann"), Sale: sale.ID, Buyer: "ann", Quantity: 1}},
		{Ticket: seckill.Ticket{ID: admit(t, g, other.ID, "ann"), Sale: other.ID, Buyer: "ann", Quantity: 1}},
	}
	final := func(id seckill.SaleID) bool {
		p, err := g.Find(t.Context(), id, "ann", "")
		require.NoError(t, err)
		return p.Final
	}
	g.closed = gate.NewClosings(300 * time.Millisecond)
	_, err := g.Shut(t.Context(), []seckill.SaleID{sale.ID})
	require.NoError(t, err)
	require.ErrorIs(t, g.Finish(t.Context(), outcomes), seckill.ErrClosed)
	require.True(t, final(other.ID), "the other sale hears of it at once")
	until(t, "nobody waits for it", func() bool { return g.Finish(t.Context(), outcomes) == nil })
	entries, err := do(t, g, "XLEN", g.outboxKey(bucket(sale.ID))).AsInt64()
	require.NoError(t, err)
	require.EqualValues(t, 1, entries)
	require.Equal(t, []seckill.SaleID{sale.ID}, mend(t, g, &sale, &other))
	until(t, "the sale hears of it", func() bool { return final(sale.ID) })
	_, err = g.Shut(t.Context(), []seckill.SaleID{sale.ID})
	require.NoError(t, err)
	require.ErrorIs(t, g.Finish(t.Context(), outcomes), seckill.ErrClosed, "the next time it is waited for again")
}

// What is kept for sales that stay closed is bounded, and a ticket that is settled again takes
// no further room.
func TestWhatIsKeptForClosedSalesIsBounded(t *testing.T) {
	t.Parallel()
	g := &Gate{late: map[seckill.SaleID]map[string]seckill.Outcome{}}
	outcomes := make([]seckill.Outcome, lateMost-1)
	for i := range outcomes {
		outcomes[i].Ticket.ID = strconv.Itoa(i)
	}
	g.keepLate(1, outcomes)
	g.keepLate(1, outcomes[:1])
	g.keepLate(2, outcomes)
	require.Len(t, g.late[1], lateMost-1)
	require.Len(t, g.late[2], 1)
}

func TestWhatRedisRefusesIsNoScriptThatFails(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 1)
	key := g.onceKey(0, "text")
	require.NoError(t, do(t, g, "SET", key, "text").Error())
	for command, fails := range map[string]bool{
		"return redis.call('INCR', KEYS[1])":     true,
		"return 1 + nil":                         true,
		"return +":                               false, // for every sale
		"return redis.call('LPUSH', KEYS[1], 1)": false, // WRONGTYPE
		"return {err = 'max number of clients'}": false,
	} {
		err := do(t, g, "EVAL", command, "1", key).Error()
		require.Error(t, err, command)
		require.Equal(t, fails, ofScript(g.fail(0, err)), err)
	}
	require.False(t, ofScript(do(t, g, "NOSUCHCOMMAND").Error()))
}

// A sale that lacks a hold, since it was put aside, is rebuilt once: nothing else takes the
// entry of that buyer's ticket out of the outbox once it has its outcome.
func TestAHoldThatWasPutAsideComesBackWithARebuild(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	admit(t, g, sale.ID, "ann")
	tickets, err := g.Unsent(t.Context(), 10)
	require.NoError(t, err)
	require.NoError(t, do(t, g, "HSET", g.holdsKey(sale.ID), "ann", "no hold").Error())
	require.NoError(t, g.Finish(t.Context(), []seckill.Outcome{{Ticket: tickets[0]}}))
	entries := func() int64 {
		n, err := do(t, g, "XLEN", g.outboxKey(bucket(sale.ID))).AsInt64()
		require.NoError(t, err)
		return n
	}
	require.EqualValues(t, 1, entries())
	outdated, err := g.Outdated(t.Context(), []seckill.Sale{sale})
	require.NoError(t, err)
	require.Equal(t, []seckill.SaleID{sale.ID}, outdated)
	outbox, err := g.Shut(t.Context(), outdated)
	require.NoError(t, err)
	sale.Epoch, sale.Sold, sale.Seq = 2, 1, tickets[0].Seq
	require.NoError(t, g.Load(t.Context(), []seckill.Snapshot{{Sale: sale, Active: tickets, Outbox: outbox[sale.ID], Outcomes: map[string]seckill.Reason{tickets[0].ID: seckill.ReasonNone}}}))
	require.Zero(t, entries())
	p, err := g.Find(t.Context(), sale.ID, "ann", "")
	require.NoError(t, err)
	require.True(t, p.Final)
	require.Empty(t, mend(t, g, &sale), "once")
}

// Go and the scripts read the same numbers.
func TestANumberIsANumberForBoth(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 1)
	for _, text := range []string{"0", "-0", "7", "-7", "007", "10000000", "10000001", "9007199254740991", "-9007199254740991", "9007199254740992", "9223372036854775807", "99999999999999999999",
		"", " 7", "7 ", "+7", "1e3", "0x10", "nan", "inf", "-", "7.0", "七"} {
		said, err := do(t, g, "EVAL", prelude()+"return number_read(ARGV[1]) and 1 or 0", "0", text).AsInt64()
		require.NoError(t, err)
		require.Equal(t, readable(text), said == 1, text)
		said, err = do(t, g, "EVAL", prelude()+"return left_read(ARGV[1]) and 1 or 0", "0", text).AsInt64()
		require.NoError(t, err)
		require.Equal(t, leftReadable(text), said == 1, text)
	}
}

// No ticket is given with a number, or a version, that nobody could read.
func TestNoTicketIsGivenThatCannotBeRead(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	for field, value := range map[string]string{"seq": strconv.FormatInt(seckill.MaxSeq, 10), "version": "x"} {
		require.NoError(t, do(t, g, "HSET", g.saleKey(sale.ID), field, value).Error())
		_, err := g.Reserve(t.Context(), sale.ID, "ann", 1)
		require.ErrorIs(t, err, seckill.ErrClosed)
		require.Equal(t, []seckill.SaleID{1}, mend(t, g, &sale))
	}
	ticket := admit(t, g, sale.ID, "ann")
	tickets, err := g.Unsent(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, ticket, tickets[0].ID)
	require.EqualValues(t, 1, tickets[0].Seq)
	require.Zero(t, asides(t, g, "outbox"))
}

// Another kind of key in the place of one of a bucket's is put aside, with an alarm, and
// everybody goes on.
func TestAKeyOfAnotherTypeStopsNobody(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(g *Gate) string{
		"outbox": func(g *Gate) string { return g.outboxKey(1) },
		"stops":  func(g *Gate) string { return g.stopsKey(1) },
		"store":  func(g *Gate) string { return g.storeKey(1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := freshGate(t, 100)
			sale := onSale(t, g, 50)
			require.NoError(t, do(t, g, "DEL", key(g), g.asideKey(1)).Error())
			require.NoError(t, do(t, g, "SADD", key(g), "x").Error())
			require.NoError(t, do(t, g, "SET", g.asideKey(1), "x").Error())
			until(t, name, func() bool {
				_, stops := g.Stops(t.Context())
				_, page := g.page(t.Context(), 1, "-", "+", pageSize)
				return stops == nil && page == nil && g.Belong(t.Context(), "ours") == nil && asides(t, g, "keys") == 1
			})
			ann := admit(t, g, sale.ID, "ann")
			tickets, err := g.Unsent(t.Context(), 10)
			require.NoError(t, err)
			require.Equal(t, ann, tickets[0].ID)
			_, err = g.Cut(t.Context(), sale.ID)
			require.NoError(t, err)
		})
	}
}
