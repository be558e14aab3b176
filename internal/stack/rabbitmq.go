package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"unicode"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// Not /usr/sbin/rabbitmq-server: that changes to the package's user and to
	// its folders.
	rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	rabbitNode   = "rabbit@localhost" // part of the data: the same on every port
	rabbitVHost  = "/seckill"
	rabbitWAL    = 64 << 20 // bytes of quorum queue log before it is written out; the default fits bigger machines
	rabbitMemory = 256      // MiB that Erlang reserves and keeps; what it needs beyond comes and goes

	consolePort = 1 // of Engine.ports: the management console and its API
	distPort    = 2 // of Engine.ports: Erlang's own, for nobody
)

// User names in RabbitMQ beside the nodes' one.
const (
	rabbitAdmin   = "admin"
	rabbitMonitor = "monitor" // reads the console
)

// rabbitOwn is what the nodes' user may configure, write and read. It leaves out
// the default exchange: a node publishes through exchanges of its own.
var rabbitOwn = "^" + regexp.QuoteMeta("seckill.") + ".*"

// rabbitmq loads its users from a definitions file at boot, and guest is never
// made. It runs without epmd, the daemon that Erlang nodes find each other with:
// one node has nobody to find, and epmd would outlive it.
var rabbitmq = &spec{
	kind:  KindRabbitMQ,
	apt:   "rabbitmq-server",
	files: [][]string{{rabbitServer}},
	ports: []string{"AMQP", "console", "distribution"},
	admin: rabbitAdmin,
	url: func(e *Engine, user, password string) string {
		return rabbitURL(e, user, password, rabbitVHost)
	},
	prepare: func(_ context.Context, e *Engine) error {
		if strings.ContainsFunc(e.folder.path, func(r rune) bool { return r > unicode.MaxASCII || strings.ContainsRune("\"'`$\\", r) }) {
			return fmt.Errorf("RabbitMQ cannot run in %s: it fails on paths with quotes and on those that are not ASCII", e.folder.path)
		}
		definitions, err := e.rabbitDefinitions()
		if err != nil {
			return err
		}
		return errors.Join(
			e.rabbitFolders(),
			e.rabbitLists(),
			e.write("definitions.json", definitions),
			e.write("enabled_plugins", "[rabbitmq_management].\n"),
			// The server runs in its data folder.
			e.write("rabbitmq.conf", fmt.Sprintf(`# Written at every start.
listeners.tcp.1 = %s
management.tcp.ip = %s
management.tcp.port = %d
load_definitions = ../definitions.json
raft.wal_max_size_bytes = %d
log.console = true
log.console.level = info
log.file = false
`, e.Addr(), loopback, e.ports[consolePort].number, e.log)),
		)
	},
	command: func(e *Engine) *exec.Cmd {
		cmd := exec.Command(rabbitServer)
		cmd.Env = environment(e.folder.path, // Erlang keeps its cookie in HOME
			// The script becomes the server instead of its parent.
			"RUNNING_UNDER_SYSTEMD=true",
			"RABBITMQ_NODENAME="+rabbitNode,
			"RABBITMQ_MNESIA_BASE="+e.path(dataFolder), // that of quorum queues is below
			"RABBITMQ_LOG_BASE="+e.path(dataFolder, "log"),
			"RABBITMQ_LOGS=-",
			"RABBITMQ_CONFIG_FILE="+e.path("rabbitmq.conf"),
			"RABBITMQ_ADVANCED_CONFIG_FILE="+e.path("advanced.config"), // need not exist
			"RABBITMQ_CONF_ENV_FILE="+e.path("rabbitmq-env.conf"),
			"RABBITMQ_ENABLED_PLUGINS_FILE="+e.path("enabled_plugins"),
			"RABBITMQ_GENERATED_CONFIG_DIR="+e.path(dataFolder, "config"),
			"RABBITMQ_PID_FILE="+e.path(dataFolder, "pid"),
			// Threads that are bound to cores would share them with the
			// equally bound threads of a second server.
			"RABBITMQ_SCHEDULER_BIND_TYPE=u",
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-sname "+rabbitNode+
				" -start_epmd false -erl_epmd_port "+strconv.Itoa(e.ports[distPort].number)+
				" -kernel inet_dist_use_interface {127,0,0,1} "+rabbitThrift()+e.rabbitStart(),
			"ERL_CRASH_DUMP_BYTES=0",
			rabbitLoads(),
		)
		return cmd
	},
	ready: func(ctx context.Context, e *Engine) error {
		if err := rabbitReady(ctx, e.URL()); err != nil {
			return err
		}
		return e.console(ctx, http.MethodGet, "whoami", rabbitMonitor, e.secrets.Monitor, nil)
	},
	settled: rabbitSettled,
	namespace: func(ctx context.Context, e *Engine, name string) (string, func(context.Context) error, error) {
		vhost := rabbitVHost + "-" + name
		call := func(ctx context.Context, method, path string, body any) error {
			return e.console(ctx, method, path, rabbitAdmin, e.secrets.Admin, body)
		}
		if err := call(ctx, http.MethodPut, "vhosts/"+url.PathEscape(vhost), struct{}{}); err != nil {
			return "", nil, err
		}
		permit := func(who, own string) error {
			return call(ctx, http.MethodPut, "permissions/"+url.PathEscape(vhost)+"/"+who, rabbitPermissions(own))
		}
		err := errors.Join(permit(user, rabbitOwn), permit(rabbitAdmin, ".*"))
		remove := func(ctx context.Context) error {
			return call(ctx, http.MethodDelete, "vhosts/"+url.PathEscape(vhost), nil)
		}
		return rabbitURL(e, user, e.secrets.User, vhost), remove, err
	},
}

