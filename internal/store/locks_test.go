package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

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
	db, err := openSession(c, "READ COMMITTED", connsMost/2)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
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
	active := map[activeKey]bool{}
	for _, ticket := range tickets {
		if told[0][ticket.ID] == seckill.ReasonNone {
			require.False(t, active[activeKey{ticket.Sale, ticket.Buyer}], "one active order for each buyer")
			active[activeKey{ticket.Sale, ticket.Buyer}] = true
		}
	}
}

// The server dies while batches are settled: some commits are unknown. Repeating
// every batch until it answers brings each ticket to one outcome.
func TestMySQLKilledWhileSettling(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, stack.KindMariaDB)
	makeTables(t, e.URL())
	s := preparedMySQL(t, e.URL())
	const settlers, batches, size = 4, 40, 20
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
	const total, n = 140, 210
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
