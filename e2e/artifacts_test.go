package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/yaml"

	"seckill/e2e/node"
	"seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// metric reads one value of a node; labels as they are written there. -1: it has none.
func metric(t *testing.T, n *node.Node, name string) float64 {
	t.Helper()
	found, err := node.ReadMetrics(t.Context(), n.Ops, name)
	must(t, err)
	if v, ok := found[name]; ok {
		return v
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

// The demonstration in the documentation is what the command prints.
func TestTheDemoIsTheOneInTheDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/rabbitmq.md")
	must(t, err)
	transcript := regexp.MustCompile("(?s)<!-- transcript: seckill mq demo -->\n+```text\n(.*?)```\n").FindSubmatch(page)
	if transcript == nil {
		t.Fatal("docs/rabbitmq.md has no transcript of seckill mq demo")
	}
	out, err := command(t, nil, "mq", "demo", "--queue", stacktest.Fresh(t, stacktest.Shared(t, stack.KindRabbitMQ)))
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
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(shop.Close)
	n := start(t, node.Config{Env: []string{`SECKILL_WEBHOOKS=[{"name":"shop","url":"` + shop.URL + `","secret":"whsec_` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}]`, "SECKILL_QUEUE=" + stacktest.Fresh(t, stacktest.Shared(t, stack.KindRabbitMQ)), "SECKILL_GATE=" + stacktest.Fresh(t, stacktest.Shared(t, stack.KindRedis))}})
	sale := admin(t, n).creates(10, 1)
	buyer(t, n, "b").buys(sale, 1)
	buyer(t, n, "b").outcome(sale)
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
		if !name.MatchString(expr) && !strings.HasPrefix(expr, "up") {
			t.Errorf("%s asks for nothing of a node: %s", where, expr)
		}
	}
	// A node has many of them only when it has looked at its engines or sent something.
	var lacking []string
	defer func() {
		for _, l := range lacking {
			t.Error(l)
		}
	}()
	eventually(t, "the node has all that is asked for", func() bool {
		exposed := metrics(t, n)
		lacking = nil
		for where, expr := range expressions {
			for _, m := range name.FindAllString(expr, -1) {
				if !strings.Contains(exposed, "\n"+m+" ") && !strings.Contains(exposed, "\n"+m+"{") {
					lacking = append(lacking, fmt.Sprintf("%s asks for %s, which a node does not have", where, m))
				}
			}
			for _, l := range label.FindAllStringSubmatch(expr, -1) {
				if l[1] != "job" && !strings.Contains(exposed, l[0]) {
					lacking = append(lacking, fmt.Sprintf("%s asks for the label %s, which no metric of a node has", where, l[0]))
				}
			}
		}
		return len(lacking) == 0
	})
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
		e := stacktest.Shared(t, c.kind)
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
