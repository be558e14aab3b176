package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Temporary folders of processes that were killed are removed by the next one
// that makes such a folder.
const (
	tempPrefix = "seckill-stack-"
	tempGrace  = time.Minute // a younger one may not be locked yet
)

// folder is a directory that this process alone uses. The lock is on the
// directory itself and goes with the process, however it ends.
type folder struct {
	path string
	lock *os.File
}

var errFolderLocked = errors.New("another process uses this folder")

// openFolder makes the folder if need be, and locks it.
func openFolder(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &folder{path, f}, nil
}

// release unlocks the folder and does not leave that to Close: a child that another goroutine
// is starting at this moment has the file open until it becomes its program.
func (f *folder) release() {
	unlock(f.lock)
	f.lock.Close()
}

// remove releases the folder and removes it with all that is in it.
func (f *folder) remove() error {
	defer f.release()
	return os.RemoveAll(f.path)
}

// TempDir is a folder that this process alone uses until it removes it. The folder of a process
// that was killed goes when the next one is made.
func TempDir() (path string, remove func() error, err error) {
	f, err := newTemp()
	if err != nil {
		return "", nil, err
	}
	return f.path, f.remove, nil
}

func newTemp() (*folder, error) {
	sweep()
	path, err := os.MkdirTemp("", tempPrefix)
	if err != nil {
		return nil, err
	}
	return openFolder(path)
}

// sweep removes what killed processes left. It is a courtesy: whatever it cannot
// remove stays.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*"))
	for _, path := range left {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < tempGrace {
			continue
		}
		if f, err := openFolder(path); err == nil {
			_ = f.remove()
		}
	}
}
