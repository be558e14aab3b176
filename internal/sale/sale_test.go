package sale

import (
	"context"
	"errors"
	goflag "flag"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
	"seckill/internal/gate"
	"seckill/internal/store"
)

func TestMain(m *testing.M) {
	// Every step of a property is a transaction on a disk: a few checks are enough
	// each time. go test -rapid.checks=1000 looks harder.
	goflag.Set("rapid.checks", "10")
	goflag.Set("rapid.nofailfile", "true")
	goflag.Set("rapid.shrinktime", "10s")
	goleak.VerifyTestMain(m)
}

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

var gateCalls = []string{"apply", "move", "cut", "shut", "load", "stale"}

func (g *faultyGate) Apply(ctx context.Context, sale seckill.Sale) error {
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
	err = g.try("stale", func() (err error) { ids, err = g.Memory.Outdated(ctx, sales); return err })
	return ids, err
}

func (g *faultyGate) Lost() <-chan struct{} { return g.lostNow }

// faultyStore is the embedded store behind the faults.
type faultyStore struct {
	*store.Store
	*faults
}

func (s *faultyStore) Sale(ctx context.Context, id seckill.SaleID) (sale seckill.Sale, err error) {
	err = s.try("sale", func() (err error) { sale, err = s.Store.Sale(ctx, id); return err })
	return sale, err
}

func (s *faultyStore) Sales(ctx context.Context, before seckill.SaleID, max int) (sales []seckill.Sale, err error) {
	err = s.try("sales", func() (err error) { sales, err = s.Store.Sales(ctx, before, max); return err })
	return sales, err
}

func (s *faultyStore) Snapshot(ctx context.Context, ids []seckill.SaleID, outbox map[seckill.SaleID][]seckill.Ticket) (all []seckill.Snapshot, err error) {
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
	gate  *faultyGate
	store *faultyStore
}

func newHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(context.Background(), "sqlite:"+filepath.Join(dir, "seckill.db"), false)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	g, err := gate.OpenMemory(context.Background(), filepath.Join(dir, "gate.db"), 0)
	require.NoError(t, err)
	t.Cleanup(func() { g.Close() })
	f := &faults{down: map[string]bool{}, lost: map[string]bool{}}
	h := &house{t: t, faults: f, gate: &faultyGate{g, f, make(chan struct{}, 1)}, store: &faultyStore{s, f}}
	h.Sales = New(h.store, h.gate, slog.New(slog.DiscardHandler), Options{})
	return h
}

// inBubble runs a test with fake time, in which it can wait until everybody
// waits.
func inBubble(t *testing.T, f func(t *testing.T, h *house)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, newHouse(t)) })
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

// keeps runs the keeper until stop; ready tells whether the gate has its state.
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

func TestACreatedSaleIsBuyable(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		first := h.create()
		assert.Equal(t, seckill.StateOpen, first.State)
		assert.EqualValues(t, 10, first.Left)
		assert.Equal(t, "queued", h.verdict(first.ID, "ann"))
		second := h.create()
		assert.Equal(t, "queued", h.verdict(second.ID, "ann"))
		shown, err := h.Get(t.Context(), first.ID)
		require.NoError(t, err)
		assert.EqualValues(t, 9, shown.Left, "another sale's opening leaves it alone")
		h.adds()
	})
}

func TestABadSaleIsNotCreated(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		bad := draft()
		bad.Total = 0
		_, err := h.Create(t.Context(), bad)
		var field *seckill.FieldError
		require.ErrorAs(t, err, &field)
		sales, err := h.List(t.Context(), 0, 10)
		require.NoError(t, err)
		assert.Empty(t, sales)
	})
}

