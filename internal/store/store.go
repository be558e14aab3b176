// Package store is all SQL, and the truth: step 5 of the path of a purchase, and what the
// steps 8 to 17 read and write.
//
// A batch of tickets becomes outcomes and orders in one transaction
// ([Store.Settle]). Unique keys and the condition on the sold count make an
// oversell impossible even if every step before is wrong. Everything that the
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
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/room"
)

//go:embed migrations
var migrations embed.FS

// Settings are what a store is opened with. Without any it keeps no events, retires no
// sale and gives no time back.
type Settings struct {
	// Exclusive takes the lease that keeps a second node from serving on embedded parts.
	// Only SQLite has it; for MySQL see Lease.
	Exclusive bool
	// Connections are the most connections to a server: half of them write, half read; 0
	// for connsMost. SQLite has none.
	Connections int
	// KeepEvents makes every placed order and every change of one leave an event
	// for others (see Events), in the same transaction.
	KeepEvents bool
	// HookTypes are the types of events that are kept for the receivers of webhooks (see
	// SpreadEvents), in the same way.
	HookTypes []string
	// Retention is how long after its end a sale is retired, 0 for never.
	Retention time.Duration
	// Credit is the most time that outages of a day give back to the buyers who could
	// not pay meanwhile, 0 for none.
	Credit time.Duration
	// Aside hears of every row that could not be read and was put aside: its table and
	// its id (see aside.go); nil: nobody hears of it.
	Aside func(table, id string, why error)
	// Rooms count who waits; nil: nobody counts.
	Rooms *room.Metrics
}

// Store is one database. It is safe for concurrent use. Every method that
// cannot reach the database returns an error that wraps seckill.ErrUnavailable,
// and so does every method before Prepare has succeeded.
type Store struct {
	settings Settings

	w, r    *sql.DB  // that writes and that reads; SQLite: one connection writes
	patient patience // places of those who read for people of the shop, see seckill.WithPatience
	dialect dialect
	where   string // for messages: what was opened, without secrets
	// mostEligible is maxEligible, and less in tests.
	mostEligible int64
	now          func() time.Time // nil: the database has its own
	process      func() time.Time // nil: the process has its own; tests give it another
	skew         atomic.Int64     // see Skew
	release      func() error

	preparing sync.Mutex
	prepared  atomic.Bool
	there     chan struct{} // closed when Prepare has worked for the first time
	thereOnce sync.Once

	mu     sync.Mutex
	stmts  map[stmtKey]*sql.Stmt
	asides map[[32]byte]struct{} // rows that this node has reported, see putAside
	// versions are the terms of versions of sales, which never change, see termsOf.
	versions map[version]seckill.Terms
}

// dialect is what differs between databases.
type dialect struct {
	name      string // of the migrations' folder
	goose     database.Dialect
	class     func(error) error // what a failure of the database means
	check     func(context.Context, *Store) error
	underLock func(ctx context.Context, migrate func(*sql.DB) error) error // while no other node migrates
	weak      func(context.Context, *Store) ([]string, error)

	chunk       int                             // the most rows or values that one statement carries
	keeps       bool                            // statements are prepared once and kept
	view        *sql.TxOptions                  // of a transaction that reads one snapshot
	lock        string                          // appended to a SELECT that must lock its rows
	byKey       string                          // after a table's name: find rows by the primary key and lock no others
	clock       string                          // the database's own clock, in milliseconds
	max         string                          // the function that returns the greater of two numbers
	min         string                          // and of the less
	activeBuyer string                          // its index's column
	active      string                          // the buyer of a ticket whose order is active, else nothing that matches
	unpaid      string                          // finds the orders that were unpaid at a moment
	byState     func(seckill.OrderState) string // between tickets and what is joined to them: find orders by their state, newest first
	due         string                          // the ids and times of at most so many unpaid orders that expire until then
}

// Errors of the batch: what failed, so that settle knows what to do.
var (
	// ErrTicket wraps the failure of a batch whose data the database rejects.
	// Alone, the ticket is poison.
	ErrTicket = errors.New("the database rejects the ticket")
	// errDuplicate is a unique key that holds already.
	errDuplicate = errors.New("duplicate")
	// errAgain is a transaction that the database gave up in favour of another
	// one. It may be run again as a whole.
	errAgain = errors.New("gave way to another transaction")
)

