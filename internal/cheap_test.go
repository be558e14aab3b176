package internal

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The hashes of account.NewCheap guard nothing, so nothing but a test calls it.
func TestOnlyTestsHashCheaply(t *testing.T) {
	t.Parallel()
	all, _ := texts(t)
	const where = "internal/account/account.go"
	cheap := regexp.MustCompile(`\bNewCheap\b`)
	assert.True(t, cheap.MatchString(all[where]), "%s has another name for it: say it here", where)
	for file, text := range all {
		if strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") && file != where {
			assert.False(t, cheap.MatchString(text), "%s: passwords that somebody uses are hashed by account.New", file)
		}
	}
}
