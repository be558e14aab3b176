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
