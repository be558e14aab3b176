// Package stacktest gives tests the engines of package stack: [Shared] ones, on which each
// test has a namespace of its own ([Fresh]), and engines of one test alone ([Own],
// [OwnCluster], [OwnNginx]). [Main] ends the shared ones. The binary has nothing of it.
//
// A test that fails is understood with [Log] and [Seed], and fails in time with [Await].
package stacktest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"seckill/internal/stack"
)

// A test's own server may take this long to go away or to forget a namespace.
const cleanupLimit = time.Minute

// T is what tests give, a *testing.T or *testing.B. A program that lends engines to tests
// does without package testing.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Failed() bool
	Context() context.Context
	Cleanup(func())
}

// Own is an engine for this test alone, running, which it may kill, stop and
// wipe. It ends with the test, and its data go.
//
// Where the package is not installed the test is skipped; with SECKILL_REQUIRE=1
// in the environment it fails.
func Own(t T, kind stack.Kind, opts ...stack.Option) *stack.Engine {
	t.Helper()
	return own(t, kind, func(dir string) (*stack.Engine, error) { return stack.New(kind, dir, opts...) })
}

// OwnNginx is an nginx for this test alone, running. It ends with the test. Where
// nginx is not installed it does what [Own] does.
func OwnNginx(t T, site stack.Site) *stack.Engine {
	t.Helper()
	return own(t, stack.KindNginx, func(dir string) (*stack.Engine, error) { return stack.Nginx(dir, site) })
}

// OwnStopped is what [Own] is, not yet started.
func OwnStopped(t T, kind stack.Kind, opts ...stack.Option) *stack.Engine {
	t.Helper()
	return stopped(t, kind, func(dir string) (*stack.Engine, error) { return stack.New(kind, dir, opts...) })
}

func own(t T, kind stack.Kind, make func(dir string) (*stack.Engine, error)) *stack.Engine {
	t.Helper()
	e := stopped(t, kind, make)
	if e == nil {
		return nil
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatalf("stack: %v", err)
		return nil
	}
	return e
}

func stopped(t T, kind stack.Kind, make func(dir string) (*stack.Engine, error)) *stack.Engine {
	t.Helper()
	if leftOut(t, kind) {
		return nil
	}
	temp, ok := tempDir(t)
	if !ok {
		return nil
	}
	e, err := make(filepath.Join(temp, string(kind)))
	if err != nil {
		without(t, err)
		return nil
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s ends with:\n%s", e.LogFile(), e.LogTail())
		}
		if err := e.Discard(); err != nil {
			t.Errorf("stack: %v", err)
		}
	})
	return e
}

// OwnCluster is a cluster of Redis or RabbitMQ for this test alone, running. It
// ends with the test, and its data go. Without the package it does what [Own] does.
func OwnCluster(t T, kind stack.Kind) *stack.Cluster {
	t.Helper()
	if leftOut(t, kind) || leftOut(t, clusters) {
		return nil
	}
	temp, ok := tempDir(t)
	if !ok {
		return nil
	}
	c, err := stack.NewCluster(kind, temp)
	t.Cleanup(func() {
		if t.Failed() {
			for _, e := range c.Members {
				t.Logf("%s ends with:\n%s", e.LogFile(), e.LogTail())
			}
		}
		if err := c.Discard(); err != nil {
			t.Errorf("stack: %v", err)
		}
	})
	if err != nil {
		without(t, err)
		return nil
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatalf("stack: %v", err)
		return nil
	}
	return c
}

// tempDir is a folder that goes with the test, after what was started in it.
func tempDir(t T) (path string, ok bool) {
	t.Helper()
	path, remove, err := stack.TempDir()
	if err != nil {
		without(t, err)
		return "", false
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Errorf("stack: %v", err)
		}
	})
	return path, true
}

// shared are the engines that this test process has borrowed or started, when first
// asked for.
var shared struct {
	sync.Mutex
	dir     string // not empty while Main runs tests
	engines map[stack.Kind]func() (*stack.Engine, error)
	started []*stack.Engine // those that were not borrowed
}

// Shared is the engine that all tests share, running: they must neither stop it nor
// depend on being alone on it (see [Fresh]). Where another process lends one
// (see [LentVariable]), it is that one. Else it is started for the first test of this
// process that asks, and Main ends it.
//
// Without the package installed it does what [Own] does.
func Shared(t T, kind stack.Kind) *stack.Engine {
	t.Helper()
	if leftOut(t, kind) {
		return nil
	}
	e, err := sharedEngine(kind)
	if err != nil {
		without(t, err)
		return nil
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s, which others used too, ends with:\n%s", e.LogFile(), e.LogTail())
		}
	})
	return e
}

