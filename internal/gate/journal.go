package gate

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite" // the journal's database

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
)

// journal is the outbox of the memory gate: every admitted ticket, until the
// gate has learned its outcome. A row is one group commit, the tickets of
// everybody who asked while the commit before it was under way. A row goes when
// all of its tickets have outcomes; it is deleted in a later commit. The
// table is read only when the journal is opened.
type journal struct {
	file string
	idle time.Duration // how long deletions may wait for the next commit of tickets, which makes them too
	gap  time.Duration // between the starts of commits

	mu     sync.Mutex
	db     *sql.DB
	broken error              // set by a failed commit, until recovered
	next   *segment           // takes tickets now
	live   map[int64]*segment // written, with tickets that wait for their outcome
	dead   []int64            // rows to delete
	unsent [][]seckill.Ticket // committed, not yet taken by the relay; of segments, blank where finished
	seq    int64              // of the last segment
	store  string             // whose tickets they are; empty: not known yet
	trust  trust
	aside  prometheus.Counter // tickets and rows that could not be read, or were not the gate's
	kept   atomic.Int64       // rows of the table aside

	wake   duty.Signal // there is something to commit
	sent   duty.Signal // there is something unsent
	lost   func()      // called after a failed commit
	cancel context.CancelFunc
	done   chan struct{}

	commits prometheus.Histogram // tickets
	seconds prometheus.Histogram
}

// commitGap is how far apart commits start while there is more than one to make:
// a commit costs the same for one ticket and for a hundred. Whoever asks an idle
// gate does not wait.
const commitGap = 3 * time.Millisecond

// segment is the tickets of one group commit.
type segment struct {
	seq     int64
	tickets []seckill.Ticket // blank where finished
	waiting int              // tickets without an outcome
	done    chan struct{}    // closed once the commit ended
	err     error            // of the commit; read after done
}

// committed waits until the segment's commit has ended. A nil segment was
// committed by an earlier process.
func (s *segment) committed(ctx context.Context) error {
	if s == nil {
		return nil
	}
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// openJournal opens or makes the journal in file, which belongs to this process
// alone, and reads what an earlier process left there.
func openJournal(ctx context.Context, file string, gap time.Duration, lost func(), trust trust) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("gate journal: %w", err)
	}
	j := &journal{
		file: file, idle: time.Second, gap: gap, lost: lost, trust: trust,
		wake: duty.NewSignal(), sent: duty.NewSignal(), done: make(chan struct{}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "seckill_journal_commit_tickets", Help: "Tickets in one group commit of the journal.", Buckets: prometheus.ExponentialBuckets(1, 4, 8)}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "seckill_journal_commit_seconds", Help: "Time of one group commit of the journal.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12)}),
	}
	j.aside = NewAside("journal")
	if err := j.open(ctx); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	j.cancel = cancel
	go j.run(run)
	return j, nil
}

// open opens the database and reads all rows; j.mu is held, or j not shared yet.
func (j *journal) open(ctx context.Context) error {
	dsn := "file:" + (&url.URL{Path: j.file}).EscapedPath() + "?" + url.Values{
		"_pragma": {"locking_mode(EXCLUSIVE)", "journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(2000)"},
		"_txlock": {"immediate"},
	}.Encode()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return fmt.Errorf("gate journal %s: %w", j.file, err)
	}
	db.SetMaxOpenConns(1)
	live, seq, err := j.read(ctx, db)
	if err != nil {
		db.Close()
		return fmt.Errorf("gate journal %s: %w", j.file, err)
	}
	j.db, j.live, j.dead, j.unsent, j.seq, j.broken = db, live, nil, nil, seq, nil
	j.next = j.segment(0)
	return nil
}

func encodeRow(tickets []seckill.Ticket) []byte {
	row := make([]byte, 0, len(tickets)*80)
	for _, t := range tickets {
		row, _ = t.AppendBinary(row)
	}
	return row
}

// segment starts the next one, with room for n tickets; j.mu is held.
func (j *journal) segment(n int) *segment {
	j.seq++
	return &segment{seq: j.seq, tickets: make([]seckill.Ticket, 0, n), done: make(chan struct{})}
}

