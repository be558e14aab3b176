package packed

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhoTakesGzip(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "gzip, deflate, br, zstd": true, "br;q=1, gzip;q=0.5": true,
		"gzip;q=0": false, "gzip; q=0.0": false, "gzip;q=x": false, "br": false, "identity": false, "gzipped": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if header != "" {
			r.Header.Set("Accept-Encoding", header)
		}
		require.Equal(t, want, Taken(r), "%q", header)
	}
}

func TestWhatIsPackedIsWhatWasSent(t *testing.T) {
	t.Parallel()
	long := []byte(strings.Repeat(`{"title":"机械键盘"}`, 200))
	for name, c := range map[string]struct {
		body   []byte
		takes  string
		packed bool
	}{
		"long":               {long, "gzip", true},
		"long, as it is":     {long, "br", false},
		"too short to pay":   {[]byte(`{"items":[]}`), "gzip", false},
		"one byte too short": {long[:Smallest-1], "gzip", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Encoding", c.takes)
		w := httptest.NewRecorder()
		Write(w, r, 200, c.body)
		got := w.Body.Bytes()
		require.Equal(t, "Accept-Encoding", w.Header().Get("Vary"), name)
		require.Equal(t, c.packed, w.Header().Get("Content-Encoding") == "gzip", name)
		if c.packed {
			require.Less(t, len(got), len(c.body)/10, name)
			z, err := gzip.NewReader(bytes.NewReader(got))
			require.NoError(t, err)
			got, err = io.ReadAll(z)
			require.NoError(t, err)
		}
		require.Equal(t, c.body, got, name)
	}
	z, err := gzip.NewReader(bytes.NewReader(Once(long)()))
	require.NoError(t, err)
	got, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, long, got)
}
