package api

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/account"
	"seckill/internal/event"
	"seckill/internal/gate"
	"seckill/internal/live"
	"seckill/internal/load"
	"seckill/internal/order"
	"seckill/internal/payment"
	"seckill/internal/queue"
	"seckill/internal/sale"
	"seckill/internal/settle"
	"seckill/internal/stack/stacktest"
	"seckill/internal/store"
	"seckill/internal/store/storetest"
	"seckill/internal/web"
)

const (
	theSecret      = "the secret of these tests"
	previousSecret = "the secret before this one"
	tokenLife      = 24 * time.Hour

	theLimit  = 3                // units per buyer in every sale here
	theHold   = 10 * time.Minute // to pay; more than any test takes by the wall clock on a busy machine
	thePrice  = 9900
	openUnits = 100 // in the open sale

	adminName = "root"
	ownerName = "owner"    // has an unpaid order in the open sale
	otherName = "other"    // has nothing
	earlyName = "early"    // bought the sold-out sale
	takenName = "li.wei"   // has an account
	newcomer  = "newcomer" // has none, and may ask for one

	goodPassword = "correct horse battery"
	jsonHeader   = "application/json"
)

// system is a whole node without its listeners: the real API over the real
// embedded gate, queue and store, with every resident duty running. It works
// inside a synctest bubble, where its clock is a fake, and outside of one.
type system struct {
	t        testing.TB
	api      *API
	gate     *gate.Memory
	store    *store.Store
	sales    *sale.Sales
	accounts *account.Accounts
	guard    *access.Guard
	payments *payment.Payments
	stop     func() // as a stopping node does: waits end
	rest     func() // ends the resident duties, for what needs none of them while minutes pass
	log      *log
	settling *valve
	commits  *sql.DB // another connection to the store's file, to see whether anybody wrote to it

	open, scheduled, ended, paused, soldOut seckill.Sale

	order string // the owner's, unpaid
	buyer []string
}

// theReceiver of webhooks is configured, and nobody delivers to it.
const theReceiver = "erp"

// newSystem starts a system and fills it: one sale in each state, and an order.
func newSystem(t testing.TB, options ...func(*Config)) *system {
	t.Helper()
	return newSystemOf(t, gate.OutboxLimit, store.Settings{}, options...)
}

