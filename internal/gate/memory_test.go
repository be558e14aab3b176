package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
	"seckill/internal/gate/gatetest"
)

func TestMain(m *testing.M) {
	gatetest.FewChecks()
	goleak.VerifyTestMain(m)
}

func TestMemory(t *testing.T) {
	t.Parallel()
	gatetest.Run(t, openTestMemory)
}

func TestMemoryAdmitsByTheRule(t *testing.T) {
	t.Parallel()
	gatetest.RunAdmission(t, openTestMemory)
}

func TestMemoryAgreesWithItsModel(t *testing.T) {
	t.Parallel()
	gatetest.RunModel(t, openTestMemory)
}

func TestMemoryIsLinearizable(t *testing.T) {
	t.Parallel()
	gatetest.RunHistories(t, openTestMemory)
}

func openTestMemory(t testing.TB, limit int) gatetest.Subject {
	return memoryAt(t, filepath.Join(t.TempDir(), "gate.db"), limit, gatetest.NewClock())
}

// memoryAt opens the gate whose journal is file and closes it after the test.
func memoryAt(t testing.TB, file string, limit int, c *gatetest.Clock) gatetest.Subject {
	t.Helper()
	m, err := OpenMemory(context.Background(), file, limit)
	require.NoError(t, err)
	m.now = c.Now
	t.Cleanup(func() { m.Close() })
	return gatetest.Subject{
		Gate: m, Clock: c,
		Reopen: func(t testing.TB) gatetest.Subject {
			t.Helper()
			require.NoError(t, m.Close())
			return memoryAt(t, file, limit, c)
		},
		Crash: func(t testing.TB) gatetest.Subject {
			t.Helper()
			return memoryAt(t, copyJournal(t, m), limit, c)
		},
	}
}

// copyJournal copies the journal's files as they are between two commits: what a
// kill would leave.
func copyJournal(t testing.TB, m *Memory) string {
	t.Helper()
	resume := stall(t, m)
	defer resume()
	to := filepath.Join(t.TempDir(), "gate.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(m.journal.file + suffix)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to+suffix, b, 0o600))
	}
	return to
}

// stall makes the journal's commits wait until resume is called: it occupies the
// only connection.
func stall(t testing.TB, m *Memory) (resume func()) {
	t.Helper()
	conn, err := m.journal.db.Conn(context.Background())
	require.NoError(t, err)
	return func() { conn.Close() }
}

// breakCommits makes the journal's commits fail until it is recovered.
func breakCommits(m *Memory) { m.journal.db.Close() }

// asked is a request that is under way.
type asked struct {
	answer seckill.Answer
	err    error
	done   bool
}

// inBubble runs a test of a memory gate with fake time: a test can wait until
// everybody waits.
func inBubble(t *testing.T, change func(*seckill.Sale), test func(t *testing.T, w *gatetest.World, m *Memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, err := openMemory(t.Context(), filepath.Join(t.TempDir(), "gate.db"), 0, 0)
		require.NoError(t, err)
		defer m.Close()
		now := time.Now()
		s := gatetest.Subject{Gate: m, Clock: gatetest.ClockAt(now)}
		test(t, gatetest.NewWorld(t, s, func(sale *seckill.Sale) {
			sale.OpensAt, sale.ClosesAt = now, now.Add(time.Hour)
			if change != nil {
				change(sale)
			}
		}), m)
	})
}

// start makes a request, and returns when it waits or is answered.
func start(ctx context.Context, w *gatetest.World, buyer string, quantity int) *asked {
	a := &asked{}
	go func() {
		a.answer, a.err = w.Reserve(ctx, gatetest.SaleID, buyer, quantity)
		a.done = true
	}()
	synctest.Wait()
	return a
}

func TestNobodyIsToldOfATicketBeforeItsCommit(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *gatetest.World, m *Memory) {
		resume := stall(t, m)
		defer resume()
		first := start(t.Context(), w, "ann", 1)
		repeat := start(t.Context(), w, "ann", 1)
		later := start(t.Context(), w, "bob", 1) // rides in the next commit
		found := make(chan seckill.Progress, 1)
		go func() {
			p, err := m.Find(t.Context(), gatetest.SaleID, "ann", "")
			assert.NoError(t, err)
			found <- p
		}()
		relayed := make(chan []seckill.Ticket, 1)
		go func() {
			tickets, err := m.Unsent(t.Context(), 10)
			assert.NoError(t, err)
			relayed <- tickets
		}()
		synctest.Wait()
		assert.False(t, first.done, "an answer waits for the commit")
		assert.False(t, repeat.done, "a repeat waits for the commit")
		assert.False(t, later.done, "the next group waits for its own")
		assert.Empty(t, found, "a look at a ticket waits for the commit")
		assert.Empty(t, relayed, "the relay gets what is durable")
		w.HasLeft(8)

		resume()
		synctest.Wait()
		require.True(t, first.done && repeat.done && later.done)
		require.NoError(t, errors.Join(first.err, repeat.err, later.err))
		assert.Equal(t, first.answer.Ticket, repeat.answer.Ticket)
		assert.Equal(t, first.answer.Ticket, (<-found).Ticket.ID)
		assert.Contains(t, gatetest.IDs(<-relayed), first.answer.Ticket)
	})
}

