// Package sale is what happens to a sale around its purchases, by who asks for it, with the
// steps of docs/ORDER-CYCLE.md:
//
//	Changes    what an administrator changes; steps 10 and 11
//	Catalog    what buyers are shown
//	Keeper     the resident that brings the gate up to date and rebuilds it; step 12
//	Auditor    whether everything adds up, when somebody asks
//	Balancer   the resident that asks that all the time, cheaply
//
// Every change goes to the store first, with a version or an id, and then to the
// gate. A change that the gate did not hear of is brought to it by the keeper.
package sale

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"golang.org/x/sync/semaphore"

	"seckill"
	"seckill/internal/duty"
)

// Store is what the parts of the package need of the store.
type Store interface {
	CatalogStore
	ChangeStore
	KeeperStore
	AuditStore
}

// Gate is what they need of the gate.
type Gate interface {
	CatalogGate
	KeeperGate
	AuditGate
	States(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID]seckill.GateState, error)
}

// Options say whether there are other nodes and how they hear of changes.
type Options struct {
	// Notice hears of every change that this node has stored. It MUST NOT wait. nil:
	// nobody hears.
	Notice func(id seckill.SaleID, version int64)
	// OnlyNode says that there is no other node, so that no lease is needed.
	OnlyNode bool
	// Ruled puts the rules about who may buy in force, once the store has them; until then
	// this node does not sell the sale. fresh is a new sale that has rules: it is opened
	// at the gate after that, so that nobody slips in before. nil: nobody keeps rules.
	Ruled func(ctx context.Context, fresh bool)
}

// Sales is the four parts of one node.
type Sales struct {
	*Catalog
	*Changes
	*Keeper
	*Auditor
}

// New returns the sales of a store and a gate.
func New(store Store, gate Gate, log *slog.Logger, o Options) *Sales {
	catalog := &Catalog{store: store, gate: gate, cache: map[seckill.SaleID]cached{}, lists: map[listKey]cachedList{}, missing: map[seckill.SaleID]time.Time{}, oneQuestion: semaphore.NewWeighted(1)}
	keeper := &Keeper{store: store, gate: gate, log: log, only: o.OnlyNode, node: rand.Text(),
		changed: duty.NewSignal(), closed: duty.NewSignal(), loaded: make(chan struct{}), newborn: map[seckill.SaleID]bool{}, slow: map[seckill.SaleID]time.Time{}}
	keeper.unsure.Store(true)
	changes := &Changes{store: store, clock: gate, catalog: catalog, keeper: keeper, notice: o.Notice, inForce: o.Ruled, states: gate.States}
	keeper.learn = changes.learn
	return &Sales{catalog, changes, keeper, &Auditor{store, gate}}
}
