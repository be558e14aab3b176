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
	t.Setenv(LeaveOutVariable, "")
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

// A quick run leaves an engine out, whether it is installed and required or not.
func TestLeftOut(t *testing.T) {
	t.Setenv("SECKILL_REQUIRE", "1")
	t.Setenv(LeaveOutVariable, "rabbitmq,nginx")
	for _, take := range []func(T){
		func(t T) { Own(t, KindRabbitMQ) },
		func(t T) { Shared(t, KindRabbitMQ) },
		func(t T) { OwnCluster(t, KindRabbitMQ) },
		func(t T) { OwnNginx(t, Site{}) },
	} {
		var f fakeT
		take(&f)
		require.Contains(t, f.skipped, LeftOut)
		require.Empty(t, f.failed)
	}
	require.False(t, leftOut(&fakeT{}, KindRedis))
}
