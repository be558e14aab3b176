package store

import (
	"cmp"
	"context"

	"seckill"
)

// peopleState is the version in access_state of all accounts' generations together.
const peopleState = "people"

// logAccount is an account in the log: without what lets somebody in.
type logAccount struct {
	Role     string `json:"role"`
	Blocked  bool   `json:"blocked"`
	Factor   bool   `json:"second_factor"`
	Sessions int64  `json:"generation"`
	Buyer    string `json:"buyer"`
}

func logAccountOf(a seckill.Account) logAccount {
	return logAccount{a.Role, a.Blocked, a.Factor.Confirmed, a.Generation, a.Buyer}
}

// UpdateAccount applies change to the account of that name, in whatever spelling. What
// change does to the role, the hash, the block, the second factor and the generation is
// kept; with another generation the account's sessions end on every node that reads Ended.
// When change returns an error nothing is written.
func (s *Store) UpdateAccount(ctx context.Context, name string, change func(*seckill.Account) error) (a seckill.Account, err error) {
	err = s.writeAccess(ctx, "account", func(t *tx) error {
		if a, err = t.account(ctx, name); err != nil {
			return err
		}
		before := a
		if err := change(&a); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE accounts SET role = ?, hash = ? WHERE name = ?", a.Role, a.Hash, a.Name); err != nil {
			return err
		}
		if err := t.stand(ctx, before, a); err != nil {
			return err
		}
		return t.loggedAccount(ctx, before, a)
	})
	return a, err
}

// loggedAccount is logged for an account. What buyers do to their own is not in the log;
// what people of the shop do to theirs is, also with a session that has no role yet.
func (t *tx) loggedAccount(ctx context.Context, before, after seckill.Account) error {
	if actor, ok := seckill.ActorOf(ctx); ok && actor.Who == after.Buyer {
		if before.Role == "" && after.Role == "" {
			return nil
		}
		actor.Role = cmp.Or(actor.Role, before.Role)
		ctx = seckill.WithActor(ctx, actor)
	}
	return t.logged(ctx, "", 0, after.Name, logAccountOf(before), logAccountOf(after))
}

// DeleteAccount forgets the account and ends its sessions. Its tickets and orders stay,
// with the buyer's id, and its name is free again.
func (s *Store) DeleteAccount(ctx context.Context, name string, may func(seckill.Account) error) error {
	return s.writeAccess(ctx, "delete account", func(t *tx) error {
		a, err := t.account(ctx, name)
		if err != nil {
			return err
		}
		if err := may(a); err != nil {
			return err
		}
		folded, _ := seckill.FoldName(a.Name)
		if _, err := t.exec(ctx, "DELETE FROM names WHERE folded = ? AND name = ?", folded, a.Name); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM accounts WHERE name = ?", a.Name); err != nil {
			return err
		}
		after := a
		after.Generation, after.Factor = a.Generation+1, seckill.Factor{}
		if err := t.stand(ctx, a, after); err != nil {
			return err
		}
		return t.logged(ctx, "", 0, a.Name, logAccountOf(a), nil)
	})
}

// stand writes what has become of an account.
func (t *tx) stand(ctx context.Context, before, a seckill.Account) error {
	if before.Generation == a.Generation && before.Blocked == a.Blocked && before.Factor == a.Factor {
		return nil
	}
	var version, changed int64
	err := t.one(ctx, "SELECT version, changed_at FROM standings WHERE buyer = ?", []any{a.Buyer}, func(r scanner) error { return r.Scan(&version, &changed) })
	fresh := err == seckill.ErrNotFound
	if err != nil && !fresh {
		return err
	}
	if before.Generation != a.Generation {
		// The state's row is locked until the commit, so versions become
		// visible in their order.
		if err := t.touch(ctx, peopleState); err != nil {
			return err
		}
		if err := t.one(ctx, "SELECT version FROM access_state WHERE name = ?", []any{peopleState}, func(r scanner) error { return r.Scan(&version) }); err != nil {
			return err
		}
		now, err := t.clock(ctx)
		if err != nil {
			return err
		}
		changed = ms(now)
	}
	if fresh {
		_, err = t.exec(ctx, "INSERT INTO standings (buyer, generation, blocked, version, changed_at, factor, confirmed, step) VALUES "+list(1, 8),
			a.Buyer, a.Generation, a.Blocked, version, changed, a.Factor.Secret, a.Factor.Confirmed, a.Factor.Step)
		return err
	}
	_, err = t.exec(ctx, "UPDATE standings SET generation = ?, blocked = ?, version = ?, changed_at = ?, factor = ?, confirmed = ?, step = ? WHERE buyer = ?",
		a.Generation, a.Blocked, version, changed, a.Factor.Secret, a.Factor.Confirmed, a.Factor.Step, a.Buyer)
	return err
}

// Ended returns up to max accounts whose sessions were ended behind a version, oldest
// first.
func (s *Store) Ended(ctx context.Context, after int64, max int) (all []seckill.EndedSessions, err error) {
	err = s.ask(ctx, "ended sessions", func(t *tx) error {
		all, err = readable(ctx, t, "standings", "SELECT buyer, generation, version, changed_at FROM standings WHERE version > ? ORDER BY version LIMIT ?", []any{after, max}, func(r scanner) (e seckill.EndedSessions, err error) {
			var at int64
			err = r.Scan(&e.Buyer, &e.Generation, &e.Version, &at)
			e.At = fromMS(at)
			return e, err
		})
		return err
	})
	return all, err
}

// Accounts lists accounts by name, see seckill.AccountFilter.
func (s *Store) Accounts(ctx context.Context, f seckill.AccountFilter) (all []seckill.Account, err error) {
	q, args := "SELECT "+accountColumns+" WHERE a.role <> '' AND a.name > ? ORDER BY a.name LIMIT ?", []any{f.After, f.Max}
	if f.Begins != "" {
		from, _ := seckill.FoldName(f.Begins)
		after, _ := seckill.FoldName(f.After)
		q = "SELECT " + accountColumns + " JOIN names n ON n.name = a.name WHERE n.folded >= ? AND n.folded < ? AND n.folded > ? ORDER BY n.folded LIMIT ?"
		args = []any{from, from + "\U0010ffff", after, f.Max}
	}
	err = s.ask(ctx, "accounts", func(t *tx) error {
		all, err = readable(ctx, t, "accounts", q, args, scanAccount)
		return err
	})
	return all, err
}
