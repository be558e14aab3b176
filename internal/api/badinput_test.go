// This file is long because it is one table: what each route does with bad input.

package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
)

// row is one bad request and the answer that it must get.
type row struct {
	name   string
	call   call
	status int
	code   string
	also   func(t *testing.T, a *answer)
}

// refused sends every row, each as a subtest, and demands its answer and that
// gate and store are as they were.
func (s *system) refused(t *testing.T, rows []row) {
	t.Helper()
	before := s.world()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s := s.in(t)
			a := s.do(r.call).problem(r.status, r.code)
			if r.also != nil {
				r.also(t, a)
			}
			s.still(before)
		})
	}
}

// theRefund is the id of a refund that a test has made with refunds.
const theRefund = "a-refund"

// refunds pays an order and gives a cent of it back, as the refund id.
func (s *system) refunds(id, order string) {
	s.t.Helper()
	s.as(s.whole(order).Buyer, "POST", "/api/orders/"+order+"/pay", "").is(200)
	s.admin("POST", "/api/admin/orders/"+order+"/refund", fmt.Sprintf(`{"id":%q,"amount":1}`, id)).is(200)
}

const callbackRoute = "/api/payments/{provider}"

// samples are good bodies for the routes that take one. A route that is not
// listed takes no field. A new route with fields must be added here:
// TestTheSamplesAreGood says so.
func (s *system) samples() map[string]string {
	open, err := s.store.Sale(context.Background(), s.open.ID) // its title may be another by now
	require.NoError(s.t, err)
	title := open.Title
	return map[string]string{
		"POST /api/register":                    fmt.Sprintf(`{"name":%q,"password":%q}`, newcomer, goodPassword),
		"POST /api/login":                       fmt.Sprintf(`{"name":%q,"password":%q}`, takenName, goodPassword),
		"POST /api/sales/{sale}/ticket":         `{"quantity":2}`,
		"POST /api/challenge":                   `{"sound":"zh"}`,
		"POST /api/sales/{sale}/challenge":      `{"sound":"en"}`,
		"POST /api/sales/{sale}/pass":           `{"work":"","formula":"","answer":"","captcha":""}`,
		"POST /api/admin/sales/{sale}/eligible": `{"csv":"buyer\nalice\n","mode":"add"}`,
		"POST /api/admin/sales/{sale}/publish":  `{"preflight":true,"reason":"a rehearsal"}`,
		"POST /api/admin/access":                `{"list":"block","buyer":"a farmer","note":"tells nobody"}`,
		"POST /api/admin/access/remove":         `{"buyer":"a listed one"}`,
		"POST /api/admin/invites":               `{"uses":2,"hours":1}`,
		"POST /api/me/second-factor/confirm":    `{"code":"123456"}`,
		"DELETE /api/me/second-factor":          `{"code":"123456"}`,
		"POST /api/me/password":                 `{"password":"` + goodPassword + `","new_password":"another ` + goodPassword + `"}`,

		"POST /api/admin/people/{name}/role":     `{"role":"support"}`,
		"POST /api/admin/people/{name}/password": `{"password":"another ` + goodPassword + `"}`,
		"POST /api/admin/sales":                  s.newSale(saleBody{"description": "words", "image": "/img/a.webp", "list_price": 2 * thePrice}),
		"PATCH /api/admin/sales/{sale}":          `{"title":"another title"}`,
		"POST /api/admin/sales/{sale}/end":       fmt.Sprintf(`{"title":%q}`, title),
		"POST /api/admin/sales/{sale}/undo":      `{"step":"pause","batch":10,"reason":"the price was wrong"}`,
		"POST /api/admin/dead-letters/replay":    `{"count":1}`,
		"POST /api/admin/sales/{sale}/notice":    `{"text":"it goes on at noon"}`,
		"POST /api/admin/sales/{sale}/extend":    fmt.Sprintf(`{"closes_at":%q}`, s.open.ClosesAt.Add(time.Hour).Format(time.RFC3339)),
		"POST /api/admin/sales/{sale}/holds":     `{"seconds":60}`,
		"POST /api/admin/sales/{sale}/stock":     `{"id":"restock-1","delta":5}`,

		"POST /api/admin/webhooks/{receiver}/replay": `{"from":"2026-11-01T00:00:00Z","to":"2026-11-02T00:00:00Z"}`,

		"POST /api/admin/refunds/{refund}/done": `{"reason":"by a bank transfer"}`,
		"POST /api/admin/orders/{order}/refund": `{"reason":"broken"}`,
		"POST /api/admin/orders/{order}/cancel": `{"reason":"bought by a robot"}`,
	}
}

