package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"seckill"
)

// MinSecret is the least length of a signing secret, in bytes.
const MinSecret = 16

// Who is the bearer of a verified token.
type Who struct {
	Buyer string
	Role  string
	until time.Time
}

// Admin reports whether the token carries the administrators' role.
func (w Who) Admin() bool { return w.Role == seckill.RoleAdmin }

// claims are those that count here. Times are plain numbers, since decoding
// jwt.RegisteredClaims costs more than checking the signature.
type claims struct {
	Sub  string  `json:"sub"`
	Role string  `json:"role,omitempty"`
	Exp  float64 `json:"exp"`
	Iat  float64 `json:"iat,omitempty"`
	Nbf  float64 `json:"nbf,omitempty"`
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
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.Nbf) }
func (c *claims) GetIssuer() (string, error)                   { return "", nil }
func (c *claims) GetSubject() (string, error)                  { return c.Sub, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// Mint makes a token for the buyer that ends after life.
func Mint(secret []byte, buyer, role string, life time.Duration) (string, error) {
	if !seckill.ValidBuyer(buyer) {
		return "", &seckill.FieldError{Field: "buyer", Must: "must be 1 to 64 printable characters"}
	}
	if len(secret) < MinSecret {
		return "", fmt.Errorf("auth.secret must have at least %d bytes", MinSecret)
	}
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, &claims{
		Sub: buyer, Role: role, Iat: float64(now.Unix()), Exp: float64(now.Add(life).Unix()),
	}).SignedString(secret)
}

// ErrToken says that a token is not valid here, without saying why to the client.
var ErrToken = errors.New("the token is not valid")

// verifierSize bounds the tokens that a Verifier remembers.
const verifierSize = 1 << 16

// Verifier checks tokens. A token that was checked is remembered until it ends,
// since a buyer shows the same one many times in one second.
type Verifier struct {
	secrets [][]byte
	parser  *jwt.Parser
	times   *jwt.Validator
	shards  [64]struct {
		sync.Mutex
		known map[string]Who
	}
}

// NewVerifier accepts tokens signed with any of the secrets: the current one and,
// while rotating, the previous one.
func NewVerifier(secrets ...[]byte) (*Verifier, error) {
	rules := []jwt.ParserOption{jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired()}
	v := &Verifier{parser: jwt.NewParser(rules...), times: jwt.NewValidator(rules...)}
	for _, s := range secrets {
		if len(s) == 0 {
			continue
		}
		if len(s) < MinSecret {
			return nil, fmt.Errorf("auth.secret must have at least %d bytes", MinSecret)
		}
		v.secrets = append(v.secrets, s)
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

// parse checks the token's signature and times. What the common header says need
// not be read again for each of a hundred thousand buyers; any other is the
// library's to read.
func (v *Verifier) parse(token string, secret []byte, c *claims) error {
	rest, common := strings.CutPrefix(token, commonHeader)
	body, signature, ok := strings.Cut(rest, ".")
	if !common || !ok {
		_, err := v.parser.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return secret, nil })
		return err
	}
	sum, err := v.parser.DecodeSegment(signature)
	if err != nil {
		return err
	}
	if err := jwt.SigningMethodHS256.Verify(token[:len(token)-len(signature)-1], sum, secret); err != nil {
		return err
	}
	b, err := v.parser.DecodeSegment(body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, c); err != nil {
		return err
	}
	return v.times.Validate(c)
}

// Verify returns the bearer of the token, or ErrToken. With remember set the same
// token is cheap the next time.
func (v *Verifier) Verify(token string, remember bool) (Who, error) {
	if len(token) < 16 || len(token) > 4096 {
		return Who{}, ErrToken
	}
	shard := &v.shards[token[len(token)-2]&63]
	shard.Lock()
	who, ok := shard.known[token]
	shard.Unlock()
	if ok && time.Now().Before(who.until) {
		return who, nil
	}
	for _, secret := range v.secrets {
		var c claims
		if err := v.parse(token, secret, &c); err != nil || !seckill.ValidBuyer(c.Sub) {
			continue
		}
		who = Who{Buyer: c.Sub, Role: c.Role, until: time.UnixMilli(int64(c.Exp * 1000))}
		if !remember {
			return who, nil
		}
		shard.Lock()
		if len(shard.known) >= verifierSize/len(v.shards) {
			clear(shard.known)
		}
		shard.known[token] = who
		shard.Unlock()
		return who, nil
	}
	return Who{}, ErrToken
}
