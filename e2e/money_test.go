package e2e

import (
	"context"
	"database/sql"
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"seckill/e2e/node"
	"seckill/e2e/payers"
	"seckill/internal/duty"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// ofMoney reports whether a moment is one that payments come to, not the crowd.
func ofMoney(moment string) bool { return moment >= "13-" && len(moment) > 2 && moment[2] == '-' }

// dieAtMoney kills a node at a moment of somebody's money. After the restart the
// shop's own books and the node's agree, and nothing waits.
func dieAtMoney(t *testing.T, moment, when string, seed uint64) {
	file, err := crashBinary()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	alive := node.Config{Binary: file, Dir: folder(t), Listen: address(t)}
	p, err := payers.New("http://"+alive.Listen, node.Secret, 6, seed)
	must(t, err)
	defer p.Close()
	alive.Env = p.Env()
	mortal := alive
	mortal.Env = append(p.Env(), "SECKILL_CRASH="+moment+":"+when)
	var n *node.Node
	if strings.HasPrefix(moment, "13-outage-") {
		// The node that comes back after a minute gives it back, with orders that wait for it.
		n = start(t, alive)
		must(t, p.Start(ctx))
		eventually(t, "somebody has paid", func() bool { return p.Captured.Load() > 10 })
		n.Kill()
		wasAway(t, alive.Dir, time.Minute)
		n = begin(t, mortal)
	} else {
		n = begin(t, mortal)
		must(t, p.Start(ctx))
	}
	select {
	case <-n.Done():
	case <-ctx.Done():
		t.Fatalf("the node did not come to %s:%s: %v", moment, when, p)
	}
	if !n.Killed() || !strings.Contains(n.Log(), "dies at "+moment) {
		t.Fatalf("the node did not die at %s:\n%s", moment, n.Log())
	}
	n = start(t, alive)
	p.Stop()
	for _, finding := range p.Finish(ctx) {
		t.Error(finding)
	}
	t.Log(p)
	must(t, n.Stop())
}

// wasAway makes the store of a node that is not there believe that it was away for so long.
func wasAway(t *testing.T, dir string, d time.Duration) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "seckill.db"))
	must(t, err)
	defer db.Close()
	r, err := db.ExecContext(t.Context(), "UPDATE leases SET until = until - ? WHERE name = 'pulse'", d.Milliseconds())
	must(t, err)
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("there was no pulse: %d rows, %v", n, err)
	}
}

var (
	killsOfMoney = flag.Int("money.kills", 3, "how often something is killed while TestMoneyUnderKills pays")
	payments     = flag.Int64("money.payments", 200, "payments that TestMoneyUnderKills makes, and TestMoneyUnderKillsOnEngines")
)

// A node is killed again and again while a shop that repeats, reorders, loses and lies
// takes money and gives it back. Every cent is explained. The command for 10,000 payments
// is in docs/money.md.
func TestMoneyUnderKills(t *testing.T) {
	t.Parallel()
	p := paying(t)
	c := node.Config{Binary: binary(t), Dir: folder(t), Listen: address(t), Env: p.Env()}
	p.URL = "http://" + c.Listen
	n := start(t, c)
	payUnderKills(t, "embedded", p, func(int) string {
		n.Kill()
		n = start(t, c)
		return "node"
	})
	must(t, n.Stop())
}

// The same on two nodes with Redis, RabbitMQ and MariaDB: the nodes are killed, and the
// store under them.
func TestMoneyUnderKillsOnEngines(t *testing.T) {
	t.Parallel()
	p := paying(t)
	e := startEnginesWith(t, p.Env(), stack.KindMariaDB)
	p.URL = e.url()
	payUnderKills(t, "engines", p, func(i int) string {
		if i%2 == 0 {
			must(t, e.maria.Kill())
			must(t, e.maria.Start(t.Context()))
			return "store"
		}
		i = i / 2 % 2
		e.nodes[i].Kill()
		e.nodes[i] = start(t, e.configs[i])
		return "node"
	})
	for _, n := range e.nodes {
		must(t, n.Stop())
	}
}

// paying is the shop and its buyers.
func paying(t *testing.T) *payers.Payers {
	t.Helper()
	p, err := payers.New("", node.Secret, 12, stacktest.Seed(t))
	must(t, err)
	t.Cleanup(func() { p.Close() })
	p.Most = *payments
	return p
}

// payUnderKills pays, and kills something from time to time. It logs what came of it as a
// row of the table in docs/money.md.
func payUnderKills(t *testing.T, on string, p *payers.Payers, kill func(i int) string) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience+time.Duration(*payments)*200*time.Millisecond)
	defer cancel()
	must(t, p.Start(ctx))
	killed := map[string]int{}
	for i := range *killsOfMoney {
		for p.Captured.Load() < *payments*int64(i+1)/int64(*killsOfMoney+1) {
			if ctx.Err() != nil {
				t.Fatalf("the payers come to no end: %v", p)
			}
			duty.Rest(ctx, 5*time.Millisecond)
		}
		killed[kill(i)]++
	}
	p.Wait()
	findings := p.Finish(ctx)
	for _, finding := range findings {
		t.Error(finding)
	}
	t.Logf("%d kills in %v: %v", *killsOfMoney, time.Since(began).Round(time.Second), p)
	t.Log(p.Row(on, killed["node"], killed["store"], len(findings)))
}