// newSystemOf is newSystem with an outbox of a limited number of tickets and a store of
// some settings.
func newSystemOf(t testing.TB, outbox int, settings store.Settings, options ...func(*Config)) *system {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	dir := t.TempDir()
	s := &system{t: t, log: &log{}, buyer: []string{ownerName, otherName, earlyName}}
	logger := slog.New(slog.NewJSONHandler(io.MultiWriter(s.log, stacktest.Log(t, "the node")), nil))
	file := filepath.Join(dir, "seckill.db")
	storetest.Make(t, file, store.Open)
	var err error
	settings.Exclusive = true
	s.store, err = store.Open(ctx, "sqlite:"+file, settings)
	require.NoError(t, err)
	s.commits, err = sql.Open("sqlite", "file:"+filepath.Join(dir, "seckill.db")+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	s.commits.SetMaxOpenConns(1)
	s.gate, err = gate.OpenMemory(ctx, filepath.Join(dir, "gate.db"), outbox)
	require.NoError(t, err)
	s.accounts = account.NewCheap(s.store, []byte(theSecret), tokenLife)
	sessions := account.NewSessions(s.store, account.MaxLife, logger)
	tokens, err := account.NewVerifier(account.Checks{Sessions: sessions}, []byte(theSecret), []byte(previousSecret))
	require.NoError(t, err)
	tickets := queue.NewMemory(0)
	s.settling = &valve{Queue: tickets}
	s.guard, err = access.New(access.Config{Settings: closeLimits(), Store: s.store, Secrets: [][]byte{[]byte(theSecret), []byte(previousSecret)}, Now: s.gate.Now, Log: logger})
	require.NoError(t, err)
	s.sales = sale.New(s.store, s.gate, logger, sale.Options{Ruled: func(ctx context.Context, fresh bool) { s.guard.Ruled(ctx, fresh, true) }})
	orders := order.New(s.store, s.gate, logger)
	relay := &gate.Relay{Outbox: s.gate, Queue: tickets, Log: logger}
	settler := &settle.Settler{Queue: s.settling, Store: s.store, Gate: s.gate, Log: logger, Poison: func(err error) bool { return errors.Is(err, store.ErrTicket) }}
	stopping, stopWaits := context.WithCancel(context.Background())
	s.stop = stopWaits
	hooks := event.NewWebhooks([]event.Receiver{{Name: theReceiver, URL: "https://erp.shop.example/hooks?key=hush", Types: []string{"order.paid", "order.placed"}}}, s.store, logger, nil)
	config := Config{
		Gate: s.gate, Store: s.store, Sales: s.sales, Orders: orders, Money: s.store, Webhooks: hooks, Accounts: s.accounts, Tokens: tokens,
		Access: s.guard, Lists: s.store, People: s.store,
		Pages: web.Handler(s.sales.Get), Log: logger, Metrics: noMetrics(), Stopping: stopping, Listeners: &listeners{}, Letters: &letters{}, Report: load.WriteCourse,
		Patience: time.Minute, // the machine may be busy
	}
	board := live.NewOneNode()
	config.Watchers = NewWatchers()
	teller := &live.Teller{Node: live.Node{ID: "this", Name: "a node", Roles: []string{"api"}, StartedAt: s.gate.Now().UTC()},
		Source: figures{s}, Board: board, Tally: live.NewTally(), Log: logger, Waiting: config.Watchers.Waiting}
	config.Shop, config.Live, config.Tally = s.store, &live.Hub{Teller: teller, Board: board}, teller.Tally
	for _, o := range options {
		o(&config)
	}
	s.guard = config.Access // an option may have given it other settings
	if config.Payments == nil {
		config.Payments = payment.New(payment.Config{Store: s.store, Gate: s.gate, Orders: orders, Provider: payment.Test{}, Log: logger, Metrics: noMetrics()})
	}
	s.payments = config.Payments
	s.api = New(config)
	notes := config.Notes
	if notes == nil {
		notes = account.NewNotes(s.store, logger) // of nothing
	}

	var duties sync.WaitGroup
	for _, duty := range []func(context.Context) error{
		notes.Run, sessions.Run,
		s.sales.Keeper.Run, relay.Run, settler.Run, order.Returner{Orders: orders}.Run, order.Expirer{Orders: orders}.Run, s.guard.Run,
		teller.Run, config.Live.Run, payment.Refunder{Payments: s.payments}.Run, payment.Retaker{Payments: s.payments}.Run,
	} {
		duties.Go(func() {
			if err := duty(ctx); err != nil {
				t.Errorf("a resident duty ended: %v", err)
			}
		})
	}
	s.rest = func() {
		stop()
		duties.Wait()
	}
	t.Cleanup(func() {
		stopWaits()
		s.rest()
		if err := errors.Join(s.commits.Close(), s.gate.Close(), s.store.Close()); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	<-s.sales.Loaded()
	<-sessions.Loaded()
	s.fill()
	return s
}

// closeLimits are the settings of these tests: tables that are quickly made, and work
// that is quickly done.
func closeLimits() access.Settings {
	s := access.Defaults()
	s.Remembered, s.Work, s.WorkMost = 1024, 200, 200_000
	return s
}

func (s *system) fill() {
	s.t.Helper()
	now := s.gate.Now().Truncate(time.Second)
	s.open = s.create(saleBody{"title": "open", "total": openUnits})
	s.scheduled = s.create(saleBody{"title": "scheduled", "opens_at": now.Add(time.Hour), "closes_at": now.Add(2 * time.Hour)})
	s.ended = s.create(saleBody{"title": "ended", "opens_at": now.Add(-2 * time.Hour), "closes_at": now.Add(-time.Hour)})
	s.paused = s.create(saleBody{"title": "paused"})
	s.admin("POST", "/api/admin/sales/"+s.paused.ID.String()+"/pause", "").is(200)
	s.soldOut = s.create(saleBody{"title": "sold out", "total": 1})
	s.bought(earlyName, s.soldOut.ID, 1)
	s.order = s.bought(ownerName, s.open.ID, 1)
}

// in is the same system for a subtest.
func (s *system) in(t testing.TB) *system {
	sub := *s
	sub.t = t
	return &sub
}

// saleBody is what differs from an ordinary sale that is open for an hour.
type saleBody map[string]any

func (s *system) newSale(differs saleBody) string {
	s.t.Helper()
	now := s.gate.Now().Truncate(time.Second)
	body := saleBody{
		"title": "a sale", "price": thePrice, "currency": "CNY", "total": 10, "limit_per_buyer": theLimit,
		"opens_at": now, "closes_at": now.Add(time.Hour), "hold_seconds": theHold.Seconds(),
	}
	for k, v := range differs {
		body[k] = v
		if v == nil {
			delete(body, k)
		}
	}
	b, err := json.Marshal(body)
	require.NoError(s.t, err)
	return string(b)
}

func (s *system) create(differs saleBody) (v seckill.Sale) {
	s.t.Helper()
	s.admin("POST", "/api/admin/sales", s.newSale(differs)).is(201).into(&v)
	return v
}

// bought takes a buyer through a whole purchase and returns the order.
func (s *system) bought(buyer string, id seckill.SaleID, quantity int) (order string) {
	s.t.Helper()
	s.as(buyer, "POST", ticketPath(id), fmt.Sprintf(`{"quantity":%d}`, quantity)).is(202)
	v := s.outcome(buyer, id)
	require.Equal(s.t, "placed", v.Status)
	return v.Order
}

type ticketAnswer struct{ Status, Ticket, Order, Reason string }

func (s *system) outcome(buyer string, id seckill.SaleID) (v ticketAnswer) {
	s.t.Helper()
	s.as(buyer, "GET", ticketPath(id)+"?wait=20s", "").is(200).into(&v)
	return v
}

func (s *system) sale(id seckill.SaleID) (v seckill.Sale) {
	s.t.Helper()
	s.anybody("GET", "/api/sales/"+id.String(), "").is(200).into(&v)
	return v
}

func (s *system) orderOf(buyer, id string) (v seckill.Order) {
	s.t.Helper()
	s.as(buyer, "GET", "/api/orders/"+id, "").is(200).into(&v)
	return v
}

// atTheGate waits until the gate holds n units of the sale: what comes back
// comes a moment after the answer.
func (s *system) atTheGate(id seckill.SaleID, n int64) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		left, ok := s.gate.Left(id)
		return ok && left == n
	}, 20*time.Second, time.Millisecond, "the gate never held %d units", n)
}

