package order

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = fmt.Errorf("down: %w", seckill.ErrUnavailable)

// shop is a store of orders and a gate that keep their contracts, for as long as
// they are not down.
type shop struct {
	mu      sync.Mutex
	orders  map[string]*seckill.Order
	returns []seckill.Ticket
	epochs  map[seckill.SaleID]int64 // of the store

	left     map[seckill.SaleID]int64 // units at the gate
	released map[seckill.SaleID]map[string]bool

	expires int // calls
	lists   int
	store   error                     // the store is down
	closed  map[seckill.SaleID]bool   // sales of the gate that are
	noted   error                     // Returned fails
	damaged map[seckill.SaleID]bool   // Returned fails for these sales
	before  func(sale seckill.SaleID) // called before Returned is
	full    bool                      // Expire fails after it has counted
}

func newShop() *shop {
	return &shop{orders: map[string]*seckill.Order{}, epochs: map[seckill.SaleID]int64{}, left: map[seckill.SaleID]int64{},
		released: map[seckill.SaleID]map[string]bool{}, closed: map[seckill.SaleID]bool{}}
}

func (s *shop) place(id string, sale seckill.SaleID, hold time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders[id] = &seckill.Order{ID: id, Sale: sale, Ticket: id, Buyer: "ann", Quantity: 2, State: seckill.Unpaid, ExpiresAt: time.Now().Add(hold)}
}

func (s *shop) state(id string) seckill.OrderState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders[id].State
}

func (s *shop) become(o *seckill.Order, to seckill.OrderState) error {
	changed, err := o.Become(to, time.Now())
	if err != nil || !changed {
		return err
	}
	if o.State = to; !to.Active() {
		s.returns = append(s.returns, seckill.Ticket{ID: o.ID, Sale: o.Sale, Buyer: o.Buyer, Quantity: o.Quantity})
	}
	return nil
}

func (s *shop) Refund(ctx context.Context, f seckill.RefundRequest) (seckill.Order, error) {
	return s.TransitionBy(ctx, f.Order, "", seckill.Refunded, f.By, f.Reason)
}

func (s *shop) TransitionBy(_ context.Context, id, buyer string, to seckill.OrderState, _, _ string) (seckill.Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orders[id]
	switch {
	case s.store != nil:
		return seckill.Order{}, s.store
	case o == nil || buyer != "" && o.Buyer != buyer:
		return seckill.Order{}, seckill.ErrNotFound
	}
	err := s.become(o, to)
	return *o, err
}

func (s *shop) Expire(_ context.Context, max int) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expires++
	if s.full {
		return max, errDown
	}
	if s.store != nil {
		return 0, s.store
	}
	for _, o := range s.orders {
		if n < max && o.State == seckill.Unpaid && s.become(o, seckill.Expired) == nil {
			n++
		}
	}
	return n, nil
}

func (s *shop) NextExpiry(context.Context) (wait time.Duration, some bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.orders {
		if left := time.Until(o.ExpiresAt); o.State == seckill.Unpaid && (!some || left < wait) {
			wait, some = left, true
		}
	}
	return wait, some, s.store
}

func (s *shop) Returns(_ context.Context, max int, without ...seckill.SaleID) (all []seckill.Return, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	n := 0
	for _, v := range s.returns {
		if slices.Contains(without, v.Sale) {
			continue
		}
		if n++; n > max {
			break
		}
		i := slices.IndexFunc(all, func(r seckill.Return) bool { return r.Sale == v.Sale })
		if i < 0 {
			i, all = len(all), append(all, seckill.Return{Sale: v.Sale, Epoch: s.epochs[v.Sale]})
		}
		all[i].Tickets = append(all[i].Tickets, v)
	}
	return all, s.store
}

func (s *shop) Returned(_ context.Context, r seckill.Return) error {
	if s.before != nil {
		s.before(r.Sale)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noted != nil {
		return s.noted
	}
	if s.damaged[r.Sale] {
		return errors.New("the row of the sale cannot be read")
	}
	if s.epochs[r.Sale] != r.Epoch {
		return nil
	}
	gone := map[string]bool{}
	for _, v := range r.Tickets {
		gone[v.ID] = true
	}
	var rest []seckill.Ticket
	for _, t := range s.returns {
		if !gone[t.ID] {
			rest = append(rest, t)
		}
	}
	s.returns = rest
	return nil
}

func (s *shop) Release(_ context.Context, r seckill.Return) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sale := r.Sale
	if s.closed[sale] {
		return seckill.ErrUnavailable
	}
	if s.epochs[sale] != r.Epoch {
		return seckill.ErrStale
	}
	if s.released[sale] == nil {
		s.released[sale] = map[string]bool{}
	}
	for _, t := range r.Tickets {
		if t.Sale != sale {
			return fmt.Errorf("ticket %s is of sale %s", t.ID, t.Sale)
		}
		if !s.released[sale][t.ID] {
			s.released[sale][t.ID] = true
			s.left[sale] += int64(t.Quantity)
		}
	}
	return nil
}