// good is a request that the route accepts.
func (s *system) good(r route) call {
	path := strings.NewReplacer("{sale}", s.open.ID.String(), "{order}", s.order, "{name}", takenName, "{receiver}", theReceiver, "{refund}", theRefund).Replace(r.path)
	if strings.HasPrefix(r.path, "/api/admin/books") {
		path += "?from=2026-11-01&to=2026-11-30&zone=Asia/Shanghai"
	}
	if r.path == "/api/admin/live" {
		path += "?events=1" // or it lasts
	}
	if r.method == "DELETE" && r.path == "/api/admin/sales/{sale}" {
		path = strings.Replace(r.path, "{sale}", s.scheduled.ID.String(), 1)
	}
	c := call{method: r.method, path: path, body: s.samples()[r.method+" "+r.path]}
	switch {
	case r.audience == buyers:
		c.token = token(s.t, ownerName, "")
	case r.audience >= viewers:
		c.token = token(s.t, adminName, leastRole[r.audience])
	}
	return c
}

// with returns the call with its body changed: one field has another value.
func (c call) with(t testing.TB, field string, value json.RawMessage) call {
	t.Helper()
	body := map[string]json.RawMessage{}
	if c.body != "" {
		require.NoError(t, json.Unmarshal([]byte(c.body), &body))
	}
	body[field] = value
	b, err := json.Marshal(body)
	require.NoError(t, err)
	c.body = string(b)
	return c
}

func (c call) withBody(body string, header ...string) call {
	c.body, c.header = body, append(slices.Clone(c.header), header...)
	return c
}

func (c call) withHeader(header ...string) call { return c.withBody(c.body, header...) }

func (c call) withPath(path string) call { c.path = path; return c }

func (c call) withToken(token string) call { c.token = token; return c }

func (c call) withUnknownSize() call { c.unknownSize = true; return c }

// Everything below is the reason for an answer only if the rest of the request
// is good.
func TestTheSamplesAreGood(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	_, err := s.accounts.Register(t.Context(), takenName, goodPassword, "")
	require.NoError(t, err)
	s.admin("POST", "/api/admin/access", `{"list":"allow","buyer":"a listed one"}`).is(200)
	orders := map[string]string{}
	for _, r := range s.api.routes {
		if strings.Contains(r.path, "{order}") {
			orders[r.path] = s.bought(ownerName+r.path, s.open.ID, 1)
		}
	}
	s.refunds(theRefund, s.bought("gives back", s.open.ID, 1))
	refund := "/api/admin/orders/{order}/refund"
	s.as(ownerName+refund, "POST", "/api/orders/"+orders[refund]+"/pay", "").is(200)
	doc, _ := document()
	for _, r := range s.api.routes {
		if r.path == callbackRoute || strings.HasSuffix(r.path, "/differences") {
			continue // not with the provider "test"
		}
		if strings.HasPrefix(r.path, "/api/me/") {
			continue // for whoever has logged in: TestASecondFactor, TestWhoIsBlockedIsOutOnEveryNode
		}
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			s := s.in(t)
			c := s.good(r)
			if order, ok := orders[r.path]; ok {
				c.path = strings.Replace(r.path, "{order}", order, 1)
				if r.audience == buyers {
					c.token = token(t, ownerName+r.path, "")
				}
			}
			if r.method == "POST" && strings.HasSuffix(r.path, "/ticket") {
				c.token = token(t, otherName, "")
			}
			a := s.do(c)
			require.Less(t, a.status, 300, "%s", a)
			if c.body == "" && r.method != "GET" && !strings.HasSuffix(r.path, "/end") { // whose title may be left out
				schema := doc.Paths.Value(r.path).GetOperation(r.method).RequestBody.Value.Content[jsonHeader].Schema.Value
				require.Empty(t, schema.Properties, "add a sample body")
			}
		})
	}
}

