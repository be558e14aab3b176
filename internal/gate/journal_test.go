package gate

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
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
		Seq:      rapid.Int64Range(0, seckill.MaxSeq).Draw(t, "seq"),
		At:       time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "at")).UTC(),
	}
})

func TestARowHoldsItsTickets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tickets := rapid.SliceOfN(anyTicket, 1, 20).Draw(t, "tickets")
		got, bad := decodeRow(encodeRow(tickets))
		require.Empty(t, bad)
		require.Equal(t, tickets, got)
	})
}

func TestARowThatWasCutIsNotRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		row := encodeRow([]seckill.Ticket{anyTicket.Draw(t, "ticket")})
		cut := rapid.IntRange(0, len(row)-1).Draw(t, "cut")
		got, bad := decodeRow(row[:cut])
		require.Empty(t, got)
		require.Len(t, bad, 1)
		require.Equal(t, row[:cut], bad[0].bytes)
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
		tickets, bad := decodeRow(row)
		total := 0
		for _, d := range bad {
			total += len(d.bytes)
		}
		if len(tickets) == 0 && total != len(row) {
			t.Fatalf("%d of %d bytes are kept aside", total, len(row))
		}
		for _, v := range tickets {
			if !seckill.ValidTicketID(v.ID) || v.Sale < 1 || v.Quantity < 1 || v.Quantity > seckill.MaxQuantity || !seckill.ValidBuyer(v.Buyer) || v.Seq < 0 {
				t.Fatalf("not a ticket: %+v", v)
			}
		}
		if len(tickets) == 0 {
			return
		}
		again, bad := decodeRow(encodeRow(tickets))
		if len(bad) > 0 || !slices.Equal(tickets, again) {
			t.Fatalf("%+v became %+v: %v", tickets, again, bad)
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
		all, bad := decodeRow(row)
		require.Empty(t, bad)
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

func sealsOf(t testing.TB, secrets ...string) *seckill.Seals {
	t.Helper()
	var all [][]byte
	for _, secret := range secrets {
		all = append(all, []byte(secret))
	}
	s, err := seckill.NewSeals(all...)
	require.NoError(t, err)
	return s
}

// asides is how many alarms the gate has rung for its journal.
func asides(t *testing.T, m *Memory) float64 {
	t.Helper()
	var v dto.Metric
	require.NoError(t, m.journal.aside.Write(&v))
	return v.Counter.GetValue()
}

// journalWith is a gate's closed journal with one genuine ticket, changed by statements.
func journalWith(t *testing.T, secret string, change func(db *sql.DB)) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "gate.db")
	var options []Option
	if secret != "" {
		options = []Option{Sealed(sealsOf(t, secret), slog.New(slog.DiscardHandler))}
	}
	m, err := OpenMemory(t.Context(), file, 0, options...)
	require.NoError(t, err)
	now := time.Now().UTC().Truncate(time.Millisecond)
	sale := seckill.Sale{ID: 1, Total: 10, LimitPerBuyer: 1, OpensAt: now.Add(-time.Hour), ClosesAt: now.Add(time.Hour), Version: 1, Epoch: 1}
	require.NoError(t, m.Load(t.Context(), []seckill.Snapshot{{Sale: sale}}))
	_, err = m.Reserve(t.Context(), 1, "ann", 1)
	require.NoError(t, err)
	require.NoError(t, m.Close())
	db, err := sql.Open("sqlite", "file:"+file)
	require.NoError(t, err)
	defer db.Close()
	change(db)
	return file
}

// What cannot be read, what is not the gate's and what is there twice is put aside,
// each with an alarm; the tickets beside it are there.
func TestWhatIsNotTheGatesIsPutAside(t *testing.T) {
	t.Parallel()
	other := seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: 1, Buyer: "bob", Quantity: 1, Seq: 9, At: time.Now()}
	forged := other
	forged.Seal = sealsOf(t, "another secret").Make(&forged)
	file := journalWith(t, "a secret", func(db *sql.DB) {
		for i, row := range [][]byte{
			[]byte("rubbish"),
			encodeRow([]seckill.Ticket{other}),                        // no seal
			append(encodeRow([]seckill.Ticket{forged}), "rubbish"...), // two pieces
			{seckill.TicketForm + 1, 0},                               // a form of the future
			binary.AppendUvarint([]byte{seckill.TicketForm}, 1<<40),   // far too long
		} {
			_, err := db.Exec("INSERT INTO journal (seq, tickets) VALUES (?, ?)", 77+i, row)
			require.NoError(t, err)
		}
		_, err := db.Exec("INSERT INTO journal (seq, tickets) SELECT 9223372036854775807, tickets FROM journal WHERE seq < 77")
		require.NoError(t, err)
	})
	for i, want := range []float64{7, 0} { // at the next start nothing is left of them
		m, err := OpenMemory(t.Context(), file, 0, Sealed(sealsOf(t, "a secret"), slog.New(slog.DiscardHandler)))
		require.NoError(t, err)
		require.Equal(t, want, asides(t, m), i)
		outbox, err := m.Shut(t.Context(), []seckill.SaleID{1})
		require.NoError(t, err)
		require.Len(t, outbox[1], 1)
		require.Equal(t, "ann", outbox[1][0].Buyer)
		require.True(t, m.journal.trust.seals.Genuine(&outbox[1][0]))
		require.Equal(t, []int{1}, rows(t, m))
		require.NoError(t, m.Load(t.Context(), []seckill.Snapshot{{Sale: seckill.Sale{ID: 1, Total: 10, LimitPerBuyer: 1, Version: 1, Epoch: 2}}}))
		cut, err := m.Cut(t.Context(), 1)
		require.NoError(t, err)
		require.EqualValues(t, 7, cut.Aside, "the audit says what waits for a person")
		require.EqualValues(t, 2, m.journal.seq, "the next row is not numbered by what was put aside")
		require.NoError(t, m.Close())
	}
}

