package gatetest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// outcomes is what a gate does when it learns what became of tickets.
var outcomes = []behaviour{
	{
		name: "a ticket leaves the outbox with its outcome, however often that is told",
		test: func(w *World) {
			first, second := w.Admit("ann", 1), w.Admit("bob", 2)
			w.HasOutbox(first, second)
			for range 3 {
				w.Settle(seckill.ReasonNone, first)
				w.HasOutbox(second)
			}
			w.Settle(seckill.ReasonNone, second, first, second)
			w.HasOutbox()
			w.HasLeft(7)
		},
	},
	{
		name: "a refusal returns its units once and frees its buyer",
		test: func(w *World) {
			for i, reason := range []seckill.Reason{seckill.ReasonLimit, seckill.ReasonNoSale, seckill.ReasonPoison} {
				ticket := w.Admit("ann", 3)
				w.HasLeft(7)
				outcomes := w.Settle(reason, ticket)
				w.HasLeft(10)
				require.NoError(w.t, w.Finish(context.Background(), append(outcomes, outcomes...)))
				w.HasLeft(10)
				next := w.Admit("ann", 1)
				require.NotEqual(w.t, ticket.ID, next.ID, "round %d", i)
				require.NoError(w.t, w.Finish(context.Background(), outcomes), "told late")
				w.HasLeft(9)
				w.Settle(reason, next)
			}
		},
	},
	{
		name: "a refusal because the store had no unit returns nothing and frees its buyer",
		test: func(w *World) {
			ticket := w.Admit("ann", 3)
			w.Settle(seckill.ReasonSoldOut, ticket)
			w.Settle(seckill.ReasonSoldOut, ticket)
			w.HasLeft(7)
			w.HasOutbox()
			require.NotEqual(w.t, ticket.ID, w.Admit("ann", 3).ID)
		},
	},
	{
		name: "the first outcome stands",
		test: func(w *World) {
			ticket := w.Admit("ann", 3)
			w.Settle(seckill.ReasonNone, ticket)
			require.NoError(w.t, w.Finish(context.Background(), []seckill.Outcome{{Ticket: ticket, Reason: seckill.ReasonPoison}}))
			w.HasLeft(7)
			w.Expect(seckill.Limit, "ann", 1)
		},
	},
	{
		name: "outcomes of sales and tickets that the gate does not know change nothing",
		test: func(w *World) {
			mine := w.Admit("ann", 1)
			require.NoError(w.t, w.Finish(context.Background(), []seckill.Outcome{
				{Ticket: seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: 99, Buyer: "ann", Quantity: 1}, Reason: seckill.ReasonNoSale},
				{Ticket: seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: SaleID, Buyer: "ann", Quantity: 3}, Reason: seckill.ReasonLimit},
				{Ticket: seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: SaleID, Buyer: "zoe", Quantity: 3}, Reason: seckill.ReasonLimit},
			}))
			w.HasLeft(9)
			w.HasOutbox(mine)
		},
	},
}
