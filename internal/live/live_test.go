package live

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
)

func TestAQuantileIsAtMostAQuarterTooHigh(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{5 * time.Microsecond, 80 * time.Microsecond, time.Millisecond, 1300 * time.Microsecond, 20 * time.Millisecond, 999 * time.Millisecond, time.Minute} {
		ms := float64(d.Microseconds()) / 1000
		got := top(class(d))
		require.Greater(t, got, ms, "%v", d)
		require.LessOrEqual(t, got, 1.26*ms, "%v", d)
	}
	h := &histogram{}
	for range 99 {
		h.add(time.Millisecond)
	}
	h.add(time.Second)
	before := h.read()
	h.add(time.Millisecond)
	require.Less(t, *before.quantile(0.5), 1.3)
	require.Less(t, *before.quantile(0.99), 1.3)
	require.Greater(t, *before.quantile(0.995), 999.0)
	require.Equal(t, Histogram{class(time.Millisecond): 1}, h.read().less(before))
	require.Nil(t, Histogram{}.quantiles(), "nothing was counted: not known, and not 0")
}

// fixed is a source in which nothing happens.
type fixed struct {
	at    time.Time
	sales []seckill.Sale
	gone  bool // the gate
	away  error
}

func (f *fixed) Now() time.Time                          { return f.at }
func (f *fixed) Parts(context.Context) map[string]string { return map[string]string{"gate": "ok"} }
func (f *fixed) Degraded() []string                      { return nil }
func (f *fixed) Watched(context.Context) ([]seckill.Sale, time.Time, error) {
	return f.sales, time.Now(), f.away
}
func (f *fixed) Known(seckill.SaleID) (s seckill.Sale, at time.Time, ok bool) { return s, at, false }
func (f *fixed) States(context.Context, []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error) {
	if f.gone {
		return nil, errors.New("the gate is away")
	}
	return map[seckill.SaleID]seckill.GateState{1: {Open: true, Left: 7, Seq: 5, Finished: 3, Version: 2}}, nil
}
func (f *fixed) Balances() map[seckill.SaleID]seckill.Balance { return nil }
func (f *fixed) Listeners() *bool                             { return nil }

func TestFiguresOfSeveralNodesAreMerged(t *testing.T) {
	t.Parallel()
	ctx, board := t.Context(), NewOneNode()
	at := time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)
	sale := seckill.Sale{ID: 1, Title: "a sale", Total: 10, OpensAt: at.Add(-time.Hour), ClosesAt: at.Add(time.Hour), Version: 2}
	node := func(id string) (*Teller, *fixed) {
		f := &fixed{at: at, sales: []seckill.Sale{sale}}
		return &Teller{Node: Node{ID: id, StartedAt: at.Add(-time.Minute)}, Source: f, Board: board, Tally: NewTally(), Log: slog.New(slog.DiscardHandler)}, f
	}
	one, here := node("one")
	two, there := node("two")
	hub := &Hub{Teller: one, Board: board}
	tell := func() Picture {
		require.NoError(t, one.Tell(ctx))
		require.NoError(t, two.Tell(ctx))
		hub.mu.Lock()
		hub.heardAt = time.Time{}
		hub.mu.Unlock()
		return hub.Picture(ctx)
	}
	p := tell()
	require.Len(t, p.Nodes, 2)
	require.Equal(t, int64(7), *p.Sales[0].Left)
	require.Equal(t, int64(2), *p.Sales[0].Queued)
	require.Nil(t, p.Sales[0].AdmittedPerS, "one picture is no rate")
	require.Nil(t, p.Sales[0].Balance)

	for range 30 {
		one.Tally.Answered(1, seckill.Queued)
		two.Tally.Answered(1, seckill.Queued)
		two.Tally.Answered(1, seckill.SoldOut)
		two.Tally.Admitted(1, time.Millisecond)
	}
	here.at, there.at = at.Add(2*time.Second), at.Add(2*time.Second)
	p = tell()
	require.Equal(t, map[string]int64{"queued": 60, "sold_out": 30}, p.Sales[0].Verdicts)
	require.InDelta(t, 30, *p.Sales[0].AdmittedPerS, 0.1, "15 a second at each node")
	require.InDelta(t, 1, p.Sales[0].AdmissionMS.P99, 0.26)

	// The other node hangs: it is shown with its age, and is no rate of now.
	here.at = at.Add(20 * time.Second)
	require.NoError(t, one.Tell(ctx))
	hub.heardAt = time.Time{}
	p = hub.Picture(ctx)
	require.Len(t, p.Nodes, 2)
	require.EqualValues(t, 18_000, p.Nodes[1].AgeMS)
	require.Zero(t, *p.Sales[0].AdmittedPerS)
	here.at = at.Add(time.Minute)
	require.NoError(t, one.Tell(ctx))
	hub.heardAt = time.Time{}
	require.Len(t, hub.Picture(ctx).Nodes, 1, "it is gone")

	here.gone, here.away = true, errors.New("the store is away")
	require.NoError(t, one.Tell(ctx))
	p = hub.Picture(ctx)
	require.Nil(t, p.Sales[0].Left, "not known, and not 0")
	require.Nil(t, p.Sales[0].Queued)
	require.NotEmpty(t, p.Sales[0].Says)
	require.Equal(t, "the store is away", p.SalesSay)
	require.EqualValues(t, 10, p.Sales[0].Total, "as it was read last")
}

