package gatetest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// stops are emergency stops: while the store is away an administrator stops a sale at the
// gate.
var stops = []behaviour{
	{
		name: "a stop stays in force, whatever comes from the store, until the store has learned of it",
		test: func(w *World) {
			pause := w.stop(false)
			w.Expect(seckill.Paused, "ann", 1)
			w.PutVersion(2, func(s *seckill.Sale) { s.LimitPerBuyer = 2 })
			w.Expect(seckill.Paused, "ann", 1)
			w.Rebuild()
			w.Expect(seckill.Paused, "ann", 1)
			w.PutVersion(3, func(s *seckill.Sale) { s.Paused = true })
			require.NoError(w.t, w.Learned(context.Background(), pause))
			w.PutVersion(4, func(*seckill.Sale) {})
			w.Expect(seckill.Queued, "ann", 1)

			end := w.stop(true)
			w.PutVersion(5, func(*seckill.Sale) {})
			w.Rebuild()
			w.Expect(seckill.Ended, "bob", 1)
			require.NoError(w.t, w.Learned(context.Background(), end))
			w.Rebuild()
			w.Expect(seckill.Queued, "bob", 1)
		},
	},
	{
		name: "the gate tells of the stops of one sale, and whether the store still has to learn of one",
		test: func(w *World) {
			ctx := context.Background()
			pause := w.stop(false)
			for _, of := range [][]seckill.SaleID{nil, {SaleID}, {SaleID, SaleID + 1}} {
				all, err := w.Stops(ctx, of...)
				require.NoError(w.t, err)
				require.Equal(w.t, []seckill.Stop{pause}, all)
			}
			all, err := w.Stops(ctx, SaleID+1)
			require.NoError(w.t, err)
			require.Empty(w.t, all)
			other := pause
			other.At = pause.At.Add(time.Second)
			for stop, want := range map[seckill.Stop]bool{pause: true, other: false} {
				noted, err := w.Noted(ctx, stop)
				require.NoError(w.t, err)
				require.Equal(w.t, want, noted)
			}
			require.NoError(w.t, w.Learned(ctx, pause))
			noted, err := w.Noted(ctx, pause)
			require.NoError(w.t, err)
			require.False(w.t, noted)
		},
	},
	{
		name: "a stop that the store has learned of hides no later one",
		test: func(w *World) {
			pause := w.stop(false)
			end := w.stop(true)
			require.NoError(w.t, w.Learned(context.Background(), pause))
			all, err := w.Stops(context.Background())
			require.NoError(w.t, err)
			require.Equal(w.t, []seckill.Stop{end}, all)
			w.PutVersion(2, func(*seckill.Sale) {})
			w.Expect(seckill.Ended, "ann", 1)
		},
	},
}

// stop stops the sale while the store is away.
func (w *World) stop(end bool) seckill.Stop {
	w.t.Helper()
	w.Clock.Advance(time.Second)
	stop := seckill.Stop{Sale: SaleID, End: end, At: w.Clock.Now(), By: seckill.Actor{Who: "root"}}
	require.NoError(w.t, w.Stop(context.Background(), stop))
	return stop
}
