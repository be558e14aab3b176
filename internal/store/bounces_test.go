package store

import (
	"errors"
	"fmt"
	"strings"
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
		{"a refund that came back is due for a person, in whatever order that is told", testBounces},
		{"a refund may be told by its payment, before and after the provider answers", testToldByThePayment},
		{"a refund that came back is told by its payment before one that is done", testToldAfterItCameBack},
		{"a refund that the shop made itself is not taken for one of as much that we asked for", testTheShopsOwnRefund},
		{"all that one refund at the provider had settled is due again when that comes back", testPartsComeBack},
	}...)
}

// What a provider says about a refund of 100 of one payment, in the order in which it comes:
// g is "given back", b "it came back", a the answer to our asking, h a person's transfer. The
// number is the provider's own id of it, or, of a shop that has none, when it happened.
func testBounces(t *testing.T, s *shop) {
	sale := s.open(100)
	n := 0
	for _, tt := range []struct {
		own    bool
		made   bool // at the provider, without being asked for
		told   string
		done   bool // else it is due, for a person
		alarms int
	}{
		{own: true, told: "g1", done: true},
		{own: true, told: "g1 b1", alarms: 1},
		{own: true, told: "b1 g1", alarms: 1},
		{own: true, told: "b1 a1", alarms: 1},
		{own: true, told: "a1 b1 g1", alarms: 1},
		{own: true, told: "g1 b1 g1 a1", alarms: 1},
		{own: true, told: "g1 b1 g2", done: true, alarms: 1},
		{own: true, told: "b1 g2 g1", done: true, alarms: 1},
		{own: true, told: "g2 b1 g1", done: true},
		{own: true, told: "h b1 g1", done: true},
		{own: true, told: "b1 h g1", done: true, alarms: 1},
		{own: true, made: true, told: "g1 b1", alarms: 1},
		{own: true, made: true, told: "b1 g1 g2", done: true, alarms: 2},
		{told: "g1 b2", alarms: 1},
		{told: "b2 g1", alarms: 1},
		{told: "b2 a", alarms: 1},
		{told: "a b2 g1", alarms: 1},
		{told: "g1 b2 g3", done: true, alarms: 1},
		{told: "b2 g3 g1 a", done: true, alarms: 1},
		{told: "g1 g3 b2", done: true},
		{told: "g3 b2 g1", done: true},
		{told: "b4 g3 b2 g1", alarms: 2},
		{told: "b4 h g3", done: true, alarms: 1},
	} {
		n++
		v := s.place(sale.ID, fmt.Sprint("b", n), 2)
		pay := fmt.Sprint("pay ", n)
		s.captures(fmt.Sprint("paid ", n), v.ID, pay, 200)
		id, alarms, half := "", 0, int64(100)
		if !tt.made {
			id = fmt.Sprint("refund ", n)
			_, err := s.Refund(t.Context(), seckill.RefundRequest{ID: id, Order: v.ID, Amount: &half, By: "root"})
			require.NoError(t, err)
		}
		for i, word := range strings.Fields(tt.told) {
			at := noon
			if len(word) > 1 {
				at = noon.Add(time.Duration(word[1]) * time.Second)
			}
			c := seckill.Callback{Provider: "shop", Event: fmt.Sprint(tt.told, n, i), Type: seckill.GivenBack, Order: v.ID, Reference: pay, Refund: id, Amount: half, Currency: "CNY", At: at}
			if tt.own {
				c.Own = fmt.Sprint("re ", n, word[1:])
			}
			switch word[0] {
			case 'a':
				require.NoError(t, s.RefundTried(t.Context(), seckill.Refund{ID: id, Order: v.ID, Provider: "shop", Given: c.Own}, true, 0, ""), tt.told)
				continue
			case 'h':
				_, err := s.RefundDone(t.Context(), id, "root", "a transfer")
				require.NoError(t, err)
				continue
			case 'b':
				c.Type = seckill.Bounced
			}
			r, err := s.Receive(t.Context(), c)
			require.NoError(t, err)
			require.False(t, r.Conflict, tt.told)
			if r.Undone {
				alarms++
			}
		}
		require.Equal(t, tt.alarms, alarms, "alarms of %q", tt.told)
		refunds, err := s.RefundsOf(t.Context(), v.ID)
		require.NoError(t, err)
		require.Len(t, refunds, 1, tt.told)
		require.Equal(t, tt.done, refunds[0].State == seckill.RefundDone, tt.told)
		if !tt.done {
			require.Contains(t, refunds[0].Error, "did not reach the buyer", tt.told)
			require.NoError(t, s.RefundTried(t.Context(), refunds[0], false, 0, "it was being asked for"))
			_, err = s.DueRefund(t.Context(), refunds[0].ID)
			require.ErrorIs(t, err, seckill.ErrNotFound, tt.told)
		}
		s.money(sale.ID)
	}
	due, err := s.DueRefunds(t.Context(), 100)
	require.NoError(t, err)
	require.Empty(t, due, "the provider is not asked again")
}

