package redisgate

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func freshGate(t testing.TB, limit int) *Gate {
	t.Helper()
	return freshGateOf(t, Settings{Outbox: limit})
}

// freshGateOf is freshGate with other settings.
func freshGateOf(t testing.TB, s Settings) *Gate {
	t.Helper()
	s.Address = stacktest.Shared(t, stack.KindRedis).URL()
	return runGateOf(t, s, "seckill:"+strings.ToLower(rand.Text()[:12])+":")
}

// do is a command of somebody who may write to the gate's Redis.
func do(t testing.TB, g *Gate, command ...string) rueidis.RedisResult {
	t.Helper()
	client, err := g.up(0)
	require.NoError(t, err)
	answer := client.Do(t.Context(), client.B().Arbitrary(command...).Build())
	require.NoError(t, answer.NonRedisError())
	return answer
}

// asides is how many alarms the gate has rung for the outbox or the holds.
func asides(t testing.TB, g *Gate, where string) float64 {
	t.Helper()
	var v dto.Metric
	require.NoError(t, g.asides[where].Write(&v))
	return v.Counter.GetValue()
}

func admit(t testing.TB, g *Gate, sale seckill.SaleID, buyer string) string {
	t.Helper()
	a, err := g.Reserve(t.Context(), sale, buyer, 1)
	require.NoError(t, err)
	require.Equal(t, seckill.Queued, a.Verdict)
	return a.Ticket
}

// forgeries are entries of an outbox that no gate has made, or that somebody has
// damaged; genuine is one that it has made, as fields of XADD.
func forgeries(genuine []string) map[string][]string {
	id := func() string { return seckill.NewTicketID(time.Now()) }
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	return map[string][]string{
		"no ticket":           {"x", "y"},
		"no seal":             {"t", id() + ",1,1,1," + now + ",eve"},
		"the seal of another": {"t", id() + ",1,1,1," + now + ",eve", "s", genuine[3]},
		"more units":          {"t", strings.Replace(genuine[1], ",1,1,", ",1,2,", 1), "s", genuine[3]},
		"far out of range":    {"t", id() + ",1,1,9007199254740993000," + now + ",eve", "s", genuine[3]},
		"not a number":        {"t", id() + ",1,1,9.007199254741e+18," + now + ",eve", "s", genuine[3]},
		"too many units":      {"t", id() + ",1,100000,1," + now + ",eve", "s", genuine[3]},
		"no buyer":            {"t", id() + ",1,1,1," + now + ",", "s", genuine[3]},
		"doubled":             genuine,
		"holds of no kind":    {"t", id() + ",17,1,1," + now + ",eve"},
	}
}

