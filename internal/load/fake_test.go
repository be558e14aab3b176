package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"seckill"
)

// fake is a server that keeps the contract for one sale, with the over flag,
// tickets that settle after a while, orders and the audit. Each field of breaks
// makes it break one rule.
type fake struct {
	breaks

	mu      sync.Mutex
	sale    seckill.Sale
	gate    int64
	over    time.Time // the over flag is set until then
	buyers  map[string]*fakeTicket
	byID    map[string]*fakeTicket
	seq     int
	created map[string]any // the body of the last POST /api/admin/sales
	sent    string         // content type of the last buy with a body, and "none" of one without

	born time.Time

	second  int64          // the one in which reached counts
	reached map[string]int // requests for passes by address

	buys atomic.Int64
	gone atomic.Bool // drop every connection
}

type fakeTicket struct {
	id, buyer string
	quantity  int
	finalAt   time.Time
	refused   string
	asked     int
	hidden    bool
}

type breaks struct {
	oversells     bool // more units than the sale has
	losesTicket   bool // one ticket is forgotten
	neverSettles  bool // one ticket stays queued
	twoTickets    bool // a repeat gets a ticket of its own
	sharesOrder   bool // two buyers get the same order
	sharesTicket  bool // two buyers get the same ticket
	changes       bool // an outcome changes between two queries
	showsOrders   bool // anybody reads any order
	wrongOrder    bool // an order says another quantity
	stuckFlag     bool // the over flag never ends
	auditSad      bool // the audit is not ok
	auditLeaks    bool // the audit's gate has lost a unit
	auditForgets  bool // the audit counts fewer active units than were placed
	auditRestless bool // pending never becomes 0
	html          bool // one buy is answered with a page
	unavailable   bool // nobody ever gets a verdict
	swallows      bool // the first buyer's admission is answered with 503, and shows only after a sold_out

	busyFirst  int64         // so many buys are answered with 503 first
	dropBefore int64         // the connection of every n-th buy is dropped, unseen
	dropAfter  int64         // the connection of every n-th buy is dropped, after admission
	slowBuy    time.Duration // that every buy takes
	stall      time.Duration // nobody who buys between the first second and this long after it is answered before
	refuses    int           // every n-th ticket is refused, and its units return
	settleIn   time.Duration
	forbids    bool // tokens are not accepted
	passRate   int  // requests for passes that one address may send in a second; 0: the sale asks for none
	untrusting bool // all count as one address
	paused     bool
}

const adminToken = "the-admin"