// append adds an admitted ticket to the next commit, or fails when the journal
// is broken: then nothing was added.
func (j *journal) append(t seckill.Ticket) (slot, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return slot{}, j.broken
	}
	s := j.next
	s.tickets = append(s.tickets, t)
	s.waiting++
	if len(s.tickets) == 1 {
		j.wake.Send()
	}
	return slot{s, int32(len(s.tickets) - 1)}, nil
}

// slot is where the journal keeps a ticket. The zero slot is nowhere.
type slot struct {
	segment *segment
	index   int32
}

// finish notes that tickets have their outcomes, each at most once.
func (j *journal) finish(slots []slot) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range slots {
		s := p.segment
		if s == nil || j.live[s.seq] != s || s.tickets[p.index].ID == "" {
			continue // finished before, or of a journal that was recovered since
		}
		s.tickets[p.index] = seckill.Ticket{}
		if s.waiting--; s.waiting == 0 {
			delete(j.live, s.seq)
			j.dead = append(j.dead, s.seq)
		}
	}
}

// outboxPiece is how many tickets of the outbox are read while whoever buys waits for the lock.
const outboxPiece = 1000

// outbox calls each for every ticket without an outcome, oldest commit first. It reads them a
// few at a time, and nobody waits for each: whoever gets an outcome meanwhile may be missing or
// not, and of those who are admitted meanwhile there may be some. Everybody else is there.
func (j *journal) outbox(each func(seckill.Ticket, slot)) {
	j.mu.Lock()
	all := append(slices.Collect(maps.Values(j.live)), j.next)
	j.mu.Unlock()
	slices.SortFunc(all, func(a, b *segment) int { return int(a.seq - b.seq) })
	var tickets []seckill.Ticket
	var slots []slot
	for len(all) > 0 {
		tickets, slots = tickets[:0], slots[:0]
		j.mu.Lock()
		for ; len(all) > 0 && len(tickets) < outboxPiece; all = all[1:] { // a segment has no more tickets than buyers who waited at the same time
			for i, t := range all[0].tickets {
				if t.ID != "" {
					tickets, slots = append(tickets, t), append(slots, slot{all[0], int32(i)})
				}
			}
		}
		j.mu.Unlock()
		for i, t := range tickets {
			each(t, slots[i])
		}
	}
}

// oldest is how long the oldest ticket has waited for its outcome, 0 if none does.
func (j *journal) oldest(now time.Time) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	first := j.next
	for _, s := range j.live {
		if s.seq < first.seq {
			first = s
		}
	}
	for _, t := range first.tickets {
		if t.ID != "" {
			return max(0, now.Sub(seckill.TicketTime(t.ID)))
		}
	}
	return 0
}

// send gives tickets to the relay, again or for the first time.
func (j *journal) send(tickets []seckill.Ticket) {
	j.mu.Lock()
	j.unsent = append(j.unsent, tickets)
	j.mu.Unlock()
	j.sent.Send()
}

