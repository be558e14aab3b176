package sale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
)

// sold are sales whose orders are all active: what the balancer asks of gate and store,
// answered at once. Nobody buys meanwhile.
type sold struct {
	mu    sync.Mutex                // of what a test changes while a balancer counts
	of    map[seckill.SaleID]int    // orders
	left  map[seckill.SaleID]int64  // at the gate, less than it should be
	gone  map[seckill.SaleID]string // the buyer whose hold is lost
	away  map[seckill.SaleID]error  // the gate does not say
	stuck map[seckill.SaleID]int64  // units on their way back to the gate, for ever
	wave  map[seckill.SaleID]bool   // units come back at each moment
	freed int64
	over  map[seckill.SaleID]seckill.Shelf // nobody watches it any more
	slow  map[seckill.SaleID]time.Duration
	asked map[seckill.SaleID]int
}

func aSold() *sold {
	return &sold{of: map[seckill.SaleID]int{}, left: map[seckill.SaleID]int64{}, gone: map[seckill.SaleID]string{}, away: map[seckill.SaleID]error{}, stuck: map[seckill.SaleID]int64{}, wave: map[seckill.SaleID]bool{}, over: map[seckill.SaleID]seckill.Shelf{}, slow: map[seckill.SaleID]time.Duration{}, asked: map[seckill.SaleID]int{}}
}

// set changes the sales while a balancer counts them.
func (s *sold) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

const soldLeft = 10

func buyerOf(i int) string { return "b" + strconv.Itoa(1_000_000+i) }

func (s *sold) order(id seckill.SaleID, i int) seckill.Ticket {
	return seckill.Ticket{ID: strconv.Itoa(int(id)) + "-" + strconv.Itoa(i), Sale: id, Buyer: buyerOf(i), Quantity: 1, Seq: int64(i + 1)}
}

func (s *sold) find(id seckill.SaleID, buyer string) (seckill.Ticket, bool) {
	i := sort.Search(s.of[id], func(i int) bool { return buyerOf(i) >= buyer })
	return s.order(id, i), i < s.of[id] && buyerOf(i) == buyer
}

func (s *sold) Now() time.Time { return time.Now() }

func (s *sold) Sale(_ context.Context, id seckill.SaleID) (seckill.Sale, error) {
	n := int64(s.of[id])
	s.mu.Lock()
	defer s.mu.Unlock()
	return seckill.Sale{ID: id, Total: n + soldLeft, Sold: n, Shelf: s.over[id]}, nil
}

func (s *sold) Sales(context.Context, seckill.SaleID, int) ([]seckill.Sale, error) { return nil, nil }

func (s *sold) OpenMoves(context.Context) ([]seckill.Move, error) { return nil, nil }

func (s *sold) Weigh(ctx context.Context, id seckill.SaleID, _ int64, _ []seckill.Ticket) (w seckill.Weights, err error) {
	w.Sale, err = s.Sale(ctx, id)
	w.Unpaid, w.Settled = int64(s.of[id]), int64(s.of[id])
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Returning = s.stuck[id]
	return w, err
}

func (s *sold) ActiveAfter(_ context.Context, id seckill.SaleID, buyer string, most int) (all []seckill.Ticket, err error) {
	for i := sort.Search(s.of[id], func(i int) bool { return buyerOf(i) > buyer }); i < s.of[id] && len(all) < most; i++ {
		all = append(all, s.order(id, i))
	}
	return all, nil
}

func (s *sold) ActiveOf(_ context.Context, id seckill.SaleID, buyers []string) (all []seckill.Ticket, err error) {
	for _, b := range buyers {
		if t, ok := s.find(id, b); ok {
			all = append(all, t)
		}
	}
	return all, nil
}

func (s *sold) Fates(_ context.Context, tickets []string) (map[string]seckill.Fate, error) {
	all := map[string]seckill.Fate{}
	for _, t := range tickets {
		of, n, _ := strings.Cut(t, "-")
		id, err := seckill.ParseSaleID(of)
		if err != nil {
			return nil, err
		}
		i, err := strconv.Atoi(n)
		if err != nil {
			return nil, err
		}
		all[t] = seckill.Fate{Ticket: s.order(id, i), Active: true}
	}
	return all, nil
}

func (s *sold) Lease(context.Context, string, string, time.Duration) (bool, string, error) {
	return true, "", nil
}
func (s *sold) Unlease(context.Context, string, string) error { return nil }

