package access

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// A node that has not read the rules, or not since the sale was made, does not know that
// the sale asks for nothing.
func TestASaleOfUnknownRulesIsNotSold(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.shelf.down = seckill.ErrUnavailable
	require.Error(t, n.Look(t.Context()))
	require.ErrorIs(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere), seckill.ErrUnavailable, "nothing has been read")
	n.shelf.down = nil
	require.NoError(t, n.Look(t.Context()))
	require.NoError(t, n.Admit(9, Asker{Buyer: "li.wei"}, "", nowhere))
	require.ErrorIs(t, n.Admit(10, Asker{Buyer: "li.wei"}, "", nowhere), seckill.ErrUnavailable, "a sale that another node has made since")
	n.shelf.newest = 10
	require.NoError(t, n.Look(t.Context()))
	require.NoError(t, n.Admit(10, Asker{Buyer: "li.wei"}, "", nowhere))
	n.shelf.down = seckill.ErrUnavailable
	require.Error(t, n.Look(t.Context()))
	require.NoError(t, n.Admit(10, Asker{Buyer: "li.wei"}, "", nowhere), "what was read last stays in force")
}

// A list of a million buyers takes its time. The block list does not wait for it.
func TestALongListKeepsNothingElseBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { n.Run(ctx) })
		n.shelf.slow = make(chan struct{})
		n.shelf.eligible[1] = []string{"li.wei"}
		n.shelf.send(1)
		n.shelf.put(1, seckill.Access{Eligible: seckill.EligibleList})
		time.Sleep(time.Second)
		require.ErrorIs(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere), seckill.ErrUnavailable, "its list is being read")
		began := time.Now()
		n.Ruled(t.Context(), false, true) // a sale is paused
		require.NoError(t, n.LookAtRules(t.Context()), "somebody is blocked")
		require.Zero(t, time.Since(began))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, n.Look(short), context.DeadlineExceeded, "who waits for the list waits no longer than they will")
		n.shelf.put(2, seckill.Access{Pass: true})
		time.Sleep(time.Second)
		require.ErrorIs(t, n.Admit(2, Asker{Buyer: "li.wei"}, "", nowhere), ErrPass)
		require.Less(t, n.Age(), time.Second)
		close(n.shelf.slow)
		time.Sleep(time.Second)
		require.NoError(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere))
		stop()
		running.Wait()
	})
}

// What one node writes holds on the others within a second: entries, rules and lists, and
// what was left unpaid.
func TestWhatOneNodeSetsIsInForceOnTheOtherWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		one := newNode(t)
		other := newNode(t, func(c *Config) { c.Store = one.shelf })
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for _, n := range []node{one, other} {
			running.Go(func() { n.Run(ctx) })
		}
		one.shelf.put(1, seckill.Access{TriesPerBuyer: 1})
		time.Sleep(time.Second)
		set := func(change func(s *shelf)) {
			s := one.shelf
			s.mu.Lock()
			change(s)
			s.mu.Unlock()
			require.NoError(t, one.Look(t.Context()), "as the node does that was asked")
		}
		// says waits until both nodes say so, and for a second at most.
		says := func(want error, sale seckill.SaleID, buyer string) {
			t.Helper()
			began := time.Now()
			require.ErrorIs(t, one.Admit(sale, Asker{Buyer: buyer}, "", nowhere), want)
			for !errors.Is(other.Admit(sale, Asker{Buyer: buyer}, "", nowhere), want) {
				require.Less(t, time.Since(began), time.Second)
				time.Sleep(10 * time.Millisecond)
			}
		}
		set(func(s *shelf) {
			s.entries = []seckill.AccessEntry{{List: "block", Buyer: "farmer"}}
			s.versions["entries"]++
		})
		says(ErrNotEligible, 1, "farmer")
		set(func(s *shelf) { s.entries = nil; s.versions["entries"]++ })
		says(nil, 1, "farmer")
		set(func(s *shelf) {
			s.tries = []seckill.Tries{{Sale: 1, Buyer: "li.wei", Count: 1, Last: one.Now(), Changed: one.Now()}}
		})
		says(ErrTries, 1, "li.wei")
		set(func(s *shelf) { s.rules[2] = seckill.Access{Pass: true}; s.versions["rules"]++ })
		says(ErrPass, 2, "li.wei")
		stop()
		running.Wait()
	})
}

func TestListsHoldForBuyersAndNetworks(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.shelf.entries = []seckill.AccessEntry{
		{List: "block", Network: "203.0.113.0/24"}, {List: "allow", Network: "203.0.113.128/25"}, {List: "block", Network: "2001:db8::/32"},
		{List: "block", Buyer: "farmer"}, {List: "allow", Buyer: "neighbour"}, {List: "block", Sale: 7, Buyer: "neighbour"}, {List: "allow", Sale: 8, Buyer: "farmer"},
	}
	n.shelf.versions["entries"]++
	require.NoError(t, n.Look(t.Context()))
	for _, tt := range []struct {
		sale    seckill.SaleID
		buyer   string
		address string
		blocked bool
	}{
		{1, "li.wei", "198.51.100.1", false},
		{1, "li.wei", "203.0.113.1", true},
		{1, "li.wei", "203.0.113.200", false}, // the smaller network counts
		{1, "li.wei", "::ffff:203.0.113.1", true},
		{1, "li.wei", "2001:db8:9::1", true},
		{1, "farmer", "198.51.100.1", true},
		{8, "farmer", "203.0.113.1", false}, // the sale before all sales, the buyer before the network
		{1, "neighbour", "203.0.113.1", false},
		{7, "neighbour", "198.51.100.1", true},
	} {
		err := n.Admit(tt.sale, Asker{Buyer: tt.buyer}, "", func() netip.Addr { return netip.MustParseAddr(tt.address) })
		require.Equal(t, tt.blocked, errors.Is(err, ErrNotEligible), "%+v: %v", tt, err)
	}
}

