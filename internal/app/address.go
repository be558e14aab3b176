package app

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"seckill"
)

// Address says where a part is. It may hold a password, which it does not show.
type Address string

// String hides the password, and in doubt everything: a password with a character
// that had to be escaped (/ # ? @) ends up in any place of the address. Of Redis, whose first user
// needs no name, a name without a password is hidden too: most likely it is the password, and the
// colon was forgotten.
func (a Address) String() string {
	if a.embedded() {
		return string(a)
	}
	u, err := url.Parse(string(a))
	if err != nil || u.Fragment != "" || u.Opaque != "" || strings.Contains(strings.ToLower(u.RawQuery), "pass") {
		return scheme(string(a)) + ":" + seckill.Hidden
	}
	rest := string(a)
	if u.User != nil {
		_, rest, _ = strings.Cut(rest, "@")
	}
	if strings.Contains(rest, "@") {
		return scheme(string(a)) + ":" + seckill.Hidden
	}
	if _, secret := u.User.Password(); secret {
		u.User = url.User(u.User.Username())
		return strings.Replace(u.String(), "@", ":"+seckill.Hidden+"@", 1)
	}
	if u.User.Username() != "" && (u.Scheme == "redis" || u.Scheme == "rediss") {
		return scheme(string(a)) + "://" + seckill.Hidden + "@" + rest
	}
	return string(a)
}

// LogValue hides the password in logs.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.String()) }

// GoString hides the password from %#v.
func (a Address) GoString() string { return strconv.Quote(a.String()) }

// MarshalText hides the password in JSON, and in logs of whatever contains it.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

func (a Address) embedded() bool {
	return a == "" || a == "memory" || strings.HasPrefix(string(a), "sqlite:")
}

// keyed is an error in a setting.
type keyed struct {
	key string
	err error
}

// completeAddresses puts into the addresses of Redis and MySQL what stands in
// settings of its own: the password in a file, and the CA.
func (c *Config) completeAddresses() (wrong []keyed) {
	for _, part := range []struct {
		address               *Address
		section               string
		passwordFile, ca, tls string
	}{
		{&c.Gate, "redis", c.Redis.PasswordFile, c.Redis.CAFile, "rediss://"},
		{&c.Store, "mysql", c.MySQL.PasswordFile, c.MySQL.CAFile, "mysql://"},
	} {
		u, err := url.Parse(string(*part.address))
		if part.address.embedded() || err != nil {
			continue // an address that is wrong is reported where the part is opened
		}
		if _, given := u.User.Password(); part.passwordFile != "" && !given {
			b, err := secretOf("", part.passwordFile, part.section+".password_file")
			if err != nil {
				wrong = append(wrong, keyed{part.section + ".password_file", err})
				continue
			}
			u.User = url.UserPassword(u.User.Username(), string(b))
		}
		if q := u.Query(); part.ca != "" && !q.Has("ca") {
			if !strings.HasPrefix(string(*part.address), part.tls) {
				wrong = append(wrong, keyed{part.section + ".ca_file", fmt.Errorf("needs TLS: write %s in the address", part.tls)})
				continue
			}
			q.Set("ca", part.ca)
			u.RawQuery = q.Encode()
		}
		*part.address = Address(u.String())
	}
	return wrong
}

// weakTransport says which engines on other machines are reached without TLS, or
// with TLS that believes any certificate: who listens on the way reads the
// passwords and can change what is sold.
func (c *Config) weakTransport() (weak []string) {
	say := func(setting string, a Address, mend string) {
		weak = append(weak, fmt.Sprintf("%s (%s) is on another machine and reached %s", setting, a, mend))
	}
	if u, err := url.Parse(string(c.Gate)); err == nil && !c.Gate.embedded() && (elsewhere(u.Hostname()) || slices.ContainsFunc(u.Query()["addr"], hostElsewhere)) {
		q := u.Query()
		verifies, err := strconv.ParseBool(q.Get("skip_verify"))
		verifies = !q.Has("skip_verify") || err == nil && !verifies || q.Has("ca") // with its CA the certificate is checked, whatever skip_verify says
		switch {
		case u.Scheme != "rediss":
			say("gate", c.Gate, "without TLS: write rediss://, with redis.ca_file if its CA is your own")
		case !verifies:
			say("gate", c.Gate, "by TLS that believes any certificate: take skip_verify away, and name its CA in redis.ca_file")
		}
	}
	if !c.Queue.embedded() && !c.RabbitMQ.TLS {
		hosts := []string{c.RabbitMQ.Host}
		if len(c.RabbitMQ.Addresses) > 0 {
			hosts = nil
			for _, a := range c.RabbitMQ.Addresses {
				host, _, _ := net.SplitHostPort(a)
				hosts = append(hosts, host)
			}
		}
		if slices.ContainsFunc(hosts, elsewhere) {
			say("queue", c.Queue, "without TLS: write amqps://, with rabbitmq.ca_file if its CA is your own")
		}
	}
	if u, err := url.Parse(string(c.Store)); err == nil && !c.Store.embedded() && elsewhere(u.Hostname()) {
		tls := u.Query().Get("tls")
		on, err := strconv.ParseBool(tls)
		switch {
		case u.Query().Has("ca"), err == nil && on:
		case strings.EqualFold(tls, "skip-verify"):
			say("store", c.Store, "by TLS that believes any certificate (tls="+tls+"): write tls=true, or name its CA in mysql.ca_file")
		case strings.EqualFold(tls, "preferred"):
			say("store", c.Store, "by TLS that believes any certificate, and without TLS where the server offers none (tls="+tls+"): write tls=true, or name its CA in mysql.ca_file")
		default:
			say("store", c.Store, "without TLS: write ?tls=true behind the address, or name its CA in mysql.ca_file")
		}
	}
	for _, part := range []struct {
		setting string
		at      seckill.Endpoint
	}{{"payment.refund_url", c.Payment.RefundURL}, {"payment.statement_url", c.Payment.StatementURL}} {
		if u, err := url.Parse(string(part.at)); err == nil && u.Scheme == "http" && elsewhere(u.Hostname()) {
			weak = append(weak, fmt.Sprintf("%s (%s) is on another machine and asked without TLS: write https://", part.setting, part.at))
		}
	}
	return weak
}

// hostElsewhere is elsewhere for a host with its port.
func hostElsewhere(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err != nil || elsewhere(host)
}

// elsewhere reports whether a host is not this machine.
func elsewhere(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return !addr.Unmap().IsLoopback()
	}
	return host != "localhost" && host != ""
}
