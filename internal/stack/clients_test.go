//go:build linux

package stack_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	. "seckill/internal/stack"
	"seckill/internal/stack/stacktest"
)

// put writes one more thing, acknowledged, with the client that nodes use.
func put(t *testing.T, e *Engine) {
	t.Helper()
	putAt(t, e.Kind(), e.URL())
}

func putAt(t *testing.T, kind Kind, url string) {
	t.Helper()
	switch kind {
	case KindRedis:
		c := dialRedis(t, url)
		require.NoError(t, c.Do(t.Context(), c.B().Rpush().Key("seckill:{1}:test").Element("one").Build()).Error())
	case KindRabbitMQ:
		c, ch := dialRabbit(t, url)
		defer c.Close()
		declare(t, ch)
		require.NoError(t, ch.Confirm(false))
		d, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "seckill.test", "", true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("one")})
		require.NoError(t, err)
		acked, err := d.WaitContext(t.Context())
		require.NoError(t, err)
		require.True(t, acked)
	case KindMariaDB:
		db := dialMaria(t, url)
		_, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS test (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20))")
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), "INSERT INTO test (name) VALUES (?)", "秒杀")
		require.NoError(t, err)
	}
}

// count tells how many things were put.
func count(t *testing.T, e *Engine) int {
	t.Helper()
	return countAt(t, e.Kind(), e.URL())
}

func countAt(t *testing.T, kind Kind, url string) (n int) {
	t.Helper()
	switch kind {
	case KindRedis:
		c := dialRedis(t, url)
		all, err := c.Do(t.Context(), c.B().Lrange().Key("seckill:{1}:test").Start(0).Stop(-1).Build()).AsStrSlice()
		require.NoError(t, err)
		n = len(all)
	case KindRabbitMQ:
		c, ch := dialRabbit(t, url)
		defer c.Close()
		declare(t, ch)
		for {
			m, ok, err := ch.Get("seckill.test", false)
			require.NoError(t, err)
			if !ok {
				break
			}
			require.Equal(t, "one", string(m.Body))
			n++
		}
		require.NoError(t, ch.Nack(0, true, true)) // all of them, back into the queue
	case KindMariaDB:
		db := dialMaria(t, url)
		err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM test WHERE name = ?", "秒杀").Scan(&n)
		if e, ok := errors.AsType[*mysql.MySQLError](err); ok && e.Number == 1146 {
			return 0 // no such table
		}
		require.NoError(t, err)
	}
	return n
}

