//go:build linux

package stack

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A borrowed engine is the lender's: a test gets a namespace of its own there, and
// cannot end it for the others.
func TestABorrowedEngineIsUsedAndNotEnded(t *testing.T) {
	t.Parallel()
	needEngines(t)
	s, err := Up(t.Context(), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Down()) })
	setting, err := s.Lend()
	require.NoError(t, err)
	file := setting[len(LentVariable+"="):]
	for _, mine := range s.Engines() {
		e, err := borrowFrom(file, mine.Kind())
		require.NoError(t, err)
		require.Equal(t, mine.URL(), e.URL())
		require.Equal(t, mine.AdminURL(), e.AdminURL())
		require.Equal(t, mine.Pid(), e.Pid())
		require.NotEmpty(t, e.LogTail())
		for _, end := range []func() error{e.Kill, e.Stop, e.Wipe, e.Close, e.discard, func() error { return e.Start(t.Context()) }} {
			require.ErrorContains(t, end(), "it is shared by all tests; take one of your own (stack.Own)")
		}
		fresh := e.Fresh(t)
		require.NotEqual(t, e.URL(), fresh)
		require.NotEqual(t, fresh, mine.Fresh(t), "lender and borrower have one each")
		require.NoError(t, mine.Ready(t.Context()))
	}
	none, err := borrowFrom(file, KindNginx)
	require.NoError(t, err)
	require.Nil(t, none, "of that kind none is lent")
}

func TestALenderThatIsGoneIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), lentFile)
	_, err := borrowFrom(file, KindRedis)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte(`{"redis":{"folder":"`+t.TempDir()+`","ports":[1],"pid":1}}`), 0o600))
	_, err = borrowFrom(file, KindRedis)
	require.ErrorContains(t, err, "redis is not ready")
}

// A database of Redis that a test has given back is taken again, and is empty.
func TestARedisDatabaseIsTakenAgain(t *testing.T) {
	t.Parallel()
	e := Own(t, KindRedis)
	var first, second string
	t.Run("one", func(t *testing.T) {
		first = e.Fresh(t)
		require.NoError(t, redisDo(t.Context(), first, "SET", "seckill:x", "1"))
		require.NotEqual(t, first, e.Fresh(t))
	})
	second = e.Fresh(t)
	third := e.Fresh(t)
	require.Contains(t, []string{second, third}, first)
	answer, err := redisAsk(t.Context(), first, "EXISTS", "seckill:x")
	require.NoError(t, err)
	require.Equal(t, "0", answer)
}
