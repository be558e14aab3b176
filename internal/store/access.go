package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"seckill"
)

// Limits of the lists.
const (
	maxEntries  = 100_000   // on the block list and the allow list together
	maxEligible = 1_000_000 // buyers on all sales' lists together
)

// The names of what has a version in access_state.
const (
	rulesState    = "rules"
	entriesState  = "entries"
	eligibleState = "eligible:" // and the sale's id
)

// accessText is how a sale's rules are stored.
func accessText(a seckill.Access) string {
	if a == (seckill.Access{}) {
		return ""
	}
	b, _ := json.Marshal(a)
	return string(b)
}

// accessOf reads the rules of a sale. Rules that cannot be read, or that nobody can have
// set, let nobody in, of this sale alone, and ring an alarm.
func (t *tx) accessOf(id seckill.SaleID, text string) (a seckill.Access) {
	if text == "" {
		return a
	}
	err := json.Unmarshal([]byte(text), &a)
	if err == nil {
		err = a.Validate()
	}
	if err != nil {
		t.s.putAside("sales", id.String(), fmt.Errorf("its rules of access: %w", err))
		return seckill.Access{Unreadable: true}
	}
	return a
}

// AccessState returns the versions of what the nodes keep copies of, by name: rules,
// entries, and eligible: with a sale's id behind it. A name that is missing has never
// been written. newest is the newest sale at that moment: one statement reads both.
func (s *Store) AccessState(ctx context.Context) (versions map[string]int64, newest seckill.SaleID, err error) {
	err = s.ask(ctx, "access state", func(t *tx) error {
		versions = map[string]int64{}
		return t.rows(ctx, "SELECT name, version FROM access_state UNION ALL SELECT '', COALESCE(MAX(id), 0) FROM sales", nil, func(r scanner) error {
			var name string
			var version int64
			err := r.Scan(&name, &version)
			if name == "" {
				newest = seckill.SaleID(version)
			} else {
				versions[name] = version
			}
			return err
		})
	})
	return versions, newest, err
}

// touch gives the thing of that name another version, in this transaction.
func (t *tx) touch(ctx context.Context, name string) error {
	n, err := t.exec(ctx, "UPDATE access_state SET version = version + 1 WHERE name = ?", name)
	if err == nil && n == 0 {
		_, err = t.exec(ctx, "INSERT INTO access_state (name, version) VALUES (?, 1)", name)
	}
	return err
}

// writeAccess is write for a transaction that touches a state. Two that touch a new one at
// the same moment collide at its key; the second one is then run again.
func (s *Store) writeAccess(ctx context.Context, what string, f func(*tx) error) error {
	for try := 1; ; try++ {
		if err := s.write(ctx, what, f); try == maxTries || !errors.Is(err, errDuplicate) {
			return err
		}
	}
}

// AccessRules returns the rules of every sale that has any and is not retired, or has not been
// closed for so long. The store's clock says how long that is, and not a node's: a node whose
// clock is hours ahead would take an open sale for one that is over. The gate sells by a clock
// of its own, which may be hours behind: so the rules stay as long as it remembers the buyers.
func (s *Store) AccessRules(ctx context.Context, closed time.Duration) (rules map[seckill.SaleID]seckill.Access, err error) {
	err = s.ask(ctx, "access rules", func(t *tx) error {
		rules = map[seckill.SaleID]seckill.Access{}
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		return t.rows(ctx, "SELECT id, access FROM sales WHERE access <> '' AND closes_at > ?", []any{ms(now.Add(-max(closed, s.settings.Retention)))}, func(r scanner) error {
			var id seckill.SaleID
			var text string
			err := r.Scan(&id, &text)
			if err == nil {
				rules[id] = t.accessOf(id, text)
			}
			return err
		})
	})
	return rules, err
}

