package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"seckill"
	"seckill/internal/crash"
)

// activeKey is a sale and a buyer: at most one order of each pair is active.
type activeKey struct {
	sale  seckill.SaleID
	buyer string
}

// saleRow is what a batch needs to know of a sale.
type saleRow struct {
	price, left int64
	currency    string
	hold        time.Duration
	seckill.Terms
	seq int64 // the highest admission number settled before
}

// version names one version of a sale.
type version struct {
	sale   seckill.SaleID
	number int64
}

// versionsMost is how many versions' terms a store remembers, 40 bytes each.
const versionsMost = 100_000

// termsOf returns the terms of a version of a sale; ok is false if they are not known: an
// earlier version of this program has made it. They never change, so a store reads them
// once.
func (t *tx) termsOf(ctx context.Context, v version) (terms seckill.Terms, ok bool, err error) {
	t.s.mu.Lock()
	terms, ok = t.s.versions[v]
	t.s.mu.Unlock()
	if ok {
		return terms, true, nil
	}
	err = t.one(ctx, "SELECT opens, closes, most FROM sale_versions WHERE sale = ? AND version = ?", []any{v.sale, v.number}, func(r scanner) error {
		var opens, closes int64
		err := r.Scan(&opens, &closes, &terms.Limit)
		terms.Opens, terms.Closes = fromMS(opens), fromMS(closes)
		return err
	})
	switch {
	case err == seckill.ErrNotFound:
		return terms, false, nil
	case err != nil:
		return terms, false, t.saleDamaged(v.sale, err)
	}
	t.s.mu.Lock()
	if t.s.versions == nil || len(t.s.versions) >= versionsMost {
		t.s.versions = map[version]seckill.Terms{}
	}
	t.s.versions[v] = terms
	t.s.mu.Unlock()
	return terms, true, nil
}

// known is what the store already says about the tickets of a batch. The zero
// value says: nothing is known, assume that all is new.
type known struct {
	outcomes map[string]seckill.Reason // by ticket id
	active   map[activeKey]bool
	sales    map[seckill.SaleID]saleRow
	versions map[version]seckill.Terms // that are known, of those that the tickets name
	now      time.Time                 // by the store's clock
}

// decide applies the rule of settling (seckill.Ticket.Settle) to a batch, without
// storage. It returns one outcome per ticket, in their order, the indices of those
// that must be written, and the units sold and the highest admission number by sale.
// An outcome that exists stands, the first mention of a ticket decides, and what it
// takes is gone for those after it.
func decide(tickets []seckill.Ticket, k known) (outcomes []seckill.Outcome, fresh []int, sold, seq map[seckill.SaleID]int64) {
	outcomes = make([]seckill.Outcome, len(tickets))
	seen := make(map[string]seckill.Reason, len(tickets))
	placed := make(map[activeKey]bool, len(tickets))
	sold, seq = map[seckill.SaleID]int64{}, map[seckill.SaleID]int64{}
	for i, t := range tickets {
		reason, decided := k.outcomes[t.ID]
		if !decided {
			reason, decided = seen[t.ID]
		}
		if !decided {
			m := activeKey{t.Sale, t.Buyer}
			sale, exists := k.sales[t.Sale]
			terms := &sale.Terms
			if by, known := k.versions[version{t.Sale, t.Version}]; known {
				terms = &by
			}
			if !exists {
				terms = nil
			}
			reason = t.Settle(terms, k.active[m] || placed[m], sale.left-sold[t.Sale])
			if reason == seckill.ReasonNone {
				placed[m] = true
				sold[t.Sale] += int64(t.Quantity)
			}
			if exists {
				number := t.Seq
				if reason == seckill.ReasonNotAdmitted || number > sale.seq+seckill.MostAhead {
					number = 0 // it may be invented, as that of every ticket that no gate admitted, so it must not raise the sale's highest number
				}
				number = min(number, seckill.LastSeq) // or no gate could go on from it
				seq[t.Sale] = max(seq[t.Sale], number)
			}
			seen[t.ID] = reason
			fresh = append(fresh, i)
		}
		outcomes[i] = seckill.Outcome{Ticket: t, Reason: reason}
	}
	return outcomes, fresh, sold, seq
}

