package internal

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The page of mistakes names a test for each, and every test that it names exists.
func TestEveryMistakeHasItsTest(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/mistakes.md")
	require.NoError(t, err)
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.Contains(cells[0], "---") || strings.TrimSpace(cells[0]) == "mistake" {
			continue
		}
		rows++
		named := 0
		for group := range strings.SplitSeq(cells[2], ";") {
			pkg, tests, ok := strings.Cut(strings.TrimSpace(group), ": ")
			require.True(t, ok, "%q names no package", group)
			code := testsOf(t, pkg)
			for _, m := range regexp.MustCompile("`(Test\\w+)`|\"([^\"]+)\"").FindAllStringSubmatch(tests, -1) {
				named++
				if m[1] != "" {
					require.Contains(t, code, "func "+m[1]+"(t *testing.T)", "package %s", pkg)
				} else {
					require.Contains(t, code, `"`+m[2]+`"`, "package %s", pkg)
				}
			}
		}
		require.Positive(t, named, cells[0])
	}
	require.Equal(t, 18, rows, "mistakes")
}

func testsOf(t *testing.T, pkg string) string {
	t.Helper()
	dir := pkg
	if pkg == "e2e" {
		dir = "../e2e"
	}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "package %s", pkg)
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		all.Write(b)
	}
	return all.String()
}
