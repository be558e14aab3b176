package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// The gate still holds the units of an ended order, and would name its ticket.
func testLateWaits(t *testing.T, s *shop) {
	sale := s.retaking(10)
	v := s.place(sale.ID, "ann", 1)
	s.become(seckill.Cancelled, v)
	require.True(t, s.captures("e1", v.ID, "r1", 100).Late)
	waiting := func() []seckill.Payment {
		all, err := s.LatePayments(t.Context(), seckill.PaymentCursor{}, 10)
		require.NoError(t, err)
		return all
	}
	require.Empty(t, waiting(), "its own units are on their way")
	s.released()
	require.Len(t, waiting(), 1)

	w := s.place(sale.ID, "ann", 1) // the buyer's other order
	late := waiting()
	require.Len(t, late, 1)
	s.become(seckill.Cancelled, w)
	require.Empty(t, waiting())
	_, err := s.Retake(t.Context(), late[0], w.ID, "the buyer's other order costs another amount")
	require.ErrorIs(t, err, seckill.ErrUnavailable, "it has ended since the payment was listed")
	s.released()
	late = waiting()
	require.Len(t, late, 1)
	x := s.place(sale.ID, "ann", 1)
	paid, err := s.Retake(t.Context(), late[0], x.ID, "")
	require.NoError(t, err)
	require.True(t, paid)
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 100, Held: 100}}, s.money(sale.ID))
}

// retaking is a sale in which late payments take units again.
func (s *shop) retaking(total int64) seckill.Sale {
	s.t.Helper()
	sale, err := s.UpdateSale(s.t.Context(), s.open(total).ID, func(v *seckill.Sale) error { v.LatePayment = seckill.LateRetake; return nil })
	require.NoError(s.t, err)
	return sale
}

// released is the gate that has taken back whatever was on its way.
func (s *shop) released() {
	s.t.Helper()
	all, err := s.Returns(s.t.Context(), 1000)
	require.NoError(s.t, err)
	for _, r := range all {
		require.NoError(s.t, s.Returned(s.t.Context(), r))
	}
}

// The two messages named different orders, so that neither transaction saw the other.
func testEarly(t *testing.T, s *shop) {
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 1)
	early := func(reference string) {
		_, err := s.w.ExecContext(t.Context(), `INSERT INTO callbacks (provider, event, type, order_id, reference, amount, currency, at, seen_at, became)
			VALUES ('shop', ?, 'refunded', 'another', ?, 100, 'CNY', ?, ?, 'early')`, "back "+reference, reference, ms(s.clock()), ms(s.clock()))
		require.NoError(t, err)
	}
	early("never told")
	s.advance(time.Second)
	s.captures("e1", v.ID, "r1", 100)
	early("r1")
	state, err := s.MoneyState(t.Context())
	require.NoError(t, err)
	require.Equal(t, noon, state.OldestEarly)
	for n := range 2 {
		all, err := s.EarlyRefunds(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, all, 1-n)
		for _, c := range all {
			r, err := s.TakeEarly(t.Context(), c)
			require.NoError(t, err)
			require.True(t, r.Returned)
		}
	}
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 100, Refunded: 100}}, s.money(sale.ID))
}

func testEventPayments(t *testing.T, s *shop) {
	s.settings.KeepEvents = true
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 1)
	s.captures("e1", v.ID, "of a wrong amount", 101)
	_, err := s.Refund(t.Context(), seckill.RefundRequest{Order: v.ID, Payment: "of a wrong amount", By: "root"})
	require.NoError(t, err)
	s.advance(time.Second)
	s.captures("e2", v.ID, "the right one", 100)
	s.advance(time.Second)
	s.captures("e3", v.ID, "a second one", 100)
	named := func(want ...string) {
		t.Helper()
		rows, events := unsent(t, s.Store, 10)
		var got []string
		for _, e := range events {
			name := ""
			if e.Payment != nil {
				name = e.Payment.Reference
			}
			got = append(got, e.Type+" "+name)
		}
		require.Equal(t, want, got)
		if len(want) > 2 {
			require.NoError(t, s.Sent(t.Context(), rows))
		}
	}
	named("order.placed ", "order.paid the right one")
	s.become(seckill.Refunded, v)
	named("order.placed ", "order.paid the right one", "order.refunded the right one")
}

