package store

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
	"seckill/internal/stack/stacktest"
	"seckill/internal/store/storetest"
)

func TestMain(m *testing.M) {
	// Every step of a property is a transaction on a disk: a few checks are enough
	// each time. go test -rapid.checks=1000 looks harder.
	flag.Set("rapid.checks", "8")
	flag.Set("rapid.nofailfile", "true")
	stacktest.Main(leaktest{m})
}

// leaktest fails a run that leaves goroutines behind.
type leaktest struct{ *testing.M }

func (m leaktest) Run() int {
	code := m.M.Run()
	if code == 0 {
		// One waits for an engine of this package's own, until stacktest.Main ends it.
		if err := goleak.Find(goleak.IgnoreAnyFunction("seckill/internal/stack.spawn.func1")); err != nil {
			fmt.Println("goroutines are left behind:", err)
			code = 1
		}
	}
	return code
}

// testStore holds a database to what every store must do. open returns a store on
// an empty database.
func testStore(t *testing.T, open func(t testing.TB) *Store) {
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.test(t, newShop(t, open(t)))
		})
	}
}

var behaviours = []struct {
	name string
	test func(t *testing.T, s *shop)
}{
	{"sales are kept as they were created", testCreateSale},
	{"a change raises the version, or nothing happens", testUpdateSale},
	{"sales are listed from the newest, in pages", testSales},
	{"a version is unapplied until the gate has it", testApplied},
	{"a batch becomes outcomes and orders", testSettle},
	{"the first outcome of a ticket stands", testFirstOutcome},
	{"what does not fit is refused, the rest of the batch is placed", testFit},
	{"a buyer has one active order in a sale", testOnePerBuyer},
	{"what became of a sale's tickets is counted", testAftermath},
	{"the balance is read as sums and in pages", testBalance},
	{"a sale is seen by those whom it is for, and made once for a key", testStanding},
	{"a sale stands in the section that the rule says", testSections},
	{"a ticket of an unknown sale is refused", testUnknownSale},
	{"what no version of a sale would have admitted is refused", testTerms},
	{"a ticket is judged by the version that admitted it", testVersions},
	{"a secret that is not the others' is known", testSecretPrints},
	{"a batch whose data is rejected says so and leaves nothing", testPoison},
	{"a ticket that fails alone can be refused", testRefuse},
	{"any order of batches keeps the rules", testBatches},
	{"concurrent writers keep the rules", testConcurrent},
	{"a sale keeps its rules about who may buy", testAccessRules},
	{"the lists hold each buyer and network once", testAccessEntries},
	{"a sale has its list of buyers", testEligible},
	{"a list of buyers is in force as a whole", testEligiblePieces},
	{"lists of sales that are over go", testEligibleEnds},
	{"orders left unpaid are counted where a sale asks for it", testTries},
	{"an invitation opens its accounts and no more", testInvites},
	{"an order is its owner's only", testOwner},
	{"orders are listed from the newest, in pages", testOrders},
	{"an order keeps title, image and price as bought", testAsBought},
	{"an order changes by its rule, and repeats change nothing", testTransition},
	{"an unpaid order expires when its time is over, and not before", testExpire},
	{"an ended order frees its buyer and puts its units on their way", testReturns},
	{"returns stay when the gate was rebuilt since", testReturned},
	{"growth is in the total at once and at the gate later", testGrowth},
	{"shrinking lowers the total once the gate has given up the units", testShrink},
	{"a move's end stays open when the gate was rebuilt since", testFinishMove},
	{"a move is one move for each id", testMoveID},
	{"a snapshot counts what belongs at the gate, and raises the epoch", testSnapshot},
	{"a sale that closed long ago is retired, and its rebuild is without its buyers", testRetired},
	{"a look changes nothing", testLook},
	{"a name is an account's once", testAccounts},
	{"what is read behind a version misses no ended session", testEnded},
	{"people are changed whole or not at all", testPeople},
	{"the log has what is in force and nothing else", testLog},
}

// shop is a store under test, with its own clock.
type shop struct {
	*Store
	t  testing.TB
	mu sync.Mutex
	at time.Time
}

func newShop(t testing.TB, s *Store) *shop {
	shop := &shop{Store: s, t: t, at: noon}
	s.now = shop.clock
	s.skew.Store(0) // as Prepare has measured it, of another clock
	return shop
}

func (s *shop) clock() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.at }

func (s *shop) advance(d time.Duration) { s.mu.Lock(); defer s.mu.Unlock(); s.at = s.at.Add(d) }

var noon = time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC)

