package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/ca/catest"
	"seckill/internal/stack"
)

// TestMySQL is everything on a MariaDB that the tests share.
func TestMySQL(t *testing.T) {
	t.Parallel()
	e := stack.Shared(t, stack.KindMariaDB)
	t.Run("tests", func(t *testing.T) { // ends when all of them have
		testStore(t, func(t testing.TB) *Store { s, _ := freshMySQL(t, e); return s })
		for _, b := range []struct {
			name string
			test func(*testing.T, *stack.Engine)
		}{
			{"migrations run once, however many nodes start", testMySQLMigrationsRunOnce},
			{"a migration waits for another", testMySQLAMigrationWaitsForAnother},
			{"a deadlock is tried again", testMySQLDeadlockIsTriedAgain},
			{"a lock wait is tried again, from the beginning", testMySQLLockWaitIsTriedAgain},
			{"settlers that race agree", testMySQLSettlersRace},
			{"units that are gone when they are taken are refused", testMySQLUnitsThatDoNotFitAreRefused},
			{"names are bytes", testMySQLNamesAreBytes},
			{"a snapshot is one moment", testMySQLASnapshotIsOneMoment},
			{"a look waits for nobody", testMySQLLookLocksNothing},
			{"orders expire while they are paid", testMySQLExpireMeetsPay},
		} {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				b.test(t, e)
			})
		}
		for _, b := range both {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				s, _ := freshMySQL(t, e)
				b.test(t, s)
			})
		}
	})
}

// both must hold for both dialects.
var both = []struct {
	name string
	test func(*testing.T, *Store)
}{
	{"a lease has one holder", testLease},
	{"events tell what became of an order", testEvents},
	{"events of an order keep their order", testEventsOfAnOrderKeepTheirOrder},
	{"events fit their row", testEventsFitTheirRow},
	{"events of an older version are sent", testEventsOfAnOlderVersion},
	{"what is no event is put aside and keeps no event waiting", testEventsThatCannotBeRead},
}

func TestSQLiteToo(t *testing.T) {
	t.Parallel()
	for _, b := range both {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "s.db"), false)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			b.test(t, s)
		})
	}
}

// preparedMySQL opens the database at url and prepares it.
func preparedMySQL(t testing.TB, url string) *Store {
	t.Helper()
	s := openedMySQL(t, url)
	require.NoError(t, s.Prepare(t.Context()))
	return s
}

func openedMySQL(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url, false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// freshMySQL is a store on a database of its own, and its URL.
func freshMySQL(t testing.TB, e *stack.Engine) (*Store, string) {
	t.Helper()
	url := e.Fresh(t)
	return preparedMySQL(t, url), url
}

// aSale is a sale of total units at 9900.
func aSale(t testing.TB, s *Store, total int64) seckill.Sale {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	sale, err := s.CreateSale(t.Context(), seckill.Sale{Title: "Phone", Price: 9900, Currency: "CNY", Total: total, LimitPerBuyer: 5,
		OpensAt: now, ClosesAt: now.Add(time.Hour), HoldSeconds: 900})
	require.NoError(t, err)
	return sale
}

// someTickets are n tickets of one unit, each of a buyer of its own.
func someTickets(sale seckill.SaleID, n int) []seckill.Ticket {
	tickets := make([]seckill.Ticket, n)
	for i := range tickets {
		id := seckill.NewTicketID(time.Now())
		tickets[i] = seckill.Ticket{ID: id, Sale: sale, Buyer: "b" + id[9:], Quantity: 1, Seq: int64(i + 1), At: time.Now()}
	}
	return tickets
}

func mustSettle(t testing.TB, s *Store, tickets ...seckill.Ticket) []seckill.Outcome {
	t.Helper()
	outcomes, err := s.Settle(t.Context(), tickets)
	require.NoError(t, err)
	return outcomes
}

// units is what the rows say is sold, and what the counter says.
func units(t testing.TB, s *Store, sale seckill.SaleID) (rows, sold, total int64) {
	t.Helper()
	v, err := s.Look(t.Context(), sale, nil)
	require.NoError(t, err)
	return seckill.Units(v.Active), v.Sale.Sold, v.Sale.Total
}

// until asks again and again whether ok.
func until(t testing.TB, ok func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(5*time.Millisecond), time.NewTimer(time.Minute)
	defer tick.Stop()
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("it never came to pass")
		}
	}
}

// rival is a plain connection that holds locks against a store.
func rival(t testing.TB, s *Store, statement string, args ...any) *sql.Tx {
	t.Helper()
	tx, err := s.w.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { tx.Rollback() })
	_, err = tx.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
	return tx
}

var looks struct {
	sync.Mutex
	last time.Time
}

