package api

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/room"
	"seckill/internal/store"
)

// queued is the answer 202.
type queued struct {
	Status, Ticket string
	PollAfterMS    int `json:"poll_after_ms"`
}

func (s *system) buy(buyer string, id seckill.SaleID, body string) (q queued) {
	s.t.Helper()
	s.as(buyer, "POST", ticketPath(id), body).is(202).into(&q)
	return q
}

func TestAPurchase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *Config) { c.PollAfter = 750 * time.Millisecond })
		release := s.settling.hold()

		q := s.buy(otherName, s.open.ID, `{"quantity":2}`)
		require.Equal(t, "queued", q.Status)
		require.True(t, seckill.ValidTicketID(q.Ticket))
		require.Equal(t, 750, q.PollAfterMS)
		s.buy("later", s.open.ID, "")

		t.Log("until it is settled the ticket is queued, with its place in line")
		for buyer, position := range map[string]int{otherName: 1, "later": 2} {
			var v struct {
				Status   string
				Position int
			}
			s.as(buyer, "GET", ticketPath(s.open.ID), "").is(200).into(&v)
			require.Equal(t, "queued", v.Status)
			require.Equal(t, position, v.Position)
		}
		s.as(otherName, "GET", "/api/orders/"+q.Ticket, "").problem(404, "not_found")
		require.EqualValues(t, openUnits-4, s.sale(s.open.ID).Left, "the units are taken at once")

		t.Log("then it is placed, with an order")
		release()
		require.Equal(t, ticketAnswer{Status: "placed", Ticket: q.Ticket, Order: q.Ticket}, s.outcome(otherName, s.open.ID))
		o := s.orderOf(otherName, q.Ticket)
		require.Equal(t, seckill.Unpaid, o.State)
		require.Equal(t, s.open.ID, o.Sale)
		require.Equal(t, q.Ticket, o.Ticket)
		require.Equal(t, 2, o.Quantity)
		require.EqualValues(t, 2*thePrice, o.Amount)
		require.Equal(t, "CNY", o.Currency)
		require.Equal(t, theHold, o.ExpiresAt.Sub(o.CreatedAt))
		var l list[seckill.Order]
		s.as(otherName, "GET", "/api/orders", "").is(200).into(&l)
		require.Equal(t, []seckill.Order{o}, l.Items)
		require.Equal(t, 1, s.orderOf("later", s.outcome("later", s.open.ID).Order).Quantity, "no body means one unit")
	})
}

func TestARepeatIsTheSameTicket(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	release := s.settling.hold()
	q := s.buy(otherName, s.open.ID, "")
	before := s.world()
	for _, body := range []string{"", "{}", `{"quantity":1}`, ` { "quantity" : 1 } `} {
		require.Equal(t, q, s.buy(otherName, s.open.ID, body), "while it is queued, with the body %q", body)
	}
	s.as(otherName, "POST", ticketPath(s.open.ID), `{"quantity":2}`).problem(409, "limit")
	s.still(before)
	release()
	s.outcome(otherName, s.open.ID)
	before = s.world()
	require.Equal(t, q, s.buy(otherName, s.open.ID, ""), "when its outcome is known")
	s.still(before)
	s.as(otherName, "POST", "/api/orders/"+q.Ticket+"/pay", "").is(200)
	before = s.world()
	require.Equal(t, q, s.buy(otherName, s.open.ID, ""), "when its order is paid")
	s.as(otherName, "POST", ticketPath(s.open.ID), `{"quantity":2}`).problem(409, "limit")
	s.still(before)

	t.Log("in another sale it is another one")
	s.admin("POST", "/api/admin/sales/"+s.paused.ID.String()+"/resume", "").is(200)
	require.NotEqual(t, q.Ticket, s.buy(otherName, s.paused.ID, "").Ticket)

	t.Log("a lower limit takes nothing from who holds more")
	three := s.buy("three", s.open.ID, `{"quantity":3}`)
	s.admin("PATCH", "/api/admin/sales/"+s.open.ID.String(), `{"limit_per_buyer":1}`).is(200)
	require.Equal(t, three, s.buy("three", s.open.ID, `{"quantity":3}`))
	s.as("four", "POST", ticketPath(s.open.ID), `{"quantity":3}`).problem(422, "invalid_field")
}

func TestAThousandRequestsOfOneBuyerAreOneTicket(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var mu sync.Mutex
	tickets := map[string]int{}
	var g sync.WaitGroup
	c := call{method: "POST", path: ticketPath(s.open.ID), token: token(t, otherName, "")}
	for range 50 {
		g.Go(func() {
			for range 20 {
				w := httptest.NewRecorder()
				s.api.ServeHTTP(w, c.request())
				var q queued
				json.Unmarshal(w.Body.Bytes(), &q)
				mu.Lock()
				tickets[fmt.Sprint(w.Code, q.Ticket)]++
				mu.Unlock()
			}
		})
	}
	g.Wait()
	require.Len(t, tickets, 1, "%v", tickets)
	s.outcome(otherName, s.open.ID)
	require.EqualValues(t, openUnits-2, s.sale(s.open.ID).Left)
}

