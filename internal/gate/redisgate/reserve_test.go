package redisgate

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// A request that Redis sees only after its caller was told that nothing is known
// decides nothing: the buyer may have learned since that there is no ticket.
func TestALateReserveDecidesNothing(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	// The client must not close a connection with a call that it gives up: Redis would forget the call.
	g := runGate(t, e.URL(), "seckill:", 10, func(g *Gate) { g.options.AlwaysPipelining = true })
	ctx := t.Context()
	sale := onSale(t, g, 5)
	_, err := g.Reserve(ctx, sale.ID, "zoe", 1) // now Redis knows the script
	require.NoError(t, err)

	admin := administers(t, e)
	// Redis keeps writes waiting until nobody waits for them any more.
	require.NoError(t, admin.Do(ctx, admin.B().ClientPause().Timeout(time.Minute.Milliseconds()).Write().Build()).Error())
	const short = 300 * time.Millisecond
	ada := &ask{buyer: "ada", quantity: 1, ticket: seckill.NewTicketID(time.Now()), since: time.Now()}
	require.ErrorIs(t, g.askFor(sale.ID, []*ask{ada}, short), seckill.ErrUnavailable)
	told := time.Now()
	until(t, "the call's time is over to Redis too", func() bool { return time.Since(told) > short })
	require.NoError(t, admin.Do(ctx, admin.B().ClientUnpause().Build()).Error())

	bob, err := g.Reserve(ctx, sale.ID, "bob", 1) // over the same connection, behind ada
	require.NoError(t, err)
	require.Equal(t, seckill.Queued, bob.Verdict)
	_, err = g.Find(ctx, sale.ID, "ada", "")
	require.ErrorIs(t, err, seckill.ErrNotFound)
	cut, err := g.Cut(ctx, sale.ID)
	require.NoError(t, err)
	require.EqualValues(t, 3, cut.Left)
}

var reserveCalls = regexp.MustCompile(`cmdstat_evalsha:calls=(\d+)`)

// Who comes while a call is under way is asked for together with all others who
// wait, and is decided on as if everybody had been alone.
func TestOneCallAsksForAllWhoWait(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 0)
	ctx := t.Context()
	const units, crowd = 300, 1000
	sale := onSale(t, g, units)

	admin := administers(t, e)
	calls := func() int {
		info, err := admin.Do(ctx, admin.B().Info().Section("commandstats").Build()).ToString()
		require.NoError(t, err)
		m := reserveCalls.FindStringSubmatch(info)
		if m == nil {
			return 0
		}
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		return n
	}
	before := calls()
	require.NoError(t, admin.Do(ctx, admin.B().ClientPause().Timeout(time.Minute.Milliseconds()).Write().Build()).Error())

	// Of every four, two ask for the same buyer, and one of another buyer for more
	// than it may have.
	var mu sync.Mutex
	tickets, verdicts, refused := map[string]map[string]int{}, map[seckill.Verdict]int{}, 0
	var asking sync.WaitGroup
	for i := range crowd {
		buyer, quantity := fmt.Sprint("b", i-i%4/3), 1 // 3 asks as 2 does
		if i%4 == 0 {
			quantity = 3
		}
		asking.Go(func() {
			a, err := g.Reserve(ctx, sale.ID, buyer, quantity)
			mu.Lock()
			defer mu.Unlock()
			if quantity == 3 {
				var field *seckill.FieldError
				assert.ErrorAs(t, err, &field)
				refused++
				return
			}
			assert.NoError(t, err)
			verdicts[a.Verdict]++
			if a.Verdict == seckill.Queued {
				if tickets[buyer] == nil {
					tickets[buyer] = map[string]int{}
				}
				tickets[buyer][a.Ticket]++
			}
		})
	}
	until(t, "all stand in line or are on their way", func() bool {
		g.lines.mu.Lock()
		defer g.lines.mu.Unlock()
		l := g.lines.by[sale.ID]
		return l != nil && l.calls == maxCalls || l != nil && len(l.waiting)+maxAsks >= crowd-1
	})
	require.NoError(t, admin.Do(ctx, admin.B().ClientUnpause().Build()).Error())
	stacktest.AwaitAll(t, "everybody has an answer", &asking)

	assert.Equal(t, crowd/4, refused)
	assert.Len(t, tickets, units, "a ticket for every unit")
	for buyer, of := range tickets {
		assert.Len(t, of, 1, "one ticket for %s, however often it asked", buyer)
	}
	assert.Equal(t, crowd*3/4, verdicts[seckill.Queued]+verdicts[seckill.SoldOut])
	cut, err := g.Cut(ctx, sale.ID)
	require.NoError(t, err)
	assert.Zero(t, cut.Left)
	assert.EqualValues(t, units, cut.Seq)
	assert.Len(t, cut.Outbox, units)
	// Four calls took at most maxAsks each when they were let go; the rest of
	// the crowd needed few more.
	assert.Less(t, calls()-before, 20, "calls for %d buyers", crowd)
	g.lines.mu.Lock()
	defer g.lines.mu.Unlock()
	assert.Empty(t, g.lines.by, "nothing is kept of a line that is empty")
}

