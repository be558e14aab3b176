package rabbit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/queue/queuetest"
	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// topology is what a virtual host has of ours, as JSON lines.
func topology(t *testing.T, e *stack.Engine, vhost string) (lines []string) {
	t.Helper()
	for what, fields := range map[string][]string{
		"exchanges": {"name", "type", "durable", "auto_delete", "internal", "arguments"},
		"queues":    {"name", "type", "durable", "auto_delete", "exclusive", "arguments"},
		"bindings":  {"source", "destination", "destination_type", "routing_key", "arguments"},
		"policies":  {"name", "pattern", "definition"},
	} {
		var all []map[string]any
		require.NoError(t, rabbittest.Management(t, e, "GET", what+"/"+url.PathEscape(vhost), nil, &all))
		for _, x := range all {
			some := map[string]any{"kind": what}
			for _, f := range fields {
				some[f] = x[f]
			}
			// Not the broker's own exchanges, nor the default one's bindings.
			name, _ := x["name"].(string)
			source, isBinding := x["source"].(string)
			if isBinding && source == "" || what == "exchanges" && (name == "" || strings.HasPrefix(name, "amq.")) {
				continue
			}
			b, err := json.Marshal(some)
			require.NoError(t, err)
			lines = append(lines, string(b))
		}
	}
	return lines
}

// importedBroker has the definitions of deploy/rabbitmq, and every user of them
// the password "x".
func importedBroker(t *testing.T) (e *stack.Engine, as func(user string) rabbit.Settings) {
	t.Helper()
	e = stacktest.Own(t, stack.KindRabbitMQ)
	file, err := os.ReadFile("../../deploy/rabbitmq/definitions.json")
	require.NoError(t, err)
	var definitions struct {
		Users []struct {
			Name string
			Hash string `json:"password_hash"`
			Tags []string
		}
	}
	require.NoError(t, json.Unmarshal(file, &definitions))
	require.NoError(t, rabbittest.Management(t, e, "POST", "definitions", json.RawMessage(file), nil))
	as = func(user string) rabbit.Settings {
		s := rabbittest.At(t, e.URL())
		s.Username, s.Password, s.VirtualHost, s.Declare = user, "x", "/seckill", false
		return s
	}
	require.Len(t, definitions.Users, 5)
	var tries sync.WaitGroup // the broker takes its time to refuse somebody
	for _, u := range definitions.Users {
		require.Empty(t, u.Hash, "no user can log in before somebody has set a password")
		for _, password := range []seckill.Secret{"", "x"} {
			s := as(u.Name)
			s.Password = password
			tries.Go(func() {
				_, err := s.Visit(t.Context(), "test")
				assert.ErrorContains(t, err, "rabbitmq.password", u.Name)
			})
		}
	}
	stacktest.AwaitAll(t, "everybody is refused", &tries)
	for _, u := range definitions.Users {
		require.NoError(t, rabbittest.Management(t, e, "PUT", "users/"+u.Name, map[string]string{"password": "x", "tags": strings.Join(u.Tags, ",")}, nil))
	}
	return e, as
}

// One broker for all of them: it takes longer to start than they take.
func TestTheDefinitions(t *testing.T) {
	t.Parallel()
	e, as := importedBroker(t)
	t.Run("are what the program declares", func(t *testing.T) { testDefinitions(t, e, as) })
	t.Run("let users do what they are for and nothing else", func(t *testing.T) { testRights(t, e, as) })
	t.Run("let a node be alone that may", func(t *testing.T) { testAloneRights(t, as) })
	t.Run("beside a guest who is refused from elsewhere", func(t *testing.T) { testGuest(t, e) })
}

func testDefinitions(t *testing.T, e *stack.Engine, as func(user string) rabbit.Settings) {
	declared := stacktest.Shared(t, stack.KindRabbitMQ)
	s := rabbittest.At(t, stacktest.Fresh(t, declared))
	connected(t, run(t, s, rabbit.Publishing))
	want := topology(t, declared, s.VirtualHost)
	require.Len(t, want, 5+3+4)
	require.ElementsMatch(t, want, topology(t, e, "/seckill"))

	// A node that declares finds everything as it should be.
	node := as("seckill")
	node.Declare = true
	q := connected(t, run(t, node))
	queuetest.Publish(t, q, queuetest.Some(1)...)
	queuetest.CollectN(t, q, 1)
	require.ElementsMatch(t, want, topology(t, e, "/seckill"))
}

