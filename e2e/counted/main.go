// Command counted prints a table of the packages of two trees of this repository: lines without
// tests, and exported names at the top level, with those that are new and those that are gone.
// docs/adr/0007 and 0012 have what it printed:
//
//	git worktree add /tmp/was f07288c && git worktree add /tmp/is COMMIT
//	go run ./e2e/counted /tmp/was /tmp/is
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pkg is what one folder has.
type pkg struct {
	lines int
	names map[string]bool
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: counted TREE TREE")
		os.Exit(2)
	}
	was, is := read(os.Args[1]), read(os.Args[2])
	fmt.Print("| package | lines | names | of them new | gone or moved |\n|---|---|---|---|---|\n")
	all := maps.Clone(was)
	maps.Copy(all, is)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a, b := was[name], is[name]
		fmt.Printf("| %s | %d → %d | %d → %d | %s | %s |\n", name, a.lines, b.lines, len(a.names), len(b.names), without(b.names, a.names), without(a.names, b.names))
	}
	for _, tree := range []map[string]pkg{was, is} {
		var lines []int
		for name, p := range tree {
			if strings.HasPrefix(name, "internal/") && !strings.HasSuffix(name, "test") {
				lines = append(lines, p.lines)
			}
		}
		slices.Sort(lines)
		sum := 0
		for _, n := range lines {
			sum += n
		}
		fmt.Printf("below internal, without packages for tests: %d packages, %d lines, %d each, median %d\n", len(lines), sum, sum/len(lines), lines[len(lines)/2])
	}
}

func read(tree string) map[string]pkg {
	all := map[string]pkg{}
	err := filepath.WalkDir(tree, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		name, err := filepath.Rel(tree, filepath.Dir(file))
		if err != nil {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, 0)
		if err != nil {
			return err
		}
		p, ok := all[name]
		if !ok {
			p.names = map[string]bool{}
		}
		p.lines += bytes.Count(text, []byte("\n"))
		for _, d := range parsed.Decls {
			for _, id := range names(d) {
				if id.IsExported() && parsed.Name.Name != "main" {
					p.names[id.Name] = true
				}
			}
		}
		all[name] = p
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return all
}

// names are those that a declaration gives to the package; methods are not counted.
func names(d ast.Decl) (all []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			all = append(all, d.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				all = append(all, s.Name)
			case *ast.ValueSpec:
				all = append(all, s.Names...)
			}
		}
	}
	return all
}

func without(these, those map[string]bool) string {
	var left []string
	for name := range these {
		if !those[name] {
			left = append(left, name)
		}
	}
	slices.Sort(left)
	return strings.Join(left, " ")
}
