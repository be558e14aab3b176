package api

import (
	"context"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/room"
)

// Each kind of work has places of its own: a full room says busy, and the others go on.
func TestAFullRoomIsBusyAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	const buying, results, pages, orders, admin, stops, accounts = "buying", "results", "pages", "orders", "admin", "stops", "accounts"
	const undos, payments = "undos", "payments"
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *Config) { c.MaxInFlight = 1 })
		s.raiseFlag()
		before := s.world()
		for full, path := range map[string]string{buying: "", pages: "/api/sales/1", orders: "/api/orders", payments: "", results: "", admin: "", stops: "", undos: "", accounts: ""} {
			place := map[string]*room.Room{buying: s.api.rooms.buying, results: s.api.rooms.results, pages: s.api.rooms.pages, orders: s.api.rooms.orders, payments: s.api.rooms.payments,
				admin: s.api.rooms.admin, stops: s.api.rooms.stops, undos: s.api.rooms.undos, accounts: s.api.rooms.accounts}[full]
			taken := 0
			for place.Enter() == nil {
				taken++
			}
			for _, one := range []struct {
				kind string
				call
			}{
				{buying, call{method: "POST", path: ticketPath(s.paused.ID)}},
				{results, call{method: "GET", path: ticketPath(s.open.ID)}},
				{pages, call{method: "GET", path: "/order/detail/" + s.order}},
				{pages, call{method: "GET", path: "/api/me"}},
				{pages, call{method: "POST", path: "/api/logout"}},
				{orders, call{method: "GET", path: "/api/orders/" + s.order}},
				{payments, call{method: "POST", path: "/api/orders/" + seckill.NewTicketID(time.Now()) + "/pay"}},
				{payments, call{method: "POST", path: "/api/payments/shop", body: "{}"}},
				{payments, call{method: "POST", path: "/api/payments/shop", body: strings.Repeat(" ", 2*maxBody)}},
				{admin, call{method: "GET", path: "/api/admin/orders", token: token(t, adminName, seckill.RoleAdmin)}},
				{admin, call{method: "POST", path: "/api/admin/sales/999/resume", token: token(t, adminName, seckill.RoleAdmin)}},
				{stops, call{method: "POST", path: "/api/admin/sales/999/pause", token: token(t, adminName, seckill.RoleAdmin)}},
				{undos, call{method: "POST", path: "/api/admin/sales/999/undo", body: `{"step":"pause"}`, token: token(t, adminName, seckill.RoleAdmin)}},
				{accounts, call{method: "POST", path: "/api/challenge", body: "{}"}},
				{accounts, call{method: "POST", path: "/api/me/password", body: "{}"}},
			} {
				kind, c := one.kind, one.call
				if c.token == "" {
					c.token = token(t, ownerName, "")
				}
				a := s.do(c)
				if kind == full {
					a.problem(503, "busy")
				} else {
					require.NotEqual(t, 503, a.status, "%s while %s is full", kind, full)
				}
			}
			if path != "" {
				s.as(ownerName, "GET", path, "").problem(503, "busy")
			}
			s.anybody("POST", ticketPath(s.soldOut.ID), "").problem(409, "sold_out") // the flag costs nothing
			for range taken {
				place.Leave()
			}
		}
		s.still(before)
	})
}

// patientMoney and patientStore note how patiently they are read.
type patientMoney struct {
	Money
	reads *sync.Map
}

func (m patientMoney) AllOrders(ctx context.Context, f seckill.OrderFilter) ([]seckill.Order, error) {
	noteReading(m.reads, "orders", ctx)
	return m.Money.AllOrders(ctx, f)
}

func (m patientMoney) RefundDone(ctx context.Context, id, by, reason string) (seckill.Refund, error) {
	noteReading(m.reads, "change", ctx)
	return m.Money.RefundDone(ctx, id, by, reason)
}

type patientStore struct {
	Store
	reads *sync.Map
}

func (s patientStore) Orders(ctx context.Context, buyer, before string, most int) ([]seckill.Order, error) {
	noteReading(s.reads, "a buyer's", ctx)
	return s.Store.Orders(ctx, buyer, before, most)
}

func noteReading(reads *sync.Map, what string, ctx context.Context) {
	p, patient := seckill.PatienceOf(ctx)
	if patient && p.Long {
		what += " at length"
	}
	reads.Store(what, map[bool]string{true: "for " + p.Who, false: "at once"}[patient])
}

// The store's connections are for buyers first, and for those who change something.
func TestPeopleOfTheShopReadPatiently(t *testing.T) {
	t.Parallel()
	var reads sync.Map
	s := newSystem(t, func(c *Config) {
		c.Money, c.Store = patientMoney{c.Money, &reads}, patientStore{c.Store, &reads}
	})
	s.admin("GET", "/api/admin/orders", "").is(200)
	s.do(call{method: "GET", path: "/api/admin/orders", token: token(t, adminName, seckill.RoleAdmin), header: []string{"Accept", "text/csv"}}).is(200)
	s.admin("POST", "/api/admin/refunds/"+seckill.NewTicketID(time.Now())+"/done", `{"reason":"cash"}`).is(404)
	s.as(ownerName, "GET", "/api/orders", "").is(200)
	for what, want := range map[string]string{"orders": "for " + adminName, "orders at length": "for " + adminName, "change": "at once", "a buyer's": "at once"} {
		how, _ := reads.Load(what)
		require.Equal(t, want, how, what)
	}
}

