package store

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"seckill"
)

// Lease takes or renews the lease of that name for owner, for ttl by the
// database's clock, and returns whether owner holds it and who else does. Whoever
// holds it must stop on its own when ttl has passed since before the last call
// that returned true: nobody tells it.
func (s *Store) Lease(ctx context.Context, name, owner string, ttl time.Duration) (held bool, by string, err error) {
	err = errDuplicate
	// A duplicate is somebody who took the lease at the same moment.
	for try := 0; try < maxTries && errors.Is(err, errDuplicate); try++ {
		err = s.write(ctx, "lease", func(t *tx) error {
			held, by = true, owner
			clock := t.s.dialect.clock
			// The condition and the change are one statement: two who ask at once
			// cannot both be the one that found the lease expired.
			n, err := t.exec(ctx, "UPDATE leases SET owner = ?, until = "+clock+" + ? WHERE name = ? AND (owner = ? OR until <= "+clock+")", owner, ttl.Milliseconds(), name, owner)
			if err != nil || n > 0 {
				return err
			}
			held = false
			err = t.one(ctx, "SELECT owner FROM leases WHERE name = ?", []any{name}, func(r scanner) error { return r.Scan(&by) })
			if err != seckill.ErrNotFound {
				return err
			}
			held, by = true, owner
			_, err = t.exec(ctx, "INSERT INTO leases (name, owner, until) VALUES (?, ?, "+clock+" + ?)", name, owner, ttl.Milliseconds())
			return err
		})
	}
	if err != nil {
		return false, "", err
	}
	return held, by, nil
}

// longestLease is longer than any lease of a duty, and shorter than what stands in the
// same table for good.
const longestLease = time.Hour

// endLeases ends the leases of the process before, where this one is the only one that
// uses the database: whoever held them is dead, and what they are about need not wait.
func (s *Store) endLeases(ctx context.Context) error {
	if s.release == nil {
		return nil
	}
	return s.write(ctx, "lease", func(t *tx) error {
		clock := t.s.dialect.clock
		_, err := t.exec(ctx, "DELETE FROM leases WHERE until > "+clock+" AND until <= "+clock+" + ?", longestLease.Milliseconds())
		return err
	})
}

// Identity is a name that this database has and no other, made at the first call.
func (s *Store) Identity(ctx context.Context) (string, error) {
	_, id, err := s.Lease(ctx, "identity", rand.Text(), 100*365*24*time.Hour)
	return id, err
}

// secretLease begins the names of leases that each say of a fingerprint: nodes have it.
const secretLease = "secret:"

// SecretPrints notes for so long that a node signs with the secret of this fingerprint, and
// returns all that are noted, its own among them. A secret that no node has any more is
// forgotten when its time is over.
func (s *Store) SecretPrints(ctx context.Context, print string, life time.Duration) (noted []string, err error) {
	if _, _, err = s.Lease(ctx, secretLease+print, print, life); err != nil {
		return nil, err
	}
	err = s.ask(ctx, "secrets", func(t *tx) error {
		noted = nil
		return t.rows(ctx, "SELECT owner FROM leases WHERE name LIKE '"+secretLease+"%' AND until > "+t.s.dialect.clock+" ORDER BY name", nil, func(r scanner) error {
			var print string
			if err := r.Scan(&print); err != nil {
				return err
			}
			noted = append(noted, print)
			return nil
		})
	})
	return noted, err
}

// Unlease gives the lease back, if owner holds it.
func (s *Store) Unlease(ctx context.Context, name, owner string) error {
	return s.write(ctx, "unlease", func(t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM leases WHERE name = ? AND owner = ?", name, owner)
		return err
	})
}
