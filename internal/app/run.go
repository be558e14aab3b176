package app

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"seckill/internal/duty"
)

// Run serves until ctx is done, then stops gracefully, in the order that docs/lifecycle.md
// draws: not ready any more, the listener drains, the batch at hand is settled, the
// connections end. ready is called once the node is. The node is closed when Run returns.
func (n *Node) Run(ctx context.Context, ready func(context.Context)) error {
	defer n.Close()
	g, ctx := errgroup.WithContext(ctx)
	// The listener stops first, then the residents, which settle what it has admitted, and
	// the connections last, which the residents need until then.
	waits, stopWaits := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWaits()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()

	// The servers are made first: a resident asks them how many wait.
	public, admin := n.apiServers(waits)
	ops := n.opsServer()
	table := n.residents()
	connections, residents := n.start(connected, table, true), n.start(work, table, false)

	g.Go(residents.Wait) // one that fails stops the node
	g.Go(func() error {
		all := []<-chan struct{}{n.sales.Loaded()}
		if n.config.has(RoleAPI) {
			all = append(all, n.access.Loaded(), n.tokens.Sessions().Loaded())
		}
		for _, loaded := range all {
			select {
			case <-loaded:
			case <-ctx.Done():
				return nil
			}
		}
		n.log.Info("ready", "url", n.URL(), "ops", n.OpsURL(), "admin", n.AdminURL())
		if ready != nil {
			ready(ctx)
		}
		return nil
	})
	reach := sync.OnceFunc(func() { n.reach(ctx) }) // both listeners wait for it
	if n.public != nil {
		g.Go(func() error {
			reach()
			return serve(public, n.public)
		})
	}
	if admin != nil {
		g.Go(func() error {
			reach()
			return serve(admin, n.admin)
		})
	}
	g.Go(func() error { return serve(ops, n.ops) })
	g.Go(func() error {
		<-ctx.Done()
		n.stopping.Store(true)
		n.log.Info("stopping: requests under way are answered, the batch at hand is settled")
		duty.Rest(waits, n.config.HTTP.DrainDelay)
		stopWaits()
		err := n.shutdown(public, admin)
		stopWork()
		err = errors.Join(err, residents.Wait())
		disconnect()
		err = errors.Join(err, connections.Wait())
		ops.Close()
		return err
	})
	err := g.Wait()
	n.log.Info("stopped")
	return err
}

// shutdown lets requests under way be answered, for stop_timeout at most.
func (n *Node) shutdown(servers ...*http.Server) error {
	timeout, cancel := context.WithTimeout(context.Background(), n.config.HTTP.StopTimeout)
	defer cancel()
	var g errgroup.Group
	for _, s := range servers {
		if s != nil {
			g.Go(func() error { return s.Shutdown(timeout) })
		}
	}
	return g.Wait()
}

// Limits of reach.
const (
	reachTime  = 3 * time.Second
	reachPause = 10 * time.Millisecond
)

// reach waits until gate and store can be reached, for reachTime at most. Connections wait in
// the listener's queue meanwhile, so a node that restarts among others does not answer its
// first buyers with 503. After reachTime it serves anyway: some answers need neither.
func (n *Node) reach(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	for ctx.Err() == nil && (n.gate.Ping(ctx) != nil || n.store.Ping(ctx) != nil) {
		duty.Rest(ctx, reachPause)
	}
	// Or buyers would be turned away, and people of the shop be answered 503.
	all := []<-chan struct{}{n.access.Loaded(), n.tokens.Sessions().Loaded()}
	if n.issuer != nil {
		all = append(all, n.issuer.Loaded())
	}
	for _, loaded := range all {
		select {
		case <-loaded:
		case <-ctx.Done():
		}
	}
}