// badTokens are tokens that open nothing.
func badTokens(t testing.TB) map[string]string {
	t.Helper()
	in := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(d)) }
	sign := func(method jwt.SigningMethod, key any, c jwt.Claims) string {
		v, err := jwt.NewWithClaims(method, c).SignedString(key)
		require.NoError(t, err)
		return v
	}
	hs := func(c jwt.MapClaims) string { return sign(jwt.SigningMethodHS256, []byte(theSecret), c) }
	good, err := account.Mint([]byte(theSecret), ownerName, seckill.RoleAdmin, time.Hour)
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	someoneElse := strings.Split(hs(jwt.MapClaims{"sub": otherName, "exp": in(time.Hour)}), ".")
	admin := jwt.MapClaims{"sub": ownerName, "exp": in(time.Hour), "role": "admin"}
	return map[string]string{
		"none":                   "",
		"garbage":                "not a token, but long enough to be one",
		"expired":                hs(jwt.MapClaims{"sub": ownerName, "exp": in(-time.Second), "role": "admin"}),
		"not yet valid":          hs(jwt.MapClaims{"sub": ownerName, "exp": in(time.Hour), "nbf": in(30 * time.Minute), "role": "admin"}),
		"alg none":               sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, admin),
		"another algorithm":      sign(jwt.SigningMethodHS512, []byte(theSecret), admin),
		"wrong secret":           sign(jwt.SigningMethodHS256, []byte("somebody else's secret"), admin),
		"without an end":         hs(jwt.MapClaims{"sub": ownerName, "role": "admin"}),
		"without a buyer":        hs(jwt.MapClaims{"exp": in(time.Hour), "role": "admin"}),
		"the buyer is a number":  hs(jwt.MapClaims{"sub": 5, "exp": in(time.Hour), "role": "admin"}),
		"the buyer is too long":  hs(jwt.MapClaims{"sub": strings.Repeat("a", 65), "exp": in(time.Hour), "role": "admin"}),
		"a control character":    hs(jwt.MapClaims{"sub": "a\nb", "exp": in(time.Hour), "role": "admin"}),
		"another's claims":       strings.Join([]string{parts[0], someoneElse[1], parts[2]}, "."),
		"the signature is cut":   strings.Join(parts[:2], ".") + ".",
		"twice the same":         good + "." + good,
		"longer than any header": strings.Repeat("a", 5000),
	}
}

