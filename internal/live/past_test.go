package live

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
)

// busy is a source of one sale, by the wall clock.
type busy struct {
	fixed
	sale seckill.Sale
}

func (b *busy) Now() time.Time { return time.Now() }
func (b *busy) Watched(context.Context) ([]seckill.Sale, time.Time, error) {
	return []seckill.Sale{b.sale}, time.Now(), nil
}

// Who comes late sees the ten minutes before, although nobody has watched; and each node by
// itself. How long things took is remembered over all nodes. Of who waits nothing is said
// any more once the sale is open and nobody is counted.
func TestWhoComesLateSeesThePast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		board := NewOneNode()
		began := time.Now()
		f := &busy{sale: seckill.Sale{ID: 1, Title: "a sale", Total: 10, OpensAt: began.Add(time.Minute), ClosesAt: began.Add(24 * time.Hour)}}
		var done []chan struct{}
		run := func(r func(context.Context) error) {
			c := make(chan struct{})
			done = append(done, c)
			go func() { _ = r(ctx); close(c) }()
		}
		defer func() {
			stop()
			for _, c := range done {
				<-c
			}
		}()
		var tellers []*Teller
		for _, id := range []string{"one", "two"} {
			n := &Teller{Node: Node{ID: id, StartedAt: began}, Source: f, Board: board, Tally: NewTally(), Log: slog.New(slog.DiscardHandler),
				Waiting: func(seckill.SaleID) (int64, time.Time) { return 6, began.Add(time.Minute) }}
			tellers = append(tellers, n)
			run(n.Run)
		}
		hub := &Hub{Teller: tellers[0], Board: board}
		run(hub.Run)
		_ = duty.Rest(ctx, 30*time.Second)
		require.EqualValues(t, 12, *hub.Picture(ctx).Sales[0].Waiting, "at both nodes")
		_ = duty.Rest(ctx, 32*time.Second+every/2) // never at the moment when the nodes tell: who comes first then is not known
		for range 900 {                            // seconds after the opening
			tellers[1].Tally.Answered(1, seckill.Queued)
			tellers[1].Tally.Admitted(1, 8*time.Millisecond)
			_ = duty.Rest(ctx, time.Second)
		}
		p := hub.Picture(ctx)
		require.Nil(t, p.Sales[0].Waiting, "nobody counts them any more")
		require.Len(t, p.Sales[0].Nodes, 2)
		require.Zero(t, *p.Sales[0].Nodes[0].AdmittedPerS)
		require.Nil(t, p.Sales[0].Nodes[0].AdmissionMS)
		require.InDelta(t, 1, *p.Sales[0].Nodes[1].AdmittedPerS, 0.5)
		require.InDelta(t, 8, p.Sales[0].Nodes[1].AdmissionMS.P99, 2)

		var past Past
		require.NoError(t, json.Unmarshal(hub.Past(1), &past))
		require.Equal(t, []string{"at", "left", "waiting", "admitted_per_s", "admission_ms", "outcome_ms"}, past.Columns)
		require.Len(t, past.Rows, pastSteps)
		last := past.Rows[pastSteps-1]
		require.InDelta(t, time.Now().UnixMilli(), *last[0], 1500)
		require.InDelta(t, 1000, *last[0]-*past.Rows[pastSteps-2][0], 10, "one each second")
		require.EqualValues(t, 7, *last[1])
		require.Nil(t, last[2])
		require.InDelta(t, 1, *last[3], 0.5)
		require.InDelta(t, 8, *last[4], 2)
		require.Nil(t, last[5], "no outcome: not known, and not 0")
		require.JSONEq(t, `{"sale":"2","columns":["at","left","waiting","admitted_per_s","admission_ms","outcome_ms"],"rows":[]}`, string(hub.Past(2)))

		paces := hub.Paces(1)
		require.Greater(t, len(paces), 100)
		require.InDelta(t, 8, paces[0].Admission.P50, 2, "of the other node")
		told, _ := hub.Hear(ctx)
		admission, outcome := hub.Whole(told, 1)
		require.InDelta(t, 8, admission.P99, 2)
		require.Nil(t, outcome)
	})
}

// What a node had counted before it was heard for the first time has no moment; what it
// counts after a restart is all new, and a message that comes late is not counted twice.
func TestWhatAnotherNodeHasCountedBefore(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)
	h := &Hub{}
	tell := func(after time.Duration, started time.Time, admitted int64) {
		m := Message{Node: Node{ID: "two", StartedAt: started}, At: at.Add(after), Sales: []Figures{{Sale: 1, Admission: Histogram{class(time.Millisecond): admitted}}}}
		h.past.count([]Message{m}, "one")
	}
	counted := func() (n int64) {
		if v := h.past.paces.of[1]; v != nil {
			for _, s := range v.steps {
				for _, c := range s.admission {
					n += c
				}
			}
		}
		return n
	}
	tell(0, at.Add(-time.Hour), 1000)
	require.Zero(t, counted())
	tell(time.Second, at.Add(-time.Hour), 1010)
	require.EqualValues(t, 10, counted())
	tell(500*time.Millisecond, at.Add(-time.Hour), 1005)
	tell(2*time.Second, at.Add(-time.Hour), 1010)
	require.EqualValues(t, 10, counted())
	tell(time.Minute, at.Add(50*time.Second), 7)
	require.EqualValues(t, 17, counted())
}
