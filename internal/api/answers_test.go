package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
)

func TestTheDocumentIsCompressedAndKept(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	get := func(header ...string) *httptest.ResponseRecorder {
		return s.raw(call{method: "GET", path: "/api/openapi.json", header: header})
	}
	plain := get()
	require.Equal(t, http.StatusOK, plain.Code)
	require.Equal(t, openapi, plain.Body.Bytes())
	require.Equal(t, "public, max-age=300", plain.Header().Get("Cache-Control"))
	require.Contains(t, plain.Header().Values("Vary"), "Accept-Encoding")

	zipped := get("Accept-Encoding", "br, gzip;q=0.8")
	require.Equal(t, "gzip", zipped.Header().Get("Content-Encoding"))
	require.Less(t, zipped.Body.Len(), len(openapi)/5)
	z, err := gzip.NewReader(bytes.NewReader(zipped.Body.Bytes()))
	require.NoError(t, err)
	unzipped, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, openapi, unzipped)
	require.NotEqual(t, plain.Header().Get("ETag"), zipped.Header().Get("ETag"), "each form has a tag of its own")
	for _, refused := range []string{"gzip;q=0", "gzip; q=0.0", "br", "identity"} {
		require.Empty(t, get("Accept-Encoding", refused).Header().Get("Content-Encoding"), refused)
	}

	kept := get("Accept-Encoding", "gzip", "If-None-Match", zipped.Header().Get("ETag"))
	require.Equal(t, http.StatusNotModified, kept.Code)
	require.Zero(t, kept.Body.Len())
}

// Whoever sees two ids of a counter knows how many requests came in between.
func TestTheIdsOfRequestsAreNotCounted(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var ids []string
	for range 200 {
		id := s.raw(call{method: "GET", path: "/api/sales"}).Header().Get("X-Request-Id")
		prefix, drawn, ok := strings.Cut(id, "-")
		require.True(t, ok, id)
		require.Len(t, prefix, 10)
		require.GreaterOrEqual(t, len(drawn), 8)
		ids = append(ids, id)
	}
	require.False(t, slices.IsSorted(ids))
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), 200)
}

