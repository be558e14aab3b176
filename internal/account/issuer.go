package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"seckill"
	"seckill/internal/duty"
)

// Limits of fetching keys.
const (
	keysEvery = 5 * time.Minute  // between two looks
	keysPause = 10 * time.Second // before a look that a token with an unknown key, or a failure, asks for
	keysTime  = 5 * time.Second  // for one look
	keysMost  = 1 << 20          // bytes
)

// IssuerSettings name a foreign issuer of tokens.
type IssuerSettings struct {
	Iss     string           `koanf:"iss" help:"a foreign issuer whose tokens name buyers, and nothing else: what they carry as iss; empty: there is none"`
	Aud     string           `koanf:"aud" help:"what its tokens must carry as aud"`
	KeyFile string           `koanf:"key_file" help:"its public key (PEM)"`
	Kid     string           `koanf:"kid" help:"what its tokens must carry as kid, with auth.issuer.key_file; empty: it is not looked at"`
	JWKSURL seckill.Endpoint `koanf:"jwks_url" help:"where its public keys are (a JWKS), instead of auth.issuer.key_file: https, or a loopback address; while it is away the keys read last stay in force"`
}

// Check says what is wrong with the settings.
func (s IssuerSettings) Check() error {
	if s == (IssuerSettings{}) {
		return nil
	}
	switch {
	case s.Iss == "" || s.Aud == "":
		return errors.New("auth.issuer: iss and aud must both be given: a key alone does not say for whom its tokens are")
	case (s.KeyFile == "") == (s.JWKSURL == ""):
		return errors.New("auth.issuer: key_file or jwks_url must be given, and not both")
	case s.Kid != "" && s.KeyFile == "":
		return errors.New("auth.issuer.kid belongs to auth.issuer.key_file: the keys of a JWKS have their own")
	case s.JWKSURL == "":
		return nil
	}
	u, err := url.Parse(string(s.JWKSURL))
	if err != nil || u.Host == "" {
		return fmt.Errorf("auth.issuer.jwks_url: %q is no address", s.JWKSURL)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme != "https" && !(u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())) {
		return errors.New("auth.issuer.jwks_url must begin with https://: whoever is on the way could name any buyer")
	}
	return nil
}

// Issuer checks the tokens of a foreign issuer. With a JWKS it is the resident that reads
// it; checking a token asks the copy and nobody else.
type Issuer struct {
	settings IssuerSettings
	log      *slog.Logger
	parser   *jwt.Parser
	keys     atomic.Pointer[keys] // nil until they have been read

	wanted duty.Signal // a token has a key that is unknown here
	loaded chan struct{}
	once   sync.Once
}

// keys are those of one answer of the issuer.
type keys struct {
	raw  []byte
	find jwt.Keyfunc
}

// asymmetric are the algorithms whose keys can be public. None of them is ours.
var asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// NewIssuer returns the issuer that the settings name; nil if they name none.
func NewIssuer(s IssuerSettings, log *slog.Logger) (*Issuer, error) {
	if err := s.Check(); err != nil || s.Iss == "" {
		return nil, err
	}
	i := &Issuer{settings: s, log: log, wanted: duty.NewSignal(), loaded: make(chan struct{}),
		parser: jwt.NewParser(jwt.WithValidMethods(asymmetric), jwt.WithExpirationRequired(), jwt.WithIssuer(s.Iss), jwt.WithAudience(s.Aud))}
	if s.KeyFile == "" {
		return i, nil
	}
	pem, err := os.ReadFile(s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("auth.issuer.key_file: %w", err)
	}
	key, err := publicKey(pem)
	if err != nil {
		return nil, fmt.Errorf("auth.issuer.key_file: %s: %w", s.KeyFile, err)
	}
	i.take(&keys{raw: pem, find: func(t *jwt.Token) (any, error) {
		if s.Kid != "" && t.Header["kid"] != s.Kid {
			return nil, ErrToken
		}
		return key, nil
	}})
	return i, nil
}

// publicKey reads an RSA, elliptic curve or Ed25519 key.
func publicKey(pem []byte) (key any, err error) {
	if key, err = jwt.ParseRSAPublicKeyFromPEM(pem); err == nil {
		return key, nil
	}
	if key, err = jwt.ParseECPublicKeyFromPEM(pem); err == nil {
		return key, nil
	}
	if key, err = jwt.ParseEdPublicKeyFromPEM(pem); err == nil {
		return key, nil
	}
	return nil, errors.New("is no public key in PEM form")
}

func (i *Issuer) take(k *keys) {
	i.keys.Store(k)
	i.once.Do(func() { close(i.loaded) })
}

// Loaded is closed once there are keys.
func (i *Issuer) Loaded() <-chan struct{} { return i.loaded }

// JWKS reports whether the keys are fetched, so that Run has something to do.
func (i *Issuer) JWKS() bool { return i != nil && i.settings.JWKSURL != "" }

// Run reads the keys again and again until ctx is done. While the issuer is away those
// read last stay in force.
func (i *Issuer) Run(ctx context.Context) error {
	var complaint duty.Complaint
	for {
		err := i.fetch(ctx)
		if complaint.New(err) && ctx.Err() == nil {
			i.log.Warn("account: the keys of the foreign issuer cannot be read; those read last stay in force", "jwks_url", i.settings.JWKSURL, "error", err)
		}
		if duty.Rest(ctx, keysPause) != nil {
			return nil
		}
		if err == nil && duty.RestOr(ctx, keysEvery-keysPause, i.wanted) != nil {
			return nil
		}
	}
}

// straight follows nobody elsewhere: the address was checked, another one is not.
var straight = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (i *Issuer) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keysTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(i.settings.JWKSURL), nil)
	if err != nil {
		return seckill.HideEndpoint(err)
	}
	res, err := straight.Do(req)
	if err != nil {
		return seckill.HideEndpoint(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, keysMost+1))
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("the answer is %s", res.Status)
	case len(raw) > keysMost:
		return fmt.Errorf("the answer has more than %d bytes", keysMost)
	}
	if k := i.keys.Load(); k != nil && bytes.Equal(k.raw, raw) {
		return nil
	}
	set, err := keyfunc.NewJWKSetJSON(raw)
	if err != nil {
		return err
	}
	if all, err := set.Storage().KeyReadAll(ctx); err != nil || len(all) == 0 {
		return errors.New("the answer has no keys")
	}
	i.take(&keys{raw: raw, find: set.Keyfunc})
	return nil
}

// foreignClaims are those of a foreign token that count here: whose it is, for whom and
// for how long. A role, a name or the age of an account in it is not read.
type foreignClaims struct{ jwt.RegisteredClaims }

// GetNotBefore allows for an issuer whose clock is a little ahead.
func (c foreignClaims) GetNotBefore() (*jwt.NumericDate, error) {
	if c.NotBefore == nil {
		return nil, nil
	}
	return jwt.NewNumericDate(c.NotBefore.Add(-leeway)), nil
}

// verify returns the buyer whom the token names.
func (i *Issuer) verify(token string) (who Who, ok bool) {
	k := i.keys.Load()
	if k == nil {
		return who, false
	}
	var c foreignClaims
	if _, err := i.parser.ParseWithClaims(token, &c, k.find); err != nil {
		if errors.Is(err, jwt.ErrTokenUnverifiable) {
			i.wanted.Send()
		}
		return who, false
	}
	return Who{Buyer: c.Subject, until: c.ExpiresAt.Time, keys: k}, true
}
