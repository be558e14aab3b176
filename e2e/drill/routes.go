package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"seckill"
	"seckill/e2e/crowd"
	"seckill/e2e/node"
	"seckill/internal/account"
	"seckill/internal/client"
	"seckill/internal/duty"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack"
)

// With --routes each engine hangs, is slow, or is full, for longer than any bound on a
// wait, and visitors ask every route that a page uses, at every node: each is answered
// within its bound, and as without a fault, unless it needs the engine. Then it may be
// told 503 with Retry-After.
const (
	routesReport = "routes" // the name of the report

	// The bounds are those of internal/gate/redisgate and of internal/api/rooms.go. The
	// machine has leeway beside them.
	buyBound   = time.Second
	storeBound = 5 * time.Second
	adminBound = 15 * time.Second

	routePause = 250 * time.Millisecond // between two questions of one route
	hashPause  = 2 * time.Second        // where each costs a password hash
	routeTime  = 40 * time.Second       // for one answer, however late
)

// question is a route with what is asked of it.
type question struct {
	name, method string
	path         string // with {sale}, {checked}, {order}, {ended}
	body         func(n int) any
	admin        bool
	pause        time.Duration // 0: routePause
	bound        time.Duration
	needs        string // the engines without which the answer may be 503: r, q, m
}

func nothing(int) any { return nil }

// questions are all routes that pages use, and those by which a shop sees and stops a
// sale.
func questions() []question {
	page := func(path, needs string) question {
		return question{"GET " + path, "GET", path, nothing, false, 0, storeBound, needs}
	}
	ask := func(method, path, needs string, body any) question {
		return question{method + " " + path, method, path, func(int) any { return body }, false, 0, storeBound, needs}
	}
	names := func(n int) any {
		return map[string]string{"name": fmt.Sprintf("drill.%d.%d", time.Now().UnixNano(), n), "password": drillPassword}
	}
	shop := func(method, path, needs string, bound time.Duration) question {
		return question{method + " " + path, method, path, nothing, true, 0, bound, needs}
	}
	return []question{
		page("/", ""), page("/sale/{sale}", ""), page("/login", ""), page("/register", ""), page("/orders", ""), page("/order/detail/{order}", ""),
		page("/favicon.ico", ""), page("/static/any/favicon.svg", ""), page("/sale/{sale}/opening.ics", ""),
		page("/api/sales", ""), page("/api/sales/{sale}", ""), page("/api/sales/999999999", "m"), page("/api/openapi.json", ""), page("/api/me", ""),
		page("/api/sales/{sale}/ticket", ""), page("/api/sales/999999999/ticket", "m"), page("/api/sales/{sale}/ticket?wait=1s", ""),
		page("/api/tickets", "rqm"), // 503 for a moment too whenever a sale is being made
		page("/api/orders", "m"), page("/api/orders/{order}", "m"),
		{"POST /api/sales/999999999/ticket", "POST", "/api/sales/999999999/ticket", nothing, false, 0, buyBound, "m"}, // only the store knows that there is none
		ask("POST", "/api/orders/{order}/pay", "m", nil), ask("POST", "/api/orders/{ended}/cancel", "m", nil),
		ask("POST", "/api/sales/{checked}/challenge", "rm", nil), ask("POST", "/api/sales/{checked}/pass", "rm", map[string]string{"challenge": "x", "solution": "y"}),
		ask("POST", "/api/challenge", "r", nil), ask("POST", "/api/logout", "", nil),
		{"POST /api/login", "POST", "/api/login", func(int) any {
			return map[string]string{"name": drillName, "password": drillPassword}
		}, false, hashPause, storeBound, "rqm"}, // these two are busy where the processors are
		{"POST /api/register", "POST", "/api/register", names, false, hashPause, storeBound, "rqm"},
		shop("GET", "/api/admin/sales/{sale}", "m", storeBound), shop("GET", "/api/admin/sales", "m", adminBound), shop("GET", "/api/admin/orders", "m", adminBound),
		shop("GET", "/api/admin/sales/{sale}/audit", "rm", adminBound), shop("POST", "/api/admin/sales/{checked}/pause", "r", adminBound),
	}
}

