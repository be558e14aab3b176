package seckill

import (
	"fmt"
	"slices"
	"time"
)

// Limits of what a sale may ask of its buyers. They are part of the HTTP contract.
const (
	MaxTries      = 1_000            // unpaid orders of one buyer in one sale
	MaxCooldown   = 86_400           // seconds after an unpaid order
	MaxAccountAge = 10 * 366 * 86400 // seconds that an account may have to exist
)

// Challenge is what a buyer solves for a pass.
type Challenge string

// The challenges.
const (
	ChallengeNone    Challenge = "none"
	ChallengeFormula Challenge = "formula" // a formula in a picture, or digits to listen to
	ChallengeWork    Challenge = "work"    // a proof of work
	ChallengeBoth    Challenge = "both"
)

// Formula reports whether a formula is part of the challenge.
func (c Challenge) Formula() bool { return c == ChallengeFormula || c == ChallengeBoth }

// Work reports whether a proof of work is part of the challenge.
func (c Challenge) Work() bool { return c == ChallengeWork || c == ChallengeBoth }

// Eligible says who may buy in a sale.
type Eligible string

// Who may buy.
const (
	EligibleAll  Eligible = "everybody"
	EligibleAge  Eligible = "account_age" // accounts that have existed for a time
	EligibleList Eligible = "list"        // the buyers on the list that was uploaded
)

// Access says who may ask for a ticket of a sale, and what asking costs. The zero
// value asks for nothing. Package access keeps these rules, before the gate, which
// knows nothing of them.
type Access struct {
	// Pass makes the buy route ask for a pass.
	Pass bool `json:"pass,omitempty"`
	// Challenge is what a pass costs; empty without Pass.
	Challenge Challenge `json:"challenge,omitempty"`
	// TriesPerBuyer is how many orders a buyer may leave unpaid, 0 without a limit.
	TriesPerBuyer int `json:"tries_per_buyer,omitempty"`
	// CooldownSeconds is how long a buyer waits after an unpaid order.
	CooldownSeconds int `json:"cooldown_seconds,omitempty"`
	// Eligible is who may buy; empty means everybody.
	Eligible Eligible `json:"eligible,omitempty"`
	// AccountAgeSeconds is how long an account must exist, with EligibleAge.
	AccountAgeSeconds int64 `json:"account_age_seconds,omitempty"`

	// Unreadable says that the store holds rules that nobody can read. The sale is paused
	// then, whatever they were, until an administrator sets others.
	Unreadable bool `json:"-"`
}

// AccountAge is AccountAgeSeconds as a duration.
func (a Access) AccountAge() time.Duration { return time.Duration(a.AccountAgeSeconds) * time.Second }

// Complete returns the rules in the one form that is stored: a challenge is the price
// of a pass, so it asks for one, and what says nothing is left out.
func (a Access) Complete() Access {
	if a.Challenge != "" && a.Challenge != ChallengeNone {
		a.Pass = true
	}
	switch {
	case !a.Pass:
		a.Challenge = ""
	case a.Challenge == "":
		a.Challenge = ChallengeNone
	}
	if a.Eligible == EligibleAll {
		a.Eligible = ""
	}
	return a
}

// CountsTries reports whether orders that are left unpaid are counted: the sale limits
// them, or its work costs more for who left some.
func (a Access) CountsTries() bool {
	return a.TriesPerBuyer > 0 || a.CooldownSeconds > 0 || a.Challenge.Work()
}

// Validate checks what an administrator may set. The error is a *FieldError.
func (a Access) Validate() error {
	switch {
	case !slices.Contains([]Challenge{"", ChallengeNone, ChallengeFormula, ChallengeWork, ChallengeBoth}, a.Challenge):
		return &FieldError{"challenge", "must be none, formula, work or both"}
	case a.TriesPerBuyer < 0 || a.TriesPerBuyer > MaxTries:
		return &FieldError{"tries_per_buyer", fmt.Sprintf("must be 0 (no limit) to %d", MaxTries)}
	case a.CooldownSeconds < 0 || a.CooldownSeconds > MaxCooldown:
		return &FieldError{"cooldown_seconds", fmt.Sprintf("must be 0 to %d", MaxCooldown)}
	case !slices.Contains([]Eligible{"", EligibleAll, EligibleAge, EligibleList}, a.Eligible):
		return &FieldError{"eligible", "must be everybody, account_age or list"}
	case a.AccountAgeSeconds < 0 || a.AccountAgeSeconds > MaxAccountAge:
		return &FieldError{"account_age_seconds", fmt.Sprintf("must be 0 to %d", MaxAccountAge)}
	case a.Eligible == EligibleAge && a.AccountAgeSeconds == 0:
		return &FieldError{"account_age_seconds", "must be given with eligible account_age"}
	}
	return nil
}

// AccessEntry is one line of the block list or of the allow list. It names a buyer
// or a network, never both, in one sale or, without one, in all of them.
type AccessEntry struct {
	List      string    `json:"list"` // ListBlock or ListAllow
	Sale      SaleID    `json:"sale,omitempty"`
	Buyer     string    `json:"buyer,omitempty"`
	Network   string    `json:"network,omitempty"` // in CIDR form, such as 203.0.113.0/24
	Note      string    `json:"note,omitempty"`
	By        string    `json:"by"`
	CreatedAt time.Time `json:"created_at"`
}

// The lists.
const (
	ListBlock = "block"
	ListAllow = "allow"
)

// BuyerList is who may buy in a sale, as it is sent: the whole list, or a piece of it.
type BuyerList struct {
	Buyers []string
	Mode   string // BuyersReplace, BuyersAdd or BuyersContinue
	// Upload is the name that its sender gives to all pieces of one list, so that two lists, or
	// one that broke off and a later one, do not mix. It is empty where none was given: then
	// BuyersAdd goes on with what was sent before.
	Upload string
	More   bool // other pieces follow
}

// What a BuyerList does. They are part of the HTTP contract.
const (
	BuyersReplace  = "replace"  // it begins a list that takes the place of the one there
	BuyersAdd      = "add"      // it begins one that is added
	BuyersContinue = "continue" // it is another piece of the list that has this name
)

// Tries is how often a buyer has left an order of a sale unpaid.
type Tries struct {
	Sale  SaleID
	Buyer string
	Count int
	Last  time.Time // when the last of these orders ended
	// Changed is when any of this was written last: what is newer has to be read.
	Changed time.Time
}
