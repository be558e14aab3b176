package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// origins decides which pages of browsers may call: those of this server's own
// host name, and those of the origins that are listed (http.trusted_origins).
type origins struct {
	check  *http.CrossOriginProtection
	own    *http.CrossOriginProtection // of this server's own host name alone
	listed []string
}

// newOrigins takes origins such as https://shop.example. One that cannot be read
// is refused by ParseOrigin, which whoever reads the configuration calls first.
func newOrigins(listed []string) origins {
	o := origins{http.NewCrossOriginProtection(), http.NewCrossOriginProtection(), listed}
	for _, origin := range listed {
		if err := o.check.AddTrustedOrigin(origin); err != nil {
			panic(err)
		}
	}
	return o
}

// ParseOrigin checks an origin of the configuration: scheme://host[:port] and
// nothing else, as browsers write it.
func ParseOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || origin != u.Scheme+"://"+u.Host {
		return fmt.Errorf("%q is not an origin such as https://shop.example", origin)
	}
	return http.NewCrossOriginProtection().AddTrustedOrigin(origin)
}

// crossSite says why a request is taken for one of another site, and what would
// change that: the answer is all that whoever set up the proxy in front gets to see.
type crossSite struct{ origin, host string }

func (e crossSite) Error() string {
	if e.origin == "" {
		return "a page of another site sent this request: its header Sec-Fetch-Site says so, and it has no Origin that http.trusted_origins could list"
	}
	return fmt.Sprintf("a page of %s sent this request to the host %q. If they are one shop, let the proxy in front pass the header Host on "+
		"(nginx: proxy_set_header Host $http_host); if the shop has a host name of its own, list %s in http.trusted_origins", e.origin, e.host, e.origin)
}

// allow refuses what a page of another site sends.
func (o *origins) allow(r *http.Request) error {
	if o.check.Check(r) == nil {
		return nil
	}
	return crossSite{r.Header.Get("Origin"), r.Host}
}

// guests reports whether a page of a listed origin sent the request by a cookie, and not one
// of this server's own host name.
func (o *origins) guests(r *http.Request) bool {
	if len(o.listed) == 0 || len(r.Header["Authorization"]) > 0 || !slices.Contains(o.listed, r.Header.Get("Origin")) {
		return false
	}
	sent := *r
	sent.Method = http.MethodPost // what only reads would pass the check
	return o.own.Check(&sent) != nil
}

// guestPage refuses the cookie of somebody with a role to the pages of another shop: they
// are a storefront, and whoever is in one of them is not in the console.
type guestPage struct{ origin string }

func (e guestPage) Error() string {
	return fmt.Sprintf("a page of %s sent this request with the cookie of somebody who has a role in the shop: from there it needs the header Authorization", e.origin)
}

// more reports whether a route can do more than buy: it is of administration, or changes
// somebody's own account.
func more(to audience, r *http.Request) bool {
	return to >= viewers || strings.HasPrefix(r.URL.Path, ownAccount)
}

// share lets the pages of a listed origin read the answer (CORS). It reports
// whether that was all that was asked: a browser asks before it sends a POST.
func (o *origins) share(w http.ResponseWriter, r *http.Request) (answered bool) {
	if len(o.listed) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(o.listed, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After, Location, Age")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PATCH, PUT, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, "+passHeader)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
