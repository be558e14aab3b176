package sale

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

// Another node shows a change within a second by itself. A notice makes that at
// once, and is all that is lost with it.
func TestANoticeHastensWhatHappensAnyway(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		other := New(h.store, h.gate, slog.New(slog.DiscardHandler), Options{})
		sale := h.create()
		shown := func() [2]string {
			one, err := other.Get(t.Context(), sale.ID)
			require.NoError(t, err)
			all, err := other.List(t.Context(), 0, 10)
			require.NoError(t, err)
			return [2]string{one.Title, all[0].Title}
		}
		change := func(title string) {
			_, err := h.Patch(t.Context(), sale.ID, Patch{Title: &title})
			require.NoError(t, err)
		}
		old := sale.Title
		require.Equal(t, [2]string{old, old}, shown())

		change("lost") // nobody tells
		require.Equal(t, [2]string{old, old}, shown())
		time.Sleep(catalogLife)
		require.Equal(t, [2]string{"lost", "lost"}, shown())

		var heard []int64
		h.notice = func(id seckill.SaleID, version int64) {
			heard = append(heard, version)
			other.Forget(id)
		}
		change("told")
		require.Equal(t, [2]string{"told", "told"}, shown())
		_, err := h.Stock(t.Context(), seckill.Move{Sale: sale.ID, ID: "more", Delta: 5})
		require.NoError(t, err)
		require.Equal(t, []int64{3, 3}, heard)
		h.create()
		require.Equal(t, []int64{3, 3, 1}, heard)
	})
}

// patientReads are sales read from a store that notes whether somebody reads patiently.
type patientReads struct {
	*faultyStore
	patient atomic.Bool
}

func (p *patientReads) note(ctx context.Context) {
	if _, patient := seckill.PatienceOf(ctx); patient {
		p.patient.Store(true)
	}
}

func (p *patientReads) Sale(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	p.note(ctx)
	return p.faultyStore.Sale(ctx, id)
}

func (p *patientReads) Section(ctx context.Context, at seckill.Place, max int) ([]seckill.Sale, error) {
	p.note(ctx)
	return p.faultyStore.Section(ctx, at, max)
}

// A buyer who shares a question that somebody of the shop has asked first does not wait behind
// slow searches for its answer.
func TestWhatBuyersShareWaitsForNoSearch(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		store := &patientReads{faultyStore: h.store}
		sales := New(store, h.gate, slog.New(slog.DiscardHandler), Options{})
		people := seckill.WithPatience(t.Context(), seckill.Patience{Who: "an operator"})
		_, err := sales.Get(people, h.create().ID)
		require.NoError(t, err)
		_, _, err = sales.Sections(people, "", 10)
		require.NoError(t, err)
		require.False(t, store.patient.Load())
	})
}

// hanging is a store that answers nothing while it hangs, and counts its questions.
type hanging struct {
	*faultyStore
	hangs atomic.Bool
	asked atomic.Int64
}

func (h *hanging) wait(ctx context.Context) error {
	h.asked.Add(1)
	if !h.hangs.Load() {
		return nil
	}
	<-ctx.Done()
	return fmt.Errorf("%w: %w", seckill.ErrUnavailable, ctx.Err())
}

func (h *hanging) Sale(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	if err := h.wait(ctx); err != nil {
		return seckill.Sale{}, err
	}
	return h.faultyStore.Sale(ctx, id)
}

func (h *hanging) Sales(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error) {
	if err := h.wait(ctx); err != nil {
		return nil, err
	}
	return h.faultyStore.Sales(ctx, before, max)
}

func (h *hanging) NewestSale(ctx context.Context) (seckill.SaleID, error) {
	if err := h.wait(ctx); err != nil {
		return 0, err
	}
	return h.faultyStore.NewestSale(ctx)
}

func (h *hanging) Section(ctx context.Context, p seckill.Place, max int) ([]seckill.Sale, error) {
	if err := h.wait(ctx); err != nil {
		return nil, err
	}
	return h.faultyStore.Section(ctx, p, max)
}

