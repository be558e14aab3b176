package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"testing"
	"time"

	"seckill"
	"seckill/e2e/crowd"
	"seckill/e2e/node"
	"seckill/internal/client"
)

// An hour: go test ./e2e -run TestTheBalanceShowsNoFalseRed -balance.for 1h -timeout 70m
var balanceFor = flag.Duration("balance.for", 5*time.Second, "how long a crowd is watched by the balance while the node is killed again and again")

// A crowd buys, pays, cancels, lets orders expire, is refunded, and an administrator pauses
// and moves stock, while the node is killed and restarted. Everything holds, as the
// crowd's own log says, so the balance must never be red.
func TestTheBalanceShowsNoFalseRed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), *balanceFor+4*patience)
	defer cancel()
	c := node.Config{Dir: folder(t), Listen: address(t)}
	people := crowd.New(crowd.Config{URL: "http://" + c.Listen, Secret: node.Secret, Seed: 17, Workers: 8, Units: 40})
	n := start(t, c)
	must(t, people.Start(ctx))
	counts, kills := map[seckill.SaleID]time.Time{}, 0
	seen := 0
	look := func() {
		t.Helper()
		for _, b := range balances(ctx, t, n) {
			if b.OK == nil {
				continue
			}
			if !*b.OK {
				t.Errorf("after %d kills sale %s is red: %+v", kills, b.Sale, b.Violations)
			}
			if !counts[b.Sale].Equal(b.At) {
				counts[b.Sale] = b.At
				seen++
			}
		}
	}
	for end := time.Now().Add(*balanceFor); time.Now().Before(end) && !t.Failed(); kills++ {
		before := seen
		until := time.Now().Add(min(*balanceFor/4, patience/3))
		eventually(t, "the sales are counted", func() bool {
			look()
			return t.Failed() || seen >= before+5 && !time.Now().Before(until)
		})
		n.Kill()
		n = start(t, c)
	}
	people.Stop()
	for _, finding := range people.Finish(ctx, n.Ops) {
		t.Error(finding)
	}
	look()
	t.Logf("%d counts of %d sales, %d kills, no false red; %s", seen, len(counts), kills, people)
	must(t, n.Stop())
}

// balances are the last counts of a node.
func balances(ctx context.Context, t *testing.T, n *node.Node) (all []seckill.Balance) {
	t.Helper()
	a := admin(t, n)
	c := client.Client{Server: a.url, Token: a.token}
	answer, err := c.Do(ctx, "GET", "/api/admin/balance", nil)
	if err != nil {
		return nil // the node is away
	}
	var v struct{ Items []seckill.Balance }
	if err := json.Unmarshal(answer.Body, &v); err != nil {
		t.Fatal(fmt.Errorf("%w: %s", err, answer.Body))
	}
	return v.Items
}
