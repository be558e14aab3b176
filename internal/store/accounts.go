package store

import (
	"context"
	"errors"

	"seckill"
)

// CreateAccount writes a new account; a name that exists is seckill.ErrNameTaken.
func (s *Store) CreateAccount(ctx context.Context, a seckill.Account) error {
	now := s.now()
	err := s.write(ctx, "create account", func(t *tx) error {
		if a.Invite != "" {
			if err := t.useInvite(ctx, a.Invite, now); err != nil {
				return err
			}
		}
		_, err := t.exec(ctx, "INSERT INTO accounts (name, buyer, role, hash, created_at) VALUES (?, ?, ?, ?, ?)", a.Name, a.Buyer, a.Role, a.Hash, ms(now))
		return err
	})
	if errors.Is(err, errDuplicate) {
		return seckill.ErrNameTaken
	}
	return err
}

// Account returns the account of that name, or seckill.ErrNotFound.
func (s *Store) Account(ctx context.Context, name string) (a seckill.Account, err error) {
	err = s.ask(ctx, "account", func(t *tx) error {
		return t.one(ctx, "SELECT name, buyer, role, hash, created_at FROM accounts WHERE name = ?", []any{name}, func(r scanner) error {
			var created int64
			err := r.Scan(&a.Name, &a.Buyer, &a.Role, &a.Hash, &created)
			a.CreatedAt = fromMS(created)
			return err
		})
	})
	return a, err
}
