package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"seckill"
	"seckill/internal/duty"
)

// OutboxLimit is the default number of admitted tickets without an outcome that
// a gate holds at most; then it answers busy. A ticket waiting in the memory
// gate takes about 280 bytes.
const OutboxLimit = 1_000_000

// Memory is the embedded gate. It belongs to one process.
type Memory struct {
	flags   *Flags
	waiters Waiters
	journal *journal
	stops   *stops
	limit   int64 // tickets without an outcome
	pending atomic.Int64
	now     func() time.Time
	lost    duty.Signal
	closed  *Closings // when outcomes came

	mu    sync.RWMutex
	sales map[seckill.SaleID]*memorySale
}

// memorySale is the gate's state of one sale; everything is under its lock.
type memorySale struct {
	mu       sync.Mutex
	open     bool         // false: unknown until it is loaded again
	sale     seckill.Sale // the version in force
	left     int64        // below 0: rebuilt while units that it had sold are still on their way to it
	seq      int64        // last admission number given
	finished int64        // highest admission number with an outcome
	freed    int64        // counts what frees buyers or brings units back
	holds    map[string]*hold
	released map[string]struct{} // tickets whose units came back, this epoch
	moves    map[moveKey]bool    // stock moves decided, this epoch: applied or refused
}

// moveKey is a stock move. The store forgets a refused one, so that its id may
// come again with another delta: that is another move.
type moveKey struct {
	id    string
	delta int64
}

// hold is a buyer's newest ticket in a sale.
type hold struct {
	ticket   string
	seq      int64
	slot     slot // in the journal, until it has an outcome
	quantity int32
	state    seckill.HoldState
}

// units are those of an active hold, which keeps its buyer from another ticket; 0 if
// there is none.
func (h *hold) units() int {
	if h == nil || !h.state.Active() {
		return 0
	}
	return int(h.quantity)
}

// OpenMemory opens the gate whose journal is file. Every sale is closed until it
// is loaded. limit is the most tickets without an outcome, 0 for OutboxLimit.
func OpenMemory(ctx context.Context, file string, limit int, options ...Option) (*Memory, error) {
	return openMemory(ctx, file, limit, commitGap, options...)
}

func openMemory(ctx context.Context, file string, limit int, gap time.Duration, options ...Option) (*Memory, error) {
	var trust trust
	for _, o := range options {
		o(&trust)
	}
	if limit <= 0 {
		limit = OutboxLimit
	}
	m := &Memory{
		flags: NewFlags(), limit: int64(limit), now: time.Now,
		sales: map[seckill.SaleID]*memorySale{}, lost: duty.NewSignal(), closed: NewClosings(0),
	}
	var bad error
	if m.stops, bad = openStops(file+".stops", trust.seals); bad != nil && !errors.Is(bad, errStops) {
		return nil, bad
	}
	var err error
	if m.journal, err = openJournal(ctx, file, gap, m.lose, trust); err == nil && bad != nil {
		m.journal.aside.Inc()
		if trust.log != nil {
			trust.log.Error("gate: the file of emergency stops is put aside, beside it; see whether a sale should be stopped", "file", file+".stops", "error", bad)
		}
	}
	return m, err
}

// Close waits for the last commit and closes the journal.
func (m *Memory) Close() error { return m.journal.close() }

// Lost receives when the gate has closed sales whose state became unknown; they
// must be rebuilt.
func (m *Memory) Lost() <-chan struct{} { return m.lost }

// lose closes every sale: after a failed commit nobody knows which tickets are
// durable.
func (m *Memory) lose() {
	m.shut(func(seckill.SaleID) bool { return true })
	m.lost.Send()
}

func (m *Memory) sale(id seckill.SaleID) *memorySale {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sales[id]
}

// locked returns the sale with its lock held, if it is open.
func (m *Memory) locked(id seckill.SaleID) (*memorySale, error) {
	s := m.sale(id)
	if s == nil {
		return nil, Closed(id)
	}
	s.mu.Lock()
	if !s.open {
		s.mu.Unlock()
		return nil, Closed(id)
	}
	return s, nil
}

// Ping reports whether the gate can admit anybody.
func (m *Memory) Ping(context.Context) error { return m.journal.err() }

// Now is the gate's clock.
func (m *Memory) Now() time.Time { return m.now() }

// Over reports whether the sale's over flag is up: see Flags.Over.
func (m *Memory) Over(id seckill.SaleID) bool { return m.flags.Over(id) }

// Abandon gives back a request that Over let through: see Flags.Abandon.
func (m *Memory) Abandon(id seckill.SaleID) { m.flags.Abandon(id) }

// Reserve decides whether the buyer may have quantity units of the sale. An
// error that wraps seckill.ErrUnavailable has an unknown outcome; one of the
// type *seckill.FieldError says that the sale does not allow the quantity.
func (m *Memory) Reserve(ctx context.Context, id seckill.SaleID, buyer string, quantity int) (seckill.Answer, error) {
	answer, segment, err := m.reserve(id, buyer, quantity)
	if err == nil && answer.Verdict == seckill.Queued {
		err = segment.committed(ctx)
	}
	if err != nil {
		m.flags.Abandon(id)
		return seckill.Answer{}, err
	}
	m.flags.Learn(id, answer.Verdict, answer.Left)
	return answer, nil
}

