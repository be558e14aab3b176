package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func testAftermath(t *testing.T, s *shop) {
	sale, other := s.open(10), s.open(10)
	paid, gone, back, unpaid := ticket(sale.ID, "ann", 2), ticket(sale.ID, "bob", 3), ticket(sale.ID, "cid", 1), ticket(sale.ID, "dan", 4)
	s.settle(paid, gone, back, unpaid, ticket(sale.ID, "eve", 5), ticket(other.ID, "ann", 1))
	s.become(seckill.Paid, paid)
	s.become(seckill.Cancelled, gone)
	s.become(seckill.Paid, back)
	s.become(seckill.Refunded, back)
	a, err := s.Aftermath(t.Context(), sale.ID)
	require.NoError(t, err)
	require.Equal(t, seckill.Aftermath{Sale: sale.ID, At: s.clock().UTC(), Placed: 4, Refused: 1, Unpaid: 1, Paid: 1, Cancelled: 1, Refunded: 1, Returned: 4,
		Expiries: []seckill.Expiry{{At: s.clock().Add(time.Minute).Truncate(time.Minute).UTC(), Orders: 1, Units: 4}}}, a)
	pending := int64(2)
	a = a.With(seckill.Balance{Sums: &seckill.Sums{Gate: 1, Returning: 1, Pending: &pending}})
	require.EqualValues(t, []int64{1, 2, 7}, []int64{*a.Left, *a.SoldAgain, *a.Tickets})
	_, err = s.Aftermath(t.Context(), 999)
	require.ErrorIs(t, err, seckill.ErrNotFound)
}