// deadlined is an answer that knows until when it may be written, and its request read.
type deadlined struct {
	*httptest.ResponseRecorder
	until, reads time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error {
	d.reads = t
	return nil
}

func (d *deadlined) SetWriteDeadline(t time.Time) error {
	d.until = t
	return nil
}

// An audit may take a minute; what it found must still reach who asked.
func TestTheAnswerOfAHeavyRouteMayBeWrittenLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		s.api.ServeHTTP(w, call{method: "GET", path: "/api/admin/sales/" + s.open.ID.String() + "/audit", token: token(t, adminName, seckill.RoleAdmin)}.request())
		require.Equal(t, 200, w.Code)
		require.Greater(t, time.Until(w.until), heavyBound)
	})
}

// Who sends slowly has no place yet, and each place is given back.
func TestASlowBodyTakesNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *Config) { c.MaxInFlight = 1 })
		body, more := io.Pipe() // a client that is slow to send
		w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		var g sync.WaitGroup
		defer g.Wait()
		defer more.Close()
		began := time.Now()
		g.Go(func() {
			r := call{method: "POST", path: ticketPath(s.open.ID), token: token(t, otherName, "")}.request()
			r.ContentLength, r.Body = -1, body
			s.api.ServeHTTP(w, r)
		})
		synctest.Wait()
		require.Equal(t, began.Add(bodyTime), w.reads, "it has so long")
		s.as(earlyName, "POST", ticketPath(s.open.ID), "").is(202)
		more.Close()
		g.Wait()
		require.Equal(t, 202, w.Code)
		require.Zero(t, w.reads, "the wait for an answer has no such bound")
		s.as(otherName, "POST", ticketPath(s.open.ID), "").is(202)
	})
}

// A callback may be larger than other bodies: while it is sent slowly the others go on.
func TestASlowCallbackTakesNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, "")
		const path = "/api/payments/shop"
		large := strings.Repeat(" ", 2*maxBody)
		var g sync.WaitGroup
		defer g.Wait()
		sends := func(method, path, from string, length int64) (w *deadlined, more *io.PipeWriter, done chan struct{}) {
			body, more := io.Pipe()
			w, done = &deadlined{ResponseRecorder: httptest.NewRecorder()}, make(chan struct{})
			g.Go(func() {
				defer close(done)
				r := call{method: method, path: path, from: from}.request()
				r.ContentLength, r.Body = length, body
				s.api.ServeHTTP(w, r)
			})
			synctest.Wait()
			return w, more, done
		}
		began := time.Now()
		w, first, done := sends("POST", path, "192.0.2.1:1", 2*maxBody)
		require.Equal(t, began.Add(bodyTime), w.reads, "it has so long")
		s.do(call{method: "POST", path: path, body: "{}"}).problem(401, "unauthorized")
		s.as(ownerName, "POST", "/api/orders/"+s.order+"/pay", "").is(200)

		t.Log("they have places of their own, since a node has only so much memory, and each address has its turn")
		_, next, _ := sends("POST", path, "192.0.2.1:1", 2*maxBody)
		for range bodyPlaces { // one of these waits
			_, slow, _ := sends("POST", path, "192.0.2.1:1", 2*maxBody)
			defer slow.Close()
		}
		provider, sent, _ := sends("POST", path, "198.51.100.7:1", 2*maxBody)
		defer sent.Close()
		go func() {
			_, _ = sent.Write([]byte(large))
			sent.Close()
		}()
		_, err := first.Write([]byte(large))
		require.NoError(t, err)
		first.Close()
		<-done
		synctest.Wait()
		require.Equal(t, 401, w.Code)
		require.Zero(t, w.reads)
		next.Close()
		synctest.Wait()
		require.Equal(t, 401, provider.Code)
		s.do(call{method: "POST", path: path, from: "192.0.2.1:1", body: large}).problem(503, "busy")

		t.Log("who is no provider of this shop is answered without one")
		for _, other := range []struct {
			method, path string
			status       int
		}{{"POST", "/api/payments/anything", 404}, {"POST", "/api/payments/test", 404}, {"PUT", path, 405}} {
			w, slow, _ := sends(other.method, other.path, "203.0.113.9:1", 2*maxBody)
			defer slow.Close()
			require.Equal(t, other.status, w.Code, other.path)
		}
	})
}

// A person who asks for a page while the node is full gets a page that asks again, the
// one that nginx has; a program gets the problem document.
func TestAPersonGetsABusyPage(t *testing.T) {
	t.Parallel()
	conf, err := os.ReadFile("../../deploy/nginx/seckill.conf")
	require.NoError(t, err)
	require.Contains(t, string(conf), strings.TrimSpace(string(busyPage)))
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *Config) { c.MaxInFlight = 1 })
		require.NoError(t, s.api.rooms.pages.Enter())
		a := s.do(call{method: "GET", path: "/order/detail/" + s.order, header: []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}})
		require.Equal(t, 503, a.status)
		require.Equal(t, string(busyPage), string(a.body))
		require.Equal(t, "text/html; charset=utf-8", a.header.Get("Content-Type"))
		require.Regexp(t, `^[4-7]$`, a.header.Get("Refresh"))
		require.Equal(t, "no-store", a.header.Get("Cache-Control"))
		require.NotEmpty(t, a.header.Get("Retry-After"))
		s.do(call{method: "GET", path: "/order/detail/" + s.order}).problem(503, "busy")
		s.do(call{method: "GET", path: "/api/sales/1", header: []string{"Accept", "text/html"}}).problem(503, "busy")
	})
}
