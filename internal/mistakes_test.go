package internal

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The page of mistakes names a test for each, and that of the drills what noticed
// each rule that was broken; so do the invariants and the threats. Every test that they
// name exists.
func TestEveryMistakeHasItsTest(t *testing.T) {
	t.Parallel()
	for page, rows := range map[string]int{"mistakes.md": 18, "drills.md": 31, "INVARIANTS.md": 15, "../SECURITY.md": 26} {
		found := 0
		for _, row := range rowsOf(t, page) {
			found++
			named := 0
			for group := range strings.SplitSeq(row[len(row)-1], ";") {
				named += namedIn(t, strings.TrimSpace(group))
			}
			require.Positive(t, named, "%s: %s", page, row[0])
		}
		require.Equal(t, rows, found, "rows of %s", page)
	}
}

// rowsOf are the cells of the page's table whose last column is of tests.
func rowsOf(t *testing.T, page string) (rows [][]string) {
	t.Helper()
	b, err := os.ReadFile("../docs/" + page)
	require.NoError(t, err)
	in := false
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		cells := strings.Split(strings.Trim(line, "|"), "|")
		switch last := strings.TrimSpace(cells[len(cells)-1]); {
		case !strings.HasPrefix(line, "|"):
			in = false
		case last == "tests" || last == "test that caught it":
			in = true
		case in && !strings.HasPrefix(last, "---"):
			rows = append(rows, cells)
		}
	}
	return rows
}

// namedIn is how many tests a group names: those of a package, all of which must
// exist, or a drill.
func namedIn(t *testing.T, group string) (named int) {
	t.Helper()
	if strings.HasPrefix(group, "the drill") {
		return 1
	}
	pkg, tests, ok := strings.Cut(group, ": ")
	require.True(t, ok, "%q names no package", group)
	code := testsOf(t, pkg)
	for _, m := range regexp.MustCompile("`(Test[^`]+)`|\"([^\"]+)\"").FindAllStringSubmatch(tests, -1) {
		named++
		if m[1] != "" {
			require.True(t, strings.Contains(code, "func "+m[1]+"(t *testing.T)"), "package %s has no %s", pkg, m[1])
		} else {
			require.True(t, strings.Contains(code, `"`+m[2]+`"`), "package %s has no test %q", pkg, m[2])
		}
	}
	return named
}

// testsOf is the code of a package's tests: with those of the backends in folders
// below it, and of the suite that all of them run (a folder such as gatetest).
func testsOf(t *testing.T, pkg string) string {
	t.Helper()
	dir := pkg
	switch pkg {
	case "e2e":
		dir = "../e2e"
	case "seckill":
		dir = ".."
	}
	var all strings.Builder
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if pkg == "seckill" && err == nil && entry.IsDir() && file != dir {
			return fs.SkipDir // the packages below the root have names of their own
		}
		suite := strings.HasSuffix(filepath.Base(filepath.Dir(file)), "test") && strings.HasSuffix(file, ".go")
		if err != nil || !suite && !strings.HasSuffix(file, "_test.go") {
			return err
		}
		b, err := os.ReadFile(file)
		all.Write(b)
		return err
	})
	require.NoError(t, err)
	require.NotZero(t, all.Len(), "package %s", pkg)
	return all.String()
}
