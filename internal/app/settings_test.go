package app

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"seckill"
)

// Every setting is either compared between the nodes, or named among those that may differ:
// changing it changes the fingerprint, or does not.
func TestEverySettingIsComparedOrMayDiffer(t *testing.T) {
	t.Parallel()
	base := Defaults()
	base.Auth.Secret = "0123456789abcdef0123456789abcdef"
	base.Webhooks = []Webhook{{Name: "shop", URL: "https://shop.example/hook", Secret: "s", Types: []string{"order.paid"}}}
	base.Payment.RefundURL = "https://shop.example/refunds?key=" // what it hides is compared
	print := func(c Config) string {
		seals, err := seckill.NewSeals([]byte(base.Auth.Secret))
		require.NoError(t, err)
		return (&Node{config: c, seals: seals}).settings()
	}
	was := print(base)
	require.Equal(t, was, print(base))
	file := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	compared, seen := map[string]bool{}, map[string]bool{}
	eachSetting(reflect.ValueOf(base), "", func(name string, v reflect.Value) {
		seen[name] = true
		c := base
		c.Webhooks = append([]Webhook{}, base.Webhooks...)
		eachSetting(reflect.ValueOf(&c).Elem(), "", func(same string, v reflect.Value) {
			if same != name {
				return
			}
			switch v.Kind() {
			case reflect.String:
				v.SetString(v.String() + file)
			case reflect.Bool:
				v.SetBool(!v.Bool())
			case reflect.Int, reflect.Int64:
				v.SetInt(v.Int() + 1)
			case reflect.Float64:
				v.SetFloat(v.Float() + 1)
			case reflect.Slice:
				v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			default:
				t.Fatalf("%s: a %s", name, v.Kind())
			}
		})
		if compared[name] = print(c) != was; compared[name] == differs(name) {
			t.Errorf("%s: compared %v, may differ %v", name, compared[name], differs(name))
		}
	})
	for _, name := range mayDiffer {
		found := false
		for s := range seen {
			found = found || s == name || strings.HasPrefix(s, name+".")
		}
		require.True(t, found, "%s is no setting", name)
	}
	for _, name := range []string{"auth.second_factor", "auth.issuer.iss", "auth.issuer.aud", "auth.issuer.jwks_url", "auth.max_token_life", "payment.secret", "webhooks"} {
		require.True(t, compared[name], name)
	}
	require.Greater(t, len(seen), 80)

	c := base
	c.Auth.Issuer.KeyFile = file
	one := print(c)
	require.NoError(t, os.WriteFile(file, []byte("two"), 0o600))
	require.NotEqual(t, one, print(c), "another key in the same file")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	moved := filepath.Join(t.TempDir(), "moved.pem")
	require.NoError(t, os.Rename(file, moved))
	c.Auth.Issuer.KeyFile = moved
	require.Equal(t, one, print(c), "the same key at another place")
	c = base
	c.Webhooks = []Webhook{base.Webhooks[0]}
	c.Webhooks[0].Secret = "another"
	require.NotEqual(t, was, print(c))
}
