package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clusterSize is how many members a cluster has: with one gone, the others are a
// majority.
const clusterSize = 3

// Cluster is three engines of one kind that serve together, on one machine: of
// Redis three masters without replicas, of RabbitMQ three nodes.
type Cluster struct {
	// Members may be stopped, killed and started again one by one. Together they
	// are started by Start only.
	Members []*Engine
	kind    Kind
	names   *Engine // of a RabbitMQ cluster
}

// NewCluster is a cluster of Redis or RabbitMQ, not yet started, with its data in dir. With an
// error it has the members that were made before it: Discard them.
func NewCluster(kind Kind, dir string) (*Cluster, error) {
	c := &Cluster{kind: kind}
	return c, c.open(dir)
}

// Discard ends the members at once, for data that go away.
func (c *Cluster) Discard() error {
	err := each(c.Members, (*Engine).Discard)
	if c.names != nil {
		err = errors.Join(err, c.names.Discard())
	}
	return err
}

// open makes the members, with the same passwords.
func (c *Cluster) open(dir string) (err error) {
	if c.kind == KindRabbitMQ {
		if c.names, err = epmd.engine(filepath.Join(dir, "epmd"), settings{}); err != nil {
			return err
		}
	}
	for i := range clusterSize {
		var s *spec
		switch c.kind {
		case KindRedis:
			s = redisMember()
		case KindRabbitMQ:
			s = c.rabbitMember(i)
		default:
			return fmt.Errorf("%s has no cluster here", c.kind)
		}
		e, err := s.engine(filepath.Join(dir, fmt.Sprintf("%s-%d", c.kind, i+1)), settings{})
		if err != nil {
			return err
		}
		c.Members = append(c.Members, e)
		e.secrets = c.Members[0].secrets
	}
	return nil
}

// Start starts the members together, and returns when all serve as one.
func (c *Cluster) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	start := func(e *Engine) error { return e.Start(ctx) }
	if c.kind == KindRedis {
		return errors.Join(each(c.Members, start), c.meet(ctx))
	}
	if err := start(c.names); err != nil {
		return err
	}
	if err := start(c.Members[0]); err != nil { // the one that the others join
		return err
	}
	return each(c.Members[1:], start)
}

// Addrs are what clients connect to, host:port of each member.
func (c *Cluster) Addrs() (addrs []string) {
	for _, e := range c.Members {
		addrs = append(addrs, e.Addr())
	}
	return addrs
}

// URL of the cluster for a node. That of RabbitMQ names the first member only:
// the setting rabbitmq.addresses has the others.
func (c *Cluster) URL() string {
	first := c.Members[0].URL()
	if c.kind == KindRedis {
		return strings.TrimSuffix(first, "/0") + "?addr=" + strings.Join(c.Addrs()[1:], "&addr=")
	}
	return first
}

// Settle waits until a kill of any member would lose nothing, see [Engine.Settle].
func (c *Cluster) Settle(ctx context.Context) error {
	return each(c.Members, func(e *Engine) error {
		if e.Pid() == 0 {
			return nil
		}
		return e.Settle(ctx)
	})
}

// redisMember is a Redis that serves a part of the keys. A member that is gone
// takes its own part with it and no other, as long as the others are a majority.
func redisMember() *spec {
	s := *redis
	s.ports = []string{"client", "bus"}
	s.prepare = func(ctx context.Context, e *Engine) error {
		return errors.Join(redis.prepare(ctx, e), appendTo(e.path("redis.conf"), fmt.Sprintf(`
cluster-enabled yes
cluster-config-file nodes.conf
cluster-announce-ip %s
cluster-port %d
cluster-node-timeout 5000
cluster-require-full-coverage no
# A replica lacks what its master acknowledged last: it never takes over by itself.
cluster-replica-no-failover yes
`, loopback, e.ports[redisBus].number)))
	}
	return &s
}

const (
	redisBus   = 1 // of Engine.ports: what members of a cluster tell each other
	redisSlots = 16384
)

