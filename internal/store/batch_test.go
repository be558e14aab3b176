package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"seckill"
)

// rules says how one ticket after another is decided; nothing of a batch.
func rules(t seckill.Ticket, outcomes map[string]seckill.Reason, active map[activeKey]bool, left map[seckill.SaleID]int64) seckill.Reason {
	units, exists := left[t.Sale]
	if was, ok := outcomes[t.ID]; ok {
		return was
	}
	switch {
	case !exists:
		return noSale
	case active[activeKey{t.Sale, t.Buyer}]:
		return limited
	case int64(t.Quantity) > units:
		return soldOut
	}
	active[activeKey{t.Sale, t.Buyer}] = true
	left[t.Sale] -= int64(t.Quantity)
	return placed
}

func TestDecideIsOneTicketAfterAnother(t *testing.T) {
	t.Parallel()
	buyer := rapid.SampledFrom([]string{"ann", "bob", "cid", "dan", "eve"})
	reason := rapid.SampledFrom([]seckill.Reason{placed, soldOut, limited, noSale, seckill.ReasonPoison})
	anyTicket := rapid.Custom(func(t *rapid.T) seckill.Ticket {
		id := rapid.IntRange(0, 15).Draw(t, "id") // the same id is the same ticket
		return seckill.Ticket{ID: fmt.Sprint("t", id), Sale: seckill.SaleID(1 + id%4), Buyer: fmt.Sprint("b", id%3), Quantity: 1 + id%3, Seq: rapid.SampledFrom([]int64{int64(id), seckill.MostAhead, seckill.MostAhead + 2, seckill.MaxSeq}).Draw(t, "number")}
	})
	rapid.Check(t, func(t *rapid.T) {
		tickets := rapid.SliceOfN(anyTicket, 0, 30).Draw(t, "tickets")
		k := known{outcomes: rapid.MapOf(rapid.StringMatching(`t1?[0-9]`), reason).Draw(t, "outcomes"), active: map[activeKey]bool{}, sales: map[seckill.SaleID]saleRow{}}
		limits := map[seckill.SaleID]int{4: seckill.MaxQuantity}
		left, active, outcomes := map[seckill.SaleID]int64{}, map[activeKey]bool{}, map[string]seckill.Reason{}
		for id := range seckill.SaleID(3) { // sale 4 does not exist
			n := rapid.Int64Range(0, 8).Draw(t, "left")
			limit := rapid.IntRange(1, 3).Draw(t, "the highest limit it ever had")
			k.sales[id+1], left[id+1], limits[id+1] = saleRow{left: n, Terms: seckill.Terms{Closes: time.Now(), Limit: limit}, seq: rapid.SampledFrom([]int64{0, 1, 2, seckill.LastSeq}).Draw(t, "settled")}, n, limit
			if rapid.Bool().Draw(t, "someone holds an order") {
				m := activeKey{id + 1, buyer.Draw(t, "who")}
				k.active[m], active[m] = true, true
			}
		}
		for id, r := range k.outcomes {
			outcomes[id] = r
		}
		got, fresh, sold, seq := decide(tickets, k)

		require.Len(t, got, len(tickets))
		wantSold, wantSeq, wantFresh := map[seckill.SaleID]int64{}, map[seckill.SaleID]int64{}, []int(nil)
		for i, ticket := range tickets {
			_, was := outcomes[ticket.ID]
			var want seckill.Reason
			if !was && ticket.Quantity > limits[ticket.Sale] {
				want = seckill.ReasonNotAdmitted
			} else {
				want = rules(ticket, outcomes, active, left)
			}
			require.Equal(t, ticket, got[i].Ticket)
			require.Equal(t, want, got[i].Reason, "ticket %d", i)
			if was {
				continue
			}
			outcomes[ticket.ID] = want
			wantFresh = append(wantFresh, i)
			if want == placed {
				wantSold[ticket.Sale] += int64(ticket.Quantity)
			}
			if ticket.Sale != 4 {
				number := ticket.Seq
				if want == seckill.ReasonNotAdmitted || number > k.sales[ticket.Sale].seq+seckill.MostAhead {
					number = 0 // forged
				}
				wantSeq[ticket.Sale] = max(wantSeq[ticket.Sale], min(number, seckill.LastSeq))
			}
		}
		require.Equal(t, wantFresh, fresh, "what must be written, once each")
		require.Equal(t, wantSold, sold)
		require.Equal(t, wantSeq, seq)
	})
}

// market drives a store by random steps.
type market struct {
	*shop
	sales    []seckill.SaleID
	tickets  []seckill.Ticket
	outcomes map[string]seckill.Reason
	returned map[string]bool // the gate has them
}

