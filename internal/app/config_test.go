package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"seckill"
)

// write makes a file and returns its name.
func write(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "seckill.yaml")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

// flags are as `seckill serve` has them.
func flags(t testing.TB, args ...string) *pflag.FlagSet {
	t.Helper()
	d := Defaults()
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.String("config", "", "")
	f.String("listen", d.Listen, "")
	f.String("ops-listen", d.OpsListen, "")
	f.String("data-dir", d.DataDir, "")
	f.Bool("demo", false, "")
	f.StringSlice("run", d.Run, "")
	require.NoError(t, f.Parse(args))
	return f
}

func TestDefaultsThenFileThenEnvironmentThenFlags(t *testing.T) {
	t.Parallel()
	name := write(t, `
listen: :1
ops_listen: :1
data_dir: /file
http: {max_waits: 11, trusted_proxies: [10.0.0.0/8, fd00::/8]}
auth: {token_life: 1h}
log: {level: debug}
limits:
`)
	environ := []string{"SECKILL_OPS_LISTEN=:2", "SECKILL_DATA_DIR=/env", "SECKILL_HTTP_MAX_IN_FLIGHT=12", "SECKILL_AUTH_SECRET=0123456789abcdef", "PATH=/bin", "SECKILL_SERVICE_HOST=10.0.0.1"}
	c, err := LoadConfig(name, environ, flags(t, "--data-dir=/flag", "--demo"))
	require.NoError(t, err)

	want := Defaults()
	want.Listen, want.OpsListen, want.DataDir, want.Demo = ":1", ":2", "/flag", true
	want.HTTP.MaxWaits, want.HTTP.MaxInFlight = 11, 12
	want.HTTP.TrustedProxies = []string{"10.0.0.0/8", "fd00::/8"}
	want.Auth.TokenLife, want.Auth.Secret = time.Hour, "0123456789abcdef"
	want.Log.Level = slog.LevelDebug
	require.Empty(t, cmp.Diff(want, c), "everything else is as it was before, an empty section included")
}

func TestADefaultOfAFlagOverrulesNothing(t *testing.T) {
	t.Parallel()
	c, err := LoadConfig("", []string{"SECKILL_LISTEN=:2", "SECKILL_DEMO=true"}, flags(t))
	require.NoError(t, err)
	require.Equal(t, ":2", c.Listen)
	require.True(t, c.Demo)
	c, err = LoadConfig("", []string{"SECKILL_LISTEN=:2", "SECKILL_DEMO=true"}, flags(t, "--listen=:8080", "--demo=false"))
	require.NoError(t, err)
	require.Equal(t, ":8080", c.Listen, "but one that is given does, though it is the default")
	require.False(t, c.Demo)
}

// every calls f for every setting.
func every(c reflect.Value, prefix string, f func(key string, v reflect.Value)) {
	for i := range c.NumField() {
		key := prefix + c.Type().Field(i).Tag.Get("koanf")
		if c.Field(i).Kind() == reflect.Struct {
			every(c.Field(i), key+".", f)
			continue
		}
		f(key, c.Field(i))
	}
}

func TestEverySettingHasANameAHelpAndAnEnvironmentVariable(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	c := Defaults()
	every(reflect.ValueOf(&c).Elem(), "", func(key string, v reflect.Value) {
		require.Regexp(t, `^[a-z_]+(\.[a-z_]+)*$`, key)
		env := EnvName(key)
		require.Regexp(t, `^SECKILL_[A-Z_]+$`, env)
		require.Empty(t, seen[env], "%s and %s share %s", key, seen[env], env)
		seen[env] = key
	})
	require.Greater(t, len(seen), 20)
}

