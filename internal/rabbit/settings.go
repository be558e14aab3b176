package rabbit

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"seckill"
	"seckill/internal/ca"
)

// Settings is the section "rabbitmq" of the configuration: where the broker is
// and how it is used. Defaults has the shipped values.
type Settings struct {
	Host         string         `koanf:"host" help:"RabbitMQ's host name or address"`
	Port         int            `koanf:"port" help:"RabbitMQ's AMQP port"`
	Addresses    []string       `koanf:"addresses" help:"host:port of each node of a RabbitMQ cluster, instead of host and port: one is tried after the other, at each reconnect from the next one on"`
	Username     string         `koanf:"username" help:"user at RabbitMQ: configure, write and read on ^seckill\\. are enough"`
	Password     seckill.Secret `koanf:"password" help:"that user's password"`
	PasswordFile string         `koanf:"password_file" help:"a file that holds rabbitmq.password"`
	TLS          bool           `koanf:"tls" help:"connect with TLS, as amqps:// in queue says too; the certificate must be for the host's name"`
	CAFile       string         `koanf:"ca_file" help:"the CA that signed RabbitMQ's certificate (PEM); empty: those that this machine trusts"`
	VirtualHost  string         `koanf:"virtual_host" help:"virtual host at RabbitMQ, made by its administrator"`

	ConsoleURL string `koanf:"console_url" help:"address of RabbitMQ's own console as people reach it, such as https://mq.shop.example/; the console links to it. Empty: no link"`

	ConnectTimeout time.Duration `koanf:"connect_timeout" help:"how long one try to connect and to log in may take"`
	Heartbeat      time.Duration `koanf:"heartbeat" help:"a connection that is silent for about this long is given up, whole seconds"`

	Listener     Listener     `koanf:"listener"`
	PublishRetry PublishRetry `koanf:"publish_retry"`

	ConfirmWindow  int           `koanf:"confirm_window" help:"tickets on their way to RabbitMQ and not yet confirmed"`
	ConfirmTimeout time.Duration `koanf:"confirm_timeout" help:"how long RabbitMQ may take to confirm; then the connection is given up"`
	Declare        bool          `koanf:"declare" help:"make exchanges, queues and bindings at every connect; false: an administrator has made them, and they are only looked for"`
	Events         bool          `koanf:"events" help:"announce every change of an order to whoever subscribes to the exchange seckill.events; the same on all nodes"`
	MaxLength      int           `koanf:"max_length" help:"tickets in the queue; beyond it they stay in the outbox. An existing queue keeps its own"`
	DeliveryLimit  int           `koanf:"delivery_limit" help:"failed deliveries of a ticket, after which it is tried alone, as a dead letter. An existing queue keeps its own"`
}

// Listener is how a node consumes. A listener is a channel with one consumer.
type Listener struct {
	Concurrency            int  `koanf:"concurrency" help:"listeners of a node"`
	MaxConcurrency         int  `koanf:"max_concurrency" help:"listeners of a node while tickets wait in the queue"`
	Prefetch               int  `koanf:"prefetch" help:"tickets that a listener holds at most; RabbitMQ's limit for such a queue is 2000"`
	AutoStartup            bool `koanf:"auto_startup" help:"start the listeners with the node; false: nothing is settled here until POST /api/admin/listeners/start"`
	DefaultRequeueRejected bool `koanf:"default_requeue_rejected" help:"a batch that was not settled goes back to the queue; false: to the dead letters"`
}

// PublishRetry is how often one send is tried. What it could not send stays in
// the outbox and is sent again later, whatever stands here.
type PublishRetry struct {
	Enabled         bool          `koanf:"enabled" help:"try a send again before it is left to the outbox"`
	InitialInterval time.Duration `koanf:"initial_interval" help:"pause before the second attempt"`
	MaxAttempts     int           `koanf:"max_attempts" help:"attempts of one send, the first included"`
	MaxInterval     time.Duration `koanf:"max_interval" help:"longest pause between attempts"`
	Multiplier      float64       `koanf:"multiplier" help:"each pause is this many times the one before"`
}

// Limits of the settings.
const (
	maxListeners  = 1_000  // per node; each is a channel and a process at the broker
	maxPrefetch   = 65_535 // what AMQP can express
	maxWindow     = 100_000
	maxQueueLimit = 100_000_000

	plainPort = 5672
	tlsPort   = 5671 // of AMQP with TLS, unless the address or rabbitmq.port names another one
)

// Defaults returns the shipped settings. Those of the listeners were
// chosen by measurement: see BenchmarkDrain.
func Defaults() Settings {
	return Settings{
		Host: "127.0.0.1", Port: plainPort, Addresses: []string{}, Username: "seckill", VirtualHost: "/seckill",
		ConnectTimeout: 5 * time.Second, Heartbeat: 10 * time.Second,
		Listener:      Listener{Concurrency: 2, MaxConcurrency: 4, Prefetch: 1024, AutoStartup: true, DefaultRequeueRejected: true},
		PublishRetry:  PublishRetry{Enabled: true, InitialInterval: 100 * time.Millisecond, MaxAttempts: 3, MaxInterval: time.Second, Multiplier: 2},
		ConfirmWindow: 1024, ConfirmTimeout: 10 * time.Second,
		Declare: true, Events: true,
		MaxLength: 100_000, DeliveryLimit: 20,
	}
}

