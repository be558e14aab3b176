package e2e

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"seckill"
	"seckill/e2e/node"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// subscriber is a shop that has a durable queue of events, as the broker's
// administrator.
type subscriber struct {
	t     *testing.T
	url   string
	queue string
	seen  map[string]int // by event id
	types map[string][]string
}

// asks does something on a connection of its own, which may fail as long as the
// broker is away.
func (s *subscriber) asks(do func(ch *amqp.Channel) error) {
	s.t.Helper()
	eventually(s.t, "the broker answers", func() bool {
		conn, err := amqp.Dial(s.url)
		if err != nil {
			return false
		}
		defer conn.Close()
		ch, err := conn.Channel()
		if err != nil {
			return false
		}
		defer ch.Close()
		return do(ch) == nil
	})
}

func subscribes(t *testing.T, url, key string) *subscriber {
	s := &subscriber{t: t, url: url, queue: "shop." + key, seen: map[string]int{}, types: map[string][]string{}}
	s.asks(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(s.queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		return ch.QueueBind(s.queue, key, "seckill.events", false, nil)
	})
	return s
}

// reads takes what has come.
func (s *subscriber) reads() {
	s.t.Helper()
	s.asks(func(ch *amqp.Channel) error {
		for {
			m, ok, err := ch.Get(s.queue, false)
			if err != nil || !ok {
				return err
			}
			var e seckill.Event
			if err := json.Unmarshal(m.Body, &e); err != nil || e.V != 1 || e.Type != m.RoutingKey || e.ID != m.MessageId {
				s.t.Errorf("event %q with key %q: %v", m.Body, m.RoutingKey, err)
			}
			if s.seen[e.ID]++; s.seen[e.ID] == 1 {
				s.types[e.Order.ID] = append(s.types[e.Order.ID], e.Type)
			}
			if err := ch.Ack(m.DeliveryTag, false); err != nil {
				return err
			}
		}
	})
}

// told waits until a shop was told these things about an order.
func (s *subscriber) told(order string, types ...string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("order %s is told to be %v", order, types), func() bool {
		s.reads()
		return slices.Equal(s.types[order], types)
	})
}

// Order events reach whoever subscribes, whatever dies; changed sales are shown
// sooner on other nodes, and shown all the same when nobody says so.
func TestEventsLeaveByRabbitMQ(t *testing.T) {
	t.Parallel()
	e := startEngines(t, stack.KindRabbitMQ)
	all, paid := subscribes(t, e.rabbit.AdminURL(), "order.*"), subscribes(t, e.rabbit.AdminURL(), "order.paid")
	sale := admin(t, e.nodes[0]).creates(100, 1)
	order := func(name string, n int) string {
		buyer(t, e.nodes[n], name).buys(sale, 1)
		return buyer(t, e.nodes[n], name).outcome(sale).Order
	}
	first := order("first", 0)
	all.told(first, "order.placed")
	buyer(t, e.nodes[1], "first").does("POST", "/api/orders/"+first+"/pay", nil, 200)
	all.told(first, "order.placed", "order.paid")
	paid.told(first, "order.paid")
	buyer(t, e.nodes[0], "first").does("GET", "/api/orders/"+first, nil, 200)

	// The node that announces is killed: another one does.
	announcing := 0
	if metric(t, e.nodes[1], "seckill_events_confirmed_total") > 0 {
		announcing = 1
	}
	e.nodes[announcing].Kill()
	second := order("second", 1-announcing)
	all.told(second, "order.placed")
	e.nodes[announcing] = start(t, e.configs[announcing])

	// Paid while the broker is away: told when it is back.
	must(t, e.rabbit.Kill())
	buyer(t, e.nodes[0], "second").does("POST", "/api/orders/"+second+"/pay", nil, 200)
	buyer(t, e.nodes[0], "first").does("GET", "/api/orders/"+first, nil, 200)
	must(t, e.rabbit.Start(t.Context()))
	all.told(second, "order.placed", "order.paid")
	paid.told(second, "order.paid")

	t.Run("notices", func(t *testing.T) {
		title := func(n *node.Node) string { return buyer(t, n, "x").does("GET", "/api/sales/"+sale, nil, 200).Title }
		for _, n := range e.nodes {
			eventually(t, "connected", func() bool { return metric(t, n, `seckill_queue_connected{end="notice"}`) == 1 })
		}
		heard := metric(t, e.nodes[1], "seckill_notices_heard_total")
		if title(e.nodes[1]) == "one" { // what it has read just now it would show for a while
			t.Fatal("the sale has its new title already")
		}
		admin(t, e.nodes[0]).does("PATCH", "/api/admin/sales/"+sale, map[string]string{"title": "one"}, 200)
		eventually(t, "the notice is heard", func() bool { return metric(t, e.nodes[1], "seckill_notices_heard_total") > heard })
		if got := title(e.nodes[1]); got != "one" {
			t.Errorf("a node that was told of a change still shows %q", got)
		}
		// Nobody hears anything: the exchange is another one.
		all.asks(func(ch *amqp.Channel) error {
			if err := ch.ExchangeDelete("seckill.sales", false, false); err != nil {
				return err
			}
			return ch.ExchangeDeclare("seckill.sales", "fanout", true, false, false, false, nil)
		})
		heard = metric(t, e.nodes[1], "seckill_notices_heard_total")
		admin(t, e.nodes[0]).does("PATCH", "/api/admin/sales/"+sale, map[string]string{"title": "two"}, 200)
		eventually(t, "the change is shown all the same", func() bool { return title(e.nodes[1]) == "two" })
		if got := metric(t, e.nodes[1], "seckill_notices_heard_total"); got != heard {
			t.Errorf("%v notices were heard without an exchange", got-heard)
		}
	})
	// A node that only takes requests holds no tickets and is ready; the events of
	// its orders are told by the others.
	t.Run("roles", func(t *testing.T) {
		c := e.configs[0]
		c.Dir, c.Listen, c.Args = t.TempDir(), "", []string{"--run", "api"}
		front := start(t, c)
		if got := metric(t, front, `seckill_queue_connected{end="consume"}`); got >= 0 {
			t.Errorf("a node with the role api consumes tickets: %v", got)
		}
		buyer(t, front, "third").buys(sale, 1)
		third := buyer(t, front, "third").outcome(sale).Order
		all.told(third, "order.placed")
		must(t, front.Stop())
		c.Args = []string{"--run", "expire"}
		must(t, start(t, c).Stop())
	})
	// Two nodes share the roles, each with the least rights at the broker: enough to
	// sell and to tell.
	t.Run("users", func(t *testing.T) {
		imports(t, e.rabbit)
		for _, n := range e.nodes {
			must(t, n.Stop())
		}
		as := func(user, roles string) *node.Node {
			u, err := url.Parse(e.rabbit.URL())
			must(t, err)
			u.User = url.UserPassword(user, "x")
			c := e.configs[0]
			c.Dir, c.Listen, c.Args = t.TempDir(), "", []string{"--run", roles}
			c.Env = append(slices.Clone(c.Env), "SECKILL_QUEUE="+u.String(), "SECKILL_RABBITMQ_DECLARE=false")
			return start(t, c)
		}
		front, back := as("seckill-publisher", "api,relay,expire"), as("seckill-consumer", "settle")
		buyer(t, front, "fourth").buys(sale, 1)
		fourth := buyer(t, front, "fourth").outcome(sale)
		if fourth.Status != "placed" {
			t.Errorf("with the least rights: %+v", fourth)
		}
		all.told(fourth.Order, "order.placed")
		for _, n := range []*node.Node{front, back} {
			eventually(t, "it hears notices", func() bool { return metric(t, n, `seckill_queue_connected{end="notice"}`) == 1 })
			if strings.Contains(n.Log(), "queue: not connected") {
				t.Errorf("a node with the least rights complains:\n%s", tail(n.Log()))
			}
		}
		admin(t, front).audits(sale)
	})
}

