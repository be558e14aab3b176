package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// a module with tests of every end, in two packages and one that does not compile.
var module = map[string]string{
	"go.mod": "module seckill\n\ngo 1.25\n",
	"a_test.go": `package seckill
import "testing"
func TestGood(t *testing.T) {}
func TestSkipped(t *testing.T) { t.Skip("NOT TESTED: no abacus") }
func TestBad(t *testing.T) {
	t.Log("SECKILL_TEST_SEED=42")
	t.Run("part/one", func(t *testing.T) {})
	t.Run("part (two)", func(t *testing.T) { t.Fatal("lost it") })
}
`,
	"e2e/a_test.go": `package e2e
import "testing"
func TestDies(t *testing.T) { panic("at once") }
`,
	"broken/a_test.go": `package broken
func f() { nothing() }
`,
	"empty/a.go": "package empty\n",
}

func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	return dir
}

// played is what a real go test of the module writes.
func played(t *testing.T, dir string) *outcome {
	t.Helper()
	r := newOutcome()
	for _, pkg := range []string{".", "./broken", "./empty", "./e2e"} {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "-count=1", pkg)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod")
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		require.NoError(t, r.read(out, io.Discard))
		_ = cmd.Wait() // most of them fail
	}
	return r
}

func TestAFailureIsShownWithWhatRepeatsIt(t *testing.T) {
	t.Parallel()
	r := played(t, write(t, module))
	require.Equal(t, []failure{
		{"seckill", "TestBad/part_(two)"}, {"seckill/broken", ""}, {"seckill/e2e", "TestDies"},
	}, r.failures())
	require.EqualError(t, r.err(), "3 tests failed")
	var b strings.Builder
	r.tell(&b, options{timeout: time.Minute})
	for _, want := range []string{
		"skipped, 1 tests: NOT TESTED: no abacus: . TestSkipped\n",
		"SECKILL_TEST_SEED=42\n", "lost it", // the part and what its parent said
		`repeat it: SECKILL_REQUIRE=1 SECKILL_TEST_SEED=42 go run ./e2e/suite -fresh -run '^TestBad$/^part_\(two\)$' ./` + "\n",
		"undefined: nothing",
		"repeat it: SECKILL_REQUIRE=1 go run ./e2e/suite -fresh ./broken\n",
		"panic: at once",
		"repeat it: SECKILL_REQUIRE=1 go run ./e2e/suite -fresh -run '^TestDies$' ./e2e\n",
		"% of its timeout; processor time ",
	} {
		require.Contains(t, b.String(), want)
	}
	require.NotContains(t, b.String(), "TestGood")
}

func TestTheCommandThatRepeatsATestRunsItAlone(t *testing.T) {
	t.Parallel()
	command, ok := strings.CutPrefix(repeat(failure{"seckill", "TestBad/part_(two)"}, ""), "SECKILL_REQUIRE=1 go run ./e2e/suite ")
	require.True(t, ok)
	words, err := output(t.Context(), "sh", "-c", `printf '%s\n' `+command)
	require.NoError(t, err)
	o, err := parse(strings.Split(words, "\n"))
	require.NoError(t, err)
	require.True(t, o.fresh)
	require.Equal(t, []string{"./"}, o.packages)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-v", "-run="+o.run, ".")
	cmd.Dir = write(t, module)
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "lost it")
	require.NotContains(t, string(out), "part/one")
}

// go test says of a test with parallel parts that it took no time, and of one that waited for
// others only how long it ran.
func TestATestTakesAsLongAsItsParallelParts(t *testing.T) {
	t.Parallel()
	r := newOutcome()
	began := time.Now()
	for _, e := range []event{
		{Action: "start"},
		{Action: "run", Test: "TestX"},
		{Action: "run", Test: "TestX/part"},
		{Action: "pause", Test: "TestX/part"},
		{Action: "run", Test: "TestY"},
		{Action: "pause", Test: "TestY"},
		{Action: "cont", Test: "TestX/part"}, // 6 s
		{Action: "pass", Test: "TestX/part", Elapsed: 1},
		{Action: "pass", Test: "TestX", Elapsed: 0},
		{Action: "cont", Test: "TestY"}, // 9 s
		{Action: "pass", Test: "TestY", Elapsed: 1},
		{Action: "pass", Elapsed: 10},
	} {
		e.Package, e.Time = "seckill/a", began
		began = began.Add(time.Second)
		r.take(e, io.Discard)
	}
	took := map[string]time.Duration{}
	for name, test := range r.packages["seckill/a"] {
		took[name] = test.took
	}
	require.Equal(t, map[string]time.Duration{"": 11 * time.Second, "TestX": 7 * time.Second, "TestX/part": 2 * time.Second, "TestY": 2 * time.Second}, took)
}

func TestACheckSaysWhatItDidNotRun(t *testing.T) {
	t.Parallel()
	r := newOutcome()
	r.packages["seckill/internal/settle"] = tested{}
	var b strings.Builder
	require.NoError(t, r.unchecked(t.Context(), &b))
	require.Contains(t, b.String(), "e2e/suite")
	require.NotContains(t, b.String(), "internal/settle")
}

