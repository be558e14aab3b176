package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// TestMySQL is everything on a MariaDB that the tests share.
func TestMySQL(t *testing.T) {
	t.Parallel()
	e := stacktest.Shared(t, stack.KindMariaDB)
	reuse(t, e)
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
			{"nodes whose clocks differ agree on every moment of money", testMySQLClocksDiffer},
			{"nodes whose clocks differ agree on invitations and on what is retired", testMySQLClocksDifferElsewhere},
			{"a refund is told while its payment moves to another order", testMySQLRefundMeetsRetake},
			{"money of an order that is not known goes back once", testMySQLMoneyOfNoOrder},
			{"a refund is confirmed while a part of it is told", testMySQLConfirmedMeetsAPart},
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
	{"rules that cannot be read close their sale alone", testRulesThatCannotBeRead},
	{"a row that cannot be read is left out of its list", testRowsThatCannotBeRead},
	{"a sale with a number that no gate can hold waits alone", testNumbersThatNoGateCanHold},
}

func TestSQLiteToo(t *testing.T) {
	t.Parallel()
	for _, b := range both {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.test(t, openTestSQLite(t))
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
	s, err := Open(t.Context(), url, Settings{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
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
		_, err := Open(t.Context(), bad, Settings{})
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
	e := stacktest.Own(t, stack.KindMariaDB)
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

func TestMySQLSettingsAreChecked(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindMariaDB)
	admin := adminOf(t, e)
	makeTables(t, e.URL())
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

	// What new sessions begin with is ours to say: the guards against an oversell stay.
	set("unique_checks = 0, GLOBAL check_constraint_checks = 0, GLOBAL autocommit = 0")
	fresh := preparedMySQL(t, e.URL())
	for _, db := range []*sql.DB{fresh.w, fresh.r} {
		var unique, checks, commits bool
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT @@unique_checks, @@check_constraint_checks, @@autocommit").Scan(&unique, &checks, &commits))
		require.Equal(t, [3]bool{true, true, true}, [3]bool{unique, checks, commits})
	}
	mustSettle(t, fresh, someTickets(sale.ID, 1)...)
	_, err = fresh.w.ExecContext(t.Context(), "UPDATE sales SET sold = total + 1 WHERE id = ?", sale.ID)
	require.ErrorIs(t, classMySQL(err), ErrTicket)
	set("unique_checks = 1, GLOBAL check_constraint_checks = 1, GLOBAL autocommit = 1")

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
