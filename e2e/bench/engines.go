package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
	"seckill/internal/client"
	"seckill/internal/load"
	"seckill/internal/stack"
)

// parts are whose processor time is counted, in the order of the columns.
var parts = []string{"node", "Redis", "RabbitMQ", "MariaDB"}

// run is one run on engines of its own.
type run struct {
	result
	parts [4]float64 // microseconds of processor time for each order, until all are settled
}

// onEngines is one path, measured on fresh engines.
type onEngines struct {
	name, target, bare string
	status             int
	measure            func(ctx context.Context, b *bench, s *stack.Stack, p onEngines, round int) (run, error)
}

func (b *bench) enginePaths() []onEngines {
	return []onEngines{
		{"sold out", "≥ 0.90", soldOut, http.StatusConflict, soldOutOnEngines},
		{"admitted and durable, backlog allowed", "≥ 0.45", queued, http.StatusAccepted, admittedOnEngines},
		{"outcome query", "≥ 0.70", placed, http.StatusOK, askedOnEngines},
		{"orders committed, whole pipeline", "≥ 0.18", queued, http.StatusAccepted, committedOnEngines},
	}
}

func (b *bench) runEngines(ctx context.Context, only, out string) error {
	var table, shares bytes.Buffer
	fmt.Fprint(&table, "| path | target | ratio | a second | bare | p50 / p99 ms | bare p50 / p99 ms | node, memory MiB |\n|---|---|---|---|---|---|---|---|\n")
	fmt.Fprintf(&shares, "\nMicroseconds of processor time for each order, from the request to the committed order and the finished ticket:\n\n| path | %s | all |\n|---|---|---|---|---|---|\n", strings.Join(parts, " | "))
	match := regexp.MustCompile(only)
	for _, p := range b.enginePaths() {
		if !match.MatchString(p.name) {
			continue
		}
		var ours []run
		var bare []result
		for round := range b.rounds {
			fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", p.name, round+1, b.rounds)
			d, err := b.measureBare(ctx, path{name: p.name, bare: p.bare, status: p.status})
			if err != nil {
				return fmt.Errorf("%s, bare: %w", p.name, err)
			}
			bare = append(bare, d)
			r, err := b.onStack(ctx, func(s *stack.Stack) (run, error) { return p.measure(ctx, b, s, p, round) })
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			ours = append(ours, r)
			fmt.Fprintf(os.Stderr, "  %+v\n  %+v\n", r, d)
		}
		var results []result
		for _, r := range ours {
			results = append(results, r.result)
		}
		o, d := median(results), median(bare)
		fmt.Fprintf(&table, "| %s | %s | **%.2f** | %.0f | %.0f | %.0f / %.0f | %.0f / %.0f | %.0f |\n", p.name, p.target, o.rate/d.rate, o.rate, d.rate, o.p50, o.p99, d.p50, d.p99, o.rss)
		if p.status == http.StatusAccepted {
			fmt.Fprintf(&shares, "| %s |", p.name)
			all := 0.0
			for i := range parts {
				each := middle(ours, func(r run) float64 { return r.parts[i] })
				all += each
				fmt.Fprintf(&shares, " %.0f |", each)
			}
			fmt.Fprintf(&shares, " %.0f |\n", all)
		}
	}
	if match.MatchString("settling") {
		line, err := b.settling(ctx)
		if err != nil {
			return fmt.Errorf("settling: %w", err)
		}
		shares.WriteString(line)
	}
	fmt.Print(table.String() + shares.String())
	if out == "" {
		return nil
	}
	return splice(out, "bench engines", b.head()+table.String()+shares.String())
}

func middle[T any](all []T, f func(T) float64) float64 {
	all = slices.SortedFunc(slices.Values(all), func(a, b T) int { return cmp.Compare(f(a), f(b)) })
	return f(all[len(all)/2])
}

// onStack measures on engines that nobody has used before.
func (b *bench) onStack(ctx context.Context, measure func(*stack.Stack) (run, error)) (r run, err error) {
	s, err := stack.Up(ctx, stack.Options{})
	if err != nil {
		return r, err
	}
	r, err = measure(s)
	return r, errors.Join(err, s.Down())
}

// serve starts a node on the engines.
func (b *bench) serve(ctx context.Context, s *stack.Stack, args ...string) (*node, error) {
	return b.start(ctx, append([]string{"--gate", s.Redis.URL(), "--queue", s.RabbitMQ.URL(), "--store", s.MariaDB.URL()}, args...)...)
}

// open makes a sale and the tokens of buyers for it.
func (b *bench) open(ctx context.Context, n *node, units int64, buyers string, count int) (target, tokens string, err error) {
	sale, err := load.Fresh(ctx, n.url, n.admin, units, 1, time.Hour, seckill.Access{})
	if err != nil {
		return "", "", err
	}
	tokens, err = b.tokens(buyers, count)
	return client.TicketPath(sale.String()), tokens, err
}

// sellOut sells the only unit of a sale to somebody who does not ask again.
func (b *bench) sellOut(ctx context.Context, n *node, target string) error {
	tokens, err := b.tokens("winner", 2)
	if err != nil {
		return err
	}
	return n.all(ctx, "POST", target, tokens, 2)
}

func soldOutOnEngines(ctx context.Context, b *bench, s *stack.Stack, p onEngines, _ int) (r run, err error) {
	n, err := b.serve(ctx, s)
	if err != nil {
		return r, err
	}
	defer n.stop()
	target, tokens, err := b.open(ctx, n, 1, "s", finalist)
	if err == nil {
		err = b.sellOut(ctx, n, target)
	}
	if err != nil {
		return r, err
	}
	r.result, err = b.wrk(ctx, n.url, "POST", target, tokens, true, p.status)
	r.rss = rss(n.cmd.Process.Pid)
	return r, err
}

