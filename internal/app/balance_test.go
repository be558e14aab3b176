package app

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate"
	"seckill/internal/gate/redisgate"
	"seckill/internal/sale"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
	"seckill/internal/store"
	"seckill/internal/store/storetest"
)

// planted is a sale of 40 units at the real gate and store, in which four buyers have
// orders (one of them paid), one has cancelled, and two wait for their outcome.
type planted struct {
	t      *testing.T
	id     seckill.SaleID
	beside seckill.SaleID // another such sale, in which nothing is planted
	gate   plantedGate
	store  *store.Store
	redis  rueidis.Client
	sql    *sql.DB
	pulse  *stacktest.Pulse
	ticket map[string]string // by buyer
}

// plantedGate is what both gates have.
type plantedGate interface {
	sale.Gate
	sale.BalanceGate
	Reserve(ctx context.Context, id seckill.SaleID, buyer string, quantity int) (seckill.Answer, error)
	Finish(ctx context.Context, outcomes []seckill.Outcome) error
	Release(ctx context.Context, r seckill.Return) error
}

// How long the balance may take to find a fault, on a machine that keeps up. By how much
// this one does not a pulse tells, which has nothing to do with the balancer: what is late
// there is added, once for each look of a count. How the rests grow with a sale TestTheLawOfSizes of internal/sale holds.
const (
	foundIn = 5 * time.Second
	looks   = 3
	beat    = 50 * time.Millisecond
	hangs   = time.Minute // bounds what never comes
)

func (p *planted) key(what string) string {
	return fmt.Sprintf("seckill:{%d}:%s:%s", int(p.id)%16, what, p.id)
}

func (p *planted) do(command ...string) {
	p.t.Helper()
	require.NoError(p.t, p.redis.Do(p.t.Context(), p.redis.B().Arbitrary(command...).Build()).Error())
}

// run changes rows behind the store's back; a change that changes nothing plants nothing.
func (p *planted) run(query string, args ...any) {
	p.t.Helper()
	r, err := p.sql.ExecContext(p.t.Context(), query, args...)
	require.NoError(p.t, err)
	n, err := r.RowsAffected()
	require.NoError(p.t, err)
	require.Positive(p.t, n)
}

// hold is a buyer's hold as it stands in Redis.
func (p *planted) hold(buyer string) string {
	p.t.Helper()
	h, err := p.redis.Do(p.t.Context(), p.redis.B().Hget().Key(p.key("holds")).Field(buyer).Build()).ToString()
	require.NoError(p.t, err)
	return h
}

// settle has the store settle tickets as a queue delivers them.
func (p *planted) settle(tickets ...seckill.Ticket) {
	p.t.Helper()
	outcomes, err := p.store.Settle(p.t.Context(), tickets)
	require.NoError(p.t, err)
	require.NoError(p.t, p.gate.Finish(p.t.Context(), outcomes))
}

// waiting are the tickets of the outbox.
func (p *planted) waiting() map[string]seckill.Ticket {
	p.t.Helper()
	cut, err := p.gate.Cut(p.t.Context(), p.id)
	require.NoError(p.t, err)
	all := map[string]seckill.Ticket{}
	for _, t := range cut.Outbox {
		all[t.Buyer] = t
	}
	return all
}

// fault is one that is planted in gate, queue or store, and whose ticket the balance must
// name; empty: it is no ticket's.
type fault struct {
	name  string
	ticks string // the buyer whose ticket it is
	rule  string
	plant func(p *planted)
}

