package sale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/gate"
	"seckill/internal/store"
	"seckill/internal/store/storetest"
)

var errDown = fmt.Errorf("down: %w", seckill.ErrUnavailable)

// faults are the moments at which a part does not answer. A call that is lost
// took effect, and its caller does not hear of it.
type faults struct {
	mu   sync.Mutex
	down map[string]bool
	lost map[string]bool
}

func (f *faults) set(down bool, calls ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, call := range calls {
		f.down[call] = down
	}
}

func (f *faults) lose(lost bool, call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost[call] = lost
}

// try makes a call, unless its part is down.
func (f *faults) try(call string, do func() error) error {
	f.mu.Lock()
	down, lost := f.down[call], f.lost[call]
	f.mu.Unlock()
	if down {
		return errDown
	}
	if err := do(); err != nil || !lost {
		return err
	}
	return errDown
}

// faultyGate is the embedded gate behind the faults.
type faultyGate struct {
	*gate.Memory
	*faults
	lostNow chan struct{}
}

var gateCalls = []string{"apply", "move", "cut", "shut", "load", "outdated"}

// Apply does nothing for a caller whose time is over, as a gate on another machine.
func (g *faultyGate) Apply(ctx context.Context, sale seckill.Sale) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", seckill.ErrUnavailable, err)
	}
	return g.try("apply", func() error { return g.Memory.Apply(ctx, sale) })
}

func (g *faultyGate) Move(ctx context.Context, m seckill.Move) (applied bool, err error) {
	err = g.try("move", func() (err error) { applied, err = g.Memory.Move(ctx, m); return err })
	return applied, err
}

func (g *faultyGate) Cut(ctx context.Context, id seckill.SaleID) (c seckill.Cut, err error) {
	err = g.try("cut", func() (err error) { c, err = g.Memory.Cut(ctx, id); return err })
	return c, err
}

func (g *faultyGate) Shut(ctx context.Context, ids []seckill.SaleID) (outbox map[seckill.SaleID][]seckill.Ticket, err error) {
	err = g.try("shut", func() (err error) { outbox, err = g.Memory.Shut(ctx, ids); return err })
	return outbox, err
}

func (g *faultyGate) Load(ctx context.Context, all []seckill.Snapshot) error {
	return g.try("load", func() error { return g.Memory.Load(ctx, all) })
}

func (g *faultyGate) Outdated(ctx context.Context, sales []seckill.Sale) (ids []seckill.SaleID, err error) {
	err = g.try("outdated", func() (err error) { ids, err = g.Memory.Outdated(ctx, sales); return err })
	return ids, err
}

func (g *faultyGate) States(ctx context.Context, ids []seckill.SaleID) (all map[seckill.SaleID]seckill.GateState, err error) {
	err = g.try("states", func() (err error) { all, err = g.Memory.States(ctx, ids); return err })
	return all, err
}

func (g *faultyGate) Stops(ctx context.Context, of ...seckill.SaleID) (all []seckill.Stop, err error) {
	err = g.try("stops", func() (err error) { all, err = g.Memory.Stops(ctx, of...); return err })
	return all, err
}

// Noted hangs while it is down.
func (g *faultyGate) Noted(ctx context.Context, stop seckill.Stop) (noted bool, err error) {
	err = g.try("noted", func() (err error) { noted, err = g.Memory.Noted(ctx, stop); return err })
	if err != nil {
		<-ctx.Done()
	}
	return noted, err
}

func (g *faultyGate) Belong(ctx context.Context, store string) error {
	return g.try("belong", func() error { return g.Memory.Belong(ctx, store) })
}

func (g *faultyGate) Lost() <-chan struct{} { return g.lostNow }

// faultyStore is the embedded store behind the faults.
type faultyStore struct {
	*store.Store
	*faults
	broken seckill.SaleID   // Snapshot fails where this sale is among others, or alone
	hangs  []seckill.SaleID // of these it fails after 10 s
}

// errRow is a failure that is about one sale.
var errRow = errors.New("out of range")

func (s *faultyStore) Sale(ctx context.Context, id seckill.SaleID) (sale seckill.Sale, err error) {
	err = s.try("sale", func() (err error) { sale, err = s.Store.Sale(ctx, id); return err })
	return sale, err
}

func (s *faultyStore) Sales(ctx context.Context, before seckill.SaleID, max int) (sales []seckill.Sale, err error) {
	err = s.try("sales", func() (err error) { sales, err = s.Store.Sales(ctx, before, max); return err })
	return sales, err
}

