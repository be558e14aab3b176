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
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/knadh/koanf/parsers/yaml"
	amqp "github.com/rabbitmq/amqp091-go"
	_ "modernc.org/sqlite"

	"seckill"
	"seckill/e2e/node"
	"seckill/internal/stack"
)

// command runs the binary and returns what it prints.
func command(t *testing.T, env []string, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "SECKILL_AUTH_SECRET=" + string(node.Secret), "SECKILL_PAYMENT_PROVIDER=test"}, env...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("%w: %s", err, complaints.String())
	}
	return out.String(), err
}

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

// metric reads one value of a node; labels as they are written there.
func metric(t *testing.T, n *node.Node, name string) float64 {
	t.Helper()
	for line := range strings.Lines(metrics(t, n)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			must(t, err)
			return v
		}
	}
	return -1
}

func metrics(t *testing.T, n *node.Node) string {
	t.Helper()
	res, err := http.Get(n.Ops + "/metrics")
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	return string(b)
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
	must(t, e.rabbit.Settle(t.Context()))
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
		"events":   {"SECKILL_RABBITMQ_EVENTS=false", "SECKILL_QUEUE=" + stack.Shared(t, stack.KindRabbitMQ).Fresh(t)},
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

// One ticket that the database rejects and one message that is no ticket, among
// 10,000 good ones: those are settled, the ticket is refused, its unit goes back
// and it is listed with what the database said, so is the message, and nothing
// stalls.
func TestPoisonAmongTenThousand(t *testing.T) {
	t.Parallel()
	e := startEngines(t)
	u, err := url.Parse(e.maria.AsAdmin(e.store))
	must(t, err)
	password, _ := u.User.Password()
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", u.User.Username(), password, u.Host, u.Path))
	must(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), `CREATE TRIGGER poison BEFORE INSERT ON tickets FOR EACH ROW
		IF NEW.buyer = 'poison' AND NEW.state <> 'refused' THEN SIGNAL SQLSTATE '22001' SET MYSQL_ERRNO = 1406, MESSAGE_TEXT = 'poison'; END IF`)
	must(t, err)

	const good = 10_000
	sale := admin(t, e.nodes[0]).creates(good+1, 1)
	load := startLoad(t, e.url(), "--sale", sale, "--buyers", strconv.Itoa(good), "--concurrency", "200")
	soldDownTo(t, e.nodes[0], sale, good*9/10)
	buyer(t, e.nodes[0], "poison").buys(sale, 1)
	rabbit := &subscriber{t: t, url: e.rabbit.AsAdmin(e.queue)}
	rabbit.asks(func(ch *amqp.Channel) error {
		return ch.Publish("seckill.tickets", "seckill.tickets", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("no ticket\x1b[2J")})
	})
	refused := buyer(t, e.nodes[1], "poison").outcome(sale)
	if refused.Status != "refused" || refused.Reason != "poison" {
		t.Errorf("the ticket that the database rejects: %+v", refused)
	}
	rep := load.report()
	if rep.Final["placed"] != good {
		t.Errorf("the good buyers ended as %v", rep.Final)
	}
	if a := admin(t, e.nodes[0]).audits(sale); a.Gate != 1 || a.Active != good {
		t.Errorf("the unit of the refused ticket did not go back: %+v", a)
	}

	eventually(t, "all events are sent", func() bool {
		var n int
		must(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM events").Scan(&n))
		return n == 0
	})

	mq := []string{"SECKILL_QUEUE=" + e.queue}
	var listed string
	eventually(t, "both are listed", func() bool {
		listed, err = command(t, mq, "mq", "dead-letters", "list")
		must(t, err)
		return strings.Count(listed, "\n") == 3
	})
	row := regexp.MustCompile(`(?m)^(#[0-9a-f]{12}) +rejected +2 +20\S+Z +- +- +- +no ticket \(.*\): "no ticket\\x1b\[2J"$`).FindStringSubmatch(listed)
	if row == nil || !regexp.MustCompile(`(?m)^`+refused.Ticket+` +refused +0 +20\S+Z +`+sale+` +poison +1 +a refused ticket: .*1406.*poison`).MatchString(listed) {
		t.Fatalf("the list is\n%s", listed)
	}
	total := func(name string) (sum float64) {
		for _, n := range e.nodes {
			sum += metric(t, n, name)
		}
		return sum
	}
	if got := total(`seckill_outcomes_total{outcome="poison"}`); got < 1 {
		t.Errorf("%v tickets were counted as poison", got)
	}
	before := total("seckill_queue_received_total")
	for _, c := range []struct{ args, out, complaint string }{
		{"drop", "", "name the dead letters"},
		{"drop --all", "", "--yes"},
		{"replay", "", "name the dead letters"},
		{"drop nothing", "0 dropped\n", `no dead letter has the id "nothing"`},
		{"replay --all", "1 replayed\n1 left alone: no tickets of a gate\n", ""},
		{"drop " + row[1], "1 dropped\n", ""},
		{"list", "no dead letters\n", ""},
		{"drop --all --yes", "0 dropped\n", ""},
	} {
		out, err := command(t, mq, append([]string{"mq", "dead-letters"}, strings.Fields(c.args)...)...)
		if out != c.out || (err != nil) != (c.complaint != "") || err != nil && !strings.Contains(err.Error(), c.complaint) {
			t.Errorf("mq dead-letters %s: %q, %v; want %q, %q", c.args, out, err, c.out, c.complaint)
		}
	}
	// A replay of a ticket that has its outcome changes nothing.
	eventually(t, "the replayed ticket is settled", func() bool {
		return total("seckill_queue_received_total") > before && metric(t, e.nodes[0], `seckill_queue_messages{queue="seckill.tickets"}`) == 0
	})
	if again := buyer(t, e.nodes[1], "poison").outcome(sale); again != refused {
		t.Errorf("a replay made %+v of %+v", again, refused)
	}
	if a := admin(t, e.nodes[0]).audits(sale); a.Gate != 1 || a.Active != good {
		t.Errorf("after a replay: %+v", a)
	}
}

