package nginx_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill/deploy/nginx"
)

const server = "/usr/sbin/nginx"

// What is shipped is what nginx accepts, without a warning: as it is, and with TLS.
// Only the places that a test may not write to are others.
func TestNginxAcceptsWhatIsShipped(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(server); err != nil {
		if os.Getenv("SECKILL_REQUIRE") == "1" {
			t.Fatalf("nginx is required and missing: %v", err)
		}
		t.Skipf("NOT TESTED: %v: apt-get install -y nginx", err)
	}
	plain := func(_ *testing.T, _ string, listen string) string {
		return strings.ReplaceAll(listen, "listen 80 ", "listen 127.0.0.1:38080 ")
	}
	tls := func(t *testing.T, dir, listen string) string {
		certificate(t, dir)
		listen = regexp.MustCompile(`(?m)^(listen|server_name) .*\n`).ReplaceAllString(listen, "")
		listen = regexp.MustCompile(`(?m)^# ((listen|server_name|ssl_|http2).*;)$`).ReplaceAllString(listen, "$1")
		require.Contains(t, listen, "http2 on;\n")
		if out, err := exec.CommandContext(t.Context(), server, "-v").CombinedOutput(); err != nil || regexp.MustCompile(`nginx/1\.(\d|1\d|2[0-4])\.|nginx/1\.25\.0`).Match(out) {
			require.NoError(t, err)
			listen = strings.NewReplacer("http2 on;", "", "443 ssl ", "443 ssl http2 ").Replace(listen)
		}
		listen = strings.ReplaceAll(listen, "listen 443 ", "listen 127.0.0.1:38443 ")
		require.Contains(t, listen, "ssl_certificate_key")
		return strings.ReplaceAll(listen, "/etc/ssl/seckill", dir)
	}
	broken := func(_ *testing.T, _, listen string) string { return listen + "listen nowhere;;\n" }
	for name, c := range map[string]struct {
		listen func(t *testing.T, dir, listen string) string
		ok     bool
	}{
		"as it is": {plain, true},
		"with TLS": {tls, true},
		"broken":   {broken, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			places := strings.NewReplacer("/run/", dir+"/", "/var/log/nginx/", dir+"/", "/var/lib/nginx/", dir+"/")
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
					text = c.listen(t, dir, text)
				case "main.conf":
					if os.Geteuid() != 0 {
						text = strings.ReplaceAll(text, "user ", "# user ")
					}
				}
				file := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					return err
				}
				return os.WriteFile(file, []byte(places.Replace(text)), 0o600)
			}))
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

// Only a broken connection sends a request to another node, and only what can be
// repeated is sent twice. What a timeout or a 503 does is in no test: it takes
// minutes, or a word that must not be there.
func TestOnlyBrokenConnectionsAreTriedAgain(t *testing.T) {
	t.Parallel()
	b, err := fs.ReadFile(nginx.Files, "seckill.conf")
	require.NoError(t, err)
	var rules []string
	for _, m := range regexp.MustCompile(`(?m)^\s*proxy_next_upstream\s+(.*);`).FindAllStringSubmatch(string(b), -1) {
		rules = append(rules, m[1])
	}
	require.Equal(t, []string{"error", "error non_idempotent"}, rules)
}

// Each node is listed twice: first as one that is left alone when it fails, then
// for when all have failed.
func TestNodesAreListedTwice(t *testing.T) {
	t.Parallel()
	b, err := fs.ReadFile(nginx.Files, "seckill/nodes.conf")
	require.NoError(t, err)
	lists := map[bool][]string{}
	for _, m := range regexp.MustCompile(`(?m)^server (\S+) (.*);`).FindAllStringSubmatch(string(b), -1) {
		backup := strings.Contains(m[2], "backup")
		lists[backup] = append(lists[backup], m[1])
	}
	require.NotEmpty(t, lists[false])
	require.True(t, slices.Equal(lists[false], lists[true]), "%v", lists)
}