func (m *Memory) reserve(id seckill.SaleID, buyer string, quantity int) (a seckill.Answer, _ *segment, _ error) {
	s, err := m.locked(id)
	if err != nil {
		return a, nil, err
	}
	defer s.mu.Unlock()
	if s.seq > seckill.LastSeq { // its tickets could not be read
		return a, nil, Closed(id)
	}
	now := m.now()
	a.Left = max(0, s.left)
	held := s.holds[buyer]
	r := seckill.Request{Quantity: quantity, Held: held.units(), Now: now, Left: s.left, OutboxTakes: m.pending.Load() < m.limit}
	if a.Verdict, err = s.sale.Admit(&r); err != nil || a.Verdict != seckill.Queued {
		return a, nil, err
	}
	if r.Repeat() {
		a.Ticket = held.ticket
		return a, held.slot.segment, nil
	}
	if m.pending.Add(1) > m.limit { // another sale's buyer has taken the last room meanwhile
		m.pending.Add(-1)
		a.Verdict = seckill.Busy
		return a, nil, nil
	}
	t := seckill.Ticket{ID: seckill.NewTicketID(now), Sale: id, Buyer: buyer, Quantity: quantity, Seq: s.seq + 1, At: now, Version: s.sale.Version}
	slot, err := m.journal.append(t)
	if err != nil {
		m.pending.Add(-1)
		return a, nil, err
	}
	s.seq++
	s.left -= int64(quantity)
	s.holds[buyer] = &hold{ticket: t.ID, seq: t.Seq, slot: slot, quantity: int32(quantity)}
	a.Ticket, a.Left = t.ID, s.left
	return a, slot.segment, nil
}

// Find returns where the buyer's newest ticket in the sale stands, or the one of
// the given id. seckill.ErrNotFound says that the gate does not know it: the
// store may, unless it is seckill.ErrNoTicket.
func (m *Memory) Find(ctx context.Context, id seckill.SaleID, buyer, ticket string) (p seckill.Progress, err error) {
	// A sale that is not loaded yet is as unknown as one that is closed: before the
	// first rebuild its tickets are in the outbox, and nobody may deny them.
	s, err := m.locked(id)
	if err != nil {
		return p, err
	}
	held := s.holds[buyer]
	if held == nil {
		defer s.mu.Unlock()
		return p, NoHold(s.sale.Epoch)
	}
	if ticket != "" && held.ticket != ticket || held.state == seckill.HoldRefused {
		s.mu.Unlock()
		return p, seckill.ErrNotFound
	}
	segment := held.slot.segment
	p.Ticket = seckill.Ticket{ID: held.ticket, Sale: id, Buyer: buyer, Quantity: int(held.quantity), Seq: held.seq}
	p.Final = held.state != seckill.HoldPending
	p.Position = max(1, held.seq-s.finished)
	s.mu.Unlock()
	return p, segment.committed(ctx)
}

// Wait returns when the ticket's outcome may be known, or ctx is done.
func (m *Memory) Wait(ctx context.Context, id seckill.SaleID, buyer, ticket string) {
	m.waiters.Wait(ctx, ticket, func() bool {
		p, err := m.Find(ctx, id, buyer, ticket)
		return err != nil || p.Final
	})
}

// Left returns the units that the gate holds; ok is false if it cannot tell.
func (m *Memory) Left(id seckill.SaleID) (left int64, ok bool) {
	s, err := m.locked(id)
	if err != nil {
		return 0, false
	}
	defer s.mu.Unlock()
	return max(0, s.left), true
}

// Refresh does nothing: Left is always of now.
func (m *Memory) Refresh(context.Context, []seckill.SaleID) {}

// Unsent waits for tickets that are to be sent to the queue and returns up to
// max of them.
func (m *Memory) Unsent(ctx context.Context, max int) ([]seckill.Ticket, error) {
	return m.journal.take(ctx, max)
}

// Sent notes that the queue has confirmed tickets. The embedded queue cannot
// lose them while this process lives, so there is nothing to note.
func (m *Memory) Sent(context.Context, []seckill.Ticket) error { return nil }

