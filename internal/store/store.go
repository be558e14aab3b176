// Package store is stage 5 of a purchase: all SQL, and the truth.
//
// A batch of tickets becomes outcomes and orders in one transaction
// ([Store.Settle]). Unique keys and the condition on the sold count make an
// oversell impossible even if every stage above is wrong. Everything that the
// gate caches can be counted again from here ([Store.Snapshot]).
//
// The rules are in Go and shared; the statements that differ between databases
// are in one file for each of them.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"seckill"
)

//go:embed migrations
var migrations embed.FS

// Store is one database. It is safe for concurrent use. Every method that
// cannot reach the database returns an error that wraps seckill.ErrUnavailable.
type Store struct {
	w, r    *sql.DB // SQLite: one writing connection and a pool that reads
	dialect dialect
	where   string // for messages: what was opened, without secrets
	now     func() time.Time
	release func() error

	mu    sync.Mutex
	stmts map[stmtKey]*sql.Stmt
}

// dialect is what differs between databases.
type dialect struct {
	name    string // goose's and the migrations' folder
	goose   database.Dialect
	lock    string // appended to a SELECT that must lock its rows
	greater string // the function that returns the greater of two numbers
	class   func(error) error
}

// Errors of the batch: what failed, so that settle knows what to do.
var (
	// ErrTicket wraps the failure of a batch whose data the database rejects.
	// Alone, the ticket is poison.
	ErrTicket = errors.New("the database rejects the ticket")
	// errDuplicate is a unique key that holds already.
	errDuplicate = errors.New("duplicate")
)

// Open opens the database at url ("sqlite:FILE"), runs the migrations and
// returns the store. With exclusive set it also takes the lease that keeps a
// second node from serving on embedded parts.
func Open(ctx context.Context, url string, exclusive bool) (*Store, error) {
	file, ok := strings.CutPrefix(url, "sqlite:")
	if !ok || file == "" {
		return nil, fmt.Errorf("store %q: want sqlite:FILE", url)
	}
	s, err := openSQLite(ctx, file, exclusive)
	if err != nil {
		return nil, err
	}
	s.now = time.Now
	s.stmts = map[stmtKey]*sql.Stmt{}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: migrations: %w", s.where, err), s.Close())
	}
	return s, nil
}

func (s *Store) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations/"+s.dialect.name)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(s.dialect.goose, s.w, dir)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close gives the lease back and closes the database.
func (s *Store) Close() error {
	s.mu.Lock()
	for _, st := range s.stmts {
		st.Close()
	}
	s.stmts = nil
	s.mu.Unlock()
	err := errors.Join(s.r.Close(), s.w.Close())
	if s.release != nil {
		err = errors.Join(err, s.release())
	}
	return err
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.fail("ping", s.r.PingContext(ctx)) }

// fail names the operation and classifies a database error.
func (s *Store) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: %s: %w", what, s.dialect.class(err))
}

// write runs f in one transaction on the writing connection. A failed commit
// has an unknown outcome: callers repeat the same step, and every step here may
// be repeated.
func (s *Store) write(ctx context.Context, what string, f func(*tx) error) error {
	return s.run(ctx, s.w, nil, what, f)
}

// read runs f in one snapshot.
func (s *Store) read(ctx context.Context, what string, f func(*tx) error) error {
	return s.run(ctx, s.r, &sql.TxOptions{ReadOnly: true}, what, f)
}

func (s *Store) run(ctx context.Context, db *sql.DB, opts *sql.TxOptions, what string, f func(*tx) error) error {
	inner, err := db.BeginTx(ctx, opts)
	if err != nil {
		return s.fail(what, err)
	}
	t := &tx{s: s, tx: inner, db: db}
	if err := f(t); err != nil {
		inner.Rollback()
		return s.fail(what, err)
	}
	if err := inner.Commit(); err != nil {
		return s.fail(what, err)
	}
	for _, query := range t.fresh {
		s.keep(ctx, db, query)
	}
	return nil
}

// tx is a transaction whose statements stay prepared for the next one.
type tx struct {
	s     *Store
	tx    *sql.Tx
	db    *sql.DB
	fresh []string // statements seen for the first time
}

type stmtKey struct {
	db    *sql.DB
	query string
}

// keep prepares query for later transactions. It runs outside a transaction,
// because a transaction occupies the only writing connection.
func (s *Store) keep(ctx context.Context, db *sql.DB, query string) {
	st, err := db.PrepareContext(ctx, query)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stmts == nil || s.stmts[stmtKey{db, query}] != nil {
		st.Close()
		return
	}
	s.stmts[stmtKey{db, query}] = st
}

func (t *tx) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	t.s.mu.Lock()
	st := t.s.stmts[stmtKey{t.db, query}]
	t.s.mu.Unlock()
	if st != nil {
		return t.tx.StmtContext(ctx, st), nil
	}
	t.fresh = append(t.fresh, query)
	return t.tx.PrepareContext(ctx, query)
}

func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	st, err := t.stmt(ctx, query)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// rows calls scan for each row.
func (t *tx) rows(ctx context.Context, query string, args []any, scan func(scanner) error) error {
	st, err := t.stmt(ctx, query)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// one scans the only row; none is seckill.ErrNotFound.
func (t *tx) one(ctx context.Context, query string, args []any, scan func(scanner) error) error {
	found := false
	err := t.rows(ctx, query, args, func(r scanner) error { found = true; return scan(r) })
	if err == nil && !found {
		err = seckill.ErrNotFound
	}
	return err
}

type scanner interface{ Scan(...any) error }

// chunk is the most rows or values that one statement carries.
const chunk = 64

// list returns "(?,?),(?,?)" for rows of width values, or "?,?" for width 1.
func list(rows, width int) string {
	one := "?"
	if width > 1 {
		one = "(" + strings.Repeat("?,", width-1) + "?)"
	}
	return strings.Repeat(one+",", rows-1) + one
}

func ms(t time.Time) int64     { return t.UnixMilli() }
func fromMS(n int64) time.Time { return time.UnixMilli(n).UTC() }
