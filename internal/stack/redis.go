package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os/exec"
	"strconv"

	"github.com/redis/rueidis"
)

const (
	redisMemory    = "512mb"                      // full means that writes fail: nothing is ever evicted
	redisDatabases = 1024                         // number 0 is that of nodes; tests have the others, one each
	redisGiven     = "stack:databases"            // in number 0: the last one that a test has taken
	redisGivenBack = "stack:databases:given-back" // in number 0: those whose tests have ended
)

// redis acknowledges a write when it is on the disk (appendfsync always) and
// never drops one for want of memory (noeviction): what the gate promises.
var redis = &spec{
	kind:  KindRedis,
	apt:   "redis-server",
	files: [][]string{{"/usr/bin/redis-server", "/usr/bin/valkey-server"}}, // Valkey where there is no Redis
	ports: []string{"client"},
	admin: "default",
	url: func(e *Engine, user, password string) string {
		return engineURL("redis", user, password, e.Addr(), "0")
	},
	prepare: func(_ context.Context, e *Engine) error {
		return e.write("redis.conf", fmt.Sprintf(`# Written at every start.
bind %s
port %d
protected-mode yes
dir %q
databases %d

appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
save ""
maxmemory %s
maxmemory-policy noeviction

# The administrator, and the user of the nodes: its own keys and channels, no
# command that reaches beyond them, and a look at the settings above.
user default on #%s ~* &* +@all
user %s on #%s ~seckill:* &seckill:* +@all -@dangerous +info +config|get
`, loopback, e.ports[mainPort].number, e.path(dataFolder), redisDatabases, redisMemory, sha256hex(e.secrets.Admin), user, sha256hex(e.secrets.User)))
	},
	command: func(e *Engine) *exec.Cmd {
		cmd := exec.Command(e.spec.file("", 0), e.path("redis.conf"))
		cmd.Env = environment(e.folder.path)
		return cmd
	},
	ready: func(ctx context.Context, e *Engine) error {
		return redisDo(ctx, e.URL(), "PING")
	},
	namespace: func(ctx context.Context, e *Engine, _ string) (string, func(context.Context) error, error) {
		// Who may take which database, Redis itself says: the tests that ask are in several
		// processes. One that was given back comes first.
		text, err := redisAsk(ctx, e.AdminURL(), "EVAL", "return redis.call('RPOP', KEYS[1]) or redis.call('INCR', KEYS[2])", "2", redisGivenBack, redisGiven)
		if err != nil {
			return "", nil, err
		}
		if n, err := strconv.Atoi(text); err != nil || n >= redisDatabases {
			return "", nil, fmt.Errorf("all %d databases were given out (%s)", redisDatabases-1, text)
		}
		at := func(user, password string) string { return engineURL("redis", user, password, e.Addr(), text) }
		remove := func(ctx context.Context) error {
			if err := redisDo(ctx, at(e.spec.admin, e.secrets.Admin), "FLUSHDB"); err != nil {
				return err
			}
			return redisDo(ctx, e.AdminURL(), "RPUSH", redisGivenBack, text)
		}
		return at(user, e.secrets.User), remove, nil
	},
}

// AskRedis sends one command to a Redis as its administrator and returns the
// answer, an array in short.
func (e *Engine) AskRedis(ctx context.Context, command ...string) (string, error) {
	return redisAsk(ctx, e.AdminURL(), command...)
}

// redisDo sends one command over a connection of its own.
func redisDo(ctx context.Context, url string, command ...string) error {
	_, err := redisAsk(ctx, url, command...)
	return err
}

// redisAsk is redisDo with the answer, an array in short.
func redisAsk(ctx context.Context, url string, command ...string) (string, error) {
	o, err := rueidis.ParseURL(url)
	if err != nil {
		return "", err
	}
	o.DisableCache, o.DisableRetry, o.ForceSingleClient = true, true, true
	o.Dialer.Timeout, o.ConnWriteTimeout = readyLimit, readyLimit
	// For one command: without more it makes buffers of a MiB, and room for a thousand commands.
	o.PipelineMultiplex, o.RingScaleEachConn, o.ReadBufferEachConn, o.WriteBufferEachConn = -1, 1, 1<<12, 1<<12
	c, err := rueidis.NewClient(o)
	if err != nil {
		return "", err
	}
	defer c.Close()
	answer, err := c.Do(ctx, c.B().Arbitrary(command...).Build()).ToAny()
	return fmt.Sprint(answer), err
}

func sha256hex(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
