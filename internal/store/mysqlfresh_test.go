package store

import (
	"context"
	"database/sql"
	"sync"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// freshMySQL is a store on an empty database of its own, and its URL. To run all migrations,
// and to make and drop all tables, takes longer than most tests: its tables are those of a
// database that was migrated, and within [TestMySQL] it may be one that another test is done with.
func freshMySQL(t testing.TB, e *stack.Engine) (*Store, string) {
	t.Helper()
	owner, url := takeEmptied(t, e)
	if url == "" {
		url = stacktest.Fresh(goesWith{t, owner}, e)
		makeTables(t, url)
	}
	if owner != t {
		t.Cleanup(func() { giveEmptied(t, e, url) }) // after the store is closed
	}
	return preparedMySQL(t, url), url
}

// goesWith is a test that takes something which outlives it: it goes with its owner.
type goesWith struct {
	testing.TB
	owner testing.TB
}

func (g goesWith) Cleanup(f func())                  { g.owner.Cleanup(f) }
func (g goesWith) Errorf(format string, args ...any) { g.owner.Errorf(format, args...) }

// emptied are databases on an engine that no test uses now. They go when their owner ends.
var emptied struct {
	sync.Mutex
	engine *stack.Engine
	owner  testing.TB
	urls   []string
}

// reuse lets the tests within t take over each other's databases of the engine.
func reuse(t testing.TB, e *stack.Engine) {
	emptied.Lock()
	defer emptied.Unlock()
	emptied.engine, emptied.owner, emptied.urls = e, t, nil
	t.Cleanup(func() {
		emptied.Lock()
		defer emptied.Unlock()
		emptied.engine, emptied.owner, emptied.urls = nil, nil, nil
	})
}

// takeEmptied returns a database that is empty, if there is one, and with whom a new one goes.
func takeEmptied(t testing.TB, e *stack.Engine) (owner testing.TB, url string) {
	emptied.Lock()
	defer emptied.Unlock()
	if emptied.engine != e {
		return t, ""
	}
	if n := len(emptied.urls); n > 0 {
		url, emptied.urls = emptied.urls[n-1], emptied.urls[:n-1]
	}
	return emptied.owner, url
}

// giveEmptied removes all rows, and lets numbers begin at 1 again. The database of a test that
// failed stays as it is.
func giveEmptied(t testing.TB, e *stack.Engine, url string) {
	if t.Failed() {
		return
	}
	db, ctx := manyStatements(t, url), context.Background()
	defer db.Close()
	var script string
	for _, table := range column(ctx, t, db, "SHOW TABLES") {
		if table != goose.DefaultTablename {
			script += "DELETE FROM " + table + ";"
		}
	}
	for _, table := range column(ctx, t, db, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND auto_increment > 1 AND table_name <> '"+goose.DefaultTablename+"'") {
		script += "ALTER TABLE " + table + " AUTO_INCREMENT = 1;"
	}
	_, err := db.ExecContext(ctx, script)
	require.NoError(t, err)
	emptied.Lock()
	defer emptied.Unlock()
	if emptied.engine == e {
		emptied.urls = append(emptied.urls, url)
	}
}

// manyStatements is a connection that takes several statements at once.
func manyStatements(t testing.TB, url string) *sql.DB {
	t.Helper()
	c, _, err := mysqlConfig(url)
	require.NoError(t, err)
	c.MultiStatements = true
	connector, err := mysql.NewConnector(c)
	require.NoError(t, err)
	return sql.OpenDB(connector)
}

// makeTables makes the tables of a migrated database.
func makeTables(t testing.TB, url string) {
	t.Helper()
	migratedMySQL.Lock()
	script := migratedMySQL.script
	if script == "" {
		defer migratedMySQL.Unlock()
		migratedMySQL.script = tablesOf(t, preparedMySQL(t, url).w)
		return
	}
	migratedMySQL.Unlock()
	db := manyStatements(t, url)
	defer db.Close()
	_, err := db.ExecContext(t.Context(), script)
	require.NoError(t, err)
}

// migratedMySQL are the statements that make the tables of a migrated database without
// rows. The first test that asks runs the migrations.
var migratedMySQL struct {
	sync.Mutex
	script string
}

// tablesOf are the statements that make a prepared database's tables, and the list of its
// migrations. No other table may have rows.
func tablesOf(t testing.TB, db *sql.DB) string {
	t.Helper()
	var script, applied string
	for _, table := range column(t.Context(), t, db, "SHOW TABLES") {
		var name, create string
		require.NoError(t, db.QueryRowContext(t.Context(), "SHOW CREATE TABLE "+table).Scan(&name, &create))
		script += create + ";\n"
		if table != goose.DefaultTablename {
			require.Empty(t, column(t.Context(), t, db, "SELECT 1 FROM "+table), table)
		}
	}
	for i, version := range column(t.Context(), t, db, "SELECT version_id FROM "+goose.DefaultTablename+" ORDER BY id") {
		if i > 0 {
			applied += ", "
		}
		applied += "(" + version + ", 1)"
	}
	return script + "INSERT INTO " + goose.DefaultTablename + " (version_id, is_applied) VALUES " + applied
}

// column is what a query finds, of which each row is one value.
func column(ctx context.Context, t testing.TB, db *sql.DB, query string) (values []string) {
	t.Helper()
	rows, err := db.QueryContext(ctx, query)
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
