package seckill

import (
	"errors"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
)

// Endpoint is a web address that a node calls, such as a receiver of webhooks. It may carry a
// secret before its host or behind the question mark, and shows itself without both. Convert
// it to a string to use it.
type Endpoint string

// String hides what may be a secret, and in doubt everything behind the scheme.
func (e Endpoint) String() string {
	if e == "" {
		return ""
	}
	u, err := url.Parse(string(e))
	if err != nil || u.Host == "" || u.Opaque != "" {
		return Hidden
	}
	who := ""
	if u.User != nil {
		u.User, who = nil, Hidden+"@"
	}
	if u.RawQuery != "" {
		u.RawQuery = Hidden
	}
	if u.Fragment != "" {
		u.Fragment = Hidden
	}
	return strings.Replace(u.String(), "://", "://"+who, 1)
}

// GoString hides the secret from %#v.
func (e Endpoint) GoString() string { return strconv.Quote(e.String()) }

// MarshalText hides the secret in JSON.
func (e Endpoint) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// LogValue hides the secret in logs.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }

// HideEndpoint returns the error of a call without the address that was called, which
// net/http and net/url put into it whole.
func HideEndpoint(err error) error {
	var with *url.Error
	switch {
	case errors.As(err, &with) && with.Op == "parse": // its reason quotes a part of the address
		return errors.New("the address cannot be read")
	case with != nil:
		return with.Err
	}
	return err
}
