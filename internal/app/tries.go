package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"seckill"
)

// tries notes in a file which dead letters the only node of an embedded gate has tried, so that
// it knows after a start which one it may have died of. Redis keeps the same for several nodes.
type tries struct {
	file string

	mu     sync.Mutex
	read   bool
	before map[string]bool // by ticket: noted before this start
	mine   map[string]bool // noted since
}

// tried notes a ticket, and reports whether it was noted before this start.
func (t *tries) tried(_ context.Context, ticket string) (before bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.read {
		if err := t.load(); err != nil {
			return false, err
		}
	}
	if t.before[ticket] || t.mine[ticket] {
		return t.before[ticket], nil
	}
	f, err := os.OpenFile(t.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	_, err = f.WriteString(ticket + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		t.mine[ticket] = true
	}
	return false, err
}

// load reads the file. It is made anew when all that it has is older than triedLife, so it does
// not grow for ever.
func (t *tries) load() error {
	text, err := os.ReadFile(t.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	t.before, t.mine = map[string]bool{}, map[string]bool{}
	for _, ticket := range strings.Fields(string(text)) {
		if len(ticket) == seckill.TicketIDLen && time.Since(seckill.TicketTime(ticket)) < triedLife {
			t.before[ticket] = true
		}
	}
	if len(t.before) == 0 && len(text) > 0 {
		if err := os.Remove(t.file); err != nil {
			return err
		}
	}
	t.read = true
	return nil
}
