package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"seckill"
	"seckill/internal/room"
)

// rooms are the places of each kind of work. What waits for an engine that hangs
// fills its own room and no other: buyers go on buying.
//
//	buying    POST …/ticket                 http.max_in_flight places
//	results   GET …/ticket, waits included; passes and challenges: as many
//	waits     of those, who wait for an outcome: http.max_waits; beyond it they are answered at once
//	pages     sales, pages and their files, who one is, logout: as many
//	orders    orders and tickets, read and cancelled: a quarter of that
//	payments  POST …/pay and what providers tell: as many; who asks for orders again and again keeps no money out
//	bodies    callbacks of known providers that are larger than other requests, while they are read: bodyPlaces, each address in turn
//	accounts  login, register, challenge, /api/me/…: accountPlaces; reading them: limits.reading, hashing itself: limits.hashing,
//	          slow lanes: lanePlaces; all who wait there fit in, and leave places to the others
//	admin     /api/admin                    adminPlaces
//	stops     POST …/pause, …/end           stopPlaces: whoever stops a sale waits for no list
//	undos     POST …/undo                   undoPlaces: which pauses a sale as well
//	audits    heavy, within admin           auditPlaces; one audit of a sale at a time: audits
//	askers    who waits for an audit        askerPlaces, within admin: they leave room for the others
//	streams   consoles that watch: streamPlaces
//	downloads orders as CSV, which may take minutes: downloadPlaces
type rooms struct {
	buying, results, pages, orders, payments, accounts, waits *room.Room
	admin, stops, undos, streams, downloads                   *room.Room
	audits, askers, bodies                                    *room.Fair
	patience                                                  time.Duration
}

const (
	bodyPlaces     = 64  // each with at most maxCallback bytes, for at most bodyTime
	bodyWaiting    = 256 // in front of them, each with at most maxBody bytes
	bodyWait       = 2 * bodyTime
	accountPlaces  = 1024
	lanePlaces     = accountPlaces / 4
	adminPlaces    = 64
	stopPlaces     = 8
	undoPlaces     = 8
	streamPlaces   = 256
	downloadPlaces = 8
	auditPlaces    = 2  // on a node: each reads all that a sale has at the gate and in the store, or a period's books
	auditWaiting   = 32 // in front of them
	auditWait      = 10 * time.Second
	askerPlaces    = 16

	// storePatience is the longest that a request of a buyer waits for the store, in all:
	// pages, orders, payments and logins. Then the answer is 503, and it is asked again.
	storePatience = 5 * time.Second
	adminBound    = 15 * time.Second // the same for administrators, who stop a sale within 3 s: see internal/sale
	heavyBound    = time.Minute
	writeMargin   = 15 * time.Second // beside heavyBound, to write what such a route answers
)

const auditPath = "/api/admin/sales/{sale}/audit"

// heavy are the administrators' routes that read or write much.
var heavy = map[string]bool{
	auditPath: true, "/api/admin/sales/{sale}/rebuild": true, "/api/admin/sales/{sale}/eligible": true,
	"/api/admin/books": true, "/api/admin/books/differences": true,
}

// livePath is a stream, which lasts until its reader goes.
const livePath = "/api/admin/live"

// routeBound is how long a request of a person of the shop may take, 0 for as long as it
// likes.
func routeBound(to audience, path string) time.Duration {
	switch {
	case to < viewers, path == livePath:
		return 0
	case heavy[path]:
		return heavyBound
	}
	return adminBound
}

// within serves requests of a heavy route: few at once, and each person in turn. An audit
// waits for its sale's turn first, see audits.
func (a *API) within(serve func(http.ResponseWriter, *request) error) func(http.ResponseWriter, *request) error {
	return func(w http.ResponseWriter, r *request) error {
		// The server's own bound on writing is shorter: the answer would be lost.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(heavyBound + writeMargin))
		leave, err := a.rooms.audits.Enter(r.Context(), r.who.Buyer)
		if err != nil {
			return err
		}
		defer leave(0)
		return serve(w, r)
	}
}

// bound is how long a request in that room may take, waits for outcomes aside; 0: none,
// or that of its route (routeBound).
func (r *rooms) bound(place *room.Room) time.Duration {
	switch place {
	case r.pages, r.orders, r.payments, r.accounts:
		return r.patience
	}
	return 0
}

// patiently is the context in which a request of a person of the shop reads. Lists and searches
// wait for others like them; who changes something, such as stopping a sale, reads few rows and
// waits for no list.
func patiently(r *http.Request, who string) context.Context {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return r.Context()
	}
	return seckill.WithPatience(r.Context(), seckill.Patience{Who: who, Long: heavy[r.Pattern] || isDownload(r)})
}

// isDownload reports whether a request asks for orders as CSV.
func isDownload(r *http.Request) bool { return r.URL.Path == "/api/admin/orders" && wantsCSV(r) }

func newRooms(c Config, m *room.Metrics) rooms {
	most := c.MaxInFlight
	return rooms{
		patience: c.Patience,
		buying:   room.New("buying", most, m), results: room.New("results", most, m), pages: room.New("pages", most, m), orders: room.New("orders", max(1, most/4), m),
		payments: room.New("payments", max(1, most/4), m), waits: room.New("waits", c.MaxWaits, m),
		accounts: room.New("accounts", accountPlaces, m), admin: room.New("admin", adminPlaces, m), stops: room.New("stops", stopPlaces, m), undos: room.New("undos", undoPlaces, m), streams: room.New("streams", streamPlaces, m), downloads: room.New("downloads", downloadPlaces, m),
		bodies: room.NewFair("bodies", bodyPlaces, bodyWaiting, bodyWait, m),
		audits: room.NewFair("audits", auditPlaces, auditWaiting, auditWait, m), askers: room.NewFair("askers", askerPlaces, askerPlaces, auditWait, m),
	}
}

// of is the room of a request; buying reports whether it is a purchase.
func (r *rooms) of(q *http.Request, buying bool) *room.Room {
	path := q.URL.Path
	rest, api := strings.CutPrefix(path, "/api/")
	switch {
	case buying:
		return r.buying
	case !api:
		return r.pages
	case rest == "login", rest == "register", rest == "challenge", strings.HasPrefix(rest, "me/"):
		return r.accounts
	case isCallback(path), strings.HasPrefix(rest, "orders/") && strings.HasSuffix(rest, "/pay"):
		return r.payments
	case strings.HasPrefix(rest, "sales/") && (strings.HasSuffix(rest, "/ticket") || strings.HasSuffix(rest, "/pass") || strings.HasSuffix(rest, "/challenge")):
		return r.results
	case rest == "admin/live":
		return r.streams
	case isDownload(q):
		return r.downloads
	case strings.HasPrefix(rest, "admin/sales/") && (strings.HasSuffix(rest, "/pause") || strings.HasSuffix(rest, "/end")):
		return r.stops
	case strings.HasPrefix(rest, "admin/sales/") && strings.HasSuffix(rest, "/undo"):
		return r.undos
	case strings.HasPrefix(rest, "admin/"):
		return r.admin
	case strings.HasPrefix(rest, "sales"), rest == "openapi.json", rest == "me", rest == "logout":
		return r.pages
	}
	return r.orders
}
