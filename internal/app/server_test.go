package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
	"seckill/internal/store"
	"seckill/internal/store/storetest"
)

// served is the server that nodes use, on a port of this machine.
func served(t *testing.T, h http.HandlerFunc) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := server(h, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- serve(s, l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, stacktest.Await(t, "the server ends", done))
	})
	return l.Addr().String()
}

// exchange sends bytes as they are and reads one answer.
func exchange(t *testing.T, address, request string) (status int) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	go io.WriteString(c, request) // the server may close before it has read all
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	defer res.Body.Close()
	return res.StatusCode
}

func TestHeadersOver8KBAre431(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	address := served(t, func(w http.ResponseWriter, r *http.Request) { reached.Add(1) })
	for name, c := range map[string]struct {
		header string
		status int
	}{
		"7 KB in one":     {"X: " + strings.Repeat("x", 7<<10), 200},
		"9 KB in one":     {"X: " + strings.Repeat("x", 9<<10), 431},
		"7 KB in many":    {many(7 << 10), 200},
		"9 KB in many":    {many(9 << 10), 431},
		"1 MB in one":     {"X: " + strings.Repeat("x", 1<<20), 431},
		"a 9 KB address":  {"", 431},
		"a 9 KB token":    {"Authorization: Bearer " + strings.Repeat("x", 9<<10), 431},
		"9 KB of cookies": {"Cookie: a=" + strings.Repeat("x", 9<<10), 431},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/"
			if c.header == "" {
				path, c.header = "/?"+strings.Repeat("x", 9<<10), "X: x"
			}
			before := reached.Load()
			require.Equal(t, c.status, exchange(t, address, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"+c.header+"\r\n\r\n"))
			if c.status != 200 {
				require.Equal(t, before, reached.Load(), "nobody has seen the request")
			}
		})
	}
}

// many is n bytes of small headers.
func many(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n-20; i++ {
		fmt.Fprintf(&b, "X-%06d: 123456\r\n", i)
	}
	return strings.TrimSuffix(b.String(), "\r\n")
}

func TestEveryConnectionHasItsLimits(t *testing.T) {
	t.Parallel()
	s := server(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	require.Positive(t, s.ReadHeaderTimeout)
	require.LessOrEqual(t, s.ReadHeaderTimeout, 10*time.Second)
	require.Positive(t, s.ReadTimeout)
	require.Positive(t, s.IdleTimeout)
}

// node starts a whole node on ports of its own and returns how to stop it. What it logs the
// test hears too.
func node(t *testing.T, c Config, hears ...slog.Handler) (n *Node, stop func() error) {
	t.Helper()
	c.Listen, c.OpsListen = "127.0.0.1:0", "127.0.0.1:0"
	log := slog.NewTextHandler(stacktest.Log(t, "the node"), nil)
	n, err := Open(t.Context(), c, slog.New(slog.NewMultiHandler(append(hears, log)...)))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- n.Run(ctx, func(context.Context) { close(ready) }) }()
	var once atomic.Bool
	stop = func() error {
		cancel()
		if once.Swap(true) {
			return nil
		}
		return stacktest.Await(t, "the node stops", done)
	}
	t.Cleanup(func() { stop() })
	select {
	case <-ready:
	case err := <-done:
		once.Store(true)
		t.Fatalf("the node ended: %v", err)
	case <-time.After(hangs):
		t.Fatalf("the node is not ready within %v", hangs)
	}
	return n, stop
}

// Whatever has a bound shows how full it is.
func TestEveryBoundHasAMetric(t *testing.T) {
	t.Parallel()
	c := Defaults()
	c.DataDir = t.TempDir()
	n, _ := node(t, c)
	families, err := n.metrics.Gather()
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				seen[f.GetName()+" "+l.GetValue()] = true
			}
		}
	}
	for _, name := range []string{"buying", "results", "waits", "pages", "orders", "payments", "bodies", "accounts", "admin", "stops", "undos", "streams", "downloads", "logins", "known_logins",
		"account_reads", "known_account_reads", "payment_starts", "store_reads_of_people", "store_long_reads_of_people"} {
		require.True(t, seen["seckill_room_places "+name], name)
		require.True(t, seen["seckill_room_taken "+name], name)
	}
	for _, pool := range []string{"write", "read"} {
		require.True(t, seen["go_sql_max_open_connections "+pool], pool)
	}
}

func status(t *testing.T, url string) int {
	t.Helper()
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func embedded(t *testing.T) Config {
	c := Defaults()
	c.DataDir = t.TempDir()
	storetest.Make(t, filepath.Join(c.DataDir, "seckill.db"), store.Open)
	return c
}

func TestTheOperationsListenerIsAnotherOne(t *testing.T) {
	t.Parallel()
	n, _ := node(t, embedded(t))
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/"} {
		require.Equal(t, 200, status(t, n.OpsURL()+path), path)
		require.Equal(t, 404, status(t, n.URL()+path), path)
	}
	for _, path := range []string{"/", "/api/sales", "/api/openapi.json"} {
		require.Equal(t, 200, status(t, n.URL()+path), path)
	}
	for _, path := range []string{"/", "/api/sales"} {
		require.Equal(t, 404, status(t, n.OpsURL()+path), path)
	}
}

// warnings are what a log warns of, as it comes.
type warnings struct {
	slog.Handler
	heard chan string
}

func (w warnings) Enabled(context.Context, slog.Level) bool { return true }

func (w warnings) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		select {
		case w.heard <- r.Message:
		default: // more than anybody listens to
		}
	}
	return nil
}

// A node on a Redis whose settings are weaker than the promise needs says so when
// it starts.
func TestANodeNamesWhatIsWeakerThanPromised(t *testing.T) {
	t.Parallel()
	redis := stacktest.Own(t, stack.KindRedis)
	_, err := redis.AskRedis(t.Context(), "CONFIG", "SET", "appendfsync", "everysec")
	require.NoError(t, err)
	c := embedded(t)
	c.Gate = Address(redis.URL())
	log := warnings{slog.DiscardHandler, make(chan string, 1000)}
	node(t, c, log)
	want := "weaker than promised: Redis at " + redis.Addr() + " has appendfsync everysec; the promise needs appendfsync always"
	for patience := time.After(time.Minute); ; {
		select {
		case said := <-log.heard:
			if said == want {
				return
			}
		case <-patience:
			t.Fatalf("nobody said: %s", want)
		}
	}
}

func TestASecondNodeOnTheSameDataIsRefused(t *testing.T) {
	t.Parallel()
	c := embedded(t)
	_, stop := node(t, c)
	c.Listen, c.OpsListen = "127.0.0.1:0", "127.0.0.1:0"
	_, err := Open(t.Context(), c, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "in use by process")
	require.ErrorContains(t, err, c.DataDir)
	require.NoError(t, stop())
	n, err := Open(t.Context(), c, slog.New(slog.DiscardHandler))
	require.NoError(t, err, "once the first has stopped there is room")
	require.NoError(t, n.Close())
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, flag := range []string{"--listen", "--ops-listen"} {
		c := embedded(t)
		c.Listen, c.OpsListen = "127.0.0.1:0", l.Addr().String()
		if flag == "--listen" {
			c.Listen, c.OpsListen = c.OpsListen, c.Listen
		}
		_, err = Open(t.Context(), c, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, l.Addr().String())
		require.ErrorContains(t, err, flag)
	}
}
