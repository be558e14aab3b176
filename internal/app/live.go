package app

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"seckill"
	"seckill/internal/api"
	"seckill/internal/live"
)

// source is where the figures of this node come from that it tells the others.
type source struct{ *Node }

func (s source) Now() time.Time { return s.gate.Now() }

// Parts is bounded by healthTime.
func (s source) Parts(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	return s.health(ctx)
}

func (s source) Degraded() []string { return s.degraded() }

func (s source) Watched(ctx context.Context) ([]seckill.Sale, time.Time, error) {
	return s.sales.Watched(ctx)
}

func (s source) Known(id seckill.SaleID) (seckill.Sale, time.Time, bool) { return s.sales.Known(id) }

func (s source) States(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error) {
	return s.gate.States(ctx, ids)
}

func (s source) Balances() map[seckill.SaleID]seckill.Balance { return s.balancer.Balances() }

func (s source) Listeners() *bool {
	if s.rabbit == nil || !s.config.has(RoleSettle) {
		return nil
	}
	running := s.rabbit.queue.ListenersRunning()
	return &running
}

// openLive builds what this node tells the others of itself, and hears of them.
func (n *Node) openLive() error {
	id, err := nodeName(n.config.DataDir)
	if err != nil {
		return err
	}
	var board live.Board = live.NewOneNode()
	if n.redis != nil {
		board = n.redis
	}
	node := live.Node{ID: id, Name: n.name(), Version: Version(), Settings: n.settings(), Roles: n.config.Run, StartedAt: time.Now().UTC().Truncate(time.Millisecond)}
	n.tally = live.NewTally()
	n.teller = &live.Teller{Node: node, Source: source{n}, Board: board, Tally: n.tally, Log: n.log}
	if n.config.has(RoleAPI) {
		n.watchers = api.NewWatchers()
		n.teller.Waiting = n.watchers.Waiting
	}
	n.hub = &live.Hub{Teller: n.teller, Board: board}
	return nil
}

// name is what people call this node: its machine and the port that it answers at.
func (n *Node) name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	l := n.public
	if l == nil {
		l = n.ops
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return host + ":" + port
}

// ready is what this node says of itself before an opening.
func (n *Node) ready() api.Readiness {
	return api.Readiness{Disk: n.disk, Provider: n.config.Payment.Provider, Weak: func(ctx context.Context) (all []string, err error) {
		for _, look := range n.checks() {
			weak, failed := look(ctx)
			all, err = append(all, weak...), errors.Join(err, failed)
		}
		return append(all, n.weakSettings...), err
	}}
}