func TestEverySettingCanBeSetByTheEnvironment(t *testing.T) {
	t.Parallel()
	c := Defaults()
	every(reflect.ValueOf(&c).Elem(), "", func(key string, v reflect.Value) {
		if key == "gate" || key == "queue" || key == "store" || key == "run" || strings.HasPrefix(key, "auth.issuer.") {
			return // they are not free to have any value
		}
		var value string
		want := reflect.New(v.Type()).Elem()
		switch v.Interface().(type) {
		case time.Duration:
			value = "50s"
			if key == "auth.max_token_life" { // not less than token_life
				value = "25h"
			}
			if key == "limits.log_retention" { // a day at least
				value = "48h"
			} else if key == "auth.token_life" || strings.HasSuffix(key, "retention") {
				value = "2m"
			}
			if key == "rabbitmq.publish_retry.initial_interval" { // not more than max_interval
				value = "500ms"
			}
			d, _ := time.ParseDuration(value)
			want.SetInt(int64(d))
		case slog.Level:
			value = "WARN"
			want.SetInt(int64(slog.LevelWarn))
		case bool:
			value = "true"
			want.SetBool(true)
		case int:
			value = "77"
			if key == "rabbitmq.listener.concurrency" { // not more than max_concurrency
				value = "3"
			}
			if key == "redis.connections" { // a power of two
				value = "16"
			}
			if key == "access.work_most" { // not less than work
				value = "400000"
			}
			n, _ := strconv.Atoi(value)
			want.SetInt(int64(n))
		case float64:
			value = "2.5"
			want.SetFloat(2.5)
		case []string:
			value = " 10.0.0.0/8, ,192.0.2.0/24 "
			want.Set(reflect.ValueOf([]string{"10.0.0.0/8", "192.0.2.0/24"}))
			if key == "http.trusted_origins" {
				value = "https://shop.example, http://localhost:3000"
				want.Set(reflect.ValueOf([]string{"https://shop.example", "http://localhost:3000"}))
			}
			if key == "rabbitmq.addresses" {
				value = "mq1:5672,[::1]:5673"
				want.Set(reflect.ValueOf([]string{"mq1:5672", "[::1]:5673"}))
			}
		case []Webhook:
			value = `[{"name":"erp","url":"https://shop.example/hooks","secret":"whsec_x","types":["order.paid"]},{"name":"books","url":"http://127.0.0.1:81/","secret_file":"/run/books"}]`
			want.Set(reflect.ValueOf([]Webhook{{Name: "erp", URL: "https://shop.example/hooks", Secret: "whsec_x", Types: []string{"order.paid"}}, {Name: "books", URL: "http://127.0.0.1:81/", SecretFile: "/run/books"}}))
		default:
			value = "text"
			if some, ok := map[string]string{"log.format": "json", "auth.registration": "closed", "auth.second_factor": "admins", "access.registration_challenge": "both"}[key]; ok {
				value = some
			}
			if key == "payment.provider" {
				value = "shop"
			}
			if key == "rabbitmq.password_file" {
				value = write(t, "text")
			}
			want.SetString(value)
		}
		got, err := LoadConfig("", []string{EnvName(key) + "=" + value}, nil)
		require.NoError(t, err, key)
		every(reflect.ValueOf(got), "", func(k string, v reflect.Value) {
			if k == key {
				require.Equal(t, want.Interface(), v.Interface(), key)
			}
		})
	})
}

// A second value of a switch, so that it is not the default by chance.
func TestSwitchesOfRabbitMQCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"rabbitmq.declare", "rabbitmq.events", "rabbitmq.publish_retry.enabled", "rabbitmq.listener.auto_startup", "rabbitmq.listener.default_requeue_rejected"} {
		c, err := LoadConfig("", []string{EnvName(key) + "=false"}, nil)
		require.NoError(t, err, key)
		every(reflect.ValueOf(c), "", func(k string, v reflect.Value) {
			if k == key {
				require.False(t, v.Bool(), key)
			}
		})
	}
}

func TestAnUnknownKeyIsAnError(t *testing.T) {
	t.Parallel()
	for content, key := range map[string]string{
		"listenn: :1":                         "listenn",
		"Listen: :1":                          "Listen",
		"http: {max_wait: 5}":                 "http.max_wait",
		"http: {max_waits: {a: 5}}":           "http.max_waits.a",
		"auth:\n  token_life: 1h\n  secrt: x": "auth.secrt",
		"http: 5":                             "http",
		"seckill: {listen: x}":                "seckill.listen",
		"listen: :1\nlimits: {outboxes: [1]}": "limits.outboxes",
	} {
		name := write(t, content)
		_, err := LoadConfig(name, nil, nil)
		require.ErrorContains(t, err, fmt.Sprintf("%q", key), content)
		require.ErrorContains(t, err, name, "it says in which file")
	}
}

func TestAFileThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	_, err := LoadConfig("/nowhere/seckill.yaml", nil, nil)
	require.ErrorContains(t, err, "/nowhere/seckill.yaml")
	for _, content := range []string{"[]", "x", "a: [", "\t", "listen: a\nlisten: b"} {
		name := write(t, content)
		_, err := LoadConfig(name, nil, nil)
		require.ErrorContains(t, err, name, content)
	}
	for _, content := range []string{"", "---", "# nothing", "{}", "http:", "http:\n  # max_waits: 5\nauth: {}"} {
		c, err := LoadConfig(write(t, content), nil, nil)
		require.NoError(t, err, content)
		require.Empty(t, cmp.Diff(Defaults(), c), content)
	}
}

// goWords are what an error says that was meant for a programmer.
var goWords = regexp.MustCompile(`strconv|slog|time: |unconvertible|cannot parse`)

func TestABadValueNamesItsKeyAndItsVariable(t *testing.T) {
	t.Parallel()
	for key, bads := range map[string][]string{
		"http.max_in_flight":   {"0", "-1", "x", "1e9", "99999999999999999999"},
		"http.max_waits":       {"0", "many"},
		"http.login_tries":     {"0"},
		"http.address_tries":   {"-5"},
		"http.poll_after":      {"1ms", "2m", "500", "half a second"},
		"http.stop_timeout":    {"0s", "-1s"},
		"http.trusted_origins": {"shop.example", "https://shop.example/", "*"},
		"auth.max_token_life":  {"1h", "x"},
		"http.trusted_proxies": {"10.0.0.1", "10.0.0.0/33", "proxy.internal"},
		"limits.outbox":        {"0", "x"},
		"limits.queue":         {"0", "x"},
		"limits.batch":         {"0", "10001", "x"},
		"limits.log_retention": {"1h", "-1h", "a year"},
		"redis.connections":    {"-1", "3", "512"},
		"mysql.connections":    {"0", "3", "1001"},
		"auth.token_life":      {"59s", "-1h", "1 day"},
		"log.level":            {"loud"},
		"log.format":           {"xml"},
		"demo":                 {"perhaps"},
		"data_dir":             {""},
		"gate":                 {"http://localhost", "disk"},
		"queue":                {"http://localhost", "disk", "amqp://a:b@localhost?x=1"},
		"store":                {"postgres://localhost", "memory"},
		"run":                  {"", "api,cook"},
		"webhooks": {"erp", "{}", `[{"name":"erp"}]`, `[{"name":"ERP","url":"https://h","secret":"s"}]`, `[{"name":"a","url":"https://h"}]`, `[{"name":"a","url":"ftp://h","secret":"s"}]`,
			`[{"name":"a","url":"https://h","secret":"s","types":["order.lost"]}]`, `[{"name":"a","url":"https://h","secret":"s"},{"name":"a","url":"https://i","secret":"s"}]`},
	} {
		for _, bad := range bads {
			_, err := LoadConfig("", []string{EnvName(key) + "=" + bad}, nil)
			require.Error(t, err, "%s=%s", key, bad)
			require.Contains(t, err.Error(), key+" ("+EnvName(key)+")", "%s=%s", key, bad)
			require.NotRegexp(t, goWords, err.Error(), "%s=%s", key, bad)
		}
	}
	for content, say := range map[string]string{
		"limits: {batch: x}": "must be a whole number, such as 500", "http: {poll_after: y}": "must be a duration with its unit, such as 90s, 10m or 24h", "http: {poll_after: [1s]}": "must be a duration",
		"demo: perhaps": "must be true or false", "log: {level: loud}": "must be debug, info, warn or error", "listen: [a]": "must be a text", "run: {a: b}": "run",
		"rabbitmq: {publish_retry: {multiplier: x}}": "must be a number, such as 0.5", "webhooks: [{name: [a], url: https://h, secret: s}]": "must be a text", "webhooks: [5]": "webhooks",
	} {
		_, err := LoadConfig(write(t, content), nil, nil)
		require.ErrorContains(t, err, say, content)
		require.NotRegexp(t, goWords, err.Error(), content)
	}
	t.Log("all of them at once")
	_, err := LoadConfig("", []string{"SECKILL_LIMITS_BATCH=0", "SECKILL_LOG_FORMAT=xml"}, nil)
	require.ErrorContains(t, err, "limits.batch")
	require.ErrorContains(t, err, "log.format")
	t.Log("in a file as well")
	_, err = LoadConfig(write(t, "limits: {batch: x}\nhttp: {poll_after: y}"), nil, nil)
	require.ErrorContains(t, err, "limits.batch (SECKILL_LIMITS_BATCH)")
	require.ErrorContains(t, err, "http.poll_after (SECKILL_HTTP_POLL_AFTER)")
}