func TestASaleThatIsCreatedWhileTheGateIsDownOpensLater(t *testing.T) {
	for _, call := range []string{"shut", "snapshot", "load"} {
		t.Run(call, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *house) {
				stop, ready := h.keeps()
				defer stop()
				synctest.Wait()
				require.True(t, ready())
				h.set(true, call)
				sale, err := h.Create(t.Context(), draft())
				require.ErrorIs(t, err, seckill.ErrUnavailable)
				require.Positive(t, sale.ID, "the store has it")
				time.Sleep(time.Minute)
				assert.Equal(t, "unavailable", h.verdict(sale.ID, "ann"))
				h.set(false, call)
				time.Sleep(2 * keeperPause)
				synctest.Wait()
				assert.Equal(t, "queued", h.verdict(sale.ID, "ann"))
				assert.True(t, ready(), "and stays so")
				h.adds()
			})
		})
	}
}

// contested is a gate at which another node shuts a sale before it is loaded for the
// first time, and opens it a moment later.
type contested struct {
	*faultyGate
	other func(id seckill.SaleID)
	once  sync.Once
}

func (g *contested) Load(ctx context.Context, all []seckill.Snapshot) (err error) {
	mine := true
	g.once.Do(func() {
		mine = false
		go g.other(all[0].Sale.ID)
	})
	if !mine {
		return fmt.Errorf("shut by another node: %w", seckill.ErrClosed)
	}
	return g.faultyGate.Load(ctx, all)
}

func TestASaleThatAnotherNodeOpensIsCreated(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		g := &contested{faultyGate: h.gate, other: func(id seckill.SaleID) {
			time.Sleep(time.Second)
			assert.NoError(t, h.Rebuild(context.Background(), id))
		}}
		sale, err := New(h.store, g, slog.New(slog.DiscardHandler), Options{}).Create(t.Context(), draft())
		require.NoError(t, err)
		require.Equal(t, "queued", h.verdict(sale.ID, "ann"), "buyable when it is answered")
	})
	t.Run("never", func(t *testing.T) {
		inBubble(t, func(t *testing.T, h *house) {
			g := &contested{faultyGate: h.gate, other: func(seckill.SaleID) {}}
			_, err := New(h.store, g, slog.New(slog.DiscardHandler), Options{}).Create(t.Context(), draft())
			require.ErrorIs(t, err, seckill.ErrUnavailable)
		})
	})
}

func TestASaleIsChangedWhenTheGateHasTheChange(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		for _, step := range []struct {
			do   func(context.Context, seckill.SaleID) (seckill.Sale, error)
			want string
		}{{h.Pause, "paused"}, {h.Pause, "paused"}, {h.Resume, "queued"}, {h.Resume, "queued"}, {h.End, "ended"}, {h.End, "ended"}} {
			got, err := step.do(t.Context(), sale.ID)
			require.NoError(t, err)
			assert.Equal(t, step.want, h.verdict(sale.ID, "ann"), "at once")
			shown, err := h.Get(t.Context(), sale.ID)
			require.NoError(t, err)
			assert.Equal(t, got.State, shown.State)
		}
		for _, do := range []func(context.Context, seckill.SaleID) (seckill.Sale, error){h.Pause, h.Resume} {
			_, err := do(t.Context(), sale.ID)
			require.ErrorIs(t, err, seckill.ErrState, "an ended sale stays so")
		}
		_, err := h.Pause(t.Context(), 999)
		require.ErrorIs(t, err, seckill.ErrNotFound)
	})
}

func TestTheKeeperBringsChangesThatTheGateDidNotHearOf(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		stop, _ := h.keeps()
		defer stop()
		h.set(true, gateCalls...)
		_, err := h.Pause(t.Context(), sale.ID)
		require.ErrorIs(t, err, seckill.ErrUnavailable, "never 200 before it is in force")
		time.Sleep(time.Minute)
		assert.Equal(t, "queued", h.verdict(sale.ID, "ann"))
		h.set(false, gateCalls...)
		time.Sleep(2 * keeperPause)
		synctest.Wait()
		assert.Equal(t, "paused", h.verdict(sale.ID, "bob"))
		left, err := h.store.Unapplied(t.Context())
		require.NoError(t, err)
		assert.Empty(t, left)
		h.adds()
	})
}

