package sale

import (
	"context"
	"errors"
	goflag "flag"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
)

func TestMain(m *testing.M) {
	// Every step of a property is a transaction on a disk: a few checks are enough
	// each time. go test -rapid.checks=1000 looks harder.
	goflag.Set("rapid.checks", "10")
	goflag.Set("rapid.nofailfile", "true")
	goflag.Set("rapid.shrinktime", "10s")
	goleak.VerifyTestMain(m)
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
		time.Sleep(failedGap) // after a question that failed nobody asks for a moment
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
