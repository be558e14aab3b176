package client

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// asked is a server that notes what it was asked and answers as it is told.
type asked struct {
	method, path, token, content, body string

	status int
	header http.Header
	answer string
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	a.method, a.path, a.token, a.content, a.body = r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(b)
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.answer)
}

func serve(t *testing.T, a *asked) *Client {
	t.Helper()
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return &Client{Server: s.URL, Token: "secret"}
}

func TestARequestIsWhatTheContractSays(t *testing.T) {
	t.Parallel()
	a := &asked{status: 202, answer: `{"status":"queued","ticket":"T","poll_after_ms":500}`}
	c := serve(t, a)
	ticket, err := c.Buy(t.Context(), "7", 2)
	require.NoError(t, err)
	require.Equal(t, Said{Status: "queued", Ticket: "T", PollAfterMS: 500}, ticket)
	require.Equal(t, []string{"POST", "/api/sales/7/ticket", "Bearer secret", "application/json", `{"quantity":2}`}, []string{a.method, a.path, a.token, a.content, a.body})

	a.status, a.answer = 200, `{"status":"placed","ticket":"T","order":"T"}`
	outcome, err := c.Outcome(t.Context(), "7", 20*time.Second)
	require.NoError(t, err)
	require.Equal(t, Said{Status: "placed", Ticket: "T", Order: "T"}, outcome)
	require.Equal(t, []string{"GET", "/api/sales/7/ticket?wait=20s", "", ""}, []string{a.method, a.path, a.content, a.body})

	a.answer = `{"ok":true,"total":10,"gate":4,"pending":1,"active":5,"returning":0,"violations":[]}`
	report, err := c.Audit(t.Context(), "7")
	require.NoError(t, err)
	require.Equal(t, seckill.Report{OK: true, Total: 10, Gate: 4, Pending: 1, Active: 5, Violations: []string{}}, report)
	require.Equal(t, "/api/admin/sales/7/audit", a.path)

	c.Token = ""
	_, err = c.ChangeSale(t.Context(), "../x", "pause", nil)
	require.NoError(t, err)
	require.Equal(t, "/api/admin/sales/..%2Fx/pause", a.path, "an id is one part of the path")
	require.Empty(t, a.token, "nobody in particular")
}

func TestAnAnswerThatSaysNoIsAProblem(t *testing.T) {
	t.Parallel()
	a := &asked{status: 409, answer: `{"type":"about:blank","title":"Sold out","status":409,"code":"sold_out","detail":"no more"}`, header: http.Header{"X-Request-Id": {"R-1"}}}
	c := serve(t, a)
	_, err := c.Buy(t.Context(), "7", 1)
	var no *Problem
	require.ErrorAs(t, err, &no)
	require.Equal(t, &Problem{Title: "Sold out", Status: 409, Code: "sold_out", Detail: "no more", RequestID: "R-1"}, no)
	require.EqualError(t, err, "Sold out: no more (sold_out, request R-1)")

	a.status, a.header, a.answer = 503, http.Header{"Retry-After": {"2"}}, `{"title":"Busy","status":503,"code":"busy"}`
	answer, err := c.Do(t.Context(), "POST", TicketPath("7"), nil)
	require.NoError(t, err, "it is an answer")
	require.Equal(t, "busy", answer.Code)
	require.Equal(t, 2*time.Second, answer.RetryAfter)
	require.False(t, answer.Usable(), "whether there is a ticket is not known")
	require.Equal(t, `503 {"title":"Busy","status":503,"code":"busy"}`, answer.String())
}

func TestAnAnswerOutsideOfTheContractIsAnError(t *testing.T) {
	t.Parallel()
	a := &asked{status: 200, answer: "<h1>Welcome to nginx</h1>"}
	c := serve(t, a)
	_, err := c.Audit(t.Context(), "7")
	require.ErrorContains(t, err, "not the promised JSON")
	a.status = 502
	_, err = c.Audit(t.Context(), "7")
	require.ErrorContains(t, err, "GET /api/admin/sales/7/audit: 502 Bad Gateway")
	var no *Problem
	require.False(t, errors.As(err, &no))
}

func TestAllPagesOfTheListAreRead(t *testing.T) {
	t.Parallel()
	pages := map[string]string{"": `{"items":[{"id":"3"},{"id":"2"}],"next":"a&b"}`, "a&b": `{"items":[{"id":"1"}]}`}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, pages[r.FormValue("cursor")]) }))
	defer s.Close()
	sales, err := (&Client{Server: s.URL}).Sales(t.Context())
	require.NoError(t, err)
	require.Equal(t, []seckill.Sale{{ID: 3}, {ID: 2}, {ID: 1}}, sales)
}
