package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"seckill"
	"seckill/internal/account"
	"seckill/internal/client"
)

// asks is the status of a request with a token.
func asks(t *testing.T, n *Node, token, path string) int {
	t.Helper()
	a, err := (&client.Client{Server: n.URL(), Token: token}).Do(t.Context(), http.MethodGet, path, nil)
	require.NoError(t, err)
	return a.Status
}

// auth.second_factor takes the role of admins until they have a second factor, and of
// nobody else.
func TestTheSettingOfTheSecondFactor(t *testing.T) {
	t.Parallel()
	for setting, status := range map[string]int{factorOff: 200, factorAdmins: 403} {
		c := embedded(t)
		c.Auth.SecondFactor = setting
		require.NoError(t, WithAccounts(t.Context(), c, func(a *account.Accounts) error {
			_, err := a.Register(t.Context(), "root", "correct horse battery", seckill.RoleAdmin)
			require.NoError(t, err)
			_, err = a.Register(t.Context(), "viewer", "correct horse battery", seckill.RoleViewer)
			return err
		}))
		n, _ := node(t, c)
		for name, want := range map[string]int{"root": status, "viewer": 200} {
			var v struct {
				Token  string
				Factor string `json:"second_factor"`
			}
			require.NoError(t, (&client.Client{Server: n.URL()}).Call(t.Context(), http.MethodPost, "/api/login", map[string]string{"name": name, "password": "correct horse battery"}, &v))
			require.Equal(t, want, asks(t, n, v.Token, "/api/admin/sales"), "%s with %s", name, setting)
			require.Equal(t, want == 403, v.Factor == account.FactorRequired)
		}
	}
}

// auth.issuer lets another key name buyers, and auth.max_token_life bounds its tokens too.
func TestTheSettingsOfAForeignIssuer(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	c := embedded(t)
	c.Auth.Issuer = account.IssuerSettings{Iss: "https://id.shop.example", Aud: "seckill", KeyFile: filepath.Join(c.DataDir, "issuer.pem")}
	require.NoError(t, os.WriteFile(c.Auth.Issuer.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	c.Auth.MaxTokenLife = 24 * time.Hour
	n, _ := node(t, c)
	alone, _ := node(t, embedded(t))
	signed := func(life time.Duration) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": "https://id.shop.example", "aud": "seckill", "sub": "customer-7", "role": "admin", "exp": time.Now().Add(life).Unix()}).SignedString(key)
		require.NoError(t, err)
		return token
	}
	require.Equal(t, 200, asks(t, n, signed(time.Hour), "/api/orders"))
	require.Equal(t, 403, asks(t, n, signed(time.Hour), "/api/admin/sales"), "whatever it claims")
	require.Equal(t, 401, asks(t, n, signed(25*time.Hour), "/api/orders"))
	require.Equal(t, 401, asks(t, alone, signed(time.Hour), "/api/orders"))
	c.Auth.Issuer.Aud = ""
	require.ErrorContains(t, c.check(), "auth.issuer")
}