func TestACallerWhoLeavesKeepsTheTicket(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *gatetest.World, m *Memory) {
		resume := stall(t, m)
		defer resume()
		ctx, cancel := context.WithCancel(t.Context())
		gone := start(ctx, w, "ann", 2)
		cancel()
		synctest.Wait()
		require.ErrorIs(t, gone.err, context.Canceled)
		w.HasLeft(8)
		resume()
		ticket := w.Admit("ann", 2)
		w.HasLeft(8)
		w.HasOutbox(ticket)
	})
}

func TestAFailedCommitClosesTheGateAndTellsNobodyQueued(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *gatetest.World, m *Memory) {
		before := w.Admit("pia", 1)
		w.Settle(seckill.ReasonNone, before)
		kept := w.Admit("kim", 1)

		resume := stall(t, m)
		defer resume()
		first := start(t.Context(), w, "ann", 1)
		later := start(t.Context(), w, "bob", 1) // in the group after it
		repeat := start(t.Context(), w, "bob", 1)
		breakCommits(m)
		resume()
		synctest.Wait()
		for name, a := range map[string]*asked{"first": first, "later": later, "repeat": repeat} {
			assert.True(t, a.done, name)
			assert.ErrorIs(t, a.err, seckill.ErrUnavailable, name)
		}
		assert.Len(t, m.Lost(), 1, "somebody must rebuild")
		assert.ErrorIs(t, m.Ping(t.Context()), seckill.ErrUnavailable)
		w.Unavailable(gatetest.SaleID)
		assert.Equal(t, []string{kept.ID}, gatetest.IDs(w.Take(1)), "what is not durable is not relayed, nor what has its outcome")

		w.Rebuild()
		require.NoError(t, m.Ping(t.Context()))
		w.HasLeft(8)
		w.HasOutbox(kept)
		assert.Equal(t, before, w.Admit("pia", 1))
		assert.Equal(t, kept, w.Admit("kim", 1))
		w.Expect(seckill.Queued, "ann", 3)
		w.Expect(seckill.Queued, "bob", 3)
		w.HasLeft(2)
		assert.EqualValues(t, 3, m.pending.Load(), "kim, ann and bob have no outcome")
	})
}

// A commit whose reply is lost may be in the file: the rebuild finds it, and the
// buyer who asks again has that ticket.
func TestACommitOfUnknownOutcomeIsFoundByTheRebuild(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *gatetest.World, m *Memory) {
		at := time.Now().UTC().Truncate(time.Millisecond)
		durable := seckill.Ticket{ID: seckill.NewTicketID(at), Sale: gatetest.SaleID, Buyer: "ann", Quantity: 2, Seq: 1, At: at}
		_, err := m.journal.db.Exec("INSERT INTO journal (seq, tickets) VALUES (1000, ?)", encodeRow([]seckill.Ticket{durable}))
		require.NoError(t, err)
		breakCommits(m)
		_, err = m.Reserve(t.Context(), gatetest.SaleID, "bob", 1)
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		w.Rebuild()
		w.HasLeft(8)
		w.HasOutbox(durable)
		assert.Equal(t, durable.ID, w.Admit("ann", 2).ID)
		assert.Equal(t, []string{durable.ID}, gatetest.IDs(w.Take(1)))
	})
}

func TestAFailedCommitOfDeletionsIsRecovered(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *gatetest.World, m *Memory) {
		first := w.Admit("ann", 1)
		breakCommits(m)
		w.Settle(seckill.ReasonNone, first)
		<-m.Lost() // the deletion was due within a second
		w.Rebuild()
		w.HasLeft(9)
		w.HasOutbox()
		assert.Equal(t, first, w.Admit("ann", 1))
		w.Expect(seckill.Queued, "bob", 1)
	})
}

