package sale

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate"
)

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

// A deleted sale is not rebuilt. When the gate has lost it before the store noted that the
// deletion is in force there, there is nothing left to bring to it, and nobody waits for that.
func TestADeletedSaleKeepsNoNodeFromBeingReady(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale, other := h.create(), h.create()
		_, err := h.End(t.Context(), sale.ID)
		require.NoError(t, err)
		h.set(true, "applied", "move")
		_, err = h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "m", Delta: 4})
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		_, err = h.Delete(t.Context(), sale.ID)
		require.NoError(t, err)
		h.set(false, "applied", "move")

		g, err := gate.OpenMemory(t.Context(), filepath.Join(t.TempDir(), "gate.db"), 0)
		require.NoError(t, err)
		defer g.Close()
		again := New(h.store, g, slog.New(slog.DiscardHandler), Options{})
		require.NoError(t, again.keep(t.Context()))
		require.True(t, isClosed(again.Loaded()))
		left, err := h.store.Unapplied(t.Context())
		require.NoError(t, err)
		require.Empty(t, left)
		a, err := g.Reserve(t.Context(), other.ID, "ann", 1)
		require.NoError(t, err)
		require.Equal(t, seckill.Queued, a.Verdict)
	})
}

// One sale to which a change cannot be brought, for whatever reason, keeps no node from
// being ready.
func TestAChangeThatCannotBeBroughtKeepsNoNodeFromBeingReady(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		h.set(true, "apply", "move")
		_, err := h.Pause(t.Context(), sale.ID)
		require.Error(t, err)
		stop, ready := h.keeps()
		defer stop()
		synctest.Wait()
		require.True(t, ready())
		time.Sleep(2 * time.Minute)
		require.Equal(t, 2*time.Minute, h.Failing(), "an alert asks for it")
		h.set(false, "apply", "move")
		time.Sleep(2 * keeperPause)
		require.Zero(t, h.Failing())
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
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

// One sale that cannot be rebuilt, for whatever reason, keeps no other closed and no node from
// being ready.
func TestASaleThatCannotBeRebuiltStaysClosedAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		one, bad, two := h.create(), h.create(), h.create()
		_, err := h.gate.Memory.Shut(t.Context(), []seckill.SaleID{one.ID, bad.ID, two.ID})
		require.NoError(t, err)
		h.store.broken = bad.ID
		stop, ready := h.keeps()
		defer stop()
		synctest.Wait()
		require.True(t, ready())
		require.Equal(t, "queued", h.verdict(one.ID, "ann"))
		require.Equal(t, "queued", h.verdict(two.ID, "ann"))
		require.Equal(t, "unavailable", h.verdict(bad.ID, "ann"))
		time.Sleep(time.Minute)
		require.NotZero(t, h.Failing(), "an alert asks for it")
		epochs := func() (all []int64) {
			sales, err := h.store.Sales(t.Context(), 0, 10)
			require.NoError(t, err)
			for _, sale := range sales {
				all = append(all, sale.Epoch)
			}
			return all
		}
		require.Equal(t, []int64{2, 1, 2}, epochs(), "the others are rebuilt once")
	})
}

// A store that answers and takes nothing is not asked for each sale, and an alert can say so; two
// sales that somebody has locked for long keep the others closed for two rounds at most.
func TestAStoreThatTakesNothingIsNotAskedForEachSale(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		var ids []seckill.SaleID
		for range 6 {
			ids = append(ids, h.create().ID)
		}
		_, err := h.gate.Memory.Shut(ctx, ids)
		require.NoError(t, err)
		keep := func() time.Duration {
			h.unsure.Store(true)
			began := time.Now()
			require.ErrorIs(t, h.keep(ctx), errDown)
			return time.Since(began)
		}
		h.store.hangs = ids
		require.Equal(t, 20*time.Second, keep(), "together, and one")
		require.Equal(t, 10*time.Second, h.Failing())
		require.Equal(t, 20*time.Second, keep())
		require.False(t, isClosed(h.Loaded()))

		h.store.hangs = ids[2:4]
		for range 3 {
			require.LessOrEqual(t, keep(), 20*time.Second)
		}
		require.True(t, isClosed(h.Loaded()))
		for i, id := range ids {
			require.Equal(t, map[bool]string{true: "unavailable", false: "queued"}[i == 2 || i == 3], h.verdict(id, "ann"))
		}
		h.store.hangs = nil
		require.NoError(t, func() error { h.unsure.Store(true); return h.keep(ctx) }())
		require.Empty(t, h.slow)
		require.Equal(t, "queued", h.verdict(ids[2], "ann"))
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
	require.NoError(t, ours.keep(t.Context()))
	wrong := New(theirs.store, ours.gate, slog.New(slog.DiscardHandler), Options{})
	theirs.create() // it has the same id
	require.ErrorContains(t, wrong.keep(t.Context()), "another store")
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
