package settle

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

func TestATicketThatFailsAloneIsRefusedAndNobodyElseIsHarmed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := tickets(10_003)
		s := newStage(all...)
		bad := []string{all[0].ID, all[5000].ID, all[5001].ID, all[10_002].ID}
		for _, id := range bad {
			s.poison[id] = true
		}
		stop := s.run(t, nil)
		synctest.Wait()
		stop()
		require.Len(t, s.acked, len(all))
		require.Len(t, s.finished, len(all))
		for _, v := range all {
			want := seckill.ReasonNone
			if slices.Contains(bad, v.ID) {
				want = seckill.ReasonPoison
			}
			require.Equal(t, want, s.finished[v.ID].Reason, v.ID)
		}
		assert.Less(t, s.settles, 10+4*2*11, "the parts halve")
	})
}

// A ticket whose queue will not bring it again is refused untried; whoever lists
// refusals hears of it once, and of nothing that has another outcome.
func TestTheLastDeliveryIsARefusal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := tickets(4)
		s := newStage(all...)
		s.outcomes[all[1].ID] = seckill.Outcome{Ticket: all[1]} // settled, by somebody who then died
		s.poison[all[2].ID] = true
		s.refuse = times(2, errDown)
		told := map[string]error{}
		stop := s.run(t, func(v *Settler) {
			v.Batch = 1
			v.Last = func(ticket string) bool { return ticket == all[0].ID || ticket == all[1].ID }
			v.Refused = func(ticket seckill.Ticket, why error) {
				assert.NotContains(t, told, ticket.ID, "told once")
				told[ticket.ID] = why
			}
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		require.Len(t, s.acked, 4)
		assert.Equal(t, seckill.ReasonPoison, s.finished[all[0].ID].Reason)
		assert.True(t, s.finished[all[1].ID].Placed())
		assert.True(t, s.finished[all[3].ID].Placed())
		assert.Equal(t, 2, s.settles, "the first two were not tried")
		require.Len(t, told, 2)
		assert.ErrorIs(t, told[all[0].ID], errLast)
		assert.ErrorIs(t, told[all[2].ID], errPoison)
	})
}

func TestOutcomesAreInTheirTicketsPlaceAfterABatchWasParted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage()
		all := tickets(7)
		s.poison[all[2].ID] = true
		settler := &Settler{Store: s, Poison: func(err error) bool { return errors.Is(err, errPoison) }, Log: slog.New(slog.DiscardHandler)}
		outcomes, err := settler.decide(t.Context(), all)
		require.NoError(t, err)
		require.Len(t, outcomes, 7)
		for i, o := range outcomes {
			assert.Equal(t, all[i], o.Ticket)
		}
	})
}

// An outage in the middle of looking for the ticket that fails is an outage.
func TestAnOutageWhilePoisonIsSoughtRefusesNobodyElse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(tickets(16)...)
		s.poison["t00003"] = true
		s.store = func(call int) error { return map[bool]error{true: errDown}[call == 2 || call == 4 || call == 9] }
		s.refuse = times(3, errDown)
		stop := s.run(t, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		require.Len(t, s.acked, 16)
		for id, o := range s.finished {
			assert.Equal(t, id != "t00003", o.Placed(), id)
		}
	})
}

func TestARefusalThatComesLateChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := tickets(1)
		s := newStage(all...)
		s.store = func(int) error { return errPoison } // rejected, although
		s.outcomes[all[0].ID] = seckill.Outcome{Ticket: all[0]}
		stop := s.run(t, nil)
		synctest.Wait()
		stop()
		assert.True(t, s.finished[all[0].ID].Placed())
	})
}

// The tickets of a sale whose row cannot be read wait until it can, also one that its queue
// brings for the last time. The others are settled meanwhile, and so is what comes later.
func TestADamagedSaleStopsNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := tickets(12)
		for i := range all {
			all[i].Sale = seckill.SaleID(1 + i%3)
		}
		s := newStage(all[:9]...)
		s.damaged = 2
		last := all[4].ID
		s.poison[last] = true
		stop := s.run(t, func(v *Settler) {
			v.Damaged = func(err error) (seckill.SaleID, bool) { return s.damaged, errors.Is(err, errDamaged) }
			v.Last = func(ticket string) bool { return ticket == last }
			v.Batch = 1
		})
		finished := func() (n int) {
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.finished)
		}
		require.Equal(t, 6, finished())
		time.Sleep(time.Minute)
		s.mu.Lock()
		s.waiting = all[9:]
		s.mu.Unlock()
		s.more <- struct{}{}
		require.Equal(t, 8, finished())
		s.mu.Lock()
		s.damaged = 0
		s.mu.Unlock()
		time.Sleep(lateEvery)
		require.Equal(t, 12, finished())
		stop()
		require.Len(t, s.acked, 12)
		require.Equal(t, seckill.ReasonPoison, s.finished[last].Reason)
	})
}