// A ticket that kills every node that tries it is refused at last, its unit goes
// back, it is listed once, and the next node lives.
func TestATicketThatKillsItsNodesIsRefused(t *testing.T) {
	t.Parallel()
	e := startEngines(t)
	for _, n := range e.nodes {
		must(t, n.Stop())
	}
	crashing, err := crashBinary()
	must(t, err)
	c := e.configs[0]
	c.Env = append(slices.Clone(c.Env), "SECKILL_QUEUE="+e.rabbit.Fresh(t), "SECKILL_RABBITMQ_DELIVERY_LIMIT=1")
	mortal := c
	c.Args = []string{"--run", "api,relay,expire"}
	front := start(t, c)
	mortal.Binary, mortal.Listen, mortal.Args = crashing, "", []string{"--run", "settle"}
	mortal.Env = append(slices.Clone(mortal.Env), "SECKILL_CRASH=5-before-store")

	sale := admin(t, front).creates(5, 1)
	buyer(t, front, "deadly").buys(sale, 1)
	deaths := 0
	for refused := false; !refused; {
		mortal.Dir = t.TempDir()
		n := begin(t, mortal)
		eventually(t, "the node dies of the ticket, or refuses it", func() bool {
			refused = strings.Contains(n.Log(), "the ticket is refused")
			select {
			case <-n.Done():
				return true
			default:
				return refused
			}
		})
		if refused {
			must(t, n.Ready())
			eventually(t, "the settler of dead letters counts too", func() bool { return metric(t, n, `seckill_outcomes_total{outcome="poison"}`) == 1 })
			break
		}
		if deaths++; !n.Killed() || deaths > 10 {
			t.Fatalf("death %d:\n%s", deaths, tail(n.Log()))
		}
	}
	if deaths < 3 { // twice with others, once alone
		t.Errorf("refused after %d deaths", deaths)
	}
	if got := buyer(t, front, "deadly").outcome(sale); got.Status != "refused" || got.Reason != "poison" {
		t.Errorf("the ticket ended as %+v", got)
	}
	if a := admin(t, front).audits(sale); a.Gate != 5 || a.Active != 0 {
		t.Errorf("its unit did not go back: %+v", a)
	}
	eventually(t, "it is listed", func() bool {
		listed, err := command(t, c.Env, "mq", "dead-letters", "list")
		must(t, err)
		return strings.Count(listed, "\n") == 2 && regexp.MustCompile(`(?m) refused .* deadly +1 +a refused ticket: `).MatchString(listed)
	})
	if got := metric(t, front, "seckill_queue_published_total"); got != 1 {
		t.Errorf("the ticket was sent %v times", got)
	}
}