func TestAChangeIsBroughtAgainUntilTheStoreHasNotedIt(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		h.set(true, "applied")
		_, err := h.Pause(t.Context(), sale.ID)
		require.NoError(t, err, "it is in force")
		assert.Equal(t, "paused", h.verdict(sale.ID, "ann"))
		h.set(false, "applied")
		stop, _ := h.keeps()
		defer stop()
		synctest.Wait()
		left, err := h.store.Unapplied(t.Context())
		require.NoError(t, err)
		assert.Empty(t, left)
	})
}

func TestTheKeeperRebuildsWhatTheGateHasLost(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		one, two := h.create(), h.create()
		stop, ready := h.keeps()
		defer stop()
		synctest.Wait()
		require.Equal(t, "queued", h.verdict(one.ID, "ann"))
		_, err := h.gate.Memory.Shut(t.Context(), []seckill.SaleID{one.ID, two.ID})
		require.NoError(t, err)
		h.gate.lostNow <- struct{}{}
		time.Sleep(keeperGap)
		synctest.Wait()
		assert.Equal(t, "queued", h.verdict(one.ID, "ann"))
		assert.Equal(t, "queued", h.verdict(two.ID, "ann"))
		assert.True(t, ready())
		h.adds()
	})
}

func TestANodeIsReadyWhenItsGateIs(t *testing.T) {
	for _, part := range [][]string{gateCalls, {"sales"}, {"snapshot"}} {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *house) {
				sale := h.create()
				_, err := h.gate.Memory.Shut(t.Context(), []seckill.SaleID{sale.ID})
				require.NoError(t, err)
				h.set(true, part...)
				stop, ready := h.keeps()
				defer stop()
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.False(t, ready())
				h.set(false, part...)
				time.Sleep(keeperPause)
				synctest.Wait()
				assert.True(t, ready())
				assert.Equal(t, "queued", h.verdict(sale.ID, "ann"))
			})
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestWhatAPatchMayChange(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		d := draft()
		d.OpensAt = time.Now().Add(time.Minute)
		sale, err := h.Create(t.Context(), d)
		require.NoError(t, err)
		require.Equal(t, seckill.StateScheduled, sale.State)
		got, err := h.Patch(t.Context(), sale.ID, Patch{Title: ptr("new"), Price: ptr(int64(5)), Currency: ptr("EUR"), Total: ptr(int64(14)), LimitPerBuyer: ptr(1)})
		require.NoError(t, err)
		assert.Equal(t, []any{"new", int64(5), "EUR", int64(14), int64(14), 1}, []any{got.Title, got.Price, got.Currency, got.Total, got.Left, got.LimitPerBuyer})
		got, err = h.Patch(t.Context(), sale.ID, Patch{Total: ptr(int64(6)), OpensAt: ptr(time.Now())})
		require.NoError(t, err)
		assert.Equal(t, []int64{6, 6}, []int64{got.Total, got.Left})

		require.Equal(t, "queued", h.verdict(sale.ID, "ann"))
		for name, p := range map[string]Patch{"price": {Price: ptr(int64(6))}, "currency": {Currency: ptr("CNY")}, "total": {Total: ptr(int64(7))}, "opens_at": {OpensAt: ptr(time.Now().Add(time.Minute))}} {
			_, err := h.Patch(t.Context(), sale.ID, p)
			assert.ErrorIs(t, err, seckill.ErrState, name)
			assert.ErrorContains(t, err, name)
		}
		time.Sleep(time.Second)
		got, err = h.Patch(t.Context(), sale.ID, Patch{Price: ptr(int64(5)), Total: ptr(int64(6)), Title: ptr("newer"), ClosesAt: ptr(time.Now())})
		require.NoError(t, err, "what stays the same is no change")
		assert.Equal(t, "newer", got.Title)
		assert.Equal(t, "ended", h.verdict(sale.ID, "bob"), "an earlier closing is in force")
		for name, p := range map[string]Patch{"title": {Title: ptr("")}, "total": {Total: ptr(int64(0))}, "limit_per_buyer": {LimitPerBuyer: ptr(0)}} {
			_, err := h.Patch(t.Context(), sale.ID, p)
			assert.Error(t, err, name)
		}
		_, err = h.End(t.Context(), sale.ID)
		require.NoError(t, err)
		_, err = h.Patch(t.Context(), sale.ID, Patch{Title: ptr("never")})
		require.ErrorIs(t, err, seckill.ErrState)
		h.adds()
	})
}