// SetAccessEntry puts a buyer or a network on a list, or changes what is there. With
// remove it is taken off; one that is not there is seckill.ErrNotFound.
func (s *Store) SetAccessEntry(ctx context.Context, e seckill.AccessEntry, remove bool) (seckill.AccessEntry, error) {
	subject := subjectOf(e)
	e.CreatedAt = s.here().UTC().Truncate(time.Millisecond)
	err := s.writeAccess(ctx, "access entry", func(t *tx) error {
		var was, became any // for the log
		err := t.one(ctx, "SELECT "+entryColumns+" WHERE sale = ? AND subject = ?"+t.lock, []any{e.Sale, subject}, func(r scanner) error {
			if old, err := scanEntry(r); err == nil { // one that cannot be read can be removed all the same
				was = old
			}
			return nil
		})
		if err != nil && (remove || err != seckill.ErrNotFound) {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM access_entries WHERE sale = ? AND subject = ?", e.Sale, subject); err != nil {
			return err
		}
		if !remove {
			became = e
			var count int64
			if err := t.one(ctx, "SELECT COUNT(*) FROM access_entries", nil, func(r scanner) error { return r.Scan(&count) }); err != nil {
				return err
			}
			if count >= maxEntries {
				return fmt.Errorf("the lists hold %d entries, which is all they may: remove some: %w", count, seckill.ErrState)
			}
			if _, err := t.exec(ctx, "INSERT INTO access_entries (sale, subject, list, note, made_by, created_at) VALUES (?, ?, ?, ?, ?, ?)",
				e.Sale, subject, e.List, e.Note, e.By, ms(e.CreatedAt)); err != nil {
				return err
			}
		}
		if err := t.logged(ctx, "", e.Sale, strings.TrimPrefix(strings.TrimPrefix(subject, "n:"), "b:"), was, became); err != nil {
			return err
		}
		return t.touch(ctx, entriesState)
	})
	return e, err
}

// entryColumns are those of an entry of the lists.
const entryColumns = "sale, subject, list, note, made_by, created_at FROM access_entries"

func scanEntry(r scanner) (e seckill.AccessEntry, err error) {
	var subject string
	var at int64
	err = r.Scan(&e.Sale, &subject, &e.List, &e.Note, &e.By, &at)
	e.CreatedAt = fromMS(at)
	if network, ok := strings.CutPrefix(subject, "n:"); ok {
		e.Network = network
	} else {
		e.Buyer = strings.TrimPrefix(subject, "b:")
	}
	return e, err
}

func subjectOf(e seckill.AccessEntry) string {
	if e.Network != "" {
		return "n:" + e.Network
	}
	return "b:" + e.Buyer
}

// AccessEntries returns up to max entries behind the one given (the zero value: from
// the first), by sale, those of all sales first, then by what they name.
func (s *Store) AccessEntries(ctx context.Context, after seckill.AccessEntry, max int) (entries []seckill.AccessEntry, err error) {
	subject := ""
	if after.Buyer != "" || after.Network != "" {
		subject = subjectOf(after)
	}
	err = s.ask(ctx, "access entries", func(t *tx) error {
		entries, err = readable(ctx, t, "access_entries", "SELECT "+entryColumns+" WHERE sale > ? OR sale = ? AND subject > ? ORDER BY sale, subject LIMIT ?", []any{after.Sale, after.Sale, subject, max}, scanEntry)
		return err
	})
	return entries, err
}

