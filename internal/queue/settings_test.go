package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/stack"
)

func TestTheSettingsOfTheNotesAreNamedAndSetAsInTheNotes(t *testing.T) {
	t.Parallel()
	k := koanf.New(".")
	require.NoError(t, k.Load(structs.Provider(NotesRabbitMQ(), "koanf"), nil))
	for key, want := range map[string]any{
		"listener.concurrency": 10, "listener.max_concurrency": 10, "listener.prefetch": 1,
		"listener.auto_startup": true, "listener.default_requeue_rejected": true,
		"publish_retry.enabled": true, "publish_retry.initial_interval": time.Second, "publish_retry.max_attempts": 3,
		"publish_retry.max_interval": 10 * time.Second, "publish_retry.multiplier": 1.0,
		"host": "127.0.0.1", "port": 5672, "username": "seckill", "password": seckill.Secret(""), "virtual_host": "/seckill",
	} {
		assert.Equal(t, want, k.Get(key), key)
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"amqp://u:p@h:1/%2Fseckill":      `u p h:1 "/seckill"`,
		"amqp://u:p@h:1//seckill":        `u p h:1 "/seckill"`,
		"amqp://u:p@h:1/shop":            `u p h:1 "shop"`,
		"amqp://u:p%40%2F%3A@h/":         `u p@/: h:5672 "/"`,
		"amqp://h":                       `seckill  h:5672 "/seckill"`,
		"amqp://u@[::1]:7":               `u  [::1]:7 "/seckill"`,
		"amqp://":                        `seckill  127.0.0.1:5672 "/seckill"`,
		"amqps://u:p4ssword@h:1/x":       "error",
		"redis://u:p4ssword@h:1/x":       "error",
		"amqp://u:p4ssword/x@h:1/x":      "error",
		"amqp://u:p4ssword@h:0/x":        "error",
		"amqp://u:p4ssword@h:70000/x":    "error",
		"amqp://u:p4ssword%zz@h:1/x":     "error",
		"amqp://u:p4ssword@h/x?a=b":      "error",
		"amqp:u:p4ssword@h":              "error",
		"":                               "error",
		"amqp://u:p4ssword#fragment@h/x": "error",
	} {
		s := DefaultRabbitMQ()
		err := s.ParseURL(url)
		got := fmt.Sprintf("%s %s %s %q", s.Username, string(s.Password), s.addr(), s.VirtualHost)
		if err != nil {
			got = "error"
			assert.NotContains(t, err.Error(), "p4ss")
		}
		assert.Equal(t, want, got, url)
	}
}

func TestThePasswordIsNeverShown(t *testing.T) {
	t.Parallel()
	s := DefaultRabbitMQ()
	s.PasswordFile = filepath.Join(t.TempDir(), "password")
	require.ErrorContains(t, s.ReadPassword(), "rabbitmq.password_file")
	require.NoError(t, os.WriteFile(s.PasswordFile, []byte("hunter2\n"), 0o600))
	require.NoError(t, s.ReadPassword())
	require.Equal(t, seckill.Secret("hunter2"), s.Password)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "p", s.Password)
	for _, text := range []string{log.String(), fmt.Sprintf("%v %+v %#v %s", s, s, s, s), fmt.Sprintf("%v %#v", s.Password, s.Password)} {
		assert.NotContains(t, text, "hunter2")
	}
	require.NoError(t, os.WriteFile(s.PasswordFile, []byte("other"), 0o600))
	require.NoError(t, s.ReadPassword())
	require.Equal(t, seckill.Secret("hunter2"), s.Password, "what is set wins")
}

func TestCheckNamesTheSetting(t *testing.T) {
	t.Parallel()
	d := DefaultRabbitMQ()
	require.NoError(t, d.Check())
	n := NotesRabbitMQ()
	require.NoError(t, n.Check())
	for key, break_ := range map[string]func(*RabbitMQ){
		"host":                           func(s *RabbitMQ) { s.Host = "" },
		"addresses":                      func(s *RabbitMQ) { s.Addresses = []string{"a:5672", "b"} },
		"port":                           func(s *RabbitMQ) { s.Port = 65536 },
		"username":                       func(s *RabbitMQ) { s.Username = "" },
		"virtual_host":                   func(s *RabbitMQ) { s.VirtualHost = "" },
		"connect_timeout":                func(s *RabbitMQ) { s.ConnectTimeout = 0 },
		"heartbeat":                      func(s *RabbitMQ) { s.Heartbeat = time.Millisecond },
		"listener.concurrency":           func(s *RabbitMQ) { s.Listener.Concurrency = 0 },
		"listener.max_concurrency":       func(s *RabbitMQ) { s.Listener.MaxConcurrency = 1 },
		"listener.prefetch":              func(s *RabbitMQ) { s.Listener.Prefetch = 0 },
		"publish_retry.max_attempts":     func(s *RabbitMQ) { s.PublishRetry.MaxAttempts = 0 },
		"publish_retry.initial_interval": func(s *RabbitMQ) { s.PublishRetry.InitialInterval = -1 },
		"publish_retry.max_interval":     func(s *RabbitMQ) { s.PublishRetry.MaxInterval = 1 },
		"publish_retry.multiplier":       func(s *RabbitMQ) { s.PublishRetry.Multiplier = 0.5 },
		"confirm_window":                 func(s *RabbitMQ) { s.ConfirmWindow = 0 },
		"confirm_timeout":                func(s *RabbitMQ) { s.ConfirmTimeout = 0 },
		"max_length":                     func(s *RabbitMQ) { s.MaxLength = 0 },
		"delivery_limit":                 func(s *RabbitMQ) { s.DeliveryLimit = 0 },
	} {
		s := DefaultRabbitMQ()
		break_(&s)
		assert.ErrorContains(t, s.Check(), "rabbitmq."+key+" must be")
	}
}

