package gate

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

// Limits of reading the outbox on Redis.
const (
	outboxPoll  = 20 * time.Millisecond // between looks, when this node has written nothing
	outboxGroup = "relay"               // the consumer group of all nodes
	// An entry that a node has taken and not confirmed for so long belongs to
	// whoever asks: that node is dead, or as good as.
	outboxClaim = 10 * time.Second
	claimEvery  = 2 * time.Second

	sweepEvery  = 5 * time.Second
	sweepAfter  = 15 * time.Second // an entry so old without an outcome is sent again
	sweepMost   = 5 * time.Minute  // the longest pause between two sends of an entry
	sweepLease  = 15 * time.Second
	sweepAtOnce = 1000 // entries sent again in one sweep of a bucket
)

// entry is where the outbox keeps a ticket.
type entry struct {
	bucket int
	id     string
}

func parseEntry(e rueidis.XRangeEntry) (t seckill.Ticket, err error) {
	f := e.FieldValues
	t.ID, t.Buyer = f["t"], f["b"]
	if t.Sale, err = seckill.ParseSaleID(f["s"]); err == nil {
		if t.Quantity, err = strconv.Atoi(f["q"]); err == nil {
			if t.Seq, err = strconv.ParseInt(f["n"], 10, 64); err == nil {
				var ms int64
				ms, err = strconv.ParseInt(f["a"], 10, 64)
				t.At = time.UnixMilli(ms).UTC()
			}
		}
	}
	if err != nil {
		return t, fmt.Errorf("gate: outbox entry %s: %w", e.ID, err)
	}
	return t, nil
}

// entries reads a whole outbox stream, page by page.
func (g *Redis) entries(ctx context.Context, b int, each func(entry string, t seckill.Ticket)) error {
	for from := "-"; ; {
		page, err := g.page(ctx, b, from, "+")
		if err != nil {
			return err
		}
		for _, e := range page {
			t, err := parseEntry(e)
			if err != nil {
				return err
			}
			each(e.ID, t)
		}
		if len(page) < redisPage {
			return nil
		}
		from = "(" + page[len(page)-1].ID
	}
}

func (g *Redis) page(ctx context.Context, b int, from, to string) ([]rueidis.XRangeEntry, error) {
	client, err := g.up()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	page, err := client.Do(ctx, client.B().Xrange().Key(g.outbox(b)).Start(from).End(to).Count(redisPage).Build()).AsXRange()
	if err != nil {
		return nil, g.fail(err)
	}
	return page, nil
}

// Unsent waits for tickets that are to be sent to the queue and returns up to
// max of them from each of the buckets. Each entry goes to one node; a dead
// node's go to another.
func (g *Redis) Unsent(ctx context.Context, max int) ([]seckill.Ticket, error) {
	var claimed time.Time
	for {
		tickets, err := g.take(ctx, max)
		if err != nil {
			return nil, err
		}
		if len(tickets) == 0 && time.Since(claimed) > claimEvery {
			claimed = time.Now()
			if tickets, err = g.claim(ctx, max); err != nil {
				return nil, err
			}
		}
		if len(tickets) > 0 {
			return tickets, nil
		}
		timer := time.NewTimer(outboxPoll)
		select {
		case <-g.added:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

func (g *Redis) take(ctx context.Context, max int) ([]seckill.Ticket, error) {
	client, err := g.up()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	commands := make(rueidis.Commands, redisBuckets)
	for b := range redisBuckets {
		commands[b] = client.B().Xreadgroup().Group(outboxGroup, g.node).Count(int64(max)).Streams().Key(g.outbox(b)).Id(">").Build()
	}
	var tickets []seckill.Ticket
	for b, answer := range client.DoMulti(ctx, commands...) {
		streams, err := answer.AsXRead()
		if rueidis.IsRedisNil(err) {
			continue
		}
		if err != nil {
			if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "NOGROUP") {
				err = g.group(ctx, client, b)
			}
			if err != nil {
				return tickets, g.fail(err)
			}
			continue
		}
		for _, entries := range streams {
			if tickets, err = g.taken(tickets, b, entries); err != nil {
				return tickets, err
			}
		}
	}
	return tickets, nil
}

// group makes the group of readers, from the beginning of the stream.
func (g *Redis) group(ctx context.Context, client rueidis.Client, b int) error {
	err := client.Do(ctx, client.B().XgroupCreate().Key(g.outbox(b)).Group(outboxGroup).Id("0").Mkstream().Build()).Error()
	if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "BUSYGROUP") {
		return nil // another node was first
	}
	return err
}

func (g *Redis) taken(tickets []seckill.Ticket, b int, entries []rueidis.XRangeEntry) ([]seckill.Ticket, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range entries {
		if len(e.FieldValues) == 0 {
			continue // deleted: it has its outcome
		}
		t, err := parseEntry(e)
		if err != nil {
			return tickets, err
		}
		g.sent[t.ID] = entry{b, e.ID}
		tickets = append(tickets, t)
	}
	return tickets, nil
}

// claim takes over what a dead node had taken.
func (g *Redis) claim(ctx context.Context, max int) ([]seckill.Ticket, error) {
	client, err := g.up()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	commands := make(rueidis.Commands, redisBuckets)
	for b := range redisBuckets {
		commands[b] = client.B().Xautoclaim().Key(g.outbox(b)).Group(outboxGroup).Consumer(g.node).MinIdleTime(strconv.FormatInt(outboxClaim.Milliseconds(), 10)).Start("0").Count(int64(max)).Build()
	}
	var tickets []seckill.Ticket
	for b, answer := range client.DoMulti(ctx, commands...) {
		parts, err := answer.ToArray()
		if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "NOGROUP") {
			continue
		}
		if err != nil {
			return tickets, g.fail(err)
		}
		entries, err := parts[1].AsXRange()
		if err != nil {
			return tickets, err
		}
		if tickets, err = g.taken(tickets, b, entries); err != nil {
			return tickets, err
		}
	}
	return tickets, nil
}

