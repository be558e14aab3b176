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
	"seckill/internal/duty"
	"seckill/internal/gate/redisgate"
	"seckill/internal/sale"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
	"seckill/internal/store"
)

// planted is a sale of 40 units at the real gate and store, in which four buyers have
// orders (one of them paid), one has cancelled, and two wait for their outcome.
type planted struct {
	t      *testing.T
	id     seckill.SaleID
	gate   *redisgate.Gate
	store  *store.Store
	redis  rueidis.Client
	sql    *sql.DB
	pulse  *pulse
	ticket map[string]string // by buyer
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

// pulse asks Redis and the store something small at each beat, and adds up how late it is.
type pulse struct {
	mu   sync.Mutex
	last time.Time
	late time.Duration
}

func (u *pulse) run(ctx context.Context, redis rueidis.Client, db *sql.DB) {
	u.beats()
	for duty.Rest(ctx, beat) == nil {
		_ = redis.Do(ctx, redis.B().Ping().Build()).Error()
		var one int
		_ = db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
		u.beats()
	}
}

func (u *pulse) beats() {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if !u.last.IsZero() {
		u.late += max(0, now.Sub(u.last)-beat)
	}
	u.last = now
}

// lateBy is by how much the pulse was late so far.
func (u *pulse) lateBy() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.late + max(0, time.Since(u.last)-beat)
}

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

// Each of the faults turns the balance of its sale red within 5 s, and it
// names the rule and the ticket. The sales beside it stay green.
func TestTheBalanceFindsEachFault(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(faults), 20)
	ctx := t.Context()
	url := stacktest.Fresh(t, stacktest.Shared(t, stack.KindRedis))
	options, err := rueidis.ParseURL(url)
	require.NoError(t, err)
	options.DisableCache = true
	redis, err := rueidis.NewClient(options)
	require.NoError(t, err)
	t.Cleanup(redis.Close)
	file := filepath.Join(t.TempDir(), "seckill.db")
	s, err := store.Open(ctx, "sqlite:"+file, true)
	require.NoError(t, err)
	require.NoError(t, s.Prepare(ctx))
	by, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	by.SetMaxOpenConns(1)
	log := slog.New(slog.DiscardHandler)
	g, err := redisgate.Open(url, 0, log)
	require.NoError(t, err)
	sales := sale.New(s, g, log, sale.Options{OnlyNode: true})
	working, stop := context.WithCancel(context.Background())
	var duties sync.WaitGroup
	for _, run := range []func(context.Context) error{g.Run, sales.Keeper.Run} {
		duties.Go(func() { _ = run(working) })
	}
	u := &pulse{}
	duties.Go(func() { u.run(working, redis, by) })
	t.Cleanup(func() {
		stop()
		duties.Wait()
		by.Close()
		s.Close()
	})
	<-sales.Loaded()

	t.Run("each", func(t *testing.T) {
		for _, f := range faults {
			p := &planted{t: t, gate: g, store: s, redis: redis, sql: by, pulse: u, ticket: map[string]string{}}
			v, err := sales.Create(ctx, seckill.Sale{Title: f.name, Price: 100, Currency: "CNY", Total: 40, LimitPerBuyer: 3, OpensAt: g.Now().Add(-time.Minute), ClosesAt: g.Now().Add(time.Hour), HoldSeconds: 900})
			require.NoError(t, err)
			p.id = v.ID
			// Sales that are 16 apart share an outbox: those that lose theirs share it with nobody.
			buckets := map[string]int{"a ticket is lost from queue and outbox": 0, "an outbox is lost": 1}
			of, own := buckets[f.name]
			for own != (int(p.id)%16 < 2) || own && int(p.id)%16 != of {
				v, err = sales.Create(ctx, v)
				require.NoError(t, err)
				p.id = v.ID
			}
			p.fill()
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				p := *p
				p.t = t
				p.finds(f)
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
			return []seckill.Sale{{ID: p.id, OpensAt: p.gate.Now(), ClosesAt: p.gate.Now().Add(time.Hour)}}, time.Now(), nil
		}}
	b.Register(prometheus.NewRegistry())
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = b.Run(ctx) })
	defer running.Wait()
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
	at, before := time.Now(), p.pulse.lateBy()
	f.plant(p)
	await(false, time.Time{})
	took, late := time.Since(at), p.pulse.lateBy()-before
	t.Logf("found after %v, of which the machine was late by %v: %+v", took, late, c.Violations)
	require.LessOrEqual(t, took-looks*late, foundIn)
	found := false
	for _, v := range c.Violations {
		found = found || v.Rule == f.rule && v.Ticket == p.ticket[f.ticks]
	}
	require.True(t, found, "%s of %s is not among %+v", f.rule, p.ticket[f.ticks], c.Violations)
}
