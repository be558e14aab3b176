package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
)

func TestMain(m *testing.M) {
	if os.Getenv("SECKILL_TEST_ARGS") != "" { // the child of a test: it says what it was given, and waits
		fmt.Println(takeArgs(os.Args))
		io.Copy(io.Discard, os.Stdin)
		return
	}
	testscript.Main(m, map[string]func(){"seckill": main})
}

// The transcripts in testdata run the real command. Each has its own folder and
// its own free ports: $LISTEN and $OPS for seckill serve, $SERVER for the others.
func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			listen, ops := address(t), address(t)
			e.Setenv("LISTEN", listen)
			e.Setenv("OPS", ops)
			e.Setenv("SERVER", "http://"+listen)
			e.Setenv("SECKILL_LOG_FORMAT", "json")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": ready,
			"await": await,
			"get":   get,
			"save":  save,
		},
	})
}

func address(t *testing.T) string {
	t.Helper()
	a, err := stack.Address()
	require.NoError(t, err)
	return a
}

// ready waits until the node of this script says that it is ready.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: ready")
	}
	poll(ts, "http://"+ts.Getenv("OPS")+"/readyz", "")
}

// await waits until an answer of the server matches: await PATH REGEXP.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await PATH REGEXP")
	}
	poll(ts, ts.Getenv("SERVER")+args[0], args[1])
}

func poll(ts *testscript.TestScript, url, pattern string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	want := regexp.MustCompile(pattern)
	for {
		status, body, err := fetch(ctx, url, "")
		if status == http.StatusOK && want.Match(body) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("%s does not become what it should be: status %d, %v\n%s", url, status, err, body)
		}
	}
}

// get asks the server: get PATH STATUS [REGEXP], with the token in $TOKEN.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: get PATH STATUS [REGEXP]")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	status, body, err := fetch(context.Background(), ts.Getenv("SERVER")+args[0], ts.Getenv("TOKEN"))
	ts.Check(err)
	if status != want {
		ts.Fatalf("GET %s: %d, want %d\n%s", args[0], status, want, body)
	}
	if len(args) == 3 && !regexp.MustCompile(args[2]).Match(body) {
		ts.Fatalf("GET %s: the answer does not match %s\n%s", args[0], args[2], body)
	}
}

func fetch(ctx context.Context, url, token string) (status int, body []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// save keeps the output of the last command in a variable: save NAME [REGEXP],
// with a REGEXP only what its group matches.
func save(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: save NAME [REGEXP]")
	}
	out := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) == 2 {
		m := regexp.MustCompile(args[1]).FindStringSubmatch(out)
		if len(m) != 2 {
			ts.Fatalf("the output does not match %s\n%s", args[1], out)
		}
		out = m[1]
	}
	ts.Setenv(args[0], out)
}

func TestEveryCommandHasItsHelpWithAnExample(t *testing.T) {
	t.Parallel()
	var walk func(c *cobra.Command, path []string)
	walk = func(c *cobra.Command, path []string) {
		if !c.IsAvailableCommand() && len(path) > 0 {
			return
		}
		name := strings.Join(append([]string{"seckill"}, path...), " ")
		var out, complaints bytes.Buffer
		require.Zero(t, run(t.Context(), append(path, "--help"), strings.NewReader(""), &out, &complaints), name)
		require.Empty(t, complaints.String())
		require.Contains(t, out.String(), "Usage:", name)
		require.NotEmpty(t, c.Short, name)
		require.True(t, strings.HasSuffix(c.Short, "second") || !strings.HasSuffix(c.Short, "."), "%s: a short help is no sentence", name)
		if c.Runnable() {
			require.Contains(t, out.String(), "Examples:\n", name)
			require.Contains(t, c.Example, name, "the example shows the command")
		}
		for _, sub := range c.Commands() {
			walk(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	walk(newRootCommand(), nil)
}
