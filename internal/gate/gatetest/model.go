package gatetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"seckill"
)

// model is what a gate must say about one sale, in so many words: left units,
// and the active ticket of each buyer.
type model struct {
	left   int64
	paused bool
	held   map[string]seckill.Ticket
}

func (m *model) reserve(buyer string, quantity int) (v seckill.Verdict, ticket string) {
	held, repeat := m.held[buyer]
	switch {
	case m.paused:
		return seckill.Paused, ""
	case repeat && held.Quantity == quantity:
		return seckill.Queued, held.ID
	case repeat:
		return seckill.Limit, ""
	case m.left < int64(quantity):
		return seckill.SoldOut, ""
	}
	m.left -= int64(quantity)
	return seckill.Queued, ""
}

// machine drives a gate and its models with random steps.
type machine struct {
	*World
	models  map[seckill.SaleID]*model
	unheard map[string]seckill.Outcome // settled, and the gate has not been told
	outbox  map[string]seckill.Ticket  // what the gate's outbox must hold
	told    []seckill.Outcome          // every outcome that was ever told
	ended   []seckill.Ticket           // every order that ever ended
	applied map[string]bool            // returns and moves that this epoch's gate has
	shrunk  map[string]int64           // taken from the gate, and the store has not been told
	serial  int
}

var (
	anySale     = rapid.SampledFrom([]seckill.SaleID{1, 2})
	anyBuyer    = rapid.SampledFrom([]string{"ann", "bob", "cid", "dan"})
	anyQuantity = rapid.IntRange(1, 3)
	anyReason   = rapid.SampledFrom([]seckill.Reason{seckill.ReasonNone, seckill.ReasonNone, seckill.ReasonLimit, seckill.ReasonPoison, seckill.ReasonNoSale})
)

func (m *machine) reserve(t *rapid.T) {
	id, buyer, quantity := anySale.Draw(t, "sale"), anyBuyer.Draw(t, "buyer"), anyQuantity.Draw(t, "quantity")
	want, same := m.models[id].reserve(buyer, quantity)
	got, err := m.Reserve(context.Background(), id, buyer, quantity)
	require.NoError(t, err)
	require.Equal(t, want.String(), got.Verdict.String())
	if want != seckill.Queued {
		return
	}
	if same != "" {
		require.Equal(t, same, got.Ticket, "a repeat is the same ticket")
		return
	}
	ticket := seckill.Ticket{ID: got.Ticket, Sale: id, Buyer: buyer, Quantity: quantity}
	require.NotContains(t, m.outbox, ticket.ID)
	m.models[id].held[buyer], m.outbox[ticket.ID] = ticket, ticket
}

// settle gives one ticket of the outbox its outcome; the gate is told later.
func (m *machine) settle(t *rapid.T) {
	ticket := m.outbox[pick(t, m.outbox)]
	for _, o := range m.Store.Settle(anyReason.Draw(t, "reason"), ticket) {
		require.NotEqual(t, seckill.ReasonSoldOut, o.Reason, "the gate promised what the store does not have")
		m.unheard[ticket.ID] = o
	}
}

// finish tells the gate an outcome, new or old.
func (m *machine) finish(t *rapid.T) {
	var o seckill.Outcome
	if len(m.told) > 0 && rapid.Bool().Draw(t, "old") {
		o = rapid.SampledFrom(m.told).Draw(t, "outcome")
	} else {
		o = m.unheard[pick(t, m.unheard)]
	}
	require.NoError(t, m.Finish(context.Background(), []seckill.Outcome{o}))
	m.told = append(m.told, o)
	delete(m.unheard, o.Ticket.ID)
	if _, waits := m.outbox[o.Ticket.ID]; !waits {
		return
	}
	delete(m.outbox, o.Ticket.ID)
	if !o.Placed() {
		m.models[o.Ticket.Sale].left += int64(o.Ticket.Quantity)
		delete(m.models[o.Ticket.Sale].held, o.Ticket.Buyer)
	}
}

// end ends an active order in the store.
func (m *machine) end(t *rapid.T) {
	b := m.Store.sales[anySale.Draw(t, "sale")]
	ticket := b.active[pick(t, b.active)]
	m.Store.end(ticket)
	m.ended = append(m.ended, ticket)
}