var faults = []fault{
	// In the gate.
	{"the gate has units too many", "", "gate never over-promises", func(p *planted) { p.do("HINCRBY", p.key("sale"), "left", "3") }},
	{"the gate has lost units", "", "conservation", func(p *planted) { p.do("HINCRBY", p.key("sale"), "left", "-3") }},
	{"a hold of an order is gone", "ann", "only the gate admits", func(p *planted) { p.do("HDEL", p.key("holds"), "ann") }},
	{"a hold has another quantity", "bob", "only the gate admits", func(p *planted) {
		parts := strings.Split(p.hold("bob"), ",")
		parts[1] = "3"
		p.do("HSET", p.key("holds"), "bob", strings.Join(parts, ","))
	}},
	{"a hold is released although its order is active", "ann", "release once", func(p *planted) { p.do("HSET", p.key("holds"), "ann", "2r"+p.hold("ann")[2:]) }},
	{"a hold names another ticket", "bob", "one per buyer", func(p *planted) {
		p.do("HSET", p.key("holds"), "bob", "2o"+seckill.NewTicketID(time.Now())+p.hold("bob")[2+seckill.TicketIDLen:])
	}},
	{"a hold of a buyer who was never admitted", "mal", "no lost accept", func(p *planted) {
		p.ticket["mal"] = seckill.NewTicketID(time.Now())
		p.do("HSET", p.key("holds"), "mal", "p"+p.ticket["mal"]+",1,2,1-0")
	}},
	{"the numbers that the gate has given are forgotten", "dan", "only the gate admits", func(p *planted) { p.do("HSET", p.key("sale"), "seq", "3") }},
	// In the queue, the outbox included.
	{"a ticket is lost from queue and outbox", "eve", "no lost accept", func(p *planted) { p.do("XTRIM", fmt.Sprintf("seckill:{%d}:outbox", int(p.id)%16), "MAXLEN", "1") }},
	{"an outbox is lost", "fay", "no lost accept", func(p *planted) { p.do("DEL", fmt.Sprintf("seckill:{%d}:outbox", int(p.id)%16)) }},
	{"a ticket that nobody has admitted is settled", "mal", "only the gate admits", func(p *planted) {
		p.ticket["mal"] = seckill.NewTicketID(time.Now())
		p.settle(seckill.Ticket{ID: p.ticket["mal"], Sale: p.id, Buyer: "mal", Quantity: 1, Seq: 2, At: time.Now()})
	}},
	{"a ticket comes with another quantity", "eve", "only the gate admits", func(p *planted) {
		t := p.waiting()["eve"]
		t.Quantity = 2
		p.settle(t)
	}},
	{"a ticket comes with another buyer", "eve", "only the gate admits", func(p *planted) {
		t := p.waiting()["eve"]
		t.Buyer = "mal"
		p.settle(t)
	}},
	// In the store.
	{"the store has counted one too many as sold", "", "counter", func(p *planted) { p.run("UPDATE sales SET sold = sold + 1 WHERE id = ?", p.id) }},
	{"the store has counted one too few as sold", "", "counter", func(p *planted) { p.run("UPDATE sales SET sold = sold - 1 WHERE id = ?", p.id) }},
	{"an order is gone", "ann", "stable outcome", func(p *planted) { p.run("DELETE FROM tickets WHERE id = ?", p.ticket["ann"]) }},
	{"an order is gone, and the count was put right", "ann", "stable outcome", func(p *planted) {
		p.run("DELETE FROM tickets WHERE id = ?", p.ticket["ann"])
		p.run("UPDATE sales SET sold = sold - 1 WHERE id = ?", p.id)
	}},
	{"an order was made by hand", "mal", "only the gate admits", func(p *planted) {
		p.ticket["mal"] = seckill.NewTicketID(time.Now())
		p.run("INSERT INTO tickets (id, sale, buyer, quantity, seq, state, reason, amount, created_at, expires_at) SELECT ?, sale, 'mal', 1, 1, 'unpaid', '', amount, created_at, expires_at FROM tickets WHERE id = ?", p.ticket["mal"], p.ticket["ann"])
		p.run("UPDATE sales SET sold = sold + 1 WHERE id = ?", p.id)
	}},
	{"an order has ended, and its units do not come back", "bob", "conservation", func(p *planted) {
		p.run("UPDATE tickets SET state = 'cancelled' WHERE id = ?", p.ticket["bob"])
		p.run("UPDATE sales SET sold = sold - 2 WHERE id = ?", p.id)
	}},
	{"units are noted as coming back although the order is active", "ann", "release once", func(p *planted) {
		p.run("INSERT INTO returns (ticket, sale, buyer, quantity) VALUES (?, ?, 'ann', 1)", p.ticket["ann"], p.id)
	}},
	{"an order has another quantity", "ann", "only the gate admits", func(p *planted) {
		p.run("UPDATE tickets SET quantity = 2 WHERE id = ?", p.ticket["ann"])
		p.run("UPDATE sales SET sold = sold + 1 WHERE id = ?", p.id)
	}},
	{"an order has another buyer", "bob", "only the gate admits", func(p *planted) { p.run("UPDATE tickets SET buyer = 'mal' WHERE id = ?", p.ticket["bob"]) }},
	{"the total was changed by hand", "", "conservation", func(p *planted) { p.run("UPDATE sales SET total = total + 5 WHERE id = ?", p.id) }},
	{"a payment is gone", "", "money", func(p *planted) {
		p.run("DELETE FROM payments WHERE order_id = ?", p.ticket["cid"])
	}},
}

