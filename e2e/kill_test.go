package e2e

import (
	"net/http"
	"strings"
	"testing"

	"seckill/e2e/node"
)

// A node that is killed twice in the middle of a load, and comes back on the same
// data and the same address, loses nothing, sells nothing twice and leaves
// nothing unsold.
func TestKilledTwiceUnderLoad(t *testing.T) {
	const units = 6_000
	c := node.Config{Dir: folder(t), Listen: address(t)}
	n := start(t, c)
	sale := admin(t, n).creates(units, 1)
	load := startLoad(t, n.URL, "--sale", sale, "--buyers", "7500", "--concurrency", "500")
	for _, left := range []int64{units * 3 / 4, units / 3} {
		soldDownTo(t, n, sale, left)
		n.Kill()
		if !load.running() {
			t.Fatal("the load was over before the kill")
		}
		n = start(t, c)
		admin(t, n).audits(sale)
	}
	rep := load.report()
	if rep.Units != units || rep.Final["placed"] != units || rep.Final["sold_out"] != 1500 {
		t.Errorf("%d units placed, the buyers ended as %v, want %d placed", rep.Units, rep.Final, units)
	}
	if len(rep.Failures) == 0 {
		t.Error("no request failed: the kills were not felt")
	}
}

// soldDownTo waits until the gate holds at most left units.
func soldDownTo(t *testing.T, n *node.Node, sale string, left int64) {
	t.Helper()
	anybody := buyer(t, n, "onlooker")
	atOnce(t, "the load sells", func() bool {
		_, a, err := anybody.try("GET", "/api/sales/"+sale, nil)
		return err == nil && a.Left <= left
	})
}

// A node that is told to stop under load says so first, answers what it has
// accepted, exits with status 0, and forgets nobody.
func TestStopsGracefullyUnderLoad(t *testing.T) {
	const units = 2_900 // the last ones are sold 15 s after the start: when the node has gone
	c := node.Config{Dir: folder(t), Listen: address(t), Env: []string{"SECKILL_HTTP_DRAIN_DELAY=5s"}}
	n := start(t, c)
	sale := admin(t, n).creates(units, 1)
	load := startLoad(t, n.URL, "--sale", sale, "--buyers", "3000", "--burst", "2000", "--rate", "60", "--concurrency", "500") // for 16 seconds, however fast the machine is
	soldDownTo(t, n, sale, units*3/4)
	n.Terminate()

	anybody, ops := buyer(t, n, "onlooker"), caller{t: t, url: n.Ops}
	eventually(t, "/readyz says no", func() bool {
		status, _, err := ops.try("GET", "/readyz", nil)
		if err != nil {
			t.Fatalf("/readyz went away before it said no: %v", err)
		}
		return status == http.StatusServiceUnavailable
	})
	// The balancer needs to notice: for drain_delay, which no busy machine uses up between
	// these two lines, everybody is still served.
	anybody.does("GET", "/api/sales/"+sale, nil, http.StatusOK)
	if code := n.ExitCode(); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
	if !load.running() {
		t.Error("the load was over before the node had gone")
	}
	if strings.Contains(n.Log(), `"level":"ERROR"`) {
		t.Error("the node complains while it stops")
	}
	if _, _, err := anybody.try("GET", "/api/sales/"+sale, nil); err == nil {
		t.Error("somebody answers for a stopped node")
	}

	start(t, c)
	rep := load.report()
	if rep.Units != units || rep.Final["placed"] != units || rep.Final["sold_out"] != 100 {
		t.Errorf("%d units placed, the buyers ended as %v, want %d placed", rep.Units, rep.Final, units)
	}
}

// Embedded parts belong to one process: a second node does not start on them, and
// says why and what to do.
func TestSecondNodeRefusesToStart(t *testing.T) {
	t.Parallel()
	c := node.Config{Dir: folder(t)}
	first := start(t, c)
	second := begin(t, c)
	if code := second.ExitCode(); code == 0 || code == -1 {
		t.Errorf("the second node ended with status %d", code)
	}
	for _, want := range []string{c.Dir, "in use by process", "stop it first", "--data-dir"} {
		if !strings.Contains(second.Log(), want) {
			t.Errorf("the second node does not say %q:\n%s", want, second.Log())
		}
	}
	sale := admin(t, first).creates(1, 1)
	buyer(t, first, "a").buys(sale, 1)
	must(t, first.Stop())
	if got := buyer(t, start(t, c), "a").outcome(sale); got.Status != "placed" {
		t.Errorf("after the first node has stopped another one says %+v", got)
	}
}