// BringBack brings an ended order's units to the gate; the store may hear of it.
func (m *machine) release(t *rapid.T) {
	if len(m.ended) == 0 {
		t.Skip("no order has ended")
	}
	ticket := rapid.SampledFrom(m.ended).Draw(t, "ticket")
	if _, due := m.Store.sales[ticket.Sale].returns[ticket.ID]; !due {
		t.Skip("the store knows that the units are back")
	}
	r := seckill.Return{Sale: ticket.Sale, Epoch: m.Store.sales[ticket.Sale].sale.Epoch, Tickets: []seckill.Ticket{ticket}}
	if rapid.IntRange(0, 4).Draw(t, "read before a rebuild") == 0 {
		r.Epoch--
		require.ErrorIs(t, m.Release(context.Background(), r), seckill.ErrStale)
		return
	}
	require.NoError(t, m.Release(context.Background(), r))
	if model := m.models[ticket.Sale]; !m.applied[ticket.ID] {
		m.applied[ticket.ID] = true
		model.left += int64(ticket.Quantity)
		if model.held[ticket.Buyer].ID == ticket.ID {
			delete(model.held, ticket.Buyer)
		}
		delete(m.outbox, ticket.ID)
	}
	if rapid.Bool().Draw(t, "the store hears of it") {
		m.Store.returned(ticket.Sale, r.Epoch, ticket)
	}
}

// move begins a stock move, or goes on with one that grows the sale.
func (m *machine) move(t *rapid.T) {
	id := anySale.Draw(t, "sale")
	b, model := m.Store.sales[id], m.models[id]
	delta := rapid.Int64Range(-4, 4).Filter(func(n int64) bool { return n != 0 }).Draw(t, "delta")
	m.serial++
	move := seckill.Move{Sale: id, ID: fmt.Sprint(m.serial), Delta: delta, Epoch: b.sale.Epoch}
	if len(b.growing) > 0 && rapid.Bool().Draw(t, "old") {
		move.ID = pick(t, b.growing)
		move.Delta = b.growing[move.ID]
	} else if delta > 0 {
		b.growing[move.ID] = delta
		b.sale.Total += delta
	}
	if rapid.IntRange(0, 3).Draw(t, "gate is asked") == 0 {
		return
	}
	if rapid.IntRange(0, 4).Draw(t, "read before a rebuild") == 0 {
		move.Epoch--
		_, err := m.Move(context.Background(), move)
		require.ErrorIs(t, err, seckill.ErrStale)
		return
	}
	key := fmt.Sprint(id, move.ID)
	want := m.applied[key] || move.Delta > 0 || model.left+move.Delta >= 0
	got, err := m.Move(context.Background(), move)
	require.NoError(t, err)
	require.Equal(t, want, got)
	if want && !m.applied[key] {
		m.applied[key] = true
		model.left += move.Delta
		if move.Delta < 0 {
			m.shrunk[key] = move.Delta
		}
	}
	if rapid.Bool().Draw(t, "the store hears of it") {
		b.sale.Total += m.shrunk[key]
		delete(m.shrunk, key)
		delete(b.growing, move.ID)
	}
}

// apply puts a version in force, or an old one that is ignored.
func (m *machine) apply(t *rapid.T) {
	id := anySale.Draw(t, "sale")
	sale := m.Store.sales[id].sale
	sale.Paused = rapid.Bool().Draw(t, "paused")
	if rapid.Bool().Draw(t, "newer") {
		sale.Version++
		m.Store.sales[id].sale.Version, m.Store.sales[id].sale.Paused = sale.Version, sale.Paused
		m.models[id].paused = sale.Paused
	}
	require.NoError(t, m.Apply(context.Background(), sale))
}

// rebuildOne makes one sale anew, rebuildAll all of them, after a stop, a kill,
// or neither.
func (m *machine) rebuildOne(t *rapid.T) { m.anew(anySale.Draw(t, "sale")) }

func (m *machine) rebuildAll(t *rapid.T) {
	switch rapid.SampledFrom([]string{"rebuild", "reopen", "crash"}).Draw(t, "how") {
	case "reopen":
		m.Subject = m.Reopen(m.tb)
	case "crash":
		m.Subject = m.Crash(m.tb)
	}
	m.anew(1, 2)
}

// anew is the rule of the rebuild: buyers of ended orders are free, refusals
// that nobody heard of are over, and moves that the store does not know of at
// the gate are undone.
func (m *machine) anew(sales ...seckill.SaleID) {
	m.Rebuild(sales...)
	for _, id := range sales {
		b, model := m.Store.sales[id], m.models[id]
		model.paused = b.sale.Paused
		for ticket, t := range m.outbox {
			if _, final := b.outcomes[ticket]; final && t.Sale == id {
				delete(m.outbox, ticket)
			}
		}
		clear(model.held)
		for _, t := range b.active {
			model.held[t.Buyer] = t
		}
		for _, t := range m.outbox {
			if t.Sale == id {
				model.held[t.Buyer] = t
			}
		}
		for _, t := range b.returns {
			delete(m.applied, t.ID)
		}
		for move := range b.growing {
			delete(m.applied, fmt.Sprint(id, move))
		}
		for key := range m.shrunk {
			if seckill.SaleID(key[0]-'0') == id {
				delete(m.shrunk, key)
				delete(m.applied, key)
			}
		}
		model.left = b.sale.Total - b.sale.Sold - m.pending(id) - m.onTheWay(id)
	}
}