// embeddedFaults are in the embedded gate, whose state nobody can change from outside: they are
// what it would do if it were wrong.
var embeddedFaults = []fault{
	{"the gate gives back units that nobody gave up", "ann", "release once", func(p *planted) { p.release("ann") }},
	{"the gate takes a ticket for placed that has no order", "eve", "stable outcome", func(p *planted) {
		require.NoError(p.t, p.gate.Finish(p.t.Context(), []seckill.Outcome{{Ticket: p.waiting()["eve"]}}))
	}},
	{"the gate takes a ticket for refused and keeps its units", "", "conservation", func(p *planted) {
		require.NoError(p.t, p.gate.Finish(p.t.Context(), []seckill.Outcome{{Ticket: p.waiting()["fay"], Reason: seckill.ReasonSoldOut}}))
	}},
}

// release has the gate give back the units of an order that is active.
func (p *planted) release(buyer string) {
	p.t.Helper()
	holds, err := p.gate.Holds(p.t.Context(), p.id, []string{buyer})
	require.NoError(p.t, err)
	v, err := p.store.Sale(p.t.Context(), p.id)
	require.NoError(p.t, err)
	require.NoError(p.t, p.gate.Release(p.t.Context(), seckill.Return{Sale: p.id, Epoch: v.Epoch, Tickets: []seckill.Ticket{holds[buyer].Ticket}}))
}

// Each of the faults turns the balance of its sale red within 5 s, and it
// names the rule and the ticket. A sale beside it stays green.
func TestTheBalanceFindsEachFault(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(faults), 20)
	url := stacktest.Fresh(t, stacktest.Shared(t, stack.KindRedis))
	options, err := rueidis.ParseURL(url)
	require.NoError(t, err)
	options.DisableCache = true
	redis, err := rueidis.NewClient(options)
	require.NoError(t, err)
	t.Cleanup(redis.Close)
	g, err := redisgate.Open(redisgate.Settings{Address: url, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	findsEach(t, planted{gate: g, redis: redis}, faults, g.Run)
}

func TestTheBalanceFindsFaultsOfTheEmbeddedGate(t *testing.T) {
	t.Parallel()
	g, err := gate.OpenMemory(t.Context(), filepath.Join(t.TempDir(), "gate.db"), gate.OutboxLimit)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	findsEach(t, planted{gate: g}, embeddedFaults)
}

// findsEach plants each of the faults in a sale of its own at the gate of p.
func findsEach(t *testing.T, p planted, faults []fault, run ...func(context.Context) error) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "seckill.db")
	storetest.Make(t, file, store.Open)
	s, err := store.Open(ctx, "sqlite:"+file, store.Settings{Exclusive: true})
	require.NoError(t, err)
	require.NoError(t, s.Prepare(ctx))
	by, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	by.SetMaxOpenConns(1)
	sales := sale.New(s, p.gate, slog.New(slog.DiscardHandler), sale.Options{OnlyNode: true})
	working, stop := context.WithCancel(context.Background())
	var duties sync.WaitGroup
	for _, run := range append(run, sales.Keeper.Run) {
		duties.Go(func() { _ = run(working) })
	}
	t.Cleanup(func() {
		stop()
		stacktest.AwaitAll(t, "the duties end", &duties)
		by.Close()
		s.Close()
	})
	stacktest.Await(t, "the sales are loaded", sales.Loaded())

	p.store, p.sql = s, by
	g := p.gate
	p.pulse = stacktest.Beats(t, beat, func(ctx context.Context) {
		_, _ = g.Holds(ctx, 1, []string{"nobody"})
		var one int
		_ = by.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	})
	// sells makes a sale and fills it. Sales that are 16 apart share an outbox: those of the
	// first buckets lose theirs, and share it with nobody.
	sells := func(t *testing.T, title string, bucket int, own bool) planted {
		p := p
		p.t, p.ticket = t, map[string]string{}
		v := seckill.Sale{Title: title, Price: 100, Currency: "CNY", Total: 40, LimitPerBuyer: 3, OpensAt: p.gate.Now().Add(-time.Minute), ClosesAt: p.gate.Now().Add(time.Hour), HoldSeconds: 900}
		for p.id == 0 || own != (int(p.id)%16 < 2) || own && int(p.id)%16 != bucket {
			v, err = sales.Create(ctx, v)
			require.NoError(t, err)
			p.id = v.ID
		}
		p.fill()
		return p
	}
	p.beside = sells(t, "nothing is wrong here", 0, false).id
	t.Run("each", func(t *testing.T) {
		buckets := map[string]int{"a ticket is lost from queue and outbox": 0, "an outbox is lost": 1}
		for _, f := range faults {
			bucket, own := buckets[f.name]
			here := sells(t, f.name, bucket, own)
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				here.t = t
				here.finds(f)
			})
		}
	})
}

