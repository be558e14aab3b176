// Package settle takes tickets from the queue in batches and brings each to its outcome,
// once, however often it is delivered: steps 5 to 7 of the path of a purchase.
//
// A failure of the infrastructure does not count against a ticket: the batch is
// kept and tried again until the store is back. Two kinds of tickets are refused, as
// poison: one that the store rejects although it is the only one of its transaction, and
// one that its queue delivers for the last time, since every settler that tried it seems
// to have died of it. A ticket whose sale's row cannot be read waits until it can, and
// nobody else waits with it. A batch is acknowledged last, after the store has committed it and
// the gate has learned of it.
package settle

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
)

// Queue is the far end of the queue.
type Queue interface {
	// Receive MUST wait until there is a ticket or ctx is done. done is called
	// once; tickets that were not settled MUST be delivered again.
	Receive(ctx context.Context, max int) (tickets []seckill.Ticket, done func(settled bool) error, err error)
}

// Store is the truth about outcomes.
type Store interface {
	// Settle MUST write all outcomes in one transaction and MUST keep those that
	// exist. A failure for which Poison is true is about the tickets.
	Settle(ctx context.Context, tickets []seckill.Ticket) ([]seckill.Outcome, error)
	// Refuse MUST return the outcome that stands.
	Refuse(ctx context.Context, ticket seckill.Ticket, reason seckill.Reason) (seckill.Outcome, error)
}

// Gate learns outcomes. Finish MUST be repeatable.
type Gate interface {
	Finish(ctx context.Context, outcomes []seckill.Outcome) error
}

const (
	// mostBatch is the most tickets settled in one transaction.
	mostBatch = 1024

	minPause = 20 * time.Millisecond
	maxPause = 5 * time.Second
	// lateEvery is how long a settler waits before it tries the tickets again whose sale
	// could not be read, and lateMost how many of them it keeps, some 250 bytes each. More
	// are forgotten if they are sent again (Resent). Else it holds their batch, and so
	// everybody's, until the row is mended.
	lateEvery = 5 * time.Second
	lateMost  = 100_000
	// lastTime is for how long the store must answer, and have no outcome, before a ticket is
	// refused untried: whoever tries it has tried again by then. It is asked each lastEvery.
	lastTime  = 3 * maxPause
	lastEvery = time.Second
	// finishTime is how long a settler that stops may take for its last batches.
	finishTime = 10 * time.Second
)

// Origin says where a ticket of the queue comes from.
type Origin uint8

const (
	// Forged: no gate has admitted it. It is put aside.
	Forged Origin = iota
	// Admitted by the gate: it gets its outcome.
	Admitted
	// Elsewhere: only a node with another secret can tell. It is forgotten here, and MUST be sent
	// again by the gate until it has its outcome.
	Elsewhere
)

// Settler is the resident consumer. All fields must be set but those that say
// what happens without them.
type Settler struct {
	Queue  Queue
	Store  Store
	Gate   Gate
	Poison func(error) bool // the failure is about the data of the batch
	// Damaged returns the sale whose row the store cannot read, if that is what the failure
	// is about. The tickets of that sale wait. nil: it never is.
	Damaged func(error) (seckill.SaleID, bool)
	Log     *slog.Logger
	Batch   int // most tickets in one transaction, 0 for mostBatch

	// Origin says whether the gate has admitted a ticket, and MUST NOT wait for long. It clears
	// what nobody can vouch for. nil: every ticket is Admitted.
	Origin func(ctx context.Context, ticket *seckill.Ticket) Origin
	// Last reports that a ticket which came as the only one of its batch will not be
	// delivered again. Then it is refused without another try, if it has been tried before.
	// nil: never.
	Last func(ticket string) bool
	// Tried notes, so that it outlives the node, that a ticket which came as the only one of
	// its batch is tried now, and reports whether another settler, or one of this node before its
	// start, noted that before. It is asked again when its answer got lost. What Last says may have
	// been made up by somebody who can write to the queue. nil: what Last says is believed.
	Tried func(ctx context.Context, ticket string) (before bool, err error)
	// Known reports whether the store has the outcome of a ticket. Before a ticket is refused
	// untried it is asked for lastTime, so that another settler that tries the ticket at this
	// moment, or waits for the store with it, comes first. nil: there is no other.
	Known func(ctx context.Context, ticket seckill.Ticket) (bool, error)
	// Resent says that the gate sends tickets again that have no outcome after a while.
	Resent bool
	// Refused hears of every ticket that was refused as poison, that no version of its
	// sale would have admitted, or that was put aside, and why. It MUST NOT wait. nil:
	// nobody.
	Refused func(ticket seckill.Ticket, why error)
	// Settled hears of outcomes once the gate has them, with the time by Now. It MUST NOT
	// wait. nil: nobody.
	Settled func(outcomes []seckill.Outcome, now time.Time)
	Now     func() time.Time // the gate's clock, which tickets carry; needed with Settled
	Metrics *Metrics         // shared by the settlers of a node; nil: nothing is counted

	late  map[string]seckill.Ticket // by id: they wait for the row of their sale
	keeps int                       // how many of them; 0: lateMost
}

