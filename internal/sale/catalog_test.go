package sale

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// Another node shows a change within a second by itself. A notice makes that at
// once, and is all that is lost with it.
func TestANoticeHastensWhatHappensAnyway(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		other := New(h.store, h.gate, slog.New(slog.DiscardHandler), Options{})
		sale := h.create()
		shown := func() [2]string {
			one, err := other.Get(t.Context(), sale.ID)
			require.NoError(t, err)
			all, err := other.List(t.Context(), 0, 10)
			require.NoError(t, err)
			return [2]string{one.Title, all[0].Title}
		}
		change := func(title string) {
			_, err := h.Patch(t.Context(), sale.ID, Patch{Title: &title})
			require.NoError(t, err)
		}
		old := sale.Title
		require.Equal(t, [2]string{old, old}, shown())

		change("lost") // nobody tells
		require.Equal(t, [2]string{old, old}, shown())
		time.Sleep(catalogLife)
		require.Equal(t, [2]string{"lost", "lost"}, shown())

		var heard []int64
		h.notice = func(id seckill.SaleID, version int64) {
			heard = append(heard, version)
			other.Forget(id)
		}
		change("told")
		require.Equal(t, [2]string{"told", "told"}, shown())
		_, err := h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "more", Delta: 5})
		require.NoError(t, err)
		require.Equal(t, []int64{3, 3}, heard)
		h.create()
		require.Equal(t, []int64{3, 3, 1}, heard)
	})
}
