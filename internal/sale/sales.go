// Package sale is what happens to a sale around its purchases: creating and
// changing it (step 10 of the path of a purchase), moving stock (step 11), rebuilding its
// gate state (step 12), and the audit.
//
// Every change goes to the store first, with a version or an id, and then to the
// gate. A change that the gate did not hear of is brought to it by the keeper.
package sale

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
	"seckill/internal/crash"
	"seckill/internal/duty"
)

// Store is what the package needs of the store.
type Store interface {
	CreateSale(ctx context.Context, sale seckill.Sale) (seckill.Sale, error)
	Sale(ctx context.Context, id seckill.SaleID) (seckill.Sale, error)
	Sales(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error)
	// Shelf MUST decide by the place's moment on which shelf a sale stands.
	Shelf(ctx context.Context, p seckill.Place, max int) ([]seckill.Sale, error)
	// UpdateSale MUST raise the version, and write nothing when change fails.
	UpdateSale(ctx context.Context, id seckill.SaleID, change func(*seckill.Sale) error) (seckill.Sale, error)
	Unapplied(ctx context.Context) ([]seckill.Sale, error)
	Applied(ctx context.Context, id seckill.SaleID, version int64) error
	BeginMove(ctx context.Context, m seckill.Move) (seckill.Move, error)
	FinishMove(ctx context.Context, m seckill.Move, applied bool) (bool, error)
	OpenMoves(ctx context.Context) ([]seckill.Move, error)
	// Snapshot MUST raise the epochs of the sales in the transaction that reads,
	// and count their versions as applied.
	Snapshot(ctx context.Context, ids []seckill.SaleID, outbox map[seckill.SaleID][]seckill.Ticket) ([]seckill.Snapshot, error)
	Look(ctx context.Context, id seckill.SaleID, outbox []seckill.Ticket) (seckill.Snapshot, error)
	Identity(ctx context.Context) (string, error)
	duty.Leases
}

// Gate is what the package needs of the gate.
type Gate interface {
	Now() time.Time
	Left(id seckill.SaleID) (left int64, ok bool)
	// Apply MUST ignore a version that is not newer.
	Apply(ctx context.Context, sale seckill.Sale) error
	// Move MUST decide each id once, and MUST NOT decide one of another epoch.
	Move(ctx context.Context, m seckill.Move) (applied bool, err error)
	Cut(ctx context.Context, id seckill.SaleID) (seckill.Cut, error)
	// Shut MUST close the sales before it reads the outbox.
	Shut(ctx context.Context, ids []seckill.SaleID) (map[seckill.SaleID][]seckill.Ticket, error)
	Load(ctx context.Context, snapshots []seckill.Snapshot) error
	// Belong MUST fail when the gate's state is that of another store.
	Belong(ctx context.Context, store string) error
	// Stale MUST return the sales whose state is missing, shut, of another epoch
	// than the one given, lacks what is settled, or is to be retired.
	Stale(ctx context.Context, sales []seckill.Sale) ([]seckill.SaleID, error)
	// Lost receives when there may be stale sales.
	Lost() <-chan struct{}
}

// Options are what a node with others, or without, says of itself.
type Options struct {
	// Notice hears of every change that this node has stored. It MUST NOT wait. nil:
	// nobody hears.
	Notice func(id seckill.SaleID, version int64)
	// Alone says that there is no other node.
	Alone bool
}

// Sales changes and shows sales.
type Sales struct {
	Options
	store Store
	gate  Gate
	log   *slog.Logger
	node  string // among those that rebuild

	rebuilding sync.Mutex              // one rebuild at a time
	newborn    map[seckill.SaleID]bool // sales without a state that restore has left to who creates them
	unsure     atomic.Bool             // there may be stale sales
	changed    chan struct{}           // the keeper has something to do
	totals     sync.Mutex              // one change of a total at a time
	identity   string                  // of the store, once the keeper has asked for it

	mu    sync.Mutex
	cache map[seckill.SaleID]cached
	lists map[listKey]cachedList
	// orders are those of the open sales by which walks under way go on, oldest first.
	orders []snapshot
}

// New returns the sales of a store and a gate.
func New(store Store, gate Gate, log *slog.Logger, o Options) *Sales {
	s := &Sales{Options: o, store: store, gate: gate, log: log, node: rand.Text(), changed: make(chan struct{}, 1), newborn: map[seckill.SaleID]bool{},
		cache: map[seckill.SaleID]cached{}, lists: map[listKey]cachedList{}}
	s.unsure.Store(true)
	return s
}

