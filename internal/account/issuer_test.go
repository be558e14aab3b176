package account

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"seckill"
)

// foreign is an issuer of tokens beside us.
type foreign struct {
	t   *testing.T
	rsa *rsa.PrivateKey
	pem []byte // its public key
}

func newForeign(t *testing.T) foreign {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return foreign{t, key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
}

// claims of a good token, with what differs; nil leaves a claim out.
func foreignToken(t *testing.T, method jwt.SigningMethod, key any, kid string, differs map[string]any) string {
	t.Helper()
	c := jwt.MapClaims{"iss": "https://id.shop.example", "aud": []string{"seckill", "books"}, "sub": "customer-7", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range differs {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	token := jwt.NewWithClaims(method, c)
	if kid != "" {
		token.Header["kid"] = kid
	}
	signed, err := token.SignedString(key)
	require.NoError(t, err)
	return signed
}

// A foreign issuer names buyers and nothing else, whatever its tokens claim.
func TestAForeignIssuerNamesBuyersAndNothingElse(t *testing.T) {
	t.Parallel()
	f, other := newForeign(t), newForeign(t)
	file := filepath.Join(t.TempDir(), "issuer.pem")
	require.NoError(t, os.WriteFile(file, f.pem, 0o600))
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	issuer, err := NewIssuer(IssuerSettings{Iss: "https://id.shop.example", Aud: "seckill", KeyFile: file, Kid: "k1"}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	v, err := NewVerifier(Checks{Issuer: issuer}, theSecret)
	require.NoError(t, err)
	good := func(kid string, differs map[string]any) string {
		return foreignToken(t, jwt.SigningMethodRS256, f.rsa, kid, differs)
	}
	now := time.Now()

	token := good("k1", map[string]any{"role": "admin", "name": "root", "since": 1, "gen": 9, "mfa": true})
	for range 2 { // the second time it is remembered
		who, err := v.Verify(token, true)
		require.NoError(t, err)
		require.Equal(t, Who{Buyer: "customer-7", until: who.until, keys: who.keys}, who, "no role, no name, no age, no account")
		require.False(t, who.Account())
	}
	for name, ok := range map[string]string{
		"one audience":              good("k1", map[string]any{"aud": "seckill"}),
		"a clock that is ahead":     good("k1", map[string]any{"nbf": now.Add(30 * time.Second).Unix(), "iat": now.Add(30 * time.Second).Unix()}),
		"another algorithm of RSA":  foreignToken(t, jwt.SigningMethodPS256, f.rsa, "k1", nil),
		"a token of ours beside it": must(Mint(theSecret, "customer-7", "", time.Hour)),
	} {
		_, err := v.Verify(ok, true)
		require.NoError(t, err, name)
	}
	for name, bad := range map[string]string{
		"another issuer":              good("k1", map[string]any{"iss": "https://id.evil.example"}),
		"no issuer":                   good("k1", map[string]any{"iss": nil}),
		"another audience":            good("k1", map[string]any{"aud": "books"}),
		"no audience":                 good("k1", map[string]any{"aud": nil}),
		"another key id":              good("k2", nil),
		"no key id":                   good("", nil),
		"no end":                      good("k1", map[string]any{"exp": nil}),
		"it has ended":                good("k1", map[string]any{"exp": now.Add(-time.Second).Unix()}),
		"it lives too long":           good("k1", map[string]any{"exp": now.Add(MaxLife + time.Hour).Unix()}),
		"it is not valid yet":         good("k1", map[string]any{"nbf": now.Add(time.Hour).Unix()}),
		"no buyer":                    good("k1", map[string]any{"sub": nil}),
		"what is no buyer":            good("k1", map[string]any{"sub": "a\nb"}),
		"another's key":               foreignToken(t, jwt.SigningMethodRS256, other.rsa, "k1", nil),
		"another kind of key":         foreignToken(t, jwt.SigningMethodES256, ec, "k1", nil),
		"no algorithm":                foreignToken(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "k1", nil),
		"HS256 with the public key":   foreignToken(t, jwt.SigningMethodHS256, f.pem, "k1", nil),
		"HS256 with it, without kid":  foreignToken(t, jwt.SigningMethodHS256, f.pem, "", map[string]any{"role": "admin"}),
		"HS256 with somebody's words": foreignToken(t, jwt.SigningMethodHS256, otherSecret, "k1", map[string]any{"role": "admin"}),
		"a changed claim":             changed(token),
	} {
		who, err := v.Verify(bad, true)
		require.ErrorIs(t, err, ErrToken, name)
		require.Zero(t, who, name)
	}
	alone, err := NewVerifier(Checks{}, theSecret)
	require.NoError(t, err)
	_, err = alone.Verify(token, true)
	require.ErrorIs(t, err, ErrToken, "without an issuer nobody is foreign")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// changed is the token with another claim under the same signature.
func changed(token string) string {
	parts := strings.Split(token, ".")
	b, _ := encoding.DecodeString(parts[1])
	parts[1] = encoding.EncodeToString([]byte(strings.Replace(string(b), "customer-7", "customer-8", 1)))
	return strings.Join(parts, ".")
}

// jwks is the answer of an issuer with these keys.
func jwks(t *testing.T, all map[string]foreign) []byte {
	t.Helper()
	set := struct {
		Keys []map[string]string `json:"keys"`
	}{}
	for kid, f := range all {
		set.Keys = append(set.Keys, map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
			"n": encoding.EncodeToString(f.rsa.N.Bytes()), "e": encoding.EncodeToString(big.NewInt(int64(f.rsa.E)).Bytes())})
	}
	b, err := json.Marshal(set)
	require.NoError(t, err)
	return b
}

// The keys of a JWKS are copies: while it is away, or answers nonsense, those read last
// stay in force; a key that it gives up is no good any more, also for a token that is
// remembered; and checking a token never asks it.
func TestTheKeysOfAnIssuerAreCopies(t *testing.T) {
	t.Parallel()
	one, two := newForeign(t), newForeign(t)
	var answer atomic.Pointer[http.HandlerFunc]
	var asked atomic.Int64
	says := func(f http.HandlerFunc) { answer.Store(&f) }
	body := func(b []byte) http.HandlerFunc { return func(w http.ResponseWriter, _ *http.Request) { w.Write(b) } }
	says(body(jwks(t, map[string]foreign{"k1": one})))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); (*answer.Load())(w, r) }))
	t.Cleanup(server.Close)
	issuer, err := NewIssuer(IssuerSettings{Iss: "https://id.shop.example", Aud: "seckill", JWKSURL: seckill.Endpoint(server.URL)}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.True(t, issuer.JWKS())
	v, err := NewVerifier(Checks{Issuer: issuer}, theSecret)
	require.NoError(t, err)
	byOne := foreignToken(t, jwt.SigningMethodRS256, one.rsa, "k1", nil)
	byTwo := foreignToken(t, jwt.SigningMethodRS256, two.rsa, "k2", nil)
	_, err = v.Verify(byOne, true)
	require.ErrorIs(t, err, ErrToken, "nothing has been read yet")

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- issuer.Run(ctx) }()
	<-issuer.Loaded()
	stop()
	require.NoError(t, <-done)
	before := asked.Load()
	_, err = v.Verify(byOne, true)
	require.NoError(t, err)
	_, err = v.Verify(foreignToken(t, jwt.SigningMethodRS256, two.rsa, "k1", nil), true)
	require.ErrorIs(t, err, ErrToken, "another's key under a known name")
	_, err = v.Verify(byTwo, true)
	require.ErrorIs(t, err, ErrToken)
	require.Len(t, issuer.wanted, 1, "an unknown key makes the resident look")

	for name, f := range map[string]http.HandlerFunc{
		"an error":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"nonsense":    body([]byte("<html>")),
		"no keys":     body([]byte(`{"keys":[]}`)),
		"without end": body([]byte(`{"keys":[` + strings.Repeat(" ", keysMost) + `]}`)),
		"another host": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
	} {
		says(f)
		require.Error(t, issuer.fetch(t.Context()), name)
		_, err = v.Verify(byOne, true)
		require.NoError(t, err, name)
	}
	asks := asked.Load()
	require.EqualValues(t, 5, asks-before, "only the resident asks")

	says(body(jwks(t, map[string]foreign{"k1": one, "k2": two})))
	require.NoError(t, issuer.fetch(t.Context()))
	for _, token := range []string{byOne, byTwo} {
		_, err = v.Verify(token, true)
		require.NoError(t, err)
	}
	says(body(jwks(t, map[string]foreign{"k2": two})))
	require.NoError(t, issuer.fetch(t.Context()))
	_, err = v.Verify(byOne, true)
	require.ErrorIs(t, err, ErrToken, "its key was given up")
	who, err := v.Verify(byTwo, true)
	require.NoError(t, err)
	require.Empty(t, who.Role)
	server.Close()
	require.Error(t, issuer.fetch(t.Context()))
	_, err = v.Verify(byTwo, true)
	require.NoError(t, err)
}

