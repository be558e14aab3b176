// Package rabbittest is what tests on a real RabbitMQ share: a broker, a virtual host of
// the test's own, a connection of its own, and a wire that can be cut.
package rabbittest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"seckill/internal/duty"
	"seckill/internal/rabbit"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// leaktest fails a run that leaves goroutines behind.
type leaktest struct{ *testing.M }

// Main runs the tests of a package: engines that they started are ended with it, and no
// goroutine may be left behind.
func Main(m *testing.M) { stacktest.Main(leaktest{m}) }

func (m leaktest) Run() int {
	code := m.M.Run()
	if code == 0 {
		err := goleak.Find(
			goleak.IgnoreAnyFunction("seckill/internal/stack.spawn.func1"), // waits for a shared engine, until Main ends it
			// A wire that was cut while it carried something stays behind.
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
			goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
		)
		if err != nil {
			fmt.Println("goroutines are left behind:", err)
			code = 1
		}
	}
	return code
}

// Notes returns the settings that docs/rabbitmq.md calls those of the notes. They are slower:
// with a prefetch of 1 every ticket costs its listener a round trip.
func Notes() rabbit.Settings {
	s := rabbit.Defaults()
	s.Listener = rabbit.Listener{Concurrency: 10, MaxConcurrency: 10, Prefetch: 1, AutoStartup: true, DefaultRequeueRejected: true}
	s.PublishRetry = rabbit.PublishRetry{Enabled: true, InitialInterval: time.Second, MaxAttempts: 3, MaxInterval: 10 * time.Second, Multiplier: 1}
	return s
}

// Patience is how long a test waits for something that happens at once on a
// machine that is not busy.
const Patience = time.Minute

// Fresh returns settings for a virtual host of the test's own.
func Fresh(t testing.TB) rabbit.Settings {
	t.Helper()
	return At(t, stacktest.Fresh(t, stacktest.Shared(t, stack.KindRabbitMQ)))
}

// At returns settings for the broker and virtual host of a URL.
func At(t testing.TB, url string) rabbit.Settings {
	t.Helper()
	s := rabbit.Defaults()
	require.NoError(t, s.ParseURL(url))
	return s
}

// Eventually asks until there is no error. It notices late by a twentieth of the wait: who
// waits for seconds takes no time from a broker that starts.
func Eventually(t testing.TB, ask func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Since(began) > Patience {
			t.Fatalf("not within %v: %v", Patience, err)
		}
		_ = duty.Rest(context.Background(), min(max(time.Since(began)/20, 5*time.Millisecond), 200*time.Millisecond))
	}
}

// Dial is a connection of the test's own.
func Dial(t testing.TB, s rabbit.Settings) *amqp.Connection {
	t.Helper()
	c, err := amqp.DialConfig("amqp://"+s.Addr(), amqp.Config{Vhost: s.VirtualHost, SASL: []amqp.Authentication{&amqp.PlainAuth{Username: s.Username, Password: string(s.Password)}}})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// Look tells how many messages wait in a queue, and how many listeners it has.
func Look(ch *amqp.Channel, queue string) (amqp.Queue, error) {
	return ch.QueueDeclarePassive(queue, true, false, false, false, nil)
}

// Waits until the queue at the broker is as the test wants it.
func Waits(t testing.TB, ch *amqp.Channel, queue string, ready, consumers int) {
	t.Helper()
	Eventually(t, func() error {
		q, err := Look(ch, queue)
		if err == nil && (q.Messages != ready || q.Consumers != consumers) {
			err = fmt.Errorf("%s has %d tickets and %d consumers, want %d and %d", queue, q.Messages, q.Consumers, ready, consumers)
		}
		return err
	})
}

// Holds waits until the queue has at least so many messages.
func Holds(t testing.TB, ch *amqp.Channel, queue string, least int) {
	t.Helper()
	Eventually(t, func() error {
		q, err := Look(ch, queue)
		if err == nil && q.Messages < least {
			err = fmt.Errorf("%s has %d tickets, want %d", queue, q.Messages, least)
		}
		return err
	})
}

// Channel is one of the test's own.
func Channel(t testing.TB, s rabbit.Settings) *amqp.Channel {
	t.Helper()
	ch, err := Dial(t, s).Channel()
	require.NoError(t, err)
	return ch
}

// Wire is a connection that a test can cut.
type Wire struct{ *toxiproxy.Proxy }

// Cuttable puts a wire between the queue and its broker.
func Cuttable(t testing.TB, s *rabbit.Settings) Wire {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", s.Addr())
	require.NoError(t, p.Start())
	t.Cleanup(p.Stop)
	_, err := fmt.Sscanf(p.Listen, "127.0.0.1:%d", &s.Port)
	require.NoError(t, err)
	return Wire{p}
}

// Cut ends every connection. None is made until Mend.
func (w Wire) Cut() { w.Stop() }

// Mend lets connections be made again.
func (w Wire) Mend(t testing.TB) {
	t.Helper()
	// The port is free again, but the kernel may be late to know.
	Eventually(t, func() error {
		if err := w.Start(); err != nil && !errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
			return err
		}
		return nil
	})
}