func TestAllRoundsAreInTheTable(t *testing.T) {
	t.Parallel()
	s := &steadiness{tests: map[failure]*history{}}
	good, bad := newOutcome(), newOutcome()
	for _, e := range []event{
		{Action: "run", Package: "seckill/a", Test: "TestX"},
		{Action: "pass", Package: "seckill/a", Test: "TestX/part", Elapsed: 1},
		{Action: "pass", Package: "seckill/a", Test: "TestX", Elapsed: 2},
		{Action: "skip", Package: "seckill/a", Test: "TestY"},
		{Action: "pass", Package: "seckill/a", Elapsed: 3},
	} {
		good.take(e, io.Discard)
		if e.Test == "TestX/part" || e.Test == "TestX" || e.Test == "" && e.Action == "pass" {
			e.Action, e.Elapsed = "fail", 2*e.Elapsed
		}
		bad.take(e, io.Discard)
	}
	s.add(good, time.Minute)
	s.add(bad, 2*time.Minute)
	table := s.table(options{rounds: 2, busy: 2, packages: everything, timeout: time.Minute}, "1234567")
	for _, want := range []string{
		"`make steady N=2` on commit 1234567", "beside 2 busy loops", "**1 of 2 rounds passed.** They took 1m0s, 2m0s.",
		"| a | 2 | 1 | 6.0 s | 10 % |\n", "| TestX | a | 2 | 1 | 4.0 s |\n", "| TestX/part | a | 2 | 1 | 2.0 s |\n", "- TestY in a, 2 times\n",
	} {
		require.Contains(t, table, want)
	}
	require.Contains(t, s.table(options{rounds: 3, packages: everything, timeout: time.Minute}, "1234567"), "`make steady N=3`, which was ended after 2, on commit")
}

func TestWhatIsRequiredIsNotLeftOut(t *testing.T) {
	t.Setenv("SECKILL_REQUIRE", "1")
	t.Setenv(stacktest.LeaveOutVariable, "rabbitmq")
	require.ErrorContains(t, run(t.Context(), nil), stacktest.LeaveOutVariable)
}

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == busyArgument {
		spin()
	}
	os.Exit(m.Run())
}

// Busy loops are processes of their own, and end when they are told to.
func TestBusyLoopsEnd(t *testing.T) {
	t.Parallel()
	end, pids, err := startBusy(2)
	require.NoError(t, err)
	for _, pid := range pids {
		require.NoError(t, syscall.Kill(pid, 0))
	}
	end()
	for _, pid := range pids {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	}
}

// A test prints the end of an engine's log. A run that fails leaves the whole of it.
func TestTheLogsOfAFailedRunAreKept(t *testing.T) {
	t.Parallel()
	redis := stacktest.Own(t, stack.KindRedis)
	dir := filepath.Join(t.TempDir(), "logs")
	var said strings.Builder
	for range 2 { // the second replaces the first
		require.NoError(t, keep([]*stack.Engine{redis}, dir, &said))
	}
	require.Contains(t, said.String(), dir)
	kept, err := os.ReadFile(filepath.Join(dir, "redis.log"))
	require.NoError(t, err)
	require.Contains(t, string(kept), "Ready to accept connections")
}

func TestTheGroupsHoldEveryPackageOnce(t *testing.T) {
	t.Parallel()
	all, err := output(t.Context(), "go", "list", "seckill/...")
	require.NoError(t, err)
	gs, err := groups(context.Background(), []string{"seckill/..."})
	require.NoError(t, err)
	var have []string
	for _, g := range gs {
		have = append(have, g.packages...)
		for _, pkg := range g.packages {
			// Everything of internal but our own files' tests, what users import, and a crowd
			// before a whole node are watched.
			watched := pkg == "seckill" || pkg == "seckill/e2e/crowd" || strings.HasPrefix(pkg, "seckill/internal/") || strings.HasPrefix(pkg, "seckill/examples/")
			require.Equal(t, g.race, watched, pkg)
		}
	}
	require.ElementsMatch(t, strings.Fields(all), have)
}

func TestWhatIsUnwatchedHasNothingGenericOfSync(t *testing.T) {
	t.Parallel()
	files, err := output(t.Context(), "go", append([]string{"list", "-f", `{{range .GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}`}, unwatched...)...)
	require.NoError(t, err)
	generic := regexp.MustCompile(`\b(sync\.(Map|OnceFunc|OnceValues?)|atomic\.Pointer)\b`)
	n := 0
	for file := range strings.FieldsSeq(files) {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Empty(t, generic.FindString(string(source)), file)
		n++
	}
	require.Greater(t, n, len(unwatched))
}

func TestArguments(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-run", "TestX", "./internal/store"})
	require.NoError(t, err)
	require.Equal(t, options{packages: []string{"./internal/store"}, run: "TestX", timeout: 30 * time.Minute, out: "docs/steady.md"}, o)
	o, err = parse([]string{"--", "go", "test", "-v"})
	require.NoError(t, err)
	require.Equal(t, []string{"go", "test", "-v"}, o.command)
	o, err = parse([]string{"-steady", "10", "-busy", "3"})
	require.NoError(t, err)
	require.Equal(t, 10, o.rounds)
	require.Equal(t, 3, o.busy)
	require.Equal(t, []string{"./..."}, o.packages)
}
