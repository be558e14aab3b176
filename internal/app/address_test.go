package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	onGate  = "SECKILL_GATE=redis://buyer@10.0.0.21:6379/1"
	onQueue = "SECKILL_QUEUE=amqp://sender@10.0.0.22:5672/shop"
	onStore = "SECKILL_STORE=mysql://keeper@10.0.0.23:3306/shop"
)

// The password of each engine may stand in a file of its own: then it is in no
// command line, no environment and no configuration file.
func TestPasswordsOfEnginesStandInFiles(t *testing.T) {
	t.Parallel()
	file := write(t, "  p/w#1@x\n")
	c, err := LoadConfig("", []string{onGate, onQueue, onStore, "SECKILL_REDIS_PASSWORD_FILE=" + file, "SECKILL_RABBITMQ_PASSWORD_FILE=" + file, "SECKILL_MYSQL_PASSWORD_FILE=" + file}, nil)
	require.NoError(t, err)
	require.Equal(t, "redis://buyer:p%2Fw%231%40x@10.0.0.21:6379/1", string(c.Gate))
	require.Equal(t, "p/w#1@x", string(c.RabbitMQ.Password))
	require.Equal(t, "mysql://keeper:p%2Fw%231%40x@10.0.0.23:3306/shop", string(c.Store))
	shown, err := c.Show()
	require.NoError(t, err)
	require.NotContains(t, string(shown), "p/w")
	require.NotContains(t, string(shown), "p%2Fw")

	t.Log("an address with a password of its own needs no file")
	c, err = LoadConfig("", []string{"SECKILL_GATE=redis://buyer:own@h", "SECKILL_REDIS_PASSWORD_FILE=/nowhere"}, nil)
	require.NoError(t, err)
	require.Equal(t, "redis://buyer:own@h", string(c.Gate))

	t.Log("a file that is not there is named with its setting")
	for env, key := range map[string]string{"SECKILL_REDIS_PASSWORD_FILE": "redis.password_file", "SECKILL_MYSQL_PASSWORD_FILE": "mysql.password_file", "SECKILL_RABBITMQ_PASSWORD_FILE": "rabbitmq.password_file"} {
		_, err = LoadConfig("", []string{onGate, onQueue, onStore, env + "=/nowhere/password"}, nil)
		require.ErrorContains(t, err, key)
		require.ErrorContains(t, err, "/nowhere/password")
	}
}

func TestAnOwnCAGoesWithTheAddress(t *testing.T) {
	t.Parallel()
	c, err := LoadConfig("", []string{"SECKILL_GATE=rediss://a@h", onStore, "SECKILL_REDIS_CA_FILE=/etc/ca.pem", "SECKILL_MYSQL_CA_FILE=/etc/ca.pem"}, nil)
	require.NoError(t, err)
	require.Equal(t, "rediss://a@h?ca=%2Fetc%2Fca.pem", string(c.Gate))
	require.Contains(t, string(c.Store), "?ca=%2Fetc%2Fca.pem")
	_, err = LoadConfig("", []string{onGate, "SECKILL_REDIS_CA_FILE=/etc/ca.pem"}, nil)
	require.ErrorContains(t, err, "redis.ca_file (SECKILL_REDIS_CA_FILE): needs TLS: write rediss://")
	_, err = LoadConfig("", []string{onQueue, "SECKILL_RABBITMQ_CA_FILE=" + write(t, "x")}, nil)
	require.ErrorContains(t, err, "rabbitmq.ca_file")
	_, err = LoadConfig("", []string{"SECKILL_QUEUE=amqps://sender@h", "SECKILL_RABBITMQ_CA_FILE=" + write(t, "x")}, nil)
	require.ErrorContains(t, err, "no certificate in PEM form")
}