// busyStore lets everybody who changes a sale wait for a minute.
type busyStore struct{ *faultyStore }

func (s busyStore) UpdateSale(ctx context.Context, id seckill.SaleID, change func(*seckill.Sale) error) (seckill.Sale, error) {
	time.Sleep(time.Minute)
	return s.faultyStore.UpdateSale(ctx, id, change)
}

func TestAPriceThatHadToWaitUntilTheSaleOpenedIsNotTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		d := draft()
		d.OpensAt = time.Now().Add(time.Minute / 2)
		sale, err := h.Create(t.Context(), d)
		require.NoError(t, err)
		h.Sales = New(busyStore{h.store}, h.gate, slog.New(slog.DiscardHandler), Options{})
		_, err = h.Patch(t.Context(), sale.ID, Patch{Price: ptr(int64(5))})
		require.ErrorIs(t, err, seckill.ErrState)
		sale, err = h.store.Store.Sale(t.Context(), sale.ID)
		require.NoError(t, err)
		require.Equal(t, d.Price, sale.Price)
	})
}

func TestAStockMoveIsOneMoveForEachID(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		for range 3 {
			got, err := h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "more", Delta: 5})
			require.NoError(t, err)
			assert.Equal(t, []int64{15, 15}, []int64{got.Total, got.Left})
		}
		for range 3 {
			got, err := h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "less", Delta: -12})
			require.NoError(t, err)
			assert.Equal(t, []int64{3, 3}, []int64{got.Total, got.Left})
		}
		_, err := h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "more", Delta: 6})
		require.ErrorIs(t, err, seckill.ErrState)
		for range 2 {
			_, err = h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "too much", Delta: -4})
			require.ErrorIs(t, err, seckill.ErrStock, "all or nothing")
		}
		got, err := h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "too much", Delta: 4})
		require.NoError(t, err, "a refused move leaves its id free")
		assert.Equal(t, []int64{7, 7}, []int64{got.Total, got.Left})
		for _, bad := range []seckill.Move{{ID: "", Delta: 1}, {ID: "x", Delta: 0}, {ID: "x\n", Delta: 1}, {ID: "x", Delta: seckill.MaxTotal + 1}, {ID: "x", Delta: -seckill.MaxTotal - 1}} {
			bad.Sale = sale.ID
			_, err := h.Stock(t.Context(), bad)
			var field *seckill.FieldError
			require.ErrorAs(t, err, &field)
		}
		_, err = h.Stock(t.Context(), seckill.Move{Sale: 999, ID: "x", Delta: 1})
		require.ErrorIs(t, err, seckill.ErrNotFound)
		h.adds()
	})
}

func TestASaleOfWhichAllUnitsWereTakenOutCanStillBeChanged(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		_, err := h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "all", Delta: -10})
		require.NoError(t, err)
		_, err = h.Pause(t.Context(), sale.ID)
		require.NoError(t, err)
		_, err = h.Resume(t.Context(), sale.ID)
		require.NoError(t, err)
		_, err = h.Patch(t.Context(), sale.ID, Patch{Title: ptr("gone")})
		require.NoError(t, err)
		_, err = h.End(t.Context(), sale.ID)
		require.NoError(t, err)
	})
}