// take waits for tickets to relay and returns up to max of them.
func (j *journal) take(ctx context.Context, max int) ([]seckill.Ticket, error) {
	for {
		j.mu.Lock()
		var tickets []seckill.Ticket
		for len(j.unsent) > 0 && len(tickets) < max {
			first := j.unsent[0]
			n := min(max-len(tickets), len(first))
			tickets = slices.Grow(tickets, n)
			for _, t := range first[:n] {
				if t.ID != "" {
					tickets = append(tickets, t)
				}
			}
			if j.unsent[0] = first[n:]; n == len(first) {
				j.unsent[0], j.unsent = nil, j.unsent[1:]
			}
		}
		j.mu.Unlock()
		if len(tickets) > 0 {
			return tickets, nil
		}
		select {
		case <-j.sent:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// run commits until the journal is closed.
func (j *journal) run(ctx context.Context) {
	defer close(j.done)
	idle := time.NewTicker(j.idle)
	defer idle.Stop()
	var last time.Time
	for {
		select {
		case <-j.wake:
			duty.Rest(ctx, j.gap-time.Since(last))
		case <-idle.C:
		case <-ctx.Done():
			j.commit()
			return
		}
		last = time.Now()
		j.commit()
	}
}

// settle waits until every commit that has been asked for has ended.
func (j *journal) settle(ctx context.Context) error {
	j.mu.Lock()
	running := []*segment{}
	if len(j.next.tickets) > 0 {
		running = append(running, j.next)
	}
	for _, s := range j.live {
		running = append(running, s)
	}
	j.mu.Unlock()
	for _, s := range running {
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// commit writes the next segment and the deletions that are due. No context may
// cut it short: its outcome would be unknown.
func (j *journal) commit() {
	j.mu.Lock()
	s, dead, db := j.next, j.dead, j.db
	if j.broken != nil || len(s.tickets) == 0 && len(dead) == 0 {
		j.mu.Unlock()
		return
	}
	if len(s.tickets) > 0 {
		j.next = j.segment(len(s.tickets)) // with room for as many tickets as this one had: the next batch is likely to be as large
		j.live[s.seq] = s
	}
	j.dead = nil
	tickets := slices.Clone(s.tickets)
	j.mu.Unlock()
	for i := range tickets { // here, where no buyer waits for a lock
		tickets[i].Seal = j.trust.seals.Make(&tickets[i])
	}
	j.mu.Lock()
	copy(s.tickets, tickets)
	j.mu.Unlock()

	crash.Here("2-before-commit", len(tickets) > 0)
	start := time.Now()
	err := writeJournal(context.Background(), db, s.seq, tickets, dead)
	j.commits.Observe(float64(len(tickets)))
	j.seconds.Observe(time.Since(start).Seconds())
	crash.Here("2-after-commit", len(tickets) > 0)

	if err == nil {
		if len(tickets) == 0 {
			return
		}
		// First to the relay, then to the buyers: nobody hears of a ticket that
		// is not on its way.
		j.send(s.tickets)
		close(s.done)
		return
	}
	j.mu.Lock()
	j.broken = fmt.Errorf("gate journal %s: %w: %w", j.file, seckill.ErrUnavailable, err)
	s.err, j.next.err = j.broken, j.broken
	next := j.next
	j.mu.Unlock()
	if len(tickets) > 0 {
		close(s.done)
	}
	close(next.done)
	j.lost()
}

func writeJournal(ctx context.Context, db *sql.DB, seq int64, tickets []seckill.Ticket, dead []int64) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if len(tickets) > 0 {
		if _, err := tx.ExecContext(ctx, "INSERT INTO journal (seq, tickets) VALUES (?, ?)", seq, encodeRow(tickets)); err != nil {
			return err
		}
	}
	for _, row := range dead {
		if _, err := tx.ExecContext(ctx, "DELETE FROM journal WHERE seq = ?", row); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// belong returns the store that the journal belongs to: the one given if there was
// none.
func (j *journal) belong(ctx context.Context, store string) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.store != "" {
		return j.store, nil
	}
	if j.broken != nil {
		return "", j.broken
	}
	for _, q := range []string{"CREATE TABLE IF NOT EXISTS store (id TEXT NOT NULL)", "INSERT INTO store (id) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM store)"} {
		if _, err := j.db.ExecContext(ctx, q, store); err != nil {
			return "", fmt.Errorf("gate journal %s: %w: %w", j.file, seckill.ErrUnavailable, err)
		}
	}
	err := j.db.QueryRowContext(ctx, "SELECT id FROM store").Scan(&j.store)
	return j.store, err
}

// recover reopens a broken journal: what a failed commit left in the file, or
// did not, is known only by reading it again.
func (j *journal) recover(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken == nil {
		return nil
	}
	j.db.Close()
	return j.open(ctx)
}

func (j *journal) err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken
}

func (j *journal) close() error {
	j.cancel()
	<-j.done
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken == nil {
		j.broken = fmt.Errorf("gate journal %s: closed: %w", j.file, seckill.ErrUnavailable)
		// Whoever came after the last commit is told.
		j.next.err = j.broken
		close(j.next.done)
	}
	return j.db.Close()
}
