package rabbit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/ca/catest"
	"seckill/internal/event"
	"seckill/internal/queue/queuetest"
	"seckill/internal/queue/rabbitmq"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

func TestMain(m *testing.M) { rabbittest.Main(m) }

// node is all that one node has on a broker.
type node struct {
	*rabbitmq.Queue
	broker  *rabbit.Broker
	events  *event.Publisher
	notices *event.Notices
}

func (n *node) Close() error { return n.broker.Close() }

// made is a node whose broker does not run yet.
func made(t testing.TB, s rabbit.Settings) *node {
	t.Helper()
	b := rabbittest.New(t, s)
	return &node{rabbitmq.New(b, nil), b, event.NewPublisher(b, nil), event.NewNotices(b, func(seckill.SaleID, int64) {}, nil)}
}

// run opens a node and runs the given ends until the test is over.
func run(t testing.TB, s rabbit.Settings, uses ...rabbit.End) *node {
	t.Helper()
	return runs(t, made(t, s), uses...)
}

// runs runs the given ends until the test is over.
func runs(t testing.TB, n *node, uses ...rabbit.End) *node {
	t.Helper()
	rabbittest.Run(t, n.broker, uses...)
	return n
}

// connected waits until the tickets' ends of the node are.
func connected(t testing.TB, n *node) *node {
	t.Helper()
	rabbittest.Eventually(t, func() error { return n.Ping(t.Context()) })
	return n
}

// downs asks why an end does not work.
func downs(n *node, e rabbit.End) func() error { return func() error { return n.broker.Down(e) } }

func TestAQueueThatExistsOtherwiseIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	connected(t, run(t, s, rabbit.Publishing))
	for key, change := range map[string]func(*rabbit.Settings){
		"max_length":     func(s *rabbit.Settings) { s.MaxLength = 77 },
		"delivery_limit": func(s *rabbit.Settings) { s.DeliveryLimit = 77 },
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			changed := s
			change(&changed)
			q := run(t, changed, rabbit.Publishing)
			rabbittest.Eventually(t, func() error {
				err := q.Ping(t.Context())
				for _, part := range []string{"77", "rabbitmq." + key, "rabbitmqctl delete_queue", s.VirtualHost, rabbit.TicketQueue} {
					if !strings.Contains(fmt.Sprint(err), part) {
						return fmt.Errorf("%q is not in: %w", part, err)
					}
				}
				return nil
			})
		})
	}
	t.Run("another exchange", func(t *testing.T) {
		t.Parallel()
		s := rabbittest.Fresh(t)
		require.NoError(t, rabbittest.Channel(t, s).ExchangeDeclare(rabbit.DeadExchange, amqp.ExchangeFanout, true, false, false, false, nil))
		q := run(t, s, rabbit.Publishing)
		rabbittest.Eventually(t, func() error {
			if err := q.Ping(t.Context()); !strings.Contains(fmt.Sprint(err), "the exchange "+rabbit.DeadExchange+" exists with another type") {
				return fmt.Errorf("it says: %w", err)
			}
			return nil
		})
	})
}

func TestConnectTimeoutEndsATryThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and says nothing
	require.NoError(t, err)
	defer l.Close()
	s := rabbit.Defaults()
	s.Port, s.ConnectTimeout = l.Addr().(*net.TCPAddr).Port, 50*time.Millisecond
	q := run(t, s, rabbit.Publishing)
	rabbittest.Eventually(t, func() error {
		return rabbittest.Tried(q.Ping(t.Context()))
	})
	require.ErrorIs(t, q.Ping(t.Context()), seckill.ErrUnavailable)
}

// What the broker knows of the connections: their names, and the heartbeat.
func TestHeartbeatAndNames(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.Heartbeat = 7 * time.Second
	connected(t, run(t, s))
	address, user, password := stacktest.Shared(t, stack.KindRabbitMQ).Console()
	rabbittest.Eventually(t, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"api/connections", nil)
		if err != nil {
			return err
		}
		req.SetBasicAuth(user, password)
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		var connections []struct {
			VHost      string `json:"vhost"`
			Heartbeat  int    `json:"timeout"`
			Properties struct {
				Name string `json:"connection_name"`
			} `json:"client_properties"`
		}
		if err := json.NewDecoder(res.Body).Decode(&connections); err != nil {
			return err
		}
		missing := map[string]bool{"publish": true, "consume": true, "dead_letters": true}
		for _, c := range connections {
			if c.VHost != s.VirtualHost {
				continue
			}
			if c.Heartbeat != 7 {
				return fmt.Errorf("heartbeat %d", c.Heartbeat)
			}
			delete(missing, strings.Fields(c.Properties.Name + " ?")[1])
		}
		if len(missing) > 0 {
			return errors.New("not all connections are listed")
		}
		return nil
	})
}

func TestCredentialsAndVirtualHost(t *testing.T) {
	t.Parallel()
	good := rabbittest.Fresh(t)
	other := rabbittest.Fresh(t)
	require.NotEqual(t, good.VirtualHost, other.VirtualHost)
	queuetest.Publish(t, connected(t, run(t, good, rabbit.Publishing)), queuetest.Some(2)...)
	connected(t, run(t, other, rabbit.Publishing))
	rabbittest.Waits(t, rabbittest.Channel(t, good), rabbit.TicketQueue, 2, 0)
	rabbittest.Waits(t, rabbittest.Channel(t, other), rabbit.TicketQueue, 0, 0)

	for name, c := range map[string]struct {
		spoil func(*rabbit.Settings)
		says  string
	}{
		"username":     {func(s *rabbit.Settings) { s.Username = "nobody" }, "rabbitmq.username"},
		"password":     {func(s *rabbit.Settings) { s.Password = "wrong-secret" }, "rabbitmq.password"},
		"virtual host": {func(s *rabbit.Settings) { s.VirtualHost = "/nowhere" }, "rabbitmq.virtual_host"},
		"host":         {func(s *rabbit.Settings) { s.Host = "127.0.0.2" }, "127.0.0.2"},
		"port":         {func(s *rabbit.Settings) { s.Port = 1 }, "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := good
			c.spoil(&bad)
			q := run(t, bad, rabbit.Consuming)
			rabbittest.Eventually(t, func() error {
				return rabbittest.Tried(q.Ping(t.Context()))
			})
			err := q.Ping(t.Context())
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), string(bad.Password))
		})
	}
}

// A RabbitMQ whose certificate is signed by a CA of one's own is reached with
// rabbitmq.ca_file, and not without it.
func TestRabbitMQWithACAOfItsOwn(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(stacktest.Fresh(t, stacktest.Shared(t, stack.KindRabbitMQ)))
	require.NoError(t, err)
	files := catest.New(t)
	u.Scheme, u.Host = "amqps", catest.Front(t, u.Host, files)
	s := rabbittest.At(t, u.String())
	s.CAFile = files.CA
	b := rabbittest.New(t, s)
	q := rabbitmq.New(b, nil)
	rabbittest.Run(t, b, rabbit.Publishing)
	rabbittest.Up(t, b, rabbit.Publishing)
	queuetest.Publish(t, q, queuetest.Some(3)...)

	s.CAFile = "" // then those that this machine trusts
	strange := rabbittest.New(t, s)
	rabbitmq.New(strange, nil)
	rabbittest.Run(t, strange, rabbit.Publishing)
	rabbittest.Eventually(t, func() error {
		err := strange.Down(rabbit.Publishing)
		if err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
			return fmt.Errorf("without its CA: %v", err)
		}
		return nil
	})
}