// The journal of an earlier version has no seals and is believed, once.
func TestAnOlderJournalIsRead(t *testing.T) {
	t.Parallel()
	file := journalWith(t, "", func(*sql.DB) {})
	seals := sealsOf(t, "a secret")
	m, err := OpenMemory(t.Context(), file, 0, Sealed(seals, slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	require.Zero(t, asides(t, m))
	outbox, err := m.Shut(t.Context(), []seckill.SaleID{1})
	require.NoError(t, err)
	require.Len(t, outbox[1], 1)
	require.True(t, seals.Genuine(&outbox[1][0]))
	require.NoError(t, m.Close())

	db, err := sql.Open("sqlite", "file:"+file)
	require.NoError(t, err)
	unsealed := outbox[1][0]
	unsealed.ID, unsealed.Seal = seckill.NewTicketID(time.Now()), seckill.Seal{}
	_, err = db.Exec("INSERT INTO journal (seq, tickets) VALUES (77, ?)", encodeRow([]seckill.Ticket{unsealed}))
	require.NoError(t, err)
	require.NoError(t, db.Close())
	m, err = OpenMemory(t.Context(), file, 0, Sealed(seals, slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	require.EqualValues(t, 1, asides(t, m), "not twice")
	require.NoError(t, m.Close())
}

// Whoever changes the secret loses no ticket: the journal is opened with the previous
// one beside it, and says so otherwise.
func TestTheSecretChangesWhileTicketsWait(t *testing.T) {
	t.Parallel()
	file := journalWith(t, "old", func(*sql.DB) {})
	_, err := OpenMemory(t.Context(), file, 0, Sealed(sealsOf(t, "new"), slog.New(slog.DiscardHandler)))
	require.ErrorContains(t, err, "auth.previous_secret")
	m, err := OpenMemory(t.Context(), file, 0, Sealed(sealsOf(t, "new", "old"), slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	require.Zero(t, asides(t, m))
	require.Equal(t, []int{1}, rows(t, m))
	require.NoError(t, m.Close())
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

// A damaged file of emergency stops keeps no node from its start.
func TestADamagedFileOfStopsIsPutAside(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gate.db")
	require.NoError(t, os.WriteFile(file+".stops", []byte("[{"), 0o600))
	m, err := OpenMemory(t.Context(), file, 0, Sealed(sealsOf(t, "a secret"), slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.EqualValues(t, 1, asides(t, m))
	stops, err := m.Stops(t.Context())
	require.NoError(t, err)
	require.Empty(t, stops)
	require.FileExists(t, file+".stops.aside")
}

// A stop that somebody has written into the file is not one of the gate's, and takes none of
// the gate's away.
func TestAForgedStopIsPutAside(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gate.db")
	mine := seckill.Stop{Sale: 1, At: time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC), By: seckill.Actor{Who: "root"}}
	good, err := sealsOf(t, "a secret").Note(mine)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file+".stops", fmt.Appendf(nil, `[{"sale":"2","end":true,"by":{"who":"alice"}},%s]`, good), 0o600))
	for _, aside := range []float64{1, 0} {
		m, err := OpenMemory(t.Context(), file, 0, Sealed(sealsOf(t, "a secret"), slog.New(slog.DiscardHandler)))
		require.NoError(t, err)
		require.EqualValues(t, aside, asides(t, m))
		stops, err := m.Stops(t.Context())
		require.NoError(t, err)
		require.Equal(t, []seckill.Stop{mine}, stops)
		require.FileExists(t, file+".stops.aside")
		require.NoError(t, m.Close())
	}
}
