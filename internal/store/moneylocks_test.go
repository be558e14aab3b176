package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

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
	late, err := s.LatePayments(t.Context(), seckill.PaymentCursor{}, 10)
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

// Money of an order that is not known, where there is no row of the order to lock: whoever
// gives it back at the same moment, it goes back once.
func testMySQLMoneyOfNoOrder(t *testing.T, e *stack.Engine) {
	inner, _ := freshMySQL(t, e)
	s, admin := newShop(t, inner), adminOf(t, e)
	asked := func(order, _ string) error {
		_, err := s.Refund(t.Context(), seckill.RefundRequest{Order: order, Payment: "p" + order, By: "root"})
		return err
	}
	told := func(amount int64) func(order, event string) error {
		return func(order, event string) error {
			_, err := s.Receive(t.Context(), seckill.Callback{Provider: "shop", Event: event, Type: seckill.GivenBack, Order: order, Reference: "p" + order, Amount: amount, Currency: "CNY", At: noon})
			return err
		}
	}
	for name, both := range map[string][2]func(order, event string) error{
		"two administrators": {asked, asked}, "an administrator and the provider": {asked, told(100)}, "an administrator and a part at the provider": {asked, told(30)},
		"two parts at the provider": {told(30), told(40)}, "the provider, in two messages": {told(100), told(100)},
	} {
		order := "no order: " + name
		require.True(t, s.captures("e"+order, order, "p"+order, 100).Aside)
		tx := rival(t, s.Store, "UPDATE payments SET note = 'held' WHERE reference = ?", "p"+order)
		done := make(chan error, 2)
		for i, move := range both {
			go func() { done <- move(order, order+fmt.Sprint(i)) }()
		}
		until(t, func() bool { return waiting(t, admin, s.Store) == 2 })
		require.NoError(t, tx.Rollback())
		require.NoError(t, errors.Join(<-done, <-done), name)
		refunds, err := s.RefundsOf(t.Context(), order)
		require.NoError(t, err)
		var sum int64
		for _, f := range refunds {
			sum += f.Amount
		}
		require.EqualValues(t, 100, sum, "%s: %+v", name, refunds)
		s.money(0)
	}
}

// A refund of no order's money is confirmed while the provider tells that a part of it was
// given back: what was confirmed keeps its amount, and the part is an alarm.
func testMySQLConfirmedMeetsAPart(t *testing.T, e *stack.Engine) {
	inner, _ := freshMySQL(t, e)
	s := newShop(t, inner)
	require.True(t, s.captures("e1", "nobody's", "p", 100).Aside)
	_, err := s.Refund(t.Context(), seckill.RefundRequest{Order: "nobody's", Payment: "p", By: "root"})
	require.NoError(t, err)
	tx := rival(t, s.Store, "UPDATE refunds SET state = 'done', given = id, done_at = 1") // as RefundTried does
	told := make(chan error, 1)
	var r seckill.Received
	go func() {
		var err error
		r, err = s.Receive(t.Context(), seckill.Callback{Provider: "shop", Event: "e2", Type: seckill.GivenBack, Order: "nobody's", Reference: "p", Amount: 30, Currency: "CNY", At: noon})
		told <- err
	}()
	admin := adminOf(t, e)
	until(t, func() bool { return waiting(t, admin, s.Store) == 1 })
	require.NoError(t, tx.Commit())
	require.NoError(t, <-told)
	require.True(t, r.Conflict, "130 of 100 are told")
	refunds, err := s.RefundsOf(t.Context(), "nobody's")
	require.NoError(t, err)
	require.Len(t, refunds, 1)
	require.EqualValues(t, 100, refunds[0].Amount)
}

