package api

import (
	"net/http"
	"strings"
)

// WithoutAdmin is the API as buyers may see it, where people of the shop have a listener
// of their own: what is theirs is not found here.
func (a *API) WithoutAdmin() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if nowhere := ofAdmin(r.URL.Path); nowhere != "" {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = nowhere, ""
		}
		a.ServeHTTP(w, r)
	})
}

// ofAdmin returns, for a path that belongs to people of the shop, one of the same kind
// where nothing is.
func ofAdmin(path string) (nowhere string) {
	switch {
	case strings.HasPrefix(path, "/api/admin/"), path == "/api/admin":
		return "/api/nowhere"
	case strings.HasPrefix(path, "/console/"), path == "/console":
		return "/nowhere"
	}
	return ""
}
