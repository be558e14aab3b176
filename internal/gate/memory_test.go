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

	"seckill"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	testGate(t, openTestMemory)
}

func openTestMemory(t testing.TB, limit int) subject {
	return memoryAt(t, filepath.Join(t.TempDir(), "gate.db"), limit, newClock())
}

// memoryAt opens the gate whose journal is file and closes it after the test.
func memoryAt(t testing.TB, file string, limit int, c *clock) subject {
	t.Helper()
	m, err := OpenMemory(context.Background(), file, limit)
	require.NoError(t, err)
	m.now = c.now
	t.Cleanup(func() { m.Close() })
	return subject{
		conforming: m, clock: c,
		reopen: func(t testing.TB) subject {
			t.Helper()
			require.NoError(t, m.Close())
			return memoryAt(t, file, limit, c)
		},
		crash: func(t testing.TB) subject {
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
func inBubble(t *testing.T, change func(*seckill.Sale), test func(t *testing.T, w *world, m *Memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, err := openMemory(t.Context(), filepath.Join(t.TempDir(), "gate.db"), 0, 0)
		require.NoError(t, err)
		defer m.Close()
		now := time.Now()
		s := subject{conforming: m, clock: &clock{at: now}}
		test(t, newWorld(t, s, func(sale *seckill.Sale) {
			sale.OpensAt, sale.ClosesAt = now, now.Add(time.Hour)
			if change != nil {
				change(sale)
			}
		}), m)
	})
}

func (w *world) start(ctx context.Context, buyer string, quantity int) *asked {
	a := &asked{}
	go func() {
		a.answer, a.err = w.Reserve(ctx, saleID, buyer, quantity)
		a.done = true
	}()
	synctest.Wait()
	return a
}

func TestNobodyIsToldOfATicketBeforeItsCommit(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *world, m *Memory) {
		resume := stall(t, m)
		defer resume()
		first := w.start(t.Context(), "ann", 1)
		repeat := w.start(t.Context(), "ann", 1)
		later := w.start(t.Context(), "bob", 1) // rides in the next commit
		found := make(chan seckill.Progress, 1)
		go func() {
			p, err := m.Find(t.Context(), saleID, "ann", "")
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
		w.hasLeft(8)

		resume()
		synctest.Wait()
		require.True(t, first.done && repeat.done && later.done)
		require.NoError(t, errors.Join(first.err, repeat.err, later.err))
		assert.Equal(t, first.answer.Ticket, repeat.answer.Ticket)
		assert.Equal(t, first.answer.Ticket, (<-found).Ticket.ID)
		assert.Contains(t, ids(<-relayed), first.answer.Ticket)
	})
}

func TestACallerWhoLeavesKeepsTheTicket(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *world, m *Memory) {
		resume := stall(t, m)
		defer resume()
		ctx, cancel := context.WithCancel(t.Context())
		gone := w.start(ctx, "ann", 2)
		cancel()
		synctest.Wait()
		require.ErrorIs(t, gone.err, context.Canceled)
		w.hasLeft(8)
		resume()
		ticket := w.admit("ann", 2)
		w.hasLeft(8)
		w.hasOutbox(ticket)
	})
}

func TestAFailedCommitClosesTheGateAndTellsNobodyQueued(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *world, m *Memory) {
		before := w.admit("pia", 1)
		w.settle(seckill.ReasonNone, before)
		kept := w.admit("kim", 1)

		resume := stall(t, m)
		defer resume()
		first := w.start(t.Context(), "ann", 1)
		later := w.start(t.Context(), "bob", 1) // in the group after it
		repeat := w.start(t.Context(), "bob", 1)
		breakCommits(m)
		resume()
		synctest.Wait()
		for name, a := range map[string]*asked{"first": first, "later": later, "repeat": repeat} {
			assert.True(t, a.done, name)
			assert.ErrorIs(t, a.err, seckill.ErrUnavailable, name)
		}
		assert.Len(t, m.Lost(), 1, "somebody must rebuild")
		assert.ErrorIs(t, m.Ping(t.Context()), seckill.ErrUnavailable)
		w.unavailable(saleID)
		assert.Equal(t, []string{kept.ID}, ids(w.unsent(1)), "what is not durable is not relayed, nor what has its outcome")

		w.rebuild()
		require.NoError(t, m.Ping(t.Context()))
		w.hasLeft(8)
		w.hasOutbox(kept)
		assert.Equal(t, before, w.admit("pia", 1))
		assert.Equal(t, kept, w.admit("kim", 1))
		w.told(seckill.Queued, "ann", 3)
		w.told(seckill.Queued, "bob", 3)
		w.hasLeft(2)
		assert.EqualValues(t, 3, m.pending.Load(), "kim, ann and bob have no outcome")
	})
}

// A commit whose reply is lost may be in the file: the rebuild finds it, and the
// buyer who asks again has that ticket.
func TestACommitOfUnknownOutcomeIsFoundByTheRebuild(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *world, m *Memory) {
		at := time.Now().UTC().Truncate(time.Millisecond)
		durable := seckill.Ticket{ID: seckill.NewTicketID(at), Sale: saleID, Buyer: "ann", Quantity: 2, Seq: 1, At: at}
		_, err := m.journal.db.Exec("INSERT INTO journal (seq, tickets) VALUES (1000, ?)", encodeRow([]seckill.Ticket{durable}))
		require.NoError(t, err)
		breakCommits(m)
		_, err = m.Reserve(t.Context(), saleID, "bob", 1)
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		w.rebuild()
		w.hasLeft(8)
		w.hasOutbox(durable)
		assert.Equal(t, durable.ID, w.admit("ann", 2).ID)
		assert.Equal(t, []string{durable.ID}, ids(w.unsent(1)))
	})
}

func TestAFailedCommitOfDeletionsIsRecovered(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *world, m *Memory) {
		first := w.admit("ann", 1)
		breakCommits(m)
		w.settle(seckill.ReasonNone, first)
		<-m.Lost() // the deletion was due within a second
		w.rebuild()
		w.hasLeft(9)
		w.hasOutbox()
		assert.Equal(t, first, w.admit("ann", 1))
		w.told(seckill.Queued, "bob", 1)
	})
}

func TestAStoppedGateLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, w *world, m *Memory) {
		require.NoError(t, m.Close())
		a := w.start(t.Context(), "ann", 1)
		assert.True(t, a.done)
		assert.ErrorIs(t, a.err, seckill.ErrUnavailable)
	})
	t.Run("who asked while it stopped", func(t *testing.T) {
		inBubble(t, func(s *seckill.Sale) { s.Total = 1000 }, func(t *testing.T, w *world, m *Memory) {
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					a, err := m.Reserve(t.Context(), saleID, fmt.Sprint("buyer", i), 1)
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

func TestTheGatesMetrics(t *testing.T) {
	t.Parallel()
	s := openTestMemory(t, 0)
	w := newWorld(t, s, nil)
	w.admit("ann", 1)
	r := prometheus.NewRegistry()
	s.conforming.(*Memory).Register(r)
	families, err := r.Gather()
	require.NoError(t, err)
	found := map[string]float64{}
	for _, f := range families {
		found[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue() + float64(f.GetMetric()[0].GetHistogram().GetSampleCount())
	}
	assert.EqualValues(t, 1, found["seckill_pending_tickets"])
	assert.GreaterOrEqual(t, found["seckill_journal_commit_tickets"], 1.0)
	assert.GreaterOrEqual(t, found["seckill_journal_commit_seconds"], 1.0)
}
