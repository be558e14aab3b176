package payment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"seckill"
)

const (
	// BooksMost is the longest period of one set of books.
	BooksMost = 367 * 24 * time.Hour
	booksRows = 1_000_000
	// What only we seem to have is looked for in the provider's statement of so long before
	// and after: it may date a line otherwise, or have told of it late.
	statementBefore = 14 * 24 * time.Hour
	statementAfter  = 24 * time.Hour
	singlesMost     = 200 // payments of which a provider is asked one by one; beyond that for the longer time
)

var errBooksLong = &seckill.FieldError{Field: "to", Must: fmt.Sprintf("must leave at most %d lines: ask for a shorter period", booksRows)}

// Books are the payments and refunds of a period, each by its own moment, with their
// sums. Amounts are minor units.
type Books struct {
	From  time.Time         `json:"from"`
	To    time.Time         `json:"to"` // not included
	Zone  string            `json:"zone"`
	Sums  []BookSums        `json:"sums"`
	Items []seckill.Booking `json:"items"`

	// Money is the audit of all money there is, when the items were read: of all sales, and of
	// what no order is known for.
	Money []seckill.Money `json:"money"`
}

// BookSums are the sums of one currency: what there was before, came and went in the
// period, and is there after it. After the last booking Closing is what the audit
// calls captured less refunded.
type BookSums struct {
	Currency string `json:"currency"`
	Opening  int64  `json:"opening"`
	Captured int64  `json:"captured"`
	Refunded int64  `json:"refunded"`
	Closing  int64  `json:"closing"`
}

// Books returns the books from from until before to, with times in zone.
func (p *Payments) Books(ctx context.Context, from, to time.Time, zone *time.Location) (b Books, err error) {
	b = Books{From: from.In(zone), To: to.In(zone), Zone: zone.String(), Items: []seckill.Booking{}, Sums: []BookSums{}}
	by := map[string]int{}
	sums := func(currency string) *BookSums {
		i, known := by[currency]
		if !known {
			i = len(b.Sums)
			by[currency] = i
			b.Sums = append(b.Sums, BookSums{Currency: currency})
		}
		return &b.Sums[i]
	}
	before, total, err := p.Store.Books(ctx, from, to, func(v seckill.Booking) error {
		if len(b.Items) == booksRows {
			return errBooksLong
		}
		v.At = v.At.In(zone)
		b.Items = append(b.Items, v)
		if v.Amount > 0 {
			sums(v.Currency).Captured += v.Amount
		} else {
			sums(v.Currency).Refunded -= v.Amount
		}
		return nil
	})
	for _, m := range before {
		sums(m.Currency).Opening = m.Captured - m.Refunded
	}
	slices.SortFunc(b.Sums, func(x, y BookSums) int { return strings.Compare(x.Currency, y.Currency) })
	for i := range b.Sums {
		s := &b.Sums[i]
		s.Closing = s.Opening + s.Captured - s.Refunded
	}
	b.Money = total
	return b, err
}

// CSV returns the books as rows, the header first. Amounts have the currency's own
// digits; text that a spreadsheet would take for a formula is marked as text.
func (b Books) CSV() [][]string {
	rows := [][]string{{"at", "kind", "provider", "reference", "refund", "order", "amount", "minor_units", "currency", "state"}}
	for _, v := range b.Items {
		rows = append(rows, []string{v.At.Format(time.RFC3339), v.Kind, v.Provider, text(v.Reference), text(v.Refund), text(v.Order),
			seckill.FormatDecimal(v.Amount, v.Currency), strconv.FormatInt(v.Amount, 10), v.Currency, v.State})
	}
	for _, s := range b.Sums {
		for _, line := range []struct {
			kind   string
			amount int64
		}{{"opening", s.Opening}, {"captured", s.Captured}, {"refunded", -s.Refunded}, {"closing", s.Closing}} {
			rows = append(rows, []string{"", "sum: " + line.kind, "", "", "", "", seckill.FormatDecimal(line.amount, s.Currency), strconv.FormatInt(line.amount, 10), s.Currency, ""})
		}
	}
	return rows
}

