package live

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"seckill"
	"seckill/internal/duty"
)

// Limits of the teller's questions.
const (
	healthEvery  = time.Second
	sourceTime   = time.Second // for what a message needs of gate and store
	boardTime    = time.Second
	stopTime     = time.Second
	waitingFresh = 5 * time.Second // a count of those who wait that is older says nothing once the sale has opened
	startTime    = 5 * time.Second // after the start; only then the log says that the board was never reached
)

// Source is where a node's figures come from.
type Source interface {
	// Now is the gate's clock.
	Now() time.Time
	// Parts names what is wrong with the gate, the queue and the store: "ok" or why. It
	// MUST return within a bounded time.
	Parts(ctx context.Context) map[string]string
	// Degraded names what is limited although every part answers. It MUST NOT wait.
	Degraded() []string
	// Watched returns the sales that somebody may watch, or what was last known of them and
	// of when that is.
	Watched(ctx context.Context) (sales []seckill.Sale, readAt time.Time, err error)
	// Known is the copy of a sale that this node answers from. It MUST NOT wait.
	Known(id seckill.SaleID) (sale seckill.Sale, readAt time.Time, ok bool)
	// States is what the gate says of sales; one that it does not know is missing.
	States(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error)
	// Balances are those that this node has counted. It MUST NOT wait.
	Balances() map[seckill.SaleID]seckill.Balance
	// Listeners reports whether the node takes tickets from a shared queue; nil: it has none.
	Listeners() *bool
}

// Teller tells all nodes twice a second how this one is.
type Teller struct {
	Node   Node // what stays the same
	Source Source
	Board  Board
	Tally  *Tally
	Log    *slog.Logger
	// Waiting is how many wait for the opening of a sale at this node, and when they were
	// counted. Those who come to a sale that is open are not counted any more. nil: nobody
	// counts. It MUST NOT wait.
	Waiting func(id seckill.SaleID) (n int64, counted time.Time)

	mu    sync.Mutex
	last  Message
	parts Parts
	marks []Mark
}

// Run tells until ctx is done, and then that this node is gone.
func (t *Teller) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			t.look(ctx)
			_ = duty.Rest(ctx, healthEvery)
		}
	})
	defer asking.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	began, told := time.Now(), false
	for complaint := (duty.Complaint{}); ; {
		err := t.Tell(ctx)
		told = told || err == nil
		early := !told && time.Since(began) < startTime // the gate may not have connected yet
		if ctx.Err() == nil && !early && complaint.New(err) {
			t.Log.Warn("live: the other nodes cannot be told how this one is; consoles show it as it was", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
			defer cancel()
			_ = t.Board.Tell(gone, t.Node.ID, nil)
			return nil
		}
	}
}

// look asks the parts how they are.
func (t *Teller) look(ctx context.Context) {
	said, now := t.Source.Parts(ctx), time.Now().UTC()
	t.mu.Lock()
	defer t.mu.Unlock()
	parts := make(Parts, len(said))
	for name, says := range said {
		p := Part{OK: says == "ok", Since: now}
		if !p.OK {
			p.Says = says
		}
		if was, known := t.parts[name]; known && was.OK == p.OK {
			p.Since = was.Since
		}
		parts[name] = p
	}
	t.parts = parts
}

// Mark notes that something happened.
func (t *Teller) Mark(m Mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.marks = append(t.marks, m); len(t.marks) > mostMarks {
		t.marks = t.marks[1:]
	}
}

// Message is what this node tells now.
func (t *Teller) Message(ctx context.Context) Message {
	ctx, cancel := context.WithTimeout(ctx, sourceTime)
	defer cancel()
	now := t.Source.Now().UTC()
	m := Message{Node: t.Node, At: now}
	m.Node.SeenAt, m.Node.SkewMS, m.Node.Degraded = now, time.Since(now).Milliseconds(), t.Source.Degraded()
	m.Node.Listeners = t.Source.Listeners()
	if m.Node.Degraded == nil {
		m.Node.Degraded = []string{}
	}
	sales, readAt, err := t.Source.Watched(ctx)
	if err != nil {
		m.SalesSay = err.Error()
	}
	if len(sales) > mostSales {
		sales = sales[:mostSales]
	}
	if err == nil || len(sales) > 0 {
		m.Sales = t.figures(ctx, sales, readAt)
	}
	for id, b := range t.Source.Balances() {
		if m.Balances == nil {
			m.Balances = map[seckill.SaleID]Balance{}
		}
		m.Balances[id] = Balance{Balance: b}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m.Node.Parts = t.parts
	for _, mark := range t.marks {
		if now.Sub(mark.At) < markLife {
			m.Marks = append(m.Marks, mark)
		}
	}
	t.last = m
	return m
}

func (t *Teller) figures(ctx context.Context, sales []seckill.Sale, readAt time.Time) []Figures {
	ids := make([]seckill.SaleID, len(sales))
	for i, s := range sales {
		ids[i] = s.ID
		t.Tally.Add(s.ID)
	}
	states, _ := t.Source.States(ctx, ids) // what is missing is not known
	now := t.Source.Now().UTC()
	all := make([]Figures, 0, len(sales))
	for _, s := range sales {
		at := readAt
		if known, read, ok := t.Source.Known(s.ID); ok {
			s, at = known, read
		}
		f := Figures{Sale: s.ID, Title: s.Title, Total: s.Total, OpensAt: s.OpensAt, ClosesAt: s.ClosesAt, Paused: s.Paused, Ended: s.Ended,
			Version: s.Version, AgeMS: time.Since(at).Milliseconds()}
		if t.Waiting != nil {
			if n, counted := t.Waiting(s.ID); now.Before(s.OpensAt) || time.Since(counted) < waitingFresh {
				f.Waiting = &n
			}
		}
		if state, ok := states[s.ID]; ok && state.Open {
			f.Gate = &state
		}
		t.Tally.read(s.ID, &f)
		all = append(all, f)
	}
	return all
}

// Tell tells all nodes at once.
func (t *Teller) Tell(ctx context.Context) error {
	text, err := json.Marshal(t.Message(ctx))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, boardTime)
	defer cancel()
	return t.Board.Tell(ctx, t.Node.ID, text)
}

// Last is what this node told last.
func (t *Teller) Last() Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}
