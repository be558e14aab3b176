// Package storetest gives tests a SQLite store whose migrations have been run: once in each
// process, since to run them takes longer than most of the tests that need them.
package storetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// migrated is the content of a database without rows. The first test makes it.
var migrated struct {
	sync.Mutex
	file []byte
}

// Store is what Make opens, a *store.Store: package store uses Make itself.
type Store interface{ Close() error }

// Make writes an empty database to file, for store.Open, which is given as open: it finds
// nothing to migrate there.
func Make[S Store, Settings any](t testing.TB, file string, open func(ctx context.Context, url string, settings Settings) (S, error)) {
	t.Helper()
	content, err := template(open)
	if err == nil {
		err = os.WriteFile(file, content, 0o600)
	}
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
}

func template[S Store, Settings any](open func(context.Context, string, Settings) (S, error)) ([]byte, error) {
	migrated.Lock()
	defer migrated.Unlock()
	if migrated.file != nil {
		return migrated.file, nil
	}
	dir, err := os.MkdirTemp("", "seckill-storetest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "seckill.db")
	var none Settings
	s, err := open(context.Background(), "sqlite:"+file, none)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil { // which leaves all of it in one file
		return nil, err
	}
	if _, err := os.Stat(file + "-wal"); !errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("the closed database has a journal beside it")
	}
	migrated.file, err = os.ReadFile(file)
	return migrated.file, err
}
