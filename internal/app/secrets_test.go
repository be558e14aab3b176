package app

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A secret that is easy to guess is named at every start. Nodes on shared engines refuse the one
// that they sign with.
func TestWeakSecretsAreNamedOrRefused(t *testing.T) {
	t.Parallel()
	in := func(t *testing.T, environ ...string) Config {
		c, err := LoadConfig("", append(environ, "SECKILL_DATA_DIR="+filepath.Join(t.TempDir(), "data")), nil)
		require.NoError(t, err)
		return c
	}
	const good = "end-to-end-7KQ2XJ5ZB3M4N6P8R9T0V1"
	shared := []string{"SECKILL_GATE=redis://u:p@h", "SECKILL_QUEUE=amqp://u:p@h/v", "SECKILL_STORE=mysql://u:p@h/d"}
	t.Run("of tokens", func(t *testing.T) {
		for _, secret := range []string{strings.Repeat("a", 16), strings.Repeat("a", 40), "a-secret-of-some-length"} {
			c := in(t, "SECKILL_AUTH_SECRET="+secret)
			weak, err := c.weakSecrets([][]byte{[]byte(secret)})
			require.NoError(t, err, "a node that stands alone starts, and says it")
			require.Len(t, weak, 1)
			require.Contains(t, weak[0], "auth.secret (SECKILL_AUTH_SECRET)")
			require.Contains(t, weak[0], "head -c 32 /dev/urandom | base64")
			require.NotContains(t, weak[0], secret)
			c = in(t, append(shared, "SECKILL_AUTH_SECRET="+secret)...)
			_, err = c.weakSecrets([][]byte{[]byte(secret)})
			require.ErrorContains(t, err, "auth.secret (SECKILL_AUTH_SECRET)", "nodes on shared engines do not")
			require.ErrorContains(t, err, "auth.previous_secret", "and say how to get away from it")
			require.ErrorContains(t, err, "docs/scaling.md#changing-authsecret", "without a wait")
			require.NotContains(t, err.Error(), secret)
			weak, err = c.weakSecrets([][]byte{[]byte(good), []byte(secret)})
			require.NoError(t, err, "one of before is only named, or nobody could get away from it")
			require.Len(t, weak, 1)
			require.Contains(t, weak[0], "auth.previous_secret (SECKILL_AUTH_PREVIOUS_SECRET)")
		}
		c := in(t, shared...)
		weak, err := c.weakSecrets([][]byte{[]byte(good), []byte(good)})
		require.NoError(t, err)
		require.Empty(t, weak)
	})
	t.Run("of payments and webhooks", func(t *testing.T) {
		const goodHook = "whsec_YW4gZXhhbXBsZSBhbmQgbm90IGEgc2VjcmV0IQ=="
		hooks := func(secret, previous string) string {
			return fmt.Sprintf(`SECKILL_WEBHOOKS=[{"name":"erp","url":"https://h","secret":%q,"previous_secret":%q}]`, secret, previous)
		}
		encoded := func(secret string) string { return "whsec_" + base64.StdEncoding.EncodeToString([]byte(secret)) }
		for _, easy := range []string{encoded(strings.Repeat("\x00", 16)), encoded(strings.Repeat("secret! ", 4)), encoded("12345678123456781234567812345678"), "whsec_" + strings.Repeat("a", 32)} {
			for names, environ := range map[string][]string{
				"payment.secret":          {"SECKILL_PAYMENT_PROVIDER=shop", "SECKILL_PAYMENT_SECRET=" + easy},
				"payment.previous_secret": {"SECKILL_PAYMENT_PROVIDER=shop", "SECKILL_PAYMENT_SECRET=" + goodHook, "SECKILL_PAYMENT_PREVIOUS_SECRET_FILE=" + write(t, easy)},
				`the secret of "erp"`:     {hooks(easy, goodHook)}, `the previous_secret of "erp"`: {hooks(goodHook, easy)},
			} {
				alone := in(t, environ...)
				weak, err := alone.weakSecrets([][]byte{[]byte(good)})
				require.NoError(t, err)
				require.Len(t, weak, 1, "%s %s", names, easy)
				require.Contains(t, weak[0], names)
				require.NotContains(t, weak[0], easy)
				c := in(t, append(environ, shared...)...)
				weak, err = c.weakSecrets([][]byte{[]byte(good)})
				if strings.Contains(names, "previous") {
					require.NoError(t, err)
					require.Len(t, weak, 1)
				} else {
					require.ErrorContains(t, err, names)
					require.NotContains(t, err.Error(), easy)
				}
			}
		}
		c := in(t, append(shared, "SECKILL_PAYMENT_PROVIDER=stripe", "SECKILL_PAYMENT_SECRET=whsec_5f0c2b9d8e7a41d3", "SECKILL_PAYMENT_PREVIOUS_SECRET="+goodHook, hooks(goodHook, goodHook))...)
		weak, err := c.weakSecrets([][]byte{[]byte(good)})
		require.NoError(t, err)
		require.Empty(t, weak)
	})
}