// errURL does not quote what it was given: there is a password in it, and where
// depends on the mistake.
var errURL = errors.New("--queue must be amqp://user:password@host:port/virtual_host, or amqps://… with TLS; in user, password and virtual host write %3A for :, %40 for @ and %2F for /")

// ParseURL takes over what the URL names and leaves the rest as it is. As every
// client of RabbitMQ reads it, the virtual host is what follows the first slash:
// /%2Fseckill names "/seckill", and a lone slash names "/".
func (s *Settings) ParseURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "amqp" && u.Scheme != "amqps" || u.Opaque != "" || u.Fragment != "" || u.RawQuery != "" {
		return errURL
	}
	if h := u.Hostname(); h != "" {
		s.Host = h
	}
	if u.Scheme == "amqps" {
		if s.TLS = true; s.Port == plainPort { // another one stands in rabbitmq.port
			s.Port = tlsPort
		}
	}
	if p := u.Port(); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return errURL
		}
		s.Port = n
	}
	if name := u.User.Username(); name != "" {
		s.Username = name
	}
	if p, ok := u.User.Password(); ok {
		s.Password = seckill.Secret(p)
	}
	switch u.Path {
	case "":
	case "/":
		s.VirtualHost = "/"
	default:
		s.VirtualHost = u.Path[1:]
	}
	return nil
}

// ReadPassword takes the password from PasswordFile, if there is one and the
// password is not set.
func (s *Settings) ReadPassword() error {
	if s.Password != "" || s.PasswordFile == "" {
		return nil
	}
	b, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return fmt.Errorf("rabbitmq.password_file: %w", err)
	}
	s.Password = seckill.Secret(bytes.TrimSpace(b))
	return nil
}

// Check tells which settings are out of range, by their names.
func (s *Settings) Check() error {
	var errs []error
	want := func(ok bool, key, must string) {
		if !ok {
			errs = append(errs, fmt.Errorf("rabbitmq.%s must be %s", key, must))
		}
	}
	between := func(key string, n, low, high int) {
		want(n >= low && n <= high, key, fmt.Sprintf("%d to %d", low, high))
	}
	want(s.Host != "", "host", "set")
	between("port", s.Port, 1, 65535)
	for _, a := range s.Addresses {
		host, port, err := net.SplitHostPort(a)
		n, _ := strconv.Atoi(port)
		want(err == nil && host != "" && n >= 1 && n <= 65535, "addresses", fmt.Sprintf("a list of host:port, %q is none", a))
	}
	want(s.Username != "", "username", "set")
	want(s.VirtualHost != "", "virtual_host", "set")
	if _, err := ca.TLS(s.CAFile, ""); err != nil {
		errs = append(errs, fmt.Errorf("rabbitmq.ca_file: %w", err))
	}
	want(s.TLS || s.CAFile == "", "ca_file", "empty without TLS: write amqps:// in queue, or rabbitmq.tls: true")
	want(s.ConsoleURL == "" || isWeb(s.ConsoleURL), "console_url", "an http(s) address")
	want(s.ConnectTimeout > 0, "connect_timeout", "positive")
	want(s.Heartbeat >= time.Second && s.Heartbeat <= time.Hour, "heartbeat", "1s to 1h")
	between("listener.concurrency", s.Listener.Concurrency, 1, maxListeners)
	between("listener.max_concurrency", s.Listener.MaxConcurrency, max(1, s.Listener.Concurrency), maxListeners)
	between("listener.prefetch", s.Listener.Prefetch, 1, maxPrefetch)
	if r := s.PublishRetry; r.Enabled {
		between("publish_retry.max_attempts", r.MaxAttempts, 1, 1_000)
		want(r.InitialInterval >= 0, "publish_retry.initial_interval", "0 or more")
		want(r.MaxInterval >= r.InitialInterval, "publish_retry.max_interval", "at least initial_interval")
		want(r.Multiplier >= 1, "publish_retry.multiplier", "at least 1")
	}
	between("confirm_window", s.ConfirmWindow, 1, maxWindow)
	want(s.ConfirmTimeout > 0, "confirm_timeout", "positive")
	between("max_length", s.MaxLength, 1, maxQueueLimit)
	between("delivery_limit", s.DeliveryLimit, 1, 1_000_000)
	return errors.Join(errs...)
}

func isWeb(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// String names the broker for errors and logs, without user and password.
func (s Settings) String() string {
	return fmt.Sprintf("RabbitMQ at %s, virtual host %q (--queue)", strings.Join(s.addrs(), ", "), s.VirtualHost)
}

// LogValue is String.
func (s Settings) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Addr is the host:port that Host and Port name.
func (s Settings) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// addrs are all that may be connected to, at least one.
func (s Settings) addrs() []string {
	if len(s.Addresses) > 0 {
		return s.Addresses
	}
	return []string{s.Addr()}
}