// rebuild makes the gate's state of a sale anew: what the store lists as on its
// way is not at the gate.
func (s *shop) rebuild(sale seckill.SaleID, ended int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epochs[sale]++
	s.released[sale] = nil
	s.left[sale] = ended
	for _, t := range s.returns {
		if t.Sale == sale {
			s.left[sale] -= int64(t.Quantity)
		}
	}
}

// run starts resident duties; stop ends them and waits until they have.
func run(t *testing.T, duties ...func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, duty := range duties {
		all.Go(func() { assert.NoError(t, duty(ctx)) })
	}
	return func() { cancel(); all.Wait() }
}

func inBubble(t *testing.T, f func(t *testing.T, s *shop, o *Orders)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop()
		f(t, s, New(s, s, slog.New(slog.DiscardHandler)))
	})
}

func TestWhatABuyerAndAnAdministratorMayDo(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		s.place("a", 1, time.Minute)
		s.place("b", 1, time.Minute)
		ctx := t.Context()
		_, err := o.Pay(ctx, "a", "bob")
		require.ErrorIs(t, err, seckill.ErrNotFound)
		_, err = o.Cancel(ctx, "a", "bob")
		require.ErrorIs(t, err, seckill.ErrNotFound)
		_, err = o.Refund(ctx, seckill.RefundRequest{Order: "a", Restock: true, By: "admin"})
		require.ErrorIs(t, err, seckill.ErrState, "it is not paid")
		for range 2 {
			order, err := o.Pay(ctx, "a", "ann")
			require.NoError(t, err)
			require.Equal(t, seckill.Paid, order.State)
		}
		_, err = o.Cancel(ctx, "a", "ann")
		require.ErrorIs(t, err, seckill.ErrState)
		for range 2 {
			order, err := o.Refund(ctx, seckill.RefundRequest{Order: "a", Restock: true, By: "admin"})
			require.NoError(t, err)
			require.Equal(t, seckill.Refunded, order.State)
		}
		for range 2 {
			order, err := o.Cancel(ctx, "b", "ann")
			require.NoError(t, err)
			require.Equal(t, seckill.Cancelled, order.State)
		}
		require.Len(t, s.returns, 2)
	})
}

func TestUnitsOfAnEndedOrderAreAtTheGateAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		stop := run(t, Returner{o}.Run)
		defer stop()
		s.place("a", 1, time.Minute)
		s.place("b", 1, time.Minute)
		start := time.Now()
		for _, end := range []func() (seckill.Order, error){
			func() (seckill.Order, error) { return o.Cancel(t.Context(), "a", "ann") },
			func() (seckill.Order, error) {
				_, _ = o.Pay(t.Context(), "b", "ann")
				return o.Refund(t.Context(), seckill.RefundRequest{Order: "b", Restock: true, By: "admin"})
			},
		} {
			synctest.Wait() // the returner waits
			_, err := end()
			require.NoError(t, err)
			synctest.Wait()
			assert.Empty(t, s.returns)
		}
		assert.EqualValues(t, 4, s.left[1])
		assert.Zero(t, time.Since(start))
	})
}

func TestReturnsThatNobodyToldOfAreFoundWithinASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		stop := run(t, Returner{o}.Run)
		defer stop()
		s.place("a", 1, time.Minute)
		synctest.Wait()
		_, err := s.TransitionBy(t.Context(), "a", "ann", seckill.Cancelled, "ann", "") // by another node
		require.NoError(t, err)
		time.Sleep(returnCheck)
		synctest.Wait()
		assert.EqualValues(t, 2, s.left[1])
		assert.Empty(t, s.returns)
	})
}

func TestUnitsAreCountedOnceHoweverOftenTheyAreBroughtBack(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		s.place("a", 1, time.Minute)
		_, err := o.Cancel(t.Context(), "a", "ann")
		require.NoError(t, err)
		s.noted = errDown // the gate has them, and the store does not hear of it
		stop := run(t, Returner{o}.Run)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.EqualValues(t, 2, s.left[1])
		assert.Len(t, s.returns, 1)
		assert.Less(t, s.lists, 15, "a store that fails is not hammered")
		s.mu.Lock()
		s.noted = nil
		s.mu.Unlock()
		time.Sleep(returnCheck)
		synctest.Wait()
		assert.EqualValues(t, 2, s.left[1])
		assert.Empty(t, s.returns)
	})
}

// Between the gate's yes and the store's note the sale is rebuilt: that rebuild
// counts the units as still to come, so they come once more.
func TestUnitsComeBackOnceAcrossARebuild(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		s.place("a", 1, time.Minute)
		s.place("b", 2, time.Minute)
		for _, id := range []string{"a", "b"} {
			_, err := o.Cancel(t.Context(), id, "ann")
			require.NoError(t, err)
		}
		rebuilt := 0
		s.before = func(sale seckill.SaleID) {
			if sale == 1 && rebuilt < 3 {
				rebuilt++
				s.rebuild(1, 2)
			}
		}
		stop := run(t, Returner{o}.Run)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Equal(t, 3, rebuilt)
		assert.Equal(t, map[seckill.SaleID]int64{1: 2, 2: 2}, s.left)
		assert.Empty(t, s.returns)
	})
}

func TestAClosedSaleKeepsNoOtherWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		s.closed[1] = true
		const many = returnBatch + 5 // of the closed sale, and before the other's
		for i := range many + 2 {
			id, sale := fmt.Sprint("o", i), seckill.SaleID(1)
			if i >= many {
				sale = 2
			}
			s.place(id, sale, time.Minute)
			_, err := o.Cancel(t.Context(), id, "ann")
			require.NoError(t, err)
		}
		stop := run(t, Returner{o}.Run)
		defer stop()
		synctest.Wait()
		assert.Equal(t, map[seckill.SaleID]int64{2: 4}, s.left)
		assert.Len(t, s.returns, many)
		s.mu.Lock()
		s.closed[1] = false
		s.mu.Unlock()
		time.Sleep(returnCheck)
		synctest.Wait()
		assert.Equal(t, map[seckill.SaleID]int64{1: 2 * many, 2: 4}, s.left)
	})
}

// The store cannot note what came back of one sale, whose row is damaged: the gate has those
// units, and all other sales get theirs.
func TestADamagedSaleKeepsNoOtherWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		s.damaged = map[seckill.SaleID]bool{1: true}
		for i, sale := range []seckill.SaleID{1, 2, 1, 3} {
			id := fmt.Sprint("o", i)
			s.place(id, sale, time.Minute)
			_, err := o.Cancel(t.Context(), id, "ann")
			require.NoError(t, err)
		}
		stop := run(t, Returner{o}.Run)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Equal(t, map[seckill.SaleID]int64{1: 4, 2: 2, 3: 2}, s.left)
		assert.Len(t, s.returns, 2, "they wait for who mends the row")
		assert.Less(t, s.lists, 30, "the store is not hammered")
	})
}

func TestMoreReturnsThanABatchComeBack(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		for i := range 2*returnBatch + 1 {
			id := fmt.Sprint("o", i)
			s.place(id, seckill.SaleID(1+i%3), time.Minute)
			_, err := s.TransitionBy(t.Context(), id, "ann", seckill.Cancelled, "ann", "")
			require.NoError(t, err)
		}
		start := time.Now()
		stop := run(t, Returner{o}.Run)
		synctest.Wait()
		assert.Empty(t, s.returns)
		assert.EqualValues(t, 2*(2*returnBatch+1), s.left[1]+s.left[2]+s.left[3])
		assert.Zero(t, time.Since(start), "without a pause between the batches")
		stop()
	})
}

func TestAnUnpaidOrderExpiresWhenItsTimeIsOver(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		stop := run(t, Expirer{o}.Run, Returner{o}.Run)
		defer stop()
		s.place("late", 1, 90*time.Second+300*time.Millisecond)
		s.place("paid", 1, time.Minute)
		_, err := o.Pay(t.Context(), "paid", "ann")
		require.NoError(t, err)
		time.Sleep(90*time.Second + 299*time.Millisecond)
		synctest.Wait()
		require.Equal(t, seckill.Unpaid, s.state("late"))
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, seckill.Expired, s.state("late"), "at its time, not at the next look")
		assert.Equal(t, seckill.Paid, s.state("paid"))
		assert.EqualValues(t, 2, s.left[1], "and its units are at the gate")
		assert.Less(t, s.expires, 200)
	})
}

func TestMoreExpiredOrdersThanABatchEndTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		for i := range 2*expireBatch + 1 {
			s.place(fmt.Sprint("o", i), 1, 0)
		}
		start := time.Now()
		stop := run(t, Expirer{o}.Run)
		synctest.Wait()
		assert.Len(t, s.returns, 2*expireBatch+1)
		assert.Equal(t, 3, s.expires)
		assert.Zero(t, time.Since(start))
		stop()
	})
}

func TestAStoreThatFailsIsNotHammeredByTheExpirer(t *testing.T) {
	for name, fail := range map[string]func(s *shop){
		"it is down": func(s *shop) { s.store = errDown },
		"it cannot commit a full batch that is due": func(s *shop) { s.full = true },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *shop, o *Orders) {
				fail(s)
				s.place("a", 1, 0)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				require.NoError(t, Expirer{o}.Run(ctx))
				assert.LessOrEqual(t, s.expires, 61)
			})
		})
	}
}

func TestTheDutiesStopAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *shop, o *Orders) {
		stop := run(t, Expirer{o}.Run, Returner{o}.Run)
		synctest.Wait()
		start := time.Now()
		stop()
		assert.Zero(t, time.Since(start))
	})
}