// waiting returns how many transactions of the store's database wait for a lock.
func waiting(t testing.TB, admin *sql.DB, s *Store) (n int) {
	t.Helper()
	// InnoDB answers from a copy that it renews only when nobody has read it for
	// 100 ms: tests that look at the same time would see the past for ever.
	looks.Lock()
	defer looks.Unlock()
	<-time.After(time.Until(looks.last.Add(150 * time.Millisecond)))
	defer func() { looks.last = time.Now() }()
	db := s.where[strings.LastIndex(s.where, "/")+1:]
	require.NoError(t, admin.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM information_schema.innodb_trx t
		JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id WHERE t.trx_state = 'LOCK WAIT' AND p.db = ?`, db).Scan(&n))
	return n
}

func adminOf(t testing.TB, e *stack.Engine) *sql.DB {
	t.Helper()
	c, _, err := mysqlConfig(e.AdminURL())
	require.NoError(t, err)
	db, err := openSession(c, "READ COMMITTED")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestMySQLURL(t *testing.T) {
	t.Parallel()
	c, where, err := mysqlConfig("mysql://u:p%40%2Fw@db.example/shop?tls=true")
	require.NoError(t, err)
	require.Equal(t, "mysql://u@db.example:3306/shop", where)
	require.Equal(t, []string{"u", "p@/w", "db.example:3306", "shop", "db.example"}, []string{c.User, c.Passwd, c.Addr, c.DBName, c.TLS.ServerName})
	require.True(t, c.ClientFoundRows && c.InterpolateParams && c.ParseTime && !c.MultiStatements)
	c, where, err = mysqlConfig("mysql://u@[::1]:3307/shop")
	require.NoError(t, err)
	require.Equal(t, "mysql://u@[::1]:3307/shop [::1]:3307", where+" "+c.Addr)

	for _, bad := range []string{
		"mysql:", "mysql://", "mysql://u:hunter2@host:3306", "mysql://u:hunter2@host:3306/", "mysql://u:hunter2@host/a/b", "mysql://host/db",
		"mysql://u:hun/ter2@host:3306/db", "mysql://u:hun#ter2@host/db", "mysql://u:hun%ter2@host/db", "mysql://u:hunter2@host:port/db",
		"mysql://u:hunter2@host/db?multiStatements=true", "mysql://u:hunter2@host/db?clientFoundRows=false", "mysql://u:hunter2@host/db?tls=what",
		"mysql://u:hunter2@host/db?timeout=soon", "postgres://u:hunter2@host/db", "hunter2", "", "sqlite:",
	} {
		_, err := Open(t.Context(), bad, false)
		require.Error(t, err, bad)
		require.Contains(t, err.Error(), "--store", bad)
		require.NotContains(t, err.Error(), "hun", bad)
		require.NotContains(t, err.Error(), "ter2", bad)
	}
}

func TestMySQLVersions(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"10.11.19-MariaDB-0+deb12u1-log": true, "5.5.5-10.6.0-MariaDB": true, "11.4.2-MariaDB": true, "10.5.9-MariaDB": false, "10.1.48-MariaDB": false,
		"8.0.16": true, "8.4.1-log": true, "9.0.0": true, "8.0.15": false, "5.7.44": false, "8.0.11-TiDB-v8.5.0": true, "": false, "what": false,
	} {
		require.Equal(t, ok, checkVersion(version) == nil, version)
	}
}

func TestMySQLFailuresHaveTheirClass(t *testing.T) {
	t.Parallel()
	number := func(n uint16) error { return fmt.Errorf("wrapped: %w", &mysql.MySQLError{Number: n, Message: "x"}) }
	type row struct {
		err  error
		want error
	}
	rows := []row{{mysql.ErrPktTooLarge, ErrTicket}}
	for _, n := range []uint16{1062, 1586} {
		rows = append(rows, row{number(n), errDuplicate})
	}
	for _, n := range []uint16{1205, 1213, 1020, 9007} {
		rows = append(rows, row{number(n), errAgain}, row{number(n), seckill.ErrUnavailable})
	}
	for _, n := range []uint16{4025, 3819, 1406, 1366, 1264, 1048, 1690, 1153} {
		rows = append(rows, row{number(n), ErrTicket})
	}
	for _, err := range []error{number(1053), number(1290), number(1792), number(2006), number(2013), number(1040), number(1045), number(1146), number(1927), number(3100),
		driver.ErrBadConn, mysql.ErrInvalidConn, sql.ErrConnDone, sql.ErrTxDone, io.ErrUnexpectedEOF, context.DeadlineExceeded, context.Canceled,
		&net.OpError{Op: "dial", Err: errors.New("refused")}} {
		rows = append(rows, row{err, seckill.ErrUnavailable})
	}
	kinds := []error{errDuplicate, errAgain, ErrTicket, seckill.ErrUnavailable}
	for _, r := range rows {
		err := classMySQL(r.err)
		require.ErrorIs(t, err, r.want)
		require.ErrorIs(t, err, r.err)
		for _, k := range kinds {
			if k != r.want && !(errors.Is(err, errAgain) && k == seckill.ErrUnavailable) && !(errors.Is(err, errAgain) && k == errAgain) {
				require.NotErrorIs(t, err, k, "%v", r.err)
			}
		}
	}
}

func TestMySQLMayBeDownAtTheStart(t *testing.T) {
	t.Parallel()
	e := stack.Own(t, stack.KindMariaDB)
	require.NoError(t, e.Stop())
	s := openedMySQL(t, e.URL())
	u, err := url.Parse(e.URL())
	require.NoError(t, err)
	password, _ := u.User.Password()

	unavailable := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, seckill.ErrUnavailable)
		require.NotContains(t, err.Error(), password)
	}
	every := func(check func(error)) {
		_, err := s.Sale(t.Context(), 1)
		check(err)
		_, err = s.Settle(t.Context(), someTickets(1, 1))
		check(err)
		_, _, err = s.Lease(t.Context(), "l", "me", time.Minute)
		check(err)
		_, err = s.Snapshot(t.Context(), nil, nil)
		check(err)
		_, err = s.Look(t.Context(), 1, nil)
		check(err)
		_, err = s.Weak(t.Context())
		check(err)
		check(s.Ping(t.Context()))
	}
	every(unavailable)
	err = s.Prepare(t.Context())
	unavailable(err)
	require.Contains(t, err.Error(), s.where)
	require.Contains(t, err.Error(), "--store")
	every(unavailable)

	require.NoError(t, e.Start(t.Context()))
	unavailable(s.Ping(t.Context())) // without its tables it would answer nonsense
	require.NoError(t, s.Prepare(t.Context()))
	require.NoError(t, s.Prepare(t.Context()), "it may be repeated")
	sale := aSale(t, s, 10)
	mustSettle(t, s, someTickets(sale.ID, 3)...)

	require.NoError(t, e.Kill())
	every(unavailable)
	require.NoError(t, e.Start(t.Context()))
	got, err := s.Sale(t.Context(), sale.ID)
	require.NoError(t, err, "it comes back by itself")
	require.EqualValues(t, 3, got.Sold)
}

func testMySQLMigrationsRunOnce(t *testing.T, e *stack.Engine) {
	url := e.Fresh(t)
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

func names(entries []fs.DirEntry) (all []string) {
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
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

// Two transactions that lock the same rows in opposite orders: the database
// gives one up, and both come to their end.
func testMySQLDeadlockIsTriedAgain(t *testing.T, e *stack.Engine) {
	s, _ := freshMySQL(t, e)
	a, b := aSale(t, s, 10), aSale(t, s, 10)
	var tries atomic.Int32
	var met sync.WaitGroup
	met.Add(2)
	both := func(first, second seckill.SaleID) error {
		var once sync.Once
		return s.write(t.Context(), "test", func(x *tx) error {
			tries.Add(1)
			if _, err := x.exec(t.Context(), "UPDATE sales SET sold = sold + 1 WHERE id = ?", first); err != nil {
				return err
			}
			once.Do(func() { met.Done(); met.Wait() })
			_, err := x.exec(t.Context(), "UPDATE sales SET sold = sold + 1 WHERE id = ?", second)
			return err
		})
	}
	done := make(chan error, 2)
	go func() { done <- both(a.ID, b.ID) }()
	go func() { done <- both(b.ID, a.ID) }()
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	require.EqualValues(t, 3, tries.Load())
	for _, sale := range []seckill.Sale{a, b} {
		now, err := s.Sale(t.Context(), sale.ID)
		require.NoError(t, err)
		require.EqualValues(t, 2, now.Sold, "each once")
	}
}

// A lock wait that ends undoes only its statement. What came before in the
// transaction must be gone before it is tried again.
func testMySQLLockWaitIsTriedAgain(t *testing.T, e *stack.Engine) {
	s, _ := freshMySQL(t, e)
	sale := aSale(t, s, 10)
	other := rival(t, s, "UPDATE sales SET title = 'mine' WHERE id = ?", sale.ID)
	var errs []error
	err := s.write(t.Context(), "test", func(x *tx) error {
		if len(errs) == 1 {
			require.NoError(t, other.Rollback())
		}
		if _, err := x.exec(t.Context(), "SET SESSION innodb_lock_wait_timeout = 1"); err != nil {
			return err
		}
		if _, err := x.exec(t.Context(), "INSERT INTO moves (sale, id, delta) VALUES (?, 'm', 1)", sale.ID); err != nil {
			return err
		}
		_, err := x.lockSale(t.Context(), sale.ID)
		errs = append(errs, err)
		return err
	})
	require.NoError(t, err)
	require.Len(t, errs, 2)
	require.ErrorIs(t, errs[0], errAgain)
	require.EqualValues(t, errLockWait, number(errs[0]))

	// When the other never lets go, it is the database that is unavailable.
	var tries int
	rival(t, s, "UPDATE sales SET title = 'mine' WHERE id = ?", sale.ID)
	err = s.write(t.Context(), "test", func(x *tx) error {
		tries++
		if _, err := x.exec(t.Context(), "SET SESSION innodb_lock_wait_timeout = 0"); err != nil {
			return err
		}
		_, err := x.lockSale(t.Context(), sale.ID)
		return err
	})
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.Equal(t, maxTries, tries)
}

// Many settlers, in two nodes, get the same tickets in batches that overlap in
// every way. Whoever comes first decides; everybody is told the same.
func testMySQLSettlersRace(t *testing.T, e *stack.Engine) {
	first, url := freshMySQL(t, e)
	stores := []*Store{first, preparedMySQL(t, url)}
	const settlers, total, wanted = 8, 150, 200
	var tickets []seckill.Ticket
	var sales []seckill.SaleID
	for range 3 {
		sale := aSale(t, first, total)
		sales = append(sales, sale.ID)
		some := someTickets(sale.ID, wanted)
		for i := range 20 { // a second ticket of a buyer, which the gate would not give
			some[2*i].Buyer = some[2*i+1].Buyer
		}
		tickets = append(tickets, some...)
	}
	told := make([]map[string]seckill.Reason, settlers)
	var wg sync.WaitGroup
	for n := range settlers {
		told[n] = map[string]seckill.Reason{}
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			mine := slices.Clone(tickets)
			r.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			for some := range slices.Chunk(mine, 1+r.IntN(100)) {
				var outcomes []seckill.Outcome
				for err := seckill.ErrUnavailable; err != nil; {
					if outcomes, err = stores[n%2].Settle(t.Context(), some); errors.Is(err, ErrTicket) || t.Context().Err() != nil {
						t.Error(err)
						return
					}
				}
				for _, o := range outcomes {
					told[n][o.Ticket.ID] = o.Reason
				}
			}
		})
	}
	wg.Wait()
	for n := 1; n < settlers; n++ {
		require.Equal(t, told[0], told[n], "one outcome for each ticket, whoever asks")
	}
	require.Len(t, told[0], len(tickets))
	for _, sale := range sales {
		rows, sold, all := units(t, first, sale)
		require.Equal(t, [3]int64{total, total, total}, [3]int64{rows, sold, all})
	}
	active := map[mark]bool{}
	for _, ticket := range tickets {
		if told[0][ticket.ID] == seckill.ReasonNone {
			require.False(t, active[mark{ticket.Sale, ticket.Buyer}], "one active order for each buyer")
			active[mark{ticket.Sale, ticket.Buyer}] = true
		}
	}
}

// The units were there when they were counted and are gone when they are taken.
func testMySQLUnitsThatDoNotFitAreRefused(t *testing.T, e *stack.Engine) {
	s, _ := freshMySQL(t, e)
	admin := adminOf(t, e)
	sale := aSale(t, s, 5)
	batch := someTickets(sale.ID, 4)
	// Somebody else has the key of one ticket, so that the batch stops after it
	// counted five units and before it takes four.
	other := rival(t, s, "INSERT INTO tickets (id, sale, buyer, quantity, seq, state, reason, amount, created_at, expires_at) VALUES (?, 1, 'x', 1, 1, 'refused', 'poison', 0, 0, 0)", batch[0].ID)
	var outcomes []seckill.Outcome
	done := make(chan error, 1)
	go func() {
		var err error
		outcomes, err = s.Settle(t.Context(), batch)
		done <- err
	}()
	until(t, func() bool { return waiting(t, admin, s) == 1 })
	mustSettle(t, s, someTickets(sale.ID, 3)...)
	require.NoError(t, other.Rollback())
	require.NoError(t, <-done)
	var placed int
	for i, o := range outcomes {
		require.Equal(t, batch[i].ID, o.Ticket.ID)
		if o.Placed() {
			placed++
		} else {
			require.Equal(t, seckill.ReasonSoldOut, o.Reason)
		}
	}
	require.Equal(t, 2, placed)
	rows, sold, _ := units(t, s, sale.ID)
	require.Equal(t, [2]int64{5, 5}, [2]int64{rows, sold})

	// A batch that changes nothing in the sale's row still finds it.
	late := someTickets(sale.ID, 1)
	late[0].Seq = 1
	outcomes, err := s.settle(t.Context(), late, false)
	require.NoError(t, err)
	require.Equal(t, seckill.ReasonSoldOut, outcomes[0].Reason)

	// And the last guard, if everything else were wrong.
	err = s.write(t.Context(), "test", func(x *tx) error {
		_, err := x.exec(t.Context(), "UPDATE sales SET sold = total + 1 WHERE id = ?", sale.ID)
		return err
	})
	require.ErrorIs(t, err, ErrTicket)
}

func testMySQLNamesAreBytes(t *testing.T, e *stack.Engine) {
	s, _ := freshMySQL(t, e)
	sale := aSale(t, s, 100)
	names := []string{"bob", "Bob", "bob ", "bób", "bo\u0301b", "ß", "ss", "龙", "😀", `it's "x" \ %_`, strings.Repeat("龙", 64), "\x1a--#/*"}
	accounts := map[string]string{} // who has a folded name: of an account alone it is one name in all spellings
	for i, name := range names {
		folded, ok := seckill.FoldName(name)
		if !ok { // a buyer of another issuer may have it, an account may not
			require.Error(t, s.CreateAccount(t.Context(), seckill.Account{Name: name, Buyer: name}), "%q", name)
			continue
		}
		if _, taken := accounts[folded]; taken {
			require.ErrorIs(t, s.CreateAccount(t.Context(), seckill.Account{Name: name, Buyer: name}), seckill.ErrNameTaken, "%q", name)
			continue
		}
		accounts[folded] = name
		require.NoError(t, s.CreateAccount(t.Context(), seckill.Account{Name: name, Buyer: name, Role: "", Hash: fmt.Sprint(i)}), "%q", name)
		require.ErrorIs(t, s.CreateAccount(t.Context(), seckill.Account{Name: name, Buyer: name + "x"}), seckill.ErrNameTaken, "%q", name)
	}
	tickets := someTickets(sale.ID, len(names))
	for i, name := range names {
		if folded, ok := seckill.FoldName(name); ok && accounts[folded] == name {
			a, err := s.Account(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, seckill.Account{Name: name, Buyer: name, Hash: fmt.Sprint(i), CreatedAt: a.CreatedAt}, a)
		}
		tickets[i].Buyer = name
	}
	for i, o := range mustSettle(t, s, tickets...) {
		require.True(t, o.Placed(), "%q", names[i])
		order, err := s.Order(t.Context(), o.Order(), names[i])
		require.NoError(t, err)
		require.Equal(t, names[i], order.Buyer)
		_, err = s.Order(t.Context(), o.Order(), names[i]+" ")
		require.ErrorIs(t, err, seckill.ErrNotFound)
		_, err = s.Order(t.Context(), strings.ToLower(o.Order()), names[i])
		require.ErrorIs(t, err, seckill.ErrNotFound)
		_, err = s.Order(t.Context(), o.Order()+" ", names[i])
		require.ErrorIs(t, err, seckill.ErrNotFound)
	}
	// Data that do not fit are about the ticket, and cut nothing.
	for _, bad := range []func(*seckill.Ticket){
		func(v *seckill.Ticket) { v.Quantity = -1 },
		func(v *seckill.Ticket) { v.Buyer = strings.Repeat("x", 257) },
		func(v *seckill.Ticket) { v.ID += "X" },
	} {
		v := someTickets(sale.ID, 1)
		bad(&v[0])
		_, err := s.Settle(t.Context(), v)
		require.ErrorIs(t, err, ErrTicket)
		require.NotErrorIs(t, err, seckill.ErrUnavailable)
	}
	text := sale
	text.Title, text.Description, text.Image = strings.Repeat("😀", seckill.MaxTitle), strings.Repeat("龙", seckill.MaxDescription), strings.Repeat("i", seckill.MaxImage)
	text, err := s.CreateSale(t.Context(), text)
	require.NoError(t, err)
	got, err := s.Sale(t.Context(), text.ID)
	require.NoError(t, err)
	require.Equal(t, text, got)
}

// The server dies while batches are settled: some commits are unknown. Repeating
// every batch until it answers brings each ticket to one outcome.
func TestMySQLKilledWhileSettling(t *testing.T) {
	t.Parallel()
	e := stack.Own(t, stack.KindMariaDB)
	s := preparedMySQL(t, e.URL())
	const settlers, batches, size = 4, 40, 50
	sale := aSale(t, s, settlers*batches*size-100)
	var done, failed atomic.Int64
	progress := make(chan int64, settlers*batches)
	told := make([]map[string]seckill.Reason, settlers)
	all := make([][]seckill.Ticket, settlers)
	var wg sync.WaitGroup
	for n := range settlers {
		all[n], told[n] = someTickets(sale.ID, batches*size), map[string]seckill.Reason{}
		wg.Go(func() {
			for some := range slices.Chunk(all[n], size) {
				var outcomes []seckill.Outcome
				for err := seckill.ErrUnavailable; err != nil; {
					if outcomes, err = s.Settle(t.Context(), some); err != nil {
						failed.Add(1)
						if !errors.Is(err, seckill.ErrUnavailable) || t.Context().Err() != nil {
							t.Error(err)
							return
						}
						yield(t.Context(), 3)
					}
				}
				for _, o := range outcomes {
					told[n][o.Ticket.ID] = o.Reason
				}
				progress <- done.Add(1)
			}
		})
	}
	for _, at := range []int64{30, 90} {
		for n := range progress {
			if n >= at {
				break
			}
		}
		if err := errors.Join(e.Kill(), e.Start(t.Context())); err != nil {
			t.Error(err)
			break
		}
	}
	wg.Wait()
	require.NotZero(t, failed.Load(), "the kills were felt")
	rows, sold, total := units(t, s, sale.ID)
	require.Equal(t, [2]int64{total, total}, [2]int64{rows, sold}, "nothing lost, nothing twice")
	for n := range settlers {
		require.Len(t, told[n], batches*size)
		for i, o := range mustSettle(t, s, all[n]...) {
			require.Equal(t, told[n][all[n][i].ID], o.Reason, "what was answered stands")
		}
	}
}

// While everything changes at once, whoever looks sees one moment.
func testMySQLASnapshotIsOneMoment(t *testing.T, e *stack.Engine) {
	s, url := freshMySQL(t, e)
	node := preparedMySQL(t, url)
	const total, n = 400, 600
	sale := aSale(t, s, total)
	tickets := someTickets(sale.ID, n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var changes, looks sync.WaitGroup
	change := func(f func() error) {
		changes.Go(func() {
			for err := seckill.ErrUnavailable; err != nil; {
				if err = f(); err != nil && !errors.Is(err, seckill.ErrUnavailable) {
					t.Error(err)
					return
				}
			}
		})
	}
	for part := range slices.Chunk(tickets, n/3) {
		change(func() error {
			for some := range slices.Chunk(part, 20) {
				outcomes, err := node.Settle(t.Context(), some)
				if err != nil {
					return err
				}
				for i, o := range outcomes {
					to := [...]seckill.OrderState{seckill.Cancelled, seckill.Paid, seckill.Unpaid}[i%3]
					if _, err := node.Transition(t.Context(), o.Ticket.ID, "", to); o.Placed() && err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	change(func() error {
		for i := range 40 {
			if _, err := node.BeginMove(t.Context(), seckill.Move{Sale: sale.ID, ID: fmt.Sprint(i), Delta: 3}); err != nil {
				return err
			}
		}
		return nil
	})
	outbox := map[seckill.SaleID][]seckill.Ticket{sale.ID: tickets}
	check := func(v seckill.Snapshot) {
		t.Helper()
		var placed int64
		for _, ticket := range tickets {
			if reason, final := v.Outcomes[ticket.ID]; final && reason == seckill.ReasonNone {
				placed++
			}
		}
		active := seckill.Units(v.Active)
		if active != v.Sale.Sold || placed != active+v.Returning || v.Sale.Total != total+v.Growing {
			t.Errorf("sold %d, active %d, placed %d, returning %d, total %d, growing %d", v.Sale.Sold, active, placed, v.Returning, v.Sale.Total, v.Growing)
		}
	}
	var seen atomic.Int64
	look := func(f func() (seckill.Snapshot, error)) {
		looks.Go(func() {
			for ctx.Err() == nil {
				v, err := f()
				if errors.Is(err, seckill.ErrUnavailable) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				check(v)
				seen.Add(1)
			}
		})
	}
	look(func() (seckill.Snapshot, error) { return s.Look(t.Context(), sale.ID, tickets) })
	look(func() (seckill.Snapshot, error) {
		all, err := s.Snapshot(t.Context(), []seckill.SaleID{sale.ID}, outbox)
		if err != nil {
			return seckill.Snapshot{}, err
		}
		return all[0], nil
	})
	changes.Wait()
	cancel()
	looks.Wait()
	require.Greater(t, seen.Load(), int64(10))
	v, err := s.Look(t.Context(), sale.ID, tickets)
	require.NoError(t, err)
	check(v)
	require.Len(t, v.Outcomes, n)
}

// The audit waits for nobody.
func testMySQLLookLocksNothing(t *testing.T, e *stack.Engine) {
	s, _ := freshMySQL(t, e)
	sale := aSale(t, s, 10)
	rival(t, s, "UPDATE sales SET sold = 7 WHERE id = ?", sale.ID)
	ctx, cancel := context.WithTimeout(t.Context(), lockWait/2)
	defer cancel()
	v, err := s.Look(ctx, sale.ID, nil)
	require.NoError(t, err)
	require.Zero(t, v.Sale.Sold)
}

// Orders that expire in one node while their buyers pay in another: each ends
// in one state, and its units return at most once.
func testMySQLExpireMeetsPay(t *testing.T, e *stack.Engine) {
	s, url := freshMySQL(t, e)
	node := preparedMySQL(t, url)
	var tickets []seckill.Ticket
	var sales []seckill.SaleID
	for range 3 {
		sale := aSale(t, s, 100)
		sales = append(sales, sale.ID)
		tickets = append(tickets, someTickets(sale.ID, 100)...)
	}
	mustSettle(t, s, tickets...)
	late := time.Now().Add(time.Hour)
	node.now = func() time.Time { return late }
	var paid, cancelled, expired atomic.Int64
	var wg sync.WaitGroup
	for n := range 3 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(n)))
			for _, i := range r.Perm(len(tickets))[:150] {
				to, count := seckill.Paid, &paid
				if n == 2 {
					to, count = seckill.Cancelled, &cancelled
				}
				o, err := s.Transition(t.Context(), tickets[i].ID, tickets[i].Buyer, to)
				switch {
				case err == nil && o.State == to:
					count.Add(1)
				case !errors.Is(err, seckill.ErrState):
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for got := 1; got > 0; {
				var err error
				if got, err = node.Expire(t.Context(), 7); err != nil {
					t.Error(err)
					return
				}
				expired.Add(int64(got))
			}
		})
	}
	wg.Wait()
	left, err := node.Expire(t.Context(), 1000)
	require.NoError(t, err)
	expired.Add(int64(left))
	_, some, err := s.NextExpiry(t.Context())
	require.NoError(t, err)
	require.False(t, some)
	var active int64
	for _, sale := range sales {
		rows, sold, _ := units(t, s, sale)
		require.Equal(t, rows, sold)
		active += rows
	}
	returns, err := s.Returns(t.Context(), 1000)
	require.NoError(t, err)
	under := func(returns []seckill.Return) (n int) {
		for _, r := range returns {
			n += len(r.Tickets)
		}
		return n
	}
	require.EqualValues(t, len(tickets), active+int64(under(returns)))
	var rows int64
	require.NoError(t, s.w.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM tickets WHERE state = 'expired'").Scan(&rows))
	require.Equal(t, rows, expired.Load(), "each expired once")

	for _, r := range returns {
		r.Epoch = 7 // another one
		require.NoError(t, s.Returned(t.Context(), r))
	}
	again, err := s.Returns(t.Context(), 1000)
	require.NoError(t, err)
	require.Equal(t, under(returns), under(again))
	for _, r := range returns {
		require.NoError(t, s.Returned(t.Context(), r))
	}
	again, err = s.Returns(t.Context(), 1000)
	require.NoError(t, err)
	require.Empty(t, again)
}

func TestMySQLSettingsAreChecked(t *testing.T) {
	t.Parallel()
	e := stack.Own(t, stack.KindMariaDB)
	admin := adminOf(t, e)
	s := preparedMySQL(t, e.URL())
	sale := aSale(t, s, 10)
	weak, err := s.Weak(t.Context())
	require.NoError(t, err)
	require.Empty(t, weak)
	set := func(q string) {
		t.Helper()
		_, err := admin.ExecContext(t.Context(), "SET GLOBAL "+q)
		require.NoError(t, err)
	}
	set("innodb_flush_log_at_trx_commit = 2")
	set("sync_binlog = 0")
	weak, err = s.Weak(t.Context())
	require.NoError(t, err)
	require.Len(t, weak, 2)
	require.Contains(t, weak[0], "innodb_flush_log_at_trx_commit = 2")
	require.Contains(t, weak[0], "set innodb_flush_log_at_trx_commit = 1.")
	require.Contains(t, weak[1], "set sync_binlog = 1.")

	// A server that only reads, as after a failover, is one that is not there.
	set("read_only = 1")
	_, err = s.Settle(t.Context(), someTickets(sale.ID, 1))
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	set("read_only = 0")
	mustSettle(t, s, someTickets(sale.ID, 1)...)

	set("binlog_format = 'STATEMENT'")
	err = openedMySQL(t, e.URL()).Prepare(t.Context())
	require.ErrorContains(t, err, "set binlog_format = ROW")
	require.ErrorContains(t, err, "--store")

	// A server that hangs ends nobody's patience but the context's.
	set("binlog_format = 'ROW'")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = s.write(ctx, "test", func(x *tx) error {
		_, err := x.exec(ctx, "DO SLEEP(5)")
		return err
	})
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func testLease(t *testing.T, s *Store) {
	lease := func(owner string, ttl time.Duration) (bool, string) {
		t.Helper()
		held, by, err := s.Lease(t.Context(), "expirer", owner, ttl)
		require.NoError(t, err)
		return held, by
	}
	want := func(owner string, ttl time.Duration, wantHeld bool, wantBy string) {
		t.Helper()
		held, by := lease(owner, ttl)
		require.Equal(t, wantHeld, held)
		require.Equal(t, wantBy, by)
	}
	want("a", time.Hour, true, "a")
	want("b", time.Hour, false, "a")
	want("a", time.Hour, true, "a") // renewed
	want("A", time.Hour, false, "a")
	held, _, err := s.Lease(t.Context(), "sweeper", "b", time.Hour)
	require.NoError(t, err)
	require.True(t, held, "another name is another lease")
	require.NoError(t, s.Unlease(t.Context(), "expirer", "b"))
	want("b", time.Hour, false, "a")
	require.NoError(t, s.Unlease(t.Context(), "expirer", "a"))
	want("b", -time.Second, true, "b") // over at once
	want("a", time.Hour, true, "a")
	require.NoError(t, s.Unlease(t.Context(), "expirer", "a"))

	var holders atomic.Int32
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			held, by, err := s.Lease(t.Context(), "expirer", fmt.Sprint(n), time.Hour)
			if err != nil || by == "" {
				t.Error(by, err)
			}
			if held {
				holders.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, holders.Load())
}

// unsent are the rows of events that wait, and their events as a subscriber reads
// them. What is sent must be what a seckill.Event is in JSON.
func unsent(t testing.TB, s *Store, max int) (rows []string, events []seckill.Event) {
	t.Helper()
	all, err := s.Events(t.Context(), max)
	require.NoError(t, err)
	for _, row := range all {
		rows = append(rows, row.ID)
		for _, m := range row.Events {
			var e seckill.Event
			require.NoError(t, json.Unmarshal(m.Body, &e))
			again, err := json.Marshal(e)
			require.NoError(t, err)
			require.Equal(t, string(again), string(m.Body))
			require.Equal(t, seckill.EventMessage{ID: e.ID, Type: e.Type, Order: e.Order.ID, At: e.At, Body: again}, m)
			events = append(events, e)
		}
	}
	return rows, events
}

func told(events []seckill.Event) (told []string) {
	for _, e := range events {
		told = append(told, e.ID+" "+e.Type)
	}
	return told
}

func byID(tickets []seckill.Ticket) []seckill.Ticket {
	slices.SortFunc(tickets, func(a, b seckill.Ticket) int { return strings.Compare(a.ID, b.ID) })
	return tickets
}

func testEvents(t *testing.T, s *Store) {
	sale := aSale(t, s, 3)
	none := someTickets(sale.ID, 1)
	mustSettle(t, s, none...)
	_, events := unsent(t, s, 100)
	require.Empty(t, events, "off by default")
	oldest, err := s.OldestEvent(t.Context())
	require.NoError(t, err)
	require.Zero(t, oldest)

	s.KeepEvents = true
	s.now = func() time.Time { return time.Now().Add(time.Second) }
	tickets := byID(someTickets(sale.ID, 3)) // the last is refused
	mustSettle(t, s, tickets...)
	mustSettle(t, s, tickets...) // a repeat is no news
	paid, err := s.Transition(t.Context(), tickets[0].ID, "", seckill.Paid)
	require.NoError(t, err)
	for range 2 {
		_, err = s.Transition(t.Context(), tickets[0].ID, "", seckill.Refunded)
		require.NoError(t, err)
	}
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	n, err := s.Expire(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 2, n)

	rows, events := unsent(t, s, 100)
	for _, e := range events {
		require.Equal(t, 1, e.V)
		require.Equal(t, "order."+string(e.Order.State), strings.Replace(e.Type, "placed", "unpaid", 1))
		require.Equal(t, sale.ID, e.Order.Sale)
		require.Equal(t, "CNY", e.Order.Currency)
		require.EqualValues(t, 9900, e.Order.Amount)
		require.False(t, e.At.IsZero())
	}
	a, b := tickets[0].ID, tickets[1].ID
	require.Equal(t, []string{none[0].ID + "-2 order.expired", a + "-1 order.placed", b + "-1 order.placed", a + "-2 order.paid", a + "-3 order.refunded", b + "-2 order.expired"}, told(events))
	require.Equal(t, []string{none[0].ID + "-2", a + "-1", a + "-2", a + "-3", b + "-2"}, rows)
	oldest, err = s.OldestEvent(t.Context())
	require.NoError(t, err)
	require.Equal(t, events[1].At, oldest, "not the first by its id, whose order was expired an hour later")
	for i, e := range events {
		require.NotEmpty(t, e.Buyer)
		require.Equal(t, i == 3 || i == 4, e.Payment != nil, e.Type)
	}
	require.Equal(t, &seckill.EventPayment{Provider: "test", Reference: "test-" + a}, events[3].Payment)
	require.Equal(t, seckill.EventChange{From: seckill.Unpaid, To: seckill.Paid}, events[3].Changed)
	require.Equal(t, paid.Buyer, events[3].Buyer)
	paid.Buyer = "" // the event has it, not its order
	require.Equal(t, paid, events[3].Order)

	require.NoError(t, s.Sent(t.Context(), []string{rows[0], rows[1], rows[3]}))
	oldest, err = s.OldestEvent(t.Context())
	require.NoError(t, err)
	require.Equal(t, events[3].At, oldest)
	rows, _ = unsent(t, s, 1)
	require.Equal(t, []string{a + "-2"}, rows)
}

// Whatever rows events share, an order's come in the order of its states: also of
// what few rows hold.
func testEventsOfAnOrderKeepTheirOrder(t *testing.T, s *Store) {
	s.KeepEvents = true
	sale := aSale(t, s, seckill.MaxTotal)
	tickets := byID(someTickets(sale.ID, 3*eventsTogether))
	batches := [3][]seckill.Ticket{}
	for i, ticket := range tickets { // of orders that lie between each other
		if i%10 == 9 {
			ticket.Quantity = 2
		}
		batches[i%3] = append(batches[i%3], ticket)
	}
	now := time.Now()
	s.now = func() time.Time { return now } // so that all of them are alike
	for _, batch := range batches {
		mustSettle(t, s, batch...)
	}
	for i := 0; i < len(tickets); i += 7 {
		_, err := s.Transition(t.Context(), tickets[i].ID, "", seckill.Paid)
		require.NoError(t, err)
		if i%2 == 0 {
			_, err := s.Transition(t.Context(), tickets[i].ID, "", seckill.Refunded)
			require.NoError(t, err)
		}
	}
	now = now.Add(time.Hour)
	n, err := s.Expire(t.Context(), len(tickets))
	require.NoError(t, err)
	rows, events := unsent(t, s, 1000)
	require.Len(t, events, len(tickets)+n+(len(tickets)+6)/7+(len(tickets)+13)/14)
	require.Less(t, len(rows), 60, "events share rows")
	last := map[string]string{}
	for _, e := range events {
		if last[e.Order.ID] == "" {
			require.Equal(t, e.Order.ID+"-1", e.ID)
		}
		require.Less(t, last[e.Order.ID], e.ID)
		last[e.Order.ID] = e.ID
	}
	for i := range rows {
		first, _ := unsent(t, s, i+1)
		require.Equal(t, rows[:i+1], first, "none is left out before another")
	}
}

// The most that a row can hold fits in, and comes out as it was.
func testEventsFitTheirRow(t *testing.T, s *Store) {
	s.KeepEvents = true
	now := fromMS(ms(time.Now()))
	var orders []seckill.Order
	for range 2 * eventsTogether {
		id := seckill.NewTicketID(now)
		orders = append(orders, seckill.Order{ID: id, Sale: math.MaxInt64, Ticket: id, Quantity: seckill.MaxQuantity, Price: math.MaxInt64 / seckill.MaxQuantity, Amount: math.MaxInt64, Currency: "CNY",
			State: seckill.Cancelled, CreatedAt: now.Add(time.Millisecond), ExpiresAt: now.Add(time.Millisecond)})
	}
	tell := func(orders ...seckill.Order) {
		require.NoError(t, s.write(t.Context(), "tell", func(x *tx) error { return x.tell(t.Context(), orders, now) }))
	}
	tell(slices.Clone(orders)...)
	rows, events := unsent(t, s, 3)
	require.Len(t, rows, 2)
	var got []seckill.Order
	for _, e := range events {
		require.Equal(t, now, e.At)
		got = append(got, e.Order)
	}
	require.ElementsMatch(t, orders, got)

	require.NoError(t, s.Sent(t.Context(), rows))
	for i := range orders {
		orders[i].State = seckill.Paid
	}
	tell(orders[:2]...)
	rows, _ = unsent(t, s, 3)
	require.Len(t, rows, 2, "a refund may follow, and must come after")
}

// Rows that an older version wrote, one for each event, are sent too.
func testEventsThatCannotBeRead(t *testing.T, s *Store) {
	ctx := t.Context()
	s.KeepEvents = true
	var aside []string
	s.Aside = func(table, id string, why error) {
		require.Error(t, why)
		aside = append(aside, table+" "+id)
	}
	ticket := seckill.NewTicketID(time.Now())
	bad := map[string]string{
		"000 no json": "no json", "000 no order": "{}", "000 another's": `{"id":"` + ticket + `"}`,
		ticket + "-1": `{"id":"` + ticket + `","amount":"much"}`,
	}
	for id, body := range bad {
		_, err := s.w.ExecContext(ctx, "INSERT INTO events (id, type, at, body) VALUES (?, 'order.placed', 1, ?)", id, body)
		require.NoError(t, err)
	}
	sale := aSale(t, s, 10)
	outcomes, err := s.Settle(ctx, []seckill.Ticket{{ID: seckill.NewTicketID(time.Now()), Sale: sale.ID, Buyer: "ann", Quantity: 1, Seq: 1, At: time.Now()}})
	require.NoError(t, err)
	require.True(t, outcomes[0].Placed())
	for range 2 {
		rows, err := s.Events(ctx, 2) // fewer than there are of the others
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.Equal(t, outcomes[0].Ticket.ID, rows[0].Events[0].Order)
		require.Len(t, aside, len(bad), "each is counted once: %q", aside)
	}
	oldest, err := s.OldestEvent(ctx)
	require.NoError(t, err)
	require.Greater(t, oldest.UnixMilli(), int64(1), "nobody waits for them")
}

func testEventsOfAnOlderVersion(t *testing.T, s *Store) {
	const order = `{"id":"1K81EIGDDAUESOFSOAL4NGCZEX","sale":"1","ticket":"1K81EIGDDAUESOFSOAL4NGCZEX","quantity":1,"amount":9900,"currency":"CNY",` +
		`"state":"paid","created_at":"2026-11-22T13:53:10.044Z","expires_at":"2026-11-22T14:08:10.04Z"}`
	_, err := s.w.Exec("INSERT INTO events (id, type, at, body) VALUES ('1K81EIGDDAUESOFSOAL4NGCZEX-2', 'order.paid', 1795355596200, ?)", order)
	require.NoError(t, err)
	all, err := s.Events(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Len(t, all[0].Events, 1)
	require.Equal(t, `{"v":1,"id":"1K81EIGDDAUESOFSOAL4NGCZEX-2","type":"order.paid","at":"2026-11-22T13:53:16.2Z","order":`+strings.Replace(order, `"quantity":1,`, `"title":"","price":9900,"quantity":1,`, 1)+`,"buyer":"","changed":{"from":"unpaid","to":"paid"}}`, string(all[0].Events[0].Body))
	unsent(t, s, 10)
}

// BenchmarkSettleInto settles batches of the size that a node settles. used-us is
// the database server's own processor time for each order.
//
//	go test ./internal/store -run - -bench SettleInto -benchtime 100x
func BenchmarkSettleInto(b *testing.B) {
	const batch = 1024
	bench := func(s *Store, e *stack.Engine, keep bool) func(*testing.B) {
		return func(b *testing.B) {
			s.KeepEvents = keep
			sale := aSale(b, s, seckill.MaxTotal)
			batches := make([][]seckill.Ticket, b.N)
			for i := range batches {
				batches[i] = someTickets(sale.ID, batch)
			}
			used := cpuTime(b, e)
			b.ResetTimer()
			for _, batch := range batches {
				mustSettle(b, s, batch...)
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "orders/s")
			if e != nil {
				b.ReportMetric((cpuTime(b, e)-used)/float64(b.N*batch)*1e6, "used-us/order")
			}
		}
	}
	lite, err := Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "s.db"), false)
	require.NoError(b, err)
	defer lite.Close()
	e := stack.Own(b, stack.KindMariaDB)
	maria, _ := freshMySQL(b, e)
	b.Run("sqlite", bench(lite, nil, false))
	b.Run("mariadb", bench(maria, e, false))
	b.Run("mariadb-events", bench(maria, e, true))
}

// cpuTime is the processor time that an engine has used, in seconds.
func cpuTime(t testing.TB, e *stack.Engine) float64 {
	if e == nil {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.Pid()))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	var user, system float64
	fields := strings.Fields(rest)
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	require.NoError(t, err)
	return (user + system) / 100 // ticks: a hundredth of a second everywhere
}

// mysql.ca_file means TLS, with a certificate that is checked, whatever tls= says.
func TestAnOwnCAMeansTLSThatIsChecked(t *testing.T) {
	t.Parallel()
	_, _, err := mysqlConfig("mysql://a:b@db:3306/shop?ca=/nowhere.pem")
	require.ErrorContains(t, err, "mysql.ca_file")
	file := catest.New(t).CA
	for _, more := range []string{"", "&tls=preferred", "&tls=skip-verify"} {
		c, _, err := mysqlConfig("mysql://a:b@db:3306/shop?ca=" + url.QueryEscape(file) + more)
		require.NoError(t, err)
		require.NotNil(t, c.TLS, more)
		require.Equal(t, "db", c.TLS.ServerName)
		require.False(t, c.TLS.InsecureSkipVerify)
		require.False(t, c.AllowFallbackToPlaintext)
	}
}

// A MariaDB whose certificate is signed by a CA of one's own is reached with
// mysql.ca_file, over TLS, and not with another CA.
func TestMariaDBWithACAOfItsOwn(t *testing.T) {
	t.Parallel()
	files := catest.New(t)
	e := stack.Own(t, stack.KindMariaDB, stack.TLS(files.Certificate, files.Key))
	s := preparedMySQL(t, e.URL()+"?ca="+url.QueryEscape(files.CA))
	aSale(t, s, 10)
	for _, db := range []*sql.DB{s.w, s.r} {
		var name, cipher string
		require.NoError(t, db.QueryRowContext(t.Context(), "SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher))
		require.NotEmpty(t, cipher, "the connection is encrypted")
	}
	strange, err := Open(t.Context(), e.URL()+"?ca="+url.QueryEscape(catest.New(t).CA), false)
	require.NoError(t, err)
	t.Cleanup(func() { strange.Close() })
	require.ErrorContains(t, strange.Prepare(t.Context()), "certificate signed by unknown authority")
}

// Of the connections that a node may have half write and half read.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	s, err := openMySQL("mysql://u:p@127.0.0.1:1/db")
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	for _, c := range [][2]int{{0, connsMost / 2}, {10, 5}} {
		most, each := c[0], c[1]
		if most > 0 {
			s.Connections(most)
		}
		require.Equal(t, []int{each, each}, []int{s.w.Stats().MaxOpenConnections, s.r.Stats().MaxOpenConnections})
	}
}