// Whatever somebody puts into the outbox is put aside, each with an alarm: the relay
// sends the genuine tickets and no other, the sale is audited and rebuilt.
func TestWhatIsNotTheGatesIsPutAside(t *testing.T) {
	t.Parallel()
	for _, reader := range []string{"relay", "rebuild", "audit", "sweeper"} {
		t.Run(reader, func(t *testing.T) {
			t.Parallel()
			g := freshGate(t, 100)
			sale := onSale(t, g, 50)
			want := []string{admit(t, g, sale.ID, "ann")}
			page, err := g.page(t.Context(), bucket(sale.ID), "-", "+", pageSize)
			require.NoError(t, err)
			genuine := []string{"t", page[0].FieldValues["t"], "s", page[0].FieldValues["s"]}
			bad := forgeries(genuine)
			for _, fields := range bad {
				require.NoError(t, do(t, g, append([]string{"XADD", g.outboxKey(bucket(sale.ID)), "*"}, fields...)...).Error())
			}
			require.NoError(t, do(t, g, "SET", g.holdsKey(17), "x").Error())
			want = append(want, admit(t, g, sale.ID, "bob"))
			var got []seckill.Ticket
			switch reader {
			case "relay":
				got, err = g.Unsent(t.Context(), 100)
				require.NoError(t, err)
			case "rebuild":
				outbox, err := g.Shut(t.Context(), []seckill.SaleID{sale.ID})
				require.NoError(t, err)
				got = outbox[sale.ID]
				next := sale
				next.Epoch = 2
				require.NoError(t, g.Load(t.Context(), []seckill.Snapshot{{Sale: next, Outbox: got, Outcomes: map[string]seckill.Reason{}}}))
				cut, err := g.Cut(t.Context(), sale.ID)
				require.NoError(t, err)
				require.EqualValues(t, 48, cut.Left)
			case "audit":
				cut, err := g.Cut(t.Context(), sale.ID)
				require.NoError(t, err)
				got = cut.Outbox
				require.EqualValues(t, 48, cut.Left)
				require.Zero(t, cut.Aside, "counted before the outbox is read")
				cut, err = g.Cut(t.Context(), sale.ID)
				require.NoError(t, err)
				require.EqualValues(t, len(bad)+1, cut.Aside)
			case "sweeper":
				got, err = swept(t, g, bucket(sale.ID))
				require.NoError(t, err)
			}
			var ids []string
			for _, ticket := range got {
				ids = append(ids, ticket.ID)
				require.True(t, g.seals.Genuine(&ticket), "sealed for the queue: %+v", ticket)
			}
			require.ElementsMatch(t, want, ids)
			require.EqualValues(t, len(bad), asides(t, g, "outbox"))
			require.EqualValues(t, 1, asides(t, g, "keys"))
			kept, err := do(t, g, "LLEN", g.asideKey(bucket(sale.ID))).AsInt64()
			require.NoError(t, err)
			require.EqualValues(t, len(bad)+1, kept)
			left, err := do(t, g, "XLEN", g.outboxKey(bucket(sale.ID))).AsInt64()
			require.NoError(t, err)
			require.EqualValues(t, len(want), left)
		})
	}
}

// The relay, the sweeper and an audit may read the outbox at the same time: what each of
// them finds is put aside once, and counted once.
func TestWhatTwoReadersFindIsPutAsideOnce(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	admit(t, g, sale.ID, "ann")
	b := bucket(sale.ID)
	page, err := g.page(t.Context(), b, "-", "+", pageSize)
	require.NoError(t, err)
	bad := forgeries([]string{"t", page[0].FieldValues["t"], "s", page[0].FieldValues["s"]})
	for _, fields := range bad {
		require.NoError(t, do(t, g, append([]string{"XADD", g.outboxKey(b), "*"}, fields...)...).Error())
	}
	page, err = g.page(t.Context(), b, "-", "+", pageSize)
	require.NoError(t, err)
	for range 2 {
		tickets, err := g.read(t.Context(), b, page, map[string]string{})
		require.NoError(t, err)
		require.Len(t, tickets, 1)
	}
	require.EqualValues(t, len(bad), asides(t, g, "outbox"))
	kept, err := do(t, g, "LLEN", g.asideKey(b)).AsInt64()
	require.NoError(t, err)
	require.EqualValues(t, len(bad), kept)
}

// swept is what the sweeper would send again of a bucket if all of it were old.
func swept(t testing.TB, g *Gate, b int) (tickets []seckill.Ticket, err error) {
	t.Helper()
	page, err := g.page(t.Context(), b, "-", "+", pageSize)
	require.NoError(t, err)
	read, err := g.read(t.Context(), b, page, map[string]string{})
	require.NoError(t, err)
	return g.waiting(t.Context(), b, read)
}

