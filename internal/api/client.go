package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"seckill/internal/access"
)

// client is the address of who asks. A forwarding header counts only when the
// connection comes from a listed proxy; then the rightmost address that is not
// one of them is the client's.
func (a *API) client(r *http.Request) netip.Addr {
	addr := remote(r)
	forwarded := r.Header.Values("X-Forwarded-For")
	if !a.trusted(addr) {
		if len(forwarded) > 0 {
			a.unlistedProxy(addr)
		}
		return addr
	}
	var hops []string
	for _, h := range forwarded {
		hops = append(hops, strings.Split(h, ",")...)
	}
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := hopAddr(hops[i])
		if err != nil {
			a.said.Do("X-Forwarded-For", func() {
				a.Log.Warn("api: X-Forwarded-For of a trusted proxy holds what is no address, so the proxy counts as the client: let it send addresses only",
					"proxy", addr, "value", hops[i])
			})
			return addr // whoever wrote the wrong part may have written all that is left of it
		}
		addr = hop
		if !a.trusted(addr) {
			return addr
		}
	}
	return addr
}

// hopAddr reads an address as proxies write it: with a port or without one.
func hopAddr(s string) (netip.Addr, error) {
	s = strings.TrimSpace(s)
	if with, err := netip.ParseAddrPort(s); err == nil {
		return with.Addr().Unmap(), nil
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return addr.Unmap(), err
}

func remote(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, _ := netip.ParseAddr(host)
	return addr.Unmap()
}

func (a *API) trusted(addr netip.Addr) bool {
	for _, p := range a.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// network is what an address counts as in limits: itself with IPv4, its /64 with
// IPv6, since whoever has one IPv6 address has all of its /64.
func network(addr netip.Addr) string { return access.Network(addr).String() }

// side is who takes turns with others where logins wait: an address with IPv4, its /48 with
// IPv6, since whoever has one IPv6 network may have 65,536 of a /64.
func side(addr netip.Addr) string {
	if addr = addr.Unmap(); addr.Is4() {
		return network(addr)
	}
	return neighbourhood(addr)
}

// neighbourhood is the larger network that an address is in, a /24 with IPv4 and a /48 with
// IPv6: what one renter of addresses has as a rule.
func neighbourhood(addr netip.Addr) string {
	bits := 24
	if addr.Is6() && !addr.Is4In6() {
		bits = 48
	}
	p, _ := addr.Unmap().WithZone("").Prefix(bits)
	return p.String()
}

// unlistedProxy notes that a forwarding header came from an address that
// http.trusted_proxies does not list. A proxy that was forgotten there makes all
// its buyers one address, with one limit of logins for all of them.
func (a *API) unlistedProxy(addr netip.Addr) {
	a.metrics.unlisted.SetToCurrentTime()
	// Anybody on the internet can send the header: a neighbour's gets a line of its own.
	kind := "public"
	if addr.IsPrivate() || addr.IsLoopback() {
		kind = "private"
	}
	a.said.Do("unlisted "+kind, func() {
		a.Log.Warn("api: X-Forwarded-For comes from an address that http.trusted_proxies does not list. If it is your proxy, list it: until then all its clients count as one address in the limits of logins",
			"address", addr)
	})
}

// once says each thing once.
type once struct{ all sync.Map }

// Do calls f if it is the first call with this key.
func (o *once) Do(key string, f func()) {
	if _, said := o.all.LoadOrStore(key, true); !said {
		f()
	}
}

// sessionCookie carries the token for browsers.
const sessionCookie = "seckill_session"

// Token is the token that a request carries, in its header or in the cookie: for pages
// that ask who looks at them.
func Token(r *http.Request) string { return bearer(r) }

func bearer(r *http.Request) string {
	if h := r.Header["Authorization"]; len(h) > 0 {
		if len(h[0]) > 7 && strings.EqualFold(h[0][:7], "Bearer ") {
			return h[0][7:]
		}
		return ""
	}
	if c, err := r.Cookie(sessionCookie); err == nil {
		return c.Value
	}
	return ""
}
