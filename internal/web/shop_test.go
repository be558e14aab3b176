package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"seckill"
)

// --- the shop: a fake of the JSON API ----------------------------------------

// shop keeps the contract for what a test does not script: sales, one order,
// login. A cookie's presence is its authentication.
type shop struct {
	skew time.Duration // how far its clock is ahead

	mu      sync.Mutex
	sales   map[string]*item
	order   *seckill.Order
	toPay   time.Duration // from the first look at the order on; 0: as the order says
	scripts map[string][]answer
	log     map[string][]string // method and path → bodies
	down    bool                // connections break off without an answer

	solved func(body string) error // whether a challenge is; see checks

	closed chan struct{} // when the test is over
}

type responseWriter = http.ResponseWriter

type answer func(w responseWriter, s *shop)

func newShop() *shop {
	s := &shop{sales: map[string]*item{}, scripts: map[string][]answer{}, log: map[string][]string{}, closed: make(chan struct{})}
	s.put(seckill.Sale{ID: 1, Title: "机械键盘"})
	now := s.now()
	s.order = &seckill.Order{
		ID: anOrder, Sale: 1, Ticket: anOrder, Title: "机械键盘", Price: 9900, Quantity: 1, Amount: 9900, Currency: "CNY",
		State: seckill.Unpaid, CreatedAt: now, ExpiresAt: now.Add(15 * time.Minute),
	}
	return s
}

// sale is what the pages are rendered of.
func (s *shop) sale(_ context.Context, id seckill.SaleID) (seckill.Sale, error) {
	i := s.sales[id.String()]
	if i == nil {
		return seckill.Sale{}, seckill.ErrNotFound
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sale.Show(s.now(), i.left), nil
}

func (s *shop) now() time.Time { return time.Now().Add(s.skew) }

// item is a sale on the shelf.
type item struct {
	mu   sync.Mutex
	sale seckill.Sale
	left int64
	wait time.Duration // opens so long after somebody first looks at it
	now  func() time.Time
}

func (s *shop) put(sale seckill.Sale) {
	now := s.now()
	if sale.Title == "" {
		sale.Title = "item"
	}
	if sale.OpensAt.IsZero() {
		sale.OpensAt = now.Add(-time.Hour)
	}
	if sale.ClosesAt.IsZero() {
		sale.ClosesAt = sale.OpensAt.Add(72 * time.Hour)
	}
	sale.Price, sale.ListPrice, sale.Currency = 9900, 29900, "CNY"
	sale.Total, sale.LimitPerBuyer, sale.HoldSeconds = 500, 1, 900
	s.sales[sale.ID.String()] = &item{sale: sale, left: 120}
}

func (i *item) update(change func(*seckill.Sale)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.sale)
}

// leave sets the units that are left.
func (i *item) leave(left int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.left = left
}

// opensWhenTold is scheduled until the function that it returns is called.
func (i *item) opensWhenTold(now func() time.Time) (open func()) {
	i.update(func(s *seckill.Sale) {
		s.OpensAt, s.ClosesAt = now().Add(24*time.Hour), now().Add(48*time.Hour)
	})
	return func() { i.update(func(s *seckill.Sale) { s.OpensAt = now().Add(-time.Second) }) }
}

// opensAfterFirstLook keeps a slow machine from missing the countdown.
func (i *item) opensAfterFirstLook(wait time.Duration, now func() time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.wait, i.now = wait, now
	i.sale.OpensAt = now().Add(24 * time.Hour)
	i.sale.ClosesAt = now().Add(48 * time.Hour)
}

func (i *item) show(now time.Time) seckill.Sale {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.wait > 0 {
		i.sale.OpensAt, i.wait = i.now().Add(i.wait), 0
	}
	return i.sale.Show(now, i.left)
}

func (s *shop) opensAfterFirstLook(wait time.Duration) { s.sales["1"].opensAfterFirstLook(wait, s.now) }

func (s *shop) opening() time.Time {
	i := s.sales["1"]
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sale.OpensAt
}

// breaks lets every request fail, or no longer.
func (s *shop) breaks(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// changeOrder changes the order behind the page's back.
func (s *shop) changeOrder(change func(*seckill.Order)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.order)
}

// expiresAfterFirstLook keeps a slow machine from missing the time to pay.
func (s *shop) expiresAfterFirstLook(wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.toPay = wait
}

func (s *shop) setOrder(state seckill.OrderState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order.State = state
}