func sharedEngine(kind stack.Kind) (*stack.Engine, error) {
	shared.Lock()
	start := shared.engines[kind]
	if start == nil {
		if shared.dir == "" {
			shared.Unlock()
			return nil, errors.New("shared engines need: func TestMain(m *testing.M) { stacktest.Main(m) }")
		}
		dir := filepath.Join(shared.dir, string(kind))
		start = sync.OnceValues(func() (*stack.Engine, error) {
			e, err := borrow(kind)
			if e != nil || err != nil {
				return e, err
			}
			e, err = stack.New(kind, dir)
			if err != nil {
				return nil, err
			}
			// Not a test's context: the engine outlives the first who asked.
			if err := e.Start(context.Background()); err != nil {
				return nil, errors.Join(err, e.Close())
			}
			shared.Lock()
			defer shared.Unlock()
			shared.started = append(shared.started, e)
			return e, nil
		})
		shared.engines[kind] = start
	}
	shared.Unlock()
	return start()
}

// Main runs the tests, ends the shared engines, and exits. It is the whole of a
// TestMain:
//
//	func TestMain(m *testing.M) { stacktest.Main(m) }
func Main(m interface{ Run() int }) {
	code, err := runMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runMain(m interface{ Run() int }) (code int, err error) {
	dir, remove, err := stack.TempDir()
	if err != nil {
		return 1, err
	}
	shared.Lock()
	shared.dir, shared.engines = dir, make(map[stack.Kind]func() (*stack.Engine, error))
	shared.Unlock()

	code = m.Run()

	shared.Lock()
	defer shared.Unlock()
	errs := make([]error, len(shared.started))
	var wg sync.WaitGroup
	for i, e := range shared.started {
		wg.Go(func() { errs[i] = e.Discard() })
	}
	wg.Wait()
	shared.dir, shared.engines, shared.started = "", nil, nil
	return code, errors.Join(append(errs, remove())...)
}

// Fresh makes a namespace of an engine for one test, and returns the URL: see
// [stack.Engine.Namespace]. It goes when the test ends.
func Fresh(t T, e *stack.Engine) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cleanupLimit)
	defer cancel()
	url, remove, err := e.Namespace(ctx, strings.ToLower(rand.Text()[:12]))
	if remove != nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
			defer cancel()
			if err := remove(ctx); err != nil && e.Pid() != 0 {
				t.Errorf("stack: %s: remove a namespace: %v", e.Kind(), err)
			}
		})
	}
	if err != nil {
		t.Fatalf("stack: %s: a fresh namespace: %v", e.Kind(), err)
	}
	return url
}

// AsAdmin is the URL of a namespace that Fresh has made, for the engine's own
// administrator: see [stack.Engine.AdminURL].
func AsAdmin(e *stack.Engine, fresh string) string {
	_, place, _ := strings.Cut(fresh, "@")
	admin, _, _ := strings.Cut(e.AdminURL(), "@")
	return admin + "@" + place
}

// LeaveOutVariable in the environment names kinds of engines, with commas between them,
// that a quick run of tests does without. "chromium" is one of them, see e2e/browser, and
// "clusters" are those of any kind.
const LeaveOutVariable = "SECKILL_TEST_LEAVE_OUT"

const clusters stack.Kind = "clusters"

// LeftOut is how the reason of a test that is skipped for that begins.
const LeftOut = "LEFT OUT: "

// leftOut skips the test if the engine is left out.
func leftOut(t T, kind stack.Kind) bool {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv(LeaveOutVariable), ","), string(kind)) {
		return false
	}
	t.Skipf(LeftOut+"%s (%s)", kind, LeaveOutVariable)
	return true
}

// Need is for tests that make engines of these kinds themselves: where one is not installed it
// does what [Own] does.
func Need(t T, kinds ...stack.Kind) {
	t.Helper()
	for _, k := range kinds {
		if err := stack.Installed(k); err != nil {
			without(t, err)
			return
		}
	}
}

// without ends the test for an engine that could not be made: it is skipped where the package
// is not installed, unless engines are required.
func without(t T, err error) {
	t.Helper()
	switch {
	case !errors.Is(err, stack.ErrMissing):
		t.Fatalf("stack: %v", err)
	case os.Getenv("SECKILL_REQUIRE") == "1":
		t.Fatalf("stack: SECKILL_REQUIRE=1, but %v", err)
	default:
		t.Skipf("NOT TESTED: %v (SECKILL_REQUIRE=1 makes this a failure)", err)
	}
}
