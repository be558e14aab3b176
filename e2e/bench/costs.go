package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/stack"
)

// costs measures what a request and an order take in every part, and from it
// reckons the machines for a crowd, for docs/scaling.md.
func (b *bench) costs(ctx context.Context, out string) error {
	dir := filepath.Join(b.dir, "stack")
	s, err := stack.Up(ctx, stack.Options{Dir: dir, Nodes: 1, Nginx: true, Binary: b.binary})
	if err != nil {
		return err
	}
	defer s.Down()
	n := &node{url: s.Nodes[0].URL(), ops: s.Nodes[0].OpsURL()}
	if n.admin, err = account.Mint([]byte(s.AuthSecret), "bench", seckill.RoleAdmin, time.Hour); err != nil {
		return err
	}
	b.secret = s.AuthSecret

	// A "no", straight from a node and through nginx.
	target, tokens, err := b.open(ctx, n, 1, "c", finalist)
	if err == nil {
		err = b.sellOut(ctx, n, target)
	}
	if err != nil {
		return err
	}
	var c cost
	used := func() [5]float64 {
		return [5]float64{family(s.Nodes[0].Pid()), family(s.Redis.Pid()), family(s.RabbitMQ.Pid()), family(s.MariaDB.Pid()), family(s.Nginx.Pid())}
	}
	spent := func(before [5]float64, each float64) (d [5]float64) {
		for i, v := range used() {
			d[i] = (v - before[i]) / each * 1e6
		}
		return d
	}
	no := func(url string) (d [5]float64, err error) {
		before := used()
		r, err := b.wrk(ctx, url, "POST", target, tokens, true, http.StatusConflict)
		c.wire[0] = r.answer
		return spent(before, r.rate*float64(b.seconds)), err
	}
	if c.no, err = no(n.url); err != nil {
		return err
	}
	through, err := no(s.Nginx.URL())
	if err != nil {
		return err
	}
	c.nginx = through[4]

	// Orders, until everything is at rest.
	target, tokens, err = b.open(ctx, n, seckill.MaxTotal, "o", b.perSecond*b.seconds)
	if err != nil {
		return err
	}
	memory, err := redisMemory(ctx, s.Redis.AdminURL())
	if err != nil {
		return err
	}
	before, disks := used(), [3]int64{size(filepath.Join(dir, "redis")), size(filepath.Join(dir, "rabbitmq")), size(filepath.Join(dir, "mariadb"))}
	r, err := b.wrk(ctx, n.url, "POST", target, tokens, false, http.StatusAccepted)
	if err != nil {
		return err
	}
	c.wire[1] = r.answer
	orders, err := n.rests(ctx, target)
	if err != nil {
		return err
	}
	c.order = spent(before, float64(orders))
	after, err := redisMemory(ctx, s.Redis.AdminURL())
	if err != nil {
		return err
	}
	c.memory = float64(after-memory) / float64(orders)
	for i, part := range []string{"redis", "rabbitmq", "mariadb"} {
		c.disk[i] = float64(size(filepath.Join(dir, part))-disks[i]) / float64(orders)
	}

	// The result of an order, cached in the node. Not everybody of the last moment got an
	// answer.
	head := filepath.Join(b.dir, "tokens-asked")
	if err := first(tokens, head, min(finalist, int(orders)/2)); err != nil {
		return err
	}
	before = used()
	if r, err = b.wrk(ctx, n.url, "GET", target, head, true, http.StatusOK); err != nil {
		return err
	}
	c.wire[2] = r.answer
	c.result = spent(before, r.rate*float64(b.seconds))

	text := c.String()
	fmt.Print(text)
	if out == "" {
		return nil
	}
	return splice(out, "costs", text)
}

// cost is microseconds of processor time in node, Redis, RabbitMQ, MariaDB and
// nginx, and bytes.
type cost struct {
	no, order, result [5]float64 // each request, each order from the request to rest, each query
	nginx             float64    // each request through it
	wire              [3]float64 // bytes of an answer: sold out, queued, a result
	memory            float64    // of Redis, for each order
	disk              [3]float64 // written by Redis, RabbitMQ and MariaDB, for each order, as found afterwards
}

