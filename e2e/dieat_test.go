package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"seckill/e2e/crowd"
	"seckill/e2e/node"
)

// A node dies at each moment of a purchase, and of what happens around it, in the
// middle of buyers with quantities and repeats who pay, cancel and buy again, and
// of an administrator who pauses sales and moves stock. After the restart every
// promise is kept and every unit is where the crowd's log says. It dies there at once, and also after
// a while in which only the one at that moment stands still.
func TestDieAt(t *testing.T) {
	t.Parallel()
	for i, m := range node.Moments {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			t.Run("at once", func(t *testing.T) {
				t.Parallel()
				dieAt(t, m.Name, fmt.Sprint(m.Nth), uint64(2*i+1))
			})
			t.Run("while others go on", func(t *testing.T) {
				t.Parallel()
				dieAt(t, m.Name, fmt.Sprintf("%d:400ms", m.Nth), uint64(2*i+2))
			})
		})
	}
}

func dieAt(t *testing.T, moment, when string, seed uint64) {
	if ofStripe(moment) {
		dieAtEnding(t, moment, when)
		return
	}
	if ofMoney(moment) {
		dieAtMoney(t, moment, when, seed)
		return
	}
	file, err := crashBinary()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	alive := node.Config{Binary: file, Dir: folder(t), Listen: address(t)}
	mortal := alive
	mortal.Env = []string{"SECKILL_CRASH=" + moment + ":" + when}
	people := crowd.New(crowd.Config{URL: "http://" + alive.Listen, Secret: node.Secret, Seed: seed, Workers: 8, Units: 6, Defended: seed%5 == 0})

	var n *node.Node
	if strings.HasPrefix(moment, "12-") {
		// A rebuild is what a start does: of a node that was killed at work.
		n = start(t, alive)
		must(t, people.Start(ctx))
		eventually(t, "the crowd has tickets", func() bool { return people.Stats.Tickets.Load() > 15 })
		n.Kill()
		n = begin(t, mortal)
	} else {
		n = begin(t, mortal)
		must(t, people.Start(ctx))
	}
	select {
	case <-n.Done():
	case <-ctx.Done():
		t.Fatalf("the node did not come to %s:%s", moment, when)
	}
	if !n.Killed() || !strings.Contains(n.Log(), "dies at "+moment) {
		t.Fatalf("the node did not die at %s:\n%s", moment, n.Log())
	}

	n = start(t, alive)
	people.Stop()
	for _, finding := range people.Finish(ctx, n.Ops) {
		t.Error(finding)
	}
	if people.Stats.Tickets.Load() == 0 {
		t.Error("nobody bought anything")
	}
	must(t, n.Stop())
	if strings.Contains(n.Log(), `"level":"ERROR"`) {
		t.Errorf("the node complains:\n%s", n.Log())
	}
}

// The marks in the code, the moments in docs/ORDER-CYCLE.md and those at
// which TestDieAt dies are the same, and every step of the page has one.
func TestEveryMomentHasItsDeath(t *testing.T) {
	t.Parallel()
	tested := []string{}
	for _, m := range node.Moments {
		tested = append(tested, m.Name)
	}
	slices.Sort(tested)

	marked := []string{}
	mark := regexp.MustCompile(`crash\.Here\("([^"]+)"`)
	must(t, filepath.WalkDir("../internal", func(path string, f os.DirEntry, err error) error {
		if err != nil || f.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range mark.FindAllStringSubmatch(string(source), -1) {
			marked = append(marked, m[1])
		}
		return err
	}))
	slices.Sort(marked)
	if !slices.Equal(marked, tested) {
		t.Errorf("the code has the marks\n%v\nand TestDieAt dies at\n%v", marked, tested)
	}

	page, err := os.ReadFile("../docs/ORDER-CYCLE.md")
	must(t, err)
	told := []string{}
	for _, m := range regexp.MustCompile("`TestDieAt/([^`]+)`").FindAllStringSubmatch(string(page), -1) {
		told = append(told, m[1])
	}
	slices.Sort(told)
	if !slices.Equal(told, tested) {
		t.Errorf("docs/ORDER-CYCLE.md tells of\n%v\nand TestDieAt dies at\n%v", told, tested)
	}
	steps := regexp.MustCompile(`(?m)^## (\d+)\. `).FindAllStringSubmatch(string(page), -1)
	if len(steps) == 0 {
		t.Error("docs/ORDER-CYCLE.md has no steps")
	}
	for i, step := range steps {
		if step[1] != fmt.Sprint(i+1) {
			t.Errorf("step %s of docs/ORDER-CYCLE.md is number %d", step[1], i+1)
		}
		if !slices.ContainsFunc(told, func(m string) bool { return strings.HasPrefix(m, step[1]+"-") }) {
			t.Errorf("nobody dies at step %s of docs/ORDER-CYCLE.md", step[1])
		}
	}
}
