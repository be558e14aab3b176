package redisgate

import (
	"crypto/rand"
	"crypto/tls"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill/internal/ca/catest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// A Redis whose certificate is signed by a CA of one's own is reached with
// redis.ca_file, and not without it.
func TestRedisWithACAOfItsOwn(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(stacktest.Shared(t, stack.KindRedis).URL())
	require.NoError(t, err)
	files := catest.New(t)
	address, file := catest.Front(t, u.Host, files), files.CA
	u.Scheme, u.Host = "rediss", address
	u.RawQuery = url.Values{"ca": {file}}.Encode()
	g := runGate(t, u.String(), "seckill:"+strings.ToLower(rand.Text()[:12])+":", 10)
	until(t, "it answers over TLS", func() bool { return g.Ping(t.Context()) == nil })

	_, err = Open(Settings{Address: "redis://" + address + "?ca=" + url.QueryEscape(file)})
	require.ErrorContains(t, err, "redis.ca_file needs TLS: write rediss://")
	_, err = Open(Settings{Address: "rediss://" + address + "?ca=/nowhere"})
	require.ErrorContains(t, err, "redis.ca_file")

	t.Log("without it nobody vouches for the certificate")
	u.RawQuery = ""
	strange, err := Open(Settings{Address: u.String()})
	require.NoError(t, err)
	c, err := tls.Dial("tcp", address, strange.options.TLSConfig)
	if err == nil {
		c.Close()
	}
	require.ErrorContains(t, err, "certificate signed by unknown authority")
}
