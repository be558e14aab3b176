package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
)

// Two nodes whose clocks are hours apart agree on how long an invitation holds, on when a
// sale is retired, and on whose rules are in force: all go by the database's clock, as it was
// at the last pulse, or at the start before there was one.
func testMySQLClocksDifferElsewhere(t *testing.T, e *stack.Engine) {
	ctx := t.Context()
	ahead, url := freshMySQL(t, e)
	behind := preparedMySQL(t, url)
	ahead.process = func() time.Time { return time.Now().Add(8 * time.Hour) }
	behind.process = func() time.Time { return time.Now().Add(-90 * time.Second) }
	for _, s := range []*Store{ahead, behind} {
		s.prepared.Store(false)
		require.NoError(t, s.Prepare(ctx))
		require.WithinDuration(t, time.Now(), s.Now(), 5*time.Second)
	}
	ruled := seckill.Access{Pass: true, Challenge: seckill.ChallengeWork}
	open, err := behind.CreateSale(ctx, seckill.Sale{Title: "Phone", Price: 9900, Currency: "CNY", Total: 10, LimitPerBuyer: 5, Access: ruled,
		OpensAt: time.Now().Add(-time.Hour), ClosesAt: time.Now().Add(time.Hour), HoldSeconds: 60})
	require.NoError(t, err)
	for _, s := range []*Store{ahead, behind} {
		rules, err := s.AccessRules(ctx, time.Hour)
		require.NoError(t, err)
		require.Equal(t, map[seckill.SaleID]seckill.Access{open.ID: ruled}, rules, "a sale that is missing would be sold without a pass")
	}
	nodes := map[string]*Store{"ahead": ahead, "behind": behind}
	for name, s := range nodes {
		s.settings.Retention = 24 * time.Hour
		look := s.Pulse
		if s == behind { // a node at which nobody pays only looks at the clock
			look = s.Clock
		}
		_, err := look(ctx)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), s.Now(), 5*time.Second, name)
	}
	for name, s := range nodes {
		require.NoError(t, s.Invite(ctx, "code of "+name, 2, time.Now().Add(time.Minute)))
		for who, other := range nodes {
			a := seckill.Account{Name: name + who, Buyer: name + who, Hash: "x", CreatedAt: time.Now(), Invite: "code of " + name}
			require.NoError(t, other.CreateAccount(ctx, a), "a minute is not over on any node")
		}
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	retired := map[seckill.SaleID]bool{}
	for closed, is := range map[time.Duration]bool{-24*time.Hour + time.Minute: false, -24*time.Hour - time.Minute: true} {
		sale, err := ahead.CreateSale(ctx, seckill.Sale{Title: "Phone", Price: 9900, Currency: "CNY", Total: 10, LimitPerBuyer: 5,
			OpensAt: now.Add(-48 * time.Hour), ClosesAt: now.Add(closed), HoldSeconds: 60})
		require.NoError(t, err)
		retired[sale.ID] = is
	}
	for name, s := range nodes {
		for id, is := range retired {
			v, err := s.Sale(ctx, id)
			require.NoError(t, err)
			require.Equal(t, is, v.Retired, "%s, sale %s", name, id)
		}
	}
}
