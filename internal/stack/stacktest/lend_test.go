//go:build linux

package stacktest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
)

// A borrowed engine is the lender's: a test gets a namespace of its own there, and
// cannot end it for the others.
func TestABorrowedEngineIsUsedAndNotEnded(t *testing.T) {
	t.Parallel()
	Need(t, stack.KindRedis, stack.KindRabbitMQ, stack.KindMariaDB)
	s, err := stack.Up(t.Context(), stack.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Down()) })
	setting, err := Lend(s)
	require.NoError(t, err)
	file := setting[len(LentVariable+"="):]
	for _, mine := range s.Engines() {
		e, err := borrowFrom(file, mine.Kind())
		require.NoError(t, err)
		require.Equal(t, mine.URL(), e.URL())
		require.Equal(t, mine.AdminURL(), e.AdminURL())
		require.Equal(t, mine.Pid(), e.Pid())
		require.NotEmpty(t, e.LogTail())
		for _, end := range []func() error{e.Kill, e.Stop, e.Wipe, e.Close, e.Discard, func() error { return e.Start(t.Context()) }} {
			require.ErrorContains(t, end(), "it is shared by all tests; take one of your own (stacktest.Own)")
		}
		fresh := Fresh(t, e)
		require.NotEqual(t, e.URL(), fresh)
		require.NotEqual(t, fresh, Fresh(t, mine), "lender and borrower have one each")
		require.NoError(t, mine.Ready(t.Context()))
	}
	none, err := borrowFrom(file, stack.KindNginx)
	require.NoError(t, err)
	require.Nil(t, none, "of that kind none is lent")
}

func TestALenderThatIsGoneIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), lentFile)
	_, err := borrowFrom(file, stack.KindRedis)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte(`{"redis":{"folder":"`+t.TempDir()+`","ports":[1],"pid":1}}`), 0o600))
	_, err = borrowFrom(file, stack.KindRedis)
	require.ErrorContains(t, err, "redis is not ready")
}