func newFake(units int64, b breaks) *fake {
	if b.settleIn == 0 {
		b.settleIn = 300 * time.Millisecond
	}
	now := time.Now()
	return &fake{
		breaks: b, gate: units, born: now,
		sale: seckill.Sale{
			ID: 7, Title: "A kettle", Price: 9900, Currency: "CNY", Total: units, LimitPerBuyer: 5,
			OpensAt: now.Add(-time.Minute), ClosesAt: now.Add(time.Hour), HoldSeconds: 900, Paused: b.paused, Access: seckill.Access{Pass: b.passRate > 0},
		},
		buyers: make(map[string]*fakeTicket), byID: make(map[string]*fakeTicket),
	}
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	if status == 503 {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"about:blank","title":"%s","status":%d,"code":"%s"}`, http.StatusText(status), status, code)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if f.gone.Load() {
		panic(http.ErrAbortHandler)
	}
	body, _ := io.ReadAll(req.Body)
	if since := time.Since(f.born); f.stall > 0 && req.Method == "POST" && since >= time.Second && since < time.Second+f.stall {
		<-time.After(time.Second + f.stall - since)
	}
	who := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	if f.slowBuy > 0 && req.Method == "POST" {
		<-time.After(f.slowBuy)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	route := req.Method + " " + req.URL.Path
	switch {
	case route == "GET /api/sales/7":
		answer(w, 200, f.sale.Show(time.Now(), f.gate))
	case route == "POST /api/admin/sales" && who == adminToken:
		_ = json.Unmarshal(body, &f.created)
		answer(w, 201, f.sale)
	case route == "GET /api/admin/sales/7/audit" && who == adminToken:
		f.audit(w)
	case req.Method == "GET" && strings.Count(req.URL.Path, "/") == 3 && strings.HasPrefix(req.URL.Path, "/api/sales/"):
		problem(w, 404, "not_found")
	case who == "" || f.forbids || strings.HasPrefix(req.URL.Path, "/api/admin/"):
		problem(w, 401, "unauthorized")
	case route == "POST /api/sales/7/challenge" || route == "POST /api/sales/7/pass":
		f.pass(w, req)
	case route == "POST /api/sales/7/ticket":
		f.sent = req.Header.Get("Content-Type")
		if len(body) == 0 {
			f.sent += "none"
		}
		f.buy(w, who, body)
	case route == "GET /api/sales/7/ticket":
		f.ticket(w, who, req.FormValue("ticket"))
	case req.Method == "GET" && strings.HasPrefix(req.URL.Path, "/api/orders/"):
		f.order(w, who, strings.TrimPrefix(req.URL.Path, "/api/orders/"))
	default:
		problem(w, 404, "not_found")
	}
}

// pass gives a challenge or a pass, so many to an address in a second.
func (f *fake) pass(w http.ResponseWriter, req *http.Request) {
	address := req.Header.Get("X-Forwarded-For")
	if f.untrusting {
		address = ""
	}
	if second := time.Now().Unix(); f.second != second {
		f.second, f.reached = second, map[string]int{}
	}
	if f.reached[address]++; f.reached[address] > f.passRate {
		w.Header().Set("Retry-After", "1")
		problem(w, 429, "too_many_requests")
		return
	}
	answer(w, 200, map[string]string{"pass": "a pass"})
}

func (f *fake) buy(w http.ResponseWriter, who string, body []byte) {
	n := f.buys.Add(1)
	switch {
	case f.unavailable:
		problem(w, 503, "unavailable")
		return
	case n <= f.busyFirst:
		problem(w, 503, []string{"busy", "unavailable"}[n%2])
		return
	case f.dropBefore > 0 && n%f.dropBefore == 0:
		panic(http.ErrAbortHandler)
	case f.html && n == 2:
		w.WriteHeader(200)
		fmt.Fprint(w, "<h1>Welcome to nginx</h1>")
		return
	case time.Now().Before(f.over):
		problem(w, 409, "sold_out")
		return
	}
	q := struct {
		Quantity int `json:"quantity"`
	}{1}
	if len(body) > 0 && json.Unmarshal(body, &q) != nil {
		problem(w, 400, "bad_json")
		return
	}
	if v := f.sale.Window(time.Now()); v != seckill.Queued {
		problem(w, 409, v.String())
		return
	}
	t := f.buyers[who]
	switch {
	case t != nil && t.hidden:
		t.hidden = false
		problem(w, 409, "sold_out")
		return
	case t != nil && t.quantity != q.Quantity:
		problem(w, 409, "limit")
		return
	case t != nil && f.twoTickets:
		answer(w, 202, map[string]any{"status": "queued", "ticket": seckill.NewTicketID(time.Now()), "poll_after_ms": 100})
		return
	case t == nil && f.gate < int64(q.Quantity) && !f.oversells:
		if f.gate == 0 {
			f.over = time.Now().Add(300 * time.Millisecond)
		}
		if f.stuckFlag {
			f.over = time.Now().Add(time.Hour)
		}
		problem(w, 409, "sold_out")
		return
	case t == nil:
		f.seq++
		t = &fakeTicket{id: seckill.NewTicketID(time.Now()), buyer: who, quantity: q.Quantity, finalAt: time.Now().Add(f.settleIn)}
		if f.refuses > 0 && f.seq%f.refuses == 0 {
			t.refused = "poison"
		}
		if f.sharesTicket && f.seq == 2 {
			for id := range f.byID {
				t.id = id
			}
		}
		if f.neverSettles && f.seq == 1 {
			t.finalAt = time.Now().Add(1000 * time.Hour)
		}
		f.gate -= int64(q.Quantity)
		f.buyers[who], f.byID[t.id] = t, t
		if f.stuckFlag {
			f.over = time.Now().Add(time.Hour)
		}
		if f.losesTicket && f.seq == 1 {
			delete(f.buyers, who)
			delete(f.byID, t.id)
			f.gate += int64(q.Quantity)
		}
		if f.swallows && f.seq == 1 {
			t.hidden = true
			problem(w, 503, "unavailable")
			return
		}
	}
	if f.dropAfter > 0 && n%f.dropAfter == 0 {
		panic(http.ErrAbortHandler)
	}
	answer(w, 202, map[string]any{"status": "queued", "ticket": t.id, "poll_after_ms": 100})
}

// settled reports whether the ticket is final, and returns the units of a refused ticket when its time has come.
func (f *fake) settled(t *fakeTicket) bool {
	if time.Now().Before(t.finalAt) {
		return false
	}
	if t.refused != "" && t.quantity > 0 {
		f.gate += int64(t.quantity)
		t.quantity = 0
	}
	return true
}

func (f *fake) ticket(w http.ResponseWriter, who, id string) {
	t := f.buyers[who]
	if t == nil || t.hidden || (id != "" && id != t.id) {
		problem(w, 404, "not_found")
		return
	}
	switch {
	case !f.settled(t):
		answer(w, 200, map[string]any{"status": "queued", "ticket": t.id, "position": 1})
		return
	case t.refused != "":
		answer(w, 200, map[string]any{"status": "refused", "ticket": t.id, "reason": t.refused})
		return
	}
	t.asked++
	if f.changes && t.asked > 1 {
		answer(w, 200, map[string]any{"status": "refused", "ticket": t.id, "reason": "sold_out"})
		return
	}
	order := t.id
	if f.sharesOrder {
		order = "one-for-all"
	}
	answer(w, 200, map[string]any{"status": "placed", "ticket": t.id, "order": order})
}

func (f *fake) order(w http.ResponseWriter, who, id string) {
	t := f.byID[id]
	if t == nil || !f.settled(t) || (t.buyer != who && !f.showsOrders) {
		problem(w, 404, "not_found")
		return
	}
	o := seckill.Order{ID: t.id, Sale: 7, Ticket: t.id, Quantity: t.quantity, Amount: 9900, Currency: "CNY", State: seckill.Unpaid}
	if f.wrongOrder {
		o.Quantity++
	}
	answer(w, 200, o)
}

func (f *fake) audit(w http.ResponseWriter) {
	a := seckill.Report{OK: !f.auditSad, Total: f.sale.Total, Violations: []string{}}
	for _, t := range f.byID {
		switch {
		case !f.settled(t):
			if !f.neverSettles {
				a.Pending += int64(t.quantity)
			} else {
				a.Active += int64(t.quantity)
			}
		case t.refused == "":
			a.Active += int64(t.quantity)
		}
	}
	a.Gate = f.gate
	if f.auditSad {
		a.Violations = append(a.Violations, "counter: sold 4, rows 5")
	}
	if f.auditLeaks && len(f.byID) > 0 {
		a.Gate--
	}
	if f.auditForgets && a.Active > 0 {
		a.Active--
		a.Gate++
	}
	if f.auditRestless && len(f.byID) > 0 {
		a.Pending++
	}
	answer(w, 200, a)
}

// pipes is a network in memory: with it a whole run, server included, lives in
// a synctest bubble where waiting takes no time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.done:
		return nil, errors.New("connection refused")
	}
}

// inBubble serves f in a bubble of fake time and calls body.
func inBubble(t *testing.T, units int64, b breaks, body func(t *testing.T, f *fake, c Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(units, b)
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		srv := &http.Server{Handler: f}
		go srv.Serve(p)
		defer func() {
			srv.Close()
			// The client's cleaner of idle connections looks once more and ends.
			<-time.After(2 * maxIdle)
		}()
		body(t, f, Config{
			Servers: []string{"http://one.test", "http://two.test"}, Sale: 7, Buyers: 60, Concurrency: 20,
			Token:      func(buyer string) (string, error) { return buyer, nil },
			AdminToken: adminToken, Settle: 20 * time.Second, dial: p.dial,
		})
	})
}
