package app

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/client"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

// What is embedded belongs to one process, so a shared part beside it serves one
// node: a second one is refused when it has waited for the first to be dead.
func TestASharedPartBesideEmbeddedOnesIsForOneNode(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, says string
		share      func(t *testing.T, c *Config)
	}{
		{"the queue", "the queue is in use by another node, and embedded parts (--gate, --store) belong to one process: stop it first, or use shared engines for all parts",
			func(t *testing.T, c *Config) {
				c.Queue = Address(stacktest.Fresh(t, stacktest.Shared(t, stack.KindRabbitMQ)))
				require.NoError(t, c.RabbitMQ.ParseURL(string(c.Queue)))
				c.RabbitMQ.ConsoleURL = "https://mq.shop.example/"
			}},
		{"the store", "and embedded parts (--gate, --queue) belong to one process: stop it first, or use shared engines for all parts",
			func(t *testing.T, c *Config) {
				c.Store = Address(stacktest.Fresh(t, stacktest.Shared(t, stack.KindMariaDB)))
			}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			c := embedded(t)
			x.share(t, &c)
			n, stop := node(t, c)
			require.Equal(t, c.RabbitMQ.ConsoleURL, console(t, n))
			second := c
			second.RabbitMQ.ConsoleURL = ""
			second.Listen, second.OpsListen, second.DataDir = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
			_, err := Open(t.Context(), second, slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, x.name+" ")
			require.ErrorContains(t, err, x.says)
			require.Equal(t, 200, status(t, n.OpsURL()+"/readyz"), "the first goes on")
			require.NoError(t, stop())
			n, _ = node(t, second)
			require.Empty(t, console(t, n), "where people reach it is not guessed")
		})
	}
}

// console is the link to RabbitMQ's own console that a node gives.
func console(t *testing.T, n *Node) string {
	t.Helper()
	token, err := account.Mint(n.secret, "root", seckill.RoleAdmin, time.Minute)
	require.NoError(t, err)
	var engines struct {
		Console string `json:"rabbitmq_console"`
	}
	require.NoError(t, (&client.Client{Server: n.URL(), Token: token}).Call(t.Context(), "GET", "/api/admin/engines", nil, &engines))
	return engines.Console
}
