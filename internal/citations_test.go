package internal

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// texts are the files of the repository that people read, by their path from the root.
// Folders whose files are not written by hand are left out.
func texts(t *testing.T) (all map[string]string, names map[string]bool) {
	t.Helper()
	all, names = map[string]string{}, map[string]bool{}
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name != ".." && strings.HasPrefix(name, ".") && name != ".ci" || name == "bin" || name == "data" {
				return fs.SkipDir
			}
			return nil
		}
		name := filepath.ToSlash(strings.TrimPrefix(file, ".."+string(filepath.Separator)))
		names[name] = true
		switch path.Ext(name) {
		case ".go", ".lua", ".md", ".sql", ".yaml", ".js", ".css", ".html", ".conf", ".txt", ".txtar":
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			all[name] = string(b)
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(all), 200)
	return all, names
}

// comment is the part of a line of code that is a comment, or the whole line of a page.
func comment(file, line string) string {
	switch path.Ext(file) {
	case ".md":
		return line
	case ".lua", ".sql":
		_, text, _ := strings.Cut(line, "--")
		return text
	case ".yaml", ".conf", ".txt":
		_, text, _ := strings.Cut(line, "#")
		return text
	case ".go", ".js":
		_, text, _ := strings.Cut(line, "//")
		return text
	}
	return ""
}

// nowhere are phrases that lead to a page which the repository does not have.
var nowhere = regexp.MustCompile(`(?i)\bthe design's\b|\bdesign's section\b|\bsection \d|\bthe user's notes\b|\b(?:design|house-style|safety|faults|libraries)\.md\b|\bstage \d`)

// Whoever reads a comment can follow what it refers to: it names a file of this
// repository, a test, or a step of docs/ORDER-CYCLE.md.
func TestEveryCitationLeadsToAFile(t *testing.T) {
	t.Parallel()
	all, names := texts(t)
	cited := regexp.MustCompile(`(?:[\w-]+/)*[\w-]+\.(?:md|go|lua|js|txt|txtar|sql|json|yaml|html|conf)\b`)
	tested := regexp.MustCompile(`\bTest[A-Z]\w+`)
	declared := tests(all)
	steps := regexp.MustCompile(`\bsteps? (\d+)`)
	last := len(regexp.MustCompile(`(?m)^## \d+\. `).FindAllString(all["docs/ORDER-CYCLE.md"], -1))
	require.Equal(t, 17, last)
	followed := 0
	for file, text := range all {
		if file == "internal/citations_test.go" || file == "CHANGELOG.md" {
			continue
		}
		named := tested
		if file == "docs/steady.md" || strings.HasPrefix(file, "docs/adr/") {
			named = nil // these say what was at a time
		}
		for i, line := range strings.Split(text, "\n") {
			said := comment(file, line)
			if line == "## Tests that have another name" {
				named = nil
			}
			if m := nowhere.FindString(said); m != "" {
				t.Errorf("%s:%d: %q leads to no page of this repository", file, i+1, m)
			}
			for _, m := range steps.FindAllStringSubmatch(said, -1) {
				if n, err := strconv.Atoi(m[1]); err != nil || n < 1 || n > last {
					t.Errorf("%s:%d: docs/ORDER-CYCLE.md has no step %s", file, i+1, m[1])
				}
			}
			if named != nil {
				for _, name := range named.FindAllString(said, -1) {
					if followed++; !declared[name] {
						t.Errorf("%s:%d: there is no %s", file, i+1, name)
					}
				}
			}
			if strings.Contains(said, "://") || path.Ext(file) == ".md" {
				continue // pages have links of their own
			}
			for _, name := range cited.FindAllString(said, -1) {
				followed++
				if !leads(names, file, name) {
					t.Errorf("%s:%d: there is no %s", file, i+1, name)
				}
			}
		}
	}
	require.Greater(t, followed, 400)
}

// tests are all names that the code declares and that begin as a test's does.
func tests(all map[string]string) map[string]bool {
	names := map[string]bool{}
	f := regexp.MustCompile(`(?m)^(?:func|const|var|type) (Test\w+)`)
	for file, text := range all {
		if path.Ext(file) == ".go" {
			for _, m := range f.FindAllStringSubmatch(text, -1) {
				names[m[1]] = true
			}
		}
	}
	return names
}

// leads reports whether a file may call another one by name: from the root, from its own
// folder or one above it, or by the end of its path.
func leads(names map[string]bool, file, name string) bool {
	for dir := path.Dir(file); ; dir = path.Dir(dir) {
		if names[path.Join(dir, name)] {
			return true
		}
		if dir == "." {
			break
		}
	}
	for known := range names {
		if strings.HasSuffix(known, "/"+name) {
			return true
		}
	}
	return false
}

// What a page links to is there.
func TestEveryLinkBetweenPagesLeadsToAFile(t *testing.T) {
	t.Parallel()
	all, names := texts(t)
	folders := map[string]bool{}
	for name := range names {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	link := regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	followed := 0
	for file, text := range all {
		if path.Ext(file) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], ":") {
				continue // another site
			}
			followed++
			if to := path.Join(path.Dir(file), m[1]); !names[to] && !folders[to] {
				t.Errorf("%s links to %s, which is not there", file, m[1])
			}
		}
	}
	require.Greater(t, followed, 50)
}

// The index of decisions has every page, with its title.
func TestEveryDecisionIsInTheIndex(t *testing.T) {
	t.Parallel()
	all, _ := texts(t)
	index, pages := all["docs/adr/README.md"], 0
	for name, text := range all {
		if ok, _ := path.Match("docs/adr/0*.md", name); !ok {
			continue
		}
		pages++
		title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		_, title, _ = strings.Cut(title, ". ")
		assert.Contains(t, index, "["+title+"]("+path.Base(name)+")")
	}
	require.Positive(t, pages)
	require.Equal(t, pages, strings.Count(index, "](0"))
}
