// Package app builds a node from its configuration and owns every goroutine of
// it. It is the only package that knows all stages.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/account"
	"seckill/internal/api"
	"seckill/internal/event"
	"seckill/internal/gate/redisgate"
	"seckill/internal/live"
	"seckill/internal/order"
	"seckill/internal/payment"
	"seckill/internal/sale"
	"seckill/internal/settle"
	"seckill/internal/store"
)

// Node is one running process of the system.
type Node struct {
	config   Config
	log      *slog.Logger
	metrics  *prometheus.Registry
	store    *store.Store
	gate     gateway
	redis    *redisgate.Gate // the gate on Redis; nil with the embedded gate
	queue    transit
	rabbit   *messaging // what a node has on RabbitMQ; nil with the embedded queue
	only     *onlyNode  // keeps a second node off a shared store; nil without embedded parts beside it
	sales    *sale.Sales
	orders   *order.Orders
	payments *payment.Payments
	webhooks *event.Webhooks
	accounts *account.Accounts
	access   *access.Guard
	tokens   *account.Verifier
	issuer   *account.Issuer // nil: no foreign issuer names buyers
	notes    *account.Notes
	secret   []byte
	secrets  [][]byte        // the current one, and the previous one while rotating
	seals    *seckill.Seals  // of the gate's tickets
	settled  *settle.Metrics // of all settlers
	tally    *live.Tally     // what this node answers and settles, by sale
	watchers *api.Watchers   // count who waits here for an opening; nil without the role api
	teller   *live.Teller    // tells the other nodes how this one is
	hub      *live.Hub       // what all nodes tell
	balancer *sale.Balancer  // counts the units of all sales
	closers  []func() error  // of the parts that have one
	public   net.Listener
	admin    net.Listener // of the console and its routes; nil: they are on the public one
	ops      net.Listener

	stopping atomic.Bool

	weak          *prometheus.GaugeVec   // settings that are weaker than promised
	weakSettings  []string               // those of this node's configuration, for the preflight
	secretDiffers atomic.Pointer[string] // why this node does not fit to the others; nil: it does
}

// Open builds a node: its parts are open and its listeners bound, but nobody is
// served before Run. Close must be called if Run is not.
func Open(ctx context.Context, c Config, log *slog.Logger) (n *Node, err error) {
	n = &Node{config: c, log: log, metrics: prometheus.NewRegistry()}
	opened := n
	defer func() {
		if err != nil {
			opened.Close()
		}
	}()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	secrets, made, err := c.Secrets(true)
	if err != nil {
		return nil, err
	}
	if made != "" {
		log.Info("made a secret to sign tokens with", "file", made)
	}
	n.secret, n.secrets = secrets[0], secrets
	weak, err := c.weakSecrets(secrets)
	if err != nil {
		return nil, err
	}
	n.weakSettings = slices.Concat(weak, c.weakTransport())
	for _, weak := range slices.Concat(n.weakSettings, c.weakWebhooks()) { // a receiver without TLS keeps no sale from its opening
		log.Warn("weaker than promised: " + weak)
	}
	if n.seals, err = seckill.NewSeals(secrets...); err != nil {
		return nil, err
	}
	if n.issuer, err = account.NewIssuer(c.Auth.Issuer, log); err != nil {
		return nil, err
	}
	if err := n.openParts(ctx); err != nil {
		return nil, err
	}
	checks := account.Checks{MaxLife: c.Auth.MaxTokenLife, Sessions: account.NewSessions(n.store, c.Auth.MaxTokenLife, log), Issuer: n.issuer}
	if n.tokens, err = account.NewVerifier(checks, secrets...); err != nil {
		return nil, err
	}
	if n.access, err = n.guard(secrets); err != nil {
		return nil, err
	}
	changes := sale.Options{OnlyNode: c.Embedded(), Ruled: func(ctx context.Context, fresh bool) { n.access.Ruled(ctx, fresh, c.Embedded()) }}
	if n.rabbit != nil {
		changes.Notice = n.rabbit.notices.Send
	}
	n.sales = sale.New(n.store, n.gate, log, changes)
	n.orders = order.New(n.store, n.gate, log)
	n.accounts = account.New(n.store, n.secret, c.Auth.TokenLife, c.obliged()...)
	n.notes = account.NewNotes(n.store, log)
	n.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "seckill_log_lost_total",
		Help: "Logins, refusals and new tokens that are missing in the log of what people of the shop did, since the store was away for too long; changes never are."}, func() float64 { return float64(n.notes.Lost()) }))
	if n.payments, err = n.openPayments(); err != nil {
		return nil, err
	}
	n.balancer = &sale.Balancer{Store: n.store, Gate: n.gate, Watched: n.sales.Watched, Node: rand.Text(), Only: c.Embedded(), Log: log}
	n.balancer.Register(n.metrics)
	if err := n.openWebhooks(); err != nil {
		return nil, err
	}
	n.settled = settle.NewMetrics(n.metrics)
	n.gate.Register(n.metrics)
	n.registerHealth()
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_queue_depth", Help: "Tickets in the queue, as this node last saw it."}, func() float64 { return float64(n.queue.Depth()) }))

	if c.has(RoleAPI) {
		if n.public, err = net.Listen("tcp", c.Listen); err != nil {
			return nil, fmt.Errorf("listen: %w (choose another --listen)", err)
		}
	}
	if c.has(RoleAPI) && c.AdminListen != "" {
		if n.admin, err = net.Listen("tcp", c.AdminListen); err != nil {
			return nil, fmt.Errorf("admin_listen: %w (choose another --admin-listen)", err)
		}
	}
	if n.ops, err = net.Listen("tcp", c.OpsListen); err != nil {
		return nil, fmt.Errorf("ops_listen: %w (choose another --ops-listen)", err)
	}
	n.warnOps()
	if err := n.openLive(); err != nil { // it tells at which port the node answers
		return nil, err
	}
	return n, nil
}

// Close closes the listeners and the parts that Open has opened.
func (n *Node) Close() error {
	var errs []error
	for _, l := range []net.Listener{n.public, n.admin, n.ops} {
		if l != nil {
			l.Close()
		}
	}
	for _, closePart := range n.closers {
		errs = append(errs, closePart())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// URL is where the public listener answers on this machine; a node without the
// role api has none.
func (n *Node) URL() string {
	if n.public == nil {
		return ""
	}
	return "http://" + reachable(n.public.Addr())
}

// AdminURL is where the console answers on this machine: on a listener of its own, or on
// the public one.
func (n *Node) AdminURL() string {
	if n.admin == nil {
		return n.URL()
	}
	return "http://" + reachable(n.admin.Addr())
}

// OpsURL is where the operations listener answers.
func (n *Node) OpsURL() string { return "http://" + reachable(n.ops.Addr()) }

// reachable is an address under which a browser on this machine reaches the listener: one
// that listens on every address is shown as localhost.
func reachable(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok || !t.IP.IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("localhost:%d", t.Port)
}

// WithAccounts works on the accounts of the configured store, beside a running node or
// without one.
func WithAccounts(ctx context.Context, c Config, do func(*account.Accounts) error) error {
	secrets, _, err := c.Secrets(true)
	if err != nil {
		return err
	}
	if err := c.keepPrivate(); err != nil {
		return err
	}
	s, err := store.Open(ctx, c.storeURL(), store.Settings{})
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(ctx, prepareTry)
	defer cancel()
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	return do(account.New(s, secrets[0], c.Auth.TokenLife))
}
