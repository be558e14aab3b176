package sale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
)

const (
	keeperPause = time.Second     // between two looks for changes and moves that the gate does not have
	keeperTry   = 5 * time.Second // for one look
	keeperPage  = 1000            // sales looked at, and rebuilt, together
	keeperCheck = time.Minute     // between two looks at every sale, to retire those that closed long ago

	keeperGap = 100 * time.Millisecond // between two looks because a buyer found a sale shut at the gate
)

// KeeperStore is what the keeper needs of the store.
type KeeperStore interface {
	Sale(ctx context.Context, id seckill.SaleID) (seckill.Sale, error)
	Sales(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error)
	Unapplied(ctx context.Context) ([]seckill.Sale, error)
	Applied(ctx context.Context, id seckill.SaleID, version int64) error
	OpenMoves(ctx context.Context) ([]seckill.Move, error)
	FinishMove(ctx context.Context, m seckill.Move, applied bool) (bool, error)
	// Snapshot MUST raise the epochs of the sales in the transaction that reads,
	// and count their versions as applied.
	Snapshot(ctx context.Context, ids []seckill.SaleID, outbox map[seckill.SaleID][]seckill.Ticket) ([]seckill.Snapshot, error)
	Identity(ctx context.Context) (string, error)
	duty.Leases
}

// KeeperGate is what the keeper needs of the gate.
type KeeperGate interface {
	ChangeGate
	StopGate
	RebuildGate
}

// ChangeGate takes the changes of sales and of their stock.
type ChangeGate interface {
	// Apply MUST ignore a version that is not newer.
	Apply(ctx context.Context, sale seckill.Sale) error
	// Move MUST decide each id once, and MUST NOT decide one of another epoch.
	Move(ctx context.Context, m seckill.Move) (applied bool, err error)
}

// Keeper is the resident that keeps the gate up to date with the store.
type Keeper struct {
	store KeeperStore
	gate  KeeperGate
	log   *slog.Logger
	only  bool   // this is the only node
	node  string // among those that rebuild

	learn func(ctx context.Context, of ...seckill.SaleID) error // brings emergency stops to the store

	changed duty.Signal   // there is something to do
	closed  duty.Signal   // buyers met a sale that is closed at the gate
	loaded  chan struct{} // closed, once, when everything has been loaded for the first time
	once    sync.Once

	rebuilding sync.Mutex                   // one rebuild at a time
	newborn    map[seckill.SaleID]bool      // new sales that restore has left to the node that creates them
	slow       map[seckill.SaleID]time.Time // when sales have last taken too long to fail to be rebuilt
	unsure     atomic.Bool                  // sales may be outdated at the gate: look at all of them
	failing    atomic.Int64                 // since when every look or rebuild has failed, in nanoseconds since 1970; 0: the last one has not
	identity   string                       // of the store, once it has been asked for
}

// Loaded is closed when the gate has its state for the first time. Single sales that cannot be
// rebuilt, or whose changes still have to be brought to it, keep no node from being ready.
func (k *Keeper) Loaded() <-chan struct{} { return k.loaded }

// Failing is for how long the gate has not been up to date: changes of sales, stock moves
// or rebuilds wait. 0 when it is.
func (k *Keeper) Failing() time.Duration {
	if since := k.failing.Load(); since != 0 {
		return time.Since(time.Unix(0, since))
	}
	return 0
}

// look makes the keeper look at every sale soon: the gate has nothing of one.
func (k *Keeper) look() { k.closed.Send() }

