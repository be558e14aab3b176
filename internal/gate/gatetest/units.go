package gatetest

import (
	"context"

	"github.com/stretchr/testify/require"

	"seckill"
)

// units is how units come back from ended orders, and how stock moves.
var units = []behaviour{
	{
		name: "a release returns units once and frees the buyer",
		test: func(w *World) {
			ticket := w.Admit("ann", 2)
			w.Settle(seckill.ReasonNone, ticket)
			w.Store.end(ticket)
			require.Equal(w.t, ticket, w.Admit("ann", 2), "before it a repeat is the old ticket")
			w.BringBack(ticket)
			w.BringBack(ticket, ticket)
			w.HasLeft(10)
			require.NotEqual(w.t, ticket.ID, w.Admit("ann", 2).ID, "after it a repeat is a new one")
		},
	},
	{
		name: "a late release of an old ticket leaves the buyer's new one alone",
		test: func(w *World) {
			old := w.Admit("ann", 2)
			w.Settle(seckill.ReasonNone, old)
			w.Store.end(old)
			w.Rebuild() // frees the buyer, not the units
			w.HasLeft(8)
			fresh := w.Admit("ann", 1)
			w.BringBack(old)
			w.HasLeft(9)
			require.Equal(w.t, fresh, w.Admit("ann", 1))
			w.BringBack(old)
			w.HasLeft(9)
		},
	},
	{
		name:  "an order that ends before the gate hears of its outcome leaves nothing behind",
		limit: 1,
		test: func(w *World) {
			ticket := w.Admit("ann", 2)
			outcomes := w.Store.Settle(seckill.ReasonNone, ticket)
			w.Store.end(ticket)
			w.BringBack(ticket)
			require.NoError(w.t, w.Finish(context.Background(), outcomes))
			w.HasLeft(10)
			w.HasOutbox()
			next := w.Admit("ann", 2)
			require.NotEqual(w.t, ticket.ID, next.ID)
			require.NoError(w.t, w.Finish(context.Background(), outcomes))
			w.HasOutbox(next)
			w.HasLeft(8)
		},
	},
	{
		name: "units released in an epoch that a rebuild ended come back once",
		test: func(w *World) {
			ticket := w.Admit("ann", 2)
			w.Settle(seckill.ReasonNone, ticket)
			w.Store.end(ticket)
			r := w.read(ticket)
			require.NoError(w.t, w.Release(context.Background(), r))
			w.HasLeft(10)
			w.Rebuild() // the store has not heard of the release: the units are still to come
			w.HasLeft(8)
			w.Store.returned(SaleID, r.Epoch, ticket)
			w.BringBack(ticket)
			w.HasLeft(10)
			w.Rebuild()
			w.HasLeft(10)
		},
	},
	{
		name: "units that a slow node read before a rebuild do not come back twice",
		test: func(w *World) {
			ticket := w.Admit("ann", 2)
			w.Settle(seckill.ReasonNone, ticket)
			w.Store.end(ticket)
			slow := w.read(ticket)
			w.BringBack(ticket) // by another node, and the store has heard
			w.Rebuild()
			w.HasLeft(10)
			require.ErrorIs(w.t, w.Release(context.Background(), slow), seckill.ErrStale)
			w.HasLeft(10)
		},
	},
	{
		name: "a stock move that a slow node read before a rebuild is not applied twice",
		test: func(w *World) {
			sale := &w.Store.sales[SaleID].sale
			slow := seckill.Move{Sale: SaleID, ID: "a", Delta: 5, Epoch: sale.Epoch}
			require.True(w.t, w.MoveStock("a", 5)) // by another node
			sale.Total += 5                        // and the store has heard
			w.Rebuild()
			w.HasLeft(15)
			_, err := w.Move(context.Background(), slow)
			require.ErrorIs(w.t, err, seckill.ErrStale)
			w.HasLeft(15)
		},
	},
	{
		name: "a stock move is applied once for each id",
		test: func(w *World) {
			require.True(w.t, w.MoveStock("a", 5))
			require.True(w.t, w.MoveStock("a", 5))
			w.HasLeft(15)
			require.True(w.t, w.MoveStock("b", -7))
			require.True(w.t, w.MoveStock("b", -7))
			w.HasLeft(8)
		},
	},
	{
		name: "shrinking takes all or nothing, and what was decided stays",
		test: func(w *World) {
			w.Expect(seckill.Queued, "ann", 3)
			require.False(w.t, w.MoveStock("a", -8))
			w.HasLeft(7)
			require.True(w.t, w.MoveStock("b", -7))
			w.HasLeft(0)
			require.True(w.t, w.MoveStock("c", 100))
			require.False(w.t, w.MoveStock("a", -8), "it was refused")
			w.HasLeft(100)
		},
	},
	{
		name: "growth under the id of a refused move is a move of its own",
		test: func(w *World) {
			require.False(w.t, w.MoveStock("a", -11))
			require.True(w.t, w.MoveStock("a", 5))
			require.True(w.t, w.MoveStock("a", 5))
			w.HasLeft(15)
		},
	},
}
