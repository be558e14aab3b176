package redisgate

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"seckill"
	"seckill/internal/duty"
)

// Limits of reading the outbox.
const (
	pageSize    = 1000                  // entries read in one command
	outboxPoll  = 20 * time.Millisecond // between looks, when this node has written nothing
	outboxGroup = "relay"               // the consumer group of all nodes
	// An entry that a node has taken and not confirmed for so long may be taken by any
	// other one: that node is dead, or hangs.
	outboxClaim = 10 * time.Second
	claimEvery  = 2 * time.Second

	// Whoever only looks at an outbox reads it in smaller pages, since Redis serves nobody
	// while it writes one: of lookSize entries, and of as many more for each lookTrip that an
	// answer takes to come. A whole cut of more than restAfter entries takes lookRest for each
	// of them, and rests for what is left of that; in all no longer than longestRest or a third
	// of the time that its caller has left. Buyers need the processors more.
	lookSize    = 100
	lookTrip    = 500 * time.Microsecond
	restAfter   = 20_000
	lookRest    = 70 * time.Microsecond
	longestRest = 20 * time.Second
)

// entries reads an outbox stream up to the entry to, in pages of so many entries, each of
// which takes so long at least. What is not a ticket of the gate is put aside, and what
// may be that of a node with another secret is read with the others. If two entries have one
// ticket, the first is kept: see read.
func (g *Gate) entries(ctx context.Context, b int, to string, size int, pace time.Duration, each func(f *found)) error {
	seen := map[string]string{} // entry by ticket
	for from := "-"; ; {
		began := time.Now()
		page, err := g.page(ctx, b, from, to, size)
		if err != nil {
			return err
		}
		tickets, err := g.read(ctx, b, page, seen)
		if err != nil {
			return err
		}
		for i := range tickets {
			each(&tickets[i])
		}
		if len(page) < size {
			return nil
		}
		from = "(" + page[len(page)-1].ID
		if rest := pace - time.Since(began); rest > 0 {
			if err := duty.Rest(ctx, rest); err != nil {
				return err
			}
		}
	}
}

