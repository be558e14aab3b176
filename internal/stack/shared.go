package stack

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
)

// A test's own server may take this long to go away or to forget a namespace.
const cleanupLimit = time.Minute

// T is what tests give, a *testing.T or *testing.B. The binary, which has this
// package in it, does without package testing.
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
func Own(t T, kind Kind, opts ...Option) *Engine {
	t.Helper()
	s := specs(kind)
	if s == nil {
		t.Fatalf("stack: %q is no kind of engine", kind)
		return nil
	}
	var set settings
	for _, o := range opts {
		o(&set)
	}
	return own(t, s, set)
}

func own(t T, s *spec, set settings) *Engine {
	t.Helper()
	if leftOut(t, s.kind) {
		return nil
	}
	if err := s.installed(set.root); err != nil {
		without(t, err)
		return nil
	}
	temp, err := newTemp()
	if err != nil {
		t.Fatalf("stack: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := temp.remove(); err != nil {
			t.Errorf("stack: %v", err)
		}
	})
	e, err := s.engine(filepath.Join(temp.path, string(s.kind)), set)
	if err != nil {
		t.Fatalf("stack: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s ends with:\n%s", e.LogFile(), e.LogTail())
		}
		if err := e.discard(); err != nil {
			t.Errorf("stack: %v", err)
		}
	})
	if err := e.Start(t.Context()); err != nil {
		t.Fatalf("stack: %v", err)
		return nil
	}
	return e
}

// shared are the engines that this test process has borrowed or started, when first
// asked for.
var shared struct {
	sync.Mutex
	temp    *folder // not nil while Main runs tests
	engines map[Kind]func() (*Engine, error)
}

// Shared is the engine that all tests share, running: they must neither stop it nor
// depend on being alone on it (see [Engine.Fresh]). Where another process lends one
// (see [LentVariable]), it is that one. Else it is started for the first test of this
// process that asks, and Main ends it.
//
// Without the package installed it does what [Own] does.
func Shared(t T, kind Kind) *Engine {
	t.Helper()
	if leftOut(t, kind) {
		return nil
	}
	if err := missing(kind, nil); err != nil {
		without(t, err)
		return nil
	}
	e, err := sharedEngine(kind)
	if err != nil {
		t.Fatalf("stack: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s, which others used too, ends with:\n%s", e.LogFile(), e.LogTail())
		}
	})
	return e
}

func sharedEngine(kind Kind) (*Engine, error) {
	shared.Lock()
	start := shared.engines[kind]
	if start == nil {
		if shared.temp == nil {
			shared.Unlock()
			return nil, errors.New("shared engines need: func TestMain(m *testing.M) { stack.Main(m) }")
		}
		dir := filepath.Join(shared.temp.path, string(kind))
		start = sync.OnceValues(func() (*Engine, error) {
			e, err := borrow(kind)
			if e != nil || err != nil {
				return e, err
			}
			e, err = newEngine(kind, dir, nil)
			if err != nil {
				return nil, err
			}
			// Not a test's context: the engine outlives the first who asked.
			if err := e.Start(context.Background()); err != nil {
				return nil, errors.Join(err, e.Close())
			}
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
//	func TestMain(m *testing.M) { stack.Main(m) }
func Main(m interface{ Run() int }) {
	code, err := runMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runMain(m interface{ Run() int }) (code int, err error) {
	temp, err := newTemp()
	if err != nil {
		return 1, err
	}
	shared.Lock()
	shared.temp, shared.engines = temp, make(map[Kind]func() (*Engine, error))
	shared.Unlock()

	code = m.Run()

	shared.Lock()
	defer shared.Unlock()
	var running []*Engine
	for _, start := range shared.engines {
		if e, err := start(); err == nil && !e.borrowed { // if not, the tests said so
			running = append(running, e)
		}
	}
	err = each(running, (*Engine).discard)
	shared.temp, shared.engines = nil, nil
	return code, errors.Join(err, temp.remove())
}

// Fresh makes a namespace of the engine for one test, and returns the URL: a
// Redis database, a RabbitMQ virtual host, a MariaDB database, with the same user
// and the same rights. It goes when the test ends.
func (e *Engine) Fresh(t T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cleanupLimit)
	defer cancel()
	url, remove, err := e.spec.fresh(ctx, e, strings.ToLower(rand.Text()[:12]))
	if remove != nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), cleanupLimit)
			defer cancel()
			if err := remove(ctx); err != nil && e.Pid() != 0 {
				t.Errorf("stack: %s: remove a namespace: %v", e.spec.kind, err)
			}
		})
	}
	if err != nil {
		t.Fatalf("stack: %s: a fresh namespace: %v", e.spec.kind, err)
	}
	return url
}

// AsAdmin is the URL of a namespace that Fresh has made, for the engine's own
// administrator: see [Engine.AdminURL].
func (e *Engine) AsAdmin(fresh string) string {
	_, place, _ := strings.Cut(fresh, "@")
	admin, _, _ := strings.Cut(e.AdminURL(), "@")
	return admin + "@" + place
}

// LeaveOutVariable in the environment names kinds of engines, with commas between them,
// that a quick run of tests does without. "chromium" is one of them, see e2e/browser, and
// "clusters" are those of any kind.
const LeaveOutVariable = "SECKILL_TEST_LEAVE_OUT"

const clusters Kind = "clusters"

// LeftOut is how the reason of a test that is skipped for that begins.
const LeftOut = "LEFT OUT: "

// leftOut skips the test if the engine is left out.
func leftOut(t T, kind Kind) bool {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv(LeaveOutVariable), ","), string(kind)) {
		return false
	}
	t.Skipf(LeftOut+"%s (%s)", kind, LeaveOutVariable)
	return true
}

// missing tells what must be installed for an engine.
func missing(kind Kind, opts []Option) error {
	var set settings
	for _, o := range opts {
		o(&set)
	}
	if s := specs(kind); s != nil {
		return s.installed(set.root)
	}
	return nil
}

// without skips the test, or fails it where engines are required.
func without(t T, err error) {
	t.Helper()
	if os.Getenv("SECKILL_REQUIRE") == "1" {
		t.Fatalf("stack: SECKILL_REQUIRE=1, but %v", err)
		return
	}
	t.Skipf("NOT TESTED: %v (SECKILL_REQUIRE=1 makes this a failure)", err)
}