func saleID(t *testing.T, id string) seckill.SaleID {
	t.Helper()
	n, err := strconv.ParseInt(id, 10, 64)
	must(t, err)
	return seckill.SaleID(n)
}

// The demonstration in the documentation is what the command prints.
func TestTheDemoIsTheOneInTheDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/rabbitmq.md")
	must(t, err)
	transcript := regexp.MustCompile("(?s)<!-- transcript: seckill mq demo -->\n+```text\n(.*?)```\n").FindSubmatch(page)
	if transcript == nil {
		t.Fatal("docs/rabbitmq.md has no transcript of seckill mq demo")
	}
	out, err := command(t, nil, "mq", "demo", "--queue", stack.Shared(t, stack.KindRabbitMQ).Fresh(t))
	must(t, err)
	if out != string(transcript[1]) {
		t.Errorf("docs/rabbitmq.md does not show what seckill mq demo prints:\n%s", out)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("there are colours in a pipe")
	}
	if _, err := command(t, nil, "mq", "demo"); err == nil || !strings.Contains(err.Error(), "--queue amqp://") {
		t.Errorf("without a broker it says %v", err)
	}
}

// What the alert rules and the dashboard ask for is there, and each alert has a
// page that says what to do.
func TestMonitoringAsksForMetricsThatExist(t *testing.T) {
	t.Parallel()
	n := start(t, node.Config{Env: []string{"SECKILL_QUEUE=" + stack.Shared(t, stack.KindRabbitMQ).Fresh(t), "SECKILL_GATE=" + stack.Shared(t, stack.KindRedis).Fresh(t)}})
	sale := admin(t, n).creates(10, 1)
	buyer(t, n, "b").buys(sale, 1)
	buyer(t, n, "b").outcome(sale)
	eventually(t, "the queue is looked at", func() bool {
		return metric(t, n, `seckill_queue_consumers{queue="seckill.tickets"}`) > 0
	})
	exposed := metrics(t, n)

	rules, err := os.ReadFile("../deploy/monitoring/alerts.yaml")
	must(t, err)
	tree, err := yaml.Parser().Unmarshal(rules)
	must(t, err)
	again, err := json.Marshal(tree)
	must(t, err)
	var alerts struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	must(t, json.Unmarshal(again, &alerts))
	dashboard, err := os.ReadFile("../deploy/monitoring/dashboard.json")
	must(t, err)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	must(t, json.Unmarshal(dashboard, &board))

	expressions := map[string]string{}
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			expressions["alert "+r.Alert] = r.Expr
			if _, err := time.ParseDuration(r.For); err != nil || r.Annotations["summary"] == "" || r.Labels["severity"] == "" {
				t.Errorf("alert %s: for %q, annotations %v, labels %v", r.Alert, r.For, r.Annotations, r.Labels)
			}
			if info, err := os.Stat(filepath.Join("..", r.Annotations["runbook_url"])); err != nil || info.IsDir() {
				t.Errorf("alert %s has no runbook: %q %v", r.Alert, r.Annotations["runbook_url"], err)
			}
		}
	}
	for _, p := range board.Panels {
		for i, target := range p.Targets {
			expressions[fmt.Sprintf("panel %s %d", p.Title, i)] = target.Expr
		}
	}
	if len(expressions) < 15 {
		t.Errorf("only %d expressions were read", len(expressions))
	}
	name, label := regexp.MustCompile(`\bseckill_\w+`), regexp.MustCompile(`(\w+)="([^"]+)"`)
	for where, expr := range expressions {
		names := name.FindAllString(expr, -1)
		if len(names) == 0 && !strings.HasPrefix(expr, "up") {
			t.Errorf("%s asks for nothing of a node: %s", where, expr)
		}
		for _, m := range names {
			if !regexp.MustCompile(`(?m)^` + m + `[ {]`).MatchString(exposed) {
				t.Errorf("%s asks for %s, which a node does not have", where, m)
			}
		}
		for _, l := range label.FindAllStringSubmatch(expr, -1) {
			if l[1] != "job" && !strings.Contains(exposed, l[0]) {
				t.Errorf("%s asks for the label %s, which no metric of a node has", where, l[0])
			}
		}
	}
}

