package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill/internal/stack"
)

// management asks a broker's management API as its administrator.
func management(t testing.TB, e *stack.Engine, method, path string, body, answer any) error {
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

// received says which queues got which message, and why.
func received(x Exhibit) (got []string) {
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
	s := fresh(t)
	exhibits, err := Demonstrate(t.Context(), s)
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
	e := stack.Shared(t, stack.KindRabbitMQ)
	for _, what := range []string{"exchanges", "queues"} {
		eventually(t, func() error {
			var all []struct{ Name string }
			if err := management(t, e, "GET", what+"/"+url.PathEscape(s.VirtualHost), nil, &all); err != nil {
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
	conn := dial(t, fresh(t))
	x := Exhibit{Type: "direct", Bindings: []Binding{{Queue: "a", Key: "k"}}, Sent: []Sending{{Key: "k"}}}
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.Confirm(false))
	const name = "seckill.demo.test"
	require.NoError(t, ch.ExchangeDeclare(name, "direct", false, true, false, false, nil))
	_, err = ch.QueueDeclare(name+".a", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind(name+".a", "another key", name, false, nil))
	require.ErrorContains(t, x.send(t.Context(), ch, name, &x.Sent[0], nil), "otherwise")
	require.Equal(t, []bool{false}, x.Sent[0].Received)
}

func TestTheRulesOfExchanges(t *testing.T) {
	t.Parallel()
	type m = map[string]string
	for _, c := range []struct {
		kind    string
		binding Binding
		sent    Sending
		matches bool
		why     string
	}{
		{"direct", Binding{Key: "a"}, Sending{Key: "a"}, true, "key a is a"},
		{"direct", Binding{Key: "a.*"}, Sending{Key: "a.b"}, false, "key a.b is not a.*"},
		{"topic", Binding{Key: "order.*"}, Sending{Key: "order.paid"}, true, "key order.paid matches order.*"},
		{"topic", Binding{Key: "order.*"}, Sending{Key: "order"}, false, "key order does not match order.*"},
		{"topic", Binding{Key: "order.*"}, Sending{Key: "order.paid.late"}, false, "key order.paid.late does not match order.*"},
		{"topic", Binding{Key: "order.#"}, Sending{Key: "order"}, true, "key order matches order.#"},
		{"topic", Binding{Key: "#.late"}, Sending{Key: "order.paid.late"}, true, "key order.paid.late matches #.late"},
		{"topic", Binding{Key: "#"}, Sending{Key: ""}, true, "key  matches #"},
		{"fanout", Binding{Key: "a"}, Sending{Key: "b"}, true, "a fanout exchange does not look at keys"},
		{"headers", Binding{Headers: m{"region": "eu", "level": "gold"}}, Sending{Headers: m{"level": "gold"}}, false, "x-match=all needs region=eu too"},
		{"headers", Binding{Headers: m{"region": "eu", "level": "gold"}}, Sending{}, false, "x-match=all needs level=gold and region=eu"},
		{"headers", Binding{Headers: m{"region": "eu"}}, Sending{Headers: m{"region": "eu", "more": "x"}}, true, "x-match=all has region=eu"},
		{"headers", Binding{Headers: m{"region": "eu", "level": "gold"}, Any: true}, Sending{Headers: m{"level": "gold"}}, true, "x-match=any is content with level=gold"},
		{"headers", Binding{Headers: m{"region": "eu", "level": "gold"}, Any: true}, Sending{Headers: m{"region": "us"}}, false, "x-match=any needs level=gold or region=eu"},
	} {
		matches, why := c.binding.rule(c.kind, &c.sent)
		assert.Equal(t, c.matches, matches, c.why)
		assert.Equal(t, c.why, why)
	}
}

func TestDemonstrateSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Password = "wrong-secret"
	_, err := Demonstrate(t.Context(), s)
	require.ErrorContains(t, err, "rabbitmq.password")
	require.NotContains(t, err.Error(), "wrong-secret")
}
