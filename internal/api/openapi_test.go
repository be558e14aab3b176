package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"seckill"
)

// document is the OpenAPI document and its router, read once.
var document = sync.OnceValues(func() (*openapi3.T, routers.Router) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(openapi)
	if err != nil {
		panic(err)
	}
	if err := doc.Validate(loader.Context, openapi3.EnableExamplesValidation()); err != nil {
		panic(err)
	}
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.PlainBodyDecoder)
	openapi3filter.RegisterBodyDecoder("text/csv", openapi3filter.PlainBodyDecoder)
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.PlainBodyDecoder)
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		panic(err)
	}
	return doc, router
})

// conforms compares a request and its answer with the document: the answer
// always, the request when it was accepted.
func conforms(t testing.TB, c call, a *answer) {
	t.Helper()
	doc, router := document()
	ctx := context.Background()
	r := c.request()
	route, params, err := router.FindRoute(r)
	switch {
	case errors.Is(err, routers.ErrMethodNotAllowed):
		require.Contains(t, []int{http.StatusMethodNotAllowed, http.StatusOK}, a.status, "%s: the document does not have this method", a)
		if a.status == http.StatusOK {
			require.Equal(t, http.MethodHead, c.method, "%s: HEAD comes with every GET, and nothing else comes by itself", a)
		}
		return
	case err != nil && !strings.HasPrefix(r.URL.Path, "/api"):
		return // a page
	case err != nil:
		require.Equal(t, http.StatusNotFound, a.status, "%s: the document does not have this path", a)
		if a.header.Get("Content-Type") == "application/problem+json" {
			var v any
			require.NoError(t, json.Unmarshal(a.body, &v))
			require.NoError(t, doc.Components.Schemas["Problem"].Value.VisitJSON(v), "%s", a)
		}
		return
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route, QueryParams: r.URL.Query(),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if a.status < 400 {
		require.NoError(t, openapi3filter.ValidateRequest(ctx, input), "%s: an accepted request is one of the document", a)
	}
	err = openapi3filter.ValidateResponse(ctx, &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)), Options: input.Options,
	})
	require.NoError(t, err, "%s: the answer is one of the document", a)
}

// pageRoutes are in the document because clients may link to them; package web
// serves them.
var pageRoutes = []string{"GET /order/detail/{order}"}

func TestTheDocumentHasExactlyTheRoutesOfTheTable(t *testing.T) {
	t.Parallel()
	doc, _ := document()
	inTable, inDocument := append([]string(nil), pageRoutes...), []string(nil)
	for _, r := range New(Config{Metrics: noMetrics()}).routes {
		inTable = append(inTable, r.method+" "+r.path)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			inDocument = append(inDocument, method+" "+path)
		}
	}
	sort.Strings(inTable)
	sort.Strings(inDocument)
	require.Equal(t, inTable, inDocument)
}

func TestTheDocumentSaysWhoMayCall(t *testing.T) {
	t.Parallel()
	doc, _ := document()
	for _, r := range New(Config{Metrics: noMetrics()}).routes {
		op := doc.Paths.Value(r.path).GetOperation(r.method)
		require.NotNil(t, op.Security, "%s %s", r.method, r.path)
		require.Equal(t, r.audience == public, len(*op.Security) == 0, "%s %s: security", r.method, r.path)
		role := ""
		if r.audience >= viewers {
			role = leastRole[r.audience]
			require.Contains(t, op.Description, "role="+role+".", "%s %s", r.method, r.path)
		}
		said, _ := op.Extensions["x-role"].(string)
		require.Equal(t, role, said, "%s %s: x-role", r.method, r.path)
		for status, when := range map[string]bool{
			"401": r.audience != public || strings.HasSuffix(r.path, "/login") || r.path == callbackRoute,
			"403": r.audience >= viewers || r.method != http.MethodGet,
			"400": r.method != http.MethodGet, "413": r.method != http.MethodGet, "415": r.method != http.MethodGet,
			"405": true, "500": true, "503": true,
		} {
			require.Equal(t, when, op.Responses.Value(status) != nil, "%s %s: answer %s", r.method, r.path, status)
		}
	}
}

func TestTheDocumentKnowsEveryCode(t *testing.T) {
	t.Parallel()
	doc, _ := document()
	var documented, ours []string
	for _, v := range doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		documented = append(documented, v.(string))
	}
	for code := range kinds {
		ours = append(ours, code)
	}
	require.ElementsMatch(t, ours, documented)
	buys := doc.Paths.Value("/api/sales/{sale}/ticket").Post.Responses
	for _, v := range seckill.Verdicts()[1:] { // the first one is no problem
		status := strconv.Itoa(kinds[v.String()].Status)
		body, err := json.Marshal(buys.Value(status).Value)
		require.NoError(t, err)
		require.Contains(t, string(body), strconv.Quote(v.String()), "the buy route does not document %s", v)
	}
}

func TestTheDocumentIsServed(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	a := s.anybody("GET", "/api/openapi.json", "").is(200)
	require.JSONEq(t, string(openapi), string(a.body))
	require.Equal(t, jsonHeader, a.header.Get("Content-Type"))
}
