// Package node drives the seckill binary from outside: it builds it, starts it,
// reads its log, and stops or kills it. It knows nothing of what is inside.
package node

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Secret signs the tokens of every node that is started here.
var Secret = []byte("end-to-end-" + rand.Text())

// patience is how long a node may take to start or to stop.
const patience = 60 * time.Second

// Build builds the binary into dir, without the race detector: a load-sized test
// drives what users run. With the tag "crash" it obeys SECKILL_CRASH.
func Build(dir string, tags ...string) (file string, err error) {
	if err := look(); err != nil {
		return "", err
	}
	name := strings.Join(append([]string{"seckill"}, tags...), "-")
	file = filepath.Join(dir, name)
	build := func(file string) error {
		cmd := exec.Command("go", "build", "-race=false", "-tags", strings.Join(tags, ","), "-o", file, "seckill/cmd/seckill")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
		return nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return file, build(file)
	}
	// A binary that is up to date is not linked again, whoever has asked for it: so it stays in
	// the user's cache.
	kept := filepath.Join(cache, "seckill-tests", "bin", name)
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return file, build(file)
	}
	lock, err := os.OpenFile(kept+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return file, build(file)
	}
	defer lock.Close() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if err := build(kept); err != nil {
		return "", err
	}
	program, err := os.ReadFile(kept)
	if err != nil {
		return "", err
	}
	return file, WriteProgram(file, program)
}

// WriteProgram writes an executable file. A process that is forked while a file is open for
// writing has it open too, until it becomes another program, and meanwhile nobody can execute
// the file (golang.org/issue/22315): so none is forked.
func WriteProgram(file string, program []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(file, program, 0o755)
}

// look looks at every file that the binary is made of. go test keeps a result as
// long as the files that the test has looked at are the same, and it cannot know
// what a build in a process of its own has read.
func look() error {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(mod)))
	for _, part := range []string{"go.mod", "go.sum", "cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, part), func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(path)
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil // gone meanwhile
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Config says how a node is started.
type Config struct {
	Binary string
	Dir    string    // the data directory
	Listen string    // empty: any free port, another one each time
	Env    []string  // NAME=value, on top of a bare environment
	Args   []string  // more flags of serve
	Log    io.Writer // also gets the log, line by line, until Done
}

// Node is one process.
type Node struct {
	URL, Ops string // known once it is ready

	cmd   *exec.Cmd
	ready chan struct{}
	done  chan struct{} // the process has ended, and the log is complete

	mu    sync.Mutex
	lines []string
	news  chan struct{} // closed and replaced at each line
}

// Start starts a node and returns at once.
func Start(c Config) (*Node, error) {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	n := &Node{ready: make(chan struct{}), done: make(chan struct{}), news: make(chan struct{})}
	args := append([]string{"serve", "--listen", c.Listen, "--ops-listen", "127.0.0.1:0", "--data-dir", c.Dir}, c.Args...)
	n.cmd = exec.Command(c.Binary, args...)
	n.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.Dir, "SECKILL_AUTH_SECRET=" + string(Secret), "SECKILL_PAYMENT_PROVIDER=test"}, c.Env...)
	// A node does not outlive who started it.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.cmd.Stdout = io.Discard
	pipe, err := n.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	go n.follow(pipe, c.Log)
	return n, nil
}

// follow reads the log to its end, which is the end of the process.
func (n *Node) follow(log io.Reader, copy io.Writer) {
	defer close(n.done)
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	hear := func(said string) {
		if copy != nil {
			fmt.Fprintln(copy, said)
		}
		n.mu.Lock()
		n.lines = append(n.lines, said)
		close(n.news)
		n.news = make(chan struct{})
		n.mu.Unlock()
	}
	for lines.Scan() {
		var line struct{ Msg, URL, Ops string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" && n.URL == "" {
			n.URL, n.Ops = line.URL, line.Ops
			close(n.ready)
		}
		hear(lines.Text())
	}
	if err := lines.Err(); err != nil {
		hear(fmt.Sprintf("the rest of the log cannot be read: %v", err))
	}
	io.Copy(io.Discard, log)
	n.cmd.Wait()
}

// Ready waits until the node is ready. It is an error if it ends before.
func (n *Node) Ready() error {
	select {
	case <-n.ready:
		return nil
	case <-n.done:
		return fmt.Errorf("the node ended before it was ready (%v):\n%s", n.cmd.ProcessState, n.Log())
	case <-time.After(patience):
		return fmt.Errorf("the node is not ready after %v:\n%s", patience, n.Log())
	}
}

// Said waits until a line of the log holds text.
func (n *Node) Said(ctx context.Context, text string) error {
	for {
		n.mu.Lock()
		for _, line := range n.lines {
			if strings.Contains(line, text) {
				n.mu.Unlock()
				return nil
			}
		}
		news := n.news
		n.mu.Unlock()
		select {
		case <-news:
		case <-n.done:
			return fmt.Errorf("the node ended (%v) and never said %q:\n%s", n.cmd.ProcessState, text, n.Log())
		case <-ctx.Done():
			return fmt.Errorf("the node did not say %q: %w\n%s", text, ctx.Err(), n.Log())
		}
	}
}

// Log is what the node has logged so far, its last 200 lines.
func (n *Node) Log() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines[max(0, len(n.lines)-200):], "\n")
}

// Done is closed when the process has ended.
func (n *Node) Done() <-chan struct{} { return n.done }

// IsReady reports whether the node has been ready.
func (n *Node) IsReady() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

// ends waits for the end of the process, and reports whether it has come.
func (n *Node) ends() bool {
	select {
	case <-n.done:
		return true
	case <-time.After(patience):
		return false
	}
}

// Killed reports whether an ended process was killed, rather than exited.
func (n *Node) Killed() bool {
	if !n.ends() {
		return false
	}
	status, ok := n.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// ExitCode waits for the end of the process: -1 if a signal ended it, or if it does not end.
func (n *Node) ExitCode() int {
	if !n.ends() {
		return -1
	}
	return n.cmd.ProcessState.ExitCode()
}

// Kill kills the process, as kill -9 does, and waits until it is gone.
func (n *Node) Kill() {
	n.cmd.Process.Kill()
	<-n.done
}

// Terminate asks the process to stop, as kill does.
func (n *Node) Terminate() { n.cmd.Process.Signal(syscall.SIGTERM) }

// Signal sends the process a signal.
func (n *Node) Signal(s os.Signal) error { return n.cmd.Process.Signal(s) }

// Stop asks the process to stop and waits for it to exit with status 0.
func (n *Node) Stop() error {
	n.Terminate()
	if !n.ends() {
		n.Kill()
		return fmt.Errorf("the node did not stop within %v:\n%s", patience, n.Log())
	}
	if code := n.ExitCode(); code != 0 {
		return fmt.Errorf("the node stopped with %v:\n%s", n.cmd.ProcessState, n.Log())
	}
	return nil
}
