package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of an engine's life.
const (
	startLimit   = 5 * time.Minute       // from Start to healthy, on a busy machine, members of a cluster side by side
	readyLimit   = 5 * time.Second       // one question whether it is healthy
	readyEvery   = 50 * time.Millisecond // between two such questions
	vacantLimit  = 5 * time.Second       // for a port of ours that somebody still has
	vacantPause  = 50 * time.Millisecond // between two looks at it
	stopLimit    = 30 * time.Second      // from SIGTERM to the end; then SIGKILL
	orphansLimit = 30 * time.Second      // for an ended engine's own children to end too
	orphansEvery = 10 * time.Millisecond // between two looks at them
	logTailLines = 15                    // of the log, in an error
	logTailBytes = 8 << 10               // at most
	secretsFile  = "secrets.json"        // in an engine's folder; outlives Wipe
	logFile      = "engine.log"          // in an engine's folder
	dataFolder   = "data"                // in an engine's folder
	loopback     = "127.0.0.1"           // the only address that engines listen on
	user         = "seckill"             // the user that nodes log in as
	mainPort     = 0                     // of Engine.ports: what clients connect to
)

// ErrMissing is in the error of an engine whose package is not installed.
var ErrMissing = errors.New("not installed")

// Engine is one server process: Redis, RabbitMQ or MariaDB; a node on them, or
// nginx in front of the nodes.
//
// Its methods may be called from any goroutine.
type Engine struct {
	spec    *spec
	folder  *folder
	ports   []*port
	secrets secrets
	tls     [2]string // see TLS
	log     int       // see QuorumLog

	turn   sync.Mutex // held by Start, Stop, Wipe and Close: one at a time
	closed bool       // guarded by turn

	borrowed bool // from another process, see Borrow

	mu      sync.Mutex
	process *process // the last one, which may have ended; nil before the first
}

type settings struct {
	ports [3]int
	tls   [2]string
	log   int
	root  string // prepended to the package's files, for tests
}

// Option of an engine.
type Option func(*settings)

// Port sets what clients connect to. 0 is a free port.
func Port(n int) Option { return func(s *settings) { s.ports[mainPort] = n } }

// ConsolePort sets where RabbitMQ's management console listens. 0 is a free port.
func ConsolePort(n int) Option { return func(s *settings) { s.ports[consolePort] = n } }

// TLS lets MariaDB offer TLS, with the certificate and the key in these files.
func TLS(certificate, key string) Option {
	return func(s *settings) { s.tls = [2]string{certificate, key} }
}

// QuorumLog sets how many bytes RabbitMQ's quorum queues log before it writes them out to
// files of each queue; 0 is as many as suit a small machine. Where queues come and go all the
// time it should be more than is ever written: a RabbitMQ 3.10 that hundreds of tests shared
// lost all its quorum queues once until it was restarted, and the only thing that it does
// with deleted queues is this.
func QuorumLog(bytes int) Option { return func(s *settings) { s.log = bytes } }

// Redis is the engine of the gate, not yet started, with its data in dir.
func Redis(dir string, opts ...Option) (*Engine, error) { return New(KindRedis, dir, opts...) }

// RabbitMQ is the engine of the queue, not yet started, with its data in dir.
func RabbitMQ(dir string, opts ...Option) (*Engine, error) {
	return New(KindRabbitMQ, dir, opts...)
}

// MariaDB is the engine of the store, not yet started, with its data in dir.
func MariaDB(dir string, opts ...Option) (*Engine, error) { return New(KindMariaDB, dir, opts...) }

// New is the engine of a kind, not yet started, with its data in dir. The error is [ErrMissing]
// where its package is not installed.
func New(kind Kind, dir string, opts ...Option) (*Engine, error) {
	var set settings
	for _, o := range opts {
		o(&set)
	}
	s := specs(kind)
	if s == nil {
		return nil, fmt.Errorf("%q is no kind of engine", kind)
	}
	return s.engine(dir, set)
}

func (e *Engine) open(dir string, set settings) (err error) {
	if e.folder, err = openFolder(dir); err != nil {
		return err
	}
	for i, name := range e.spec.ports {
		p, err := reserve(set.ports[i])
		if err != nil {
			return fmt.Errorf("%s port %w", name, err)
		}
		e.ports = append(e.ports, p)
	}
	return e.loadSecrets()
}

// Kind of the engine.
func (e *Engine) Kind() Kind { return e.spec.kind }

// Addr is what clients connect to, host:port. It stays the same until Close.
func (e *Engine) Addr() string { return e.addr(mainPort) }

