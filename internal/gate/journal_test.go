package gate

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"seckill"
	"seckill/internal/gate/gatetest"
)

var anyTicket = rapid.Custom(func(t *rapid.T) seckill.Ticket {
	return seckill.Ticket{
		ID:       rapid.StringMatching(`[0-9A-Z]{26}`).Draw(t, "id"),
		Sale:     seckill.SaleID(rapid.Int64Min(1).Draw(t, "sale")),
		Buyer:    rapid.StringMatching(`[a-z秒杀 !]{1,64}`).Draw(t, "buyer"),
		Quantity: rapid.IntRange(1, seckill.MaxQuantity).Draw(t, "quantity"),
		Seq:      rapid.Int64Min(0).Draw(t, "seq"),
		At:       time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "at")).UTC(),
	}
})

func TestARowHoldsItsTickets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tickets := rapid.SliceOfN(anyTicket, 1, 20).Draw(t, "tickets")
		got, err := decodeRow(encodeRow(tickets))
		require.NoError(t, err)
		require.Equal(t, tickets, got)
	})
}

func TestARowThatWasCutIsNotRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		row := encodeRow([]seckill.Ticket{anyTicket.Draw(t, "ticket")})
		cut := rapid.IntRange(0, len(row)-1).Draw(t, "cut")
		_, err := decodeRow(row[:cut])
		require.Error(t, err)
	})
}

func FuzzDecodeRow(f *testing.F) {
	ticket := seckill.Ticket{ID: seckill.NewTicketID(time.UnixMilli(1)), Sale: 1, Buyer: "ann", Quantity: 1, Seq: 1, At: time.UnixMilli(1).UTC()}
	f.Add([]byte{})
	f.Add(encodeRow([]seckill.Ticket{ticket}))
	f.Add(encodeRow([]seckill.Ticket{ticket, ticket}))
	f.Add(append(encodeRow([]seckill.Ticket{ticket}), 26))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, row []byte) {
		tickets, err := decodeRow(row)
		if err != nil {
			if tickets != nil {
				t.Fatal("a row that is not one has no tickets")
			}
			return
		}
		for _, v := range tickets {
			if !seckill.ValidTicketID(v.ID) || v.Sale < 1 || v.Quantity < 1 || v.Quantity > seckill.MaxQuantity || !seckill.ValidBuyer(v.Buyer) || v.Seq < 0 {
				t.Fatalf("not a ticket: %+v", v)
			}
		}
		again, err := decodeRow(encodeRow(tickets))
		if err != nil || !slices.Equal(tickets, again) {
			t.Fatalf("%+v became %+v: %v", tickets, again, err)
		}
	})
}

// rows reads the journal's rows, by their number of tickets. The journal's own
// connection is the only one that may.
func rows(t *testing.T, m *Memory) (tickets []int) {
	t.Helper()
	r, err := m.journal.db.Query("SELECT tickets FROM journal ORDER BY seq")
	require.NoError(t, err)
	defer r.Close()
	for r.Next() {
		var row []byte
		require.NoError(t, r.Scan(&row))
		all, err := decodeRow(row)
		require.NoError(t, err)
		tickets = append(tickets, len(all))
	}
	require.NoError(t, r.Err())
	return tickets
}

func TestARowGoesWhenAllOfItsTicketsHaveOutcomes(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *gatetest.World, m *Memory) {
		resume := stall(t, m)
		defer resume()
		first := start(t.Context(), w, "ann", 1) // starts a commit, which waits
		second, third := start(t.Context(), w, "bob", 1), start(t.Context(), w, "cid", 1)
		resume()
		synctest.Wait()
		require.Equal(t, []int{1, 2}, rows(t, m), "who asks during a commit shares the next one")

		ticket := func(a *asked, buyer string) seckill.Ticket {
			return seckill.Ticket{ID: a.answer.Ticket, Sale: gatetest.SaleID, Buyer: buyer, Quantity: 1}
		}
		for range 3 { // told three times, it is one of two
			w.Settle(seckill.ReasonNone, ticket(second, "bob"))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []int{1, 2}, rows(t, m), "one of its tickets has no outcome")
		w.Settle(seckill.ReasonPoison, ticket(third, "cid"))
		assert.Equal(t, []int{1, 2}, rows(t, m), "the deletion rides in a later commit")
		w.Admit("dan", 1)
		assert.Equal(t, []int{1, 1}, rows(t, m))
		w.Settle(seckill.ReasonNone, ticket(first, "ann"))
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []int{1}, rows(t, m), "or in one of its own within a second")
	})
}