// Who goes away while standing in line takes nobody along.
func TestACallerLeavesTheLine(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 0)
	ctx := t.Context()
	sale := onSale(t, g, 5)
	admin := administers(t, e)
	require.NoError(t, admin.Do(ctx, admin.B().ClientPause().Timeout(time.Minute.Milliseconds()).Write().Build()).Error())

	leaving, leave := context.WithCancel(ctx)
	got := map[string]chan error{"ann": make(chan error, 1), "bob": make(chan error, 1), "eve": make(chan error, 1)}
	ask := func(c context.Context, buyer string) {
		go func() {
			_, err := g.Reserve(c, sale.ID, buyer, 1)
			got[buyer] <- err
		}()
	}
	stand := func(n int) {
		until(t, "the others stand behind ann", func() bool {
			g.lines.mu.Lock()
			defer g.lines.mu.Unlock()
			l := g.lines.by[sale.ID]
			return l != nil && l.calls == 1 && len(l.waiting) == n
		})
	}
	ask(ctx, "ann")
	stand(0)
	ask(leaving, "bob")
	ask(ctx, "eve")
	stand(2)
	leave()
	require.ErrorIs(t, stacktest.Await(t, "bob leaves", got["bob"]), context.Canceled)
	require.Empty(t, g.broken())
	require.NoError(t, admin.Do(ctx, admin.B().ClientUnpause().Build()).Error())
	require.NoError(t, stacktest.Await(t, "ann has an answer", got["ann"]))
	require.NoError(t, stacktest.Await(t, "eve has an answer", got["eve"]))
	for _, buyer := range []string{"ann", "eve"} {
		p, err := g.Find(ctx, sale.ID, buyer, "")
		require.NoError(t, err)
		require.False(t, p.Final)
	}
	_, err := g.Find(ctx, sale.ID, "bob", "")
	require.ErrorIs(t, err, seckill.ErrNotFound, "nobody is admitted who had left before he was asked for")
}

// A buyer hears within a second that Redis is gone, also one who was held before.
func TestABuyerWhoWaitsHearsOfALostRedisInTime(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 0, patient(callTimeout))
	sale := onSale(t, runGate(t, e.URL(), "seckill:", 0), 5) // which takes as long as it takes
	admin := administers(t, e)
	t.Cleanup(func() { e.Kill() }) // which ends the pause
	pulse := stacktest.Beats(t, 10*time.Millisecond, nil)
	require.NoError(t, admin.Do(t.Context(), admin.B().ClientPause().Timeout(time.Minute.Milliseconds()).All().Build()).Error())
	g.pacer.waiting[bucket(sale.ID)].Store(paceFrom)
	g.pacer.settle(0)
	began, late := time.Now(), pulse.LateBy()
	_, err := g.Reserve(t.Context(), sale.ID, "ann", 1)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.Less(t, time.Since(began)-(pulse.LateBy()-late), callTimeout+paceMost/2, "to be held is part of it")
}
