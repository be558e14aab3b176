package internal

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What changed stands in the changelog once, under the version that brought it.
func TestNoEntryOfTheChangelogStandsTwice(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../CHANGELOG.md")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, entry := range regexp.MustCompile(`(?m)^- (?:.+\n)(?:  .+\n)*`).FindAllString(string(page), -1) {
		text := strings.Join(strings.Fields(entry), " ")
		require.False(t, seen[text], text)
		seen[text] = true
	}
	require.Greater(t, len(seen), 100)
}
