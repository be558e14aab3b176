package account

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"seckill"
)

// Limits of secrets and tokens.
const (
	MinSecret  = 16 // bytes; below it nothing is signed
	GoodSecret = 32 // bytes, as many as a signature has

	MaxLife = 90 * 24 * time.Hour // of a token, unless Checks.MaxLife says otherwise
	leeway  = 59 * time.Second    // between the clock of who issues tokens and ours: a minute, less the second that times are cut to
)

// WeakSecret says what makes a secret weak to sign tokens with; nothing if it looks good.
func WeakSecret(secret []byte) string {
	if len(secret) < GoodSecret {
		return fmt.Sprintf("has %d bytes, and %d are as strong as the signature", len(secret), GoodSecret)
	}
	return EasySecret(secret)
}

// EasySecret says what makes a secret easy to guess, whatever its length; nothing if it looks good.
func EasySecret(secret []byte) string {
	different := map[byte]bool{}
	for _, b := range secret {
		different[b] = true
	}
	switch {
	case len(different) < 8:
		return fmt.Sprintf("has only %d different bytes and is easy to guess", len(different))
	case repeats(secret):
		return "repeats a short text and is easy to guess"
	}
	return ""
}

// repeats reports whether a secret is one short text again and again.
func repeats(secret []byte) bool {
	for n := 1; n <= len(secret)/2 && n < MinSecret; n++ {
		if bytes.Equal(secret[n:], secret[:len(secret)-n]) {
			return true
		}
	}
	return false
}

// Who is the bearer of a verified token.
type Who struct {
	Buyer string
	Role  string
	Name  string    // as they call themselves; may be empty
	Since time.Time // when the account was made; zero when the token does not say
	// Factor says that a second factor was shown at the login.
	Factor bool

	until      time.Time
	made       int64 // seconds since 1970
	generation int64 // of the account
	keys       *keys // of the foreign issuer that has named the buyer; nil: it is a token of ours
}

// Account reports whether a login has made the token, and not a script or a shop.
func (w Who) Account() bool { return w.Name != "" && !w.Since.IsZero() }

// claims are those that count here. Times are plain numbers, since decoding
// jwt.RegisteredClaims costs more than checking the signature.
type claims struct {
	Sub  string  `json:"sub"`
	Role string  `json:"role,omitempty"`
	Name string  `json:"name,omitempty"`
	Exp  float64 `json:"exp"`
	Iat  float64 `json:"iat,omitempty"`
	Nbf  float64 `json:"nbf,omitempty"`
	// Since is when the account was made, in seconds since 1970.
	Since float64 `json:"since,omitempty"`
	// Gen is the account's generation at the login. Where it has been raised since, the
	// token is not valid any more.
	Gen float64 `json:"gen,omitempty"`
	MFA bool    `json:"mfa,omitempty"` // a second factor was shown
}

func date(seconds float64) (*jwt.NumericDate, error) {
	if seconds == 0 {
		return nil, nil
	}
	if seconds < 0 || seconds > 1<<40 {
		return nil, ErrToken
	}
	return jwt.NewNumericDate(time.UnixMilli(int64(seconds * 1000))), nil
}

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Exp) }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.Iat) }

// GetNotBefore allows for an issuer whose clock is a little ahead. iat says when
// a token was made and decides nothing; exp is held to the second.
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) {
	d, err := date(c.Nbf)
	if d != nil {
		d.Time = d.Add(-leeway)
	}
	return d, err
}

func (c *claims) GetIssuer() (string, error)             { return "", nil }
func (c *claims) GetSubject() (string, error)            { return c.Sub, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }

// Mint makes a token for the buyer that ends after life.
func Mint(secret []byte, buyer, role string, life time.Duration) (string, error) {
	return mint(secret, claims{Sub: buyer, Role: role}, life)
}

// MintSince is Mint for a buyer whose account was made at the given time.
func MintSince(secret []byte, buyer string, since time.Time, life time.Duration) (string, error) {
	return mint(secret, claims{Sub: buyer, Since: float64(since.Unix())}, life)
}

// mint signs the claims and gives them their times.
func mint(secret []byte, c claims, life time.Duration) (string, error) {
	if !seckill.ValidBuyer(c.Sub) {
		return "", &seckill.FieldError{Field: "buyer", Must: "must be 1 to 64 printable characters"}
	}
	if len(secret) < MinSecret {
		return "", fmt.Errorf("auth.secret must have at least %d bytes", MinSecret)
	}
	now := time.Now()
	c.Iat, c.Exp = float64(now.Unix()), float64(now.Add(life).Unix())
	return jwt.NewWithClaims(jwt.SigningMethodHS256, &c).SignedString(secret)
}

