// Package stack starts the real engines behind a purchase (Redis for the gate,
// RabbitMQ for the queue, MariaDB for the store) from the packages installed on
// this machine, nodes on them and nginx in front, for "seckill stack up" and for
// tests.
//
// An [Engine] is one server process with a folder for its data and ports on
// 127.0.0.1. It is configured for what Seckill promises: durable before it is
// acknowledged, and users of its own with the least rights. It ends with the
// process that started it, kill -9 included. Temporary folders go at the end too;
// those of a killed process go when the next one is made.
//
// Tests take engines from package stacktest below it, which is no part of the binary. A few
// things that only tests ask for are here all the same, since they are made of what an
// engine keeps to itself: clusters ([Cluster]), engines that another process runs ([Borrow]),
// namespaces ([Engine.Namespace]), a command to Redis ([Engine.AskRedis]), what is installed
// ([Installed]) and MariaDB with TLS ([TLS]).
package stack

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options of [Up]. A port of 0 is a free one.
type Options struct {
	// Dir keeps data and passwords for the next start. Empty is a temporary
	// folder, removed by Down.
	Dir string

	RedisPort, RabbitMQPort, ConsolePort, MariaDBPort int

	QuorumLog int // bytes, see QuorumLog

	Nodes     int    // how many nodes
	NodePort  int    // of the first node; the others have the next ones
	Binary    string // of the nodes; empty is this process's own
	Nginx     bool   // in front of them
	NginxPort int

	// Progress gets a line whenever something happens, if it is not nil.
	Progress io.Writer
}

// Stack is one engine of each kind, running, and what was asked for on top.
type Stack struct {
	Redis, RabbitMQ, MariaDB *Engine

	Nodes []*Engine // on them
	Nginx *Engine   // in front of the nodes, or nil

	// AuthSecret signs tokens on every node that uses this stack (auth.secret).
	AuthSecret string

	// Environment is a file that only this user can read: the settings of a node on the
	// engines, passwords and secret included, and the console's password, as lines for a
	// shell.
	Environment string

	front    bool    // whether nginx stands before the nodes
	temp     *folder // not nil if the folder goes away with the stack
	progress func(format string, args ...any)
}

// Engines are those of the stack, in the order of a purchase.
func (s *Stack) Engines() []*Engine {
	var engines []*Engine
	for _, e := range []*Engine{s.Redis, s.RabbitMQ, s.MariaDB} {
		if e != nil {
			engines = append(engines, e)
		}
	}
	return engines
}

// Up starts one engine of each kind, all at the same time, then the nodes, then
// nginx, and returns when all are healthy. When one fails it ends the others and
// returns why.
func Up(ctx context.Context, o Options) (*Stack, error) {
	s := &Stack{progress: printer(o.Progress), front: o.Nginx}
	if err := s.up(ctx, o); err != nil {
		return nil, errors.Join(err, s.Down())
	}
	return s, nil
}

func (s *Stack) up(ctx context.Context, o Options) (err error) {
	dir := o.Dir
	if dir == "" {
		if s.temp, err = newTemp(); err != nil {
			return err
		}
		dir = s.temp.path
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if s.AuthSecret, err = keptSecret(filepath.Join(dir, "auth.secret")); err != nil {
		return err
	}
	var errs [3]error
	s.Redis, errs[0] = Redis(filepath.Join(dir, string(KindRedis)), Port(o.RedisPort))
	s.RabbitMQ, errs[1] = RabbitMQ(filepath.Join(dir, string(KindRabbitMQ)), Port(o.RabbitMQPort), ConsolePort(o.ConsolePort), QuorumLog(o.QuorumLog))
	s.MariaDB, errs[2] = MariaDB(filepath.Join(dir, string(KindMariaDB)), Port(o.MariaDBPort))
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	if err := s.start(ctx, s.Engines()...); err != nil {
		return err
	}
	s.Environment = filepath.Join(dir, "stack.env")
	_, _, console := s.RabbitMQ.Console()
	var text strings.Builder
	for _, v := range [][2]string{
		{"SECKILL_AUTH_SECRET", s.AuthSecret}, {"SECKILL_PAYMENT_PROVIDER", "test"}, {"SECKILL_GATE", s.Redis.URL()},
		{"SECKILL_QUEUE", s.RabbitMQ.URL()}, {"SECKILL_STORE", s.MariaDB.URL()}, {"CONSOLE_PASSWORD", console},
	} {
		fmt.Fprintf(&text, "%s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
	}
	if err := os.WriteFile(s.Environment, []byte(text.String()), 0o600); err != nil {
		return err
	}
	return s.upNodes(ctx, o, dir)
}

// TempDir is the folder of everything, if it goes away with the stack; else it is empty.
func (s *Stack) TempDir() string {
	if s.temp == nil {
		return ""
	}
	return s.temp.path
}

// start starts engines at the same time. The first failure cancels the other
// starts: nobody waits for an engine that is going to be ended.
func (s *Stack) start(ctx context.Context, engines ...*Engine) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	each(engines, func(e *Engine) error {
		s.progress("%-9s starting", e.Kind())
		began := time.Now()
		if err := e.Start(ctx); err != nil {
			cancel(err)
			return err
		}
		s.progress("%-9s ready in %.1f s on %s, process %d", e.Kind(), time.Since(began).Seconds(), e.Addr(), e.Pid())
		return nil
	})
	return context.Cause(ctx)
}

// Down ends everything, from the front to the back: cleanly, or, where the folder
// is a temporary one and is removed, at once. A second Down does nothing.
func (s *Stack) Down() error {
	end := (*Engine).Close
	if s.temp != nil {
		end = (*Engine).Discard
	}
	down := func(engines ...*Engine) error {
		return each(engines, func(e *Engine) error {
			wasRunning := e.Pid() != 0
			if err := end(e); err != nil {
				return err
			}
			if wasRunning {
				s.progress("%-9s ended", e.Kind())
			}
			return nil
		})
	}
	var err error
	if s.Nginx != nil {
		err = down(s.Nginx)
	}
	err = errors.Join(err, down(s.Nodes...), down(s.Engines()...))
	if s.temp != nil {
		err = errors.Join(err, s.temp.remove())
		s.temp = nil
	}
	return err
}

// each calls f for all engines at the same time.
func each(engines []*Engine, f func(*Engine) error) error {
	errs := make([]error, len(engines))
	var wg sync.WaitGroup
	for i, e := range engines {
		wg.Go(func() { errs[i] = f(e) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// printer writes whole lines, one at a time.
func printer(w io.Writer) func(string, ...any) {
	w = cmp.Or(w, io.Discard)
	var mu sync.Mutex
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, format+"\n", args...)
	}
}

// keptSecret reads the secret in a file, or makes one there.
func keptSecret(file string) (string, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		s := rand.Text() + rand.Text()
		return s, os.WriteFile(file, []byte(s+"\n"), 0o600)
	}
	return strings.TrimSpace(string(b)), err
}
