//go:build linux

package stack_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	. "seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// A cluster serves as one: what was put through one member is there through
// another, and while one is killed the others serve.
func TestCluster(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{KindRedis, KindRabbitMQ} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			c := stacktest.OwnCluster(t, kind)
			t.Logf("up in %.1f s", time.Since(began).Seconds())
			url := func(e *Engine) string {
				if kind == KindRedis {
					return c.URL()
				}
				return e.URL()
			}
			one, two := c.Members[1], c.Members[2]
			if kind == KindRedis {
				var err error
				one, err = c.Owner(t.Context(), "seckill:{1}:test")
				require.NoError(t, err)
				require.NotEqual(t, two, one)
			}
			putAt(t, kind, url(one))
			require.NoError(t, c.Settle(t.Context()))
			for _, e := range c.Members {
				require.Equal(t, 1, countAt(t, kind, url(e)))
			}
			require.NoError(t, two.Kill())
			putAt(t, kind, url(one))
			require.NoError(t, two.Start(t.Context()))
			require.NoError(t, c.Settle(t.Context()))
			require.NoError(t, one.Kill())
			require.NoError(t, one.Start(t.Context()))
			eventually(t, func() string {
				if kind == KindRedis {
					if err := c.Complete(t.Context()); err != nil {
						return err.Error()
					}
				}
				return ""
			})
			for _, e := range c.Members {
				require.Equal(t, 2, countAt(t, kind, url(e)))
			}
		})
	}
}