const hush = "do-not-tell-anybody"

func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()
	c, err := LoadConfig("", []string{"SECKILL_AUTH_SECRET=" + hush, "SECKILL_AUTH_PREVIOUS_SECRET=" + hush,
		`SECKILL_WEBHOOKS=[{"name":"erp","url":"https://shop.example/","secret":"` + hush + `"},{"name":"books","url":"https://` + hush + `@shop.example/hooks?key=` + hush + `","secret":"` + hush + `"}]`,
		"SECKILL_PAYMENT_REFUND_URL=https://shop.example/refunds?key=" + hush, "SECKILL_PAYMENT_STATEMENT_URL=https://books:" + hush + "@shop.example/statement",
		"SECKILL_AUTH_ISSUER_ISS=https://id.shop.example", "SECKILL_AUTH_ISSUER_AUD=seckill", "SECKILL_AUTH_ISSUER_JWKS_URL=https://id.shop.example/keys?key=" + hush,
		"SECKILL_GATE=redis://buyer:" + hush + "@localhost:6379/1", "SECKILL_QUEUE=amqp://sender:" + hush + "@localhost:5672/shop", "SECKILL_STORE=mysql://keeper:" + hush + "@localhost:3306/shop",
	}, nil)
	require.NoError(t, err)
	shown, err := c.Show()
	require.NoError(t, err)
	require.Contains(t, string(shown), "secret: "+seckill.Hidden)
	for _, address := range []string{"redis://buyer:" + seckill.Hidden + "@localhost:6379/1", "amqp://sender:" + seckill.Hidden + "@localhost:5672/shop", "mysql://keeper:" + seckill.Hidden + "@localhost:3306/shop"} {
		require.Contains(t, string(shown), address, "all of an address but its password")
	}
	require.Contains(t, string(shown), "token_life: 24h0m0s")
	for _, url := range []string{"url: https://shop.example/", "url: https://(hidden)@shop.example/hooks?(hidden)", "refund_url: https://shop.example/refunds?(hidden)", "statement_url: https://(hidden)@shop.example/statement", "jwks_url: https://id.shop.example/keys?(hidden)"} {
		require.Contains(t, string(shown), url+"\n")
	}

	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "secret", c.Auth.Secret, "auth", c.Auth, "config", c, "pointer", &c, "gate", c.Gate, "queue", c.Queue, "store", c.Store, "rabbitmq", c.RabbitMQ, "webhooks", c.Webhooks, "refunds", c.Payment.RefundURL)
	}
	asJSON, err := json.Marshal(c)
	require.NoError(t, err)
	for _, text := range append([]string{string(shown), log.String(), string(asJSON), fmt.Sprint(c, &c, c.Auth, c.Auth.Secret)},
		fmt.Sprintf("%v|%+v|%#v|%s|%q", c, c, c, c.Auth, c.Auth), fmt.Sprintf("%x|%X", c.Auth.Secret, c.Auth.Secret), fmt.Errorf("%v", c).Error(),
		fmt.Sprintf("%v|%+v|%#v|%s|%q|%x", c.Gate, c.Queue, c.Store, c.Gate, c.Queue, c.Store), fmt.Errorf("%v, %s, %q", c.Gate, c.Queue, c.Store).Error(),
		fmt.Sprint(Address("redis://buyer:"+hush+"@localhost:no-port"), Address("redis://buyer:12/"+hush+"@localhost")),
		fmt.Sprint(Address("redis://buyer:12#"+hush+"@localhost"), Address("redis://buyer:12?"+hush+"@localhost"), Address("mysql://buyer:12@"+hush+"@localhost/x")),
		fmt.Sprint(Address("redis://localhost?password="+hush), Address("redis:buyer:"+hush+"@localhost"), Address("redis://:"+hush+"@localhost"), Address("amqps://a:"+hush+"@localhost#x")),
		fmt.Sprint(Address("redis://"+hush+"@localhost:6379"), Address("rediss://"+hush+"@localhost/1?addr=h:1"), Address("redis://12/"+hush+"@localhost"))) {
		require.NotContains(t, text, hush)
		require.NotContains(t, strings.ToLower(text), fmt.Sprintf("%x", hush))
	}

	require.Equal(t, "rediss://(hidden)@localhost:6379/1?addr=h:1", Address("rediss://"+hush+"@localhost:6379/1?addr=h:1").String(), "the colon before the password was forgotten")

	t.Log("no secret, nothing to hide")
	shown, err = Defaults().Show()
	require.NoError(t, err)
	require.NotContains(t, string(shown), seckill.Hidden)
}

