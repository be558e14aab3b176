package gate

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate/gatetest"
)

// upFlag returns flags of which that of sale 1 is up since now.
func upFlag() *Flags {
	f := NewFlags()
	f.Add(gatetest.SaleID)
	f.Learn(gatetest.SaleID, seckill.SoldOut, 0)
	return f
}

func TestAFlagIsUpForItsLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := upFlag()
		assert.True(t, f.Over(gatetest.SaleID))
		time.Sleep(FlagLife - 1)
		assert.True(t, f.Over(gatetest.SaleID))
		time.Sleep(time.Nanosecond)
		assert.False(t, f.Over(gatetest.SaleID), "somebody must look again")
	})
	assert.GreaterOrEqual(t, FlagLife, 200*time.Millisecond)
	assert.LessOrEqual(t, FlagLife, 500*time.Millisecond)
}

func TestAFlagOfAnUnknownSaleIsNeverUp(t *testing.T) {
	t.Parallel()
	f := upFlag()
	f.Learn(2, seckill.SoldOut, 0)
	f.Abandon(2)
	f.Clear(2)
	assert.False(t, f.Over(2))
	f.Add(2)
	assert.False(t, f.Over(2))
	assert.True(t, f.Over(gatetest.SaleID), "new sales leave the flags of the others alone")
}

func TestOneProbeGoesThroughForEachExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := upFlag()
		for range 5 {
			time.Sleep(FlagLife)
			var through atomic.Int64
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if !f.Over(gatetest.SaleID) {
						through.Add(1)
					}
				})
			}
			all.Wait()
			require.EqualValues(t, 1, through.Load())
			f.Learn(gatetest.SaleID, seckill.SoldOut, 0)
		}
	})
}

func TestAProbeThatNeverReturnsIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := upFlag()
		time.Sleep(FlagLife)
		require.False(t, f.Over(gatetest.SaleID))
		time.Sleep(FlagLife - 1)
		require.True(t, f.Over(gatetest.SaleID))
		time.Sleep(time.Nanosecond)
		require.False(t, f.Over(gatetest.SaleID))
		require.True(t, f.Over(gatetest.SaleID))
	})
}

func TestAnAbandonedProbeIsHandedToTheNextRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := upFlag()
		f.Abandon(gatetest.SaleID) // of a request from before the flag: there is no probe
		require.True(t, f.Over(gatetest.SaleID))
		time.Sleep(FlagLife)
		require.False(t, f.Over(gatetest.SaleID))
		f.Abandon(gatetest.SaleID)
		require.False(t, f.Over(gatetest.SaleID), "the next request is the probe")
		require.True(t, f.Over(gatetest.SaleID), "and no other")
	})
}

// Only an answer that nothing is left sets or renews a flag.
func TestWhatAnAnswerDoesToTheFlag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		verdict    seckill.Verdict
		left       int64
		sets       bool // when it was down
		probe      bool // what it is after a probe heard this
		whileItsUp bool
	}{
		{seckill.SoldOut, 0, true, true, true},
		{seckill.SoldOut, 1, false, false, true},
		{seckill.Queued, 0, false, true, true}, // the probe took the last unit, or repeats
		{seckill.Queued, 5, false, false, true},
		{seckill.Limit, 0, false, false, true},
		{seckill.NotOpen, 0, false, false, true},
		{seckill.Ended, 0, false, false, true},
		{seckill.Paused, 0, false, false, true},
		{seckill.Busy, 3, false, false, true},
	} {
		t.Run(fmt.Sprintf("%s with %d left", tt.verdict, tt.left), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				down := NewFlags()
				down.Add(gatetest.SaleID)
				down.Learn(gatetest.SaleID, tt.verdict, tt.left)
				assert.Equal(t, tt.sets, down.Over(gatetest.SaleID), "when it was down")

				up := upFlag()
				time.Sleep(FlagLife / 2)
				up.Learn(gatetest.SaleID, tt.verdict, tt.left)
				assert.Equal(t, tt.whileItsUp, up.Over(gatetest.SaleID), "while it was up")
				time.Sleep(FlagLife / 2)
				renewed := tt.verdict == seckill.SoldOut && tt.left == 0
				assert.Equal(t, renewed, up.Over(gatetest.SaleID), "nothing else makes it last longer")

				probed := upFlag()
				time.Sleep(FlagLife)
				require.False(t, probed.Over(gatetest.SaleID))
				probed.Learn(gatetest.SaleID, tt.verdict, tt.left)
				assert.Equal(t, tt.probe, probed.Over(gatetest.SaleID), "after a probe")
				assert.Equal(t, tt.probe, probed.Over(gatetest.SaleID), "for everybody")
			})
		})
	}
}

