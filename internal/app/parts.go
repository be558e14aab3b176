package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"seckill"
	"seckill/internal/api"
	"seckill/internal/gate"
	"seckill/internal/gate/redisgate"
	"seckill/internal/order"
	"seckill/internal/queue"
	"seckill/internal/room"
	"seckill/internal/sale"
	"seckill/internal/settle"
	"seckill/internal/store"
)

// gateway is what the rest of a node needs of a gate.
type gateway interface {
	api.Gate
	sale.Gate
	order.Gate
	settle.Gate
	gate.Outbox
	Ping(ctx context.Context) error
	Register(r prometheus.Registerer)
	sale.BalanceGate
	States(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error)
}

// transit is what the rest of a node needs of a queue.
type transit interface {
	gate.Publisher
	settle.Queue
	Depth() int
	Ping(ctx context.Context) error
}

// openParts opens the gate, the queue and the store that the configuration names,
// and notes how they are closed.
func (n *Node) openParts(ctx context.Context) (err error) {
	c := n.config
	if err := c.keepPrivate(); err != nil {
		return err
	}
	asides := gate.NewAside("store")
	n.metrics.MustRegister(asides)
	n.store, err = store.Open(ctx, c.storeURL(), store.Settings{
		Exclusive: c.Embedded(), Connections: c.MySQL.Connections, Retention: c.Limits.Retention, Credit: c.Payment.OutageCredit,
		Rooms: room.NewMetrics(n.metrics), HookTypes: c.hookTypes(), KeepEvents: !c.Queue.embedded() && c.RabbitMQ.Events,
		Aside: func(table, id string, why error) {
			asides.Inc()
			n.log.Error("store: a row cannot be read and is put aside", "table", table, "id", id, "error", why)
		},
	})
	if err != nil {
		return err
	}
	n.metrics.MustRegister(n.store.Collectors()...)
	if c.Embedded() && !c.Store.embedded() {
		if n.only, err = takeStore(ctx, n.store, n.log); err != nil {
			return err
		}
	}

	switch {
	case c.Gate.embedded():
		m, err := gate.OpenMemory(ctx, filepath.Join(c.DataDir, "gate.db"), c.Limits.Outbox, gate.Sealed(n.seals, n.log))
		if err != nil {
			return err
		}
		n.gate, n.closers = m, append(n.closers, m.Close)
	default:
		name, err := nodeName(c.DataDir)
		if err != nil {
			return err
		}
		g, err := redisgate.Open(redisgate.Settings{
			Address: string(c.Gate), Outbox: c.Limits.Outbox, Connections: c.Redis.Connections, Node: name,
			Seals: n.seals, Outcome: n.store.Outcome, Strangers: (&strangers{other: n.otherSecret}).there, Log: n.log,
		})
		if err != nil {
			return err
		}
		n.gate, n.redis = g, g
	}

	switch {
	case c.Queue.embedded():
		n.queue = queue.NewMemory(c.Limits.Queue)
	default:
		n.rabbit = n.newMessaging()
		n.queue, n.closers = n.rabbit.queue, append(n.closers, n.rabbit.broker.Close)
		if c.Embedded() {
			if err := n.rabbit.broker.OnlyNode(ctx, onlyTime); err != nil {
				return err
			}
		}
	}
	return nil
}

// checks name what is weaker than the promise needs, in the settings of the engines.
func (n *Node) checks() (checks []func(context.Context) ([]string, error)) {
	if n.redis != nil {
		checks = append(checks, n.redis.Weak)
	}
	if n.rabbit != nil {
		checks = append(checks, n.rabbit.broker.Weak)
	}
	if !n.config.Store.embedded() {
		checks = append(checks, n.sameSecret)
	}
	return append(checks, n.store.Weak)
}

// nodeName is this node's name among those that share a gate: the same after a restart on
// the same data folder, so that the node knows what it had in hand when it died.
func nodeName(dir string) (string, error) {
	file := filepath.Join(dir, "node.name")
	b, err := os.ReadFile(file)
	if name := strings.TrimSpace(string(b)); err == nil && len(name) == len(rand.Text()) {
		return name, nil
	}
	name := rand.Text()
	if err := os.WriteFile(file, []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("data_dir: the node's name cannot be kept: %w", err)
	}
	return name, nil
}

// secretLife is for how long after its last node a secret counts as one that a node has.
// Every node notes its own each minute.
const secretLife = 10 * checkEvery

// otherSecret returns the fingerprint of a secret that other nodes of the store have and
// that is not known here; empty: there is none.
func (n *Node) otherSecret(ctx context.Context) (string, error) {
	known := n.seals.Prints()
	noted, err := n.store.SecretPrints(ctx, known[0], secretLife)
	if err != nil {
		return "", err
	}
	for _, print := range noted {
		if !slices.Contains(known, print) {
			return print, nil
		}
	}
	return "", nil
}

// sameSecret compares this node's secret with those of the other nodes of the store: a
// node with another one refuses the tokens that they make, and they refuse its.
func (n *Node) sameSecret(ctx context.Context) ([]string, error) {
	other, err := n.otherSecret(ctx)
	if err != nil {
		return nil, err
	}
	if other == "" {
		n.secretDiffers.Store(nil)
		return nil, nil
	}
	why := fmt.Sprintf("auth.secret (fingerprint %s) is not that of other nodes of this store (%s, which the last of them had less than %v ago): every token that they have made is refused here; give all nodes the same secret, and the one before as auth.previous_secret", n.seals.Prints()[0], other, secretLife)
	n.secretDiffers.Store(&why)
	return []string{why}, nil
}

// Limits of asking for the secrets of other nodes.
const (
	strangersLife = time.Second     // for which an answer holds, and a failure too
	strangersTime = 2 * time.Second // for asking the store
)

// strangers reports whether other nodes have a secret that is not known here, so that what they
// have sealed looks forged. All who want to know it share one question, and each waits for the
// answer as long as they like.
type strangers struct {
	// other returns such a secret's fingerprint; empty: there is none.
	other  func(ctx context.Context) (string, error)
	asking singleflight.Group
	last   atomic.Pointer[strangersAnswer]
}

type strangersAnswer struct {
	at  time.Time
	are bool
	err error
}

func (s *strangers) there(ctx context.Context) (bool, error) {
	if last := s.last.Load(); last != nil && time.Since(last.at) < strangersLife {
		return last.are, last.err
	}
	said := s.asking.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), strangersTime)
		defer cancel()
		other, err := s.other(ctx)
		s.last.Store(&strangersAnswer{time.Now(), other != "", err})
		return other != "", err
	})
	select {
	case r := <-said:
		return r.Val.(bool), r.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// capacity is how many tickets the sweeper may put into the queue. While the queue holds more than
// a batch, tickets are late and not lost, so nothing needs to be sent again.
func (n *Node) capacity(context.Context) (int, error) {
	limit := n.config.Limits.Queue
	if !n.config.Queue.embedded() {
		limit = n.config.RabbitMQ.MaxLength
	}
	depth := n.queue.Depth()
	if depth > n.config.Limits.Batch {
		return 0, nil
	}
	return limit - depth, nil
}
