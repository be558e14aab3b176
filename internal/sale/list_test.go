package sale

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

// placed creates a sale that opens and closes so long from now.
func (h *house) placed(title string, opens, closes time.Duration, total int64) seckill.Sale {
	h.t.Helper()
	d := draft()
	d.Title, d.Total = title, total
	d.OpensAt, d.ClosesAt = time.Now().Add(opens), time.Now().Add(closes)
	sale, err := h.Create(h.t.Context(), d)
	require.NoError(h.t, err)
	return sale
}

// buys reserves units for so many buyers.
func (h *house) buys(sale seckill.Sale, n int) {
	h.t.Helper()
	for i := range n {
		require.Equal(h.t, "queued", h.verdict(sale.ID, fmt.Sprintf("buyer %d of %s", i, sale.Title)))
	}
}

// reads walks the list in pages of max and returns the titles; between is called
// between two pages.
func (h *house) reads(max int, between func()) (titles []string) {
	h.t.Helper()
	for cursor := ""; ; {
		page, next, err := h.Sections(h.t.Context(), cursor, max)
		require.NoError(h.t, err)
		for _, sale := range page {
			titles = append(titles, sale.Title)
		}
		if cursor = next; cursor == "" {
			return titles
		}
		require.Len(h.t, page, max, "a page before the last one is full")
		if between != nil {
			between()
		}
	}
}

func TestTheListComesByWhatMatters(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		h.placed("over long ago", -3*time.Hour, -2*time.Hour, 10)
		h.placed("next week", 7*24*time.Hour, 8*24*time.Hour, 10)
		h.placed("open until evening", -time.Hour, 5*time.Hour, 10)
		h.placed("over just now", -3*time.Hour, -time.Minute, 10)
		h.placed("in an hour", time.Hour, 2*time.Hour, 10)
		h.placed("closes in a minute", -time.Hour, time.Minute, 10)
		h.buys(h.placed("nearly sold out", -time.Hour, 9*time.Hour, 40), 39)
		h.buys(h.placed("nothing left at the gate", -time.Hour, 2*time.Hour, 2), 2)
		ended := h.placed("ended by hand", -time.Hour, 3*time.Hour, 10)
		_, err := h.End(t.Context(), ended.ID)
		require.NoError(t, err)
		paused := h.placed("paused", -time.Hour, 6*time.Hour, 10)
		_, err = h.Pause(t.Context(), paused.ID)
		require.NoError(t, err)
		want := []string{
			"closes in a minute", "nearly sold out", "open until evening", "paused", "nothing left at the gate",
			"in an hour", "next week",
			"ended by hand", "over just now", "over long ago",
		}
		for _, max := range []int{1, 2, 3, 5, len(want), 100} {
			assert.Equal(t, want, h.reads(max, nil), "in pages of %d", max)
		}

		// What opens, closes, sells or is created meanwhile does not tear a walk apart.
		for _, max := range []int{1, 2, 3, 6} {
			n := 0
			got := h.reads(max, func() {
				n++
				time.Sleep(11 * time.Second)
				if n == 1 {
					h.placed("new", time.Minute, time.Hour, 1)
				}
			})
			old := got[:0]
			for _, title := range got {
				if title != "new" {
					old = append(old, title)
				}
			}
			assert.ElementsMatch(t, want, old, "in pages of %d", max)
		}
	})
}

func TestMoreOpenSalesThanCanBePutInOrderAreAllListed(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		first := draft()
		first.Title = "0"
		first, err := h.store.CreateSale(t.Context(), first)
		require.NoError(t, err)
		db, err := sql.Open("sqlite", "file:"+h.file+"?_pragma=busy_timeout(10000)")
		require.NoError(t, err)
		defer db.Close()
		_, err = db.ExecContext(t.Context(), `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO sales (title, description, image, price, list_price, currency, total, limit_per_buyer, opens_at, closes_at, hold_seconds, access, paused, shelf, notice)
			SELECT i, description, image, price, list_price, currency, total, limit_per_buyer, opens_at, closes_at + 1000 * i, hold_seconds, access, paused, shelf, notice
			FROM sales, n WHERE id = ?`, hottest+2, first.ID)
		require.NoError(t, err)
		soon := draft()
		soon.Title, soon.OpensAt = "soon", time.Now().Add(time.Minute)
		_, err = h.store.CreateSale(t.Context(), soon)
		require.NoError(t, err)
		got := h.reads(100, nil)
		require.Len(t, got, hottest+4)
		require.Equal(t, []string{fmt.Sprint(hottest + 1), fmt.Sprint(hottest + 2), "soon"}, got[hottest+1:])
		seen := map[string]bool{}
		for _, title := range got {
			require.False(t, seen[title], "%s comes twice", title)
			seen[title] = true
		}
	})
}

func TestOnlyACursorOfTheListIsOne(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		h.create()
		h.create()
		_, next, err := h.Sections(t.Context(), "", 1)
		require.NoError(t, err)
		for _, bad := range []string{"x", "0", "-1", "7", "1.2.3", next + "0x", next + " ", " " + next, "+" + next, strings.ReplaceAll(next, ".", ".0"), "1.501.0.0.0", "1.0.3.0.0", "1.0.256.0.0", "1.0.0.0.-1"} {
			_, _, err := h.Sections(t.Context(), bad, 1)
			var field *seckill.FieldError
			require.ErrorAs(t, err, &field, "%q", bad)
			require.Equal(t, "cursor", field.Field)
		}
		// Another node, or this one after a while, goes on from the same cursor.
		h.orders, h.lists = nil, map[listKey]cachedList{}
		page, end, err := h.Sections(t.Context(), next, 1)
		require.NoError(t, err)
		require.Len(t, page, 1)
		require.Empty(t, end)
	})
}

func TestTheListIsShownWhileTheStoreIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		h.create()
		require.Len(t, h.reads(10, nil), 1)
		time.Sleep(time.Minute)
		require.NoError(t, h.store.Close())
		require.Len(t, h.reads(10, nil), 1, "as it was read before")
		_, _, err := h.Sections(t.Context(), "", 11)
		require.Error(t, err, "nobody has read that page before")
	})
}

// slowGate is a gate that takes a moment to say what is left of sales.
type slowGate struct {
	*faultyGate
	asked map[seckill.SaleID]bool // for which nobody waits again
}

const slowLook = 100 * time.Millisecond

func (g *slowGate) Refresh(_ context.Context, ids []seckill.SaleID) {
	time.Sleep(slowLook)
	for _, id := range ids {
		g.asked[id] = true
	}
}

func (g *slowGate) Left(id seckill.SaleID) (int64, bool) {
	if !g.asked[id] {
		time.Sleep(slowLook)
	}
	return g.faultyGate.Left(id)
}

// While the gate is slow a list waits for it once, and not for each of its sales.
func TestAListWaitsOnceForASlowGate(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		for range 20 {
			h.create()
		}
		h.Catalog.gate = &slowGate{h.gate, map[seckill.SaleID]bool{}}
		began := time.Now()
		sales, _, err := h.Sections(t.Context(), "", 20) // put in order by what is left, and shown
		require.NoError(t, err)
		require.Len(t, sales, 20)
		require.Less(t, time.Since(began), 5*slowLook)
		_, err = h.List(t.Context(), 0, 20)
		require.NoError(t, err)
		require.Less(t, time.Since(began), 10*slowLook)
	})
}