// Metrics counts what settlers do.
type Metrics struct {
	outcomes *prometheus.CounterVec
	retries  prometheus.Counter
	drift    prometheus.Counter
	aside    prometheus.Counter
}

// NewMetrics makes and registers metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "seckill_outcomes_total", Help: "Tickets settled, by outcome; a redelivered ticket counts again."}, []string{"outcome"}),
		retries:  prometheus.NewCounter(prometheus.CounterOpts{Name: "seckill_settle_retries_total", Help: "Batches that were tried again because the store or the gate failed."}),
		drift:    prometheus.NewCounter(prometheus.CounterOpts{Name: "seckill_drift_units_total", Help: "Units that the gate had promised and the store did not have."}),
	}
	m.aside = prometheus.NewCounter(prometheus.CounterOpts{Name: "seckill_settle_aside_total", Help: "Tickets of the queue that no gate has admitted, and that were put aside instead of settled."})
	r.MustRegister(m.outcomes, m.retries, m.drift, m.aside)
	for _, reason := range []seckill.Reason{seckill.ReasonPoison, seckill.ReasonNotAdmitted} {
		m.outcomes.WithLabelValues(string(reason)) // an alert asks for its increase: it begins at 0
	}
	return m
}

// decided is a batch whose outcomes the store has.
type decided struct {
	outcomes []seckill.Outcome
	done     func(settled bool) error
}

// Run settles until ctx is done; then it finishes the batches it has, for finishTime
// at most. While the gate learns of one batch the store works on the next.
func (s *Settler) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finishTime, cancel) })()
	batches := make(chan decided)
	var finishing sync.WaitGroup
	finishing.Go(func() {
		for b := range batches {
			s.finish(work, b)
		}
	})
	s.receive(ctx, work, batches)
	close(batches)
	finishing.Wait()
	return nil
}

// receive takes batches from the queue and has the store decide them, in work.
func (s *Settler) receive(ctx, work context.Context, batches chan<- decided) {
	size := s.Batch
	if size <= 0 {
		size = mostBatch
	}
	pause := duty.Backoff{First: minPause, Most: maxPause}
	var complaint duty.Complaint
	s.late = map[string]seckill.Ticket{}
	tried := time.Now() // what is late
	for ctx.Err() == nil {
		if len(s.late) > 0 && time.Since(tried) >= lateEvery {
			tried = time.Now()
			late := slices.SortedFunc(maps.Values(s.late), func(a, b seckill.Ticket) int { return cmp.Compare(a.Seq, b.Seq) })
			clear(s.late)
			for some := range slices.Chunk(late, size) {
				s.settle(work, some, func(bool) error { return nil }, batches)
			}
			continue
		}
		soon, cancel := ctx, context.CancelFunc(func() {})
		if len(s.late) > 0 {
			soon, cancel = context.WithDeadline(ctx, tried.Add(lateEvery))
		}
		tickets, done, err := s.Queue.Receive(soon, size)
		over := soon.Err() != nil
		cancel()
		if err != nil && over {
			continue
		}
		if err != nil {
			if ctx.Err() == nil {
				if complaint.New(err) {
					s.Log.Warn("settle: the queue does not answer; trying again", "error", err)
				}
				duty.Rest(ctx, pause.Next())
			}
			continue
		}
		pause.Reset()
		if tickets = s.genuine(work, tickets); len(tickets) == 0 {
			batches <- decided{nil, done}
			continue
		}
		s.settle(work, tickets, done, batches)
	}
}