// Settle turns tickets into outcomes in one transaction and returns them in the
// tickets' order. A ticket that has an outcome keeps it, so any batch may be
// repeated in any order. An error that wraps ErrTicket is about the data of the
// batch, one for which DamagedSale is true about the row of a sale; any other is about
// the database. Those two say nothing against a ticket.
func (s *Store) Settle(ctx context.Context, tickets []seckill.Ticket) (outcomes []seckill.Outcome, err error) {
	// Nearly always every ticket is new: then the unique keys need not be asked
	// first. When one of them objects, everything is looked up and decided anew;
	// so it is when the data are rejected, since a ticket that was refused for
	// them before is not written again.
	outcomes, err = s.settle(ctx, tickets, false)
	for attempt := 0; attempt < 3 && (errors.Is(err, errDuplicate) || errors.Is(err, errFit) || errors.Is(err, ErrTicket) && attempt == 0); attempt++ {
		outcomes, err = s.settle(ctx, tickets, true)
	}
	return outcomes, err
}

// errFit says that units that seemed to be there were not when they were taken.
var errFit = errors.New("the units do not fit")

// settle is one attempt. Where others write at the same time, this is what they
// meet, and in which order:
//
// The optimistic attempt takes the tickets' keys, in order of id, and then the
// sales' rows, in order of id: those are held only until the commit. The price
// and the units left are read without a lock; the condition of the UPDATE holds
// whatever happened since, and a price never changes once a sale is open.
//
// The careful attempt locks the sales first, so that what it decides stands. It
// can want a key that an optimistic one has just taken which in turn waits for
// the sale. The database ends that by giving one of the two up, and write runs
// it again: the optimistic one then becomes careful, or the careful one finds
// the outcome.
func (s *Store) settle(ctx context.Context, tickets []seckill.Ticket, careful bool) (outcomes []seckill.Outcome, err error) {
	err = s.write(ctx, "settle", func(t *tx) error {
		k, err := t.known(ctx, tickets, careful)
		if err != nil {
			return err
		}
		var fresh []int
		var sold, seq map[seckill.SaleID]int64
		outcomes, fresh, sold, seq = decide(tickets, k)
		if err := t.insert(ctx, outcomes, fresh, k.sales, k.now); err != nil {
			return err
		}
		// In order of sale id, so that two batches never wait for each other.
		for _, id := range sorted(seq) {
			n, err := t.exec(ctx, "UPDATE sales SET sold = sold + ?, seq = "+t.s.dialect.max+"(seq, ?) WHERE id = ? AND sold + ? <= total", sold[id], seq[id], id, sold[id])
			if err != nil {
				return err
			}
			if n == 0 {
				return errFit
			}
		}
		crash.Here("5-before-commit", len(fresh) > 0)
		return nil
	})
	if err != nil {
		return nil, err
	}
	crash.Here("5-after-commit", true)
	return outcomes, nil
}

// Refuse writes a refusal for one ticket that fails alone, unless it has an
// outcome already; it returns the one that stands. A quantity that the database
// would reject again is not written.
func (s *Store) Refuse(ctx context.Context, ticket seckill.Ticket, reason seckill.Reason) (o seckill.Outcome, err error) {
	err = s.write(ctx, "refuse", func(t *tx) error {
		k, err := t.known(ctx, []seckill.Ticket{ticket}, true)
		if err != nil {
			return err
		}
		o = seckill.Outcome{Ticket: ticket, Reason: reason}
		if was, ok := k.outcomes[ticket.ID]; ok {
			o.Reason = was
			return nil
		}
		row := o
		row.Ticket.Quantity = min(max(row.Ticket.Quantity, 1), seckill.MaxQuantity)
		return t.insert(ctx, []seckill.Outcome{row}, []int{0}, nil, k.now)
	})
	return o, err
}

