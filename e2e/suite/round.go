package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"seckill/internal/stack/stacktest"
)

// group is packages whose tests are built in the same way.
type group struct {
	race     bool
	flags    []string // of go test
	packages []string
}

// withoutRace are the packages whose tests drive other processes or read our files: the race
// detector would see nothing of ours, and take the time of what it slows down. It would watch
// the commands of cmd/seckill, which are the test's own binary; but one command at a time does
// little at once, and e2e/crowd, whose node is in the process of the test, is watched instead.
var (
	withoutRace = []string{"seckill/cmd/...", "seckill/deploy/...", "seckill/e2e/...", "seckill/internal"}
	withRace    = []string{"seckill/e2e/crowd"}
)

// isIn reports whether a package is one of these. A name with /... at its end stands for a
// folder and all that is below.
func isIn(names []string, pkg string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		dir, all := strings.CutSuffix(name, "/...")
		return pkg == dir || all && strings.HasPrefix(pkg, dir+"/")
	})
}

// Two processors have room for that many packages at once, and each for that many tests
// at once: most wait for something most of the time. The tests of e2e are the longest
// way through, and begin at once beside the others.
//
// What is in unwatched is others' code that computes on its own memory: the race detector
// sees nothing of ours in it and takes most of the time there. SQLite is C that was translated
// to Go, and guards its memory itself; goja runs the pages' JavaScript. What calls them is
// watched. No package that synchronizes goroutines for its callers belongs here, and none that
// uses a sync.Map or an atomic.Pointer: the linker may take its copy of their methods, which
// tells the detector nothing, for the whole program, and the detector finds races that are none.
var (
	unwatched = []string{"modernc.org/sqlite/lib", "modernc.org/libc", "modernc.org/memory", "regexp", "compress/flate", "golang.org/x/crypto/argon2", "golang.org/x/crypto/blake2b", "github.com/dop251/goja"}
	racing    = append([]string{"-race", "-p=2", "-parallel=4", noPointers, noDebugger}, eachUnwatched()...)
	plain     = []string{"-p=2", "-parallel=3"}
	quick     = []string{"-short", "-parallel=4"}
)

// noPointers leaves out the check of conversions of unsafe pointers, which comes with the race
// detector: nothing of ours that is watched converts any, and others' code, above all reflect
// and the atomic values of sync, takes a tenth of the processor time for it.
const noPointers = "-gcflags=all=-d=checkptr=0"

// noDebugger compiles our own code without what only a debugger reads: go test links without
// it anyway, and it takes an eighth of the time of compiling and linking. A stack trace has its
// lines all the same. Of the settings of a package the last one counts, which so has both.
const noDebugger = "-gcflags=seckill/...=-d=checkptr=0 -dwarf=false"

// garbage lets what the race detector watches collect its memory less often. That saves a
// tenth of the processor time where a test makes many stores.
const garbage = "GOGC=300"

// ending is how long a binary that the race detector watches looks for races when its tests
// have ended. Otherwise each of them does so for a second.
const ending = "GORACE=atexit_sleep_ms=100"

func eachUnwatched() (flags []string) {
	for _, pkg := range unwatched {
		flags = append(flags, "-gcflags="+pkg+"=-race=false")
	}
	return flags
}

// groups sorts the packages that the patterns name.
func groups(ctx context.Context, patterns []string) ([]group, error) {
	out, err := output(ctx, "go", append([]string{"list"}, patterns...)...)
	if err != nil {
		return nil, err
	}
	r, p := group{race: true, flags: racing}, group{flags: plain}
	for _, pkg := range strings.Fields(out) {
		if isIn(withoutRace, pkg) && !isIn(withRace, pkg) {
			p.packages = append(p.packages, pkg)
		} else {
			r.packages = append(r.packages, pkg)
		}
	}
	return slices.DeleteFunc([]group{p, r}, func(g group) bool { return len(g.packages) == 0 }), nil
}

// event is a line of go test -json.
type event struct {
	Time                                       time.Time
	Action, Package, Test, Output, FailedBuild string
	ImportPath                                 string // of build-output
	Elapsed                                    float64
}

// test is what became of a test in one round.
type test struct {
	end   string // pass, fail or skip; empty while it runs
	since time.Time
	// took leaves out how long it waited for others until it might run. Elapsed leaves out the
	// parallel parts of a test as well, which are most of it.
	took time.Duration
	out  []string
}

// turn counts the time until now if it ran, and from now on if it runs.
func (t *test) turn(now time.Time, runs bool) {
	if !t.since.IsZero() {
		t.took += now.Sub(t.since)
	}
	t.since = time.Time{}
	if runs {
		t.since = now
	}
}