// settle has the store decide a batch, for as long as that takes.
func (s *Settler) settle(work context.Context, tickets []seckill.Ticket, done func(settled bool) error, batches chan<- decided) {
	var outcomes []seckill.Outcome
	var last bool
	err := s.insist(work, "nobody can tell whether the ticket was tried before", func() (err error) {
		last, err = s.last(work, tickets)
		return err
	})
	if err == nil && last {
		err = s.lets(work, tickets[0])
	}
	if err == nil {
		err = s.insist(work, "the store does not settle the batch", func() (err error) {
			if last {
				outcomes, err = s.refuse(work, tickets[0], errLast)
			} else {
				outcomes, err = s.decide(work, tickets)
			}
			return err
		})
	}
	if err != nil {
		s.stopped(len(tickets), done, err)
		return
	}
	batches <- decided{outcomes, done}
}

// last reports whether the only ticket of a batch is to be refused untried. A try that
// nobody could note would not count if this node died of it, so it waits for the note.
func (s *Settler) last(ctx context.Context, tickets []seckill.Ticket) (bool, error) {
	if len(tickets) != 1 || s.Last == nil {
		return false, nil
	}
	last := s.Last(tickets[0].ID)
	if s.Tried == nil {
		return last, nil
	}
	before, err := s.Tried(ctx, tickets[0].ID)
	return last && before, err
}

// lets lets every other settler try a ticket first that is to be refused untried.
func (s *Settler) lets(work context.Context, ticket seckill.Ticket) error {
	if s.Known == nil {
		return nil
	}
	for since := time.Now(); time.Since(since) < lastTime; {
		known, err := s.Known(work, ticket)
		if known && err == nil {
			return nil // it is its outcome
		}
		if err != nil {
			since = time.Now()
		}
		if err := duty.Rest(work, lastEvery); err != nil {
			return err
		}
	}
	return nil
}

// finish brings the outcomes of a batch to the gate, and then acknowledges it.
func (s *Settler) finish(work context.Context, b decided) {
	if len(b.outcomes) == 0 { // all were put aside, or wait
		_ = b.done(true)
		return
	}
	crash.Here("6-before-finish", true)
	if err := s.insist(work, "the gate does not take outcomes", func() error { return s.Gate.Finish(work, b.outcomes) }); err != nil {
		s.stopped(len(b.outcomes), b.done, err)
		return
	}
	s.count(b.outcomes)
	if s.Settled != nil {
		s.Settled(b.outcomes, s.Now())
	}
	for _, o := range b.outcomes {
		if o.Reason == seckill.ReasonNotAdmitted {
			s.Log.Error("settle: the ticket is refused, since it was not to be admitted", "ticket", o.Ticket.ID, "sale", o.Ticket.Sale, "error", errNotAdmitted)
			if s.Refused != nil {
				s.Refused(o.Ticket, errNotAdmitted)
			}
		}
	}
	crash.Here("7-before-ack", true)
	if err := b.done(true); err != nil {
		s.Log.Warn("settle: the batch could not be acknowledged; it may be delivered again", "tickets", len(b.outcomes), "error", err)
	}
}

func (s *Settler) stopped(tickets int, done func(bool) error, err error) {
	s.Log.Warn("settle: stopped before the batch was settled; it will be delivered again", "tickets", tickets, "error", err)
	done(false)
}

// errForged is why a ticket is put aside.
var errForged = errors.New("no gate has admitted it: it carries no genuine seal, and its sale's gate does not know it")

// genuine returns the tickets that a gate has admitted. The others are put aside: they
// have no right to an outcome, which may be that of the ticket whose id they carry. Those that
// only another node can judge are left out.
func (s *Settler) genuine(ctx context.Context, tickets []seckill.Ticket) []seckill.Ticket {
	if s.Origin == nil {
		return tickets
	}
	out, elsewhere := map[int]bool{}, 0
	for i := range tickets {
		origin := s.Origin(ctx, &tickets[i])
		if origin == Admitted {
			continue
		}
		t := tickets[i]
		out[i] = true
		if origin == Elsewhere {
			elsewhere++
			continue
		}
		s.Log.Error("settle: a ticket is put aside", "ticket", t.ID, "sale", t.Sale, "buyer", t.Buyer, "error", errForged)
		if s.Metrics != nil {
			s.Metrics.aside.Inc()
		}
		if s.Refused != nil {
			s.Refused(t, errForged)
		}
	}
	if len(out) == 0 {
		return tickets
	}
	if elsewhere > 0 {
		s.Log.Warn("settle: tickets are left to the nodes with another auth.secret, which will get them again", "tickets", elsewhere)
	}
	genuine := make([]seckill.Ticket, 0, len(tickets)-len(out)) // the batch is the queue's
	for i, t := range tickets {
		if !out[i] {
			genuine = append(genuine, t)
		}
	}
	return genuine
}

