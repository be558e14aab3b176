package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// LentVariable in the environment names a file of engines that one process has started
// and lends to the tests of all others, see [Stack.Lend].
const LentVariable = "SECKILL_TEST_ENGINES"

// lentFile is that file, in a stack's folder.
const lentFile = "lent.json"

// lent is an engine in that file.
type lent struct {
	Folder string `json:"folder"`
	Ports  []int  `json:"ports"` // in the order of its spec's
	Pid    int    `json:"pid"`
}

// Lend lets other processes of this machine use the running engines of a stack with a
// temporary folder, in their tests: [Shared] takes them instead of starting its own.
// setting, NAME=value, belongs into their environment.
func (s *Stack) Lend() (setting string, err error) {
	if s.temp == nil {
		return "", fmt.Errorf("only engines that keep nothing are lent to tests")
	}
	all := map[Kind]lent{}
	for _, e := range s.Engines() {
		l := lent{Folder: e.folder.path, Pid: e.Pid()}
		for _, p := range e.ports {
			l.Ports = append(l.Ports, p.number)
		}
		all[e.Kind()] = l
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.temp.path, lentFile)
	return LentVariable + "=" + file, os.WriteFile(file, b, 0o600)
}

// borrow is the engine that another process lends, or nil if it lends none of that
// kind. It can be used, and neither started, stopped, killed nor wiped.
func borrow(kind Kind) (*Engine, error) {
	file := os.Getenv(LentVariable)
	if file == "" {
		return nil, nil
	}
	e, err := borrowFrom(file, kind)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w; unset it, and the tests start engines of their own", LentVariable, file, err)
	}
	return e, nil
}

func borrowFrom(file string, kind Kind) (*Engine, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all map[Kind]lent
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	l, here := all[kind]
	if !here {
		return nil, nil
	}
	s := specs(kind)
	if s == nil || len(l.Ports) != len(s.ports) {
		return nil, fmt.Errorf("%s is not written as this version of the tests reads it", kind)
	}
	e := &Engine{spec: s, folder: &folder{path: l.Folder}, borrowed: true, process: &process{pid: l.Pid, done: make(chan struct{})}}
	for _, n := range l.Ports {
		e.ports = append(e.ports, &port{number: n})
	}
	if err := e.loadSecrets(); err != nil {
		return nil, err
	}
	if err := e.Ready(context.Background()); err != nil {
		return nil, fmt.Errorf("%w\n%s ends with:\n%s", err, e.LogFile(), e.LogTail())
	}
	return e, nil
}

// ours tells that an engine belongs to this process, which may end it.
func (e *Engine) ours(what string) error {
	if e.borrowed {
		return fmt.Errorf("%s: %s: it is shared by all tests; take one of your own (stack.Own)", e.spec.kind, what)
	}
	return nil
}
