package seckill

import (
	"fmt"
	"time"
)

// Move is a stock move of Delta units, applied once at both ends. Growth goes
// from the store to the gate; shrinking (a negative Delta) is taken from the
// gate, all or nothing, before the store's total is lowered.
type Move struct {
	Sale  SaleID
	ID    string
	Delta int64
	Done  bool
	By    string // who asked, for the ledger
	Epoch int64  // of the sale when the move was read: a gate of another epoch was rebuilt with or without it
}

// Validate checks what an administrator asks for. The error is a *FieldError.
func (m *Move) Validate() error {
	if m.ID == "" || len(m.ID) > 64 || !ValidBuyer(m.ID) {
		return &FieldError{"id", "must be 1 to 64 printable characters"}
	}
	if m.Delta == 0 || m.Delta > MaxTotal || m.Delta < -MaxTotal {
		return &FieldError{"delta", fmt.Sprintf("must be -%d to %d and not 0", MaxTotal, MaxTotal)}
	}
	return nil
}

// Fits checks that the move does not make a sale of total units too large.
func (m *Move) Fits(total int64) error {
	if total+m.Delta > MaxTotal {
		return &FieldError{"delta", fmt.Sprintf("must leave at most %d units in the sale", MaxTotal)}
	}
	return nil
}

// Refused is the error of a move for which the gate holds too few units.
func (m *Move) Refused() error {
	return fmt.Errorf("sale %s: %d units cannot be taken out: %w", m.Sale, -m.Delta, ErrStock)
}

// Return is units of ended orders of one sale on their way back to the gate.
type Return struct {
	Sale    SaleID
	Epoch   int64 // of the sale when the tickets were read: a gate of another epoch was rebuilt with or without them
	Tickets []Ticket
}

// Snapshot is everything that the store says about one sale at one moment,
// taken after the gate's outbox was read while the gate was closed. It is what a
// gate is rebuilt from.
type Snapshot struct {
	Sale      Sale              // with the epoch that the rebuilt gate will carry
	Returning int64             // units of ended orders on their way back to the gate
	Growing   int64             // units of unfinished growth: in the total, not yet at the gate
	Active    []Ticket          // the placed tickets of active orders; for a rebuild none of a retired sale
	Outbox    []Ticket          // what the gate's outbox held
	Outcomes  map[string]Reason // of the outbox tickets that have one
	GivenUp   map[string]int    // units that active orders gave back in parts, by ticket
	Money     []Money           // of the sale, for the audit
}

// Pending returns the outbox tickets that have no outcome.
func (s *Snapshot) Pending() []Ticket {
	var pending []Ticket
	for _, t := range s.Outbox {
		if _, final := s.Outcomes[t.ID]; !final {
			pending = append(pending, t)
		}
	}
	return pending
}

// Left returns the units that belong at the gate: total − sold − P − L, never
// the total again. A negative number is owed by the units in Returning and Growing:
// they had been sold again before the store noted their return.
func (s *Snapshot) Left() int64 {
	return s.Sale.Total - s.Sale.Sold - Units(s.Pending()) - s.Returning - s.Growing
}

// Cut is one look at the gate's state of a sale.
type Cut struct {
	Open    bool     // false: closed until it is rebuilt
	Left    int64    // units at the gate
	Seq     int64    // last admission number given
	Epoch   int64    // of the rebuild that made this state
	Outbox  []Ticket // admitted, and the gate has not learned the outcome
	Freed   int64    // counts what frees buyers or brings units back: while it stands, nothing did
	Partial bool     // the outbox was too long to be read for this: Outbox is empty
	Aside   int64    // what was put aside and a person has not removed: what the gate could not read or had not made, that of other sales included
}

// GateState is what a gate says about its state of a sale.
type GateState struct {
	Open    bool  // false: there is none, or it was closed for a rebuild
	Epoch   int64 // of the rebuild that made it
	Seq     int64 // last admission number given
	Version int64 // of the sale, in force
	Retired bool  // its buyers are forgotten

	Left     int64 // units; below 0: see Snapshot.Left
	Finished int64 // highest admission number with an outcome
	Paused   bool
	Ended    bool
}

// Outdated decides whether the state must be rebuilt, by what the store says of the sale:
// it is not there, or of another epoch; the gate has lost tickets that are settled; the
// sale is to be retired; or it was retired and has changed since, so that it may open
// again, for which its buyers must be known.
func (g *GateState) Outdated(sale *Sale) bool {
	return !g.Open || g.Epoch != sale.Epoch || g.Seq < sale.Seq || sale.Retired && !g.Retired || g.Retired && g.Version != sale.Version
}

// Units adds up the quantities of tickets.
func Units(tickets []Ticket) int64 {
	var n int64
	for _, t := range tickets {
		n += int64(t.Quantity)
	}
	return n
}

// Without returns the tickets that are not among the confirmed ones, which may be others too.
func Without(tickets, confirmed []Ticket) (left []Ticket) {
	if len(confirmed) == 0 {
		return tickets
	}
	sent := make(map[string]bool, len(confirmed))
	for _, t := range confirmed {
		sent[t.ID] = true
	}
	for _, t := range tickets {
		if !sent[t.ID] {
			left = append(left, t)
		}
	}
	return left
}

// Stop is an emergency stop: an administrator paused or ended a sale while the store was
// away. The gate has it in force, and keeps it until the store has learned of it.
type Stop struct {
	Sale SaleID    `json:"sale"`
	End  bool      `json:"end"` // for ever; else until it is resumed
	At   time.Time `json:"at"`  // by the gate's clock
	By   Actor     `json:"by"`  // who asked, for the log

	// Unsealed says that its note has no seal, as nodes of an earlier version made it, and that
	// the sale really is stopped at the gate. It stays so, and the store does not learn of it,
	// until a person has paused, ended or resumed the sale.
	Unsealed bool `json:"-"`
}
