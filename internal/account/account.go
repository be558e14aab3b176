// Package account knows who somebody is: it registers buyers, logs them and the people of
// the shop in, and makes and checks the tokens that they show.
//
//	account.go   password.go   registering and logging in
//	token.go                   the tokens: made, checked, cached
//	sessions.go                whose sessions were ended, on every node within a second
//	factor.go                  the second factor (TOTP) of people of the shop
//	issuer.go                  tokens that somebody else issues, checked by the issuer's keys
//	people.go                  the accounts of people of the shop, and their roles
//	notes.go                   logins, refused calls and new tokens, written to the log
//
// Whoever holds the secret may issue tokens: a shop in front of this system
// signs its own and never calls Register.
package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/argon2id"

	"seckill"
)

// Limits of names and passwords. They are part of the HTTP contract.
const (
	MaxName     = 64  // printable characters
	MinPassword = 8   // characters
	MaxPassword = 256 // bytes
)

// hashing is argon2id by OWASP's first recommendation: 19 MiB, 2 passes, 1 lane.
var hashing = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// cheapest is the least that argon2id can be.
var cheapest = &argon2id.Params{Memory: 8, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// ErrLogin is a wrong password, or a name that nobody has. Register has
// seckill.ErrNameTaken and ErrWeakPassword beside it.
var ErrLogin = errors.New("the name or the password is wrong")

// ErrBlocked is a login with the right password to an account that an administrator has
// blocked.
var ErrBlocked = errors.New("the account is blocked")

// Store keeps accounts.
type Store interface {
	// CreateAccount MUST fail with seckill.ErrNameTaken when the name exists, in
	// whatever spelling (seckill.FoldName).
	CreateAccount(ctx context.Context, a seckill.Account) error
	// Account MUST find the name in any spelling, and prefer the very same one: of
	// before names were folded there may be two accounts.
	Account(ctx context.Context, name string) (seckill.Account, error)
	Invite(ctx context.Context, hash string, uses int, until time.Time) error
	// UpdateAccount MUST write nothing when change fails, and MUST NOT let another change
	// of the account happen between what change sees and what is written.
	UpdateAccount(ctx context.Context, name string, change func(*seckill.Account) error) (seckill.Account, error)
	// DeleteAccount MUST end the sessions of the account too.
	DeleteAccount(ctx context.Context, name string, may func(seckill.Account) error) error
	Accounts(ctx context.Context, f seckill.AccountFilter) ([]seckill.Account, error)
}

// Accounts registers and logs in. Hashing a password takes a core and 19 MiB for a
// while: whoever calls bounds how many do at once.
type Accounts struct {
	store   Store
	secret  []byte
	life    time.Duration // of a token
	obliged []string      // roles that need a second factor
	nobody  string        // the hash of a password that nobody has
	hash    func(form string) (string, error)
	match   func(password, hash string) (bool, error)
}

// New returns the accounts of a store. Tokens are signed with secret and live
// for life. The obliged roles need a second factor: without one a login has no role, and
// may do no more than set one up.
func New(store Store, secret []byte, life time.Duration, obliged ...string) *Accounts {
	return newHashing(hashing, store, secret, life, obliged)
}

// NewCheap is New for tests that ask for something else than what a password's hash takes:
// its hashes take no time, and guard nothing.
func NewCheap(store Store, secret []byte, life time.Duration, obliged ...string) *Accounts {
	return newHashing(cheapest, store, secret, life, obliged)
}

func newHashing(hashing *argon2id.Params, store Store, secret []byte, life time.Duration, obliged []string) *Accounts {
	hash := func(form string) (string, error) { return argon2id.CreateHash(form, hashing) }
	return &Accounts{store: store, secret: secret, life: life, obliged: obliged, nobody: hashOfNobody(hashing), hash: hash, match: matches}
}

// hashOfNobody looks like the hash of a password, and to compare a password with it takes as long:
// the salt and the key are chosen at random, and no password is known to have that key. To compute
// one would take every start a core and 19 MiB for a while.
func hashOfNobody(hashing *argon2id.Params) string {
	random := func(n uint32) string {
		b := make([]byte, n)
		rand.Read(b)
		return base64.RawStdEncoding.EncodeToString(b)
	}
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", hashing.Memory, hashing.Iterations, hashing.Parallelism,
		random(hashing.SaltLength), random(hashing.KeyLength))
}

// In returns a copy of the accounts that hashes passwords inside place. If place fails, the
// call fails with its error. The store is read and written outside of it.
func (a *Accounts) In(place func(work func()) error) *Accounts {
	in := *a
	in.hash = func(form string) (hash string, err error) {
		if full := place(func() { hash, err = a.hash(form) }); full != nil {
			return "", full
		}
		return hash, err
	}
	in.match = func(password, hash string) (same bool, err error) {
		if full := place(func() { same, err = a.match(password, hash) }); full != nil {
			return false, full
		}
		return same, err
	}
	return &in
}

