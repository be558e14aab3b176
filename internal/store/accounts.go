package store

import (
	"context"
	"errors"

	"seckill"
)

// CreateAccount writes a new account; a name that exists, in whatever spelling
// (seckill.FoldName), is seckill.ErrNameTaken.
func (s *Store) CreateAccount(ctx context.Context, a seckill.Account) error {
	now := s.Now()
	folded, ok := seckill.FoldName(a.Name)
	if !ok {
		return &seckill.FieldError{Field: "name", Must: "must be a name"}
	}
	err := s.write(ctx, "create account", func(t *tx) error {
		if a.Invite != "" {
			if err := t.useInvite(ctx, a.Invite, now); err != nil {
				return err
			}
		}
		if _, err := t.exec(ctx, "INSERT INTO names (folded, name) VALUES (?, ?)", folded, a.Name); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "INSERT INTO accounts (name, buyer, role, hash, created_at) VALUES (?, ?, ?, ?, ?)", a.Name, a.Buyer, a.Role, a.Hash, ms(now)); err != nil {
			return err
		}
		return t.logged(ctx, "people.create", 0, a.Name, nil, logAccountOf(a))
	})
	if errors.Is(err, errDuplicate) {
		return seckill.ErrNameTaken
	}
	return err
}

// accountColumns are those of an account and of what has become of it.
const accountColumns = `a.name, a.buyer, a.role, a.hash, a.created_at, COALESCE(s.generation, 0), COALESCE(s.blocked, 0),
	COALESCE(s.factor, ''), COALESCE(s.confirmed, 0), COALESCE(s.step, 0) FROM accounts a LEFT JOIN standings s ON s.buyer = a.buyer`

func scanAccount(r scanner) (a seckill.Account, err error) {
	var created int64
	err = r.Scan(&a.Name, &a.Buyer, &a.Role, &a.Hash, &created, &a.Generation, &a.Blocked, &a.Factor.Secret, &a.Factor.Confirmed, &a.Factor.Step)
	a.CreatedAt = fromMS(created)
	return a, err
}

// Account returns the account of that name, in whatever spelling, or
// seckill.ErrNotFound. Of two accounts from before names were folded it is the one
// with this very spelling.
func (s *Store) Account(ctx context.Context, name string) (a seckill.Account, err error) {
	err = s.ask(ctx, "account", func(t *tx) error {
		a, err = t.account(ctx, name)
		return err
	})
	return a, err
}

func (t *tx) account(ctx context.Context, name string) (a seckill.Account, err error) {
	folded, _ := seckill.FoldName(name)
	found := false
	q := "SELECT " + accountColumns + " WHERE a.name = ? OR a.name = (SELECT name FROM names WHERE folded = ?)" + t.lock
	err = t.rows(ctx, q, []any{name, folded}, func(r scanner) error {
		one, err := scanAccount(r)
		if !found || one.Name == name {
			a = one
		}
		found = true
		return err
	})
	if err == nil && !found {
		err = seckill.ErrNotFound
	}
	return a, err
}

// foldNames notes the folded names of accounts from before names were folded, once.
// Of two that are the same the older one has the name, in any spelling; the other
// is found by its very own.
func (s *Store) foldNames(ctx context.Context) error {
	return s.write(ctx, "fold names", func(t *tx) error {
		var some int
		if err := t.one(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM names LIMIT 1) AS n", nil, func(r scanner) error { return r.Scan(&some) }); err != nil || some > 0 {
			return err
		}
		var names []string
		err := t.rows(ctx, "SELECT name FROM accounts ORDER BY created_at, name", nil, func(r scanner) error {
			var name string
			err := r.Scan(&name)
			names = append(names, name)
			return err
		})
		if err != nil {
			return err
		}
		taken := map[string]bool{}
		for _, name := range names {
			folded, ok := seckill.FoldName(name)
			if !ok || taken[folded] {
				continue
			}
			taken[folded] = true
			if _, err := t.exec(ctx, "INSERT INTO names (folded, name) VALUES (?, ?)", folded, name); err != nil {
				return err
			}
		}
		return nil
	})
}
