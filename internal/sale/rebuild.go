package sale

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
)

const (
	rebuildLease = "rebuild"
	rebuildTime  = 5 * time.Second // life of the lease: how long others wait when the rebuilding node has died
	rebuildSome  = 64              // sales shut at the same time
	rebuildLost  = 5 * time.Second // for how long sales that are rebuilt one by one may fail until the others wait for the next round
)

// RebuildGate has states of sales that can be outdated, and are then made anew.
type RebuildGate interface {
	// Outdated MUST return the sales whose state is missing, shut, of another epoch
	// than the one given, lacks what is settled or a hold, or is to be retired.
	Outdated(ctx context.Context, sales []seckill.Sale) ([]seckill.SaleID, error)
	// Lost receives a token when sales may be outdated at the gate.
	Lost() <-chan struct{}
	// Shut MUST close the sales before it reads the outbox.
	Shut(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID][]seckill.Ticket, error)
	Load(ctx context.Context, snapshots []seckill.Snapshot) error
	// Belong MUST fail when the gate's state is that of another store.
	Belong(ctx context.Context, store string) error
}

// errPart says that some sales could not be looked at, for example because one master of a
// Redis Cluster is away. The other sales do not wait for them.
var errPart = errors.New("some sales have to wait")

// Rebuild makes the gate's state of sales anew from the outbox and one snapshot of
// the store. They are closed meanwhile.
func (k *Keeper) Rebuild(ctx context.Context, ids ...seckill.SaleID) error {
	k.rebuilding.Lock()
	err := k.rebuild(ctx, ids)
	k.rebuilding.Unlock()
	if err != nil {
		// The sales may be shut now, and the keeper must open them.
		k.unsure.Store(true)
		k.changed.Send()
	}
	return err
}

// rebuild does what Rebuild does; the caller holds k.rebuilding.
func (k *Keeper) rebuild(ctx context.Context, ids []seckill.SaleID) error {
	outbox, err := k.gate.Shut(ctx, ids)
	if err != nil {
		return err
	}
	crash.Here("12-before-snapshot", true)
	snapshots, err := k.store.Snapshot(ctx, ids, outbox)
	if err != nil {
		return err
	}
	for i := range snapshots {
		// Units that came back may have been sold again before the store noted their
		// return. Then the gate begins below zero and admits nobody until the store has
		// noted it, so nothing is sold twice.
		v := &snapshots[i]
		if left := v.Left() + v.Returning + v.Growing; left < 0 {
			k.log.Error("sale: more units are promised than exist; the gate owes them", "sale", v.Sale.ID, "short", -left)
		}
	}
	crash.Here("12-before-load", true)
	if err := k.gate.Load(ctx, snapshots); err != nil {
		return err
	}
	crash.Here("12-after-load", true)
	return nil
}

// belong makes sure that the gate's state is that of this store.
func (k *Keeper) belong(ctx context.Context) error {
	if k.identity == "" {
		id, err := k.store.Identity(ctx)
		if err != nil {
			return err
		}
		k.identity = id
	}
	return k.gate.Belong(ctx, k.identity)
}

// restore rebuilds the sales whose state at the gate is outdated. One node at a time does
// it, under a lease. Two nodes would be right too, because each rebuild has an epoch of its
// own, but each would shut again what the other has just opened.
func (k *Keeper) restore(ctx context.Context) error {
	_, err := k.restoreAll(ctx)
	return err
}

// restoreAll is restore, and reports whether it has looked at every sale and the gate has what
// it needs, as far as one sale that cannot be rebuilt says nothing about the others.
func (k *Keeper) restoreAll(ctx context.Context) (loaded bool, err error) {
	r := restoring{Keeper: k}
	defer func() {
		if r.end != nil {
			r.end()
		}
	}()
	var failed error
	for more := true; more; {
		var err error
		more, err = r.page(ctx)
		if more && err != nil {
			err = fmt.Errorf("%w: %w", errPart, err)
		}
		failed = cmp.Or(err, failed)
	}
	return failed == nil || errors.Is(failed, errPart) && r.open && !r.waits, failed
}

// restoring is one round of restore.
type restoring struct {
	*Keeper
	before seckill.SaleID // the next page has the sales below this id
	end    func()         // gives the lease back; nil while this node does not hold it
	open   bool           // the gate has a sale
	waits  bool           // it could not be asked about all sales, or one of them is only being created
}

