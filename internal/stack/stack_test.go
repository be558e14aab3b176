//go:build linux

package stack_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// helperDir in the environment makes the test binary a process that starts a
// stack in that folder and waits to be killed; helperNginx, one that starts an
// nginx.
const (
	helperDir   = "SECKILL_STACK_HELPER"
	helperNginx = "SECKILL_STACK_HELPER_NGINX"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		if _, err := Up(context.Background(), Options{Dir: dir, Progress: os.Stdout}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("up")
		select {} // until killed
	}
	if dir := os.Getenv(helperNginx); dir != "" {
		e, err := Nginx(dir, Site{Nodes: []string{"127.0.0.1:1"}})
		if err == nil {
			err = e.Start(context.Background())
		}
		fmt.Println("up", err)
		select {} // until killed
	}
	stacktest.Main(m)
}

var kinds = []Kind{KindRedis, KindRabbitMQ, KindMariaDB}

func eachKind(t *testing.T, f func(t *testing.T, kind Kind)) {
	for _, k := range kinds {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			f(t, k)
		})
	}
}

// An engine keeps what it acknowledged through a crash, a clean stop and another
// process on another port; it forgets all of it when wiped; and when it is
// closed nothing of it is left.
func TestEngineLife(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		e := stacktest.Own(t, kind)
		dir, url, first := e.Dir(), e.URL(), e.Pid()
		require.Zero(t, count(t, e), "a new engine is empty")
		put(t, e)
		require.ErrorContains(t, e.Start(t.Context()), "it is running")
		require.ErrorContains(t, e.Wipe(), "it is running")

		children := e.Children()
		began := time.Now()
		require.NoError(t, e.Kill())
		assertGone(t, dir, children)
		require.Zero(t, e.Pid())
		<-e.Done()
		require.ErrorContains(t, e.Kill(), "it is not running")
		require.Error(t, e.Ready(t.Context()))
		require.NoError(t, e.Start(t.Context()))
		t.Logf("again after a kill in %.1f s", time.Since(began).Seconds())
		require.NotEqual(t, first, e.Pid())
		require.Equal(t, url, e.URL())
		require.Equal(t, 1, count(t, e), "acknowledged before the kill")

		put(t, e)
		require.NoError(t, e.Stop())
		require.NoError(t, e.Stop(), "a second stop does nothing")
		assertGone(t, dir, nil)
		require.NoError(t, e.Close())
		require.ErrorContains(t, e.Start(t.Context()), "it is closed")

		again, err := New(kind, dir)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, again.Close()) })
		require.NotEqual(t, url, again.URL(), "another port")
		require.Equal(t, e.Secrets(), again.Secrets())
		require.NoError(t, again.Start(t.Context()))
		require.Equal(t, 2, count(t, again), "kept for the next process")

		require.NoError(t, again.Stop())
		require.NoError(t, again.Wipe())
		require.NoError(t, again.Start(t.Context()))
		require.Zero(t, count(t, again), "wiped")

		children = again.Children()
		require.NoError(t, again.Close())
		assertGone(t, dir, children)
		for _, p := range again.Ports() {
			_, release, err := Reserve(p)
			require.NoError(t, err, "the port is free again")
			release()
		}
	})
}

func TestEnginesListenOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		e := stacktest.Shared(t, kind)
		addresses := listens(t, e.Pid())
		require.Contains(t, addresses, e.Addr())
		require.Len(t, addresses, len(e.Ports()))
		for a := range maps.Keys(addresses) {
			require.True(t, strings.HasPrefix(a, Loopback+":"), a)
		}
	})
}

func TestUpAndDown(t *testing.T) {
	t.Parallel()
	stacktest.Need(t, kinds...)
	var progress bytes.Buffer
	s, err := Up(t.Context(), Options{Progress: &progress})
	require.NoError(t, err)
	t.Log("\n" + progress.String())
	t.Cleanup(func() { assert.NoError(t, s.Down()) })
	dir := s.TempDir()
	require.Len(t, s.Engines(), len(kinds))
	require.Len(t, s.AuthSecret, 52)
	var children []Child
	for _, e := range s.Engines() {
		require.NoError(t, e.Ready(t.Context()))
		require.Contains(t, progress.String(), fmt.Sprintf("on %s, process %d\n", e.Addr(), e.Pid()))
		children = append(children, e.Children()...)
	}
	require.NotEmpty(t, mentioning(dir))

	require.NoError(t, s.Down())
	assertGone(t, dir, children)
	require.NoDirExists(t, dir)
	require.NoError(t, s.Down(), "a second Down does nothing")
}