// A shop may tell of a refund that we asked for by the payment's reference (p, of a part of
// 100 of 200), answer our asking (a), or both, in any order. What is told once more changes
// nothing and is an alarm, and so is what a person has noted already (h): it may be the same.
func testToldByThePayment(t *testing.T, s *shop) {
	sale := s.open(100)
	for told, alarms := range map[string]int{"a p": 0, "p a": 0, "a p p": 1, "p p": 1, "p a p": 1, "h p": 1, "i p": 1, "p i": 0, "a p i": 0} {
		v := s.place(sale.ID, "buyer "+told, 2)
		pay, id, half := "pay "+told, "refund "+told, int64(100)
		s.captures("paid "+told, v.ID, pay, 200)
		_, err := s.Refund(t.Context(), seckill.RefundRequest{ID: id, Order: v.ID, Amount: &half, By: "root"})
		require.NoError(t, err)
		due, err := s.DueRefunds(t.Context(), 1)
		require.NoError(t, err)
		heard := 0
		for i, word := range strings.Fields(told) {
			var r seckill.Received
			switch word {
			case "p":
				r = s.givesBack(fmt.Sprint(told, i), v.ID, pay, half)
			case "i":
				r = s.givesBack(fmt.Sprint(told, i), v.ID, id, half)
			case "a":
				due[0].Given = id
				require.NoError(t, s.RefundTried(t.Context(), due[0], true, 0, ""), told)
			case "h":
				_, err := s.RefundDone(t.Context(), id, "root", "a transfer")
				require.NoError(t, err)
			}
			if r.Conflict {
				heard++
			}
		}
		require.Equal(t, alarms, heard, told)
		refunds, err := s.RefundsOf(t.Context(), v.ID)
		require.NoError(t, err)
		require.Len(t, refunds, 1, told)
		require.Equal(t, seckill.RefundDone, refunds[0].State, told)
		o, err := s.AnyOrder(t.Context(), v.ID)
		require.NoError(t, err)
		require.Equal(t, []any{seckill.Paid, half}, []any{o.State, o.RefundedAmount}, told)
	}
	s.money(sale.ID)
}

// The shop gave two refunds of 100 back by answering (a), and one of them came back (b). It
// gives that one back another way and tells of it by the payment's reference (p): nothing is
// due any more. One told (p) from before it came back is not the word for it.
func testToldAfterItCameBack(t *testing.T, s *shop) {
	sale := s.open(100)
	for at, left := range map[int]int{3: 0, 1: 1} {
		v := s.place(sale.ID, fmt.Sprint("buyer ", at), 2)
		pay, half := "pay "+v.ID, int64(100)
		s.captures("paid "+v.ID, v.ID, pay, 200)
		for i := range 2 {
			f := seckill.Refund{ID: fmt.Sprint("r", i, v.ID), Order: v.ID, Provider: "shop"}
			_, err := s.Refund(t.Context(), seckill.RefundRequest{ID: f.ID, Order: v.ID, Amount: &half, By: "root"})
			require.NoError(t, err)
			require.NoError(t, s.RefundTried(t.Context(), f, true, 0, ""))
		}
		tell := func(kind seckill.CallbackType, reference string, second int) seckill.Received {
			r, err := s.Receive(t.Context(), seckill.Callback{Provider: "shop", Event: string(kind) + v.ID, Type: kind, Order: v.ID, Reference: reference, Amount: half, Currency: "CNY", At: noon.Add(time.Duration(second) * time.Second)})
			require.NoError(t, err)
			return r
		}
		require.True(t, tell(seckill.Bounced, "r1"+v.ID, 2).Undone)
		require.False(t, tell(seckill.GivenBack, pay, at).Conflict)
		refunds, err := s.RefundsOf(t.Context(), v.ID)
		require.NoError(t, err)
		require.Len(t, refunds, 2)
		due := 0
		for _, f := range refunds {
			if f.State == seckill.RefundDue {
				due++
			}
		}
		require.Equal(t, left, due, "told at %d", at)
	}
	s.money(sale.ID)
}

