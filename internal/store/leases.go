package store

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
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

// SecretPrint notes the fingerprint of the secret that the nodes of this store sign
// with, and returns the one that is noted. prints are those of the caller's secrets, the
// one in force first: while secrets rotate the noted one is followed by it.
func (s *Store) SecretPrint(ctx context.Context, prints []string) (noted string, err error) {
	_, noted, err = s.Lease(ctx, "secret", prints[0], 100*365*24*time.Hour)
	if err != nil || noted == prints[0] || !slices.Contains(prints, noted) {
		return noted, err
	}
	err = s.write(ctx, "secret", func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE leases SET owner = ? WHERE name = 'secret' AND owner = ?", prints[0], noted)
		return err
	})
	return prints[0], err
}

// Unlease gives the lease back, if owner holds it.
func (s *Store) Unlease(ctx context.Context, name, owner string) error {
	return s.write(ctx, "unlease", func(t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM leases WHERE name = ? AND owner = ?", name, owner)
		return err
	})
}
