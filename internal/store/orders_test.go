package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func testOwner(t *testing.T, s *shop) {
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 1)
	for _, buyer := range []string{"bob", "", "ANN"} {
		_, err := s.Order(t.Context(), v.ID, buyer)
		require.ErrorIs(t, err, seckill.ErrNotFound)
		_, err = s.Outcome(t.Context(), sale.ID, buyer, v.ID)
		require.ErrorIs(t, err, seckill.ErrNotFound)
		orders, err := s.Orders(t.Context(), buyer, "", 10)
		require.NoError(t, err)
		require.Empty(t, orders)
		if buyer != "" {
			_, err = s.Transition(t.Context(), v.ID, buyer, seckill.Paid)
			require.ErrorIs(t, err, seckill.ErrNotFound)
		}
	}
	o, err := s.Order(t.Context(), v.ID, "ann")
	require.NoError(t, err)
	require.Equal(t, seckill.Unpaid, o.State)
	_, err = s.Outcome(t.Context(), sale.ID+1, "ann", v.ID)
	require.ErrorIs(t, err, seckill.ErrNotFound, "of another sale")
}

func testOrders(t *testing.T, s *shop) {
	var want []string
	for range 5 {
		want = append([]string{s.place(s.open(1).ID, "ann", 1).ID}, want...)
	}
	s.settle(ticket(999, "ann", 1)) // a refusal is no order
	var got []string
	for before := ""; ; before = got[len(got)-1] {
		page, err := s.Orders(t.Context(), "ann", before, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			got = append(got, o.ID)
		}
	}
	require.Equal(t, want, got)
	newest, err := s.Outcome(t.Context(), 999, "ann", "")
	require.NoError(t, err)
	require.Equal(t, noSale, newest.Reason)
}

func testAsBought(t *testing.T, s *shop) {
	sale := s.open(10)
	call := func(title, image string) {
		_, err := s.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error { v.Title, v.Image = title, image; return nil })
		require.NoError(t, err)
	}
	call("before anybody", "/1.png")
	early := ticket(sale.ID, "cid", 1) // admitted first, settled last
	first := s.place(sale.ID, "ann", 2)
	call("seen by nobody", "/2.png")
	call("second", "/3.png")
	second := s.place(sale.ID, "bob", 1)
	call("third", "")
	require.Equal(t, []seckill.Reason{placed}, s.settle(early))
	for _, c := range []struct {
		ticket       seckill.Ticket
		title, image string
	}{{first, "before anybody", "/1.png"}, {second, "second", "/3.png"}, {early, "before anybody", "/1.png"}} {
		o, err := s.Order(t.Context(), c.ticket.ID, c.ticket.Buyer)
		require.NoError(t, err)
		require.Equal(t, []any{c.title, c.image, int64(100)}, []any{o.Title, o.Image, o.Price})
		orders, err := s.Orders(t.Context(), c.ticket.Buyer, "", 1)
		require.NoError(t, err)
		require.Equal(t, []seckill.Order{o}, orders)
		require.Equal(t, c.title, s.become(seckill.Paid, c.ticket).Title)
	}
}

func testTransition(t *testing.T, s *shop) {
	all := []seckill.OrderState{seckill.Unpaid, seckill.Paid, seckill.Cancelled, seckill.Expired, seckill.Refunded}
	path := map[seckill.OrderState][]seckill.OrderState{
		seckill.Unpaid: nil, seckill.Paid: {seckill.Paid}, seckill.Cancelled: {seckill.Cancelled}, seckill.Expired: {seckill.Expired}, seckill.Refunded: {seckill.Paid, seckill.Refunded},
	}
	for _, from := range all {
		for _, to := range all {
			for _, late := range []bool{false, true} {
				sale := s.open(10)
				v := s.place(sale.ID, "ann", 2)
				if from == seckill.Expired {
					s.advance(time.Minute)
				}
				for _, step := range path[from] {
					s.become(step, v)
				}
				if late {
					s.advance(time.Minute)
				}
				was, err := s.Order(t.Context(), v.ID, "ann")
				require.NoError(t, err)
				_, want := was.Become(to, s.clock())
				got, err := s.Transition(t.Context(), v.ID, "ann", to)
				if want != nil {
					require.ErrorIs(t, err, seckill.ErrState, "%s → %s", from, to)
					to = from
				} else {
					require.NoError(t, err, "%s → %s", from, to)
					require.Equal(t, to, got.State)
				}
				now, err := s.Order(t.Context(), v.ID, "ann")
				require.NoError(t, err)
				require.Equal(t, to, now.State)
				units := int64(0)
				if to.Active() {
					units = 2
				}
				require.Equal(t, units, s.sold(sale.ID), "%s → %s", from, to)
				require.Equal(t, 2-units, s.look(sale.ID).Returning)
				if from == to {
					break // late or not is the same
				}
			}
		}
	}
	_, err := s.Transition(t.Context(), "00000000000000000000000000", "ann", seckill.Paid)
	require.ErrorIs(t, err, seckill.ErrNotFound)
	s.invariants(t)
}

