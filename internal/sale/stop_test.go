package sale

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func (s *faultyStore) UpdateSale(ctx context.Context, id seckill.SaleID, change func(*seckill.Sale) error) (sale seckill.Sale, err error) {
	if id == s.broken {
		return sale, errRow
	}
	err = s.try("update", func() (err error) { sale, err = s.Store.UpdateSale(ctx, id, change); return err })
	return sale, err
}

// While the store is away the gate stops a sale by itself. The store learns of it
// when it is back, before anything is rebuilt from it.
func TestASaleCanBeStoppedWhileTheStoreIsAway(t *testing.T) {
	for _, end := range []bool{false, true} {
		t.Run(map[bool]string{false: "pause", true: "end"}[end], func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *house) {
				ctx := t.Context()
				stopKeeper, _ := h.keeps()
				sale := h.create()
				other := h.create()
				_, err := h.Get(ctx, sale.ID)
				require.NoError(t, err)
				change, want, state := h.Pause, seckill.Paused, seckill.StatePaused
				if end {
					change, want, state = h.End, seckill.Ended, seckill.StateEnded
				}
				h.set(true, "update")
				stopped, err := change(ctx, sale.ID)
				require.NoError(t, err, "the answer says that it is in force")
				require.Equal(t, state, stopped.State)
				answer, err := h.gate.Reserve(ctx, sale.ID, "ann", 1)
				require.NoError(t, err)
				require.Equal(t, want, answer.Verdict)
				answer, err = h.gate.Reserve(ctx, other.ID, "ann", 1)
				require.NoError(t, err)
				require.Equal(t, seckill.Queued, answer.Verdict, "no other sale is stopped")

				time.Sleep(5 * time.Second)
				stops, err := h.gate.Stops(ctx)
				require.NoError(t, err)
				require.Len(t, stops, 1, "it waits for the store")

				t.Log("the store is back, and everything is rebuilt from it")
				h.set(false, "update")
				h.unsure.Store(true)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				stops, err = h.gate.Stops(ctx)
				require.NoError(t, err)
				require.Empty(t, stops)
				stored, err := h.store.Sale(ctx, sale.ID)
				require.NoError(t, err)
				require.Equal(t, [2]bool{!end, end}, [2]bool{stored.Paused, stored.Ended})
				require.NoError(t, h.Rebuild(ctx, sale.ID))
				answer, err = h.gate.Reserve(ctx, sale.ID, "bob", 1)
				require.NoError(t, err)
				require.Equal(t, want, answer.Verdict)
				if !end {
					_, err = h.Resume(ctx, sale.ID)
					require.NoError(t, err)
					answer, err = h.gate.Reserve(ctx, sale.ID, "bob", 1)
					require.NoError(t, err)
					require.Equal(t, seckill.Queued, answer.Verdict)
				}
				stopKeeper()
			})
		})
	}
}

// A store that takes a stop and then hangs leaves the gate no time of the stop's: the stop is in
// force all the same, a second later at most. Where the gate is away too, the answer says so.
func TestAStopIsInForceWhereTheStoreIsSlow(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		require.NoError(t, h.keep(ctx))
		for want, change := range map[string]func(context.Context, seckill.SaleID) (seckill.Sale, error){"paused": h.Pause, "ended": h.End} {
			h.Changes.inForce = nil
			sale := h.create()
			h.Changes.inForce = func(ctx context.Context, _ bool) { <-ctx.Done() } // the rules are read from the store
			h.set(true, "apply")
			_, err := change(ctx, sale.ID)
			require.ErrorIs(t, err, seckill.ErrUnavailable)
			require.Equal(t, "queued", h.verdict(sale.ID, "ann"))
			h.set(false, "apply")
			start := time.Now()
			stopped, err := change(ctx, sale.ID)
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(start), 4*time.Second)
			require.Equal(t, want, string(stopped.State))
			require.Equal(t, want, h.verdict(sale.ID, "bob"))
		}
	})
}

// A node that starts anew knows of a stop that the store does not know of yet.
func TestAStopOutlivesTheNode(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		sale := h.create()
		h.set(true, "update")
		_, err := h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		h.set(false, "update")
		again := New(h.store, h.gate, slog.New(slog.DiscardHandler), Options{})
		require.NoError(t, again.keep(ctx))
		stored, err := h.store.Sale(ctx, sale.ID)
		require.NoError(t, err)
		require.True(t, stored.Paused)
	})
}

