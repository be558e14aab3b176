package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func testSettle(t *testing.T, s *shop) {
	one, two := s.open(10), s.open(10)
	a, b, c := ticket(one.ID, "ann", 2), ticket(two.ID, "ann", 1), ticket(one.ID, "bob", 3)
	require.Equal(t, []seckill.Reason{placed, placed, placed}, s.settle(a, b, c))
	require.EqualValues(t, 5, s.sold(one.ID))
	require.EqualValues(t, 1, s.sold(two.ID))
	o, err := s.Order(t.Context(), c.ID, "bob")
	require.NoError(t, err)
	require.Equal(t, seckill.Order{ID: c.ID, Sale: one.ID, Ticket: c.ID, Buyer: "bob", Title: "a sale", Price: 100, Quantity: 3, Amount: 300, Currency: "CNY", State: seckill.Unpaid,
		CreatedAt: s.clock(), ExpiresAt: s.clock().Add(time.Minute)}, o)
	require.Equal(t, c.Seq, s.look(one.ID).Sale.Seq, "the highest admission number")
	require.Empty(t, s.settle())
	s.invariants(t)
}

func testFirstOutcome(t *testing.T, s *shop) {
	sale := s.open(2)
	a, b, c := ticket(sale.ID, "ann", 1), ticket(sale.ID, "bob", 2), ticket(sale.ID, "cid", 1)
	require.Equal(t, []seckill.Reason{placed, placed, soldOut}, s.settle(a, a, b), "twice in one batch")
	require.Equal(t, []seckill.Reason{soldOut, placed}, s.settle(b, a), "again, in another order")
	s.become(seckill.Cancelled, a)
	require.Equal(t, []seckill.Reason{placed, soldOut}, s.settle(a, b), "there would be room now")
	require.Equal(t, []seckill.Reason{placed, placed, soldOut}, s.settle(a, c, b), "overlapping")
	require.EqualValues(t, 1, s.sold(sale.ID))
	o, err := s.Refuse(t.Context(), a, seckill.ReasonPoison)
	require.NoError(t, err)
	require.True(t, o.Placed(), "a refusal that comes late")
	got, err := s.Outcome(t.Context(), sale.ID, "bob", b.ID)
	require.NoError(t, err)
	require.Equal(t, soldOut, got.Reason)
	s.invariants(t)
}

func testFit(t *testing.T, s *shop) {
	one, two := s.open(3), s.open(100)
	require.Equal(t, []seckill.Reason{placed, placed, soldOut, placed, soldOut}, s.settle(
		ticket(one.ID, "ann", 2), ticket(two.ID, "ann", 5), ticket(one.ID, "bob", 2), ticket(one.ID, "cid", 1), ticket(one.ID, "dan", 1)))
	require.EqualValues(t, 3, s.sold(one.ID))
	require.EqualValues(t, 5, s.sold(two.ID))
	s.invariants(t)
}

func testOnePerBuyer(t *testing.T, s *shop) {
	sale, other := s.open(10), s.open(10)
	first := ticket(sale.ID, "ann", 1)
	require.Equal(t, []seckill.Reason{placed, limited, placed}, s.settle(first, ticket(sale.ID, "ann", 1), ticket(other.ID, "ann", 1)), "in one batch")
	require.Equal(t, []seckill.Reason{placed, limited}, s.settle(ticket(sale.ID, "bob", 1), ticket(sale.ID, "ann", 1)), "in a later one")
	s.become(seckill.Paid, first)
	require.Equal(t, []seckill.Reason{limited}, s.settle(ticket(sale.ID, "ann", 1)), "a paid order is active")
	s.become(seckill.Refunded, first)
	require.Equal(t, []seckill.Reason{placed}, s.settle(ticket(sale.ID, "ann", 1)))
	require.Equal(t, []seckill.Reason{placed}, s.settle(ticket(sale.ID, "Ann", 1)), "another buyer")
	require.EqualValues(t, 3, s.sold(sale.ID))
	s.invariants(t)
}

func testUnknownSale(t *testing.T, s *shop) {
	sale := s.open(10)
	lost := ticket(999, "ann", 1)
	require.Equal(t, []seckill.Reason{noSale, placed}, s.settle(lost, ticket(sale.ID, "ann", 1)))
	require.Equal(t, []seckill.Reason{noSale}, s.settle(lost))
	s.invariants(t)
}

