package store

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"seckill"
)

// money counts the money of a sale, or without one all there is, for each currency, as of
// one moment. What paid orders hold is counted from the orders, everything else from the
// payments and refunds: the two agree or something is unexplained.
func (t *tx) money(ctx context.Context, sale ...any) ([]seckill.Money, error) {
	q := "SELECT s.currency, COALESCE(SUM(t.amount), 0) FROM tickets t JOIN sales s ON s.id = t.sale" +
		of("t.sale", sale) + " AND " + t.s.dialect.active + " IS NOT NULL AND t.state = 'paid' GROUP BY s.currency"
	paid := map[string]int64{}
	if err := t.rows(ctx, q, sale, byCurrency(paid)); err != nil {
		return nil, err
	}
	return t.moneyBeside(ctx, paid, sale...)
}

// of is the condition that keeps to a sale, if one is given.
func of(column string, sale []any) string {
	if len(sale) == 0 {
		return " WHERE 1 = 1"
	}
	return " WHERE " + column + " = ?"
}

func byCurrency(sums map[string]int64) func(scanner) error {
	return func(r scanner) error {
		var currency string
		var n int64
		err := r.Scan(&currency, &n)
		sums[currency] += n
		return err
	}
}

// moneyBeside is money where the amounts of paid orders are known.
func (t *tx) moneyBeside(ctx context.Context, paid map[string]int64, sale ...any) ([]seckill.Money, error) {
	sums, err := t.moved(ctx, of("sale", sale), sale...)
	if err != nil {
		return nil, err
	}
	back := map[string]int64{}
	q := "SELECT r.currency, COALESCE(SUM(r.amount), 0) FROM refunds r JOIN tickets t ON t.id = r.order_id" + of("r.sale", sale) + " AND r.held = 1 AND t.state = 'paid' GROUP BY r.currency"
	if err := t.rows(ctx, q, sale, byCurrency(back)); err != nil {
		return nil, err
	}
	for currency, n := range paid {
		if n != 0 {
			sums.of(currency).Held += n
		}
	}
	for currency, n := range back {
		if n != 0 {
			sums.of(currency).Held -= n
		}
	}
	return sums.list(), nil
}

// sums are sums of money by currency.
type sums map[string]*seckill.Money

func (s sums) of(currency string) *seckill.Money {
	if s[currency] == nil {
		s[currency] = &seckill.Money{Currency: currency}
	}
	return s[currency]
}

func (s sums) list() (all []seckill.Money) {
	all = []seckill.Money{}
	for _, c := range slices.Sorted(maps.Keys(s)) {
		all = append(all, *s[c])
	}
	return all
}

