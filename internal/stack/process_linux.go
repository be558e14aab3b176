package stack

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

func supported() error { return nil }

// process is a server: a direct child in a process group of its own, which the
// kernel kills when we die.
type process struct {
	pid  int
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and was waited for
}

// spawn starts a command.
//
// The kernel sends the signal of Pdeathsig when the thread that started the
// child ends, so one thread starts it and stays until the child has ended. The
// group keeps a terminal's Ctrl-C away from the child: we end it in our order.
// A child that must end its own children when we die gets SIGTERM, others SIGKILL.
func spawn(cmd *exec.Cmd, parent bool) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if parent {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		_ = cmd.Wait() // what matters of it is in cmd.ProcessState
		close(p.done)
	}()
	return p, <-started
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// state tells how the process ended. Only after done.
func (p *process) state() string { return p.cmd.ProcessState.String() }

// terminate asks the server itself, not its children.
func (p *process) terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// kill kills the server and its group. The group first: when the server has been
// waited for, its number may be somebody else's.
func (p *process) kill() {
	if !p.ended() {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	}
	_ = p.cmd.Process.Kill()
}

// child is a process below a server. The start time tells it from a later
// process with the same number.
type child struct {
	pid, parent int
	state       string
	started     string
}

// descendants are the children of the process, and theirs.
func (p *process) descendants() []child {
	parents := make(map[int][]child)
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, e := range entries {
		pid, _ := strconv.Atoi(filepath.Base(e))
		if c, ok := look(pid); ok {
			parents[c.parent] = append(parents[c.parent], c)
		}
	}
	found := parents[p.pid]
	for i := 0; i < len(found); i++ {
		found = append(found, parents[found[i].pid]...)
	}
	return found
}

func look(pid int) (child, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return child{}, false
	}
	// The name, in parentheses, may hold anything; see proc(5) for the rest.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 {
		return child{}, false
	}
	parent, err := strconv.Atoi(string(f[1]))
	return child{pid: pid, parent: parent, state: string(f[0]), started: string(f[19])}, err == nil
}

// alive is false for a zombie too: nothing of it is left but its number.
func (c child) alive() bool {
	now, ok := look(c.pid)
	return ok && now.started == c.started && now.state != "Z" && now.state != "X"
}

func (c child) kill() {
	if c.alive() {
		_ = syscall.Kill(c.pid, syscall.SIGKILL)
	}
}

// maxFiles is how many files a child may open at most. It starts with fewer, and
// may ask for more.
func maxFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return l.Max
}

// tryLock locks an open file until it is closed. Children do not inherit it.
func tryLock(f *os.File) error {
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
	case nil:
		return nil
	case syscall.EWOULDBLOCK:
		return errFolderLocked
	default:
		return os.NewSyscallError("flock", err)
	}
}

func unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
