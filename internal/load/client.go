package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"seckill"
	"seckill/internal/client"
)

// Limits of one answer and of the idle connections to a server.
const (
	maxAnswer = 1 << 20          // bytes; the audit of a broken sale is the longest
	maxIdle   = 30 * time.Second // shorter than servers keep them, or a POST meets a closing connection
)

// pool holds the connections to all servers. It never repeats a request by
// itself: whether a POST may be sent again is the buyer's decision.
type pool struct {
	hosts   []host
	timeout time.Duration

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

type host struct {
	base string
	http *fasthttp.HostClient
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// newPool opens at most conns connections to each server. The context ends
// only the dialling: fasthttp knows none, so who wants requests on the way to
// end has to close the client.
func newPool(ctx context.Context, servers []string, conns int, timeout time.Duration, dial dialFunc) (*pool, error) {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	c := &pool{timeout: timeout, conns: make(map[net.Conn]struct{})}
	for _, s := range servers {
		u, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		c.hosts = append(c.hosts, host{base: u.String(), http: &fasthttp.HostClient{
			Addr:                      fasthttp.AddMissingPort(u.Host, u.Scheme == "https"),
			IsTLS:                     u.Scheme == "https",
			Name:                      "seckill-load",
			MaxConns:                  conns,
			MaxIdleConnDuration:       maxIdle,
			MaxIdemponentCallAttempts: 1,
			MaxResponseBodySize:       maxAnswer,
			ConnPoolStrategy:          fasthttp.LIFO, // FIFO shifts the whole pool for each request
			DisablePathNormalizing:    true,
			DialTimeout: func(addr string, d time.Duration) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, d)
				defer cancel()
				conn, err := dial(ctx, "tcp", addr)
				if err != nil {
					return nil, err
				}
				return c.keep(conn)
			},
		}})
	}
	return c, nil
}

// conn takes itself off the pool's list when it is closed.
type conn struct {
	net.Conn
	c *pool
}

func (c *pool) keep(nc net.Conn) (net.Conn, error) {
	k := &conn{nc, c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		nc.Close()
		return nil, net.ErrClosed
	}
	c.conns[k] = struct{}{}
	return k, nil
}

func (k *conn) Close() error {
	k.c.mu.Lock()
	delete(k.c.conns, k)
	k.c.mu.Unlock()
	return k.Conn.Close()
}

// close ends all connections, also those with a request on them. After it no
// request succeeds.
func (c *pool) close() {
	c.mu.Lock()
	c.closed = true
	open := make([]net.Conn, 0, len(c.conns))
	for k := range c.conns {
		open = append(open, k)
	}
	c.mu.Unlock()
	for _, k := range open {
		k.Close()
	}
	for _, h := range c.hosts {
		h.http.CloseIdleConnections()
	}
}

// paths are the routes of one sale.
type paths struct{ sale, ticket, audit string }

func salePaths(id seckill.SaleID) paths {
	s := id.String()
	return paths{sale: client.SalePath(s), ticket: client.TicketPath(s), audit: client.AdminPath(s, "audit")}
}

// reply is one answer of a server.
type reply struct {
	client.Said
	status     int
	retryAfter time.Duration // 0: none given
	took       time.Duration
	broken     bool // the body is not the JSON that the contract promises
}

// String is how a finding quotes the answer.
func (a reply) String() string {
	s := strconv.Itoa(a.status)
	for _, word := range []string{string(a.Said.Status), a.Code, a.Reason, a.Detail} {
		if word != "" {
			s += " " + word
		}
	}
	for _, id := range []struct{ name, v string }{{"ticket", a.Ticket}, {"order", a.Order}} {
		if id.v != "" {
			s += " " + id.name + " " + id.v
		}
	}
	if a.broken {
		s += " with a body that is not the promised JSON"
	}
	return s
}

// again reports whether the request has to be sent again: the server could not
// answer it now.
func (a reply) again() bool { return a.status >= 500 || a.status == 429 }

// caller sends one request at a time. Requests and their headers are made once
// and used for all buyers; one goroutine at a time may use a caller.
type caller struct {
	c        *pool
	buy, ask []*fasthttp.Request // by server
	other    fasthttp.Request
	resp     fasthttp.Response

	lastRaw  []byte
	lastSaid client.Said

	more []*caller // for the repeats of a buyer, which go out at once
	from string    // X-Forwarded-For of what send sends; empty: none
}

func (r *run) newCaller() *caller {
	cl := &caller{c: r.client}
	for _, h := range r.client.hosts {
		cl.buy = append(cl.buy, newRequest("POST", h.base+r.paths.ticket))
		cl.ask = append(cl.ask, newRequest("GET", h.base+r.paths.ticket))
	}
	return cl
}

func newRequest(method, address string) *fasthttp.Request {
	req := new(fasthttp.Request)
	req.Header.SetMethod(method)
	req.Header.SetNoDefaultContentType(true)
	req.SetRequestURI(address)
	return req
}

// postTicket buys.
func (cl *caller) postTicket(server int, b *buyer) (reply, error) {
	return cl.do(server, cl.buyRequest(server, b), nil)
}

