// Command bench measures a node against a bare net/http handler that sends the
// same bytes, on the same machine, in interleaved runs with the same client, and
// writes docs/benchmarks.md. It needs wrk.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the node's store

	"seckill"
	"seckill/internal/account"
	"seckill/internal/client"
	"seckill/internal/load"
)

//go:embed wrk.lua
var script []byte

const secret = "a secret for benchmarks alone, 32 bytes"

type bench struct {
	seconds, rounds, connections, threads int
	perSecond                             int // tokens for each second of a run where none comes twice
	binary, dir, script, profile          string
	secret                                string // that signs tokens
	engines, price, consoles, audits      bool
	logins                                int      // at once
	env                                   []string // settings of the node beside those of every run
}

func main() {
	b := bench{secret: secret}
	flag.IntVar(&b.seconds, "seconds", 8, "length of one run")
	flag.IntVar(&b.rounds, "rounds", 5, "interleaved runs of each path")
	flag.IntVar(&b.connections, "connections", 2000, "connections at once")
	flag.IntVar(&b.threads, "threads", 1, "threads of wrk")
	flag.IntVar(&b.perSecond, "tokens", 60_000, "tokens for each second of a run where none may come twice")
	only := flag.String("only", "", "run the paths whose name matches")
	out := flag.String("out", "", "write the tables into this Markdown file, between its marks")
	flag.StringVar(&b.profile, "profile", "", "write a CPU profile of the node during the last run to this file")
	flag.BoolVar(&b.engines, "engines", false, "on Redis, RabbitMQ and MariaDB, started anew for each run")
	flag.BoolVar(&b.price, "costs", false, "what a request and an order cost in every part, with the tables of docs/scaling.md")
	flag.BoolVar(&b.consoles, "consoles", false, "what 1, 10 and 100 open consoles and the balance cost a running sale")
	flag.IntVar(&b.logins, "logins", 0, "what so many logins at once, again and again, cost a running sale")
	flag.BoolVar(&b.audits, "audits", false, "on engines, what an audit of a long outbox each second costs the buyers of another sale")
	bare := flag.String("bare", "", "serve as the bare handler with this status and body")
	flag.StringVar(&b.binary, "binary", "", "the binary to measure (default: built now)")
	flag.Parse()
	if *bare != "" {
		serveBare(*bare)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, *only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// serveBare is what everything is compared with: a handler that writes bytes.
func serveBare(answer string) {
	status, body, _ := strings.Cut(answer, " ")
	code, _ := strconv.Atoi(status)
	text := []byte(body)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("http://" + l.Addr().String())
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", "ABCDEFGHIJ-1234")
		w.WriteHeader(code)
		w.Write(text)
	})))
}

// path is one thing that is measured.
type path struct {
	name, target string
	bare         string // status and body
	// prepare readies the node and returns method, path, tokens of one run.
	prepare func(ctx context.Context, n *node, round int) (method, target, tokens string, err error)
	status  int
	orders  bool // count committed orders instead of answers
	hold    bool // let nobody settle meanwhile: all that is admitted is backlog
}

type result struct {
	rate, p50, p99, rss float64 // per second, milliseconds, MiB
	seconds             float64 // that the load ran: the client first prepares its requests
	cpu                 float64 // microseconds of the server's processor time per request
	orders, backlog     float64
	answer              float64 // bytes of an answer on the wire
}

func (b *bench) run(ctx context.Context, only, out string) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "seckill-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.script = filepath.Join(b.dir, "wrk.lua")
	if err := os.WriteFile(b.script, script, 0o600); err != nil {
		return err
	}
	if _, err := exec.LookPath("wrk"); err != nil {
		return errors.New("wrk is not installed: apt-get install wrk")
	}
	if b.binary == "" {
		b.binary = filepath.Join(b.dir, "seckill")
		build := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "./cmd/seckill")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building: %w", err)
		}
	}
	switch {
	case b.consoles:
		return b.besideConsoles(ctx, out)
	case b.logins > 0:
		return b.besideLogins(ctx, out)
	case b.audits:
		return b.besideAudits(ctx, out)
	case b.price:
		return b.costs(ctx, out)
	case b.engines:
		return b.runEngines(ctx, only, out)
	}
	var table bytes.Buffer
	fmt.Fprintf(&table, "| path | target | ratio | a second | bare | p50 / p99 ms | bare p50 / p99 ms | µs of processor each | bare | memory MiB | bare |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	match := regexp.MustCompile(only)
	for _, p := range b.paths() {
		if !match.MatchString(p.name) {
			continue
		}
		var ours, bare []result
		for round := range b.rounds {
			fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", p.name, round+1, b.rounds)
			r, err := b.measureBare(ctx, p)
			if err != nil {
				return fmt.Errorf("%s, bare: %w", p.name, err)
			}
			bare = append(bare, r)
			if r, err = b.measureNode(ctx, p, round); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			ours = append(ours, r)
			fmt.Fprintf(os.Stderr, "  %+v\n  %+v\n", ours[round], bare[round])
		}
		o, d := median(ours), median(bare)
		rate := o.rate
		if p.orders {
			rate = o.orders
		}
		fmt.Fprintf(&table, "| %s | %s | **%.2f** | %.0f | %.0f | %.0f / %.0f | %.0f / %.0f | %.1f | %.1f | %.0f | %.0f |\n", p.name, p.target, rate/d.rate, rate, d.rate, o.p50, o.p99, d.p50, d.p99, o.cpu, d.cpu, o.rss, d.rss)
	}
	fmt.Print(table.String())
	if out == "" {
		return nil
	}
	return splice(out, "bench", b.head()+table.String())
}