// tested is a package's tests in one round. The name of the package's own outcome is empty.
type tested map[string]*test

func (p tested) test(name string) *test {
	if p[name] == nil {
		p[name] = &test{}
	}
	return p[name]
}

// outcome is one round of all packages.
type outcome struct {
	mu       sync.Mutex
	packages map[string]tested
	builds   map[string][]string // what the compiler said of a package
	// processors is the time that compiling, the tests and what they started took on all
	// processors. The shared engines, and processes that were killed unasked for, are not in it.
	processors time.Duration
}

func newOutcome() *outcome {
	return &outcome{packages: map[string]tested{}, builds: map[string][]string{}}
}

// round runs all tests once. An error says that they could not be run; that some failed
// is in the outcome.
func round(ctx context.Context, env []string, o options) (*outcome, error) {
	groups, err := groups(ctx, o.packages)
	if err != nil {
		return nil, err
	}
	if o.check {
		for i := range groups {
			groups[i].race, groups[i].flags = false, quick
		}
	}
	r := newOutcome()
	errs := make([]error, len(groups))
	var all sync.WaitGroup
	for i, g := range groups {
		all.Go(func() { errs[i] = r.run(ctx, env, o, g) })
	}
	all.Wait()
	return r, errors.Join(errs...)
}

func (r *outcome) run(ctx context.Context, env []string, o options, g group) error {
	args := append([]string{"test", "-json", "-vet=off", "-timeout=" + o.timeout.String()}, g.flags...)
	if o.fresh || o.rounds > 0 {
		args = append(args, "-count=1")
	}
	if o.run != "" {
		args = append(args, "-run="+o.run)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, g.packages...)...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	if g.race {
		cmd.Env = append(slices.Clip(env), garbage, ending)
	}
	// Who is asked to stop lets go test end its tests, and they their processes.
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, time.Minute
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := r.read(out, os.Stdout); err != nil {
		return errors.Join(err, cmd.Wait())
	}
	err = cmd.Wait()
	r.mu.Lock()
	r.processors += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, failed := errors.AsType[*exec.ExitError](err); failed && r.err() != nil {
		return nil // which is in the outcome
	}
	return err
}

// read takes the events of one go test, and prints a line for each package that ends.
func (r *outcome) read(events io.Reader, progress io.Writer) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("go test -json wrote %q: %w", line, err)
		}
		r.take(e, progress)
	}
}

func (r *outcome) take(e event, progress io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Package == "" { // build-output, build-fail
		if e.Output != "" {
			r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
		}
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = tested{}
		r.packages[e.Package] = p
	}
	t := p.test(e.Test)
	switch e.Action {
	case "output":
		t.out = append(t.out, e.Output)
	case "start", "run", "cont":
		t.turn(e.Time, true)
	case "pause":
		t.turn(e.Time, false)
	case "pass", "fail", "skip":
		t.turn(e.Time, false)
		t.end, t.took = e.Action, max(t.took, time.Duration(e.Elapsed*float64(time.Second)))
		if e.FailedBuild != "" {
			t.out = append(t.out, r.builds[e.FailedBuild]...)
		}
		if e.Test == "" && (e.Action != "skip" || len(p) > 1) {
			fmt.Fprintf(progress, "%-4s %s %s\n", map[string]string{"pass": "ok", "fail": "FAIL", "skip": "none"}[e.Action], e.Package, seconds(t.took))
		}
	}
}

// failure is a test that failed. A test whose subtests failed is not one itself.
type failure struct{ pkg, test string }

func (r *outcome) failures() (failed []failure) {
	for pkg, p := range r.packages {
		for name, t := range p {
			// A test that was running when the process died has no end.
			bad := func(t *test) bool { return t.end == "fail" || t.end == "" }
			if !bad(t) {
				continue
			}
			below := func(other string) bool {
				return other != name && bad(p[other]) && (name == "" || strings.HasPrefix(other, name+"/"))
			}
			deeper := false
			for other := range p {
				deeper = deeper || below(other)
			}
			if !deeper {
				failed = append(failed, failure{pkg, name})
			}
		}
	}
	slices.SortFunc(failed, func(a, b failure) int { return strings.Compare(a.pkg+"\n"+a.test, b.pkg+"\n"+b.test) })
	return failed
}

func (r *outcome) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	whole := map[failure]bool{}
	for _, f := range r.failures() {
		f.test, _, _ = strings.Cut(f.test, "/")
		whole[f] = true
	}
	if len(whole) > 0 {
		return fmt.Errorf("%d tests failed", len(whole))
	}
	return nil
}

