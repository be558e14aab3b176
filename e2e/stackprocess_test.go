package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"seckill/e2e/node"
	"seckill/internal/account"
	"seckill/internal/client"
	"seckill/internal/duty"
	"seckill/internal/stack"
)

// stackProcess is "seckill stack up" at work.
type stackProcess struct {
	t     *testing.T
	cmd   *exec.Cmd
	dir   string
	done  chan struct{}
	url   string   // of nginx
	nodes []string // URLs, and those of their operations listeners
	ops   []string

	mu    sync.Mutex
	lines []string
	news  chan struct{} // closed and replaced at each line
}

// startStack starts it and waits until everything is ready.
func startStack(t *testing.T, env []string, args ...string) *stackProcess {
	t.Helper()
	s := &stackProcess{t: t, dir: t.TempDir(), done: make(chan struct{}), news: make(chan struct{})}
	must(t, os.WriteFile(filepath.Join(s.dir, "auth.secret"), node.Secret, 0o600))
	s.cmd = exec.Command(binary(t), append([]string{"stack", "up", "--dir", s.dir}, args...)...)
	s.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}, env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	read, write, err := os.Pipe()
	must(t, err)
	s.cmd.Stdout, s.cmd.Stderr = write, write
	must(t, s.cmd.Start())
	write.Close()
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(read)
		hear := func(said string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lines = append(s.lines, said)
			close(s.news)
			s.news = make(chan struct{})
		}
		for lines.Scan() {
			hear(lines.Text())
		}
		if err := lines.Err(); err != nil {
			hear(fmt.Sprintf("the rest cannot be read: %v", err))
		}
		s.cmd.Wait()
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.ends()
		if t.Failed() {
			t.Logf("the stack says:\n%s", s.all())
			logs, err := filepath.Glob(filepath.Join(s.dir, "*/engine.log"))
			must(t, err)
			for _, file := range logs { // of nginx, of each node and of each engine
				text, err := os.ReadFile(file)
				must(t, err)
				t.Logf("%s ends with:\n%s", file, tail(string(text)))
			}
		}
	})
	s.saysWithin(5*patience, 1, "^Ctrl-C ends") // when all engines and nodes have started
	s.tellsNoSecret()
	s.url = s.says(1, `^nginx +(http://\S+)`)[1]
	for i := range 3 {
		m := s.says(1, fmt.Sprintf(`^node %d +(http://\S+)  \(operations (http://\S+)\)`, i+1))
		s.nodes, s.ops = append(s.nodes, m[1]), append(s.ops, m[2])
	}
	return s
}

// ends waits for the end of the process.
func (s *stackProcess) ends() {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Errorf("the stack does not end within %v", patience)
	}
}

// tellsNoSecret checks that nothing that was printed holds a password, which are all in
// the file that it names.
func (s *stackProcess) tellsNoSecret() {
	s.t.Helper()
	file := s.says(1, `^passwords (\S+)$`)[1]
	info, err := os.Stat(file)
	must(s.t, err)
	text, err := os.ReadFile(file)
	must(s.t, err)
	if info.Mode().Perm() != 0o600 {
		s.t.Errorf("%s has the mode %v", file, info.Mode())
	}
	secrets := regexp.MustCompile(`(?:_SECRET|_PASSWORD)='([^']+)'|://[^:]+:([^@]+)@`).FindAllStringSubmatch(string(text), -1)
	if len(secrets) != 5 {
		s.t.Errorf("%s has %d secrets", file, len(secrets))
	}
	for _, m := range secrets {
		if strings.Contains(s.all(), m[1]+m[2]) {
			s.t.Errorf("the stack prints a secret")
		}
	}
}

func (s *stackProcess) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// says waits until a pattern stands in n lines, and returns the last match.
func (s *stackProcess) says(n int, pattern string) []string {
	s.t.Helper()
	return s.saysWithin(patience, n, pattern)
}

func (s *stackProcess) saysWithin(limit time.Duration, n int, pattern string) []string {
	s.t.Helper()
	want := regexp.MustCompile(pattern)
	late := time.After(limit)
	for {
		s.mu.Lock()
		var found [][]string
		for _, line := range s.lines {
			if m := want.FindStringSubmatch(line); m != nil {
				found = append(found, m)
			}
		}
		news := s.news
		s.mu.Unlock()
		if len(found) >= n {
			return found[n-1]
		}
		select {
		case <-news:
		case <-s.done:
			if out := s.all(); strings.Contains(out, stack.ErrMissing.Error()) && os.Getenv("SECKILL_REQUIRE") != "1" {
				s.t.Skipf("NOT TESTED: %s", out)
			}
			s.t.Fatalf("the stack ended and did not say %s:\n%s", pattern, s.all())
		case <-late:
			s.t.Fatalf("the stack does not say %s:\n%s", pattern, s.all())
		}
	}
}

