package stack

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Kind of an engine. A new one needs a spec in a file of its own, its entry in
// specs, and a constructor; a purchase that uses it needs a field of [Stack].
type Kind string

// The kinds of engines.
const (
	KindRedis    Kind = "redis"
	KindRabbitMQ Kind = "rabbitmq"
	KindMariaDB  Kind = "mariadb"
)

func specs(k Kind) *spec {
	switch k {
	case KindRedis:
		return redis
	case KindRabbitMQ:
		return rabbitmq
	case KindMariaDB:
		return mariadb
	}
	return nil
}

// spec is all that differs between kinds.
type spec struct {
	kind  Kind
	apt   string     // the Debian package
	files [][]string // that the package must have installed, each with all the places where a version of it may be
	ports []string   // names, for errors; the first is what clients connect to

	// url is what a client with this user and password connects to.
	url func(e *Engine, user, password string) string
	// admin is the engine's own administrator.
	admin string
	// prepare writes the configuration and, in an empty folder, the data.
	prepare func(ctx context.Context, e *Engine) error
	// command is the server in the foreground. Its output goes to the log.
	command func(e *Engine) *exec.Cmd
	// ready asks once whether the user can log in and be served.
	ready func(ctx context.Context, e *Engine) error
	// parent is set for a server that ends its children only when it is asked to
	// end: then our death asks it instead of killing it.
	parent bool
	// settled reports whether a kill would lose nothing that was acknowledged. No
	// function: it never would.
	settled func(ctx context.Context, e *Engine) (bool, error)
	// namespace makes a namespace that the user sees nothing else from, and says
	// its URL and how to remove it.
	namespace func(ctx context.Context, e *Engine, name string) (url string, remove func(context.Context) error, err error)
}

// secrets are the passwords of an engine, made once per folder.
type secrets struct {
	User    string `json:"user"`
	Admin   string `json:"admin"`
	Monitor string `json:"monitor"`
}

// Installed tells what must be installed for an engine of a kind, as [ErrMissing], or nothing.
func Installed(kind Kind) error {
	s := specs(kind)
	if kind == KindNginx {
		s = nginx(Site{})
	}
	if s == nil {
		return fmt.Errorf("%q is no kind of engine", kind)
	}
	return s.installed("")
}

func (s *spec) engine(dir string, set settings) (*Engine, error) {
	e := &Engine{spec: s, tls: set.tls, log: cmp.Or(set.log, rabbitWAL)}
	if err := s.installed(set.root); err != nil {
		return nil, err
	}
	if err := e.open(dir, set); err != nil {
		e.release()
		return nil, fmt.Errorf("%s: %w", s.kind, err)
	}
	return e, nil
}

// installed looks for the package below root, which is empty but in tests.
func (s *spec) installed(root string) error {
	if err := supported(); err != nil {
		return fmt.Errorf("%s: %w", s.kind, err)
	}
	for i, places := range s.files {
		if s.file(root, i) == "" {
			return fmt.Errorf("%s: %s is %w: apt-get install -y %s", s.kind, root+strings.Join(places, " or "+root), ErrMissing, s.apt)
		}
	}
	return nil
}

// file is where the i-th of the package's files is, "" if it is nowhere.
func (s *spec) file(root string, i int) string {
	for _, place := range s.files[i] {
		if _, err := os.Stat(root + place); err == nil {
			return place
		}
	}
	return ""
}

func (e *Engine) loadSecrets() error {
	if e.spec.admin == "" { // nobody logs in
		return nil
	}
	b, err := os.ReadFile(e.path(secretsFile))
	if err == nil {
		if err := json.Unmarshal(b, &e.secrets); err != nil {
			return fmt.Errorf("%s: %w", e.path(secretsFile), err)
		}
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	e.secrets = secrets{User: rand.Text(), Admin: rand.Text(), Monitor: rand.Text()}
	if b, err = json.MarshalIndent(e.secrets, "", "  "); err != nil {
		return err
	}
	return e.write(secretsFile, string(b)+"\n")
}
