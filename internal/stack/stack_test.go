//go:build linux

package stack

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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	Main(m)
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
		e := Own(t, kind)
		dir, url, first := e.folder.path, e.URL(), e.Pid()
		require.Zero(t, count(t, e), "a new engine is empty")
		put(t, e)
		require.ErrorContains(t, e.Start(t.Context()), "it is running")
		require.ErrorContains(t, e.Wipe(), "it is running")

		children := e.running().descendants()
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

		again, err := newEngine(kind, dir, nil)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, again.Close()) })
		require.NotEqual(t, url, again.URL(), "another port")
		require.Equal(t, e.secrets, again.secrets)
		require.NoError(t, again.Start(t.Context()))
		require.Equal(t, 2, count(t, again), "kept for the next process")

		require.NoError(t, again.Stop())
		require.NoError(t, again.Wipe())
		require.NoError(t, again.Start(t.Context()))
		require.Zero(t, count(t, again), "wiped")

		children = again.running().descendants()
		require.NoError(t, again.Close())
		assertGone(t, dir, children)
		for _, p := range again.ports {
			n, err := reserve(p.number)
			require.NoError(t, err, "the port is free again")
			n.release()
		}
	})
}

func TestEnginesListenOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		e := Shared(t, kind)
		addresses := listens(t, e.Pid())
		require.Contains(t, addresses, e.Addr())
		require.Len(t, addresses, len(e.ports))
		for a := range maps.Keys(addresses) {
			require.True(t, strings.HasPrefix(a, loopback+":"), a)
		}
	})
}

func TestUpAndDown(t *testing.T) {
	t.Parallel()
	needEngines(t)
	var progress bytes.Buffer
	s, err := Up(t.Context(), Options{Progress: &progress})
	require.NoError(t, err)
	t.Log("\n" + progress.String())
	t.Cleanup(func() { assert.NoError(t, s.Down()) })
	dir := s.temp.path
	require.Len(t, s.Engines(), len(kinds))
	require.Len(t, s.AuthSecret, 52)
	var children []child
	for _, e := range s.Engines() {
		require.NoError(t, e.Ready(t.Context()))
		require.Contains(t, progress.String(), fmt.Sprintf("on %s, process %d\n", e.Addr(), e.Pid()))
		children = append(children, e.running().descendants()...)
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
	one, err := keptSecret(filepath.Join(dir, "auth.secret"))
	require.NoError(t, err)
	two, err := keptSecret(filepath.Join(dir, "auth.secret"))
	require.NoError(t, err)
	require.Equal(t, one, two)

	needEngines(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Up(ctx, Options{Dir: dir})
	require.ErrorIs(t, err, context.Canceled)
	assertGone(t, dir, nil)
	require.DirExists(t, dir)
	require.FileExists(t, filepath.Join(dir, string(KindRedis), secretsFile))
}

func TestUpEndsAllWhenOneFails(t *testing.T) {
	t.Parallel()
	needEngines(t)
	taken, err := net.Listen("tcp4", loopback+":0")
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
	needEngines(t)
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
			require.Contains(t, lines.Text(), when, said)
			eventually(t, func() string { // all of them, and not only the parent
				if n := len(mentioning(dir)); n < 1+len(kinds) {
					return fmt.Sprintf("%d processes", n)
				}
				return ""
			})
			parent := &process{pid: cmd.Process.Pid}
			children := parent.descendants()
			require.NoError(t, cmd.Process.Kill())
			_, _ = io.Copy(io.Discard, out)
			require.Error(t, cmd.Wait())
			assertGone(t, dir, children)
		})
	}
}

func TestStartFailureNamesEngineAndLog(t *testing.T) {
	t.Parallel()
	e := Own(t, KindRedis)
	require.NoError(t, e.Stop())
	manifest := e.path(dataFolder, "appendonlydir", "appendonly.aof.manifest")
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
		if err := missing(kind, nil); err != nil {
			without(t, err)
		}
		e, err := newEngine(kind, t.TempDir(), nil)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, e.Close()) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		err = e.Start(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Zero(t, e.Pid())
		assertGone(t, e.folder.path, nil)
	})
}

// Its disk monitor quotes paths for a shell, its console encodes them as Latin-1.
func TestRabbitMQRefusesPathsThatItCannotTake(t *testing.T) {
	t.Parallel()
	needEngines(t)
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
	needEngines(t)
	dir := t.TempDir()
	e, err := Redis(dir)
	require.NoError(t, err)
	_, err = Redis(dir)
	require.ErrorIs(t, err, errFolderLocked)
	require.NoError(t, e.Close())
	again, err := Redis(dir)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestSweepRemovesWhatTheKilledLeft(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	old := time.Now().Add(-2 * tempGrace)
	make := func(name string, at time.Time) string {
		path := filepath.Join(tmp, name)
		require.NoError(t, os.MkdirAll(filepath.Join(path, "redis"), 0o700))
		require.NoError(t, os.Chtimes(path, at, at))
		return path
	}
	left, young, foreign, used := make(tempPrefix+"1", old), make(tempPrefix+"2", time.Now()), make("other-3", old), make(tempPrefix+"4", old)
	lock, err := openFolder(used)
	require.NoError(t, err)
	defer lock.release()

	temp, err := newTemp()
	require.NoError(t, err)
	require.NoDirExists(t, left)
	require.DirExists(t, young)
	require.DirExists(t, foreign)
	require.DirExists(t, used)
	require.NoError(t, temp.remove())
	require.NoDirExists(t, temp.path)
}

func TestPorts(t *testing.T) {
	t.Parallel()
	p, err := reserve(0)
	require.NoError(t, err)
	require.Less(t, p.number, freePortMax+1)
	require.GreaterOrEqual(t, p.number, freePortMin)
	_, err = reserve(p.number)
	require.ErrorIs(t, err, errClaimed, "although nothing listens there")
	p.release()
	p, err = reserve(p.number)
	require.NoError(t, err)
	defer p.release()

	l, err := net.Listen("tcp4", loopback+":0")
	require.NoError(t, err)
	defer l.Close()
	_, err = reserve(l.Addr().(*net.TCPAddr).Port)
	require.ErrorContains(t, err, "is taken")
	for _, n := range []int{-1, 65536} {
		_, err = reserve(n)
		require.ErrorContains(t, err, "not within 1 to 65535")
	}
}

// needEngines is for tests that start engines without Own and Shared.
func needEngines(t *testing.T) {
	t.Helper()
	for _, k := range kinds {
		if err := missing(k, nil); err != nil {
			without(t, err)
		}
	}
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
func assertGone(t *testing.T, dir string, children []child) {
	t.Helper()
	eventually(t, func() string {
		left := mentioning(dir)
		for _, c := range children {
			if c.alive() {
				left = append(left, fmt.Sprintf("child %d", c.pid))
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
				ip = loopback
			}
			addresses[cmp.Or(ip, table)+":"+strconv.FormatUint(n, 10)] = true
		}
	}
	return addresses
}
