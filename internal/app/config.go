package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"seckill"
	"seckill/internal/access"
	"seckill/internal/account"
	"seckill/internal/api"
	"seckill/internal/rabbit"
)

// Config is the whole configuration of a node. The koanf tags are the names in
// the file; the environment has them in capitals behind SECKILL_, with _ for
// every dot. help is what `seckill config --reference` and
// docs/configuration.md say.
type Config struct {
	Listen      string `koanf:"listen" help:"address of the public listener"`
	AdminListen string `koanf:"admin_listen" help:"address of a listener of its own for the console and the routes of people of the shop (/console/, /api/admin/), which the public one then answers with 404; empty: they are on the public one"`

	OpsListen string   `koanf:"ops_listen" help:"address of the operations listener: health, metrics, profiles; keep it private"`
	OpsHosts  []string `koanf:"ops_hosts" help:"host names by which the operations listener may be asked, beside addresses of this machine"`
	DataDir   string   `koanf:"data_dir" help:"where the embedded parts keep their data"`
	Demo      bool     `koanf:"demo" help:"fill an empty store with sales and accounts to try it out"`
	Gate      Address  `koanf:"gate" help:"memory, or redis://user:password@host:port/db; rediss:// with TLS"`
	Queue     Address  `koanf:"queue" help:"memory, or amqp://user:password@host:port/vhost, amqps:// with TLS; what it leaves out is in the section rabbitmq"`
	Store     Address  `koanf:"store" help:"sqlite:FILE, or mysql://user:password@host:port/db; empty: sqlite:seckill.db in the data directory"`
	Run       []string `koanf:"run" help:"roles of this node: api, relay, settle, expire"`

	Auth struct {
		Secret             seckill.Secret `koanf:"secret" help:"signs and checks tokens (HS256): 32 random bytes or more, such as head -c 32 /dev/urandom | base64 prints"`
		SecretFile         string         `koanf:"secret_file" help:"a file that holds auth.secret"`
		PreviousSecret     seckill.Secret `koanf:"previous_secret" help:"still accepted while the secret is changed"`
		PreviousSecretFile string         `koanf:"previous_secret_file" help:"a file that holds auth.previous_secret"`
		TokenLife          time.Duration  `koanf:"token_life" help:"how long a login lasts"`
		MaxTokenLife       time.Duration  `koanf:"max_token_life" help:"a token that ends later than this from now is not accepted, whoever made it"`
		Registration       string         `koanf:"registration" help:"who may make an account: open (everybody), invited or closed"`
		SecondFactor       string         `koanf:"second_factor" help:"who must have a second factor (TOTP): off (nobody must, everybody may) or admins, whose logins have no role until they have set one up"`

		Issuer account.IssuerSettings `koanf:"issuer"`
	} `koanf:"auth"`

	HTTP struct {
		TrustedProxies []string      `koanf:"trusted_proxies" help:"networks (CIDR) whose X-Forwarded-For and X-Forwarded-Proto are believed"`
		TrustedOrigins []string      `koanf:"trusted_origins" help:"origins (https://shop.example) whose pages may call the API from another host name"`
		MaxInFlight    int           `koanf:"max_in_flight" help:"purchases served at once, and as many requests of other kinds, which have rooms of their own; beyond it the answer is busy"`
		MaxWaits       int           `koanf:"max_waits" help:"requests that wait for an outcome at once; beyond it they are answered at once"`
		PollAfter      time.Duration `koanf:"poll_after" help:"when a queued buyer is told to ask again"`
		Hashes         int           `koanf:"hashes" help:"passwords hashed at once; 0: half of the cores. One more for browsers that have logged in with the name before"`
		LoginTries     int           `koanf:"login_tries" help:"logins in a minute by name and address together, ten times as many by name alone; beyond it they are slowed down"`
		AddressTries   int           `koanf:"address_tries" help:"in a minute by address: new accounts, beyond it they are refused; failed logins, beyond it they are slowed down"`
		DrainDelay     time.Duration `koanf:"drain_delay" help:"how long a stopping node answers on while /readyz says no, for the balancer to notice"`
		StopTimeout    time.Duration `koanf:"stop_timeout" help:"how long a stopping node waits for requests under way"`
	} `koanf:"http"`

	Payment struct {
		Provider   string         `koanf:"provider" help:"who takes the money: test (nobody does: whoever asks has paid), shop (the shop's own server says so) or stripe; empty: test on embedded parts, and beyond them the node does not start"`
		Secret     seckill.Secret `koanf:"secret" help:"checks callbacks: the shop's whsec_…, or Stripe's signing secret of the webhook"`
		SecretFile string         `koanf:"secret_file" help:"a file that holds payment.secret"`

		PreviousProvider   string         `koanf:"previous_provider" help:"who took the money before, shop or stripe: its callbacks about payments of then are still read, with payment.previous_secret"`
		PreviousSecret     seckill.Secret `koanf:"previous_secret" help:"still accepted for callbacks: of payment.previous_provider, or, without one, of payment.provider while its secret is changed"`
		PreviousSecretFile string         `koanf:"previous_secret_file" help:"a file that holds payment.previous_secret"`

		Key          seckill.Secret   `koanf:"key" help:"Stripe's API key (sk_… or rk_…)"`
		KeyFile      string           `koanf:"key_file" help:"a file that holds payment.key"`
		URL          string           `koanf:"url" help:"where a buyer pays at the shop ({order}, {payment}, {amount} and {currency} are filled in), or where Stripe sends the buyer back to ({order}); empty: the order's page"`
		RefundURL    seckill.Endpoint `koanf:"refund_url" help:"where the shop is asked for refunds, signed; empty: it reads the list of refunds that are due"`
		StatementURL seckill.Endpoint `koanf:"statement_url" help:"where the shop says what it took and gave back, for the books"`
		Grace        time.Duration    `koanf:"grace" help:"how much longer an order is kept once its payment has been started"`
		OutageCredit time.Duration    `koanf:"outage_credit" help:"the most time in a day that buyers get back because the store or all nodes were away; 0: none"`
	} `koanf:"payment"`

	Webhooks []Webhook `koanf:"webhooks" help:"servers of the shop that are told of orders, signed, each {name, url, secret or secret_file, previous_secret or previous_secret_file while it is changed, types}; in the environment the same list as JSON. All nodes have the same"`

	RabbitMQ rabbit.Settings `koanf:"rabbitmq"`

	Redis struct {
		PasswordFile string `koanf:"password_file" help:"a file that holds the password of gate, if the address has none"`
		CAFile       string `koanf:"ca_file" help:"the CA that signed Redis' certificate (PEM), with rediss://; empty: those that this machine trusts"`
		Connections  int    `koanf:"connections" help:"connections of a node to Redis, a power of two, at most 256; 0: as many as cores, at most 4, and 1 to each master of a cluster"`
	} `koanf:"redis"`

	MySQL struct {
		PasswordFile string `koanf:"password_file" help:"a file that holds the password of store, if the address has none"`
		CAFile       string `koanf:"ca_file" help:"the CA that signed the certificate of MariaDB or MySQL (PEM): connect with TLS and check it"`
		Connections  int    `koanf:"connections" help:"connections of a node to MariaDB or MySQL at most: half of them write, half read"`
	} `koanf:"mysql"`

	Access access.Settings `koanf:"access"`

	Limits struct {
		Outbox int `koanf:"outbox" help:"admitted tickets without an outcome; beyond it the answer is busy"`
		Queue  int `koanf:"queue" help:"tickets in the embedded queue"`
		Batch  int `koanf:"batch" help:"tickets settled in one transaction"`

		Retention time.Duration `koanf:"retention" help:"how long after a sale has closed the gate remembers its buyers; then their results come from the store, and its list of who may buy, its unpaid orders by buyer and what the block and allow lists say of it are removed"`

		LogRetention time.Duration `koanf:"log_retention" help:"how long entries of the log of what people of the shop did are kept, such as 26280h for three years; at least 24h. 0: for ever, since nobody but the shop knows how long its law wants them"`
	} `koanf:"limits"`

	Log struct {
		Level  slog.Level `koanf:"level" help:"debug, info, warn or error"`
		Format string     `koanf:"format" help:"auto (text on a terminal, else json), text or json"`
	} `koanf:"log"`
}

