package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

func TestADraftIsSeenByTheShopOnlyUntilItIsPublished(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	draft := s.create(saleBody{"title": "a draft", "shelf": "draft"})
	path := "/api/admin/sales/" + draft.ID.String()
	listed := func() bool {
		var l list[seckill.Sale]
		s.anybody("GET", "/api/sales?limit=100", "").is(200).into(&l)
		for _, v := range l.Items {
			if v.ID == draft.ID {
				return true
			}
		}
		return false
	}
	s.anybody("GET", "/api/sales/"+draft.ID.String(), "").problem(404, "not_found")
	s.admin("GET", path, "").is(200)
	require.False(t, listed())
	s.as("pia", "POST", ticketPath(draft.ID), "").problem(409, "paused")
	s.admin("POST", path+"/resume", "").problem(409, "state")

	s.admin("POST", path+"/hide", "").is(200)
	s.anybody("GET", "/api/sales/"+draft.ID.String(), "").is(200)
	require.False(t, listed(), "only who has the address finds it")
	s.bought("pia", draft.ID, 1)

	s.admin("POST", path+"/publish", "").is(200)
	require.True(t, listed())
	s.admin("DELETE", path, "").problem(409, "state")

	var copied seckill.Sale
	s.admin("POST", path+"/copy", "").is(201).into(&copied)
	require.Equal(t, seckill.Draft, copied.Shelf)
	require.Equal(t, "a draft", copied.Title)
	gone := "/api/admin/sales/" + copied.ID.String()
	s.admin("DELETE", gone, "").is(204)
	s.admin("GET", gone, "").problem(404, "not_found")
	s.admin("DELETE", gone, "").problem(404, "not_found")
	s.as("pia", "POST", ticketPath(copied.ID), "").problem(409, "ended")
}

func TestTheSameKeyIsTheSameSale(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	body := s.newSale(saleBody{"title": "once"})
	ask := func(body string) *answer {
		return s.do(call{method: "POST", path: "/api/admin/sales", body: body, token: token(t, adminName, seckill.RoleAdmin), header: []string{"Content-Type", jsonHeader, "Idempotency-Key", "a key"}})
	}
	var one, two seckill.Sale
	ask(body).is(201).into(&one)
	ask(body).is(201).into(&two)
	require.Equal(t, one.ID, two.ID)
	ask(s.newSale(saleBody{"title": "another"})).problem(409, "state")
}

func TestWhatIsProbablyNotMeantIsSaid(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	now := s.gate.Now()
	var v struct{ Warnings []string }
	s.admin("POST", "/api/admin/sales", s.newSale(saleBody{"opens_at": now.Add(-time.Hour), "list_price": 1})).is(201).into(&v)
	require.Equal(t, []string{"opens_at is in the past: buyers can buy at once", "list_price is not above the price"}, v.Warnings)
}

func TestASaleIsExtendedAndItsBuyersAreTold(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	path := "/api/admin/sales/" + s.open.ID.String()
	later := s.open.ClosesAt.Add(time.Hour)
	s.admin("POST", path+"/extend", `{"closes_at":"`+later.Format(time.RFC3339)+`"}`).is(200)
	require.Equal(t, later, s.sale(s.open.ID).ClosesAt)
	s.admin("POST", path+"/extend", `{"closes_at":"`+s.open.ClosesAt.Format(time.RFC3339)+`"}`).problem(422, "invalid_field")
	s.admin("POST", path+"/notice", `{"text":"it goes on at noon"}`).is(200)
	require.Equal(t, "it goes on at noon", s.sale(s.open.ID).Notice)

	before := s.orderOf(ownerName, s.order).ExpiresAt
	var v struct{ Orders int }
	s.admin("POST", path+"/holds", `{"seconds":60}`).is(200).into(&v)
	require.Equal(t, 1, v.Orders)
	require.Equal(t, before.Add(time.Minute), s.orderOf(ownerName, s.order).ExpiresAt)
	for range 2 { // an answer was lost
		s.admin("POST", path+"/holds", `{"seconds":60,"id":"mine"}`).is(200).into(&v)
		require.Equal(t, 1, v.Orders)
	}
	require.Equal(t, before.Add(2*time.Minute), s.orderOf(ownerName, s.order).ExpiresAt, "the same id is the same extension")
	s.admin("POST", path+"/holds", `{"seconds":61,"id":"mine"}`).problem(409, "state")
	s.admin("POST", path+"/holds", `{"seconds":60,"id":""}`).problem(422, "invalid_field")
}

