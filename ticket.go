package seckill

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Ticket is one buyer's admitted right to Quantity units of a sale. It is the
// only message of the queue, and its ID is the idempotency key of everything
// that follows.
type Ticket struct {
	ID       string    `json:"id"`
	Sale     SaleID    `json:"sale"`
	Buyer    string    `json:"buyer"`
	Quantity int       `json:"quantity"`
	Seq      int64     `json:"seq"` // order of admission within the sale, rising
	At       time.Time `json:"at"`  // the gate's time of admission
}

// TicketIDLen is the length of every ticket and order id.
const TicketIDLen = 26

// NewTicketID returns an id that sorts by time and cannot be guessed: 9
// characters of milliseconds since 1970, 17 characters (85 bits) of
// randomness. Sorting by time makes the store append instead of scatter.
func NewTicketID(now time.Time) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
	var b [TicketIDLen]byte
	ms := uint64(now.UnixMilli())
	for i := 8; i >= 0; i-- {
		b[i] = digits[ms&31]
		ms >>= 5
	}
	copy(b[9:], rand.Text())
	return string(b[:])
}

// TicketTime returns the time in an id that NewTicketID has made, or the zero time.
func TicketTime(id string) time.Time {
	if len(id) != TicketIDLen {
		return time.Time{}
	}
	ms, err := strconv.ParseInt(id[:9], 32, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// ValidTicketID reports whether s has the form of an id. Anything else names no
// ticket and no order.
func ValidTicketID(s string) bool {
	return len(s) == TicketIDLen && strings.Trim(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// AppendBinary appends the ticket's compact form, as the journal keeps it.
func (t Ticket) AppendBinary(b []byte) ([]byte, error) {
	b = appendString(b, t.ID)
	b = binary.AppendUvarint(b, uint64(t.Sale))
	b = appendString(b, t.Buyer)
	b = binary.AppendUvarint(b, uint64(t.Quantity))
	b = binary.AppendUvarint(b, uint64(t.Seq))
	return binary.AppendVarint(b, t.At.UnixMilli()), nil
}

var errTicketBytes = errors.New("ticket: the bytes are not those of a ticket")

// CutTicket reads one ticket from the front of b, as AppendBinary wrote it, and
// returns the bytes after it.
func CutTicket(b []byte) (t Ticket, rest []byte, err error) {
	ok := true
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	text := func() string {
		n := number()
		if !ok || n > uint64(len(b)) {
			ok = false
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	t.ID = text()
	t.Sale = SaleID(number())
	t.Buyer = text()
	t.Quantity = int(number())
	t.Seq = int64(number())
	ms, n := binary.Varint(b)
	if n <= 0 {
		ok = false
	} else {
		b = b[n:]
	}
	t.At = time.UnixMilli(ms).UTC()
	if !ok || !ValidTicketID(t.ID) || t.Sale < 1 || t.Quantity < 1 || t.Quantity > MaxQuantity || t.Seq < 0 || !ValidBuyer(t.Buyer) {
		return Ticket{}, nil, errTicketBytes
	}
	return t, b, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Reason says why a ticket was refused. The empty reason means placed.
type Reason string

// The reasons of a refusal.
const (
	ReasonNone    Reason = ""
	ReasonSoldOut Reason = "sold_out" // the store had no unit: the promise is destroyed, nothing returns
	ReasonLimit   Reason = "limit"    // the buyer already has an active order in this sale
	ReasonNoSale  Reason = "no_sale"  // the sale is not in the store
	ReasonPoison  Reason = "poison"   // the ticket alone makes the store fail
)

// Outcome is what became of a ticket. It is final: the first one written in
// the store stands, and every later attempt returns it.
type Outcome struct {
	Ticket Ticket
	Reason Reason // empty: placed, with the order of the same id
}

// Placed reports whether the ticket became an order.
func (o Outcome) Placed() bool { return o.Reason == ReasonNone }

// Order returns the id of the order, or "" for a refusal. An order is what a
// placed ticket is, so they share their id.
func (o Outcome) Order() string {
	if !o.Placed() {
		return ""
	}
	return o.Ticket.ID
}

// Returns reports whether the ticket's units go back to the gate. They do not
// when the store had none: the gate had promised what was not there.
func (o Outcome) Returns() bool { return !o.Placed() && o.Reason != ReasonSoldOut }

// Progress is where a ticket stands. Until it is Final only the ticket and its
// Position, a hint of how many are before it (1: none), mean anything.
type Progress struct {
	Outcome
	Final    bool
	Position int64
}