// fill sells as planted says.
func (p *planted) fill() {
	p.t.Helper()
	ctx := p.t.Context()
	for _, buyer := range []string{"ann", "bob", "cid", "gil", "dan", "eve", "fay"} {
		quantity := 1
		if buyer == "bob" {
			quantity = 2
		}
		a, err := p.gate.Reserve(ctx, p.id, buyer, quantity)
		require.NoError(p.t, err)
		require.Equal(p.t, seckill.Queued, a.Verdict)
		p.ticket[buyer] = a.Ticket
	}
	all := p.waiting()
	require.Len(p.t, all, 7)
	p.settle(all["ann"], all["bob"], all["cid"], all["gil"], all["dan"])
	_, err := p.store.TransitionBy(ctx, p.ticket["cid"], "cid", seckill.Paid, "cid", "")
	require.NoError(p.t, err)
	_, err = p.store.TransitionBy(ctx, p.ticket["gil"], "gil", seckill.Cancelled, "gil", "")
	require.NoError(p.t, err)
	returns, err := p.store.Returns(ctx, 10)
	require.NoError(p.t, err)
	for _, r := range returns {
		require.NoError(p.t, p.gate.Release(ctx, r))
		require.NoError(p.t, p.store.Returned(ctx, r))
	}
}

func (p *planted) finds(f fault) {
	t := p.t
	b := &sale.Balancer{Store: p.store, Gate: p.gate, Node: "this", Only: true, Log: slog.New(slog.DiscardHandler),
		Watched: func(context.Context) ([]seckill.Sale, time.Time, error) {
			now := p.gate.Now()
			return []seckill.Sale{{ID: p.id, OpensAt: now, ClosesAt: now.Add(time.Hour)}, {ID: p.beside, OpensAt: now, ClosesAt: now.Add(time.Hour)}}, time.Now(), nil
		}}
	b.Register(prometheus.NewRegistry())
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = b.Run(ctx) })
	defer func() { stacktest.AwaitAll(t, "the balancer ends", &running) }()
	defer stop()
	var c seckill.Balance
	await := func(ok bool, since time.Time) {
		t.Helper()
		require.Eventually(t, func() bool {
			c = b.Balances()[p.id]
			return c.OK != nil && *c.OK == ok && c.At.After(since)
		}, hangs, 10*time.Millisecond, "ok should be %v: %+v", ok, c)
	}
	await(true, time.Time{})
	require.EqualValues(t, 2, *c.Pending)
	require.Equal(t, seckill.Sums{Total: 40, Gate: 33, Pending: c.Pending, Unpaid: 4, Paid: 1}, *c.Sums)
	at, before := time.Now(), p.pulse.LateBy()
	f.plant(p)
	await(false, time.Time{})
	took, late := time.Since(at), p.pulse.LateBy()-before
	t.Logf("found after %v, of which the machine was late by %v: %+v", took, late, c.Violations)
	require.LessOrEqual(t, took-looks*late, foundIn)
	found := false
	for _, v := range c.Violations {
		found = found || v.Rule == f.rule && v.Ticket == p.ticket[f.ticks]
	}
	require.True(t, found, "%s of %s is not among %+v", f.rule, p.ticket[f.ticks], c.Violations)
	require.Eventually(t, func() bool { c = b.Balances()[p.beside]; return c.OK != nil }, hangs, 10*time.Millisecond)
	require.True(t, *c.OK, "the sale beside it: %+v", c.Violations)
}
