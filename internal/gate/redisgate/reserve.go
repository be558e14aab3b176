package redisgate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

const (
	// maxAsks is the most buyers that one call asks for: it bounds for how long a
	// script keeps Redis from everybody else.
	maxAsks = 256
	// maxCalls is the most calls under way for a sale. A second one is made when
	// the first cannot take all who wait.
	maxCalls = 4
)

// lines are the buyers who wait to be asked for at Redis, by sale. Those who come
// while a call is under way are asked for together by the next one, so a crowd shares
// the cost of a call. A buyer who comes while no call is under way does not wait.
type lines struct {
	mu sync.Mutex
	by map[seckill.SaleID]*line // a sale has one as long as somebody asks for it
}

type line struct {
	waiting []*ask
	calls   int // under way
}

// ask is a buyer who waits for the answer.
type ask struct {
	buyer    string
	quantity int
	ticket   string // for a new one
	since    time.Time

	answer seckill.Answer
	held   string // the hold that has decided the answer
	err    error
	done   chan struct{} // a token: answer and err are there
	gone   atomic.Bool   // the caller went away
}

var asks = sync.Pool{New: func() any { return &ask{done: make(chan struct{}, 1)} }}

// Over reports whether the sale's over flag is up on this node: see gate.Flags.
func (g *Gate) Over(id seckill.SaleID) bool { return g.flags.Over(id) }

// Abandon gives back a request that Over let through: see gate.Flags.
func (g *Gate) Abandon(id seckill.SaleID) { g.flags.Abandon(id) }

// Reserve decides whether the buyer may have quantity units of the sale. An
// error that wraps seckill.ErrUnavailable has an unknown outcome; one of the
// type *seckill.FieldError says that the sale does not allow the quantity.
func (g *Gate) Reserve(ctx context.Context, id seckill.SaleID, buyer string, quantity int) (seckill.Answer, error) {
	a, held, err := g.reserve(ctx, id, buyer, quantity)
	for try := 0; err == nil && held != ""; try++ {
		var believed bool
		if believed, err = g.believe(ctx, id, buyer, held); believed || err != nil {
			break
		}
		if try == maxForged {
			err = fmt.Errorf("gate: somebody forges holds of sale %s as fast as they are put aside: %w", id, seckill.ErrUnavailable)
			break
		}
		a, held, err = g.reserve(ctx, id, buyer, quantity) // once more: the forged hold has been put aside
	}
	if err != nil {
		g.flags.Abandon(id)
		return seckill.Answer{}, err
	}
	g.flags.Learn(id, a.Verdict, a.Left)
	return a, nil
}

// maxForged is how often a buyer is asked for again because the hold that kept them from a
// ticket was none of the gate's.
const maxForged = 3

// reserve asks once. held is the hold of the buyer that has decided, if one has.
func (g *Gate) reserve(ctx context.Context, id seckill.SaleID, buyer string, quantity int) (answer seckill.Answer, held string, err error) {
	if err := ctx.Err(); err != nil {
		return answer, "", err
	}
	if _, err := g.up(bucket(id)); err != nil {
		return answer, "", err
	}
	a := asks.Get().(*ask)
	a.buyer, a.quantity, a.ticket, a.since = buyer, quantity, seckill.NewTicketID(g.now(bucket(id))), time.Now()
	g.lines.mu.Lock()
	l := g.lines.by[id]
	if l == nil {
		l = new(line)
		g.lines.by[id] = l
	}
	if l.waiting = append(l.waiting, a); l.calls == 0 || l.calls < maxCalls && len(l.waiting) >= maxAsks {
		l.calls++
		go g.ask(id, l)
	}
	g.lines.mu.Unlock()
	select {
	case <-a.done:
		answer, held, err = a.answer, a.held, a.err
		a.answer, a.held, a.err = seckill.Answer{}, "", nil
		asks.Put(a)
		return answer, held, err
	case <-ctx.Done():
		a.gone.Store(true) // nobody reads its answer, so it does not go back to the pool
		return answer, "", ctx.Err()
	}
}