// Run rebuilds what the gate has lost, and brings to the gate the changes and stock moves
// that it did not hear of, until ctx is done.
func (k *Keeper) Run(ctx context.Context) error {
	tick, check := time.NewTicker(keeperPause), time.NewTicker(keeperCheck)
	defer tick.Stop()
	defer check.Stop()
	var complaint duty.Complaint
	for {
		looked := time.Now()
		err := k.keep(ctx)
		if err == nil {
			k.failing.Store(0)
		} else {
			k.failing.CompareAndSwap(0, time.Now().UnixNano())
		}
		changed, lost, closed := k.changed, k.gate.Lost(), k.closed
		if complaint.New(err) && ctx.Err() == nil {
			k.log.Warn("sale: the gate is not up to date; trying again", "pause", keeperPause, "error", err)
		}
		if err != nil {
			changed, lost, closed = nil, nil, nil // while something is down, once in keeperPause is enough
		}
		select {
		case <-tick.C:
		case <-changed:
		case <-lost:
			_ = duty.Rest(ctx, keeperGap-time.Since(looked))
			k.unsure.Store(true)
		case <-closed:
			// Buyers of a sale that is closed at the gate ask again and again. Their
			// questions lead to no more than one look in keeperGap.
			_ = duty.Rest(ctx, keeperGap-time.Since(looked))
			k.unsure.Store(true)
		case <-check.C:
			k.unsure.Store(true)
		case <-ctx.Done():
			return nil
		}
	}
}

func (k *Keeper) keep(ctx context.Context) error {
	unsure := k.unsure.Swap(false)
	if unsure { // first of all: what another store's gate says is not for this one
		if err := k.belong(ctx); err != nil {
			k.unsure.Store(true)
			return err
		}
	}
	// A stop that the store does not learn of now stays in force at the gate, whatever is
	// rebuilt or changed there.
	failed := k.learnStops(ctx)
	if unsure {
		loaded, err := k.restoreAll(ctx)
		if loaded {
			k.once.Do(func() { close(k.loaded) })
		}
		if err != nil {
			k.unsure.Store(true)
			failed = errors.Join(failed, err)
			if !errors.Is(err, errPart) {
				return failed
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, keeperTry)
	defer cancel()
	return errors.Join(failed, k.catchUp(ctx))
}

// learnStops brings emergency stops to the store: those of some sales, or all of them.
func (k *Keeper) learnStops(ctx context.Context, of ...seckill.SaleID) error {
	ctx, cancel := context.WithTimeout(ctx, keeperTry)
	defer cancel()
	return k.learn(ctx, of...)
}

func (k *Keeper) catchUp(ctx context.Context) error {
	var errs []error
	sales, err := k.store.Unapplied(ctx)
	errs = append(errs, err)
	for _, sale := range sales {
		err := k.apply(ctx, sale)
		if errors.Is(err, seckill.ErrClosed) && sale.Shelf == seckill.Deleted {
			// The gate has nothing of it, and never will: a deleted sale is not rebuilt.
			err = k.store.Applied(ctx, sale.ID, sale.Version)
		} else if errors.Is(err, seckill.ErrClosed) {
			// The gate does not have the sale. The node that creates it may open it just now.
			k.unsure.Store(true)
		}
		errs = append(errs, err)
	}
	moves, err := k.store.OpenMoves(ctx)
	errs = append(errs, err)
	for _, m := range moves {
		if err := k.move(ctx, m); !errors.Is(err, seckill.ErrStock) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (k *Keeper) apply(ctx context.Context, sale seckill.Sale) error {
	crash.Here("10-before-apply", true)
	if err := k.gate.Apply(ctx, sale); err != nil {
		return err
	}
	crash.Here("10-after-apply", true)
	// The change is in force. If the store cannot be told, the keeper applies it once more.
	if err := k.store.Applied(ctx, sale.ID, sale.Version); err != nil {
		k.log.Warn("sale: the change is in force, but not noted as such", "sale", sale.ID, "version", sale.Version, "error", err)
	}
	return nil
}

// move brings a begun move to the gate and its end to the store.
func (k *Keeper) move(ctx context.Context, m seckill.Move) error {
	if m.Done {
		return nil
	}
	crash.Here("11-grow-before-gate", m.Delta > 0)
	crash.Here("11-shrink-before-gate", m.Delta < 0)
	applied, err := k.gate.Move(ctx, m)
	if err != nil {
		return err
	}
	crash.Here("11-grow-after-gate", m.Delta > 0)
	crash.Here("11-shrink-after-gate", m.Delta < 0 && applied)
	switch done, err := k.store.FinishMove(ctx, m, applied); {
	case err != nil:
		return err
	case !done:
		return fmt.Errorf("sale %s: move %s: %w", m.Sale, m.ID, seckill.ErrStale)
	case !applied:
		return m.Refused()
	}
	return nil
}