func TestAMistakeDoesNotShowASecret(t *testing.T) {
	t.Parallel()
	for _, content := range []string{
		"webhooks: [{name: erp, url: https://h, secret: [" + hush + "]}]", "webhooks: [{name: erp, url: ftp://h, secret: " + hush + "}]", "webhooks: [" + hush + "]", "webhooks: [{name: erp, secrt: " + hush + "}]",
		"auth: {secret: [" + hush + "]}", "auth: {secret: " + hush + "}\nlimits: {batch: x}",
		"limits: {batch: 0}\ngate: redis://user:" + hush + "@localhost\nqueue: amqp://user:" + hush + "@localhost\nstore: mysql://user:" + hush + "@localhost",
		"queue: amqp://user:" + hush + "@localhost:no-port", "queue: amqp://user:" + hush + "@localhost/shop?heartbeat=1",
		"gate: http://user:" + hush + "@localhost", "queue: http://user:" + hush + "@localhost", "store: postgres://user:" + hush + "@localhost",
	} {
		_, err := LoadConfig(write(t, content), nil, nil)
		require.Error(t, err, content)
		require.NotContains(t, err.Error(), hush)
	}
}

func TestWhereTheSecretsComeFrom(t *testing.T) {
	t.Parallel()
	in := func(t *testing.T, environ ...string) Config {
		c, err := LoadConfig("", append(environ, "SECKILL_DATA_DIR="+filepath.Join(t.TempDir(), "data")), nil)
		require.NoError(t, err)
		return c
	}
	t.Run("given", func(t *testing.T) {
		c := in(t, "SECKILL_AUTH_SECRET="+hush, "SECKILL_AUTH_PREVIOUS_SECRET=the one before it")
		secrets, made, err := c.Secrets(true)
		require.NoError(t, err)
		require.Equal(t, [][]byte{[]byte(hush), []byte("the one before it")}, secrets)
		require.Empty(t, made)
		require.NoDirExists(t, c.DataDir)
	})
	t.Run("in files", func(t *testing.T) {
		c := in(t, "SECKILL_AUTH_SECRET_FILE="+write(t, "  "+hush+"\n"), "SECKILL_AUTH_PREVIOUS_SECRET_FILE="+write(t, "the one before it"))
		secrets, _, err := c.Secrets(false)
		require.NoError(t, err)
		require.Equal(t, [][]byte{[]byte(hush), []byte("the one before it")}, secrets)
	})
	t.Run("in a file that is not there", func(t *testing.T) {
		c := in(t, "SECKILL_AUTH_SECRET_FILE=/nowhere/secret")
		_, _, err := c.Secrets(true)
		require.ErrorContains(t, err, "auth.secret_file (SECKILL_AUTH_SECRET_FILE)")
	})
	t.Run("too short", func(t *testing.T) {
		c := in(t, "SECKILL_AUTH_SECRET=short")
		_, _, err := c.Secrets(true)
		require.ErrorContains(t, err, "auth.secret (SECKILL_AUTH_SECRET)")
		require.NotContains(t, err.Error(), "short ")
		c = in(t, "SECKILL_AUTH_SECRET="+hush, "SECKILL_AUTH_PREVIOUS_SECRET=short")
		_, _, err = c.Secrets(true)
		require.ErrorContains(t, err, "auth.previous_secret (SECKILL_AUTH_PREVIOUS_SECRET)")
	})
	t.Run("made", func(t *testing.T) {
		c := in(t)
		_, _, err := c.Secrets(false)
		require.ErrorContains(t, err, "SECKILL_AUTH_SECRET", "a command makes none: the server's would be another")
		first, made, err := c.Secrets(true)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(c.DataDir, "auth.secret"), made)
		require.GreaterOrEqual(t, len(first[0]), 32)
		info, err := os.Stat(made)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "for nobody else to read")
		again, made, err := c.Secrets(true)
		require.NoError(t, err)
		require.Equal(t, first, again, "a restart keeps it")
		require.Empty(t, made)
		other := in(t)
		different, _, err := other.Secrets(true)
		require.NoError(t, err)
		require.NotEqual(t, first[0], different[0])
	})
}

