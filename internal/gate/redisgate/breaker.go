package redisgate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"seckill"
)

// maxUntold is the most outcomes kept for each bucket while a part of a cluster is gone.
const maxUntold = 10_000

// breaker is open while down is set.
type breaker struct {
	down   atomic.Pointer[error]             // why calls fail at once
	heard  atomic.Int64                      // when there last was an answer, in nanoseconds since 1970
	untold atomic.Pointer[[]seckill.Outcome] // outcomes to tell it when it is back
	offset atomic.Int64                      // nanoseconds that the clock there is ahead of this node's
}

func (g *Gate) breaker(bucket int) *breaker {
	if !g.cluster.Load() {
		bucket = 0
	}
	return &g.breakers[bucket]
}

// apart reports whether a bucket is on a part of a cluster that is gone, while
// others answer. Work for that part waits until it is back.
func (g *Gate) apart(bucket int) bool {
	return g.breaker(bucket).down.Load() != nil && len(g.broken()) < bucketCount
}

// broken are the buckets whose breakers are open.
func (g *Gate) broken() (buckets []int) {
	for b := range bucketCount {
		if g.breaker(b).down.Load() != nil {
			buckets = append(buckets, b)
		}
	}
	return buckets
}

// answers closes the breaker of a bucket.
func (g *Gate) answers(bucket int) {
	if g.breaker(bucket).down.Swap(nil) != nil {
		g.log.Info("gate: Redis answers", "address", g.where, "bucket", bucket)
		g.lost.Send() // it may have come back without its data
	}
}

// errHurried is a call whose caller had hardly any time left for it.
var errHurried = fmt.Errorf("the caller's time was over: %w", context.DeadlineExceeded)

// hurried is the context of such a call.
type hurried struct{ context.Context }

func (h hurried) Err() error {
	err := h.Context.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return errHurried
	}
	return err
}

// bound gives a call to Redis the gate's patience. A caller who leaves it less than a quarter of
// that, as the last try of a wait may, learns nothing about Redis when the time is over.
func (g *Gate) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if until, ends := ctx.Deadline(); ends && time.Until(until) < g.patience/4 {
		return hurried{ctx}, func() {}
	}
	return context.WithTimeout(ctx, g.patience)
}

// fail opens the breaker of a bucket if err says that Redis is gone, and wraps it.
func (g *Gate) fail(bucket int, err error) error {
	if err == nil {
		return nil
	}
	if mistyped(err) {
		g.wrong[bucket].Store(true) // Run looks at the keys of this bucket
	}
	if full(err) {
		g.full.Store(time.Now().UnixNano())
		return fmt.Errorf("gate: Redis at %s is full: nobody is admitted until outcomes have made room, or maxmemory is raised: %w: %w", g.where, seckill.ErrUnavailable, err)
	}
	if e, answered := rueidis.IsRedisErr(err); answered && !refuses(e) {
		return fmt.Errorf("gate: Redis at %s: %w: %w", g.where, seckill.ErrUnavailable, err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, errHurried) { // the caller went away: that says nothing about Redis
		return fmt.Errorf("gate: the answer of Redis at %s was not waited for: %w: %w", g.where, seckill.ErrUnavailable, err)
	}
	late := errors.Is(err, context.DeadlineExceeded)
	err = fmt.Errorf("gate: Redis at %s does not answer (check --gate): %w: %w", g.where, seckill.ErrUnavailable, err)
	breaker := g.breaker(bucket)
	// A call that is late while others are answered is slow, and Redis is not gone. The
	// calls of a crowd are sent together, so only answers of the second half of this
	// call's time count: earlier ones say nothing about what came after them.
	if late && time.Since(time.Unix(0, breaker.heard.Load())) < g.patience/2 {
		return err
	}
	if breaker.down.CompareAndSwap(nil, &err) {
		g.log.Warn("gate: every answer is 503 until Redis is back", "bucket", bucket, "error", err)
	}
	return err
}

// failed is fail for one of several commands that were sent together. When one of them
// has no master to go to, the client fails all of them: the error says nothing about
// this bucket, and each of them is asked by itself soon.
func (g *Gate) failed(bucket int, err error) error {
	if errors.Is(err, rueidis.ErrNoSlot) {
		g.skewed.Store(true)
		return fmt.Errorf("gate: a part of the cluster at %s is served by nobody: %w: %w", g.where, seckill.ErrUnavailable, err)
	}
	return g.fail(bucket, err)
}

// full reports whether Redis refuses what would need more memory. What frees memory still
// runs, so the breaker stays as it is.
func full(err error) bool {
	e, answered := rueidis.IsRedisErr(err)
	return answered && strings.HasPrefix(e.Error(), "OOM ")
}

// refuses reports whether an answer of Redis says that it takes no writes from anybody: its
// disk is full, or it is not a master, or not yet, or no longer.
func refuses(e *rueidis.RedisError) bool {
	return slices.ContainsFunc([]string{"MISCONF ", "READONLY ", "LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "NOREPLICAS "}, func(kind string) bool {
		return strings.HasPrefix(e.Error(), kind)
	})
}

// keepUntold keeps outcomes for a part of a cluster that is gone, until it is back. What
// does not fit, and what is still kept when this node ends, is found by the sweeper: the
// tickets are sent to the queue again, and settling tells the gate again.
func (g *Gate) keepUntold(b int, outcomes []seckill.Outcome) {
	kept := &g.breaker(b).untold
	for {
		old := kept.Load()
		more := outcomes
		if old != nil {
			more = append(slices.Clip(*old), outcomes...)
		}
		if more = more[:min(len(more), maxUntold)]; kept.CompareAndSwap(old, &more) {
			return
		}
	}
}
