// Package api is HTTP in, JSON out: steps 1, 3 and 8 of the path of a purchase, the over
// flag, the answer, and the result.
//
// The buy route (buy.go) looks at the over flag before anything else, and
// answers from bytes encoded beforehand. The route table below says who calls a
// route and what a repeat does. Verdicts and errors become statuses in one file,
// answer.go.
package api

import (
	"context"
	crand "crypto/rand"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/account"
	"seckill/internal/crash"
	"seckill/internal/live"
	"seckill/internal/order"
	"seckill/internal/payment"
	"seckill/internal/room"
	"seckill/internal/sale"
)

// Gate is the gate, as a request sees it.
type Gate interface {
	// Over MUST NOT block. When it is false the request MUST go on to Reserve or
	// to Abandon.
	Over(sale seckill.SaleID) bool
	Abandon(sale seckill.SaleID)
	// Reserve MUST name a ticket only when it is durable.
	Reserve(ctx context.Context, sale seckill.SaleID, buyer string, quantity int) (seckill.Answer, error)
	// Find MUST show a buyer only their own tickets, and MUST NOT answer
	// seckill.ErrNoTicket to one of whom the store may have a ticket.
	Find(ctx context.Context, sale seckill.SaleID, buyer, ticket string) (seckill.Progress, error)
	// Wait returns when the outcome may be known, or ctx is done.
	Wait(ctx context.Context, sale seckill.SaleID, buyer, ticket string)
	// Glance MUST NOT keep a buyer waiting. A ticket that is missing in the outbox MUST have
	// its outcome in the store, unless the cut is partial.
	Glance(ctx context.Context, sale seckill.SaleID, most int) (seckill.Cut, error)
}

// Store is what the routes read directly. The buyer is part of every question.
type Store interface {
	Outcome(ctx context.Context, sale seckill.SaleID, buyer, ticket string) (seckill.Outcome, error)
	Order(ctx context.Context, id, buyer string) (seckill.Order, error)
	Orders(ctx context.Context, buyer, before string, max int) ([]seckill.Order, error)
	Outcomes(ctx context.Context, buyer, before string, max int) ([]seckill.Outcome, error)
	// Now MUST be the clock that decides how long an order can be paid.
	Now() time.Time
}

// Listeners are a node's end of the queue that takes tickets.
type Listeners interface {
	StartListeners()
	StopListeners()
	ListenersRunning() bool
}

// Config is what an API is made of; everything without a default is required.
type Config struct {
	Gate     Gate
	Store    Store
	Sales    *sale.Sales
	Orders   *order.Orders
	Payments *payment.Payments
	Money    Money
	Webhooks Webhooks
	Accounts *account.Accounts
	Access   *access.Guard // who may ask, before the gate
	Lists    Lists
	Tokens   *account.Verifier
	People   People
	Notes    *account.Notes // of what belongs to no change; nil: nobody keeps them
	Pages    http.Handler   // everything outside /api
	// Listeners take tickets from a shared queue; nil when the queue is embedded.
	Listeners Listeners
	Shop      Shop
	// Report writes how a sale went as one HTML page.
	Report  func(w io.Writer, c *seckill.Course, now time.Time) error
	Letters Letters // nil when the queue is embedded
	// QueueConsole is the address of RabbitMQ's own console, for people; empty: none.
	QueueConsole string
	Ready        Readiness   // what this node says of itself before an opening; nil functions say nothing
	Live         *live.Hub   // what all nodes tell of themselves
	Tally        *live.Tally // counts what this node answers, by sale
	Watchers     *Watchers   // count who waits for an opening
	Log          *slog.Logger
	Metrics      prometheus.Registerer
	Stopping     context.Context // done when the node stops: waits end early

	PollAfter      time.Duration // what "queued" tells the client; default 500 ms
	MaxInFlight    int           // purchases at once, and as many other requests of a kind: see rooms; default 20,000
	MaxWaits       int           // requests that wait for an outcome at once; default 10,000
	Patience       time.Duration // with the store, for all that a buyer's request needs of it; default 5 s
	TrustedProxies []netip.Prefix
	TrustedOrigins []string // of shops whose pages may call; each passes ParseOrigin
	Hashes         int      // passwords hashed at once; default: half of the cores, see hashesByCores
	DeviceSecrets  [][]byte // sign the cookies of devices that have logged in, the current one first; none: there are none
	LoginTries     int      // failed logins by name in a minute; default 10
	AddressTries   int      // failed logins and new accounts by address in a minute; default 300
	Registration   string   // who may make an account; default RegistrationOpen
}