func text(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// Difference is one line in which the provider's statement and our books differ.
type Difference struct {
	Kind      string           `json:"kind"` // payment or refund
	Reference string           `json:"reference"`
	Refund    string           `json:"refund,omitempty"`
	What      string           `json:"what"`
	Ours      *seckill.Booking `json:"ours,omitempty"`
	Theirs    *seckill.Booking `json:"theirs,omitempty"`
}

// Differences compares the provider's statement from from until before to with our
// books, line by line. A line that the two date differently is no difference.
func (p *Payments) Differences(ctx context.Context, from, to time.Time) ([]Difference, error) {
	theirs, err := p.Provider.Statement(ctx, from, to)
	if errors.Is(err, errNoStatement) {
		return nil, fmt.Errorf("payment provider %q gives no statement (payment.statement_url): %w", p.Provider.Name(), seckill.ErrState)
	}
	if err != nil {
		return nil, fmt.Errorf("payment provider %q: %w: %w", p.Provider.Name(), seckill.ErrUnavailable, err)
	}
	var ours []seckill.Booking
	known := map[bookKey]bool{}
	add := func(v seckill.Booking) error {
		if v.Provider != p.Provider.Name() {
			return nil
		}
		if len(ours) == booksRows {
			return errBooksLong
		}
		ours = append(ours, v)
		known[bookKey{v.Kind, v.Reference}] = true
		return nil
	}
	// Whatever we have of what they list, whenever we saw it, and what we saw in the period.
	var references []string
	for _, t := range theirs {
		references = append(references, t.Reference)
	}
	slices.Sort(references)
	if err := p.Store.BookingsOf(ctx, p.Provider.Name(), slices.Compact(references), add); err != nil {
		return nil, err
	}
	before := maps.Clone(known)
	err = p.Store.Bookings(ctx, from, to, func(v seckill.Booking) error {
		if before[bookKey{v.Kind, v.Reference}] {
			return nil // all lines of that reference are there
		}
		return add(v)
	})
	if err != nil {
		return nil, err
	}
	all := differ(ours, theirs, from, to)
	return p.datedOtherwise(ctx, all, theirs, from, to)
}

// datedOtherwise compares again where a line seems to be only ours: all lines of its
// reference on our side with all that the provider says of it, or has in its statement of a longer time. A line
// of another time that has its own counterpart accounts for no other.
func (p *Payments) datedOtherwise(ctx context.Context, all []Difference, theirs []seckill.Booking, from, to time.Time) ([]Difference, error) {
	var references []string
	wanted := map[bookKey]bool{}
	for _, d := range all {
		if d.Theirs == nil {
			references = append(references, d.Reference)
			wanted[bookKey{d.Kind, d.Reference}] = true
		}
	}
	if len(wanted) == 0 {
		return all, nil
	}
	of := func(d Difference) bool { return wanted[bookKey{d.Kind, d.Reference}] }
	rest := slices.DeleteFunc(all, of)
	var ours []seckill.Booking
	slices.Sort(references)
	references = slices.Compact(references)
	err := p.Store.BookingsOf(ctx, p.Provider.Name(), references, func(v seckill.Booking) error {
		if wanted[bookKey{v.Kind, v.Reference}] {
			ours = append(ours, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if singles, ok := p.Provider.(Singles); ok && len(references) <= singlesMost {
		theirs, err = singles.StatementOf(ctx, references)
	} else {
		for _, period := range [][2]time.Time{{from.Add(-statementBefore), from}, {to, to.Add(statementAfter)}} {
			var some []seckill.Booking
			if err == nil {
				some, err = p.Provider.Statement(ctx, period[0], period[1])
			}
			theirs = append(theirs, some...)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("payment provider %q: %w: %w", p.Provider.Name(), seckill.ErrUnavailable, err)
	}
	theirs = slices.DeleteFunc(theirs, func(t seckill.Booking) bool { return !wanted[bookKey{t.Kind, t.Reference}] })
	return append(rest, differ(ours, theirs, from, to)...), nil
}

// bookKey is what a payment and its refunds are known by on both sides.
type bookKey struct{ kind, reference string }

// differ is the comparison, without storage: the differences of lines of which one at least is
// of the period.
func differ(ours, theirs []seckill.Booking, from, to time.Time) (all []Difference) {
	by := map[bookKey][]int{}
	named := map[string]bool{} // our refunds
	for i, o := range ours {
		k := bookKey{o.Kind, o.Reference}
		by[k] = append(by[k], i)
		named[o.Refund] = o.Refund != ""
	}
	within := func(at time.Time) bool { return !at.Before(from) && at.Before(to) }
	used := make([]bool, len(ours))
	paired := make([]*seckill.Booking, len(theirs))
	// Of several refunds of a payment the one with the id is meant, else one of the same amount,
	// the nearest in time, else any. One that names another refund of ours is that one's.
	for _, fits := range []func(o, t *seckill.Booking) bool{
		func(o, t *seckill.Booking) bool { return t.Refund != "" && o.Refund == t.Refund },
		func(o, t *seckill.Booking) bool { return !named[t.Refund] && o.Amount == t.Amount },
		func(o, t *seckill.Booking) bool { return !named[t.Refund] },
	} {
		for i := range theirs {
			t := &theirs[i]
			if t.Kind == "refund" && t.Amount > 0 {
				t.Amount = -t.Amount
			}
			best := -1
			for _, k := range by[bookKey{t.Kind, t.Reference}] {
				o := &ours[k]
				if !used[k] && paired[i] == nil && fits(o, t) && (best < 0 || o.At.Sub(t.At).Abs() < ours[best].At.Sub(t.At).Abs()) {
					best = k
				}
			}
			if best >= 0 {
				used[best], paired[i] = true, &ours[best]
			}
		}
	}
	for i := range theirs {
		t, o := &theirs[i], paired[i]
		d := Difference{Kind: t.Kind, Reference: t.Reference, Refund: t.Refund, Theirs: t, Ours: o}
		switch {
		case !within(t.At) && (o == nil || !within(o.At)):
			continue
		case o == nil:
			d.What = "only the provider has it"
		case o.Currency != t.Currency:
			d.What = "the currency differs"
		case o.Amount != t.Amount:
			d.What = "the amount differs"
		default:
			continue
		}
		all = append(all, d)
	}
	for i := range ours {
		if o := &ours[i]; !used[i] && within(o.At) {
			all = append(all, Difference{Kind: o.Kind, Reference: o.Reference, Refund: o.Refund, What: "only we have it", Ours: o})
		}
	}
	return all
}