// Roles of a node.
const (
	RoleAPI    = "api"
	RoleRelay  = "relay"
	RoleSettle = "settle"
	RoleExpire = "expire"
)

var allRoles = []string{RoleAPI, RoleRelay, RoleSettle, RoleExpire}

// Who must have a second factor (auth.second_factor).
const (
	factorOff    = "off"
	factorAdmins = "admins"
)

// obliged are the roles that must have a second factor.
func (c *Config) obliged() []string {
	if c.Auth.SecondFactor == factorAdmins {
		return []string{seckill.RoleAdmin}
	}
	return nil
}

// Defaults is the configuration of a node that is told nothing.
func Defaults() Config {
	var c Config
	c.Listen, c.OpsListen, c.DataDir = ":8080", "127.0.0.1:9090", "./data"
	c.Gate, c.Queue, c.Run = "memory", "memory", allRoles
	c.RabbitMQ = rabbit.Defaults()
	c.Auth.TokenLife, c.Auth.MaxTokenLife = 24*time.Hour, account.MaxLife
	c.Auth.SecondFactor = factorOff
	c.Auth.Registration, c.Access = api.RegistrationOpen, access.Defaults()
	c.HTTP.TrustedProxies, c.HTTP.TrustedOrigins, c.OpsHosts = []string{}, []string{}, []string{}
	c.HTTP.MaxInFlight, c.HTTP.MaxWaits, c.HTTP.PollAfter = 20_000, 10_000, 500*time.Millisecond
	c.HTTP.LoginTries, c.HTTP.AddressTries = 10, 300
	c.HTTP.StopTimeout = 35 * time.Second
	c.MySQL.Connections = 32
	c.Payment.Grace, c.Payment.OutageCredit = 2*time.Minute, time.Hour
	c.Webhooks = []Webhook{}
	c.Limits.Outbox, c.Limits.Queue, c.Limits.Batch = 1_000_000, 10_000, 1024
	c.Limits.Retention = 24 * time.Hour
	c.Log.Format = "auto"
	return c
}