// page restores one page of sales, as far as the gate can be reached, and reports whether
// there are more. It holds the lock of rebuilds, so no other goroutine of this node opens a
// sale between the question which ones are outdated and their rebuild.
func (r *restoring) page(ctx context.Context) (more bool, err error) {
	r.rebuilding.Lock()
	defer r.rebuilding.Unlock()
	sales, err := r.store.Sales(ctx, r.before, keeperPage)
	if err != nil || len(sales) == 0 {
		return false, err
	}
	outdated, failed := r.gate.Outdated(ctx, sales)
	r.waits = r.waits || failed != nil
	r.open = r.open || failed == nil && len(outdated) < len(sales)
	if len(outdated) > 0 {
		if r.end == nil {
			r.end, err = r.lead(ctx)
			return err == nil, err // look again: another node may have rebuilt them just now
		}
		if outdated = r.born(sales, outdated); len(outdated) < 1 {
			r.waits = true
			failed = errors.Join(failed, fmt.Errorf("sales are being created, they will be looked at again: %w", seckill.ErrUnavailable))
		} else {
			r.log.Info("sale: rebuilding what the gate does not have, or need not have any more", "sales", len(outdated))
			// A sale that cannot be rebuilt does not keep the others shut.
			alone := r.alone(outdated)
			for some := range slices.Chunk(slices.DeleteFunc(outdated, func(id seckill.SaleID) bool { return slices.Contains(alone, id) }), rebuildSome) {
				gone, err := r.some(ctx, some)
				if failed = errors.Join(failed, err); gone {
					return false, failed
				}
			}
			_, err = r.each(ctx, alone)
			failed = errors.Join(failed, err)
		}
	}
	r.before = sales[len(sales)-1].ID
	return true, failed
}

// some rebuilds sales together, and each by itself if that fails: it may be about one of them.
// gone says that it seems to be about all of them: the store does not answer, or it takes too long.
func (r *restoring) some(ctx context.Context, ids []seckill.SaleID) (gone bool, failed error) {
	if len(ids) > 1 {
		err := r.rebuild(ctx, ids)
		if err == nil {
			r.open = true
			return false, nil
		}
		r.failing.CompareAndSwap(0, time.Now().UnixNano())
		if _, down := r.store.Sales(ctx, 0, 1); down != nil {
			return true, err
		}
	}
	tried, failed := r.each(ctx, ids)
	return tried < len(ids), failed
}

// each rebuilds sales one by one, until those that fail have taken too long, and says how many it
// has tried. Those that have taken too long are rebuilt after all others from then on.
func (r *restoring) each(ctx context.Context, ids []seckill.SaleID) (tried int, failed error) {
	var lost time.Duration
	var slow []seckill.SaleID
	for ; tried < len(ids) && lost < rebuildLost; tried++ {
		id, began := ids[tried], time.Now()
		err := r.rebuild(ctx, ids[tried:tried+1])
		if err == nil {
			r.open = true
			delete(r.slow, id)
			continue
		}
		r.failing.CompareAndSwap(0, time.Now().UnixNano())
		lost += time.Since(began)
		slow = append(slow, id)
		failed = errors.Join(failed, fmt.Errorf("sale %s: %w", id, err))
	}
	if lost >= rebuildLost {
		for _, id := range slow {
			r.slow[id] = time.Now()
		}
	}
	return tried, failed
}

// alone returns those of the sales that have taken too long before, the one first that has waited
// longest.
func (r *restoring) alone(ids []seckill.SaleID) (alone []seckill.SaleID) {
	for _, id := range ids {
		if _, slow := r.slow[id]; slow {
			alone = append(alone, id)
		}
	}
	slices.SortStableFunc(alone, func(a, b seckill.SaleID) int { return r.slow[a].Compare(r.slow[b]) })
	return alone
}

// born leaves out the sales that have never been opened and are seen for the first time: the
// node that creates such a sale is about to open it.
func (r *restoring) born(sales []seckill.Sale, outdated []seckill.SaleID) (old []seckill.SaleID) {
	for _, sale := range sales {
		if !slices.Contains(outdated, sale.ID) {
			delete(r.newborn, sale.ID)
			continue
		}
		if sale.Epoch == 0 && !r.newborn[sale.ID] {
			r.newborn[sale.ID] = true
			continue
		}
		delete(r.newborn, sale.ID)
		old = append(old, sale.ID)
	}
	return old
}

// lead takes the lease that lets one node rebuild, and keeps it until end. The only node
// needs none.
func (k *Keeper) lead(ctx context.Context) (end func(), err error) {
	if k.only {
		return func() {}, nil
	}
	lease := &duty.Lease{Leases: k.store, Name: rebuildLease, Owner: k.node, Life: rebuildTime}
	held, err := lease.Held(ctx)
	if err == nil && !held {
		err = fmt.Errorf("another node (%s) rebuilds sales: %w", lease.Holder(), seckill.ErrUnavailable)
	}
	if err != nil {
		return nil, err
	}
	// If the lease is lost another node rebuilds too, which is right but slow.
	return lease.Keep(ctx), nil
}

// opened waits until a new sale is open that another node has shut: that node saw the sale
// before this one had opened it, took it for lost, and rebuilds it. When the sale is not
// open within keeperTry, opened returns the given error.
func (k *Keeper) opened(ctx context.Context, id seckill.SaleID, closed error) error {
	ctx, cancel := context.WithTimeout(ctx, keeperTry)
	defer cancel()
	for duty.Rest(ctx, keeperGap/5) == nil {
		sale, err := k.store.Sale(ctx, id)
		if err != nil {
			continue
		}
		if outdated, err := k.gate.Outdated(ctx, []seckill.Sale{sale}); err == nil && len(outdated) == 0 {
			return nil
		}
	}
	return closed
}