// While the store hangs, a page shows its copy with its age, and only one request in
// a second waits for the store, for a moment. What has no copy is unavailable soon.
func TestAStoreThatHangsDelaysNoPage(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		store := &hanging{faultyStore: h.store}
		sales := New(store, h.gate, slog.New(slog.DiscardHandler), Options{})
		sale, unread := h.create(), h.create()
		read := time.Now()
		fresh, err := sales.Get(t.Context(), sale.ID)
		require.NoError(t, err)
		require.Nil(t, fresh.AsOf)
		_, err = sales.List(t.Context(), 0, 10)
		require.NoError(t, err)
		_, _, err = sales.Sections(t.Context(), "", 10)
		require.NoError(t, err)
		store.hangs.Store(true)
		sales.Forget(sale.ID) // a change that nobody has read yet does not cost the copy
		for _, page := range []func() error{
			func() error { _, err := sales.Get(t.Context(), sale.ID); return err },
			func() error { _, err := sales.List(t.Context(), 0, 10); return err },
			func() error { _, _, err := sales.Sections(t.Context(), "", 10); return err },
		} {
			one := time.Now()
			require.NoError(t, page())
			require.LessOrEqual(t, time.Since(one), storeTime)
		}
		time.Sleep(5 * time.Second)
		began, waited := time.Now(), 0
		for range 300 {
			one := time.Now()
			copied, err := sales.Get(t.Context(), sale.ID)
			require.NoError(t, err)
			require.NotNil(t, copied.AsOf)
			require.WithinDuration(t, read, *copied.AsOf, time.Second)
			all, err := sales.List(t.Context(), 0, 10)
			require.NoError(t, err)
			require.NotNil(t, all[0].AsOf)
			if time.Since(one) > 0 {
				waited++
			}
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, waited, 8, "in %s", time.Since(began))
		one := time.Now()
		_, err = sales.Get(t.Context(), unread.ID)
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		require.LessOrEqual(t, time.Since(one), storeTime+newestGap)

		store.hangs.Store(false)
		time.Sleep(2 * catalogLife)
		fresh, err = sales.Get(t.Context(), sale.ID)
		require.NoError(t, err)
		require.Nil(t, fresh.AsOf)
	})
}

// Where the gate does not tell, what the store has not sold is not taken for what is left.
func TestWhatIsLeftComesFromTheGateOrSaysThatItDoesNot(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		sale := h.create()
		require.False(t, sale.LeftFromStore)
		_, err := h.gate.Shut(t.Context(), []seckill.SaleID{sale.ID})
		require.NoError(t, err)
		shown, err := h.Get(t.Context(), sale.ID)
		require.NoError(t, err)
		require.True(t, shown.LeftFromStore)
		require.Equal(t, sale.Total, shown.Left)
		all, err := h.List(t.Context(), 0, 1)
		require.NoError(t, err)
		require.True(t, all[0].LeftFromStore)
	})
}

// Ids that no sale has cost the store a question for all who ask, and a sale that has
// just been made elsewhere is found at once.
func TestIDsThatNoSaleHasCostLittle(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		store := &hanging{faultyStore: h.store}
		sales := New(store, h.gate, slog.New(slog.DiscardHandler), Options{})
		h.create()
		began := time.Now()
		var all sync.WaitGroup
		for range 50 {
			for i := range 200 {
				all.Go(func() {
					_, err := sales.Get(t.Context(), seckill.SaleID(1000+i))
					assert.ErrorIs(t, err, seckill.ErrNotFound)
				})
			}
			all.Wait()
		}
		require.LessOrEqual(t, store.asked.Load(), int64(time.Since(began)/newestGap)+2, "10,000 requests")
		for i := range 30 {
			require.True(t, sales.Missing(t.Context(), seckill.SaleID(1000+i)))
		}
		require.Empty(t, sales.Keeper.closed, "they do not wake the keeper, which would look at every sale")
		made := h.create()
		require.False(t, sales.Missing(t.Context(), made.ID))
		require.Len(t, sales.Keeper.closed, 1, "one that exists does")
		found, err := sales.Get(t.Context(), made.ID)
		require.NoError(t, err)
		require.Equal(t, made.ID, found.ID)
	})
}

// unreadable is a store in which the row of a sale cannot be read.
type unreadable struct {
	*faultyStore
	id seckill.SaleID
}

func (s *unreadable) Sale(ctx context.Context, id seckill.SaleID) (seckill.Sale, error) {
	if id == s.id {
		return seckill.Sale{}, errRow
	}
	return s.faultyStore.Sale(ctx, id)
}

func (s *unreadable) Sales(ctx context.Context, before seckill.SaleID, max int) ([]seckill.Sale, error) {
	all, err := s.faultyStore.Sales(ctx, before, max+1)
	all = slices.DeleteFunc(all, func(one seckill.Sale) bool { return one.ID == s.id })
	return all[:min(max, len(all))], err
}

// The buyers of a sale whose row cannot be read do not hear that there is no such sale, on a
// node that has never read it either; of the newest one too.
func TestASaleThatCannotBeReadIsNotMissing(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		older, newest := h.create(), h.create()
		for _, id := range []seckill.SaleID{older.ID, newest.ID} {
			sales := New(&unreadable{h.store, id}, h.gate, slog.New(slog.DiscardHandler), Options{})
			_, err := sales.Get(t.Context(), id)
			require.ErrorIs(t, err, errRow)
			require.False(t, sales.Missing(t.Context(), id))
			require.True(t, sales.Missing(t.Context(), newest.ID+1))
		}
	})
}
