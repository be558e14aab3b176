//go:build linux

package stack_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	. "seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// fakeT records how it was ended.
type fakeT struct {
	*testing.T
	skipped, failed string
}

func (t *fakeT) Skipf(format string, args ...any)  { t.skipped = fmt.Sprintf(format, args...) }
func (t *fakeT) Fatalf(format string, args ...any) { t.failed = fmt.Sprintf(format, args...) }

// Without its package an engine is not tested: loudly, and where engines are
// required it is a failure.
func TestMissingPackages(t *testing.T) {
	apt := map[Kind]string{KindRedis: "redis-server", KindRabbitMQ: "rabbitmq-server", KindMariaDB: "mariadb-server"}
	t.Setenv(stacktest.LeaveOutVariable, "")
	elsewhere := Below(filepath.Join(t.TempDir(), "empty"))
	for _, kind := range kinds {
		line := "apt-get install -y " + apt[kind]

		t.Setenv("SECKILL_REQUIRE", "")
		optional := fakeT{T: t}
		require.Nil(t, stacktest.Own(&optional, kind, elsewhere))
		require.Contains(t, optional.skipped, "NOT TESTED: "+string(kind)+": ")
		require.Contains(t, optional.skipped, line)
		require.Empty(t, optional.failed)

		t.Setenv("SECKILL_REQUIRE", "1")
		required := fakeT{T: t}
		require.Nil(t, stacktest.Own(&required, kind, elsewhere))
		require.Contains(t, required.failed, line)
		require.Empty(t, required.skipped)

		_, err := New(kind, t.TempDir(), elsewhere)
		require.ErrorIs(t, err, ErrMissing)
	}
}

func TestUnknownKind(t *testing.T) {
	t.Parallel()
	_, err := New("abacus", t.TempDir())
	require.EqualError(t, err, `"abacus" is no kind of engine`)
	f := fakeT{T: t}
	require.Nil(t, stacktest.Shared(&f, "abacus"))
	require.Contains(t, f.failed, "abacus")
}

// A quick run leaves an engine out, whether it is installed and required or not.
func TestLeftOut(t *testing.T) {
	t.Setenv("SECKILL_REQUIRE", "1")
	t.Setenv(stacktest.LeaveOutVariable, "rabbitmq,nginx")
	for _, take := range []func(stacktest.T){
		func(t stacktest.T) { stacktest.Own(t, KindRabbitMQ) },
		func(t stacktest.T) { stacktest.Shared(t, KindRabbitMQ) },
		func(t stacktest.T) { stacktest.OwnCluster(t, KindRabbitMQ) },
		func(t stacktest.T) { stacktest.OwnNginx(t, Site{}) },
	} {
		f := fakeT{T: t}
		take(&f)
		require.Contains(t, f.skipped, stacktest.LeftOut)
		require.Empty(t, f.failed)
	}
	other := fakeT{T: t}
	stacktest.Own(&other, "abacus")
	require.Empty(t, other.skipped, "nothing but what is named")
}
