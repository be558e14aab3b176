package rabbit_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill/internal/rabbit"
	"seckill/internal/rabbit/rabbittest"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// received says which queues got which message, and why.
func received(x rabbit.Exhibit) (got []string) {
	for _, m := range x.Sent {
		sent := m.Key
		if x.Type == "headers" {
			sent = fmt.Sprint(m.Headers)
		}
		line := sent + ":"
		for i, b := range x.Bindings {
			if m.Received[i] {
				line += " " + b.Queue
			}
		}
		if m.Returned {
			line += " returned"
		}
		got = append(got, line)
	}
	return got
}

func TestTheFourExchangeTypes(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	exhibits, err := rabbit.Demonstrate(t.Context(), s)
	require.NoError(t, err)
	want := map[string][]string{
		"direct": {"tickets: tickets copy", "dead: dead", "Tickets: returned"},
		"topic":  {"order.placed: shop archive all", "order.paid: shop books archive all", "order.paid.late: archive all", "sale.expired: all endings"},
		"fanout": {": node-1 node-2 node-3", "anything: node-1 node-2 node-3"},
		"headers": {"map[level:gold region:eu]: eu-gold eu-or-gold", "map[level:gold]: eu-or-gold",
			"map[level:gold region:us vip:yes]: eu-or-gold", "map[region:us]: returned"},
	}
	for _, x := range exhibits {
		assert.Equal(t, want[x.Type], received(x), x.Type)
		delete(want, x.Type)
	}
	require.Empty(t, want)

	// Nothing is left behind.
	e := stacktest.Shared(t, stack.KindRabbitMQ)
	for _, what := range []string{"exchanges", "queues"} {
		rabbittest.Eventually(t, func() error {
			var all []struct{ Name string }
			if err := rabbittest.Management(t, e, "GET", what+"/"+url.PathEscape(s.VirtualHost), nil, &all); err != nil {
				return err
			}
			for _, x := range all {
				if strings.HasPrefix(x.Name, "seckill.") {
					return fmt.Errorf("%s of the demonstration are there: %s", what, x.Name)
				}
			}
			return nil
		})
	}
}

// A broker that does otherwise than the rules is an error: what is shown is what
// was found.
func TestADemonstrationShowsWhatHappened(t *testing.T) {
	t.Parallel()
	conn := rabbittest.Dial(t, rabbittest.Fresh(t))
	x := rabbit.Exhibit{Type: "direct", Bindings: []rabbit.Binding{{Queue: "a", Key: "k"}}, Sent: []rabbit.Sending{{Key: "k"}}}
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.Confirm(false))
	const name = "seckill.demo.test"
	require.NoError(t, ch.ExchangeDeclare(name, "direct", false, true, false, false, nil))
	_, err = ch.QueueDeclare(name+".a", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind(name+".a", "another key", name, false, nil))
	require.ErrorContains(t, x.Send(t.Context(), ch, name, &x.Sent[0], nil), "otherwise")
	require.Equal(t, []bool{false}, x.Sent[0].Received)
}

func TestTheRulesOfExchanges(t *testing.T) {
	t.Parallel()
	type m = map[string]string
	for _, c := range []struct {
		kind    string
		binding rabbit.Binding
		sent    rabbit.Sending
		matches bool
		why     string
	}{
		{"direct", rabbit.Binding{Key: "a"}, rabbit.Sending{Key: "a"}, true, "key a is a"},
		{"direct", rabbit.Binding{Key: "a.*"}, rabbit.Sending{Key: "a.b"}, false, "key a.b is not a.*"},
		{"topic", rabbit.Binding{Key: "order.*"}, rabbit.Sending{Key: "order.paid"}, true, "key order.paid matches order.*"},
		{"topic", rabbit.Binding{Key: "order.*"}, rabbit.Sending{Key: "order"}, false, "key order does not match order.*"},
		{"topic", rabbit.Binding{Key: "order.*"}, rabbit.Sending{Key: "order.paid.late"}, false, "key order.paid.late does not match order.*"},
		{"topic", rabbit.Binding{Key: "order.#"}, rabbit.Sending{Key: "order"}, true, "key order matches order.#"},
		{"topic", rabbit.Binding{Key: "#.late"}, rabbit.Sending{Key: "order.paid.late"}, true, "key order.paid.late matches #.late"},
		{"topic", rabbit.Binding{Key: "#"}, rabbit.Sending{Key: ""}, true, "key  matches #"},
		{"fanout", rabbit.Binding{Key: "a"}, rabbit.Sending{Key: "b"}, true, "a fanout exchange does not look at keys"},
		{"headers", rabbit.Binding{Headers: m{"region": "eu", "level": "gold"}}, rabbit.Sending{Headers: m{"level": "gold"}}, false, "x-match=all needs region=eu too"},
		{"headers", rabbit.Binding{Headers: m{"region": "eu", "level": "gold"}}, rabbit.Sending{}, false, "x-match=all needs level=gold and region=eu"},
		{"headers", rabbit.Binding{Headers: m{"region": "eu"}}, rabbit.Sending{Headers: m{"region": "eu", "more": "x"}}, true, "x-match=all has region=eu"},
		{"headers", rabbit.Binding{Headers: m{"region": "eu", "level": "gold"}, Any: true}, rabbit.Sending{Headers: m{"level": "gold"}}, true, "x-match=any is content with level=gold"},
		{"headers", rabbit.Binding{Headers: m{"region": "eu", "level": "gold"}, Any: true}, rabbit.Sending{Headers: m{"region": "us"}}, false, "x-match=any needs level=gold or region=eu"},
	} {
		matches, why := c.binding.Rule(c.kind, &c.sent)
		assert.Equal(t, c.matches, matches, c.why)
		assert.Equal(t, c.why, why)
	}
}

func TestDemonstrateSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := rabbittest.Fresh(t)
	s.Password = "wrong-secret"
	_, err := rabbit.Demonstrate(t.Context(), s)
	require.ErrorContains(t, err, "rabbitmq.password")
	require.NotContains(t, err.Error(), "wrong-secret")
}