// Wherever a move is interrupted, the keeper brings it to its end, once.
func TestTheKeeperBringsStockMovesToTheirEnd(t *testing.T) {
	for _, delta := range []int64{4, -4} {
		for _, broken := range []string{"move", "finish move"} {
			for _, lost := range []bool{false, true} {
				for _, rebuilt := range []bool{false, true} {
					t.Run(fmt.Sprintf("delta %d, %s fails, took effect %v, rebuilt %v", delta, broken, lost, rebuilt), func(t *testing.T) {
						inBubble(t, func(t *testing.T, h *house) {
							sale := h.create()
							require.Equal(t, "queued", h.verdict(sale.ID, "ann"))
							if lost {
								h.lose(true, broken)
							} else {
								h.set(true, broken)
							}
							_, err := h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "m", Delta: delta})
							require.ErrorIs(t, err, seckill.ErrUnavailable)
							h.set(false, broken)
							h.lose(false, broken)
							if rebuilt {
								require.NoError(t, h.Rebuild(t.Context(), sale.ID))
							}
							stop, _ := h.keeps()
							defer stop()
							synctest.Wait()
							moves, err := h.store.OpenMoves(t.Context())
							require.NoError(t, err)
							assert.Empty(t, moves)
							got, err := h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "m", Delta: delta})
							require.NoError(t, err)
							assert.Equal(t, []int64{10 + delta, 9 + delta}, []int64{got.Total, got.Left})
							h.adds()
						})
					})
				}
			}
		}
	}
}

func TestASaleIsShownWhileTheStoreIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		_, err := h.Get(t.Context(), sale.ID)
		require.NoError(t, err)
		_, err = h.List(t.Context(), 0, 10)
		require.NoError(t, err)
		h.set(true, "sale", "sales")
		time.Sleep(time.Minute)
		require.Equal(t, "queued", h.verdict(sale.ID, "ann"))
		shown, err := h.Get(t.Context(), sale.ID)
		require.NoError(t, err)
		assert.EqualValues(t, 9, shown.Left, "what is left and the clock are the gate's")
		assert.WithinDuration(t, time.Now(), shown.ServerNow, time.Second)
		list, err := h.List(t.Context(), 0, 10)
		require.NoError(t, err)
		assert.Equal(t, []seckill.Sale{shown}, list)
		_, err = h.Get(t.Context(), 999)
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		_, err = h.List(t.Context(), 5, 10)
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		h.set(false, "sale", "sales")
		_, err = h.Get(t.Context(), 999)
		require.ErrorIs(t, err, seckill.ErrNotFound)
	})
}

func TestAChangeByAnotherNodeIsShownWithinASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		_, err := h.Get(t.Context(), sale.ID)
		require.NoError(t, err)
		_, err = h.store.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error { v.Title = "another"; return nil })
		require.NoError(t, err)
		time.Sleep(catalogLife)
		got, err := h.Get(t.Context(), sale.ID)
		require.NoError(t, err)
		assert.Equal(t, "another", got.Title)
	})
}

func TestASaleThatTheGateCannotTellOfIsShownFromTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		_, err := h.gate.Memory.Shut(t.Context(), []seckill.SaleID{sale.ID})
		require.NoError(t, err)
		shown, err := h.Get(t.Context(), sale.ID)
		require.NoError(t, err)
		assert.EqualValues(t, 10, shown.Left)
		_, err = h.Audit(t.Context(), sale.ID)
		assert.True(t, errors.Is(err, seckill.ErrUnavailable))
	})
}

