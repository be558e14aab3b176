package redisgate

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/gate/gatetest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	url := stacktest.OwnCluster(t, stack.KindRedis).URL()
	gatetest.Run(t, func(t testing.TB, limit int) gatetest.Subject {
		return gateAt(t, url, "seckill:"+strings.ToLower(rand.Text()[:12])+":", limit, gatetest.NewClock())
	})
}

// hall is one sale in every bucket, on a cluster.
type hall struct {
	*testing.T
	gate              *Gate
	sales             []seckill.Sale
	admitted, pending map[seckill.SaleID]int
}

func newHall(t *testing.T, g *Gate) hall {
	h := hall{T: t, gate: g, admitted: map[seckill.SaleID]int{}, pending: map[seckill.SaleID]int{}}
	var snapshots []seckill.Snapshot
	var ids []seckill.SaleID
	for b := range bucketCount {
		sale := seckill.Sale{ID: seckill.SaleID(bucketCount + b), Version: 1, Epoch: 1, Total: 10_000, LimitPerBuyer: 1,
			OpensAt: time.Now().Add(-time.Hour), ClosesAt: time.Now().Add(time.Hour)}
		h.sales, snapshots, ids = append(h.sales, sale), append(snapshots, seckill.Snapshot{Sale: sale}), append(ids, sale.ID)
	}
	_, err := g.Shut(t.Context(), ids)
	require.NoError(t, err)
	require.NoError(t, g.Load(t.Context(), snapshots))
	return h
}

// buys admits a buyer to each of the sales.
func (h hall) buys(buyer string, sales []seckill.Sale) (tickets map[string]seckill.Ticket) {
	h.Helper()
	tickets = map[string]seckill.Ticket{}
	for _, s := range sales {
		a, err := h.gate.Reserve(h.Context(), s.ID, buyer, 1)
		require.NoError(h, err, "sale %d", s.ID)
		require.Equal(h, seckill.Queued, a.Verdict)
		tickets[a.Ticket] = seckill.Ticket{ID: a.Ticket, Sale: s.ID, Buyer: buyer, Quantity: 1}
		h.admitted[s.ID]++
		h.pending[s.ID]++
	}
	return tickets
}

// relays takes all of the tickets from the outbox and notes them as sent.
func (h hall) relays(tickets map[string]seckill.Ticket) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	for missing := len(tickets); missing > 0; {
		some, err := h.gate.Unsent(ctx, 100)
		require.NoError(h, err)
		for _, t := range some {
			if _, ok := tickets[t.ID]; ok {
				missing--
			}
		}
		require.NoError(h, h.gate.Sent(ctx, some))
	}
}

// finishes places all of the tickets. A lost part hears of it when it is back.
func (h hall) finishes(tickets map[string]seckill.Ticket) {
	h.Helper()
	var outcomes []seckill.Outcome
	for _, t := range tickets {
		outcomes = append(outcomes, seckill.Outcome{Ticket: t})
		h.pending[t.Sale]--
	}
	require.NoError(h, h.gate.Finish(h.Context(), outcomes))
}

// knows asserts that the gate has not forgotten anything.
func (h hall) knows(sales []seckill.Sale) {
	h.Helper()
	for _, s := range sales {
		cut, err := h.gate.Cut(h.Context(), s.ID)
		require.NoError(h, err)
		require.EqualValues(h, s.Total-int64(h.admitted[s.ID]), cut.Left, "sale %d", s.ID)
		require.Len(h, cut.Outbox, h.pending[s.ID], "sale %d", s.ID)
	}
}

// halves tells the sales on a member from the others.
func (h hall) halves(c *stack.Cluster, member *stack.Engine) (its, others []seckill.Sale) {
	h.Helper()
	for _, s := range h.sales {
		owner, err := c.Owner(h.Context(), h.gate.outboxKey(bucket(s.ID)))
		require.NoError(h, err)
		if owner == member {
			its = append(its, s)
		} else {
			others = append(others, s)
		}
	}
	require.NotEmpty(h, its)
	require.NotEmpty(h, others)
	return its, others
}