// ErrToken says that a token is not valid here, without saying why to the client.
var ErrToken = errors.New("the token is not valid")

// ErrEnded is a token that would be valid, had its account's sessions not been ended.
// Verify says whose it was.
var ErrEnded = fmt.Errorf("%w: its sessions were ended", ErrToken)

// verifierSize bounds the tokens that a Verifier remembers.
const verifierSize = 1 << 16

// Checks are what a Verifier looks at beside a token's signature and times.
type Checks struct {
	// MaxLife refuses tokens that end later than this from now, so that one that was
	// stolen, or made by a shop in a careless hour, does not live for ever; 0 for the
	// constant MaxLife.
	MaxLife time.Duration
	// Sessions knows which tokens have ended early; nil: nobody does.
	Sessions *Sessions
	// Issuer may name buyers beside us; nil: nobody may.
	Issuer *Issuer
}

// Verifier checks tokens. A token that was checked is remembered until it ends,
// since a buyer shows the same one many times in one second.
type Verifier struct {
	maxLife  time.Duration
	sessions *Sessions
	issuer   *Issuer

	secrets []*secret
	parser  *jwt.Parser
	times   *jwt.Validator
	shards  [64]struct {
		sync.Mutex
		known map[string]Who
	}
}

// NewVerifier accepts tokens that pass the checks and are signed with any of the
// secrets: the current one and, while rotating, the previous one.
func NewVerifier(c Checks, secrets ...[]byte) (*Verifier, error) {
	rules := []jwt.ParserOption{jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired()}
	v := &Verifier{maxLife: cmp.Or(c.MaxLife, MaxLife), sessions: c.Sessions, issuer: c.Issuer, parser: jwt.NewParser(rules...), times: jwt.NewValidator(rules...)}
	for _, s := range secrets {
		if len(s) == 0 {
			continue
		}
		if len(s) < MinSecret {
			return nil, fmt.Errorf("auth.secret must have at least %d bytes", MinSecret)
		}
		v.secrets = append(v.secrets, newSecret(s))
	}
	if len(v.secrets) == 0 {
		return nil, errors.New("auth.secret is not set")
	}
	for i := range v.shards {
		v.shards[i].known = map[string]Who{}
	}
	return v, nil
}

// commonHeader begins the tokens of Mint and of most others: {"alg":"HS256","typ":"JWT"}.
const commonHeader = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."

// secret checks signatures, by many at once.
type secret struct {
	key []byte
	mac *seckill.MAC[checking]
}

// checking has the buffers with which a token is checked.
type checking struct {
	token, given, claim []byte
	claims              claims
}

func newSecret(key []byte) *secret {
	return &secret{key: key, mac: seckill.NewMAC[checking](key)}
}

// parse checks the token's signature and times. What the common header says need
// not be read again for each of a hundred thousand buyers; any other is the
// library's to read.
func (v *Verifier) parse(token string, s *secret) (claims, error) {
	rest, common := strings.CutPrefix(token, commonHeader)
	body, signature, ok := strings.Cut(rest, ".")
	if !common || !ok {
		var c claims
		_, err := v.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return s.key, nil })
		return c, err
	}
	scratch := s.mac.Take()
	defer s.mac.Put(scratch)
	d := &scratch.Buf
	d.token = append(d.token[:0], token...)
	signed := len(token) - len(signature) - 1
	var err error
	if d.given, err = base64.RawURLEncoding.AppendDecode(d.given[:0], d.token[signed+1:]); err != nil {
		return claims{}, err
	}
	if !hmac.Equal(d.given, scratch.Sum(d.token[:signed])) {
		return claims{}, jwt.ErrTokenSignatureInvalid
	}
	if d.claim, err = base64.RawURLEncoding.AppendDecode(d.claim[:0], d.token[signed-len(body):signed]); err != nil {
		return claims{}, err
	}
	if d.claims, ok = plainClaims(d.claim); !ok {
		d.claims = claims{}
		if err := json.Unmarshal(d.claim, &d.claims); err != nil {
			return claims{}, err
		}
	}
	return d.claims, v.times.Validate(&d.claims)
}