func dialRedis(t *testing.T, url string) rueidis.Client {
	t.Helper()
	o, err := rueidis.ParseURL(url)
	require.NoError(t, err)
	o.DisableCache = true
	c, err := rueidis.NewClient(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func dialRabbit(t *testing.T, url string) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	c, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	ch, err := c.Channel()
	require.NoError(t, err)
	return c, ch
}

func declare(t *testing.T, ch *amqp.Channel) {
	t.Helper()
	require.NoError(t, ch.ExchangeDeclare("seckill.test", amqp.ExchangeDirect, true, false, false, false, nil))
	_, err := ch.QueueDeclare("seckill.test", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind("seckill.test", "", "seckill.test", false, nil))
}

func dialMaria(t *testing.T, address string) *sql.DB {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	password, _ := u.User.Password()
	db, err := sql.Open("mysql", u.User.Username()+":"+password+"@tcp("+u.Host+")"+u.Path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// One test's writes on a shared engine are not another's.
func TestFreshNamespaces(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		e := stacktest.Shared(t, kind)
		require.Same(t, e, stacktest.Shared(t, kind))
		var gone string
		t.Run("one", func(t *testing.T) {
			gone = stacktest.Fresh(t, e)
			other := stacktest.Fresh(t, e)
			require.NotEqual(t, gone, other)
			putAt(t, kind, gone)
			require.Equal(t, 1, countAt(t, kind, gone))
			require.Zero(t, countAt(t, kind, other))
		})
		switch kind { // its test is over
		case KindRedis:
			require.Zero(t, countAt(t, kind, gone))
		case KindRabbitMQ:
			_, err := amqp.Dial(gone)
			require.ErrorContains(t, err, "not found")
		case KindMariaDB:
			require.ErrorContains(t, dialMaria(t, gone).PingContext(t.Context()), "Access denied")
		}
	})
}

// A database of Redis that a test has given back is taken again, and is empty.
func TestARedisDatabaseIsTakenAgain(t *testing.T) {
	t.Parallel()
	e := stacktest.Own(t, KindRedis)
	var first, second string
	t.Run("one", func(t *testing.T) {
		first = stacktest.Fresh(t, e)
		require.NoError(t, RedisDo(t.Context(), first, "SET", "seckill:x", "1"))
		require.NotEqual(t, first, stacktest.Fresh(t, e))
	})
	second = stacktest.Fresh(t, e)
	third := stacktest.Fresh(t, e)
	require.Contains(t, []string{second, third}, first)
	answer, err := RedisAsk(t.Context(), first, "EXISTS", "seckill:x")
	require.NoError(t, err)
	require.Equal(t, "0", answer)
}

func TestRedisPromisesAndRights(t *testing.T) {
	t.Parallel()
	e := stacktest.Shared(t, KindRedis)
	c := dialRedis(t, stacktest.Fresh(t, e))
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no",
		"maxmemory": "536870912", "maxmemory-policy": "noeviction", "save": "", "protected-mode": "yes",
	} {
		got, err := c.Do(t.Context(), c.B().ConfigGet().Parameter(name).Build()).AsStrMap()
		require.NoError(t, err)
		require.Equal(t, map[string]string{name: want}, got)
	}
	require.NoError(t, c.Do(t.Context(), c.B().Info().Build()).Error())
	require.NoError(t, c.Do(t.Context(), c.B().Publish().Channel("seckill:news").Message("hello").Build()).Error())
	for _, refused := range []string{
		"SET other 1", "GET seckill", "PUBLISH other hello", "EVAL redis.call('SET','other','1') 0",
		"CONFIG SET maxmemory 1", "FLUSHALL", "FLUSHDB", "KEYS *", "DEBUG SLEEP 0", "SHUTDOWN", "ACL LIST", "MONITOR", "CLIENT LIST",
	} {
		err := c.Do(t.Context(), c.B().Arbitrary(strings.Fields(refused)...).Build()).Error()
		require.Error(t, err, refused)
		if !strings.HasPrefix(refused, "EVAL") && !strings.HasPrefix(refused, "DEBUG") { // both are refused in other words
			require.ErrorContains(t, err, "NOPERM", refused)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), ReadyLimit)
	defer cancel()
	require.ErrorContains(t, RedisDo(ctx, "redis://"+e.Addr(), "PING"), "NOAUTH")
	require.ErrorContains(t, RedisDo(ctx, EngineURL("redis", User, "wrong", e.Addr(), "0"), "PING"), "WRONGPASS")
	require.NoError(t, RedisDo(ctx, e.AdminURL(), "CONFIG", "SET", "hz", "10"))
}

func TestRabbitMQRights(t *testing.T) {
	t.Parallel()
	e := stacktest.Shared(t, KindRabbitMQ)
	fresh := stacktest.Fresh(t, e)
	refused := func(what, url, because string) {
		t.Helper()
		_, err := amqp.Dial(url)
		require.ErrorContains(t, err, because, what)
	}
	refused("guest", "amqp://guest:guest@"+e.Addr()+"/", "username or password not allowed")
	refused("guest in our virtual host", EngineURL("amqp", "guest", "guest", e.Addr(), "%2Fseckill"), "username or password not allowed")
	refused("a wrong password", RabbitURL(e, User, "wrong", RabbitVHost), "username or password not allowed")
	refused("the virtual host /", RabbitURL(e, User, e.Password(), "/"), "not found")

	// A refused operation closes its channel: one each.
	forbidden := func(what string, do func(ch *amqp.Channel) error) {
		t.Helper()
		_, ch := dialRabbit(t, fresh)
		err := do(ch)
		require.ErrorContains(t, err, "ACCESS_REFUSED", what)
	}
	forbidden("a foreign queue", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("other", true, false, false, false, nil)
		return err
	})
	forbidden("a name that only begins like ours", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("seckillother", true, false, false, false, nil)
		return err
	})
	forbidden("a foreign exchange", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare("other", amqp.ExchangeFanout, true, false, false, false, nil)
	})
	forbidden("a server-named queue", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("", false, false, true, false, nil)
		return err
	})
	forbidden("the default exchange", func(ch *amqp.Channel) error {
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		if err := ch.PublishWithContext(t.Context(), "", "seckill.test", false, false, amqp.Publishing{}); err != nil {
			return err
		}
		return <-closed
	})
}