// An earlier version has taken what this one does not. Such a sale can be paused, ended and
// edited, also by an emergency stop, as long as the edit itself makes nothing wrong.
func TestASaleOfAnEarlierVersionCanBeStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		sale := h.create()
		_, err := h.store.Store.UpdateSale(ctx, sale.ID, func(sale *seckill.Sale) error {
			sale.Currency, sale.Title, sale.Image, sale.ClosesAt = "ABC", "a\u202eb", `/\x`, sale.OpensAt.Add(2*seckill.MaxWindow)
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, h.keep(ctx))

		h.set(true, "update")
		_, err = h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		h.set(false, "update")
		require.NoError(t, h.keep(ctx), "the store learns of the stop")
		stored, err := h.store.Sale(ctx, sale.ID)
		require.NoError(t, err)
		require.True(t, stored.Paused)
		for _, change := range []func(context.Context, seckill.SaleID) (seckill.Sale, error){h.Resume, h.Pause, h.Hide, h.Publish} {
			_, err = change(ctx, sale.ID)
			require.NoError(t, err)
		}
		for field, p := range map[string]Patch{"title": {Title: ptr("a\u202ec")}, "image": {Image: ptr(`/\y`)}, "notice": {Notice: ptr("\x00")}, "closes_at": {ClosesAt: ptr(stored.ClosesAt.Add(time.Hour))}} {
			_, err = h.Patch(ctx, sale.ID, p)
			var wrong *seckill.FieldError
			require.ErrorAs(t, err, &wrong)
			require.Equal(t, field, wrong.Field)
		}
		_, err = h.Patch(ctx, sale.ID, Patch{Title: ptr("a sale"), Notice: ptr("hello")})
		require.NoError(t, err)
		_, err = h.End(ctx, sale.ID)
		require.NoError(t, err)
		require.Equal(t, "ended", h.verdict(sale.ID, "ann"))
	})
}

// A stop that the store cannot take, for as long as the row of its sale is damaged, keeps
// the sale stopped, no node from being ready and no other sale from being rebuilt.
func TestAStopThatCannotBeLearnedStopsNothingElse(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		sale, other := h.create(), h.create()
		h.set(true, "update")
		_, err := h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		again := New(h.store, h.gate, slog.New(slog.DiscardHandler), Options{})
		require.Error(t, again.keep(ctx))
		require.True(t, isClosed(again.Loaded()))
		_, err = again.Renew(ctx, other.ID)
		require.NoError(t, err)
		_, err = again.Renew(ctx, sale.ID)
		require.Error(t, err)
		require.Equal(t, "paused", h.verdict(sale.ID, "ann"))
		h.set(false, "update")
		require.NoError(t, again.keep(ctx))
	})
}

// A sale whose row the store cannot read can be stopped. The store learns of it when the row is
// right again; a stop of what there is not, or cannot be stopped, is refused as ever.
func TestASaleWhoseRowCannotBeReadCanBeStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		require.NoError(t, h.keep(ctx))
		for want, change := range map[string]func(context.Context, seckill.SaleID) (seckill.Sale, error){"paused": h.Pause, "ended": h.End} {
			sale := h.create()
			h.store.broken = sale.ID
			stopped, err := change(ctx, sale.ID)
			require.NoError(t, err)
			require.Equal(t, want, string(stopped.State))
			require.Equal(t, want, h.verdict(sale.ID, "ann"))
			require.ErrorIs(t, h.keep(ctx), errRow)
			h.store.broken = 0
			require.NoError(t, h.keep(ctx))
			stored, err := h.store.Sale(ctx, sale.ID)
			require.NoError(t, err)
			require.Equal(t, [2]bool{want == "paused", want == "ended"}, [2]bool{stored.Paused, stored.Ended})
			require.Equal(t, want, h.verdict(sale.ID, "ann"))
			_, err = h.Pause(ctx, sale.ID+1)
			require.ErrorIs(t, err, seckill.ErrNotFound)
			if stored.Ended {
				_, err = h.Pause(ctx, sale.ID)
				require.ErrorIs(t, err, seckill.ErrState)
			}
		}
		stops, err := h.gate.Stops(ctx)
		require.NoError(t, err)
		require.Empty(t, stops)
	})
}