// common are the rows that every route has.
func (s *system) common(r route, allow map[string][]string) (rows []row) {
	add := func(name string, c call, status int, code string, also func(*testing.T, *answer)) {
		rows = append(rows, row{name, c, status, code, also})
	}
	good := s.good(r)

	path, _, _ := strings.Cut(good.path, "?")
	add("unknown path", good.withPath(path+"/nope/nope"), 404, "not_found", nil)
	add("unknown path with two slashes", good.withPath("/"+good.path), 404, "not_found", nil)
	add("unknown path with dots", good.withPath("/api/x/.."+strings.TrimPrefix(good.path, "/api")), 404, "not_found", nil)

	allowed := allow[r.path]
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"} {
		if slices.Contains(allowed, method) {
			continue
		}
		c := good
		c.method = method
		add("wrong method "+method, c, 405, "method_not_allowed", func(t *testing.T, a *answer) {
			require.Equal(t, strings.Join(allowed, ", "), a.header.Get("Allow"))
		})
	}

	if r.audience != public {
		for name, bad := range badTokens(s.t) {
			unauthorized := func(t *testing.T, a *answer) { require.Equal(t, "Bearer", a.header.Get("WWW-Authenticate")) }
			add("token "+name, good.withToken(bad), 401, "unauthorized", unauthorized)
		}
		add("cookie of somebody else's making", good.withToken("").withHeader("Cookie", sessionCookie+"="+badTokens(s.t)["wrong secret"]), 401, "unauthorized", nil)
		add("token in another scheme", good.withToken("").withHeader("Authorization", "Basic "+good.token), 401, "unauthorized", nil)
	}
	if r.audience >= viewers {
		add("token of a buyer", good.withToken(token(s.t, ownerName, "")), 403, "forbidden", nil)
		add("token of another role", good.withToken(token(s.t, ownerName, "Admin")), 403, "forbidden", nil)
	}
	if r.method == http.MethodGet {
		return rows
	}

	add("cross-site by fetch metadata", good.withHeader("Sec-Fetch-Site", "cross-site"), 403, "forbidden", nil)
	add("cross-site by origin", good.withHeader("Origin", "https://evil.example"), 403, "forbidden", nil)

	body := good.body
	if body == "" {
		body = "{}"
	}
	large := `{"x":"` + strings.Repeat("x", 8<<10) + `"}`
	add("body over 8 KB", good.withBody(large), 413, "body_too_large", nil)
	add("body over 8 KB of unknown size", good.withBody(large).withUnknownSize(), 413, "body_too_large", nil)
	add("body of spaces over 8 KB", good.withBody(body+strings.Repeat(" ", 8<<10)), 413, "body_too_large", nil)
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/json, text/plain", ";"} {
		add(fmt.Sprintf("content type %q", media), good.withBody(body, "Content-Type", media), 415, "unsupported_media_type", nil)
	}
	add("compressed", good.withBody(body, "Content-Encoding", "gzip"), 415, "unsupported_media_type", nil)
	for name, bad := range map[string]string{
		"cut short":        strings.TrimSuffix(body, "}"),
		"not JSON":         "quantity=1",
		"only spaces":      "   ",
		"null":             "null",
		"a list":           "[" + body + "]",
		"a string":         `"x"`,
		"trailing object":  body + body,
		"trailing bracket": body + "}",
		"trailing word":    body + " x",
		"a comment":        body + " // x",
		"not UTF-8":        "{\"\xff\":1}",
		"unknown field":    good.with(s.t, "nope", json.RawMessage(`1`)).body,
		"a null field":     good.with(s.t, "nope", json.RawMessage(`null`)).body,
	} {
		add("body "+name, good.withBody(bad), 400, "bad_json", nil)
	}

	// Every field that the document knows, with values of other types.
	doc, _ := document()
	schema := doc.Paths.Value(r.path).GetOperation(r.method).RequestBody.Value.Content[jsonHeader].Schema.Value
	for _, field := range slices.Sorted(maps.Keys(schema.Properties)) {
		values := []string{"null", "true", "[]", "{}"}
		switch property := schema.Properties[field].Value; {
		case property.Type.Is("boolean"):
			values = []string{"null", "1", `"true"`, "[]", "{}"}
		case property.Format == "date-time":
			values = append(values, "5", `""`, `"yesterday"`, `"2026-11-11"`, `"2026-11-11T12:00:00"`)
		case property.Type.Is("string"):
			values = append(values, "5")
		case property.Type.Is("boolean"):
			values = []string{"null", "1", `"true"`, "[]", "{}"}
		case property.Type.Is("integer"):
			values = append(values, "1.5", `"1"`, `"x"`, "9223372036854775808", "1e400", "-9223372036854775809")
		}
		for _, v := range values {
			add(fmt.Sprintf("%s is %s", field, v), good.with(s.t, field, json.RawMessage(v)), 422, "invalid_field", func(t *testing.T, a *answer) {
				var p problem
				a.into(&p)
				require.Equal(t, field, strings.Fields(p.Detail)[0], "the detail names the field")
			})
		}
		twice := strings.TrimSuffix(good.with(s.t, field, json.RawMessage(`1`)).body, "}") + fmt.Sprintf(`,%q:1}`, field)
		add(field+" twice", good.withBody(twice), 400, "bad_json", nil)
		capitals := good.with(s.t, strings.ToUpper(field), json.RawMessage(`1`))
		add(field+" in capitals", capitals, 400, "bad_json", nil)
	}
	return rows
}

func TestBadInputOnEveryRoute(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	_, err := s.accounts.Register(t.Context(), takenName, goodPassword, "")
	require.NoError(t, err)
	allow := map[string][]string{}
	for _, r := range s.api.routes {
		allow[r.path] = append(allow[r.path], r.method)
		if r.method == http.MethodGet {
			allow[r.path] = append(allow[r.path], http.MethodHead)
		}
		slices.Sort(allow[r.path])
	}
	for _, r := range s.api.routes {
		if r.path == callbackRoute {
			continue // its body is signed: see TestACallbackIsTheProvidersOrRefused
		}
		t.Run(r.method+" "+r.path, func(t *testing.T) { s.refused(t, s.in(t).common(r, allow)) })
	}
}

// badSaleIDs name no sale, in a path.
var badSaleIDs = []string{
	"0", "-1", "+1", "01", "1.0", "9223372036854775807", "9223372036854775808", "1;drop", "1%20", "1%00", "..", "%2e%2e", "1%2F..", "999", "*", strings.Repeat("1", 300),
}

// badOrderIDs name no order, in a path.
var badOrderIDs = []string{
	"0", "-1", "1;drop", "..", "%2e%2e", "x", "0000000000000000000000000", "000000000000000000000000000", "0000000000000000000000000a",
	"00000000000000000000000000", strings.Repeat("Z", 26), "%27%20OR%201%3D1%20--%20%20%20%20%20%20%20",
}