func testExpire(t *testing.T, s *shop) {
	expire := func(max int) int {
		n, err := s.Expire(t.Context(), max)
		require.NoError(t, err)
		return n
	}
	_, some, err := s.NextExpiry(t.Context())
	require.NoError(t, err)
	require.False(t, some)
	one, two := s.open(10), s.open(10)
	paid := s.place(one.ID, "pia", 1)
	s.become(seckill.Paid, paid)
	for i := range 3 {
		s.place(one.ID, fmt.Sprint("buyer", i), 2)
	}
	s.advance(10 * time.Second)
	s.place(two.ID, "ann", 3)
	wait, some, err := s.NextExpiry(t.Context())
	require.NoError(t, err)
	require.True(t, some)
	require.Equal(t, 50*time.Second, wait)
	s.advance(50*time.Second - time.Millisecond)
	require.Zero(t, expire(10))
	s.advance(time.Millisecond)
	require.Equal(t, 2, expire(2))
	require.Equal(t, 1, expire(10))
	require.Zero(t, expire(10), "once")
	require.EqualValues(t, 1, s.sold(one.ID), "the paid one stays")
	require.EqualValues(t, 3, s.sold(two.ID))
	require.Len(t, s.returns(), 3)
	s.advance(10 * time.Second)
	require.Equal(t, 1, expire(10))
	s.invariants(t)
}

func testReturns(t *testing.T, s *shop) {
	sale := s.open(5)
	v := s.place(sale.ID, "ann", 3)
	s.become(seckill.Cancelled, v)
	s.become(seckill.Cancelled, v) // a repeat returns nothing more
	returns, err := s.Returns(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, []seckill.Return{{Sale: sale.ID, Tickets: []seckill.Ticket{{ID: v.ID, Sale: sale.ID, Buyer: "ann", Quantity: 3}}}}, returns)
	require.EqualValues(t, 3, s.look(sale.ID).Returning)
	require.Zero(t, s.sold(sale.ID))
	s.place(sale.ID, "ann", 5)
	returns, err = s.Returns(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, returns, "at most max")
	returns, err = s.Returns(t.Context(), 10, sale.ID, sale.ID+1)
	require.NoError(t, err)
	require.Empty(t, returns, "without that sale")
	s.invariants(t)
}

func testReturned(t *testing.T, s *shop) {
	one, two := s.open(5), s.open(5)
	snapshots, err := s.Snapshot(t.Context(), []seckill.SaleID{one.ID, two.ID}, nil)
	require.NoError(t, err)
	epoch := snapshots[0].Sale.Epoch
	a, b, c := s.place(one.ID, "ann", 1), s.place(one.ID, "bob", 1), s.place(two.ID, "ann", 1)
	for _, v := range []seckill.Ticket{a, b, c} {
		s.become(seckill.Cancelled, v)
	}
	returned := func(sale seckill.SaleID, epoch int64, v seckill.Ticket) {
		t.Helper()
		require.NoError(t, s.Returned(t.Context(), seckill.Return{Sale: sale, Epoch: epoch, Tickets: []seckill.Ticket{v}}))
	}
	returned(one.ID, epoch, a)
	require.ElementsMatch(t, []string{b.ID, c.ID}, s.returns())
	returned(one.ID, epoch, a) // a repeat
	_, err = s.Snapshot(t.Context(), []seckill.SaleID{one.ID}, nil)
	require.NoError(t, err)
	for _, old := range []int64{epoch - 1, epoch, epoch + 2} {
		returned(one.ID, old, b)
		require.ElementsMatch(t, []string{b.ID, c.ID}, s.returns(), "epoch %d is not in force", old)
	}
	returned(one.ID, epoch+1, b)
	returned(two.ID, epoch, c) // an epoch is a sale's own
	require.Empty(t, s.returns())
}
