package internal

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// sleepers are the files that may wait without internal/duty, and why.
var sleepers = map[string]string{
	"internal/crash/crash_on.go":  "a goroutine that stands still at a mark until the process dies",
	"internal/rabbit/onlynode.go": "a limit beside two other things that end the same wait",
	"e2e/node/node.go":            "limits of waits for another process",
	"e2e/bench/settling.go":       "a pacer that hands out channels",
	"examples/shop/main.go":       "other people's code: it knows nothing of ours",
}

// A wait that nobody can end keeps a node from stopping. duty.Rest ends with its context, and
// gives its timer back.
func TestWaitsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	all, _ := texts(t)
	wait := regexp.MustCompile(`\btime\.(Sleep|After|Tick)\(`)
	for file, text := range all {
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "internal/duty/") || strings.HasPrefix(file, "internal/stack/") {
			continue
		}
		said := wait.FindString(text)
		if sleepers[file] == "" {
			assert.Empty(t, said, "%s: use duty.Rest, or say in sleepers why not", file)
		} else {
			assert.NotEmpty(t, said, "%s does not wait any more: take it off the list", file)
		}
	}
}