func ticketPath(id seckill.SaleID) string { return "/api/sales/" + id.String() + "/ticket" }

func token(t testing.TB, buyer, role string) string {
	t.Helper()
	token, err := account.Mint([]byte(theSecret), buyer, role, tokenLife)
	require.NoError(t, err)
	return token
}

// call is one request.
type call struct {
	method, path string
	token        string
	body         string
	header       []string // name, value, …
	unknownSize  bool     // the body's length is not declared
	context      context.Context
	from         string // address and port of the connection
}

func (c call) request() *http.Request {
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	if c.unknownSize {
		body = io.MultiReader(body)
	}
	r := httptest.NewRequest(c.method, c.path, body)
	if c.context != nil {
		r = r.WithContext(c.context)
	}
	if c.from != "" {
		r.RemoteAddr = c.from
	}
	if c.body != "" {
		r.Header.Set("Content-Type", jsonHeader)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i < len(c.header); i += 2 {
		r.Header.Set(c.header[i], c.header[i+1])
		if c.header[i+1] == "" {
			r.Header.Del(c.header[i])
		}
	}
	return r
}

// do sends a request and compares it and its answer with the OpenAPI document.
func (s *system) do(c call) *answer {
	s.t.Helper()
	w := s.raw(c)
	a := &answer{t: s.t, call: c, status: w.Code, header: w.Result().Header, body: w.Body.Bytes()}
	require.NotEmpty(s.t, a.header.Get("X-Request-Id"), "%s: every answer has a request id", a)
	require.Equal(s.t, "nosniff", a.header.Get("X-Content-Type-Options"), "%s", a)
	path, _, _ := strings.Cut(c.path, "?")
	if isAPI(path) && (path != "/api/openapi.json" || a.status != http.StatusOK) || a.header.Get("Content-Type") == "application/problem+json" {
		require.Equal(s.t, "no-store", a.header.Get("Cache-Control"), "%s: no cache may keep it, whatever its status", a)
	}
	conforms(s.t, c, a)
	return a
}

// raw sends a request and looks at nothing of the answer.
func (s *system) raw(c call) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, c.request())
	return w
}

func (s *system) anybody(method, path, body string) *answer {
	s.t.Helper()
	return s.do(call{method: method, path: path, body: body})
}

func (s *system) as(buyer, method, path, body string) *answer {
	s.t.Helper()
	return s.do(call{method: method, path: path, body: body, token: token(s.t, buyer, "")})
}

func (s *system) admin(method, path, body string) *answer {
	s.t.Helper()
	return s.do(call{method: method, path: path, body: body, token: token(s.t, adminName, seckill.RoleAdmin)})
}

// answer is what came back.
type answer struct {
	t      testing.TB
	call   call
	status int
	header http.Header
	body   []byte
}

func (a *answer) String() string {
	body := a.body
	if len(body) > 400 {
		body = append(bytes.Clone(body[:400]), "…"...)
	}
	return fmt.Sprintf("%s %.200s %.200s: %d %s", a.call.method, a.call.path, a.call.body, a.status, body)
}

// is demands a status.
func (a *answer) is(status int) *answer {
	a.t.Helper()
	require.Equal(a.t, status, a.status, "%s", a)
	return a
}

func (a *answer) into(v any) {
	a.t.Helper()
	require.NoError(a.t, json.Unmarshal(a.body, v), "%s", a)
}

// problem demands a problem document of that status and code, and nothing in
// the answer that contradicts it.
func (a *answer) problem(status int, code string) *answer {
	a.t.Helper()
	a.is(status)
	require.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"), "%s", a)
	var p problem
	a.into(&p)
	require.Equal(a.t, code, p.Code, "%s", a)
	require.Equal(a.t, status, p.Status, "%s", a)
	require.Equal(a.t, "about:blank", p.Type, "%s", a)
	require.NotEmpty(a.t, p.Title, "%s", a)
	if p.RequestID != "" {
		require.Equal(a.t, a.header.Get("X-Request-Id"), p.RequestID, "%s", a)
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		require.Regexp(a.t, "^[1-9][0-9]*$", a.header.Get("Retry-After"), "%s", a)
	}
	return a
}

// anonymous is the body without what differs from one request to the next.
func (a *answer) anonymous() string {
	a.t.Helper()
	return strings.ReplaceAll(string(a.body), a.header.Get("X-Request-Id"), "…")
}

// pass lets time pass. Only for tests in a bubble, where it takes none.
func pass(d time.Duration) { <-time.After(d) }

// credentials are what a buyer types to register or to log in.
type credentials struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}
