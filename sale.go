package seckill

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a sale. They are part of the HTTP contract.
const (
	MaxTotal       = 10_000_000           // units in one sale
	MaxPrice       = 1_000_000_000_000    // minor units (cents, 分)
	MaxQuantity    = 1_000                // units per buyer
	MaxHoldSeconds = 86_400               // how long an unpaid order keeps its units
	MaxTitle       = 200                  // characters
	MaxDescription = 2_000                // characters
	MaxImage       = 2_000                // bytes of the image's address
	MaxNotice      = 400                  // characters
	MaxWindow      = 366 * 24 * time.Hour // longest time between opening and closing
)

// SaleID identifies a sale: a positive integer, a string in JSON and URLs.
type SaleID int64

// ParseSaleID reads the decimal form that String writes, and no other: no
// sign, no leading zero, nothing above 2^63-1.
func ParseSaleID(s string) (SaleID, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || s[0] < '1' || s[0] > '9' {
		return 0, fmt.Errorf("sale id %q: %w", s, ErrNotFound)
	}
	return SaleID(n), nil
}

func (id SaleID) String() string { return strconv.FormatInt(int64(id), 10) }

// MarshalText makes the id a string in JSON.
func (id SaleID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (id *SaleID) UnmarshalText(b []byte) error {
	v, err := ParseSaleID(string(b))
	*id = v
	return err
}

// SaleState is what a sale shows to the world. It is derived, never stored.
type SaleState string

// The states of a sale.
const (
	StateScheduled SaleState = "scheduled"
	StateOpen      SaleState = "open"
	StatePaused    SaleState = "paused"
	StateSoldOut   SaleState = "sold_out"
	StateEnded     SaleState = "ended"
)

// LatePayment is what becomes of money that comes for an order that has ended.
type LatePayment string

// The rules for late payments.
const (
	LateRefund LatePayment = "refund" // it goes back; also the empty rule
	LateRetake LatePayment = "retake" // it takes units again, if there are any; else it goes back
)

// Shelf is who sees a sale in the shop.
type Shelf string

// The shelves.
const (
	Published Shelf = ""       // everybody; "published" in a request
	Unlisted  Shelf = "hidden" // whoever has its address, and may buy it
	Draft     Shelf = "draft"  // the people of the shop, and nobody can buy it
	Deleted   Shelf = "deleted"
)

// Sale is an item offered at a price. Price and ListPrice are minor units of
// Currency (cents, 分); Total counts units; times are UTC to the millisecond.
//
// Left, State and ServerNow are filled in by whoever shows the sale: Left is a
// hint, ServerNow is the gate's clock.
type Sale struct {
	ID            SaleID    `json:"id"`
	Title         string    `json:"title"`
	Description   string    `json:"description,omitempty"`
	Image         string    `json:"image,omitempty"`
	Price         int64     `json:"price"`
	ListPrice     int64     `json:"list_price,omitempty"`
	Currency      string    `json:"currency"`
	Total         int64     `json:"total"`
	Left          int64     `json:"left"`
	LimitPerBuyer int       `json:"limit_per_buyer"`
	OpensAt       time.Time `json:"opens_at"`
	ClosesAt      time.Time `json:"closes_at"`
	HoldSeconds   int       `json:"hold_seconds"`
	State         SaleState `json:"state"`
	ServerNow     time.Time `json:"server_now"`
	// AsOf is when a copy was read that is shown although it is old, since the store
	// does not answer; nil: just now.
	AsOf *time.Time `json:"as_of,omitempty"`
	// LeftFromStore says that the gate does not tell what it holds: Left is what the store
	// has not sold then.
	LeftFromStore bool `json:"left_from_store,omitempty"`
	// Waiting estimates how many wait for the opening at the node that answers; only
	// before it, and 0 when nothing is known.
	Waiting int64 `json:"waiting,omitempty"`

	// Access is who may ask for a ticket, and what asking costs.
	Access

	// LatePayment says what becomes of money that comes for an order that has ended.
	LatePayment LatePayment `json:"late_payment,omitempty"`

	// Shelf is who sees the sale; a draft is paused as well, so that no gate sells it.
	Shelf Shelf `json:"shelf,omitempty"`
	// Notice is what its buyers are told; empty: nothing.
	Notice string `json:"notice,omitempty"`

	// Key is the one with which somebody asked for a new sale: asked again with the same
	// one, it is the same sale. Only on the way to the store.
	Key string `json:"-"`

	// Paused and Ended are the switches of an administrator.
	Paused bool `json:"-"`
	Ended  bool `json:"-"`
	// Sold counts the units of active orders: the store's own counter.
	Sold int64 `json:"-"`
	// Seq is the highest admission number settled: a gate's state that has not come so
	// far has lost something.
	Seq int64 `json:"-"`
	// Version rises by one with every change; a lower version is ignored.
	Version int64 `json:"-"`
	// Epoch rises by one with every rebuild of the sale's gate state.
	Epoch int64 `json:"-"`
	// Retired is a sale that closed so long ago that the gate forgets its buyers:
	// what became of them is asked of the store. Filled in by the store.
	Retired bool `json:"-"`
}

// Window reports whether the sale admits buyers at the gate's time now: Queued if
// so, else the verdict that says why not. It is the part of Admit that does not depend
// on the buyer.
func (s *Sale) Window(now time.Time) Verdict {
	switch {
	case s.Ended || !now.Before(s.ClosesAt):
		return Ended
	case now.Before(s.OpensAt):
		return NotOpen
	case s.Paused:
		return Paused
	}
	return Queued
}

// Show returns a copy with the derived fields set for the gate's time now and
// left units at the gate.
func (s Sale) Show(now time.Time, left int64) Sale {
	s.Left, s.ServerNow = left, now.UTC().Truncate(time.Millisecond)
	window := s.Window(now)
	if window == Queued && s.Unreadable {
		window = Paused
	}
	switch window {
	case Ended:
		s.State = StateEnded
	case NotOpen:
		s.State = StateScheduled
	case Paused:
		s.State = StatePaused
	default:
		s.State = StateOpen
		if left <= 0 {
			s.State = StateSoldOut
		}
	}
	return s
}

// Validate checks what an administrator may set. The error is a *FieldError.
func (s *Sale) Validate() error { return s.ValidateChange(nil) }

// ValidateChange is Validate for a change of a sale that there is: what was wrong before and
// stays as it is makes no change wrong. An earlier version may have taken what this one does
// not, and such a sale must be possible to pause and to end.
func (s *Sale) ValidateChange(was *Sale) error {
	var before map[wrong]bool
	if was != nil {
		before = map[wrong]bool{}
		for _, w := range was.wrongs() {
			before[w] = true
		}
	}
	for _, w := range s.wrongs() {
		if !before[w] {
			return &FieldError{w.field, w.must}
		}
	}
	if was != nil && s.Access == was.Access {
		return nil
	}
	return s.Access.Validate()
}

// wrong is a field that holds what it must not.
type wrong struct {
	field, must string
	holds       any // can be compared
}

// wrongs are all fields of the sale that are wrong, its rules of access aside.
func (s *Sale) wrongs() (all []wrong) {
	check := func(bad bool, field string, holds any, must string, args ...any) bool {
		if bad {
			all = append(all, wrong{field, fmt.Sprintf(must, args...), holds})
		}
		return !bad
	}
	opens, closes := s.OpensAt.UnixMicro(), s.ClosesAt.UnixMicro()
	check(strings.TrimSpace(s.Title) == "" || utf8.RuneCountInString(s.Title) > MaxTitle || !printable(s.Title, ""), "title", s.Title, "must be 1 to %d printable characters", MaxTitle)
	check(s.LatePayment != "" && s.LatePayment != LateRefund && s.LatePayment != LateRetake, "late_payment", s.LatePayment, "must be refund or retake")
	check(utf8.RuneCountInString(s.Description) > MaxDescription || !printable(s.Description, "\n\r\t"), "description", s.Description, "must be at most %d printable characters", MaxDescription)
	check(!validImage(s.Image), "image", s.Image, "must be an http(s) address or a path that starts with one /")
	check(s.Price < 0 || s.Price > MaxPrice, "price", s.Price, "must be 0 to %d minor units", int64(MaxPrice))
	check(s.ListPrice < 0 || s.ListPrice > MaxPrice, "list_price", s.ListPrice, "must be 0 to %d minor units", int64(MaxPrice))
	check(!isCurrency(s.Currency), "currency", s.Currency, "must be a currency of ISO 4217 in capital letters, such as CNY, JPY or USD")
	check(s.Total < 1 || s.Total > MaxTotal, "total", s.Total, "must be 1 to %d units", MaxTotal)
	check(s.LimitPerBuyer < 1 || s.LimitPerBuyer > MaxQuantity, "limit_per_buyer", s.LimitPerBuyer, "must be 1 to %d units", MaxQuantity)
	times := check(s.OpensAt.IsZero() || s.OpensAt.Year() > 9999 || s.OpensAt.Year() < 1970, "opens_at", opens, "must be a time, such as 2026-11-11T12:00:00Z") &&
		check(s.ClosesAt.IsZero() || s.ClosesAt.Year() > 9999, "closes_at", closes, "must be a time, such as 2026-11-11T13:00:00Z")
	if window := [2]int64{opens, closes}; times && check(!s.OpensAt.Before(s.ClosesAt), "closes_at", window, "must be after opens_at") {
		check(s.ClosesAt.Sub(s.OpensAt) > MaxWindow, "closes_at", window, "must be within 366 days of opens_at")
	}
	check(s.Shelf != Published && s.Shelf != Unlisted && s.Shelf != Draft && s.Shelf != Deleted, "shelf", s.Shelf, "must be published, hidden or draft")
	check(utf8.RuneCountInString(s.Notice) > MaxNotice || !printable(s.Notice, "\n"), "notice", s.Notice, "must be at most %d printable characters", MaxNotice)
	check(s.HoldSeconds < 1 || s.HoldSeconds > MaxHoldSeconds, "hold_seconds", s.HoldSeconds, "must be 1 to %d", MaxHoldSeconds)
	return all
}

// Check tells what is wrong with the numbers of a sale that the store has read: whether a
// gate can hold them, and make tickets that can be read. Validate is what may be set.
func (s *Sale) Check() error {
	for _, n := range []struct {
		what           string
		is, least, max int64
	}{
		{"the highest admission number", s.Seq, 0, LastSeq},
		{"the version", s.Version, 0, MaxSeq},
		{"the epoch", s.Epoch, 0, MaxSeq},
		{"the total", s.Total, 0, MaxTotal},
		{"what is sold", s.Sold, 0, MaxTotal},
		{"the limit per buyer", int64(s.LimitPerBuyer), 1, MaxQuantity},
		{"the year of opening", int64(s.OpensAt.Year()), 1970, 9999},
		{"the year of closing", int64(s.ClosesAt.Year()), 1970, 9999},
	} {
		if n.is < n.least || n.is > n.max {
			return fmt.Errorf("sale: %s is %d and must be %d to %d", n.what, n.is, n.least, n.max)
		}
	}
	return nil
}

// printable reports whether s is valid UTF-8 without control characters other
// than those in allowed, without separators of lines, and without characters that
// turn the direction of what follows: they make a text look like another one.
// Marks of one place (U+200E, U+200F, U+061C) stay: Arabic and Hebrew need them.
func printable(s, allowed string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		switch {
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029, r == 0xfeff:
			return true
		}
		return unicode.IsControl(r) && !strings.ContainsRune(allowed, r)
	})
}