func (s *faultyStore) NewestSale(ctx context.Context) (id seckill.SaleID, err error) {
	err = s.try("sales", func() (err error) { id, err = s.Store.NewestSale(ctx); return err })
	return id, err
}

func (s *faultyStore) Snapshot(ctx context.Context, ids []seckill.SaleID, outbox map[seckill.SaleID][]seckill.Ticket) (all []seckill.Snapshot, err error) {
	if slices.Contains(ids, s.broken) {
		return nil, errRow
	}
	if slices.ContainsFunc(ids, func(id seckill.SaleID) bool { return slices.Contains(s.hangs, id) }) {
		_ = duty.Rest(ctx, 10*time.Second)
		return nil, errDown
	}
	err = s.try("snapshot", func() (err error) { all, err = s.Store.Snapshot(ctx, ids, outbox); return err })
	return all, err
}

func (s *faultyStore) FinishMove(ctx context.Context, m seckill.Move, applied bool) (done bool, err error) {
	err = s.try("finish move", func() (err error) { done, err = s.Store.FinishMove(ctx, m, applied); return err })
	return done, err
}

func (s *faultyStore) Applied(ctx context.Context, id seckill.SaleID, version int64) error {
	return s.try("applied", func() error { return s.Store.Applied(ctx, id, version) })
}

// house is the package under test with the embedded gate and store.
type house struct {
	*Sales
	*faults
	t     testing.TB
	file  string // of the store
	gate  *faultyGate
	store *faultyStore
}

func newHouse(t testing.TB) *house {
	t.Helper()
	return newHouseOf(t, store.Settings{})
}

// newHouseOf is newHouse with a store of some settings.
func newHouseOf(t testing.TB, settings store.Settings) *house {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "seckill.db")
	storetest.Make(t, file, store.Open)
	s, err := store.Open(context.Background(), "sqlite:"+file, settings)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	g, err := gate.OpenMemory(context.Background(), filepath.Join(dir, "gate.db"), 0)
	require.NoError(t, err)
	t.Cleanup(func() { g.Close() })
	f := &faults{down: map[string]bool{}, lost: map[string]bool{}}
	h := &house{t: t, file: file, faults: f, gate: &faultyGate{g, f, make(chan struct{}, 1)}, store: &faultyStore{Store: s, faults: f}}
	h.Sales = New(h.store, h.gate, slog.New(slog.DiscardHandler), Options{})
	return h
}

// inBubble runs a test with fake time, in which it can wait until everybody
// waits.
func inBubble(t *testing.T, f func(t *testing.T, h *house)) {
	t.Helper()
	inBubbleOf(t, store.Settings{}, f)
}

// inBubbleOf is inBubble with a store of some settings.
func inBubbleOf(t *testing.T, settings store.Settings, f func(t *testing.T, h *house)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, newHouseOf(t, settings)) })
}

// draft is a sale of 10 units that is open now, for an hour.
func draft() seckill.Sale {
	return seckill.Sale{Title: "a sale", Price: 100, Currency: "CNY", Total: 10, LimitPerBuyer: 3, HoldSeconds: 60,
		OpensAt: time.Now().Add(-time.Second), ClosesAt: time.Now().Add(time.Hour)}
}

func (h *house) create() seckill.Sale {
	h.t.Helper()
	sale, err := h.Create(context.Background(), draft())
	require.NoError(h.t, err)
	return sale
}

// keeps runs the keeper until stop; ready reports whether the gate has its state.
func (h *house) keeps() (stop func(), ready func() bool) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(h.t, h.Run(ctx)) })
	return func() { cancel(); running.Wait() }, func() bool {
		select {
		case <-h.Loaded():
			return true
		default:
			return false
		}
	}
}

func (h *house) verdict(id seckill.SaleID, buyer string) string {
	h.t.Helper()
	a, err := h.gate.Reserve(context.Background(), id, buyer, 1)
	if err != nil {
		require.ErrorIs(h.t, err, seckill.ErrUnavailable)
		return "unavailable"
	}
	return a.Verdict.String()
}

func (h *house) adds() {
	h.t.Helper()
	sales, err := h.store.Store.Sales(context.Background(), 0, 100)
	require.NoError(h.t, err)
	for _, sale := range sales {
		r, err := h.Audit(context.Background(), sale.ID)
		require.NoError(h.t, err)
		require.Empty(h.t, r.Violations)
	}
}
