package store

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func testBalance(t *testing.T, s *shop) {
	ctx := t.Context()
	sale := s.open(20)
	paid, part, gone, unpaid, late := ticket(sale.ID, "ann", 2), ticket(sale.ID, "bob", 3), ticket(sale.ID, "cid", 1), ticket(sale.ID, "dan", 4), ticket(sale.ID, "fay", 1)
	s.settle(paid, part, gone, unpaid, late)
	s.become(seckill.Paid, paid)
	s.become(seckill.Paid, part)
	s.become(seckill.Cancelled, gone)
	one := 1
	_, err := s.Refund(ctx, seckill.RefundRequest{ID: "a part", Order: part.ID, Units: &one, Restock: true, By: "root"})
	require.NoError(t, err)
	waits := ticket(sale.ID, "eve", 5)
	w, err := s.Weigh(ctx, sale.ID, unpaid.Seq, []seckill.Ticket{waits, paid})
	require.NoError(t, err)
	require.EqualValues(t, 9, w.Sale.Sold)
	require.Equal(t, []int64{5, 4, 8, 2, 0}, []int64{w.Unpaid, w.Paid, w.Settled, w.Returning, w.Growing}, "the last order has a number beyond the cut, and a part has come back")
	require.Equal(t, []int64{2, 2}, []int64{w.UnpaidOrders, w.PaidOrders})
	require.Equal(t, map[string]seckill.Reason{paid.ID: seckill.ReasonNone}, w.Outcomes)
	require.Empty(t, w.Stray)
	_, err = s.Weigh(ctx, 999, 0, nil)
	require.ErrorIs(t, err, seckill.ErrNotFound)

	var buyers []string
	for from := ""; ; {
		page, err := s.ActiveAfter(ctx, sale.ID, from, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			buyers = append(buyers, o.Buyer)
		}
		from = page[len(page)-1].Buyer
	}
	require.Equal(t, []string{"ann", "bob", "dan", "fay"}, buyers, "each active order once, page by page")

	some, err := s.ActiveOf(ctx, sale.ID, []string{"bob", "cid", "dan"})
	require.NoError(t, err)
	require.Len(t, some, 2, "the order of one has ended")
	require.ElementsMatch(t, []string{part.ID, unpaid.ID}, []string{some[0].ID, some[1].ID})

	fates, err := s.Fates(ctx, []string{paid.ID, gone.ID, waits.ID})
	require.NoError(t, err)
	require.Len(t, fates, 2)
	require.True(t, fates[paid.ID].Active)
	require.Equal(t, 2, fates[paid.ID].Quantity)
	require.Equal(t, []bool{false, false, true}, []bool{fates[gone.ID].Active, fates[gone.ID].Refused, fates[gone.ID].Returning})

	steps, err := s.Steps(ctx, sale.ID, time.Minute)
	require.NoError(t, err)
	require.Equal(t, []seckill.Step{{At: s.clock().Truncate(time.Minute).UTC(), Width: time.Minute, Placed: 5, Units: 11}}, steps)

	before, err := s.AnyOrder(ctx, unpaid.ID)
	require.NoError(t, err)
	n, err := s.ExtendHolds(ctx, sale.ID, "", time.Minute)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	after, err := s.AnyOrder(ctx, unpaid.ID)
	require.NoError(t, err)
	require.Equal(t, before.ExpiresAt.Add(time.Minute), after.ExpiresAt)
}

func testStanding(t *testing.T, s *shop) {
	ctx := t.Context()
	make := func(title, key string, shelf seckill.Shelf) (seckill.Sale, error) {
		return s.CreateSale(ctx, seckill.Sale{Title: title, Price: 100, Currency: "CNY", Total: 10, LimitPerBuyer: 1, OpensAt: noon, ClosesAt: noon.Add(time.Hour), HoldSeconds: 60, Shelf: shelf, Notice: "hello", Key: key})
	}
	draft, err := make("a draft", "key", seckill.Draft)
	require.NoError(t, err)
	require.Equal(t, "hello", draft.Notice)
	again, err := make("a draft", "key", seckill.Draft)
	require.NoError(t, err)
	require.Equal(t, draft.ID, again.ID)
	_, err = make("another", "key", seckill.Draft)
	require.ErrorIs(t, err, seckill.ErrState)
	hidden, err := make("hidden", "", seckill.Unlisted)
	require.NoError(t, err)
	shown, err := make("shown", "", seckill.Published)
	require.NoError(t, err)
	deleted, err := s.UpdateSale(ctx, s.open(10).ID, func(v *seckill.Sale) error { v.Shelf = seckill.Deleted; return nil })
	require.NoError(t, err)
	on := func(all bool) (ids []seckill.SaleID) {
		sales, err := s.Section(ctx, seckill.Place{Section: seckill.SectionOpen, At: noon.Add(time.Minute), Time: time.UnixMilli(0), All: all}, 1000)
		require.NoError(t, err)
		for _, v := range sales {
			ids = append(ids, v.ID)
		}
		return ids
	}
	require.NotContains(t, on(false), draft.ID)
	require.NotContains(t, on(false), hidden.ID)
	require.Contains(t, on(false), shown.ID)
	require.Subset(t, on(true), []seckill.SaleID{draft.ID, hidden.ID, shown.ID})
	require.NotContains(t, on(true), deleted.ID)
}

// The cases are those of seckill.Sale.SectionAt.
func testSections(t *testing.T, s *shop) {
	ctx := t.Context()
	table, err := os.ReadFile("../../testdata/sections.txt")
	require.NoError(t, err)
	want := map[seckill.SaleID]string{}
	for line := range strings.Lines(string(table)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		var opens, closes, sold, total int64
		var flags, section string
		_, err := fmt.Sscanf(line, "%d %d %d/%d %s %s", &opens, &closes, &sold, &total, &flags, &section)
		require.NoError(t, err, line)
		sale, err := s.CreateSale(ctx, seckill.Sale{Title: line, Price: 100, Currency: "CNY", Total: total, LimitPerBuyer: 1, HoldSeconds: 60, Shelf: seckill.Published,
			OpensAt: noon.Add(time.Duration(opens) * time.Second), ClosesAt: noon.Add(time.Duration(closes) * time.Second)})
		require.NoError(t, err)
		require.NoError(t, s.write(ctx, "test", func(tx *tx) error {
			_, err := tx.exec(ctx, "UPDATE sales SET sold = ?, paused = ?, ended = ? WHERE id = ?", sold, strings.Contains(flags, "paused"), strings.Contains(flags, "ended"), sale.ID)
			return err
		}))
		want[sale.ID] = section
	}
	for section, name := range []string{seckill.SectionOpen: "open", seckill.SectionSoon: "soon", seckill.SectionOver: "over"} {
		sales, err := s.Section(ctx, seckill.Place{Section: seckill.Section(section), At: noon, Time: time.UnixMilli(0)}, 1000)
		require.NoError(t, err)
		for _, sale := range sales {
			require.Equal(t, want[sale.ID], name, sale.Title)
			delete(want, sale.ID)
		}
	}
	require.Empty(t, want, "they stand in no section")
}
