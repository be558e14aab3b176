package internal

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hop is a function that a purchase passes, in the order of docs/PURCHASE.md.
type hop struct{ file, name string }

var (
	hopRow  = regexp.MustCompile(`^\|(?: [^|]*\|)? \[[^\]]+\]\(\.\./([^)]+)\) ([^|]+)\|`)
	sameRow = regexp.MustCompile("^\\|[^|]*\\| as above, (?:from `([^`]+)` to )?`([^`]+)` \\|")
	quoted  = regexp.MustCompile("`([^`]+)`")
)

// hops reads the rows of a part of the page. A row "as above" stands for rows of the
// first way.
func hops(t *testing.T, part string, first []hop) (all []hop) {
	at := func(name string) int {
		return slices.IndexFunc(first, func(h hop) bool { return h.name == name })
	}
	for _, line := range strings.Split(part, "\n") {
		if m := hopRow.FindStringSubmatch(line); m != nil {
			for _, name := range quoted.FindAllStringSubmatch(m[2], -1) {
				all = append(all, hop{m[1], name[1]})
			}
		} else if m := sameRow.FindStringSubmatch(line); m != nil {
			from, to := at(m[1]), at(m[2])
			if m[1] == "" {
				from = to
			}
			if assert.True(t, 0 <= from && from <= to, "the first way has no %s", line) {
				all = append(all, first[from:to+1]...)
			}
		} else if strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|-") && !strings.Contains(line, " where |") {
			t.Errorf("docs/PURCHASE.md: a row that nobody can read: %s", line)
		}
	}
	return all
}

// declares reports whether a file has the function: in Go F, or T.F for a method of T; in
// Lua also "the script", which is the whole file.
func declares(file, text, name string) bool {
	recv, method, isMethod := strings.Cut(name, ".")
	decl := `(?m)^func ` + name + `[\[(]`
	switch {
	case path.Ext(file) == ".lua" && name == "the script":
		return text != ""
	case path.Ext(file) == ".lua":
		decl = `(?m)^local function ` + name + `\(`
	case isMethod:
		decl = `(?m)^func \(\w+ \*?` + recv + `(?:\[\w+\])?\) ` + method + `\(`
	}
	return regexp.MustCompile(decl).MatchString(text)
}

// Every function that docs/PURCHASE.md lists is in the file that it names, and the figures of
// that page and of the record are those of the lists.
func TestEveryFunctionOfAPurchaseIsWhereThePageSays(t *testing.T) {
	t.Parallel()
	all, _ := texts(t)
	parts := strings.Split(all["docs/PURCHASE.md"], "\n## ")
	require.Len(t, parts, 4)
	own := hops(t, parts[1], nil)
	shared := hops(t, parts[2], own)
	for _, h := range slices.Concat(own, shared, hops(t, parts[3], nil)) {
		assert.True(t, declares(h.file, all[h.file], h.name), "docs/PURCHASE.md: %s has no %s", h.file, h.name)
	}
	record := all["docs/adr/0012-rooms-for-the-connection-the-duties-and-the-client.md"]
	for i, way := range [][]hop{own, shared} {
		files, functions := map[string]bool{}, map[hop]bool{}
		for _, h := range way {
			files[h.file], functions[h] = true, true
		}
		assert.Contains(t, parts[i+1], fmt.Sprintf("**%d files, %d functions**", len(files), len(functions)))
		row := regexp.MustCompile(`(?m)^\| ` + [...]string{"embedded", "on shared engines"}[i] + ` \|.*\| (\d+, \d+) \|$`).FindStringSubmatch(record)
		if assert.NotNil(t, row, "the record counts both ways") {
			assert.Equal(t, fmt.Sprintf("%d, %d", len(files), len(functions)), row[1])
		}
	}
}
