package sale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"seckill"
)

// Limits of the buyers' list.
const (
	hottest   = 500 // open sales that are put in order by what matters; what is beyond them follows by closing
	snapshots = 60  // orders of those that a node remembers, one for each second in which a first page was read
)

// errCursor says that a cursor is none that List has given.
var errCursor = errors.New("not a cursor of the list")

// reading is what a cursor says: how much of the list as of at has been read.
type reading struct {
	at    time.Time
	hot   int // open sales read in the order of that moment, while its section is SectionOpen
	place seckill.Place
}

// String writes a reading as its cursor.
func (m reading) String() string {
	return fmt.Sprintf("%d.%d.%d.%d.%d", m.at.UnixMilli(), m.hot, m.place.Section, m.place.Time.UnixMilli(), m.place.ID)
}

func parseMark(cursor string) (m reading, err error) {
	var at, key int64
	n, err := fmt.Sscanf(cursor, "%d.%d.%d.%d.%d", &at, &m.hot, &m.place.Section, &key, &m.place.ID)
	m.at, m.place.At, m.place.Time = time.UnixMilli(at).UTC(), time.UnixMilli(at).UTC(), time.UnixMilli(key).UTC()
	// Only what String writes is a cursor: no sign, no zero in front, nothing behind.
	if err != nil || n != 5 || m.String() != cursor || at <= 0 || m.hot < 0 || m.hot > hottest || m.place.Section > seckill.SectionOver || m.place.ID < 0 {
		return m, fmt.Errorf("%q: %w", cursor, errCursor)
	}
	return m, nil
}

// snapshot is the order of the open sales as of one moment: whoever reads the list
// page by page meets each of them once, although their order changes meanwhile.
type snapshot struct {
	at    time.Time
	sales []seckill.Sale
	rest  seckill.Place // where those begin that were too many
}

// Sections shows a page of up to max sales by what matters to a buyer: the open
// ones, the first to be sold out or to close in front; then those to come, the next
// in front; then those that are over. The next page begins at next; "" is the first
// page, and after the last one. A cursor that this function has not given is a
// *seckill.FieldError.
//
// All pages of a walk are of its beginning's moment, so a sale that opens or closes
// meanwhile is neither missed nor met twice. A sale that sells out, or has units
// again, may be.
func (s *Catalog) Sections(ctx context.Context, cursor string, max int) (shown []seckill.Sale, next string, err error) {
	return s.list(ctx, listKey{of: "sections", cursor: cursor, max: max}, func(ctx context.Context) (cachedList, error) {
		sales, next, err := s.walk(ctx, cursor, max)
		return cachedList{sales: sales, next: next}, err
	})
}

// walk reads a page from the store. It reads one sale more than it returns, to know
// whether another page follows.
func (s *Catalog) walk(ctx context.Context, cursor string, max int) (page []seckill.Sale, next string, err error) {
	m := reading{at: s.gate.Now().UTC().Truncate(time.Millisecond)}
	m.place.At, m.place.Time = m.at, time.UnixMilli(0).UTC()
	if cursor != "" {
		if m, err = parseMark(cursor); err != nil {
			return nil, "", &seckill.FieldError{Field: "cursor", Must: "must be the next of an earlier page"}
		}
	}
	var last reading // behind the page's last sale
	take := func(sale seckill.Sale) (full bool) {
		if len(page) == max {
			next = last.String()
			return true
		}
		page, last = append(page, sale), m
		return false
	}
	if m.place.Section == seckill.SectionOpen {
		hot, err := s.order(ctx, m.at)
		if err != nil {
			return nil, "", err
		}
		for m.hot < len(hot.sales) {
			m.hot++
			if take(hot.sales[m.hot-1]) {
				return page, next, nil
			}
		}
		if m.place.ID == 0 {
			m.place = hot.rest
		}
	}
	for ; m.place.Section <= seckill.SectionOver; m.place = (seckill.Place{Section: m.place.Section + 1, At: m.at, Time: time.UnixMilli(0).UTC()}) {
		sales, err := s.store.Section(ctx, m.place, max+1-len(page))
		if err != nil {
			return nil, "", err
		}
		for _, sale := range sales {
			m.place = m.place.Behind(sale)
			if take(sale) {
				return page, next, nil
			}
		}
	}
	return page, "", nil
}

