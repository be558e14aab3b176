package settle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errDown    = errors.New("the database is down")
	errPoison  = errors.New("the database rejects the ticket")
	errDamaged = errors.New("the row of a sale cannot be read")
)

// stage is what the settler stands between: a queue, a store and a gate that keep
// their contracts, with what happened to them in the order of events.
type stage struct {
	mu       sync.Mutex
	events   []string
	waiting  []seckill.Ticket // in the queue
	more     chan struct{}
	acked    []seckill.Ticket
	back     int // batches that were handed back
	outcomes map[string]seckill.Outcome
	finished map[string]seckill.Outcome
	settles  int // calls of the store's Settle

	poison  map[string]bool      // tickets that the store rejects
	damaged seckill.SaleID       // its row cannot be read
	store   func(call int) error // what the store answers instead of settling
	refuse  func() error         // the same for Refuse
	finish  func() error         // the same for the gate
	receive func() error         // the same for the queue
	ack     func() error         // the same for an acknowledgement
}

func newStage(tickets ...seckill.Ticket) *stage {
	return &stage{waiting: tickets, more: make(chan struct{}, 1), outcomes: map[string]seckill.Outcome{}, finished: map[string]seckill.Outcome{}, poison: map[string]bool{}}
}

func (s *stage) note(format string, args ...any) {
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

func (s *stage) Receive(ctx context.Context, max int) ([]seckill.Ticket, func(bool) error, error) {
	for {
		s.mu.Lock()
		if s.receive != nil {
			if err := s.receive(); err != nil {
				s.mu.Unlock()
				return nil, nil, err
			}
		}
		n := min(max, len(s.waiting))
		tickets := slices.Clone(s.waiting[:n])
		s.waiting = s.waiting[n:]
		s.mu.Unlock()
		if n > 0 {
			return tickets, func(settled bool) error { return s.done(tickets, settled) }, nil
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (s *stage) done(tickets []seckill.Ticket, settled bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !settled {
		s.note("hand back %d", len(tickets))
		s.waiting = append(tickets, s.waiting...)
		s.back++
		return nil
	}
	s.note("ack %d", len(tickets))
	s.acked = append(s.acked, tickets...)
	if s.ack != nil {
		return s.ack()
	}
	return nil
}

func (s *stage) Settle(_ context.Context, tickets []seckill.Ticket) (outcomes []seckill.Outcome, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settles++
	if s.store != nil {
		if err := s.store(s.settles); err != nil {
			return nil, err
		}
	}
	for _, t := range tickets {
		if s.damaged != 0 && t.Sale == s.damaged {
			return nil, errDamaged
		}
	}
	for _, t := range tickets {
		if _, known := s.outcomes[t.ID]; !known && s.poison[t.ID] {
			return nil, fmt.Errorf("row 7: %w", errPoison)
		}
	}
	for _, t := range tickets {
		if _, known := s.outcomes[t.ID]; !known {
			s.outcomes[t.ID] = seckill.Outcome{Ticket: t}
		}
		outcomes = append(outcomes, s.outcomes[t.ID])
	}
	s.note("commit %d", len(tickets))
	return outcomes, nil
}

func (s *stage) Refuse(_ context.Context, t seckill.Ticket, reason seckill.Reason) (seckill.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.damaged != 0 && t.Sale == s.damaged {
		return seckill.Outcome{}, errDamaged
	}
	if s.refuse != nil {
		if err := s.refuse(); err != nil {
			return seckill.Outcome{}, err
		}
	}
	if _, known := s.outcomes[t.ID]; !known {
		s.outcomes[t.ID] = seckill.Outcome{Ticket: t, Reason: reason}
	}
	s.note("refuse %s", t.ID)
	return s.outcomes[t.ID], nil
}

func (s *stage) Finish(_ context.Context, outcomes []seckill.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finish != nil {
		if err := s.finish(); err != nil {
			return err
		}
	}
	for _, o := range outcomes {
		s.finished[o.Ticket.ID] = o
	}
	s.note("finish %d", len(outcomes))
	return nil
}

// run starts a settler; stop ends it and waits until it has.
func (s *stage) run(t *testing.T, change func(*Settler)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	settler := &Settler{Queue: s, Store: s, Gate: s, Poison: func(err error) bool { return errors.Is(err, errPoison) }, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(settler)
	}
	ended := make(chan error, 1)
	go func() { ended <- settler.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		require.NoError(t, <-ended)
	}
}

func tickets(n int) (all []seckill.Ticket) {
	for i := range n {
		all = append(all, seckill.Ticket{ID: fmt.Sprintf("t%05d", i), Sale: 1, Buyer: fmt.Sprint("b", i), Quantity: 2, Seq: int64(i)})
	}
	return all
}

// times answers the error on the first n calls.
func times(n int, err error) func() error {
	return func() error {
		if n--; n >= 0 {
			return err
		}
		return nil
	}
}

func calls(f func() error) func(int) error { return func(int) error { return f() } }

func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

func TestABatchIsCommittedThenFinishedThenAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(5)...)
		stop := s.run(t, func(v *Settler) { v.Batch = 3 })
		synctest.Wait()
		stop()
		for _, n := range []string{"3", "2"} {
			of := slices.DeleteFunc(slices.Clone(s.events), func(e string) bool { return !strings.HasSuffix(e, n) })
			assert.Equal(t, []string{"commit " + n, "finish " + n, "ack " + n}, of)
		}
		assert.Len(t, s.finished, 5)
	})
}

