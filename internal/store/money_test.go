package store

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

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
		{"a late payment waits until the gate has its order's units", testLateWaits},
	}...)
}

// The pulse stops for a while: whoever looks first gives the time back, once.
func testOutage(t *testing.T, s *shop) {
	s.Credit = time.Minute
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
		all, err := s.EndedCheckouts(t.Context(), "stripe", 10)
		require.NoError(t, err)
		for _, c := range all {
			sessions = append(sessions, c.Session)
		}
		return sessions
	}
	require.Empty(t, open())
	s.become(seckill.Cancelled, v)
	_, err := s.Receive(t.Context(), seckill.Callback{Provider: "stripe", Event: "e", Type: seckill.Captured, Order: w.ID, Reference: "pi_2", Amount: 100, Currency: "CNY", At: s.clock()})
	require.NoError(t, err)
	require.Equal(t, []string{"cs_1"}, open(), "one that was paid is closed")
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
		explain, uses := "EXPLAIN QUERY PLAN ", "tickets_state"
		if s.dialect.name == "mysql" {
			explain, uses = "EXPLAIN ", "PRIMARY"
		} else if state == seckill.Unpaid {
			uses = "tickets_unpaid"
		}
		rows, err := s.r.QueryContext(t.Context(), explain+q, args...)
		require.NoError(t, err)
		columns, err := rows.Columns()
		require.NoError(t, err)
		plan := ""
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
		require.Contains(t, plan, uses, "%s", state)
		require.NotContains(t, plan, "sort", "%s: the newest orders are found first", state)
	}
}

