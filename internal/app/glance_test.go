package app

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A part that hangs, and does not look at its context, delays the answer of a node that
// admits buyers without it by a glance; a node that needs the part waits for it.
func TestAPartThatHangsDelaysReadinessByAGlance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hangs := func(context.Context) error {
			time.Sleep(3 * time.Second)
			return nil
		}
		var n Node
		n.config.Run = []string{RoleAPI}
		began := time.Now()
		require.ErrorContains(t, n.ask(t.Context(), hangs), "does not answer within 700ms")
		require.Less(t, time.Since(began), time.Second)
		n.config.Run = []string{RoleSettle}
		require.NoError(t, n.ask(t.Context(), hangs))
		synctest.Wait()
		time.Sleep(3 * time.Second) // the first one's answer, which nobody waits for
	})
}