// A third of the crowd is not the crowd: who waits is added up over all nodes, or not known.
func TestThoseWhoWaitAreAddedUp(t *testing.T) {
	t.Parallel()
	ctx, board := t.Context(), &deafBoard{OneNode: NewOneNode()}
	at := time.Now()
	sale := seckill.Sale{ID: 1, OpensAt: at.Add(time.Hour), ClosesAt: at.Add(2 * time.Hour)}
	teller := func(id string, n int64) *Teller {
		one := &Teller{Node: Node{ID: id}, Source: &fixed{at: at, sales: []seckill.Sale{sale}}, Board: board, Tally: NewTally(), Log: slog.New(slog.DiscardHandler),
			Waiting: func(seckill.SaleID) (int64, time.Time) { return n, at }}
		require.NoError(t, one.Tell(ctx))
		return one
	}
	hub := &Hub{Teller: teller("one", 5), Board: board}
	teller("two", 7)
	require.EqualValues(t, 12, *hub.Waiting(ctx, 1))
	require.Nil(t, hub.Waiting(ctx, 2), "nobody tells of it")
	board.deaf, hub.heardAt = true, time.Time{}
	require.Nil(t, hub.Waiting(ctx, 1), "the other one is not heard")
}

// deafBoard is a board that cannot be heard.
type deafBoard struct {
	*OneNode
	deaf bool
}

func (d *deafBoard) Hear(ctx context.Context) (map[string][]byte, error) {
	if d.deaf {
		return nil, errors.New("no board")
	}
	return d.OneNode.Hear(ctx)
}

func TestWhatSomebodyElseWritesIsNoNode(t *testing.T) {
	t.Parallel()
	ctx, board := t.Context(), NewOneNode()
	f := &fixed{at: time.Now()}
	hub := &Hub{Teller: &Teller{Node: Node{ID: "one"}, Source: f, Board: board, Tally: NewTally(), Log: slog.New(slog.DiscardHandler)}, Board: board}
	require.NoError(t, hub.Teller.Tell(ctx))
	forged, err := json.Marshal(Message{Node: Node{ID: "two"}, At: f.at})
	require.NoError(t, err)
	require.NoError(t, board.Tell(ctx, "three", forged))
	require.NoError(t, board.Tell(ctx, "four", []byte("{")))
	nodes, _ := hub.Nodes(ctx)
	require.Len(t, nodes, 1)
	told, err := board.Hear(ctx)
	require.NoError(t, err)
	require.Len(t, told, 1, "and it is forgotten")
}

