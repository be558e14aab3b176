package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3/database"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"seckill"
)

// openSQLite opens the database in file, which only this machine may use.
func openSQLite(ctx context.Context, file string, settings Settings) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{settings: settings, where: "sqlite:" + file, mostEligible: maxEligible, dialect: dialect{
		name:        "sqlite",
		goose:       database.DialectSQLite3,
		class:       classSQLite,
		chunk:       64,
		keeps:       true,
		view:        &sql.TxOptions{ReadOnly: true},
		clock:       "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
		max:         "MAX",
		active:      "state IN ('unpaid', 'paid') AND buyer",
		activeBuyer: "buyer",
		min:         "MIN",
		unpaid:      "state = 'unpaid' AND expires_at > ?",
		byState: func(state seckill.OrderState) string {
			if state == seckill.Unpaid {
				return " INDEXED BY tickets_unpaid JOIN"
			}
			return " INDEXED BY tickets_state JOIN"
		},
		due: "SELECT id, expires_at FROM tickets WHERE state = 'unpaid' AND expires_at <= ? ORDER BY expires_at LIMIT ?",
	}, now: time.Now, stmts: map[stmtKey]*sql.Stmt{}}
	if settings.Exclusive {
		release, err := leaseSQLite(ctx, file+".lease")
		if err != nil {
			return nil, err
		}
		s.release = release
	}
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "foreign_keys(1)", "cache_size(-65536)", "wal_autocheckpoint(8000)"},
		"_txlock": {"immediate"},
	}.Encode()
	var err error
	if s.w, err = sql.Open("sqlite", dsn); err == nil {
		s.w.SetMaxOpenConns(1)
		if s.r, err = sql.Open("sqlite", dsn); err == nil {
			s.r.SetMaxOpenConns(8)
			s.r.SetMaxIdleConns(8)
			err = s.w.PingContext(ctx)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store %s cannot be opened: %w (check --store and --data-dir)", s.where, err), s.Close())
	}
	return s, nil
}

// leaseSQLite takes the lease of the embedded parts: an open write transaction
// on a small database of its own. The operating system frees it when the
// process dies, however it dies, so a restart never waits.
func leaseSQLite(ctx context.Context, file string) (release func() error, err error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?_pragma=busy_timeout(0)&_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("lease %s: %w", file, err)
	}
	db.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	held := func(cause error) error {
		if e, ok := errors.AsType[*sqlite.Error](cause); ok && e.Code()&0xff != sqlite3.SQLITE_BUSY && e.Code()&0xff != sqlite3.SQLITE_LOCKED {
			return fmt.Errorf("the data in %s cannot be written by this user, number %d: %w: give it the folder and the files in it (chown, chmod u+w), or start this node with another --data-dir", filepath.Dir(file), os.Getuid(), cause)
		}
		pid := "another process"
		var n int
		if db.QueryRowContext(ctx, "SELECT pid FROM lease").Scan(&n) == nil {
			pid = fmt.Sprintf("process %d", n)
		}
		return fmt.Errorf("the data in %s is in use by %s (%v): stop it first, or start this node with another --data-dir; several nodes need shared engines", filepath.Dir(file), pid, cause)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, held(err)
	}
	for _, q := range []string{"CREATE TABLE IF NOT EXISTS lease (pid INTEGER NOT NULL)", "DELETE FROM lease", fmt.Sprintf("INSERT INTO lease VALUES (%d)", os.Getpid())} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			tx.Rollback()
			return nil, held(err)
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, held(err)
	}
	// The transaction that is held outlives the context of the start.
	if tx, err = db.BeginTx(context.WithoutCancel(ctx), nil); err != nil {
		return nil, held(err)
	}
	return func() error { return errors.Join(tx.Rollback(), db.Close()) }, nil
}

// classSQLite tells what a failure means to the caller.
func classSQLite(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) { // a connection or a context that has ended
		return fmt.Errorf("%w: %w", seckill.ErrUnavailable, err)
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %w", errDuplicate, err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return fmt.Errorf("%w: %w", ErrTicket, err)
	}
	return fmt.Errorf("%w: %w", seckill.ErrUnavailable, err)
}
