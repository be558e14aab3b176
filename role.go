package seckill

import (
	"context"
	"slices"
	"time"
)

// The roles of people of the shop, each with the rights of those before it. A buyer has
// none. What each may do is the column of the route table in internal/api/api.go.
const (
	RoleViewer   = "viewer"   // looks
	RoleSupport  = "support"  // helps buyers: their orders, cancels, refunds
	RoleOperator = "operator" // runs sales
	RoleAdmin    = "admin"    // and answers for people, rights and the log
)

var roles = []string{RoleViewer, RoleSupport, RoleOperator, RoleAdmin}

// Roles lists the roles, those with fewer rights first.
func Roles() []string { return slices.Clone(roles) }

// HasRole reports whether whoever has the role given has the rights of least. A role
// that is none of Roles has no rights.
func HasRole(role, least string) bool {
	have, need := slices.Index(roles, role), slices.Index(roles, least)
	return have >= 0 && need >= 0 && have >= need
}

type patientKey struct{}

// Patience is that of people of the shop for what they read: lists and searches.
type Patience struct {
	Who  string // each person has their turn
	Long bool   // an audit, books, a download: it keeps nobody's search waiting
}

// WithPatience returns a context in which what is read waits for others like it, so that it
// keeps no buyer waiting.
func WithPatience(ctx context.Context, p Patience) context.Context {
	return context.WithValue(ctx, patientKey{}, &p)
}

// WithoutPatience returns a context in which what is read waits for nobody, whoever asked first:
// the answer is shared with buyers.
func WithoutPatience(ctx context.Context) context.Context {
	return context.WithValue(ctx, patientKey{}, (*Patience)(nil))
}

// PatienceOf returns the patience of a context of WithPatience, and whether it is one.
func PatienceOf(ctx context.Context) (p Patience, patient bool) {
	if p, _ := ctx.Value(patientKey{}).(*Patience); p != nil {
		return *p, true
	}
	return Patience{}, false
}

// Account is who may log in. Hash is an encoded argon2id hash; Buyer is the id
// that tickets and orders carry.
type Account struct {
	Name, Buyer, Role, Hash string
	Invite                  string    // the hash of the invitation that opens it, if it needs one
	CreatedAt               time.Time // by the store's clock

	// Generation is raised when the account's sessions are ended: a token of a lower one
	// is not valid any more.
	Generation int64
	Blocked    bool
	Factor     Factor
}

// Factor is the second factor of an account: a device that shows codes (TOTP).
type Factor struct {
	Secret    string // base32; empty: there is none
	Confirmed bool   // a code has been shown, and is asked for from then on
	Step      int64  // of the last code that was taken: a code is good once
}

// EndedSessions is that tokens of an account below a generation have ended.
type EndedSessions struct {
	Buyer      string
	Generation int64
	At         time.Time
	Version    int64 // rises with every change of any account's generation
}

// AccountFilter selects accounts for a list, by name.
type AccountFilter struct {
	Begins string // what their names begin with, in any spelling; empty: those who have a role
	After  string // the name behind which the list goes on
	Max    int
}