func TestARowLeftByAKillIsDeletedOnceItsTicketsAreFinal(t *testing.T) {
	t.Parallel()
	s := openTestMemory(t, 0)
	w := gatetest.NewWorld(t, s, nil)
	first, second := w.Admit("ann", 1), w.Admit("bob", 1)
	w.Store.Settle(seckill.ReasonNone, first, second) // and the gate has not heard
	w.Restart(w.Crash)
	w.Rebuild()
	w.HasOutbox()
	w.Restart(w.Reopen) // closing commits what is due
	m := w.Gate.(*Memory)
	assert.Empty(t, rows(t, m))
	assert.Empty(t, m.journal.live)
}

func TestACorruptRowIsNamedAndNotOpened(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gate.db")
	w := gatetest.NewWorld(t, memoryAt(t, file, 0, gatetest.NewClock()), nil)
	w.Admit("ann", 1)
	m := w.Gate.(*Memory)
	require.NoError(t, m.Close())
	db, err := sql.Open("sqlite", "file:"+file)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("INSERT INTO journal (seq, tickets) VALUES (77, ?)", append(encodeRow([]seckill.Ticket{{ID: seckill.NewTicketID(time.Now()), Sale: 1, Buyer: "bob", Quantity: 1}}), "rubbish"...))
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = OpenMemory(t.Context(), file, 0)
	require.ErrorContains(t, err, "row 77")
	require.ErrorContains(t, err, file)
}

func TestAFileThatIsNoJournalIsNamedAndNotOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := OpenMemory(t.Context(), dir, 0)
	require.ErrorContains(t, err, dir)
}

// Both openers are of this process; between two processes SQLite's lock is the
// same.
func TestASecondOpenerIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gate.db")
	first := memoryAt(t, file, 0, gatetest.NewClock())
	_, err := OpenMemory(t.Context(), file, 0)
	require.ErrorContains(t, err, file)
	second := first.Reopen(t) // a journal that nobody has written to since it was opened
	_, err = OpenMemory(t.Context(), file, 0)
	require.ErrorContains(t, err, "locked")
	gatetest.NewWorld(t, second, nil).Expect(seckill.Queued, "ann", 1)
}

func TestAJournalIsReadInTheOrderOfItsCommits(t *testing.T) {
	t.Parallel()
	w := gatetest.NewWorld(t, openTestMemory(t, 0), nil)
	var want []string
	for i := range 6 {
		want = append(want, w.Admit(fmt.Sprint("buyer", i), 1).ID)
	}
	w.Restart(w.Crash)
	w.Rebuild()
	assert.Equal(t, want, gatetest.IDs(w.Take(6)))
	cut, err := w.Cut(context.Background(), gatetest.SaleID)
	require.NoError(t, err)
	assert.Equal(t, want, gatetest.IDs(cut.Outbox))
	assert.EqualValues(t, 6, cut.Seq, "admission goes on where it was")
	next := w.Admit("zoe", 1)
	p, err := w.Find(context.Background(), gatetest.SaleID, "zoe", next.ID)
	require.NoError(t, err)
	assert.EqualValues(t, 7, p.Ticket.Seq)
}

// Segments are of any size, the relay asks for any number, and what has its
// outcome before the relay has come to it needs no sending.
func TestTheRelayTakesWhatWaitsInItsOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		j := &journal{sent: make(chan struct{}, 1)}
		var want, got []string
		for n, size := range rapid.SliceOfN(rapid.IntRange(0, 5), 1, 8).Draw(t, "segments") {
			tickets := make([]seckill.Ticket, size)
			for i := range tickets {
				if finished := rapid.Bool().Draw(t, "finished"); !finished {
					tickets[i].ID = fmt.Sprint(n, "-", i)
					want = append(want, tickets[i].ID)
				}
			}
			j.send(tickets)
		}
		for len(got) < len(want) {
			most := rapid.IntRange(1, 10).Draw(t, "most")
			tickets, err := j.take(context.Background(), most)
			require.NoError(t, err)
			require.NotEmpty(t, tickets)
			require.LessOrEqual(t, len(tickets), most)
			got = append(got, gatetest.IDs(tickets)...)
		}
		require.Equal(t, want, got)
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := j.take(done, 1)
		require.Equal(t, context.Canceled, err, "nothing is left")
	})
}
