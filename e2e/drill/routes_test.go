package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// unasked are the routes of the API's document that the drill leaves out, with the reason.
var unasked = map[string]string{
	"POST /api/me/password":               "would end the sessions of the others",
	"POST /api/me/logout-everywhere":      "would end the sessions of the others",
	"POST /api/me/second-factor":          "is for people of the shop, and changes the account that logs in",
	"POST /api/me/second-factor/confirm":  "is for people of the shop, and changes the account that logs in",
	"DELETE /api/me/second-factor":        "is for people of the shop, and changes the account that logs in",
	"POST /api/payments/{provider}":       "no page calls it: the payment provider does",
	"POST /api/admin/sales/{sale}/resume": "is the same code as pause; a paused sale stays as it is",
	"POST /api/admin/sales/{sale}/end":    "is the same code as pause, and is for good",
}

// Each route that a page of buyers uses is asked, and those by which a shop sees and
// stops a sale.
func TestEveryRouteOfBuyersIsAsked(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../internal/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(b, &document); err != nil {
		t.Fatal(err)
	}
	asked, number := map[string]bool{}, regexp.MustCompile(`/[0-9]+(/|$)`)
	plain := strings.NewReplacer("{checked}", "{sale}", "{ended}", "{order}")
	for _, q := range questions() {
		path, _, _ := strings.Cut(plain.Replace(q.path), "?")
		asked[q.method+" "+number.ReplaceAllString(path, "/{sale}$1")] = true
	}
	known := map[string]bool{}
	for path, methods := range document.Paths {
		for method := range methods {
			name := strings.ToUpper(method) + " " + path
			known[name] = true
			steers := strings.HasSuffix(path, "/pause") || strings.HasSuffix(path, "/resume") || strings.HasSuffix(path, "/end")
			if method == "parameters" || strings.HasPrefix(path, "/api/admin/") && !steers {
				continue // the console's other routes are no part of this drill
			}
			if !asked[name] && unasked[name] == "" {
				t.Errorf("the drill neither asks %s nor says why not", name)
			}
		}
	}
	for name := range unasked {
		if !known[name] {
			t.Errorf("%s is left out, and there is no such route", name)
		}
	}
	for _, page := range []string{"/", "/sale/{sale}", "/login", "/register", "/orders", "/order/detail/{order}", "/static/any/favicon.svg"} {
		if !asked["GET "+page] {
			t.Errorf("the drill does not ask for the page %s", page)
		}
	}
}