func testRights(t *testing.T, e *stack.Engine, as func(user string) rabbit.Settings) {
	tickets := queuetest.Some(3)
	publisher := run(t, as("seckill-publisher"), rabbit.Publishing, rabbit.Announcing, rabbit.Noticing)
	consumer := run(t, as("seckill-consumer"), rabbit.Consuming, rabbit.DeadLetters, rabbit.Noticing, rabbit.Parking)
	for _, q := range []*node{publisher, consumer} {
		connected(t, q)
		rabbittest.Eventually(t, downs(q, rabbit.Noticing))
	}
	rabbittest.Eventually(t, downs(publisher, rabbit.Announcing))
	weak, err := publisher.broker.Weak(t.Context())
	require.NoError(t, err)
	require.Empty(t, weak, "a user who may not see how the queues were made")
	queuetest.Publish(t, publisher, tickets...)
	queuetest.Collect(t, consumer, tickets)
	consumer.Park(tickets[0], errors.New("scripted"))
	rabbittest.Waits(t, rabbittest.Channel(t, as("seckill")), rabbit.ParkedQueue, 1, 0)
	shop := rabbittest.Channel(t, as("seckill-shop"))
	_, err = shop.QueueDeclare("shop.orders", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	require.NoError(t, err)
	require.NoError(t, shop.QueueBind("shop.orders", "order.*", rabbit.EventExchange, false, nil))
	events := []seckill.EventMessage{{ID: tickets[0].ID + "-1", Type: "order.placed", Order: tickets[0].ID, At: tickets[0].At, Body: []byte("{}")}}
	confirmed, err := publisher.events.Announce(t.Context(), events)
	require.NoError(t, err)
	require.Equal(t, events, confirmed)
	m, ok, err := shop.Get("shop.orders", true)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, events[0].ID, m.MessageId)
	require.NoError(t, publisher.Close())
	require.NoError(t, consumer.Close())

	publishes := func(exchange, key string) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			closes := ch.NotifyClose(make(chan *amqp.Error, 1))
			if err := ch.Confirm(false); err != nil {
				return err
			}
			confirm, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, amqp.Publishing{})
			if err != nil {
				return err
			}
			select {
			case <-confirm.Done(): // by the end of the channel too
				if confirm.Acked() {
					return nil
				}
				return stacktest.Await(t, "the channel ends", closes)
			case <-t.Context().Done():
				return t.Context().Err()
			}
		}
	}
	consumes := func(queue string) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			_, err := ch.Consume(queue, "", false, false, false, false, nil)
			return err
		}
	}
	gets := func(queue string) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			_, _, err := ch.Get(queue, false)
			return err
		}
	}
	declares := func(queue string) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(queue, true, false, false, false, nil)
			return err
		}
	}
	binds := func(queue, exchange string) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error { return ch.QueueBind(queue, "#", exchange, false, nil) }
	}
	deletes := func(queue string) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(queue, false, false, false)
			return err
		}
	}
	for _, c := range []struct {
		user, what string
		do         func(*amqp.Channel) error
	}{
		{"seckill-consumer", "publishes a ticket", publishes(rabbit.TicketExchange, rabbit.TicketQueue)},
		{"seckill-consumer", "publishes by the default exchange", publishes("", rabbit.TicketQueue)},
		{"seckill-consumer", "publishes a dead letter", publishes(rabbit.DeadExchange, rabbit.DeadQueue)},
		{"seckill-consumer", "publishes an event", publishes(rabbit.EventExchange, "order.paid")},
		{"seckill-consumer", "publishes a notice", publishes(rabbit.SaleExchange, "")},
		{"seckill-consumer", "deletes the queue", deletes(rabbit.TicketQueue)},
		{"seckill-publisher", "consumes tickets", consumes(rabbit.TicketQueue)},
		{"seckill-publisher", "gets a ticket", gets(rabbit.TicketQueue)},
		{"seckill-publisher", "consumes dead letters", consumes(rabbit.DeadQueue)},
		{"seckill-publisher", "reads events", binds(rabbit.NoticeQueue+"x", rabbit.EventExchange)},
		{"seckill-publisher", "declares a queue", declares("seckill.other")},
		{"seckill-shop", "publishes an event", publishes(rabbit.EventExchange, "order.paid")},
		{"seckill-shop", "publishes a ticket", publishes(rabbit.TicketExchange, rabbit.TicketQueue)},
		{"seckill-shop", "consumes tickets", consumes(rabbit.TicketQueue)},
		{"seckill-shop", "reads tickets", binds("shop.orders", rabbit.TicketExchange)},
		{"seckill-monitor", "gets a ticket", gets(rabbit.TicketQueue)},
		{"seckill-monitor", "publishes a ticket", publishes(rabbit.TicketExchange, rabbit.TicketQueue)},
	} {
		err := c.do(rabbittest.Channel(t, as(c.user)))
		var refusal *amqp.Error
		if assert.ErrorAs(t, err, &refusal, "%s %s", c.user, c.what) {
			assert.Equal(t, amqp.AccessRefused, refusal.Code, "%s %s: %v", c.user, c.what, err)
		}
	}

	// A user that may not declare is told so, and what to set.
	s := as("seckill-consumer")
	s.Declare = true
	q := run(t, s, rabbit.Consuming)
	rabbittest.Eventually(t, func() error { return rabbittest.Tried(q.Ping(t.Context())) })
	require.ErrorContains(t, q.Ping(t.Context()), "rabbitmq.declare")

	// The console is open to the user that is made for it, and to no node's.
	address, _, _ := e.Console()
	for user, want := range map[string]int{"seckill-monitor": 200, "seckill": 401, "seckill-consumer": 401, "guest": 401} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", address+"api/overview", nil)
		require.NoError(t, err)
		req.SetBasicAuth(user, "x")
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		assert.Equal(t, want, res.StatusCode, user)
	}
}