// rabbitThrift is how Erlang shares a machine with the other engines and the nodes.
// Half of the cores run its processes: with more, what one hands to the next of the
// half dozen on a message's way wakes another core. Idle ones sleep at once instead
// of spinning for work. And memory up to rabbitMemory is kept: without, large heaps
// are unmapped and mapped again whenever they are collected.
func rabbitThrift() string {
	cores := max(1, runtime.NumCPU()/2)
	return fmt.Sprintf("+S %d:%d %s +MMscs %d", cores, cores, rabbitSleeps, rabbitMemory)
}

// rabbitSleeps lets threads of Erlang that have nothing to do sleep instead of spinning.
const rabbitSleeps = "+sbwt none +sbwtdcpu none +sbwtdio none"

func rabbitURL(e *Engine, user, password, vhost string) string {
	return engineURL("amqp", user, password, e.Addr(), url.PathEscape(vhost))
}

// Console is the address of RabbitMQ's management console and the user who may
// look at everything and change nothing. Empty for other engines.
func (e *Engine) Console() (address, user, password string) {
	if e.spec.kind != KindRabbitMQ {
		return "", "", ""
	}
	return "http://" + e.addr(consolePort) + "/", rabbitMonitor, e.secrets.Monitor
}

// rabbitDefinitions are users, virtual host and permissions, loaded at every boot.
func (e *Engine) rabbitDefinitions() (string, error) {
	type object = map[string]any
	account := func(name, password string, tags ...string) object {
		return object{
			"name": name, "tags": append([]string{}, tags...),
			"password_hash": rabbitHash(password), "hashing_algorithm": "rabbit_password_hashing_sha256",
		}
	}
	permission := func(name, own string) object {
		p := object{"user": name, "vhost": rabbitVHost}
		for k, v := range rabbitPermissions(own) {
			p[k] = v
		}
		return p
	}
	b, err := json.MarshalIndent(object{
		"users": []object{
			account(user, e.secrets.User),
			account(rabbitMonitor, e.secrets.Monitor, "monitoring"),
			account(rabbitAdmin, e.secrets.Admin, "administrator"),
		},
		"vhosts": []object{{"name": rabbitVHost}},
		"permissions": []object{
			permission(user, rabbitOwn),
			permission(rabbitMonitor, "^$"), // to see the queues, not to touch them
			permission(rabbitAdmin, ".*"),
		},
	}, "", "  ")
	return string(b), err
}

func rabbitPermissions(own string) map[string]string {
	return map[string]string{"configure": own, "write": own, "read": own}
}

// rabbitHash is a password as RabbitMQ keeps it: base64 of a salt of four bytes
// and the SHA-256 of salt and password.
func rabbitHash(password string) string {
	salt := make([]byte, 4)
	_, _ = rand.Read(salt) // never fails
	sum := sha256.Sum256(append(salt[:4:4], password...))
	return base64.StdEncoding.EncodeToString(append(salt, sum[:]...))
}

// rabbitReady logs in and asks for a queue: to learn that there is none, the
// broker has looked into its database.
func rabbitReady(ctx context.Context, url string) error {
	c, err := amqp.DialConfig(url, amqp.Config{Dial: func(network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if deadline, ok := ctx.Deadline(); ok { // the client lifts it when it is logged in
			err = c.SetDeadline(deadline)
		}
		return c, err
	}})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	_, err = ch.QueueDeclarePassive("seckill.ready", true, false, false, false, nil)
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Code == amqp.NotFound {
		return nil
	}
	return err
}

// console calls the management API.
func (e *Engine) console(ctx context.Context, method, path, user, password string, body any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	address, _, _ := e.Console()
	req, err := http.NewRequestWithContext(ctx, method, address+"api/"+path, content)
	if err != nil {
		return err
	}
	req.Close = true // no idle connection is left to a server that will be gone
	req.SetBasicAuth(user, password)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return fmt.Errorf("console: %s %s: %s", method, path, res.Status)
	}
	return nil
}

// rabbitSettled reports whether all quorum queues are registered on the disk.
//
// RabbitMQ keeps which queue has which log in a table that it writes after half
// a second without changes (fixed later: github.com/rabbitmq/ra/pull/443). A
// queue that was declared less than that before a kill comes back empty, whatever
// it had confirmed, and has no leader: consuming from it hangs until it is
// deleted and declared again.
func rabbitSettled(_ context.Context, e *Engine) (bool, error) { return rabbitLogged(e, rabbitNode) }

func rabbitLogged(e *Engine, node string) (bool, error) {
	dir := e.path(dataFolder, node, "quorum", node)
	table, err := os.ReadFile(filepath.Join(dir, "names.dets"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the first queue brings it
		return false, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	for _, log := range entries { // a folder for each queue, named as in the table
		if log.IsDir() && !bytes.Contains(table, []byte(log.Name())) {
			return false, nil
		}
	}
	return true, err
}
