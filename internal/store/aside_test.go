package store

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// Rules of access that cannot be read close their sale and stop nothing else: all sales
// are listed, their orders go on, and the rules stay as they are until others are set.
func testRulesThatCannotBeRead(t *testing.T, s *Store) {
	ctx := t.Context()
	var aside []string
	s.settings.Aside = func(table, id string, why error) { aside = append(aside, table+" "+id) }
	good, bad := aSale(t, s, 10), aSale(t, s, 10)
	ruled := seckill.Access{TriesPerBuyer: 2}
	_, err := s.UpdateSale(ctx, good.ID, func(sale *seckill.Sale) error { sale.Access = ruled; return nil })
	require.NoError(t, err)
	for _, text := range []string{`{"pass":tru`, `{"pass":"yes"}`, `{"challenge":"riddle"}`, `[]`} {
		aside = nil
		_, err := s.w.ExecContext(ctx, "UPDATE sales SET access = ? WHERE id = ?", text, bad.ID)
		require.NoError(t, err)
		for range 2 {
			sales, err := s.Sales(ctx, 0, 10)
			require.NoError(t, err)
			require.Len(t, sales, 2)
			require.True(t, sales[0].Unreadable)
			require.Equal(t, ruled, sales[1].Access)
			rules, err := s.AccessRules(ctx, time.Hour)
			require.NoError(t, err)
			require.Equal(t, map[seckill.SaleID]seckill.Access{good.ID: ruled, bad.ID: {Unreadable: true}}, rules)
		}
		require.Equal(t, []string{"sales " + bad.ID.String()}, aside, "once on each node")
		// An order of the sale ends like any other, and counts as a try: nobody knows whether it may.
		o := mustSettle(t, s, someTickets(bad.ID, 1)...)[0]
		require.True(t, o.Placed())
		_, err = s.Transition(ctx, o.Ticket.ID, o.Ticket.Buyer, seckill.Cancelled)
		require.NoError(t, err)
		_, err = s.Snapshot(ctx, []seckill.SaleID{good.ID, bad.ID}, nil)
		require.NoError(t, err)

		sale, err := s.UpdateSale(ctx, bad.ID, func(sale *seckill.Sale) error { sale.Title = "Another"; return nil })
		require.NoError(t, err)
		require.True(t, sale.Unreadable)
		var kept string
		require.NoError(t, s.w.QueryRowContext(ctx, "SELECT access FROM sales WHERE id = ?", bad.ID).Scan(&kept))
		require.Equal(t, text, kept)
	}
	sale, err := s.UpdateSale(ctx, bad.ID, func(sale *seckill.Sale) error { sale.Access = seckill.Access{}; return nil })
	require.NoError(t, err)
	require.False(t, sale.Unreadable)
	read, err := s.Sale(ctx, bad.ID)
	require.NoError(t, err)
	require.Equal(t, seckill.Access{}, read.Access)
}

// A row that cannot be read is left out of its list, with an alarm, wherever it stands;
// a page behind which there are more stays full.
func testRowsThatCannotBeRead(t *testing.T, s *Store) {
	ctx := t.Context()
	aside := map[string]int{}
	s.settings.Aside = func(table, id string, why error) {
		require.NotEmpty(t, id)
		aside[table]++
	}
	exec := func(q string, args ...any) {
		t.Helper()
		_, err := s.w.ExecContext(ctx, q, args...)
		require.NoError(t, err, q)
	}
	oldest := aSale(t, s, 10)
	middle, newest := aSale(t, s, 10), aSale(t, s, 10)
	exec("UPDATE sales SET paused = 7 WHERE id = ?", newest.ID)
	exec("UPDATE sales SET ended = 7 WHERE id = ?", middle.ID)
	for range 2 {
		sales, err := s.Sales(ctx, 0, 1)
		require.NoError(t, err)
		require.Len(t, sales, 1, "the newest that can be read")
		require.Equal(t, oldest.ID, sales[0].ID)
	}
	last, err := s.NewestSale(ctx)
	require.NoError(t, err)
	require.Equal(t, newest.ID, last, "the highest id is that of a sale, whether or not it can be read")
	uses := "SEARCH sales"
	if s.dialect.name == "mysql" {
		uses = "optimized away"
	}
	require.Contains(t, plan(t, s, newestSale), uses, "buyers ask for it: by the primary key, not by all rows")
	_, err = s.Sale(ctx, newest.ID)
	require.Error(t, err, "who asks for it hears of it")
	unapplied, err := s.Unapplied(ctx)
	require.NoError(t, err)
	require.Len(t, unapplied, 1)

	for _, name := range []string{"ann", "bob", "cid"} {
		require.NoError(t, s.CreateAccount(ctx, seckill.Account{Name: name, Buyer: "buyer " + name, Role: seckill.RoleAdmin, Hash: "x", CreatedAt: time.Now()}))
		_, err := s.UpdateAccount(ctx, name, func(a *seckill.Account) error { a.Generation++; return nil })
		require.NoError(t, err)
	}
	exec("UPDATE standings SET confirmed = 7 WHERE buyer = 'buyer ann'")
	people, err := s.Accounts(ctx, seckill.AccountFilter{Max: 2})
	require.NoError(t, err)
	require.Len(t, people, 2)
	require.Equal(t, "cid", people[1].Name)

	for i, body := range []string{"no json", "", `{"v":1}`} {
		id := seckill.NewTicketID(time.Now())
		exec(`INSERT INTO webhook_deliveries (receiver, event, type, order_id, at, body, state, tries, since, next_at, tried_at, status, error)
			VALUES ('shop', ?, 'order.paid', ?, 1, ?, 'waiting', 0, 1, ?, 0, 0, '')`, id+"-1", id, body, i)
	}
	due, err := s.DueDeliveries(ctx, "shop", 1)
	require.NoError(t, err)
	require.Len(t, due, 1, "those that hold no event keep no other waiting")
	require.Equal(t, `{"v":1}`, string(due[0].Body))
	told, err := s.Deliveries(ctx, seckill.DeliveryFilter{Receiver: "shop", Max: 10})
	require.NoError(t, err)
	require.Len(t, told, 1)

	require.NoError(t, s.Log(ctx, seckill.LogEntry{At: time.Now(), Actor: seckill.Actor{Who: "root", What: seckill.LogLogin}, Result: seckill.LogDone}))
	exec("UPDATE admin_log SET was = '{\"half'")
	entries, err := s.LogEntries(ctx, seckill.LogFilter{Max: 10})
	require.NoError(t, err)
	_, err = json.Marshal(entries)
	require.NoError(t, err, "or nobody could read the log")
	require.JSONEq(t, `"{\"half"`, string(entries[0].Before))

	outcomes := mustSettle(t, s, someTickets(oldest.ID, 2)...)
	for i, o := range outcomes {
		exec(`INSERT INTO refunds (id, order_id, sale, provider, reference, amount, currency, units, restock, held, reason, who, state, made_at)
			VALUES (?, ?, ?, 'shop', ?, 1, 'CNY', 1, ?, 1, '', '', 'due', 1)`, fmt.Sprint("refund ", i), o.Ticket.ID, oldest.ID, o.Ticket.ID, 7*(1-i))
	}
	refunds, err := s.DueRefunds(ctx, 1)
	require.NoError(t, err)
	require.Len(t, refunds, 1)
	require.Equal(t, map[string]int{"sales": 2, "accounts": 1, "webhook_deliveries": 2, "refunds": 1}, aside)
}