type undone struct {
	Done    int
	More    bool
	Pending *int
}

// undoes asks for one batch of a step.
func (s *system) undoes(id seckill.SaleID, step string, batch int) (v undone) {
	s.t.Helper()
	s.admin("POST", "/api/admin/sales/"+id.String()+"/undo", fmt.Sprintf(`{"step":%q,"batch":%d}`, step, batch)).is(200).into(&v)
	return v
}

// settled waits until the gate has heard of every outcome.
func (s *system) settled(id seckill.SaleID) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		cut, err := s.gate.Glance(s.t.Context(), id, undoOutbox)
		return err == nil && len(cut.Outbox) == 0
	}, 20*time.Second, time.Millisecond)
}

// What was admitted before the pause becomes an order at the wrong price after it: nothing
// is undone before the queue is empty, and nobody says so while the gate does not tell.
func TestAWrongPriceIsNotUndoneWhileTicketsWait(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.settled(s.open.ID)
	release := s.settling.hold()
	late := s.buy(otherName, s.open.ID, "").Ticket
	s.admin("POST", "/api/admin/sales/"+s.open.ID.String()+"/undo", `{"step":"pause"}`).is(200)
	one := 1
	require.Equal(t, undone{1, true, &one}, s.undoes(s.open.ID, "cancel", 25))
	require.Equal(t, undone{0, true, &one}, s.undoes(s.open.ID, "cancel", 25))
	require.Equal(t, undone{0, true, &one}, s.undoes(s.open.ID, "refund", 25))
	release()
	s.settled(s.open.ID)
	require.Equal(t, undone{1, false, new(int)}, s.undoes(s.open.ID, "cancel", 25))
	require.Equal(t, undone{0, false, new(int)}, s.undoes(s.open.ID, "refund", 25))
	require.Equal(t, seckill.Cancelled, s.orderOf(otherName, late).State)

	held, _, err := s.store.Lease(t.Context(), "rebuild", "another node", time.Hour)
	require.NoError(t, err)
	require.True(t, held)
	_, err = s.gate.Shut(t.Context(), []seckill.SaleID{s.open.ID})
	require.NoError(t, err)
	require.Equal(t, undone{0, true, nil}, s.undoes(s.open.ID, "cancel", 25), "while the gate does not tell, nobody knows")
}

func TestAWrongPriceIsUndoneInSteps(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	path := "/api/admin/sales/" + s.open.ID.String() + "/undo"
	paid := s.bought("pia", s.open.ID, 2)
	s.as("pia", "POST", "/api/orders/"+paid+"/pay", "").is(200)
	second := s.bought("sol", s.open.ID, 1)
	s.admin("POST", path, `{"step":"cancel"}`).problem(409, "state")
	s.admin("POST", path, `{"step":"pause","title":"another sale"}`).problem(422, "invalid_field")
	require.Equal(t, seckill.Unpaid, s.orderOf("sol", second).State, "nothing happens while it is open")
	s.admin("POST", path, `{"step":"pause"}`).is(200)
	s.settled(s.open.ID)
	require.Equal(t, undone{1, true, new(int)}, s.undoes(s.open.ID, "cancel", 1), "it can be stopped here")
	require.Equal(t, undone{1, false, new(int)}, s.undoes(s.open.ID, "cancel", 1))
	require.Equal(t, undone{1, false, new(int)}, s.undoes(s.open.ID, "refund", 1))
	require.Equal(t, seckill.Cancelled, s.orderOf(ownerName, s.order).State)
	require.Equal(t, seckill.Refunded, s.orderOf("pia", paid).State)
	s.atTheGate(s.open.ID, openUnits)
	s.admin("POST", path, `{"step":"sell"}`).problem(422, "invalid_field")
}

func TestTheReportOfASaleIsAPage(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	a := s.admin("GET", "/api/admin/sales/"+s.open.ID.String()+"/report", "").is(200)
	require.Contains(t, string(a.body), "秒杀报告")
	// How long it took stands in it as soon as it has been told, step by step.
	buyers := 0
	require.Eventually(t, func() bool {
		buyers++
		s.as(fmt.Sprint("buyer ", buyers), "POST", ticketPath(s.open.ID), "")
		a = s.admin("GET", "/api/admin/sales/"+s.open.ID.String()+"/report", "").is(200)
		return strings.Contains(string(a.body), "Latency of an admission")
	}, 20*time.Second, 200*time.Millisecond)
	require.Contains(t, a.header.Get("Content-Security-Policy"), "default-src 'none'")
}