// The engines of compose.yaml have the settings that the promises need: those of
// the engines that the tests run on. The file itself is not run.
func TestComposeHasTheSettingsOfTheStack(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../deploy/compose.yaml")
	must(t, err)
	tree, err := yaml.Parser().Unmarshal(file)
	must(t, err)
	again, err := json.Marshal(tree)
	must(t, err)
	var compose struct {
		Services map[string]struct {
			Image       string
			Command     any
			Ports       []string
			Volumes     []string
			Environment map[string]string
		}
	}
	must(t, json.Unmarshal(again, &compose))
	example, err := os.ReadFile("../deploy/.env.example")
	must(t, err)
	for _, m := range regexp.MustCompile(`\$\{(\w+)`).FindAllSubmatch(file, -1) {
		if !bytes.Contains(example, append(append([]byte("\n"), m[1]...), '=', '\n')) {
			t.Errorf("%s is not in .env.example, or has a value there", m[1])
		}
	}
	for name, s := range compose.Services {
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s listens everywhere: %s", name, p)
			}
		}
		for _, v := range s.Volumes {
			host, _, _ := strings.Cut(v, ":")
			if _, err := os.Stat(filepath.Join("../deploy", host)); strings.HasPrefix(host, ".") && err != nil {
				t.Errorf("%s mounts %s: %v", name, host, err)
			}
		}
		for key, value := range s.Environment {
			if (strings.Contains(key, "PASS") || key == "NODE" || key == "ADMIN") && !strings.HasPrefix(value, "${") && key != "MARIADB_RANDOM_ROOT_PASSWORD" {
				t.Errorf("%s has a password in the file: %s", name, key)
			}
		}
	}
	if r := compose.Services["rabbitmq"]; r.Environment["RABBITMQ_DEFAULT_USER"] == "" || r.Environment["RABBITMQ_DEFAULT_USER"] == "guest" {
		t.Error("without a default user of another name the image makes guest")
	}
	command := func(service string) string {
		text := fmt.Sprint(compose.Services[service].Command) + " "
		return strings.NewReplacer("[", "", "]", "", "=", " ").Replace(text)
	}
	for _, c := range []struct {
		service  string
		kind     stack.Kind
		file     string
		settings []string // with their values, as in the engine's own configuration
	}{
		{"redis", stack.KindRedis, "redis.conf", []string{"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"}},
		{"mariadb", stack.KindMariaDB, "mariadb.cnf", []string{"innodb-flush-log-at-trx-commit 1", "sync-binlog 1", "character-set-server utf8mb4", "transaction-isolation READ-COMMITTED"}},
	} {
		e := stack.Shared(t, c.kind)
		own, err := os.ReadFile(filepath.Join(filepath.Dir(e.LogFile()), c.file))
		must(t, err)
		for _, setting := range c.settings {
			if !strings.Contains(command(c.service), "--"+setting+" ") {
				t.Errorf("%s of compose.yaml lacks %s: %s", c.service, setting, command(c.service))
			}
			if !strings.Contains(strings.ReplaceAll(string(own), " = ", " "), "\n"+setting+"\n") {
				t.Errorf("%s of the stack lacks %s", c.service, setting)
			}
		}
	}
}