// A change that was stored just before an emergency stop, and comes to the gate after it,
// does not undo it. Nor does a rebuild.
func TestAChangeThatComesLateUndoesNoStop(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		require.NoError(t, h.keep(ctx))
		sale := h.create()
		waits, goOn := make(chan struct{}), make(chan struct{})
		h.Changes.inForce = func(context.Context, bool) { close(waits); <-goOn }
		changed := make(chan error)
		go func() { _, err := h.Notice(ctx, sale.ID, "a notice"); changed <- err }()
		<-waits
		h.set(true, "update")
		_, err := h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		close(goOn)
		require.NoError(t, <-changed)
		h.Changes.inForce = nil
		require.Equal(t, "paused", h.verdict(sale.ID, "ann"))
		h.unsure.Store(true)
		require.Error(t, h.keep(ctx))
		require.NoError(t, h.Rebuild(ctx, sale.ID), "the store can be read")
		require.Equal(t, "paused", h.verdict(sale.ID, "ann"))
		h.set(false, "update")
		require.NoError(t, h.keep(ctx))
		require.Equal(t, "paused", h.verdict(sale.ID, "ann"))
		_, err = h.Resume(ctx, sale.ID)
		require.NoError(t, err)
		require.Equal(t, "queued", h.verdict(sale.ID, "ann"))
	})
}

// Who resumes a sale when the store is back has the last word, although the store had not
// learned of the stop by then, and whichever node was about to tell it.
func TestAResumedSaleIsNotStoppedByAnOldNote(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		require.NoError(t, h.keep(ctx))
		sale := h.create()
		h.set(true, "update")
		_, err := h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		h.set(false, "update")
		about, err := h.gate.Stops(ctx) // what another node has read, and is about to tell the store
		require.NoError(t, err)
		require.Len(t, about, 1)
		_, err = h.Resume(ctx, sale.ID)
		require.NoError(t, err)
		require.Equal(t, "queued", h.verdict(sale.ID, "ann"))
		require.NoError(t, h.keep(ctx))
		require.NoError(t, h.tell(ctx, about[0]))
		require.Equal(t, "queued", h.verdict(sale.ID, "bob"))
		stored, err := h.store.Sale(ctx, sale.ID)
		require.NoError(t, err)
		require.False(t, stored.Paused)
	})
}

// A stop that meets a sale that is closed for a rebuild is not forgotten: the rebuild has read
// the store before the store learned of the stop, and opens the sale.
func TestARebuildThatKnowsNothingOfAStopUndoesNone(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		require.NoError(t, h.keep(ctx))
		sale := h.create()
		h.set(true, "update")
		_, err := h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		h.set(false, "update")
		outbox, err := h.gate.Shut(ctx, []seckill.SaleID{sale.ID}) // of another node
		require.NoError(t, err)
		early, err := h.store.Snapshot(ctx, []seckill.SaleID{sale.ID}, outbox)
		require.NoError(t, err)
		for range 3 {
			require.ErrorIs(t, h.learnStops(ctx), seckill.ErrClosed)
			stored, err := h.store.Sale(ctx, sale.ID)
			require.NoError(t, err)
			require.True(t, stored.Paused)
			require.Equal(t, sale.Version+1, stored.Version, "one version, however often it is told")
		}
		_, err = h.Resume(ctx, sale.ID)
		require.ErrorIs(t, err, seckill.ErrClosed)
		require.NoError(t, h.gate.Load(ctx, early))
		require.Equal(t, "paused", h.verdict(sale.ID, "ann"))

		require.NoError(t, h.keep(ctx))
		stops, err := h.gate.Stops(ctx)
		require.NoError(t, err)
		require.Empty(t, stops)
		require.Equal(t, "paused", h.verdict(sale.ID, "ann"))
		_, err = h.Resume(ctx, sale.ID)
		require.NoError(t, err)
		require.Equal(t, "queued", h.verdict(sale.ID, "ann"))

		t.Log("a person may rebuild such a sale")
		h.set(true, "update")
		_, err = h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		h.set(false, "update")
		_, err = h.gate.Shut(ctx, []seckill.SaleID{sale.ID})
		require.NoError(t, err)
		_, err = h.Renew(ctx, sale.ID)
		require.NoError(t, err)
		require.Equal(t, "paused", h.verdict(sale.ID, "bob"))

		t.Log("what nobody rebuilds any more is forgotten")
		_, err = h.gate.Shut(ctx, []seckill.SaleID{sale.ID})
		require.NoError(t, err)
		_, err = h.store.Store.UpdateSale(ctx, sale.ID, func(sale *seckill.Sale) error { sale.Shelf = seckill.Deleted; return nil })
		require.NoError(t, err)
		require.NoError(t, h.learnStops(ctx))
		stops, err = h.gate.Stops(ctx)
		require.NoError(t, err)
		require.Empty(t, stops)
	})
}