func FuzzLoadConfig(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "listen: :1", "http: {max_waits: 5, trusted_proxies: [10.0.0.0/8]}", "http:\n  poll_after: 250ms\nlimits:", "run: api,relay,settle,expire",
		"run: [api]", "log: {level: warn+2, format: json}", "log: {level: 3}", "demo: yes", "demo: 1", "auth: {secret: 0123456789abcdef0, token_life: 90m}",
		"auth: {secret_file: /x}", "a: &a [*a]", "listen: !!binary aGk=", "limits: {batch: 0x10}", "limits: {batch: 1_000}", "limits: {batch: 10.7}",
		"http.max_waits: 5", "'': 1", "? [a]\n: b", "http: {max_waits: ~}", "store: 'sqlite:/a b'", "<<: {listen: x}", "data_dir: \"\\u0000\"", "1: 2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		name := write(t, content)
		environ := []string{"SECKILL_AUTH_PREVIOUS_SECRET=" + hush}
		c, err := LoadConfig(name, environ, nil)
		if err != nil {
			require.True(t, strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "SECKILL_"), "the message names the file or the variable: %v", err)
			return
		}
		require.NoError(t, c.check(), "what is accepted is checked")
		require.Equal(t, seckill.Secret(hush), c.Auth.PreviousSecret, "the environment goes before the file")
		shown, err := c.Show()
		require.NoError(t, err)
		require.NotContains(t, string(shown), hush)

		t.Log("what is shown is the configuration: as a file it gives the same, but for what was hidden")
		again, err := LoadConfig(write(t, string(shown)), environ, nil)
		require.NoError(t, err, string(shown))
		for _, secrets := range [][2]*seckill.Secret{{&c.Auth.Secret, &again.Auth.Secret}, {&c.Auth.PreviousSecret, &again.Auth.PreviousSecret}} {
			require.Equal(t, *secrets[0] == "", *secrets[1] == "")
			*secrets[1] = *secrets[0]
		}
		if c.Gate.String() == string(c.Gate) && c.Queue.String() == string(c.Queue) && c.Store.String() == string(c.Store) && c.RabbitMQ.Password == "" && !strings.Contains(string(shown), seckill.Hidden) {
			require.Empty(t, cmp.Diff(c, again), string(shown))
		}
	})
}