func (cl *caller) buyRequest(server int, b *buyer) *fasthttp.Request {
	req := cl.buy[server]
	req.Header.Set("Authorization", b.auth)
	if b.body == nil {
		req.Header.SetContentType("")
	} else {
		req.Header.SetContentType("application/json")
	}
	req.SetBodyRaw(b.body)
	return req
}

// getTicket asks for the buyer's newest ticket.
func (cl *caller) getTicket(server int, b *buyer) (reply, error) {
	req := cl.ask[server]
	req.Header.Set("Authorization", b.auth)
	return cl.do(server, req, nil)
}

// get asks for any path and decodes the body of a 200 into v, if that is not
// nil. The server counts round.
func (cl *caller) get(server int, path, auth string, v any) (reply, error) {
	return cl.send("GET", server%len(cl.c.hosts), path, auth, nil, v)
}

func (cl *caller) send(method string, server int, path, auth string, body []byte, v any) (reply, error) {
	req := &cl.other
	req.Reset()
	req.Header.SetMethod(method)
	req.Header.SetNoDefaultContentType(true)
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	if cl.from != "" {
		req.Header.Set("X-Forwarded-For", cl.from)
	}
	if body != nil {
		req.Header.SetContentType("application/json")
		req.SetBodyRaw(body)
	}
	req.SetRequestURI(cl.c.hosts[server].base + path)
	return cl.do(server, req, v)
}

func (cl *caller) do(server int, req *fasthttp.Request, v any) (reply, error) {
	start := time.Now()
	err := cl.c.hosts[server].http.DoTimeout(req, &cl.resp, cl.c.timeout)
	a := reply{took: time.Since(start)}
	if err != nil {
		return a, err
	}
	a.status = cl.resp.StatusCode()
	if s := cl.resp.Header.Peek("Retry-After"); len(s) > 0 {
		if n, err := strconv.Atoi(string(s)); err == nil {
			a.retryAfter = min(max(time.Duration(n)*time.Second, minPoll), maxRetryWait)
		} else {
			a.retryAfter = maxRetryWait // a date
		}
	}
	body := cl.resp.Body()
	if v != nil && a.status/100 == 2 {
		a.broken = json.Unmarshal(body, v) != nil
		return a, nil
	}
	// A sold-out sale says the same bytes to everybody: read them once.
	if !bytes.Equal(body, cl.lastRaw) || len(body) == 0 {
		cl.lastSaid = client.Said{}
		if err := json.Unmarshal(body, &cl.lastSaid); err != nil {
			a.broken = true
			return a, nil
		}
		cl.lastRaw = append(cl.lastRaw[:0], body...)
	}
	a.Said = cl.lastSaid
	return a, nil
}

// unsent reports whether a request failed before any of it left: nobody listens.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// failure names a transport error in a few words, the same for the same cause.
func failure(err error) string {
	var errno syscall.Errno
	var ne net.Error
	switch {
	case errors.Is(err, fasthttp.ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return "timeout"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, fasthttp.ErrConnectionClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed):
		return "connection closed"
	}
	return err.Error()
}

// Fresh creates a sale of units for a run on the server and returns its id. It
// is open already and stays so for a day; an unpaid order holds its units for
// hold. asks is what it asks of its buyers.
func Fresh(ctx context.Context, server, adminToken string, units int64, limit int, hold time.Duration, asks seckill.Access) (seckill.SaleID, error) {
	return fresh(ctx, server, adminToken, units, limit, hold, asks, nil)
}

func fresh(ctx context.Context, server, adminToken string, units int64, limit int, hold time.Duration, asks seckill.Access, dial dialFunc) (seckill.SaleID, error) {
	u, err := parseServer(server)
	if err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	way := &http.Transport{DialContext: dial}
	defer way.CloseIdleConnections()
	now := time.Now().UTC().Truncate(time.Second)
	// A lost answer leaves at worst one sale too many, which nobody buys from.
	sale, err := (&client.Client{Server: u.String(), Token: adminToken, HTTP: &http.Client{Transport: way}}).CreateSale(ctx, client.NewSale{
		Title: "Load test of " + now.Format("2006-01-02 15:04:05"), Price: 9900, Currency: "CNY", Total: units, LimitPerBuyer: limit,
		OpensAt:  now.Add(-time.Minute), // clocks differ; the sale has to be open when the load starts
		ClosesAt: now.Add(24 * time.Hour), HoldSeconds: int(hold.Seconds()), Access: asks,
	})
	var no *client.Problem
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("load: creating a sale: %w", ctx.Err())
	case errors.As(err, &no) && (no.Status == http.StatusUnauthorized || no.Status == http.StatusForbidden):
		return 0, fmt.Errorf("load: creating a sale: %s does not accept the admin token (%w): mint it with the server's own secret", server, err)
	case errors.As(err, &no):
		return 0, fmt.Errorf("load: creating a sale: %s answered %w", server, err)
	case err != nil:
		return 0, fmt.Errorf("load: creating a sale on %s: %w (is the server running?)", server, err)
	case sale.ID < 1:
		return 0, fmt.Errorf("load: creating a sale: %s answered with a sale that has no id", server)
	}
	return sale.ID, nil
}