func TestWhatNamesNoIssuer(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "issuer.pem")
	require.NoError(t, os.WriteFile(file, []byte("no key"), 0o600))
	for name, s := range map[string]IssuerSettings{
		"no audience": {Iss: "a", KeyFile: file}, "no issuer": {Aud: "a", KeyFile: file}, "no key": {Iss: "a", Aud: "b"},
		"two places of keys": {Iss: "a", Aud: "b", KeyFile: file, JWKSURL: "https://id.shop.example/keys"},
		"a kid of a JWKS":    {Iss: "a", Aud: "b", Kid: "c", JWKSURL: "https://id.shop.example/keys"},
		"open to the way":    {Iss: "a", Aud: "b", JWKSURL: "http://id.shop.example/keys"}, "no address": {Iss: "a", Aud: "b", JWKSURL: "keys"},
		"no file": {Iss: "a", Aud: "b", KeyFile: file + "x"}, "no PEM": {Iss: "a", Aud: "b", KeyFile: file},
	} {
		_, err := NewIssuer(s, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, "auth.issuer", name)
	}
	none, err := NewIssuer(IssuerSettings{}, nil)
	require.NoError(t, err)
	require.Nil(t, none)
	require.False(t, none.JWKS())
}

// A foreign token opens no route of administration, and cannot touch an account of its
// buyer's name.
func TestAForeignTokenHasNoAccount(t *testing.T) {
	t.Parallel()
	a, store, _ := withSessions(t)
	s, err := a.Register(t.Context(), "root", goodPassword, seckill.RoleAdmin)
	require.NoError(t, err)
	require.ErrorIs(t, a.EndOwnSessions(t.Context(), Who{Buyer: s.Buyer}), seckill.ErrState)
	require.Zero(t, store.all["root"].Generation)
}
