package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
)

// What the pages need besides the purchase itself.

func TestMeSaysWhoTheCookieNames(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var v map[string]any
	me := call{method: "GET", path: "/api/me"}
	s.do(me).problem(401, "unauthorized")
	s.as(otherName, "GET", "/api/me", "").is(200).into(&v)
	require.Equal(t, map[string]any{"buyer": otherName, "second_factor": false}, v, "whoever made the token")
	v = nil
	a := s.do(call{method: "GET", path: "/api/me", header: []string{"Cookie", sessionCookie + "=" + token(t, "root", seckill.RoleAdmin)}}).is(200)
	a.into(&v)
	require.Equal(t, map[string]any{"buyer": "root", "role": "admin", "second_factor": false}, v)
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))

	for _, name := range []string{"li.wei2", "李 伟", `a"b\c`} {
		body, err := json.Marshal(credentials{name, goodPassword})
		require.NoError(t, err)
		var session account.Session
		s.anybody("POST", "/api/register", string(body)).is(201).into(&session)
		v = nil
		s.do(call{method: "GET", path: "/api/me", token: session.Token}).is(200).into(&v)
		require.Equal(t, map[string]any{"buyer": session.Buyer, "name": name, "second_factor": false}, v)
	}
}

func TestTicketsAreListed(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	type item struct {
		Status, Ticket, Sale, Order, Reason string
		Quantity                            int
		Position                            int64
		At                                  time.Time
	}
	tickets := func(query string) (l list[item]) {
		s.as(otherName, "GET", "/api/tickets"+query, "").is(200).into(&l)
		return l
	}
	require.Empty(t, tickets("").Items)
	order := s.bought(otherName, s.open.ID, 2)
	began := time.Now()
	release := s.settling.hold()
	second := s.create(nil)
	var queued struct{ Ticket string }
	s.as(otherName, "POST", ticketPath(second.ID), "").is(202).into(&queued)

	l := tickets("")
	require.Len(t, l.Items, 2)
	require.Equal(t, item{Status: "placed", Ticket: order, Sale: s.open.ID.String(), Order: order, Quantity: 2, At: l.Items[1].At}, l.Items[1])
	require.Equal(t, item{Status: "queued", Ticket: queued.Ticket, Sale: second.ID.String(), Quantity: 1, Position: 1, At: l.Items[0].At}, l.Items[0])
	require.WithinDuration(t, began, l.Items[0].At, time.Minute)
	require.Empty(t, s.as(ownerName, "GET", "/api/tickets?limit=1", "").is(200).header.Get("Content-Encoding"))
	var others list[item]
	s.as(earlyName, "GET", "/api/tickets", "").is(200).into(&others)
	require.Len(t, others.Items, 1, "one's own, and nobody else's")

	release()
	require.Equal(t, "placed", s.outcome(otherName, second.ID).Status)
	page := tickets("?limit=1")
	require.Equal(t, "placed", page.Items[0].Status)
	require.Equal(t, queued.Ticket, page.Items[0].Ticket)
	page = tickets("?limit=1&cursor=" + page.Next)
	require.Equal(t, order, page.Items[0].Ticket)
	require.Empty(t, page.Next)
}

func TestAnOrderCarriesTheClockThatCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		pass(time.Minute)
		now := time.Now().UTC().Truncate(time.Millisecond)
		o := s.orderOf(ownerName, s.order)
		require.WithinDuration(t, now, o.ServerNow, time.Second)
		var l list[seckill.Order]
		s.as(ownerName, "GET", "/api/orders", "").is(200).into(&l)
		require.WithinDuration(t, now, l.Items[0].ServerNow, time.Second)
		var paid seckill.Order
		s.as(ownerName, "POST", "/api/orders/"+s.order+"/pay", "").is(200).into(&paid)
		require.WithinDuration(t, now, paid.ServerNow, time.Second)
	})
}

func TestHowManyWaitForAnOpening(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		look := func(sale seckill.SaleID, n int) int64 {
			var v seckill.Sale
			s.do(call{method: "GET", path: "/api/sales/" + sale.String(), from: fmt.Sprintf("198.51.%d.%d:1234", n/250, n%250)}).is(200).into(&v)
			return v.Waiting
		}
		require.Zero(t, look(s.scheduled.ID, 1), "one who waits alone is no crowd")
		const crowd = 300
		for i := range crowd {
			look(s.scheduled.ID, i)
			look(s.open.ID, i)
		}
		pass(watchFresh)
		for range 3 {
			require.InDelta(t, crowd, look(s.scheduled.ID, 1), crowd/8, "and nobody counts twice")
		}
		require.Zero(t, look(s.open.ID, 1), "nobody waits for what is open")
		s.rest()
		pass(2*watchWindow + time.Second)
		require.Zero(t, look(s.scheduled.ID, 1), "who has gone is forgotten")
	})
}

func TestTheWaitIsEstimatedFromWhatWasSettled(t *testing.T) {
	t.Parallel()
	p, now := newRates(), time.Now()
	const sale = 7
	require.Zero(t, p.wait(sale, 1000, 1000, now), "nothing is known after one look")
	require.Zero(t, p.wait(sale, 1000, 990, now.Add(100*time.Millisecond)), "a moment is too short to measure")
	require.Equal(t, 9*time.Second, p.wait(sale, 1000, 900, now.Add(time.Second)), "100 tickets in a second, and 900 are left")
	require.Equal(t, 15*time.Second, p.wait(sale, 1600, 1500, now.Add(time.Second)), "another ticket of the same sale")
	require.Zero(t, p.wait(8, 1000, 900, now.Add(time.Second)), "of another sale nothing is known")
	require.Equal(t, 8*time.Second, p.wait(sale, 1000, 800, now.Add(2*time.Second)))
	require.Positive(t, p.wait(sale, 201, 1, now.Add(3*time.Second)), "the one in front has not gone back")
	require.Zero(t, p.wait(sale, 1000, 700, now.Add(time.Minute)), "what is long ago says nothing")
	for i := range int64(2 * pacedSales) {
		p.wait(seckill.SaleID(i+1), 1, 1, now)
	}
	require.LessOrEqual(t, len(p.sales), pacedSales)
}

func TestAQueuedTicketIsToldHowLongItWaits(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	release := s.settling.hold()
	defer release()
	s.as(otherName, "POST", ticketPath(s.open.ID), "").is(202)
	require.NotContains(t, string(s.as(otherName, "GET", ticketPath(s.open.ID), "").is(200).body), "wait_ms", "nobody can tell yet")
	s.api.rates.sales[s.open.ID].rate = 4
	require.Contains(t, string(s.as(otherName, "GET", ticketPath(s.open.ID), "").is(200).body), `"position":1,"wait_ms":250}`)
}

func TestListsArePackedForWhoTakesThat(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	plain := s.anybody("GET", "/api/sales", "").is(200)
	require.Equal(t, "Accept-Encoding", plain.header.Get("Vary"))
	r := call{method: "GET", path: "/api/sales", header: []string{"Accept-Encoding", "gzip"}}
	w := s.raw(r)
	require.Equal(t, "gzip", w.Header().Get("Content-Encoding"))
	require.Less(t, w.Body.Len(), len(plain.body)/2)
	z, err := gzip.NewReader(bytes.NewReader(w.Body.Bytes()))
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	var l list[seckill.Sale]
	require.NoError(t, json.Unmarshal(b, &l))
	require.Len(t, l.Items, 5)
}