// hears asserts that another node is told of outcomes in every bucket, as Finish does.
func (h hall) hears(other *Gate, tickets map[string]seckill.Ticket) {
	h.Helper()
	for _, ticket := range tickets {
		heard, waiting := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(heard)
			other.waiters.Wait(h.Context(), ticket.ID, func() bool { close(waiting); return false })
		}()
		stacktest.Await(h, "somebody waits", waiting)
		client, err := h.gate.up(bucket(ticket.Sale))
		require.NoError(h, err)
		until(h, fmt.Sprintf("another node hears of sale %d", ticket.Sale), func() bool {
			channel := h.gate.finalChannel(bucket(ticket.Sale))
			require.NoError(h, client.Do(h.Context(), client.B().Spublish().Channel(channel).Message(ticket.ID).Build()).Error())
			select {
			case <-heard:
				return true
			default:
				return false // not subscribed yet
			}
		})
	}
}

// A master that is gone closes its sales, at once, and no others: those are bought,
// relayed and finished as before. When it is back, everything is as it was left.
func TestAMasterOfAClusterIsKilled(t *testing.T) {
	t.Parallel()
	c := stacktest.OwnCluster(t, stack.KindRedis)
	g, other := runGate(t, c.URL(), "seckill:", 0), runGate(t, c.URL(), "seckill:", 0)
	beside := stacktest.Shared(t, stack.KindRedis)
	pulse := stacktest.Beats(t, 50*time.Millisecond, func(ctx context.Context) { _, _ = beside.AskRedis(ctx, "SET", "pulse", "x", "PX", "1") })
	h := newHall(t, g)
	require.Empty(t, g.broken())
	require.NoError(t, g.Belong(t.Context(), "ours"))
	weak, err := g.Weak(t.Context())
	require.NoError(t, err)
	require.Empty(t, weak)

	for i, victim := range c.Members {
		lost, others := h.halves(c, victim)
		before := h.buys(fmt.Sprint("before ", i), h.sales)
		h.relays(before)
		h.hears(other, before)

		require.NoError(t, victim.Kill())
		killed, behind := time.Now(), pulse.LateBy()
		// Nobody waits for the others, whatever has been noticed.
		during := h.buys(fmt.Sprint("during ", i), others)
		require.Less(t, time.Since(killed)-(pulse.LateBy()-behind), 2*callTimeout, "the others are bought as if nothing were")
		for _, s := range others { // a relay that finds no group of readers makes it
			client, err := g.up(bucket(s.ID))
			require.NoError(t, err)
			require.NoError(t, client.Do(t.Context(), client.B().XgroupDestroy().Key(g.outboxKey(bucket(s.ID))).Group(outboxGroup).Build()).Error())
		}
		h.relays(during)
		for _, s := range lost {
			until(t, "the breaker opens", func() bool {
				_, err := g.Reserve(t.Context(), s.ID, "unlucky", 1)
				require.ErrorIs(t, err, seckill.ErrUnavailable)
				_, down := g.up(bucket(s.ID))
				return down != nil
			})
		}
		t.Logf("%d of %d buckets are closed %v after the kill", len(lost), bucketCount, time.Since(killed).Round(time.Millisecond))
		require.Len(t, g.broken(), len(lost))
		require.NoError(t, g.Ping(t.Context()))
		require.NoError(t, g.Belong(t.Context(), "ours"))
		outdated, err := g.Outdated(t.Context(), h.sales)
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		require.Empty(t, outdated)
		weak, err := g.Weak(t.Context())
		require.NoError(t, err, "the others' settings are told")
		for _, line := range weak { // the client may have forgotten the dead one already
			require.Contains(t, line, victim.Addr()+" cannot be checked")
		}
		h.finishes(before) // those of the lost part too: nobody waits for it
		h.finishes(during)
		for _, ticket := range during {
			p, err := g.Find(t.Context(), ticket.Sale, ticket.Buyer, "")
			require.NoError(t, err)
			require.True(t, p.Final)
		}
		h.knows(others)

		late := startsWithout(t, c, len(lost)) // whichever address is the dead one's
		_, err = late.Find(t.Context(), others[0].ID, fmt.Sprint("during ", i), "")
		require.NoError(t, err)
		require.NoError(t, victim.Start(t.Context()))
		until(t, "everything answers again", func() bool { return len(g.broken()) == 0 })
		t.Logf("open again %v after the kill", time.Since(killed).Round(time.Millisecond))
		for _, s := range lost {
			until(t, "it has heard of outcomes", func() bool {
				cut, err := g.Cut(t.Context(), s.ID)
				return err == nil && len(cut.Outbox) == 0
			})
		}
		h.knows(h.sales)
		until(t, "who started meanwhile reaches it", func() bool { return len(late.broken()) == 0 })
		again, err := g.Reserve(t.Context(), lost[0].ID, fmt.Sprint("before ", i), 1)
		require.NoError(t, err)
		require.Contains(t, before, again.Ticket)
		after := h.buys(fmt.Sprint("after ", i), h.sales)
		h.relays(after)
		h.hears(other, after)
		h.finishes(after)
		h.knows(h.sales)
		for _, s := range h.sales {
			require.Zero(t, h.pending[s.ID])
		}
	}
}