// Open opens the database at url, "sqlite:FILE" or
// "mysql://user:pass@host:port/db[?parameters]".
//
// A SQLite store is ready for use. A MySQL store may be down when it is opened:
// Prepare must succeed before it is used.
func Open(ctx context.Context, url string, settings Settings) (*Store, error) {
	s, err := open(ctx, url, settings)
	if err != nil {
		return nil, err
	}
	s.patient = newPatience(s.r.Stats().MaxOpenConnections, settings.Rooms)
	return s, nil
}

func open(ctx context.Context, url string, settings Settings) (*Store, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	switch {
	case scheme == "sqlite" && rest != "":
		s, err := openSQLite(ctx, rest, settings)
		if err != nil {
			return nil, err
		}
		if err := s.Prepare(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return s, nil
	case scheme == "mysql":
		return openMySQL(url, settings)
	}
	// The URL is not repeated: it may hold a password.
	return nil, errors.New("store: --store must be sqlite:FILE or mysql://user:pass@host:port/db")
}

// Prepare connects, refuses a database that cannot keep the promises, and runs
// the migrations, under a lock: any number of nodes may start at once. It may be
// repeated until it succeeds; after that it does nothing.
func (s *Store) Prepare(ctx context.Context) error {
	s.preparing.Lock()
	defer s.preparing.Unlock()
	if s.prepared.Load() {
		return nil
	}
	if s.dialect.check != nil {
		if err := s.dialect.check(ctx, s); err != nil {
			return fmt.Errorf("store %s: %w (check --store)", s.where, err)
		}
	}
	if err := s.migrate(ctx); err != nil {
		return fmt.Errorf("store %s: migrations: %w", s.where, err)
	}
	s.prepared.Store(true)
	look := func(ctx context.Context) error { // before the first pulse too, Now is the store's clock
		_, err := s.Clock(ctx)
		return err
	}
	for _, step := range []func(context.Context) error{s.foldNames, s.endLeases, look} {
		if err := step(ctx); err != nil {
			s.prepared.Store(false)
			return fmt.Errorf("store %s: %w", s.where, err)
		}
	}
	s.thereOnce.Do(func() { close(s.Prepared()) })
	return nil
}

// Prepared returns a channel that is closed once Prepare has worked.
func (s *Store) Prepared() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.there == nil {
		s.there = make(chan struct{})
	}
	return s.there
}

func (s *Store) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations/"+s.dialect.name)
	if err != nil {
		return err
	}
	up := func(db *sql.DB) error {
		p, err := goose.NewProvider(s.dialect.goose, db, dir, goose.WithAllowOutofOrder(true)) // numbers are given out before files are written
		if err != nil {
			return err
		}
		if _, err := p.Up(ctx); err != nil {
			return s.dialect.class(err)
		}
		return nil
	}
	if s.dialect.underLock != nil {
		return s.dialect.underLock(ctx, up)
	}
	return up(s.w)
}

// Weak returns, each as a sentence, the settings of the database that keep less
// than is promised for kill -9 and power loss, and what to set instead.
func (s *Store) Weak(ctx context.Context) (weak []string, err error) {
	if s.dialect.weak == nil {
		return nil, nil
	}
	err = s.use(func() error {
		weak, err = s.dialect.weak(ctx, s)
		return err
	})
	return weak, named("settings", err)
}

// Close gives the lease back and closes the database.
func (s *Store) Close() error {
	s.mu.Lock()
	for _, st := range s.stmts {
		st.Close()
	}
	s.stmts = nil
	s.mu.Unlock()
	var errs []error
	for _, db := range []*sql.DB{s.r, s.w} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.release != nil {
		errs = append(errs, s.release())
	}
	return errors.Join(errs...)
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.ask(ctx, "ping", func(*tx) error {
		if err := s.r.PingContext(ctx); err != nil {
			return s.dialect.class(err)
		}
		return nil
	})
}

// write runs f in one transaction. A failed commit has an unknown outcome:
// callers repeat the same step, and every step here may be repeated. f itself is
// run again when the database gives the transaction up in favour of another.
func (s *Store) write(ctx context.Context, what string, f func(*tx) error) error {
	err := s.use(func() error {
		for try := 1; ; try++ {
			err := s.transact(ctx, s.w, nil, s.dialect.lock, f)
			if try == maxTries || !errors.Is(err, errAgain) || !yield(ctx, try) {
				return err
			}
		}
	})
	return named(what, err)
}

// read runs f in one snapshot. It locks nothing and waits for nobody.
func (s *Store) read(ctx context.Context, what string, f func(*tx) error) error {
	err := s.reading(ctx, func() error { return s.transact(ctx, s.r, s.dialect.view, "", f) })
	return named(what, err)
}

