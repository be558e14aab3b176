package store

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"seckill"
)

// testMoneyModel plays random histories of one sale, with a provider that repeats,
// reorders, lies and takes other currencies, and holds the money, the units and each
// payment's end against what may be.
func testMoneyModel(t *testing.T, s *shop) {
	rapid.Check(t, func(r *rapid.T) {
		sale := s.open(20)
		if rapid.Bool().Draw(r, "retake") {
			sale = s.retaking(20)
		}
		var orders []seckill.Ticket
		took := map[string]seckill.Money{} // what the provider says it took, by reference
		event := 0
		tell := func(kind seckill.CallbackType, order, reference string, amount int64, currency string) seckill.Received {
			event++
			got, err := s.Receive(t.Context(), seckill.Callback{Provider: "shop", Event: fmt.Sprintf("e-%s-%d", sale.ID, event), Type: kind, Order: order, Reference: reference, Amount: amount, Currency: currency, At: s.clock()})
			require.NoError(t, err)
			return got
		}
		reference := func(v seckill.Ticket) string {
			return fmt.Sprintf("r-%s-%d", v.ID, rapid.IntRange(0, 1).Draw(r, "reference"))
		}
		buy := func(buyer string) (v seckill.Ticket, got bool) {
			v = ticket(sale.ID, buyer, rapid.IntRange(1, 3).Draw(r, "quantity"))
			if got = s.settle(v)[0] == placed; got {
				orders = append(orders, v)
			}
			return v, got
		}
		for range rapid.IntRange(5, 25).Draw(r, "steps") {
			if len(orders) == 0 {
				buy("b0")
				continue
			}
			v := orders[rapid.IntRange(0, len(orders)-1).Draw(r, "order")]
			amount, currency := int64(v.Quantity)*100, "CNY"
			switch rapid.IntRange(0, 12).Draw(r, "step") {
			case 0:
				if len(orders) < 5 {
					buy(fmt.Sprint("b", len(orders)))
				}
			case 1, 2, 3:
				ref := reference(v)
				switch rapid.IntRange(0, 8).Draw(r, "lie") {
				case 0:
					amount++
				case 1:
					currency = "USD"
				}
				if got := tell(seckill.Captured, v.ID, ref, amount, currency); took[ref].Captured == 0 && (got.Paid || got.Due || got.Aside || got.Late) {
					took[ref] = seckill.Money{Currency: currency, Captured: amount}
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
				// Told without being asked, maybe before the payment, maybe too much or of another.
				tell(seckill.GivenBack, v.ID, reference(v), rapid.Int64Range(1, amount+50).Draw(r, "back"), rapid.SampledFrom([]string{"CNY", "CNY", "USD"}).Draw(r, "currency"))
			case 10:
				tell(seckill.Failed, v.ID, reference(v), amount, currency)
			case 11: // of those that were put aside; any other is refused
				_, _ = s.Refund(t.Context(), seckill.RefundRequest{Order: v.ID, Payment: reference(v), By: "root"})
			case 12:
				if rapid.Bool().Draw(r, "released") {
					s.released()
				}
				late, err := s.LatePayments(t.Context(), seckill.PaymentCursor{}, 3)
				require.NoError(t, err)
				for _, p := range late {
					order := ""
					if w, got := buy(p.Buyer); got {
						order = w.ID
					}
					_, err := s.Retake(t.Context(), p, order, "no units")
					require.NoError(t, err)
				}
			}
			s.money(sale.ID)
		}
		// At rest each payment has one end.
		s.released()
		late, err := s.LatePayments(t.Context(), seckill.PaymentCursor{}, 100)
		require.NoError(t, err)
		for _, p := range late {
			_, err := s.Retake(t.Context(), p, "", "no units")
			require.NoError(t, err)
		}
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
		captured := map[string]int64{}
		for _, m := range took {
			captured[m.Currency] += m.Captured
		}
		for _, m := range s.money(sale.ID) {
			require.Equal(t, captured[m.Currency], m.Captured, "what the provider took is what we have")
			require.Zero(t, m.Due+m.Late)
			delete(captured, m.Currency)
		}
		require.Empty(t, captured)
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
				require.NotEqual(t, seckill.PaymentLate, p.State)
			}
			require.Equal(t, o.State == seckill.Paid, kept == 1, "%s has %d payments", o.State, kept)
			money, units := o.Holds()
			require.True(t, money >= 0 && units >= 0 && money <= o.Amount, "%+v", o)
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
	const (
		unpaid = iota
		paid
		late // it was cancelled, and its money came; its buyer has bought again
		starts
	)
	sale := s.retaking(seckill.MaxTotal)
	for i, a := range raced {
		for _, b := range raced[i:] {
			for round := range rounds {
				c := &race{shop: s, first: s.place(sale.ID, fmt.Sprint(a.name, b.name, round, rand.Int64()), 1)}
				c.now, c.reference = c.first, "r"+c.first.ID
				switch round % starts {
				case paid:
					s.become(seckill.Paid, c.first)
				case late:
					s.become(seckill.Cancelled, c.first)
					s.released()
					c.reference = "l" + c.first.ID
					require.True(t, s.captures("l"+c.first.ID, c.first.ID, c.reference, 100).Late)
					c.now = s.place(sale.ID, c.first.Buyer, 1)
				}
				var wg sync.WaitGroup
				wg.Go(func() { a.move(c) })
				wg.Go(func() { b.move(c) })
				wg.Wait()
				c.legal(t, a.name+" and "+b.name)
			}
		}
	}
	early, err := s.EarlyRefunds(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, early)
	s.money(sale.ID)
	s.unitsHold(t)
}

// race is one order in a race, or two: that whose money came late, and the one that its
// buyer has now.
type race struct {
	*shop
	first, now seckill.Ticket
	reference  string // of the payment that gives its money back
}

// raced is what is raced, each with each.
var raced = []struct {
	name string
	move func(c *race)
}{
	{"pay", func(c *race) { _, _ = c.Transition(c.t.Context(), c.now.ID, c.now.Buyer, seckill.Paid) }},
	{"told", func(c *race) { c.captures("e"+c.now.ID, c.now.ID, "r"+c.now.ID, 100) }},
	{"expire", func(c *race) { c.advance(61 * time.Second); _, _ = c.Expire(c.t.Context(), 100) }},
	{"cancel", func(c *race) { _, _ = c.Transition(c.t.Context(), c.now.ID, c.now.Buyer, seckill.Cancelled) }},
	{"refund", func(c *race) { _, _ = c.Transition(c.t.Context(), c.now.ID, "", seckill.Refunded) }},
	{"given back", func(c *race) { c.givesBack("b"+c.first.ID, c.first.ID, c.reference, 100) }},
	{"failed", func(c *race) { c.says(seckill.Failed, "f"+c.now.ID, c.now.ID, "CNY") }},
	{"currency", func(c *race) { c.says(seckill.Captured, "u"+c.now.ID, c.now.ID, "USD") }},
	{"aside", func(c *race) {
		c.says(seckill.Captured, "v"+c.now.ID, c.now.ID, "USD")
		_, _ = c.Refund(c.t.Context(), seckill.RefundRequest{Order: c.now.ID, Payment: "u" + c.now.ID, By: "root"})
	}},
	{"retake", func(c *race) {
		c.released()
		for _, p := range c.late(c.first) {
			_, _ = c.Retake(c.t.Context(), p, c.now.ID, "the buyer's other order is paid")
		}
	}},
}

// says tells of a payment "u" and the order.
func (c *race) says(kind seckill.CallbackType, event, order, currency string) {
	_, err := c.Receive(c.t.Context(), seckill.Callback{Provider: "shop", Event: event, Type: kind, Order: order, Reference: "u" + order, Amount: 100, Currency: currency, At: c.clock()})
	if err != nil {
		c.t.Error(err)
	}
}

// late lists the late payments of an order.
func (c *race) late(v seckill.Ticket) (all []seckill.Payment) {
	payments, err := c.Payments(c.t.Context(), seckill.PaymentFilter{Order: v.ID, State: seckill.PaymentLate, Max: 10})
	if err != nil {
		c.t.Error(err)
	}
	for _, p := range payments {
		p.Buyer = c.first.Buyer
		all = append(all, p)
	}
	return all
}

// legal demands that a paid order holds one payment, any other none, and that each payment
// which no order holds goes back, or was put aside.
func (c *race) legal(t *testing.T, what string) {
	t.Helper()
	for _, p := range append(c.late(c.first), c.late(c.now)...) { // what nobody has retaken
		_, err := c.Retake(t.Context(), p, "", "no units")
		require.NoError(t, err)
	}
	back := map[string]int64{}
	var all []seckill.Payment
	told := ""
	for _, id := range slices.Compact([]string{c.first.ID, c.now.ID}) {
		o, err := c.AnyOrder(t.Context(), id)
		require.NoError(t, err)
		payments, err := c.Payments(t.Context(), seckill.PaymentFilter{Order: id, Max: 10})
		require.NoError(t, err)
		refunds, err := c.RefundsOf(t.Context(), id)
		require.NoError(t, err)
		for _, f := range refunds {
			back[f.Reference] += f.Amount
		}
		kept := 0
		for _, p := range payments {
			if p.State == seckill.PaymentKept {
				kept++
			}
		}
		all = append(all, payments...)
		told += fmt.Sprintf("; %s with %d payments, %d kept, %d refunds", o.State, len(payments), kept, len(refunds))
		require.True(t, o.State == seckill.Paid && kept == 1 || o.State != seckill.Paid && kept == 0, what+told)
	}
	for _, p := range all {
		want := map[seckill.PaymentState]int64{seckill.PaymentReturned: p.Amount}[p.State]
		require.Equal(t, want, back[p.Reference], "%s%s: of %s, which is %s", what, told, p.Reference, p.State)
		require.NotEqual(t, seckill.PaymentLate, p.State)
	}
}