func TestTheStoreWorksOnTheNextBatchWhileTheGateIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(12)...)
		down := true
		s.finish = func() error {
			if down {
				return errDown
			}
			return nil
		}
		stop := s.run(t, func(v *Settler) { v.Batch = 3 })
		time.Sleep(time.Minute)
		synctest.Wait()
		s.mu.Lock()
		assert.Equal(t, []string{"commit 3", "commit 3"}, s.events, "the next one, and no more than that")
		down = false
		s.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		assert.Len(t, s.acked, 12)
		assert.Len(t, s.finished, 12)
		assert.Equal(t, 4, s.settles)
	})
}

func TestABatchHasALimitByDefault(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(mostBatch + 1)...)
		stop := s.run(t, nil)
		synctest.Wait()
		stop()
		assert.ElementsMatch(t, []string{"commit 1024", "finish 1024", "ack 1024", "commit 1", "finish 1", "ack 1"}, s.events)
	})
}

func TestAFailureOfTheInfrastructureCountsAgainstNoTicket(t *testing.T) {
	const outage = 2000 // calls: about three hours
	for name, fails := range map[string]func(s *stage){
		"the store is down":                    func(s *stage) { s.store = calls(times(outage, errDown)) },
		"the gate is down":                     func(s *stage) { s.finish = times(outage, errDown) },
		"both are":                             func(s *stage) { s.store, s.finish = calls(times(outage, errDown)), times(outage, errDown) },
		"a deadlock now and then":              func(s *stage) { s.store = func(n int) error { return map[bool]error{true: errDown}[n%3 != 0] } },
		"the store's answer was a lost commit": func(s *stage) { s.store = lostCommit(s) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newStage(tickets(10)...)
				fails(s)
				stop := s.run(t, nil)
				time.Sleep(6 * time.Hour)
				synctest.Wait()
				stop()
				assert.Len(t, s.acked, 10)
				assert.Zero(t, s.back)
				for id, o := range s.finished {
					assert.True(t, o.Placed(), id)
				}
				assert.Equal(t, s.outcomes, s.finished)
				assert.Equal(t, "ack 10", s.events[len(s.events)-1])
			})
		})
	}
}

// lostCommit commits, and says that it failed, once.
func lostCommit(s *stage) func(int) error {
	return func(call int) error {
		if call > 1 {
			return nil
		}
		for _, t := range tickets(10) {
			s.outcomes[t.ID] = seckill.Outcome{Ticket: t}
		}
		return errDown
	}
}

func TestAStoreThatIsDownIsNotHammered(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(1)...)
		s.store = func(int) error { return errDown }
		stop := s.run(t, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Less(t, s.settles, 25)
		before := s.settles
		s.mu.Lock()
		s.store = nil
		s.mu.Unlock()
		time.Sleep(maxPause)
		synctest.Wait()
		assert.Len(t, s.acked, 1, "it goes on within %s of the end", maxPause)
		assert.Equal(t, before+1, s.settles)
		stop()
	})
}

func TestNothingIsAcknowledgedBeforeTheGateHasHeard(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(3)...)
		s.finish = func() error { return errDown }
		stop := s.run(t, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(t, s.acked)
		assert.Equal(t, []string{"commit 3"}, s.events, "committed once, told again and again")
		stop()
		assert.Empty(t, s.acked)
		assert.Equal(t, 1, s.back, "it comes again")
	})
}

func TestAStoppingSettlerFinishesTheBatchAtHand(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(8)...)
		s.store = func(int) error { return errDown }
		stop := s.run(t, func(v *Settler) { v.Batch = 4 })
		time.Sleep(time.Second)
		ended := make(chan struct{})
		go func() { stop(); close(ended) }()
		time.Sleep(finishTime / 2)
		synctest.Wait()
		s.mu.Lock()
		s.store = nil
		s.mu.Unlock()
		<-ended
		assert.Equal(t, []string{"commit 4", "finish 4", "ack 4"}, s.events, "and begins no other")
		assert.Len(t, s.waiting, 4)
	})
}

func TestAStoppingSettlerHandsBackWhatItCannotFinishInTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(4)...)
		s.store = func(int) error { return errDown }
		stop := s.run(t, nil)
		time.Sleep(time.Second)
		start := time.Now()
		stop()
		assert.Equal(t, finishTime, time.Since(start))
		assert.Equal(t, []string{"hand back 4"}, s.events)
		assert.Len(t, s.waiting, 4)
	})
}

func TestAnIdleSettlerStopsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		stop := newStage().run(t, nil)
		synctest.Wait()
		start := time.Now()
		stop()
		assert.Zero(t, time.Since(start))
	})
}

func TestAQueueThatFailsIsAskedAgainAtAGrowingDistance(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(3)...)
		var asked atomic.Int64
		s.receive = func() error { return map[bool]error{true: errDown}[asked.Add(1) < 20] }
		stop := s.run(t, nil)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		assert.Less(t, asked.Load(), int64(20))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.Len(t, s.acked, 3)
		stop()
	})
}

func TestABatchThatCannotBeAcknowledgedDoesNotStopTheNext(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(4)...)
		s.ack = times(1, errDown)
		stop := s.run(t, func(v *Settler) { v.Batch = 2 })
		synctest.Wait()
		stop()
		assert.Len(t, s.finished, 4)
	})
}

func TestTheMetricsCountOutcomesAndDrift(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := tickets(5)
		s := newStage(all...)
		s.poison[all[1].ID] = true
		for i, reason := range []seckill.Reason{2: seckill.ReasonSoldOut, 3: seckill.ReasonSoldOut, 4: seckill.ReasonLimit} {
			if reason != "" {
				s.outcomes[all[i].ID] = seckill.Outcome{Ticket: all[i], Reason: reason}
			}
		}
		s.finish = times(2, errDown)
		r := prometheus.NewRegistry()
		stop := s.run(t, func(v *Settler) { v.Metrics = NewMetrics(r) })
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		got := map[string]float64{}
		families, err := r.Gather()
		require.NoError(t, err)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				got[name] = m.GetCounter().GetValue()
			}
		}
		assert.Equal(t, map[string]float64{
			"seckill_outcomes_total placed": 1, "seckill_outcomes_total poison": 1, "seckill_outcomes_total sold_out": 2, "seckill_outcomes_total limit": 1,
			"seckill_drift_units_total": 4, "seckill_settle_retries_total": 2, "seckill_outcomes_total not_admitted": 0, "seckill_settle_aside_total": 0,
		}, got)
	})
}

// What no gate has admitted is put aside, counted and listed: it is acknowledged, it
// never reaches the store or the gate, and the tickets beside it are settled.
func TestWhatNoGateHasAdmittedIsPutAside(t *testing.T) {
	for name, batch := range map[string]int{"among others": 10, "alone": 1} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				all := tickets(8)
				origin := map[string]Origin{all[1].ID: Admitted, all[2].ID: Admitted, all[4].ID: Admitted, all[6].ID: Elsewhere, all[7].ID: Elsewhere}
				s := newStage(slices.Clone(all)...)
				r := prometheus.NewRegistry()
				var listed []string
				var log bytes.Buffer
				stop := s.run(t, func(v *Settler) {
					v.Batch, v.Metrics, v.Log = batch, NewMetrics(r), slog.New(slog.NewTextHandler(&log, nil))
					v.Origin = func(_ context.Context, t *seckill.Ticket) Origin { return origin[t.ID] }
					v.Refused = func(t seckill.Ticket, why error) { listed = append(listed, t.ID+": "+why.Error()[:7]) }
				})
				synctest.Wait()
				stop()
				assert.Len(t, s.acked, 8)
				assert.ElementsMatch(t, all, s.acked, "the queue's batch is as it was")
				assert.Len(t, s.outcomes, 3)
				assert.Len(t, s.finished, 3)
				assert.Equal(t, max(1, 2/batch), strings.Count(log.String(), "left to the nodes"), "a line for each batch, not for each ticket")
				for _, i := range []int{0, 3, 5, 6, 7} {
					assert.NotContains(t, s.outcomes, all[i].ID)
				}
				assert.Equal(t, []string{"t00000: no gate", "t00003: no gate", "t00005: no gate"}, listed)
				families, err := r.Gather()
				require.NoError(t, err)
				for _, f := range families {
					if f.GetName() == "seckill_settle_aside_total" {
						assert.EqualValues(t, 3, f.GetMetric()[0].GetCounter().GetValue())
					}
				}
			})
		})
	}
}

// A ticket that its sale would never have admitted is refused by the store; a person
// hears of it.
func TestARefusalBecauseOfTheTermsIsListed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := tickets(2)
		s := newStage(all...)
		s.outcomes[all[1].ID] = seckill.Outcome{Ticket: all[1], Reason: seckill.ReasonNotAdmitted}
		var listed []string
		stop := s.run(t, func(v *Settler) {
			v.Refused = func(t seckill.Ticket, _ error) { listed = append(listed, t.ID) }
		})
		synctest.Wait()
		stop()
		assert.Equal(t, []string{all[1].ID}, listed)
		assert.Len(t, s.finished, 2)
	})
}