// batch settles new and old tickets in any order, some of them twice.
func (m *market) batch(t *rapid.T) {
	var batch []seckill.Ticket
	for range rapid.IntRange(1, 8).Draw(t, "tickets") {
		if len(m.tickets) > 0 && rapid.IntRange(0, 2).Draw(t, "old") == 0 {
			batch = append(batch, rapid.SampledFrom(m.tickets).Draw(t, "ticket"))
			continue
		}
		v := ticket(rapid.SampledFrom(m.sales).Draw(t, "sale"), rapid.SampledFrom([]string{"ann", "bob", "cid", "dan"}).Draw(t, "buyer"), rapid.IntRange(1, 3).Draw(t, "quantity"))
		m.tickets, batch = append(m.tickets, v), append(batch, v)
	}
	if rapid.Bool().Draw(t, "twice") {
		batch = append(batch, batch[0])
	}
	left, active := map[seckill.SaleID]int64{}, map[activeKey]bool{}
	for _, id := range m.sales[:len(m.sales)-1] { // the last does not exist
		v := m.look(id)
		left[id] = v.Sale.Total - v.Sale.Sold
		for _, a := range v.Active {
			active[activeKey{id, a.Buyer}] = true
		}
	}
	for i, reason := range m.settle(batch...) {
		v := batch[i]
		short := left[v.Sale] < int64(v.Quantity)
		want := rules(v, m.outcomes, active, left)
		if want == limited && reason == soldOut && short {
			want = soldOut // both are true, and either may be said
		}
		require.Equal(t, want, reason, "ticket %d of the batch", i)
		m.outcomes[v.ID] = want
	}
}

// change tries to make an order something else.
func (m *market) change(t *rapid.T) {
	if len(m.tickets) == 0 {
		t.Skip("no tickets")
	}
	v := rapid.SampledFrom(m.tickets).Draw(t, "ticket")
	to := rapid.SampledFrom([]seckill.OrderState{seckill.Paid, seckill.Cancelled, seckill.Expired, seckill.Refunded}).Draw(t, "to")
	_, err := m.Transition(context.Background(), v.ID, v.Buyer, to)
	if err != nil && !errors.Is(err, seckill.ErrState) && !errors.Is(err, seckill.ErrNotFound) {
		t.Fatal(err)
	}
}

func (m *market) expire(t *rapid.T) {
	m.advance(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
	_, err := m.Expire(context.Background(), rapid.IntRange(1, 5).Draw(t, "max"))
	require.NoError(t, err)
}

// giveBack forgets returns, or tries to for an epoch that is not in force.
func (m *market) giveBack(t *rapid.T) {
	returns, err := m.Returns(context.Background(), 3)
	require.NoError(t, err)
	for _, r := range returns {
		if !contains(m.sales, r.Sale) {
			continue // of another check
		}
		require.Equal(t, m.look(r.Sale).Sale.Epoch, r.Epoch)
		old := rapid.Bool().Draw(t, "old epoch")
		if old {
			r.Epoch--
		}
		require.NoError(t, m.Returned(context.Background(), r))
		for _, v := range r.Tickets {
			require.False(t, m.returned[v.ID], "release once")
			m.returned[v.ID] = !old
		}
	}
}

// rebuild raises an epoch.
func (m *market) rebuild(t *rapid.T) {
	id := rapid.SampledFrom(m.sales[:len(m.sales)-1]).Draw(t, "sale")
	_, err := m.Snapshot(context.Background(), []seckill.SaleID{id}, nil)
	require.NoError(t, err)
}

// stock makes a stock move as far as it goes; the gate holds what is left here.
func (m *market) stock(t *rapid.T) {
	id := rapid.SampledFrom(m.sales[:len(m.sales)-1]).Draw(t, "sale")
	delta := rapid.Int64Range(-3, 3).Filter(func(n int64) bool { return n != 0 }).Draw(t, "delta")
	before := m.look(id)
	move, err := m.BeginMove(context.Background(), seckill.Move{Sale: id, ID: rapid.StringMatching(`[a-e]`).Draw(t, "id"), Delta: delta})
	if errors.Is(err, seckill.ErrState) {
		return
	}
	require.NoError(t, err)
	applied := delta > 0 || before.Left()+delta >= 0
	move.Epoch -= int64(rapid.IntRange(0, 1).Draw(t, "old epoch"))
	_, err = m.FinishMove(context.Background(), move, applied)
	require.NoError(t, err)
}

// stable asserts that every ticket still has the outcome that it had.
func (m *market) stable(t *rapid.T) {
	stands := map[string]seckill.Reason{}
	rows, err := m.r.Query("SELECT id, reason FROM tickets WHERE sale >= ?", int64(m.sales[0]))
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id string
		var reason seckill.Reason
		require.NoError(t, rows.Scan(&id, &reason))
		stands[id] = reason
	}
	require.NoError(t, rows.Err())
	for _, v := range m.tickets {
		reason, settled := stands[v.ID]
		require.True(t, settled, "no lost accept")
		require.Equal(t, m.outcomes[v.ID], reason, "stable outcome")
	}
	m.invariants(t)
}