// script sets the answers to a method and path, one after the other; the last
// one stays.
func (s *shop) script(what string, answers ...answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[what] = answers
}

// unscript lets the shop answer by itself again.
func (s *shop) unscript(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.scripts, what)
}

// hold answers with the first answer until release is called, then with the second.
func (s *shop) hold(what string, first, second answer) (release func()) {
	s.script(what, first)
	return func() { s.script(what, second) }
}

// hang answers nothing as long as the test runs.
func hang(_ responseWriter, s *shop) { <-s.closed }

func (s *shop) bodies(what string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log[what]...)
}

func (s *shop) count(what string) int { return len(s.bodies(what)) }

func reply(status int, format string, args ...any) answer {
	return func(w http.ResponseWriter, _ *shop) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, format, args...)
	}
}

func problem(status int, code string, header ...string) answer {
	return func(w http.ResponseWriter, s *shop) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		reply(status, `{"type":"about:blank","title":"t","status":%d,"code":"%s","detail":"details"}`, status, code)(w, s)
	}
}

func queuedAt(position int) answer {
	return reply(200, `{"status":"queued","ticket":"%s","position":%d,"poll_after_ms":100}`, anOrder, position)
}

// hangUp closes the connection without an answer.
func hangUp(http.ResponseWriter, *shop) { panic(http.ErrAbortHandler) }

var (
	queued = reply(202, `{"status":"queued","ticket":"%s","poll_after_ms":100}`, anOrder)
	placed = reply(200, `{"status":"placed","ticket":"%s","order":"%s"}`, anOrder, anOrder)
	none   = problem(404, "not_found")
)

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := r.Method + " " + r.URL.Path
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	// A script may be for one query alone.
	if whole := r.Method + " " + r.URL.RequestURI(); len(s.scripts[whole]) > 0 {
		what = whole
	}
	s.log[what] = append(s.log[what], string(body))
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		s.log["Idempotency-Key"] = append(s.log["Idempotency-Key"], key)
	}
	down := s.down
	var scripted answer
	if list := s.scripts[what]; len(list) > 0 {
		scripted = list[0]
		if len(list) > 1 {
			s.scripts[what] = list[1:]
		}
	}
	s.mu.Unlock()
	if down {
		hangUp(w, s)
	}
	if scripted != nil {
		scripted(w, s)
		return
	}
	s.serve(w, r)
}

func (s *shop) serve(w http.ResponseWriter, r *http.Request) {
	send := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	shown := func(o seckill.Order) seckill.Order {
		o.ServerNow = s.now().UTC()
		return o
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/"), "/")
	cookie, _ := r.Cookie("seckill_session")
	switch {
	case parts[0] == "login" || parts[0] == "register":
		http.SetCookie(w, &http.Cookie{Name: "seckill_session", Value: "ada", Path: "/", HttpOnly: true})
		send(map[string]string{"token": "t", "buyer": "ada"})
	case parts[0] == "logout":
		http.SetCookie(w, &http.Cookie{Name: "seckill_session", Path: "/", MaxAge: -1})
		w.WriteHeader(http.StatusNoContent)
	case parts[0] == "sales" && len(parts) == 1:
		items := []seckill.Sale{}
		for _, id := range slices.Sorted(maps.Keys(s.sales)) {
			items = append(items, s.sales[id].show(s.now()))
		}
		send(map[string]any{"items": items})
	case parts[0] == "sales" && len(parts) == 2 && s.sales[parts[1]] != nil:
		send(s.sales[parts[1]].show(s.now()))
	case parts[0] == "sales" && len(parts) == 2:
		none(w, s)
	case cookie == nil:
		problem(401, "unauthorized")(w, s)
	case parts[0] == "me":
		send(map[string]string{"buyer": "b1", "name": cookie.Value})
	case parts[0] == "tickets":
		send(map[string]any{"items": []any{}})
	case parts[0] == "orders":
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.toPay > 0 {
			s.order.ExpiresAt, s.toPay = s.now().Add(s.toPay), 0
		}
		switch {
		case len(parts) == 1:
			send(map[string]any{"items": []seckill.Order{shown(*s.order)}})
			return
		case parts[1] != s.order.ID:
			w.WriteHeader(http.StatusNotFound)
			return
		case len(parts) == 3 && parts[2] == "pay":
			s.order.State = seckill.Paid
		case len(parts) == 3 && parts[2] == "cancel":
			s.order.State = seckill.Cancelled
		}
		send(shown(*s.order))
	default:
		none(w, s)
	}
}