func TestBadIDs(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var rows []row
	for _, r := range s.api.routes {
		good := s.good(r)
		if strings.Contains(r.path, "{sale}") {
			for _, id := range badSaleIDs {
				rows = append(rows, row{r.method + " " + r.path + " with sale " + id, good.withPath(strings.Replace(r.path, "{sale}", id, 1)), 404, "not_found", nil})
			}
		}
		if strings.Contains(r.path, "{order}") {
			for _, id := range badOrderIDs {
				rows = append(rows, row{r.method + " " + r.path + " with order " + id, good.withPath(strings.Replace(r.path, "{order}", id, 1)), 404, "not_found", nil})
			}
		}
		if strings.Contains(r.path, "{refund}") {
			for _, id := range append(badOrderIDs, "%00", strings.Repeat("r", 65)) {
				rows = append(rows, row{r.method + " " + r.path + " with refund " + id, good.withPath(strings.Replace(r.path, "{refund}", id, 1)), 404, "not_found", nil})
			}
		}
	}
	s.refused(t, rows)
}

// What is somebody else's, what does not exist and what is no id at all cannot
// be told apart.
func TestSomebodyElsesIsLikeMissing(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	other := token(t, otherName, "")
	ticket := ticketPath(s.open.ID)
	bodies := map[string]bool{}
	same := func(t *testing.T, a *answer) { bodies[a.anonymous()] = true }
	rows := []row{{"no ticket", call{method: "GET", path: ticket, token: other}, 404, "not_found", same}}
	for _, id := range append([]string{s.order}, badOrderIDs...) {
		rows = append(rows,
			row{"ticket " + id, call{method: "GET", path: ticket + "?ticket=" + id, token: other}, 404, "not_found", same},
			row{"ticket with a wait " + id, call{method: "GET", path: ticket + "?wait=20s&ticket=" + id, token: other}, 404, "not_found", same})
		for _, route := range []string{"GET ", "POST /pay", "POST /cancel"} {
			method, suffix, _ := strings.Cut(route, " ")
			rows = append(rows, row{route + " " + id, call{method: method, path: "/api/orders/" + id + suffix, token: other}, 404, "not_found", same})
		}
	}
	rows = append(rows, row{"the owner's ticket in another sale", call{method: "GET", path: ticketPath(s.soldOut.ID) + "?ticket=" + s.order, token: token(t, ownerName, "")}, 404, "not_found", same})
	s.refused(t, rows)
	require.Len(t, bodies, 1, "one body for all of them")
}

