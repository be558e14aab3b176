package store

import (
	"cmp"
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
	"seckill/internal/stack/stacktest"
)

// testMoneyModel plays random histories of one sale, with a provider that repeats,
// reorders, lies, takes other currencies and takes back what it said of refunds, and holds
// the money, the units and each payment's end against what may be.
func testMoneyModel(t *testing.T, s *shop) {
	rapid.Check(t, func(r *rapid.T) {
		sale := s.open(20)
		if rapid.Bool().Draw(r, "retake") {
			sale = s.retaking(20)
		}
		var orders []seckill.Ticket
		took := map[string]seckill.Money{} // what the provider says it took, by reference
		event := 0
		told := words{}
		say := func(c seckill.Callback) seckill.Received {
			event++
			c.Provider, c.Event = "shop", fmt.Sprintf("e-%s-%d", sale.ID, event)
			c.At = s.clock().Add(time.Duration(rapid.IntRange(-60, 60).Draw(r, "when"))*time.Second + time.Duration(event)*time.Millisecond)
			got, err := s.Receive(t.Context(), c)
			require.NoError(t, err)
			if !got.Conflict {
				told.note(c)
			}
			return got
		}
		tell := func(kind seckill.CallbackType, order, reference string, amount int64, currency string) seckill.Received {
			return say(seckill.Callback{Type: kind, Order: order, Reference: reference, Amount: amount, Currency: currency})
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
			switch rapid.IntRange(0, 14).Draw(r, "step") {
			case 13: // of one of ours, by its id, in any order
				refunds, err := s.RefundsOf(t.Context(), v.ID)
				require.NoError(t, err)
				if len(refunds) > 0 {
					f := refunds[rapid.IntRange(0, len(refunds)-1).Draw(r, "refund")]
					if f.Amount > 0 {
						say(seckill.Callback{Type: rapid.SampledFrom([]seckill.CallbackType{seckill.GivenBack, seckill.Bounced}).Draw(r, "word"), Order: v.ID, Reference: f.Reference, Refund: f.ID, Amount: f.Amount, Currency: f.Currency})
					}
				}
			case 14: // of one of the provider's own, in any order
				amount := rapid.SampledFrom([]int64{50, 100}).Draw(r, "back")
				ref := reference(v)
				say(seckill.Callback{Type: rapid.SampledFrom([]seckill.CallbackType{seckill.GivenBack, seckill.Bounced}).Draw(r, "word"), Order: v.ID, Reference: ref, Own: fmt.Sprint("own ", ref, amount), Amount: amount, Currency: "CNY"})

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
		for _, v := range orders {
			refunds, err := s.RefundsOf(t.Context(), v.ID)
			require.NoError(t, err)
			for _, f := range refunds {
				told.holds(t, f)
			}
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
		for _, v := range orders { // what came back a person gives back
			refunds, err := s.RefundsOf(t.Context(), v.ID)
			require.NoError(t, err)
			for _, f := range refunds {
				if f.State == seckill.RefundDue {
					require.True(t, told.back[f.ID] > 0 || f.Error != "", "%+v is not asked for", f)
					_, err := s.RefundDone(t.Context(), f.ID, "root", "a transfer")
					require.NoError(t, err)
				}
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

// words are what a provider said of refunds: when it last said that one was given back, or
// came back, by our id, its own or the payment's reference.
type words struct{ given, back map[string]int64 }

func (w *words) note(c seckill.Callback) {
	if w.given == nil {
		w.given, w.back = map[string]int64{}, map[string]int64{}
	}
	to := w.given
	if c.Type == seckill.Bounced {
		to = w.back
	} else if c.Type != seckill.GivenBack {
		return
	}
	name := cmp.Or(c.Own, c.Refund, c.Reference)
	to[name] = max(to[name], ms(c.At))
}

// holds demands that the provider's last word of a refund counts, in whatever order its words
// came.
func (w *words) holds(t *testing.T, f seckill.Refund) {
	t.Helper()
	given, back := w.given[f.ID], w.back[f.ID]
	if given > back {
		require.Equal(t, seckill.RefundDone, f.State, "%+v: given back at %d, came back at %d", f, given, back)
	}
	switch {
	case f.State != seckill.RefundDone:
	case f.Given == f.ID: // without an id of the provider's own
		require.LessOrEqual(t, back, max(given, w.given[f.Reference]), "%+v: it came back last", f)
	default:
		require.Zero(t, w.back[f.Given], "%+v: what it was given back as came back", f)
	}
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

// testMoneyRaces lets two things happen to an order at the same moment: to an unpaid one, to a
// paid one and to one whose money came late, in turn.
func testMoneyRaces(t *testing.T, s *shop) {
	const (
		unpaid = iota
		paid
		late // it was cancelled, and its money came; its buyer has bought again
		starts
	)
	rounds := cmp.Or(*races, starts)
	lots := rand.New(rand.NewPCG(stacktest.Seed(t), 0))
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
				first, second := a.move, b.move
				if lots.IntN(2) == 0 {
					first, second = second, first
				}
				var wg sync.WaitGroup
				wg.Go(func() { first(c) })
				wg.Go(func() { second(c) })
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
	{"refund", func(c *race) { c.refunds(seckill.GivenBack, noon) }},
	{"bounced", func(c *race) { c.refunds(seckill.Bounced, noon.Add(time.Hour)) }},
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

// refunds gives the order back, and tells what became of its refunds.
func (c *race) refunds(kind seckill.CallbackType, at time.Time) {
	_, _ = c.Transition(c.t.Context(), c.now.ID, "", seckill.Refunded)
	all, err := c.RefundsOf(c.t.Context(), c.now.ID)
	if err != nil {
		c.t.Error(err)
	}
	for _, f := range all {
		_, err := c.Receive(c.t.Context(), seckill.Callback{Provider: f.Provider, Event: string(kind) + " " + f.ID, Type: kind, Order: f.Order, Reference: f.ID, Amount: f.Amount, Currency: f.Currency, At: at})
		if err != nil {
			c.t.Error(err)
		}
	}
}

func (c *race) cameBack(f seckill.Refund) (back bool) {
	err := c.ask(c.t.Context(), "bounces", func(t *tx) (err error) {
		back, err = t.cameBack(c.t.Context(), f.Provider, f.ID, time.Time{})
		return err
	})
	require.NoError(c.t, err)
	return back
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
			require.True(t, f.State == seckill.RefundDue || !c.cameBack(f), "%s: %+v came back last", what, f)
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
