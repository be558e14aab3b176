package redisgate

import (
	"sync"
	"sync/atomic"
	"time"

	"seckill/internal/duty"
)

const (
	paceFrom  = 8192                   // tickets of a bucket without an outcome, from where on admission is paced
	paceMost  = 500 * time.Millisecond // the longest that a buyer waits here
	paceAhead = 1024                   // the most buyers that may be admitted without waiting, see pacer.ahead
	// A node that has settled nothing for so long does not settle, or cannot: then
	// nothing is gained by letting its buyers wait.
	paceIdle = time.Second
)

// pacer slows admission down to the speed of settling, on a node that does both, while
// many tickets wait already. Without it a crowd's requests take all processors, nothing
// is settled, and all that buyers gain is an earlier place in a longer queue.
type pacer struct {
	waiting [bucketCount]atomic.Int64 // tickets without an outcome, when Redis last said so
	settled atomic.Int64              // when this node last settled some, in nanoseconds since 1970
	turn    chan struct{}             // a token: one call after the other waits
	more    duty.Signal               // ahead has grown

	mu sync.Mutex
	// ahead is how many buyers may be admitted now without waiting: one for each ticket that
	// this node has settled, at most paceAhead.
	ahead int
}

func newPacer() *pacer {
	p := &pacer{turn: make(chan struct{}, 1), more: duty.NewSignal()}
	p.turn <- struct{}{}
	return p
}

// settle notes that this node has settled n tickets.
func (p *pacer) settle(n int) {
	p.mu.Lock()
	p.ahead = min(paceAhead, p.ahead+n)
	p.mu.Unlock()
	p.settled.Store(time.Now().UnixNano())
	p.more.Send()
}

// wait returns when n buyers may be asked for, the first of whom came at since.
func (p *pacer) wait(bucket, n int, since time.Time) {
	if p.waiting[bucket].Load() < paceFrom {
		return
	}
	timer := time.NewTimer(paceMost - time.Since(since))
	defer timer.Stop()
	select {
	case <-p.turn:
	case <-timer.C:
		return
	}
	defer func() { p.turn <- struct{}{} }()
	for !p.take(n) {
		if time.Since(time.Unix(0, p.settled.Load())) > paceIdle {
			return
		}
		select {
		case <-p.more:
		case <-timer.C:
			return
		}
	}
}

func (p *pacer) take(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ahead < n {
		return false
	}
	p.ahead -= n
	return true
}
