package gatetest

import (
	"context"
	"maps"
	"slices"

	"github.com/stretchr/testify/require"

	"seckill"
)

// looks is what those get who watch and count, and keep nobody waiting.
var looks = []behaviour{
	{
		name: "who watches is told where a sale stands",
		test: func(w *World) {
			ctx := context.Background()
			first := w.Admit("ann", 2)
			w.Admit("bob", 1)
			w.Settle(seckill.ReasonNone, first)
			states, err := w.States(ctx, []seckill.SaleID{SaleID, 999})
			require.NoError(w.t, err)
			require.Len(w.t, states, 1, "what the gate does not know is missing")
			s := states[SaleID]
			require.True(w.t, s.Open)
			require.Equal(w.t, []int64{7, 2, 1}, []int64{s.Left, s.Seq, s.Finished})
			w.PutVersion(2, func(s *seckill.Sale) { s.Paused = true })
			states, err = w.States(ctx, []seckill.SaleID{SaleID})
			require.NoError(w.t, err)
			require.True(w.t, states[SaleID].Paused)
			require.EqualValues(w.t, 2, states[SaleID].Version)
		},
	},
	{
		name: "a glance reads no outbox that is too long",
		test: func(w *World) {
			ctx := context.Background()
			one, two := w.Admit("ann", 1), w.Admit("bob", 1)
			whole, err := w.Glance(ctx, SaleID, 2)
			require.NoError(w.t, err)
			require.False(w.t, whole.Partial)
			require.Equal(w.t, []string{one.ID, two.ID}, IDs(whole.Outbox))
			part, err := w.Glance(ctx, SaleID, 1)
			require.NoError(w.t, err)
			require.True(w.t, part.Partial)
			require.Empty(w.t, part.Outbox)
			require.Equal(w.t, []int64{whole.Left, whole.Seq, whole.Epoch}, []int64{part.Left, part.Seq, part.Epoch})
		},
	},
	{
		name: "a cut tells whether anything came back since another one",
		test: func(w *World) {
			ctx := context.Background()
			ticket := w.Admit("ann", 1)
			before, err := w.Glance(ctx, SaleID, 10)
			require.NoError(w.t, err)
			w.Settle(seckill.ReasonNone, ticket)
			w.Admit("bob", 1)
			after, err := w.Glance(ctx, SaleID, 10)
			require.NoError(w.t, err)
			require.Equal(w.t, before.Freed, after.Freed, "buying and settling bring nothing back")
			w.Store.end(ticket)
			w.BringBack(ticket)
			back, err := w.Glance(ctx, SaleID, 10)
			require.NoError(w.t, err)
			require.NotEqual(w.t, after.Freed, back.Freed)
		},
	},
	{
		name: "holds are read by buyer and page by page",
		test: func(w *World) {
			ctx := context.Background()
			placed, refused, released, waits := w.Admit("ann", 2), w.Admit("bob", 1), w.Admit("cid", 1), w.Admit("dan", 3)
			w.Settle(seckill.ReasonNone, placed, released)
			w.Settle(seckill.ReasonLimit, refused)
			w.Store.end(released)
			w.BringBack(released)
			want := map[string]seckill.Hold{}
			for i, h := range []seckill.Hold{{Ticket: placed, State: seckill.HoldPlaced}, {Ticket: refused, State: seckill.HoldRefused}, {Ticket: released, State: seckill.HoldReleased}, {Ticket: waits, State: seckill.HoldPending}} {
				h.Ticket = seckill.Ticket{ID: h.ID, Sale: SaleID, Buyer: h.Buyer, Quantity: h.Quantity, Seq: int64(i + 1)}
				want[h.Buyer] = h
			}
			got, err := w.Holds(ctx, SaleID, append(slices.Collect(maps.Keys(want)), "nobody"))
			require.NoError(w.t, err)
			require.Equal(w.t, want, got)
			all, next, err := w.ScanHolds(ctx, SaleID, 0, 1000)
			require.NoError(w.t, err)
			require.Zero(w.t, next)
			require.ElementsMatch(w.t, slices.Collect(maps.Values(want)), all)
		},
	},
}
