package seckill

import "time"

// Shelf is the part of the buyers' list in which a sale stands at one moment.
// The list shows the shelves in this order.
type Shelf uint8

// The shelves. A paused sale stands where it would stand without its pause.
const (
	ShelfOpen Shelf = iota // open, with units that are not sold; the first to close comes first
	ShelfSoon              // not open yet; the first to open comes first
	ShelfOver              // sold out, closed or ended; the last to close comes first
)

// ShelfAt is the shelf on which the sale stands at a moment. Store.Shelf in
// internal/store/sales.go says the same in SQL, so that it walks an index;
// testdata/shelves.txt is the table of cases that holds for both.
func (s *Sale) ShelfAt(now time.Time) Shelf {
	switch window := s.Window(now); {
	case window == NotOpen:
		return ShelfSoon
	case window == Ended, s.Sold >= s.Total:
		return ShelfOver
	}
	return ShelfOpen
}

// Place is a place on a shelf, as of At: behind the sale ID, which closes (on
// ShelfSoon: opens) at Time. The zero Time is the shelf's beginning.
type Place struct {
	Shelf    Shelf
	At, Time time.Time
	ID       SaleID
	// All shows those too that buyers do not see.
	All bool
}

// Behind returns the place behind the sale on the same shelf.
func (p Place) Behind(s Sale) Place {
	p.Time, p.ID = s.ClosesAt, s.ID
	if p.Shelf == ShelfSoon {
		p.Time = s.OpensAt
	}
	return p
}
