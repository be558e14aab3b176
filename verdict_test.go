package seckill

import (
	"os"
	"strings"
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

	page, err := os.ReadFile("docs/http-api.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## Verdicts\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	for _, v := range Verdicts() {
		row := "| `" + v.String() + "` |"
		if v == Queued { // an answer without a code
			row = "| – | " + v.String() + " |"
		}
		require.Contains(t, section, row)
	}
}