// A shop or a receiver may answer with bytes that are no text; MariaDB does not store them.
func testNoText(t *testing.T, s *shop) {
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 1)
	s.captures("e1", v.ID, "r1", 100)
	s.become(seckill.Refunded, v)
	due, err := s.DueRefunds(t.Context(), 1)
	require.NoError(t, err)
	const answer = "500 Fehler \xfc\xff"
	require.NoError(t, s.RefundTried(t.Context(), due[0], false, time.Minute, answer))
	refunds, err := s.RefundsOf(t.Context(), v.ID)
	require.NoError(t, err)
	require.Equal(t, []any{"500 Fehler ", 1}, []any{refunds[0].Error, refunds[0].Tries})
}

// Money that comes while the books are read is in none of their parts.
func testBooksOfOneMoment(t *testing.T, s *shop) {
	sale := s.open(10)
	v, w := s.place(sale.ID, "ann", 1), s.place(sale.ID, "bob", 1)
	s.captures("e1", v.ID, "r1", 100)
	var read int64
	before, total, err := s.Books(t.Context(), noon, noon.Add(time.Hour), func(b seckill.Booking) error {
		read += b.Amount
		s.captures("e2", w.ID, "r2", 100)
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, before)
	require.EqualValues(t, 100, read)
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 100, Held: 100}}, total)
	before, total, err = s.Books(t.Context(), noon.Add(time.Hour), noon.Add(2*time.Hour), func(seckill.Booking) error { t.Fail(); return nil })
	require.NoError(t, err)
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 200}}, before)
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 200, Held: 200}}, total)
}

// A part that is asked for under a new id is no repeat of what has made the order refunded.
func testNothingLeft(t *testing.T, s *shop) {
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 2)
	s.captures("e1", v.ID, "r1", 200)
	one, two, half, all := 1, 2, int64(100), int64(200)
	ask := func(id string, units *int, amount *int64) error {
		_, err := s.Refund(t.Context(), seckill.RefundRequest{ID: id, Order: v.ID, Units: units, Amount: amount, By: "root"})
		return err
	}
	require.NoError(t, ask("a part", &one, nil))
	require.NoError(t, ask("the rest", nil, &half))
	require.NoError(t, ask("", nil, nil))
	for name, err := range map[string]error{"a part": ask("a part", &one, nil), "the rest": ask("the rest", nil, &half), "all": ask("", nil, nil), "all of a new id": ask("new", nil, nil)} {
		require.NoError(t, err, "a repeat of %s", name)
	}
	require.ErrorIs(t, ask("new", &one, nil), seckill.ErrState)
	require.ErrorIs(t, ask("new", nil, &half), seckill.ErrState)
	require.ErrorIs(t, ask("new", &two, &all), seckill.ErrState)
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 200, Due: 200}}, s.money(sale.ID))

	free, err := s.CreateSale(t.Context(), seckill.Sale{Title: "free", Currency: "CNY", Total: 3, LimitPerBuyer: 3, OpensAt: s.clock(), ClosesAt: s.clock().Add(time.Hour), HoldSeconds: 60})
	require.NoError(t, err)
	v = s.place(free.ID, "ann", 1)
	for range 2 {
		require.NoError(t, ask("free", &one, nil))
	}
}

func testSplitInTheLedger(t *testing.T, s *shop) {
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 2)
	s.captures("e1", v.ID, "r1", 200)
	s.become(seckill.Refunded, v)
	s.givesBack("e2", v.ID, "r1", 40)
	entries, err := s.History(t.Context(), v.ID, 100)
	require.NoError(t, err)
	sums := map[string]int64{}
	for _, e := range entries {
		sums[e.What] += e.Amount
	}
	require.Equal(t, []int64{200, 40}, []int64{sums[entryDue], sums[entryDone]})
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 200, Refunded: 40, Due: 160}}, s.money(sale.ID))
}