// A node that does not tell of a sale counts once it must have read a new copy, and not
// before: until then nobody knows.
func TestASilentNodeIsNotCountedTooEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, board := t.Context(), NewOneNode()
		one := &Teller{Node: Node{ID: "one"}, Source: &wall{}, Board: board, Tally: NewTally(), Log: slog.New(slog.DiscardHandler)}
		hub := &Hub{Teller: one, Board: board}
		var mu sync.Mutex // of store: it is told in the background too
		store := Part{OK: true}
		tell := func() {
			mu.Lock()
			defer mu.Unlock()
			text, err := json.Marshal(Message{Node: Node{ID: "two", Name: "two:80", Parts: Parts{"store": store}}, At: time.Now(), Sales: []Figures{}})
			require.NoError(t, err)
			require.NoError(t, board.Tell(ctx, "two", text))
		}
		has := func(Figures) bool { return false }
		tell()
		r := hub.InForce(ctx, time.Second, 1, has)
		require.Equal(t, []int{1, 2}, []int{*r.Nodes, *r.Of}, "this node knows what it has done")
		require.Equal(t, "not known at two:80", r.Says)
		go func() {
			for range 10 {
				_ = duty.Rest(ctx, every)
				tell()
			}
		}()
		r = hub.InForce(ctx, time.Minute, 1, has)
		require.Equal(t, []int{2, 2}, []int{*r.Nodes, *r.Of})
		require.Greater(t, r.AfterMS, copyLife.Milliseconds())
		require.Empty(t, r.Says)
		mu.Lock()
		store = Part{Says: "away"}
		mu.Unlock()
		tell()
		_ = duty.Rest(ctx, time.Second)
		r = hub.InForce(ctx, 2*copyLife, 1, has)
		require.Equal(t, 1, *r.Nodes, "its store does not answer: the old copy stays")
	})
}

// wall is a source without sales, by the wall clock.
type wall struct{ fixed }

func (w *wall) Now() time.Time { return time.Now() }
func (w *wall) Watched(context.Context) ([]seckill.Sale, time.Time, error) {
	return nil, time.Now(), nil
}

// All the sales that can be watched are told of.
func TestEverySaleThatIsWatchedIsToldOf(t *testing.T) {
	t.Parallel()
	f := &fixed{at: time.Now()}
	for id := range seckill.SaleID(200) {
		f.sales = append(f.sales, seckill.Sale{ID: id + 1, Title: "a sale"})
	}
	one := &Teller{Node: Node{ID: "one"}, Source: f, Board: NewOneNode(), Tally: NewTally(), Log: slog.New(slog.DiscardHandler)}
	require.NoError(t, one.Tell(t.Context()))
	hub := &Hub{Teller: one, Board: one.Board}
	require.Len(t, hub.Picture(t.Context()).Sales, 200)
}

func TestAReceiptCountsTheNodesThatHaveTheChange(t *testing.T) {
	t.Parallel()
	ctx, board := t.Context(), NewOneNode()
	f := &fixed{at: time.Now(), sales: []seckill.Sale{{ID: 1, Version: 2}}}
	one := &Teller{Node: Node{ID: "one"}, Source: f, Board: board, Tally: NewTally(), Log: slog.New(slog.DiscardHandler)}
	late, err := json.Marshal(Message{Node: Node{ID: "two"}, At: f.at, Sales: []Figures{{Sale: 1, Version: 1}}})
	require.NoError(t, err)
	require.NoError(t, board.Tell(ctx, "two", late))
	hub := &Hub{Teller: one, Board: board}
	has := func(v Figures) bool { return v.Version >= 2 }
	r := hub.InForce(ctx, 300*time.Millisecond, 1, has)
	require.Equal(t, []int{1, 2}, []int{*r.Nodes, *r.Of})
	soon, err := json.Marshal(Message{Node: Node{ID: "two"}, At: f.at, Sales: []Figures{{Sale: 1, Version: 2}}})
	require.NoError(t, err)
	require.NoError(t, board.Tell(ctx, "two", soon))
	r = hub.InForce(ctx, time.Minute, 1, has)
	require.Equal(t, []int{2, 2}, []int{*r.Nodes, *r.Of})
}