// The attempts of one send, and the pauses between them, by a clock that does
// not depend on the machine.
func TestPublishRetry(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, c := range []struct {
		name  string
		retry PublishRetry
		fails error
		at    []time.Duration // of the attempts
	}{
		{"the notes", NotesRabbitMQ().PublishRetry, seckill.ErrUnavailable, []time.Duration{0, s, 2 * s}},
		{"attempts", PublishRetry{true, s, 5, 10 * s, 1}, seckill.ErrUnavailable, []time.Duration{0, s, 2 * s, 3 * s, 4 * s}},
		{"multiplier", PublishRetry{true, s, 4, 10 * s, 3}, seckill.ErrUnavailable, []time.Duration{0, s, 4 * s, 13 * s}},
		{"longest pause", PublishRetry{true, s, 5, 2 * s, 10}, seckill.ErrUnavailable, []time.Duration{0, s, 3 * s, 5 * s, 7 * s}},
		{"first pause", PublishRetry{true, 5 * s, 2, 10 * s, 1}, seckill.ErrUnavailable, []time.Duration{0, 5 * s}},
		{"disabled", PublishRetry{false, s, 5, 10 * s, 1}, seckill.ErrUnavailable, []time.Duration{0}},
		{"an answer", PublishRetry{true, s, 5, 10 * s, 1}, ErrFull, []time.Duration{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, at := time.Now(), []time.Duration(nil)
				tickets := some(len(c.at) + 1)
				confirmed, err := c.retry.try(t.Context(), tickets, func(_ context.Context, left []seckill.Ticket) ([]seckill.Ticket, error) {
					require.Equal(t, tickets[len(at):], left, "what is confirmed is not sent again")
					at = append(at, time.Since(began))
					return left[:1], fmt.Errorf("scripted: %w", c.fails)
				})
				require.ErrorIs(t, err, c.fails)
				require.Equal(t, c.at, at)
				require.Equal(t, tickets[:len(c.at)], confirmed, "the rest stays in the outbox")
			})
		})
	}
	t.Run("success ends it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			attempts, tickets := 0, some(2)
			confirmed, err := NotesRabbitMQ().PublishRetry.try(t.Context(), tickets, func(_ context.Context, left []seckill.Ticket) ([]seckill.Ticket, error) {
				if attempts++; attempts == 1 {
					return left[:1], seckill.ErrUnavailable
				}
				return left, nil
			})
			require.NoError(t, err)
			require.Equal(t, tickets, confirmed)
			require.Equal(t, 2, attempts)
		})
	})
	t.Run("and so does the caller", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			attempts := 0
			_, err := NotesRabbitMQ().PublishRetry.try(ctx, some(1), func(context.Context, []seckill.Ticket) ([]seckill.Ticket, error) {
				attempts++
				return nil, seckill.ErrUnavailable
			})
			require.ErrorIs(t, err, seckill.ErrUnavailable)
			require.Equal(t, 2, attempts)
		})
	})
}

func TestPublishRetryIsThatOfASend(t *testing.T) {
	t.Parallel()
	s := DefaultRabbitMQ()
	s.PublishRetry = PublishRetry{Enabled: true, InitialInterval: time.Hour, MaxAttempts: 2, MaxInterval: time.Hour, Multiplier: 1}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	q := NewAMQP(s, slog.New(slog.DiscardHandler))
	_, err := q.Publish(ctx, some(1)) // without Run there is no connection
	require.ErrorIs(t, err, seckill.ErrUnavailable)
	require.Error(t, ctx.Err(), "it waited for the second attempt")
	require.ErrorContains(t, q.Ping(t.Context()), "not started")
	require.NoError(t, q.Close())
}

