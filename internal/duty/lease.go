package duty

import (
	"context"
	"time"
)

// Leases is where leases are kept: at the store, for all nodes.
type Leases interface {
	// Lease MUST be held by one owner at a time, for ttl; by names who holds it.
	Lease(ctx context.Context, name, owner string, ttl time.Duration) (held bool, by string, err error)
	Unlease(ctx context.Context, name, owner string) error
}

// releaseTime is how long a stopping node tries to give a lease back.
const releaseTime = 2 * time.Second

// Lease lets one node at a time do some work. It is used by one goroutine.
type Lease struct {
	Leases  Leases
	Name    string
	Owner   string        // of this node, or of one of its residents
	Life    time.Duration // how long nobody works after the working node was killed
	Standby time.Duration // between two questions of a node that does not hold it

	until  time.Time // how long it is ours for sure
	asked  time.Time // when it was last asked for
	holder string    // who has it when we have not
}

// Held reports whether this node holds the lease, and asks for it when it is time to: the
// holder when a third of Life is over, others every Standby.
func (l *Lease) Held(ctx context.Context) (bool, error) {
	now := time.Now()
	if now.Sub(l.asked) > l.Life/3 || now.After(l.until) && now.Sub(l.asked) > l.Standby {
		held, holder, err := l.Leases.Lease(ctx, l.Name, l.Owner, l.Life)
		if err != nil {
			return false, err
		}
		l.asked, l.until = now, time.Time{}
		if held {
			l.until = now.Add(l.Life)
		} else {
			l.holder = holder
		}
	}
	return time.Now().Before(l.until), nil
}

// Until is when this node must stop what it does under the lease, unless it is renewed.
func (l *Lease) Until() time.Time { return l.until }

// Release gives the lease back, if it may be ours. If that fails, it ends by itself.
func (l *Lease) Release(ctx context.Context) {
	if l.until.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	_ = l.Leases.Unlease(ctx, l.Name, l.Owner)
	l.until, l.asked = time.Time{}, time.Time{}
}

// Holder is the owner who held the lease when this node was last refused it.
func (l *Lease) Holder() string { return l.holder }

// Keep holds a lease that was just taken in the background, until end, which gives it back.
func (l *Lease) Keep(ctx context.Context) (end func()) {
	keeping, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for keeping.Err() == nil {
			// A lease that is lost is asked for again. What is done under it must be right
			// without it too.
			_, _ = l.Held(keeping)
			Rest(keeping, l.Life/4)
		}
	}()
	return func() {
		stop()
		<-over
		l.Release(ctx)
	}
}