func TestBadInputRouteByRoute(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	_, err := s.accounts.Register(t.Context(), takenName, goodPassword, "")
	require.NoError(t, err)
	owner, admin := token(t, ownerName, ""), token(t, adminName, seckill.RoleAdmin)
	credentials := func(name, password string) string {
		b, err := json.Marshal(credentials{name, password})
		require.NoError(t, err)
		return string(b)
	}
	rows := map[string][]row{}
	add := func(route, name string, c call, status int, code string) {
		rows[route] = append(rows[route], row{name, c, status, code, nil})
	}

	register := call{method: "POST", path: "/api/register"}
	for name, bad := range map[string]string{
		"empty": "", "blank": "   ", "space before": " a", "space behind": "a ", "control character": "a\x00b", "line break": "a\nb",
		"direction override": "a\u202eb", "65 characters": strings.Repeat("字", 65), "5 KB": strings.Repeat("a", 5<<10),
	} {
		add("register", "name "+name, register.withBody(credentials(bad, goodPassword)), 422, "invalid_field")
	}
	add("register", "name missing", register.withBody(`{"password":"`+goodPassword+`"}`), 422, "invalid_field")
	// A name of 10 KB cannot arrive in a body of 8 KB, and the size of a body is the
	// first thing that is looked at: not 422 as for the name of 5 KB, but 413.
	add("register", "name of 10 KB", register.withBody(credentials(strings.Repeat("a", 10<<10), goodPassword)), 413, "body_too_large")
	for name, bad := range map[string]string{"empty": "", "short": "1234567", "257 bytes": strings.Repeat("a", 257)} {
		add("register", "password "+name, register.withBody(credentials(newcomer, bad)), 422, "weak_password")
	}
	add("register", "name taken", register.withBody(credentials(takenName, goodPassword)), 409, "name_taken")
	add("register", "a role", register.withBody(`{"name":"`+newcomer+`","password":"`+goodPassword+`","role":"admin"}`), 400, "bad_json")

	login := call{method: "POST", path: "/api/login"}
	for name, bad := range map[string]string{
		"wrong password": credentials(takenName, "wrong horse battery"), "unknown name": credentials(newcomer, goodPassword),
		"no password": credentials(takenName, ""), "nothing": "{}", "endless password": credentials(takenName, strings.Repeat("a", 5<<10)),
		"another name": credentials("LI.WEI2", goodPassword), "control character": credentials("a\x00b", goodPassword),
	} {
		add("login", name, login.withBody(bad), 401, "unauthorized")
	}

	buy := func(id seckill.SaleID) call { return call{method: "POST", path: ticketPath(id), token: owner} }
	for sale, code := range map[seckill.SaleID]string{
		s.scheduled.ID: "not_open", s.ended.ID: "ended", s.paused.ID: "paused", s.soldOut.ID: "sold_out",
	} {
		add("buy", code, buy(sale), 409, code)
		add("buy", code+" with a quantity", buy(sale).withBody(`{"quantity":1}`), 409, code)
	}
	add("buy", "two wanted, none left", buy(s.soldOut.ID).withBody(`{"quantity":2}`), 409, "sold_out")
	add("buy", "again with another quantity", buy(s.open.ID).withBody(`{"quantity":2}`), 409, "limit")
	for _, bad := range []string{"0", "-1", "1.5", `"1"`, "2147483648", "4294967297", strconv.Itoa(theLimit + 1), "1000", "1001", "null"} {
		for _, sale := range []seckill.SaleID{s.open.ID, s.scheduled.ID} {
			add("buy", fmt.Sprintf("quantity %s in sale %s", bad, sale), buy(sale).withBody(`{"quantity":`+bad+`}`), 422, "invalid_field")
		}
	}
	add("buy", "a price in the body", buy(s.open.ID).withBody(`{"quantity":1,"price":1}`), 400, "bad_json")
	add("buy", "a buyer in the body", buy(s.open.ID).withBody(`{"quantity":1,"buyer":"other"}`), 400, "bad_json")

	ticket := func(query string) call {
		return call{method: "GET", path: ticketPath(s.open.ID) + "?" + query, token: owner}
	}
	for _, wait := range []string{"", "31s", "-1s", "20", "x", "1h", "30001ms", "9999999999999999999s"} {
		add("ticket", "wait="+wait, ticket("wait="+wait), 422, "invalid_field")
	}
	add("ticket", "an empty ticket", ticket("ticket="), 404, "not_found")

	for list, c := range map[string]call{
		"sales": {method: "GET", path: "/api/sales"}, "orders": {method: "GET", path: "/api/orders", token: owner}, "tickets": {method: "GET", path: "/api/tickets", token: owner}, "admin sales": {method: "GET", path: "/api/admin/sales", token: admin},
	} {
		for _, bad := range []string{"limit=", "limit=0", "limit=101", "limit=-1", "limit=x", "limit=1.5", "limit=9223372036854775808", "cursor=x", "cursor=-1", "cursor=1;drop", "cursor=%00", "cursor=0", "cursor=1.2.3", "cursor=1.0.9.0.0", "cursor=1.-1.0.0.0", "cursor=01.0.0.0.0", "cursor=1.0.0.0.0x"} {
			bad = strings.Replace(bad, ";", "%3B", 1)
			add(list, bad, c.withPath(c.path+"?"+bad), 422, "invalid_field")
		}
	}

	create := s.good(s.route(t, "POST", "/api/admin/sales"))
	patch := s.good(s.route(t, "PATCH", "/api/admin/sales/{sale}"))
	now := s.gate.Now().UTC()
	at := func(t time.Time) string { return strconv.Quote(t.Format(time.RFC3339Nano)) }
	for _, bad := range []struct{ field, value string }{
		{"title", `""`}, {"title", `"  "`}, {"title", `"a\u0000b"`}, {"title", `"a\nb"`}, {"title", strconv.Quote(strings.Repeat("字", 201))},
		{"description", `"a\u0000b"`}, {"description", strconv.Quote(strings.Repeat("a", 2001))},
		{"image", `"javascript:alert(1)"`}, {"image", `"//evil.example/a.png"`}, {"image", `"a.png"`}, {"image", `"data:image/png;base64,AAAA"`}, {"image", `"https://"`}, {"image", strconv.Quote("/" + strings.Repeat("a", 2000))},
		{"price", "-1"}, {"price", "1000000000001"}, {"list_price", "-1"}, {"list_price", "1000000000001"},
		{"currency", `""`}, {"currency", `"cny"`}, {"currency", `"CN"`}, {"currency", `"YUAN"`}, {"currency", `"元元元"`},
		{"total", "0"}, {"total", "-1"}, {"total", "10000001"}, {"limit_per_buyer", "0"}, {"limit_per_buyer", "1001"},
		{"opens_at", `"1969-12-31T23:59:59Z"`}, {"opens_at", `"0001-01-01T00:00:00Z"`},
		{"closes_at", at(now.Add(-24 * time.Hour))}, {"closes_at", at(now.Add(367 * 24 * time.Hour))}, {"closes_at", `"10000-01-01T00:00:00Z"`},
		{"hold_seconds", "0"}, {"hold_seconds", "-1"}, {"hold_seconds", "86401"},
	} {
		name := fmt.Sprintf("%s is %.60s", bad.field, bad.value)
		add("create", name, create.with(t, bad.field, json.RawMessage(bad.value)), 422, "invalid_field")
		if bad.field != "price" && bad.field != "currency" && bad.field != "total" {
			add("change", name, patch.withBody("{}").with(t, bad.field, json.RawMessage(bad.value)), 422, "invalid_field")
		}
		scheduled := patch.withBody("{}").with(t, bad.field, json.RawMessage(bad.value)).withPath("/api/admin/sales/" + s.scheduled.ID.String())
		add("change before it opens", name, scheduled, 422, "invalid_field")
	}
	opens := s.gate.Now().UTC().Truncate(time.Second)
	add("create", "closes when it opens", create.with(t, "opens_at", json.RawMessage(at(opens))).with(t, "closes_at", json.RawMessage(at(opens))), 422, "invalid_field")
	for _, field := range []string{"title", "price", "currency", "total", "limit_per_buyer", "opens_at", "closes_at", "hold_seconds"} {
		add("create", "without "+field, create.withBody(s.newSale(saleBody{field: nil})), 422, "invalid_field")
	}
	for field, value := range map[string]string{"price": "1", "currency": `"USD"`, "total": "99"} {
		add("change", field+" once open", patch.withBody("{}").with(t, field, json.RawMessage(value)), 409, "state")
		add("change", field+" once open, with a title", patch.with(t, field, json.RawMessage(value)), 409, "state")
	}
	add("change", "the state", patch.withBody(`{"state":"ended"}`), 400, "bad_json")
	add("change", "the stock", patch.withBody(`{"left":5}`), 400, "bad_json")

	stock := call{method: "POST", path: "/api/admin/sales/" + s.open.ID.String() + "/stock", token: admin}
	add("stock", "more than the gate holds", stock.withBody(fmt.Sprintf(`{"id":"m","delta":%d}`, -openUnits)), 409, "stock")
	for _, bad := range []string{"0", "10000001", "-10000001", "9999999", "9223372036854775808"} {
		add("stock", "delta "+bad, stock.withBody(`{"id":"m","delta":`+bad+`}`), 422, "invalid_field")
	}
	for name, bad := range map[string]string{"empty": "", "control character": "a\nb", "65 characters": strings.Repeat("a", 65)} {
		b, _ := json.Marshal(map[string]any{"id": bad, "delta": 1})
		add("stock", "id "+name, stock.withBody(string(b)), 422, "invalid_field")
	}
	add("stock", "without an id", stock.withBody(`{"delta":1}`), 422, "invalid_field")
	add("stock", "not an admin", stock.withBody(`{"id":"m","delta":1}`).withToken(owner), 403, "forbidden")

	add("no page", "GET /sale//1", call{method: "GET", path: "/sale//1"}, 404, "not_found")

	for name, bad := range map[string]string{
		"line break": "a\nb", "control character": "a\x7fb", "next line": "a\u0085b", "line separator": "a\u2028b", "direction override": "a\u202eb", "201 bytes": strings.Repeat("a", 201),
	} {
		b, _ := json.Marshal(map[string]string{"list": "block", "buyer": "x", "note": bad})
		add("access", "note "+name, call{method: "POST", path: "/api/admin/access", token: admin, body: string(b)}, 422, "invalid_field")
	}

	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/sale/" + s.open.ID.String() + "/ticket"} {
		add("operations routes", "POST "+path, call{method: "POST", path: "/api" + path}, 404, "not_found")
	}

	for _, route := range slices.Sorted(maps.Keys(rows)) {
		t.Run(route, func(t *testing.T) { s.refused(t, rows[route]) })
	}
}