// restart ends a node, and waits until the stack has started it again; meanwhile
// it does what it is told.
func (s *stackProcess) restart(number int, signal syscall.Signal, meanwhile ...func()) {
	s.t.Helper()
	ready := fmt.Sprintf(`^node %d +ready in .* process (\d+)$`, number)
	times := len(regexp.MustCompile("(?m)"+ready).FindAllString(s.all(), -1))
	pid, err := strconv.Atoi(s.says(times, ready)[1])
	must(s.t, err)
	must(s.t, syscall.Kill(pid, signal))
	for _, do := range meanwhile {
		s.says(times+1, fmt.Sprintf("^node %d +starting$", number))
		do()
	}
	s.says(times+1, ready)
}

// log is what is in the files of the stack's folder.
func (s *stackProcess) log(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, pattern))
	must(t, err)
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		all.Write(b)
	}
	return all.String()
}

func (s *stackProcess) caller(t *testing.T, id, role string) caller {
	t.Helper()
	token, err := account.Mint(node.Secret, id, role, time.Hour)
	must(t, err)
	return caller{t, s.url, token}
}

// mentioning are the processes that have the folder in their command line or
// environment.
func mentioning(dir string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		line, _ := os.ReadFile(p + "/cmdline")
		env, _ := os.ReadFile(p + "/environ")
		if bytes.Contains(line, []byte(dir)) || bytes.Contains(env, []byte(dir)) {
			found = append(found, p)
		}
	}
	return found
}

// steady is a crowd that buys through nginx, one buyer after the other, until it
// is told to end. Nobody ever asks twice because of a failure.
type steady struct {
	t      *testing.T
	s      *stackProcess
	root   caller
	sale   string
	stop   chan struct{}
	doing  sync.WaitGroup
	placed atomic.Int64
	news   chan struct{}

	mu     sync.Mutex
	failed []string
}

const (
	steadyUnits   = 1_000_000             // more than anybody buys
	betweenBuyers = 50 * time.Millisecond // without it the crowd takes both processors from the nodes that start
)

func (s *stackProcess) crowd(t *testing.T, root caller) *steady {
	t.Helper()
	root.t = t
	c := &steady{t: t, s: s, root: root, stop: make(chan struct{}), news: make(chan struct{}, 1)}
	c.sale = root.creates(steadyUnits, 1)
	over := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	t.Cleanup(over.CloseIdleConnections)
	for worker := range 24 {
		c.doing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-c.stop:
					return
				default:
					c.lives(over, fmt.Sprintf("%s-%d-%d", c.sale, worker, n))
					duty.Rest(t.Context(), betweenBuyers)
				}
			}
		})
	}
	return c
}

// lives is one buyer: buy, buy again by a double click, and the outcome.
func (c *steady) lives(over *http.Client, id string) {
	token, err := account.Mint(node.Secret, id, "", time.Hour)
	if err != nil {
		c.fails("%v", err)
		return
	}
	me := &client.Client{Server: c.s.url, Token: token, HTTP: over}
	buy := func() string {
		bought, err := me.Buy(c.t.Context(), c.sale, 1)
		if err != nil {
			c.fails("%s buys: %v", id, err)
		}
		return bought.Ticket
	}
	first, again := buy(), buy()
	if first == "" || first != again {
		c.fails("%s was given %q and %q", id, first, again)
	}
	// A wait ends early with the node that it waits at.
	for began := time.Now(); time.Since(began) < 3*patience; {
		switch a, err := me.Outcome(c.t.Context(), c.sale, 10*time.Second); {
		case err == nil && a.Status == "placed" && a.Ticket == first:
			c.placed.Add(1)
			select {
			case c.news <- struct{}{}:
			default:
			}
			return
		case err != nil || a.Status != "queued":
			c.fails("%s holds %s and is told %+v, %v", id, first, a, err)
			return
		}
	}
	c.fails("%s has no outcome", id)
}

func (c *steady) fails(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

// served waits until so many more have their orders.
func (c *steady) served(n int64) {
	c.t.Helper()
	until := c.placed.Load() + n
	late := time.After(patience)
	for c.placed.Load() < until {
		select {
		case <-c.news:
		case <-late:
			c.t.Fatalf("only %d buyers are served", c.placed.Load())
		}
	}
}

// ends lets those finish who have begun, and checks that none of them was lost.
func (c *steady) ends() {
	c.t.Helper()
	close(c.stop)
	c.doing.Wait()
	for _, f := range c.failed[:min(len(c.failed), 20)] {
		c.t.Errorf("failed: %s", f)
	}
	a := c.root.audits(c.sale)
	if placed := c.placed.Load(); a.Active != placed || a.Gate != steadyUnits-placed {
		c.t.Errorf("%d buyers have an order, and the audit is %+v", placed, a)
	}
	c.t.Logf("%d buyers served, %d failures", c.placed.Load(), len(c.failed))
}
