package e2e

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"seckill/e2e/node"
	"seckill/e2e/payers"
	"seckill/internal/duty"
)

// ofMoney tells whether a moment is one that payments come to, not the crowd.
func ofMoney(moment string) bool { return moment >= "13-" && len(moment) > 2 && moment[2] == '-' }

// dieAtMoney kills a node at a moment of somebody's money. After the restart the
// shop's own books and the node's agree, and nothing waits.
func dieAtMoney(t *testing.T, moment, when string) {
	file, err := crashBinary()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	alive := node.Config{Binary: file, Dir: t.TempDir(), Listen: address(t)}
	p, err := payers.New("http://"+alive.Listen, node.Secret, 6)
	must(t, err)
	defer p.Close()
	alive.Env = p.Env()
	mortal := alive
	mortal.Env = append(p.Env(), "SECKILL_CRASH="+moment+":"+when)
	n := begin(t, mortal)
	must(t, p.Start(ctx))
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

var (
	killsOfMoney = flag.Int("money.kills", 3, "how often TestMoneyUnderKills kills the node")
	payments     = flag.Int64("money.payments", 300, "payments that TestMoneyUnderKills makes")
)

// A node is killed again and again while a shop that repeats, reorders, loses and lies
// takes money and gives it back. Every cent is explained.
//
//	go test ./e2e -run TestMoneyUnderKills -v -timeout 1h -money.payments 10000 -money.kills 40
func TestMoneyUnderKills(t *testing.T) {
	t.Parallel()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience+time.Duration(*payments)*50*time.Millisecond)
	defer cancel()
	c := node.Config{Binary: binary(t), Dir: t.TempDir(), Listen: address(t)}
	p, err := payers.New("http://"+c.Listen, node.Secret, 12)
	must(t, err)
	defer p.Close()
	p.Most, c.Env = *payments, p.Env()
	n := start(t, c)
	must(t, p.Start(ctx))
	for i := range *killsOfMoney {
		for p.Captured.Load() < *payments*int64(i+1)/int64(*killsOfMoney+1) {
			if ctx.Err() != nil {
				t.Fatalf("the payers come to no end: %v", p)
			}
			duty.Rest(ctx, 5*time.Millisecond)
		}
		n.Kill()
		n = start(t, c)
	}
	p.Wait()
	for _, finding := range p.Finish(ctx) {
		t.Error(finding)
	}
	t.Logf("%d kills in %v: %v", *killsOfMoney, time.Since(began).Round(time.Second), p)
	must(t, n.Stop())
}
