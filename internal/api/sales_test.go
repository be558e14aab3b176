package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func (s *system) adminPath(id seckill.SaleID, what string) string {
	return strings.TrimSuffix("/api/admin/sales/"+id.String()+"/"+what, "/")
}

// change asks for a change of a sale and returns it as answered.
func (s *system) change(id seckill.SaleID, what, body string) (v seckill.Sale) {
	s.t.Helper()
	method := "POST"
	if what == "" {
		method = "PATCH"
	}
	s.admin(method, s.adminPath(id, what), body).is(200).into(&v)
	return v
}

func TestACreatedSaleIsBuyableAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		now := s.gate.Now().UTC()
		body := s.newSale(saleBody{"title": "键盘 <script>alert(1)</script>", "description": "a\nb", "image": "https://example.com/a.png", "list_price": 2 * thePrice, "opens_at": now.Add(-time.Hour)})
		a := s.admin("POST", "/api/admin/sales", body).is(201)
		var v seckill.Sale
		a.into(&v)
		require.Equal(t, "/api/sales/"+v.ID.String(), a.header.Get("Location"))
		require.NotContains(t, string(a.body), "<script>", "markup does not even look like markup in JSON")
		want := seckill.Sale{
			ID: v.ID, Title: "键盘 <script>alert(1)</script>", Description: "a\nb", Image: "https://example.com/a.png",
			Price: thePrice, ListPrice: 2 * thePrice, Currency: "CNY", Total: 10, Left: 10, LimitPerBuyer: theLimit,
			OpensAt: now.Add(-time.Hour), ClosesAt: now.Truncate(time.Second).Add(time.Hour), HoldSeconds: int(theHold.Seconds()),
			State: seckill.StateOpen, ServerNow: now.Truncate(time.Millisecond),
		}
		require.Equal(t, want, v)
		require.Equal(t, want, s.sale(v.ID))
		s.bought(otherName, v.ID, 1)
	})
}

func TestASaleMayBeFree(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	id := s.create(saleBody{"price": 0}).ID
	require.Zero(t, s.orderOf(otherName, s.bought(otherName, id, 2)).Amount)
}

func TestBeforeItOpensEverythingOfASaleMayChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		now := s.gate.Now().UTC().Truncate(time.Second)
		at := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
		body := fmt.Sprintf(`{"title":"t","description":"d","image":"/i","price":1,"list_price":2,"currency":"USD","total":7,"limit_per_buyer":2,"opens_at":%q,"closes_at":%q,"hold_seconds":5}`, at(time.Minute), at(2*time.Minute))
		want := s.scheduled
		want.Title, want.Description, want.Image, want.Price, want.ListPrice, want.Currency = "t", "d", "/i", 1, 2, "USD"
		want.Total, want.Left, want.LimitPerBuyer, want.HoldSeconds = 7, 7, 2, 5
		want.OpensAt, want.ClosesAt, want.ServerNow = now.Add(time.Minute), now.Add(2*time.Minute), s.gate.Now().UTC().Truncate(time.Millisecond)
		require.Equal(t, want, s.change(s.scheduled.ID, "", body))
		require.Equal(t, want, s.sale(s.scheduled.ID))
		require.Equal(t, want, s.change(s.scheduled.ID, "", body), "a repeat leaves it as it is")
		require.Equal(t, want, s.change(s.scheduled.ID, "", "{}"), "what is not sent stays")
		var who string
		require.NoError(t, s.commits.QueryRowContext(t.Context(), "SELECT who FROM ledger WHERE sale = ? AND what = 'stock.moved'", s.scheduled.ID).Scan(&who))
		require.Equal(t, adminName, who, "the ledger names the person")
		pass(time.Minute)
		o := s.orderOf(otherName, s.bought(otherName, s.scheduled.ID, 2))
		require.EqualValues(t, 2, o.Amount)
		require.Equal(t, "USD", o.Currency)
		require.Equal(t, 5*time.Second, o.ExpiresAt.Sub(o.CreatedAt))
	})
}

