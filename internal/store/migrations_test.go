package store

import (
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func testMySQLMigrationsRunOnce(t *testing.T, e *stack.Engine) {
	url := stacktest.Fresh(t, e)
	var wg sync.WaitGroup
	stores := make([]*Store, 6)
	for i := range stores {
		stores[i] = openedMySQL(t, url)
		wg.Go(func() {
			if err := stores[i].Prepare(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	mine, err := migrations.ReadDir("migrations/mysql")
	require.NoError(t, err)
	others, err := migrations.ReadDir("migrations/sqlite")
	require.NoError(t, err)
	require.Equal(t, names(others), names(mine), "both dialects have the same migrations")
	versions := func() (rows, different int) {
		require.NoError(t, stores[0].w.QueryRowContext(t.Context(), "SELECT COUNT(*), COUNT(DISTINCT version_id) FROM goose_db_version").Scan(&rows, &different))
		return rows, different
	}
	rows, different := versions()
	require.Equal(t, [2]int{len(mine) + 1, len(mine) + 1}, [2]int{rows, different})

	// A node that died between a change and the note of it: the tables are there
	// and nobody knows. Then one that died before the first note.
	for _, lost := range []string{"version_id > 0", "TRUE"} {
		_, err = stores[0].w.ExecContext(t.Context(), "DELETE FROM goose_db_version WHERE "+lost)
		require.NoError(t, err)
		preparedMySQL(t, url)
		rows, _ = versions()
		require.Equal(t, len(mine)+1, rows)
	}
	aSale(t, stores[0], 1)
}

func testMySQLAMigrationWaitsForAnother(t *testing.T, e *stack.Engine) {
	s, url := freshMySQL(t, e)
	conn, err := s.w.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	c, _, err := mysqlConfig(url)
	require.NoError(t, err)
	// The session of the first migration may still be on its way out.
	var got int
	require.NoError(t, conn.QueryRowContext(t.Context(), "SELECT GET_LOCK(?, 30)", migrationLock(c.DBName)).Scan(&got))
	require.Equal(t, 1, got)

	second := openedMySQL(t, url)
	done := make(chan error, 1)
	go func() { done <- second.Prepare(t.Context()) }()
	admin := adminOf(t, e)
	until(t, func() bool {
		var n int
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		require.NoError(t, admin.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.processlist WHERE db = ? AND info LIKE 'SELECT GET_LOCK%'",
			s.where[strings.LastIndex(s.where, "/")+1:]).Scan(&n))
		return n == 1
	})
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	_, err = conn.ExecContext(t.Context(), "DO RELEASE_LOCK(?)", migrationLock(c.DBName))
	require.NoError(t, err)
	require.NoError(t, <-done)
}

func names(entries []fs.DirEntry) (all []string) {
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
