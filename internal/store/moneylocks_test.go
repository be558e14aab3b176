package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
)

// A refund that was made at the provider is told while a late payment moves to the order
// that took units again: it is that order that gives the money up.
func testMySQLRefundMeetsRetake(t *testing.T, e *stack.Engine) {
	inner, _ := freshMySQL(t, e)
	s := newShop(t, inner)
	sale := s.retaking(10)
	v := s.place(sale.ID, "ann", 1)
	s.become(seckill.Cancelled, v)
	s.released()
	require.True(t, s.captures("e1", v.ID, "r1", 100).Late)
	w := s.place(sale.ID, "ann", 1)
	late, err := s.LatePayments(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, late, 1)

	tx := rival(t, s.Store, "UPDATE tickets SET expires_at = expires_at + 1 WHERE id = ?", v.ID) // as if the retake had begun
	told := make(chan error, 1)
	go func() {
		_, err := s.Receive(t.Context(), seckill.Callback{Provider: "shop", Event: "e2", Type: seckill.GivenBack, Order: v.ID, Reference: "r1", Amount: 100, Currency: "CNY", At: noon})
		told <- err
	}()
	admin := adminOf(t, e)
	until(t, func() bool { return waiting(t, admin, s.Store) == 1 }) // it has read whose the payment is
	// What Retake does.
	for _, q := range []string{"UPDATE payments SET state = 'kept', order_id = ? WHERE reference = 'r1'", "UPDATE tickets SET state = 'paid' WHERE id = ?"} {
		_, err = tx.ExecContext(t.Context(), q, w.ID)
		require.NoError(t, err)
	}
	require.NoError(t, tx.Commit())
	require.NoError(t, <-told)
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 100, Refunded: 100}}, s.money(sale.ID))
	o, err := s.AnyOrder(t.Context(), w.ID)
	require.NoError(t, err)
	require.Equal(t, seckill.Refunded, o.State)
}
