package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"seckill"
)

// logStore takes entries, unless it fails.
type logStore struct {
	mu   sync.Mutex
	fail error
	all  []seckill.LogEntry
}

func (s *logStore) Log(_ context.Context, entries ...seckill.LogEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.all = append(s.all, entries...)
	}
	return s.fail
}

func (s *logStore) entries() []seckill.LogEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func (s *logStore) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// What is noted while the store is away is written when it is back, with the time at which
// it happened; nobody waits for it, and what is too much is counted as lost.
func TestNotesOutliveAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &logStore{fail: seckill.ErrUnavailable}
		n := NewNotes(store, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		began := time.Now()
		for i := range notesWaiting / 2 {
			n.Note(seckill.LogEntry{Subject: fmt.Sprint(i)})
		}
		require.Equal(t, began, time.Now(), "nobody waits")
		time.Sleep(time.Minute)
		require.Zero(t, n.Lost())
		store.set(nil)
		time.Sleep(2 * notesPause)
		require.Len(t, store.entries(), notesWaiting/2)
		for i, e := range store.entries() {
			require.Equal(t, fmt.Sprint(i), e.Subject, "each once, in their order")
			require.Equal(t, began, e.At)
		}

		store.set(seckill.ErrUnavailable)
		for range 2*notesWaiting + notesBatch {
			n.Note(seckill.LogEntry{})
		}
		synctest.Wait()
		require.Positive(t, n.Lost(), "a node keeps so many and no more")
		require.LessOrEqual(t, len(n.waiting), notesWaiting)
		store.set(errors.New("refused"))
		time.Sleep(time.Hour)
		require.EqualValues(t, 2*notesWaiting+notesBatch, n.Lost(), "what the store refuses does not stop the others")
		store.set(nil)
		n.Note(seckill.LogEntry{Subject: "the last"})
		stop()
		require.NoError(t, <-done)
		require.Equal(t, "the last", store.all[len(store.all)-1].Subject, "a node that stops writes what it has")
	})
}

// What the log has enough of is counted in it: by person, and of all buyers together.
func TestHowManyMoreWereRefusedIsInTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &logStore{}
		n := NewNotes(store, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		for i := range 1000 {
			n.More(seckill.LogEntry{Actor: seckill.Actor{Who: fmt.Sprint("buyer ", i), What: "sales.read"}, Result: "forbidden"})
		}
		for range 7 {
			n.More(seckill.LogEntry{Actor: seckill.Actor{Who: "zhou", Role: seckill.RoleViewer, What: "sales.pause"}, Result: "forbidden"})
		}
		time.Sleep(guessWindow + 2*notesPause)
		stop()
		require.NoError(t, <-done)
		said := map[string]string{}
		for _, e := range store.all {
			said[e.Who] = e.What + " " + e.Result + ": " + e.Intent
		}
		require.Equal(t, map[string]string{
			"":     "sales.read forbidden: 1000 more for other accounts, the last one from here",
			"zhou": "sales.pause forbidden: 7 more, the last one from here",
		}, said)
	})
}

// Whoever guesses the password of somebody of the shop does not fill the log: some of the
// guesses are entries, and one more says how many there were.
func TestGuessesAreBoundedInTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &logStore{}
		n := NewNotes(store, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		guess := func(who, from string) {
			n.Guess(seckill.LogEntry{Actor: seckill.Actor{Who: who, Role: seckill.RoleAdmin, From: from, What: seckill.LogLogin}, Result: "unauthorized"})
		}
		for i := range 40 {
			guess("zhou", fmt.Sprintf("192.0.2.%d", i))
		}
		guess("li", "198.51.100.1")
		time.Sleep(guessWindow + 2*notesPause)
		all := store.entries()
		require.Len(t, all, guessesOfOne+2)
		require.Equal(t, "192.0.2.0", all[0].From)
		last := all[len(all)-1]
		require.Equal(t, "zhou", last.Who)
		require.Equal(t, "192.0.2.39", last.From)
		require.Contains(t, last.Intent, fmt.Sprintf("%d more", 40-guessesOfOne))

		for i := range 10_000 {
			guess(fmt.Sprint("account ", i), "203.0.113.5")
		}
		time.Sleep(guessWindow)
		all = store.entries()[len(all):]
		require.LessOrEqual(t, len(all), guessesOfAll+guessAccounts+1)
		require.Contains(t, all[len(all)-1].Intent, fmt.Sprintf("%d more", 10_000-guessAccounts))

		for range guessesOfOne + 3 {
			guess("zhou", "192.0.2.1")
		}
		stop()
		require.NoError(t, <-done)
		require.Contains(t, store.all[len(store.all)-1].Intent, "3 more", "a node that stops says what it has counted")
	})
}