func (s *sold) Glance(ctx context.Context, id seckill.SaleID, most int) (seckill.Cut, error) {
	if most > 0 {
		s.set(func() { s.asked[id]++ })
		if err := duty.Rest(ctx, s.slow[id]); err != nil {
			return seckill.Cut{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wave[id] {
		s.freed++
	}
	return seckill.Cut{Open: true, Left: soldLeft - s.stuck[id] - s.left[id], Seq: int64(s.of[id]), Freed: s.freed}, s.away[id]
}

func (s *sold) Holds(_ context.Context, id seckill.SaleID, buyers []string) (map[string]seckill.Hold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]seckill.Hold{}
	for _, b := range buyers {
		if t, ok := s.find(id, b); ok && b != s.gone[id] {
			all[b] = seckill.Hold{Ticket: t, State: seckill.HoldPlaced}
		}
	}
	return all, nil
}

func (s *sold) ScanHolds(_ context.Context, id seckill.SaleID, cursor uint64, most int) (all []seckill.Hold, next uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := int(cursor)
	for ; i < s.of[id] && len(all) < most; i++ {
		if t := s.order(id, i); t.Buyer != s.gone[id] {
			all = append(all, seckill.Hold{Ticket: t, State: seckill.HoldPlaced})
		}
	}
	if i == s.of[id] {
		i = 0
	}
	return all, uint64(i), nil
}

// counted runs a balancer of all the sales that there are.
func (s *sold) counted(t *testing.T) *Balancer {
	b := &Balancer{Store: s, Gate: s, Only: true, Log: slog.New(slog.DiscardHandler), Watched: func(context.Context) (all []seckill.Sale, at time.Time, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for id := range s.of {
			if _, over := s.over[id]; over {
				continue
			}
			all = append(all, seckill.Sale{ID: id, OpensAt: time.Now(), ClosesAt: time.Now().Add(time.Hour)})
		}
		return all, time.Now(), nil
	}}
	b.Register(prometheus.NewRegistry())
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = b.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return b
}

// until is how long it takes until the count of a sale is so.
func until(t *testing.T, b *Balancer, id seckill.SaleID, so func(seckill.Balance) bool) time.Duration {
	for began := time.Now(); ; _ = duty.Rest(t.Context(), 10*time.Millisecond) {
		synctest.Wait()
		if so(b.Balances()[id]) {
			return time.Since(began)
		}
		require.Less(t, time.Since(began), time.Hour)
	}
}

func green(c seckill.Balance) bool { return c.OK != nil && *c.OK }
func red(c seckill.Balance) bool   { return c.OK != nil && !*c.OK }

// How long it takes until a fault is found goes by the number of active orders: the law of
// docs/INVARIANTS.md. The clock is not the machine's, so this is what the rests allow; that
// the looks themselves are quick enough BenchmarkBalance tells.
func TestTheLawOfSizes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		orders       int
		sums, ticket time.Duration
	}{
		{100, 2 * time.Second, 2 * time.Second},
		{2_000, 2 * time.Second, 3 * time.Second},
		{10_000, 5 * time.Second, 5 * time.Second},
		{100_000, 5 * time.Second, 100 * time.Second}, // the last is not waited for here
	} {
		t.Run(fmt.Sprint(c.orders), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := aSold()
				s.of[1] = c.orders
				b := s.counted(t)
				last := time.Time{}
				again := func(c seckill.Balance) bool { return green(c) && c.At.After(last) }
				until(t, b, 1, again)
				last = b.Balances()[1].At
				until(t, b, 1, again) // a count has just ended: the next one is as far away as ever
				s.set(func() { s.left[1] = 3 })
				took := until(t, b, 1, red)
				t.Logf("the sums: %v", took)
				require.LessOrEqual(t, took, c.sums)
				s.set(func() { s.left[1] = 0 })
				until(t, b, 1, green)
				if c.orders > 10_000 {
					return
				}

				s.set(func() { s.gone[1] = buyerOf(c.orders / 2) })
				took = until(t, b, 1, red)
				t.Logf("a ticket: %v", took)
				require.LessOrEqual(t, took, c.ticket)
				require.Equal(t, s.order(1, c.orders/2).ID, b.Balances()[1].Violations[0].Ticket)
				for last = b.Balances()[1].At; !b.Balances()[1].At.After(last.Add(10 * time.Second)); _ = duty.Rest(t.Context(), time.Second) {
					require.True(t, red(b.Balances()[1]), "it stays red while the counts are at other tickets")
				}
				s.set(func() { s.gone[1] = "" })
				require.LessOrEqual(t, until(t, b, 1, green), 2*c.sums, "what is mended is asked for again in each count")
				began := time.Now()
				walked := func(c seckill.Balance) bool { return c.Walked.After(began) }
				took = until(t, b, 1, walked)
				t.Logf("a whole pass that has begun since: %v", took)
				require.LessOrEqual(t, took, 2*c.ticket)
			})
		})
	}
}

// A sale that is large, or whose gate answers slowly, does not keep the others waiting.
func TestALargeSaleDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := aSold()
		s.of[1] = 100_000
		for id := range seckill.SaleID(8) {
			s.of[id+2] = 100
		}
		b := s.counted(t)
		until(t, b, 1, green)
		for id := range seckill.SaleID(8) {
			until(t, b, id+2, green)
			s.set(func() { s.left[id+2] = 1 })
			require.LessOrEqual(t, until(t, b, id+2, red), 12*time.Second)
		}
	})
}