// Session is what a buyer gets by logging in.
type Session struct {
	Token string `json:"token"`
	Buyer string `json:"buyer"`
	// Factor is FactorRequired when the session lacks its account's role for want of a
	// second factor.
	Factor string        `json:"second_factor,omitempty"`
	Role   string        `json:"-"`
	Life   time.Duration `json:"-"`
}

// FactorRequired says that a second factor must be set up.
const FactorRequired = "required"

// Register makes an account and logs it in.
func (a *Accounts) Register(ctx context.Context, name, password, role string) (Session, error) {
	return a.register(ctx, name, password, role, "")
}

// RegisterInvited is Register for a buyer who brings an invitation, which is used up by
// the account that it opens; without one it is Register.
func (a *Accounts) RegisterInvited(ctx context.Context, name, password, invite string) (Session, error) {
	if invite != "" {
		invite = inviteHash(invite)
	}
	return a.register(ctx, name, password, "", invite)
}

// Invite makes an invitation that opens so many accounts for so long. The code is
// shown once; only its hash is kept.
func (a *Accounts) Invite(ctx context.Context, uses int, life time.Duration) (code string, until time.Time, err error) {
	code, until = rand.Text(), time.Now().Add(life).UTC().Truncate(time.Second)
	return code, until, a.store.Invite(ctx, inviteHash(code), uses, until)
}

func inviteHash(code string) string {
	sum := sha256.Sum256([]byte(code))
	return hex.EncodeToString(sum[:])
}

func (a *Accounts) register(ctx context.Context, name, password, role, invite string) (Session, error) {
	if !seckill.ValidBuyer(name) || strings.TrimSpace(name) != name {
		return Session{}, &seckill.FieldError{Field: "name", Must: fmt.Sprintf("must be 1 to %d printable characters without space around them", MaxName)}
	}
	if _, ok := seckill.FoldName(name); !ok {
		return Session{}, &seckill.FieldError{Field: "name", Must: "must consist of letters, digits and signs"}
	}
	form, err := checkPassword(name, password)
	if err != nil {
		return Session{}, err
	}
	if _, err := a.store.Account(ctx, name); err == nil {
		return Session{}, seckill.ErrNameTaken
	} else if !errors.Is(err, seckill.ErrNotFound) {
		return Session{}, err
	}
	hash, err := a.hash(form)
	if err != nil {
		return Session{}, err
	}
	account := seckill.Account{Name: name, Buyer: "b" + rand.Text()[:19], Role: role, Hash: hash, Invite: invite, CreatedAt: time.Now()}
	if err := a.store.CreateAccount(ctx, account); err != nil {
		return Session{}, err
	}
	return a.session(account, false)
}

// Login checks the password and makes a new token. A wrong password and an
// unknown name are the same error after the same time. After the right one it may be
// ErrBlocked, or ErrFactor where the account has a second factor and code is none of it.
// With an error the session says no more than whose it would have been, which is for the
// log and never for the caller.
func (a *Accounts) Login(ctx context.Context, name, password, code string) (Session, error) {
	if len(password) > MaxPassword || !seckill.ValidBuyer(name) {
		return Session{}, ErrLogin
	}
	account, err := a.store.Account(ctx, name)
	hash := account.Hash
	switch {
	case errors.Is(err, seckill.ErrNotFound):
		hash = a.nobody
	case err != nil:
		return Session{}, err
	}
	ok, herr := a.match(password, hash)
	if herr != nil {
		return Session{}, herr
	}
	whose := Session{Buyer: account.Buyer, Role: account.Role}
	if err != nil || !ok {
		return whose, ErrLogin // whose is empty where no account has the name
	}
	if account.Blocked {
		return whose, ErrBlocked
	}
	if account.Factor.Confirmed {
		// The account is read again with its lock: of two who show one code, one gets in.
		account, err = a.store.UpdateAccount(ctx, account.Name, func(v *seckill.Account) error {
			switch {
			case v.Hash != hash: // the password is another one by now
				return ErrLogin
			case v.Blocked:
				return ErrBlocked
			}
			return accept(&v.Factor, code, time.Now())
		})
		if err != nil {
			return whose, err
		}
	}
	return a.session(account, account.Factor.Confirmed)
}

// session makes the token of an account. factor says that a second factor was shown.
func (a *Accounts) session(account seckill.Account, factor bool) (Session, error) {
	s := Session{Buyer: account.Buyer, Role: account.Role, Life: a.life}
	if !factor && slices.Contains(a.obliged, s.Role) {
		s.Role, s.Factor = "", FactorRequired
	}
	var err error
	s.Token, err = mint(a.secret, claims{Sub: account.Buyer, Role: s.Role, Name: account.Name, Since: float64(account.CreatedAt.Unix()), Gen: float64(account.Generation), MFA: factor}, a.life)
	return s, err
}
