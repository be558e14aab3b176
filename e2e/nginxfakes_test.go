package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// fakes are nodes that do as the test says, and count.
type fakes struct {
	addresses []string
	servers   []*httptest.Server
	hits      atomic.Int64
}

func startFakes(t *testing.T, n int, serve func(w http.ResponseWriter, r *http.Request, hit int64)) *fakes {
	t.Helper()
	f := &fakes{}
	for range n {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, f.hits.Add(1)) }))
		t.Cleanup(s.Close)
		f.addresses, f.servers = append(f.addresses, s.Listener.Addr().String()), append(f.servers, s)
	}
	return f
}

// breaks ends the connection before there is an answer, as a killed node does.
func breaks(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	res, err := http.Get(url)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	return res, string(b)
}

// from is a client at an address of its own.
func from(t *testing.T, ip string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1000}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}