// TestUnitsThatComeBackAreSoldAgainWithinASecond asks all the time, as buyers
// do, on a node that is not told that units came back.
func TestUnitsThatComeBackAreSoldAgainWithinASecond(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *seckill.Sale) { s.Total = 1 }, func(t *testing.T, w *gatetest.World, m *Memory) {
		old := w.Admit("ann", 1)
		w.Expect(seckill.SoldOut, "bob", 1)
		other := NewFlags() // those of another node, which asks the same gate
		other.Add(gatetest.SaleID)
		other.Learn(gatetest.SaleID, seckill.SoldOut, 0)

		back := time.Now().Add(1700 * time.Millisecond)
		asked, sold := 0, time.Time{}
		for i := 0; sold.IsZero() && i < 1000; i++ {
			time.Sleep(10 * time.Millisecond)
			if !time.Now().Before(back) && old.ID != "" {
				w.Settle(seckill.ReasonLimit, old)
				old.ID = ""
			}
			if other.Over(gatetest.SaleID) {
				continue
			}
			asked++
			a := w.Ask(fmt.Sprint("buyer", i), 1)
			other.Learn(gatetest.SaleID, a.Verdict, a.Left)
			if a.Verdict == seckill.Queued {
				sold = time.Now()
			}
		}
		require.False(t, sold.IsZero(), "the unit was never sold again")
		assert.LessOrEqual(t, sold.Sub(back), time.Second)
		assert.LessOrEqual(t, asked, 8, "one request for each expiry asks the gate")
	})
}

func TestAFlagDoesNotOutliveItsSale(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, w *gatetest.World){
		"paused": func(_ *testing.T, w *gatetest.World) { w.PutVersion(2, func(s *seckill.Sale) { s.Paused = true }) },
		"ended":  func(_ *testing.T, w *gatetest.World) { w.PutVersion(2, func(s *seckill.Sale) { s.Ended = true }) },
		"units released": func(t *testing.T, w *gatetest.World) {
			w.BringBack(seckill.Ticket{ID: "x", Sale: gatetest.SaleID, Buyer: "ann", Quantity: 1})
		},
		"units moved in": func(_ *testing.T, w *gatetest.World) { w.MoveStock("more", 1) },
		"rebuilt":        func(_ *testing.T, w *gatetest.World) { w.Rebuild() },
		"closed by time": func(t *testing.T, w *gatetest.World) {
			w.Clock.Advance(time.Hour)
			time.Sleep(FlagLife)
			require.False(t, w.Over(gatetest.SaleID))
			w.Expect(seckill.Ended, "bob", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(s *seckill.Sale) { s.Total = 1 }, func(t *testing.T, w *gatetest.World, m *Memory) {
				w.Expect(seckill.Queued, "ann", 1)
				w.Expect(seckill.SoldOut, "bob", 1)
				require.True(t, m.Over(gatetest.SaleID))
				m.now = w.Clock.Now
				change(t, w)
				assert.False(t, m.Over(gatetest.SaleID))
			})
		})
	}
}

// A probe that fails at the gate, or is the buyer's mistake, is not the last one.
func TestAProbeThatFailsAtTheGateIsHandedOn(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *seckill.Sale) { s.Total = 1 }, func(t *testing.T, w *gatetest.World, m *Memory) {
		w.Expect(seckill.Queued, "ann", 1)
		w.Expect(seckill.SoldOut, "bob", 1)
		time.Sleep(FlagLife)
		require.False(t, m.Over(gatetest.SaleID))
		_, err := m.Reserve(t.Context(), gatetest.SaleID, "bob", 1000)
		require.Error(t, err)
		require.False(t, m.Over(gatetest.SaleID), "the next request is the probe")
		require.True(t, m.Over(gatetest.SaleID))
	})
}

func TestASoldOutAnswerAllocatesNothing(t *testing.T) {
	f := upFlag()
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if !f.Over(gatetest.SaleID) {
			f.Learn(gatetest.SaleID, seckill.SoldOut, 0)
		}
	}))
}
