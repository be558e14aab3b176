package account

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkVerify measures the check of a token that is not remembered, as most
// of those that buy are.
//
//	go test -run '^$' -bench Verify -cpu 1 -count 5 ./internal/account
func BenchmarkVerify(b *testing.B) {
	v, err := NewVerifier(Checks{}, theSecret)
	require.NoError(b, err)
	token, err := Mint(theSecret, "r0-123456", "", time.Hour)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(token, false); err != nil {
			b.Fatal(err)
		}
	}
}
