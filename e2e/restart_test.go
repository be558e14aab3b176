package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"seckill/e2e/node"
	"seckill/internal/client"
)

// Whatever was answered before a restart is true after it, after kill -9 as after
// a stop.
func TestRestartKeeps(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*testing.T, *node.Node){
		"after a stop": func(t *testing.T, n *node.Node) { must(t, n.Stop()) },
		"after a kill": func(t *testing.T, n *node.Node) { n.Kill() },
	} {
		for what, test := range map[string]func(t *testing.T, c node.Config, stop func(*testing.T, *node.Node)){
			"pending tickets": testPendingGoOn,
			"results":         testResultsStay,
			"sale changes":    testChangesStay,
			"accounts":        testAccountsStay,
		} {
			t.Run(what+" "+name, func(t *testing.T) {
				t.Parallel()
				test(t, node.Config{Dir: folder(t)}, stop)
			})
		}
	}
}

func testPendingGoOn(t *testing.T, c node.Config, stop func(*testing.T, *node.Node)) {
	n := start(t, c)
	sale := admin(t, n).creates(60, 3)
	tickets := map[string]string{}
	for i := range 20 {
		id := fmt.Sprintf("b%d", i)
		tickets[id] = buyer(t, n, id).buys(sale, 3)
	}
	stop(t, n) // some are settled, some are not
	n = start(t, c)
	for id, ticket := range tickets {
		b := buyer(t, n, id)
		if again := b.buys(sale, 3); again != ticket {
			t.Errorf("%s holds %s and is given %s", id, ticket, again)
		}
		if got := b.outcome(sale); got.Status != "placed" || got.Ticket != ticket {
			t.Errorf("%s holds %s and is told %+v", id, ticket, got)
		}
	}
	if a := admin(t, n).audits(sale); a.Active != 60 || a.Gate != 0 {
		t.Errorf("the audit is %+v, want all 60 units in orders", a)
	}
	buyer(t, n, "late").does("POST", "/api/sales/"+sale+"/ticket", nil, http.StatusConflict)
}

func testResultsStay(t *testing.T, c node.Config, stop func(*testing.T, *node.Node)) {
	n := start(t, c)
	sale := admin(t, n).creates(3, 1)
	states := map[string]string{"payer": "paid", "canceller": "cancelled", "waiter": "unpaid"}
	orders := map[string]client.Said{}
	for id, state := range states {
		b := buyer(t, n, id)
		b.buys(sale, 1)
		o := b.outcome(sale)
		switch state {
		case "paid":
			b.does("POST", "/api/orders/"+o.Order+"/pay", nil, http.StatusOK)
		case "cancelled":
			b.does("POST", "/api/orders/"+o.Order+"/cancel", nil, http.StatusOK)
		}
		orders[id] = o
	}
	stop(t, n)
	n = start(t, c)
	for id, state := range states {
		b := buyer(t, n, id)
		if got := b.outcome(sale); got != orders[id] {
			t.Errorf("%s was told %+v, and after the restart %+v", id, orders[id], got)
		}
		if got := b.does("GET", "/api/orders/"+orders[id].Order, nil, http.StatusOK); got.State != state {
			t.Errorf("the order of %s is %s, want %s", id, got.State, state)
		}
	}
	// The cancelled unit is sold again, once.
	eventually(t, "the cancelled unit is back", func() bool { return admin(t, n).audits(sale).Gate == 1 })
	if ticket := buyer(t, n, "canceller").buys(sale, 1); ticket == orders["canceller"].Ticket {
		t.Error("who cancelled gets the ended ticket again")
	}
	if got := buyer(t, n, "late").does("POST", "/api/sales/"+sale+"/ticket", nil, http.StatusConflict); got.Code != "sold_out" {
		t.Errorf("late is told %+v", got)
	}
}

func testChangesStay(t *testing.T, c node.Config, stop func(*testing.T, *node.Node)) {
	n := start(t, c)
	root := admin(t, n)
	sales := map[string]string{}
	for _, state := range []string{"paused", "resumed", "ended", "closed early", "grown", "shrunk", "renamed"} {
		sales[state] = root.creates(10, 2)
	}
	path := func(state, rest string) string { return "/api/admin/sales/" + sales[state] + rest }
	root.does("POST", path("paused", "/pause"), nil, http.StatusOK)
	root.does("POST", path("resumed", "/pause"), nil, http.StatusOK)
	root.does("POST", path("resumed", "/resume"), nil, http.StatusOK)
	root.does("POST", path("ended", "/end"), nil, http.StatusOK)
	root.does("PATCH", path("closed early", ""), map[string]any{"closes_at": time.Now().UTC().Add(-time.Second)}, http.StatusOK)
	grow, shrink := map[string]any{"id": "m", "delta": 5}, map[string]any{"id": "m", "delta": -4}
	root.does("POST", path("grown", "/stock"), grow, http.StatusOK)
	root.does("POST", path("shrunk", "/stock"), shrink, http.StatusOK)
	root.does("PATCH", path("renamed", ""), map[string]any{"title": "耳机"}, http.StatusOK)
	stop(t, n)
	n = start(t, c)
	root = admin(t, n)
	// A move that is sent again is still the same one.
	root.does("POST", path("grown", "/stock"), grow, http.StatusOK)
	root.does("POST", path("shrunk", "/stock"), shrink, http.StatusOK)
	b := buyer(t, n, "b")
	for state, want := range map[string]string{"paused": "paused", "ended": "ended", "closed early": "ended"} {
		if got := b.does("POST", "/api/sales/"+sales[state]+"/ticket", nil, http.StatusConflict); got.Code != want {
			t.Errorf("a sale that was %s answers %+v", state, got)
		}
	}
	b.buys(sales["resumed"], 1)
	totals := map[string]int64{}
	for _, state := range []string{"grown", "shrunk", "renamed"} {
		a := root.audits(sales[state])
		if totals[state] = a.Total; a.Gate != a.Total {
			t.Errorf("a sale that was %s: %+v", state, a)
		}
	}
	if want := map[string]int64{"grown": 15, "shrunk": 6, "renamed": 10}; !maps.Equal(totals, want) {
		t.Errorf("the totals are %v, want %v", totals, want)
	}
	if got := root.does("GET", "/api/sales/"+sales["renamed"], nil, http.StatusOK); got.Title != "耳机" {
		t.Errorf("the renamed sale is %q", got.Title)
	}
}

func testAccountsStay(t *testing.T, c node.Config, stop func(*testing.T, *node.Node)) {
	c.Env = []string{"SECKILL_AUTH_SECRET="} // the node makes its own
	n := start(t, c)
	login := map[string]any{"name": "ada", "password": "correct horse battery"}
	nobody := caller{t: t, url: n.URL}
	nobody.does("POST", "/api/register", login, http.StatusCreated)
	stop(t, n)
	n = start(t, c)
	nobody.url = n.URL
	nobody.does("POST", "/api/login", login, http.StatusOK)
	nobody.does("POST", "/api/register", login, http.StatusConflict)
}