// The store does not learn of a stop whose note has no seal. The sale stays stopped until a
// person stops it again, of which the store knows, or resumes it.
func TestAPersonDecidesAboutAStopWithoutASeal(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		require.NoError(t, h.keep(ctx))
		for name, again := range map[string]bool{"paused again": true, "resumed": false} {
			t.Log(name)
			sale := h.create()
			require.NoError(t, h.gate.Stop(ctx, seckill.Stop{Sale: sale.ID, At: time.Now().UTC(), Unsealed: true}))
			require.NoError(t, h.keep(ctx))
			_, err := h.Notice(ctx, sale.ID, "a notice")
			require.NoError(t, err)
			stored, err := h.store.Sale(ctx, sale.ID)
			require.NoError(t, err)
			require.False(t, stored.Paused)
			require.Equal(t, "paused", h.verdict(sale.ID, "ann"))
			if again {
				_, err = h.Pause(ctx, sale.ID)
				require.NoError(t, err)
				require.NoError(t, h.keep(ctx))
				stops, err := h.gate.Stops(ctx)
				require.NoError(t, err)
				require.Empty(t, stops)
				require.Equal(t, "paused", h.verdict(sale.ID, "ann"))
			}
			_, err = h.Resume(ctx, sale.ID)
			require.NoError(t, err)
			require.Equal(t, "queued", h.verdict(sale.ID, "ann"))
			require.NoError(t, h.keep(ctx))
			require.Equal(t, "queued", h.verdict(sale.ID, "bob"))
		}
	})
}

// A sale is locked in the store, and an embedded store altogether, while the gate is asked for
// the note of a stop: not for longer than a fifth of a second.
func TestAGateThatHangsKeepsNoSaleLocked(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		sale := h.create()
		h.set(true, "update")
		_, err := h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		h.set(false, "update")
		h.set(true, "noted")
		start := time.Now()
		require.ErrorIs(t, h.learnStops(ctx), errDown)
		require.LessOrEqual(t, time.Since(start), 200*time.Millisecond)
		h.set(false, "noted")
		require.NoError(t, h.learnStops(ctx))
	})
}

// While the gate does not answer nobody knows whether it has stopped the sale by itself: it
// cannot be resumed then.
func TestASaleIsNotResumedWhileTheGateIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		sale := h.create()
		_, err := h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		h.set(true, "states")
		_, err = h.Resume(ctx, sale.ID)
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		stored, err := h.store.Sale(ctx, sale.ID)
		require.NoError(t, err)
		require.True(t, stored.Paused)
		h.set(false, "states")
		h.set(true, "stops") // only its notes cannot be judged
		_, err = h.Resume(ctx, sale.ID)
		require.ErrorIs(t, err, seckill.ErrUnavailable)
	})
}

// What stands in the gate of another store is not told to this one.
func TestTheStopsOfAnotherStoreAreNotLearned(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house) {
		ctx := t.Context()
		sale := h.create()
		h.set(true, "update")
		_, err := h.Pause(ctx, sale.ID)
		require.NoError(t, err)
		h.set(false, "update")
		h.set(true, "belong")
		h.unsure.Store(true)
		require.Error(t, h.keep(ctx))
		stored, err := h.store.Sale(ctx, sale.ID)
		require.NoError(t, err)
		require.False(t, stored.Paused)
	})
}