// Sent notes tickets that the queue has confirmed.
func (g *Redis) Sent(ctx context.Context, tickets []seckill.Ticket) error {
	client, err := g.up()
	if err != nil {
		return err
	}
	var ids [redisBuckets][]string
	g.mu.Lock()
	for _, t := range tickets {
		if e, ok := g.sent[t.ID]; ok {
			ids[e.bucket] = append(ids[e.bucket], e.id)
		}
	}
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	var commands rueidis.Commands
	for b := range ids {
		if len(ids[b]) > 0 {
			commands = append(commands, client.B().Xack().Key(g.outbox(b)).Group(outboxGroup).Id(ids[b]...).Build())
		}
	}
	for _, answer := range client.DoMulti(ctx, commands...) {
		if err := answer.Error(); err != nil {
			return g.fail(err)
		}
	}
	g.mu.Lock()
	for _, t := range tickets {
		delete(g.sent, t.ID)
	}
	g.mu.Unlock()
	return nil
}

// resend is when an entry may be sent again, and the pause after that.
type resend struct {
	at    time.Time
	pause time.Duration
}

// Sweeper sends entries of the outbox again that are old and still have no
// outcome: the queue may have lost them. One node sweeps at a time.
type Sweeper struct {
	Gate  *Redis
	Queue Publisher
	// Room is how many tickets the queue can take; a backlog is not a loss, so
	// while there is one nothing is sent again.
	Room func(ctx context.Context) (int, error)
	Log  *slog.Logger
}

// Run sweeps until ctx is done.
func (s *Sweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := s.sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.Log.Warn("gate: sweeping the outbox has to wait", "pause", sweepEvery, "error", err)
		}
	}
}

func (s *Sweeper) sweep(ctx context.Context, now time.Time) error {
	g := s.Gate
	client, err := g.up()
	if err != nil {
		return err
	}
	lease := g.tag(0) + "sweeper"
	err = client.Do(ctx, client.B().Set().Key(lease).Value(g.node).Nx().PxMilliseconds(sweepLease.Milliseconds()).Build()).Error()
	if rueidis.IsRedisNil(err) {
		holder, err := client.Do(ctx, client.B().Get().Key(lease).Build()).ToString()
		if err != nil || holder != g.node {
			return nil // another node sweeps
		}
	} else if err != nil {
		return g.fail(err)
	}
	client.Do(ctx, client.B().Pexpire().Key(lease).Milliseconds(sweepLease.Milliseconds()).Build())

	room, err := s.Room(ctx)
	if err != nil || room <= 0 {
		return err
	}
	until := strconv.FormatInt(g.Now().Add(-sweepAfter).UnixMilli(), 10)
	seen := map[string]bool{}
	for b := range redisBuckets {
		var old []seckill.Ticket
		for from := "-"; len(old) < min(room, sweepAtOnce); {
			page, err := g.page(ctx, b, from, until)
			if err != nil {
				return err
			}
			for _, e := range page {
				t, err := parseEntry(e)
				if err != nil {
					return err
				}
				seen[t.ID] = true
				if g.due(t.ID, now) && len(old) < min(room, sweepAtOnce) {
					old = append(old, t)
				}
			}
			if len(page) < redisPage {
				break
			}
			from = "(" + page[len(page)-1].ID
		}
		if len(old) == 0 {
			continue
		}
		confirmed, err := s.Queue.Publish(ctx, old)
		s.Log.Warn("gate: sent tickets again that have no outcome", "bucket", b, "tickets", len(confirmed), "older_than", sweepAfter)
		if err != nil {
			return err
		}
		room -= len(confirmed)
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

// due reports whether a ticket may be sent again now, and notes that it is.
func (g *Redis) due(ticket string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.tries[ticket]
	if now.Before(r.at) {
		return false
	}
	r.pause = min(max(sweepAfter, 2*r.pause), sweepMost)
	r.at = now.Add(r.pause)
	g.tries[ticket] = r
	return true
}