func TestCredentialsAndVirtualHost(t *testing.T) {
	t.Parallel()
	good := fresh(t)
	other := fresh(t)
	require.NotEqual(t, good.VirtualHost, other.VirtualHost)
	publish(t, connected(t, run(t, good, Publishing)), some(2)...)
	connected(t, run(t, other, Publishing))
	waits(t, channel(t, good), TicketQueue, 2, 0)
	waits(t, channel(t, other), TicketQueue, 0, 0)

	for name, c := range map[string]struct {
		spoil func(*RabbitMQ)
		says  string
	}{
		"username":     {func(s *RabbitMQ) { s.Username = "nobody" }, "rabbitmq.username"},
		"password":     {func(s *RabbitMQ) { s.Password = "wrong-secret" }, "rabbitmq.password"},
		"virtual host": {func(s *RabbitMQ) { s.VirtualHost = "/nowhere" }, "rabbitmq.virtual_host"},
		"host":         {func(s *RabbitMQ) { s.Host = "127.0.0.2" }, "127.0.0.2"},
		"port":         {func(s *RabbitMQ) { s.Port = 1 }, "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := good
			c.spoil(&bad)
			q := run(t, bad, Consuming)
			eventually(t, func() error {
				return tried(q.Ping(t.Context()))
			})
			err := q.Ping(t.Context())
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), string(bad.Password))
		})
	}
}

// tried tells whether what Ping says is the result of a try to connect.
func tried(ping error) error {
	if text := fmt.Sprint(ping); strings.Contains(text, "not started") || strings.Contains(text, "not connected yet") {
		return ping
	}
	return nil
}

func TestConcurrencyIsTheNumberOfConsumers(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		s := fresh(t)
		s.Listener.Concurrency, s.Listener.MaxConcurrency = n, n
		run(t, s, Publishing, Consuming)
		connected(t, run(t, s, Publishing))
		waits(t, channel(t, s), TicketQueue, 0, n)
	}
}

func TestListenersGrowUnderBacklogAndGoHomeAfterIt(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Listener = Listener{Concurrency: 1, MaxConcurrency: 5, Prefetch: 2, AutoStartup: true}
	tickets := fill(t, s, 30)
	ch := channel(t, s)
	q := NewAMQP(s, slog.New(slog.DiscardHandler))
	q.tickets.calm = 10 * time.Millisecond
	over := make(chan struct{})
	go func() {
		defer close(over)
		q.Run(t.Context(), Consuming)
	}()
	defer func() {
		q.Close()
		<-over
	}()
	waits(t, ch, TicketQueue, 20, 5) // nothing is received: each holds its two
	collect(t, q, tickets)
	waits(t, ch, TicketQueue, 0, 1)
	// Who went home has taken nothing along.
	require.NoError(t, q.Close())
	waits(t, ch, TicketQueue, 0, 0)
}

func TestPrefetchBoundsWhatAListenerHolds(t *testing.T) {
	t.Parallel()
	for _, prefetch := range []int{1, 7} {
		s := fresh(t)
		s.Listener = Listener{Concurrency: 2, MaxConcurrency: 2, Prefetch: prefetch, AutoStartup: true}
		fill(t, s, 30)
		q := run(t, s, Consuming)
		ch := channel(t, s)
		waits(t, ch, TicketQueue, 30-2*prefetch, 2)
		var dones []func(bool) error
		for n := 0; n < 2*prefetch; {
			got, done := receive(t, q, 100)
			n, dones = n+len(got), append(dones, done)
		}
		_, _, err := q.Receive(expired(t), 100)
		require.Error(t, err, "no more than that is held")
		for _, done := range dones {
			require.NoError(t, done(true))
		}
		_, done := receive(t, q, 1)
		require.NoError(t, done(true))
	}
}

func TestAutoStartupFalseLeavesListenersToTheAdministrator(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Listener.AutoStartup = false
	s.Listener.Concurrency, s.Listener.MaxConcurrency = 2, 2
	fill(t, s, 5)
	q := connected(t, run(t, s, Consuming, DeadLetters))
	ch := channel(t, s)
	require.False(t, q.ListenersRunning())
	waits(t, ch, TicketQueue, 5, 0)
	waits(t, ch, DeadQueue, 0, 0)
	_, _, err := q.Receive(expired(t), 1)
	require.Error(t, err)

	q.StartListeners()
	require.True(t, q.ListenersRunning())
	waits(t, ch, TicketQueue, 0, 2)
	waits(t, ch, DeadQueue, 0, 1)
	_, done := receive(t, q, 1)
	require.NoError(t, done(true))

	q.StopListeners()
	require.False(t, q.ListenersRunning())
	waits(t, ch, DeadQueue, 0, 0)
	collectN(t, q, 4) // what is held is still handed out
	waits(t, ch, TicketQueue, 0, 0)
	q.StartListeners()
	waits(t, ch, TicketQueue, 0, 2)
	require.NoError(t, q.Close())
	require.False(t, q.ListenersRunning())
	waits(t, ch, TicketQueue, 0, 0)
}