func TestOneNodeAtATimeRestores(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	sale := h.create()
	other := New(h.store, h.gate, slog.New(slog.DiscardHandler), Options{})
	held, _, err := h.store.Lease(t.Context(), rebuildLease, other.node, time.Minute)
	require.NoError(t, err)
	require.True(t, held)
	_, err = h.gate.Memory.Shut(t.Context(), []seckill.SaleID{sale.ID})
	require.NoError(t, err)
	require.ErrorIs(t, h.restore(t.Context()), seckill.ErrUnavailable)
	require.Equal(t, "unavailable", h.verdict(sale.ID, "ann"))
	require.NoError(t, h.store.Unlease(t.Context(), rebuildLease, other.node))
	require.NoError(t, h.restore(t.Context()))
	require.Equal(t, "queued", h.verdict(sale.ID, "ann"))
	held, _, err = h.store.Lease(t.Context(), rebuildLease, other.node, time.Minute)
	require.NoError(t, err)
	require.True(t, held, "it is given back")
	require.NoError(t, h.restore(t.Context()), "nothing to rebuild, nothing to wait for")
}

func TestAGateOfAnotherStoreIsLeftAlone(t *testing.T) {
	t.Parallel()
	ours, theirs := newHouse(t), newHouse(t)
	sale := ours.create()
	require.NoError(t, ours.restore(t.Context()))
	wrong := New(theirs.store, ours.gate, slog.New(slog.DiscardHandler), Options{})
	theirs.create() // it has the same id
	require.ErrorContains(t, wrong.restore(t.Context()), "another store")
	require.Equal(t, "queued", ours.verdict(sale.ID, "ann"))
}

// A node that looks at every sale while another creates one leaves it to that
// node: 201 means buyable, and stays so.
func TestASaleThatIsBeingCreatedIsLeftToItsNode(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	other := New(h.store, h.gate, slog.New(slog.DiscardHandler), Options{})
	sale, err := h.store.CreateSale(t.Context(), draft()) // and not opened yet
	require.NoError(t, err)
	require.ErrorIs(t, other.restore(t.Context()), seckill.ErrUnavailable)
	require.NoError(t, h.Rebuild(t.Context(), sale.ID))
	cut, err := h.gate.Cut(t.Context(), sale.ID)
	require.NoError(t, err)
	require.NoError(t, other.restore(t.Context()))
	again, err := h.gate.Cut(t.Context(), sale.ID)
	require.NoError(t, err)
	require.Equal(t, cut.Epoch, again.Epoch, "rebuilt once")

	orphan, err := h.store.CreateSale(t.Context(), draft()) // its node died
	require.NoError(t, err)
	require.Error(t, other.restore(t.Context()))
	require.NoError(t, other.restore(t.Context()))
	require.Equal(t, "queued", h.verdict(orphan.ID, "ann"))
}

// A crowd at a closed door does not make the keeper run in circles.
func TestTheKeeperHasItsPace(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		_, _, err := h.store.Lease(t.Context(), rebuildLease, "another node", time.Hour)
		require.NoError(t, err)
		_, err = h.gate.Memory.Shut(t.Context(), []seckill.SaleID{sale.ID})
		require.NoError(t, err)
		stop, _ := h.keeps()
		defer stop()
		crowd, leave := context.WithCancel(t.Context())
		asked := make(chan int)
		go func() {
			n := 0
			for {
				select {
				case h.gate.lostNow <- struct{}{}:
					n++
				case <-crowd.Done():
					asked <- n
					return
				}
			}
		}()
		time.Sleep(10 * keeperPause)
		leave()
		assert.LessOrEqual(t, <-asked, 10+2, "rounds of the keeper, at its own pace while it cannot rebuild")
	})
}

func TestARebuildByHandWaitsForTheNodeThatRebuilds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	sale := h.create()
	held, _, err := h.store.Lease(t.Context(), rebuildLease, "another node", 300*time.Millisecond)
	require.NoError(t, err)
	require.True(t, held)
	before, err := h.gate.Cut(t.Context(), sale.ID)
	require.NoError(t, err)
	_, err = h.Renew(t.Context(), sale.ID)
	require.NoError(t, err)
	after, err := h.gate.Cut(t.Context(), sale.ID)
	require.NoError(t, err)
	require.Equal(t, before.Epoch+1, after.Epoch)
	_, err = h.Renew(t.Context(), 999)
	require.ErrorIs(t, err, seckill.ErrNotFound)
}
