package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func init() {
	behaviours = append(behaviours, []struct {
		name string
		test func(t *testing.T, s *shop)
	}{
		{"time in which the store was away does not count against a buyer", testOutage},
		{"orders are found by their state through an index", testOrdersByState},
		{"a checkout is open at the provider until its order has ended", testEndedCheckouts},
		{"a free order is paid from the start", testFree},
		{"whatever happens to orders and their money, every cent is explained", testMoneyModel},
		{"payment, expiry, cancelling and refund of an order race to one legal end", testMoneyRaces},
		{"a payment, a refund and their repeats are one", testPaymentsOnce},
		{"a refund that was told in the same moment as its payment is entered", testEarly},
		{"events name the payment that the order holds or held", testEventPayments},
		{"the ledger has every change of time to pay, of stock and of money, with its sale", testLedger},
		{"books are of one moment", testBooksOfOneMoment},
		{"an answer that is no text is noted", testNoText},
		{"a refunded order gives nothing more back", testNothingLeft},
		{"a refund that is given back in part is due once in the ledger", testSplitInTheLedger},
		{"a late payment waits until the gate has its order's units", testLateWaits},
	}...)
}

// The pulse stops for a while: whoever looks first gives the time back, once.
func testOutage(t *testing.T, s *shop) {
	s.settings.Credit = time.Minute
	sale := s.open(10)
	beat := func() {
		t.Helper()
		_, err := s.Pulse(t.Context())
		require.NoError(t, err)
	}
	beat()
	v, w := s.place(sale.ID, "ann", 1), s.place(sale.ID, "bob", 1)
	for range 55 {
		s.advance(time.Second)
		beat()
	}
	s.advance(37 * time.Second) // 5 s were left
	require.Equal(t, seckill.Paid, s.become(seckill.Paid, v).State, "paying is possible before anybody has noticed")
	n, err := s.Expire(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, n)
	o, err := s.Order(t.Context(), w.ID, "bob")
	require.NoError(t, err)
	require.Equal(t, 5*time.Second, o.ExpiresAt.Sub(s.clock()), "what was left is left")
	s.advance(4 * time.Second)
	beat()
	s.advance(time.Second)
	n, err = s.Expire(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)

	s.advance(time.Second)
	beat()
	s.advance(900 * time.Millisecond)
	y := s.place(sale.ID, "dan", 1) // just before the outage
	s.advance(10 * time.Second)
	beat()
	o, err = s.Order(t.Context(), y.ID, "dan")
	require.NoError(t, err)
	require.Equal(t, 60*time.Second+10*time.Second, o.ExpiresAt.Sub(o.CreatedAt), "one that was placed after the last pulse loses nothing, and wins nothing")

	x := s.place(sale.ID, "cid", 1)
	beat()
	s.advance(time.Hour)
	beat()
	o, err = s.Order(t.Context(), x.ID, "cid")
	require.NoError(t, err)
	require.Equal(t, 60*time.Second+23*time.Second-10900*time.Millisecond, o.ExpiresAt.Sub(o.CreatedAt), "outages of a day give back a minute at most")
	s.invariants(t)
}

