package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"seckill/e2e/node"
	"seckill/internal/client"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// engines are real ones, and two nodes on them.
type engines struct {
	redis, rabbit, maria *stack.Engine
	gate, queue, store   string // where the nodes find theirs
	wire                 *wire  // the way to RabbitMQ, of startEnginesWired
	configs              [2]node.Config
	nodes                [2]*node.Node
}

// startEngines starts two nodes on one engine of each kind: one of the test's own, which it
// may kill, of the given kinds, and a namespace of the shared one of the others.
func startEngines(t *testing.T, own ...stack.Kind) *engines {
	t.Helper()
	return startEnginesWith(t, nil, own...)
}

// startEnginesWired is startEngines whose nodes reach the shared RabbitMQ by a wire that the test
// can cut: to them it is gone then. A RabbitMQ of the test's own takes seconds to start.
func startEnginesWired(t *testing.T, own ...stack.Kind) *engines {
	t.Helper()
	e := &engines{}
	e.wire = layWire(t, stacktest.Shared(t, stack.KindRabbitMQ))
	e.start(t, nil, own)
	return e
}

// startEnginesWith is startEngines whose nodes have more in their environment.
func startEnginesWith(t *testing.T, env []string, own ...stack.Kind) *engines {
	t.Helper()
	e := &engines{}
	e.start(t, env, own)
	return e
}

func (e *engines) start(t *testing.T, env []string, own []stack.Kind) {
	t.Helper()
	take := func(kind stack.Kind) (e *stack.Engine, url string) {
		if slices.Contains(own, kind) {
			if e = stacktest.Own(t, kind); e != nil {
				url = e.URL()
			}
		} else if e = stacktest.Shared(t, kind); e != nil {
			url = stacktest.Fresh(t, e)
		}
		return e, url
	}
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		e.rabbit, e.queue = take(stack.KindRabbitMQ) // the slow one
	}()
	e.redis, e.gate = take(stack.KindRedis)
	e.maria, e.store = take(stack.KindMariaDB)
	<-ready
	if e.queue == "" { // take has said why, and ended only its own goroutine
		if t.Skipped() {
			t.SkipNow()
		}
		t.FailNow()
	}
	if e.wire != nil {
		through := strings.Replace(e.queue, e.rabbit.Addr(), e.wire.Listen, 1)
		if through == e.queue {
			t.Fatalf("the nodes would go past the wire: RabbitMQ's URL does not name %s", e.rabbit.Addr())
		}
		e.queue = through
	}
	for i := range e.nodes {
		e.configs[i] = node.Config{Dir: t.TempDir(), Listen: address(t), Env: append([]string{
			"SECKILL_GATE=" + e.gate, "SECKILL_QUEUE=" + e.queue, "SECKILL_STORE=" + e.store}, env...)}
		e.nodes[i] = start(t, e.configs[i])
	}
}

func (e *engines) url() string { return e.nodes[0].URL + "," + e.nodes[1].URL }