func TestWhoMayBuy(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.shelf.set(n.Guard, 1, seckill.Access{Eligible: seckill.EligibleAge, AccountAgeSeconds: 3600})
	n.shelf.eligible[2] = []string{"han.mei", "li.wei"}
	n.shelf.set(n.Guard, 2, seckill.Access{Eligible: seckill.EligibleList})
	require.ErrorIs(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere), ErrNotEligible, "nobody knows how old the account is")
	require.ErrorIs(t, n.Admit(1, Asker{Buyer: "li.wei", Since: n.Now().Add(-time.Minute)}, "", nowhere), ErrNotEligible)
	require.NoError(t, n.Admit(1, Asker{Buyer: "li.wei", Since: n.Now().Add(-time.Hour)}, "", nowhere))
	require.NoError(t, n.Admit(2, Asker{Buyer: "li.wei"}, "", nowhere))
	require.ErrorIs(t, n.Admit(2, Asker{Buyer: "farmer"}, "", nowhere), ErrNotEligible)
	n.shelf.eligible[2] = []string{"farmer"}
	n.shelf.versions["eligible:2"]++
	require.NoError(t, n.Look(t.Context()))
	require.NoError(t, n.Admit(2, Asker{Buyer: "farmer"}, "", nowhere), "another list is another version")
	require.ErrorIs(t, n.Admit(2, Asker{Buyer: "li.wei"}, "", nowhere), ErrNotEligible)
}

func TestUnpaidEndsCount(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.shelf.set(n.Guard, 1, seckill.Access{TriesPerBuyer: 2, CooldownSeconds: 60})
	n.shelf.tries = []seckill.Tries{{Sale: 1, Buyer: "li.wei", Count: 1, Last: n.Now(), Changed: n.Now()}, {Sale: 1, Buyer: "farmer", Count: 2, Last: n.Now(), Changed: n.Now()}, {Sale: 2, Buyer: "han.mei", Count: 9, Last: n.Now(), Changed: n.Now()}}
	require.NoError(t, n.Look(t.Context()))
	var later *Later
	require.ErrorAs(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere), &later)
	require.Equal(t, 60, later.Seconds())
	wrong := n.shelf.now
	n.shelf.now = func() time.Time { return wrong().Add(59 * time.Second) }
	require.ErrorAs(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere), &later)
	require.Equal(t, 1, later.Seconds(), "the store's clock says when it ended, and how long ago that is")
	n.shelf.now = wrong
	n.clock.pass(time.Minute)
	require.NoError(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere))
	require.ErrorIs(t, n.Admit(1, Asker{Buyer: "farmer"}, "", nowhere), ErrNotEligible, "all tries are used")
	require.NoError(t, n.Admit(2, Asker{Buyer: "han.mei"}, "", nowhere), "that sale counts none")
}

// The node where a buyer cancels knows at once, whatever the looks of Run have read.
func TestTheNodeThatCancelsKnowsAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.shelf.set(n.Guard, 1, seckill.Access{TriesPerBuyer: 1})
	n.shelf.tries = []seckill.Tries{{Sale: 1, Buyer: "li.wei", Count: 1, Last: n.Now(), Changed: n.Now()}, {Sale: 2, Buyer: "li.wei", Count: 1, Last: n.Now(), Changed: n.Now()}}
	require.NoError(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere), "it ended elsewhere, and no look has read it")
	for range 2 {
		n.Tried(t.Context(), 1, "li.wei") // and a repeat
		n.Tried(t.Context(), 2, "li.wei")
	}
	require.ErrorIs(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere), ErrTries)
	require.InDelta(t, pointsDropped, n.scores.points(Asker{Buyer: "li.wei"}, n.Now()), 0.01)
	n.shelf.down = seckill.ErrUnavailable
	n.Tried(t.Context(), 1, "li.wei")
	require.ErrorIs(t, n.Admit(1, Asker{Buyer: "li.wei"}, "", nowhere), ErrTries)
}

// A sale that begins to count counts what was left unpaid before, also on a node that has
// read newer tries of other sales since.
func TestASaleThatBeginsToCountMissesNoTries(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.shelf.tries = []seckill.Tries{{Sale: 2, Buyer: "li.wei", Count: 1, Last: n.Now().Add(-time.Hour), Changed: n.Now().Add(-time.Hour)}, {Sale: 1, Buyer: "farmer", Count: 1, Last: n.Now(), Changed: n.Now()}}
	n.shelf.set(n.Guard, 1, seckill.Access{TriesPerBuyer: 1})
	require.ErrorIs(t, n.Admit(1, Asker{Buyer: "farmer"}, "", nowhere), ErrTries)
	n.shelf.set(n.Guard, 2, seckill.Access{TriesPerBuyer: 1})
	require.ErrorIs(t, n.Admit(2, Asker{Buyer: "li.wei"}, "", nowhere), ErrTries)
}

func TestTheRulesReadLastStayInForceWithoutAStore(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	sale := n.sale(seckill.Access{Pass: true})
	n.shelf.down = seckill.ErrUnavailable
	require.Error(t, n.Look(t.Context()))
	require.ErrorIs(t, n.Admit(sale.ID, Asker{Buyer: "li.wei"}, "", nowhere), ErrPass)
}