// open makes a sale of total units, at 100 each, with a minute to pay.
func (s *shop) open(total int64) seckill.Sale {
	s.t.Helper()
	sale, err := s.CreateSale(context.Background(), seckill.Sale{Title: "a sale", Price: 100, Currency: "CNY", Total: total, LimitPerBuyer: 5,
		OpensAt: noon, ClosesAt: s.clock().Add(time.Hour), HoldSeconds: 60})
	require.NoError(s.t, err)
	return sale
}

var serial struct {
	sync.Mutex
	n int64
}

// ticket is a new one.
func ticket(sale seckill.SaleID, buyer string, quantity int) seckill.Ticket {
	serial.Lock()
	defer serial.Unlock()
	serial.n++
	at := noon.Add(time.Duration(serial.n) * time.Millisecond) // so that ids rise
	return seckill.Ticket{ID: seckill.NewTicketID(at), Sale: sale, Buyer: buyer, Quantity: quantity, Seq: serial.n, At: at}
}

// settle returns the reasons, "" for placed.
func (s *shop) settle(tickets ...seckill.Ticket) (reasons []seckill.Reason) {
	s.t.Helper()
	outcomes, err := s.Settle(context.Background(), tickets)
	require.NoError(s.t, err)
	require.Len(s.t, outcomes, len(tickets))
	for i, o := range outcomes {
		require.Equal(s.t, tickets[i], o.Ticket, "in the tickets' order")
		reasons = append(reasons, o.Reason)
	}
	return reasons
}

// place is a ticket that became an order.
func (s *shop) place(sale seckill.SaleID, buyer string, quantity int) seckill.Ticket {
	s.t.Helper()
	v := ticket(sale, buyer, quantity)
	require.Equal(s.t, []seckill.Reason{placed}, s.settle(v))
	return v
}

// Transition is TransitionBy for a buyer, or for an administrator who gives no reason.
func (s *Store) Transition(ctx context.Context, id, buyer string, to seckill.OrderState) (seckill.Order, error) {
	return s.TransitionBy(ctx, id, buyer, to, cmp.Or(buyer, "administrator"), "")
}

func (s *shop) become(to seckill.OrderState, v seckill.Ticket) seckill.Order {
	s.t.Helper()
	o, err := s.Transition(context.Background(), v.ID, "", to)
	require.NoError(s.t, err)
	require.Equal(s.t, to, o.State)
	return o
}

func (s *shop) sold(id seckill.SaleID) int64 {
	s.t.Helper()
	sale, err := s.Sale(context.Background(), id)
	require.NoError(s.t, err)
	return sale.Sold
}

func (s *shop) look(id seckill.SaleID, outbox ...seckill.Ticket) seckill.Snapshot {
	s.t.Helper()
	v, err := s.Look(context.Background(), id, outbox)
	require.NoError(s.t, err)
	return v
}