func (g *Gate) page(ctx context.Context, b int, from, to string, size int) ([]rueidis.XRangeEntry, error) {
	client, err := g.up(b)
	if err != nil {
		return nil, err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	page, err := client.Do(ctx, client.B().Xrange().Key(g.outboxKey(b)).Start(from).End(to).Count(int64(size)).Build()).AsXRange()
	if err != nil {
		return nil, g.fail(b, err)
	}
	return page, nil
}

// Unsent waits for tickets that are to be sent to the queue and returns up to
// max of them from each of the buckets. Each entry goes to one node; a dead
// node's go to another. While a part of a cluster is gone the others' are
// returned.
func (g *Gate) Unsent(ctx context.Context, max int) ([]seckill.Ticket, error) {
	for {
		if g.tied.Load() { // or it may be another store's
			tickets, err := g.take(ctx, max)
			if now := time.Now().UnixNano(); now-g.claimed.Load() > int64(claimEvery) {
				g.claimed.Store(now)
				claimed, gone := g.claim(ctx, max)
				tickets, err = append(tickets, claimed...), errors.Join(err, gone)
				g.leave(ctx) // after the claim, or this node would claim them itself
			}
			if len(tickets) > 0 {
				return tickets, nil
			}
			if err != nil {
				return nil, err
			}
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

// outboxes asks every bucket that can be reached the same, and hands the answers
// to each. A part of a cluster that is gone is left out; it is an error when all are.
func (g *Gate) outboxes(ctx context.Context, ask func(c rueidis.Client, bucket int) rueidis.Completed, each func(c rueidis.Client, bucket int, answer rueidis.RedisResult) error) (err error) {
	var down error
	ctx, cancel := g.bound(ctx)
	defer cancel()
	var commands rueidis.Commands
	var buckets []int
	var client rueidis.Client
	for b := range bucketCount {
		c, gone := g.up(b)
		if gone != nil {
			down = gone
			continue
		}
		client, buckets, commands = c, append(buckets, b), append(commands, ask(c, b))
	}
	if len(commands) == 0 {
		return down
	}
	for i, answer := range client.DoMulti(ctx, commands...) {
		if failed := each(client, buckets[i], answer); failed != nil && !g.apart(buckets[i]) {
			err = failed
		}
	}
	return err
}

func (g *Gate) take(ctx context.Context, max int) (tickets []seckill.Ticket, err error) {
	var without []int // buckets that have no group of readers yet
	g.mu.Lock()
	rereadFrom := g.rereadFrom
	g.mu.Unlock()
	err = g.outboxes(ctx, func(c rueidis.Client, b int) rueidis.Completed {
		from := ">"
		if rereadFrom[b] != "" {
			from = rereadFrom[b] // what this node has been given already, as Redis has noted
		}
		return c.B().Xreadgroup().Group(outboxGroup, g.node).Count(int64(max)).Streams().Key(g.outboxKey(b)).Id(from).Build()
	}, func(_ rueidis.Client, b int, answer rueidis.RedisResult) error {
		streams, err := answer.AsXRead()
		if rueidis.IsRedisNil(err) {
			return nil
		}
		if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "NOGROUP") {
			without = append(without, b)
			return nil
		}
		if err != nil {
			g.noteLostAnswer(b, err)
			return g.failed(b, err)
		}
		entries := streams[g.outboxKey(b)]
		if rereadFrom[b] != "" {
			g.noteReread(b, entries, max)
		}
		tickets, err = g.taken(ctx, tickets, b, entries)
		return err
	})
	return tickets, errors.Join(err, g.groups(ctx, without))
}

// noteLostAnswer notes that entries may have been given to this node in an answer that it
// did not get. An error that Redis itself sent is an answer.
func (g *Gate) noteLostAnswer(b int, err error) {
	if _, answered := rueidis.IsRedisErr(err); !answered {
		g.mu.Lock()
		g.rereadFrom[b] = "0"
		g.mu.Unlock()
	}
}

// noteReread notes how far this node has read again what it was given. A page that is not
// full is the last one.
func (g *Gate) noteReread(b int, page []rueidis.XRangeEntry, max int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rereadFrom[b] = ""
	if len(page) == max {
		g.rereadFrom[b] = page[len(page)-1].ID
	}
}

// groups makes the groups of readers that buckets lack.
func (g *Gate) groups(ctx context.Context, buckets []int) (err error) {
	if len(buckets) == 0 {
		return nil
	}
	client, err := g.up(buckets[0])
	if err != nil {
		return err
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	for i, answer := range g.groupScripts(ctx, client, buckets) {
		if gone := answer.Error(); gone != nil {
			err = g.failed(buckets[i], gone)
		}
	}
	return err
}

func (g *Gate) taken(ctx context.Context, tickets []seckill.Ticket, b int, entries []rueidis.XRangeEntry) ([]seckill.Ticket, error) {
	read, err := g.read(ctx, b, entries, map[string]string{})
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.rereadFrom[b] = "0" // this node has been given them, and reads them again
		return tickets, err
	}
	for _, t := range read {
		if _, mine := g.sent[t.ID]; mine {
			continue // the relay of this node still has it
		}
		if t.strange {
			g.strange[b] = append(g.strange[b], t.entry)
			continue
		}
		if t.number != t.Seq {
			g.asides["outbox"].Inc()
			g.log.Error("gate: an entry of the outbox has a number that the gate has not given; its ticket goes on with the last one that it has", "bucket", b, "entry", t.entry, "ticket", t.ID, "sale", t.Sale, "says", t.number, "number", t.Seq)
		}
		g.sent[t.ID] = entry{b, t.entry}
		tickets = append(tickets, t.Ticket)
	}
	return tickets, nil
}

// leave lets other nodes claim at once what this one has taken and cannot judge: the entries
// that only a node with another secret can.
func (g *Gate) leave(ctx context.Context) {
	g.mu.Lock()
	of := g.strange
	g.strange = [bucketCount][]string{}
	g.mu.Unlock()
	n := g.letClaim(ctx, of)
	var why error
	if n > 0 {
		why = errStrange
	}
	if g.stranger.New(why) {
		g.log.Warn("gate: tickets are left to other nodes", "tickets", n, "error", why)
	}
}

// errStrange is why a ticket is neither sent nor put aside.
var errStrange = errors.New("they are sealed with a secret that this node does not have, which other nodes have: give all nodes the same auth.secret, and the one before as auth.previous_secret until its tickets are settled")

// claim takes over what a dead node had taken.
func (g *Gate) claim(ctx context.Context, max int) (tickets []seckill.Ticket, err error) {
	err = g.outboxes(ctx, func(c rueidis.Client, b int) rueidis.Completed {
		// From where the last claim has ended: what no node can judge must not keep it from the rest.
		return c.B().Xautoclaim().Key(g.outboxKey(b)).Group(outboxGroup).Consumer(g.node).MinIdleTime(strconv.FormatInt(outboxClaim.Milliseconds(), 10)).Start(cmp.Or(g.claimFrom[b], "0")).Count(int64(max)).Build()
	}, func(_ rueidis.Client, b int, answer rueidis.RedisResult) error {
		parts, err := answer.ToArray()
		if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "NOGROUP") {
			return nil
		}
		if err != nil {
			g.noteLostAnswer(b, err)
			return g.failed(b, err)
		}
		g.claimFrom[b], _ = parts[0].ToString() // 0-0 after the last one
		entries, err := parts[1].AsXRange()
		if err == nil {
			tickets, err = g.taken(ctx, tickets, b, entries)
		}
		return err
	})
	return tickets, err
}

// Sent notes tickets that the queue has confirmed. Where that fails they are claimed
// later, and sent again.
func (g *Gate) Sent(ctx context.Context, tickets []seckill.Ticket) error {
	var of [bucketCount][]string // entries
	g.mu.Lock()
	for _, t := range tickets {
		if e, ok := g.sent[t.ID]; ok {
			of[e.bucket] = append(of[e.bucket], e.id)
		}
	}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, t := range tickets {
			delete(g.sent, t.ID)
		}
	}()
	ctx, cancel := g.bound(ctx)
	defer cancel()
	var errs [bucketCount]error
	var asking sync.WaitGroup
	for b, entries := range of {
		if len(entries) == 0 {
			continue
		}
		asking.Go(func() {
			client, err := g.up(b)
			if err == nil {
				err = g.fail(b, client.Do(ctx, client.B().Xack().Key(g.outboxKey(b)).Group(outboxGroup).Id(entries...).Build()).Error())
			}
			if !g.apart(b) {
				errs[b] = err
			}
		})
	}
	asking.Wait()
	return errors.Join(errs[:]...)
}

// handBack lets other nodes claim at once what this one has taken and does not
// send any more.
func (g *Gate) handBack(ctx context.Context) {
	var of [bucketCount][]string
	g.mu.Lock()
	for _, e := range g.sent {
		of[e.bucket] = append(of[e.bucket], e.id)
	}
	for b, entries := range g.strange {
		of[b] = append(of[b], entries...)
	}
	g.mu.Unlock()
	g.letClaim(ctx, of)
}

// letClaim lets other nodes claim entries at once, and returns how many they are.
func (g *Gate) letClaim(ctx context.Context, of [bucketCount][]string) (n int) {
	ctx, cancel := g.bound(ctx)
	defer cancel()
	var commands rueidis.Commands
	var client rueidis.Client
	for b, entries := range of {
		n += len(entries)
		if c, err := g.up(b); err == nil && len(entries) > 0 {
			client = c
			commands = append(commands, c.B().Xclaim().Key(g.outboxKey(b)).Group(outboxGroup).Consumer(g.node).MinIdleTime("0").Id(entries...).Idle(outboxClaim.Milliseconds()).Justid().Build())
		}
	}
	if len(commands) > 0 {
		client.DoMulti(ctx, commands...) // what fails is claimed later
	}
	return n
}