// One node's clock is ten hours ahead and another's as far behind. How long an order can
// be paid, who has a lease, and when a refund and a delivery are tried again is decided by
// the database's clock on both.
func testMySQLClocksDiffer(t *testing.T, e *stack.Engine) {
	const far = 10 * time.Hour
	ahead, url := freshMySQL(t, e)
	behind := preparedMySQL(t, url)
	ahead.process, behind.process = func() time.Time { return time.Now().Add(far) }, func() time.Time { return time.Now().Add(-far) }
	nodes := []*Store{ahead, behind}
	ctx := t.Context()
	now := func() time.Time {
		at, err := ahead.Clock(ctx)
		require.NoError(t, err)
		return at
	}
	soon := func(at time.Time, after time.Duration) { // by the database's clock
		t.Helper()
		require.InDelta(t, after.Seconds(), at.Sub(now()).Seconds(), 60)
	}
	for i, s := range nodes {
		s.settings.Credit, s.settings.HookTypes = time.Hour, []string{"order.placed", "order.paid"}
		_, err := s.Pulse(ctx)
		require.NoError(t, err)
		require.InDelta(t, map[int]float64{0: -1, 1: 1}[i]*far.Seconds(), s.Skew().Seconds(), 60)
	}
	sale := aSale(t, ahead, 100)
	each := map[*Store]seckill.Ticket{}
	for _, s := range nodes {
		v := someTickets(sale.ID, 1)[0]
		each[s] = v
		mustSettle(t, s, v)
		_, err := s.Pulse(ctx)
		require.NoError(t, err)
	}
	for s, v := range each {
		other := nodes[0]
		if other == s {
			other = nodes[1]
		}
		n, err := other.Expire(ctx, 10)
		require.NoError(t, err)
		require.Zero(t, n)
		o, err := other.AnyOrder(ctx, v.ID)
		require.NoError(t, err)
		soon(o.ExpiresAt, 900*time.Second)
		o, _, err = other.Checkout(ctx, v.ID, v.Buyer, "shop", seckill.NewTicketID(now()), 2*time.Minute)
		require.NoError(t, err, "it can be paid on a node that is far ahead, and far behind")
		soon(o.ExpiresAt, 900*time.Second+2*time.Minute)
		r, err := s.Receive(ctx, seckill.Callback{Provider: "shop", Event: "e" + v.ID, Type: seckill.Captured, Order: v.ID, Reference: "r" + v.ID, Amount: 9900, Currency: "CNY", At: now()})
		require.NoError(t, err)
		require.True(t, r.Paid)
		entries, err := s.History(ctx, v.ID, 10)
		require.NoError(t, err)
		for _, e := range entries {
			if e.What == entryOutage { // of this machine
				require.Less(t, e.Units, time.Minute.Milliseconds(), "nobody was away for hours")
			}
			soon(e.At, 0)
		}

		held, _, err := s.Lease(ctx, v.ID, "s", time.Minute)
		require.NoError(t, err)
		require.True(t, held)
		held, by, err := other.Lease(ctx, v.ID, "other", time.Minute)
		require.NoError(t, err)
		require.False(t, held, by)

		cents := int64(1)
		_, err = s.Refund(ctx, seckill.RefundRequest{ID: "f" + v.ID, Order: v.ID, Amount: &cents, By: "root"})
		require.NoError(t, err)
		due, err := other.DueRefunds(ctx, 10)
		require.NoError(t, err)
		require.Len(t, due, 1)
		require.NoError(t, s.RefundTried(ctx, due[0], false, time.Hour, "away"))
		for _, s := range nodes {
			due, err := s.DueRefunds(ctx, 10)
			require.NoError(t, err)
			require.Empty(t, due)
		}

		_, err = s.SpreadEvents(ctx, 100, func(string) []string { return []string{v.Buyer} })
		require.NoError(t, err)
		for _, state := range []seckill.DeliveryState{seckill.DeliveryWaiting, ""} {
			all, err := other.DueDeliveries(ctx, v.Buyer, 1)
			require.NoError(t, err)
			if state == "" {
				require.Empty(t, all, "not before an hour")
				break
			}
			require.Len(t, all, 1)
			require.Less(t, all[0].Age, time.Minute)
			var tries []seckill.DeliveryTry
			for _, step := range []string{"-1", "-2"} {
				for _, v := range each {
					tries = append(tries, seckill.DeliveryTry{Event: v.ID + step, State: state, Pause: time.Hour})
				}
			}
			require.NoError(t, s.DeliveriesTried(ctx, v.Buyer, tries))
		}
	}
	// The time of one is over, for both.
	for _, s := range nodes {
		v := someTickets(sale.ID, 1)[0]
		mustSettle(t, s, v)
		_, err := ahead.w.ExecContext(ctx, "UPDATE tickets SET expires_at = ? WHERE id = ?", ms(now().Add(-time.Second)), v.ID)
		require.NoError(t, err)
		_, err = s.Pulse(ctx)
		require.NoError(t, err)
		for _, s := range nodes {
			_, _, err := s.Checkout(ctx, v.ID, v.Buyer, "shop", seckill.NewTicketID(now()), 0)
			require.ErrorIs(t, err, seckill.ErrState)
		}
		n, err := s.Expire(ctx, 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
}