// known reads what decide needs: always the terms of the sales; with careful
// set also the outcomes and active orders that exist, with the sales locked.
func (t *tx) known(ctx context.Context, tickets []seckill.Ticket, careful bool) (known, error) {
	k := known{outcomes: map[string]seckill.Reason{}, active: map[activeKey]bool{}, sales: map[seckill.SaleID]saleRow{}, versions: map[version]seckill.Terms{}}
	buyers := map[seckill.SaleID][]any{}
	var ids []any
	for _, ticket := range tickets {
		buyers[ticket.Sale] = append(buyers[ticket.Sale], ticket.Buyer)
		ids = append(ids, ticket.ID)
	}
	for _, ticket := range tickets {
		v := version{ticket.Sale, ticket.Version}
		if _, read := k.versions[v]; read || v.number == 0 {
			continue
		}
		by, known, err := t.termsOf(ctx, v)
		if err != nil {
			return k, err
		}
		if known {
			k.versions[v] = by
		}
	}
	lock := ""
	if careful {
		lock = t.lock
	}
	for _, sale := range sorted(buyers) {
		err := t.rows(ctx, "SELECT "+saleNumbers+", "+widest+", "+t.s.dialect.clock+" FROM sales s LEFT JOIN terms w ON w.sale = s.id WHERE s.id = ?"+lock, []any{sale}, func(r scanner) error {
			var s seckill.Sale
			var opens, closes, now int64
			var limit int
			err := scanNumbers(r, &s, &opens, &closes, &limit, &now)
			k.sales[sale] = saleRow{s.Price, s.Total - s.Sold, s.Currency, time.Duration(s.HoldSeconds) * time.Second, seckill.Terms{Opens: fromMS(opens), Closes: fromMS(closes), Limit: limit}, s.Seq}
			k.now = fromMS(now)
			return err
		})
		if err != nil {
			return k, t.saleDamaged(sale, err)
		}
		if !careful {
			continue
		}
		for some := range slices.Chunk(buyers[sale], t.s.dialect.chunk) {
			q := "SELECT buyer FROM tickets WHERE sale = ? AND " + t.s.dialect.active + " IN (" + list(len(some), 1) + ")"
			err := t.rows(ctx, q, append([]any{sale}, some...), func(r scanner) error {
				m := activeKey{sale: sale}
				err := r.Scan(&m.buyer)
				k.active[m] = true
				return err
			})
			if err != nil {
				return k, err
			}
		}
	}
	var err error
	if t.s.now != nil || k.now.IsZero() {
		if k.now, err = t.clock(ctx); err != nil {
			return k, err
		}
	}
	if !careful {
		return k, nil
	}
	k.outcomes, err = t.outcomes(ctx, ids)
	return k, err
}

// outcomes returns the reasons ("" for placed) of those ids that have one.
func (t *tx) outcomes(ctx context.Context, ids []any) (map[string]seckill.Reason, error) {
	found := map[string]seckill.Reason{}
	for some := range slices.Chunk(ids, t.s.dialect.chunk) {
		err := t.rows(ctx, "SELECT id, reason FROM tickets WHERE id IN ("+list(len(some), 1)+")", some, func(r scanner) error {
			var id string
			var reason seckill.Reason
			err := r.Scan(&id, &reason)
			found[id] = reason
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

const stateRefused = "refused"

// insert writes the outcomes with the given indices, in order of ticket id: two
// transactions with the same tickets then meet at the first of them, and one
// waits, instead of each holding what the other wants.
func (t *tx) insert(ctx context.Context, outcomes []seckill.Outcome, fresh []int, sales map[seckill.SaleID]saleRow, now time.Time) error {
	slices.SortFunc(fresh, func(a, b int) int { return strings.Compare(outcomes[a].Ticket.ID, outcomes[b].Ticket.ID) })
	var placed []seckill.Order
	var free []seckill.Order // they are paid from the start
	args := make([]any, 0, min(len(fresh), t.s.dialect.chunk)*10)
	for some := range slices.Chunk(fresh, t.s.dialect.chunk) {
		args = args[:0]
		for _, i := range some {
			o := outcomes[i]
			sale := sales[o.Ticket.Sale]
			state, amount, expires := string(seckill.Unpaid), sale.price*int64(o.Ticket.Quantity), now.Add(sale.hold)
			if o.Placed() && amount == 0 {
				state = string(seckill.Paid)
			}
			if !o.Placed() {
				state, amount, expires = stateRefused, 0, now
			} else if t.s.keeps() {
				placed = append(placed, seckill.Order{ID: o.Ticket.ID, Sale: o.Ticket.Sale, Ticket: o.Ticket.ID, Quantity: o.Ticket.Quantity,
					Price: sale.price, Amount: amount, Currency: sale.currency, State: seckill.Unpaid, CreatedAt: fromMS(ms(now)), ExpiresAt: fromMS(ms(expires))})
				if amount == 0 {
					free = append(free, placed[len(placed)-1])
					free[len(free)-1].State = seckill.Paid
				}
			}
			args = append(args, o.Ticket.ID, int64(o.Ticket.Sale), o.Ticket.Buyer, o.Ticket.Quantity, o.Ticket.Seq,
				state, string(o.Reason), amount, ms(now), ms(expires))
		}
		q := "INSERT INTO tickets (id, sale, buyer, quantity, seq, state, reason, amount, created_at, expires_at) VALUES " + list(len(some), 10)
		if _, err := t.exec(ctx, q, args...); err != nil {
			return err
		}
	}
	if err := t.writeEvents(ctx, placed, now); err != nil {
		return err
	}
	return t.writeEvents(ctx, free, now)
}

func sorted[V any](m map[seckill.SaleID]V) []seckill.SaleID {
	ids := make([]seckill.SaleID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