// Create makes a sale and opens it at the gate. When the store has it and the
// gate cannot be reached, the error wraps seckill.ErrUnavailable and the keeper
// opens it later.
func (s *Sales) Create(ctx context.Context, sale seckill.Sale) (seckill.Sale, error) {
	sale.OpensAt, sale.ClosesAt = sale.OpensAt.UTC().Truncate(time.Millisecond), sale.ClosesAt.UTC().Truncate(time.Millisecond)
	if err := sale.Validate(); err != nil {
		return sale, err
	}
	sale, err := s.store.CreateSale(ctx, sale)
	if err != nil {
		return sale, err
	}
	s.Forget(sale.ID)
	s.tell(sale)
	crash.Here("10-before-open", true)
	err = s.Rebuild(ctx, sale.ID)
	if errors.Is(err, seckill.ErrClosed) {
		err = s.opened(ctx, sale.ID, err)
	}
	if err != nil {
		s.wake()
		return sale, fmt.Errorf("sale %s is created and will open when the gate is back: %w", sale.ID, err)
	}
	return s.show(sale), nil
}

// opened waits for a new sale that another node has shut: it saw it before it was
// open, rebuilds it now, and then it is. Where that does not come true the error is
// the given one.
func (s *Sales) opened(ctx context.Context, id seckill.SaleID, closed error) error {
	ctx, cancel := context.WithTimeout(ctx, keeperTry)
	defer cancel()
	tick := time.NewTicker(keeperGap / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return closed
		}
		sale, err := s.store.Sale(ctx, id)
		if err != nil {
			continue
		}
		if stale, err := s.gate.Stale(ctx, []seckill.Sale{sale}); err == nil && len(stale) == 0 {
			return nil
		}
	}
}

// Change applies change to the sale and puts the new version in force at the
// gate before it returns. change sees the sale as stored and the gate's time.
func (s *Sales) Change(ctx context.Context, id seckill.SaleID, change func(sale *seckill.Sale, now time.Time) error) (seckill.Sale, error) {
	bring := s.apply
	sale, err := s.store.UpdateSale(ctx, id, func(sale *seckill.Sale) error {
		if sale.Retired { // the gate takes no version of it without its buyers
			bring = func(ctx context.Context, sale seckill.Sale) error { return s.Rebuild(ctx, sale.ID) }
		}
		// The time at which the sale is locked: to wait for the store must not let
		// through what the sale's opening forbids.
		if err := change(sale, s.gate.Now()); err != nil {
			return err
		}
		sale.OpensAt, sale.ClosesAt = sale.OpensAt.UTC().Truncate(time.Millisecond), sale.ClosesAt.UTC().Truncate(time.Millisecond)
		// The total is not changed here, and stock moves may have brought it to 0.
		valid := *sale
		valid.Total = max(1, valid.Total)
		return valid.Validate()
	})
	if err != nil {
		return sale, err
	}
	s.Forget(id)
	s.tell(sale)
	if err := bring(ctx, sale); err != nil {
		s.wake()
		return sale, fmt.Errorf("sale %s is changed and the change will be in force when the gate is back: %w", id, err)
	}
	return s.show(sale), nil
}

func (s *Sales) apply(ctx context.Context, sale seckill.Sale) error {
	crash.Here("10-before-apply", true)
	if err := s.gate.Apply(ctx, sale); err != nil {
		return err
	}
	crash.Here("10-after-apply", true)
	// The gate has it; that the store hears so is the keeper's business too.
	if err := s.store.Applied(ctx, sale.ID, sale.Version); err != nil {
		s.log.Warn("sale: the change is in force, but not noted as such", "sale", sale.ID, "version", sale.Version, "error", err)
	}
	return nil
}

// Pause stops a sale until Resume. A repeat changes nothing.
func (s *Sales) Pause(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	return s.Change(ctx, id, func(sale *seckill.Sale, now time.Time) error {
		sale.Paused = true
		return notEnded(sale)
	})
}

// Resume opens a paused sale again.
func (s *Sales) Resume(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	return s.Change(ctx, id, func(sale *seckill.Sale, now time.Time) error {
		sale.Paused = false
		return notEnded(sale)
	})
}