// That a ticket comes for the last time is believed only if it was noted that it was tried
// before; while nobody can tell, nothing becomes of it. A store that fails meanwhile is no try.
func TestWhatTheQueueSaysOfItsLastDeliveryIsNoProof(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := tickets(3)
		s := newStage(all...)
		s.store = calls(times(2, errDown))
		away, noted := 3, map[string]bool{all[1].ID: true}
		stop := s.run(t, func(v *Settler) {
			v.Batch = 1
			v.Last = func(ticket string) bool { return ticket != all[0].ID } // which comes while nobody can note it
			v.Tried = func(_ context.Context, ticket string) (bool, error) {
				if away > 0 {
					away--
					return false, errDown
				}
				before := noted[ticket]
				noted[ticket] = true
				return before, nil
			}
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		require.Len(t, s.acked, 3)
		assert.True(t, s.finished[all[0].ID].Placed())
		assert.True(t, noted[all[0].ID], "it was not tried before that was noted")
		assert.Equal(t, seckill.ReasonPoison, s.finished[all[1].ID].Reason)
		assert.True(t, s.finished[all[2].ID].Placed(), "the count was made up")
	})
}

// Another settler may have a ticket in hand of which a copy came for the last time: it comes first,
// as soon as the store answers. What nobody settles is refused.
func TestWhoHasATicketInHandComesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := tickets(2)
		s := newStage(all...)
		began := time.Now()
		stop := s.run(t, func(v *Settler) {
			v.Batch = 1
			v.Last = func(string) bool { return true }
			v.Tried = func(context.Context, string) (bool, error) { return true, nil }
			v.Known = func(_ context.Context, ticket seckill.Ticket) (bool, error) {
				if time.Since(began) < time.Minute {
					return false, errDown
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if ticket.ID == all[0].ID && time.Since(began) > time.Minute+2*maxPause { // its pause, and the transaction
					s.outcomes[ticket.ID] = seckill.Outcome{Ticket: ticket}
				}
				_, known := s.outcomes[ticket.ID]
				return known, nil
			}
		})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		stop()
		require.Len(t, s.acked, 2)
		assert.True(t, s.finished[all[0].ID].Placed())
		assert.Equal(t, seckill.ReasonPoison, s.finished[all[1].ID].Reason)
	})
}

// Where the gate sends tickets again, those of a damaged sale beyond what a settler keeps are
// forgotten, and nobody else waits for them.
func TestTooManyTicketsOfADamagedSaleStopNoOtherWhereTheyAreSentAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := tickets(300)
		for i := range all {
			all[i].Sale = seckill.SaleID(1 + i%3)
		}
		s := newStage(all...)
		s.damaged = 1
		stop := s.run(t, func(v *Settler) {
			v.keeps, v.Resent, v.Batch = 50, true, 30
			v.Damaged = func(err error) (seckill.SaleID, bool) { return s.damaged, errors.Is(err, errDamaged) }
		})
		synctest.Wait()
		s.mu.Lock()
		require.Len(t, s.finished, 200)
		require.Len(t, s.acked, 300)
		s.damaged = 0
		s.mu.Unlock()
		time.Sleep(lateEvery)
		synctest.Wait()
		stop()
		require.Greater(t, len(s.finished), 200, "those that were kept")
		require.LessOrEqual(t, len(s.finished), 250)
	})
}

// When more tickets wait for the row of their sale than a settler keeps, it holds the batch:
// none is acknowledged that is neither kept nor settled.
func TestTicketsOfADamagedSaleAreNotLostBeyondTheLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const keeps = 2000
		all := tickets(keeps + 1500)
		s := newStage(all...)
		s.damaged = 1
		stop := s.run(t, func(v *Settler) {
			v.keeps = keeps
			v.Damaged = func(err error) (seckill.SaleID, bool) { return s.damaged, errors.Is(err, errDamaged) }
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		s.mu.Lock()
		require.LessOrEqual(t, len(s.acked), keeps)
		s.damaged = 0
		s.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		require.Len(t, s.finished, len(all))
		require.Len(t, s.acked, len(all))
	})
}