func TestWithoutDeclareAMissingQueueIsNamed(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.Declare = false
	q := run(t, s, rabbit.Publishing)
	rabbittest.Eventually(t, func() error { return rabbittest.Tried(q.Ping(t.Context())) })
	require.ErrorContains(t, q.Ping(t.Context()), "definitions.json")
	made := s
	made.Declare = true
	connected(t, run(t, made, rabbit.Publishing))
	connected(t, q)
}

// A broker that listens everywhere takes our users from elsewhere, and guest from
// nowhere but its own machine, whatever its rights.
func testGuest(t *testing.T, e *stack.Engine) {
	elsewhere := ""
	addresses, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			elsewhere = ip.IP.String()
		}
	}
	require.Equal(t, "true", rabbittest.Eval(t, e, `application:get_env(rabbit, loopback_users) =:= {ok, [<<"guest">>]}.`), "guest is for this machine alone")
	if elsewhere == "" {
		t.Log("this machine has no address but its loopback one: nobody tried from elsewhere")
		return
	}
	s := rabbittest.At(t, e.URL())
	require.NoError(t, e.Stop())
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(e.LogFile()), "advanced.config"),
		fmt.Appendf(nil, `[{rabbit, [{tcp_listeners, [{"0.0.0.0", %d}]}]}].`, s.Port), 0o600))
	require.NoError(t, e.Start(t.Context()))
	require.NoError(t, rabbittest.Management(t, e, "PUT", "users/guest", map[string]string{"password": "guest", "tags": "administrator"}, nil))
	require.NoError(t, rabbittest.Management(t, e, "PUT", "permissions/"+url.PathEscape(s.VirtualHost)+"/guest", map[string]string{"configure": ".*", "write": ".*", "read": ".*"}, nil))
	guest := s
	guest.Username, guest.Password = "guest", "guest"
	for _, c := range []struct {
		who  rabbit.Settings
		host string
		ok   bool
	}{{s, "127.0.0.1", true}, {s, elsewhere, true}, {guest, "127.0.0.1", true}, {guest, elsewhere, false}} {
		c.who.Host = c.host
		conn, err := c.who.Visit(t.Context(), "test")
		if c.ok {
			require.NoError(t, err, "%s from %s", c.who.Username, c.host)
			require.NoError(t, conn.Close())
			continue
		}
		require.ErrorContains(t, err, "refused", "%s from %s", c.who.Username, c.host)
	}
}
