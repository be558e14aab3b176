package api

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func trusting(networks ...string) func(*Config) {
	return func(c *Config) {
		for _, n := range networks {
			c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(n))
		}
	}
}

func TestAForwardedAddressMayHaveAPort(t *testing.T) {
	t.Parallel()
	s := newSystem(t, trusting("10.0.0.0/8", "fd00::/8"))
	for header, want := range map[string]string{
		"192.0.2.7":                     "192.0.2.7",
		"192.0.2.7:51034":               "192.0.2.7",
		"2001:db8::7":                   "2001:db8::7",
		"[2001:db8::7]":                 "2001:db8::7",
		"[2001:db8::7]:51034":           "2001:db8::7",
		"192.0.2.7:51034, 10.1.2.3:443": "192.0.2.7",
		"::ffff:192.0.2.7":              "192.0.2.7",
		"nonsense":                      "10.9.9.9",
		"192.0.2.7, nonsense":           "10.9.9.9",
		"192.0.2.7:port":                "10.9.9.9",
	} {
		r := call{method: "POST", path: "/api/login", from: "10.9.9.9:1", header: []string{"X-Forwarded-For", header}}.request()
		require.Equal(t, want, s.api.client(r).String(), header)
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "holds what is no address"), "a value that is no address is named once")
}

func TestAnAddressCountsByItsNetwork(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7/32",
		"::ffff:192.0.2.7":     "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::1": "2001:db8:1:2::/64",
		"2001:db8:1:3::1":      "2001:db8:1:3::/64",
		"fe80::1%eth0":         "fe80::/64",
	} {
		require.Equal(t, want, network(netip.MustParseAddr(address).Unmap()), address)
	}
}

// A household has a whole /64: its addresses are one in the limits.
func TestAddressesOfOneHouseholdAreOneInTheLimits(t *testing.T) {
	t.Parallel()
	s := newSystem(t, func(c *Config) { c.AddressTries = 3 })
	for i, want := range []int{201, 201, 201, 429} {
		a := s.do(call{method: "POST", path: "/api/register", from: "[2001:db8:1:2::" + string(rune('1'+i)) + "]:1",
			body: `{"name":"n` + string(rune('1'+i)) + `","password":"` + goodPassword + `"}`})
		a.is(want)
	}
	s.do(call{method: "POST", path: "/api/register", from: "[2001:db8:1:3::1]:1", body: `{"name":"n9","password":"` + goodPassword + `"}`}).is(201)
}

func TestAForgottenProxyIsNamed(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	require.Zero(t, testutil.ToFloat64(s.api.metrics.unlisted))
	for range 3 {
		s.do(call{method: "POST", path: "/api/login", from: "10.0.0.9:1", body: `{"name":"a","password":"b"}`, header: []string{"X-Forwarded-For", "192.0.2.7"}}).is(401)
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "http.trusted_proxies does not list"), "one warning")
	require.Contains(t, s.log.String(), `"address":"10.0.0.9"`)
	require.NotZero(t, testutil.ToFloat64(s.api.metrics.unlisted))
	for range 3 {
		s.do(call{method: "POST", path: "/api/login", from: "192.0.2.99:1", body: `{"name":"a","password":"b"}`, header: []string{"X-Forwarded-For", "192.0.2.7"}}).is(401)
	}
	require.Equal(t, 2, strings.Count(s.log.String(), "http.trusted_proxies does not list"), "a stranger who sends the header first hides no forgotten proxy")
}
