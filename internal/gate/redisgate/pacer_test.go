package redisgate

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// Admission is held to the speed of settling while many tickets wait, for a while
// and only as long as there is any settling.
func TestThePacer(t *testing.T) {
	t.Parallel()
	start := func(waiting int64) *pacer {
		p := newPacer()
		p.waiting[3].Store(waiting)
		return p
	}
	held := func(p *pacer, bucket, n int) time.Duration {
		since := time.Now()
		p.wait(bucket, n, since)
		return time.Since(since)
	}
	synctest.Test(t, func(t *testing.T) {
		p := start(paceFrom)
		assert.Zero(t, held(p, 3, 100), "a node that settles nothing holds nobody")
		p.settle(50)
		assert.Zero(t, held(p, 2, 100), "in a bucket where few wait nobody is held")
		go func() {
			time.Sleep(paceMost / 5)
			p.settle(49)
			time.Sleep(paceMost / 5)
			p.settle(1)
		}()
		assert.Equal(t, 2*paceMost/5, held(p, 3, 100), "a hundred come in for a hundred that are settled")
		assert.Equal(t, paceMost, held(p, 3, 1), "nobody is held longer")
		time.Sleep(paceIdle)
		assert.Zero(t, held(p, 3, 1), "settling has stopped")
		p.settle(10 * paceAhead)
		for range paceAhead / 256 {
			assert.Zero(t, held(p, 3, 256))
		}
		assert.Equal(t, paceMost, held(p, 3, 256), "what was settled long ago lets nobody in")
	})
	synctest.Test(t, func(t *testing.T) {
		p := start(paceFrom)
		p.settle(1)
		var others sync.WaitGroup
		for range 3 { // of other sales, all held
			others.Go(func() { assert.Equal(t, paceMost, held(p, 3, 100)) })
		}
		synctest.Wait()
		assert.Equal(t, paceMost/2, func() time.Duration {
			since := time.Now()
			p.wait(3, 100, since.Add(-paceMost/2))
			return time.Since(since)
		}(), "nobody is held longer because others are held too")
		others.Wait()
	})
	synctest.Test(t, func(t *testing.T) {
		p := start(paceFrom - 1)
		p.settle(1)
		assert.Zero(t, held(p, 3, 100), "nobody is held before many wait")
	})
}