// What the reckoning assumes.
const (
	cores   = 16  // of a machine
	busy    = 0.6 // of its cores may be busy: the rest is for the unexpected
	queries = 3   // for the result, by everybody who was told queued
	share   = 100 // one buyer in so many gets a unit
	settle  = 30  // seconds in which the orders of the first second are settled
)

func (c cost) String() string {
	var t strings.Builder
	row := func(what string, v [5]float64, nginx float64) {
		fmt.Fprintf(&t, "| %s | %.0f | %.0f | %.0f | %.0f | %.0f |\n", what, nginx, v[0], v[1], v[2], v[3])
	}
	t.WriteString("Microseconds of processor time, measured on the machine of [benchmarks.md](benchmarks.md) with all parts on its cores:\n\n| | nginx | node | Redis | RabbitMQ | MariaDB |\n|---|---|---|---|---|---|\n")
	row("a request that is told sold out", c.no, c.nginx)
	row("a request that is admitted, up to its committed order", c.order, c.nginx)
	row("a query for a final result", c.result, c.nginx)
	fmt.Fprintf(&t, "\nBytes of an answer on the wire: %.0f sold out, %.0f queued, %.0f a result. Bytes for each order: %.0f of Redis' memory until the sale is retired; on disk %.0f by Redis (until its log is rewritten), %.0f by RabbitMQ (until its log is compacted), %.0f by MariaDB with its binary log.\n",
		c.wire[0], c.wire[1], c.wire[2], c.memory, c.disk[0], c.disk[1], c.disk[2])
	fmt.Fprintf(&t, "\nReckoned from that, not measured: machines of %d such cores, at most %.0f %% busy, for a crowd that arrives within one second, of whom one in %d gets a unit; who does asks %d times for the result; orders are settled within %d s.\n\n| buyers in the first second | requests | nginx | nodes | Redis masters | RabbitMQ | MariaDB | what limits |\n|---|---|---|---|---|---|---|---|\n", cores, busy*100, share, queries, settle)
	for _, buyers := range []float64{10_000, 1_000_000, 10_000_000} {
		orders := buyers / share
		machine := cores * busy * 1e6 // microseconds in a second
		front := (buyers*c.nginx + orders*queries*c.nginx) / machine
		nodes := ((buyers-orders)*c.no[0] + orders*c.order[0] + orders*queries*c.result[0]) / machine
		redis := orders * c.order[1] / 1e6 / 0.6 // one core each: Redis decides on one
		rabbit := orders * c.order[2] / settle / machine
		maria := orders * c.order[3] / settle / machine
		limit := "nothing: the parts share one machine"
		switch {
		case redis > 1:
			limit = "the one-second admission: one hot sale is one bucket on one Redis core; several sales spread over the masters"
		case front > 1 || nodes > 1:
			limit = "writing answers: nginx and nodes, which need nothing of one another"
		}
		fmt.Fprintf(&t, "| %.0f | %.0f | %s | %s | %s | %s | %s | %s |\n", buyers, buyers+orders*queries, machines(front), machines(nodes), machines(redis), machines(rabbit), machines(maria), limit)
	}
	return t.String()
}

// machines says how many, and how busy a single one is.
func machines(n float64) string {
	if n <= 1 {
		return fmt.Sprintf("1 (%.0f %%)", max(1, n*100))
	}
	return fmt.Sprintf("%.0f", n+0.499)
}

func redisMemory(ctx context.Context, url string) (int64, error) {
	o, err := rueidis.ParseURL(url)
	if err != nil {
		return 0, err
	}
	o.DisableCache = true
	c, err := rueidis.NewClient(o)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	info, err := c.Do(ctx, c.B().Info().Section("memory").Build()).ToString()
	if err != nil {
		return 0, err
	}
	var n int64
	_, rest, _ := strings.Cut(info, "used_memory:")
	_, err = fmt.Sscan(rest, &n)
	return n, err
}

// size is how many bytes the files under a folder occupy.
func size(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// first copies the first lines of a file, but for the very first: wrk asks for it
// before it begins, and sends it to nobody.
func first(from, to string, lines int) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	head := exec.Command("sed", "-n", fmt.Sprintf("2,%dp", lines), from)
	head.Stdout = out
	return head.Run()
}
