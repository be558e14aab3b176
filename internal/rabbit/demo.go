package rabbit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// demoTime bounds a demonstration: some dozens of round trips.
const demoTime = 30 * time.Second

// Exhibit is one exchange type as a demonstration has seen it.
type Exhibit struct {
	Type     string    // direct, topic, fanout or headers
	Use      string    // what Seckill has it for
	Bindings []Binding // of a queue each
	Sent     []Sending
}

// Binding is a queue and what it asks of the exchange.
type Binding struct {
	Queue   string
	Key     string            // of a direct or topic binding
	Headers map[string]string // of a headers binding
	Any     bool              // one of the headers is enough (x-match)
}

// Sending is a message and what became of it.
type Sending struct {
	Key      string
	Headers  map[string]string
	Received []bool   // by the queue of each binding: found there, not computed
	Why      []string // for each binding, the rule in a line
	Returned bool     // the broker gave it back: no queue wanted it
}

// demonstration is what is shown.
func demonstration() []Exhibit {
	h := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	return []Exhibit{{
		Type: amqp.ExchangeDirect, Use: "tickets: one key, one queue",
		Bindings: []Binding{{Queue: "tickets", Key: "tickets"}, {Queue: "copy", Key: "tickets"}, {Queue: "dead", Key: "dead"}},
		Sent:     []Sending{{Key: "tickets"}, {Key: "dead"}, {Key: "Tickets"}},
	}, {
		Type: amqp.ExchangeTopic, Use: "order events: a shop asks for those it needs",
		Bindings: []Binding{{Queue: "shop", Key: "order.*"}, {Queue: "books", Key: "order.paid"}, {Queue: "archive", Key: "order.#"}, {Queue: "all", Key: "#"}, {Queue: "endings", Key: "*.expired"}},
		Sent:     []Sending{{Key: "order.placed"}, {Key: "order.paid"}, {Key: "order.paid.late"}, {Key: "sale.expired"}},
	}, {
		Type: amqp.ExchangeFanout, Use: `"sale changed": every node hears it`,
		Bindings: []Binding{{Queue: "node-1"}, {Queue: "node-2"}, {Queue: "node-3", Key: "ignored"}},
		Sent:     []Sending{{Key: ""}, {Key: "anything"}},
	}, {
		Type: amqp.ExchangeHeaders, Use: "only here: what a key cannot say",
		Bindings: []Binding{{Queue: "eu-gold", Headers: h("region", "eu", "level", "gold")}, {Queue: "eu-or-gold", Headers: h("region", "eu", "level", "gold"), Any: true}},
		Sent:     []Sending{{Headers: h("region", "eu", "level", "gold")}, {Headers: h("level", "gold")}, {Headers: h("region", "us", "level", "gold", "vip", "yes")}, {Headers: h("region", "us")}},
	}}
}

// Demonstrate shows the four exchange types live, on exchanges and queues of its own,
// which are gone when it returns, or dies. Who received what is what was found
// in the queues. When that is not what the rules say it is an error.
func Demonstrate(ctx context.Context, s Settings) ([]Exhibit, error) {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	conn, err := s.visit(ctx, "demo")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	exhibits, name := demonstration(), "seckill.demo."+rand.Text()+"."
	for i := range exhibits {
		if err := exhibits[i].show(ctx, conn, name+exhibits[i].Type); err != nil {
			return nil, fmt.Errorf("%s: the %s exchange: %w", s, exhibits[i].Type, s.explain(err))
		}
	}
	return exhibits, nil
}

func (x *Exhibit) show(ctx context.Context, conn *amqp.Connection, name string) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, len(x.Sent)))
	// Both go with the connection: a queue because it is exclusive, the exchange
	// because its last binding is gone.
	if err := ch.ExchangeDeclare(name, x.Type, false, true, false, false, nil); err != nil {
		return err
	}
	for _, b := range x.Bindings {
		if _, err := ch.QueueDeclare(name+"."+b.Queue, false, true, true, false, nil); err != nil {
			return err
		}
		if err := ch.QueueBind(name+"."+b.Queue, b.Key, name, false, b.arguments(x.Type)); err != nil {
			return err
		}
	}
	for i := range x.Sent {
		if err := x.send(ctx, ch, name, &x.Sent[i], returns); err != nil {
			return err
		}
	}
	return nil
}

