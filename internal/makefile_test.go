package internal

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A name among the phony targets without a rule is a command that does nothing and succeeds.
func TestEveryTargetOfTheMakefileHasARule(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	_, names, ok := strings.Cut(string(b), ".PHONY: ")
	require.True(t, ok)
	names, _, _ = strings.Cut(names, "\n")
	var rules []string
	for _, rule := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(string(b), -1) {
		rules = append(rules, rule[1])
	}
	phony := strings.Fields(names)
	slices.Sort(phony)
	slices.Sort(rules)
	assert.Equal(t, rules, phony)
}