// moved adds up payments and refunds; where chooses rows of both.
func (t *tx) moved(ctx context.Context, where string, args ...any) (sums, error) {
	all := sums{}
	err := t.rows(ctx, "SELECT currency, state, SUM(amount) FROM payments "+where+" GROUP BY currency, state", args, func(r scanner) error {
		var currency string
		var state seckill.PaymentState
		var n int64
		err := r.Scan(&currency, &state, &n)
		m := all.of(currency)
		m.Captured += n
		switch state {
		case seckill.PaymentLate:
			m.Late += n
		case seckill.PaymentAside:
			m.Aside += n
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = t.rows(ctx, "SELECT currency, state, SUM(amount) FROM refunds "+where+" GROUP BY currency, state", args, func(r scanner) error {
		var currency string
		var state seckill.RefundState
		var n int64
		err := r.Scan(&currency, &state, &n)
		if n == 0 {
			return err
		}
		if state == seckill.RefundDone {
			all.of(currency).Refunded += n
		} else {
			all.of(currency).Due += n
		}
		return err
	})
	return all, err
}

// Money is the audit of the money of one sale, or, of sale 0, of what no order is
// known for.
func (s *Store) Money(ctx context.Context, sale seckill.SaleID) (all []seckill.Money, err error) {
	err = s.read(ctx, "money", func(t *tx) error {
		all, err = t.money(ctx, sale)
		return err
	})
	return all, err
}

// MoneyState reads that from the keys of the states: it costs what waits.
func (s *Store) MoneyState(ctx context.Context) (m seckill.MoneyState, err error) {
	err = s.read(ctx, "money", func(t *tx) error {
		if m.Now, err = t.clock(ctx); err != nil {
			return err
		}
		count := func(n *int64) func(scanner) error { return func(r scanner) error { return r.Scan(n) } }
		if err := t.one(ctx, "SELECT COUNT(*) FROM payments WHERE state = ?", []any{string(seckill.PaymentAside)}, count(&m.Aside)); err != nil {
			return err
		}
		if err := t.one(ctx, "SELECT COUNT(*) FROM payments WHERE state = ?", []any{string(seckill.PaymentLate)}, count(&m.Late)); err != nil {
			return err
		}
		since := func(at *time.Time, n int64) {
			if *at = (time.Time{}); n > 0 {
				*at = fromMS(n)
			}
		}
		err := t.one(ctx, "SELECT COALESCE(MIN(seen_at), 0) FROM callbacks WHERE became = '"+becameEarly+"'", nil, func(r scanner) error {
			var oldest int64
			err := r.Scan(&oldest)
			since(&m.OldestEarly, oldest)
			return err
		})
		if err != nil {
			return err
		}
		return t.one(ctx, "SELECT COUNT(*), COALESCE(MIN(made_at), 0) FROM refunds WHERE state = ?", []any{string(seckill.RefundDue)}, func(r scanner) error {
			var oldest int64
			err := r.Scan(&m.Due, &oldest)
			since(&m.OldestDue, oldest)
			return err
		})
	})
	return m, err
}

// Books calls each for the bookings from from until before to, and returns the sums of all
// before them and the audit of all money there is: of all sales, and of what no order is known
// for. All of it is as of one moment. It reads every payment, refund and paid order.
func (s *Store) Books(ctx context.Context, from, to time.Time, each func(seckill.Booking) error) (before, total []seckill.Money, err error) {
	err = s.read(ctx, "books", func(t *tx) error {
		if before, err = t.before(ctx, from); err != nil {
			return err
		}
		if err := t.bookings(ctx, from, to, each); err != nil {
			return err
		}
		total, err = t.money(ctx)
		return err
	})
	return before, total, err
}

// Bookings calls each for every payment that the store has seen, and every refund
// that was confirmed, from from until before to, in the order of their moments.
func (s *Store) Bookings(ctx context.Context, from, to time.Time, each func(seckill.Booking) error) error {
	return s.ask(ctx, "books", func(t *tx) error { return t.bookings(ctx, from, to, each) })
}

func (t *tx) bookings(ctx context.Context, from, to time.Time, each func(seckill.Booking) error) error {
	const q = `SELECT seen_at AS at, 'payment' AS kind, provider, reference, '' AS refund, order_id, amount, currency, state FROM payments WHERE seen_at >= ? AND seen_at < ?
		UNION ALL SELECT done_at, 'refund', provider, reference, id, order_id, -amount, currency, state FROM refunds WHERE done_at >= ? AND done_at < ? AND state = 'done' AND amount > 0
		ORDER BY at, kind, reference, refund`
	return t.rows(ctx, q, []any{ms(from), ms(to), ms(from), ms(to)}, func(r scanner) error {
		var b seckill.Booking
		var at int64
		if err := r.Scan(&at, &b.Kind, &b.Provider, &b.Reference, &b.Refund, &b.Order, &b.Amount, &b.Currency, &b.State); err != nil {
			return err
		}
		b.At = fromMS(at)
		return each(b)
	})
}

// BookingsOf calls each for every payment of a provider with one of the references, and for
// every confirmed refund of it.
func (s *Store) BookingsOf(ctx context.Context, provider seckill.Provider, references []string, each func(seckill.Booking) error) error {
	return s.read(ctx, "books", func(t *tx) error {
		for some := range slices.Chunk(references, t.s.dialect.chunk) {
			args := []any{provider}
			for _, r := range some {
				args = append(args, r)
			}
			in := list(1, len(some))
			err := t.rows(ctx, "SELECT seen_at, reference, order_id, amount, currency, state FROM payments WHERE provider = ? AND reference IN "+in, args, func(r scanner) error {
				b := seckill.Booking{Kind: "payment", Provider: provider}
				var at int64
				if err := r.Scan(&at, &b.Reference, &b.Order, &b.Amount, &b.Currency, &b.State); err != nil {
					return err
				}
				b.At = fromMS(at)
				return each(b)
			})
			if err != nil {
				return err
			}
			err = t.rows(ctx, "SELECT done_at, reference, id, order_id, amount, currency, state FROM refunds WHERE provider = ? AND state = 'done' AND amount > 0 AND reference IN "+in, args, func(r scanner) error {
				b := seckill.Booking{Kind: "refund", Provider: provider}
				var at int64
				if err := r.Scan(&at, &b.Reference, &b.Refund, &b.Order, &b.Amount, &b.Currency, &b.State); err != nil {
					return err
				}
				b.At, b.Amount = fromMS(at), -b.Amount
				return each(b)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// before adds up all payments and refunds until before to: what the books carry over.
func (t *tx) before(ctx context.Context, to time.Time) ([]seckill.Money, error) {
	sums := sums{}
	err := t.rows(ctx, "SELECT currency, SUM(amount) FROM payments WHERE seen_at < ? GROUP BY currency", []any{ms(to)}, func(r scanner) error {
		var currency string
		var n int64
		err := r.Scan(&currency, &n)
		sums.of(currency).Captured = n
		return err
	})
	if err != nil {
		return nil, err
	}
	err = t.rows(ctx, "SELECT currency, SUM(amount) FROM refunds WHERE state = 'done' AND done_at < ? GROUP BY currency", []any{ms(to)}, func(r scanner) error {
		var currency string
		var n int64
		err := r.Scan(&currency, &n)
		sums.of(currency).Refunded = n
		return err
	})
	return sums.list(), err
}

// AllOrders lists orders, newest first.
func (s *Store) AllOrders(ctx context.Context, f seckill.OrderFilter) (orders []seckill.Order, err error) {
	q, args := s.allOrders(f)
	err = s.ask(ctx, "orders", func(t *tx) error {
		orders, err = readable(ctx, t, "tickets", q, args, scanOrder)
		return err
	})
	return orders, err
}

// allOrders is the statement of a filter.
func (s *Store) allOrders(f seckill.OrderFilter) (q string, args []any) {
	q = "SELECT " + orderColumns
	and := func(clause string, v ...any) { q, args = q+" AND "+clause, append(args, v...) }
	switch f.State {
	case "":
	case seckill.Unpaid, seckill.Paid, seckill.Cancelled, seckill.Expired, seckill.Refunded:
		if f.Buyer == "" && f.Payment == "" && f.Order == "" { // of those there are few
			q = strings.Replace(q, "tickets t JOIN sales s", "tickets t"+s.dialect.byState(f.State)+" sales s"+s.dialect.byKey, 1)
		}
		and("t.state = '" + string(f.State) + "'") // SQLite's indexes are of states that it can see in the statement
	default:
		and("t.state = ?", string(f.State))
	}
	if f.Order != "" {
		and("t.id = ?", f.Order)
	}
	if f.Buyer != "" {
		and("t.buyer = ?", f.Buyer)
	}
	if f.Sale != 0 {
		and("t.sale = ?", int64(f.Sale))
	}
	if f.Payment != "" {
		and("t.id IN (SELECT order_id FROM payments WHERE provider IN ('test', 'shop', 'stripe') AND reference = ?)", f.Payment)
	}
	if f.Before != "" {
		and("t.id < ?", f.Before)
	}
	return q + " ORDER BY t.id DESC LIMIT ?", append(args, f.Max)
}

// AnyOrder returns one order, whoever's it is.
func (s *Store) AnyOrder(ctx context.Context, id string) (o seckill.Order, err error) {
	err = s.ask(ctx, "order", func(t *tx) error {
		return t.one(ctx, "SELECT "+orderColumns+" AND t.id = ?", []any{id}, func(r scanner) (err error) {
			o, err = scanOrder(r)
			return err
		})
	})
	return o, err
}
