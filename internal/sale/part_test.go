package sale

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// While a part of the gate cannot be asked, the sales that can be are kept up to
// date.
func TestAPartOfTheGateIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		stop, _ := h.keeps()
		defer stop()
		sale := h.create()
		require.Equal(t, "queued", h.verdict(sale.ID, "ann"))
		h.set(true, "apply")
		_, err := h.Pause(context.Background(), sale.ID)
		require.Error(t, err)
		h.lose(true, "outdated") // it says what it knows, and that this is not all
		h.gate.lostNow <- struct{}{}
		synctest.Wait()
		h.set(false, "apply")
		time.Sleep(2 * keeperPause)
		require.Equal(t, "paused", h.verdict(sale.ID, "bob"))
	})
}