func testFree(t *testing.T, s *shop) {
	s.KeepEvents = true
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

// testMoneyModel plays random histories of one sale, with a provider that repeats,
// reorders and lies, and holds the money, the units and each payment's end against
// what may be.
func testMoneyModel(t *testing.T, s *shop) {
	rapid.Check(t, func(r *rapid.T) {
		sale := s.open(20)
		var orders []seckill.Ticket
		references := map[string]int64{} // what the provider says it took
		event := 0
		next := func() string { event++; return fmt.Sprintf("e-%s-%d", sale.ID, event) }
		pick := func() seckill.Ticket { return orders[rapid.IntRange(0, len(orders)-1).Draw(r, "order")] }
		for range rapid.IntRange(5, 25).Draw(r, "steps") {
			if len(orders) == 0 {
				orders = append(orders, s.place(sale.ID, fmt.Sprint("b", len(orders)), rapid.IntRange(1, 3).Draw(r, "quantity")))
				continue
			}
			v := pick()
			amount := int64(v.Quantity) * 100
			switch rapid.IntRange(0, 9).Draw(r, "step") {
			case 0:
				if len(orders) < 5 {
					orders = append(orders, s.place(sale.ID, fmt.Sprint("b", len(orders)), rapid.IntRange(1, 3).Draw(r, "quantity")))
				}
			case 1, 2, 3:
				ref := fmt.Sprintf("r-%s-%d", v.ID, rapid.IntRange(0, 1).Draw(r, "reference"))
				if rapid.IntRange(0, 5).Draw(r, "lie") == 0 {
					amount++
				}
				if got := s.captures(next(), v.ID, ref, amount); references[ref] == 0 && (got.Paid || got.Due || got.Aside) {
					references[ref] = amount
				}
			case 4:
				_, _ = s.Transition(t.Context(), v.ID, "", seckill.Cancelled)
			case 5:
				s.advance(time.Duration(rapid.IntRange(1, 40).Draw(r, "seconds")) * time.Second)
				_, err := s.Expire(t.Context(), 10)
				require.NoError(t, err)
			case 6:
				_, _ = s.Refund(t.Context(), seckill.RefundRequest{Order: v.ID, Restock: rapid.Bool().Draw(r, "restock"), By: "root"})
			case 7:
				units := rapid.IntRange(0, 2).Draw(r, "units")
				back := rapid.Int64Range(0, 150).Draw(r, "amount")
				_, _ = s.Refund(t.Context(), seckill.RefundRequest{Order: v.ID, Units: &units, Amount: &back, Restock: rapid.Bool().Draw(r, "restock"), By: "root"})
			case 8:
				due, err := s.DueRefunds(t.Context(), 3)
				require.NoError(t, err)
				for _, f := range due {
					require.NoError(t, s.RefundTried(t.Context(), f, rapid.Bool().Draw(r, "confirmed"), 0, "later"))
				}
			case 9:
				// Told without being asked, maybe before the payment, maybe too much.
				s.givesBack(next(), v.ID, fmt.Sprintf("r-%s-%d", v.ID, rapid.IntRange(0, 1).Draw(r, "reference")), rapid.Int64Range(1, amount+50).Draw(r, "back"))
			}
			s.money(sale.ID)
		}
		var captured int64
		for _, n := range references {
			captured += n
		}
		var m seckill.Money
		for _, m = range s.money(sale.ID) {
		}
		require.Equal(t, captured, m.Captured, "what the provider took is what we have")
		// At rest each payment has one end.
		for {
			due, err := s.DueRefunds(t.Context(), 100)
			require.NoError(t, err)
			if len(due) == 0 {
				break
			}
			for _, f := range due {
				require.NoError(t, s.RefundTried(t.Context(), f, true, 0, ""))
			}
		}
		for _, v := range orders {
			o, err := s.AnyOrder(t.Context(), v.ID)
			require.NoError(t, err)
			payments, err := s.Payments(t.Context(), seckill.PaymentFilter{Order: v.ID, Max: 100})
			require.NoError(t, err)
			kept := 0
			for _, p := range payments {
				if p.State == seckill.PaymentKept {
					kept++
				}
				require.NotEqual(t, seckill.PaymentLate, p.State, "the sale gives late money back")
			}
			require.Equal(t, o.State == seckill.Paid, kept == 1, "%s has %d payments", o.State, kept)
			money, units := o.Holds()
			require.True(t, money >= 0 && units >= 0 && money <= o.Amount, "%+v", o)
		}
		for _, m = range s.money(sale.ID) {
			require.Zero(t, m.Due)
		}
	})
	s.unitsHold(t)
}

// unitsHold is the counter's rule, less what was given back in parts.
func (s *shop) unitsHold(t *testing.T) {
	t.Helper()
	sales, err := s.Sales(t.Context(), 0, 1000)
	require.NoError(t, err)
	for _, sale := range sales {
		v := s.look(sale.ID)
		active := seckill.Units(v.Active)
		for _, n := range v.GivenUp {
			active -= int64(n)
		}
		require.Equal(t, v.Sale.Sold, active)
		require.GreaterOrEqual(t, v.Left(), int64(0))
	}
}

// races is how often each pair is raced, see docs/money.md for 1,000.
var races = flag.Int("money.races", 0, "how often each pair of changes of an order is raced; 0: as often as a suite can wait for")

// testMoneyRaces lets two things happen to an order at the same moment: to an unpaid one,
// and every second time to a paid one.
func testMoneyRaces(t *testing.T, s *shop) {
	rounds := *races
	switch {
	case rounds > 0:
	case testing.Short() || s.dialect.name != "sqlite":
		rounds = 12
	default:
		rounds = 60
	}
	moves := map[string]func(v seckill.Ticket, i int){
		"pay":    func(v seckill.Ticket, i int) { _, _ = s.Transition(t.Context(), v.ID, v.Buyer, seckill.Paid) },
		"told":   func(v seckill.Ticket, i int) { s.captures("e"+v.ID, v.ID, "r"+v.ID, 100) },
		"expire": func(v seckill.Ticket, i int) { s.advance(61 * time.Second); _, _ = s.Expire(t.Context(), 100) },
		"cancel": func(v seckill.Ticket, i int) { _, _ = s.Transition(t.Context(), v.ID, v.Buyer, seckill.Cancelled) },
		"refund": func(v seckill.Ticket, i int) { _, _ = s.Transition(t.Context(), v.ID, "", seckill.Refunded) },
	}
	names := []string{"pay", "told", "expire", "cancel", "refund"}
	sale := s.open(seckill.MaxTotal)
	for i, a := range names {
		for _, b := range names[i:] {
			for round := range rounds {
				v := s.place(sale.ID, fmt.Sprint(a, b, round, rand.Int64()), 1)
				if round%2 == 1 {
					s.become(seckill.Paid, v)
				}
				var wg sync.WaitGroup
				for _, name := range []string{a, b} {
					wg.Go(func() { moves[name](v, round) })
				}
				wg.Wait()
				o, err := s.AnyOrder(t.Context(), v.ID)
				require.NoError(t, err)
				payments, err := s.Payments(t.Context(), seckill.PaymentFilter{Order: v.ID, Max: 10})
				require.NoError(t, err)
				refunds, err := s.RefundsOf(t.Context(), v.ID)
				require.NoError(t, err)
				kept := 0
				for _, p := range payments {
					if p.State == seckill.PaymentKept {
						kept++
					}
				}
				told := strings.Contains(a+b, "told")
				legal := o.State == seckill.Paid && kept == 1 || o.State != seckill.Paid && kept == 0
				// Each payment that no order keeps goes back.
				legal = legal && len(refunds) == len(payments)-kept && (!told || len(payments) > 0)
				require.True(t, legal, "%s and %s: %s with %d payments, %d kept, %d refunds", a, b, o.State, len(payments), kept, len(refunds))
			}
		}
	}
	s.money(sale.ID)
	s.unitsHold(t)
}

// The gate still holds the units of an ended order, and would name its ticket.
func testLateWaits(t *testing.T, s *shop) {
	sale := s.retaking(10)
	v := s.place(sale.ID, "ann", 1)
	s.become(seckill.Cancelled, v)
	require.True(t, s.captures("e1", v.ID, "r1", 100).Late)
	waiting := func() []seckill.Payment {
		all, err := s.LatePayments(t.Context(), 10)
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
	s.KeepEvents = true
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
