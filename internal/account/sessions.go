package account

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"seckill"
	"seckill/internal/duty"
)

// Limits of what a node knows of ended sessions.
const (
	endedPause = 250 * time.Millisecond // between two looks: an end is in force on every node within a second
	endedTime  = 5 * time.Second        // for one look
	endedPage  = 1000                   // read at once
	endedMost  = 100_000                // accounts; beyond it the older half is forgotten, see ended.before
)

// EndedStore is what the sessions need of the store.
type EndedStore interface {
	// Ended MUST return what was written behind a version in the order of versions, and
	// MUST NOT show a version before a lower one.
	Ended(ctx context.Context, after int64, max int) ([]seckill.EndedSessions, error)
}

// Sessions is the resident that learns whose sessions were ended. Checking a token asks
// its copy and nobody else.
type Sessions struct {
	store EndedStore
	log   *slog.Logger
	life  time.Duration // of a token, at most: what was ended longer ago is forgotten
	most  int
	now   atomic.Pointer[ended]

	loaded  chan struct{} // closed once they have been read
	once    sync.Once
	looking *semaphore.Weighted // one look at a time; a lock that obeys a context
	version int64
}

// ended is one version of what is known. It is never changed.
type ended struct {
	accounts map[string]generation // by buyer
	// Logins before this second, since 1970, are refused: the node has forgotten which of
	// those accounts ended their sessions.
	before int64
}

type generation struct {
	number int64
	at     int64 // when it was raised, in seconds since 1970
}

// NewSessions returns the sessions of a store's accounts, whose tokens live for life at
// most.
func NewSessions(store EndedStore, life time.Duration, log *slog.Logger) *Sessions {
	s := &Sessions{store: store, log: log, life: life, most: endedMost, loaded: make(chan struct{}), looking: semaphore.NewWeighted(1)}
	s.now.Store(&ended{})
	return s
}

// Run reads what changes until ctx is done. While the store is away what was read last
// stays in force.
func (s *Sessions) Run(ctx context.Context) error {
	tick := time.NewTicker(endedPause)
	defer tick.Stop()
	var complaint duty.Complaint
	for {
		err := s.Look(ctx)
		if complaint.New(err) && ctx.Err() == nil {
			s.log.Warn("account: it cannot be read whose sessions were ended; what was read last stays in force", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Loaded is closed once it has been read whose sessions were ended.
func (s *Sessions) Loaded() <-chan struct{} { return s.loaded }

// Known reports whether it has been read whose sessions were ended. Until then Verify
// takes every session for good: where that may do harm, the caller waits or refuses.
func (s *Sessions) Known() bool {
	if s == nil {
		return true // nobody ends any
	}
	select {
	case <-s.loaded:
		return true
	default:
		return false
	}
}

// Look reads what has changed since the last look. While another look hangs it waits no
// longer than its caller.
func (s *Sessions) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endedTime)
	defer cancel()
	if err := s.looking.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.looking.Release(1)
	for {
		page, err := s.store.Ended(ctx, s.version, endedPage)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			s.learn(page)
			s.version = page[len(page)-1].Version
		}
		if len(page) < endedPage {
			s.once.Do(func() { close(s.loaded) })
			return nil
		}
	}
}

func (s *Sessions) learn(page []seckill.EndedSessions) {
	was := s.now.Load()
	next := &ended{accounts: maps.Clone(was.accounts), before: was.before}
	if next.accounts == nil {
		next.accounts = map[string]generation{}
	}
	for _, e := range page {
		if time.Since(e.At) < s.life {
			next.accounts[e.Buyer] = generation{e.Generation, e.At.Unix()}
		}
	}
	if len(next.accounts) > s.most {
		s.forget(next)
	}
	s.now.Store(next)
}

// forget drops the older half. Whose tokens had ended is not known any more then, so all
// those of logins from before that time end: their buyers log in again.
func (s *Sessions) forget(e *ended) {
	times := make([]int64, 0, len(e.accounts))
	for _, g := range e.accounts {
		times = append(times, g.at)
	}
	slices.Sort(times)
	middle := times[len(times)/2]
	maps.DeleteFunc(e.accounts, func(_ string, g generation) bool { return g.at <= middle })
	if oldest := time.Now().Add(-s.life).Unix(); middle > oldest {
		e.before = middle + 1
		s.log.Warn("account: more accounts have ended their sessions than a node remembers, so who has logged in before has to do it again", "before", time.Unix(e.before, 0), "accounts", s.most)
	}
}

// has reports whether the bearer's sessions were ended after the token was made.
func (s *Sessions) has(who *Who) bool {
	if s == nil {
		return false
	}
	e := s.now.Load()
	if len(e.accounts) == 0 && e.before == 0 {
		return false
	}
	if g, ok := e.accounts[who.Buyer]; ok && who.generation < g.number {
		return true
	}
	return who.Name != "" && who.made < e.before
}
