package redisgate

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate/gatetest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// rotating is a shared gate while the secret is changed: a node that has not the next one, and
// one that has both.
type rotating struct {
	*testing.T
	before, next *Gate
	clock        *gatetest.Clock
	sale         seckill.Sale
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	url, prefix := stacktest.Shared(t, stack.KindRedis).URL(), "seckill:"+strings.ToLower(rand.Text()[:12])+":"
	r := &rotating{T: t, clock: gatetest.ClockAt(time.Now())}
	node := func(name string, others bool, set ...func(*Gate)) *Gate {
		set = append(set, func(g *Gate) { g.clock = r.clock.Now })
		return runGateOf(t, Settings{Address: url, Outbox: 100, Node: name, Strangers: func(context.Context) (bool, error) { return others, nil }}, prefix, set...)
	}
	r.before = node("before", true)
	r.next = node("next", false, func(g *Gate) { g.seals = sealsOf(t, "the next secret", "the tests' secret") })
	r.sale = onSale(t, r.before, 50)
	return r
}

// sends is what the relay of a node sends in one round.
func (r *rotating) sends(g *Gate) []string {
	r.Helper()
	require.NoError(r, g.groups(r.Context(), []int{bucket(r.sale.ID)}))
	var taken []seckill.Ticket
	for range 2 { // what it may have been given before, and what is new
		some, err := g.take(r.Context(), 10)
		require.NoError(r, err)
		taken = append(taken, some...)
	}
	claimed, err := g.claim(r.Context(), 10)
	require.NoError(r, err)
	g.leave(r.Context())
	for _, ticket := range append(taken, claimed...) {
		require.True(r, g.seals.Genuine(&ticket))
	}
	return gatetest.IDs(append(taken, claimed...))
}

// sweeps is what the sweeper of a node sends.
func (r *rotating) sweeps(s *Sweeper) []string {
	r.Helper()
	sent := new(queue)
	s.Queue, s.Capacity, s.Log = sent, capacity(100), slog.New(slog.DiscardHandler)
	require.NoError(r, s.sweep(r.Context(), r.clock.Now()))
	return gatetest.IDs(sent.got)
}

func (r *rotating) asides(want int) {
	r.Helper()
	kept, err := do(r, r.before, "LLEN", r.before.asideKey(bucket(r.sale.ID))).AsInt64()
	require.NoError(r, err)
	require.EqualValues(r, want, kept)
}

// rebuilds makes the sale's state anew on a node.
func (r *rotating) rebuilds(g *Gate) {
	r.Helper()
	outbox, err := g.Shut(r.Context(), []seckill.SaleID{r.sale.ID})
	require.NoError(r, err)
	r.sale.Epoch++
	require.NoError(r, g.Load(r.Context(), []seckill.Snapshot{{Sale: r.sale, Outbox: outbox[r.sale.ID]}}))
}

// What a node with the next secret has admitted is left to it: a node without that secret neither
// seals it nor puts it aside, and sells its units to nobody.
func TestWhatTheNextSecretAdmittedIsLeftToItsNodes(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	ann, bob := admit(t, r.next, r.sale.ID, "ann"), admit(t, r.before, r.sale.ID, "bob")
	require.Equal(t, []string{bob}, r.sends(r.before))
	r.clock.Advance(time.Minute)
	old := &Sweeper{Gate: r.before}
	require.Equal(t, []string{bob}, r.sweeps(old))
	require.Empty(t, r.sweeps(old), "it lets others sweep")
	require.True(t, old.away.After(r.clock.Now().Add(sweepLease)), "for longer than its lease lasts")

	r.rebuilds(r.before)
	for range 2 {
		cut, err := r.before.Cut(t.Context(), r.sale.ID)
		require.NoError(t, err)
		require.EqualValues(t, 48, cut.Left)
		require.Len(t, cut.Outbox, 2)
		p, err := r.before.Find(t.Context(), r.sale.ID, "ann", ann)
		require.NoError(t, err)
		require.True(t, p.Unproven)
		p, err = r.next.Find(t.Context(), r.sale.ID, "ann", ann)
		require.NoError(t, err)
		require.False(t, p.Unproven, "its hold has the seal that it had")
		r.rebuilds(r.next)
	}
	a, err := r.before.Reserve(t.Context(), r.sale.ID, "ann", 1)
	require.NoError(t, err)
	require.Equal(t, ann, a.Ticket)

	require.NotContains(t, r.sends(r.before), ann)
	require.Equal(t, []string{ann}, r.sends(r.next), "it need not wait until the other one is believed dead")
	require.NoError(t, do(t, r.before, "DEL", r.before.sweeperKey()).Error())
	require.ElementsMatch(t, []string{ann, bob}, r.sweeps(&Sweeper{Gate: r.next}))
	r.asides(0)
}

// While the secret is changed Redis alone makes no ticket: a hold and an entry with a seal that
// nobody has made vouch for nothing, and take nobody's ticket away.
func TestWhileTheSecretIsChangedRedisMakesNoTicket(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	g := r.before
	ann := admit(t, g, r.sale.ID, "ann")
	const seal = "AAECAwQFBgcICQoLDA0ODw"
	id := seckill.NewTicketID(time.Now())
	entry, err := do(t, g, "XADD", g.outboxKey(1), "*", "t", fmt.Sprintf("%s,1,5,7,%d,eve", id, time.Now().UnixMilli()), "s", entryForm+seal+",1").ToString()
	require.NoError(t, err)
	require.NoError(t, do(t, g, "HSET", g.holdsKey(1), "eve", fmt.Sprintf("2p%s,5,7,%s,%s", id, entry, seal)).Error())
	require.NoError(t, do(t, g, "HSET", g.holdsKey(1), "ann", fmt.Sprintf("2o%s,1,1,-,%s", seckill.NewTicketID(time.Now()), seal)).Error())
	require.Equal(t, []string{ann}, r.sends(g))
	r.clock.Advance(time.Minute)
	require.Equal(t, []string{ann}, r.sweeps(&Sweeper{Gate: g}))
	r.rebuilds(g)
	require.Empty(t, r.sends(g), "a rebuild does not make it genuine either")
	r.asides(0)
	require.Empty(t, r.sends(r.next))
	r.asides(2) // the entry and its hold: that node knows of no other secret
	p, err := g.Find(t.Context(), r.sale.ID, "ann", "")
	require.NoError(t, err)
	require.Equal(t, ann, p.Ticket.ID)
	_, err = g.Find(t.Context(), r.sale.ID, "eve", "")
	require.ErrorIs(t, err, seckill.ErrNotFound)
	outdated, err := g.Outdated(t.Context(), []seckill.Sale{r.sale})
	require.NoError(t, err)
	require.Len(t, outdated, 1, "its units come back")
}

// Nobody can say which secrets there are: what is not known here waits, and nothing else does.
func TestAnEntryThatNobodyCanJudgeStopsNoOther(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	ann, bob := admit(t, r.next, r.sale.ID, "ann"), admit(t, r.before, r.sale.ID, "bob")
	r.before.strangers = func(context.Context) (bool, error) { return false, seckill.ErrUnavailable }
	require.Equal(t, []string{bob}, r.sends(r.before))
	require.Equal(t, []string{ann}, r.sends(r.next))
	r.asides(0)
}