func (s *shop) returns() (ids []string) {
	s.t.Helper()
	returns, err := s.Returns(context.Background(), 1000)
	require.NoError(s.t, err)
	for _, r := range returns {
		for _, t := range r.Tickets {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

const (
	placed  = seckill.ReasonNone
	soldOut = seckill.ReasonSoldOut
	limited = seckill.ReasonLimit
	noSale  = seckill.ReasonNoSale
)

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Errorf(format string, args ...any)
	FailNow()
}

// invariants are those of docs/INVARIANTS.md that the store can see, counted from its
// rows.
func (s *shop) invariants(t failer) {
	count := func(what, query string) {
		var n int64
		require.NoError(t, s.r.QueryRow(query).Scan(&n))
		require.Zero(t, n, what)
	}
	count("counter: sold is the sum of the active orders", `SELECT COUNT(*) FROM sales s WHERE sold <>
		(SELECT COALESCE(SUM(quantity), 0) FROM tickets t WHERE t.sale = s.id AND t.state IN ('unpaid', 'paid'))`)
	count("no oversell", `SELECT COUNT(*) FROM sales WHERE sold > total OR sold < 0`)
	count("one per buyer", `SELECT COUNT(*) FROM (SELECT 1 AS one FROM tickets WHERE state IN ('unpaid', 'paid') GROUP BY sale, buyer HAVING COUNT(*) > 1) AS twice`)
	count("a refused ticket has a reason, a placed one none", `SELECT COUNT(*) FROM tickets WHERE (state = 'refused') <> (reason <> '')`)
	count("release once: units on their way are those of ended orders", `SELECT COUNT(*) FROM returns r LEFT JOIN tickets t ON t.id = r.ticket
		WHERE t.id IS NULL OR t.state NOT IN ('cancelled', 'expired', 'refunded') OR t.quantity <> r.quantity OR t.sale <> r.sale OR t.buyer <> r.buyer`)
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	testStore(t, openTestSQLite)
}

func openTestSQLite(t testing.TB) *Store {
	return sqliteAt(t, filepath.Join(t.TempDir(), "seckill.db"))
}

func sqliteAt(t testing.TB, file string) *Store {
	t.Helper()
	if _, err := os.Stat(file); err != nil { // it is the first one to open the file
		storetest.Make(t, file, Open)
	}
	s, err := Open(context.Background(), "sqlite:"+file, Settings{Exclusive: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func testCreateSale(t *testing.T, s *shop) {
	at := s.clock()
	want := seckill.Sale{Title: "秒杀 'x'\"", Description: "line\nline", Image: "/i.png", Price: 9900, ListPrice: 29900, Currency: "CNY", Total: 500,
		LimitPerBuyer: 2, OpensAt: at, ClosesAt: at.Add(time.Hour + time.Millisecond), HoldSeconds: 900}
	got, err := s.CreateSale(t.Context(), want)
	require.NoError(t, err)
	require.Positive(t, got.ID)
	want.ID, want.Version = got.ID, 1
	require.Equal(t, want, got)
	again, err := s.Sale(t.Context(), got.ID)
	require.NoError(t, err)
	require.Equal(t, want, again)
	_, err = s.Sale(t.Context(), got.ID+1)
	require.ErrorIs(t, err, seckill.ErrNotFound)
}

func testUpdateSale(t *testing.T, s *shop) {
	sale := s.open(10)
	s.place(sale.ID, "ann", 2)
	got, err := s.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error {
		require.EqualValues(t, 2, v.Sold)
		v.Title, v.Paused, v.Ended, v.Price, v.LimitPerBuyer, v.HoldSeconds = "another", true, true, 1, 9, 8
		v.Total, v.Sold, v.Epoch = 1, 0, 99 // not its business
		v.ClosesAt = v.ClosesAt.Add(time.Minute)
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 2, got.Version)
	stored, err := s.Sale(t.Context(), sale.ID)
	require.NoError(t, err)
	require.Equal(t, "another", stored.Title)
	require.True(t, stored.Paused && stored.Ended)
	require.Equal(t, []int64{10, 2, 0, 2, 1, 9, 8}, []int64{stored.Total, stored.Sold, stored.Epoch, stored.Version, stored.Price, int64(stored.LimitPerBuyer), int64(stored.HoldSeconds)})
	require.Equal(t, sale.ClosesAt.Add(time.Minute), stored.ClosesAt)

	no := &seckill.FieldError{Field: "title", Must: "must be something else"}
	_, err = s.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error { v.Title = "never"; return no })
	require.ErrorIs(t, err, error(no))
	again, err := s.Sale(t.Context(), sale.ID)
	require.NoError(t, err)
	require.Equal(t, stored, again)
	_, err = s.UpdateSale(t.Context(), 999, func(*seckill.Sale) error { return nil })
	require.ErrorIs(t, err, seckill.ErrNotFound)
}

func testSales(t *testing.T, s *shop) {
	var want []seckill.SaleID
	for range 5 {
		want = append([]seckill.SaleID{s.open(1).ID}, want...)
	}
	var got []seckill.SaleID
	for before := seckill.SaleID(0); ; before = got[len(got)-1] {
		page, err := s.Sales(t.Context(), before, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, sale := range page {
			got = append(got, sale.ID)
		}
	}
	require.Equal(t, want, got)
}

func testApplied(t *testing.T, s *shop) {
	unapplied := func() (ids []seckill.SaleID) {
		sales, err := s.Unapplied(t.Context())
		require.NoError(t, err)
		for _, sale := range sales {
			ids = append(ids, sale.ID)
		}
		return ids
	}
	touch := func(id seckill.SaleID) {
		_, err := s.UpdateSale(t.Context(), id, func(*seckill.Sale) error { return nil })
		require.NoError(t, err)
	}
	one, two := s.open(1).ID, s.open(1).ID
	require.Equal(t, []seckill.SaleID{one, two}, unapplied())
	require.NoError(t, s.Applied(t.Context(), one, 1))
	require.Equal(t, []seckill.SaleID{two}, unapplied())
	touch(one)
	require.Equal(t, []seckill.SaleID{one, two}, unapplied())
	require.NoError(t, s.Applied(t.Context(), one, 2))
	require.NoError(t, s.Applied(t.Context(), one, 1), "late")
	require.Equal(t, []seckill.SaleID{two}, unapplied())
	_, err := s.Snapshot(t.Context(), []seckill.SaleID{two}, nil)
	require.NoError(t, err)
	require.Empty(t, unapplied(), "a rebuild brings the newest version")
}

func testRetired(t *testing.T, s *shop) {
	s.settings.Retention = time.Minute
	sale := s.open(5)
	s.place(sale.ID, "ann", 2)
	rebuilt := func(outbox ...seckill.Ticket) seckill.Snapshot {
		t.Helper()
		all, err := s.Snapshot(t.Context(), []seckill.SaleID{sale.ID}, map[seckill.SaleID][]seckill.Ticket{sale.ID: outbox})
		require.NoError(t, err)
		return all[0]
	}
	s.advance(time.Hour + time.Minute - time.Millisecond)
	require.False(t, rebuilt().Sale.Retired)
	s.advance(time.Millisecond)
	v := rebuilt()
	require.True(t, v.Sale.Retired)
	require.Empty(t, v.Active)
	require.EqualValues(t, 3, v.Left())
	require.Len(t, s.look(sale.ID).Active, 1, "an audit sees them")
	v = rebuilt(ticket(sale.ID, "bob", 1))
	require.False(t, v.Sale.Retired, "a ticket has no outcome yet")
	require.Len(t, v.Active, 1)
	_, err := s.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error { v.ClosesAt = s.clock().Add(time.Hour); return nil })
	require.NoError(t, err)
	require.Len(t, rebuilt().Active, 1, "it is open again")
}

func testSnapshot(t *testing.T, s *shop) {
	sale, other := s.open(20), s.open(1)
	active, paid, back := s.place(sale.ID, "ann", 1), s.place(sale.ID, "pia", 2), s.place(sale.ID, "bob", 3)
	s.become(seckill.Paid, paid)
	s.become(seckill.Cancelled, back)
	s.begin(sale.ID, "more", 5)
	s.begin(sale.ID, "less", -4)
	pending, refused := ticket(sale.ID, "cid", 2), ticket(sale.ID, "dan", 1)
	_, err := s.Refuse(t.Context(), refused, limited)
	require.NoError(t, err)
	outbox := map[seckill.SaleID][]seckill.Ticket{sale.ID: {pending, refused, paid}}

	for round := range int64(3) {
		all, err := s.Snapshot(t.Context(), []seckill.SaleID{sale.ID}, outbox)
		require.NoError(t, err)
		require.Len(t, all, 1)
		v := all[0]
		require.Equal(t, round+1, v.Sale.Epoch)
		require.EqualValues(t, 25, v.Sale.Total)
		require.EqualValues(t, 3, v.Sale.Sold)
		require.EqualValues(t, 3, v.Returning)
		require.EqualValues(t, 5, v.Growing)
		require.Equal(t, []seckill.Ticket{pending}, v.Pending())
		require.Equal(t, map[string]seckill.Reason{refused.ID: limited, paid.ID: placed}, v.Outcomes)
		require.EqualValues(t, 25-3-2-3-5, v.Left())
		require.Equal(t, back.Seq, v.Sale.Seq)
		holders := map[string]string{}
		for _, a := range v.Active {
			holders[a.Buyer] = a.ID
		}
		require.Equal(t, map[string]string{"ann": active.ID, "pia": paid.ID}, holders)
	}
	both, err := s.Snapshot(t.Context(), []seckill.SaleID{other.ID, sale.ID}, nil)
	require.NoError(t, err)
	for _, v := range both {
		require.Equal(t, map[seckill.SaleID]int64{sale.ID: 4, other.ID: 1}[v.Sale.ID], v.Sale.Epoch)
	}
	_, err = s.Snapshot(t.Context(), []seckill.SaleID{other.ID, 999}, nil)
	require.ErrorIs(t, err, seckill.ErrNotFound)
	require.EqualValues(t, 1, s.look(other.ID).Sale.Epoch, "all or nothing")
}

func testLook(t *testing.T, s *shop) {
	sale := s.open(5)
	v := s.place(sale.ID, "ann", 1)
	first := s.look(sale.ID, v)
	require.Equal(t, first, s.look(sale.ID, v))
	require.Zero(t, first.Sale.Epoch)
	require.Equal(t, map[string]seckill.Reason{v.ID: placed}, first.Outcomes)
	_, err := s.Look(t.Context(), 999, nil)
	require.ErrorIs(t, err, seckill.ErrNotFound)
}

func testAccounts(t *testing.T, s *shop) {
	a := seckill.Account{Name: "ann", Buyer: "b1", Role: seckill.RoleAdmin, Hash: "h"}
	require.NoError(t, s.CreateAccount(t.Context(), a))
	require.ErrorIs(t, s.CreateAccount(t.Context(), seckill.Account{Name: "ann", Buyer: "b2", Hash: "other"}), seckill.ErrNameTaken)
	got, err := s.Account(t.Context(), "ann")
	require.NoError(t, err)
	a.CreatedAt = s.clock().UTC()
	require.Equal(t, a, got, "with the time at which it was made")
	_, err = s.Account(t.Context(), "bob")
	require.ErrorIs(t, err, seckill.ErrNotFound)
}
