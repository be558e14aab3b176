package nginx_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill/deploy/nginx"
)

const server = "/usr/sbin/nginx"

// installed skips a test where nginx is missing, unless it is demanded.
func installed(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(server); err != nil {
		if os.Getenv("SECKILL_REQUIRE") == "1" {
			t.Fatalf("nginx is required and missing: %v", err)
		}
		t.Skipf("NOT TESTED: %v: apt-get install -y nginx", err)
	}
}

// place writes what is shipped to a folder, with the places that a test may not
// write to in it, and with listen.conf as it is given.
func place(t *testing.T, listen string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	places := strings.NewReplacer("/run/", dir+"/", "/var/log/nginx/", dir+"/", "/var/lib/nginx/", dir+"/", "/etc/ssl/seckill", dir)
	require.NoError(t, fs.WalkDir(nginx.Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := fs.ReadFile(nginx.Files, name)
		if err != nil {
			return err
		}
		text := string(b)
		switch filepath.Base(name) {
		case "listen.conf":
			text = listen
		case "main.conf":
			if os.Geteuid() != 0 {
				text = strings.ReplaceAll(text, "user ", "# user ")
			}
		case "nodes.conf": // the example's may be somebody's, here
			text = "server 127.0.0.1:1 max_fails=1 fail_timeout=1s;\nserver 127.0.0.1:1 backup max_fails=0;\n"
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		return os.WriteFile(file, []byte(places.Replace(text)), 0o600)
	}))
	certificate(t, dir)
	return dir
}

func shipped(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(nginx.Files, name)
	require.NoError(t, err)
	return string(b)
}

// withHTTP2 turns it on in listen-tls.conf, as the file says.
func withHTTP2(t *testing.T, listen string) string {
	t.Helper()
	require.Contains(t, listen, "\n# http2 on;\n")
	out, err := exec.CommandContext(t.Context(), server, "-v").CombinedOutput()
	require.NoError(t, err)
	if regexp.MustCompile(`nginx/1\.(\d|1\d|2[0-4])\.|nginx/1\.25\.0`).Match(out) {
		return strings.ReplaceAll(listen, "listen 443 ssl ", "listen 443 ssl http2 ")
	}
	return strings.ReplaceAll(listen, "# http2 on;", "http2 on;")
}

// What is shipped is what nginx accepts, without a warning: as it is, and with TLS.
func TestNginxAcceptsWhatIsShipped(t *testing.T) {
	t.Parallel()
	installed(t)
	local := strings.NewReplacer("listen 80 ", "listen 127.0.0.1:38080 ", "listen 443 ", "listen 127.0.0.1:38443 ")
	for name, c := range map[string]struct {
		listen string
		ok     bool
	}{
		"as it is":    {shipped(t, "seckill/listen.conf"), true},
		"with TLS":    {shipped(t, "seckill/listen-tls.conf"), true},
		"with HTTP/2": {withHTTP2(t, shipped(t, "seckill/listen-tls.conf")), true},
		"broken":      {"listen nowhere;;\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := place(t, local.Replace(c.listen))
			out, err := exec.CommandContext(t.Context(), server, "-t", "-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf")).CombinedOutput()
			if !c.ok {
				require.Error(t, err)
				return
			}
			require.NoError(t, err, "%s", out)
			require.NotRegexp(t, `\[(warn|alert|crit)\]`, string(out))
		})
	}
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// With listen-tls.conf nginx speaks TLS, sends plain requests on to it, and tells
// browsers to stay with it. Its own answers may not be kept.
func TestTLS(t *testing.T) {
	t.Parallel()
	installed(t)
	plain, secure := freePort(t), freePort(t)
	listen := strings.NewReplacer("listen 80 ", "listen 127.0.0.1:"+plain+" ", "listen 443 ", "listen 127.0.0.1:"+secure+" ").Replace(withHTTP2(t, shipped(t, "seckill/listen-tls.conf")))
	dir := place(t, listen)
	cmd := exec.Command(server, "-e", "stderr", "-g", "daemon off;", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait())
	})
	pem, err := os.ReadFile(filepath.Join(dir, "fullchain.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "shop.example"}, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(client.CloseIdleConnections)
	var res *http.Response
	require.Eventually(t, func() bool {
		res, err = client.Get("http://127.0.0.1:" + plain + "/sale/1?a=b")
		return err == nil
	}, time.Minute, 20*time.Millisecond, "nginx does not answer")
	res.Body.Close()
	require.Equal(t, http.StatusPermanentRedirect, res.StatusCode)
	require.Equal(t, "https://shop.example/sale/1?a=b", res.Header.Get("Location"), "to the name of the configuration, whatever Host was asked for")
	require.Empty(t, res.Header.Get("Strict-Transport-Security"), "what comes by plain HTTP could be anybody's")

	for path, status := range map[string]int{"/healthz": 404, "/api/sales": 503, "/": 503} {
		res, err := client.Get("https://127.0.0.1:" + secure + path)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, status, res.StatusCode, path)
		require.Equal(t, 2, res.ProtoMajor)
		for name, want := range map[string]string{"Strict-Transport-Security": "max-age=31536000", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
			require.Equal(t, []string{want}, res.Header.Values(name), "%s of %s", name, path)
		}
		require.Contains(t, string(body), res.Header.Get("X-Request-Id"))
		require.Len(t, res.Header.Values("X-Request-Id"), 1)
		if status == 503 {
			require.Equal(t, []string{"1"}, res.Header.Values("Retry-After"))
		}
	}
}

// certificate makes one that signs itself, where the configuration looks for it.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"shop.example"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for file, block := range map[string]*pem.Block{"fullchain.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: der}} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600))
	}
}

// A broken connection, or silence, sends a request to another node; only what can be
// repeated is sent twice. A 503 is an answer.
func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	var rules []string
	for _, m := range regexp.MustCompile(`(?m)^\s*proxy_next_upstream\s+(.*);`).FindAllStringSubmatch(shipped(t, "seckill.conf"), -1) {
		rules = append(rules, m[1])
	}
	require.Equal(t, []string{"error timeout", "error timeout non_idempotent", "error timeout non_idempotent", "error", "error timeout non_idempotent"}, rules)
}

// Each node is listed twice: first as one that is left alone when it fails, then
// for when all have failed.
func TestNodesAreListedTwice(t *testing.T) {
	t.Parallel()
	lists := map[bool][]string{}
	for _, m := range regexp.MustCompile(`(?m)^server (\S+) (.*);`).FindAllStringSubmatch(shipped(t, "seckill/nodes.conf"), -1) {
		backup := strings.Contains(m[2], "backup")
		lists[backup] = append(lists[backup], m[1])
	}
	require.NotEmpty(t, lists[false])
	require.True(t, slices.Equal(lists[false], lists[true]), "%v", lists)
}
