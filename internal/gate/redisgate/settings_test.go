package redisgate

import (
	"testing"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// Each setting that the promise needs is named while it is weaker, and only then.
func TestWeakerSettingsAreNamed(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 10)
	ctx := t.Context()
	admin := administers(t, e)
	weak := func() []string {
		weak, err := g.Weak(ctx)
		require.NoError(t, err)
		return weak
	}
	require.Empty(t, weak())
	for _, c := range []struct{ setting, weaker, strong string }{
		{"appendonly", "no", "yes"},
		{"appendfsync", "everysec", "always"},
		{"appendfsync", "no", "always"},
		{"no-appendfsync-on-rewrite", "yes", "no"},
		{"maxmemory-policy", "allkeys-lru", "noeviction"},
		{"maxmemory-policy", "volatile-ttl", "noeviction"},
	} {
		set := func(value string) {
			require.NoError(t, admin.Do(ctx, admin.B().ConfigSet().ParameterValue().ParameterValue(c.setting, value).Build()).Error())
		}
		set(c.weaker)
		require.Equal(t, []string{"Redis at " + e.Addr() + " has " + c.setting + " " + c.weaker + "; the promise needs " + c.setting + " " + c.strong}, weak())
		set(c.strong)
		require.Empty(t, weak(), c.setting)
	}
}

// A member of a cluster that is away is said, and what became weak on the others is too.
func TestAMemberThatIsAwayHidesNoOther(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	here, away := administers(t, e), administers(t, e)
	require.NoError(t, here.Do(t.Context(), here.B().ConfigSet().ParameterValue().ParameterValue("appendfsync", "everysec").Build()).Error())
	away.Close()
	weak, err := weakOf(t.Context(), map[string]rueidis.Client{"a:1": away, "b:2": here})
	require.NoError(t, err)
	require.Equal(t, []string{"the settings of Redis at a:1 cannot be checked: it does not answer", "Redis at b:2 has appendfsync everysec; the promise needs appendfsync always"}, weak)
	_, err = weakOf(t.Context(), map[string]rueidis.Client{"a:1": away})
	require.ErrorIs(t, err, seckill.ErrUnavailable)
}

// A user who may not look at the settings is told what to give it, in one line; the node
// goes on, and so do the other checks.
func TestSettingsThatCannotBeReadAreSaidOnce(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 10)
	admin := administers(t, e)
	require.NoError(t, admin.Do(t.Context(), admin.B().AclSetuser().Username("seckill").Rule("-config|get").Build()).Error())
	for range 2 {
		weak, err := g.Weak(t.Context())
		require.NoError(t, err)
		require.Len(t, weak, 1)
		require.Contains(t, weak[0], "cannot be checked")
		require.Contains(t, weak[0], "+config|get")
	}
	onSale(t, g, 1)
	admit(t, g, 1, "ann")
}
