// Lint is what `make check` runs beside staticcheck: all that go vet looks for, so that every
// package is read once, and checks that stand for a fault that this code could make and that
// no test would notice soon:
//
//	rowserr      sql.Rows.Err is not looked at: a lost connection in the middle of a result
//	             looks like its end, so a rebuild would count too few orders
//	nilness      a nil pointer is used for certain, mostly on the way of an error that tests
//	             do not take
//	unusedwrite  a field of a copy is set and lost, as when a range variable is changed
//	             instead of the element
//
// Left out on purpose: errcheck, because its 200 findings here were all meant (closing
// what was only read, printing to a terminal, rests that end early); bodyclose, because
// it does not see that the tests' helpers close bodies; and sqlclosecheck, because it does
// not understand the statements that the store keeps.
//
// Use it as go vet's tool, so that the results of unchanged packages are kept:
//
//	go vet -vettool=bin/lint ./...
package main

import (
	"github.com/jingyugao/rowserrcheck/passes/rowserr"
	"golang.org/x/tools/go/analysis/passes/nilness"
	"golang.org/x/tools/go/analysis/passes/unusedwrite"
	"golang.org/x/tools/go/analysis/suite/vet"
	"golang.org/x/tools/go/analysis/unitchecker"
)

func main() {
	unitchecker.Main(append(vet.Suite, rowserr.NewAnalyzer("database/sql"), nilness.Analyzer, unusedwrite.Analyzer)...)
}