func (b Binding) arguments(kind string) amqp.Table {
	if kind != amqp.ExchangeHeaders {
		return nil
	}
	args := amqp.Table{"x-match": "all"}
	if b.Any {
		args["x-match"] = "any"
	}
	for k, v := range b.Headers {
		args[k] = v
	}
	return args
}

// send sends one message and looks for it in all queues. The broker confirms
// after it has given the message to every queue.
func (x *Exhibit) send(ctx context.Context, ch *amqp.Channel, exchange string, m *Sending, returns <-chan amqp.Return) error {
	headers := amqp.Table{}
	for k, v := range m.Headers {
		headers[k] = v
	}
	id := rand.Text()
	confirm, err := ch.PublishWithDeferredConfirm(exchange, m.Key, true, false, amqp.Publishing{MessageId: id, Headers: headers, Body: []byte("demo")})
	if err != nil {
		return err
	}
	if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
		return errors.Join(fmt.Errorf("the message with key %q was not confirmed", m.Key), err)
	}
	select {
	case r := <-returns: // a return comes before its confirm
		m.Returned = r.MessageId == id
	default:
	}
	var errs []error
	for _, b := range x.Bindings {
		d, found, err := ch.Get(exchange+"."+b.Queue, true)
		if err != nil {
			return err
		}
		found = found && d.MessageId == id
		matches, why := b.rule(x.Type, m)
		m.Received, m.Why = append(m.Received, found), append(m.Why, why)
		if matches != found {
			errs = append(errs, fmt.Errorf("by the rules it is %v that %s gets the message with key %q and headers %v, but what happened is otherwise", matches, b.Queue, m.Key, m.Headers))
		}
	}
	return errors.Join(errs...)
}

// rule says whether an exchange of this type gives the message to the binding's
// queue, and why.
func (b Binding) rule(kind string, m *Sending) (matches bool, why string) {
	switch kind {
	case amqp.ExchangeFanout:
		return true, "a fanout exchange does not look at keys"
	case amqp.ExchangeDirect:
		if m.Key == b.Key {
			return true, fmt.Sprintf("key %s is %s", m.Key, b.Key)
		}
		return false, fmt.Sprintf("key %s is not %s", m.Key, b.Key)
	case amqp.ExchangeTopic:
		if topic(strings.Split(b.Key, "."), strings.Split(m.Key, ".")) {
			return true, fmt.Sprintf("key %s matches %s", m.Key, b.Key)
		}
		return false, fmt.Sprintf("key %s does not match %s", m.Key, b.Key)
	}
	var has, lacks []string
	for _, k := range slices.Sorted(maps.Keys(b.Headers)) {
		pair := k + "=" + b.Headers[k]
		if m.Headers[k] == b.Headers[k] {
			has = append(has, pair)
		} else {
			lacks = append(lacks, pair)
		}
	}
	switch {
	case b.Any && len(has) > 0:
		return true, "x-match=any is content with " + has[0]
	case b.Any:
		return false, "x-match=any needs " + strings.Join(lacks, " or ")
	case len(lacks) == 0:
		return true, "x-match=all has " + strings.Join(has, " and ")
	}
	also := ""
	if len(has) > 0 {
		also = " too"
	}
	return false, "x-match=all needs " + strings.Join(lacks, " and ") + also
}

// topic is the rule of topic exchanges: * is one word, # any number of words.
func topic(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return topic(pattern[1:], key) || len(key) > 0 && topic(pattern, key[1:])
	case len(key) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == key[0]) && topic(pattern[1:], key[1:])
}