func TestDefaultRequeueRejectedFalseSendsToTheDeadLetters(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Listener.DefaultRequeueRejected = false
	tickets := fill(t, s, 3)
	q := connected(t, run(t, s, Consuming, DeadLetters))
	var dones []func(bool) error
	for n := 0; n < 3; {
		got, done := receive(t, q, 3)
		n, dones = n+len(got), append(dones, done)
	}
	for _, done := range dones {
		require.NoError(t, done(false))
	}
	collect(t, q.Dead(), tickets)
	ch := channel(t, s)
	waits(t, ch, TicketQueue, 0, s.Listener.Concurrency)
	waits(t, ch, DeadQueue, 0, 1)
}

// No more than confirm_window tickets are on their way: the broker is heard by
// nobody, so the first answers never come.
func TestConfirmWindow(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	direct := s
	s.ConfirmWindow = 4
	w := cuttable(t, &s)
	q := connected(t, run(t, s, Publishing))
	_, err := w.Toxics.AddToxicJson(strings.NewReader(`{"name":"deaf","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := q.Publish(ctx, some(50))
			sent <- err
		}()
	}
	waits(t, channel(t, direct), TicketQueue, 4, 0)
	cancel()
	require.ErrorIs(t, <-sent, context.Canceled)
	require.ErrorIs(t, <-sent, context.Canceled)
	waits(t, channel(t, direct), TicketQueue, 4, 0)
}

func TestAQueueThatExistsOtherwiseIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	connected(t, run(t, s, Publishing))
	for key, change := range map[string]func(*RabbitMQ){
		"max_length":     func(s *RabbitMQ) { s.MaxLength = 77 },
		"delivery_limit": func(s *RabbitMQ) { s.DeliveryLimit = 77 },
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			changed := s
			change(&changed)
			q := run(t, changed, Publishing)
			eventually(t, func() error {
				err := q.Ping(t.Context())
				for _, part := range []string{"77", "rabbitmq." + key, "rabbitmqctl delete_queue", s.VirtualHost, TicketQueue} {
					if !strings.Contains(fmt.Sprint(err), part) {
						return fmt.Errorf("%q is not in: %w", part, err)
					}
				}
				return nil
			})
		})
	}
	t.Run("another exchange", func(t *testing.T) {
		t.Parallel()
		s := fresh(t)
		require.NoError(t, channel(t, s).ExchangeDeclare(DeadExchange, amqp.ExchangeFanout, true, false, false, false, nil))
		q := run(t, s, Publishing)
		eventually(t, func() error {
			if err := q.Ping(t.Context()); !strings.Contains(fmt.Sprint(err), "the exchange "+DeadExchange+" exists with another type") {
				return fmt.Errorf("it says: %w", err)
			}
			return nil
		})
	})
}

func TestConnectTimeoutEndsATryThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and says nothing
	require.NoError(t, err)
	defer l.Close()
	s := DefaultRabbitMQ()
	s.Port, s.ConnectTimeout = l.Addr().(*net.TCPAddr).Port, 50*time.Millisecond
	q := run(t, s, Publishing)
	eventually(t, func() error {
		return tried(q.Ping(t.Context()))
	})
	require.ErrorIs(t, q.Ping(t.Context()), seckill.ErrUnavailable)
}

// What the broker knows of the connections: their names, and the heartbeat.
func TestHeartbeatAndNames(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Heartbeat = 7 * time.Second
	connected(t, run(t, s))
	address, user, password := stack.Shared(t, stack.KindRabbitMQ).Console()
	eventually(t, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"api/connections", nil)
		if err != nil {
			return err
		}
		req.SetBasicAuth(user, password)
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		var connections []struct {
			VHost      string `json:"vhost"`
			Heartbeat  int    `json:"timeout"`
			Properties struct {
				Name string `json:"connection_name"`
			} `json:"client_properties"`
		}
		if err := json.NewDecoder(res.Body).Decode(&connections); err != nil {
			return err
		}
		missing := map[string]bool{"publish": true, "consume": true, "dead_letters": true}
		for _, c := range connections {
			if c.VHost != s.VirtualHost {
				continue
			}
			if c.Heartbeat != 7 {
				return fmt.Errorf("heartbeat %d", c.Heartbeat)
			}
			delete(missing, strings.Fields(c.Properties.Name + " ?")[1])
		}
		if len(missing) > 0 {
			return errors.New("not all connections are listed")
		}
		return nil
	})
}