// ask runs f, which asks one statement: that is a snapshot by itself.
func (s *Store) ask(ctx context.Context, what string, f func(*tx) error) error {
	err := s.reading(ctx, func() error {
		t := &tx{s: s, db: s.r, q: s.r}
		err := f(t)
		if err == nil {
			t.keep(ctx)
		}
		return err
	})
	return named(what, err)
}

var errUnprepared = fmt.Errorf("%w: the database has not been reached yet", seckill.ErrUnavailable)

func (s *Store) use(f func() error) error {
	if !s.prepared.Load() {
		return errUnprepared
	}
	return f()
}

func named(what string, err error) error {
	if err == nil || errors.Is(err, seckill.ErrState) {
		return err // a decision and no failure: the client gets its words as they are
	}
	return fmt.Errorf("store: %s: %w", what, err)
}

const (
	maxTries = 5                    // of a transaction that gives way to others
	minYield = 2 * time.Millisecond // before the second one; doubles
)

// yield waits before the next try, for a random time: those who met once must
// not meet again. It returns false when ctx is done.
func yield(ctx context.Context, try int) bool {
	return duty.Rest(ctx, time.Duration((0.5+rand.Float64())*float64(minYield<<try))) == nil
}

func (s *Store) transact(ctx context.Context, db *sql.DB, opts *sql.TxOptions, lock string, f func(*tx) error) error {
	inner, err := db.BeginTx(ctx, opts)
	if err != nil {
		return s.dialect.class(err)
	}
	t := &tx{s: s, tx: inner, db: db, q: inner, lock: lock}
	if err := f(t); err != nil {
		inner.Rollback()
		return err
	}
	if err := inner.Commit(); err != nil {
		return s.dialect.class(err)
	}
	t.keep(ctx)
	return nil
}

// tx is a transaction, or one statement without any. Its errors are classified.
type tx struct {
	s     *Store
	tx    *sql.Tx // nil: a statement by itself
	db    *sql.DB
	q     querier  // tx or db
	lock  string   // the dialect's where the transaction may lock
	fresh []string // statements to keep prepared
}

type querier interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

type stmtKey struct {
	db    *sql.DB
	query string
}

// keep prepares the new statements for later transactions. It runs after the
// transaction, because that may occupy the only connection.
func (t *tx) keep(ctx context.Context) {
	for _, query := range t.fresh {
		st, err := t.db.PrepareContext(ctx, steady(query))
		if err != nil {
			return
		}
		t.s.mu.Lock()
		if key := (stmtKey{t.db, query}); t.s.stmts == nil || t.s.stmts[key] != nil {
			st.Close()
		} else {
			t.s.stmts[key] = st
		}
		t.s.mu.Unlock()
	}
}

// steady is the statement in the form in which it stays prepared. SQLite plans by the value
// that is bound to a plain LIMIT, and so compiles the statement again each time that a value
// is bound, which took a third to half of a look's time. It does not look behind a sign.
func steady(query string) string { return strings.ReplaceAll(query, "LIMIT ?", "LIMIT +?") }

// stmt returns the prepared statement if there is one.
func (t *tx) stmt(ctx context.Context, query string) *sql.Stmt {
	if !t.s.dialect.keeps {
		return nil
	}
	t.s.mu.Lock()
	st := t.s.stmts[stmtKey{t.db, query}]
	t.s.mu.Unlock()
	switch {
	case st == nil:
		t.fresh = append(t.fresh, query)
	case t.tx != nil:
		return t.tx.StmtContext(ctx, st)
	}
	return st
}

func (t *tx) result(ctx context.Context, query string, args ...any) (res sql.Result, err error) {
	if st := t.stmt(ctx, query); st != nil {
		res, err = st.ExecContext(ctx, args...)
	} else {
		res, err = t.q.ExecContext(ctx, query, args...)
	}
	if err != nil {
		return nil, t.s.dialect.class(err)
	}
	return res, nil
}

// exec returns how many rows matched, changed or not.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := t.result(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// rows calls scan for each row.
func (t *tx) rows(ctx context.Context, query string, args []any, scan func(scanner) error) error {
	var rows *sql.Rows
	var err error
	if st := t.stmt(ctx, query); st != nil {
		rows, err = st.QueryContext(ctx, args...)
	} else {
		rows, err = t.q.QueryContext(ctx, query, args...)
	}
	if err != nil {
		return t.s.dialect.class(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return t.s.dialect.class(err)
	}
	return nil
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
