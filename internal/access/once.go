package access

import (
	"context"
	"fmt"
	"sync"
	"time"

	"seckill"
)

// onceMost bounds what a node that is alone remembers: some 100 bytes for each.
const onceMost = 1_000_000

// memory is Nodes for a node that is alone. It forgets with the process: then the
// challenges that were solved before a restart could be used once more, by the buyer
// whom they are bound to, within their few minutes.
type memory struct {
	mu    sync.Mutex
	until map[string]time.Time
	next  time.Time // when the old ones are looked for
}

func newMemory() *memory { return &memory{until: map[string]time.Time{}} }

// Once implements Nodes.
func (m *memory) Once(_ context.Context, name string, ttl time.Duration) (bool, error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.After(m.next) || len(m.until) >= onceMost {
		for name, until := range m.until {
			if now.After(until) {
				delete(m.until, name)
			}
		}
		m.next = now.Add(time.Minute)
		if len(m.until) >= onceMost {
			return false, fmt.Errorf("%d challenges are solved and not over: %w", onceMost, seckill.ErrUnavailable)
		}
	}
	if now.Before(m.until[name]) {
		return false, nil
	}
	m.until[name] = now.Add(ttl)
	return true, nil
}

// Delay implements Nodes: the scores of this node know who waits.
func (m *memory) Delay(context.Context, string, time.Duration) (time.Duration, error) { return 0, nil }

// Distinct implements Nodes: what other nodes have seen is nothing.
func (m *memory) Distinct(context.Context, string, string, time.Duration) (int, error) { return 0, nil }