// End closes a sale for ever: an open one closes now. Tickets that were admitted
// are honoured.
func (s *Sales) End(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	return s.Change(ctx, id, func(sale *seckill.Sale, now time.Time) error {
		if now = now.Truncate(time.Millisecond); !sale.Ended && now.After(sale.OpensAt) && now.Before(sale.ClosesAt) {
			sale.ClosesAt = now
		}
		sale.Ended = true
		return nil
	})
}

func notEnded(sale *seckill.Sale) error {
	if sale.Ended {
		return fmt.Errorf("sale %s has been ended: %w", sale.ID, seckill.ErrState)
	}
	return nil
}

// Patch is a change of a sale's fields; nil leaves a field as it is.
type Patch struct {
	Title         *string    `json:"title"`
	Description   *string    `json:"description"`
	Image         *string    `json:"image"`
	Price         *int64     `json:"price"`
	ListPrice     *int64     `json:"list_price"`
	Currency      *string    `json:"currency"`
	Total         *int64     `json:"total"`
	LimitPerBuyer *int       `json:"limit_per_buyer"`
	OpensAt       *time.Time `json:"opens_at"`
	ClosesAt      *time.Time `json:"closes_at"`
	HoldSeconds   *int       `json:"hold_seconds"`
}

// Patch changes fields of a sale: everything before it opens, and afterwards
// everything but the price, its currency and the total.
func (s *Sales) Patch(ctx context.Context, id seckill.SaleID, p Patch) (seckill.Sale, error) {
	if p.Total != nil {
		// A shrinking move lowers the total when it ends: until then nobody can tell
		// how far the total is from the wanted one.
		s.totals.Lock()
		defer s.totals.Unlock()
		moves, err := s.store.OpenMoves(ctx)
		if err != nil {
			return seckill.Sale{}, err
		}
		if slices.ContainsFunc(moves, func(m seckill.Move) bool { return m.Sale == id }) {
			return seckill.Sale{}, fmt.Errorf("sale %s: units are being moved: %w", id, seckill.ErrUnavailable)
		}
	}
	var grow int64
	sale, err := s.Change(ctx, id, func(sale *seckill.Sale, now time.Time) error {
		if err := notEnded(sale); err != nil {
			return err
		}
		opened := !now.Before(sale.OpensAt)
		fixed := func(changes bool, field string) error {
			if changes && opened {
				return fmt.Errorf("%s cannot change once sale %s is open: %w", field, id, seckill.ErrState)
			}
			return nil
		}
		if p.Total != nil {
			grow = *p.Total - sale.Total
		}
		err := errors.Join(
			fixed(p.Price != nil && *p.Price != sale.Price, "price"),
			fixed(p.Currency != nil && *p.Currency != sale.Currency, "currency"),
			fixed(grow != 0, "total"),
			// Or the price could change after all, under those who are queued.
			fixed(p.OpensAt != nil && p.OpensAt.After(now), "opens_at, to a time to come,"))
		if err != nil {
			return err
		}
		set(&sale.Title, p.Title)
		set(&sale.Description, p.Description)
		set(&sale.Image, p.Image)
		set(&sale.Price, p.Price)
		set(&sale.ListPrice, p.ListPrice)
		set(&sale.Currency, p.Currency)
		set(&sale.LimitPerBuyer, p.LimitPerBuyer)
		set(&sale.OpensAt, p.OpensAt)
		set(&sale.ClosesAt, p.ClosesAt)
		set(&sale.HoldSeconds, p.HoldSeconds)
		if p.Total != nil && (*p.Total < 1 || *p.Total > seckill.MaxTotal) {
			return &seckill.FieldError{Field: "total", Must: fmt.Sprintf("must be 1 to %d units", seckill.MaxTotal)}
		}
		return nil
	})
	if err != nil || grow == 0 {
		return sale, err
	}
	// A total is units, and units only ever move.
	return s.Stock(ctx, seckill.Move{Sale: id, ID: fmt.Sprintf("total:%d", sale.Version), Delta: grow})
}

func set[T any](field *T, v *T) {
	if v != nil {
		*field = *v
	}
}

