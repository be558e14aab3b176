package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"seckill"
	"seckill/e2e/node"
	"seckill/internal/client"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

var awayFor = flag.Duration("away", 6*time.Second, "how long an engine is away in the test of the balancer; make drill lets it be a minute")

// balancerWaits is longer than a balancer's second by what a busy machine takes, and shorter
// than the node's own limit of two seconds for an answer of a part. What is late of a node that
// is asked whether it lives, which needs no part, is added.
const balancerWaits = 1900 * time.Millisecond

// A balancer sends buyers to the nodes whose /readyz is 200 within a second. With RabbitMQ
// dead and then MariaDB hanging it goes on sending them, and nobody is turned away: they are
// admitted, and have their orders when the engine is back. Without Redis nobody is admitted,
// and who has an order pays it. The body says what is degraded.
func TestABalancerTurnsNobodyAwayWhileAnEngineIsGone(t *testing.T) {
	e := startEnginesWired(t, stack.KindRedis, stack.KindMariaDB)
	sale := admin(t, e.nodes[0]).creates(100_000, 1)
	buyers := 0
	unpaid := []string{}
	for i := range 2 {
		who := buyer(t, e.nodes[0], fmt.Sprint("payer ", i))
		who.buys(sale, 1)
		unpaid = append(unpaid, who.outcome(sale).Order)
	}
	must(t, e.redis.Kill())
	for i, n := range e.nodes {
		who := buyer(t, n, fmt.Sprint("payer ", i))
		eventually(t, "the gate is gone, and the node says so", func() bool {
			answer, err := (&client.Client{Server: n.Ops}).Do(t.Context(), "GET", "/readyz", nil)
			must(t, err)
			if answer.Status != http.StatusOK {
				t.Fatalf("without the gate a balancer takes every node out: %d %s", answer.Status, answer.Body)
			}
			return strings.Contains(string(answer.Body), `"degraded":["gate: `)
		})
		if status, a, err := buyer(t, n, "nobody").try("POST", client.TicketPath(sale), nil); err != nil || status != http.StatusServiceUnavailable || a.Code != "unavailable" {
			t.Errorf("without the gate a buyer is told %d %+v, %v", status, a, err)
		}
		who.does("GET", "/api/sales/"+sale, nil, http.StatusOK)
		who.does("GET", client.TicketPath(sale), nil, http.StatusOK)
		who.does("POST", "/api/orders/"+unpaid[i]+"/pay", nil, http.StatusOK)
	}
	must(t, e.redis.Start(t.Context()))
	pulse := stacktest.Beats(t, 50*time.Millisecond, func(ctx context.Context) {
		for _, n := range e.nodes {
			_, _ = (&client.Client{Server: n.Ops}).Do(ctx, "GET", "/healthz", nil)
		}
	})
	for _, n := range e.nodes {
		eventually(t, "the gate is back", func() bool {
			answer, err := (&client.Client{Server: n.Ops}).Do(t.Context(), "GET", "/readyz", nil)
			return err == nil && !strings.Contains(string(answer.Body), "degraded")
		})
	}
	for _, part := range []struct {
		name   string
		engine part
	}{{"queue", e.wire}, {"store", e.maria}} {
		back := func() { must(t, part.engine.Start(t.Context())) }
		if part.engine == e.maria {
			must(t, syscall.Kill(e.maria.Pid(), syscall.SIGSTOP))
			back = func() { must(t, syscall.Kill(e.maria.Pid(), syscall.SIGCONT)) }
		} else {
			must(t, part.engine.Kill())
		}
		until := time.Now().Add(*awayFor)
		degraded := false
		tick := time.NewTicker(min(time.Second, *awayFor/40))
		for time.Now().Before(until) || !degraded && time.Now().Before(until.Add(patience)) {
			<-tick.C
			var ready []*node.Node
			for _, n := range e.nodes {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				began, before := time.Now(), pulse.LateBy()
				answer, err := (&client.Client{Server: n.Ops}).Do(ctx, "GET", "/readyz", nil)
				took, late := time.Since(began), pulse.LateBy()-before
				cancel()
				if err != nil || took-late > balancerWaits {
					t.Fatalf("without the %s a balancer gives up: after %v, of which the machine was late by %v: %v", part.name, took, late, err)
				}
				if answer.Status == http.StatusOK {
					ready = append(ready, n)
				}
				degraded = degraded || strings.Contains(string(answer.Body), `"degraded":["`+part.name+`: `)
			}
			if len(ready) < len(e.nodes) {
				t.Fatalf("without the %s %d of %d nodes are ready", part.name, len(ready), len(e.nodes))
			}
			buyer(t, ready[buyers%len(ready)], fmt.Sprint("buyer ", buyers)).buys(sale, 1)
			buyers++
		}
		tick.Stop()
		if !degraded {
			t.Errorf("/readyz never said that the %s is gone", part.name)
		}
		back()
	}
	for i := range buyers {
		who := buyer(t, e.nodes[0], fmt.Sprint("buyer ", i))
		eventually(t, "everybody has an order", func() bool {
			status, a, err := who.try("GET", client.TicketPath(sale)+"?wait=20s", nil)
			return err == nil && status == http.StatusOK && a.Status == "placed"
		})
	}
	admin(t, e.nodes[0]).audits(sale)
}