// What stays in a given folder makes the same stack again.
func TestUpKeepsAGivenFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, err := KeptSecret(filepath.Join(dir, "auth.secret"))
	require.NoError(t, err)
	two, err := KeptSecret(filepath.Join(dir, "auth.secret"))
	require.NoError(t, err)
	require.Equal(t, one, two)

	stacktest.Need(t, kinds...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Up(ctx, Options{Dir: dir})
	require.ErrorIs(t, err, context.Canceled)
	assertGone(t, dir, nil)
	require.DirExists(t, dir)
	require.FileExists(t, filepath.Join(dir, string(KindRedis), SecretsFile))
}

func TestUpEndsAllWhenOneFails(t *testing.T) {
	t.Parallel()
	stacktest.Need(t, kinds...)
	taken, err := net.Listen("tcp4", Loopback+":0")
	require.NoError(t, err)
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	_, err = Up(t.Context(), Options{Dir: dir, MariaDBPort: port})
	require.ErrorContains(t, err, fmt.Sprintf("mariadb: client port %d is taken", port))
	assertGone(t, dir, nil)
}

// kill -9 of whoever started the engines is the end of the engines, also while
// they start.
func TestEnginesDieWithTheirParent(t *testing.T) {
	t.Parallel()
	stacktest.Need(t, kinds...)
	for _, when := range []string{"starting", "up"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), helperDir+"="+dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(out)
			said := ""
			for lines.Scan() && !strings.Contains(lines.Text(), when) {
				said += lines.Text() + "\n"
			}
			require.NoError(t, lines.Err())
			require.Contains(t, lines.Text(), when, said)
			eventually(t, func() string { // all of them, and not only the parent
				if n := len(mentioning(dir)); n < 1+len(kinds) {
					return fmt.Sprintf("%d processes", n)
				}
				return ""
			})
			children := ChildrenOf(cmd.Process.Pid)
			require.NoError(t, cmd.Process.Kill())
			_, _ = io.Copy(io.Discard, out)
			require.Error(t, cmd.Wait())
			assertGone(t, dir, children)
		})
	}
}

func TestStartFailureNamesEngineAndLog(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, KindRedis)
	require.NoError(t, e.Stop())
	manifest := e.Path(DataFolder, "appendonlydir", "appendonly.aof.manifest")
	require.FileExists(t, manifest)
	require.NoError(t, os.WriteFile(manifest, []byte("nonsense\n"), 0o600))
	err := e.Start(t.Context())
	require.ErrorContains(t, err, "redis did not start: the server ended: exit status 1")
	require.ErrorContains(t, err, e.LogFile()+" ends with:\n")
	require.ErrorContains(t, err, "nonsense")
	require.NoError(t, e.Wipe())
	require.NoError(t, e.Start(t.Context()))
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		stacktest.Need(t, kind)
		e, err := New(kind, t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, e.Close()) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		err = e.Start(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Zero(t, e.Pid())
		assertGone(t, e.Dir(), nil)
	})
}

// Its disk monitor quotes paths for a shell, its console encodes them as Latin-1.
func TestRabbitMQRefusesPathsThatItCannotTake(t *testing.T) {
	t.Parallel()
	stacktest.Need(t, kinds...)
	for _, name := range []string{"秒杀", `a"b`, "a'b", "$HOME", "a`b", `a\b`} {
		dir := filepath.Join(t.TempDir(), name)
		e, err := RabbitMQ(dir)
		require.NoError(t, err)
		require.ErrorContains(t, e.Start(t.Context()), "RabbitMQ cannot run in "+dir)
		require.NoError(t, e.Close())
	}
}

