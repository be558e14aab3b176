package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// turn asks for a change of an order, by its owner or, to refund, by an
// administrator.
func (s *system) turn(buyer, order, change string) *answer {
	s.t.Helper()
	if change == "refund" {
		return s.admin("POST", "/api/admin/orders/"+order+"/refund", "")
	}
	return s.as(buyer, "POST", "/api/orders/"+order+"/"+change, "")
}

// Every change in every state. The state before is reached through the changes
// listed; "expire" lets the time to pay pass.
func TestEveryChangeOfAnOrder(t *testing.T) {
	t.Parallel()
	for state, c := range map[seckill.OrderState]struct {
		by      []string
		becomes map[string]seckill.OrderState // the others are 409 state
	}{
		seckill.Unpaid:    {nil, map[string]seckill.OrderState{"pay": seckill.Paid, "cancel": seckill.Cancelled}},
		seckill.Paid:      {[]string{"pay"}, map[string]seckill.OrderState{"pay": seckill.Paid, "refund": seckill.Refunded}},
		seckill.Cancelled: {[]string{"cancel"}, map[string]seckill.OrderState{"cancel": seckill.Cancelled}},
		seckill.Expired:   {[]string{"expire"}, nil},
		seckill.Refunded:  {[]string{"pay", "refund"}, map[string]seckill.OrderState{"refund": seckill.Refunded}},
	} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				hold := theHold
				if len(c.by) > 0 && c.by[0] == "expire" {
					hold = 20 * time.Second
				}
				id := s.create(saleBody{"hold_seconds": hold.Seconds()}).ID
				for _, change := range []string{"pay", "cancel", "refund"} {
					buyer := "buyer who wants to " + change
					order := s.bought(buyer, id, 1)
					for _, by := range c.by {
						if by == "expire" {
							pass(hold)
							require.Eventually(t, func() bool { return s.orderOf(buyer, order).State == seckill.Expired }, 20*time.Second, time.Millisecond)
							continue
						}
						s.turn(buyer, order, by).is(200)
					}
					require.Equal(t, state, s.orderOf(buyer, order).State)
					becomes, possible := c.becomes[change]
					for repeat := range 2 {
						pass(10 * time.Second) // units that were on their way are back
						before := s.world()
						a := s.turn(buyer, order, change)
						if !possible || becomes == state || repeat > 0 {
							s.still(before)
						}
						if !possible {
							a.problem(409, "state")
							require.Equal(t, state, s.orderOf(buyer, order).State)
							continue
						}
						var o seckill.Order
						a.is(200).into(&o)
						require.Equal(t, becomes, o.State, "time %d", repeat)
						o.Buyer = ""
						require.Equal(t, o, s.orderOf(buyer, order))
					}
				}
			})
		})
	}
}

func TestTheTimeToPay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		id := s.create(saleBody{"hold_seconds": 10}).ID
		inTime, late := s.bought("in time", id, 1), s.bought("late", id, 1)
		pass(time.Until(s.orderOf("in time", inTime).ExpiresAt) - time.Millisecond)
		s.turn("in time", inTime, "pay").is(200)
		pass(time.Until(s.orderOf("late", late).ExpiresAt))
		s.turn("late", late, "pay").problem(409, "state")
		pass(time.Minute)
		require.Equal(t, seckill.Paid, s.orderOf("in time", inTime).State, "what is paid does not expire")
		require.Equal(t, seckill.Expired, s.orderOf("late", late).State)
	})
}

func TestUnitsOfAnEndedOrderReturnOnceAndTheBuyerMayBuyAgain(t *testing.T) {
	t.Parallel()
	for end, changes := range map[string][]string{"cancelled": {"cancel"}, "refunded": {"pay", "refund"}, "expired": nil} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				hold := theHold
				if end == "expired" {
					hold = 30 * time.Second // and the second order has more than the 20 that pass below
				}
				id := s.create(saleBody{"total": 5, "hold_seconds": hold.Seconds()}).ID
				first := s.bought(otherName, id, 3)
				s.atTheGate(id, 2)
				for _, change := range changes {
					s.turn(otherName, first, change).is(200)
				}
				if end == "expired" {
					pass(hold)
				}
				s.atTheGate(id, 5)
				for _, change := range changes[max(0, len(changes)-1):] {
					s.turn(otherName, first, change).is(200)
				}
				pass(10 * time.Second)
				s.atTheGate(id, 5)
				second := s.bought(otherName, id, 2)
				require.NotEqual(t, first, second)
				require.Equal(t, seckill.OrderState(end), s.orderOf(otherName, first).State)
				require.Equal(t, seckill.Unpaid, s.orderOf(otherName, second).State)
				pass(10 * time.Second)
				require.JSONEq(t, `{"ok":true,"total":5,"gate":3,"pending":0,"active":2,"returning":0,"violations":[]}`, s.audit(id))
			})
		})
	}
}

// audit is what the audit says of a sale's units.
func (s *system) audit(id seckill.SaleID) string {
	s.t.Helper()
	units := map[string]any{}
	s.admin("GET", "/api/admin/sales/"+id.String()+"/audit", "").is(200).into(&units)
	delete(units, "money")
	b, err := json.Marshal(units)
	require.NoError(s.t, err)
	return string(b)
}

