package stacktest

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// played is a test that may fail, and what it prints.
type played struct {
	*testing.T
	failed bool
	ends   []func()
	prints string
}

func (p *played) Failed() bool                      { return p.failed }
func (p *played) Cleanup(f func())                  { p.ends = append(p.ends, f) }
func (p *played) Logf(format string, args ...any)   { p.prints += fmt.Sprintf(format, args...) }
func (p *played) Fatalf(format string, args ...any) { p.Logf(format, args...) }

func TestATestThatFailsPrintsTheEndOfALog(t *testing.T) {
	t.Parallel()
	for _, failed := range []bool{false, true} {
		p := &played{T: t, failed: failed}
		log := Log(p, "the node")
		for i := range 3 * logKept {
			fmt.Fprintf(log, "line %d\n", i+1)
		}
		for _, end := range p.ends {
			end()
		}
		fmt.Fprintln(log, "after the end")
		if failed {
			require.Regexp(t, `^the node ends with:\nline 201\nline 202\n(line \d+\n){97}line 300$`, p.prints)
		} else {
			require.Empty(t, p.prints)
		}
	}
}

func TestWhatNeverComesIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &played{T: t}
		came := make(chan int, 1)
		came <- 7
		require.Equal(t, 7, Await(p, "something", came))
		AwaitAll(p, "nobody", &sync.WaitGroup{})
		require.Empty(t, p.prints)
		Await(p, "the node stops", came)
		require.Equal(t, "not within 2m0s: the node stops", p.prints)
	})
}

func TestASeedIsSaidAndCanBeGiven(t *testing.T) {
	t.Setenv(SeedVariable, "")
	p := &played{T: t}
	seed := Seed(p)
	require.Equal(t, fmt.Sprint(SeedVariable, "=", seed), p.prints)
	require.NotEqual(t, seed, Seed(p))
	t.Setenv(SeedVariable, fmt.Sprint(seed))
	require.Equal(t, seed, Seed(p))
}
