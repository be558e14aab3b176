package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// block is a fenced block of shell commands that follows a line
// <!-- tested: NAME -->.
type block struct {
	name, commands string
	line           int
}

// The names of blocks that are more than commands.
const blockServe = "serve" // starts a server, which runs until the end

var testedBlock = regexp.MustCompile("(?m)^<!-- tested: ([a-z0-9-]+) -->\n+```sh\n((?s:.*?))^```$")

func testedBlocks(page string) (blocks []block) {
	for _, m := range testedBlock.FindAllStringSubmatchIndex(page, -1) {
		blocks = append(blocks, block{page[m[2]:m[3]], page[m[4]:m[5]], 1 + strings.Count(page[:m[4]], "\n")})
	}
	return blocks
}

// Whoever copies the README's commands into a shell, from top to bottom, sees
// them work.
func TestReadme(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../README.md")
	if os.IsNotExist(err) {
		t.Skip("there is no README.md yet")
	}
	must(t, err)
	blocks := testedBlocks(string(page))
	if len(blocks) == 0 {
		t.Fatal("README.md has no block of commands that is marked as tested")
	}
	if comments := strings.Count(string(page), "<!-- tested"); comments != len(blocks) {
		t.Errorf("README.md has %d comments of the form <!-- tested: NAME -->, and %d of them stand before a block of sh", comments, len(blocks))
	}
	runBlocks(t, blocks)
}

// The reader of marked blocks reads what it should.
func TestTestedBlocks(t *testing.T) {
	t.Parallel()
	const page = "# A\n\n<!-- tested: serve -->\n```sh\nseckill serve\n```\n\n```sh\nnot this\n```\n\n<!-- tested: buy -->\n```sh\na\nb\n```\n<!-- tested: none -->\nno block\n"
	got := testedBlocks(page)
	want := []block{{"serve", "seckill serve\n", 5}, {"buy", "a\nb\n", 14}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// The machinery of TestReadme serves, buys and keeps a shell's variables.
func TestBlocksRun(t *testing.T) {
	t.Parallel()
	runBlocks(t, []block{
		{"serve", "seckill serve --demo\n", 1},
		{"buy", "TOKEN=$(seckill token --buyer alice)\ncurl -fsS -X POST localhost:8080/api/sales/1/ticket -H \"Authorization: Bearer $TOKEN\"\n", 2},
		{"buy", "curl -fsS \"http://127.0.0.1:8080/api/sales/1/ticket?wait=20s\" -H \"Authorization: Bearer $TOKEN\" | grep placed\n", 3},
		{"admin", "seckill sale list | grep -c CNY\nseckill audit 1\n", 4},
	})
}

// curl fails on a problem document: a reader sees it in the answer, and a script
// has to be told.
const curl = `curl() {
	if [[ " $* " =~ " -"[a-zA-Z]*f || " $* " == *" --fail"* ]]; then command curl "$@"; else command curl -sS --fail-with-body "$@"; fi
}
`

func runBlocks(t *testing.T, blocks []block) {
	t.Helper()
	listen, ops, dir := address(t), address(t), t.TempDir()
	bin := filepath.Join(dir, "bin")
	must(t, os.Mkdir(bin, 0o700))
	// Commands talk to the address of the README; here it is another one, and the
	// binary has been built from this source before.
	const wrapper = `#!/bin/bash
case " $1 $* " in
*" --server"*) ;;
" sale "*|" audit "*|" load "*) set -- "$@" --server "$README_SERVER" ;;
esac
exec %q "$@"
`
	must(t, os.WriteFile(filepath.Join(bin, "seckill"), fmt.Appendf(nil, wrapper, binary(t)), 0o700))
	here := strings.NewReplacer("localhost:8080", listen, "127.0.0.1:8080", listen, "localhost:9090", ops, "127.0.0.1:9090", ops, "go run ./cmd/seckill", "seckill")
	environment := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "README_SERVER=http://"+listen, "GOBIN="+bin,
		"SECKILL_LISTEN="+listen, "SECKILL_OPS_LISTEN="+ops, "SECKILL_DATA_DIR="+filepath.Join(dir, "data"), "STATE="+filepath.Join(dir, "state"))
	shell := func(b block, script string) *exec.Cmd {
		cmd := exec.Command("bash", "-c", script)
		cmd.Dir, cmd.Env = "..", environment
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		t.Cleanup(func() {
			if cmd.Process != nil {
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			}
		})
		return cmd
	}
	for _, b := range blocks {
		commands := here.Replace(b.commands)
		if b.name == blockServe {
			serve(t, b, shell(b, commands))
			continue
		}
		cmd := shell(b, "set -euo pipefail -a\n"+curl+"[ ! -e \"$STATE\" ] || . \"$STATE\"\n"+commands+"\nexport -p > \"$STATE\"\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("README.md:%d: %v\n%s\n%s", b.line, err, b.commands, out)
		}
	}
}

// serve starts a block that does not end, and waits until the log says that the
// server is ready.
func serve(t *testing.T, b block, cmd *exec.Cmd) {
	t.Helper()
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	must(t, cmd.Start())
	var ended sync.WaitGroup
	ended.Go(func() { cmd.Wait(); in.Close() })
	t.Cleanup(ended.Wait)
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	sign := `"msg":"ready"`
	if strings.Contains(b.commands, "--demo") {
		sign = "Seckill is ready." // and has something to sell
	}
	ready := make(chan error, 1)
	go func() {
		var said strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(&said, lines.Text())
			if strings.Contains(lines.Text(), sign) {
				ready <- nil
			}
		}
		select {
		case ready <- fmt.Errorf("it ended before it was ready:\n%s", said.String()):
		default:
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case err := <-ready:
		if err != nil {
			t.Fatalf("README.md:%d: %v", b.line, err)
		}
	case <-ctx.Done():
		t.Fatalf("README.md:%d: the server is not ready", b.line)
	}
}