func testEndedCheckouts(t *testing.T, s *shop) {
	sale := s.open(100)
	start := func(buyer, session string) (v seckill.Ticket, id string) {
		v = s.place(sale.ID, buyer, 1)
		_, c, err := s.Checkout(t.Context(), v.ID, buyer, "stripe", seckill.NewTicketID(noon), time.Minute)
		require.NoError(t, err)
		require.NoError(t, s.CheckoutAt(t.Context(), c.ID, "https://pay.example/", session))
		return v, c.ID
	}
	v, first := start("ann", "cs_1")
	w, _ := start("bob", "cs_2")
	start("cid", "cs_3")
	start("dan", "") // it cannot be ended there
	open := func() (sessions []string) {
		all, err := s.EndedCheckouts(t.Context(), "stripe", "", 10)
		require.NoError(t, err)
		for _, c := range all {
			sessions = append(sessions, c.Session)
		}
		return sessions
	}
	require.Empty(t, open())
	s.become(seckill.Cancelled, v)
	_, err := s.Receive(t.Context(), seckill.Callback{Provider: "stripe", Event: "e", Type: seckill.Captured, Order: w.ID, Reference: "pi_2", Session: "cs_2", Amount: 100, Currency: "CNY", At: s.clock()})
	require.NoError(t, err)
	require.Equal(t, []string{"cs_1"}, open(), "one that was paid is closed")
	w, old := start("eve", "cs_4")
	require.NoError(t, s.CheckoutClosed(t.Context(), old))
	_, c, err := s.Checkout(t.Context(), w.ID, "eve", "stripe", seckill.NewTicketID(noon), time.Minute)
	require.NoError(t, err)
	require.NoError(t, s.CheckoutAt(t.Context(), c.ID, "https://pay.example/", "cs_5"))
	for i, kind := range []seckill.CallbackType{seckill.Failed, seckill.Captured} {
		_, err = s.Receive(t.Context(), seckill.Callback{Provider: "stripe", Event: fmt.Sprint("old ", i), Type: kind, Order: w.ID, Reference: "pi_4", Session: "cs_4", Amount: 100, Currency: "CNY", At: s.clock()})
		require.NoError(t, err)
	}
	require.ElementsMatch(t, []string{"cs_1", "cs_5"}, open(), "what is told of an old session ends no other")
	require.NoError(t, s.CheckoutClosed(t.Context(), c.ID))
	require.NoError(t, s.CheckoutClosed(t.Context(), first))
	require.Empty(t, open())
	s.advance(time.Hour)
	_, err = s.Expire(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, []string{"cs_3"}, open())
}

// Orders of every state are found, and no state by walking through all orders.
func testOrdersByState(t *testing.T, s *shop) {
	sale := s.open(1000)
	one := map[seckill.OrderState]string{}
	for _, state := range []seckill.OrderState{seckill.Unpaid, seckill.Paid, seckill.Cancelled, seckill.Refunded} {
		v := s.place(sale.ID, "b "+string(state), 1)
		if state == seckill.Refunded {
			s.become(seckill.Paid, v)
		}
		if state != seckill.Unpaid {
			s.become(state, v)
		}
		one[state] = v.ID
	}
	x := s.place(sale.ID, "late", 1)
	s.advance(61 * time.Second)
	_, err := s.Expire(t.Context(), 10)
	require.NoError(t, err)
	one[seckill.Expired] = x.ID
	one[seckill.Unpaid] = s.place(sale.ID, "another", 1).ID
	for _, state := range []seckill.OrderState{seckill.Unpaid, seckill.Paid, seckill.Cancelled, seckill.Refunded, seckill.Expired} {
		for _, f := range []seckill.OrderFilter{{State: state, Max: 10}, {State: state, Sale: sale.ID, Max: 10}, {State: state, Before: "~", Max: 10}} {
			orders, err := s.AllOrders(t.Context(), f)
			require.NoError(t, err)
			found := false
			for _, o := range orders {
				require.Equal(t, state, o.State)
				found = found || o.ID == one[state]
			}
			require.True(t, found, state)
		}
		q, args := s.allOrders(seckill.OrderFilter{State: state, Before: "~", Max: 10})
		uses := "tickets_state"
		if s.dialect.name == "mysql" {
			uses = "PRIMARY"
		} else if state == seckill.Unpaid {
			uses = "tickets_unpaid"
		}
		plan := plan(t, s.Store, q, args...)
		require.Contains(t, plan, uses, "%s", state)
		require.NotContains(t, plan, "sort", "%s: the newest orders are found first", state)
	}
}

// plan is how the database would answer a query, in its own words.
func plan(t *testing.T, s *Store, query string, args ...any) (plan string) {
	t.Helper()
	explain := "EXPLAIN QUERY PLAN "
	if s.dialect.name == "mysql" {
		explain = "EXPLAIN "
	}
	rows, err := s.r.QueryContext(t.Context(), explain+query, args...)
	require.NoError(t, err)
	columns, err := rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new([]byte)
		}
		require.NoError(t, rows.Scan(values...))
		for _, v := range values {
			plan += string(*v.(*[]byte)) + " "
		}
		plan += "\n"
	}
	require.NoError(t, rows.Err())
	require.NoError(t, rows.Close())
	return plan
}

