package e2e

import (
	"context"
	"strings"
	"testing"

	"seckill/e2e/node"
	"seckill/e2e/payers"
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
