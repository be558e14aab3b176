package stack

import (
	"context"
	"fmt"
)

// Loan is what another process of this machine needs in order to use a running engine.
type Loan struct {
	Folder string `json:"folder"`
	Ports  []int  `json:"ports"` // in the order of its spec's
	Pid    int    `json:"pid"`
}

// Loan of a running engine, for [Borrow].
func (e *Engine) Loan() Loan {
	l := Loan{Folder: e.folder.path, Pid: e.Pid()}
	for _, p := range e.ports {
		l.Ports = append(l.Ports, p.number)
	}
	return l
}

// Borrow is an engine that another process runs. It can be used, and neither started,
// stopped, killed nor wiped.
func Borrow(kind Kind, l Loan) (*Engine, error) {
	s := specs(kind)
	if s == nil || len(l.Ports) != len(s.ports) {
		return nil, fmt.Errorf("%s is not written as this version reads it", kind)
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
		return fmt.Errorf("%s: %s: it is shared by all tests; take one of your own (stacktest.Own)", e.spec.kind, what)
	}
	return nil
}
