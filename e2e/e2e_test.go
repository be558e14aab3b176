// Package e2e tests the binary from outside: what it promises to buyers and
// administrators, over HTTP, while it is loaded, stopped and killed.
//
// The tests with most load come first, one after the other; the others run beside each
// other.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"seckill"
	"seckill/e2e/node"
	"seckill/internal/account"
	"seckill/internal/client"
	"seckill/internal/duty"
	"seckill/internal/load"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
	"seckill/internal/store"
	"seckill/internal/store/storetest"
)

// patience is how long a test waits for a condition before it fails.
const patience = time.Minute

var binaries string // the folder of the built binaries

func TestMain(m *testing.M) { stacktest.Main(withBinaries{m}) }

// withBinaries runs tests that build binaries.
type withBinaries struct{ *testing.M }

func (m withBinaries) Run() int {
	var err error
	if binaries, err = os.MkdirTemp("", "seckill-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binaries)
	http.DefaultClient.Timeout = 2 * patience // a node that never answers fails its own test, and not all of them
	return m.M.Run()
}

var (
	plainBinary = sync.OnceValues(func() (string, error) { return node.Build(binaries) })
	crashBinary = sync.OnceValues(func() (string, error) { return node.Build(binaries, "crash") })
)

func binary(t *testing.T) string {
	t.Helper()
	file, err := plainBinary()
	must(t, err)
	return file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a node, fresh if no data directory is given, and waits until it
// is ready. It is gone when the test ends.
func start(t *testing.T, c node.Config) *node.Node {
	t.Helper()
	n := begin(t, c)
	must(t, n.Ready())
	return n
}

// begin starts a node and does not wait.
func begin(t *testing.T, c node.Config) *node.Node {
	t.Helper()
	if c.Binary == "" {
		c.Binary = binary(t)
	}
	if c.Dir == "" {
		c.Dir = folder(t)
	}
	n, err := node.Start(c)
	must(t, err)
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("the node at %s ends with:\n%s", n.URL, tail(n.Log()))
		}
	})
	return n
}

// folder is a data directory of a node with an empty store whose migrations have been run:
// they take a third of a first start. Those who start the binary otherwise run them.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	storetest.Make(t, filepath.Join(dir, "seckill.db"), store.Open)
	return dir
}

// address is one that a node can come back to.
func address(t *testing.T) string {
	t.Helper()
	a, err := stack.Address()
	must(t, err)
	return a
}

// often is how long a test waits at least before it asks again, and seldom at most: to ask for
// an engine that takes seconds costs more than the engine's start.
const (
	often  = 10 * time.Millisecond
	seldom = 200 * time.Millisecond
)

// eventually waits until the condition holds: it notices that late by a twentieth of the wait.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	began := time.Now()
	ask(t, what, func() time.Duration { return min(max(time.Since(began)/20, often), seldom) }, condition)
}

// atOnce is eventually for what is over soon.
func atOnce(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ask(t, what, func() time.Duration { return often }, condition)
}