// startsWithout runs a gate that can reach all buckets but so many.
func startsWithout(t *testing.T, c *stack.Cluster, lost int) *Gate {
	t.Helper()
	g, err := Open(Settings{Address: c.URL(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	patient(time.Minute)(g)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); _ = g.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-over })
	until(t, "the others are open", func() bool { return len(g.broken()) == lost })
	require.NoError(t, g.Belong(ctx, "ours"))
	return g
}

// One master of three is no majority: without the others it soon refuses its own
// sales too, and everything is as it was when they are back.
func TestAMinorityOfAClusterRefuses(t *testing.T) {
	t.Parallel()
	c := stacktest.OwnCluster(t, stack.KindRedis)
	g := runGate(t, c.URL(), "seckill:", 0)
	h := newHall(t, g)
	its, _ := h.halves(c, c.Members[0])
	for _, e := range c.Members[1:] {
		require.NoError(t, e.Kill())
	}
	killed := time.Now()
	tries := 0
	until(t, "the last one refuses", func() bool {
		_, err := g.Reserve(t.Context(), its[0].ID, fmt.Sprint("try ", tries), 1)
		if tries++; err == nil {
			h.admitted[its[0].ID]++
			h.pending[its[0].ID]++
		} else {
			require.ErrorIs(t, err, seckill.ErrUnavailable)
		}
		return err != nil
	})
	t.Logf("refused %v after the kill", time.Since(killed).Round(time.Millisecond))
	started := time.Now()
	for _, e := range c.Members[1:] {
		require.NoError(t, e.Start(t.Context()))
	}
	for _, s := range h.sales {
		until(t, "it is sold again", func() bool { _, err := g.Reserve(t.Context(), s.ID, "ann", 1); return err == nil })
		h.admitted[s.ID]++
		h.pending[s.ID]++
	}
	t.Logf("all is sold again %v after the start", time.Since(started).Round(time.Millisecond))
	h.knows(h.sales)
}

// A part of a cluster that nobody serves, as newer versions report a master that
// is gone, closes its sales and no others, also for a node that starts then.
func TestAPartOfAClusterHasNoMaster(t *testing.T) {
	t.Parallel()
	c := stacktest.OwnCluster(t, stack.KindRedis)
	h := newHall(t, runGate(t, c.URL(), "seckill:", 0))
	lost, others := h.halves(c, c.Members[1])
	for _, e := range c.Members {
		options, err := rueidis.ParseURL(e.AdminURL())
		require.NoError(t, err)
		options.DisableCache, options.ForceSingleClient = true, true
		admin, err := rueidis.NewClient(options)
		require.NoError(t, err)
		defer admin.Close()
		for _, s := range lost {
			slot, err := admin.Do(t.Context(), admin.B().ClusterKeyslot().Key(h.gate.outboxKey(bucket(s.ID))).Build()).AsInt64()
			require.NoError(t, err)
			require.NoError(t, admin.Do(t.Context(), admin.B().ClusterDelslots().Slot(slot).Build()).Error())
		}
	}
	h.gate = startsWithout(t, c, len(lost))
	h.relays(h.buys("ann", others))
	_, err := h.gate.Reserve(t.Context(), lost[0].ID, "ann", 1)
	require.ErrorIs(t, err, seckill.ErrUnavailable)
}