// ask asks Redis for those who stand in a sale's line until nobody does.
func (g *Gate) ask(id seckill.SaleID, l *line) {
	for {
		g.lines.mu.Lock()
		some := l.waiting[:min(len(l.waiting), maxAsks)]
		if l.waiting = l.waiting[len(some):]; len(some) == 0 {
			if l.calls--; l.calls == 0 {
				delete(g.lines.by, id)
			}
			g.lines.mu.Unlock()
			return
		}
		g.lines.mu.Unlock()
		g.pacer.wait(bucket(id), len(some), some[0].since)
		// A caller who went away may have asked for the ticket elsewhere since, and heard that
		// there is none. So it must not get one now.
		if some = slices.DeleteFunc(some, func(a *ask) bool { return a.gone.Load() }); len(some) == 0 {
			continue
		}
		err := g.askFor(id, some, max(g.patience-time.Since(some[0].since), g.patience/3))
		for _, a := range some {
			if err != nil {
				a.err = err
			}
			a.done <- struct{}{}
		}
	}
}

// askFor is one call that takes patience at most. Its caller tells everybody the
// error, if there is one.
func (g *Gate) askFor(id seckill.SaleID, some []*ask, patience time.Duration) error {
	now, b := "", bucket(id)
	if g.clock != nil {
		now = strconv.FormatInt(g.clock().UnixMilli(), 10)
	}
	// The time that Redis has ends first: what it decided later, nobody would hear of.
	until := g.now(b).Add(patience)
	// The context is not that of one caller: one who goes away must not end the call for
	// the others.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := g.reserveScript(ctx, id, now, until, some)
	if err != nil {
		return err
	}
	if said, _ := answer[0].ToString(); said == "late" {
		g.skewed.Store(true)
		return fmt.Errorf("gate: Redis at %s was reached too late, or the clocks differ: %w", g.where, seckill.ErrUnavailable)
	}
	if len(answer) != 5 {
		return fmt.Errorf("gate: reserve answered %v: %w", answer, seckill.ErrUnavailable)
	}
	limit, err := answer[1].ToInt64()
	waiting, werr := answer[2].ToInt64()
	each, eerr := answer[3].ToArray()
	if err := errors.Join(err, werr, eerr); err != nil {
		return fmt.Errorf("gate: reserve answered %v: %w: %w", answer, seckill.ErrUnavailable, err)
	}
	if len(each) != len(some) {
		return fmt.Errorf("gate: reserve answered %d of %d: %w", len(each), len(some), seckill.ErrUnavailable)
	}
	g.pacer.waiting[b].Store(waiting)
	for i, a := range some {
		a.answer, a.err = a.read(&each[i], limit)
		if a.err == nil && a.answer.Verdict == seckill.Queued {
			g.added.Send()
		}
	}
	g.damagedHolds(ctx, id, answer[4], func(buyer string) bool {
		return slices.ContainsFunc(some, func(a *ask) bool { return a.buyer == buyer && a.answer.Ticket == a.ticket && a.answer.Ticket != "" })
	})
	return nil
}

var verdictOf = func() map[string]seckill.Verdict {
	m := map[string]seckill.Verdict{}
	for _, v := range seckill.Verdicts() {
		m[v.String()] = v
	}
	return m
}()

// read reads what the script says to one buyer.
func (a *ask) read(m *rueidis.RedisMessage, limit int64) (answer seckill.Answer, err error) {
	if m.IsInt64() {
		answer.Verdict, answer.Ticket = seckill.Queued, a.ticket
		answer.Left, err = m.ToInt64()
		return answer, err
	}
	said, err := m.ToString()
	if err != nil {
		return answer, fmt.Errorf("gate: reserve answered %v: %w", m, err)
	}
	verdict, rest, _ := strings.Cut(said, ",")
	left, held, _ := strings.Cut(rest, ",")
	if verdict == "quantity" {
		return answer, seckill.QuantityError(int(limit))
	}
	answer.Verdict, a.held = verdictOf[verdict], held
	if answer.Verdict == seckill.Queued {
		_, t, err := parseHold(held)
		if err != nil {
			return answer, fmt.Errorf("gate: reserve answered %v: %w: %w", m, seckill.ErrUnavailable, err)
		}
		answer.Ticket = t.ID
	}
	if answer.Left, err = strconv.ParseInt(left, 10, 64); err != nil {
		return answer, fmt.Errorf("gate: reserve answered %v: %w: %w", m, seckill.ErrUnavailable, err)
	}
	return answer, nil
}
