package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"seckill/e2e/node"
	"seckill/internal/rabbit"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// Nodes by role on a Redis Cluster of three masters, a RabbitMQ cluster of three and
// MariaDB sell exactly, while one of each dies in the middle of sales and comes
// back: nobody is lost, and nothing is left.
func TestClusters(t *testing.T) {
	t.Parallel()
	var redis, broker *stack.Cluster
	var maria *stack.Engine
	var starting sync.WaitGroup
	starting.Go(func() { broker = stacktest.OwnCluster(t, stack.KindRabbitMQ) })
	starting.Go(func() { redis, maria = stacktest.OwnCluster(t, stack.KindRedis), stacktest.Own(t, stack.KindMariaDB) })
	starting.Wait()
	if redis == nil || broker == nil || maria == nil { // why has been said
		if t.Skipped() {
			t.SkipNow()
		}
		t.Fatal("the engines are not there")
	}
	config := func(roles string) node.Config {
		return node.Config{Dir: t.TempDir(), Listen: address(t), Args: []string{"--run", roles}, Env: []string{
			"SECKILL_GATE=" + redis.URL(), "SECKILL_QUEUE=" + broker.URL(), "SECKILL_STORE=" + maria.URL(),
			"SECKILL_RABBITMQ_ADDRESSES=" + strings.Join(broker.Addrs(), ",")}}
	}
	worker := start(t, config("relay,settle,expire"))
	front := start(t, config("api"))
	other := start(t, config("api,relay"))
	must(t, broker.Settle(t.Context()))
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range []*node.Node{worker, front, other} {
				t.Logf("node %s ends with:\n%s", n.URL, tail(n.Log()))
			}
		}
	})
	root := admin(t, front)
	owner := func(t *testing.T, sale string) *stack.Engine {
		e, err := redis.Owner(t.Context(), fmt.Sprintf("seckill:{%d}:outbox", saleID(t, sale)%16))
		must(t, err)
		return e
	}

	for _, c := range []struct {
		name string
		dies func(t *testing.T, sale string) *stack.Engine
		// what a buyer of a sale that is on no dead master gets meanwhile
		final bool
	}{
		{"a Redis master", owner, true},
		{"the RabbitMQ node that leads", func(t *testing.T, _ string) *stack.Engine {
			e, members, err := broker.Leader(t.Context(), rabbit.TicketQueue)
			must(t, err)
			if members != 3 {
				t.Fatalf("the queue has %d members", members)
			}
			return e
		}, true},
		{"MariaDB", func(*testing.T, string) *stack.Engine { return maria }, false},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			const units, buyers = 800, 1000
			var sales []string
			var crowds []*run
			for range 3 {
				sales = append(sales, root.creates(units, 1))
			}
			victim := c.dies(t, sales[0])
			quiet := root.creates(10, 1)
			for owner(t, quiet) == victim {
				quiet = root.creates(10, 1)
			}
			for _, sale := range sales {
				crowds = append(crowds, startLoad(t, front.URL+","+other.URL, "--sale", sale, "--buyers", fmt.Sprint(buyers), "--concurrency", "60"))
			}
			soldDownTo(t, front, sales[0], units*3/4)
			must(t, victim.Kill())
			if c.final { // the rest goes on, to the very end
				eventually(t, "another sale sells", func() bool {
					status, got, err := buyer(t, front, "quiet").try("POST", "/api/sales/"+quiet+"/ticket", nil)
					if err != nil || status != http.StatusAccepted && got.Code != "unavailable" {
						t.Fatalf("another sale: %d %+v, %v", status, got, err)
					}
					return status == http.StatusAccepted
				})
				if got := buyer(t, other, "quiet").outcome(quiet); got.Status != "placed" {
					t.Errorf("bought elsewhere meanwhile: %+v", got)
				}
			}
			if victim == owner(t, sales[0]) {
				eventually(t, "its sales are closed", func() bool {
					status, got, err := buyer(t, front, "unlucky").try("POST", "/api/sales/"+sales[0]+"/ticket", nil)
					return err == nil && status == http.StatusServiceUnavailable && got.Code == "unavailable"
				})
			}
			must(t, victim.Start(t.Context()))
			for i, load := range crowds {
				rep := load.report()
				if rep.Units != units || rep.Final["placed"] != units || rep.Final["sold_out"] != buyers-units {
					t.Errorf("%d units of sale %s placed, the buyers ended as %v, want %d placed", rep.Units, sales[i], rep.Final, units)
				}
				root.audits(sales[i])
			}
			root.audits(quiet)
			if c.name == "the RabbitMQ node that leads" {
				must(t, broker.Settle(t.Context()))
			}
		}) {
			break
		}
	}
}
