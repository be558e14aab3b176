package seckill

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheWordsOfTheVerdicts(t *testing.T) {
	t.Parallel()
	var words []string
	for i, v := range Verdicts() {
		require.EqualValues(t, i, v)
		words = append(words, v.String())
	}
	// They are part of the HTTP contract.
	require.Equal(t, []string{"queued", "sold_out", "not_open", "ended", "paused", "limit", "busy"}, words)
}