func (s *system) route(t testing.TB, method, path string) route {
	t.Helper()
	for _, r := range s.api.routes {
		if r.method == method && r.path == path {
			return r
		}
	}
	t.Fatalf("there is no route %s %s", method, path)
	panic("unreachable")
}

func TestOperationsRoutesAreNotPublic(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	before := s.world()
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/vars"} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			s.anybody(method, path, "").is(404)
		}
	}
	s.still(before)
}

func TestPagesAreForReading(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for _, path := range []string{"/", "/login", "/orders", "/sale/1", "/order/detail/" + s.order} {
		s.anybody("GET", path, "").is(200)
		s.anybody("HEAD", path, "").is(200)
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			require.Equal(t, "GET, HEAD", s.anybody(method, path, "").is(405).header.Get("Allow"), "%s %s", method, path)
		}
	}
}

// A request line may hold something that is no path at all.
func TestARequestWithoutAPathIsNotFound(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for _, target := range []struct{ method, path, uri string }{{"GET", "*", "*"}, {"OPTIONS", "*", "*"}, {"CONNECT", "", "example.com:443"}} {
		r := httptest.NewRequest(target.method, "/", nil)
		r.URL.Path, r.RequestURI = target.path, target.uri
		w := httptest.NewRecorder()
		s.api.ServeHTTP(w, r)
		a := &answer{t: t, call: call{method: target.method, path: target.uri}, status: w.Code, header: w.Header(), body: w.Body.Bytes()}
		a.problem(404, "not_found")
	}
}

