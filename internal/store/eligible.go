package store

import (
	"context"
	"fmt"
	"slices"

	"seckill"
)

// SetEligible makes the buyers those who may buy in the sale, or adds them to those
// who may, and returns how many there are then. With More, other buyers of the same list
// will follow, and none of it is in force before the last of them: each row says from
// which version of the list on its buyer may buy (since), and up to which (until, 0: for
// ever). So a list that broke off half-way never holds, if its pieces have a name
// (access_uploads): whatever begins another one removes what came of it, and its own next piece
// is seckill.ErrState then. A repeat of any piece changes nothing.
func (s *Store) SetEligible(ctx context.Context, sale seckill.SaleID, p seckill.BuyerList) (n int, err error) {
	err = s.writeAccess(ctx, "eligible buyers", func(t *tx) error {
		if _, err := t.lockSale(ctx, sale); err != nil {
			return err
		}
		next := int64(1) // the version that brings these buyers in force
		if err := t.rows(ctx, "SELECT version FROM access_state WHERE name = ?", []any{eligibleState + sale.String()}, func(r scanner) error {
			err := r.Scan(&next)
			next++
			return err
		}); err != nil {
			return err
		}
		var upload string
		becomes := int64(-1) // no list with a name
		if err := t.rows(ctx, "SELECT upload, version FROM access_uploads WHERE sale = ?", []any{sale}, func(r scanner) error { return r.Scan(&upload, &becomes) }); err != nil {
			return err
		}
		var err error
		switch p.Mode {
		case seckill.BuyersContinue:
			if upload == p.Upload && becomes == 0 { // its last piece is here
				n, err = t.countEligible(ctx, sale)
				return err
			}
			if upload != p.Upload || becomes != next {
				return fmt.Errorf("another list was sent for this sale since this one began: send all of it anew: %w", seckill.ErrState)
			}
		case seckill.BuyersAdd:
			if p.Upload != "" || becomes == next {
				err = t.discardEligible(ctx, sale, next, 0)
			}
		default:
			err = t.discardEligible(ctx, sale, next, next)
		}
		if err != nil {
			return err
		}
		if err := t.addEligible(ctx, sale, p.Buyers, next); err != nil {
			return err
		}
		if n, err = t.countEligible(ctx, sale); err != nil {
			return err
		}
		if err := t.logged(ctx, "", sale, "", nil, map[string]int{"buyers": n}); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM access_uploads WHERE sale = ?", sale); err != nil {
			return err
		}
		if !p.More {
			if _, err := t.exec(ctx, "DELETE FROM access_eligible WHERE sale = ? AND until <> 0", sale); err != nil {
				return err
			}
			if err := t.touch(ctx, eligibleState+sale.String()); err != nil {
				return err
			}
			next = 0
		}
		if p.Upload == "" {
			return nil
		}
		_, err = t.exec(ctx, "INSERT INTO access_uploads (sale, upload, version) VALUES (?, ?, ?)", sale, p.Upload, next)
		return err
	})
	return n, err
}

// discardEligible removes what came of a list that is not in force yet, and lets those on the
// one that is buy up to the version until (0: for ever).
func (t *tx) discardEligible(ctx context.Context, sale seckill.SaleID, next, until int64) error {
	if _, err := t.exec(ctx, "DELETE FROM access_eligible WHERE sale = ? AND since >= ?", sale, next); err != nil {
		return err
	}
	_, err := t.exec(ctx, "UPDATE access_eligible SET until = ? WHERE sale = ? AND until <> ?", until, sale, until)
	return err
}

// addEligible lets the buyers buy from that version of the list on.
func (t *tx) addEligible(ctx context.Context, sale seckill.SaleID, buyers []string, version int64) error {
	known := map[string]bool{}
	for some := range slices.Chunk(buyers, t.s.dialect.chunk) {
		args := []any{sale}
		for _, b := range some {
			args = append(args, b)
		}
		if err := t.rows(ctx, "SELECT buyer FROM access_eligible WHERE sale = ? AND buyer IN ("+list(len(some), 1)+")", args, func(r scanner) error {
			var b string
			err := r.Scan(&b)
			known[b] = true
			return err
		}); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE access_eligible SET until = 0 WHERE until <> 0 AND sale = ? AND buyer IN ("+list(len(some), 1)+")", args...); err != nil {
			return err
		}
	}
	fresh := make([]string, 0, len(buyers))
	for _, b := range buyers {
		if !known[b] {
			known[b], fresh = true, append(fresh, b)
		}
	}
	for some := range slices.Chunk(fresh, t.s.dialect.chunk) {
		args := make([]any, 0, 3*len(some))
		for _, b := range some {
			args = append(args, sale, b, version)
		}
		if _, err := t.exec(ctx, "INSERT INTO access_eligible (sale, buyer, since) VALUES "+list(len(some), 3), args...); err != nil {
			return err
		}
	}
	return nil
}

// countEligible counts who may buy in the sale, and holds all lists to what they may hold together.
func (t *tx) countEligible(ctx context.Context, sale seckill.SaleID) (n int, err error) {
	var all int64
	if err := t.one(ctx, "SELECT COUNT(*), COUNT(CASE WHEN sale = ? THEN 1 END) FROM access_eligible WHERE until = 0", []any{sale}, func(r scanner) error { return r.Scan(&all, &n) }); err != nil {
		return 0, err
	}
	if most := t.s.mostEligible; all > most {
		return 0, &seckill.FieldError{Field: "buyers", Must: fmt.Sprintf("must leave at most %d on all lists together", most)}
	}
	return n, nil
}

// Eligible calls f with each buyer who may buy in the sale: those of the version of the
// list that is in force at that moment.
func (s *Store) Eligible(ctx context.Context, sale seckill.SaleID, f func(buyer string)) error {
	return s.ask(ctx, "eligible buyers", func(t *tx) error {
		return t.rows(ctx, `SELECT buyer FROM access_eligible, (SELECT COALESCE(MAX(version), 0) AS version FROM access_state WHERE name = ?) AS state
			WHERE sale = ? AND since <= version AND (until = 0 OR until > version)`, []any{eligibleState + sale.String(), sale}, func(r scanner) error {
			var b string
			err := r.Scan(&b)
			f(b)
			return err
		})
	})
}