func TestOnceOpenTheTermsOfASaleStay(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for field, value := range map[string]any{"price": thePrice + 1, "currency": "USD", "total": openUnits + 1} {
		other, err := json.Marshal(map[string]any{field: value, "title": "renamed"})
		require.NoError(t, err)
		s.admin("PATCH", s.adminPath(s.open.ID, ""), string(other)).problem(409, "state")
	}
	require.Equal(t, "open", s.sale(s.open.ID).Title, "a refused change changes nothing at all")
	v := s.change(s.open.ID, "", fmt.Sprintf(`{"price":%d,"currency":"CNY","total":%d,"title":"renamed","list_price":0}`, thePrice, openUnits))
	require.Equal(t, "renamed", v.Title, "the same terms are no change")
}

func TestAChangeIsInForceWithItsAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		id := s.create(nil).ID
		s.change(id, "", `{"limit_per_buyer":1}`)
		s.as(otherName, "POST", ticketPath(id), `{"quantity":2}`).problem(422, "invalid_field")

		s.change(id, "", fmt.Sprintf(`{"closes_at":%q}`, s.gate.Now().Add(time.Millisecond).UTC().Format(time.RFC3339Nano)))
		pass(time.Millisecond)
		s.as(otherName, "POST", ticketPath(id), "").problem(409, "ended")
		s.change(id, "", fmt.Sprintf(`{"closes_at":%q}`, s.gate.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)))
		s.as(otherName, "POST", ticketPath(id), "").is(202) // it had only closed, nobody ended it

		require.Equal(t, seckill.StatePaused, s.change(id, "pause", "").State)
		s.as("late", "POST", ticketPath(id), "").problem(409, "paused")
		require.Equal(t, seckill.StatePaused, s.sale(id).State)
		require.Equal(t, seckill.StatePaused, s.change(id, "pause", "{}").State, "a repeat changes nothing")
		require.Equal(t, "placed", s.outcome(otherName, id).Status, "who was admitted is served")

		require.Equal(t, seckill.StateOpen, s.change(id, "resume", "").State)
		require.Equal(t, seckill.StateOpen, s.change(id, "resume", "").State)
		s.as("late", "POST", ticketPath(id), "").is(202)

		require.Equal(t, seckill.StateEnded, s.change(id, "end", "").State)
		require.Equal(t, seckill.StateEnded, s.change(id, "end", "").State)
		s.as("too late", "POST", ticketPath(id), "").problem(409, "ended")
		require.Equal(t, "placed", s.outcome("late", id).Status)
		s.turn("late", s.outcome("late", id).Order, "pay").is(200)
		for _, change := range []string{"pause", "resume"} {
			s.admin("POST", s.adminPath(id, change), "").problem(409, "state")
		}
		s.admin("PATCH", s.adminPath(id, ""), `{"title":"x"}`).problem(409, "state")
	})
}

func TestStockMovesOnceForEachID(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	id := s.create(saleBody{"total": 10}).ID
	move := func(name string, delta int) *answer {
		t.Helper()
		return s.admin("POST", s.adminPath(id, "stock"), fmt.Sprintf(`{"id":%q,"delta":%d}`, name, delta))
	}
	has := func(total, left int64) {
		t.Helper()
		v := s.sale(id)
		require.Equal(t, []int64{total, left}, []int64{v.Total, v.Left}, "total and left")
	}
	once := func(name string, delta int, total, left int64) {
		t.Helper()
		var before world
		for repeat := range 3 {
			var v seckill.Sale
			move(name, delta).is(200).into(&v)
			require.Equal(t, []int64{total, left}, []int64{v.Total, v.Left})
			has(total, left)
			if repeat == 0 {
				before = s.world()
			}
			s.still(before)
		}
	}
	refused := func(name string, delta int, code string) {
		t.Helper()
		before := s.world()
		for range 2 {
			move(name, delta).problem(409, code)
			s.still(before)
		}
	}
	once("grow", 5, 15, 15)
	refused("grow", 6, "state")
	refused("grow", -5, "state")
	once("shrink", -3, 12, 12)
	refused("shrink", -2, "state")
	s.bought(otherName, id, 2)
	refused("too many", -11, "stock")
	has(12, 10)
	move("all that are left", -10).is(200)
	has(2, 0)
	s.as("late", "POST", ticketPath(id), "").problem(409, "sold_out")
	move("more again", 1).is(200)
	s.bought("late", id, 1)
	has(3, 0)
	require.JSONEq(t, `{"ok":true,"total":3,"gate":0,"pending":0,"active":3,"returning":0,"violations":[]}`, s.audit(id))

	t.Log("an id names a move within its sale")
	s.admin("POST", s.adminPath(s.open.ID, "stock"), `{"id":"grow","delta":7}`).is(200)
	require.EqualValues(t, openUnits+7, s.sale(s.open.ID).Total)
}