// LoadConfig merges the defaults, the file (none if empty), the environment and
// the flags that were set, in this order. A flag's name is the key with - for _.
func LoadConfig(path string, environ []string, flags *pflag.FlagSet) (Config, error) {
	k := koanf.New(".")
	c := Defaults()
	if err := k.Load(structs.Provider(c, "koanf"), nil); err != nil {
		return c, err
	}
	known := k.Keys()
	if path != "" {
		given := koanf.New(".")
		if err := given.Load(file.Provider(path), yaml.Parser()); err != nil {
			return c, fmt.Errorf("the configuration file %s cannot be read: %w", path, err)
		}
		for _, key := range given.Keys() {
			section, _ := given.Get(key).(map[string]any)
			switch {
			case given.Get(key) == nil, section != nil && len(section) == 0: // "http:" with nothing below sets nothing
				given.Delete(key)
			case !slices.Contains(known, key):
				return c, fmt.Errorf("the configuration file %s: %q is no setting (seckill config shows all of them)", path, key)
			}
		}
		if err := k.Merge(given); err != nil {
			return c, err
		}
	}
	keys := map[string]string{}
	for _, key := range known {
		keys[EnvName(key)] = key
	}
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      "SECKILL_",
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key := keys[name]
			if _, list := k.Get(key).([]string); list {
				return key, split(value)
			}
			return key, value
		},
	}), nil)
	if err != nil {
		return c, fmt.Errorf("environment: %w", err)
	}
	if flags != nil {
		err := k.Load(posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
			key := strings.ReplaceAll(f.Name, "-", "_")
			if !f.Changed || !slices.Contains(known, key) {
				return "", nil
			}
			return key, posflag.FlagVal(flags, f)
		}), nil)
		if err != nil {
			return c, fmt.Errorf("flags: %w", err)
		}
	}
	c = Config{}
	err = k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, WeaklyTypedInput: true, ErrorUnused: true, TagName: "koanf",
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), mapstructure.TextUnmarshallerHookFunc(), splitHook, webhooksHook),
	}})
	if err != nil {
		return c, fmt.Errorf("configuration: %w", named(err))
	}
	return c, c.check()
}

// named says which settings the values that could not be decoded belong to.
func named(err error) error {
	switch e := err.(type) {
	case *mapstructure.DecodeError:
		return fmt.Errorf("%s (%s): %w", e.Name(), EnvName(e.Name()), sayWhatToWrite(e.Name(), e.Unwrap()))
	case interface{ Unwrap() []error }:
		var errs []error
		for _, err := range e.Unwrap() {
			errs = append(errs, named(err))
		}
		return errors.Join(errs...)
	case interface{ Unwrap() error }:
		return named(e.Unwrap())
	}
	return err
}