// head says how the figures below it were measured.
func (b *bench) head() string {
	return fmt.Sprintf("Medians of %d interleaved runs of %d s each, %d connections, wrk with %d thread(s) on the same machine: %d cores, %s, %s.\n\n",
		b.rounds, b.seconds, b.connections, b.threads, runtime.NumCPU(), cpu(), runtime.Version())
}

// splice replaces what stands between the marks of that name in the page.
func splice(page, name, text string) error {
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->"
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no marks for the tables", page)
	}
	return os.WriteFile(page, []byte(before+begin+text+end+after), 0o644)
}

func cpu() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.SplitSeq(string(b), "\n") {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimLeft(name, "\t :")
		}
	}
	return runtime.GOARCH
}

func median(rs []result) (m result) {
	mid := func(f func(result) float64) float64 {
		rs := slices.SortedFunc(slices.Values(rs), func(a, b result) int { return cmp.Compare(f(a), f(b)) })
		return f(rs[len(rs)/2])
	}
	m.rate = mid(func(r result) float64 { return r.rate })
	m.p50 = mid(func(r result) float64 { return r.p50 })
	m.p99 = mid(func(r result) float64 { return r.p99 })
	m.rss = mid(func(r result) float64 { return r.rss })
	m.cpu = mid(func(r result) float64 { return r.cpu })
	m.orders = mid(func(r result) float64 { return r.orders })
	return m
}

const (
	soldOut  = `409 {"type":"about:blank","title":"Sold out","status":409,"code":"sold_out"}`
	queued   = `202 {"status":"queued","ticket":"1K81EIGDDAUESOFSOAL4NGCZEX","poll_after_ms":500}`
	placed   = `200 {"status":"placed","ticket":"1K81EIGDDAUESOFSOAL4NGCZEX","order":"1K81EIGDDAUESOFSOAL4NGCZEX"}`
	atOnce   = 64     // requests of the preparation
	finalist = 20_000 // buyers who ask for their outcome
)

func (b *bench) paths() []path {
	buy := func(ctx context.Context, n *node, units int64) (string, error) {
		sale, err := load.Fresh(ctx, n.url, n.admin, units, 1, time.Hour, seckill.Access{})
		return client.TicketPath(sale.String()), err
	}
	fresh := func(n int) func(context.Context, *node, int) (string, string, string, error) {
		return func(ctx context.Context, node *node, round int) (string, string, string, error) {
			target, err := buy(ctx, node, seckill.MaxTotal)
			if err != nil {
				return "", "", "", err
			}
			tokens, err := b.tokens(fmt.Sprintf("r%d-", round), n*b.seconds)
			return "POST", target, tokens, err
		}
	}
	return []path{
		{name: "sold out", target: "≥ 0.90", bare: soldOut, status: http.StatusConflict, prepare: func(ctx context.Context, n *node, round int) (string, string, string, error) {
			target, err := buy(ctx, n, 1)
			if err != nil {
				return "", "", "", err
			}
			tokens, err := b.tokens("s", finalist)
			if err != nil {
				return "", "", "", err
			}
			return "POST", target, tokens, n.all(ctx, "POST", target, tokens, 2)
		}},
		{name: "admitted and durable, backlog allowed", target: "≥ 0.60", bare: queued, status: http.StatusAccepted, hold: true, prepare: fresh(b.perSecond)},
		{name: "admitted and durable, settled meanwhile", target: "", bare: queued, status: http.StatusAccepted, prepare: fresh(b.perSecond)},
		{name: "outcome query", target: "≥ 0.70", bare: placed, status: http.StatusOK, prepare: func(ctx context.Context, n *node, round int) (string, string, string, error) {
			target, err := buy(ctx, n, seckill.MaxTotal)
			if err != nil {
				return "", "", "", err
			}
			tokens, err := b.tokens("q", finalist)
			if err != nil {
				return "", "", "", err
			}
			if err := n.all(ctx, "POST", target, tokens, finalist); err != nil {
				return "", "", "", err
			}
			return "GET", target, tokens, n.settled(ctx)
		}},
		{name: "orders committed, whole pipeline", target: "≥ 0.35", bare: queued, status: http.StatusAccepted, orders: true, prepare: fresh(b.perSecond)},
	}
}

// tokens writes n tokens of distinct buyers to a file.
func (b *bench) tokens(prefix string, n int) (string, error) {
	name := filepath.Join(b.dir, "tokens-"+prefix)
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for i := range n {
		t, err := account.Mint([]byte(b.secret), prefix+strconv.Itoa(i), "", 24*time.Hour)
		if err != nil {
			return "", err
		}
		w.WriteString(t + "\n")
	}
	return name, w.Flush()
}