// What an earlier version has admitted has no seal: its hold names it.
func TestWhatAnEarlierVersionAdmittedIsSent(t *testing.T) {
	t.Parallel()
	g := freshGateOf(t, Settings{Outbox: 100, Strangers: func(context.Context) (bool, error) { return true, nil }})
	sale := onSale(t, g, 50)
	// As version 0.1.0 wrote it, which had no field form either.
	require.NoError(t, do(t, g, "HDEL", g.saleKey(sale.ID), fieldForm).Error())
	require.NoError(t, do(t, g, "HSET", g.saleKey(sale.ID), fieldSeq, "7").Error())
	clear(g.formed)
	now := time.Now() // of both, or a busy machine puts them apart
	old := seckill.NewTicketID(now)
	entry, err := do(t, g, "XADD", g.outboxKey(bucket(sale.ID)), "*", "t", fmt.Sprintf("%s,1,2,7,%d,bob,y", old, now.UnixMilli())).ToString()
	require.NoError(t, err)
	require.NoError(t, do(t, g, "HSET", g.holdsKey(sale.ID), "bob,y", fmt.Sprintf("p%s,2,7,%s", old, entry)).Error())
	tickets, err := g.Unsent(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, tickets, 1)
	p, err := g.Find(t.Context(), sale.ID, "bob,y", "")
	require.NoError(t, err)
	require.WithinDuration(t, tickets[0].At, p.Ticket.At, 50*time.Millisecond, "the gate can vouch for what it waits for")
	require.False(t, p.Unproven)
	require.Equal(t, old, tickets[0].ID)
	require.True(t, g.seals.Genuine(&tickets[0]))
	require.Zero(t, asides(t, g, "outbox"))
	require.NoError(t, g.Finish(t.Context(), []seckill.Outcome{{Ticket: tickets[0]}}))
	left, err := do(t, g, "XLEN", g.outboxKey(bucket(sale.ID))).AsInt64()
	require.NoError(t, err)
	require.Zero(t, left)
}

// An entry whose ticket has its outcome leaves the outbox, whoever has put it there.
func TestAnEntryThatNobodyWaitsForIsPutAside(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	admit(t, g, sale.ID, "ann")
	page, err := g.page(t.Context(), bucket(sale.ID), "-", "+", pageSize)
	require.NoError(t, err)
	tickets, err := g.Unsent(t.Context(), 10)
	require.NoError(t, err)
	require.NoError(t, g.Finish(t.Context(), []seckill.Outcome{{Ticket: tickets[0]}}))
	require.NoError(t, do(t, g, "XADD", g.outboxKey(bucket(sale.ID)), "*", "t", page[0].FieldValues["t"], "s", page[0].FieldValues["s"]).Error())
	again, err := swept(t, g, bucket(sale.ID))
	require.NoError(t, err)
	require.Empty(t, again)
	require.EqualValues(t, 1, asides(t, g, "outbox"))
}

// A hold that cannot be read stops neither those who ask with its buyer, nor the
// outcomes of the others. Whoever sees it first puts it aside, with one alarm; then its buyer
// is not told that there never was a ticket.
func TestADamagedHoldStopsNobody(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(hold string) string{
		"cut":        func(hold string) string { return hold[:30] },
		"no number":  func(hold string) string { return strings.Replace(hold, ",1,", ",one,", 1) },
		"no entry":   func(hold string) string { return hold[:strings.LastIndex(hold, ",")] },
		"empty":      func(string) string { return "" },
		"not a hold": func(string) string { return strings.Repeat("?", 40) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := freshGate(t, 100)
			sale := onSale(t, g, 50)
			for _, buyer := range []string{"ann", "bob", "cid"} {
				admit(t, g, sale.ID, buyer)
			}
			holds := g.holdsKey(sale.ID)
			hold, err := do(t, g, "HGET", holds, "bob").ToString()
			require.NoError(t, err)
			require.NoError(t, do(t, g, "HSET", holds, "bob", damage(hold)).Error())

			tickets, err := g.Unsent(t.Context(), 10)
			require.NoError(t, err)
			require.Len(t, tickets, 3, "bob's ticket too: it has its seal")
			var outcomes []seckill.Outcome
			for _, ticket := range tickets {
				outcomes = append(outcomes, seckill.Outcome{Ticket: ticket})
			}
			require.NoError(t, g.Finish(t.Context(), outcomes))
			for _, buyer := range []string{"ann", "cid"} {
				p, err := g.Find(t.Context(), sale.ID, buyer, "")
				require.NoError(t, err)
				require.True(t, p.Final)
			}
			for range 2 {
				_, err = g.Find(t.Context(), sale.ID, "bob", "")
				require.ErrorIs(t, err, seckill.ErrNotFound)
				require.NotErrorIs(t, err, seckill.ErrNoTicket, "the store knows")
			}
			_, err = g.Holds(t.Context(), sale.ID, []string{"bob"})
			require.NoError(t, err)
			require.NoError(t, g.Release(t.Context(), seckill.Return{Sale: sale.ID, Epoch: sale.Epoch, Tickets: tickets}))
			require.EqualValues(t, 1, asides(t, g, "holds"))
			kept, err := do(t, g, "LLEN", g.asideKey(bucket(sale.ID))).AsInt64()
			require.NoError(t, err)
			require.EqualValues(t, 1, kept)
			admit(t, g, sale.ID, "bob")
			admit(t, g, sale.ID, "ann")
			require.NoError(t, do(t, g, "HSET", holds, "dan", damage(hold)).Error())
			admit(t, g, sale.ID, "dan") // over the damaged hold
			require.EqualValues(t, 2, asides(t, g, "holds"))
			kept, err = do(t, g, "LLEN", g.asideKey(bucket(sale.ID))).AsInt64()
			require.NoError(t, err)
			require.EqualValues(t, 2, kept)
		})
	}
}

