//go:build linux

package stack

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeT records how it was ended.
type fakeT struct {
	T
	skipped, failed string
}

func (t *fakeT) Helper()                           {}
func (t *fakeT) Context() context.Context          { return context.Background() }
func (t *fakeT) Skipf(format string, args ...any)  { t.skipped = fmt.Sprintf(format, args...) }
func (t *fakeT) Fatalf(format string, args ...any) { t.failed = fmt.Sprintf(format, args...) }

// Without its package an engine is not tested: loudly, and where engines are
// required it is a failure.
func TestMissingPackages(t *testing.T) {
	apt := map[Kind]string{KindRedis: "redis-server", KindRabbitMQ: "rabbitmq-server", KindMariaDB: "mariadb-server"}
	elsewhere := func(s *settings) { s.root = filepath.Join(t.TempDir(), "empty") }
	for _, kind := range kinds {
		line := "apt-get install -y " + apt[kind]

		t.Setenv("SECKILL_REQUIRE", "")
		var optional fakeT
		require.Nil(t, Own(&optional, kind, elsewhere))
		require.Contains(t, optional.skipped, "NOT TESTED: "+string(kind)+": ")
		require.Contains(t, optional.skipped, line)
		require.Empty(t, optional.failed)

		t.Setenv("SECKILL_REQUIRE", "1")
		var required fakeT
		require.Nil(t, Own(&required, kind, elsewhere))
		require.Contains(t, required.failed, line)
		require.Empty(t, required.skipped)

		_, err := newEngine(kind, t.TempDir(), []Option{elsewhere})
		require.ErrorIs(t, err, ErrMissing)
	}
}

func TestUnknownKind(t *testing.T) {
	t.Parallel()
	_, err := newEngine("abacus", t.TempDir(), nil)
	require.EqualError(t, err, `"abacus" is no kind of engine`)
	var f fakeT
	require.Nil(t, Shared(&f, "abacus"))
	require.Contains(t, f.failed, "abacus")
}
