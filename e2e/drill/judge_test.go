package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"seckill/e2e/crowd"
	"seckill/internal/stack"
)

// What a visitor is told while a part is away, and what of it is a violation.
func TestJudge(t *testing.T) {
	t.Parallel()
	from := time.Now()
	const (
		gone  = 1500 * time.Millisecond // after it broke, before it is mended
		ends  = 3 * time.Second
		after = 4 * time.Second
	)
	for _, c := range []struct {
		name       string
		part       stack.Kind
		how        how
		node       int // 0 is hit, 1 is not
		at, took   time.Duration
		status     int
		retryAfter string
		want       string // in the finding; empty: none
	}{
		{"Redis is cut, and a buyer admitted", stack.KindRedis, cut, 0, gone, 1, 202, "", "nobody is admitted"},
		{"Redis is cut, and a buyer told so", stack.KindRedis, cut, 0, gone, 1, 503, "1", ""},
		{"Redis is cut, and a buyer not told when to come back", stack.KindRedis, cut, 0, gone, 1, 503, "", "nobody is admitted"},
		{"Redis is cut, and a buyer waits", stack.KindRedis, cut, 0, 0, 1100 * time.Millisecond, 503, "1", "within 1s"},
		{"Redis is cut from the other node", stack.KindRedis, cut, 1, gone, 1, 503, "1", "buyers are admitted"},
		{"Redis is slow, and a buyer admitted", stack.KindRedis, delay, 0, gone, 1, 202, "", ""},
		{"Redis is slow, and a buyer told that nothing is left", stack.KindRedis, delay, 0, gone, 1, 409, "", "or told 503"},
		{"Redis is back, and a buyer admitted", stack.KindRedis, kill, 0, after, 1, 202, "", ""},
		{"RabbitMQ is killed, and a buyer told to come back", stack.KindRabbitMQ, kill, 0, gone, 1, 503, "1", "buyers are admitted"},
		{"MariaDB is slow, and a buyer admitted", stack.KindMariaDB, delay, 0, gone, 1, 202, "", ""},
		{"a node is killed, and does not answer", "", kill, 0, gone, 1, 0, "", ""},
		{"a node is killed, and the other one does not answer", "", kill, 1, gone, 1, 0, "", "buyers are admitted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent := from.Add(c.at + 1)
			r := &round{begun: from, ended: from.Add(ends), plan: plan{fault: fault{part: c.part, how: c.how}, hits: [nodes]bool{true, false}},
				visits: []visit{{crowd.Visit{Sent: sent, Done: sent.Add(c.took), Status: c.status, RetryAfter: c.retryAfter}, c.node}}}
			var res result
			r.judge(&res)
			got := strings.Join(res.findings, "\n")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// With a leeway an answer may be later than promised, and not as late as it likes.
func TestJudgeWithALeeway(t *testing.T) {
	t.Parallel()
	from := time.Now()
	r := &round{leeway: busy, begun: from, ended: from.Add(5 * time.Second), plan: plan{fault: fault{part: stack.KindRedis, how: cut}, hits: [nodes]bool{true, true}}}
	for at, took := range map[time.Duration]time.Duration{0: 3900 * time.Millisecond, 1: 4100 * time.Millisecond} {
		sent := from.Add(at + 1)
		r.visits = append(r.visits, visit{crowd.Visit{Sent: sent, Done: sent.Add(took), Status: 503, RetryAfter: "1"}, 0})
	}
	for i := range 20 { // each after what a node waits for an answer of Redis
		sent := from.Add(lossTime + time.Duration(i))
		r.visits = append(r.visits, visit{crowd.Visit{Sent: sent, Done: sent.Add(800 * time.Millisecond), Status: 503, RetryAfter: "1"}, 0})
	}
	var res result
	r.judge(&res)
	if len(res.findings) != 2 || !strings.Contains(res.findings[0], "within 4s") || !strings.Contains(res.findings[1], "20 of 20 answers without Redis") {
		t.Errorf("found %q", res.findings)
	}
}

// The same seed, kind and number are the same round, whatever else is drilled.
func TestPlan(t *testing.T) {
	t.Parallel()
	all, one := &enginesDrill{config: config{seed: 3, rounds: 4, lanes: 2, units: 10}}, &enginesDrill{config: config{seed: 3, rounds: 4, lanes: 1, units: 10, only: "redis-cut/3"}}
	for _, d := range []*enginesDrill{all, one} {
		if err := d.plan(); err != nil {
			t.Fatal(err)
		}
	}
	broken := slices.IndexFunc(faults, func(f fault) bool { return f.routes }) // those come with --routes
	if len(all.short)+len(all.long) != 4*broken || len(one.short) != 1 || len(one.long) != 0 {
		t.Fatalf("%d and %d rounds are planned, want %d and 1", len(all.short)+len(all.long), len(one.short)+len(one.long), 4*broken)
	}
	for _, p := range all.short {
		if p.String() == "redis-cut/3" && p == one.short[0] {
			return
		}
	}
	t.Errorf("the round alone is %+v, which is not among %+v", one.short[0], all.short)
}