// errNotAdmitted is why a ticket is refused although it carries the gate's seal.
var errNotAdmitted = errors.New("no version of its sale would have admitted it: it is outside of the window, or above the limit")

// errLast is why a ticket is refused that its queue would not deliver again.
var errLast = errors.New("it was delivered again and again and never settled: perhaps every node that tries it dies")

// decide settles tickets in one transaction. When the store rejects their data it settles
// each half by itself, and so on: a single ticket that is still rejected is refused, and
// the others are not harmed.
func (s *Settler) decide(ctx context.Context, tickets []seckill.Ticket) ([]seckill.Outcome, error) {
	crash.Here("5-before-store", true)
	outcomes, err := s.Store.Settle(ctx, tickets)
	if others, waits := s.wait(tickets, err); waits {
		if len(others) == 0 {
			return nil, nil
		}
		return s.decide(ctx, others)
	}
	if err == nil || !s.Poison(err) {
		return outcomes, err
	}
	if len(tickets) == 1 {
		return s.refuse(ctx, tickets[0], err)
	}
	half := len(tickets) / 2
	first, err := s.decide(ctx, tickets[:half])
	if err != nil {
		return nil, err
	}
	second, err := s.decide(ctx, tickets[half:])
	return append(first, second...), err
}

// wait keeps those of the tickets whose sale the store cannot read, and returns the others.
// If there are too many to keep, it forgets those that are sent again. ok is false if the
// error is not about a sale, or if there are too many to keep and nobody sends them again.
func (s *Settler) wait(tickets []seckill.Ticket, err error) (others []seckill.Ticket, ok bool) {
	if err == nil || s.Damaged == nil {
		return tickets, false
	}
	sale, ok := s.Damaged(err)
	if !ok {
		return tickets, false
	}
	full := len(s.late)+len(tickets) > cmp.Or(s.keeps, lateMost)
	if full && !s.Resent {
		return tickets, false
	}
	for _, t := range tickets {
		switch {
		case t.Sale != sale:
			others = append(others, t)
		case !full:
			s.late[t.ID] = t
		}
	}
	s.Log.Error("settle: the tickets of a sale wait, since its row in the store cannot be read", "sale", sale, "tickets", len(tickets)-len(others), "sent_again", full, "error", err)
	return others, len(others) < len(tickets)
}

// refuse ends a ticket as poison, unless it has its outcome already.
func (s *Settler) refuse(ctx context.Context, t seckill.Ticket, why error) ([]seckill.Outcome, error) {
	o, err := s.Store.Refuse(ctx, t, seckill.ReasonPoison)
	if _, waits := s.wait([]seckill.Ticket{t}, err); waits {
		return nil, nil
	}
	if err == nil && o.Reason == seckill.ReasonPoison {
		s.Log.Error("settle: the ticket is refused, since it cannot be settled", "ticket", t.ID, "sale", t.Sale, "error", why)
		if s.Refused != nil {
			s.Refused(t, why)
		}
	}
	return []seckill.Outcome{o}, err
}

// insist repeats f with growing pauses until it works or ctx is done.
func (s *Settler) insist(ctx context.Context, what string, f func() error) error {
	pause := duty.Backoff{First: minPause, Most: maxPause}
	var complaint duty.Complaint
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if complaint.New(err) {
			s.Log.Warn("settle: "+what+"; trying again", "error", err)
		}
		if s.Metrics != nil {
			s.Metrics.retries.Inc()
		}
		duty.Rest(ctx, pause.Next())
	}
}

func (s *Settler) count(outcomes []seckill.Outcome) {
	if s.Metrics == nil {
		return
	}
	by := map[seckill.Reason]int{}
	var drift int
	for _, o := range outcomes {
		by[o.Reason]++
		if o.Reason == seckill.ReasonSoldOut {
			drift += o.Ticket.Quantity
		}
	}
	for reason, n := range by {
		outcome := string(reason)
		if reason == seckill.ReasonNone {
			outcome = "placed"
		}
		s.Metrics.outcomes.WithLabelValues(outcome).Add(float64(n))
	}
	s.Metrics.drift.Add(float64(drift))
}