// Where a buyer's word pays, the money stands in the ledger like anybody's.
func TestABuyersWordStandsInTheLedger(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.turn(ownerName, s.order, "pay").is(200)
	require.Equal(t, []string{"order.placed", "payment.captured", "order.paid"}, s.whole(s.order).told())
}

func TestOrdersAreReadByTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	require.JSONEq(t, `{"items":[]}`, string(s.as(otherName, "GET", "/api/orders", "").is(200).body))
	s.as(otherName, "GET", "/api/orders/"+s.order, "").problem(404, "not_found")
	s.admin("GET", "/api/orders/"+s.order, "").problem(404, "not_found") // not even they: they have other means
	a := s.as(ownerName, "GET", "/api/orders/"+s.order, "").is(200)
	require.NotContains(t, string(a.body), "buyer")
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
}

// pages reads a whole list by its cursors.
func pages[T any](s *system, c call, limit int) (all [][]T) {
	s.t.Helper()
	for cursor := ""; ; {
		page := c
		more := "?"
		if strings.Contains(c.path, "?") {
			more = "&"
		}
		page.path += more + fmt.Sprintf("limit=%d&cursor=%s", limit, url.QueryEscape(cursor))
		var l list[T]
		s.do(page).is(200).into(&l)
		all = append(all, l.Items)
		require.Less(s.t, len(all), 100, "the list has no end")
		if cursor = l.Next; cursor == "" {
			return all
		}
	}
}

func TestListsComeInPages(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var orders, sales []string
	// They open at one moment, however long it takes to make them: what is sold out first
	// is estimated from the time since the opening.
	for range 5 {
		id := s.create(saleBody{"opens_at": s.open.OpensAt, "closes_at": s.open.ClosesAt}).ID
		sales = append([]string{id.String()}, sales...)
		orders = append([]string{s.bought(otherName, id, 1)}, orders...)
	}
	for _, v := range []seckill.Sale{s.soldOut, s.paused, s.ended, s.scheduled, s.open} {
		sales = append(sales, v.ID.String())
	}
	// What is open comes first, then what is to come, then what is over.
	matter := []string{"6", "7", "8", "9", "10", s.open.ID.String(), s.paused.ID.String(), s.scheduled.ID.String(), s.soldOut.ID.String(), s.ended.ID.String()}
	lists := map[string]struct {
		call call
		want []string
	}{
		"orders":      {call{method: "GET", path: "/api/orders", token: token(t, otherName, "")}, orders},
		"sales":       {call{method: "GET", path: "/api/sales"}, matter},
		"admin sales": {call{method: "GET", path: "/api/admin/sales", token: token(t, adminName, seckill.RoleAdmin)}, sales},
	}
	for name, l := range lists {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			for _, limit := range []int{1, 2, 5, len(l.want) - 1, len(l.want), len(l.want) + 1, 100} {
				var got []string
				all := pages[struct{ ID string }](s, l.call, limit)
				for i, page := range all {
					if i < len(all)-1 {
						require.Len(t, page, limit, "a page before the last one is full")
					}
					for _, item := range page {
						got = append(got, item.ID)
					}
				}
				require.Equal(t, l.want, got, "in the list's order, each once, in pages of %d", limit)
				require.Len(t, all, (len(l.want)+limit-1)/limit, "and no empty page at the end")
			}
			var v map[string]json.RawMessage
			s.do(l.call).is(200).into(&v)
			require.NotContains(t, v, "next")
		})
	}
}

func TestAListHas20ItemsUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for range 18 {
		s.create(nil)
	}
	var l list[seckill.Sale]
	s.anybody("GET", "/api/sales", "").is(200).into(&l)
	require.Len(t, l.Items, 20)
	require.NotEmpty(t, l.Next)
}

// ordersOf is money whose orders are these.
type ordersOf struct {
	Money
	orders []seckill.Order
}

func (o ordersOf) AllOrders(context.Context, seckill.OrderFilter) ([]seckill.Order, error) {
	return o.orders, nil
}

// Who opens the export in a spreadsheet must not read 9,900 yen as 99, nor 99 yuan as 9,900.
func TestTheExportOfOrdersHasTheDigitsOfEachCurrency(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	of := func(currency string, amount, refunded int64) seckill.Order {
		return seckill.Order{ID: s.order, Sale: 1, Buyer: ownerName, Quantity: 1, Amount: amount, Currency: currency, State: seckill.Paid, RefundedAmount: refunded}
	}
	s.api.Money = ordersOf{s.api.Money, []seckill.Order{of("CNY", 9900, 150), of("JPY", 9900, 150), of("KWD", 9900, 150)}}
	c := call{method: "GET", path: "/api/admin/orders", token: token(t, "sam", seckill.RoleSupport), header: []string{"Accept", "text/csv"}}
	rows, err := csv.NewReader(bytes.NewReader(s.do(c).is(200).body)).ReadAll()
	require.NoError(t, err)
	at := func(row int, column string) string { return rows[row][slices.Index(rows[0], column)] }
	for row, want := range map[int][2]string{1: {"99.00", "1.50"}, 2: {"9900", "150"}, 3: {"9.900", "0.150"}} {
		require.Equal(t, want, [2]string{at(row, "amount_decimal"), at(row, "refunded_decimal")})
		require.Equal(t, "9900", at(row, "amount"), "minor units, as ever")
		require.Equal(t, "150", at(row, "refunded_amount"))
	}
}