// API serves the contract.
type API struct {
	Config
	mux         *http.ServeMux
	routes      []route
	origins     origins
	rooms       rooms
	idPrefix    string
	pollAfter   string
	limits      limits
	rates       *rates
	unavailable seldom
	said        once
	newTokens   newTokens
	document    openAPI
	metrics     metrics
	aftermaths  aftermaths
	audits      *audits
}

// Who may call a route.
type audience uint8

const (
	public audience = iota
	buyers
	viewers // from here on people of the shop, each with the rights of those before
	supporters
	operators
	admins
)

// leastRole is what a token must carry.
var leastRole = [...]string{viewers: seckill.RoleViewer, supporters: seckill.RoleSupport, operators: seckill.RoleOperator, admins: seckill.RoleAdmin}

// route is one row of the contract. The audience column is the one table of who may do
// what; docs/http-api.md shows it, and a test holds the page to it.
type route struct {
	method, path string
	audience     audience
	serve        func(w http.ResponseWriter, r *request) error
}

// request is an HTTP request whose caller is known.
type request struct {
	*http.Request
	who account.Who
	id  string
}

// New builds the API.
func New(c Config) *API {
	orDefault(&c.PollAfter, 500*time.Millisecond)
	orDefault(&c.MaxInFlight, 20_000)
	orDefault(&c.MaxWaits, 10_000)
	orDefault(&c.Patience, storePatience)
	orDefault(&c.LoginTries, 10)
	orDefault(&c.AddressTries, 300)
	orDefault(&c.Registration, RegistrationOpen)
	orDefault(&c.Hashes, hashesByCores())
	a := &API{
		Config: c, mux: http.NewServeMux(), origins: newOrigins(c.TrustedOrigins), idPrefix: crand.Text()[:10] + "-", document: newOpenAPI(),
		pollAfter: strconv.FormatInt(c.PollAfter.Milliseconds(), 10), metrics: newMetrics(c.Metrics),
		rates: newRates(), audits: newAudits(),
	}
	bounds := room.NewMetrics(c.Metrics)
	a.limits, a.rooms = newLimits(c, bounds), newRooms(c, bounds)
	if c.Tally == nil {
		a.Tally = live.NewTally()
	}
	if c.Watchers == nil {
		a.Watchers = NewWatchers()
	}
	a.routes = []route{
		// Anybody.
		{"POST", "/api/register", public, a.register},               // makes an account; a repeat is name_taken
		{"POST", "/api/login", public, a.login},                     // a new token each time
		{"POST", "/api/challenge", public, a.registrationChallenge}, // of a new account
		{"POST", "/api/logout", public, a.logout},                   // takes the cookie away; the token lives on until it ends
		{"GET", "/api/sales", public, a.listSales},                  // the storefront's list
		{"GET", "/api/sales/{sale}", public, a.getSale},
		{"GET", "/api/openapi.json", public, a.document.serve},

		// The payment provider, known by its signature. A repeat changes nothing.
		{"POST", "/api/payments/{provider}", public, a.callback},

		// Buyers.
		{"POST", "/api/sales/{sale}/ticket", buyers, a.buy}, // a repeat is the same ticket
		{"GET", "/api/sales/{sale}/ticket", buyers, a.limited(a.ticket)},
		{"POST", "/api/sales/{sale}/challenge", buyers, a.limited(a.challenge)}, // another one each time
		{"POST", "/api/sales/{sale}/pass", buyers, a.limited(a.pass)},           // a solution is good once
		{"GET", "/api/me", buyers, a.me},
		{"POST", "/api/me/second-factor", buyers, a.limited(a.newFactor)},             // another one each time
		{"POST", "/api/me/second-factor/confirm", buyers, a.limited(a.confirmFactor)}, // a code is good once
		{"DELETE", "/api/me/second-factor", buyers, a.limited(a.removeFactor)},
		{"POST", "/api/me/password", buyers, a.limited(a.changePassword)}, // other sessions end
		{"POST", "/api/me/logout-everywhere", buyers, a.limited(a.logoutEverywhere)},
		{"GET", "/api/tickets", buyers, a.listTickets},
		{"GET", "/api/orders", buyers, a.listOrders},
		{"GET", "/api/orders/{order}", buyers, a.getOrder},
		{"POST", "/api/orders/{order}/pay", buyers, a.limited(a.pay)}, // these two: a repeat changes nothing
		{"POST", "/api/orders/{order}/cancel", buyers, a.limited(a.cancel)},

		// People of the shop. A repeat changes nothing, but for create.
		{"POST", "/api/admin/sales", operators, a.createSale},
		{"GET", "/api/admin/sales", viewers, a.listAllSales},
		{"GET", "/api/admin/sales/{sale}", viewers, a.getSale},
		{"PATCH", "/api/admin/sales/{sale}", operators, a.patchSale},
		{"POST", "/api/admin/sales/{sale}/stock", operators, a.moveStock},
		{"POST", "/api/admin/sales/{sale}/hide", operators, a.change("hide", (*sale.Sales).Hide)},
		{"POST", "/api/admin/sales/{sale}/publish", operators, a.publish},
		{"POST", "/api/admin/sales/{sale}/copy", operators, a.copySale}, // another draft each time
		{"DELETE", "/api/admin/sales/{sale}", operators, a.deleteSale},  // a repeat is not found
		{"POST", "/api/admin/sales/{sale}/notice", operators, a.notice},
		{"POST", "/api/admin/sales/{sale}/extend", operators, a.extend},
		{"POST", "/api/admin/sales/{sale}/holds", operators, a.holds}, // a repeat without an id gives as much again
		{"POST", "/api/admin/sales/{sale}/undo", operators, a.undo},   // a repeat goes on
		{"GET", "/api/admin/sales/{sale}/preflight", viewers, a.preflight},
		{"POST", "/api/admin/sales/{sale}/pause", operators, a.change("pause", (*sale.Sales).Pause)},
		{"POST", "/api/admin/sales/{sale}/resume", operators, a.change("resume", (*sale.Sales).Resume)},
		{"POST", "/api/admin/sales/{sale}/end", operators, a.end},
		{"POST", "/api/admin/sales/{sale}/rebuild", admins, a.change("rebuild", (*sale.Sales).Renew)}, // its gate state, anew
		{"GET", "/api/admin/sales/{sale}/report", viewers, a.report},                                  // one HTML page
		{"GET", auditPath, viewers, a.audit},
		{"GET", "/api/admin/sales/{sale}/ledger", viewers, a.saleLedger},
		{"POST", "/api/admin/sales/{sale}/eligible", operators, a.setEligible}, // who may buy in it
		{"GET", "/api/admin/access", viewers, a.listEntries},
		{"POST", "/api/admin/access", operators, a.setEntry},
		{"POST", "/api/admin/access/remove", operators, a.removeEntry}, // a repeat is not found
		{"POST", "/api/admin/invites", operators, a.invite},            // another one each time
		{"GET", "/api/admin/orders", viewers, a.listAllOrders},
		{"GET", "/api/admin/orders/{order}", supporters, a.getAnyOrder},
		{"POST", "/api/admin/orders/{order}/cancel", supporters, a.cancelFor},
		{"POST", "/api/admin/orders/{order}/refund", supporters, a.refund}, // a repeat of a part needs its id
		{"GET", "/api/admin/payments", viewers, a.listPayments},
		{"GET", "/api/admin/refunds", viewers, a.listRefunds},
		{"POST", "/api/admin/refunds/{refund}/done", supporters, a.refundDone},
		{"GET", "/api/admin/books", viewers, a.books},
		{"GET", "/api/admin/books/differences", viewers, a.differences},
		{"GET", "/api/admin/nodes", viewers, a.nodes},
		{"GET", "/api/admin/engines", viewers, a.engines},
		{"GET", "/api/admin/dead-letters", viewers, a.deadLetters},
		{"POST", "/api/admin/dead-letters/replay", operators, a.replayLetters}, // what was replayed is not there any more
		{"GET", "/api/admin/balance", viewers, a.balances},
		{"GET", "/api/admin/sales/{sale}/balance", viewers, a.balance},
		{"GET", "/api/admin/sales/{sale}/after", viewers, a.after}, // a count, at most one every two seconds on a node
		{"GET", livePath, viewers, a.live},                         // a stream, until the caller goes
		{"GET", "/api/admin/webhooks", viewers, a.listReceivers},
		{"GET", "/api/admin/webhooks/{receiver}/deliveries", viewers, a.listDeliveries},
		{"POST", "/api/admin/webhooks/{receiver}/replay", operators, a.replay}, // a repeat sends once more
		{"POST", "/api/admin/listeners/start", operators, a.listeners(true)},   // of the node that answers
		{"POST", "/api/admin/listeners/stop", operators, a.listeners(false)},
		{"GET", "/api/admin/people", admins, a.listPeople},
		{"POST", "/api/admin/people/{name}/role", admins, a.setRole},
		{"POST", "/api/admin/people/{name}/block", admins, a.setBlocked(true)},
		{"POST", "/api/admin/people/{name}/unblock", admins, a.setBlocked(false)},
		{"POST", "/api/admin/people/{name}/password", admins, a.setPassword},
		{"POST", "/api/admin/people/{name}/logout", admins, a.endSessions},
		{"DELETE", "/api/admin/people/{name}", admins, a.deleteAccount},
		{"GET", "/api/admin/log", admins, a.listLog}, // what all of these did
	}
	byPath := map[string]map[string]route{}
	for _, r := range a.routes {
		if heavy[r.path] && r.path != auditPath {
			r.serve = a.within(r.serve)
		}
		if byPath[r.path] == nil {
			byPath[r.path] = map[string]route{}
		}
		byPath[r.path][r.method] = r
	}
	for path, methods := range byPath {
		a.mux.Handle(path, a.methods(path, methods))
	}
	a.mux.HandleFunc("/", a.outside)
	return a
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// ServeHTTP serves one request. The order of checks on the buy route is part of
// the contract: the over flag, then method and route, then who asks, then the
// body, then the gate.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Ids are drawn, not counted: who sees two of a counter's knows the traffic.
	var text [32]byte
	id := string(strconv.AppendUint(append(text[:0], a.idPrefix...), rand.Uint64(), 36))
	h := w.Header()
	h["X-Request-Id"], h["X-Content-Type-Options"] = []string{id}, noSniff
	if isAPI(r.URL.Path) {
		// Whatever the status: a cache that kept a 404 would tell a queued buyer that
		// there is no ticket. What may be kept says so itself.
		h["Cache-Control"] = noStore
		if a.origins.share(w, r) {
			return
		}
	}
	sale, buying := seckill.SaleID(0), false
	if r.Method == http.MethodPost {
		if sale, buying = buyRoute(r.URL.Path); buying && a.Gate.Over(sale) {
			a.metrics.over.Inc()
			a.Tally.Answered(sale, seckill.SoldOut)
			crash.Here("1-before-answer", true)
			soldOut.write(w)
			return
		}
	}
	var full error
	if r.ContentLength != 0 {
		full = a.readEarly(w, r)
	}
	place := a.rooms.of(r, buying)
	if full == nil {
		full = place.Enter()
	}
	if full != nil {
		if buying {
			a.Gate.Abandon(sale)
		}
		a.fail(w, r, id, full)
		return
	}
	defer a.done(place, w, r, id)
	switch {
	case buying:
		reached := false
		err := a.authorized(buyers, w, r, id, func(w http.ResponseWriter, r *request) error { return a.buySale(w, r, sale, &reached) })
		if !reached {
			a.Gate.Abandon(sale)
		}
		if err != nil {
			a.fail(w, r, id, err)
		}
	case unclean(r.URL.Path):
		// The mux would answer with a redirect to a path that nobody asked for.
		a.fail(w, r, id, seckill.ErrNotFound)
	default:
		if bound := a.rooms.bound(place); bound > 0 {
			ctx, cancel := context.WithTimeout(r.Context(), bound)
			defer cancel()
			r = r.WithContext(ctx)
		}
		a.mux.ServeHTTP(w, r)
	}
}

