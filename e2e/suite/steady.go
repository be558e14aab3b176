package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// history is what became of a test in all rounds.
type history struct {
	runs, failures, skips int
	longest               time.Duration
}

// steadiness is what became of all tests and packages in some rounds.
type steadiness struct {
	rounds, passed int
	took           []time.Duration
	tests          map[failure]*history
}

// add counts one round.
func (s *steadiness) add(r *outcome, took time.Duration) {
	s.rounds++
	s.took = append(s.took, took)
	if r.err() == nil {
		s.passed++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for pkg, p := range r.packages {
		for name, t := range p {
			h := s.tests[failure{pkg, name}]
			if h == nil {
				h = &history{}
				s.tests[failure{pkg, name}] = h
			}
			h.runs++
			switch t.end {
			case "skip":
				h.skips++
			case "fail", "":
				h.failures++
			}
			h.longest = max(h.longest, t.took)
		}
	}
}

// steady runs the suite again and again, and writes the table after each round: whoever
// stops it keeps what there is.
func steady(ctx context.Context, env []string, o options) error {
	s := &steadiness{tests: map[failure]*history{}}
	commit, err := commit(ctx)
	if err != nil {
		return err
	}
	for i := range o.rounds {
		fmt.Printf("\n--- round %d of %d\n", i+1, o.rounds)
		began := time.Now()
		r, err := round(ctx, env, o)
		if err != nil {
			return err
		}
		s.add(r, time.Since(began))
		r.tell(os.Stdout, o)
		if err := os.WriteFile(o.out, []byte(s.table(o, commit)), 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("\n%d of %d rounds passed; the table is in %s\n", s.passed, s.rounds, o.out)
	if s.passed < s.rounds {
		return errors.New("not steady")
	}
	return nil
}

// table is the page: packages, then each test by itself. Of subtests only those that failed.
func (s *steadiness) table(o options, commit string) string {
	var b strings.Builder
	ended := ""
	if s.rounds < o.rounds {
		ended = fmt.Sprintf(", which was ended after %d,", s.rounds)
	}
	fmt.Fprintf(&b, "# Are the tests steady?\n\nWritten by `%s`%s on commit %s, on %d processors beside %d busy loops.\n\n", o.again(), ended, commit, runtime.NumCPU(), o.busy)
	var each []string
	for _, t := range s.took {
		each = append(each, t.Round(time.Second).String())
	}
	fmt.Fprintf(&b, "**%d of %d rounds passed.** They took %s.\n", s.passed, s.rounds, strings.Join(each, ", "))
	var packages, tests, skipped []failure
	for f, h := range s.tests {
		switch {
		case f.test == "" && h.longest > 0:
			packages = append(packages, f)
		case f.test != "" && (!strings.Contains(f.test, "/") || h.failures > 0):
			tests = append(tests, f)
		}
		if f.test != "" && h.skips > 0 {
			skipped = append(skipped, f)
		}
	}
	longestFirst := func(a, c failure) int {
		if d := s.tests[c].failures - s.tests[a].failures; d != 0 {
			return d
		}
		if d := s.tests[c].longest - s.tests[a].longest; d != 0 {
			return int(d / time.Microsecond)
		}
		return strings.Compare(a.pkg+a.test, c.pkg+c.test)
	}
	slices.SortFunc(packages, longestFirst)
	slices.SortFunc(tests, longestFirst)
	slices.SortFunc(skipped, longestFirst)
	b.WriteString("\n## Packages\n\n| package | runs | failures | longest | of its timeout |\n|---|---|---|---|---|\n")
	for _, f := range packages {
		h := s.tests[f]
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %d %% |\n", short(f.pkg), h.runs, h.failures, seconds(h.longest), 100*h.longest/o.timeout)
	}
	b.WriteString("\n## Tests\n\nOf the parts of a test only those that failed. The longest time includes all parts of a test, and what it waits for an engine or a lock that others have.\n\n| test | package | runs | failures | longest |\n|---|---|---|---|---|\n")
	for _, f := range tests {
		h := s.tests[f]
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %s |\n", strings.ReplaceAll(f.test, "|", `\|`), short(f.pkg), h.runs, h.failures, seconds(h.longest))
	}
	if len(skipped) > 0 {
		b.WriteString("\n## Skipped\n\n")
		for _, f := range skipped {
			fmt.Fprintf(&b, "- %s in %s, %d times\n", f.test, short(f.pkg), s.tests[f].skips)
		}
	}
	return b.String()
}

// again is the command that writes the page.
func (o options) again() string {
	if o.run == "" && slices.Equal(o.packages, everything) {
		return fmt.Sprintf("make steady N=%d", o.rounds)
	}
	args := []string{"go run ./e2e/suite", fmt.Sprintf("-steady %d", o.rounds)}
	if o.run != "" {
		args = append(args, "-run '"+o.run+"'")
	}
	return strings.Join(append(args, o.packages...), " ")
}

func short(pkg string) string {
	if pkg == "seckill" {
		return "."
	}
	return strings.TrimPrefix(pkg, "seckill/")
}

// commit is the one that is tested, with a mark if the tree differs from it.
func commit(ctx context.Context) (string, error) {
	return output(ctx, "git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*")
}