func TestRabbitMQConsole(t *testing.T) {
	t.Parallel()
	e := stacktest.Shared(t, KindRabbitMQ)
	putAt(t, KindRabbitMQ, stacktest.Fresh(t, e))
	address, monitor, password := e.Console()
	res, err := http.Get(address)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode, "the page")
	require.NoError(t, e.AskConsole(t.Context(), http.MethodGet, "overview", monitor, password, nil))
	require.NoError(t, e.AskConsole(t.Context(), http.MethodGet, "queues/%2Fseckill", monitor, password, nil))
	require.ErrorContains(t, e.AskConsole(t.Context(), http.MethodGet, "overview", monitor, "wrong", nil), "401")
	require.ErrorContains(t, e.AskConsole(t.Context(), http.MethodGet, "overview", "guest", "guest", nil), "401")
	require.ErrorContains(t, e.AskConsole(t.Context(), http.MethodPut, "vhosts/other", monitor, password, struct{}{}), "401")
	require.ErrorContains(t, e.AskConsole(t.Context(), http.MethodGet, "overview", User, e.Password(), nil), "401", "nodes have no business there")

	none, _, _ := stacktest.Shared(t, KindRedis).Console()
	require.Empty(t, none)
}

func TestMariaDBPromisesAndRights(t *testing.T) {
	t.Parallel()
	e := stacktest.Shared(t, KindMariaDB)
	db := dialMaria(t, e.URL())
	for name, want := range map[string]string{
		"innodb_flush_log_at_trx_commit": "1", "sync_binlog": "1", "log_bin": "ON", "innodb_doublewrite": "ON",
		"tx_isolation": "READ-COMMITTED", "character_set_server": "utf8mb4", "character_set_database": "utf8mb4",
		"skip_name_resolve": "ON", "skip_networking": "OFF", "bind_address": Loopback, "time_zone": "+00:00",
	} {
		var got string
		require.NoError(t, db.QueryRowContext(t.Context(), "SHOW GLOBAL VARIABLES LIKE '"+strings.ReplaceAll(name, "_", `\_`)+"'").Scan(new(string), &got))
		require.Equal(t, want, got, name)
	}
	rows, err := db.QueryContext(t.Context(), "SHOW DATABASES")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		require.NotContains(t, []string{"mysql", "sys", "test"}, name)
	}
	require.NoError(t, rows.Err())
	for _, refused := range []string{"SELECT * FROM mysql.global_priv", "CREATE DATABASE other", "SET GLOBAL sync_binlog = 0", "CREATE USER other", "SHUTDOWN"} {
		_, err := db.ExecContext(t.Context(), refused)
		require.ErrorContains(t, err, "denied", refused)
	}
	for who, address := range map[string]string{
		"root without a password": "mysql://root@" + e.Addr() + "/",
		"nobody":                  "mysql://" + e.Addr() + "/",
		"a wrong password":        EngineURL("mysql", User, "wrong", e.Addr(), MariaDatabase),
	} {
		require.ErrorContains(t, MariaExec(t.Context(), address, "DO 1"), "Access denied", who)
	}
	require.NoError(t, MariaExec(t.Context(), e.AdminURL(), "DO 1"))
}