// A sale whose row has a number that no gate can hold is like one that cannot be read: its
// tickets wait before they are settled, with one alarm, and all other sales go on.
func testNumbersThatNoGateCanHold(t *testing.T, s *Store) {
	ctx := t.Context()
	aside := 0
	s.settings.Aside = func(table, id string, why error) { aside++ }
	good, bad := aSale(t, s, 100), aSale(t, s, 100)
	forged := mustSettle(t, s, someTickets(good.ID, 1)...)[0].Ticket
	exec := func(q string, args ...any) {
		t.Helper()
		_, err := s.w.ExecContext(ctx, q, args...)
		require.NoError(t, err, q)
	}
	for _, row := range []struct {
		column    string
		is, right int64
	}{
		{"seq", 9007199254740993000, 0}, // what v0.1.0 took from a message
		{"seq", seckill.LastSeq + 1, 0}, {"seq", -1, 0},
		{"version", seckill.MaxSeq + 1, 1}, {"version", -1, 1},
		{"epoch", math.MaxInt64, 0}, {"epoch", -2, 0},
		{"limit_per_buyer", -1, 5}, {"limit_per_buyer", 0, 5}, {"limit_per_buyer", seckill.MaxQuantity + 1, 5},
		{"total", seckill.MaxTotal + 1, 100},
		{"opens_at", math.MaxInt64, ms(bad.OpensAt)}, {"opens_at", -1, ms(bad.OpensAt)},
		{"closes_at", math.MaxInt64, ms(bad.ClosesAt)}, {"closes_at", math.MinInt64, ms(bad.ClosesAt)},
		{"paused", 7, 0}, {"ended", 7, 0},
	} {
		what, aside0 := fmt.Sprint(row.column, " is ", row.is), aside
		exec("UPDATE sales SET "+row.column+" = ? WHERE id = ?", row.is, bad.ID)
		both := slices.Concat(someTickets(bad.ID, 1), someTickets(good.ID, 1))
		for range 2 {
			_, err := s.Settle(ctx, both)
			id, is := DamagedSale(err)
			require.True(t, is, "%s: %v", what, err)
			require.Equal(t, bad.ID, id, what)
			_, err = s.Refuse(ctx, both[0], seckill.ReasonPoison)
			_, is = DamagedSale(err)
			require.True(t, is, "%s: %v", what, err)
		}
		require.Equal(t, aside0+1, aside, what)
		require.True(t, mustSettle(t, s, both[1])[0].Placed(), what)
		sales, err := s.Sales(ctx, 0, 10)
		require.NoError(t, err, what)
		require.Len(t, sales, 1, what)
		require.Equal(t, good.ID, sales[0].ID, what)
		_, err = s.Snapshot(ctx, []seckill.SaleID{bad.ID}, nil)
		require.Error(t, err, what)
		exec("UPDATE sales SET "+row.column+" = ? WHERE id = ?", row.right, bad.ID)
		require.True(t, mustSettle(t, s, both[0])[0].Placed(), what)
	}
	// An order with such a number keeps its buyer's place at the gate.
	exec("UPDATE tickets SET seq = 9007199254740993000 WHERE id = ?", forged.ID)
	all, err := s.Snapshot(ctx, []seckill.SaleID{good.ID}, nil)
	require.NoError(t, err)
	i := slices.IndexFunc(all[0].Active, func(t seckill.Ticket) bool { return t.ID == forged.ID })
	require.GreaterOrEqual(t, i, 0)
	require.EqualValues(t, seckill.MaxSeq, all[0].Active[i].Seq)
}