// plainClaims reads claims that are written in the plainest way, as Mint does:
// nothing but sub, role, exp and iat, each once at most, without space, names of
// ASCII that needs no escapes, times of whole seconds. It MUST read them as
// encoding/json does, and leave everything else to it.
func plainClaims(b []byte) (c claims, ok bool) {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return c, false
	}
	for rest := b[1 : len(b)-1]; ; rest = rest[1:] {
		var key []byte
		if key, rest, ok = plainText(rest); !ok || len(rest) == 0 || rest[0] != ':' {
			return c, false
		}
		rest = rest[1:]
		var text []byte
		var number float64
		switch string(key) {
		case "sub":
			text, rest, ok = plainText(rest)
			ok, c.Sub = ok && c.Sub == "", string(text)
		case "role":
			text, rest, ok = plainText(rest)
			ok, c.Role = ok && c.Role == "", string(text)
		case "name":
			text, rest, ok = plainText(rest)
			ok, c.Name = ok && c.Name == "", string(text)
		case "exp":
			number, rest, ok = plainNumber(rest)
			ok, c.Exp = ok && c.Exp == 0, number
		case "iat":
			number, rest, ok = plainNumber(rest)
			ok, c.Iat = ok && c.Iat == 0, number
		case "since":
			number, rest, ok = plainNumber(rest)
			ok, c.Since = ok && c.Since == 0, number
		case "gen":
			number, rest, ok = plainNumber(rest)
			ok, c.Gen = ok && c.Gen == 0, number
		default:
			return c, false
		}
		if !ok || len(rest) == 0 || rest[0] != ',' {
			return c, ok && len(rest) == 0
		}
	}
}

// plainText cuts a quoted text from the front of b.
func plainText(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, b, false
	}
	n := bytes.IndexByte(b[1:], '"')
	if n < 0 {
		return nil, b, false
	}
	text = b[1 : n+1]
	for _, ch := range text {
		if ch < ' ' || ch > '~' || ch == '\\' {
			return nil, b, false
		}
	}
	return text, b[n+2:], true
}

// plainNumber cuts a positive whole number of at most 12 digits from the front of b.
func plainNumber(b []byte) (v float64, rest []byte, ok bool) {
	n, sum := 0, int64(0)
	for n < len(b) && b[n] >= '0' && b[n] <= '9' && n <= 12 {
		sum = sum*10 + int64(b[n]-'0')
		n++
	}
	return float64(sum), b[n:], n > 0 && n <= 12 && b[0] != '0'
}

// Verify returns the bearer of the token, or ErrToken. With remember set the same
// token is cheap the next time.
func (v *Verifier) Verify(token string, remember bool) (Who, error) {
	who, err := v.verify(token, remember)
	if err == nil && v.sessions.has(&who) {
		err = ErrEnded
	}
	return who, err
}

// Sessions knows which tokens have ended early; nil: nobody does.
func (v *Verifier) Sessions() *Sessions { return v.sessions }

// verify is Verify, whether or not the session has been ended since.
func (v *Verifier) verify(token string, remember bool) (Who, error) {
	if len(token) < 16 || len(token) > 4096 {
		return Who{}, ErrToken
	}
	shard := &v.shards[token[len(token)-2]&63]
	shard.Lock()
	who, ok := shard.known[token]
	shard.Unlock()
	if ok && time.Now().Before(who.until) && (who.keys == nil || who.keys == v.issuer.keys.Load()) {
		return who, nil
	}
	if v.issuer != nil && !strings.HasPrefix(token, commonHeader) {
		if who, ok := v.issuer.verify(token); ok && seckill.ValidBuyer(who.Buyer) && time.Until(who.until) <= v.maxLife {
			v.remember(token, who) // checking it costs more than one of ours
			return who, nil
		}
	}
	for _, secret := range v.secrets {
		c, err := v.parse(token, secret)
		if err != nil || !seckill.ValidBuyer(c.Sub) {
			continue
		}
		who = Who{Buyer: c.Sub, Role: c.Role, Name: c.Name, Factor: c.MFA, until: time.UnixMilli(int64(c.Exp * 1000)), made: int64(c.Iat), generation: int64(c.Gen)}
		if time.Until(who.until) > v.maxLife {
			continue
		}
		if c.Since > 0 && c.Since < 1<<40 {
			who.Since = time.UnixMilli(int64(c.Since * 1000)).UTC()
		}
		if remember {
			v.remember(token, who)
		}
		return who, nil
	}
	return Who{}, ErrToken
}

func (v *Verifier) remember(token string, who Who) {
	shard := &v.shards[token[len(token)-2]&63]
	shard.Lock()
	defer shard.Unlock()
	if len(shard.known) >= verifierSize/len(v.shards) {
		clear(shard.known)
	}
	shard.known[token] = who
}
