package seckill

import "time"

// Section is the part of the buyers' list in which a sale stands at one moment.
// The list shows the sections in this order.
type Section uint8

// The sections. A paused sale stands where it would stand without its pause.
const (
	SectionOpen Section = iota // open, with units that are not sold; the first to close comes first
	SectionSoon                // not open yet; the first to open comes first
	SectionOver                // sold out, closed or ended; the last to close comes first
)

// SectionAt is the section in which the sale stands at a moment. Only tests call it: it is the
// rule in words to which the SQL of Store.Section (internal/store/sales.go) is held, which says the
// same so that it walks an index. testdata/sections.txt is the table of cases for both.
func (s *Sale) SectionAt(now time.Time) Section {
	switch window := s.Window(now); {
	case window == NotOpen:
		return SectionSoon
	case window == Ended, s.Sold >= s.Total:
		return SectionOver
	}
	return SectionOpen
}

// Place is a place in a section, as of At: behind the sale ID, which closes (in
// SectionSoon: opens) at Time. The zero Time is the section's beginning.
type Place struct {
	Section  Section
	At, Time time.Time
	ID       SaleID
	// All shows those too that buyers do not see.
	All bool
}

// Behind returns the place behind the sale in the same section.
func (p Place) Behind(s Sale) Place {
	p.Time, p.ID = s.ClosesAt, s.ID
	if p.Section == SectionSoon {
		p.Time = s.OpensAt
	}
	return p
}
