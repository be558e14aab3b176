package store

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill"
	"seckill/internal/stack"
)

func TestMain(m *testing.M) {
	// Every step of a property is a transaction on a disk: a few checks are enough
	// each time. go test -rapid.checks=1000 looks harder.
	flag.Set("rapid.checks", "8")
	flag.Set("rapid.nofailfile", "true")
	stack.Main(leaktest{m})
}

// leaktest fails a run that leaves goroutines behind.
type leaktest struct{ *testing.M }

func (m leaktest) Run() int {
	code := m.M.Run()
	if code == 0 {
		// One waits for an engine of this package's own, until stack.Main ends it.
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
	{"a ticket of an unknown sale is refused", testUnknownSale},
	{"what no version of a sale would have admitted is refused", testTerms},
	{"a secret that is not the others' is known", testSecretPrint},
	{"a batch whose data is rejected says so and leaves nothing", testPoison},
	{"a ticket that fails alone can be refused", testRefuse},
	{"any order of batches keeps the rules", testBatches},
	{"concurrent writers keep the rules", testConcurrent},
	{"a sale keeps its rules about who may buy", testAccessRules},
	{"the lists hold each buyer and network once", testAccessEntries},
	{"a sale has its list of buyers", testEligible},
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
	s, err := Open(context.Background(), "sqlite:"+file, true)
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

func testSettle(t *testing.T, s *shop) {
	one, two := s.open(10), s.open(10)
	a, b, c := ticket(one.ID, "ann", 2), ticket(two.ID, "ann", 1), ticket(one.ID, "bob", 3)
	require.Equal(t, []seckill.Reason{placed, placed, placed}, s.settle(a, b, c))
	require.EqualValues(t, 5, s.sold(one.ID))
	require.EqualValues(t, 1, s.sold(two.ID))
	o, err := s.Order(t.Context(), c.ID, "bob")
	require.NoError(t, err)
	require.Equal(t, seckill.Order{ID: c.ID, Sale: one.ID, Ticket: c.ID, Buyer: "bob", Title: "a sale", Price: 100, Quantity: 3, Amount: 300, Currency: "CNY", State: seckill.Unpaid,
		CreatedAt: s.clock(), ExpiresAt: s.clock().Add(time.Minute)}, o)
	require.Equal(t, c.Seq, s.look(one.ID).Sale.Seq, "the highest admission number")
	require.Empty(t, s.settle())
	s.invariants(t)
}

func testFirstOutcome(t *testing.T, s *shop) {
	sale := s.open(2)
	a, b, c := ticket(sale.ID, "ann", 1), ticket(sale.ID, "bob", 2), ticket(sale.ID, "cid", 1)
	require.Equal(t, []seckill.Reason{placed, placed, soldOut}, s.settle(a, a, b), "twice in one batch")
	require.Equal(t, []seckill.Reason{soldOut, placed}, s.settle(b, a), "again, in another order")
	s.become(seckill.Cancelled, a)
	require.Equal(t, []seckill.Reason{placed, soldOut}, s.settle(a, b), "there would be room now")
	require.Equal(t, []seckill.Reason{placed, placed, soldOut}, s.settle(a, c, b), "overlapping")
	require.EqualValues(t, 1, s.sold(sale.ID))
	o, err := s.Refuse(t.Context(), a, seckill.ReasonPoison)
	require.NoError(t, err)
	require.True(t, o.Placed(), "a refusal that comes late")
	got, err := s.Outcome(t.Context(), sale.ID, "bob", b.ID)
	require.NoError(t, err)
	require.Equal(t, soldOut, got.Reason)
	s.invariants(t)
}

func testFit(t *testing.T, s *shop) {
	one, two := s.open(3), s.open(100)
	require.Equal(t, []seckill.Reason{placed, placed, soldOut, placed, soldOut}, s.settle(
		ticket(one.ID, "ann", 2), ticket(two.ID, "ann", 5), ticket(one.ID, "bob", 2), ticket(one.ID, "cid", 1), ticket(one.ID, "dan", 1)))
	require.EqualValues(t, 3, s.sold(one.ID))
	require.EqualValues(t, 5, s.sold(two.ID))
	s.invariants(t)
}

func testOnePerBuyer(t *testing.T, s *shop) {
	sale, other := s.open(10), s.open(10)
	first := ticket(sale.ID, "ann", 1)
	require.Equal(t, []seckill.Reason{placed, limited, placed}, s.settle(first, ticket(sale.ID, "ann", 1), ticket(other.ID, "ann", 1)), "in one batch")
	require.Equal(t, []seckill.Reason{placed, limited}, s.settle(ticket(sale.ID, "bob", 1), ticket(sale.ID, "ann", 1)), "in a later one")
	s.become(seckill.Paid, first)
	require.Equal(t, []seckill.Reason{limited}, s.settle(ticket(sale.ID, "ann", 1)), "a paid order is active")
	s.become(seckill.Refunded, first)
	require.Equal(t, []seckill.Reason{placed}, s.settle(ticket(sale.ID, "ann", 1)))
	require.Equal(t, []seckill.Reason{placed}, s.settle(ticket(sale.ID, "Ann", 1)), "another buyer")
	require.EqualValues(t, 3, s.sold(sale.ID))
	s.invariants(t)
}

func testUnknownSale(t *testing.T, s *shop) {
	sale := s.open(10)
	lost := ticket(999, "ann", 1)
	require.Equal(t, []seckill.Reason{noSale, placed}, s.settle(lost, ticket(sale.ID, "ann", 1)))
	require.Equal(t, []seckill.Reason{noSale}, s.settle(lost))
	s.invariants(t)
}

// What was admitted by an older version of the sale is placed; what none of them would
// have admitted is refused, and raises nothing.
func testTerms(t *testing.T, s *shop) {
	sale := s.open(100)
	at := func(d time.Duration, quantity int) seckill.Ticket {
		v := ticket(sale.ID, seckill.NewTicketID(noon), quantity)
		v.At = noon.Add(d)
		return v
	}
	refused := seckill.ReasonNotAdmitted
	far := at(0, 6)
	far.Seq = seckill.MaxSeq
	require.Equal(t, []seckill.Reason{placed, refused, placed, refused, placed, refused},
		s.settle(at(0, 1), at(-time.Millisecond, 1), at(time.Hour-time.Millisecond, 1), at(time.Hour, 1), at(time.Second, 5), far))
	before, err := s.Sale(t.Context(), sale.ID)
	require.NoError(t, err)
	require.Less(t, before.Seq, int64(seckill.MaxSeq))
	change := func(opens, closes time.Duration, limit int) {
		_, err := s.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error {
			v.OpensAt, v.ClosesAt, v.LimitPerBuyer = noon.Add(opens), noon.Add(closes), limit
			return nil
		})
		require.NoError(t, err)
	}
	change(-time.Minute, 2*time.Hour, 7)
	require.Equal(t, []seckill.Reason{placed, refused, placed, refused, placed, refused},
		s.settle(at(-time.Minute, 1), at(-time.Minute-1, 1), at(2*time.Hour-1, 1), at(2*time.Hour, 1), at(0, 7), at(0, 8)))
	change(time.Minute, time.Hour, 1) // what came before may be under way
	require.Equal(t, []seckill.Reason{placed, placed, placed}, s.settle(at(-time.Minute, 1), at(2*time.Hour-time.Millisecond, 1), at(0, 7)))
	s.invariants(t)
}

func testPoison(t *testing.T, s *shop) {
	sale := s.open(10)
	for _, quantity := range []int{0, -1} {
		good, bad := ticket(sale.ID, "ann", 1), ticket(sale.ID, "bob", quantity)
		_, err := s.Settle(t.Context(), []seckill.Ticket{good, bad})
		require.ErrorIs(t, err, ErrTicket)
		require.NotErrorIs(t, err, seckill.ErrUnavailable)
		_, err = s.Outcome(t.Context(), sale.ID, "ann", "")
		require.ErrorIs(t, err, seckill.ErrNotFound, "all or nothing")
	}
	require.Zero(t, s.sold(sale.ID))
	s.invariants(t)
}

func testRefuse(t *testing.T, s *shop) {
	sale := s.open(10)
	for _, bad := range []seckill.Ticket{ticket(sale.ID, "ann", 1), ticket(sale.ID, "bob", 0), ticket(sale.ID, "cid", -7), ticket(999, "dan", 1)} {
		for range 2 {
			o, err := s.Refuse(t.Context(), bad, seckill.ReasonPoison)
			require.NoError(t, err, "quantity %d", bad.Quantity)
			require.Equal(t, seckill.Outcome{Ticket: bad, Reason: seckill.ReasonPoison}, o)
		}
		o, err := s.Outcome(t.Context(), bad.Sale, bad.Buyer, "")
		require.NoError(t, err)
		require.Equal(t, seckill.ReasonPoison, o.Reason)
		require.Equal(t, []seckill.Reason{seckill.ReasonPoison}, s.settle(bad))
	}
	require.Zero(t, s.sold(sale.ID))
	orders, err := s.Orders(t.Context(), "ann", "", 10)
	require.NoError(t, err)
	require.Empty(t, orders)
	s.invariants(t)
}

func testOwner(t *testing.T, s *shop) {
	sale := s.open(10)
	v := s.place(sale.ID, "ann", 1)
	for _, buyer := range []string{"bob", "", "ANN"} {
		_, err := s.Order(t.Context(), v.ID, buyer)
		require.ErrorIs(t, err, seckill.ErrNotFound)
		_, err = s.Outcome(t.Context(), sale.ID, buyer, v.ID)
		require.ErrorIs(t, err, seckill.ErrNotFound)
		orders, err := s.Orders(t.Context(), buyer, "", 10)
		require.NoError(t, err)
		require.Empty(t, orders)
		if buyer != "" {
			_, err = s.Transition(t.Context(), v.ID, buyer, seckill.Paid)
			require.ErrorIs(t, err, seckill.ErrNotFound)
		}
	}
	o, err := s.Order(t.Context(), v.ID, "ann")
	require.NoError(t, err)
	require.Equal(t, seckill.Unpaid, o.State)
	_, err = s.Outcome(t.Context(), sale.ID+1, "ann", v.ID)
	require.ErrorIs(t, err, seckill.ErrNotFound, "of another sale")
}

func testOrders(t *testing.T, s *shop) {
	var want []string
	for range 5 {
		want = append([]string{s.place(s.open(1).ID, "ann", 1).ID}, want...)
	}
	s.settle(ticket(999, "ann", 1)) // a refusal is no order
	var got []string
	for before := ""; ; before = got[len(got)-1] {
		page, err := s.Orders(t.Context(), "ann", before, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			got = append(got, o.ID)
		}
	}
	require.Equal(t, want, got)
	newest, err := s.Outcome(t.Context(), 999, "ann", "")
	require.NoError(t, err)
	require.Equal(t, noSale, newest.Reason)
}

func testAsBought(t *testing.T, s *shop) {
	sale := s.open(10)
	call := func(title, image string) {
		_, err := s.UpdateSale(t.Context(), sale.ID, func(v *seckill.Sale) error { v.Title, v.Image = title, image; return nil })
		require.NoError(t, err)
	}
	call("before anybody", "/1.png")
	early := ticket(sale.ID, "cid", 1) // admitted first, settled last
	first := s.place(sale.ID, "ann", 2)
	call("seen by nobody", "/2.png")
	call("second", "/3.png")
	second := s.place(sale.ID, "bob", 1)
	call("third", "")
	require.Equal(t, []seckill.Reason{placed}, s.settle(early))
	for _, c := range []struct {
		ticket       seckill.Ticket
		title, image string
	}{{first, "before anybody", "/1.png"}, {second, "second", "/3.png"}, {early, "before anybody", "/1.png"}} {
		o, err := s.Order(t.Context(), c.ticket.ID, c.ticket.Buyer)
		require.NoError(t, err)
		require.Equal(t, []any{c.title, c.image, int64(100)}, []any{o.Title, o.Image, o.Price})
		orders, err := s.Orders(t.Context(), c.ticket.Buyer, "", 1)
		require.NoError(t, err)
		require.Equal(t, []seckill.Order{o}, orders)
		require.Equal(t, c.title, s.become(seckill.Paid, c.ticket).Title)
	}
}

func testTransition(t *testing.T, s *shop) {
	all := []seckill.OrderState{seckill.Unpaid, seckill.Paid, seckill.Cancelled, seckill.Expired, seckill.Refunded}
	path := map[seckill.OrderState][]seckill.OrderState{
		seckill.Unpaid: nil, seckill.Paid: {seckill.Paid}, seckill.Cancelled: {seckill.Cancelled}, seckill.Expired: {seckill.Expired}, seckill.Refunded: {seckill.Paid, seckill.Refunded},
	}
	for _, from := range all {
		for _, to := range all {
			for _, late := range []bool{false, true} {
				sale := s.open(10)
				v := s.place(sale.ID, "ann", 2)
				if from == seckill.Expired {
					s.advance(time.Minute)
				}
				for _, step := range path[from] {
					s.become(step, v)
				}
				if late {
					s.advance(time.Minute)
				}
				was, err := s.Order(t.Context(), v.ID, "ann")
				require.NoError(t, err)
				_, want := was.Become(to, s.clock())
				got, err := s.Transition(t.Context(), v.ID, "ann", to)
				if want != nil {
					require.ErrorIs(t, err, seckill.ErrState, "%s → %s", from, to)
					to = from
				} else {
					require.NoError(t, err, "%s → %s", from, to)
					require.Equal(t, to, got.State)
				}
				now, err := s.Order(t.Context(), v.ID, "ann")
				require.NoError(t, err)
				require.Equal(t, to, now.State)
				units := int64(0)
				if to.Active() {
					units = 2
				}
				require.Equal(t, units, s.sold(sale.ID), "%s → %s", from, to)
				require.Equal(t, 2-units, s.look(sale.ID).Returning)
				if from == to {
					break // late or not is the same
				}
			}
		}
	}
	_, err := s.Transition(t.Context(), "00000000000000000000000000", "ann", seckill.Paid)
	require.ErrorIs(t, err, seckill.ErrNotFound)
	s.invariants(t)
}

func testExpire(t *testing.T, s *shop) {
	expire := func(max int) int {
		n, err := s.Expire(t.Context(), max)
		require.NoError(t, err)
		return n
	}
	_, some, err := s.NextExpiry(t.Context())
	require.NoError(t, err)
	require.False(t, some)
	one, two := s.open(10), s.open(10)
	paid := s.place(one.ID, "pia", 1)
	s.become(seckill.Paid, paid)
	for i := range 3 {
		s.place(one.ID, fmt.Sprint("buyer", i), 2)
	}
	s.advance(10 * time.Second)
	s.place(two.ID, "ann", 3)
	wait, some, err := s.NextExpiry(t.Context())
	require.NoError(t, err)
	require.True(t, some)
	require.Equal(t, 50*time.Second, wait)
	s.advance(50*time.Second - time.Millisecond)
	require.Zero(t, expire(10))
	s.advance(time.Millisecond)
	require.Equal(t, 2, expire(2))
	require.Equal(t, 1, expire(10))
	require.Zero(t, expire(10), "once")
	require.EqualValues(t, 1, s.sold(one.ID), "the paid one stays")
	require.EqualValues(t, 3, s.sold(two.ID))
	require.Len(t, s.returns(), 3)
	s.advance(10 * time.Second)
	require.Equal(t, 1, expire(10))
	s.invariants(t)
}

func testReturns(t *testing.T, s *shop) {
	sale := s.open(5)
	v := s.place(sale.ID, "ann", 3)
	s.become(seckill.Cancelled, v)
	s.become(seckill.Cancelled, v) // a repeat returns nothing more
	returns, err := s.Returns(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, []seckill.Return{{Sale: sale.ID, Tickets: []seckill.Ticket{{ID: v.ID, Sale: sale.ID, Buyer: "ann", Quantity: 3}}}}, returns)
	require.EqualValues(t, 3, s.look(sale.ID).Returning)
	require.Zero(t, s.sold(sale.ID))
	s.place(sale.ID, "ann", 5)
	returns, err = s.Returns(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, returns, "at most max")
	returns, err = s.Returns(t.Context(), 10, sale.ID, sale.ID+1)
	require.NoError(t, err)
	require.Empty(t, returns, "without that sale")
	s.invariants(t)
}

func testReturned(t *testing.T, s *shop) {
	one, two := s.open(5), s.open(5)
	snapshots, err := s.Snapshot(t.Context(), []seckill.SaleID{one.ID, two.ID}, nil)
	require.NoError(t, err)
	epoch := snapshots[0].Sale.Epoch
	a, b, c := s.place(one.ID, "ann", 1), s.place(one.ID, "bob", 1), s.place(two.ID, "ann", 1)
	for _, v := range []seckill.Ticket{a, b, c} {
		s.become(seckill.Cancelled, v)
	}
	returned := func(sale seckill.SaleID, epoch int64, v seckill.Ticket) {
		t.Helper()
		require.NoError(t, s.Returned(t.Context(), seckill.Return{Sale: sale, Epoch: epoch, Tickets: []seckill.Ticket{v}}))
	}
	returned(one.ID, epoch, a)
	require.ElementsMatch(t, []string{b.ID, c.ID}, s.returns())
	returned(one.ID, epoch, a) // a repeat
	_, err = s.Snapshot(t.Context(), []seckill.SaleID{one.ID}, nil)
	require.NoError(t, err)
	for _, old := range []int64{epoch - 1, epoch, epoch + 2} {
		returned(one.ID, old, b)
		require.ElementsMatch(t, []string{b.ID, c.ID}, s.returns(), "epoch %d is not in force", old)
	}
	returned(one.ID, epoch+1, b)
	returned(two.ID, epoch, c) // an epoch is a sale's own
	require.Empty(t, s.returns())
}

// begin and finish are the two ends of a stock move in the store.
func (s *shop) begin(sale seckill.SaleID, id string, delta int64) seckill.Move {
	s.t.Helper()
	m, err := s.BeginMove(context.Background(), seckill.Move{Sale: sale, ID: id, Delta: delta})
	require.NoError(s.t, err)
	return m
}

func (s *shop) finish(m seckill.Move, applied bool, epoch int64) bool {
	s.t.Helper()
	m.Epoch = epoch
	done, err := s.FinishMove(context.Background(), m, applied)
	require.NoError(s.t, err)
	return done
}

func (s *shop) openMoves() (ids []string) {
	s.t.Helper()
	moves, err := s.OpenMoves(context.Background())
	require.NoError(s.t, err)
	for _, m := range moves {
		ids = append(ids, m.ID)
	}
	return ids
}

func testGrowth(t *testing.T, s *shop) {
	sale := s.open(5)
	m := s.begin(sale.ID, "more", 3)
	require.False(t, m.Done)
	require.Equal(t, m, s.begin(sale.ID, "more", 3), "a repeat finds it")
	v := s.look(sale.ID)
	require.Equal(t, []int64{8, 3, 5}, []int64{v.Sale.Total, v.Growing, v.Left()})
	require.Equal(t, []string{"more"}, s.openMoves())
	require.True(t, s.finish(m, true, 0))
	require.True(t, s.finish(m, true, 0))
	v = s.look(sale.ID)
	require.Equal(t, []int64{8, 0, 8}, []int64{v.Sale.Total, v.Growing, v.Left()})
	require.Empty(t, s.openMoves())
	require.True(t, s.begin(sale.ID, "more", 3).Done)
	require.EqualValues(t, 8, s.look(sale.ID).Sale.Total)
	_, err := s.BeginMove(t.Context(), seckill.Move{Sale: sale.ID, ID: "far", Delta: seckill.MaxTotal})
	var field *seckill.FieldError
	require.ErrorAs(t, err, &field)
	require.Empty(t, s.openMoves())
}

func testShrink(t *testing.T, s *shop) {
	sale := s.open(5)
	m := s.begin(sale.ID, "less", -3)
	v := s.look(sale.ID)
	require.Equal(t, []int64{5, 0, 5}, []int64{v.Sale.Total, v.Growing, v.Left()}, "until the gate agrees nothing changes")
	require.True(t, s.finish(m, true, 0))
	require.True(t, s.finish(m, true, 0))
	require.EqualValues(t, 2, s.look(sale.ID).Sale.Total)

	refused := s.begin(sale.ID, "too much", -3)
	require.True(t, s.finish(refused, false, 0))
	require.EqualValues(t, 2, s.look(sale.ID).Sale.Total)
	require.Empty(t, s.openMoves(), "a refused move is forgotten")
	require.False(t, s.begin(sale.ID, "too much", -1).Done)
	require.True(t, s.finish(m, false, 0), "a refusal that comes late")
	require.EqualValues(t, 2, s.look(sale.ID).Sale.Total)
	s.invariants(t)
}

func testFinishMove(t *testing.T, s *shop) {
	sale := s.open(5)
	snapshots, err := s.Snapshot(t.Context(), []seckill.SaleID{sale.ID}, nil)
	require.NoError(t, err)
	epoch := snapshots[0].Sale.Epoch
	more, less, no := s.begin(sale.ID, "more", 4), s.begin(sale.ID, "less", -2), s.begin(sale.ID, "no", -9)
	snapshots, err = s.Snapshot(t.Context(), []seckill.SaleID{sale.ID}, nil)
	require.NoError(t, err)
	require.Equal(t, []int64{9, 4, 5}, []int64{snapshots[0].Sale.Total, snapshots[0].Growing, snapshots[0].Left()})
	require.False(t, s.finish(more, true, epoch))
	require.False(t, s.finish(less, true, epoch))
	require.False(t, s.finish(no, false, epoch))
	require.ElementsMatch(t, []string{"more", "less", "no"}, s.openMoves())
	require.EqualValues(t, 9, s.look(sale.ID).Sale.Total)
	require.True(t, s.finish(more, true, epoch+1))
	require.True(t, s.finish(less, true, epoch+1))
	require.True(t, s.finish(no, false, epoch+1))
	require.Empty(t, s.openMoves())
	require.EqualValues(t, 7, s.look(sale.ID).Sale.Total)
}

func testMoveID(t *testing.T, s *shop) {
	one, two := s.open(5), s.open(5)
	s.begin(one.ID, "a", 3)
	s.begin(two.ID, "a", -3) // an id is a sale's own
	_, err := s.BeginMove(t.Context(), seckill.Move{Sale: one.ID, ID: "a", Delta: 4})
	require.ErrorIs(t, err, seckill.ErrState)
	require.EqualValues(t, 8, s.look(one.ID).Sale.Total)
	_, err = s.BeginMove(t.Context(), seckill.Move{Sale: 999, ID: "a", Delta: 4})
	require.ErrorIs(t, err, seckill.ErrNotFound)
}

func testRetired(t *testing.T, s *shop) {
	s.Retention = time.Minute
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
