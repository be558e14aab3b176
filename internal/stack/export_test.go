//go:build linux

package stack

import "context"

// The tests of this package take their engines from stacktest, which imports it, so they are
// outside of it. This is what they look at inside.
const (
	DataFolder    = dataFolder
	FreePortMax   = freePortMax
	FreePortMin   = freePortMin
	Loopback      = loopback
	MariaDatabase = mariaDatabase
	NginxServer   = nginxServer
	RabbitVHost   = rabbitVHost
	ReadyLimit    = readyLimit
	SecretsFile   = secretsFile
	TempGrace     = tempGrace
	TempPrefix    = tempPrefix
	User          = user
)

var (
	Answers         = answers
	EngineURL       = engineURL
	ErrClaimed      = errClaimed
	ErrFolderLocked = errFolderLocked
	KeptSecret      = keptSecret
	MariaExec       = mariaExec
	RabbitURL       = rabbitURL
	RedisAsk        = redisAsk
	RedisDo         = redisDo
)

// Below lets an engine look for its package in another place than /.
func Below(root string) Option { return func(s *settings) { s.root = root } }

func (e *Engine) Dir() string { return e.folder.path }

func (e *Engine) Path(elem ...string) string { return e.path(elem...) }

func (e *Engine) Password() string { return e.secrets.User }

func (e *Engine) Secrets() any { return e.secrets }

func (e *Engine) Ports() []int { return e.Loan().Ports }

func (e *Engine) AskConsole(ctx context.Context, method, path, user, password string, body any) error {
	return e.console(ctx, method, path, user, password, body)
}

func (c *Cluster) Complete(ctx context.Context) error { return c.complete(ctx) }

// Child is a process that a server has started.
type Child struct{ child }

func (c Child) Alive() bool { return c.alive() }

func (c Child) Pid() int { return c.pid }

func (e *Engine) Children() []Child { return children(e.running()) }

// ChildrenOf are those of a process of this machine.
func ChildrenOf(pid int) []Child { return children(&process{pid: pid}) }

func children(p *process) (all []Child) {
	for _, c := range p.descendants() {
		all = append(all, Child{c})
	}
	return all
}

// Reserve takes a port, as an engine does.
func Reserve(number int) (taken int, release func(), err error) {
	p, err := reserve(number)
	if err != nil {
		return 0, nil, err
	}
	return p.number, p.release, nil
}

// OpenFolder takes a folder, as an engine does.
func OpenFolder(path string) (release func(), err error) {
	f, err := openFolder(path)
	if err != nil {
		return nil, err
	}
	return f.release, nil
}