// order returns the open sales as of at by what matters. The order is made once for
// each moment on a node; another node, or a node that has forgotten it, makes its own.
func (s *Catalog) order(ctx context.Context, at time.Time) (snapshot, error) {
	begin := seckill.Place{Section: seckill.SectionOpen, At: at, Time: time.UnixMilli(0).UTC()}
	sales, err := s.store.Section(ctx, begin, hottest)
	if err != nil {
		return snapshot{}, err
	}
	s.mu.Lock()
	i := slices.IndexFunc(s.orders, func(o snapshot) bool { return o.at.Equal(at) })
	if i >= 0 {
		o := s.orders[i]
		s.mu.Unlock()
		return o.renewed(sales), nil
	}
	s.mu.Unlock()
	o := snapshot{at: at, sales: sales, rest: seckill.Place{Section: seckill.SectionSoon, At: at, Time: begin.Time}}
	if len(sales) == hottest {
		o.rest = begin.Behind(sales[hottest-1])
	}
	until := make(map[seckill.SaleID]time.Time, len(sales))
	for _, sale := range s.showAll(ctx, sales, time.Now()) {
		until[sale.ID] = over(sale)
	}
	slices.SortStableFunc(sales, func(a, b seckill.Sale) int { return until[a.ID].Compare(until[b.ID]) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.orders) >= snapshots {
		s.orders = slices.Delete(s.orders, 0, 1)
	}
	s.orders = append(s.orders, o)
	return o, nil
}

// renewed keeps the order and takes the sales as they are now; one that has left the
// section stays as it was.
func (o snapshot) renewed(now []seckill.Sale) snapshot {
	o.sales = slices.Clone(o.sales)
	place := make(map[seckill.SaleID]int, len(o.sales))
	for i, sale := range o.sales {
		place[sale.ID] = i
	}
	for _, sale := range now {
		if i, ok := place[sale.ID]; ok {
			o.sales[i] = sale
		}
	}
	return o
}

// over estimates when nobody can buy in the open sale any more: when it closes, or
// when its units are gone if they go on selling as they have since the opening. One
// without units waits behind the others for what may come back.
func over(sale seckill.Sale) time.Time {
	sold, open := sale.Total-sale.Left, sale.ServerNow.Sub(sale.OpensAt)
	switch {
	case sale.Left <= 0:
		return sale.ClosesAt.Add(seckill.MaxWindow)
	case sold <= 0 || open <= 0:
		return sale.ClosesAt
	}
	// In floating point: the product of a duration and units has no room in 64 bits.
	rest := float64(open) * float64(sale.Left) / float64(sold)
	if until := sale.ClosesAt.Sub(sale.ServerNow); rest >= float64(until) {
		return sale.ClosesAt
	}
	return sale.ServerNow.Add(time.Duration(rest))
}

// Limits of Lively.
const (
	livelyOpen  = 100              // open sales
	livelyOver  = 50               // sales that are sold out, or closed
	livelyAfter = 10 * time.Minute // so long ago
)

// Lively returns the sales in which somebody may still wait for an outcome: those
// that are open, sold out, or were closed a short while ago.
func (s *Catalog) Lively(ctx context.Context) (ids []seckill.SaleID, err error) {
	now, key := time.Now(), listKey{of: "lively"}
	s.mu.Lock()
	was, ok := s.lists[key]
	s.mu.Unlock()
	if !ok || was.changed || now.Sub(was.at) >= catalogLife {
		at := s.gate.Now().UTC()
		begin := time.UnixMilli(0).UTC()
		open, err := s.store.Section(ctx, seckill.Place{Section: seckill.SectionOpen, At: at, Time: begin, All: true}, livelyOpen)
		if err != nil {
			return nil, err
		}
		over, err := s.store.Section(ctx, seckill.Place{Section: seckill.SectionOver, At: at, Time: begin, All: true}, livelyOver)
		if err != nil {
			return nil, err
		}
		over = slices.DeleteFunc(over, func(sale seckill.Sale) bool {
			return sale.OpensAt.After(at) || sale.ClosesAt.Add(livelyAfter).Before(at)
		})
		was = cachedList{sales: append(open, over...), at: now}
		s.mu.Lock()
		s.lists[key] = was
		s.mu.Unlock()
	}
	for _, sale := range was.sales {
		ids = append(ids, sale.ID)
	}
	return ids, nil
}