// noteTries counts the orders that their buyers, or the expiry, leave unpaid in this
// transaction, in the sales that count that. What the shop cancels is no try.
func (t *tx) noteTries(ctx context.Context, c change, orders []seckill.Order, now time.Time) error {
	if c.to != seckill.Cancelled && c.to != seckill.Expired || len(orders) == 0 {
		return nil
	}
	limited := map[seckill.SaleID]bool{}
	for _, o := range orders {
		limits, known := limited[o.Sale]
		if !known {
			err := t.one(ctx, "SELECT access FROM sales WHERE id = ?", []any{o.Sale}, func(r scanner) error {
				var text string
				if err := r.Scan(&text); err != nil {
					return err
				}
				a := t.accessOf(o.Sale, text)
				limits = a.CountsTries() || a.Unreadable
				return nil
			})
			if err != nil {
				return err
			}
			limited[o.Sale] = limits
		}
		if !limits || c.to == seckill.Cancelled && c.by != o.Buyer {
			continue
		}
		n, err := t.exec(ctx, "UPDATE access_tries SET tries = tries + 1, last_at = ?, ended_at = ? WHERE sale = ? AND buyer = ?", ms(now), ms(now), o.Sale, o.Buyer)
		if err == nil && n == 0 {
			_, err = t.exec(ctx, "INSERT INTO access_tries (sale, buyer, tries, last_at, ended_at) VALUES (?, ?, 1, ?, ?)", o.Sale, o.Buyer, ms(now), ms(now))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unnoteTry takes back the try that an order of the buyer was, if it was one: it has
// been paid for after its end.
func (t *tx) unnoteTry(ctx context.Context, ended string, sale seckill.SaleID, buyer string, now time.Time) error {
	tried := false
	if err := t.rows(ctx, "SELECT 1 FROM ledger WHERE order_id = ? AND (what = 'order.expired' OR what = 'order.cancelled' AND who = ?)", []any{ended, buyer},
		func(scanner) error { tried = true; return nil }); err != nil || !tried {
		return err
	}
	// By another last_at the nodes see that the row has changed. When the last order ended
	// stays as it was, or paying would make a buyer wait again.
	_, err := t.exec(ctx, "UPDATE access_tries SET tries = tries - 1, last_at = ? WHERE sale = ? AND buyer = ? AND tries > 0", ms(now), sale, buyer)
	return err
}

// TriesSince returns up to max of the unpaid ends that have changed since from.Changed,
// oldest first. It begins behind the one given, if that has a buyer.
func (s *Store) TriesSince(ctx context.Context, from seckill.Tries, max int) (all []seckill.Tries, err error) {
	err = s.ask(ctx, "tries", func(t *tx) error {
		at := ms(from.Changed)
		all, err = readable(ctx, t, "access_tries", "SELECT "+triesColumns+` FROM access_tries WHERE last_at > ?
			OR last_at = ? AND (sale > ? OR sale = ? AND buyer > ?) ORDER BY last_at, sale, buyer LIMIT ?`,
			[]any{at, at, from.Sale, from.Sale, from.Buyer, max}, scanTries)
		return err
	})
	return all, err
}

// TriesOf returns the unpaid ends of a buyer in a sale, none without any.
func (s *Store) TriesOf(ctx context.Context, sale seckill.SaleID, buyer string) (v seckill.Tries, err error) {
	err = s.ask(ctx, "tries of a buyer", func(t *tx) error {
		return t.rows(ctx, "SELECT "+triesColumns+" FROM access_tries WHERE sale = ? AND buyer = ?", []any{sale, buyer}, func(r scanner) (err error) {
			v, err = scanTries(r)
			return err
		})
	})
	return v, err
}

// triesColumns are what scanTries reads. A node of before 00098 writes last_at alone.
const triesColumns = "sale, buyer, tries, last_at, CASE WHEN ended_at = 0 THEN last_at ELSE ended_at END"

func scanTries(r scanner) (v seckill.Tries, err error) {
	var changed, last int64
	err = r.Scan(&v.Sale, &v.Buyer, &v.Count, &changed, &last)
	v.Changed, v.Last = fromMS(changed), fromMS(last)
	return v, err
}

// TrimAccess removes the lists of who may buy, the unpaid ends, and what the block list and
// the allow list say of one sale, of sales that closed longer ago than keep, up to max of
// each, and says how many those were. An entry that was set later is kept as long from
// then on. The sale may be opened again, so each entry that goes is in the log.
func (s *Store) TrimAccess(ctx context.Context, keep time.Duration, max int) (removed int, err error) {
	ctx = seckill.WithActor(ctx, seckill.Actor{Who: "limits.retention", What: "access.remove", Intent: "its sale closed longer ago than " + keep.String()})
	err = s.write(ctx, "trim what sales asked of buyers", func(t *tx) error {
		removed = 0
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		for _, table := range []trimmedTable{
			{"access_eligible", "buyer", "0", func(sale seckill.SaleID, _ string, _ int64) error {
				if _, err := t.exec(ctx, "DELETE FROM access_uploads WHERE sale = ?", sale); err != nil {
					return err
				}
				_, err := t.exec(ctx, "DELETE FROM access_state WHERE name = ?", eligibleState+sale.String()) // every node reads them all
				return err
			}},
			{"access_tries", "buyer", "0", func(seckill.SaleID, string, int64) error { return nil }},
			{"access_entries", "subject", "created_at", func(sale seckill.SaleID, last string, before int64) error {
				entries, err := readable(ctx, t, "access_entries", "SELECT "+entryColumns+" WHERE sale = ? AND subject <= ? AND created_at < ? ORDER BY subject", []any{sale, last, before}, scanEntry)
				if err != nil {
					return err
				}
				for _, e := range entries {
					if err := t.logged(ctx, "", sale, cmp.Or(e.Buyer, e.Network), e, nil); err != nil {
						return err
					}
				}
				return t.touch(ctx, entriesState)
			}},
		} {
			n, err := t.trimAccess(ctx, table, ms(now.Add(-keep)), max)
			if err != nil {
				return err
			}
			removed += n
		}
		return nil
	})
	return removed, err
}

// trimmedTable is one whose rows go with their sale.
type trimmedTable struct {
	name, key string
	set       string                                                     // when a row was set; 0: it goes whenever that was
	going     func(sale seckill.SaleID, last string, before int64) error // is called before the rows up to last go
}

// trimAccess removes up to max rows of the table, of one sale that closed before.
func (t *tx) trimAccess(ctx context.Context, table trimmedTable, before int64, max int) (removed int, err error) {
	var sale seckill.SaleID
	rows := " FROM " + table.name + " WHERE " + table.set + " < ? AND sale = "
	if err := t.rows(ctx, "SELECT id FROM sales WHERE closes_at < ? AND EXISTS (SELECT 1"+rows+"sales.id) ORDER BY id LIMIT 1", []any{before, before},
		func(r scanner) error { return r.Scan(&sale) }); err != nil || sale == 0 {
		return 0, err
	}
	last := ""
	if err := t.rows(ctx, "SELECT "+table.key+rows+"? ORDER BY "+table.key+" LIMIT ?", []any{before, sale, max}, func(r scanner) error {
		removed++
		return r.Scan(&last)
	}); err != nil {
		return 0, err
	}
	if err := table.going(sale, last, before); err != nil {
		return 0, err
	}
	_, err = t.exec(ctx, "DELETE"+rows+"? AND "+table.key+" <= ?", before, sale, last)
	return removed, err
}

// Invite keeps an invitation by the hash of its code.
func (s *Store) Invite(ctx context.Context, hash string, uses int, until time.Time) error {
	now := s.Now()
	return s.write(ctx, "invite", func(t *tx) error {
		if _, err := t.exec(ctx, "DELETE FROM access_invites WHERE until <= ? OR uses = 0", ms(now)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "INSERT INTO access_invites (hash, uses, until) VALUES (?, ?, ?)", hash, uses, ms(until)); err != nil {
			return err
		}
		return t.logged(ctx, "", 0, "", nil, map[string]any{"uses": uses, "until": until})
	})
}

// useInvite takes one use of an invitation, in the transaction that makes the account.
// One that is unknown, used up or over is seckill.ErrNotInvited.
func (t *tx) useInvite(ctx context.Context, hash string, now time.Time) error {
	n, err := t.exec(ctx, "UPDATE access_invites SET uses = uses - 1 WHERE hash = ? AND uses > 0 AND until > ?", hash, ms(now))
	if err == nil && n == 0 {
		err = seckill.ErrNotInvited
	}
	return err
}
