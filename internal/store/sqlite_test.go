package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

func TestASecondNodeIsRefusedAndToldWhatToDo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "seckill.db")
	first, err := Open(t.Context(), "sqlite:"+file, Settings{Exclusive: true})
	require.NoError(t, err)
	_, err = Open(t.Context(), "sqlite:"+file, Settings{Exclusive: true})
	for _, hint := range []string{filepath.Dir(file), fmt.Sprint("process ", os.Getpid()), "--data-dir"} {
		require.ErrorContains(t, err, hint)
	}
	beside, err := Open(t.Context(), "sqlite:"+file, Settings{})
	require.NoError(t, err, "a command beside the node needs no lease")
	require.NoError(t, beside.Close())
	require.NoError(t, first.Close())
	sqliteAt(t, file)
}

func TestALeaseOutlivesTheContextOfTheStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "seckill.db")
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Open(ctx, "sqlite:"+file, Settings{Exclusive: true})
	require.NoError(t, err)
	defer s.Close()
	cancel()
	require.NoError(t, s.Ping(t.Context()))
	_, err = Open(t.Context(), "sqlite:"+file, Settings{Exclusive: true})
	require.Error(t, err)
}

func TestAStoreThatCannotBeOpenedKeepsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "seckill.db")
	require.NoError(t, os.Mkdir(file, 0o700))
	_, err := Open(t.Context(), "sqlite:"+file, Settings{Exclusive: true})
	require.ErrorContains(t, err, file)
	require.NoError(t, os.Remove(file))
	sqliteAt(t, file) // the lease was given back
	for _, url := range []string{"", "sqlite:", "sqlite", "postgres://x"} {
		_, err := Open(t.Context(), url, Settings{Exclusive: true})
		assert.Error(t, err, url)
	}
}

func TestWhatWasCommittedIsThereAfterwards(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a folder", "秒杀 100%?.db")
	s, err := Open(t.Context(), "sqlite:"+file, Settings{Exclusive: true})
	require.NoError(t, err)
	shop := newShop(t, s)
	sale := shop.open(3)
	v := shop.place(sale.ID, "ann", 2)
	require.NoError(t, s.Close())
	_, err = os.Stat(file)
	require.NoError(t, err)
	again := newShop(t, sqliteAt(t, file))
	require.EqualValues(t, 2, again.sold(sale.ID))
	require.Equal(t, []seckill.Reason{placed}, again.settle(v))
}

// The promise of durability is one of these settings.
// A node that was killed held leases. The next one does not wait for their end, since
// nobody else uses its database; what stands there for good stays.
func TestTheNextNodeTakesTheLeasesOfTheOneThatDied(t *testing.T) {
	t.Parallel()
	file, ctx := filepath.Join(t.TempDir(), "seckill.db"), t.Context()
	one, err := Open(ctx, "sqlite:"+file, Settings{Exclusive: true})
	require.NoError(t, err)
	require.NoError(t, one.Prepare(ctx))
	who, err := one.Identity(ctx)
	require.NoError(t, err)
	held, _, err := one.Lease(ctx, "refunds", "one", 15*time.Second)
	require.NoError(t, err)
	require.True(t, held)
	require.NoError(t, one.Close()) // without a word, as one that dies

	two := sqliteAt(t, file)
	require.NoError(t, two.Prepare(ctx))
	held, by, err := two.Lease(ctx, "refunds", "two", 15*time.Second)
	require.NoError(t, err)
	require.True(t, held, "held by %s", by)
	again, err := two.Identity(ctx)
	require.NoError(t, err)
	require.Equal(t, who, again)
}

func TestSQLiteIsDurable(t *testing.T) {
	t.Parallel()
	s := openTestSQLite(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		require.NoError(t, s.w.QueryRow("PRAGMA "+pragma).Scan(&got))
		assert.Equal(t, want, got, pragma)
	}
}

// Unique keys and conditions hold even if every rule above them is wrong.
func TestTheSchemaItselfPreventsAnOversell(t *testing.T) {
	t.Parallel()
	s := newShop(t, openTestSQLite(t))
	sale := s.open(2)
	v := s.place(sale.ID, "ann", 1)
	for what, query := range map[string]string{
		"sold beyond total":           "UPDATE sales SET sold = 3",
		"sold below nothing":          "UPDATE sales SET sold = -1",
		"total below sold":            "UPDATE sales SET total = 0",
		"a ticket twice":              "INSERT INTO tickets SELECT id, 99, 'zoe', 1, 1, 'refused', 'limit', 0, 0, 0 FROM tickets",
		"a buyer's second order":      "INSERT INTO tickets SELECT 'another', sale, buyer, 1, 1, 'paid', '', 0, 0, 0 FROM tickets",
		"an order of nothing":         "UPDATE tickets SET quantity = 0",
		"a ticket's units back twice": "INSERT INTO returns VALUES ('" + v.ID + "', 1, 'ann', 1), ('" + v.ID + "', 1, 'ann', 1)",
	} {
		_, err := s.w.Exec(query)
		assert.Error(t, err, what)
	}
	s.invariants(t)
}

// The batch says which sale's row cannot be read, reports it once, and leaves nothing;
// without that sale it is settled. Numbers can be damaged in SQLite alone: MySQL has types.
func TestABatchNamesTheSaleThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := sqliteAt(t, filepath.Join(t.TempDir(), "seckill.db"))
	ctx := t.Context()
	var aside []string
	s.settings.Aside = func(table, id string, why error) { aside = append(aside, table+" "+id) }
	good, bad := aSale(t, s, 10), aSale(t, s, 10)
	tickets := append(someTickets(good.ID, 2), someTickets(bad.ID, 2)...)
	for _, damage := range []string{"UPDATE sales SET price = 'free' WHERE id = ?", "UPDATE sales SET price = 1, hold_seconds = 'long' WHERE id = ?"} {
		_, err := s.w.ExecContext(ctx, damage, bad.ID)
		require.NoError(t, err)
		_, err = s.Settle(ctx, tickets)
		id, damaged := DamagedSale(err)
		require.True(t, damaged, "%v", err)
		require.Equal(t, bad.ID, id)
		_, err = s.Refuse(ctx, tickets[3], seckill.ReasonPoison)
		_, damaged = DamagedSale(err)
		require.True(t, damaged, "%v", err)
	}
	require.Equal(t, []string{"sales " + bad.ID.String(), "sales " + bad.ID.String()}, aside, "once for each damage")
	for _, o := range mustSettle(t, s, tickets[:2]...) {
		require.True(t, o.Placed())
	}
	_, err := s.w.ExecContext(ctx, "UPDATE sales SET hold_seconds = 60 WHERE id = ?", bad.ID)
	require.NoError(t, err)
	for _, o := range mustSettle(t, s, tickets...) {
		require.True(t, o.Placed())
	}
}
