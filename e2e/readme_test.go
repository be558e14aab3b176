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
	"slices"
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

// readmes are the pages whose commands a reader copies, in each language.
var readmes = []string{"README.md", "README.zh-CN.md"}

// Whoever copies a README's commands into a shell, from top to bottom, sees
// them work.
func TestReadme(t *testing.T) {
	t.Parallel()
	for _, name := range readmes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := os.ReadFile("../" + name)
			must(t, err)
			blocks := testedBlocks(string(page))
			if len(blocks) == 0 {
				t.Fatalf("%s has no block of commands that is marked as tested", name)
			}
			if comments := strings.Count(string(page), "<!-- tested"); comments != len(blocks) {
				t.Errorf("%s has %d comments of the form <!-- tested: NAME -->, and %d of them stand before a block of sh", name, comments, len(blocks))
			}
			runBlocks(t, name, blocks)
		})
	}
}

var (
	fenced  = regexp.MustCompile("(?ms)^```(?:sh|json)\n.*?^```$")
	linked  = regexp.MustCompile(`\]\(([^)]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ `)
	row     = regexp.MustCompile(`(?m)^\|.*\|$`)
)

// Both languages say the same: the same commands, links, tables and sections.
func TestTheREADMEsSayTheSame(t *testing.T) {
	t.Parallel()
	pages := map[string]string{}
	for _, name := range readmes {
		b, err := os.ReadFile("../" + name)
		must(t, err)
		pages[name] = string(b)
	}
	english, chinese := pages[readmes[0]], pages[readmes[1]]
	if a, b := fenced.FindAllString(english, -1), fenced.FindAllString(chinese, -1); !slices.Equal(a, b) {
		t.Errorf("the blocks of commands differ:\n%q\n%q", a, b)
	}
	links := func(page string) (all []string) {
		for _, m := range linked.FindAllStringSubmatch(page, -1) {
			if !slices.Contains(readmes, m[1]) {
				all = append(all, m[1])
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	if a, b := links(english), links(chinese); !slices.Equal(a, b) {
		t.Errorf("the links differ:\n%q\n%q", a, b)
	}
	for what, x := range map[string]*regexp.Regexp{"sections": heading, "rows of tables": row} {
		if a, b := len(x.FindAllString(english, -1)), len(x.FindAllString(chinese, -1)); a != b {
			t.Errorf("%d %s in English, %d in Chinese", a, what, b)
		}
	}
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
	runBlocks(t, "a page", []block{
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

func runBlocks(t *testing.T, page string, blocks []block) {
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
			serve(t, page, b, shell(b, commands))
			continue
		}
		cmd := shell(b, "set -euo pipefail -a\n"+curl+"[ ! -e \"$STATE\" ] || . \"$STATE\"\n"+commands+"\nexport -p > \"$STATE\"\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s:%d: %v\n%s\n%s", page, b.line, err, b.commands, out)
		}
	}
}

// serve starts a block that does not end, and waits until the log says that the
// server is ready.
func serve(t *testing.T, page string, b block, cmd *exec.Cmd) {
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
			t.Fatalf("%s:%d: %v", page, b.line, err)
		}
	case <-ctx.Done():
		t.Fatalf("%s:%d: the server is not ready", page, b.line)
	}
}