// read is where wrk says how much it has read.
var read = regexp.MustCompile(`requests in .*?, ([0-9.]+)([KMG])B read`)

// wrk sends the load and returns what it saw. A failed request makes the run
// invalid, and so does a token that comes twice where none may: a repeat costs
// the server less.
func (b *bench) wrk(ctx context.Context, url, method, target, tokens string, again bool, status int) (r result, err error) {
	mode := "once"
	if again {
		mode = "again"
	}
	cmd := exec.CommandContext(ctx, "wrk", "-t", strconv.Itoa(b.threads), "-c", strconv.Itoa(b.connections), "-d", strconv.Itoa(b.seconds)+"s",
		"--timeout", "20s", "-s", b.script, url, "--", method, target, tokens, mode)
	cmd.Env = append(os.Environ(), "BENCH_THREADS="+strconv.Itoa(b.threads))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return r, fmt.Errorf("wrk: %w: %s", err, out)
	}
	_, line, ok := strings.Cut(string(out), "BENCH ")
	var requests, micros, p50, p99, bad, failed, most, dry float64
	if n, _ := fmt.Sscan(line, &requests, &micros, &p50, &p99, &bad, &failed, &most, &dry); !ok || n != 8 {
		return r, fmt.Errorf("wrk said: %s", out)
	}
	// wrk counts answers from 400 on as errors of status.
	if status < 400 && bad > 0 || status >= 400 && bad != requests || failed > 0 {
		return r, fmt.Errorf("the run is invalid: %.0f answers of another status than %d, %.0f failed: %s", bad, status, failed, out)
	}
	if dry > 0 {
		return r, fmt.Errorf("the run is invalid: the tokens ran out, and %.0f requests were repeats: give more than -tokens %d", dry, b.perSecond)
	}
	r = result{rate: requests / micros * 1e6, seconds: micros / 1e6, p50: p50 / 1e3, p99: p99 / 1e3}
	if m := read.FindStringSubmatch(string(out)); m != nil {
		n, _ := strconv.ParseFloat(m[1], 64)
		r.answer = n * map[string]float64{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[m[2]] / requests
	}
	return r, nil
}

func (b *bench) measureBare(ctx context.Context, p path) (r result, err error) {
	exe, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, exe, "-bare", p.bare)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return r, err
	}
	// The same number of tokens, so that the client has the same work.
	count := finalist
	if p.status == http.StatusAccepted {
		count = b.perSecond * b.seconds
	}
	tokens, err := b.tokens("bare"+strconv.Itoa(count), count)
	if err != nil {
		return r, err
	}
	status, _, _ := strings.Cut(p.bare, " ")
	code, _ := strconv.Atoi(status)
	before := cpuTime(cmd.Process.Pid)
	r, err = b.wrk(ctx, strings.TrimSpace(url), "POST", "/api/sales/1/ticket", tokens, true, code)
	r.rss = rss(cmd.Process.Pid)
	r.cpu = (cpuTime(cmd.Process.Pid) - before) / r.rate / float64(b.seconds) * 1e6
	return r, err
}

func (b *bench) measureNode(ctx context.Context, p path, round int) (r result, err error) {
	n, err := b.start(ctx)
	if err != nil {
		return r, err
	}
	defer n.stop()
	method, target, tokens, err := p.prepare(ctx, n, round)
	if err != nil {
		return r, err
	}
	before, _, err := n.counts(ctx)
	if err != nil {
		return r, err
	}
	release := func() error { return nil }
	if p.hold {
		if release, err = n.holdStore(ctx); err != nil {
			return r, err
		}
	}
	profiled := make(chan error, 1)
	go func() { profiled <- n.profile(ctx, b.profile, b.seconds-1) }()
	used := cpuTime(n.cmd.Process.Pid)
	r, err = b.wrk(ctx, n.url, method, target, tokens, p.status != http.StatusAccepted, p.status)
	ended := time.Now()
	if err = errors.Join(err, release()); err != nil {
		return r, err
	}
	// Orders that were committed while the load ran, by the node's own count.
	after, backlog, err := n.counts(ctx)
	r.orders, r.backlog = (after-before)/(r.seconds+time.Since(ended).Seconds()), backlog
	r.cpu = (cpuTime(n.cmd.Process.Pid) - used) / r.rate / float64(b.seconds) * 1e6
	r.rss = rss(n.cmd.Process.Pid)
	err = errors.Join(err, <-profiled)
	if p.status == http.StatusAccepted && err == nil {
		if err = n.settled(ctx); err == nil {
			err = n.audit(ctx, target)
		}
	}
	return r, err
}

// cpuTime is the processor time that a process has used, in seconds.
func cpuTime(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // USER_HZ is 100 on every Linux
}

// rss is the resident memory of a process in MiB.
func rss(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var kib float64
	fmt.Sscan(rest, &kib)
	return kib / 1024
}