// tell says what was skipped, what took long, and all about what failed.
func (r *outcome) tell(w io.Writer, o options) {
	r.mu.Lock()
	defer r.mu.Unlock()
	skipped := map[string][]string{}
	var slowest string
	var most time.Duration
	for pkg, p := range r.packages {
		if t := p.test(""); t.took > most {
			slowest, most = pkg, t.took
		}
		for name, t := range p {
			if t.end == "skip" && name != "" {
				reason := why(t.out)
				skipped[reason] = append(skipped[reason], short(pkg)+" "+name)
			}
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(skipped)) {
		names := skipped[reason]
		slices.Sort(names)
		if len(names) > mostNames {
			names = append(names[:mostNames:mostNames], "…")
		}
		fmt.Fprintf(w, "skipped, %d tests: %s: %s\n", len(skipped[reason]), reason, strings.Join(names, ", "))
	}
	shown := map[failure]int{}
	for _, f := range r.failures() {
		whole, _, _ := strings.Cut(f.test, "/")
		n := shown[failure{f.pkg, whole}] + 1
		shown[failure{f.pkg, whole}] = n
		if n == mostNames+1 {
			fmt.Fprintf(w, "\n=== %s: more parts of %s failed\n", f.pkg, whole)
		}
		if n > mostNames {
			continue
		}
		p := r.packages[f.pkg]
		fmt.Fprintf(w, "\n=== %s %s failed\n", f.pkg, f.test)
		var said strings.Builder
		for _, part := range ancestry(f.test) { // what its parents said explains it
			if t := p[part]; t != nil && (part != "" || f.test == "" || t.end == "fail") {
				said.WriteString(strings.Join(t.out, ""))
			}
		}
		fmt.Fprintf(w, "%srepeat it: %s\n", said.String(), repeat(f, said.String()))
	}
	if most > 0 {
		fmt.Fprintf(w, "\nthe slowest package is %s: %s, %d%% of its timeout; processor time %s\n", slowest, seconds(most), 100*most/o.timeout, seconds(r.processors))
	}
}

// unchecked says which packages with tests were not run.
func (r *outcome) unchecked(ctx context.Context, w io.Writer) error {
	tested, err := output(ctx, "go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", "seckill/...")
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var rest []string
	for pkg := range strings.FieldsSeq(tested) {
		if r.packages[pkg] == nil {
			rest = append(rest, short(pkg))
		}
	}
	fmt.Fprintf(w, "not run, %d packages, most of which drive the whole program: %s; \"make test\" runs them\n", len(rest), strings.Join(rest, ", "))
	return nil
}

// mostNames is how many of the tests that were skipped for one reason are named, and of
// a test how many parts that failed are shown.
const mostNames = 3

// place is where a test says something: the file and the line.
var place = regexp.MustCompile(`^\s*\w+\.go:\d+: `)

// why is the reason in what a skipped test printed.
func why(out []string) string {
	for _, line := range out {
		if place.MatchString(line) {
			return strings.TrimSpace(place.ReplaceAllString(line, ""))
		}
	}
	return "it does not say why"
}

// ancestry is a test's name and those of the tests that it is in, the outermost first.
// The package itself comes before all.
func ancestry(name string) []string {
	if name == "" {
		return []string{""}
	}
	up := ""
	if dir := path.Dir(name); dir != "." {
		up = dir
	}
	return append(ancestry(up), name)
}

// seed is what a test says that has drawn lots.
var seed = regexp.MustCompile(stacktest.SeedVariable + `=\d+`)

// repeat is the command that runs one test alone, built and set as it was when it failed, with
// the lots that it has drawn.
func repeat(f failure, said string) string {
	args := []string{"SECKILL_REQUIRE=1"}
	if seeds := seed.FindAllString(said, -1); len(seeds) > 0 {
		args = append(args, seeds[len(seeds)-1]) // the test's own, after those of its parents
	}
	args = append(args, "go run ./e2e/suite -fresh")
	if f.test != "" {
		var parts []string
		for part := range strings.SplitSeq(f.test, "/") {
			parts = append(parts, "^"+quoteMeta(part)+"$")
		}
		args = append(args, "-run '"+strings.Join(parts, "/")+"'")
	}
	return strings.Join(append(args, "./"+strings.TrimPrefix(strings.TrimPrefix(f.pkg, "seckill"), "/")), " ")
}

// quoteMeta is a name as a part of a regular expression within single quotes. A sign
// that needs quoting twice is any sign.
func quoteMeta(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\'':
			b.WriteByte('.')
		case strings.ContainsRune(`\.+*?()|[]{}^$`, r):
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
