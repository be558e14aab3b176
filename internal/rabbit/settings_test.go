package rabbit

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"seckill"
)

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
		"amqp+tls://u:p4ssword@h:1/x":    "error",
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
		s := Defaults()
		err := s.ParseURL(url)
		got := fmt.Sprintf("%s %s %s %q", s.Username, string(s.Password), s.Addr(), s.VirtualHost)
		if err != nil {
			got = "error"
			assert.NotContains(t, err.Error(), "p4ss")
		}
		assert.Equal(t, want, got, url)
	}
}

func TestThePasswordIsNeverShown(t *testing.T) {
	t.Parallel()
	s := Defaults()
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
	d := Defaults()
	require.NoError(t, d.Check())
	for key, break_ := range map[string]func(*Settings){
		"host":                           func(s *Settings) { s.Host = "" },
		"addresses":                      func(s *Settings) { s.Addresses = []string{"a:5672", "b"} },
		"port":                           func(s *Settings) { s.Port = 65536 },
		"username":                       func(s *Settings) { s.Username = "" },
		"virtual_host":                   func(s *Settings) { s.VirtualHost = "" },
		"console_url":                    func(s *Settings) { s.ConsoleURL = "mq.shop.example:15672" },
		"connect_timeout":                func(s *Settings) { s.ConnectTimeout = 0 },
		"heartbeat":                      func(s *Settings) { s.Heartbeat = time.Millisecond },
		"listener.concurrency":           func(s *Settings) { s.Listener.Concurrency = 0 },
		"listener.max_concurrency":       func(s *Settings) { s.Listener.MaxConcurrency = 1 },
		"listener.prefetch":              func(s *Settings) { s.Listener.Prefetch = 0 },
		"publish_retry.max_attempts":     func(s *Settings) { s.PublishRetry.MaxAttempts = 0 },
		"publish_retry.initial_interval": func(s *Settings) { s.PublishRetry.InitialInterval = -1 },
		"publish_retry.max_interval":     func(s *Settings) { s.PublishRetry.MaxInterval = 1 },
		"publish_retry.multiplier":       func(s *Settings) { s.PublishRetry.Multiplier = 0.5 },
		"confirm_window":                 func(s *Settings) { s.ConfirmWindow = 0 },
		"confirm_timeout":                func(s *Settings) { s.ConfirmTimeout = 0 },
		"max_length":                     func(s *Settings) { s.MaxLength = 0 },
		"delivery_limit":                 func(s *Settings) { s.DeliveryLimit = 0 },
	} {
		s := Defaults()
		break_(&s)
		assert.ErrorContains(t, s.Check(), "rabbitmq."+key+" must be")
	}
}

func TestAmqpsMeansTLS(t *testing.T) {
	t.Parallel()
	for raw, port := range map[string]int{"amqps://u:p@mq/shop": 5671, "amqps://u:p@mq:5999/shop": 5999} {
		s := Defaults()
		require.NoError(t, s.ParseURL(raw))
		require.True(t, s.TLS, raw)
		require.Equal(t, port, s.Port, raw)
		require.NoError(t, s.Check())
	}
	s := Defaults()
	s.Port = 5999
	require.NoError(t, s.ParseURL("amqps://u:p@mq/shop"))
	require.Equal(t, 5999, s.Port, "what rabbitmq.port says stays where the address names none")
	s = Defaults()
	require.NoError(t, s.ParseURL("amqp://u:p@mq/shop"))
	require.False(t, s.TLS)
	s.CAFile = "/nowhere.pem"
	require.ErrorContains(t, s.Check(), "rabbitmq.ca_file")
}