// Stock moves units into the sale or out of it, once for each id. Shrinking is
// all or nothing: more than the gate holds is seckill.ErrStock.
func (s *Sales) Stock(ctx context.Context, m seckill.Move) (seckill.Sale, error) {
	if m.ID == "" || len(m.ID) > 64 || !seckill.ValidBuyer(m.ID) {
		return seckill.Sale{}, &seckill.FieldError{Field: "id", Must: "must be 1 to 64 printable characters"}
	}
	if m.Delta == 0 || m.Delta > seckill.MaxTotal || m.Delta < -seckill.MaxTotal {
		return seckill.Sale{}, &seckill.FieldError{Field: "delta", Must: fmt.Sprintf("must be -%d to %d and not 0", seckill.MaxTotal, seckill.MaxTotal)}
	}
	// A rebuild in between asks for another look, and there is hardly ever one.
	for try := 1; ; try++ {
		begun, err := s.store.BeginMove(ctx, m)
		if err != nil {
			return seckill.Sale{}, err
		}
		s.Forget(m.Sale)
		err = s.move(ctx, begun)
		if err == nil {
			break
		}
		if try == 3 || !errors.Is(err, seckill.ErrStale) {
			s.wake()
			return seckill.Sale{}, err
		}
	}
	s.Forget(m.Sale)
	sale, err := s.store.Sale(ctx, m.Sale)
	if err == nil {
		s.tell(sale)
	}
	return s.show(sale), err
}

// move brings a begun move to the gate and its end to the store.
func (s *Sales) move(ctx context.Context, m seckill.Move) error {
	if m.Done {
		return nil
	}
	crash.Here("11-grow-before-gate", m.Delta > 0)
	crash.Here("11-shrink-before-gate", m.Delta < 0)
	applied, err := s.gate.Move(ctx, m)
	if err != nil {
		return err
	}
	crash.Here("11-grow-after-gate", m.Delta > 0)
	crash.Here("11-shrink-after-gate", m.Delta < 0 && applied)
	switch done, err := s.store.FinishMove(ctx, m, applied); {
	case err != nil:
		return err
	case !done:
		return fmt.Errorf("sale %s: move %s: %w", m.Sale, m.ID, seckill.ErrStale)
	case !applied:
		return fmt.Errorf("sale %s: %d units cannot be taken out: %w", m.Sale, -m.Delta, seckill.ErrStock)
	}
	return nil
}

// Renew rebuilds one sale because an administrator wants it, when no other node
// rebuilds any.
func (s *Sales) Renew(ctx context.Context, id seckill.SaleID) (sale seckill.Sale, err error) {
	if sale, err = s.store.Sale(ctx, id); err != nil {
		return sale, err
	}
	end, err := s.lead(ctx)
	for until := time.Now().Add(2 * rebuildTime); err != nil && time.Now().Before(until); end, err = s.lead(ctx) {
		select {
		case <-time.After(keeperGap):
		case <-ctx.Done():
			return sale, ctx.Err()
		}
	}
	if err != nil {
		return sale, err
	}
	defer end()
	err = s.Rebuild(ctx, id)
	return s.show(sale), err
}

// Rebuild makes the gate's state of sales anew from the outbox and one snapshot of
// the store. They are closed meanwhile.
func (s *Sales) Rebuild(ctx context.Context, ids ...seckill.SaleID) error {
	s.rebuilding.Lock()
	err := s.rebuild(ctx, ids)
	s.rebuilding.Unlock()
	if err != nil {
		// They may be shut now: somebody must open them.
		s.unsure.Store(true)
		s.wake()
	}
	return err
}

// rebuild does that with s.rebuilding held.
func (s *Sales) rebuild(ctx context.Context, ids []seckill.SaleID) error {
	outbox, err := s.gate.Shut(ctx, ids)
	if err != nil {
		return err
	}
	crash.Here("12-before-snapshot", true)
	snapshots, err := s.store.Snapshot(ctx, ids, outbox)
	if err != nil {
		return err
	}
	for i := range snapshots {
		// Units that came back may have been sold again before the store noted their
		// return. The gate owes them until then, and that is no promise too many.
		v := &snapshots[i]
		if left := v.Left() + v.Returning + v.Growing; left < 0 {
			s.log.Error("sale: more units are promised than exist; the gate owes them", "sale", v.Sale.ID, "short", -left)
		}
	}
	crash.Here("12-before-load", true)
	if err := s.gate.Load(ctx, snapshots); err != nil {
		return err
	}
	crash.Here("12-after-load", true)
	return nil
}

func (s *Sales) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
