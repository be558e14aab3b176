//go:build linux

package stack_test

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	. "seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// An nginx ends with all its workers, however it is ended, and comes back.
func TestNginxLife(t *testing.T) {
	t.Parallel()
	e := stacktest.OwnNginx(t, Site{Nodes: []string{"127.0.0.1:1"}})
	for _, end := range []func() error{e.Stop, e.Kill} {
		children := e.Children()
		require.NotEmpty(t, children, "nginx has workers")
		require.NoError(t, Answers(t.Context(), e.URL()+"/api/sales", http.StatusServiceUnavailable), "no node, and nginx says so")
		require.NoError(t, end())
		assertGone(t, e.Dir(), children)
		require.NoError(t, e.Start(t.Context()))
	}
}

// The workers of an nginx that is killed go on, so it is asked to end when we are
// killed.
func TestNginxDiesWithItsParent(t *testing.T) {
	t.Parallel()
	stacktest.Need(t, KindNginx)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperNginx+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "up <nil>", lines.Text())
	children := ChildrenOf(cmd.Process.Pid)
	require.Greater(t, len(children), 1)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	assertGone(t, dir, children)
}

// The configuration quotes nothing.
func TestNginxRefusesPathsThatItCannotTake(t *testing.T) {
	t.Parallel()
	stacktest.Need(t, KindNginx)
	for _, name := range []string{"a b", "a;b", `a"b`, "$a", "a{b"} {
		e, err := Nginx(filepath.Join(t.TempDir(), name), Site{Nodes: []string{"127.0.0.1:1"}})
		require.NoError(t, err)
		require.ErrorContains(t, e.Start(t.Context()), "nginx cannot run in ")
		require.NoError(t, e.Close())
	}
}
