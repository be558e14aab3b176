// Package app builds a node from its configuration and owns every goroutine of
// it. It is the only package that knows all stages.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/api"
	"seckill/internal/gate"
	"seckill/internal/order"
	"seckill/internal/sale"
	"seckill/internal/settle"
	"seckill/internal/store"
	"seckill/internal/web"
)

// Node is one running process of the system.
type Node struct {
	config    Config
	log       *slog.Logger
	metrics   *prometheus.Registry
	store     *store.Store
	gate      gateway
	queue     transit
	sales     *sale.Sales
	orders    *order.Orders
	accounts  *account.Accounts
	tokens    *account.Verifier
	secret    []byte
	listeners api.Listeners // of a shared queue
	links     []duty        // keep the connections of parts; they outlive the duties
	duties    []duty
	notice    func(seckill.SaleID, int64)               // tells the other nodes that a sale has changed; nil without RabbitMQ
	refused   func(seckill.Ticket, error)               // lists a ticket refused as poison; nil without RabbitMQ
	settled   *settle.Metrics                           // of all settlers
	checks    []func(context.Context) ([]string, error) // what is weaker than promised
	closers   []func() error                            // of the parts that have one
	public    net.Listener
	ops       net.Listener

	loaded   atomic.Bool // the gate has its state
	stopping atomic.Bool
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
	n.secret = secrets[0]
	weak, err := c.refuseWeakSecret(n.secret)
	if err != nil {
		return nil, err
	}
	if weak != "" {
		log.Warn("weaker than promised: " + weak)
	}
	if n.tokens, err = account.NewVerifier(secrets...); err != nil {
		return nil, err
	}
	n.tokens.MaxLife = c.Auth.MaxTokenLife
	for _, weak := range c.weakTransport() {
		log.Warn("weaker than promised: " + weak)
	}
	if err := n.openParts(ctx); err != nil {
		return nil, err
	}
	n.sales = sale.New(n.store, n.gate, log)
	n.sales.Notice, n.sales.Alone = n.notice, c.Embedded()
	n.orders = order.New(n.store, n.gate, log)
	if n.accounts, err = account.New(n.store, n.secret, c.Auth.TokenLife); err != nil {
		return nil, err
	}
	n.addDuties()
	n.gate.Register(n.metrics)
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "seckill_queue_depth", Help: "Tickets in the queue, as this node last saw it."}, func() float64 { return float64(n.queue.Depth()) }))

	if c.has(RoleAPI) {
		if n.public, err = net.Listen("tcp", c.Listen); err != nil {
			return nil, fmt.Errorf("listen: %w (choose another --listen)", err)
		}
	}
	if n.ops, err = net.Listen("tcp", c.OpsListen); err != nil {
		return nil, fmt.Errorf("ops_listen: %w (choose another --ops-listen)", err)
	}
	n.warnOps()
	return n, nil
}

// addDuties notes what the roles of this node are there for.
func (n *Node) addDuties() {
	if n.config.has(RoleRelay) {
		n.duties = append(n.duties, (&gate.Relay{Outbox: n.gate, Queue: n.queue, Log: n.log}).Run)
	}
	if n.config.has(RoleSettle) {
		n.duties = append(n.duties, n.settler(n.queue, n.config.Limits.Batch).Run)
	}
	if n.config.has(RoleExpire) {
		n.duties = append(n.duties, n.orders.RunExpirer, n.orders.RunReturner)
	}
}

// settler settles what a queue brings, in batches.
func (n *Node) settler(q settle.Queue, batch int) *settle.Settler {
	if n.settled == nil { // the second settler of a node counts with the first
		n.settled = settle.NewMetrics(n.metrics)
	}
	return &settle.Settler{Queue: q, Store: n.store, Gate: n.gate, Log: n.log, Batch: batch, Refused: n.refused, Metrics: n.settled,
		Poison: func(err error) bool { return errors.Is(err, store.ErrTicket) }}
}

