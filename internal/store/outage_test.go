package store

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// MariaDB hangs for longer than buyers had left to pay, under three nodes. When it goes on,
// a node that lets orders expire, one that takes payments and one that counts the time look
// at the same moment: the time is given back once, every order is there and can be paid.
func TestAHangingMariaDBCountsAgainstNoBuyer(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("MariaDB hangs for 12 s")
	}
	const left, hang = 10 * time.Second, 12 * time.Second
	e := stacktest.Own(t, stack.KindMariaDB)
	makeTables(t, e.URL())
	var nodes []*Store
	for range 3 {
		s := preparedMySQL(t, e.URL())
		s.settings.Credit = time.Hour
		nodes = append(nodes, s)
	}
	ctx, stop := context.WithCancel(t.Context())
	var pulses sync.WaitGroup
	defer pulses.Wait()
	defer stop()
	for _, s := range nodes { // as each node's pulse
		pulses.Go(func() {
			for ctx.Err() == nil {
				try, cancel := context.WithTimeout(ctx, 2*time.Second)
				_, _ = s.Pulse(try)
				cancel()
				duty.Rest(ctx, time.Second)
			}
		})
	}
	_, err := nodes[0].Pulse(t.Context())
	require.NoError(t, err)
	sale := aSale(t, nodes[0], 100)
	_, err = nodes[0].UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error { v.HoldSeconds = int(left.Seconds()); return nil })
	require.NoError(t, err)
	tickets := someTickets(sale.ID, 20)
	mustSettle(t, nodes[0], tickets...)
	before, err := nodes[0].AnyOrder(t.Context(), tickets[0].ID)
	require.NoError(t, err)

	require.NoError(t, syscall.Kill(e.Pid(), syscall.SIGSTOP))
	duty.Rest(t.Context(), hang)
	require.NoError(t, syscall.Kill(e.Pid(), syscall.SIGCONT))

	var all sync.WaitGroup
	all.Go(func() {
		n, err := nodes[0].Expire(t.Context(), 100)
		if err != nil || n != 0 {
			t.Errorf("%d orders expired: %v", n, err)
		}
	})
	all.Go(func() { _, _ = nodes[1].Pulse(t.Context()) })
	all.Go(func() {
		for _, v := range tickets[10:] {
			o, err := nodes[2].Transition(t.Context(), v.ID, v.Buyer, seckill.Paid)
			if err != nil || o.State != seckill.Paid {
				t.Errorf("order %s is %q: %v", v.ID, o.State, err)
			}
		}
	})
	all.Wait()
	after, err := nodes[1].AnyOrder(t.Context(), tickets[0].ID)
	require.NoError(t, err)
	require.Equal(t, seckill.Unpaid, after.State)
	entries, err := nodes[1].History(t.Context(), entryOutage, 10)
	require.NoError(t, err)
	given := time.Duration(0)
	for _, v := range entries {
		given += time.Duration(v.Units) * time.Millisecond
	}
	// The last pulse was up to a second before the orders.
	shift := after.ExpiresAt.Sub(before.ExpiresAt)
	require.GreaterOrEqual(t, shift, hang, "all of it")
	require.LessOrEqual(t, shift, given, "what was noted is what was given, once")
	require.Less(t, given, 2*hang)
}