var epmdPort = regexp.MustCompile(`-erl_epmd_port (\d+)`)

// Watermark sets how much of the machine's memory the broker may use, as a part such as 0.4.
func Watermark(t testing.TB, broker *stack.Engine, part float64) {
	t.Helper()
	require.NoError(t, SetWatermark(t.Context(), broker, part))
}

// SetWatermark is Watermark for who is no test.
func SetWatermark(ctx context.Context, broker *stack.Engine, part float64) error {
	_, err := eval(ctx, broker, fmt.Sprintf("ok = vm_memory_monitor:set_vm_memory_high_watermark(%.2f).", part))
	return err
}

// Eval has the broker evaluate expressions of Erlang, and returns what the last one is.
func Eval(t testing.TB, broker *stack.Engine, expressions string) string {
	t.Helper()
	value, err := eval(t.Context(), broker, expressions)
	require.NoError(t, err)
	return value
}

// eval does what rabbitmqctl eval does, with a tool that takes no Erlang of its own to start.
func eval(ctx context.Context, broker *stack.Engine, expressions string) (string, error) {
	// Without epmd the tool has to be told where the broker listens.
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", broker.Pid()))
	if err != nil {
		return "", err
	}
	port := epmdPort.FindSubmatch(environ)
	tools, err := filepath.Glob("/usr/lib/erlang/erts-*/bin/erl_call")
	if err != nil || len(tools) == 0 || port == nil {
		return "", fmt.Errorf("eval: the tools are %v, the port is %q, %v", tools, port, err)
	}
	// The broker turns the second away of two that ask at once with the same name.
	name := "eval-" + strings.ToLower(rand.Text())
	cmd := exec.CommandContext(ctx, tools[0], "-address", "127.0.0.1:"+string(port[1]), "-h", name, "-e")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(broker.LogFile()), "LANG=C.UTF-8"} // the cookie is in HOME
	cmd.Stdin = strings.NewReader(expressions + "\n")
	out, err := cmd.CombinedOutput()
	value, ok := strings.CutPrefix(strings.TrimSuffix(string(out), "}"), "{ok, ")
	if err != nil || !ok {
		return "", fmt.Errorf("eval %s: %v: %s", expressions, err, out)
	}
	return value, nil
}

// Management asks a broker's management API as its administrator.
func Management(t testing.TB, e *stack.Engine, method, path string, body, answer any) error {
	t.Helper()
	u, err := url.Parse(e.AdminURL())
	require.NoError(t, err)
	password, _ := u.User.Password()
	address, _, _ := e.Console()
	var content strings.Builder
	if body != nil {
		require.NoError(t, json.NewEncoder(&content).Encode(body))
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, address+"api/"+path, strings.NewReader(content.String()))
	require.NoError(t, err)
	req.SetBasicAuth(u.User.Username(), password)
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, res.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

// Run runs the given ends of a broker until the test is over, and closes it.
func Run(t testing.TB, b *rabbit.Broker, uses ...rabbit.End) {
	t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		b.Run(context.Background(), uses...)
	}()
	t.Cleanup(func() {
		b.Close()
		stacktest.Await(t, "the broker's connections end", over)
	})
}

// New is a broker that does not run yet.
func New(t testing.TB, s rabbit.Settings) *rabbit.Broker {
	t.Helper()
	require.NoError(t, s.Check())
	return rabbit.New(s, slog.New(slog.NewTextHandler(t.Output(), nil)), nil)
}

// Up waits until an end works.
func Up(t testing.TB, b *rabbit.Broker, e rabbit.End) {
	t.Helper()
	Eventually(t, func() error { return b.Down(e) })
}

// Fails waits until an end does not work any more.
func Fails(t testing.TB, b *rabbit.Broker, e rabbit.End) {
	t.Helper()
	Eventually(t, func() error {
		if b.Down(e) == nil {
			return errors.New("still connected")
		}
		return nil
	})
}

// Tried reports whether what Ping says is the result of a try to connect.
func Tried(ping error) error {
	if text := fmt.Sprint(ping); strings.Contains(text, "not started") || strings.Contains(text, "not connected yet") {
		return ping
	}
	return nil
}

// Expired is a context that has ended.
func Expired(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	t.Cleanup(cancel)
	return ctx
}