// Finish tells the gate what became of tickets, any number of times. A refusal
// frees its buyer and returns its units once, unless the store had none. While
// a sale is closed it fails, after the other sales have been told, since the rebuild has to read
// the outcomes first; one that stays closed is left to its rebuild (see Closings).
func (m *Memory) Finish(_ context.Context, outcomes []seckill.Outcome) (failed error) {
	var slots []slot
	defer func() { m.journal.finish(slots); m.waiters.Wake(outcomes) }()
	for i := 0; i < len(outcomes); {
		id := outcomes[i].Ticket.Sale
		if m.sale(id) == nil {
			i++ // the gate has lost or never had this sale: it holds nothing that the outcome could change
			continue
		}
		s, err := m.locked(id)
		if err != nil {
			over, first := m.closed.Over(id)
			if !over {
				failed = err
			} else if log := m.journal.trust.log; first && log != nil {
				log.Error("gate: the outcomes of a sale that stays closed are left to its rebuild", "sale", id)
			}
			i++
			continue
		}
		m.closed.Open(id)
		back := false
		for ; i < len(outcomes) && outcomes[i].Ticket.Sale == id; i++ {
			o := outcomes[i]
			held := s.holds[o.Ticket.Buyer]
			if held == nil || held.ticket != o.Ticket.ID || held.state != seckill.HoldPending {
				continue
			}
			held.state = seckill.HoldPlaced
			if !o.Placed() {
				held.state = seckill.HoldRefused
				s.freed++
			}
			switch {
			case o.Returns():
				s.left += int64(held.quantity)
				back = true
			case !o.Placed() && s.left < 0:
				// The store had none of these units, so the gate does not owe them any more:
				// raise left by as many, up to 0 (redisgate/lua/finish.lua does it too).
				s.left = min(0, s.left+int64(held.quantity))
			}
			slots = append(slots, m.final(s, held))
		}
		s.mu.Unlock()
		if back {
			m.flags.Clear(id)
		}
	}
	return failed
}

// final notes that a pending hold has its outcome, and returns where the journal
// keeps its ticket, to be finished once s.mu is free.
func (m *Memory) final(s *memorySale, held *hold) slot {
	s.finished = max(s.finished, held.seq)
	m.pending.Add(-1)
	was := held.slot
	held.slot = slot{}
	return was
}

// Release takes back the units of tickets whose orders have ended, and frees the buyer if
// this is still the buyer's newest ticket. It may be repeated; each ticket counts once. Tickets read in another epoch are seckill.ErrStale:
// the rebuild has counted them, and another node may have brought them since.
func (m *Memory) Release(_ context.Context, r seckill.Return) error {
	s, err := m.locked(r.Sale)
	if err != nil {
		return err
	}
	var slots []slot
	defer func() { m.journal.finish(slots) }()
	defer s.mu.Unlock()
	if s.sale.Epoch != r.Epoch {
		return Stale(r.Sale)
	}
	for _, t := range r.Tickets {
		if _, done := s.released[t.ID]; done {
			continue
		}
		s.released[t.ID] = struct{}{}
		s.freed++
		s.left += int64(t.Quantity)
		held := s.holds[t.Buyer]
		if held == nil || held.ticket != t.ID {
			continue
		}
		if held.state == seckill.HoldPending {
			// Its order ended before Finish came: so it was placed.
			slots = append(slots, m.final(s, held))
		}
		held.state = seckill.HoldReleased
	}
	m.flags.Clear(r.Sale)
	return nil
}

// Move applies a stock move, once for each id and delta. It reports whether it
// was applied: a shrinking move is refused when the gate holds fewer units. One
// that was read in another epoch is seckill.ErrStale.
func (m *Memory) Move(_ context.Context, move seckill.Move) (applied bool, err error) {
	s, err := m.locked(move.Sale)
	if err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	if s.sale.Epoch != move.Epoch {
		return false, Stale(move.Sale)
	}
	key := moveKey{move.ID, move.Delta}
	applied, decided := s.moves[key]
	if !decided {
		applied = move.Delta > 0 || s.left+move.Delta >= 0
		s.moves[key] = applied
		if applied {
			s.left += move.Delta
		}
	}
	m.flags.Clear(move.Sale)
	return applied, nil
}

// Apply puts a sale's version in force; a lower one than the gate has is ignored.
// A retired sale does not take a new version: Apply returns ErrClosed, so the sale is
// rebuilt first. The new version may open it again, and by then the gate must know its
// buyers, whom it forgot when the sale retired.
func (m *Memory) Apply(_ context.Context, sale seckill.Sale) error {
	s, err := m.locked(sale.ID)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	if sale.Version > s.sale.Version {
		if s.sale.Retired {
			return Closed(sale.ID)
		}
		sale.Epoch, sale.Retired = s.sale.Epoch, false
		m.stops.keep(&sale)
		s.sale = sale
		m.flags.Clear(sale.ID)
	}
	return nil
}

// Belong ties the gate's journal to a store, the first one that is named. Another
// one is an error: its tickets are in another journal.
func (m *Memory) Belong(ctx context.Context, store string) error {
	tied, err := m.journal.belong(ctx, store)
	if err == nil && tied != store {
		err = fmt.Errorf("gate journal %s: it has the tickets of another store; give each --store a --data-dir of its own: %w", m.journal.file, seckill.ErrUnavailable)
	}
	return err
}

// Register makes the gate's metrics.
func (m *Memory) Register(r prometheus.Registerer) {
	r.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_pending_tickets", Help: "Admitted tickets without an outcome."}, func() float64 { return float64(m.pending.Load()) }),
		prometheus.NewGaugeFunc(OldestOpts, func() float64 { return m.journal.oldest(m.now()).Seconds() }),
		m.journal.commits, m.journal.seconds, m.journal.aside)
}
