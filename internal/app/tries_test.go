package app

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// Without Redis too a dead letter counts as tried only if it was tried before the node's start;
// what somebody says of it in the queue is no proof.
func TestTheOnlyNodeKnowsWhatItHasTried(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tried")
	a, b := seckill.NewTicketID(time.Now()), seckill.NewTicketID(time.Now())
	old := seckill.NewTicketID(time.Now().Add(-2 * triedLife))
	require.NoError(t, os.WriteFile(file, []byte(old+"\nno ticket\n"), 0o600))
	said := func(life *tries, ticket string) bool {
		before, err := life.tried(t.Context(), ticket)
		require.NoError(t, err)
		return before
	}
	first := &tries{file: file}
	for range 2 {
		require.False(t, said(first, a))
	}
	require.False(t, said(first, old), "that is too long ago")
	second := &tries{file: file}
	for range 2 {
		require.True(t, said(second, a))
		require.False(t, said(second, b))
	}
	nowhere := &tries{file: filepath.Join(file, "x")}
	_, err := nowhere.tried(t.Context(), a)
	require.Error(t, err, "what cannot be noted is not tried")
}