// 1,000 forged, damaged, doubled and far-out-of-range messages in the middle of a sale:
// each is put aside and counted, no buyer is lost, and nobody gets what no gate admitted.
func TestAThousandForgedMessagesInTheMiddleOfASale(t *testing.T) {
	e := startEngines(t, stack.KindRedis)
	const units, forged = 3_000, 1_000
	sale := admin(t, e.nodes[0]).creates(units, 1)
	load := startLoad(t, e.url(), "--sale", sale, "--buyers", "4000", "--concurrency", "200")
	soldDownTo(t, e.nodes[0], sale, units*3/4)
	unreadable, entries := 0, 0
	messages := make([]string, forged)
	for i := range messages {
		body, is := forgery(i, sale)
		if !is {
			unreadable++
		}
		messages[i] = body
	}
	e.takesMessages(t, messages...)
	outbox := fmt.Sprintf("seckill:{%d}:outbox", saleID(t, sale)%16)
	for ; entries < 50; entries++ {
		field, value := "x", "y"
		if entries%2 == 0 {
			field, value = "t", fmt.Sprintf("%s,%s,1,%d,%d,forger %d", seckill.NewTicketID(time.Now()), sale, entries, time.Now().UnixMilli(), entries)
		}
		_, err := e.redis.AskRedis(t.Context(), "XADD", outbox, "*", field, value)
		must(t, err)
	}
	rep := load.report()
	if rep.Units != units || rep.Final["placed"] != units {
		t.Errorf("%d units placed, the buyers ended as %v", rep.Units, rep.Final)
	}
	if a := admin(t, e.nodes[0]).audits(sale); a.Active != units {
		t.Errorf("the audit: %+v", a)
	}
	// Holds that can be read, and that no gate has written: nobody is told what they say.
	const holds = 50
	for i := range holds {
		name, id := fmt.Sprint("victim ", i), seckill.NewTicketID(time.Now())
		hold := []string{"o" + id + ",1,1,-", "p" + id + ",1,1,1-0", "2o" + id + ",1,1,-,AAECAwQFBgcICQoLDA0ODw"}[i%3]
		_, err := e.redis.AskRedis(t.Context(), "HSET", strings.Replace(outbox, "outbox", "holds:"+sale, 1), name, hold)
		must(t, err)
		if status, a, err := buyer(t, e.nodes[i%len(e.nodes)], name).try("GET", client.TicketPath(sale), nil); err != nil || status != http.StatusNotFound {
			t.Errorf("%s has no ticket and is told %d %+v, %v", name, status, a, err)
		}
	}
	sum := func(name string) (n float64) {
		for _, node := range e.nodes {
			n += metric(t, node, name)
		}
		return n
	}
	counted := [4]float64{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("counted: %v of %d tickets, %v of at least %d unreadable messages, %v of %d entries of the outbox, %v of %d holds",
				counted[0], forged-unreadable, counted[1], unreadable, counted[2], entries, counted[3], holds)
		}
	})
	eventually(t, "each of them is counted", func() bool {
		counted = [4]float64{sum("seckill_settle_aside_total"), sum("seckill_queue_unreadable_total"), sum(`seckill_aside_total{where="outbox"}`), sum(`seckill_aside_total{where="holds"}`)}
		return counted[0] == forged-float64(unreadable) && counted[1] >= float64(unreadable) && counted[2] == float64(entries) && counted[3] == holds
	})
}

// forgery is the i-th message that no gate has made, and whether it has the form of a
// ticket.
func forgery(i int, sale string) (body string, ticket bool) {
	id, at := seckill.NewTicketID(time.Now()), time.Now().UTC().Format(time.RFC3339Nano)
	message := func(quantity, seq, seal string) string {
		return fmt.Sprintf(`{"id":%q,"sale":%q,"buyer":"forger %d","quantity":%s,"seq":%s,"at":%q%s}`, id, sale, i, quantity, seq, at, seal)
	}
	sealed := func(by *seckill.Seals, t seckill.Ticket) string {
		number, err := seckill.ParseSaleID(sale)
		if err != nil {
			panic(err)
		}
		t.ID, t.Sale, t.Buyer, t.Quantity = id, number, fmt.Sprint("forger ", i), 1
		if t.Seal = node.EverybodysSeal(t); by != nil {
			t.Seal = by.Make(&t)
		}
		b, err := json.Marshal(t)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	switch i % 7 {
	case 5: // with the key that is derived from an empty secret
		return sealed(nil, seckill.Ticket{Seq: 1, At: time.Now().UTC()}), true
	case 6: // the seal of what was asked for, which stands in every hold, without a number
		seals, err := seckill.NewSeals(node.Secret)
		if err != nil {
			panic(err)
		}
		return sealed(seals, seckill.Ticket{At: time.UnixMilli(0).UTC()}), true
	case 0:
		return message("1", "9007199254740993000", ""), false // beyond what a double holds
	case 1:
		return message("1", "1", ""), true
	case 2:
		return message("1000", "1", ""), true
	case 3:
		return message("1", "9007199254740991", `,"seal":"AAECAwQFBgcICQoLDA0ODw"`), true
	}
	return "{" + message("1", "1", ""), false // damaged
}
