package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"seckill/internal/duty"
	"seckill/internal/store"
)

const (
	onlyLease = "only node"
	onlyTime  = 15 * time.Second // of the lease: how long a node waits for one that was killed
)

// onlyNode makes sure that no second node uses a shared store while a part of this node is
// embedded. An embedded part belongs to one process, so the two would not see each other's
// tickets.
type onlyNode struct {
	lease duty.Lease
	log   *slog.Logger
}

// takeStore takes the lease. The store must be there, so such a node does not start without
// its store. When another node holds the lease, takeStore waits until the lease would have
// ended if that node was killed.
func takeStore(ctx context.Context, s *store.Store, log *slog.Logger) (*onlyNode, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, fmt.Errorf("with an embedded part (--gate, --queue) the store must be there at the start: %w", err)
	}
	o := &onlyNode{log: log, lease: duty.Lease{Leases: s, Name: onlyLease, Owner: rand.Text(), Life: onlyTime}}
	err := o.hold(ctx)
	var complaint duty.Complaint
	for until := time.Now().Add(onlyTime + preparePause); err != nil && ctx.Err() == nil && time.Now().Before(until); err = o.hold(ctx) {
		if complaint.New(err) {
			log.Warn("waiting for the lease of the store", "pause", preparePause, "error", err)
		}
		duty.Rest(ctx, preparePause)
	}
	return o, err
}

// hold renews the lease when it is time to. It returns an error when the lease is not held.
func (o *onlyNode) hold(ctx context.Context) error {
	held, err := o.lease.Held(ctx)
	if err == nil && !held {
		err = fmt.Errorf("the store is in use by another node (%s), and embedded parts (--gate, --queue) belong to one process: stop it first, or use shared engines for all parts", o.lease.Holder())
	}
	return err
}

// Run holds the lease until ctx is done. It fails, and with it the node, when the lease is
// lost.
func (o *onlyNode) Run(ctx context.Context) error {
	defer o.lease.Release(ctx)
	for {
		if duty.Rest(ctx, onlyTime/5); ctx.Err() != nil {
			return nil
		}
		if err := o.hold(ctx); err != nil && ctx.Err() == nil && time.Now().After(o.lease.Until()) {
			return fmt.Errorf("the lease of the store is lost, so this node stops: %w", err)
		}
	}
}
