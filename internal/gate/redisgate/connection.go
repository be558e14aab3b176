package redisgate

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

const (
	callTimeout = 800 * time.Millisecond // for one call: a lost Redis is noticed within a second
	lookEvery   = 100 * time.Millisecond // between looks whether a lost Redis is back
	countEvery  = 2 * time.Second        // between looks at the lengths of the outboxes
	skewWarn    = time.Second            // further apart a node's clock and Redis' are worth a warning
)

// longPool is the most connections beside those that all calls share: the client takes
// one for a call of 2,000 commands or more, and waits when all are in use.
const longPool = 4

// share sets how many connections all calls share, see Settings.Connections.
func share(options *rueidis.ClientOption, n int) {
	options.BlockingPoolSize = longPool
	switch {
	case n == 1:
		options.PipelineMultiplex = -1
	case n > 1:
		options.PipelineMultiplex = bits.Len(uint(n)) - 1
	}
}

// Run keeps the connection until ctx is done: it connects, notices when Redis is
// back, compares the clocks, and hears which tickets are final.
func (g *Gate) Run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	var compared, counted time.Time
	apart := false
	for {
		if time.Since(counted) > countEvery && len(g.broken()) < bucketCount {
			counted = time.Now()
			g.count(ctx)
		}
		g.tellLate(ctx)
		if g.skewed.Swap(false) || time.Since(compared) > 10*time.Second || len(g.broken()) > 0 {
			if err := g.look(ctx); err == nil {
				compared = time.Now()
			}
			apart = g.warnOfSkew(apart)
		}
		for b := range bucketCount {
			if g.wrong[b].Swap(false) {
				if err := g.mendKeys(ctx, b); err != nil {
					g.wrong[b].Store(true)
				}
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			g.handBack(context.WithoutCancel(ctx))
			if c := g.client.Swap(nil); c != nil {
				(*c).Close()
			}
			return nil
		}
	}
}

// count looks at the lengths of the outboxes and at their first entries, for the metrics
// alone. What cannot be reached keeps what it had.
func (g *Gate) count(ctx context.Context) {
	_ = g.outboxes(ctx, func(c rueidis.Client, b int) rueidis.Completed {
		return c.B().Xlen().Key(g.outboxKey(b)).Build()
	}, func(_ rueidis.Client, b int, answer rueidis.RedisResult) error {
		n, err := answer.AsInt64()
		if err == nil {
			g.lengths[b].Store(n)
		}
		return err
	})
	_ = g.outboxes(ctx, func(c rueidis.Client, b int) rueidis.Completed {
		return c.B().Xrange().Key(g.outboxKey(b)).Start("-").End("+").Count(1).Build()
	}, func(_ rueidis.Client, b int, answer rueidis.RedisResult) error {
		first, err := answer.AsXRange()
		switch {
		case err == nil && len(first) == 0:
			g.oldest[b].Store(0)
		case err == nil:
			ms, _, _ := strings.Cut(first[0].ID, "-")
			g.oldest[b].Store(number(ms))
		}
		return err
	})
}

// look asks Redis, of a cluster the master of each bucket, for its time, which
// closes the breaker.
func (g *Gate) look(ctx context.Context) error {
	client := g.client.Load()
	if client == nil {
		c, err := rueidis.NewClient(g.options)
		if err != nil {
			return err
		}
		client = &c
		g.cluster.Store(c.Mode() == rueidis.ClientModeCluster)
		g.client.Store(client)
		go g.listen(ctx, c)
	}
	parts := 1
	if g.cluster.Load() {
		parts = bucketCount
	}
	ctx, cancel := g.bound(ctx)
	defer cancel()
	errs := make([]error, parts)
	var asking sync.WaitGroup
	for b := range parts { // each by itself: of several commands sent together the client fails all when nobody serves one of them
		asking.Go(func() { errs[b] = g.probe(ctx, *client, b) })
	}
	asking.Wait()
	return errors.Join(errs...)
}

func (g *Gate) probe(ctx context.Context, client rueidis.Client, b int) error {
	// The breaker closes only after a write has succeeded: a full or read-only Redis
	// still answers reads.
	ask := client.B().EvalRo().Script("return redis.call('TIME')").Numkeys(1).Key(g.probeKey(b)).Build()
	if g.breaker(b).down.Load() != nil {
		ask = client.B().Eval().Script(always + "redis.call('SET', KEYS[1], 1, 'PX', 60000) return redis.call('TIME')").Numkeys(1).Key(g.probeKey(b)).Build()
	}
	asked := time.Now()
	t, err := client.Do(ctx, ask).AsIntSlice()
	if err == nil && len(t) != 2 {
		err = fmt.Errorf("gate: Redis said %v when asked for the time", t)
	}
	if err != nil {
		return g.fail(b, err)
	}
	answered, there := time.Now(), time.Unix(t[0], t[1]*1000)
	// Clamp the old offset to the range that this round trip allows: a slow answer must
	// not undo a precise one.
	offset := &g.breaker(b).offset
	offset.Store(min(max(offset.Load(), int64(there.Sub(answered))), int64(there.Sub(asked))))
	g.answers(b)
	if late := g.breaker(b).untold.Swap(nil); late != nil {
		if err := g.Finish(context.WithoutCancel(ctx), *late); err != nil {
			g.log.Warn("gate: outcomes are settled again, since they could not be told", "bucket", b, "tickets", len(*late), "error", err)
		}
	}
	return nil
}

// skew is how far Redis' clock is ahead of this node's, as last compared; of a cluster it is
// that of the master that is furthest away.
func (g *Gate) skew() (most time.Duration) {
	for b := range bucketCount {
		if offset := time.Duration(g.breaker(b).offset.Load()); offset.Abs() > most.Abs() {
			most = offset
		}
	}
	return most
}

// warnOfSkew warns of clocks that are apart, unless it was warned of before, and reports
// whether they are.
func (g *Gate) warnOfSkew(before bool) (apart bool) {
	skew := g.skew()
	if apart = skew.Abs() > skewWarn; apart && !before {
		g.log.Warn("gate: this node's clock differs from Redis', which opens and closes the sales; check the time service (chrony, ntp) of both machines", "address", g.where, "redis_ahead_by", skew)
	}
	return apart
}

// up returns the client, or why there is none for a bucket.
func (g *Gate) up(bucket int) (rueidis.Client, error) {
	if foreign := g.foreign.Load(); foreign != nil {
		return nil, *foreign
	}
	if down := g.breaker(bucket).down.Load(); down != nil {
		return nil, *down
	}
	if c := g.client.Load(); c != nil {
		return *c, nil
	}
	return nil, fmt.Errorf("gate: stopped: %w", seckill.ErrUnavailable)
}