// A sale that nobody can rebuild does not keep the outcomes of the others waiting; when it is
// rebuilt after all, with what the store said before, its tickets are sent once more.
func TestASaleThatStaysClosedHoldsNoOutcomesOfOthers(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *gatetest.World, m *Memory) {
		other := w.Sale
		other.ID, other.Epoch = 2, 1
		require.NoError(t, m.Load(t.Context(), []seckill.Snapshot{{Sale: other}}))
		ann := w.Admit("ann", 1)
		_, err := m.Reserve(t.Context(), other.ID, "bob", 1)
		require.NoError(t, err)
		tickets, err := m.Unsent(t.Context(), 10)
		require.NoError(t, err)
		for len(tickets) < 2 {
			more, err := m.Unsent(t.Context(), 10)
			require.NoError(t, err)
			tickets = append(tickets, more...)
		}
		require.Equal(t, ann.ID, tickets[0].ID)
		outbox, err := m.Shut(t.Context(), []seckill.SaleID{gatetest.SaleID})
		require.NoError(t, err)
		before := seckill.Snapshot{Sale: w.Sale, Outbox: outbox[gatetest.SaleID]}
		before.Sale.Epoch = 9

		outcomes := []seckill.Outcome{{Ticket: tickets[0]}, {Ticket: tickets[1]}}
		require.ErrorIs(t, m.Finish(t.Context(), outcomes), seckill.ErrClosed)
		p, err := m.Find(t.Context(), other.ID, "bob", "")
		require.NoError(t, err)
		require.True(t, p.Final, "the other sale hears of it at once")
		time.Sleep(closedMost)
		require.NoError(t, m.Finish(t.Context(), outcomes))

		require.NoError(t, m.Load(t.Context(), []seckill.Snapshot{before}))
		again, err := m.Unsent(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, tickets[:1], again)
		_, err = m.Shut(t.Context(), []seckill.SaleID{gatetest.SaleID})
		require.NoError(t, err)
		require.ErrorIs(t, m.Finish(t.Context(), outcomes), seckill.ErrClosed, "the next time it is waited for again")
		before.Sale.Epoch++
		require.NoError(t, m.Load(t.Context(), []seckill.Snapshot{before}))
		require.NoError(t, m.Finish(t.Context(), outcomes))
		p, err = m.Find(t.Context(), gatetest.SaleID, "ann", ann.ID)
		require.NoError(t, err)
		require.True(t, p.Final)
	})
}

func TestAStoppedGateLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *gatetest.World, m *Memory) {
		require.NoError(t, m.Close())
		a := start(t.Context(), w, "ann", 1)
		assert.True(t, a.done)
		assert.ErrorIs(t, a.err, seckill.ErrUnavailable)
	})
	t.Run("who asked while it stopped", func(t *testing.T) {
		inBubble(t, func(s *seckill.Sale) { s.Total = 1000 }, func(t *testing.T, w *gatetest.World, m *Memory) {
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					a, err := m.Reserve(t.Context(), gatetest.SaleID, fmt.Sprint("buyer", i), 1)
					if err != nil {
						assert.ErrorIs(t, err, seckill.ErrUnavailable)
						return
					}
					assert.Equal(t, seckill.Queued, a.Verdict)
				})
			}
			require.NoError(t, m.Close())
			all.Wait() // a request that hangs is a deadlock here
		})
	})
}

// At the end of the numbers a sale is closed: no ticket is given that cannot be read.
func TestNoTicketIsGivenThatCannotBeRead(t *testing.T) {
	t.Parallel()
	m := openTestMemory(t, 0).Gate.(*Memory)
	sale := seckill.Sale{ID: 1, Version: 1, Epoch: 1, Total: 5, LimitPerBuyer: 1, Seq: seckill.LastSeq, OpensAt: m.now().Add(-time.Hour), ClosesAt: m.now().Add(time.Hour)}
	require.NoError(t, m.Load(t.Context(), []seckill.Snapshot{{Sale: sale}}))
	a, err := m.Reserve(t.Context(), sale.ID, "ann", 1)
	require.NoError(t, err)
	require.Equal(t, seckill.Queued, a.Verdict)
	for _, buyer := range []string{"bob", "cid"} {
		_, err := m.Reserve(t.Context(), sale.ID, buyer, 1)
		require.ErrorIs(t, err, seckill.ErrClosed)
	}
}

func TestTheGatesMetrics(t *testing.T) {
	t.Parallel()
	s := openTestMemory(t, 0)
	w := gatetest.NewWorld(t, s, nil)
	w.Admit("ann", 1)
	m := s.Gate.(*Memory)
	now := m.now
	m.now = func() time.Time { return now().Add(time.Hour) }
	r := prometheus.NewRegistry()
	m.Register(r)
	families, err := r.Gather()
	require.NoError(t, err)
	found := map[string]float64{}
	for _, f := range families {
		found[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue() + float64(f.GetMetric()[0].GetHistogram().GetSampleCount())
	}
	assert.EqualValues(t, 1, found["seckill_pending_tickets"])
	assert.InDelta(t, 3600, found["seckill_pending_oldest_seconds"], 600)
	assert.GreaterOrEqual(t, found["seckill_journal_commit_tickets"], 1.0)
	assert.GreaterOrEqual(t, found["seckill_journal_commit_seconds"], 1.0)
}
