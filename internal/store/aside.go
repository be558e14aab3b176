package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"seckill"
)

// What a row holds may be damaged: by a hand, by a disk, by a program that is not ours. A
// row that cannot be read stays where it is, is left out of the list that it stands in,
// and is reported, once on each node for what it says. It stops nothing else. A row
// that somebody asks for by its name is an error, of that question alone.

// asidesMost is how many rows a node remembers to have reported; beyond it all are
// forgotten, and are reported again.
const asidesMost = 10_000

// damaged is the error of a row that can be scanned and makes no sense.
type damaged struct{ why error }

func (d *damaged) Error() string { return d.why.Error() }
func (d *damaged) Unwrap() error { return d.why }

// readable reads the rows of a table for which scan works, and puts the others aside. The
// last argument of a query with a limit is that limit, an int.
func readable[T any](ctx context.Context, t *tx, table, query string, args []any, scan func(scanner) (T, error)) (all []T, err error) {
	most, limited := 0, false
	if len(args) > 0 {
		most, limited = args[len(args)-1].(int)
	}
	for want := most; ; {
		all = nil
		bad := 0
		err = t.rows(ctx, query, args, func(r scanner) error {
			v, err := scan(r)
			switch {
			case err == nil:
				all = append(all, v)
			case unreadableRow(err):
				t.s.putAside(table, nameOf(r), err)
				bad, err = bad+1, nil
			}
			return err
		})
		switch {
		case err != nil:
			return nil, err
		case bad == 0 || !limited:
			return all, nil
		case len(all) >= most || len(all)+bad < want:
			return all[:min(len(all), most)], nil
		}
		// A page that is not full would be taken for the last one.
		want = most + bad
		args = append(slices.Clip(args[:len(args)-1]), want)
	}
}

// unreadableRow reports whether an error is about what a row holds. All others are about
// the connection, among them that the caller went away while the row was scanned.
func unreadableRow(err error) bool {
	var d *damaged
	return errors.As(err, &d) || strings.HasPrefix(err.Error(), "sql: Scan error on column")
}

// nameOf is what a person finds a row by: its first columns, one of which is its key.
func nameOf(r scanner) string {
	rows, ok := r.(*sql.Rows)
	if !ok {
		return ""
	}
	columns, err := rows.Columns()
	if err != nil {
		return ""
	}
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(any)
	}
	if rows.Scan(values...) != nil {
		return ""
	}
	var name strings.Builder
	for i, v := range values[:min(len(values), 2)] {
		text := *v.(*any)
		if b, ok := text.([]byte); ok {
			text = string(b)
		}
		fmt.Fprintf(&name, "%s=%.64q ", columns[i], fmt.Sprint(text))
	}
	return strings.TrimSpace(name.String())
}

// damagedSale is the error of a batch one of whose sales cannot be read.
type damagedSale struct {
	id  seckill.SaleID
	why error
}

func (d *damagedSale) Error() string { return fmt.Sprintf("the row of sale %s: %v", d.id, d.why) }
func (d *damagedSale) Unwrap() error { return d.why }

// DamagedSale returns the sale whose row made a call fail, if that is why. What concerns
// other sales can be done without it.
func DamagedSale(err error) (seckill.SaleID, bool) {
	if d, ok := errors.AsType[*damagedSale](err); ok {
		return d.id, true
	}
	return 0, false
}

// saleDamaged names the sale in err and reports its row, if err is about what the row holds.
func (t *tx) saleDamaged(id seckill.SaleID, err error) error {
	if !unreadableRow(err) {
		return err
	}
	t.s.putAside("sales", id.String(), err)
	return &damagedSale{id, err}
}

// putAside reports a row that cannot be read to Settings.Aside, once per node and reason.
func (s *Store) putAside(table, id string, why error) {
	if s.settings.Aside == nil {
		return
	}
	key := sha256.Sum256([]byte(table + "\x00" + id + "\x00" + why.Error()))
	s.mu.Lock()
	if s.asides == nil || len(s.asides) >= asidesMost {
		s.asides = map[[sha256.Size]byte]struct{}{}
	}
	_, reported := s.asides[key]
	s.asides[key] = struct{}{}
	s.mu.Unlock()
	if !reported {
		s.settings.Aside(table, id, why)
	}
}
