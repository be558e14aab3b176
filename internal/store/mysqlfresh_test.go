package store

import (
	"database/sql"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// freshMySQL is a store on a database of its own, and its URL. Its tables are those of a
// database that was migrated: to run all migrations takes longer than most tests.
func freshMySQL(t testing.TB, e *stack.Engine) (*Store, string) {
	t.Helper()
	url := stacktest.Fresh(t, e)
	migratedMySQL.Lock()
	script := migratedMySQL.script
	if script == "" {
		defer migratedMySQL.Unlock()
		s := preparedMySQL(t, url)
		migratedMySQL.script = tablesOf(t, s)
		return s, url
	}
	migratedMySQL.Unlock()
	c, _, err := mysqlConfig(url)
	require.NoError(t, err)
	c.MultiStatements = true
	connector, err := mysql.NewConnector(c)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), script)
	require.NoError(t, err)
	return preparedMySQL(t, url), url
}

// migratedMySQL are the statements that make the tables of a migrated database without
// rows. The first test that asks runs the migrations.
var migratedMySQL struct {
	sync.Mutex
	script string
}

// tablesOf are the statements that make a prepared database's tables, and the list of its
// migrations. No other table may have rows.
func tablesOf(t testing.TB, s *Store) string {
	t.Helper()
	var script, applied string
	for _, table := range column(t, s, "SHOW TABLES") {
		var name, create string
		require.NoError(t, s.w.QueryRowContext(t.Context(), "SHOW CREATE TABLE "+table).Scan(&name, &create))
		script += create + ";\n"
		if table != goose.DefaultTablename {
			require.Empty(t, column(t, s, "SELECT 1 FROM "+table), table)
		}
	}
	for i, version := range column(t, s, "SELECT version_id FROM "+goose.DefaultTablename+" ORDER BY id") {
		if i > 0 {
			applied += ", "
		}
		applied += "(" + version + ", 1)"
	}
	return script + "INSERT INTO " + goose.DefaultTablename + " (version_id, is_applied) VALUES " + applied
}

// column is what a query finds, of which each row is one value.
func column(t testing.TB, s *Store, query string) (values []string) {
	t.Helper()
	rows, err := s.w.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var v string
		require.NoError(t, rows.Scan(&v))
		values = append(values, v)
	}
	require.NoError(t, rows.Err())
	return values
}
