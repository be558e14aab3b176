// Command suite runs the tests: one Redis, one RabbitMQ and one MariaDB are started and
// lent to the tests of all packages, the race detector is on where code of ours runs
// inside the test, and whatever fails is shown with what a person needs to repeat it.
//
//	go run ./e2e/suite                         what "make test" does
//	go run ./e2e/suite ./internal/store        these packages only
//	go run ./e2e/suite -run TestX ./internal/… these tests only
//	go run ./e2e/suite -check                  what "make check" runs of it: quickly, on Redis at most
//	go run ./e2e/suite -steady 10              again and again beside busy loops; writes docs/steady.md
//	go run ./e2e/suite -- COMMAND …            any command beside such engines
//
// With SECKILL_REQUIRE=1 in the environment, which is so in "make test", a test that is
// skipped for want of an engine, nginx or Chromium fails instead.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == busyArgument {
		spin()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	packages []string
	run      string        // tests, as go test -run has them
	timeout  time.Duration // of a package
	check    bool          // the quick ones only
	fresh    bool          // results that go test has kept do not count
	rounds   int           // of -steady
	busy     int           // loops beside them
	out      string        // of -steady
	command  []string      // instead of all that
}

// everything is all packages.
var everything = []string{"./..."}

// checked and leftOut are what a check is: these packages, without these engines.
var (
	checked = []string{".", "./internal/...", "./deploy/...", "./e2e/suite"}
	leftOut = []string{string(stack.KindRabbitMQ), string(stack.KindMariaDB), string(stack.KindNginx), "chromium", "clusters"}
)

func parse(args []string) (o options, err error) {
	if i := slices.Index(args, "--"); i >= 0 {
		o.command, args = args[i+1:], args[:i]
	}
	f := flag.NewFlagSet("suite", flag.ContinueOnError)
	f.StringVar(&o.run, "run", "", "only tests that match, as in go test -run")
	f.DurationVar(&o.timeout, "timeout", 30*time.Minute, "how long the tests of one package may take")
	f.BoolVar(&o.fresh, "fresh", false, "run what has not changed since it passed, too")
	f.BoolVar(&o.check, "check", false, "only what takes no engine but Redis and no browser, without the race detector")
	f.IntVar(&o.rounds, "steady", 0, "how often to run all, beside busy loops")
	f.IntVar(&o.busy, "busy", -1, "how many busy loops (default: as many as there are processors with -steady, else none)")
	f.StringVar(&o.out, "out", "docs/steady.md", "where -steady writes its table")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.packages = f.Args(); len(o.packages) == 0 {
		o.packages = everything
		if o.check {
			o.packages = checked
		}
	}
	if o.busy < 0 {
		o.busy = 0
		if o.rounds > 0 {
			o.busy = runtime.NumCPU()
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	began := time.Now()
	env := append(os.Environ(), stacktest.LeaveOutVariable+"="+strings.Join(leftOut, ","))
	if !o.check {
		if kinds := os.Getenv(stacktest.LeaveOutVariable); kinds != "" && os.Getenv("SECKILL_REQUIRE") == "1" {
			return fmt.Errorf("everything is required (SECKILL_REQUIRE=1), but %s=%s leaves some out: unset one of the two", stacktest.LeaveOutVariable, kinds)
		}
		var lent *stack.Stack
		if env, lent, err = lend(ctx); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, keep(lent.Engines(), logs(), os.Stdout))
			}
			err = errors.Join(err, lent.Down())
		}()
	}
	endBusy, _, err := startBusy(o.busy)
	if err != nil {
		return err
	}
	defer endBusy()
	if len(o.command) > 0 {
		return beside(ctx, env, o.command)
	}
	if o.rounds > 0 {
		return steady(ctx, env, o)
	}
	r, err := round(ctx, env, o)
	if err != nil {
		return err
	}
	r.tell(os.Stdout, o)
	if o.check {
		if err := r.unchecked(ctx, os.Stdout); err != nil {
			return err
		}
	}
	fmt.Printf("%v in all\n", time.Since(began).Round(time.Second))
	return r.err()
}

// lend starts the engines for all packages. Where one is not installed, and is not
// required, there are none: each test starts what it finds, or is skipped and says why.
func lend(ctx context.Context) (env []string, lent *stack.Stack, err error) {
	began := time.Now()
	s, err := stack.Up(ctx, stack.Options{QuorumLog: 1 << 30})
	if errors.Is(err, stack.ErrMissing) && os.Getenv("SECKILL_REQUIRE") != "1" {
		fmt.Printf("no shared engines: %v\n", err)
		return os.Environ(), &stack.Stack{}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	setting, err := stacktest.Lend(s)
	if err != nil {
		return nil, nil, errors.Join(err, s.Down())
	}
	fmt.Printf("engines for all tests are up in %.1f s\n", time.Since(began).Seconds())
	return append(os.Environ(), setting), s, nil
}

// logs is the folder for what keep keeps: the user's cache, or where there is none the
// folder of temporary files.
func logs() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "seckill-tests", "logs")
}

// keep copies the engines' logs to where they outlive a run that failed: a test prints
// only their ends, and the trouble of a shared engine may have begun long before. They
// replace the logs of the last run that failed.
func keep(engines []*stack.Engine, dir string, w io.Writer) error {
	if len(engines) == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, e := range engines {
		log, err := os.ReadFile(e.LogFile())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, string(e.Kind())+".log"), log, 0o600); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "the whole logs of the shared engines are in %s\n", dir)
	return nil
}

// beside runs a command with the engines.
func beside(ctx context.Context, env, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

const busyArgument = "busy-loop"

// spin keeps one processor busy until it is killed.
func spin() {
	runtime.GOMAXPROCS(1)
	for n := uint64(1); n != 0; n++ { // it would take centuries to come round
	}
}

// startBusy starts loops that keep a processor busy each. They end with this process.
func startBusy(n int) (end func(), pids []int, err error) {
	var loops []*exec.Cmd
	end = func() {
		for _, l := range loops {
			_ = l.Process.Kill()
			_ = l.Wait()
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	runtime.LockOSThread() // Pdeathsig is sent when the thread that started a child ends
	for range n {
		l := exec.Command(self, busyArgument)
		l.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := l.Start(); err != nil {
			end()
			return nil, nil, err
		}
		loops, pids = append(loops, l), append(pids, l.Process.Pid)
	}
	return end, pids, nil
}

// seconds, for tables and lines.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// output is what a command prints, without blanks around it.
func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%s: %w: %s", name, err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