func TestTheBodyOfABuyIsOptional(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for i, c := range []call{
		{header: []string{"Content-Type", ""}},
		{header: []string{"Content-Type", "text/plain"}}, // nothing has no type
		{body: "{}"},
		{body: `{}`, unknownSize: true},
		{body: `{"quantity":1}`, header: []string{"Content-Type", "application/json; charset=utf-8"}},
		{body: `{"quantity":1}`, header: []string{"Content-Type", "Application/JSON"}},
		{body: `{"quantity":1}`, header: []string{"Sec-Fetch-Site", "same-origin"}},
		{body: `{"quantity":1}`, header: []string{"Origin", "http://example.com"}},
	} {
		c.method, c.path, c.token = "POST", ticketPath(s.open.ID), token(t, fmt.Sprint("buyer", i), "")
		s.do(c).is(202)
	}
}

func TestTheWindowIsThatOfTheGatesClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		now := s.gate.Now()
		id := s.create(saleBody{"opens_at": now.Add(10 * time.Second), "closes_at": now.Add(20 * time.Second)}).ID
		require.Equal(t, seckill.StateScheduled, s.sale(id).State)
		pass(10*time.Second - time.Millisecond)
		s.as("too early", "POST", ticketPath(id), "").problem(409, "not_open")
		pass(time.Millisecond)
		s.as("first", "POST", ticketPath(id), "").is(202)
		require.Equal(t, seckill.StateOpen, s.sale(id).State)
		require.True(t, s.sale(id).ServerNow.Equal(s.gate.Now()))
		pass(10*time.Second - time.Millisecond)
		s.as("last", "POST", ticketPath(id), "").is(202)
		pass(time.Millisecond)
		s.as("too late", "POST", ticketPath(id), "").problem(409, "ended")
		require.Equal(t, seckill.StateEnded, s.sale(id).State)
		require.Equal(t, "placed", s.outcome("last", id).Status, "who was admitted is served")
	})
}

func TestWaitingForTheOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		took := func(query string) (status string, d time.Duration) {
			start := time.Now()
			var v ticketAnswer
			s.as(otherName, "GET", ticketPath(s.open.ID)+query, "").is(200).into(&v)
			return v.Status, time.Since(start)
		}
		release := s.settling.hold()
		q := s.buy(otherName, s.open.ID, "")
		for query, want := range map[string]time.Duration{
			"": 0, "?wait=0s": 0, "?wait=5s": 5 * time.Second, "?wait=30s": 30 * time.Second, "?wait=2s&ticket=" + q.Ticket: 2 * time.Second,
		} {
			status, d := took(query)
			require.Equal(t, "queued", status, "then it says what is")
			require.Equal(t, want, d, "GET …/ticket%s", query)
		}
		time.AfterFunc(3*time.Second, release)
		status, d := took("?wait=20s")
		require.Equal(t, "placed", status)
		require.Equal(t, 3*time.Second, d, "the wait ends with the outcome")
		status, d = took("?wait=20s")
		require.Equal(t, "placed", status)
		require.Zero(t, d, "what is final is not waited for")
	})
}

func TestAWaitEndsWhenTheNodeStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.settling.hold()()
		s.buy(otherName, s.open.ID, "")
		time.AfterFunc(time.Second, s.stop)
		start := time.Now()
		require.Equal(t, "queued", s.outcome(otherName, s.open.ID).Status)
		require.Equal(t, time.Second, time.Since(start))
	})
}

func TestTooManyWaitsAreAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *Config) { c.MaxWaits = 1 })
		defer s.settling.hold()()
		s.buy(otherName, s.open.ID, "")
		var g sync.WaitGroup
		g.Go(func() {
			s.api.ServeHTTP(httptest.NewRecorder(), call{method: "GET", path: ticketPath(s.open.ID) + "?wait=10s", token: token(t, otherName, "")}.request())
		})
		synctest.Wait()
		start := time.Now()
		require.Equal(t, "queued", s.outcome(otherName, s.open.ID).Status)
		require.Zero(t, time.Since(start))
		g.Wait()
		require.Equal(t, "queued", s.outcome(otherName, s.open.ID).Status)
		require.Equal(t, 30*time.Second, time.Since(start), "10 s of the first wait and 20 s of its own")
	})
}

func TestANewTicketAndAnOlderOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		first := s.bought(otherName, s.open.ID, 1)
		s.as(otherName, "POST", "/api/orders/"+first+"/cancel", "").is(200)
		s.atTheGate(s.open.ID, openUnits-1)
		pass(time.Millisecond)
		release := s.settling.hold()
		second := s.buy(otherName, s.open.ID, `{"quantity":2}`).Ticket
		require.NotEqual(t, first, second)
		ask := func(query string) (v ticketAnswer) {
			s.as(otherName, "GET", ticketPath(s.open.ID)+query, "").is(200).into(&v)
			return v
		}
		was := ticketAnswer{Status: "placed", Ticket: first, Order: first}
		require.Equal(t, ticketAnswer{Status: "queued", Ticket: second}, ask(""), "the newest")
		require.Equal(t, was, ask("?ticket="+first), "its outcome never changes, whatever became of the order")
		release()
		require.Equal(t, ticketAnswer{Status: "placed", Ticket: second, Order: second}, ask("?wait=20s"))
		require.Equal(t, was, ask("?ticket="+first))
		require.Equal(t, was, ask("?wait=20s&ticket="+first))
	})
}

func TestARefusedTicketSaysWhyAndItsUnitsReturn(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	release := s.settling.hold()
	q := s.buy(otherName, s.open.ID, `{"quantity":3}`)
	// As settle does with a ticket that fails alone.
	_, err := s.store.Refuse(t.Context(), seckill.Ticket{ID: q.Ticket, Sale: s.open.ID, Buyer: otherName, Quantity: 3, Seq: 2, At: time.Now()}, seckill.ReasonPoison)
	require.NoError(t, err)
	release()
	want := ticketAnswer{Status: "refused", Ticket: q.Ticket, Reason: "poison"}
	require.Equal(t, want, s.outcome(otherName, s.open.ID))
	require.EqualValues(t, openUnits-1, s.sale(s.open.ID).Left)
	require.NotEqual(t, q.Ticket, s.bought(otherName, s.open.ID, 1), "the buyer may have another ticket")
	var old ticketAnswer
	s.as(otherName, "GET", ticketPath(s.open.ID)+"?ticket="+q.Ticket, "").is(200).into(&old)
	require.Equal(t, want, old)
	s.as(otherName, "GET", "/api/orders/"+q.Ticket, "").problem(404, "not_found")
}

func TestAFullOutboxIsBusy(t *testing.T) {
	t.Parallel()
	s := newSystemOf(t, 2, store.Settings{})
	release := s.settling.hold()
	first := s.buy("first", s.open.ID, "")
	s.buy("second", s.open.ID, "")
	before := s.world()
	a := s.as("third", "POST", ticketPath(s.open.ID), "").problem(503, "busy")
	require.Equal(t, "1", a.header.Get("Retry-After"))
	s.still(before)
	require.Equal(t, first, s.buy("first", s.open.ID, ""), "who is in has its ticket")
	release()
	s.outcome("second", s.open.ID)
	s.bought("third", s.open.ID, 1)
}

func TestHEADComesWithEveryGET(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for _, r := range s.api.routes {
		if r.method != "GET" || strings.HasSuffix(r.path, "/differences") { // the provider "test" has no statement
			continue
		}
		c := s.good(r)
		c.method = "HEAD"
		s.do(c).is(200)
	}
}

func TestALeftTokenDoesNotHideInTheLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	secret := token(t, adminName, seckill.RoleAdmin)
	s.api.Store = down{}
	s.do(call{method: "GET", path: "/api/orders?token=" + secret, token: secret}).is(503)
	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	require.NotEmpty(t, lines)
	require.False(t, slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, secret) }))
}

// Every route of the shop's people has a bound on its time, but for the stream; those
// that read much have few places, and who finds them taken is told so.
func TestAdministratorsWaitWithinABound(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for _, r := range s.api.routes {
		if bound := routeBound(r.audience, r.path); r.audience >= viewers && r.path != livePath && (bound <= 0 || bound > time.Minute) {
			t.Errorf("%s %s may take %v", r.method, r.path, bound)
		}
	}
	sale := s.create(nil)
	s.api.rooms.audits = room.NewFair("one", 1, 0, time.Millisecond, room.NewMetrics(noMetrics()))
	leave, err := s.api.rooms.audits.Enter(t.Context(), "somebody")
	require.NoError(t, err)
	path := "/api/admin/sales/" + sale.ID.String()
	for _, c := range [][3]string{
		{"GET", path + "/audit"}, {"POST", path + "/rebuild"}, {"POST", path + "/eligible", `{"csv":"ann","mode":"add"}`},
		{"GET", "/api/admin/books?from=2026-01-01&to=2026-01-02"}, {"GET", "/api/admin/books/differences?from=2026-01-01&to=2026-01-02"},
	} {
		s.admin(c[0], c[1], c[2]).problem(503, "busy")
	}
	leave(0)
	s.admin("GET", path+"/audit", "").is(200)
}