func TestTheAudit(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	id := s.create(saleBody{"total": 10}).ID
	require.JSONEq(t, `{"ok":true,"total":10,"gate":10,"pending":0,"active":0,"returning":0,"violations":[]}`, s.audit(id))
	s.bought("a", id, 3)
	release := s.settling.hold()
	s.buy("b", id, `{"quantity":2}`)
	require.JSONEq(t, `{"ok":true,"total":10,"gate":5,"pending":2,"active":3,"returning":0,"violations":[]}`, s.audit(id))
	release()
	s.outcome("b", id)
	require.JSONEq(t, `{"ok":true,"total":10,"gate":5,"pending":0,"active":5,"returning":0,"violations":[]}`, s.audit(id))
	for _, v := range []seckill.Sale{s.open, s.scheduled, s.ended, s.paused, s.soldOut} {
		require.Contains(t, s.audit(v.ID), `"ok":true`)
	}
}

func TestWhatAdministratorsDoIsLogged(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	order := s.bought(otherName, s.open.ID, 1)
	s.turn(otherName, order, "pay").is(200)
	for what, a := range map[string]*answer{
		"create": s.admin("POST", "/api/admin/sales", s.newSale(nil)),
		"patch":  s.admin("PATCH", s.adminPath(s.open.ID, ""), `{"title":"renamed"}`),
		"stock":  s.admin("POST", s.adminPath(s.open.ID, "stock"), `{"id":"m","delta":1}`),
		"pause":  s.admin("POST", s.adminPath(s.open.ID, "pause"), ""),
		"resume": s.admin("POST", s.adminPath(s.open.ID, "resume"), ""),
		"end":    s.admin("POST", s.adminPath(s.open.ID, "end"), ""),
		"refund": s.admin("POST", "/api/admin/orders/"+order+"/refund", ""),
	} {
		require.Less(t, a.status, 300, "%s", a)
		var found map[string]any
		for line := range strings.Lines(s.log.String()) {
			var v map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &v))
			if v["msg"] == "admin: "+what && v["request_id"] == a.header.Get("X-Request-Id") {
				found = v
			}
		}
		require.NotNil(t, found, "%s is not in the log", what)
		require.Equal(t, adminName, found["by"])
		require.Equal(t, "192.0.2.1", found["from"])
	}
	before := strings.Count(s.log.String(), "admin: ")
	s.as(ownerName, "POST", s.adminPath(s.open.ID, "pause"), "").problem(403, "forbidden")
	s.admin("POST", s.adminPath(s.open.ID, "pause"), "").problem(409, "state")
	require.Equal(t, before, strings.Count(s.log.String(), "admin: "), "what was refused was not done")
}

func TestASaleMayBeEmptied(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	id := s.create(saleBody{"total": 5}).ID
	s.admin("POST", s.adminPath(id, "stock"), `{"id":"all","delta":-5}`).is(200)
	require.EqualValues(t, 0, s.sale(id).Total)
	require.Equal(t, seckill.StateSoldOut, s.sale(id).State)
	s.as(otherName, "POST", ticketPath(id), "").problem(409, "sold_out")
	s.change(id, "", `{"title":"nothing but a name"}`)
	require.Equal(t, seckill.StatePaused, s.change(id, "pause", "").State)
	require.Equal(t, seckill.StateSoldOut, s.change(id, "resume", "").State)
	s.admin("POST", s.adminPath(id, "stock"), `{"id":"one","delta":1}`).is(200)
	s.bought(otherName, id, 1)
	require.Equal(t, seckill.StateEnded, s.change(id, "end", "").State)
}

func TestARebuildChangesNothingThatAnybodySees(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.bought(otherName, s.open.ID, 2)
		before := s.sale(s.open.ID)
		cut := func() seckill.Cut { return s.cuts([]seckill.SaleID{s.open.ID})[s.open.ID] }
		epoch := cut().Epoch
		require.Equal(t, before, s.change(s.open.ID, "rebuild", ""))
		require.Equal(t, before, s.sale(s.open.ID))
		require.Equal(t, epoch+1, cut().Epoch)
		s.admin("POST", "/api/admin/sales/99999/rebuild", "").is(404)
	})
}