// ask asks until the condition holds, with pauses between.
func ask(t *testing.T, what string, pause func() time.Duration, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !condition() {
		if duty.Rest(ctx, pause()) != nil {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// --- a caller -----------------------------------------------------------------

// caller is somebody with a token.
type caller struct {
	t     *testing.T
	url   string
	token string
}

func buyer(t *testing.T, n *node.Node, id string) caller { return as(t, n, id, "") }
func admin(t *testing.T, n *node.Node) caller            { return as(t, n, "admin", seckill.RoleAdmin) }

func as(t *testing.T, n *node.Node, id, role string) caller {
	t.Helper()
	token, err := account.Mint(node.Secret, id, role, time.Hour)
	must(t, err)
	return caller{t, n.URL, token}
}

// said is every field that the tests look at.
type said struct {
	Status, Ticket, Order, Reason, Code, State, Title, ID, Description string
	Total, Left                                                        int64
	OK                                                                 bool
	Gate, Active, Pending, Returning                                   int64
}

// UnmarshalJSON passes over fields of another type: a problem document's status is
// a number, and a part of /readyz is a word.
func (s *said) UnmarshalJSON(b []byte) error {
	type plain said
	err := json.Unmarshal(b, (*plain)(s))
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return nil
	}
	return err
}

func (c caller) client() *client.Client { return &client.Client{Server: c.url, Token: c.token} }

// try sends a request once.
func (c caller) try(method, path string, body any) (status int, a said, err error) {
	answer, err := c.client().Do(c.t.Context(), method, path, body)
	if err == nil && len(answer.Body) > 0 {
		err = answer.Into(&a)
	}
	return answer.Status, a, err
}

// does sends a request whose answer has a known status.
func (c caller) does(method, path string, body any, want int) said {
	c.t.Helper()
	status, a, err := c.try(method, path, body)
	must(c.t, err)
	if status != want {
		c.t.Fatalf("%s %s: %d %+v, want %d", method, path, status, a, want)
	}
	return a
}

// buys asks for units and returns the ticket.
func (c caller) buys(sale string, quantity int) string {
	c.t.Helper()
	bought, err := c.client().Buy(c.t.Context(), sale, quantity)
	must(c.t, err)
	return bought.Ticket
}

// outcome waits for what became of the caller's newest ticket.
func (c caller) outcome(sale string) (got client.Said) {
	c.t.Helper()
	atOnce(c.t, "the outcome is known", func() bool {
		var err error
		got, err = c.client().Outcome(c.t.Context(), sale, 20*time.Second)
		must(c.t, err)
		return got.Status != "queued"
	})
	return got
}

// creates makes an open sale and returns its id.
func (c caller) creates(units int64, limit int) string {
	c.t.Helper()
	now := time.Now().UTC()
	return c.does("POST", "/api/admin/sales", client.NewSale{
		Title: "机械键盘", Price: 9900, Currency: "CNY", Total: units, LimitPerBuyer: limit,
		OpensAt: now.Add(-time.Minute), ClosesAt: now.Add(time.Hour), HoldSeconds: 3600,
	}, http.StatusCreated).ID
}

// audits checks that the audit holds and returns it.
func (c caller) audits(sale string) said {
	c.t.Helper()
	a := c.does("GET", client.AdminPath(sale, "audit"), nil, http.StatusOK)
	if !a.OK {
		c.t.Errorf("the audit of sale %s does not hold: %+v", sale, a)
	}
	return a
}

// --- a crowd ------------------------------------------------------------------

// run is a load generator at work: the binary's own.
type run struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    bytes.Buffer
	log    bytes.Buffer
	done   chan struct{}
	failed error
}

// startLoad starts "seckill load" against the server.
func startLoad(t *testing.T, url string, args ...string) *run {
	t.Helper()
	r := &run{t: t, done: make(chan struct{})}
	r.cmd = exec.Command(binary(t), append([]string{"load", "--server", url, "--json"}, args...)...)
	r.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SECKILL_AUTH_SECRET=" + string(node.Secret)}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.log
	must(t, r.cmd.Start())
	go func() { r.failed = r.cmd.Wait(); close(r.done) }()
	t.Cleanup(func() { r.cmd.Process.Kill(); <-r.done })
	return r
}

func (r *run) running() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// report waits for the end of the run, which must be a success, and returns what
// it says.
func (r *run) report() load.Report {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(3 * patience):
		r.t.Fatalf("the load does not end:\n%s", tail(r.log.String()))
	}
	var rep load.Report
	if err := json.Unmarshal(r.out.Bytes(), &rep); err != nil {
		r.t.Fatalf("the load: %v: %v\n%s", r.failed, err, tail(r.log.String()))
	}
	if r.failed != nil || len(rep.Findings) > 0 {
		r.t.Fatalf("the load: %v, findings:\n%s", r.failed, strings.Join(rep.Findings, "\n"))
	}
	for _, c := range rep.Checks {
		if !c.OK || c.Skipped {
			r.t.Errorf("the load: %s: %s", c.Name, c.Detail)
		}
	}
	if rep.Audit == nil || !rep.Audit.OK || rep.Audit.Pending != 0 || rep.Audit.Returning != 0 {
		r.t.Fatalf("the load ended with the audit %+v", rep.Audit)
	}
	return rep
}

func tail(s string) string { return s[max(0, len(s)-4000):] }
