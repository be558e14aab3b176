package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The first node notes the fingerprint of its secret, and every later one is told it.
// Who has the noted secret and a newer one notes the newer one: nodes rotate one after
// the other, and one that was forgotten is told.
func testSecretPrint(t *testing.T, s *shop) {
	noted := func(prints ...string) string {
		t.Helper()
		print, err := s.SecretPrint(t.Context(), prints)
		require.NoError(t, err)
		return print
	}
	require.Equal(t, "one", noted("one"))
	require.Equal(t, "one", noted("other"), "it is told that its secret is another one")
	require.Equal(t, "one", noted("one"))
	require.Equal(t, "two", noted("two", "one"), "a rotation")
	require.Equal(t, "two", noted("two", "one"), "the second node")
	require.Equal(t, "two", noted("two"))
	require.Equal(t, "two", noted("one"), "it was forgotten")
	require.Equal(t, "two", noted("three", "other"))
}