func testFree(t *testing.T, s *shop) {
	s.settings.KeepEvents = true
	sale, err := s.CreateSale(t.Context(), seckill.Sale{Title: "free", Currency: "CNY", Total: 3, LimitPerBuyer: 3, OpensAt: s.clock(), ClosesAt: s.clock().Add(time.Hour), HoldSeconds: 60})
	require.NoError(t, err)
	v := s.place(sale.ID, "ann", 2)
	o, err := s.Order(t.Context(), v.ID, "ann")
	require.NoError(t, err)
	require.Equal(t, seckill.Paid, o.State)
	rows, err := s.Events(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, []string{v.ID + "-1", v.ID + "-2"}, []string{rows[0].ID, rows[1].ID}, "who listens for paid orders hears of it")
	s.advance(2 * time.Minute)
	n, err := s.Expire(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, n)
	s.become(seckill.Refunded, v)
	require.Empty(t, s.money(sale.ID))
	s.invariants(t)
}

// money is what the audit counts; all of it must be explained.
func (s *shop) money(sale seckill.SaleID) []seckill.Money {
	s.t.Helper()
	all, err := s.Money(s.t.Context(), sale)
	require.NoError(s.t, err)
	for _, m := range all {
		require.Zero(s.t, m.Unexplained(), "%+v", m)
	}
	return all
}

func (s *shop) captures(event, order, reference string, amount int64) seckill.Received {
	s.t.Helper()
	r, err := s.Receive(s.t.Context(), seckill.Callback{Provider: "shop", Event: event, Type: seckill.Captured, Order: order, Reference: reference, Amount: amount, Currency: "CNY", At: s.clock()})
	require.NoError(s.t, err)
	return r
}

func (s *shop) givesBack(event, order, reference string, amount int64) seckill.Received {
	s.t.Helper()
	r, err := s.Receive(s.t.Context(), seckill.Callback{Provider: "shop", Event: event, Type: seckill.GivenBack, Order: order, Reference: reference, Amount: amount, Currency: "CNY", At: s.clock()})
	require.NoError(s.t, err)
	return r
}

func testPaymentsOnce(t *testing.T, s *shop) {
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 2)
	var wg sync.WaitGroup
	for i := range 8 { // the same payment by two messages, each four times at once
		wg.Go(func() { s.captures(fmt.Sprint("e", i%2), v.ID, "r", 200) })
	}
	wg.Wait()
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 200, Held: 200}}, s.money(sale.ID))
	one, all := 1, int64(100)
	for range 4 {
		wg.Go(func() {
			_, err := s.Refund(t.Context(), seckill.RefundRequest{ID: "part", Order: v.ID, Units: &one, Restock: true, By: "root"})
			require.NoError(t, err)
		})
	}
	wg.Wait()
	due, err := s.DueRefunds(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.Equal(t, all, due[0].Amount)
	require.NoError(t, s.RefundTried(t.Context(), due[0], false, time.Minute, "away"))
	due, err = s.DueRefunds(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, due, "not before its time")
	s.advance(time.Minute)
	due, err = s.DueRefunds(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, []any{"away", 1}, []any{due[0].Error, due[0].Tries})
	for range 4 {
		wg.Go(func() { require.NoError(t, s.RefundTried(t.Context(), due[0], true, 0, "")) })
		wg.Go(func() { s.givesBack("done", v.ID, due[0].ID, 100) })
	}
	wg.Wait()
	require.Equal(t, []seckill.Money{{Currency: "CNY", Captured: 200, Refunded: 100, Held: 100}}, s.money(sale.ID))
	require.EqualValues(t, 1, s.sold(sale.ID))
	history, err := s.History(t.Context(), v.ID, 100)
	require.NoError(t, err)
	var told []string
	for _, e := range history {
		told = append(told, e.What)
	}
	require.Equal(t, []string{"payment.captured", "order.paid", "refund.due", "refund.done"}, told)
	s.unitsHold(t)
}