// Admission numbers are written with all their digits, as far as they may go.
func TestLargeAdmissionNumbersAreExact(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	require.NoError(t, do(t, g, "HSET", g.saleKey(sale.ID), "seq", strconv.FormatInt(lastSeq-1, 10)).Error())
	admit(t, g, sale.ID, "ann")
	admit(t, g, sale.ID, "bob")
	tickets, err := g.Unsent(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, tickets, 2)
	require.EqualValues(t, int64(lastSeq), tickets[0].Seq)
	require.EqualValues(t, int64(lastSeq+1), tickets[1].Seq)
	require.NoError(t, g.Finish(t.Context(), []seckill.Outcome{{Ticket: tickets[0]}, {Ticket: tickets[1]}}))
	cut, err := g.Cut(t.Context(), sale.ID)
	require.NoError(t, err)
	require.EqualValues(t, int64(lastSeq+1), cut.Seq)
	for _, field := range []string{"seq", "finished"} {
		v, err := do(t, g, "HGET", g.saleKey(sale.ID), field).ToString()
		require.NoError(t, err)
		require.Equal(t, strconv.FormatInt(lastSeq+1, 10), v)
	}
}

// A long outbox is read in pages by the audit too: the cut is as of its first look, and
// no command reads more than a page.
func TestALongOutboxIsCutInPages(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 10*pageSize)
	sale := onSale(t, g, 10*pageSize)
	const all = 2*pageSize + 7
	errs := make(chan error, all)
	for i := range all {
		go func() {
			_, err := g.Reserve(context.Background(), sale.ID, fmt.Sprint("buyer ", i), 1)
			errs <- err
		}()
	}
	for range all {
		require.NoError(t, stacktest.Await(t, "all are admitted", errs))
	}
	cut, err := g.Cut(t.Context(), sale.ID)
	require.NoError(t, err)
	require.Len(t, cut.Outbox, all)
	require.EqualValues(t, all, cut.Seq)
	require.EqualValues(t, 10*pageSize-all, cut.Left)
}

// What a node of an earlier version has stopped stays stopped, although its note has no seal,
// until a person decides. A note of a sale that is not stopped is put aside.
func TestAStopOfAnEarlierVersionStaysInForce(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	stop := seckill.Stop{Sale: sale.ID, At: time.Now().UTC().Truncate(time.Millisecond), By: seckill.Actor{Who: "root"}}
	note, err := (*seckill.Seals)(nil).Note(stop)
	require.NoError(t, err)
	stop.Unsealed = true
	stops := func() []seckill.Stop {
		all, err := g.Stops(t.Context())
		require.NoError(t, err)
		one, err := g.Stops(t.Context(), sale.ID)
		require.NoError(t, err)
		require.Equal(t, one, all)
		return all
	}
	verdict := func(buyer string) string {
		a, err := g.Reserve(t.Context(), sale.ID, buyer, 1)
		require.NoError(t, err)
		return a.Verdict.String()
	}
	require.NoError(t, do(t, g, "HSET", g.saleKey(sale.ID), "paused", "1").Error())
	require.NoError(t, do(t, g, "HSET", g.stopsKey(1), "1", string(note)).Error())
	require.Equal(t, []seckill.Stop{stop}, stops())
	sale.Version = 2
	require.NoError(t, g.Apply(t.Context(), sale))
	require.Equal(t, "paused", verdict("ann"))
	_, err = g.Shut(t.Context(), []seckill.SaleID{sale.ID})
	require.NoError(t, err)
	sale.Epoch = 2
	require.NoError(t, g.Load(t.Context(), []seckill.Snapshot{{Sale: sale}}))
	require.Equal(t, []seckill.Stop{stop}, stops())
	require.Equal(t, "paused", verdict("ann"))
	require.EqualValues(t, 1, asides(t, g, "stops"), "it rings once")
	require.NoError(t, g.Learned(t.Context(), stop))
	require.Empty(t, stops())
	sale.Version = 3
	require.NoError(t, g.Apply(t.Context(), sale))
	require.Equal(t, "queued", verdict("ann"))

	require.NoError(t, do(t, g, "HSET", g.stopsKey(1), "1", string(note)).Error())
	require.Empty(t, stops())
	require.EqualValues(t, 2, asides(t, g, "stops"))
}