// sayWhatToWrite turns an error of the decoder from Go's words into the user's: which value
// the setting takes. What it was given is not repeated, since it may be a secret.
func sayWhatToWrite(key string, err error) error {
	var wanted reflect.Type
	eachSetting(reflect.ValueOf(Defaults()), "", func(name string, v reflect.Value) {
		if name == key {
			wanted = v.Type()
		}
	})
	var other *mapstructure.UnconvertibleTypeError
	if wanted == nil && errors.As(err, &other) { // a part of a list
		wanted = other.Expected.Type()
	}
	switch wanted {
	case nil, reflect.TypeFor[[]Webhook]():
		return err // it has its own words
	case reflect.TypeFor[time.Duration]():
		return errors.New("must be a duration with its unit, such as 90s, 10m or 24h")
	case reflect.TypeFor[slog.Level]():
		return errors.New("must be debug, info, warn or error")
	}
	switch wanted.Kind() {
	case reflect.Int, reflect.Int64:
		return errors.New("must be a whole number, such as 500")
	case reflect.Float64:
		return errors.New("must be a number, such as 0.5")
	case reflect.Bool:
		return errors.New("must be true or false")
	case reflect.String:
		return errors.New("must be a text")
	case reflect.Slice:
		return errors.New("must be a list of texts, or one text with commas")
	}
	return err
}

// EnvName is the environment variable of a key.
func EnvName(key string) string {
	return "SECKILL_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// splitHook lets a list be one text with commas.
func splitHook(from, to reflect.Type, v any) (any, error) {
	if s, ok := v.(string); ok && to == reflect.TypeFor[[]string]() {
		return split(s), nil
	}
	return v, nil
}

func split(s string) []string {
	parts := []string{}
	for p := range strings.SplitSeq(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			parts = append(parts, p)
		}
	}
	return parts
}

