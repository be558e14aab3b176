package redisgate

import (
	"context"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// What a rebuild writes aside is as large as the sale, and Redis gives up nothing
// by itself.
func TestARebuildThatDiesLeavesNothingForEver(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindRedis)
	g := runGate(t, e.URL(), "seckill:", 10)
	ctx := t.Context()
	sale := onSale(t, g, 5)
	admin := administers(t, e)
	shut := func() map[seckill.SaleID][]seckill.Ticket {
		outbox, err := g.Shut(ctx, []seckill.SaleID{sale.ID})
		require.NoError(t, err)
		return outbox
	}
	load := func(outbox map[seckill.SaleID][]seckill.Ticket) error {
		sale.Epoch++
		held := seckill.Ticket{ID: seckill.NewTicketID(time.Now()), Sale: sale.ID, Buyer: "ann", Quantity: 1, Seq: 1}
		return g.Load(ctx, []seckill.Snapshot{{Sale: sale, Active: []seckill.Ticket{held}, Outbox: outbox[sale.ID]}})
	}
	lives := func(pattern string) (all []time.Duration) {
		keys, err := admin.Do(ctx, admin.B().Keys().Pattern(pattern).Build()).AsStrSlice()
		require.NoError(t, err)
		for _, key := range keys {
			ms, err := admin.Do(ctx, admin.B().Pttl().Key(key).Build()).AsInt64()
			require.NoError(t, err)
			all = append(all, time.Duration(ms)*time.Millisecond)
		}
		return all
	}
	outbox := shut()
	may(t, admin, "-unlink")
	require.Error(t, load(outbox), "it writes the holds aside, and does not come to the step that opens")
	aside := lives("*holds*:*:*")
	require.Len(t, aside, 1)
	require.Positive(t, aside[0])
	require.LessOrEqual(t, aside[0], asideLife)
	may(t, admin, "+unlink")
	require.NoError(t, load(shut()))
	require.Equal(t, []time.Duration{-time.Millisecond}, lives("*holds:1"), "the holds of an open sale stay")

	// A node that stood still for longer than that, before the step that opens, opens nothing.
	shut()
	later := sale
	later.Epoch++
	_, err := g.openScript(ctx, &seckill.Snapshot{Sale: later}, g.shut[sale.ID], 1, 1)
	require.ErrorIs(t, err, seckill.ErrClosed)
	require.NoError(t, load(shut()))
	require.Equal(t, []time.Duration{-time.Millisecond}, lives("*holds:1"))
}

// may changes what the gates' user may do.
func may(t testing.TB, admin rueidis.Client, rules ...string) {
	t.Helper()
	users, err := admin.Do(context.Background(), admin.B().Arbitrary("ACL", "USERS").Build()).AsStrSlice()
	require.NoError(t, err)
	require.Contains(t, users, "seckill")
	require.NoError(t, admin.Do(context.Background(), admin.B().Arbitrary("ACL", "SETUSER", "seckill").Args(rules...).Build()).Error())
}
