package e2e

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"seckill"
	"seckill/e2e/node"
	"seckill/internal/client"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// A node outlives whoever reads its log, as in "seckill serve 2>&1 | head -2".
func TestANodeOutlivesTheReaderOfItsLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listen := address(t)
	read, write, err := os.Pipe()
	must(t, err)
	cmd := exec.Command(binary(t), "serve", "--listen", listen, "--ops-listen", "127.0.0.1:0", "--data-dir", dir)
	cmd.Env = []string{"HOME=" + dir, "SECKILL_AUTH_SECRET=" + string(node.Secret), "SECKILL_PAYMENT_PROVIDER=test", "SECKILL_LOG_LEVEL=debug"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = write, write
	must(t, cmd.Start())
	write.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewReader(read)
	for range 2 {
		_, err := lines.ReadString('\n')
		must(t, err)
	}
	read.Close() // the reader has seen enough
	n := &node.Node{URL: "http://" + listen}
	root := admin(t, n)
	eventually(t, "the node answers", func() bool { status, _, err := root.try("GET", "/api/sales", nil); return err == nil && status == 200 })
	sale := root.creates(1, 1) // each change is logged, to nobody
	buyer(t, n, "ann").buys(sale, 1)
	if got := buyer(t, n, "ann").outcome(sale); got.Status != "placed" {
		t.Errorf("without a reader a buyer is told %+v", got)
	}
	select {
	case err := <-ended:
		t.Fatalf("the node died with the reader of its log: %v", err)
	default:
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := stacktest.Await(t, "it stops", ended); err != nil {
		t.Errorf("it stops with %v", err)
	}
}

// SIGHUP ends nobody, and the log says what it does.
func TestANodeOutlivesSIGHUP(t *testing.T) {
	t.Parallel()
	n := start(t, node.Config{})
	must(t, n.Signal(syscall.SIGHUP))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, n.Said(ctx, "SIGHUP: the node goes on"))
	admin(t, n).does("GET", "/api/sales", nil, 200)
	must(t, n.Stop())
}

