package e2e

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	_ "modernc.org/sqlite"

	"seckill"
	"seckill/e2e/node"
	"seckill/internal/stack/stacktest"
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

// takesMessages has somebody who is no node send messages to the queue of the tickets. RabbitMQ
// has them when it returns.
func (e *engines) takesMessages(t *testing.T, bodies ...string) {
	t.Helper()
	(&subscriber{t: t, url: stacktest.AsAdmin(e.rabbit, e.queue)}).asks(func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		returned := ch.NotifyReturn(make(chan amqp.Return, len(bodies)))
		send := func(bodies []string) (stored int) {
			sent := make([]*amqp.DeferredConfirmation, len(bodies))
			for i, body := range bodies {
				var err error
				sent[i], err = ch.PublishWithDeferredConfirm("seckill.tickets", "seckill.tickets", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
				must(t, err)
			}
			for _, s := range sent { // the queue may lose what it has not confirmed when the channel is closed
				ok, err := s.WaitContext(t.Context())
				must(t, err)
				if ok {
					stored++
				}
			}
			return stored - len(returned)
		}
		// What is sent before a node has bound the queue comes back, and is confirmed all the same.
		if send(bodies[:1]) == 0 {
			return errors.New("the queue is not there yet")
		}
		if stored := send(bodies[1:]); stored != len(bodies)-1 {
			t.Fatalf("the queue has %d of %d messages", 1+stored, len(bodies))
		}
		return nil
	})
}

// One ticket that the database rejects and one message that is no ticket, among
// 10,000 good ones: those are settled, the ticket is refused, its unit goes back
// and it is listed with what the database said, so is the message, and nothing
// stalls.
func TestPoisonAmongTenThousand(t *testing.T) {
	t.Parallel()
	e := startEngines(t)
	u, err := url.Parse(stacktest.AsAdmin(e.maria, e.store))
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
	e.takesMessages(t, "no ticket\x1b[2J")
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
	c.Env = append(slices.Clone(c.Env), "SECKILL_QUEUE="+stacktest.Fresh(t, e.rabbit), "SECKILL_RABBITMQ_DELIVERY_LIMIT=1")
	mortal := c
	c.Args = []string{"--run", "api,relay,expire"}
	front := start(t, c)
	mortal.Binary, mortal.Listen, mortal.Args = crashing, "", []string{"--run", "settle"}
	mortal.Env = append(slices.Clone(mortal.Env), "SECKILL_CRASH=5-before-store")

	sale := admin(t, front).creates(5, 1)
	buyer(t, front, "deadly").buys(sale, 1)
	eventually(t, "the ticket is sent", func() bool { return metric(t, front, "seckill_queue_confirmed_total") == 1 })
	if got := metric(t, front, "seckill_queue_published_total"); got != 1 {
		t.Errorf("the ticket was sent %v times", got)
	}
	// On a slow machine it would have no outcome for so long that it is sent again, and each
	// copy kills as many nodes. Nobody relays from now on.
	must(t, front.Stop())
	c.Args = []string{"--run", "api,expire"}
	front = start(t, c)
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
}

func saleID(t *testing.T, id string) seckill.SaleID {
	t.Helper()
	n, err := strconv.ParseInt(id, 10, 64)
	must(t, err)
	return seckill.SaleID(n)
}