// What was admitted by an older version of the sale is placed; what none of them would
// have admitted is refused, and raises nothing.
func testTerms(t *testing.T, s *shop) {
	sale := s.open(100)
	at := func(d time.Duration, quantity int) seckill.Ticket {
		v := ticket(sale.ID, seckill.NewTicketID(noon), quantity)
		v.At = noon.Add(d)
		return v
	}
	refused := seckill.ReasonNotAdmitted
	far := at(0, 6)
	far.Seq = seckill.MaxSeq
	require.Equal(t, []seckill.Reason{placed, refused, placed, refused, placed, refused},
		s.settle(at(0, 1), at(-time.Millisecond, 1), at(time.Hour-time.Millisecond, 1), at(time.Hour, 1), at(time.Second, 5), far))
	before, err := s.Sale(t.Context(), sale.ID)
	require.NoError(t, err)
	require.Less(t, before.Seq, int64(seckill.MaxSeq))
	change := func(opens, closes time.Duration, limit int) {
		_, err := s.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error {
			v.OpensAt, v.ClosesAt, v.LimitPerBuyer = noon.Add(opens), noon.Add(closes), limit
			return nil
		})
		require.NoError(t, err)
	}
	change(-time.Minute, 2*time.Hour, 7)
	require.Equal(t, []seckill.Reason{placed, refused, placed, refused, placed, refused},
		s.settle(at(-time.Minute, 1), at(-time.Minute-1, 1), at(2*time.Hour-1, 1), at(2*time.Hour, 1), at(0, 7), at(0, 8)))
	change(time.Minute, time.Hour, 1) // what came before may be under way
	require.Equal(t, []seckill.Reason{placed, placed, placed}, s.settle(at(-time.Minute, 1), at(2*time.Hour-time.Millisecond, 1), at(0, 7)))
	s.invariants(t)
}

// A ticket is judged by the terms of the version that admitted it, whatever the sale was
// before and has become since; one that names no version, or one that nobody has noted,
// by the widest terms.
func testVersions(t *testing.T, s *shop) {
	sale := s.open(100) // version 1: an hour from noon on, 5 units
	by := func(version int64, d time.Duration, quantity int) seckill.Ticket {
		v := ticket(sale.ID, seckill.NewTicketID(noon), quantity)
		v.At, v.Version = noon.Add(d), version
		return v
	}
	change := func(opens, closes time.Duration, limit int) {
		_, err := s.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error {
			v.OpensAt, v.ClosesAt, v.LimitPerBuyer = noon.Add(opens), noon.Add(closes), limit
			return nil
		})
		require.NoError(t, err)
	}
	change(0, 2*time.Hour, 1)         // version 2
	change(time.Hour, 3*time.Hour, 9) // version 3
	refused := seckill.ReasonNotAdmitted
	for range 2 { // what it has read it remembers
		require.Equal(t, []seckill.Reason{placed, refused, refused}, s.settle(by(1, 0, 5), by(1, 0, 6), by(1, time.Hour, 1)))
		require.Equal(t, []seckill.Reason{placed, refused, placed}, s.settle(by(2, time.Hour, 1), by(2, 0, 2), by(2, 2*time.Hour-time.Millisecond, 1)))
		require.Equal(t, []seckill.Reason{refused, placed, refused}, s.settle(by(3, 0, 1), by(3, time.Hour, 9), by(3, 3*time.Hour, 1)))
		require.Equal(t, []seckill.Reason{placed, refused, placed}, s.settle(by(0, 0, 9), by(0, 0, 10), by(77, 0, 9)))
	}
	s.invariants(t)
}

func testPoison(t *testing.T, s *shop) {
	sale := s.open(10)
	for _, quantity := range []int{0, -1} {
		good, bad := ticket(sale.ID, "ann", 1), ticket(sale.ID, "bob", quantity)
		_, err := s.Settle(t.Context(), []seckill.Ticket{good, bad})
		require.ErrorIs(t, err, ErrTicket)
		require.NotErrorIs(t, err, seckill.ErrUnavailable)
		_, err = s.Outcome(t.Context(), sale.ID, "ann", "")
		require.ErrorIs(t, err, seckill.ErrNotFound, "all or nothing")
	}
	require.Zero(t, s.sold(sale.ID))
	s.invariants(t)
}

func testRefuse(t *testing.T, s *shop) {
	sale := s.open(10)
	for _, bad := range []seckill.Ticket{ticket(sale.ID, "ann", 1), ticket(sale.ID, "bob", 0), ticket(sale.ID, "cid", -7), ticket(999, "dan", 1)} {
		for range 2 {
			o, err := s.Refuse(t.Context(), bad, seckill.ReasonPoison)
			require.NoError(t, err, "quantity %d", bad.Quantity)
			require.Equal(t, seckill.Outcome{Ticket: bad, Reason: seckill.ReasonPoison}, o)
		}
		o, err := s.Outcome(t.Context(), bad.Sale, bad.Buyer, "")
		require.NoError(t, err)
		require.Equal(t, seckill.ReasonPoison, o.Reason)
		require.Equal(t, []seckill.Reason{seckill.ReasonPoison}, s.settle(bad))
	}
	require.Zero(t, s.sold(sale.ID))
	orders, err := s.Orders(t.Context(), "ann", "", 10)
	require.NoError(t, err)
	require.Empty(t, orders)
	s.invariants(t)
}
