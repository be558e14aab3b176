package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// settling is the part of a round in which admitted buyers ask for their
// outcome. A buyer is either with one worker, or waiting on one timer.
type settling struct {
	due   chan *buyer // room for every buyer, so no timer ever blocks
	added atomic.Int64
	done  atomic.Int64
	open  atomic.Int64 // added, not done, and one for the buying itself
	over  chan struct{}
}

func newSettling(buyers int) *settling {
	s := &settling{due: make(chan *buyer, buyers), over: make(chan struct{})}
	s.open.Store(1)
	return s
}

func (s *settling) add(r *run, b *buyer, after time.Duration) {
	s.added.Add(1)
	s.open.Add(1)
	s.later(r, b, after)
}

func (s *settling) later(r *run, b *buyer, after time.Duration) {
	r.plan(b, after)
	time.AfterFunc(after, func() { s.due <- b })
}

func (s *settling) leave() {
	if s.open.Add(-1) == 0 {
		close(s.over)
	}
}

// round lets the buyers buy, and the admitted ones ask for their outcome
// meanwhile, if outcomes says so, and for Settle after the last buy. They come
// at their pace, or Concurrency at a time if that is nil. bought, if not nil,
// is called after the last buy.
func (r *run) round(ctx context.Context, buyers []*buyer, name string, p *arrivals, outcomes bool, bought func()) error {
	s := newSettling(len(buyers))
	if outcomes {
		askers := r.startAskers(ctx, s, len(buyers))
		defer askers.stop()
	}

	r.lastNews.Store(time.Now().UnixNano())
	var done atomic.Int64
	endStage := r.progress.stage(name, len(buyers), &done)
	err := r.each(ctx, buyers, p, func(cl *caller, b *buyer) {
		wait, ok := r.shop(ctx, cl, b)
		switch {
		case ok && outcomes && b.habit != NeverAsks:
			s.add(r, b, wait)
		case ok:
			b.wait = wait
		}
		done.Add(1)
	})
	endStage()
	if bought != nil {
		bought()
	}
	if err != nil {
		return err
	}
	return r.finish(ctx, s)
}

// settle lets admitted buyers ask for their outcome, those who have none yet.
func (r *run) settle(ctx context.Context, buyers []*buyer) error {
	s := newSettling(len(buyers))
	askers := r.startAskers(ctx, s, len(buyers))
	defer askers.stop()
	for _, b := range buyers {
		if b.ticket != "" && b.status == "" {
			s.add(r, b, b.wait)
		}
	}
	return r.finish(ctx, s)
}

// finish waits until every buyer of s has its outcome, or for Settle.
func (r *run) finish(ctx context.Context, s *settling) error {
	s.leave()
	if s.added.Load() == 0 {
		return ctx.Err()
	}
	defer r.progress.stage("outcomes", int(s.added.Load()), &s.done)()
	deadline := time.NewTimer(r.c.Settle)
	defer deadline.Stop()
	select {
	case <-s.over:
	case <-deadline.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// askers are the workers that ask for outcomes.
type askers struct {
	wg   sync.WaitGroup
	quit chan struct{}
}

func (r *run) startAskers(ctx context.Context, s *settling, buyers int) *askers {
	a := &askers{quit: make(chan struct{})}
	for range min(r.c.Concurrency, buyers) {
		a.wg.Go(func() {
			var cl *caller
			for {
				select {
				case <-a.quit:
					return
				case <-ctx.Done():
					return
				case b := <-s.due:
					if cl == nil {
						cl = r.newCaller()
					}
					if wait, final := r.follow(cl, b); final {
						s.done.Add(1)
						s.leave()
					} else {
						s.later(r, b, wait)
					}
				}
			}
		})
	}
	return a
}

func (a *askers) stop() {
	close(a.quit)
	a.wg.Wait()
}