const (
	drillName     = "han.mei.drill"
	drillPassword = "a bicycle of the drill 7"
)

// answer is what a question was told.
type answer struct {
	question   int
	node       int
	sent, done time.Time
	status     int // 0: none came
	retryAfter bool
	asOf       bool // it says of when it is: a copy
}

// inquiry asks all questions at all nodes.
type inquiry struct {
	round     *round
	questions []question
	healthy   []int // status of each without a fault
	paths     []string
	buyer     string // tokens: of the order that is asked for,
	canceller string // of the order that was cancelled,
	root      string // and of an administrator
	http      *http.Client

	mu      sync.Mutex
	answers []answer
}

// inquire prepares what is asked about, and learns the answers without a fault.
func (r *round) inquire(ctx context.Context) (q *inquiry, err error) {
	q = &inquiry{round: r, questions: questions(), http: &http.Client{Timeout: routeTime,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if q.root, err = account.Mint(node.Secret, "root", seckill.RoleAdmin, time.Hour); err != nil {
		return nil, err
	}
	root := &client.Client{Server: r.url(0), Token: q.root, HTTP: q.http}
	made, err := root.Do(ctx, "POST", "/api/admin/sales", map[string]any{"title": "with a check", "price": 1, "currency": "CNY", "total": 10, "limit_per_buyer": 1,
		"opens_at": time.Now().Add(-time.Minute).UTC(), "closes_at": time.Now().Add(time.Hour).UTC(), "hold_seconds": 600, "pass": true, "challenge": "work"})
	var checked seckill.Sale
	if err != nil || made.Status != http.StatusCreated || !made.Says(&checked) {
		return nil, fmt.Errorf("a sale with a check: %v, %w", made, err)
	}
	named, err := root.Do(ctx, "POST", "/api/register", map[string]string{"name": drillName, "password": drillPassword})
	if err != nil || named.Status != http.StatusCreated && named.Status != http.StatusConflict {
		return nil, fmt.Errorf("an account: %v, %w", named, err)
	}
	var orders [2]*crowd.Visitor
	for i := range orders {
		v := r.people.Visitor()
		if got := v.Buy(ctx, r.url(0)); got.Status != http.StatusAccepted {
			return nil, fmt.Errorf("before anything happened %v is answered %v", v, got)
		}
		if err := v.Await(ctx); err != nil {
			return nil, err
		}
		orders[i] = v
	}
	q.buyer, q.canceller = orders[0].Token(), orders[1].Token()
	ended := orders[1].Ticket()
	if err := orders[1].Cancel(ctx); err != nil {
		return nil, err
	}
	fill := strings.NewReplacer("{sale}", r.people.Visited().String(), "{checked}", checked.ID.String(), "{order}", orders[0].Ticket(), "{ended}", ended)
	for i := range q.questions {
		q.paths = append(q.paths, fill.Replace(q.questions[i].path))
		q.healthy = append(q.healthy, 0)
		for n := range nodes { // each has a copy then
			var a answer
			err := until(ctx, q.round.within(beginLimit), func() bool {
				a = q.ask(ctx, i, n)
				return a.status > 0 && a.status < 500 && a.status != http.StatusTooManyRequests
			})
			if n == 0 {
				q.healthy[i] = a.status
			}
			if err != nil || a.status != q.healthy[i] {
				return nil, fmt.Errorf("before anything happened %s is answered %d at node %d, and %d at the first", q.questions[i].name, a.status, n, q.healthy[i])
			}
		}
	}
	return q, nil
}

// ask asks one question at one node, once.
func (q *inquiry) ask(ctx context.Context, i, n int) answer {
	c := &client.Client{Server: q.round.url(n), Token: q.buyer, HTTP: q.http}
	switch {
	case q.questions[i].admin:
		c.Token = q.root
	case strings.Contains(q.questions[i].path, "{ended}"):
		c.Token = q.canceller
	}
	a := answer{question: i, node: n, sent: time.Now()}
	got, err := c.Do(ctx, q.questions[i].method, q.paths[i], q.questions[i].body(n))
	if a.done = time.Now(); err == nil {
		a.status, a.retryAfter, a.asOf = got.Status, got.RetryAfter > 0, bytes.Contains(got.Body, []byte(`"as_of"`))
	}
	return a
}

// run asks everything at every node, again and again, until ctx is done.
func (q *inquiry) run(ctx context.Context) {
	var asking sync.WaitGroup
	for i := range q.questions {
		pause := cmp.Or(q.questions[i].pause, routePause)
		for n := range nodes {
			asking.Go(func() {
				for ctx.Err() == nil {
					a := q.ask(ctx, i, n)
					if ctx.Err() != nil {
						return
					}
					q.mu.Lock()
					q.answers = append(q.answers, a)
					q.mu.Unlock()
					duty.Rest(ctx, pause)
				}
			})
		}
	}
	asking.Wait()
	q.http.CloseIdleConnections()
}

// ill lists what has not yet been answered as without a fault since t, each at its node,
// with the last answer.
func (q *inquiry) ill(t time.Time) (all []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	type place struct{ question, node int }
	well, last := map[place]bool{}, map[place]int{}
	for _, a := range q.answers {
		if a.sent.After(t) {
			at := place{a.question, a.node}
			last[at] = a.status
			well[at] = well[at] || a.status == q.healthy[a.question]
		}
	}
	for i := range q.questions {
		for n := range nodes {
			if at := (place{i, n}); !well[at] {
				all = append(all, fmt.Sprintf("%s at node %d: %d instead of %d", q.questions[i].name, n, last[at], q.healthy[i]))
			}
		}
	}
	return all
}

// told is what was answered to one question while the engine was not well.
type told struct {
	slowest time.Duration
	asked   int
	refused int // 503
}

// judge compares the answers with what is promised.
func (q *inquiry) judge(p *plan, begun, ended time.Time) (all map[string]told, findings []string) {
	all = map[string]told{}
	for _, a := range q.answers {
		asked := &q.questions[a.question]
		during := a.done.After(begun) && a.sent.Before(ended)
		found := func(what string) {
			findings = append(findings, fmt.Sprintf("%s: %s at node %d, %v after it broke: %d after %v", what, asked.name, a.node,
				a.sent.Sub(begun).Round(time.Millisecond), a.status, a.done.Sub(a.sent).Round(time.Millisecond)))
		}
		took := a.done.Sub(a.sent)
		if took > asked.bound+q.round.leeway {
			found(fmt.Sprintf("an answer within %v", asked.bound))
		}
		refused := a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests
		switch {
		case a.status == q.healthy[a.question]:
		case !refused || !a.retryAfter:
			found(fmt.Sprintf("%d, or 503 with Retry-After", q.healthy[a.question]))
		case !strings.Contains(asked.needs, letters[p.part]):
			found("what does not need the engine is answered as always")
		}
		// A copy says so, once it is older than a second or two.
		copied := p.name == "mariadb-hang" && slices.Contains(copies, asked.name) && a.sent.Sub(begun) > copyAge && a.done.Before(ended)
		if copied && !a.asOf {
			found("a copy says of when it is")
		}
		if during {
			t := all[asked.name]
			t.asked++
			t.slowest = max(t.slowest, took)
			if refused {
				t.refused++
			}
			all[asked.name] = t
		}
	}
	return all, findings
}

// copies are the routes that show what a node has read last, copyAge after that with its
// age.
var copies = []string{"GET /api/sales", "GET /api/sales/{sale}"}

const copyAge = 5 * time.Second

// letters name the engines in question.needs.
var letters = map[stack.Kind]string{stack.KindRedis: "r", stack.KindRabbitMQ: "q", stack.KindMariaDB: "m"}

// hangOrFill makes an engine hang or be full; end makes it as it was.
func (l *lane) hangOrFill(ctx context.Context, p *plan) (end func() error, err error) {
	e := l.engine(p.part)
	mending := context.WithoutCancel(ctx)
	if p.how == hang {
		return func() error { return syscall.Kill(e.Pid(), syscall.SIGCONT) }, syscall.Kill(e.Pid(), syscall.SIGSTOP)
	}
	var set func(ctx context.Context, isFull bool) error
	switch p.part {
	case stack.KindRedis: // noeviction: whatever needs memory is refused
		set = func(ctx context.Context, isFull bool) error {
			c, err := l.redis()
			if err != nil {
				return err
			}
			defer c.Close()
			most := map[bool]string{true: "1", false: "0"}[isFull]
			return c.Do(ctx, c.B().ConfigSet().ParameterValue().ParameterValue("maxmemory", most).Build()).Error()
		}
	case stack.KindRabbitMQ: // an alarm blocks whoever publishes
		set = func(ctx context.Context, isFull bool) error {
			return rabbittest.SetWatermark(ctx, e, map[bool]float64{true: 0, false: 0.4}[isFull])
		}
	case stack.KindMariaDB: // a disk without room: it reads, and writes nothing
		set = func(ctx context.Context, isFull bool) error {
			db, err := openMaria(e)
			if err != nil {
				return err
			}
			defer db.Close()
			_, err = db.ExecContext(ctx, "SET GLOBAL read_only = ?", isFull)
			return err
		}
	}
	return func() error { return set(mending, false) }, set(ctx, true)
}

// openMaria connects as MariaDB's administrator.
func openMaria(e *stack.Engine) (*sql.DB, error) {
	u, err := url.Parse(e.AdminURL())
	if err != nil {
		return nil, err
	}
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.InterpolateParams = "tcp", u.Host, u.User.Username(), true
	c.Passwd, _ = u.User.Password()
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// routesReport is the markdown of the drill with --routes.
func (d *enginesDrill) routesReport() string {
	var b strings.Builder
	d.command(&b)
	var kinds []fault
	for _, f := range faults {
		if slices.ContainsFunc(d.results, func(r result) bool { return r.plan.name == f.name }) {
			kinds = append(kinds, f)
		}
	}
	b.WriteString("| slowest answer, and the share of 503 | bound |")
	for _, f := range kinds {
		fmt.Fprintf(&b, " %s |", f.says)
	}
	fmt.Fprintf(&b, "\n|---|---:|%s\n| `POST /api/sales/{sale}/ticket` | %s |", strings.Repeat("---:|", len(kinds)), seconds(buyBound))
	for _, f := range kinds {
		var t told
		for _, res := range d.results {
			if res.plan.name == f.name {
				took := slices.Concat(res.first, res.later)
				t.asked, t.refused, t.slowest = t.asked+len(took), t.refused+res.refused, max(t.slowest, longest(took))
			}
		}
		fmt.Fprintf(&b, " %v |", t)
	}
	b.WriteString("\n")
	for _, q := range questions() {
		fmt.Fprintf(&b, "| `%s` | %s |", q.name, seconds(q.bound))
		for _, f := range kinds {
			var t told
			for _, res := range d.results {
				if res.plan.name == f.name {
					of := res.told[q.name]
					t.asked, t.refused, t.slowest = t.asked+of.asked, t.refused+of.refused, max(t.slowest, of.slowest)
				}
			}
			fmt.Fprintf(&b, " %v |", t)
		}
		b.WriteString("\n")
	}
	violations := 0
	for _, res := range d.results {
		violations += len(res.findings)
	}
	fmt.Fprintf(&b, "\n%d rounds, **%d violations**; in %v.\n", len(d.results), violations, time.Since(d.started).Round(time.Second))
	return b.String()
}

func (t told) String() string {
	if t.refused == 0 {
		return seconds(t.slowest)
	}
	return fmt.Sprintf("%s, %d %%", seconds(t.slowest), 100*t.refused/max(1, t.asked))
}
