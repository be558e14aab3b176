package store

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func testLedger(t *testing.T, s *shop) {
	s.settings.Credit = time.Hour
	sale, other := s.open(20), s.open(20)
	beat := func() {
		_, err := s.Pulse(t.Context())
		require.NoError(t, err)
	}
	beat()
	v, w := s.place(sale.ID, "ann", 2), s.place(other.ID, "bob", 1)
	for range 2 { // an answer was lost: the same id is the same extension
		orders, err := s.ExtendHolds(t.Context(), sale.ID, "after the outage", time.Minute)
		require.NoError(t, err)
		require.EqualValues(t, 1, orders)
	}
	_, err := s.ExtendHolds(t.Context(), sale.ID, "after the outage", time.Hour)
	require.ErrorIs(t, err, seckill.ErrState)
	s.advance(500 * time.Millisecond)
	x := s.place(sale.ID, "cid", 1)
	paid := s.place(sale.ID, "dan", 1)
	s.become(seckill.Paid, paid)
	s.advance(10 * time.Second)
	beat() // after an outage
	_, err = s.BeginMove(t.Context(), seckill.Move{Sale: sale.ID, ID: "more", Delta: 5, By: "root"})
	require.NoError(t, err)
	s.captures("e1", v.ID, "r1", 200)
	one := 1
	_, err = s.Refund(t.Context(), seckill.RefundRequest{ID: "part", Order: v.ID, Units: &one, By: "root"})
	require.NoError(t, err)
	_, err = s.Refund(t.Context(), seckill.RefundRequest{Order: v.ID, By: "root"})
	require.NoError(t, err)
	due, err := s.DueRefunds(t.Context(), 10)
	require.NoError(t, err)
	for _, f := range due {
		require.NoError(t, s.RefundTried(t.Context(), f, true, 0, ""))
	}
	require.True(t, s.givesBack("e2", v.ID, "part", 99).Conflict)

	told := func(all []seckill.Entry, err error) (lines []string) {
		t.Helper()
		require.NoError(t, err)
		for _, e := range all {
			require.NotZero(t, e.At)
			if e.What != entryOutage || e.Order != "" {
				require.NotZero(t, e.Sale, e.What)
			}
			lines = append(lines, fmt.Sprint(e.What, " ", e.Units))
		}
		return lines
	}
	require.Equal(t, []string{"hold.extended 60000", "outage 10500", "payment.captured 0", "order.paid 2", "refund.due 1", "refund.due 1", "order.refunded 1", "refund.done 0", "refund.done 0", "payment.conflict 0"},
		told(s.History(t.Context(), v.ID, 100)))
	require.Equal(t, []string{"outage 10500"}, told(s.History(t.Context(), w.ID, 100)), "of another sale, that gave nothing")
	require.Equal(t, []string{"outage 10000"}, told(s.History(t.Context(), x.ID, 100)), "from its placing on")
	require.Equal(t, []string{"payment.captured 0", "order.paid 1"}, told(s.History(t.Context(), paid.ID, 100)), "by the buyer's word")
	o, err := s.AnyOrder(t.Context(), x.ID)
	require.NoError(t, err)
	require.Equal(t, 70*time.Second, o.ExpiresAt.Sub(o.CreatedAt), "as the ledger says")

	require.Equal(t, []string{"stock.moved -1", "stock.moved -1", "stock.moved 5", "outage 10500", "hold.extended 60000"}, told(s.SaleHistory(t.Context(), sale.ID, math.MaxInt64, 100)))
	require.Equal(t, []string{"outage 10500"}, told(s.SaleHistory(t.Context(), other.ID, math.MaxInt64, 100)))
	all, err := s.SaleHistory(t.Context(), sale.ID, math.MaxInt64, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"stock.moved 5", "outage 10500", "hold.extended 60000"}, told(s.SaleHistory(t.Context(), sale.ID, all[1].ID, 100)))
	now, err := s.Sale(t.Context(), sale.ID)
	require.NoError(t, err)
	require.EqualValues(t, 20+5-2, now.Total, "the total is what was opened and moved")
	_, err = s.SaleHistory(t.Context(), 999, math.MaxInt64, 2)
	require.ErrorIs(t, err, seckill.ErrNotFound)
}
