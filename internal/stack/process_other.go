//go:build !linux

package stack

import (
	"fmt"
	"os"
	"os/exec"
)

// Only Linux kills a child when its parent dies, and only there are the packages
// where this package looks for them.
var errUnsupported = fmt.Errorf("%w: real engines are started on Linux only", ErrMissing)

func supported() error { return errUnsupported }

type process struct {
	pid  int
	done chan struct{}
}

func spawn(*exec.Cmd, bool) (*process, error) { return nil, errUnsupported }

func (p *process) ended() bool          { return true }
func (p *process) state() string        { return "" }
func (p *process) terminate()           {}
func (p *process) kill()                {}
func (p *process) descendants() []child { return nil }

type child struct{}

func (child) alive() bool { return false }
func (child) kill()       {}

func maxFiles() uint64 { return 0 }

func tryLock(*os.File) error { return errUnsupported }

func unlock(*os.File) {}
