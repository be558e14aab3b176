package e2e

import (
	"strconv"
	"strings"
	"testing"

	"seckill/e2e/node"
	"seckill/internal/stack"
)

// engines are real ones, and two nodes on them.
type engines struct {
	redis, rabbit, maria *stack.Engine
	configs              [2]node.Config
	nodes                [2]*node.Node
}

func startEngines(t *testing.T) *engines {
	t.Helper()
	e := &engines{}
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		e.rabbit = stack.Own(t, stack.KindRabbitMQ) // the slow one
	}()
	e.redis, e.maria = stack.Own(t, stack.KindRedis), stack.Own(t, stack.KindMariaDB)
	<-ready
	if e.rabbit == nil { // Own has said why, and ended only its own goroutine
		if t.Skipped() {
			t.SkipNow()
		}
		t.FailNow()
	}
	for i := range e.nodes {
		e.configs[i] = node.Config{Dir: t.TempDir(), Listen: address(t), Env: []string{
			"SECKILL_GATE=" + e.redis.URL(), "SECKILL_QUEUE=" + e.rabbit.URL(), "SECKILL_STORE=" + e.maria.URL()}}
		e.nodes[i] = start(t, e.configs[i])
	}
	return e
}

func (e *engines) url() string { return e.nodes[0].URL + "," + e.nodes[1].URL }

// Two nodes on Redis, RabbitMQ and MariaDB sell exactly, and go on doing so while
// each part is killed in the middle of a sale and comes back.
func TestEngines(t *testing.T) {
	e := startEngines(t)
	again := func(x *stack.Engine, between ...func(*stack.Engine) error) func(t *testing.T) {
		return func(t *testing.T) {
			must(t, x.Kill())
			for _, f := range between {
				must(t, f(x))
			}
			must(t, x.Start(t.Context()))
		}
	}
	for _, c := range []struct {
		name          string
		buyers, units int
	}{
		{"20,000 buyers for 1,000 units, 2,000 at once", 20_000, 1_000},
		{"50,000 buyers for 20,000 units, 2,000 at once", 50_000, 20_000},
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
			const units = 4_000
			sale := admin(t, e.nodes[0]).creates(units, 1)
			load := startLoad(t, e.url(), "--sale", sale, "--buyers", "5000", "--concurrency", "200")
			soldDownTo(t, e.nodes[0], sale, units*3/4)
			c.fault(t)
			rep := load.report()
			if rep.Units != units || rep.Final["placed"] != units || rep.Final["sold_out"] != 1000 {
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

// While Redis is gone nobody is admitted and everybody is told so; while RabbitMQ
// or MariaDB is gone buyers are admitted, and have their outcome afterwards.
func TestEnginesAway(t *testing.T) {
	e := startEngines(t)
	sale := admin(t, e.nodes[0]).creates(100, 1)
	// Final before anything dies: without Redis only final outcomes can be told.
	buyer(t, e.nodes[0], "before").buys(sale, 1)
	if got := buyer(t, e.nodes[0], "before").outcome(sale); got.Status != "placed" {
		t.Fatalf("before anything died: %+v", got)
	}
	for _, x := range []*stack.Engine{e.rabbit, e.maria} {
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
