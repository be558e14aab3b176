package gatetest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// admission is what a buyer hears who asks for units.
var admission = []behaviour{
	{
		name: "a sale admits from opens_at until before closes_at, by the gate's clock",
		sale: func(s *seckill.Sale) {
			s.OpensAt, s.ClosesAt = s.OpensAt.Add(time.Minute), s.OpensAt.Add(2*time.Minute)
		},
		test: func(w *World) {
			w.Expect(seckill.NotOpen, "ann", 1)
			w.Clock.Advance(time.Minute - time.Millisecond)
			w.Expect(seckill.NotOpen, "ann", 1)
			w.Clock.Advance(time.Millisecond)
			w.Expect(seckill.Queued, "ann", 1)
			w.Clock.Advance(time.Minute - time.Millisecond)
			w.Expect(seckill.Queued, "bob", 1)
			w.Clock.Advance(time.Millisecond)
			w.Expect(seckill.Ended, "cid", 1)
			w.HasLeft(8)
			require.Equal(w.t, w.Clock.Now(), w.Now().UTC())
		},
	},
	{
		name: "a paused sale admits nobody until it is resumed, an ended one never",
		test: func(w *World) {
			w.PutVersion(2, func(s *seckill.Sale) { s.Paused = true })
			w.Expect(seckill.Paused, "ann", 1)
			w.PutVersion(3, func(s *seckill.Sale) {})
			w.Expect(seckill.Queued, "ann", 1)
			w.PutVersion(4, func(s *seckill.Sale) { s.Ended = true })
			w.Expect(seckill.Ended, "bob", 1)
			w.HasLeft(9)
		},
	},
	{
		name: "an earlier closing is in force once it is applied",
		test: func(w *World) {
			w.Expect(seckill.Queued, "ann", 1)
			w.PutVersion(2, func(s *seckill.Sale) { s.ClosesAt = w.Clock.Now() })
			w.Expect(seckill.Ended, "bob", 1)
		},
	},
	{
		name: "a ticket names the version that admitted it",
		test: func(w *World) {
			w.Admit("ann", 1)
			w.PutVersion(2, func(s *seckill.Sale) { s.LimitPerBuyer++ })
			w.Admit("bob", 1)
			w.PutVersion(7, func(s *seckill.Sale) { s.LimitPerBuyer-- })
			w.Admit("cid", 1)
			cut, err := w.Cut(context.Background(), SaleID)
			require.NoError(w.t, err)
			var versions []int64
			for _, t := range cut.Outbox {
				versions = append(versions, t.Version)
			}
			require.Equal(w.t, []int64{1, 2, 7}, versions)
		},
	},
	{
		name: "a version that is not newer is ignored",
		test: func(w *World) {
			w.PutVersion(3, func(s *seckill.Sale) { s.Paused = true })
			w.PutVersion(2, func(s *seckill.Sale) {})
			w.PutVersion(3, func(s *seckill.Sale) {})
			w.Expect(seckill.Paused, "ann", 1)
		},
	},
	{
		name: "a repeat is the same ticket and takes no units",
		test: func(w *World) {
			first := w.Admit("ann", 2)
			require.True(w.t, seckill.ValidTicketID(first.ID))
			require.Equal(w.t, first, w.Admit("ann", 2))
			w.Settle(seckill.ReasonNone, first)
			require.Equal(w.t, first, w.Admit("ann", 2), "even when its outcome is known")
			w.HasLeft(8)
		},
	},
	{
		name: "an answer says what was left when it was decided",
		test: func(w *World) {
			require.EqualValues(w.t, 8, w.Ask("ann", 2).Left)
			require.EqualValues(w.t, 8, w.Ask("ann", 2).Left)
			require.EqualValues(w.t, 5, w.Ask("bob", 3).Left)
		},
	},
	{
		name: "an active ticket with another quantity is the limit",
		test: func(w *World) {
			first := w.Admit("ann", 2)
			w.Expect(seckill.Limit, "ann", 1)
			w.Settle(seckill.ReasonNone, first)
			w.Expect(seckill.Limit, "ann", 3)
			w.HasLeft(8)
		},
	},
	{
		name: "a quantity that the sale does not allow is the buyer's mistake",
		test: func(w *World) {
			for _, quantity := range []int{-1, 0, 4, 1 << 40} {
				_, err := w.Reserve(context.Background(), SaleID, "ann", quantity)
				var field *seckill.FieldError
				require.ErrorAs(w.t, err, &field, "quantity %d", quantity)
				require.Equal(w.t, "quantity", field.Field)
				require.NotErrorIs(w.t, err, seckill.ErrUnavailable)
			}
			w.HasLeft(10)
			w.HasOutbox()
		},
	},
	{
		name: "a lowered limit does not harm a repeat",
		test: func(w *World) {
			first := w.Admit("ann", 3)
			w.PutVersion(2, func(s *seckill.Sale) { s.LimitPerBuyer = 1 })
			require.Equal(w.t, first, w.Admit("ann", 3))
			_, err := w.Reserve(context.Background(), SaleID, "bob", 3)
			var field *seckill.FieldError
			require.ErrorAs(w.t, err, &field)
		},
	},
	{
		name: "the last unit is sold once",
		sale: func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *World) {
			w.Expect(seckill.Queued, "ann", 1)
			w.Expect(seckill.SoldOut, "bob", 1)
			w.Expect(seckill.SoldOut, "cid", 1)
			w.Expect(seckill.Queued, "ann", 1)
			w.HasLeft(0)
		},
	},
	{
		name: "two wanted and one left is sold out, and does not set the flag",
		sale: func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *World) {
			a := w.Ask("ann", 2)
			require.Equal(w.t, seckill.SoldOut, a.Verdict)
			require.EqualValues(w.t, 1, a.Left)
			require.False(w.t, w.Over(SaleID))
			w.Expect(seckill.Queued, "bob", 1)
		},
	},
	{
		name: "an answer that nothing is left sets the flag, returned units clear it",
		sale: func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *World) {
			first := w.Admit("ann", 1)
			require.False(w.t, w.Over(SaleID), "the last buyer may repeat")
			w.Expect(seckill.SoldOut, "bob", 1)
			require.True(w.t, w.Over(SaleID))
			w.Settle(seckill.ReasonLimit, first)
			require.False(w.t, w.Over(SaleID))
			w.Expect(seckill.Queued, "bob", 1)
		},
	},
	{
		name:  "the gate is busy at its limit of tickets without an outcome, and has room again after one",
		limit: 2,
		test: func(w *World) {
			first := w.Admit("ann", 1)
			second := w.Admit("bob", 1)
			w.Expect(seckill.Busy, "cid", 1)
			require.Equal(w.t, second, w.Admit("bob", 1), "a repeat needs no room")
			w.Settle(seckill.ReasonNone, first)
			w.Settle(seckill.ReasonNone, first)
			third := w.Admit("cid", 1)
			w.Expect(seckill.Busy, "dan", 1)
			w.Settle(seckill.ReasonPoison, second, third)
			w.Expect(seckill.Queued, "dan", 1)
			w.HasLeft(8)
		},
	},
	{
		name:  "room is the same after a rebuild",
		limit: 2,
		test: func(w *World) {
			first, _ := w.Admit("ann", 1), w.Admit("bob", 1)
			w.Store.Settle(seckill.ReasonNone, first)
			w.Rebuild()
			w.Rebuild()
			w.Expect(seckill.Queued, "cid", 1)
			w.Expect(seckill.Busy, "dan", 1)
		},
	},
	{
		name:  "sold out comes before busy",
		limit: 1,
		sale:  func(s *seckill.Sale) { s.Total = 1 },
		test: func(w *World) {
			w.Expect(seckill.Queued, "ann", 1)
			w.Expect(seckill.SoldOut, "bob", 1)
		},
	},
}