// pending is P: units admitted without an outcome.
func (m *machine) pending(id seckill.SaleID) (units int64) {
	for ticket, t := range m.outbox {
		if _, final := m.Store.sales[id].outcomes[ticket]; !final && t.Sale == id {
			units += int64(t.Quantity)
		}
	}
	return units
}

// onTheWay is L: returns, growth, and refusals that the gate has not applied.
func (m *machine) onTheWay(id seckill.SaleID) (units int64) {
	b := m.Store.sales[id]
	for ticket, t := range b.returns {
		if !m.applied[ticket] {
			units += int64(t.Quantity)
		}
	}
	for move, delta := range b.growing {
		if !m.applied[fmt.Sprint(id, move)] {
			units += delta
		}
	}
	for ticket, t := range m.outbox {
		if reason := b.outcomes[ticket]; reason != seckill.ReasonNone && t.Sale == id {
			units += int64(t.Quantity)
		}
	}
	return units
}

// invariants are those of docs/INVARIANTS.md that a gate can see.
func (m *machine) invariants(t *rapid.T) {
	for id, model := range m.models {
		b := m.Store.sales[id]
		cut, err := m.Cut(context.Background(), id)
		require.NoError(t, err)
		require.Equal(t, model.left, cut.Left, "sale %s: units at the gate", id)
		left, ok := m.Left(id)
		require.True(t, ok)
		require.Equal(t, max(0, cut.Left), left)
		require.GreaterOrEqual(t, cut.Left+m.onTheWay(id), int64(0), "what the gate owes is on its way")

		var active int64
		holders := map[string]string{}
		for ticket, a := range b.active {
			active += int64(a.Quantity)
			require.NotContains(t, holders, a.Buyer, "one per buyer")
			holders[a.Buyer] = ticket
		}
		var want []string
		for ticket, p := range m.outbox {
			if p.Sale != id {
				continue
			}
			want = append(want, ticket)
			if _, final := b.outcomes[ticket]; !final {
				require.NotContains(t, holders, p.Buyer, "one per buyer")
				holders[p.Buyer] = ticket
				require.LessOrEqual(t, p.Quantity, b.sale.LimitPerBuyer)
			}
		}
		require.ElementsMatch(t, want, IDs(cut.Outbox), "sale %s: the outbox", id)
		require.Equal(t, b.sale.Sold, active, "counter")

		total := b.sale.Total
		for key, delta := range m.shrunk {
			if seckill.SaleID(key[0]-'0') == id {
				total += delta
			}
		}
		require.Equal(t, total, cut.Left+m.pending(id)+active+m.onTheWay(id), "sale %s: G + P + A + L = T", id)
	}
}

// pick draws a key of a map, or skips the step when there is none.
func pick[V any](t *rapid.T, from map[string]V) string {
	if len(from) == 0 {
		t.Skip("nothing to choose from")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(from))).Draw(t, "which")
}

// RunModel drives a gate by random steps and holds it to the model.
func RunModel(t *testing.T, open func(t testing.TB, limit int) Subject) {
	rapid.Check(t, func(rt *rapid.T) {
		w := NewWorld(rt, open(t, 0), func(s *seckill.Sale) { s.Total = rapid.Int64Range(1, 12).Draw(rt, "total") })
		w.tb = t
		other := w.Sale
		other.ID, other.Total = 2, 3
		w.Store.create(other)
		w.Rebuild(2)
		m := &machine{World: w, models: map[seckill.SaleID]*model{}, unheard: map[string]seckill.Outcome{}, outbox: map[string]seckill.Ticket{},
			applied: map[string]bool{}, shrunk: map[string]int64{}}
		for id, b := range w.Store.sales {
			m.models[id] = &model{left: b.sale.Total, held: map[string]seckill.Ticket{}}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"reserve": m.reserve, "reserve again": m.reserve, "settle": m.settle, "finish": m.finish, "end": m.end, "release": m.release,
			"move": m.move, "apply": m.apply, "rebuild one": m.rebuildOne, "rebuild all": m.rebuildAll, "": m.invariants,
		})
	})
}
