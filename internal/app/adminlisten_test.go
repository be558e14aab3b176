package app

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
)

// With a listener of their own, the console and the routes of people of the shop are
// there and nowhere else, in whatever spelling of the path.
func TestTheConsoleHasAListenerOfItsOwn(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	c.AdminListen = "127.0.0.1:0"
	n, stop := node(t, c)
	token, err := account.Mint(n.secret, "root", seckill.RoleAdmin, time.Minute)
	require.NoError(t, err)
	get := func(url string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode, res.Header.Get("Content-Type")
	}
	for _, path := range []string{"/api/admin/sales", "/console/", "/console/orders"} {
		there, _ := get(n.AdminURL() + path)
		require.Equal(t, 200, there, path)
		here, kind := get(n.URL() + path)
		require.Equal(t, 404, here, path)
		require.Equal(t, strings.HasPrefix(path, "/api/"), kind == "application/problem+json", path)
	}
	for _, path := range []string{"/api/%61dmin/sales", "/api//admin/sales", "//api/admin/sales", "/api/x/../admin/sales", "/api/admin", "/console", "/%63onsole/", "//console/", "/x/../console/", "/api/admin/nothing", "/api/nowhere", "/nowhere"} {
		here, _ := get(n.URL() + path)
		require.Equal(t, 404, here, path)
	}
	for _, path := range []string{"/", "/api/sales", "/api/me", "/login"} {
		for _, url := range []string{n.URL(), n.AdminURL()} {
			status, _ := get(url + path)
			require.Equal(t, 200, status, url+path)
		}
	}
	require.NoError(t, stop())
	same, _ := node(t, embedded(t))
	require.Equal(t, same.URL(), same.AdminURL())
	c = embedded(t)
	c.AdminListen = "127.0.0.1:99999"
	_, err = Open(t.Context(), c, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "choose another --admin-listen")
}