// done ends a request: a panic is a 500 with the request's id and nothing else.
func (a *API) done(place *room.Room, w http.ResponseWriter, r *http.Request, id string) {
	place.Leave()
	if p := recover(); p != nil {
		if p == http.ErrAbortHandler {
			panic(p)
		}
		a.Log.Error("api: panic", "request_id", id, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		a.fail(w, r, id, errPanic)
	}
}

// unclean paths are those that the mux would redirect, and what is no path at
// all, as in "OPTIONS *".
func unclean(path string) bool {
	return !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.Contains(path, "/./") || strings.Contains(path, "/../") ||
		strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..")
}

// methods serves one path: 405 with Allow for what it does not have.
func (a *API) methods(path string, by map[string]route) http.HandlerFunc {
	allow := make([]string, 0, len(by)+1)
	seconds := map[string]prometheus.Observer{}
	for m := range by {
		allow = append(allow, m)
		if m == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
		seconds[m] = a.metrics.seconds.WithLabelValues(m, path)
	}
	slices.Sort(allow)
	return func(w http.ResponseWriter, r *http.Request) {
		id, method := w.Header()["X-Request-Id"][0], r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		route, ok := by[method]
		if !ok {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			a.fail(w, r, id, errMethod)
			return
		}
		if most := routeBound(route.audience, path); most > 0 {
			ctx, cancel := context.WithTimeout(r.Context(), most)
			defer cancel()
			r = r.WithContext(ctx)
		}
		start := time.Now()
		if err := a.authorized(route.audience, w, r, id, route.serve); err != nil {
			a.fail(w, r, id, err)
		}
		seconds[method].Observe(time.Since(start).Seconds())
	}
}

// authorized checks where the request comes from and who asks, then serves it.
func (a *API) authorized(to audience, w http.ResponseWriter, r *http.Request, id string, serve func(http.ResponseWriter, *request) error) error {
	if err := a.origins.allow(r); err != nil {
		return err
	}
	req := &request{Request: r, id: id}
	if to != public {
		// Most buyers buy once, and then ask for the outcome again and again.
		who, err := a.Tokens.Verify(bearer(r), r.Method != http.MethodPost)
		if err != nil {
			if errors.Is(err, account.ErrEnded) && to >= viewers {
				a.noteOwn(req, who.Buyer, who.Role, action(r.Method, r.Pattern), who.Name, "unauthorized")
			}
			return err
		}
		if more(to, r) {
			// Buyers go on buying meanwhile; with the rights of a person of the shop, or with an
			// account, an ended session could do what cannot be taken back.
			if !a.Tokens.Sessions().Known() {
				return errSessions
			}
			if who.Role != "" && a.origins.guests(r) {
				return guestPage{r.Header.Get("Origin")}
			}
		}
		req.who = who
		if to >= viewers {
			req.Request = r.WithContext(patiently(r, who.Buyer))
			return a.asPerson(leastRole[to], w, req, serve)
		}
	}
	return serve(w, req)
}

// ownAccount begins the routes that change the caller's own account or sessions.
const ownAccount = "/api/me/"

// outside serves what is not in the table: pages, or nothing.
func (a *API) outside(w http.ResponseWriter, r *http.Request) {
	if !isAPI(r.URL.Path) && a.Pages != nil {
		a.Pages.ServeHTTP(w, r)
		return
	}
	a.fail(w, r, w.Header().Get("X-Request-Id"), seckill.ErrNotFound)
}

// isAPI reports whether the path belongs to the API; all others are pages.
func isAPI(path string) bool { return strings.HasPrefix(path, "/api/") || path == "/api" }

// saleID reads the sale's id of the path; anything else names no sale.
func (r *request) saleID() (seckill.SaleID, error) { return seckill.ParseSaleID(r.PathValue("sale")) }

// orderID reads the order's id of the path; anything else names no order.
func (r *request) orderID() (string, error) {
	if id := r.PathValue("order"); seckill.ValidTicketID(id) {
		return id, nil
	}
	return "", seckill.ErrNotFound
}