// Two nodes on Redis, RabbitMQ and MariaDB sell exactly, and go on doing so while
// each part is killed in the middle of a sale and comes back.
func TestEngines(t *testing.T) {
	e := startEngines(t, stack.KindRedis, stack.KindRabbitMQ, stack.KindMariaDB)
	again := func(x *stack.Engine, between ...func(*stack.Engine) error) func(t *testing.T) {
		return func(t *testing.T) {
			must(t, x.Kill())
			for _, f := range between {
				must(t, f(x))
			}
			must(t, x.Start(t.Context()))
		}
	}
	for name, loses := range map[string]func(sale string) []string{
		"the gate loses everything": func(string) []string { return []string{"FLUSHALL"} },
		"the gate loses a sale": func(sale string) []string {
			return []string{"DEL", fmt.Sprintf("seckill:{%d}:sale:%s", saleID(t, sale)%16, sale)}
		},
	} {
		t.Run(name, func(t *testing.T) { testGateLoses(t, e, loses) })
	}
	for _, c := range []struct {
		name          string
		buyers, units int
	}{
		{"20,000 buyers for 1,000 units, 2,000 at once", 20_000, 1_000},
		{"10,000 buyers for 4,000 units, 2,000 at once", 10_000, 4_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			sale := admin(t, e.nodes[0]).creates(int64(c.units), 1)
			rep := startLoad(t, e.url(), "--sale", sale, "--buyers", strconv.Itoa(c.buyers), "--concurrency", "2000").report()
			if rep.Units != int64(c.units) || rep.Final["placed"] != c.units || rep.Final["sold_out"] != c.buyers-c.units {
				t.Errorf("%d units placed, the buyers ended as %v", rep.Units, rep.Final)
			}
			admin(t, e.nodes[0]).audits(sale)
		})
	}
	for _, c := range []struct {
		name  string
		fault func(t *testing.T)
	}{
		{"a node is killed", func(*testing.T) {
			e.nodes[1].Kill()
			e.nodes[1] = start(t, e.configs[1]) // it outlives this part of the test
		}},
		{"Redis is killed", again(e.redis)},
		{"MariaDB is killed", again(e.maria)},
		{"RabbitMQ is killed", again(e.rabbit)},
		{"RabbitMQ is killed and loses everything", again(e.rabbit, (*stack.Engine).Wipe)},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			const units = 1_000
			sale := admin(t, e.nodes[0]).creates(units, 1)
			load := startLoad(t, e.url(), "--sale", sale, "--buyers", "1250", "--concurrency", "200")
			soldDownTo(t, e.nodes[0], sale, units*3/4)
			if !load.running() {
				t.Fatal("the load was over before anything broke")
			}
			c.fault(t)
			rep := load.report()
			if rep.Units != units || rep.Final["placed"] != units || rep.Final["sold_out"] != 250 {
				t.Errorf("%d units placed, the buyers ended as %v, want %d placed", rep.Units, rep.Final, units)
			}
			admin(t, e.nodes[0]).audits(sale)
		}) {
			for _, n := range e.nodes {
				t.Logf("node %s ends with:\n%s", n.URL, tail(n.Log()))
			}
			break
		}
	}
}

// testGateLoses takes data from Redis, while it is up and in the middle of a sale
// without pending tickets. Both nodes sell again by themselves, within seconds: who
// holds an order is given no other one, and everybody else exactly the rest.
func testGateLoses(t *testing.T, e *engines, command func(sale string) []string) {
	const units, holders, late = 40, 10, 35
	const soon = 10 * time.Second // beside what the machine is late
	pulse := stacktest.Beats(t, 50*time.Millisecond, func(ctx context.Context) {
		_, _ = (&client.Client{Server: e.nodes[0].Ops}).Do(ctx, "GET", "/healthz", nil)
	})
	root := admin(t, e.nodes[0])
	sale := root.creates(units, 2)
	path := "/api/sales/" + sale + "/ticket"
	held := map[string]client.Said{}
	for i := range holders {
		b := buyer(t, e.nodes[i%2], fmt.Sprintf("holder%d", i))
		b.buys(sale, 1)
		held[fmt.Sprintf("holder%d", i)] = b.outcome(sale)
	}
	atRest := func(gate, active int64) {
		t.Helper()
		var a said
		eventually(t, "nothing is pending", func() bool { a = root.audits(sale); return a.Pending == 0 })
		if a.Gate != gate || a.Active != active || a.Returning != 0 {
			t.Errorf("the audit is %+v, want %d units at the gate and %d in orders", a, gate, active)
		}
	}
	atRest(units-holders, holders)

	answer, err := e.redis.AskRedis(t.Context(), command(sale)...)
	must(t, err)
	if answer == "0" {
		t.Fatal("Redis had nothing to lose")
	}
	lost, before := time.Now(), pulse.LateBy()
	for _, n := range e.nodes {
		for id, has := range held {
			b := buyer(t, n, id)
			eventually(t, "the node sells again", func() bool {
				status, got, err := b.try("POST", path, nil)
				if err != nil || status != http.StatusServiceUnavailable && (status != http.StatusAccepted || got.Ticket != has.Ticket) {
					t.Fatalf("%s holds %s and is told %d %+v, %v", id, has.Ticket, status, got, err)
				}
				return status == http.StatusAccepted
			})
		}
	}
	if took, late := time.Since(lost), pulse.LateBy()-before; took-late > soon {
		t.Errorf("the nodes sell again after %v, of which the machine was late by %v", took, late)
	}
	for id, has := range held {
		for _, n := range e.nodes {
			b := buyer(t, n, id)
			if got := b.outcome(sale); got != has {
				t.Errorf("%s was told %+v, and afterwards %+v", id, has, got)
			}
			if got := b.does("POST", path, map[string]int{"quantity": 2}, http.StatusConflict); got.Code != "limit" {
				t.Errorf("%s wants more and is told %+v", id, got)
			}
		}
	}
	atRest(units-holders, holders)

	var mu sync.Mutex
	ends := map[string]int{}
	var buying sync.WaitGroup
	for i := range late {
		buying.Go(func() {
			_, got, err := buyer(t, e.nodes[i%2], fmt.Sprintf("late%d", i)).try("POST", path, nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("late%d: %v", i, err)
			}
			ends[got.Status+got.Code]++
		})
	}
	buying.Wait()
	if want := map[string]int{"queued": units - holders, "sold_out": holders + late - units}; !maps.Equal(ends, want) {
		t.Errorf("the others are told %v, want %v", ends, want)
	}
	atRest(0, units)
}