func testBatches(t *testing.T, s *shop) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &market{shop: s, outcomes: map[string]seckill.Reason{}, returned: map[string]bool{}}
		for range 2 {
			m.sales = append(m.sales, s.open(rapid.Int64Range(1, 9).Draw(rt, "total")).ID)
		}
		m.sales = append(m.sales, 1<<40)
		rt.Repeat(map[string]func(*rapid.T){
			"batch": m.batch, "another batch": m.batch, "change": m.change, "expire": m.expire, "give back": m.giveBack, "rebuild": m.rebuild, "stock": m.stock,
			"": m.stable,
		})
	})
}

func contains(ids []seckill.SaleID, id seckill.SaleID) bool {
	for _, other := range ids {
		if other == id {
			return true
		}
	}
	return false
}

// testConcurrent lets settlers with overlapping batches, buyers who pay and
// cancel, the expirer, the returner and an administrator loose on two sales.
func testConcurrent(t *testing.T, s *shop) {
	sales := []seckill.SaleID{s.open(40).ID, s.open(40).ID}
	var tickets []seckill.Ticket
	for i := range 120 {
		tickets = append(tickets, ticket(sales[i%2], fmt.Sprint("buyer", i/2%45), 1+i%3))
	}
	ctx := context.Background()
	var mu sync.Mutex
	heard := map[string]seckill.Reason{}
	var all sync.WaitGroup
	for w := range 4 {
		own := rand.New(rand.NewPCG(uint64(w), 5))
		all.Go(func() {
			for from := 0; from < len(tickets); from += 15 { // each of them delivers everything, in its own way
				batch := append([]seckill.Ticket(nil), tickets[from:min(len(tickets), from+20)]...)
				own.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
				outcomes, err := s.Settle(ctx, batch)
				if !assert.NoError(t, err) {
					return
				}
				mu.Lock()
				for _, o := range outcomes {
					if was, ok := heard[o.Ticket.ID]; ok {
						assert.Equal(t, was, o.Reason, "two settlers hear the same")
					}
					heard[o.Ticket.ID] = o.Reason
				}
				mu.Unlock()
			}
		})
	}
	for w := range 2 {
		own := rand.New(rand.NewPCG(uint64(w), 6))
		all.Go(func() {
			for range 40 {
				v := tickets[own.IntN(len(tickets))]
				to := []seckill.OrderState{seckill.Paid, seckill.Cancelled, seckill.Refunded}[own.IntN(3)]
				if _, err := s.Transition(ctx, v.ID, "", to); err != nil && !errors.Is(err, seckill.ErrState) && !errors.Is(err, seckill.ErrNotFound) {
					assert.NoError(t, err)
				}
			}
		})
	}
	all.Go(func() {
		for range 10 {
			s.advance(7 * time.Second)
			_, err := s.Expire(ctx, 5)
			assert.NoError(t, err)
		}
	})
	all.Go(func() {
		for range 10 {
			returns, err := s.Returns(ctx, 5)
			assert.NoError(t, err)
			for _, r := range returns {
				assert.NoError(t, s.Returned(ctx, r))
			}
		}
	})
	all.Go(func() {
		for i := range 10 {
			m, err := s.BeginMove(ctx, seckill.Move{Sale: sales[i%2], ID: fmt.Sprint(i), Delta: int64(i + 1)})
			assert.NoError(t, err)
			_, err = s.FinishMove(ctx, m, true)
			assert.NoError(t, err)
			_, err = s.UpdateSale(ctx, sales[i%2], func(v *seckill.Sale) error { v.Paused = !v.Paused; return nil })
			assert.NoError(t, err)
			_, err = s.Look(ctx, sales[i%2], tickets)
			assert.NoError(t, err)
		}
	})
	all.Wait()
	require.Len(t, heard, len(tickets))
	for _, v := range tickets {
		o, err := s.Outcome(ctx, v.Sale, v.Buyer, v.ID)
		require.NoError(t, err)
		require.Equal(t, heard[v.ID], o.Reason)
	}
	s.invariants(t)
}
