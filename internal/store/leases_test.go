package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each node notes the secret that it signs with, and hears of every other one, whoever came
// first. A secret that nobody has any more is forgotten.
func testSecretPrints(t *testing.T, s *shop) {
	noted := func(print string, life time.Duration) []string {
		t.Helper()
		prints, err := s.SecretPrints(t.Context(), print, life)
		require.NoError(t, err)
		return prints
	}
	require.Equal(t, []string{"one"}, noted("one", time.Hour))
	require.Equal(t, []string{"one", "two"}, noted("two", time.Hour))
	noted("two", time.Millisecond)
	require.Eventually(t, func() bool { return len(noted("one", time.Hour)) == 1 }, 10*time.Second, 2*time.Millisecond, "nobody has the second one any more")
	require.Equal(t, []string{"one", "two"}, noted("two", time.Hour))
	require.Equal(t, []string{"one", "two"}, noted("one", time.Hour))
}