// admittedOnEngines has a node that only admits: everything waits in the outbox
// until the run is over and another node settles it.
func admittedOnEngines(ctx context.Context, b *bench, s *stack.Stack, p onEngines, round int) (r run, err error) {
	n, err := b.serve(ctx, s, "--run", "api")
	if err != nil {
		return r, err
	}
	defer n.stop()
	target, tokens, err := b.open(ctx, n, seckill.MaxTotal, fmt.Sprintf("r%d-", round), b.perSecond*b.seconds)
	if err != nil {
		return r, err
	}
	before := b.used(n, s)
	if r.result, err = b.wrk(ctx, n.url, "POST", target, tokens, false, p.status); err != nil {
		return r, err
	}
	r.rss = rss(n.cmd.Process.Pid)
	rest, err := b.serve(ctx, s)
	if err != nil {
		return r, err
	}
	defer rest.stop()
	orders, err := rest.rests(ctx, target)
	if err != nil {
		return r, err
	}
	after := b.used(n, s)
	after[0] += cpuTime(rest.cmd.Process.Pid)
	r.share(before, after, orders)
	return r, nil
}

func askedOnEngines(ctx context.Context, b *bench, s *stack.Stack, p onEngines, _ int) (r run, err error) {
	n, err := b.serve(ctx, s)
	if err != nil {
		return r, err
	}
	defer n.stop()
	target, tokens, err := b.open(ctx, n, seckill.MaxTotal, "q", finalist)
	if err == nil {
		err = n.all(ctx, "POST", target, tokens, finalist)
	}
	if err == nil {
		_, err = n.rests(ctx, target)
	}
	if err != nil {
		return r, err
	}
	r.result, err = b.wrk(ctx, n.url, "GET", target, tokens, true, p.status)
	r.rss = rss(n.cmd.Process.Pid)
	return r, err
}

// committedOnEngines counts orders in the store, by the node's own count, while
// the load runs.
func committedOnEngines(ctx context.Context, b *bench, s *stack.Stack, p onEngines, round int) (r run, err error) {
	n, err := b.serve(ctx, s)
	if err != nil {
		return r, err
	}
	defer n.stop()
	target, tokens, err := b.open(ctx, n, seckill.MaxTotal, fmt.Sprintf("r%d-", round), b.perSecond*b.seconds)
	if err != nil {
		return r, err
	}
	before := b.used(n, s)
	profiled := make(chan error, 1)
	go func() { profiled <- n.profile(ctx, b.profile, b.seconds-1) }()
	r.result, err = b.wrk(ctx, n.url, "POST", target, tokens, false, p.status)
	ended := time.Now()
	placed, _, cerr := n.counts(ctx)
	took := r.seconds + time.Since(ended).Seconds()
	if err = errors.Join(err, cerr, <-profiled); err != nil {
		return r, err
	}
	admitted := r.rate
	r.rate = placed / took
	r.rss = rss(n.cmd.Process.Pid)
	fmt.Fprintf(os.Stderr, "  admitted meanwhile: %.0f a second\n", admitted)
	orders, err := n.rests(ctx, target)
	if err != nil {
		return r, err
	}
	r.share(before, b.used(n, s), orders)
	return r, nil
}

// rests waits until every ticket of the sale has its outcome, and returns how many
// orders there are. An audit reads the whole outbox, so it waits until the node has
// settled what it can.
func (n *node) rests(ctx context.Context, target string) (orders int64, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	settled := -1.0
	for {
		placed, _, err := n.counts(ctx)
		if err == nil && placed == settled {
			if r, err := n.report(ctx, target); err == nil && r.Pending == 0 && r.Active > 0 {
				return r.Active, nil
			}
		}
		settled = placed
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, errors.Join(err, ctx.Err())
		}
	}
}

// used is the processor time of each part so far, in seconds.
func (b *bench) used(n *node, s *stack.Stack) [4]float64 {
	return [4]float64{cpuTime(n.cmd.Process.Pid), family(s.Redis.Pid()), family(s.RabbitMQ.Pid()), family(s.MariaDB.Pid())}
}

func (r *run) share(before, after [4]float64, orders int64) {
	for i := range r.parts {
		r.parts[i] = (after[i] - before[i]) / float64(orders) * 1e6
	}
}

// shop is the store as the bare consumer sees it.
func shop(address string) (*sql.DB, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	c := mysql.NewConfig()
	c.Net, c.Addr, c.DBName, c.User, c.InterpolateParams = "tcp", u.Host, strings.TrimPrefix(u.Path, "/"), u.User.Username(), true
	c.Passwd, _ = u.User.Password()
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// write stores orders as a node does, without asking whether it may.
func write(ctx context.Context, db *sql.DB, some []amqp.Delivery) error {
	now := time.Now().UnixMilli()
	args, units, sale := make([]any, 0, 10*len(some)), 0, seckill.SaleID(0)
	for _, d := range some {
		var t seckill.Ticket
		if err := json.Unmarshal(d.Body, &t); err != nil {
			return err
		}
		args = append(args, t.ID, int64(t.Sale), t.Buyer, t.Quantity, t.Seq, "unpaid", "", t.Quantity*100, now, now+900_000)
		units, sale = units+t.Quantity, t.Sale
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	row := "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	if _, err := tx.ExecContext(ctx, "INSERT INTO tickets (id, sale, buyer, quantity, seq, state, reason, amount, created_at, expires_at) VALUES "+
		row+strings.Repeat(", "+row, len(some)-1), args...); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE sales SET sold = sold + ? WHERE id = ? AND sold + ? <= total", units, int64(sale), units); err != nil {
		return err
	}
	return tx.Commit()
}