// The age of the oldest count is told: one sale that cannot be counted shows although the
// others are.
func TestOneSaleThatIsNotCountedShows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := aSold()
		s.of[1], s.of[2] = 100, 100
		b := s.counted(t)
		age := func() time.Duration {
			synctest.Wait()
			return time.Since(time.UnixMilli(int64(testutil.ToFloat64(b.metrics.oldest) * 1000)))
		}
		until(t, b, 1, green)
		until(t, b, 2, green)
		_ = duty.Rest(t.Context(), time.Minute)
		require.Less(t, age(), 3*time.Second)
		s.set(func() { s.away[2] = errors.New("away") })
		_ = duty.Rest(t.Context(), time.Minute)
		require.Greater(t, age(), 55*time.Second)
		require.True(t, green(b.Balances()[2]), "the last count stands")
		require.Equal(t, "away", b.Balances()[2].Says, "and says why it is old")
		require.Empty(t, b.Balances()[1].Says)
		s.set(func() { s.away[2] = nil })
		_ = duty.Rest(t.Context(), 3*time.Second)
		require.Less(t, age(), 3*time.Second)
		require.Empty(t, b.Balances()[2].Says)
	})
}

// While units are on their way it cannot be checked whether all are there. A count that has
// not checked it for long is not whole, and says so; a short wave is nothing to look at.
func TestACountIsNotWholeWhileUnitsAreOnTheirWayForLong(t *testing.T) {
	t.Parallel()
	for what, move := range map[string]func(s *sold, begins bool){
		"a return is stuck": func(s *sold, begins bool) { s.stuck[1] = map[bool]int64{true: 3}[begins] },
		"a wave of returns": func(s *sold, begins bool) { s.wave[1] = begins },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := aSold()
				s.of[1] = 10
				b := s.counted(t)
				until(t, b, 1, green)
				whole := func(c seckill.Balance) bool { return green(c) && !c.Partial }
				short := func() { // as when the orders of a minute's rush expire one after another
					s.set(func() { move(s, true) })
					for range 115 {
						_ = duty.Rest(t.Context(), time.Second)
						require.True(t, whole(b.Balances()[1]), "it is short")
					}
				}
				for range 2 {
					short()
					s.set(func() { move(s, false) })
					_ = duty.Rest(t.Context(), 5*time.Second)
				}
				s.set(func() { s.left[1] = 3; move(s, true) })
				short()
				took := until(t, b, 1, func(c seckill.Balance) bool { return c.Partial })
				require.LessOrEqual(t, took, 7*time.Second)
				require.True(t, green(b.Balances()[1]), "nobody knows yet that units are missing")
				require.Contains(t, b.Balances()[1].Says, "not checked whether all of them are there since 2000-01-01T00:0")
				s.set(func() { move(s, false) })
				until(t, b, 1, red)
				require.False(t, b.Balances()[1].Partial)
				s.set(func() { s.left[1] = 0 })
				until(t, b, 1, whole)
			})
		})
	}
}

// A node that begins to count while units are on their way has checked nothing yet.
func TestAFirstCountThatChecksNothingIsNotWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := aSold()
		s.of[1], s.wave[1], s.left[1] = 10, true, 3
		b := s.counted(t)
		until(t, b, 1, green)
		require.True(t, b.Balances()[1].Partial)
	})
}

// A sale that does not add up is counted on when nobody watches it any more, until it adds up
// or is gone: nobody is told of a fault that is not there.
func TestARedSaleIsCountedUntilItIsMendedOrGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := aSold()
		s.of[1], s.of[2], s.of[3] = 10, 10, 10
		s.left[1], s.left[2] = 3, 3
		b := s.counted(t)
		for _, id := range []seckill.SaleID{1, 2} {
			until(t, b, id, red)
		}
		until(t, b, 3, green)
		s.set(func() { s.over[1], s.over[2] = seckill.Deleted, seckill.Published })
		until(t, b, 1, func(c seckill.Balance) bool { return c.Sale == 0 })
		require.InDelta(t, 1, testutil.ToFloat64(b.metrics.red), 0)
		_ = duty.Rest(t.Context(), time.Minute)
		require.True(t, red(b.Balances()[2]))
		require.NotContains(t, b.Balances(), seckill.SaleID(1))
		s.set(func() { s.left[2] = 0 })
		require.Less(t, until(t, b, 2, green), 10*time.Second)
		require.InDelta(t, 0, testutil.ToFloat64(b.metrics.red), 0)
	})
}

// A look that takes long is bounded by itself: the looks of a count have a bound each.
func TestEachLookHasABoundOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := aSold()
		s.of[1], s.left[1], s.slow[1] = 10, 1, balanceTime*4/5
		b := s.counted(t)
		until(t, b, 1, red)
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Equal(t, auditLooks, s.asked[1], "three looks that take longer together")
	})
}