func TestEnginesElsewhereWithoutTLSAreNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gate, queue, store string
		weak               []string // what is said of each
	}{
		"embedded":         {"memory", "memory", "sqlite:/x", nil},
		"on this machine":  {"redis://127.0.0.1", "amqp://localhost", "mysql://a@[::1]/d", nil},
		"elsewhere":        {"redis://10.0.0.1", "amqp://mq", "mysql://a@db/d", []string{"rediss://", "amqps://", "tls=true"}},
		"with TLS":         {"rediss://10.0.0.1", "amqps://mq", "mysql://a@db/d?tls=true", nil},
		"believes anybody": {"rediss://10.0.0.1?skip_verify=true", "amqps://mq", "mysql://a@db/d?tls=skip-verify", []string{"skip_verify", "any certificate"}},
		"falls back":       {"memory", "memory", "mysql://a@db/d?tls=preferred", []string{"any certificate, and without TLS where the server offers none"}},
		"other words":      {"rediss://10.0.0.1?skip_verify=false", "amqps://mq", "mysql://a@db/d?tls=1", nil},
		"with a CA":        {"rediss://10.0.0.1?skip_verify=true&ca=/x.pem", "amqps://mq", "mysql://a@db/d?tls=True", nil},
		"off":              {"rediss://10.0.0.1?skip_verify", "amqps://mq", "mysql://a@db/d?tls=0", []string{"skip_verify", "tls=true"}},
		"another member":   {"redis://127.0.0.1?addr=10.0.0.2:6379&addr=127.0.0.1:2", "memory", "sqlite:/x", []string{"rediss://"}},
		"members here":     {"redis://127.0.0.1?addr=127.0.0.1:2&addr=[::1]:3&addr=:4", "memory", "sqlite:/x", nil},
	} {
		config, err := LoadConfig("", []string{"SECKILL_GATE=" + c.gate, "SECKILL_QUEUE=" + c.queue, "SECKILL_STORE=" + c.store}, nil)
		require.NoError(t, err, name)
		weak := config.weakTransport()
		require.Len(t, weak, len(c.weak), "%s: %q", name, weak)
		for i, want := range c.weak {
			require.Contains(t, weak[i], want, name)
		}
	}
}

func TestTheShopsServerElsewhereWithoutTLSIsNamed(t *testing.T) {
	t.Parallel()
	c := Defaults()
	c.Payment.RefundURL, c.Payment.StatementURL = "http://shop.internal/refunds?key=hush", "http://127.0.0.1/statement"
	weak := c.weakTransport()
	require.Len(t, weak, 1)
	require.Contains(t, weak[0], "payment.refund_url (http://shop.internal/refunds?(hidden)) is on another machine")
	c.Payment.RefundURL = "https://shop.internal/refunds"
	require.Empty(t, c.weakTransport())
}

// A receiver of webhooks without TLS is named at the start, and keeps no sale from its opening.
func TestAReceiverWithoutTLSDoesNotFailThePreflight(t *testing.T) {
	t.Parallel()
	c := Defaults()
	c.DataDir, c.Listen, c.OpsListen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	c.Webhooks = []Webhook{{Name: "erp", URL: "http://10.0.0.5/hook", Secret: "whsec_YW4gZXhhbXBsZSBhbmQgbm90IGEgc2VjcmV0IQ=="}}
	var log bytes.Buffer
	n, err := Open(t.Context(), c, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	defer n.Close()
	require.Contains(t, log.String(), `\"erp\" is on another machine and told without TLS`)
	weak, err := n.ready().Weak(t.Context())
	require.NoError(t, err)
	require.Empty(t, weak)
}

// Files that an earlier version, or a folder of another mode, has left open are
// closed at the start.
func TestFilesOfTheEmbeddedPartsAreForNobodyElse(t *testing.T) {
	t.Parallel()
	c := Defaults()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(c.DataDir, 0o755))
	require.NoError(t, os.Chmod(c.DataDir, 0o755))
	for _, file := range []string{"seckill.db", "gate.db"} {
		require.NoError(t, os.WriteFile(filepath.Join(c.DataDir, file), nil, 0o644))
	}
	_, stop := node(t, c)
	found := 0
	require.NoError(t, filepath.WalkDir(c.DataDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
		found++
		return nil
	}))
	require.GreaterOrEqual(t, found, 4)
	require.NoError(t, stop())
}

func TestTheOperationsListenerKnowsItsNames(t *testing.T) {
	t.Parallel()
	c := Defaults()
	c.DataDir, c.OpsHosts = t.TempDir(), []string{"seckill.internal"}
	n, _ := node(t, c)
	address := n.ops.Addr().String()
	port := address[strings.LastIndex(address, ":")+1:]
	for host, want := range map[string]int{
		address: 200, "localhost:" + port: 200, "LOCALHOST": 200, "127.0.0.1": 200, "[::1]:" + port: 200, "seckill.internal:" + port: 200, "seckill.internal": 200,
		"evil.example": 421, "evil.example:" + port: 421, "10.1.2.3": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
	} {
		require.Equal(t, want, exchange(t, address, "GET /healthz HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"), host)
	}
	t.Log("flags with passwords are not shown")
	require.Equal(t, 404, exchange(t, address, "GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
	require.Equal(t, 200, exchange(t, address, "GET /debug/pprof/goroutine?debug=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

func TestAnOperationsListenerForEverybodyIsNamed(t *testing.T) {
	t.Parallel()
	for listen, warned := range map[string]bool{"127.0.0.1:0": false, "0.0.0.0:0": true} {
		c := Defaults()
		c.DataDir, c.Listen, c.OpsListen = t.TempDir(), "127.0.0.1:0", listen
		var log bytes.Buffer
		n, err := Open(t.Context(), c, slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		require.NoError(t, n.Close())
		require.Equal(t, warned, strings.Contains(log.String(), "the operations listener can be reached from other machines"), listen)
	}
}
