package e2e

import (
	"maps"
	"testing"

	"seckill/e2e/node"
)

// 20,000 buyers, 2,000 at once, want 1,000 units: exactly 1,000 get an order, and
// everybody else is told sold_out.
func TestCrowdSellsExactlyWhatThereIs(t *testing.T) {
	n := start(t, node.Config{})
	rep := startLoad(t, n.URL, "--buyers", "20000", "--concurrency", "2000", "--units", "1000").report()
	if want := map[string]int{"placed": 1000, "sold_out": 19_000}; !maps.Equal(rep.Final, want) {
		t.Errorf("the buyers ended as %v, want %v", rep.Final, want)
	}
	if rep.Units != 1000 || rep.Audit.Total != 1000 || rep.Audit.Active != 1000 || rep.Audit.Gate != 0 {
		t.Errorf("%d units placed, audit %+v, want 1000 of 1000", rep.Units, rep.Audit)
	}
	if len(rep.Failures) > 0 {
		t.Errorf("requests failed: %v", rep.Failures)
	}
	sale := admin(t, n).does("GET", "/api/sales/"+rep.Sale.String(), nil, 200)
	if sale.State != "sold_out" || sale.Left != 0 {
		t.Errorf("the sale shows %+v, want sold_out", sale)
	}
}

// With one to three units for each buyer no unit is left while a buyer who wants
// one is turned away.
func TestCrowdWithQuantitiesLeavesNothing(t *testing.T) {
	n := start(t, node.Config{})
	rep := startLoad(t, n.URL, "--buyers", "20000", "--concurrency", "2000", "--units", "1000", "--quantity", "1-3").report()
	if rep.Units != 1000 || rep.Audit.Active != 1000 || rep.Audit.Gate != 0 {
		t.Errorf("%d units placed, audit %+v, want 1000 of 1000", rep.Units, rep.Audit)
	}
	if placed := rep.Final["placed"]; placed < 334 || placed > 1000 || placed+rep.Final["sold_out"] != 20_000 {
		t.Errorf("the buyers ended as %v", rep.Final)
	}
}

// Everybody clicks 50 times at once, and holds one ticket.
func TestFiftyClicksAreOneTicket(t *testing.T) {
	n := start(t, node.Config{})
	rep := startLoad(t, n.URL, "--buyers", "2000", "--concurrency", "200", "--repeats", "50", "--units", "2000").report()
	if rep.BuyRequests < 100_000 {
		t.Errorf("%d answers, want at least 100,000", rep.BuyRequests)
	}
	if rep.Final["placed"] != 2000 || rep.Units != 2000 || rep.Audit.Active != 2000 {
		t.Errorf("the buyers ended as %v with %d units, audit %+v: want one ticket and one unit for each of 2000", rep.Final, rep.Units, rep.Audit)
	}
}