// The shop gives half of a payment back in its own system and tells of that with its own id
// (o), beside a refund of as much that we asked for, which it answers (a) or tells of by our
// id (i) or the payment's (p). Both are entered; while ours is due it is settled by the shop's
// own, so ours is once too much, which is an alarm.
func testTheShopsOwnRefund(t *testing.T, s *shop) {
	sale := s.open(100)
	for told, alarms := range map[string]int{"a o": 0, "a i o": 0, "p o": 0, "a p o": 0, "o i": 1, "o a": 1} {
		v := s.place(sale.ID, "buyer "+told, 2)
		pay, id, half := "pay "+told, "refund "+told, int64(100)
		s.captures("paid "+told, v.ID, pay, 200)
		_, err := s.Refund(t.Context(), seckill.RefundRequest{ID: id, Order: v.ID, Amount: &half, By: "root"})
		require.NoError(t, err)
		heard := 0
		for i, word := range strings.Fields(told) {
			c := seckill.Callback{Provider: "shop", Event: fmt.Sprint(told, i), Type: seckill.GivenBack, Order: v.ID, Reference: pay, Amount: half, Currency: "CNY", At: s.clock()}
			switch word {
			case "a":
				err := s.RefundTried(t.Context(), seckill.Refund{ID: id, Order: v.ID, Provider: "shop"}, true, 0, "")
				if errors.Is(err, seckill.ErrState) {
					heard++
				} else {
					require.NoError(t, err, told)
				}
				continue
			case "i":
				c.Refund = id
			case "o":
				c.Refund = "own of " + told
			}
			r, err := s.Receive(t.Context(), c)
			require.NoError(t, err)
			if r.Conflict {
				heard++
			}
		}
		require.Equal(t, alarms, heard, told)
		o, err := s.AnyOrder(t.Context(), v.ID)
		require.NoError(t, err)
		require.Equal(t, alarms == 0, o.State == seckill.Refunded, told)
	}
	s.money(sale.ID)
}

// A refund at the provider that settled two of ours and was more than that comes back: all
// of it is due again.
func testPartsComeBack(t *testing.T, s *shop) {
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 3)
	s.captures("e1", v.ID, "pay", 300)
	tell := func(event string, kind seckill.CallbackType) seckill.Received {
		r, err := s.Receive(t.Context(), seckill.Callback{Provider: "shop", Event: event, Type: kind, Order: v.ID, Reference: "pay", Own: "re", Amount: 250, Currency: "CNY", At: noon})
		require.NoError(t, err)
		return r
	}
	hundred := int64(100)
	for i := range 2 {
		_, err := s.Refund(t.Context(), seckill.RefundRequest{ID: fmt.Sprint("r", i), Order: v.ID, Amount: &hundred, By: "root"})
		require.NoError(t, err)
	}
	tell("given", seckill.GivenBack)
	before := s.money(sale.ID)
	require.EqualValues(t, 250, before[0].Refunded)
	require.True(t, tell("back", seckill.Bounced).Undone)
	after := s.money(sale.ID)
	require.Zero(t, after[0].Refunded)
	require.Equal(t, before[0].Due+250, after[0].Due)
}
