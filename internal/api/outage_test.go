package api

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/gate"
	"seckill/internal/order"
	"seckill/internal/sale"
	"seckill/internal/store"
)

func TestWhileTheGateIsRebuilt(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	release := s.settling.hold()
	q := s.buy(otherName, s.open.ID, "")
	// Another node has the lease for it, and takes its time.
	held, _, err := s.store.Lease(t.Context(), "rebuild", "another node", time.Hour)
	require.NoError(t, err)
	require.True(t, held)
	_, err = s.gate.Shut(t.Context(), []seckill.SaleID{s.open.ID})
	require.NoError(t, err)

	t.Log("what the gate alone knows is unavailable")
	before := s.world()
	a := s.as("new", "POST", ticketPath(s.open.ID), "").problem(503, "unavailable")
	require.Equal(t, "1", a.header.Get("Retry-After"))
	s.as(otherName, "GET", ticketPath(s.open.ID), "").problem(503, "unavailable")
	s.as("new", "GET", ticketPath(s.open.ID), "").problem(503, "unavailable")
	s.still(before)
	s.admin("POST", "/api/admin/sales/"+s.open.ID.String()+"/pause", "").problem(503, "unavailable")
	s.admin("GET", "/api/admin/sales/"+s.open.ID.String()+"/audit", "").problem(503, "unavailable")

	t.Log("what the store knows is answered")
	var v ticketAnswer
	s.as(ownerName, "GET", ticketPath(s.open.ID), "").is(200).into(&v)
	require.Equal(t, "placed", v.Status)
	require.Equal(t, seckill.Unpaid, s.orderOf(ownerName, s.order).State)
	s.anybody("GET", "/api/sales", "").is(200)
	s.sale(s.open.ID)
	s.as("new", "POST", ticketPath(999), "").problem(404, "not_found")
	s.as("new", "GET", ticketPath(999), "").problem(404, "not_found")

	t.Log("and then everything is as it was, with the pause in force")
	require.NoError(t, s.store.Unlease(t.Context(), "rebuild", "another node"))
	require.NoError(t, s.sales.Rebuild(t.Context(), s.open.ID))
	s.as("new", "POST", ticketPath(s.open.ID), "").problem(409, "paused")
	release()
	require.Equal(t, ticketAnswer{Status: "placed", Ticket: q.Ticket, Order: q.Ticket}, s.outcome(otherName, s.open.ID))
}

// down is a store that cannot be reached.
type down struct{ order.Store }

var errDown = fmt.Errorf("connection refused by db.internal: %w", seckill.ErrUnavailable)

func (down) Outcome(context.Context, seckill.SaleID, string, string) (seckill.Outcome, error) {
	return seckill.Outcome{}, errDown
}

func (down) Order(context.Context, string, string) (seckill.Order, error) {
	return seckill.Order{}, errDown
}

func (down) Orders(context.Context, string, string, int) ([]seckill.Order, error) {
	return nil, errDown
}

func (down) Outcomes(context.Context, string, string, int) ([]seckill.Outcome, error) {
	return nil, errDown
}

func (down) Now() time.Time { return time.Now() }

func (down) TransitionBy(context.Context, string, string, seckill.OrderState, string, string) (seckill.Order, error) {
	return seckill.Order{}, errDown
}

func (down) Refund(context.Context, seckill.RefundRequest) (seckill.Order, error) {
	return seckill.Order{}, errDown
}

func (down) AnyOrder(context.Context, string) (seckill.Order, error) {
	return seckill.Order{}, errDown
}

func (down) AllOrders(context.Context, seckill.OrderFilter) ([]seckill.Order, error) {
	return nil, errDown
}

func (down) Payments(context.Context, seckill.PaymentFilter) ([]seckill.Payment, error) {
	return nil, errDown
}

func (down) RefundsOf(context.Context, string) ([]seckill.Refund, error) { return nil, errDown }

func (down) Aftermath(context.Context, seckill.SaleID) (seckill.Aftermath, error) {
	return seckill.Aftermath{}, errDown
}

func (down) Refunds(context.Context, seckill.RefundFilter) ([]seckill.Refund, error) {
	return nil, errDown
}

func (down) RefundDone(context.Context, string, string, string) (seckill.Refund, error) {
	return seckill.Refund{}, errDown
}

func (down) History(context.Context, string, int) ([]seckill.Entry, error) {
	return nil, errDown
}

func (down) SaleHistory(context.Context, seckill.SaleID, int64, int) ([]seckill.Entry, error) {
	return nil, errDown
}

func TestWhileTheStoreIsDown(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.api.Store, s.api.Money, s.api.Orders = down{}, down{}, order.New(down{}, s.gate, s.api.Log)
	s.payments.Orders = s.api.Orders
	s.as(ownerName, "GET", ticketPath(s.paused.ID), "").problem(404, "not_found") // the gate has seen every ticket of it
	require.NoError(t, s.sales.Rebuild(t.Context(), s.paused.ID))
	before := s.world()
	for _, request := range []string{
		"GET /api/orders", "GET /api/tickets", "GET /api/orders/" + s.order, "GET " + ticketPath(s.paused.ID),
		"POST /api/orders/" + s.order + "/pay", "POST /api/orders/" + s.order + "/cancel",
	} {
		method, path, _ := strings.Cut(request, " ")
		a := s.as(ownerName, method, path, "").problem(503, "unavailable")
		require.Equal(t, "1", a.header.Get("Retry-After"))
		require.NotContains(t, string(a.body), "db.internal", "why is nobody's business but the log's")
	}
	for _, request := range []string{
		"GET /api/admin/orders", "GET /api/admin/orders/" + s.order, "GET /api/admin/payments", "GET /api/admin/refunds",
		"POST /api/admin/orders/" + s.order + "/cancel", "POST /api/admin/orders/" + s.order + "/refund",
	} {
		method, path, _ := strings.Cut(request, " ")
		s.admin(method, path, "").problem(503, "unavailable")
	}
	s.still(before)
	require.Contains(t, s.log.String(), "db.internal")
	require.Equal(t, "placed", s.outcome(ownerName, s.open.ID).Status, "what the gate knows is answered")
}

func TestAnOutageIsOneLineASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.api.Store = down{}
		fail := func(times int) {
			for range times {
				s.as(ownerName, "GET", "/api/orders", "").problem(503, "unavailable")
			}
		}
		said := func() int { return strings.Count(s.log.String(), "api: unavailable") }
		fail(100)
		require.Equal(t, 1, said())
		pass(time.Second)
		fail(3)
		require.Equal(t, 2, said())
		require.Contains(t, s.log.String(), `"unsaid":99`)
	})
}

// hanging is a store that stops answering about sales, as a database that was stopped.
type hanging struct {
	*store.Store
	hangs *atomic.Bool
}

func (h hanging) wait(ctx context.Context) error {
	if !h.hangs.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (h hanging) AccessState(ctx context.Context) (map[string]int64, seckill.SaleID, error) {
	if err := h.wait(ctx); err != nil {
		return nil, 0, err
	}
	return h.Store.AccessState(ctx)
}

func (h hanging) NewestSale(ctx context.Context) (seckill.SaleID, error) {
	if err := h.wait(ctx); err != nil {
		return 0, err
	}
	return h.Store.NewestSale(ctx)
}

// Only the store knows that there is no such sale. Who asks for one while the store hangs
// has a place among those who buy, and must not keep it.
func TestABuyOfAnUnknownSaleWaitsForAHangingStoreWithABound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h hanging
		s := newSystem(t, func(c *Config) {
			h = hanging{c.Store.(*store.Store), new(atomic.Bool)}
			var err error
			c.Access, err = access.New(access.Config{Settings: closeLimits(), Store: h, Secrets: [][]byte{[]byte(theSecret)}, Now: c.Gate.(*gate.Memory).Now, Log: c.Log})
			require.NoError(t, err)
			c.Sales = sale.New(h, c.Gate.(*gate.Memory), c.Log, sale.Options{})
		})
		s.as(otherName, "POST", ticketPath(999), "").problem(404, "not_found")
		h.hangs.Store(true)
		pass(time.Second) // the look that is due waits for the store, for five seconds
		var g sync.WaitGroup
		for i := range 10 {
			g.Go(func() {
				began := time.Now()
				for range 3 {
					s.as(fmt.Sprint("buyer ", i), "POST", ticketPath(999), "").problem(503, "unavailable")
				}
				require.LessOrEqual(t, time.Since(began), 3*2*unknownWait)
			})
		}
		g.Wait()
		s.as(otherName, "POST", ticketPath(s.open.ID), "").is(202)
		h.hangs.Store(false)
		pass(10 * time.Second)
		s.as(otherName, "POST", ticketPath(999), "").problem(404, "not_found")
	})
}

// countingOutcomes is a store that counts how often it is asked for an outcome.
type countingOutcomes struct {
	Store
	asked *atomic.Int64
}

func (c countingOutcomes) Outcome(ctx context.Context, sale seckill.SaleID, buyer, ticket string) (seckill.Outcome, error) {
	c.asked.Add(1)
	return c.Store.Outcome(ctx, sale, buyer, ticket)
}

// Whoever asks for tickets of sales that do not exist takes no connections to the store from others.
func TestTicketsOfSalesThatDoNotExistCostNoQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		var asked atomic.Int64
		s.api.Store = countingOutcomes{s.api.Store, &asked}
		for i := range 50 {
			s.as(otherName, "GET", ticketPath(seckill.SaleID(1000+i)), "").problem(404, "not_found")
		}
		require.Zero(t, asked.Load())
		_, err := s.gate.Shut(t.Context(), []seckill.SaleID{s.paused.ID})
		require.NoError(t, err)
		s.as(otherName, "GET", ticketPath(s.paused.ID), "").problem(503, "unavailable")
		require.EqualValues(t, 1, asked.Load(), "of one that the gate has lost it is asked")
	})
}

// An end cannot be undone, so its title is checked, or a person hears at once what can be done.
func TestAnEndWhoseTitleCannotBeCheckedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		h := hanging{s.store, new(atomic.Bool)}
		h.hangs.Store(true)
		s.api.Sales = sale.New(h, s.gate, s.api.Log, sale.Options{}) // a node that has just started, without copies
		began := time.Now()
		a := s.admin("POST", s.adminPath(s.open.ID, "end"), `{"title":"`+s.open.Title+`"}`)
		a.problem(503, "unavailable")
		require.Contains(t, string(a.body), "pause the sale, which needs no title")
		require.LessOrEqual(t, time.Since(began), titleWait)
		h.hangs.Store(false)
		pass(10 * time.Second)
		s.admin("POST", s.adminPath(s.open.ID, "end"), `{"title":"another"}`).problem(422, "invalid_field")
	})
}
