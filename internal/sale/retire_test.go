package sale

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/store"
)

// knows reports whether the gate itself can tell what became of a buyer's ticket.
func (h *house) knows(id seckill.SaleID, buyer string) bool {
	h.t.Helper()
	_, err := h.gate.Find(ctx, id, buyer, "")
	if err != nil {
		require.ErrorIs(h.t, err, seckill.ErrNotFound)
	}
	return err == nil
}

// bought brings a buyer's ticket to an order.
func (h *house) bought(id seckill.SaleID, buyer string) {
	h.t.Helper()
	require.Equal(h.t, "queued", h.verdict(id, buyer))
	cut, err := h.gate.Cut(ctx, id)
	require.NoError(h.t, err)
	outcomes, err := h.store.Settle(ctx, cut.Outbox)
	require.NoError(h.t, err)
	require.NoError(h.t, h.gate.Finish(ctx, outcomes))
}

func TestTheGateForgetsTheBuyersOfASaleThatClosedLongAgo(t *testing.T) {
	inBubbleOf(t, store.Settings{Retention: 5 * time.Minute}, func(t *testing.T, h *house) {
		stop, _ := h.keeps()
		defer stop()
		soon, live := draft(), draft()
		soon.ClosesAt = time.Now().Add(time.Minute)
		closed, err := h.Create(t.Context(), soon)
		require.NoError(t, err)
		other, err := h.Create(t.Context(), live)
		require.NoError(t, err)
		h.bought(closed.ID, "ann")
		h.bought(other.ID, "ann")

		time.Sleep(5 * time.Minute)
		assert.True(t, h.knows(closed.ID, "ann"), "a few minutes ago it was open")
		time.Sleep(2*time.Minute + keeperPause)
		synctest.Wait()
		assert.False(t, h.knows(closed.ID, "ann"))
		assert.True(t, h.knows(other.ID, "ann"))
		assert.Equal(t, "ended", h.verdict(closed.ID, "bob"))
		h.adds()

		// A restart does not bring them back.
		require.NoError(t, h.Rebuild(t.Context(), closed.ID))
		assert.False(t, h.knows(closed.ID, "ann"))

		// It opens again, and ann still has her order.
		reopens := time.Now().Add(time.Hour)
		_, err = h.Patch(t.Context(), closed.ID, Patch{ClosesAt: &reopens})
		require.NoError(t, err)
		assert.True(t, h.knows(closed.ID, "ann"))
		assert.Equal(t, "queued", h.verdict(closed.ID, "bob"))
		shown, err := h.Get(t.Context(), closed.ID)
		require.NoError(t, err)
		assert.EqualValues(t, 8, shown.Left)
		h.adds()
	})
}

func TestAnOpenSaleThatIsEndedClosesThen(t *testing.T) {
	inBubbleOf(t, store.Settings{Retention: 5 * time.Minute}, func(t *testing.T, h *house) {
		stop, _ := h.keeps()
		defer stop()
		d := draft()
		d.ClosesAt = time.Now().Add(1000 * time.Hour)
		sale, err := h.Create(t.Context(), d)
		require.NoError(t, err)
		h.bought(sale.ID, "ann")
		ended, err := h.End(t.Context(), sale.ID)
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), ended.ClosesAt, 0)
		time.Sleep(time.Minute)
		again, err := h.End(t.Context(), sale.ID)
		require.NoError(t, err)
		assert.Equal(t, ended.ClosesAt, again.ClosesAt, "a repeat")
		time.Sleep(7 * time.Minute)
		assert.False(t, h.knows(sale.ID, "ann"))

		d.OpensAt = time.Now().Add(time.Hour)
		never, err := h.Create(t.Context(), d)
		require.NoError(t, err)
		ended, err = h.End(t.Context(), never.ID)
		require.NoError(t, err)
		assert.Equal(t, never.ClosesAt, ended.ClosesAt, "one that never opened")
	})
}

// A change of a retired sale is a rebuild, and one that did not get through is made
// good by the keeper, of whatever node.
func TestAChangeOfARetiredSaleIsBroughtLater(t *testing.T) {
	inBubbleOf(t, store.Settings{Retention: 5 * time.Minute}, func(t *testing.T, h *house) {
		stop, _ := h.keeps()
		soon := draft()
		soon.ClosesAt = time.Now().Add(time.Minute)
		sale, err := h.Create(t.Context(), soon)
		require.NoError(t, err)
		h.bought(sale.ID, "ann")
		time.Sleep(8 * time.Minute)
		synctest.Wait()
		require.False(t, h.knows(sale.ID, "ann"))

		calls := []string{"shut", "apply", "outdated", "move"}
		h.set(true, calls...)
		reopens := time.Now().Add(time.Hour)
		_, err = h.Patch(t.Context(), sale.ID, Patch{ClosesAt: &reopens})
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		h.set(false, calls...)
		time.Sleep(5 * keeperPause)
		synctest.Wait()
		assert.Equal(t, "queued", h.verdict(sale.ID, "bob"))
		assert.True(t, h.knows(sale.ID, "ann"))
		stop()
		require.NoError(t, h.keep(ctx), "nothing is left to do")
	})
}