// meet makes the members one cluster, each with a third of the slots, and returns
// when all of them know.
func (c *Cluster) meet(ctx context.Context) error {
	first := c.Members[0]
	for i, e := range c.Members {
		from, to := i*redisSlots/clusterSize, (i+1)*redisSlots/clusterSize-1
		err := errors.Join(
			redisDo(ctx, e.AdminURL(), "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(from), fmt.Sprint(to)),
			redisDo(ctx, e.AdminURL(), "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1)))
		if err == nil && e != first {
			err = redisDo(ctx, e.AdminURL(), "CLUSTER", "MEET", loopback, fmt.Sprint(first.ports[mainPort].number), fmt.Sprint(first.ports[redisBus].number))
		}
		if err != nil {
			return fmt.Errorf("redis cluster: %s: %w", e.Addr(), err)
		}
	}
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		err := c.complete(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("redis cluster: %w; the last look: %w", context.Cause(ctx), err)
		}
	}
}

// complete tells which member does not know all slots, or does not serve.
func (c *Cluster) complete(ctx context.Context) error {
	for _, e := range c.Members {
		info, err := redisAsk(ctx, e.AdminURL(), "CLUSTER", "INFO")
		if err != nil {
			return err
		}
		for _, want := range []string{"cluster_state:ok", fmt.Sprintf("cluster_slots_ok:%d\r", redisSlots), fmt.Sprintf("cluster_known_nodes:%d\r", clusterSize)} {
			if !strings.Contains(info, want) {
				return fmt.Errorf("%s has no %s", e.Addr(), want)
			}
		}
	}
	return nil
}

// Owner is the member of a Redis cluster that has a key.
func (c *Cluster) Owner(ctx context.Context, key string) (*Engine, error) {
	var last error
	for _, e := range c.Members {
		text, err := redisAsk(ctx, e.AdminURL(), "CLUSTER", "KEYSLOT", key)
		if last = err; err != nil {
			continue // another one knows too
		}
		slot, err := strconv.Atoi(text)
		i := 0
		for slot >= (i+1)*redisSlots/clusterSize {
			i++
		}
		return c.Members[i], err
	}
	return nil, fmt.Errorf("redis cluster: who has %s: %w", key, last)
}

// Leader is the member of a RabbitMQ cluster that leads a queue of the nodes, and
// how many have it.
func (c *Cluster) Leader(ctx context.Context, queue string) (leader *Engine, members int, err error) {
	for _, e := range c.Members {
		if e.Pid() == 0 {
			continue
		}
		var state struct {
			Leader  string
			Members []string
		}
		var n int
		if err = e.look(ctx, "queues/"+url.PathEscape(rabbitVHost)+"/"+queue, &state); err == nil {
			if _, err = fmt.Sscanf(state.Leader, "mq%d@localhost", &n); err == nil {
				return c.Members[n-1], len(state.Members), nil
			}
		}
	}
	return nil, 0, fmt.Errorf("rabbitmq cluster: who leads %s: %w", queue, err)
}

// look reads an answer of the management API.
func (e *Engine) look(ctx context.Context, path string, into any) error {
	address, user, password := e.Console()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"api/"+path, nil)
	if err != nil {
		return err
	}
	req.Close = true
	req.SetBasicAuth(user, password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(into)
}

// rabbitMember is a RabbitMQ that joins the first.
func (c *Cluster) rabbitMember(i int) *spec {
	s := *rabbitmq
	s.prepare = func(ctx context.Context, e *Engine) error {
		return errors.Join(rabbitmq.prepare(ctx, e),
			appendTo(e.path("rabbitmq.conf"), fmt.Sprintf(`cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = %s
# Without a majority a node stops serving at once, and its clients go to another.
cluster_partition_handling = pause_minority
vm_memory_high_watermark.absolute = 512MB
`, rabbitName(0))),
			e.write(".erlang.cookie", sha256hex(e.secrets.Admin)))
	}
	s.command = func(e *Engine) *exec.Cmd {
		cmd := rabbitmq.command(e)
		cmd.Env = append(cmd.Env, // the last one counts
			"RABBITMQ_NODENAME="+rabbitName(i),
			"RABBITMQ_DIST_PORT="+strconv.Itoa(e.ports[distPort].number),
			"ERL_EPMD_ADDRESS="+loopback,
			"ERL_EPMD_PORT="+strconv.Itoa(c.names.ports[mainPort].number),
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +SDio 4 +A 4 "+rabbitSleeps+e.rabbitStart())
		return cmd
	}
	s.settled = func(_ context.Context, e *Engine) (bool, error) { return rabbitLogged(e, rabbitName(i)) }
	return &s
}

// rabbitName is what the members of a cluster call each other.
func rabbitName(i int) string { return fmt.Sprintf("mq%d@localhost", i+1) }

// epmd tells the members of a RabbitMQ cluster each other's ports. RabbitMQ 4 asks
// it from a helper process too, which learns of it by the environment alone.
var epmd = &spec{
	kind:    "epmd",
	apt:     "rabbitmq-server",
	files:   [][]string{{"/usr/bin/epmd", "/usr/lib/erlang/bin/epmd"}},
	ports:   []string{"client"},
	url:     func(e *Engine, _, _ string) string { return e.Addr() },
	prepare: func(context.Context, *Engine) error { return nil },
	command: func(e *Engine) *exec.Cmd {
		cmd := exec.Command(e.spec.file("", 0), "-address", loopback, "-port", strconv.Itoa(e.ports[mainPort].number))
		cmd.Env = environment(e.folder.path)
		return cmd
	},
	ready: func(ctx context.Context, e *Engine) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", e.Addr())
		if err != nil {
			return err
		}
		return conn.Close()
	},
}

// appendTo adds to a file that was written just before.
func appendTo(file, more string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(more)
	return errors.Join(err, f.Close())
}