// imports imports deploy/rabbitmq/definitions.json, and gives its users, except
// the stack's own, the password "x".
func imports(t *testing.T, rabbit *stack.Engine) {
	t.Helper()
	file, err := os.ReadFile("../deploy/rabbitmq/definitions.json")
	must(t, err)
	var definitions map[string]any
	must(t, json.Unmarshal(file, &definitions))
	definitions["users"] = slices.DeleteFunc(definitions["users"].([]any), func(u any) bool {
		user := u.(map[string]any)
		delete(user, "password_hash")
		delete(user, "hashing_algorithm")
		user["password"] = "x"
		return user["name"] == "seckill"
	})
	body, err := json.Marshal(definitions)
	must(t, err)
	console, _, _ := rabbit.Console()
	u, err := url.Parse(rabbit.AdminURL())
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), "POST", console+"api/definitions", bytes.NewReader(body))
	must(t, err)
	password, _ := u.User.Password()
	req.SetBasicAuth(u.User.Username(), password)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("import: %s %s", res.Status, b)
	}
}

// On the embedded queue nobody would ever send an event, so none is kept; and none
// where they are not wanted.
func TestNoEventsAreKeptForNobody(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"embedded": nil,
		"events":   {"SECKILL_RABBITMQ_EVENTS=false", "SECKILL_QUEUE=" + stacktest.Fresh(t, stacktest.Shared(t, stack.KindRabbitMQ))},
	} {
		c := node.Config{Dir: t.TempDir(), Env: env}
		n := start(t, c)
		sale := admin(t, n).creates(5, 1)
		buyer(t, n, "b").buys(sale, 1)
		order := buyer(t, n, "b").outcome(sale).Order
		buyer(t, n, "b").does("POST", "/api/orders/"+order+"/pay", nil, 200)
		if sent := metric(t, n, "seckill_events_published_total"); sent > 0 {
			t.Errorf("%s: %v events were sent", name, sent)
		}
		must(t, n.Stop())
		db, err := sql.Open("sqlite", filepath.Join(c.Dir, "seckill.db"))
		must(t, err)
		defer db.Close()
		var events, orders int
		must(t, db.QueryRow("SELECT COUNT(*) FROM events").Scan(&events))
		must(t, db.QueryRow("SELECT COUNT(*) FROM tickets WHERE state = 'paid'").Scan(&orders))
		if events != 0 || orders != 1 {
			t.Errorf("%s: %d events of %d orders are kept for nobody", name, events, orders)
		}
	}
}
