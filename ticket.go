package seckill

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
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
	// Version of the sale that was in force when the gate admitted it; 0: v0.1.0 wrote the
	// ticket and did not note it.
	Version int64 `json:"version,omitzero"`
	Seal    Seal  `json:"seal,omitzero"` // the gate's, over all of the above
}

// MaxSeq is the highest admission number: what every language that reads one, Lua and
// JavaScript among them, can count to exactly.
const MaxSeq = 1<<53 - 1

// LastSeq is the highest admission number from which a gate goes on: one call of it admits
// fewer buyers than there are numbers from here to MaxSeq.
const LastSeq = MaxSeq - 1024

// MostAhead is how far an admission number can be beyond the highest one that the store has
// settled: more tickets than any outbox holds. One further away is none that a gate has given;
// the numbers of a sale would soon be at their end if it counted.
const MostAhead = 1 << 30

// Check tells what is wrong with a ticket that came from elsewhere: whether its
// fields make sense, not whether the gate has made it.
func (t *Ticket) Check() error {
	switch {
	case !ValidTicketID(t.ID):
		return errors.New("ticket: the id is not that of a ticket")
	case t.Sale < 1:
		return errors.New("ticket: the sale must be at least 1")
	case !ValidBuyer(t.Buyer):
		return errors.New("ticket: the buyer must be 1 to 64 printable characters")
	case t.Quantity < 1 || t.Quantity > MaxQuantity:
		return fmt.Errorf("ticket: the quantity must be 1 to %d", MaxQuantity)
	case t.Seq < 0 || t.Seq > MaxSeq:
		return fmt.Errorf("ticket: the admission number must be 0 to %d", int64(MaxSeq))
	case t.Version < 0 || t.Version > MaxSeq:
		return fmt.Errorf("ticket: the version of the sale must be 0 to %d", int64(MaxSeq))
	case t.At.Year() < 1970 || t.At.Year() > 9999:
		return errors.New("ticket: the time of admission must be after 1970")
	}
	return nil
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

// TicketForm is the version of the binary form that AppendBinary writes. The first
// form had neither a version nor a seal: it began with the length of the id. The second
// one has no version of the sale.
const TicketForm = 3

const secondForm = 2

// AppendBinary appends the ticket's compact form, as the journal keeps it: the form,
// the length of what follows, and the fields.
func (t Ticket) AppendBinary(b []byte) ([]byte, error) {
	var fields [512]byte
	f := appendString(fields[:0], t.ID)
	f = binary.AppendUvarint(f, uint64(t.Sale))
	f = appendString(f, t.Buyer)
	f = binary.AppendUvarint(f, uint64(t.Quantity))
	f = binary.AppendUvarint(f, uint64(t.Seq))
	f = binary.AppendVarint(f, t.At.UnixMilli())
	f = binary.AppendUvarint(f, uint64(t.Version))
	f = append(f, t.Seal[:]...)
	b = binary.AppendUvarint(append(b, TicketForm), uint64(len(f)))
	return append(b, f...), nil
}

// errTicketBytes is in the error of CutTicket.
var errTicketBytes = errors.New("ticket: the bytes are not those of a ticket")

// CutTicket reads one ticket from the front of b, in the form of AppendBinary or in
// an earlier one, of which the first has no seal, and returns the rest. A ticket that cannot be read
// is an error; the rest is then what follows it, nil if that cannot be told.
func CutTicket(b []byte) (t Ticket, rest []byte, err error) {
	if len(b) == 0 {
		return t, nil, errTicketBytes
	}
	switch b[0] {
	case TicketIDLen:
		return cutFields(b)
	case TicketForm, secondForm:
		form := b[0]
		n, size := binary.Uvarint(b[1:])
		if b = b[1+max(size, 0):]; size <= 0 || n > uint64(len(b)) {
			return t, nil, errTicketBytes
		}
		fields, rest := b[:n], b[n:]
		t, fields, err = cutFields(fields)
		if err == nil && form != secondForm {
			version, size := binary.Uvarint(fields)
			if t.Version, fields = int64(version), fields[max(size, 0):]; size <= 0 || t.Check() != nil {
				err = errTicketBytes
			}
		}
		if err == nil && len(fields) != len(t.Seal) {
			err = errTicketBytes
		}
		if err != nil {
			return Ticket{}, rest, err
		}
		copy(t.Seal[:], fields)
		return t, rest, nil
	}
	return t, nil, fmt.Errorf("%w: form %d is unknown here", errTicketBytes, b[0])
}

// cutFields reads the fields of the first form, which the others have too.
func cutFields(b []byte) (t Ticket, rest []byte, err error) {
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
	if !ok || n <= 0 {
		return Ticket{}, nil, errTicketBytes
	}
	t.At = time.UnixMilli(ms).UTC()
	if err := t.Check(); err != nil {
		return Ticket{}, nil, fmt.Errorf("%w: %w", errTicketBytes, err)
	}
	return t, b[n:], nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Reason says why a ticket was refused. The empty reason means placed.
type Reason string

// The reasons of a refusal.
const (
	ReasonNone    Reason = ""
	ReasonSoldOut Reason = "sold_out" // the store had no unit: the promise is destroyed, see Returns
	ReasonLimit   Reason = "limit"    // the buyer already has an active order in this sale
	ReasonNoSale  Reason = "no_sale"  // the sale is not in the store
	ReasonPoison  Reason = "poison"   // the ticket alone makes the store fail

	// ReasonNotAdmitted is a ticket that no version of the sale would have admitted: it
	// is outside of the window, or above the limit.
	ReasonNotAdmitted Reason = "not_admitted"
)

// Returns reports whether the units of a ticket that was refused for the reason go back to the
// gate. They do not when the store had none: the gate had promised what was not there. A placed
// ticket has nothing to return either.
func (r Reason) Returns() bool { return r != ReasonNone && r != ReasonSoldOut }

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

// Returns reports whether the ticket's units go back to the gate, see [Reason.Returns].
func (o Outcome) Returns() bool { return o.Reason.Returns() }

// Progress is where a ticket stands. Until it is Final only the ticket and its
// Position, a hint of how many are before it (1: none), mean anything.
type Progress struct {
	Outcome
	Final    bool
	Position int64
	Unproven bool // only a node with another secret can tell whether the gate holds it
}