// URL of the engine for a node: --gate, --queue or --store. It holds the
// password. It stays the same until Close, and in the same folder and on the
// same port for ever.
func (e *Engine) URL() string { return e.spec.url(e, user, e.secrets.User) }

// AdminURL is the same for the engine's own administrator, who may do anything:
// for tests and repairs, never for a node.
func (e *Engine) AdminURL() string { return e.spec.url(e, e.spec.admin, e.secrets.Admin) }

// Namespace makes a part of the engine that the user sees nothing else from: a database of
// Redis, a virtual host of RabbitMQ, a database of MariaDB, with the same user and the same
// rights. A Redis chooses the name itself. The error may come with what must be removed.
func (e *Engine) Namespace(ctx context.Context, name string) (url string, remove func(context.Context) error, err error) {
	return e.spec.namespace(ctx, e, name)
}

// Pid of the running server, 0 while there is none.
func (e *Engine) Pid() int {
	if p := e.running(); p != nil {
		return p.pid
	}
	return 0
}

// Done is closed when the server that runs now has ended, for whatever reason.
func (e *Engine) Done() <-chan struct{} {
	if p := e.running(); p != nil {
		return p.done
	}
	c := make(chan struct{})
	close(c)
	return c
}

// LogFile is where the server's output goes, that of earlier starts included.
func (e *Engine) LogFile() string { return e.path(logFile) }

// LogTail is the end of that file, for an error.
func (e *Engine) LogTail() string { return tail(e.LogFile()) }

// Start starts the server and returns when it is healthy, at the latest after
// startLimit. After a Stop or a Kill it comes back on the same ports with the
// same data.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.ours("start"); err != nil {
		return err
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	err := e.start(ctx)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s did not start: %w", e.spec.kind, err)
	if _, none := os.Stat(e.LogFile()); none != nil { // it never came so far
		return err
	}
	return fmt.Errorf("%w\n%s ends with:\n%s", err, e.LogFile(), e.LogTail())
}

func (e *Engine) start(ctx context.Context) error {
	if e.closed {
		return errors.New("it is closed")
	}
	if e.running() != nil {
		return errors.New("it is running")
	}
	for i, p := range e.ports {
		// The engine of a process that was killed may be about to die.
		err := p.vacant()
		for until := time.Now().Add(vacantLimit); err != nil && time.Now().Before(until) && ctx.Err() == nil; err = p.vacant() {
			select {
			case <-time.After(vacantPause):
			case <-ctx.Done():
			}
		}
		if err != nil {
			return fmt.Errorf("%s port %w", e.spec.ports[i], err)
		}
	}
	if err := os.MkdirAll(e.path(dataFolder), 0o700); err != nil {
		return err
	}
	if err := e.spec.prepare(ctx, e); err != nil {
		return err
	}
	p, err := e.spawn(e.spec.command(e))
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.process = p
	e.mu.Unlock()
	if err := e.await(ctx, p); err != nil {
		return errors.Join(err, e.end(p, 0))
	}
	return nil
}

// spawn starts a command of this engine with its output in the log.
func (e *Engine) spawn(cmd *exec.Cmd) (*process, error) {
	log, err := os.OpenFile(e.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Dir = e.path(dataFolder)
	cmd.Stdout, cmd.Stderr = log, log
	return spawn(cmd, e.spec.parent)
}

// await returns when the engine is healthy, or why it is not.
func (e *Engine) await(ctx context.Context, p *process) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	var last error
	for {
		select {
		case <-p.done:
			return fmt.Errorf("the server ended: %v", p.state())
		case <-ctx.Done():
			return fmt.Errorf("%w; the last try: %v", context.Cause(ctx), last)
		case <-tick.C:
		}
		if last = e.Ready(ctx); last == nil {
			return nil
		}
	}
}

// Ready asks once whether the engine serves its user.
func (e *Engine) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := e.spec.ready(ctx, e); err != nil {
		return fmt.Errorf("%s is not ready: %w", e.spec.kind, err)
	}
	return nil
}

// Settle waits until a kill would lose nothing that was acknowledged. That is so
// at once, except on RabbitMQ 3.10, which loses a quorum queue that was declared
// less than about a second before.
func (e *Engine) Settle(ctx context.Context) error {
	if e.spec.settled == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		ok, err := e.spec.settled(ctx, e)
		if err != nil {
			return fmt.Errorf("%s does not settle: %w", e.spec.kind, err)
		}
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not settle: %w", e.spec.kind, context.Cause(ctx))
		}
	}
}