// A data folder of somebody else's is said to be that, and not to be in use.
func TestSomebodyElsesDataFolderIsNamed(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can make a folder somebody else's")
	}
	const nobody = 65534
	shared, err := os.MkdirTemp("", "seckill-theirs-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(shared) })
	must(t, os.Chmod(shared, 0o755))
	program, err := os.ReadFile(binary(t))
	must(t, err)
	file := filepath.Join(shared, "seckill")
	must(t, node.WriteProgram(file, program))
	for name, prepare := range map[string]func(dir string){
		"another user's, private": func(dir string) { must(t, os.Mkdir(dir, 0o700)) },
		"another user's, open":    func(dir string) { must(t, os.Mkdir(dir, 0o755)) },
		"its own, and read-only": func(dir string) {
			must(t, os.Mkdir(dir, 0o755))
			must(t, os.Chown(dir, nobody, nobody))
			must(t, os.Chmod(dir, 0o555))
		},
		"with files of another user's": func(dir string) {
			must(t, os.Mkdir(dir, 0o755))
			for _, name := range []string{"seckill.db", "gate.db"} {
				must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
			}
			must(t, os.Chown(dir, nobody, nobody))
		},
	} {
		dir := filepath.Join(shared, strings.ReplaceAll(name, " ", "-"))
		prepare(dir)
		cmd := exec.CommandContext(t.Context(), file, "serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data-dir", dir)
		cmd.Env = []string{"HOME=/", "SECKILL_AUTH_SECRET=" + string(node.Secret), "SECKILL_PAYMENT_PROVIDER=test"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		said := string(out)
		if err == nil || !strings.Contains(said, "permission denied") || !strings.Contains(said, dir) || strings.Contains(said, "in use") {
			t.Errorf("%s: %v\n%s", name, err, said)
		}
		if !strings.Contains(said, "--data-dir") {
			t.Errorf("%s: it does not say what to look at:\n%s", name, said)
		}
	}
}

// Nodes that start on healthy engines warn of nothing.
func TestAHealthyStartOnEnginesWarnsOfNothing(t *testing.T) {
	t.Parallel()
	const most = 3
	for try := 1; ; try++ {
		late := startsTwice(t)
		if len(late) == 0 {
			return
		}
		if try == most {
			t.Fatalf("each of %d times an engine did not answer in time:\n%s", most, strings.Join(late, ""))
		}
		t.Logf("once more, since an engine did not answer in time:\n%s", strings.Join(late, ""))
	}
}

// lateness is in a warning of an engine that did not answer in time, as on a machine that stood still.
var lateness = regexp.MustCompile(`context deadline exceeded|i/o timeout`)

// startsTwice starts a node twice on healthy engines that are new to it, fails for what it warns
// of, and returns the warnings of an engine that was late.
func startsTwice(t *testing.T) (late []string) {
	t.Helper()
	redis, rabbit, maria := stacktest.Shared(t, stack.KindRedis), stacktest.Shared(t, stack.KindRabbitMQ), stacktest.Shared(t, stack.KindMariaDB)
	c := node.Config{Env: []string{
		"SECKILL_GATE=" + stacktest.Fresh(t, redis), "SECKILL_QUEUE=" + stacktest.Fresh(t, rabbit), "SECKILL_STORE=" + stacktest.Fresh(t, maria),
		"SECKILL_PAYMENT_PROVIDER=shop", "SECKILL_PAYMENT_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
	for i := range 2 {
		n := start(t, c)
		res, err := http.Get(n.Ops + "/readyz")
		must(t, err)
		res.Body.Close()
		// The checks of the settings come after it is ready; each resident has begun then.
		eventually(t, "the node has looked at the engines' settings", func() bool { return metric(t, n, "seckill_weak_settings") == 0 })
		must(t, n.Stop())
		for line := range strings.Lines(n.Log()) {
			if i == 0 && strings.Contains(line, "INTERNAL_ERROR") {
				continue // RabbitMQ 3.10 may refuse the consumers of a queue that was made a moment ago
			}
			warns := strings.Contains(line, `"level":"WARN"`)
			switch {
			case warns && lateness.MatchString(line):
				late = append(late, line)
			case warns, strings.Contains(line, `"level":"ERROR"`):
				t.Errorf("start %d: %s", i+1, line)
			}
		}
	}
	return late
}

// An operator stops a sale while MariaDB hangs: the gate has it on every node within
// seconds, the store learns of it afterwards, and the log says who it was.
func TestASaleIsStoppedWhileTheStoreHangs(t *testing.T) {
	t.Parallel()
	e := startEngines(t, stack.KindMariaDB)
	sale := admin(t, e.nodes[0]).creates(100, 1)
	buyer(t, e.nodes[1], "before").buys(sale, 1)
	if got := buyer(t, e.nodes[0], "before").outcome(sale); got.Status != "placed" {
		t.Fatalf("before anything happened: %+v", got)
	}
	must(t, syscall.Kill(e.maria.Pid(), syscall.SIGSTOP))
	hangs := true
	resume := func() {
		if hangs {
			hangs = false
			must(t, syscall.Kill(e.maria.Pid(), syscall.SIGCONT))
		}
	}
	t.Cleanup(resume)
	admitted := buyer(t, e.nodes[1], "while it hangs").buys(sale, 1)
	began := time.Now()
	operator := as(t, e.nodes[0], "li.wei", seckill.RoleOperator)
	if got := operator.does("POST", "/api/admin/sales/"+sale+"/pause", nil, 200); got.State != "paused" {
		t.Errorf("the answer to the pause is %+v", got)
	}
	t.Logf("stopped after %v", time.Since(began))
	for _, n := range e.nodes {
		if got := buyer(t, n, "too late").does("POST", "/api/sales/"+sale+"/ticket", nil, 409); got.Code != "paused" {
			t.Errorf("node %s tells a buyer %+v", n.URL, got)
		}
	}
	resume()
	if got := buyer(t, e.nodes[0], "while it hangs").outcome(sale); got.Status != "placed" || got.Ticket != admitted {
		t.Errorf("admitted while the store hung, then %+v", got)
	}
	root := admin(t, e.nodes[1])
	eventually(t, "the store has learned of the pause, and by whom", func() bool {
		answer, err := (&client.Client{Server: root.url, Token: root.token}).Do(t.Context(), "GET", "/api/admin/log?sale="+sale+"&what=sales.pause", nil)
		return err == nil && answer.Status == 200 && strings.Contains(string(answer.Body), `"li.wei"`)
	})
	eventually(t, "a log says who stopped it", func() bool {
		all := e.nodes[0].Log() + e.nodes[1].Log()
		return strings.Contains(all, "the gate has stopped the sale by itself") && strings.Contains(all, "the store has learned of an emergency stop") && strings.Contains(all, `"by":"li.wei"`)
	})
	root.audits(sale)
}