// The note of a stop that cannot be read is put aside with an alarm, and the others are
// told: or no node would be ready again.
func TestADamagedStopStopsNoNode(t *testing.T) {
	t.Parallel()
	g := freshGate(t, 100)
	sale := onSale(t, g, 50)
	stop := seckill.Stop{Sale: sale.ID, At: time.Now().UTC().Truncate(time.Second), By: seckill.Actor{Who: "root", Role: seckill.RoleAdmin}}
	require.NoError(t, g.Stop(t.Context(), stop))
	other, err := sealsOf(t, "another secret").Note(seckill.Stop{Sale: 49, End: true, At: stop.At, By: stop.By})
	require.NoError(t, err)
	mine, err := g.seals.Note(stop)
	require.NoError(t, err)
	away := bucket(sale.ID) + 1
	for _, c := range []struct {
		bucket   int
		id, note string
	}{
		{1, "17", "not a note"}, {1, "x", "{}"}, {1, "33", `{"sale":"1"}`}, {1, "\xff", "\xff\x00"},
		{1, "65", `{"sale":"65","end":true,"by":{"who":"alice"}}`}, {1, "81", `{"sale":"81","end":true,"by":{"who":"alice"},"seal":"AAAAAAAAAAAAAAAAAAAAAA"}`},
		{1, "49", string(other)}, {1, "97", string(mine)}, {away, sale.ID.String(), string(mine)}, // it would be learned again and again
	} {
		require.NoError(t, do(t, g, "HSET", g.stopsKey(c.bucket), c.id, c.note).Error())
	}
	for range 2 {
		stops, err := g.Stops(t.Context())
		require.NoError(t, err)
		require.Equal(t, []seckill.Stop{stop}, stops, "who asked is known, for the log")
		require.EqualValues(t, 9, asides(t, g, "stops"))
	}
	kept, err := do(t, g, "LLEN", g.asideKey(bucket(sale.ID))).AsInt64()
	require.NoError(t, err)
	require.EqualValues(t, 8, kept)

	// A note of a node with the next secret waits for that node.
	g.strangers = func(context.Context) (bool, error) { return true, nil }
	require.NoError(t, do(t, g, "HSET", g.stopsKey(1), "49", string(other)).Error())
	stops, err := g.Stops(t.Context())
	require.NoError(t, err)
	require.Equal(t, []seckill.Stop{stop}, stops)
	_, err = g.Stops(t.Context(), 49)
	require.ErrorIs(t, err, seckill.ErrUnavailable, "nobody may resume that sale here")
	g.strangers = func(context.Context) (bool, error) { return false, seckill.ErrUnavailable }
	_, err = g.Stops(t.Context(), 49)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	stops, err = g.Stops(t.Context(), sale.ID)
	require.NoError(t, err, "the note of another sale is not asked for")
	require.Equal(t, []seckill.Stop{stop}, stops)
	ours := g.seals
	g.seals = sealsOf(t, "another secret", "the tests' secret")
	stops, err = g.Stops(t.Context())
	require.NoError(t, err)
	require.Len(t, stops, 2)
	g.seals = ours
	require.EqualValues(t, 9, asides(t, g, "stops"))
}