func TestFolderHasOneUser(t *testing.T) {
	t.Parallel()
	stacktest.Need(t, kinds...)
	dir := t.TempDir()
	e, err := Redis(dir)
	require.NoError(t, err)
	_, err = Redis(dir)
	require.ErrorIs(t, err, ErrFolderLocked)
	require.NoError(t, e.Close())
	again, err := Redis(dir)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestSweepRemovesWhatTheKilledLeft(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	old := time.Now().Add(-2 * TempGrace)
	make := func(name string, at time.Time) string {
		path := filepath.Join(tmp, name)
		require.NoError(t, os.MkdirAll(filepath.Join(path, "redis"), 0o700))
		require.NoError(t, os.Chtimes(path, at, at))
		return path
	}
	left, young, foreign, used := make(TempPrefix+"1", old), make(TempPrefix+"2", time.Now()), make("other-3", old), make(TempPrefix+"4", old)
	release, err := OpenFolder(used)
	require.NoError(t, err)
	defer release()

	temp, remove, err := TempDir()
	require.NoError(t, err)
	require.NoDirExists(t, left)
	require.DirExists(t, young)
	require.DirExists(t, foreign)
	require.DirExists(t, used)
	require.NoError(t, remove())
	require.NoDirExists(t, temp)
}

func TestPorts(t *testing.T) {
	t.Parallel()
	p, release, err := Reserve(0)
	require.NoError(t, err)
	require.Less(t, p, FreePortMax+1)
	require.GreaterOrEqual(t, p, FreePortMin)
	_, _, err = Reserve(p)
	require.ErrorIs(t, err, ErrClaimed, "although nothing listens there")
	release()
	_, release, err = Reserve(p)
	require.NoError(t, err)
	defer release()

	l, err := net.Listen("tcp4", Loopback+":0")
	require.NoError(t, err)
	defer l.Close()
	_, _, err = Reserve(l.Addr().(*net.TCPAddr).Port)
	require.ErrorContains(t, err, "is taken")
	for _, n := range []int{-1, 65536} {
		_, _, err = Reserve(n)
		require.ErrorContains(t, err, "not within 1 to 65535")
	}

	// A server's address is its own while the server is down.
	a, err := Address()
	require.NoError(t, err)
	runtime.GC()
	of, err := net.ResolveTCPAddr("tcp4", a)
	require.NoError(t, err)
	_, _, err = Reserve(of.Port)
	require.ErrorIs(t, err, ErrClaimed)
}

// eventually waits until what is not nothing any more.
func eventually(t *testing.T, what func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left := what()
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.Fail(t, "still: "+left)
		}
	}
}

// assertGone waits until no process has the folder in its command line, its
// environment or as its place, and none of the children lives.
func assertGone(t *testing.T, dir string, children []Child) {
	t.Helper()
	eventually(t, func() string {
		left := mentioning(dir)
		for _, c := range children {
			if c.Alive() {
				left = append(left, fmt.Sprintf("child %d", c.Pid()))
			}
		}
		return strings.Join(left, "; ")
	})
}

func mentioning(dir string) []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		if p == "/proc/"+strconv.Itoa(os.Getpid()) {
			continue
		}
		line, _ := os.ReadFile(p + "/cmdline")
		env, _ := os.ReadFile(p + "/environ")
		cwd, _ := os.Readlink(p + "/cwd")
		if bytes.Contains(line, []byte(dir)) || bytes.Contains(env, []byte(dir)) || strings.HasPrefix(cwd, dir) {
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// listens are the TCP addresses that a process listens on.
func listens(t *testing.T, pid int) map[string]bool {
	t.Helper()
	inodes := make(map[string]bool)
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	require.NoError(t, err)
	for _, fd := range fds {
		to, _ := os.Readlink(fd)
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	addresses := make(map[string]bool)
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		require.NoError(t, err)
		for line := range strings.Lines(string(b)) {
			const listening = "0A"
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != listening || !inodes[f[9]] {
				continue
			}
			ip, port, _ := strings.Cut(f[1], ":")
			n, err := strconv.ParseUint(port, 16, 16)
			require.NoError(t, err)
			if ip == "0100007F" {
				ip = Loopback
			}
			addresses[cmp.Or(ip, table)+":"+strconv.FormatUint(n, 10)] = true
		}
	}
	return addresses
}