// A fault of ours is a 500 that says nothing of it; the log says it all.
func TestAPanicIs500WithARequestIDAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	// Without its parts, every route that needs one panics.
	broken := New(Config{Gate: panics{}, Store: nil, Tokens: s.api.Tokens, Log: s.api.Log, Metrics: noMetrics(), Stopping: context.Background()})
	own, err := s.accounts.Register(t.Context(), takenName, goodPassword, "")
	require.NoError(t, err)
	whole, before, logged := s.api, s.world(), 0
	needsNothing := []string{"/api/logout", "/api/me", "/api/openapi.json", "/api/admin/listeners/start", "/api/admin/listeners/stop", "/api/admin/dead-letters", "/api/admin/dead-letters/replay"}
	for _, r := range whole.routes {
		if slices.Contains(needsNothing, r.path) {
			continue
		}
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			s := s.in(t)
			s.api = broken
			c := s.good(r)
			if strings.HasPrefix(r.path, "/api/me/") {
				c.token = own.Token
			}
			a := s.do(c).problem(500, "internal")
			var all map[string]any
			a.into(&all)
			require.Equal(t, map[string]any{
				"type": "about:blank", "title": "Internal error", "status": 500.0, "code": "internal", "request_id": a.header.Get("X-Request-Id"),
			}, all)
			require.Empty(t, a.header.Values("Set-Cookie"))
			require.Regexp(t, `"api: panic".*"request_id":"`+a.header.Get("X-Request-Id"), s.log.String()[logged:])
			logged = len(s.log.String())
			s.still(before)
		})
	}
	families, err := broken.Metrics.(*prometheus.Registry).Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "seckill_room_taken" {
				require.Zero(t, m.GetGauge().GetValue(), "a panic takes no place for ever: %v", m.GetLabel())
			}
		}
	}
}

// panics is a gate that never answers anything.
type panics struct{ Gate }

func (panics) Over(seckill.SaleID) bool { return false }
func (panics) Abandon(seckill.SaleID)   {}
func (panics) Reserve(context.Context, seckill.SaleID, string, int) (seckill.Answer, error) {
	panic("the secret of the gate")
}
func (panics) Find(context.Context, seckill.SaleID, string, string) (seckill.Progress, error) {
	panic("the secret of the gate")
}

// What is aborted on purpose is not answered.
func TestAnAbortIsPassedOn(t *testing.T) {
	t.Parallel()
	a := New(Config{Metrics: noMetrics(), Pages: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })})
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		a.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	})
}