// While Redis is gone nobody is admitted and everybody is told so; while RabbitMQ
// or MariaDB is gone buyers are admitted, and have their outcome afterwards.
func TestEnginesAway(t *testing.T) {
	t.Parallel()
	e := startEnginesWired(t, stack.KindRedis, stack.KindMariaDB)
	sale := admin(t, e.nodes[0]).creates(100, 1)
	// Final before anything dies: without Redis only final outcomes can be told.
	buyer(t, e.nodes[0], "before").buys(sale, 1)
	if got := buyer(t, e.nodes[0], "before").outcome(sale); got.Status != "placed" {
		t.Fatalf("before anything died: %+v", got)
	}
	for _, x := range []part{e.wire, e.maria} {
		must(t, x.Kill())
		name := "while " + string(x.Kind()) + " is away"
		ticket := buyer(t, e.nodes[1], name).buys(sale, 1)
		must(t, x.Start(t.Context()))
		if got := buyer(t, e.nodes[0], name).outcome(sale); got.Status != "placed" || got.Ticket != ticket {
			t.Errorf("admitted %s, then %+v", name, got)
		}
	}
	must(t, e.redis.Kill())
	eventually(t, "503 without Redis", func() bool {
		status, got, err := buyer(t, e.nodes[0], "unlucky").try("POST", "/api/sales/"+sale+"/ticket", nil)
		return err == nil && status == 503 && got.Code == "unavailable"
	})
	if got := buyer(t, e.nodes[0], "before").outcome(sale); got.Status != "placed" {
		t.Errorf("without Redis a final outcome is %+v", got)
	}
	must(t, e.redis.Start(t.Context()))
	eventually(t, "admitted again", func() bool {
		status, _, err := buyer(t, e.nodes[0], "unlucky").try("POST", "/api/sales/"+sale+"/ticket", nil)
		return err == nil && status == 202
	})
	buyer(t, e.nodes[0], "unlucky").outcome(sale)
	admin(t, e.nodes[0]).audits(sale)
	for _, n := range e.nodes {
		if strings.Contains(n.Log(), `"level":"ERROR"`) {
			t.Errorf("node %s complains:\n%s", n.URL, tail(n.Log()))
		}
	}
}
