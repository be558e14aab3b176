package gate

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
)

// A caller who goes away in the middle of a call says nothing about Redis: the
// breaker stays closed for everybody else.
func TestRedisCallerGoesAway(t *testing.T) {
	t.Parallel()
	g := runRedis(t, stack.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 0)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"find":    func() error { _, err := g.Find(gone, 1, "ada", ""); return err },
		"reserve": func() error { _, err := g.Reserve(gone, 1, "ada", 1); return err },
		"cut":     func() error { _, err := g.Cut(gone, 1); return err },
	} {
		require.ErrorIs(t, call(), context.Canceled, name)
		require.Empty(t, g.broken(), "the breaker is open after %s", name)
	}
}
