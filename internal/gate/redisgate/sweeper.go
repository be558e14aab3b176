package redisgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"seckill"
	"seckill/internal/duty"
	"seckill/internal/gate"
)

// Limits of the sweeper.
const (
	sweepEvery  = 5 * time.Second
	sweepAfter  = 15 * time.Second // an entry so old without an outcome is sent again
	sweepMost   = 5 * time.Minute  // the longest pause between two sends of an entry
	sweepLease  = 15 * time.Second
	sweepAtOnce = 1000 // entries sent again in one sweep of a bucket
)

// resend is when an entry may be sent again, and how often it was.
type resend struct {
	at    time.Time
	tries int
}

// Sweeper sends entries of the outbox again that are old and still have no
// outcome: the queue may have lost them. One node sweeps at a time.
type Sweeper struct {
	Gate  *Gate
	Queue gate.Publisher
	// Capacity is how many tickets the queue can take. While the queue has a backlog there is
	// none: old tickets wait in it, and sending them again would only lengthen it.
	Capacity func(ctx context.Context) (int, error)
	Log      *slog.Logger

	away time.Time // until then another node may sweep
}

// Run sweeps until ctx is done.
func (s *Sweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var complaint duty.Complaint
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := s.sweep(ctx, time.Now()); complaint.New(err) && ctx.Err() == nil {
			s.Log.Warn("gate: sweeping the outbox has to wait", "pause", sweepEvery, "error", err)
		}
	}
}

func (s *Sweeper) sweep(ctx context.Context, now time.Time) error {
	g := s.Gate
	if now.Before(s.away) {
		return nil
	}
	if held, err := g.leaseScript(ctx, 0, g.sweeperKey(), sweepLease); err != nil || !held {
		return err // another node sweeps
	}
	capacity, err := s.Capacity(ctx)
	if err != nil || capacity <= 0 {
		return err
	}
	seen, whole := map[string]bool{}, true
	for b := range bucketCount {
		var old []found
		most := min(capacity, sweepAtOnce)
		until := strconv.FormatInt(g.now(b).Add(-sweepAfter).UnixMilli(), 10)
		read := map[string]string{}
		for from := "-"; len(old) < most; {
			page, gone := g.page(ctx, b, from, until, pageSize)
			if gone != nil {
				err = gone // a part of a cluster; the others are swept
				break
			}
			tickets, gone := g.read(ctx, b, page, read)
			if gone != nil {
				err = gone
				break
			}
			for _, t := range tickets {
				seen[t.ID] = true
				if t.strange { // a node with another secret knows what to do: it may have the lease
					s.away = now.Add(sweepLease + sweepEvery)
					continue
				}
				if len(old) < most && g.due(t.ID, now) {
					old = append(old, t)
				}
			}
			if len(page) < pageSize {
				break
			}
			from = "(" + page[len(page)-1].ID
		}
		whole = whole && len(old) < most
		waiting, gone := g.waiting(ctx, b, old)
		if gone != nil {
			err = gone
		}
		if len(waiting) == 0 {
			continue
		}
		confirmed, err := s.Queue.Publish(ctx, waiting)
		s.Log.Warn("gate: sent tickets again that have no outcome", "bucket", b, "tickets", len(confirmed), "older_than", sweepAfter)
		if err != nil {
			return err
		}
		capacity -= len(confirmed)
	}
	if err != nil || !whole { // a ticket that was not looked at keeps its pause
		return err
	}
	g.mu.Lock()
	for id := range g.tries {
		if !seen[id] {
			delete(g.tries, id)
		}
	}
	g.mu.Unlock()
	return nil
}

// waiting returns the tickets of old entries that wait for their outcome. An entry whose
// buyer holds another one, or a ticket with an outcome, would stay for ever.
func (g *Gate) waiting(ctx context.Context, b int, old []found) (tickets []seckill.Ticket, err error) {
	says, err := g.named(ctx, b, old)
	if err != nil {
		return nil, err
	}
	for i, f := range old {
		if says[i] == unnamed {
			g.putAside(ctx, b, f.entry, fmt.Sprintf("%+v", f.Ticket), errors.New("no hold waits for this entry"))
			continue
		}
		tickets = append(tickets, f.Ticket)
	}
	return tickets, nil
}

// due reports whether a ticket may be sent again now, and notes that it is.
func (g *Gate) due(ticket string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.tries[ticket]
	if now.Before(r.at) {
		return false
	}
	g.tries[ticket] = resend{at: now.Add(duty.Backoff{First: sweepAfter, Most: sweepMost}.After(r.tries)), tries: r.tries + 1}
	return true
}