func validImage(s string) bool {
	if s == "" {
		return true
	}
	// Browsers read \ as /, so that /\evil.example is another host.
	if len(s) > MaxImage || !printable(s, "") || strings.Contains(s, `\`) {
		return false
	}
	if strings.HasPrefix(s, "/") {
		return !strings.HasPrefix(s, "//")
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

func isCurrency(s string) bool {
	_, ok := currencyDigits(s)
	return ok
}

// ValidBuyer reports whether s can be a buyer's id: 1 to 64 printable characters.
func ValidBuyer(s string) bool {
	n := utf8.RuneCountInString(s)
	if n < 1 || n > 64 || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Errors that every stage understands. Verdicts are not among them: a verdict
// is an answer, an error is breakage or a mistake of the caller.
var (
	ErrNotFound    = errors.New("not found")
	ErrState       = errors.New("not possible in this state")
	ErrStock       = errors.New("the gate holds fewer units")
	ErrUnavailable = errors.New("unavailable, try again")
	ErrBusy        = errors.New("too many at once, try again in a moment")
	ErrClosed      = fmt.Errorf("the gate has no state of the sale until it is rebuilt: %w", ErrUnavailable)
	ErrStale       = fmt.Errorf("the gate was rebuilt since this was read: %w", ErrUnavailable)
	ErrNameTaken   = errors.New("the name is taken")
	ErrNotInvited  = errors.New("the invitation is not valid: it is unknown, used up or over")

	// ErrNoTicket is the gate's word that a buyer never had a ticket in a sale: the
	// store need not be asked.
	ErrNoTicket = fmt.Errorf("never had a ticket: %w", ErrNotFound)
)

// FieldError says which field of a request is wrong and what it must be.
type FieldError struct{ Field, Must string }

func (e *FieldError) Error() string { return e.Field + " " + e.Must }
