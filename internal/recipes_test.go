package internal

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

var (
	quotedFile = regexp.MustCompile("`((?:[a-z0-9_*-]+/)*[A-Za-z0-9_*{},.-]+\\.(?:go|lua|md|json|yaml|sql|js|txt|txtar))`")
	quotedTest = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
)

// The recipes of CONTRIBUTING.md lead to files and tests that exist.
func TestTheRecipesLeadSomewhere(t *testing.T) {
	t.Parallel()
	page := read(t, "CONTRIBUTING.md")
	_, recipes, found := strings.Cut(page, "## Recipes\n")
	require.True(t, found)
	files := quotedFile.FindAllStringSubmatch(recipes, -1)
	require.Greater(t, len(files), 20)
	for _, m := range files {
		matches, err := filepath.Glob(filepath.Join("..", m[1]))
		require.NoError(t, err)
		assert.NotEmpty(t, matches, "CONTRIBUTING.md names %s", m[1])
	}
	tests := quotedTest.FindAllStringSubmatch(recipes, -1)
	require.Greater(t, len(tests), 8)
	code := everyTest(t)
	for _, m := range tests {
		assert.Contains(t, code, "func "+m[1]+"(t *testing.T)")
	}
}

// shown is what a sale shows and the store does not keep: it is derived when it is shown.
var shown = map[string]bool{"id": true, "left": true, "state": true, "server_now": true, "waiting": true, "as_of": true, "left_from_store": true}

// A field of a sale that somebody adds is kept by both databases, can be set and changed,
// and is in the contract: the places of the recipe "A new field of a sale".
func TestAFieldOfASaleIsInEveryPlace(t *testing.T) {
	t.Parallel()
	places := []string{"internal/api/openapi.json", "docs/http-api.md"}
	given := []string{"internal/sale/patch.go", "cmd/seckill/sale.go"}
	kept := []string{"internal/store/migrations/sqlite/*.sql", "internal/store/migrations/mysql/*.sql", "internal/store/sales.go",
		"internal/client/sales.go", "internal/api/sales.go", "internal/web/console/static/*.js"}
	_, copied, _ := strings.Cut(read(t, "internal/api/steer.go"), "\nfunc (a *API) copySale(")
	copied, _, _ = strings.Cut(copied, "\nfunc ")
	looked := 0
	for _, field := range reflect.VisibleFields(reflect.TypeFor[seckill.Sale]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || field.Anonymous {
			continue
		}
		where := slices.Clone(places)
		if !shown[name] {
			where = append(where, given...)
		}
		if len(field.Index) == 1 && !shown[name] { // those of seckill.Access are kept and copied as one
			where = append(where, kept...)
			if name != "notice" { // what the buyers of one sale are told says nothing to those of its copy
				assert.Regexp(t, `\b`+field.Name+`: `, copied, "%s is not copied with a sale", name)
			}
		}
		for _, place := range where {
			looked++
			assert.True(t, regexp.MustCompile(`\b(`+name+`|`+field.Name+`)\b`).MatchString(read(t, place)), "%s of a sale is missing in %s", name, place)
		}
	}
	require.Greater(t, looked, 150)
}

// read returns the files of the repository that a pattern names.
func read(t *testing.T, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", pattern))
	require.NoError(t, err)
	require.NotEmpty(t, names, pattern)
	var all strings.Builder
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		all.Write(b)
	}
	return all.String()
}

// everyTest is the code of all tests.
func everyTest(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, depth := range []string{"*_test.go", "*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go"} {
		names, err := filepath.Glob(filepath.Join("..", depth))
		require.NoError(t, err)
		for _, name := range names {
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			all.Write(b)
		}
	}
	return all.String()
}