// Kill ends the server with SIGKILL, as a crash would, once it has settled. The
// data stay.
func (e *Engine) Kill() error {
	if err := e.ours("kill"); err != nil {
		return err
	}
	p := e.running()
	if p == nil {
		return fmt.Errorf("%s: kill: it is not running", e.spec.kind)
	}
	if err := e.Settle(context.Background()); err != nil {
		return err
	}
	return e.end(p, 0)
}

// Stop ends the server cleanly, within half a minute. The data stay. Stopping a
// stopped engine does nothing.
func (e *Engine) Stop() error {
	if err := e.ours("stop"); err != nil {
		return err
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	if p := e.running(); p != nil {
		return e.end(p, stopLimit)
	}
	return nil
}

// end asks the server to end, waits for that long, kills it if it has not, and
// waits until its children are gone too. No patience kills at once.
func (e *Engine) end(p *process, patience time.Duration) error {
	children := p.descendants()
	var late error
	if patience > 0 {
		p.terminate()
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-p.done:
		case <-timer.C:
			late = fmt.Errorf("%s did not end within %v and was killed\n%s ends with:\n%s", e.spec.kind, patience, e.LogFile(), e.LogTail())
		}
	}
	p.kill()
	<-p.done
	return errors.Join(late, e.reap(children))
}

// reap waits for an ended server's children, which end by themselves when it is
// gone, and kills those that do not.
func (e *Engine) reap(children []child) error {
	ctx, cancel := context.WithTimeout(context.Background(), orphansLimit)
	defer cancel()
	tick := time.NewTicker(orphansEvery)
	defer tick.Stop()
	for {
		alive := 0
		for _, c := range children {
			if c.alive() {
				alive++
			}
		}
		if alive == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, c := range children {
				c.kill()
			}
			return fmt.Errorf("%s left %d processes behind, which were killed", e.spec.kind, alive)
		}
	}
}

// Wipe removes data and log, so that the next Start begins with nothing but the
// same ports and passwords. Only a stopped engine can be wiped.
func (e *Engine) Wipe() error {
	if err := e.ours("wipe"); err != nil {
		return err
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	if e.running() != nil {
		return fmt.Errorf("%s: wipe: it is running", e.spec.kind)
	}
	entries, err := os.ReadDir(e.folder.path)
	if err != nil {
		return err
	}
	for _, f := range entries {
		if f.Name() != secretsFile {
			err = errors.Join(err, os.RemoveAll(e.path(f.Name())))
		}
	}
	return err
}

// Close stops the server and gives ports and folder back. The data stay.
func (e *Engine) Close() error { return e.close(stopLimit) }

// Discard is Close for data that go away: it kills, since RabbitMQ takes six
// seconds to stop.
func (e *Engine) Discard() error { return e.close(0) }

func (e *Engine) close(patience time.Duration) (err error) {
	if err := e.ours("close"); err != nil {
		return err
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	if p := e.running(); p != nil {
		err = e.end(p, patience)
	}
	e.release()
	return err
}

func (e *Engine) release() {
	e.closed = true
	for _, p := range e.ports {
		p.release()
	}
	if e.folder != nil {
		e.folder.release()
	}
}

func (e *Engine) running() *process {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.process == nil || e.process.ended() {
		return nil
	}
	return e.process
}

func (e *Engine) addr(i int) string { return loopback + ":" + strconv.Itoa(e.ports[i].number) }

func (e *Engine) path(elem ...string) string {
	return filepath.Join(append([]string{e.folder.path}, elem...)...)
}

// write writes a file of the engine's folder that nobody else may read.
func (e *Engine) write(name, content string) error {
	return os.WriteFile(e.path(name), []byte(content), 0o600)
}

// environment of a server: nothing of ours but what programs need to run.
func environment(home string, more ...string) []string {
	return append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"TZ=UTC",
		"HOME=" + home,
	}, more...)
}

// engineURL puts an engine's URL together. The path is escaped already.
func engineURL(scheme, user, password, addr, path string) string {
	return scheme + "://" + url.UserPassword(user, password).String() + "@" + addr + "/" + path
}

// tail is the end of a file, in whole lines.
func tail(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	defer f.Close()
	b := make([]byte, logTailBytes)
	info, err := f.Stat()
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	n, _ := f.ReadAt(b, max(0, info.Size()-logTailBytes))
	lines := strings.Split(string(bytes.TrimSpace(b[:n])), "\n")
	return strings.Join(lines[max(0, len(lines)-logTailLines):], "\n")
}
