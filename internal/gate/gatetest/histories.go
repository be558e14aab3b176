package gatetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

// call is one operation on a sale: a request for units, or the outcome of a ticket.
type call struct {
	buyer    int
	quantity int
	ticket   string // not "": this is its outcome
	placed   bool
}

// heard is what the caller was told. unknown: an error, so that the call may have
// taken effect, or may yet.
type heard struct {
	answer  seckill.Answer
	unknown bool
}

const (
	linearBuyers = 5
	linearSeeds  = 12 // histories
)

// sequential is the state of a sale in which one thing happens after another.
type sequential struct {
	left int64
	held [linearBuyers]struct {
		ticket   string // "?": admitted, and nobody knows under which id
		quantity int
		final    bool
	}
}

// steps returns the states in which the sale may be after the call. None means
// that no order of events explains what the caller heard.
func steps(s sequential, in call, out heard) (next []any) {
	held := &s.held[in.buyer]
	if in.ticket != "" { // an outcome
		if held.ticket != "?" && held.ticket != in.ticket || held.final {
			return nil // it came from the outbox: it was admitted, and is final once
		}
		held.ticket, held.final = in.ticket, true
		if !in.placed {
			s.left += int64(held.quantity)
			held.ticket, held.quantity, held.final = "", 0, false
		}
		return []any{s}
	}
	if out.unknown {
		next = append(next, s)
	}
	switch {
	case held.ticket != "" && held.quantity == in.quantity:
		if out.unknown {
			return next
		}
		if out.answer.Verdict != seckill.Queued || held.ticket != "?" && held.ticket != out.answer.Ticket || out.answer.Left != s.left {
			return nil
		}
		held.ticket = out.answer.Ticket
		return []any{s}
	case held.ticket != "":
		if out.unknown || out.answer.Verdict == seckill.Limit {
			return []any{s}
		}
		return nil
	case s.left < int64(in.quantity):
		if out.unknown || out.answer.Verdict == seckill.SoldOut && out.answer.Left == s.left {
			return []any{s}
		}
		return nil
	}
	s.left -= int64(in.quantity)
	held.quantity, held.ticket = in.quantity, "?"
	if out.unknown {
		return append(next, s)
	}
	if out.answer.Verdict != seckill.Queued || out.answer.Left != s.left {
		return nil
	}
	held.ticket = out.answer.Ticket
	return []any{s}
}

func describe(input, output any) string {
	in, out := input.(call), output.(heard)
	switch {
	case in.ticket != "":
		return fmt.Sprintf("finish(%d, %s, placed %v)", in.buyer, in.ticket, in.placed)
	case out.unknown:
		return fmt.Sprintf("reserve(%d, %d) → ?", in.buyer, in.quantity)
	}
	return fmt.Sprintf("reserve(%d, %d) → %s %s, left %d", in.buyer, in.quantity, out.answer.Verdict, out.answer.Ticket, out.answer.Left)
}

// history is what concurrent callers did and heard.
type history struct {
	mu    sync.Mutex
	calls []porcupine.Operation
	clock atomic.Int64
}

// do records a call. A call of unknown outcome never ends: it may take effect at
// any later time.
func (h *history) do(client int, in call, f func() heard) heard {
	start := h.clock.Add(1)
	out := f()
	end := h.clock.Add(1)
	if out.unknown {
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, porcupine.Operation{ClientId: client, Input: in, Call: start, Output: out, Return: end})
	return out
}

// RunHistories holds concurrent callers of a gate to a sale in which one thing
// happens after another: many callers and few units, repeats, callers who leave,
// refusals that return units, and rebuilds in the middle of it.
func RunHistories(t *testing.T, open func(t testing.TB, limit int) Subject) {
	// A history with many unknown outcomes may have too many orders of events to try
	// them all in time. Nearly all must be decided.
	var decided atomic.Int64
	t.Cleanup(func() {
		if n := decided.Load(); n < linearSeeds-3 {
			t.Errorf("only %d of %d histories could be checked", n, linearSeeds)
		}
	})
	for seed := range uint64(linearSeeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			units := 2 + random.Int64N(6)
			w := NewWorld(t, open(t, 0), func(s *seckill.Sale) { s.Total = units })
			h := &history{}
			buyers := map[string]int{}
			for b := range linearBuyers {
				buyers[fmt.Sprint("buyer", b)] = b
			}

			all, over := context.WithTimeout(t.Context(), patience)
			defer over()
			var callers sync.WaitGroup
			for client := range 6 {
				own := rand.New(rand.NewPCG(seed, uint64(client)+2))
				callers.Go(func() {
					for range 8 {
						in := call{buyer: own.IntN(linearBuyers), quantity: 1 + own.IntN(3)}
						ctx, cancel := context.WithCancel(all)
						if own.IntN(12) == 0 {
							cancel() // this one does not wait for the commit
						}
						h.do(client, in, func() heard {
							a, err := w.Reserve(ctx, SaleID, fmt.Sprint("buyer", in.buyer), in.quantity)
							return heard{a, err != nil}
						})
						cancel()
					}
				})
			}

			residents, stop := context.WithCancel(all)
			var resident sync.WaitGroup
			var settling sync.Mutex // settled and told, or neither, when a rebuild looks
			resident.Go(func() {
				own := rand.New(rand.NewPCG(seed, 100))
				for {
					tickets, err := w.Unsent(residents, 2)
					if err != nil {
						return
					}
					for _, ticket := range tickets {
						in := call{buyer: buyers[ticket.Buyer], ticket: ticket.ID, placed: own.IntN(3) == 0}
						reason := seckill.ReasonLimit
						if in.placed {
							reason = seckill.ReasonNone
						}
						settling.Lock()
						if _, again := w.Store.sales[SaleID].outcomes[ticket.ID]; !again {
							h.do(100, in, func() heard {
								assert.NoError(t, w.Finish(all, w.Store.Settle(reason, ticket)))
								return heard{}
							})
						}
						settling.Unlock()
					}
				}
			})
			resident.Go(func() {
				for range 2 {
					settling.Lock()
					outbox, err := w.Shut(all, w.Store.all())
					if err == nil {
						err = w.Load(all, w.Store.snapshots(w.Store.all(), outbox))
					}
					settling.Unlock()
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
			})
			callers.Wait()
			stop()
			resident.Wait()
			require.NoError(t, all.Err(), "somebody has waited for nothing")

			model := (&porcupine.NondeterministicModel{
				Init: func() []any { return []any{sequential{left: units}} },
				Step: func(state, input, output any) []any {
					return steps(state.(sequential), input.(call), output.(heard))
				},
				DescribeOperation: describe,
			}).ToModel()
			switch porcupine.CheckOperationsTimeout(model, h.calls, 20*time.Second) {
			case porcupine.Illegal:
				for _, c := range h.calls {
					t.Logf("%3d–%3d client %d: %s", c.Call, c.Return, c.ClientId, describe(c.Input, c.Output))
				}
				t.Fatal("no order of events explains what the callers heard")
			case porcupine.Unknown:
				t.Log("this history is too long to be checked")
			default:
				decided.Add(1)
			}
		})
	}
}