// check says what is wrong with the configuration, and where to mend it.
func (c *Config) check() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s (%s): %s", key, EnvName(key), fmt.Sprintf(format, args...)))
	}
	if c.Gate != "memory" && !strings.HasPrefix(string(c.Gate), "redis://") && !strings.HasPrefix(string(c.Gate), "rediss://") {
		bad("gate", "%q is not a gate: want memory or redis://user:password@host:port/db", scheme(string(c.Gate)))
	}
	if c.Queue != "memory" && !strings.HasPrefix(string(c.Queue), "amqp://") && !strings.HasPrefix(string(c.Queue), "amqps://") {
		bad("queue", "%q is not a queue: want memory or amqp://user:password@host:port/vhost", scheme(string(c.Queue)))
	}
	if c.Store != "" && !strings.HasPrefix(string(c.Store), "sqlite:") && !strings.HasPrefix(string(c.Store), "mysql://") {
		bad("store", "%q is not a store: want sqlite:FILE or mysql://user:password@host:port/db", scheme(string(c.Store)))
	}
	if c.Queue != "memory" {
		if err := c.RabbitMQ.ParseURL(string(c.Queue)); err != nil {
			bad("queue", "%v", err)
		}
		if err := errors.Join(c.RabbitMQ.ReadPassword(), c.RabbitMQ.Check()); err != nil {
			errs = append(errs, err)
		}
	}
	for _, err := range c.completeAddresses() {
		bad(err.key, "%v", err.err)
	}
	for _, o := range c.HTTP.TrustedOrigins {
		if err := api.ParseOrigin(o); err != nil {
			bad("http.trusted_origins", "%v", err)
		}
	}
	if c.DataDir == "" {
		bad("data_dir", "must name a folder")
	}
	if len(c.Run) == 0 {
		bad("run", "must name at least one of %s", strings.Join(allRoles, ", "))
	}
	for _, role := range c.Run {
		if !slices.Contains(allRoles, role) {
			bad("run", "%q is not a role: want some of %s", role, strings.Join(allRoles, ", "))
		}
	}
	// What is embedded belongs to one process, so that process must do it all.
	for _, role := range allRoles {
		if c.Embedded() && len(c.Run) > 0 && !slices.Contains(c.Run, role) {
			bad("run", "without %q nobody does it: embedded parts belong to one process", role)
		}
	}
	for _, p := range c.HTTP.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			bad("http.trusted_proxies", "%q is not a network such as 10.0.0.0/8", p)
		}
	}
	positive := func(key string, n int) {
		if n < 1 {
			bad(key, "must be at least 1")
		}
	}
	positive("http.max_in_flight", c.HTTP.MaxInFlight)
	positive("http.max_waits", c.HTTP.MaxWaits)
	positive("http.login_tries", c.HTTP.LoginTries)
	positive("http.address_tries", c.HTTP.AddressTries)
	if c.HTTP.Hashes < 0 || c.HTTP.Hashes > 1024 {
		bad("http.hashes", "must be 0 to 1024")
	}
	if n := c.Redis.Connections; n < 0 || n > 256 || n&(n-1) != 0 {
		bad("redis.connections", "must be 0, or a power of two up to 256")
	}
	if c.MySQL.Connections < 4 || c.MySQL.Connections > 1000 {
		bad("mysql.connections", "must be 4 to 1000")
	}
	positive("limits.outbox", c.Limits.Outbox)
	positive("limits.queue", c.Limits.Queue)
	positive("limits.batch", c.Limits.Batch)
	if c.Limits.Retention < time.Minute {
		bad("limits.retention", "must be at least 1m")
	}
	if r := c.Limits.LogRetention; r != 0 && r < 24*time.Hour {
		bad("limits.log_retention", "must be 0 (for ever) or at least 24h")
	}
	if c.Limits.Batch > 10_000 {
		bad("limits.batch", "must be at most 10000")
	}
	if c.HTTP.PollAfter < 10*time.Millisecond || c.HTTP.PollAfter > time.Minute {
		bad("http.poll_after", "must be 10ms to 1m")
	}
	if err := c.Access.Check(); err != nil {
		errs = append(errs, err)
	}
	if !slices.Contains([]string{api.RegistrationOpen, api.RegistrationInvited, api.RegistrationClosed}, c.Auth.Registration) {
		bad("auth.registration", "must be open, invited or closed")
	}
	if err := c.Auth.Issuer.Check(); err != nil {
		errs = append(errs, err)
	}
	if c.Auth.SecondFactor != factorOff && c.Auth.SecondFactor != factorAdmins {
		bad("auth.second_factor", "must be off or admins")
	}
	if c.Auth.TokenLife < time.Minute {
		bad("auth.token_life", "must be at least 1m")
	}
	if c.Auth.MaxTokenLife < c.Auth.TokenLife {
		bad("auth.max_token_life", "must be at least auth.token_life (%s), or no login would be accepted", c.Auth.TokenLife)
	}
	if !slices.Contains([]string{"", seckill.ProviderTest, seckill.ProviderShop, seckill.ProviderStripe}, c.Payment.Provider) {
		bad("payment.provider", "%q is no provider: want test, shop or stripe", c.Payment.Provider)
	}
	if c.Payment.Grace < 0 || c.Payment.Grace > time.Hour {
		bad("payment.grace", "must be 0s to 1h")
	}
	if c.Payment.OutageCredit < 0 || c.Payment.OutageCredit > 24*time.Hour {
		bad("payment.outage_credit", "must be 0s to 24h")
	}
	if err := c.checkWebhooks(); err != nil {
		bad("webhooks", "%v", err)
	}
	if c.HTTP.DrainDelay < 0 || c.HTTP.StopTimeout <= 0 {
		bad("http.stop_timeout", "must be positive, and http.drain_delay not negative")
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.Log.Format) {
		bad("log.format", "must be auto, text or json")
	}
	return errors.Join(errs...)
}

// Embedded reports whether any part belongs to this process alone. Then there can
// be one node only.
func (c *Config) Embedded() bool {
	return c.Gate.embedded() || c.Queue.embedded() || c.Store.embedded()
}

// has reports whether the node has a role.
func (c *Config) has(role string) bool { return slices.Contains(c.Run, role) }

// scheme is as much of a URL as can be shown: it may hold a password.
func scheme(url string) string {
	s, _, _ := strings.Cut(url, ":")
	return s
}

// storeURL is where the store is.
func (c *Config) storeURL() string {
	if c.Store == "" {
		return "sqlite:" + filepath.Join(c.DataDir, "seckill.db")
	}
	return string(c.Store)
}

// Show writes the configuration as YAML, secrets hidden.
func (c Config) Show() ([]byte, error) {
	k := koanf.New(".")
	if err := k.Load(structs.Provider(c, "koanf"), nil); err != nil {
		return nil, err
	}
	for _, key := range k.Keys() {
		switch v := k.Get(key).(type) {
		case seckill.Secret:
			k.Set(key, v.String())
		case seckill.Endpoint:
			k.Set(key, v.String())
		case Address:
			k.Set(key, v.String())
		case []Webhook:
			k.Set(key, shownWebhooks(v))
		case time.Duration:
			k.Set(key, v.String())
		case slog.Level:
			k.Set(key, strings.ToLower(v.String()))
		}
	}
	return k.Marshal(yaml.Parser())
}
