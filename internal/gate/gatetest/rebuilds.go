package gatetest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// rebuilds is when a sale is closed, and what its gate is rebuilt with.
var rebuilds = []behaviour{
	{
		name: "a retired sale forgets its buyers, answers ended, and still adds up",
		test: func(w *World) {
			ctx, sale := context.Background(), &w.Store.sales[SaleID].sale
			ann, bob := w.Admit("ann", 2), w.Admit("bob", 1)
			w.Settle(seckill.ReasonNone, ann, bob)
			w.Clock.Advance(2 * time.Hour)
			retired := func() []seckill.SaleID {
				outdated, err := w.Outdated(ctx, []seckill.Sale{*sale})
				require.NoError(w.t, err)
				return outdated
			}
			require.Empty(w.t, retired())
			sale.Retired = true
			require.Equal(w.t, []seckill.SaleID{SaleID}, retired())
			w.Rebuild(SaleID)
			require.Empty(w.t, retired(), "once")
			_, err := w.Find(ctx, SaleID, "ann", "")
			require.ErrorIs(w.t, err, seckill.ErrNotFound)
			w.Expect(seckill.Ended, "ann", 2)
			w.Expect(seckill.Ended, "cid", 1)
			w.HasLeft(7)
			w.Store.end(bob) // a refund
			w.BringBack(bob)
			w.HasLeft(8)
			require.NoError(w.t, w.Finish(ctx, []seckill.Outcome{{Ticket: ann}}), "a redelivery")
			w.HasLeft(8)

			// It opens again: not before its buyers are known.
			sale.Version, sale.ClosesAt, sale.Retired = sale.Version+1, w.Clock.Now().Add(time.Hour), false
			require.ErrorIs(w.t, w.Apply(ctx, *sale), seckill.ErrClosed)
			require.Equal(w.t, []seckill.SaleID{SaleID}, retired(), "whoever did not get to rebuild it")
			w.Rebuild(SaleID)
			require.Equal(w.t, ann.ID, w.Admit("ann", 2).ID)
			w.Expect(seckill.Queued, "bob", 1)
			w.HasLeft(7)
		},
	},
	{
		name: "a sale that was never loaded answers unavailable",
		test: func(w *World) { w.Unavailable(99) },
	},
	{
		name: "a sale that is shut answers unavailable, and the others go on",
		test: func(w *World) {
			other := w.Sale
			other.ID = 2
			w.Store.create(other)
			w.Rebuild(2)
			ticket := w.Admit("ann", 1)
			_, err := w.Shut(context.Background(), []seckill.SaleID{SaleID})
			require.NoError(w.t, err)
			w.Unavailable(SaleID)
			err = w.Finish(context.Background(), w.Store.Settle(seckill.ReasonNone, ticket))
			require.ErrorIs(w.t, err, seckill.ErrUnavailable, "the rebuild decides first")
			a, err := w.Reserve(context.Background(), 2, "ann", 1)
			require.NoError(w.t, err)
			require.Equal(w.t, seckill.Queued, a.Verdict)
		},
	},
	{
		name: "shut names the outbox of the sales that were asked for",
		test: func(w *World) {
			other := w.Sale
			other.ID = 2
			w.Store.create(other)
			w.Rebuild(2)
			first := w.Admit("ann", 2)
			_, err := w.Reserve(context.Background(), 2, "bob", 1)
			require.NoError(w.t, err)
			outbox, err := w.Shut(context.Background(), []seckill.SaleID{SaleID})
			require.NoError(w.t, err)
			require.Len(w.t, outbox, 1)
			require.Equal(w.t, []string{first.ID}, IDs(outbox[SaleID]))
			got := outbox[SaleID][0]
			require.Equal(w.t, []any{"ann", 2, int64(1)}, []any{got.Buyer, got.Quantity, got.Seq})
			require.WithinDuration(w.t, w.Clock.Now(), got.At, time.Millisecond)
			outbox, err = w.Shut(context.Background(), []seckill.SaleID{SaleID, 2})
			require.NoError(w.t, err)
			require.Len(w.t, outbox, 2)
		},
	},
	{
		name: "a sale is outdated when it is missing, shut, or of another epoch",
		test: func(w *World) {
			ctx := context.Background()
			outdated := func(want ...seckill.SaleID) {
				w.t.Helper()
				missing := w.Sale
				missing.ID = 99
				got, err := w.Outdated(ctx, []seckill.Sale{w.Store.sales[SaleID].sale, missing})
				require.NoError(w.t, err)
				require.ElementsMatch(w.t, want, got)
			}
			outdated(99)
			w.Store.sales[SaleID].sale.Epoch++ // a rebuild that did not come to its end
			outdated(SaleID, 99)
			w.Rebuild()
			outdated(99)
			_, err := w.Shut(ctx, w.Store.all())
			require.NoError(w.t, err)
			outdated(SaleID, 99)
		},
	},
	{
		name: "a rebuild puts what is left at the gate: never the total again",
		test: func(w *World) {
			pending, placed, refused, gone, back := w.Admit("pia", 1), w.Admit("ann", 1), w.Admit("bob", 2), w.Admit("cid", 1), w.Admit("dan", 2)
			w.Settle(seckill.ReasonNone, placed)
			w.Store.Settle(seckill.ReasonLimit, refused) // and the gate has not heard
			w.Store.Settle(seckill.ReasonNone, gone)     // nor here
			w.Settle(seckill.ReasonNone, back)
			w.Store.end(back)
			w.Store.sales[SaleID].sale.Total += 5
			w.Store.sales[SaleID].growing["more"] = 5
			w.HasLeft(3)
			for range 3 {
				w.Rebuild()
				w.HasLeft(10 - 1 - 1 - 1 - 2)
				w.HasOutbox(pending)
				require.Equal(w.t, pending, w.Admit("pia", 1))
				require.Equal(w.t, placed, w.Admit("ann", 1))
				require.Equal(w.t, gone, w.Admit("cid", 1))
			}
			require.True(w.t, w.MoveStock("more", 5))
			w.BringBack(back)
			w.Settle(seckill.ReasonNone, pending)
			w.HasLeft(12)
			w.Expect(seckill.Queued, "bob", 1)
			w.Expect(seckill.Queued, "dan", 1)
		},
	},
	{
		name: "units that were sold again before a rebuild which still expects them are not sold twice",
		sale: func(s *seckill.Sale) { s.Total = 2 },
		test: func(w *World) {
			old := w.Admit("ann", 2)
			w.Settle(seckill.ReasonNone, old)
			w.Store.end(old)
			require.NoError(w.t, w.Release(context.Background(), w.read(old))) // and the store does not hear of it
			w.Expect(seckill.Queued, "bob", 2)
			w.Rebuild()
			w.HasLeft(0)
			w.Expect(seckill.SoldOut, "cid", 1)
			require.True(w.t, w.Over(SaleID))
			w.BringBack(old)
			w.HasLeft(0)
			w.Expect(seckill.SoldOut, "cid", 1)
		},
	},
	{
		name: "growth that was sold before a rebuild which still expects it is not sold twice",
		sale: func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *World) {
			w.Store.sales[SaleID].sale.Total, w.Store.sales[SaleID].growing["more"] = 3, 2
			require.True(w.t, w.MoveStock("more", 2))
			w.Expect(seckill.Queued, "ann", 3)
			w.Rebuild()
			require.True(w.t, w.MoveStock("other", 1), "growth is never refused")
			require.True(w.t, w.MoveStock("more", 2))
			w.HasLeft(1)
		},
	},
	{
		name: "a gate that is rebuilt with more promised than exists has nothing until that is made good",
		sale: func(s *seckill.Sale) { s.Total = 3 },
		test: func(w *World) {
			ticket := w.Admit("ann", 3)
			w.Store.sales[SaleID].sale.Total = 2
			w.Rebuild()
			w.HasLeft(0)
			w.Expect(seckill.SoldOut, "bob", 1)
			w.Settle(seckill.ReasonSoldOut, ticket)
			require.True(w.t, w.MoveStock("more", 1))
			w.HasLeft(1)
		},
	},
	{
		name: "a snapshot of an older epoch than the one in force is ignored",
		test: func(w *World) {
			ctx := context.Background()
			outbox, err := w.Shut(ctx, w.Store.all())
			require.NoError(w.t, err)
			old := w.Store.snapshots(w.Store.all(), outbox)
			w.Rebuild()
			ticket := w.Admit("ann", 3)
			require.NoError(w.t, w.Load(ctx, old))
			w.HasLeft(7)
			require.Equal(w.t, ticket, w.Admit("ann", 3))
			cut, err := w.Cut(ctx, SaleID)
			require.NoError(w.t, err)
			require.Equal(w.t, w.Store.sales[SaleID].sale.Epoch, cut.Epoch)
		},
	},
	{
		name: "a rebuild hands out tickets without an outcome again",
		test: func(w *World) {
			first, second := w.Admit("ann", 1), w.Admit("bob", 1)
			require.ElementsMatch(w.t, IDs([]seckill.Ticket{first, second}), IDs(w.Take(2)))
			w.nothingUnsent()
			w.Settle(seckill.ReasonNone, first)
			w.Rebuild()
			require.Equal(w.t, []string{second.ID}, IDs(w.Take(1)))
		},
	},
	{
		name: "a state that has not come as far as what is settled has lost something, and is outdated",
		test: func(w *World) {
			w.Settle(seckill.ReasonNone, w.Admit("ann", 1))
			w.Admit("bob", 1) // the gate is ahead: that is not settled yet
			sale := w.Store.sales[SaleID].sale
			outdated := func() []seckill.SaleID {
				ids, err := w.Outdated(context.Background(), []seckill.Sale{sale})
				require.NoError(w.t, err)
				return ids
			}
			require.Empty(w.t, outdated())
			sale.Seq = 3
			require.Equal(w.t, []seckill.SaleID{SaleID}, outdated())
		},
	},
	{
		name: "a gate belongs to one store",
		test: func(w *World) {
			belongs := func() {
				require.NoError(w.t, w.Belong(context.Background(), "ours"))
				require.NoError(w.t, w.Belong(context.Background(), "ours"))
				require.ErrorContains(w.t, w.Belong(context.Background(), "theirs"), "another store")
			}
			belongs()
			w.Restart(w.Reopen)
			belongs()
		},
	},
	{
		name: "a gate that was stopped and opened again is closed until it is rebuilt, and then adds up",
		test: func(w *World) { w.survives(w.Reopen) },
	},
	{
		name: "a gate that was killed is closed until it is rebuilt, and then adds up",
		test: func(w *World) { w.survives(w.Crash) },
	},
}
