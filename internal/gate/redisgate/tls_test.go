package redisgate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
)

// withTLS puts TLS in front of a server: a certificate for localhost that signs
// itself, in file.
func withTLS(t *testing.T, server string) (address, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				s, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer s.Close()
				go func() {
					io.Copy(s, c)
					s.Close()
				}()
				io.Copy(c, s)
			}()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return "localhost:" + port, file
}

// A Redis whose certificate is signed by a CA of one's own is reached with
// redis.ca_file, and not without it.
func TestRedisWithACAOfItsOwn(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(stack.Shared(t, stack.KindRedis).URL())
	require.NoError(t, err)
	address, file := withTLS(t, u.Host)
	u.Scheme, u.Host = "rediss", address
	u.RawQuery = url.Values{"ca": {file}}.Encode()
	g := runGate(t, u.String(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	until(t, "it answers over TLS", func() bool { return g.Ping(t.Context()) == nil })

	_, err = Open("redis://"+address+"?ca="+url.QueryEscape(file), 0, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "redis.ca_file needs TLS: write rediss://")
	_, err = Open("rediss://"+address+"?ca=/nowhere", 0, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "redis.ca_file")

	t.Log("without it nobody vouches for the certificate")
	u.RawQuery = ""
	strange, err := Open(u.String(), 0, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	c, err := tls.Dial("tcp", address, strange.options.TLSConfig)
	if err == nil {
		c.Close()
	}
	require.ErrorContains(t, err, "certificate signed by unknown authority")
}
