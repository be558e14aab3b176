package account

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"seckill"
	"seckill/internal/duty"
)

// Limits of the notes.
const (
	notesWaiting = 1000        // in a node, while the store is away; beyond it they are only in the node's own log
	notesBatch   = 100         // written in one transaction
	notesPause   = time.Second // before writing is tried again
	notesTime    = 5 * time.Second
)

// NoteStore is what the notes need of the store.
type NoteStore interface {
	Log(ctx context.Context, entries ...seckill.LogEntry) error
}

// Notes is the resident that writes the entries of the log which belong to no change of
// the store: logins and wrong passwords, refused calls, new tokens. Nobody waits for it.
type Notes struct {
	store   NoteStore
	log     *slog.Logger
	waiting chan seckill.LogEntry
	lost    atomic.Int64

	mu       sync.Mutex
	guesses  guesses
	refusals guesses
}

// NewNotes returns the notes of a store.
func NewNotes(store NoteStore, log *slog.Logger) *Notes {
	return &Notes{store: store, log: log, waiting: make(chan seckill.LogEntry, notesWaiting)}
}

// Lost is how many entries the store will never have.
func (n *Notes) Lost() int64 { return n.lost.Load() }

// Note has an entry written soon.
func (n *Notes) Note(e seckill.LogEntry) {
	e.At = time.Now()
	n.put(e)
}

func (n *Notes) put(e seckill.LogEntry) {
	select {
	case n.waiting <- e:
	default:
		if n.lost.Add(1)%notesWaiting == 1 {
			n.log.Warn("account: the store does not take the log of administrators, and what happens now is missing there", "who", e.Who, "what", e.What, "result", e.Result)
		}
	}
}

// Run writes what is noted until ctx is done, and then what is left.
func (n *Notes) Run(ctx context.Context) error {
	window := time.NewTicker(guessWindow)
	defer window.Stop()
	for {
		select {
		case <-window.C:
			for _, e := range n.counted() {
				n.put(e)
			}
		case e := <-n.waiting:
			batch := n.more([]seckill.LogEntry{e})
			for err := n.write(ctx, batch); err != nil; err = n.write(ctx, batch) {
				if duty.Rest(ctx, notesPause) != nil {
					return n.last(batch)
				}
				if !errors.Is(err, seckill.ErrUnavailable) {
					n.lost.Add(int64(len(batch)))
					n.log.Error("account: the store refuses entries of the log", "entries", len(batch), "error", err)
					break
				}
			}
		case <-ctx.Done():
			return n.last(nil)
		}
	}
}

// more takes what else is waiting.
func (n *Notes) more(batch []seckill.LogEntry) []seckill.LogEntry {
	for len(batch) < notesBatch {
		select {
		case e := <-n.waiting:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

func (n *Notes) write(ctx context.Context, batch []seckill.LogEntry) error {
	ctx, cancel := context.WithTimeout(ctx, notesTime)
	defer cancel()
	return n.store.Log(ctx, batch...)
}

// last writes what is left when the node stops, if the store takes it.
func (n *Notes) last(batch []seckill.LogEntry) error {
	batch = append(batch, n.counted()...)
	for batch = n.more(batch); len(batch) > 0; batch = n.more(nil) {
		if err := n.write(context.Background(), batch); err != nil {
			n.log.Warn("account: the node stops, and the store does not take the last entries of the log", "entries", len(batch)+len(n.waiting), "error", err)
			return nil
		}
	}
	return nil
}