// Close gives back what Open took.
func (n *Node) Close() error {
	var errs []error
	for _, l := range []net.Listener{n.public, n.ops} {
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

// OpsURL is where the operations listener answers.
func (n *Node) OpsURL() string { return "http://" + reachable(n.ops.Addr()) }

// reachable turns "every address" into this machine's own.
func reachable(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok || !t.IP.IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("localhost:%d", t.Port)
}

// Run serves until ctx is done, then stops gracefully: not ready any more, the
// listener drains, the batch at hand is settled. ready is called once the node
// is. The node is closed when Run returns.
func (n *Node) Run(ctx context.Context, ready func(context.Context)) error {
	defer n.Close()
	// The residents outlive the listener: they settle what it still admits.
	resident, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	stopping, stopWaits := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWaits()

	handler := api.New(api.Config{
		Gate: n.gate, Store: n.store, Sales: n.sales, Orders: n.orders, Accounts: n.accounts, Tokens: n.tokens,
		Pages: web.Handler(), Listeners: n.listeners, Log: n.log, Metrics: n.metrics, Stopping: stopping,
		PollAfter: n.config.HTTP.PollAfter, MaxInFlight: n.config.HTTP.MaxInFlight, MaxWaits: n.config.HTTP.MaxWaits,
		LoginTries: n.config.HTTP.LoginTries, AddressTries: n.config.HTTP.AddressTries, TrustedProxies: n.proxies(),
		TrustedOrigins: n.config.HTTP.TrustedOrigins,
	})
	public := server(handler, n.log)
	// A wait for an outcome is the longest answer.
	public.WriteTimeout = 40 * time.Second
	ops := server(n.operations(), n.log)
	ops.WriteTimeout = 5 * time.Minute // a profile takes its time

	g, ctx := errgroup.WithContext(ctx)
	duties, dutiesCtx := errgroup.WithContext(resident)
	duties.Go(func() error {
		return n.sales.Keep(dutiesCtx, func() {
			n.loaded.Store(true)
			n.log.Info("ready", "url", n.URL(), "ops", n.OpsURL())
			if ready != nil {
				ready(ctx)
			}
		})
	})
	for _, d := range n.duties {
		duties.Go(func() error { return d(dutiesCtx) })
	}
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	defer unlink()
	links, linked := errgroup.WithContext(linked)
	for _, l := range n.links {
		links.Go(func() error { return l(linked) })
	}

	g.Go(func() error { return duties.Wait() }) // one that fails stops the node
	if n.public != nil {
		g.Go(func() error {
			n.reach(ctx)
			return serve(public, n.public)
		})
	}
	g.Go(func() error { return serve(ops, n.ops) })
	g.Go(func() error {
		<-ctx.Done()
		n.stopping.Store(true)
		n.log.Info("stopping: requests under way are answered, the batch at hand is settled")
		if n.config.HTTP.DrainDelay > 0 {
			time.Sleep(n.config.HTTP.DrainDelay)
		}
		stopWaits()
		timeout, cancel := context.WithTimeout(context.Background(), n.config.HTTP.StopTimeout)
		defer cancel()
		err := public.Shutdown(timeout)
		stop()
		err = errors.Join(err, duties.Wait())
		unlink()
		err = errors.Join(err, links.Wait())
		ops.Close()
		return err
	})
	err := g.Wait()
	n.log.Info("stopped")
	return err
}

// Limits of reach.
const (
	reachTime  = 3 * time.Second
	reachPause = 10 * time.Millisecond
)

// reach waits until gate and store are there, but no longer than reachTime: after
// it, answers that can be given without them are given. Who connects meanwhile
// waits in the listener's queue. So a restart among other nodes, which is felt at
// once, answers no buyer with 503.
func (n *Node) reach(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	for ctx.Err() == nil && (n.gate.Ping(ctx) != nil || n.store.Ping(ctx) != nil) {
		sleep(ctx, reachPause)
	}
}

// Limits of a connection. They bound what a slow or greedy client can hold.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	idleTimeout       = 2 * time.Minute
	// net/http allows 4096 bytes beyond this: 8 KB of headers in all.
	maxHeaderBytes = 4096
)

func server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (n *Node) proxies() (all []netip.Prefix) {
	for _, p := range n.config.HTTP.TrustedProxies {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// CreateAccount makes an account in the configured store, beside a running node
// or without one.
func CreateAccount(ctx context.Context, c Config, name, password, role string) (account.Session, error) {
	secrets, _, err := c.Secrets(true)
	if err != nil {
		return account.Session{}, err
	}
	if err := c.keepPrivate(); err != nil {
		return account.Session{}, err
	}
	s, err := store.Open(ctx, c.storeURL(), false)
	if err != nil {
		return account.Session{}, err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(ctx, prepareTry)
	defer cancel()
	if err := s.Prepare(ctx); err != nil {
		return account.Session{}, err
	}
	accounts, err := account.New(s, secrets[0], c.Auth.TokenLife)
	if err != nil {
		return account.Session{}, err
	}
	return accounts.Register(ctx, name, password, role)
}