// A shop on another host name calls from its pages: a browser asks first, then
// sends, and lets the page read the answer.
func TestAListedShopMayCallFromItsPages(t *testing.T) {
	t.Parallel()
	const shop, stranger = "https://shop.example", "https://evil.example"
	s := newSystem(t, func(c *Config) { c.TrustedOrigins = []string{shop} })
	s.raiseFlag()
	fetch := func(method, path, origin string, header ...string) *httptest.ResponseRecorder {
		token := token(t, otherName, "")
		return s.raw(call{method: method, path: path, token: token, header: append([]string{"Origin", origin, "Sec-Fetch-Site", "cross-site"}, header...)})
	}
	for _, path := range []string{"/api/login", ticketPath(s.open.ID), "/api/orders/" + s.order + "/pay", "/api/admin/sales"} {
		asked := fetch("OPTIONS", path, shop, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
		require.Equal(t, http.StatusNoContent, asked.Code, path)
		require.Equal(t, shop, asked.Header().Get("Access-Control-Allow-Origin"))
		require.Equal(t, "true", asked.Header().Get("Access-Control-Allow-Credentials"))
		require.Contains(t, asked.Header().Get("Access-Control-Allow-Methods"), "POST")
		require.Contains(t, asked.Header().Get("Access-Control-Allow-Headers"), "Authorization")
		require.Contains(t, asked.Header().Get("Access-Control-Allow-Headers"), "Content-Type")
		require.Contains(t, asked.Header().Get("Access-Control-Allow-Headers"), passHeader)
	}
	for path, want := range map[string]int{ticketPath(s.open.ID): 202, ticketPath(s.soldOut.ID): 409, ticketPath(s.paused.ID): 409, "/api/orders/nonsense/pay": 404} {
		sent := fetch("POST", path, shop)
		require.Equal(t, want, sent.Code, "%s: %s", path, sent.Body)
		require.Equal(t, shop, sent.Header().Get("Access-Control-Allow-Origin"), path)
		require.Contains(t, sent.Header().Get("Access-Control-Expose-Headers"), "X-Request-Id")
		require.Contains(t, sent.Header().Values("Vary"), "Origin")
	}

	t.Log("a storefront is not the console: the cookie of somebody with a role does nothing there")
	pause := "/api/admin/sales/" + s.paused.ID.String() + "/pause"
	cookie := func(name, role string) []string {
		return []string{"Cookie", sessionCookie + "=" + token(t, name, role)}
	}
	by := func(method, path, origin string, header ...string) int {
		return s.raw(call{method: method, path: path, header: append([]string{"Origin", origin}, header...)}).Code
	}
	admin := cookie(adminName, seckill.RoleAdmin)
	for _, what := range []string{"POST " + pause, "GET /api/admin/sales", "POST /api/me/logout-everywhere", "POST /api/me/second-factor"} {
		method, path, _ := strings.Cut(what, " ")
		require.Equal(t, http.StatusForbidden, by(method, path, shop, admin...), what)
	}
	require.Equal(t, http.StatusOK, by("POST", pause, shop, "Authorization", "Bearer "+token(t, adminName, seckill.RoleAdmin)), "a token that the page has itself")
	require.Equal(t, http.StatusOK, by("POST", pause, "http://example.com", admin...), "the console of this host")
	require.Equal(t, http.StatusAccepted, by("POST", ticketPath(s.open.ID), shop, admin...), "who buys is a buyer")
	require.Equal(t, http.StatusOK, by("GET", "/api/me", shop, admin...))
	require.Equal(t, http.StatusAccepted, by("POST", ticketPath(s.open.ID), shop, cookie(earlyName, "")...))

	t.Log("another site's page may neither send nor read")
	for _, buyer := range []string{otherName, adminName, earlyName} {
		s.outcome(buyer, s.open.ID)
	}
	before := s.world()
	asked := fetch("OPTIONS", ticketPath(s.open.ID), stranger, "Access-Control-Request-Method", "POST")
	require.Equal(t, http.StatusMethodNotAllowed, asked.Code)
	require.Empty(t, asked.Header().Get("Access-Control-Allow-Origin"))
	sent := fetch("POST", ticketPath(s.open.ID), stranger)
	require.Equal(t, http.StatusForbidden, sent.Code)
	require.Empty(t, sent.Header().Get("Access-Control-Allow-Origin"))
	s.still(before)

	t.Log("where none is listed nobody is let in, and no answer differs by its origin")
	s = newSystem(t)
	require.Equal(t, http.StatusForbidden, s.raw(call{method: "POST", path: ticketPath(s.open.ID), token: token(t, otherName, ""), header: []string{"Origin", shop}}).Code)
	require.NotContains(t, s.raw(call{method: "GET", path: "/api/sales", header: []string{"Origin", shop}}).Header().Values("Vary"), "Origin")
}

// Behind a proxy that sends a Host of its own every login looks as if it came from
// another site. The answer says what to change.
func TestACrossSiteAnswerSaysWhichHeaderIsMissing(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	detail := func(header ...string) string {
		a := s.do(call{method: "POST", path: "/api/login", body: `{"name":"a","password":"b"}`, header: header})
		var p problem
		a.problem(403, "forbidden").into(&p)
		return p.Detail
	}
	d := detail("Origin", "http://shop.example")
	require.Contains(t, d, `a page of http://shop.example sent this request to the host "example.com"`)
	require.Contains(t, d, "proxy_set_header Host $http_host")
	require.Contains(t, d, "list http://shop.example in http.trusted_origins")
	require.Contains(t, detail("Sec-Fetch-Site", "cross-site"), "Sec-Fetch-Site")
}

func TestWhatIsAnOrigin(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"https://shop.example", "http://localhost:3000", "https://shop.example:8443"} {
		require.NoError(t, ParseOrigin(ok))
	}
	for _, bad := range []string{"", "*", "shop.example", "https://", "https://shop.example/", "https://shop.example/x", "ftp://shop.example", "https://a@shop.example", "null"} {
		require.Error(t, ParseOrigin(bad), bad)
	}
}
